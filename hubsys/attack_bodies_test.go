package hubsys_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// pipeListener accepts in-memory connections. Within a synctest bubble their deadlines follow the bubble's clock, so that a test of a long
// timeout takes no time.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

func newPipeListener() *pipeListener {
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	l.close = sync.OnceFunc(func() { close(l.closed) })
	return l
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.close(); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// dial returns the client's end of a new connection.
func (l *pipeListener) dial(t testing.TB) net.Conn {
	client, server := net.Pipe()
	l.conns <- server
	t.Cleanup(func() { client.Close() })
	return client
}

// bodyServer is a test server whose clients announce request bodies that they do not send.
type bodyServer struct {
	srv      *testServer
	requests *requestCounter
	server   *http.Server
	listener *pipeListener
}

// testBodies runs a test against a bodyServer within a synctest bubble.
func testBodies(t *testing.T, readTimeout time.Duration, s testConfig, test func(t *testing.T, b *bodyServer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bodyServer{requests: &requestCounter{}, listener: newPipeListener()}
		s.configure = func(server *httptest.Server) {
			server.Listener.Close()
			server.Listener = b.listener
			b.server = server.Config
			b.server.ReadTimeout = readTimeout
			countRequests(b.requests)(server)
		}
		b.srv = newTestServer(t, s)
		test(t, b)
		b.requireDone(t)
	})
}

// begin sends a request with part of the body that it announces, and returns when the server has begun to handle the request.
func (b *bodyServer) begin(t testing.TB, method, path, query, header, part string) *rawConn {
	t.Helper()
	p := newRawConn(t, b.listener.dial(t), "/test"+path)
	before := b.requests.started.Load()
	p.mustWrite(p.request(method, query, header+"Content-Length: 1000\r\n") + part)
	eventually(t, func() bool { return b.requests.started.Load() > before }, "the request is being handled")
	return p
}

// requireAllClosed requires that the server closes all these TCP connections within the timeout.
func requireAllClosed(t testing.TB, conns map[string]*rawConn, timeout time.Duration) {
	t.Helper()
	var all sync.WaitGroup
	for name, p := range conns {
		all.Go(func() {
			assert.NoError(t, p.conn.SetReadDeadline(time.Now().Add(timeout)))
			_, err := io.Copy(io.Discard, p.r)
			assert.NotErrorIs(t, err, os.ErrDeadlineExceeded, "%s: the server has not closed the connection", name)
		})
	}
	all.Wait()
}

// requireDone requires that no request is being handled any more, and that the System and the HTTP server shut down.
func (b *bodyServer) requireDone(t testing.TB) {
	t.Helper()
	eventually(t, func() bool { return b.requests.active.Load() == 0 }, "all requests have been handled")
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	require.NoError(t, b.srv.sys.Shutdown(ctx))
	require.NoError(t, b.server.Shutdown(ctx))
	time.Sleep(5 * time.Second) // protoactor counts dead letters in a goroutine that runs for a second
}

const events = "Accept: text/event-stream\r\n"

// negotiate returns the query of a negotiated connection.
func (b *bodyServer) negotiate(t testing.TB) (query string) {
	t.Helper()
	return "?id=" + tokenOf(t, serveRequest(b.srv.sys, http.MethodPost, negotiatePath, "", nil))
}

// startPolling returns the query of a connection over long polling whose handshake has been answered.
func (b *bodyServer) startPolling(t testing.TB) (query string) {
	t.Helper()
	query = b.negotiate(t)
	require.Equal(t, http.StatusOK, serveRequest(b.srv.sys, http.MethodGet, "/test"+query, "", nil).Code)
	require.Equal(t, http.StatusOK, serveRequest(b.srv.sys, http.MethodPost, "/test"+query, handshakeJSON+separator, nil).Code)
	w := serveRequest(b.srv.sys, http.MethodGet, "/test"+query, "", nil)
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "{}"+separator, w.Body.String())
	return query
}

