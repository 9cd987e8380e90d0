package actors

import (
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/linktest"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// returning is a client that comes back over another socket when it has lost one.
type returning struct {
	*client
	detached chan struct{} // closed when the connection has noticed that its socket is lost
}

// connectReturning opens a connection that may go on over other sockets, without a handshake.
func (e *env) connectReturning(id, user string, change ...func(*linktest.Socket)) *returning {
	e.t.Helper()
	if e.settings.KeptLimit == 0 {
		e.settings.KeptLimit = 100_000
	}
	settings := e.settings
	s := newReturningSocket(change)
	conn, err := e.hub.ConnectSocket(id, &Identity{UserID: user}, s, &settings, true)
	require.NoError(e.t, err)
	c := &returning{client: &client{env: e, conn: conn, socket: s, readLock: make(chan struct{}, 1)}}
	e.clients = append(e.clients, c.client)
	c.read()
	return c
}

// openReturning is connectReturning with the handshake.
func (e *env) openReturning(id, user string, change ...func(*linktest.Socket)) *returning {
	e.t.Helper()
	c := e.connectReturning(id, user, change...)
	c.greet(2)
	return c
}

func newReturningSocket(change []func(*linktest.Socket)) *linktest.Socket {
	s := linktest.NewSocket()
	s.Answers = true
	for _, f := range change {
		f(s)
	}
	return s
}

// greet sends a handshake for a version of the hub protocols.
func (c *returning) greet(version int) {
	c.write(hubproto.AppendHandshakeRequest(nil, hubproto.HandshakeRequest{Protocol: "json", Version: version}))
	c.env.settle()
}

// read plays the reader of the present socket, which waits for the end.
func (c *returning) read() {
	s, detached := c.socket, make(chan struct{})
	c.detached = detached
	go func() {
		<-s.Gone
		c.readLock <- struct{}{}
		defer func() { <-c.readLock }()
		if c.conn.Lost() {
			close(detached)
		} else if !c.ended.Swap(true) {
			c.conn.End(nil)
		}
	}()
}

// lose cuts the socket.
func (c *returning) lose() {
	c.socket.Cut()
	c.env.settle()
}

// resume comes back over another socket. What is left of the former one is cut.
func (c *returning) resume(change ...func(*linktest.Socket)) bool {
	c.lose()
	if !isClosed(c.detached) || !c.conn.CanResume() {
		return false
	}
	s := newReturningSocket(change)
	if !c.conn.Resume(s) {
		return false
	}
	c.socket = s
	c.read()
	c.env.settle()
	return true
}

// mustResume requires that the client can come back.
func (c *returning) mustResume(change ...func(*linktest.Socket)) {
	c.env.t.Helper()
	require.True(c.env.t, c.resume(change...))
}

func ackOf(number int64) string      { return fmt.Sprintf(`{"type":8,"sequenceId":%d}`, number) }
func sequenceOf(number int64) string { return fmt.Sprintf(`{"type":9,"sequenceId":%d}`, number) }
