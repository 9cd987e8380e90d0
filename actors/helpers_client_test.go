package actors

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/linktest"
	"github.com/troupe-go/troupe/internal/wsframe"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// client is the peer of a connection, and the transport's reading goroutine.
type client struct {
	w      *world
	conn   *Connection
	socket *linktest.Socket
	turn   chan struct{} // a lock that a bubble sees through: the reading half is for one goroutine at a time
	ended  atomic.Bool
}

// connect opens a connection that has not said anything yet.
func (w *world) connect(id, user string, change ...func(*linktest.Socket)) *client {
	w.t.Helper()
	c, err := w.tryConnect(id, user, change...)
	require.NoError(w.t, err)
	return c
}

func (w *world) tryConnect(id, user string, change ...func(*linktest.Socket)) (*client, error) {
	s := linktest.NewSocket()
	s.Answers = true
	for _, f := range change {
		f(s)
	}
	settings := w.settings
	conn, err := w.hub.ConnectSocket(id, user, s, &settings, nil)
	c := &client{w: w, conn: conn, socket: s, turn: make(chan struct{}, 1)}
	if err != nil {
		return nil, err
	}
	w.clients = append(w.clients, c)
	go func() {
		<-s.Gone
		c.end(nil)
	}()
	return c, nil
}

// open opens a connection that has shaken hands and whose OnConnected has run.
func (w *world) open(id, user string, change ...func(*linktest.Socket)) *client {
	w.t.Helper()
	c := w.connect(id, user, change...)
	c.shake("json")
	if w.bubble {
		w.settle()
	}
	return c
}

func (c *client) shake(protocol string) {
	c.write(hubproto.AppendHandshakeRequest(nil, hubproto.HandshakeRequest{Protocol: protocol, Version: 1}))
}

// say sends records.
func (c *client) say(records ...string) {
	c.write([]byte(strings.Join(records, "\x1e") + "\x1e"))
}

// write is what a transport does with bytes that have come.
func (c *client) write(b []byte) {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	for len(b) > 0 && !c.ended.Load() {
		n := copy(c.conn.Buffer(), b)
		b = b[n:]
		c.conn.Commit(n)
	}
}

// end is what a transport does when nothing comes any more.
func (c *client) end(err error) {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	if !c.ended.Swap(true) {
		c.conn.End(err)
	}
}

// got is everything that has arrived, the answer to the handshake left out.
func (c *client) got() []string {
	c.w.t.Helper()
	all := c.everything()
	require.NotEmpty(c.w.t, all, "no answer to the handshake")
	require.Equal(c.w.t, "{}", all[0])
	return all[1:]
}

// everything is the records that have arrived, and the control frames: "close 1000", "pong x".
func (c *client) everything() (records []string) {
	c.w.t.Helper()
	frames, rest := linktest.ParseFrames(c.socket.Wire())
	require.Empty(c.w.t, rest, "a frame has come in part")
	for _, f := range frames {
		switch f.Opcode {
		case wsframe.Close:
			records = append(records, fmt.Sprintf("close %d", binary.BigEndian.Uint16(f.Payload)))
		case wsframe.Pong:
			records = append(records, "pong "+string(f.Payload))
		default:
			parts, err := f.Records()
			require.NoError(c.w.t, err)
			records = append(records, parts...)
		}
	}
	return records
}

// later sends without waiting for it.
func (c *client) later(records ...string) (sent func() bool) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.say(records...)
	}()
	c.w.settle()
	return func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
}

// charge is what one small message in one piece costs.
const charge = pieceSize + messageCharge

func (c *client) pings() (n int) {
	for _, record := range c.got() {
		if record == ping {
			n++
		}
	}
	return n
}

// trickle lets a client take rate bytes a second.
func (c *client) trickle(rate int, stop <-chan struct{}) {
	for {
		select {
		case <-time.After(10 * time.Millisecond):
			c.socket.Drain(rate / 100)
		case <-stop:
			return
		}
	}
}

// upset makes the actor of a connection panic: it asks the handler to describe an error that is nil.
func (c *client) upset() { c.w.tell(c.conn.PID(), (*closeRequest)(nil)) }

// gone checks that nothing of a connection is left.
func (c *client) gone(t *testing.T) {
	t.Helper()
	sys, conn := c.w.sys, c.conn
	assert.Nil(t, sys.connections.find(conn.id))
	_, ok := sys.actors.ProcessRegistry.Get(conn.PID())
	assert.False(t, ok, "its actor")
	assert.NotContains(t, sys.allConnections(), conn)
	assert.Negative(t, c.w.hub.everyone.find(conn))
	for _, d := range []*directory{c.w.hub.groups, c.w.hub.users} {
		for i := range d.shards {
			for name, g := range d.shards[i].groups {
				assert.Negative(t, g.find(conn), name)
			}
		}
	}
	assert.Zero(t, conn.in.charged)
	select {
	case <-conn.Done():
	default:
		assert.Fail(t, "Done is not closed")
	}
}

// clean checks that nothing is left of the calls and streams of a connection.
func (c *client) clean(t require.TestingT) {
	q, in := &c.conn.calls, &c.conn.in
	q.mu.Lock()
	defer q.mu.Unlock()
	require.Empty(t, q.running, "running")
	require.Empty(t, q.uploads, "uploads")
	require.Nil(t, q.head)
	require.Zero(t, q.slots.taken, "slots")
	in.mu.Lock()
	defer in.mu.Unlock()
	require.Zero(t, in.charged, "charged")
	require.Zero(t, in.fullUploads, "full")
	require.Nil(t, in.answers)
}

func (q *runQueue) isOpen() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.open
}

func (q *runQueue) isEmpty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.slots.taken == 0 && q.head == nil && len(q.running) == 0
}

// haveLent is how many calls run without the slot that they had.
func (q *runQueue) haveLent() (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, k := range q.running {
		if k.slot == lentSlot {
			n++
		}
	}
	return n
}