// beginAll begins a request of each kind whose body the server does not need.
func (b *bodyServer) beginAll(t testing.TB) map[string]*rawConn {
	t.Helper()
	polls, socket := b.startPolling(t), b.negotiate(t)
	require.Equal(t, http.StatusSwitchingProtocols, newRawConn(t, b.listener.dial(t), "/test").upgrade(socket, ""))
	return map[string]*rawConn{
		"a negotiation":                     b.begin(t, http.MethodPost, "/negotiate", "", "", "x"),
		"a POST to an unknown connection":   b.begin(t, http.MethodPost, "", "?id=none", "", ""),
		"a POST to a WebSocket":             b.begin(t, http.MethodPost, "", socket, "", ""),
		"a first poll":                      b.begin(t, http.MethodGet, "", b.negotiate(t), "", ""),
		"a poll":                            b.begin(t, http.MethodGet, "", polls, "", "x"),
		"an event stream":                   b.begin(t, http.MethodGet, "", b.negotiate(t), events, ""),
		"a DELETE of an unknown connection": b.begin(t, http.MethodDelete, "", "?id=none", "", ""),
		"a request to another path":         b.begin(t, http.MethodPost, "/other", "", "", ""),
	}
}

// A request whose body does not arrive ends with the server's ReadTimeout, whatever the request is.
func TestRequestsWithoutTheirBodyEndWithTheServersReadTimeout(t *testing.T) {
	testBodies(t, 500*time.Millisecond, testConfig{
		HubOptions:      hubsys.HubOptions{HandshakeTimeout: time.Second},
		EndpointOptions: hubsys.EndpointOptions{PollTimeout: 500 * time.Millisecond, CloseTimeout: time.Second},
	}, func(t *testing.T, b *bodyServer) { requireAllClosed(t, b.beginAll(t), testTimeout) })
}

// A POST ends with its connection, whether its body is being read or it waits for the POST before it.
func TestUnfinishedPostsEndWithTheirConnection(t *testing.T) {
	ends := map[string]func(t *testing.T, b *bodyServer, query string){
		"DELETE": func(t *testing.T, b *bodyServer, query string) {
			p := newRawConn(t, b.listener.dial(t), "/test") // an HTTP client might send the request twice
			p.mustWrite(p.request(http.MethodDelete, query, ""))
			require.Equal(t, http.StatusAccepted, p.response().StatusCode, "%s", b.srv.log)
			require.NoError(t, p.conn.Close())
		},
		"Shutdown": func(t *testing.T, b *bodyServer, _ string) { require.NoError(t, shutdown(b.srv.sys)) },
	}
	for name, end := range ends {
		for _, timeout := range []time.Duration{0, 500 * time.Millisecond} {
			for _, part := range []string{"", `{"type":6}` + separator + "x"} {
				t.Run(fmt.Sprintf("%s, ReadTimeout %s, %d bytes", name, timeout, len(part)), func(t *testing.T) {
					endpoint := hubsys.EndpointOptions{CloseTimeout: time.Second}
					testBodies(t, timeout, testConfig{EndpointOptions: endpoint}, func(t *testing.T, b *bodyServer) {
						query := b.startPolling(t)
						posts := map[string]*rawConn{}
						for i := range 3 {
							posts[fmt.Sprint("POST ", i)] = b.begin(t, http.MethodPost, "", query, "", part)
						}
						end(t, b, query)
						requireAllClosed(t, posts, testTimeout)
					})
				})
			}
		}
	}
}

// An unfinished POST to a connection that never gets a transport ends when the connection expires, at the latest.
func TestUnfinishedPostsEndWhenTheirConnectionExpires(t *testing.T) {
	testBodies(t, 500*time.Millisecond, testConfig{}, func(t *testing.T, b *bodyServer) {
		requireAllClosed(t, map[string]*rawConn{
			"without a body":     b.begin(t, http.MethodPost, "", b.negotiate(t), "", ""),
			"with half its body": b.begin(t, http.MethodPost, "", b.negotiate(t), "", "x"),
		}, 2*testTimeout)
	})
}

// Without any timeout of the HTTP server, the endpoint itself limits the pauses within a body to half a minute.
func TestRequestsWithoutTheirBodyEndWithoutTimeoutsOfTheServer(t *testing.T) {
	testBodies(t, 0, testConfig{EndpointOptions: hubsys.EndpointOptions{
		PollTimeout: 500 * time.Millisecond, CloseTimeout: time.Second, TransportSendTimeout: time.Minute,
	}}, func(t *testing.T, b *bodyServer) {
		conns := b.beginAll(t)
		other := conns["a request to another path"] // no endpoint limits its body
		delete(conns, "a request to another path")
		conns["a POST"] = b.begin(t, http.MethodPost, "", b.startPolling(t), "", "x")
		conns["a POST to a connection without a transport"] = b.begin(t, http.MethodPost, "", b.negotiate(t), "", "")
		requireAllClosed(t, conns, 2*testTimeout)
		require.NoError(t, other.conn.Close())
	})
}
