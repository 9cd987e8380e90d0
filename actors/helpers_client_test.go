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

// client is the client of a connection over a socket. It also plays the part of the transport's reading goroutine.
type client struct {
	env    *env
	conn   *Connection
	socket *linktest.Socket
	ended  atomic.Bool

	// readLock serializes the calls of the session. It is a channel, because synctest does not consider a goroutine that waits for a
	// mutex to be durably blocked.
	readLock chan struct{}
}

// connect opens a connection without sending a handshake request.
func (e *env) connect(id, user string, change ...func(*linktest.Socket)) *client {
	e.t.Helper()
	c, err := e.tryConnect(id, user, change...)
	require.NoError(e.t, err)
	return c
}

// tryConnect is connect, but returns the error.
func (e *env) tryConnect(id, user string, change ...func(*linktest.Socket)) (*client, error) {
	return e.tryConnectAs(id, &Identity{UserID: user}, change...)
}

func (e *env) tryConnectAs(id string, who *Identity, change ...func(*linktest.Socket)) (*client, error) {
	s := linktest.NewSocket()
	s.Answers = true
	for _, f := range change {
		f(s)
	}
	settings := e.settings
	conn, err := e.hub.ConnectSocket(id, who, s, &settings, false)
	c := &client{env: e, conn: conn, socket: s, readLock: make(chan struct{}, 1)}
	if err != nil {
		return nil, err
	}
	e.clients = append(e.clients, c)
	go func() {
		<-s.Gone
		c.end(nil)
	}()
	return c, nil
}

// open opens a connection and completes the handshake. In a bubble it also waits until OnConnected has returned or blocks.
func (e *env) open(id, user string, change ...func(*linktest.Socket)) *client {
	e.t.Helper()
	c := e.connect(id, user, change...)
	c.sendHandshake("json")
	if e.bubble {
		e.settle()
	}
	return c
}

// openAs is open for an identity.
func (e *env) openAs(id string, who *Identity) *client {
	e.t.Helper()
	c, err := e.tryConnectAs(id, who)
	require.NoError(e.t, err)
	c.sendHandshake("json")
	e.settle()
	return c
}

// sendHandshake sends a handshake request.
func (c *client) sendHandshake(protocol string) {
	c.write(hubproto.AppendHandshakeRequest(nil, hubproto.HandshakeRequest{Protocol: protocol, Version: 1}))
}

// send sends hub messages, each followed by the record separator.
func (c *client) send(records ...string) {
	c.write([]byte(strings.Join(records, "\x1e") + "\x1e"))
}

// write passes received bytes to the connection as a transport does.
func (c *client) write(b []byte) {
	c.readLock <- struct{}{}
	defer func() { <-c.readLock }()
	for len(b) > 0 && !c.ended.Load() {
		n := copy(c.conn.Buffer(), b)
		b = b[n:]
		c.conn.Commit(n)
	}
}

// end reports the end of the input as a transport does.
func (c *client) end(err error) {
	c.readLock <- struct{}{}
	defer func() { <-c.readLock }()
	if !c.ended.Swap(true) {
		c.conn.End(err)
	}
}

// messages returns everything that the client has received after the handshake response.
func (c *client) messages() []string {
	c.env.t.Helper()
	all := c.records()
	require.NotEmpty(c.env.t, all, "no handshake response")
	require.Equal(c.env.t, "{}", all[0])
	return all[1:]
}

// records returns the received records, including the handshake response. Control frames are represented as "close 1000" and "pong x".
func (c *client) records() (records []string) {
	c.env.t.Helper()
	frames, rest := linktest.ParseFrames(c.socket.Wire())
	require.Empty(c.env.t, rest, "incomplete frame")
	for _, f := range frames {
		switch f.Opcode {
		case wsframe.Close:
			records = append(records, fmt.Sprintf("close %d", binary.BigEndian.Uint16(f.Payload)))
		case wsframe.Pong:
			records = append(records, "pong "+string(f.Payload))
		default:
			parts, err := f.Records()
			require.NoError(c.env.t, err)
			records = append(records, parts...)
		}
	}
	return records
}

// sendAsync sends hub messages on another goroutine. The returned function reports whether they have been read.
func (c *client) sendAsync(records ...string) (sent func() bool) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.send(records...)
	}()
	c.env.settle()
	return func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
}

// smallMessageCharge is the amount of the inbound budget that one small message in a piece of its own takes.
const smallMessageCharge = pieceSize + messageCharge

// countPings returns the number of pings that the client has received.
func (c *client) countPings() (n int) {
	for _, record := range c.messages() {
		if record == ping {
			n++
		}
	}
	return n
}

// drainAtRate lets the client's socket accept rate bytes per second until stop is closed.
func (c *client) drainAtRate(rate int, stop <-chan struct{}) {
	for {
		select {
		case <-time.After(10 * time.Millisecond):
			c.socket.Drain(rate / 100)
		case <-stop:
			return
		}
	}
}

// panicActor makes the actor of the connection panic, by sending it a nil close request.
func (c *client) panicActor() { c.env.tell(c.conn.PID(), (*closeRequest)(nil)) }

// assertRemoved checks that the connection has been removed from all registries and holds no inbound budget.
func (c *client) assertRemoved(t *testing.T) {
	t.Helper()
	sys, conn := c.env.sys, c.conn
	assert.Nil(t, conn.hub.Connection(conn.id))
	_, ok := sys.actorSystem.ProcessRegistry.Get(conn.PID())
	assert.False(t, ok, "the actor is not registered")
	assert.NotContains(t, sys.allConnections(), conn)
	assert.Negative(t, c.env.hub.everyone.find(conn))
	for _, d := range []*directory{c.env.hub.groups, c.env.hub.users} {
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

// requireIdle checks that the connection has no calls and no uploads, and that all slots and all inbound budget are free.
func (c *client) requireIdle(t require.TestingT) {
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

// isOpen reports whether OnConnected has succeeded, so that calls can start.
func (q *runQueue) isOpen() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.open
}

// isEmpty reports whether no call runs or waits.
func (q *runQueue) isEmpty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.slots.taken == 0 && q.head == nil && len(q.running) == 0
}

// earlySlots returns the number of running calls that have lent their slot.
func (q *runQueue) earlySlots() (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, k := range q.running {
		if k.slot == earlySlot {
			n++
		}
	}
	return n
}
