package hubsys_test

import (
	"context"
	"net"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// oddConn is a connection of the application's that does something odd with its bytes when a test says so.
type oddConn struct {
	net.Conn
	write, close atomic.Pointer[func()]
	closes       atomic.Int64
}

func (c *oddConn) Write(b []byte) (int, error) {
	if do := c.write.Load(); do != nil {
		(*do)()
	}
	return c.Conn.Write(b)
}

func (c *oddConn) Close() error {
	if do := c.close.Load(); do != nil {
		c.closes.Add(1)
		(*do)()
	}
	return c.Conn.Close()
}

// oddListener accepts such connections, and finds them by the addresses of their clients.
type oddListener struct {
	net.Listener
	conns sync.Map
}

func (l *oddListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &oddConn{Conn: conn}
	l.conns.Store(conn.RemoteAddr().String(), c)
	return c, nil
}

// of is the server's side of a client.
func (l *oddListener) of(p *raw) *oddConn {
	c, _ := l.conns.Load(p.conn.LocalAddr().String())
	return c.(*oddConn)
}

func newOdd(t *testing.T, options hubsys.HubOptions) (w *world, l *oddListener, left chan error) {
	l, left = &oddListener{}, make(chan error, 10)
	options.KeepAliveInterval = 100 * time.Millisecond
	return newWorld(t, setup{
		HubOptions: options, EndpointOptions: hubsys.EndpointOptions{CloseTimeout: 200 * time.Millisecond, TransportSendTimeout: time.Second},
		server:       func(s *httptest.Server) { l.Listener, s.Listener = s.Listener, l },
		disconnected: func(_ context.Context, _ *lab, cause error) error { left <- cause; return nil },
	}), l, left
}

func TestAWriteThatPanicsEndsOneConnection(t *testing.T) {
	t.Parallel()
	apart(t, func(t *testing.T) {
		w, l, left := newOdd(t, hubsys.HubOptions{})
		others, victim := newNeighbours(w, 3), socket(t, w.url, "json")
		boom := func() { panic("in Write") }
		l.of(victim).write.Store(&boom)
		others.fine() // a message to all
		require.Error(t, wait(t, left))
		others.fine()
		others.pinged(5)
		require.Empty(t, left)
		require.NoError(t, shutdown(w.sys))
	})
}

func TestACloseThatPanics(t *testing.T) {
	t.Parallel()
	apart(t, func(t *testing.T) {
		w, l, left := newOdd(t, hubsys.HubOptions{HandshakeTimeout: time.Second})
		others := newNeighbours(w, 3)
		boom := func() { panic("in Close") }
		leaving, vanishing, silent := socket(t, w.url, "json"), socket(t, w.url, "json"), connect(t, w.url)
		silent.upgrade("", "")
		staying := socket(t, w.url, "json")
		for _, p := range []*raw{leaving, vanishing, silent, staying} {
			l.of(p).close.Store(&boom)
		}
		leaving.mustWrite(masked(8, "\x03\xe8"))
		require.NoError(t, vanishing.conn.Close())
		for range 2 {
			wait(t, left)
		}
		others.fine()
		eventually(t, func() bool { return l.of(silent).closes.Load() > 0 }, "the handshake timeout closes the silent client")
		others.pinged(5)
		others.fine()
		require.Empty(t, left)
		require.NoError(t, shutdown(w.sys))
	})
}

// Nobody waits for a Close that does not return, and it is called once.
func TestACloseThatDoesNotReturn(t *testing.T) {
	t.Parallel()
	apart(t, func(t *testing.T) {
		w, l, left := newOdd(t, hubsys.HubOptions{HandshakeTimeout: time.Second})
		others := newNeighbours(w, 3)
		never := make(chan struct{})
		block := func() { <-never }
		leaving, silent := socket(t, w.url, "json"), connect(t, w.url)
		silent.upgrade("", "")
		staying := socket(t, w.url, "json")
		for _, p := range []*raw{leaving, silent, staying} {
			l.of(p).close.Store(&block)
		}
		leaving.mustWrite(masked(8, "\x03\xe8"))
		wait(t, left)
		others.fine()
		eventually(t, func() bool { return l.of(silent).closes.Load() > 0 }, "the handshake timeout closes the silent client")
		others.pinged(10) // five times CloseTimeout
		others.fine()
		for _, p := range []*raw{leaving, silent} {
			require.LessOrEqual(t, l.of(p).closes.Load(), int64(2), "calls of Close, none of which has returned")
		}
		require.Empty(t, left)
		w.abandoned = true // it says the same once more
		ended := make(chan error, 1)
		go func() { ended <- shutdown(w.sys) }()
		require.NoError(t, wait(t, ended), "Shutdown ends by itself")
		close(never)
	})
}

// A Write that does not return is cut when its client has taken nothing for too long, and holds up nobody.
func TestAWriteThatDoesNotReturn(t *testing.T) {
	t.Parallel()
	apart(t, func(t *testing.T) {
		w, l, left := newOdd(t, hubsys.HubOptions{})
		others, victim := newNeighbours(w, 3), socket(t, w.url, "json")
		never := make(chan struct{})
		block := func() { <-never }
		l.of(victim).write.Store(&block)
		others.fine()
		require.Error(t, wait(t, left))
		others.fine()
		others.pinged(10)
		require.Empty(t, left)
		w.abandoned = true // one socket is still being written
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- w.sys.Shutdown(ctx) }()
		wait(t, ended)
		close(never)
	})
}
