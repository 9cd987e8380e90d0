package transport_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

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

// panickingWriter is a http.ResponseWriter of middleware that fails where HTTP servers do not expect it.
type panickingWriter struct{ http.ResponseWriter }

func (w panickingWriter) Unwrap() http.ResponseWriter                { return w.ResponseWriter }
func (panickingWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) { panic("on purpose") }
func (panickingWriter) SetReadDeadline(time.Time) error              { panic("on purpose") }
func (panickingWriter) SetWriteDeadline(time.Time) error             { panic("on purpose") }

func panicOnGet(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w = panickingWriter{w}
		}
		next.ServeHTTP(w, r)
	})
}

// An upgrade that panics closes the connection, and ends what was negotiated. (That none is left is checked at the end.)
func TestAnUpgradeThatPanicsLeavesNothing(t *testing.T) {
	s := newTestServer(t, testConfig{middleware: panicOnGet})
	c := s.negotiate(nil)
	conn, err := net.Dial("tcp", s.server.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte(upgradeRequest(c.path(), nil)))
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(testTimeout)))
	_, err = io.ReadAll(conn)
	require.NoError(t, err, "the connection is closed")
}

// Deadlines that panic neither end polls nor keep a lock.
func TestDeadlinesThatPanic(t *testing.T) {
	s := newTestServer(t, testConfig{middleware: panicOnGet})
	c := s.connectPolling(nil)
	c.mustPost(invocationJSON("1", "Echo", 1))
	require.Contains(t, c.poll().requirePolled(t), `"type":3`)
	require.Equal(t, http.StatusAccepted, c.delete().status)
	require.NoError(t, s.requireDisconnected())
}
