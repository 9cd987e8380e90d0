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

// hookedConn is a net.Conn that calls a function of the test before it writes or closes.
type hookedConn struct {
	net.Conn
	onWrite, onClose atomic.Pointer[func()]
	closeCalls       atomic.Int64
}

func (c *hookedConn) Write(b []byte) (int, error) {
	if do := c.onWrite.Load(); do != nil {
		(*do)()
	}
	return c.Conn.Write(b)
}

func (c *hookedConn) Close() error {
	if do := c.onClose.Load(); do != nil {
		c.closeCalls.Add(1)
		(*do)()
	}
	return c.Conn.Close()
}

// hookedListener accepts hookedConns, and finds them by the addresses of their clients.
type hookedListener struct {
	net.Listener
	conns sync.Map
}

func (l *hookedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &hookedConn{Conn: conn}
	l.conns.Store(conn.RemoteAddr().String(), c)
	return c, nil
}

// serverConn returns the server's end of a client's connection.
func (l *hookedListener) serverConn(p *rawConn) *hookedConn {
	c, _ := l.conns.Load(p.conn.LocalAddr().String())
	return c.(*hookedConn)
}

func newHookedServer(t *testing.T, options hubsys.HubOptions) (srv *testServer, l *hookedListener, left chan error) {
	l, left = &hookedListener{}, make(chan error, 10)
	options.KeepAliveInterval = 100 * time.Millisecond
	return newTestServer(t, testConfig{
		HubOptions: options, EndpointOptions: hubsys.EndpointOptions{CloseTimeout: 200 * time.Millisecond, TransportSendTimeout: 3 * time.Second},
		configure:      func(s *httptest.Server) { l.Listener, s.Listener = s.Listener, l },
		onDisconnected: func(_ context.Context, _ *testHub, cause error) error { left <- cause; return nil },
	}), l, left
}

func TestAWriteThatPanicsEndsOneConnection(t *testing.T) {
	t.Parallel()
	runInProcess(t, func(t *testing.T) {
		srv, l, left := newHookedServer(t, hubsys.HubOptions{})
		others, hooked := newClientSet(srv, 3), dialRawSocket(t, srv.url, "json")
		boom := func() { panic("in Write") }
		l.serverConn(hooked).onWrite.Store(&boom)
		others.requireWorking() // a message to all
		require.Error(t, receive(t, left))
		others.requireWorking()
		others.awaitPings(5)
		require.Empty(t, left)
		require.NoError(t, shutdown(srv.sys))
	})
}

func TestACloseThatPanicsAffectsNoOtherConnection(t *testing.T) {
	t.Parallel()
	runInProcess(t, func(t *testing.T) {
		srv, l, left := newHookedServer(t, hubsys.HubOptions{HandshakeTimeout: time.Second})
		others := newClientSet(srv, 3)
		boom := func() { panic("in Close") }
		leaving, vanishing, silent := dialRawSocket(t, srv.url, "json"), dialRawSocket(t, srv.url, "json"), dialTCP(t, srv.url)
		silent.upgrade("", "")
		staying := dialRawSocket(t, srv.url, "json")
		for _, p := range []*rawConn{leaving, vanishing, silent, staying} {
			l.serverConn(p).onClose.Store(&boom)
		}
		leaving.mustWrite(clientFrame(8, "\x03\xe8"))
		require.NoError(t, vanishing.conn.Close())
		for range 2 {
			receive(t, left)
		}
		others.requireWorking()
		eventually(t, func() bool { return l.serverConn(silent).closeCalls.Load() > 0 }, "the handshake timeout closes the silent client")
		others.awaitPings(5)
		others.requireWorking()
		require.Empty(t, left)
		require.NoError(t, shutdown(srv.sys))
	})
}

// A Close that does not return blocks nothing else, and is not called again and again.
func TestACloseThatDoesNotReturnBlocksNoOtherConnection(t *testing.T) {
	t.Parallel()
	runInProcess(t, func(t *testing.T) {
		srv, l, left := newHookedServer(t, hubsys.HubOptions{HandshakeTimeout: time.Second})
		others := newClientSet(srv, 3)
		never := make(chan struct{})
		block := func() { <-never }
		leaving, silent := dialRawSocket(t, srv.url, "json"), dialTCP(t, srv.url)
		silent.upgrade("", "")
		staying := dialRawSocket(t, srv.url, "json")
		for _, p := range []*rawConn{leaving, silent, staying} {
			l.serverConn(p).onClose.Store(&block)
		}
		leaving.mustWrite(clientFrame(8, "\x03\xe8"))
		receive(t, left)
		others.requireWorking()
		eventually(t, func() bool { return l.serverConn(silent).closeCalls.Load() > 0 }, "the handshake timeout closes the silent client")
		others.awaitPings(10) // five times CloseTimeout
		others.requireWorking()
		for _, p := range []*rawConn{leaving, silent} {
			require.LessOrEqual(t, l.serverConn(p).closeCalls.Load(), int64(2), "calls of Close")
		}
		require.Empty(t, left)
		srv.shutdownMayFail = true // the second Shutdown returns the same error
		ended := make(chan error, 1)
		go func() { ended <- shutdown(srv.sys) }()
		require.NoError(t, receive(t, ended), "Shutdown ends by itself")
		close(never)
	})
}

// A Write that does not return is given up after TransportSendTimeout, and blocks no other connection.
func TestAWriteThatDoesNotReturnBlocksNoOtherConnection(t *testing.T) {
	t.Parallel()
	runInProcess(t, func(t *testing.T) {
		srv, l, left := newHookedServer(t, hubsys.HubOptions{})
		others, hooked := newClientSet(srv, 3), dialRawSocket(t, srv.url, "json")
		never := make(chan struct{})
		block := func() { <-never }
		l.serverConn(hooked).onWrite.Store(&block)
		others.requireWorking()
		require.Error(t, receive(t, left))
		others.requireWorking()
		others.awaitPings(10)
		require.Empty(t, left)
		srv.shutdownMayFail = true // a Write is still running
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- srv.sys.Shutdown(ctx) }()
		receive(t, ended)
		close(never)
	})
}
