package actors

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/actors/outbox"
	"github.com/troupe-go/troupe/hubsys/backplane"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// crowd is a System with a hub and many connections, whose sockets take everything and forget it.
type crowd struct {
	sys      *System
	hub      *Hub
	handler  *crowdHandler
	settings Settings
	conns    []*Connection
	bare     bool         // the connections are no actors
	left     atomic.Int64 // records that allWritten waits for
	written  chan struct{}
}

// crowdHandler is a handler that records nothing.
type crowdHandler struct {
	*handler
	opened, ended chan *Connection
}

func (h *crowdHandler) Connected(k *Call) error          { h.opened <- k.Connection(); return nil }
func (h *crowdHandler) Disconnected(*Call, error)        {}
func (h *crowdHandler) Ended(c *Connection, cause error) { h.ended <- c }

// crowdSocket is the socket of one connection. Its client answers the close frame at once.
type crowdSocket struct {
	crowd *crowd
	conn  *Connection
	over  atomic.Bool
}

func (s *crowdSocket) Blocks() bool                { return false }
func (s *crowdSocket) Write(b []byte) (int, error) { return s.TryWrite(b) }
func (s *crowdSocket) LastFrame() []byte           { return nil }
func (s *crowdSocket) Finished()                   { s.Cut() }
func (s *crowdSocket) TryWrite(b []byte) (int, error) {
	records := int64(bytes.Count(b, []byte{0x1e}))
	if left := s.crowd.left.Add(-records); left <= 0 && left+records > 0 {
		s.crowd.written <- struct{}{}
	}
	return len(b), nil
}

func (s *crowdSocket) Cut() {
	if !s.over.Swap(true) && !s.crowd.bare {
		s.conn.End(nil)
	}
}

// newCrowd makes n connections that are open.
func newCrowd(b *testing.B, n int) *crowd {
	return newCrowdOf(b, n, func(int) string { return "" })
}

// newCrowdOf is newCrowd for users.
func newCrowdOf(b *testing.B, n int, user func(i int) string) *crowd {
	w := newEmptyCrowd(b, nil)
	w.expect(n)
	for i := range n {
		w.begin(w.connect(i, user(i)))
	}
	for range n {
		<-w.handler.opened
	}
	if n > 0 {
		w.allWritten()
	}
	return w
}

// newBareCrowd makes n connections that are members of everyone, but no actors: nothing runs for them in the background, and their output waits
// for drain.
func newBareCrowd(b *testing.B, n int) *crowd {
	w := newEmptyCrowd(b, nil)
	w.bare = true
	for i := range n {
		c := w.bareConnection(i)
		w.conns = append(w.conns, c)
		w.sys.connections.add(c)
		w.hub.everyone.join(c)
	}
	return w
}

// bareConnection makes a connection that is no actor, and no member of anything.
func (w *crowd) bareConnection(i int) *Connection {
	c := w.hub.newConnection(fmt.Sprint("connection-", i), &Identity{UserID: fmt.Sprint("user-", i)}, &w.settings)
	c.out.Init((*boxOwner)(c), outbox.NewFlusher(w.sys.now, nil, w.sys.log, nil), c.settings.OutboxLimit, 1)
	c.out.AttachSocket(&crowdSocket{crowd: w, conn: c})
	return c
}

func newEmptyCrowd(b *testing.B, plane backplane.Backplane) *crowd {
	w := &crowd{written: make(chan struct{}, 1)}
	w.handler = &crowdHandler{newHandler(), make(chan *Connection, 1<<20), make(chan *Connection, 1<<20)}
	w.handler.done = make(chan struct{})
	w.settings = Settings{
		MaxMessage: 1 << 20, Parallel: 1, OutboxLimit: 1 << 20, InboundLimit: math.MaxInt32, HandshakeTimeout: never, KeepAlive: never,
		ClientTimeout: never, CloseTimeout: never, SendTimeout: never, DisconnectGrace: -1, PendingResults: 100, StreamBuffer: 10,
		MaxGroups: math.MaxInt32, MaxGroupNames: math.MaxInt32, KeptLimit: math.MaxInt32,
	}
	start := time.Now()
	var err error
	w.sys, err = newSystem(nil, slog.New(slog.DiscardHandler), plane, nil, clock{now: func() time.Duration { return time.Since(start) }, period: never})
	require.NoError(b, err)
	w.hub, err = w.sys.NewHub("chat", w.handler, []hubproto.Protocol{hubproto.JSON}, HubSettings{MaxNames: math.MaxInt32})
	require.NoError(b, err)
	b.Cleanup(func() {
		close(w.handler.done)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(b, w.sys.Shutdown(ctx))
	})
	return w
}

// connect opens a connection, which has not greeted.
func (w *crowd) connect(i int, user string) *Connection {
	s := &crowdSocket{crowd: w}
	c, err := w.hub.ConnectSocket(fmt.Sprint("connection-", i), &Identity{UserID: user}, s, &w.settings, false)
	if err != nil {
		panic(err)
	}
	s.conn = c
	w.conns = append(w.conns, c)
	return c
}

// begin sends the handshake.
func (w *crowd) begin(c *Connection) {
	w.write(c, hubproto.AppendHandshakeRequest(nil, hubproto.HandshakeRequest{Protocol: "json", Version: 1}))
}

// write passes what a client has sent to its connection.
func (w *crowd) write(c *Connection, b []byte) {
	for len(b) > 0 {
		n := copy(c.Buffer(), b)
		c.Commit(n)
		b = b[n:]
	}
}

// expect says how many records allWritten waits for.
func (w *crowd) expect(n int) { w.left.Store(int64(n)) }

func (w *crowd) allWritten() { <-w.written }

// drain writes what waits for bare connections.
func (w *crowd) drain() {
	one := outbox.BorrowWriter()
	defer outbox.ReturnWriter(one)
	for _, c := range w.conns {
		one.Flush(&c.out)
	}
}

// joinAll puts all connections into a group.
func (w *crowd) joinAll(group string) {
	for _, c := range w.conns {
		w.hub.groups.join(group, c)
	}
}

// ids returns the ids of all connections.
func (w *crowd) ids() []string {
	ids := make([]string, len(w.conns))
	for i, c := range w.conns {
		ids[i] = c.id
	}
	return ids
}
