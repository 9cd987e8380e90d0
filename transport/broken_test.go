package transport_test

import (
	"net"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// brokenListener accepts connections to which nothing can be written any more when broken is set.
type brokenListener struct {
	net.Listener
	broken atomic.Bool
}

type brokenConn struct {
	net.Conn
	listener *brokenListener
}

func (l *brokenListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return &brokenConn{conn, l}, err
}

func (c *brokenConn) Write(b []byte) (int, error) {
	if c.listener.broken.Load() {
		return 0, syscall.EPIPE
	}
	return c.Conn.Write(b)
}

// A socket is closed although the frame that would answer the end cannot be written, nor what comes before it.
func TestASocketThatBreaksBehindItsEndIsClosed(t *testing.T) {
	for name, end := range map[string]string{
		"close frame":                    string(clientFrame(closeOpcode, true, closeFrame(1000, ""))),
		"frame that breaks the protocol": "\xff\xff",
	} {
		t.Run(name, func(t *testing.T) {
			var l *brokenListener
			s := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{CloseTimeout: testTimeout}, configure: func(server *httptest.Server) {
				l = &brokenListener{Listener: server.Listener}
				server.Listener = l
			}})
			h := &socketServer{t: t, addr: l.Addr().String()}
			p := h.open("/test")
			p.handshake()
			l.broken.Store(true)
			p.writeRaw([]byte(string(clientFrame(text, true, invocationJSON("1", "Echo", 1))) + end))
			p.requireEOF()
			if err := s.requireDisconnected(); name == "close frame" {
				require.NoError(t, err)
			} else {
				require.Error(t, err)
			}
		})
	}
}
