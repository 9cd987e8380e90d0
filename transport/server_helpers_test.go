package transport_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/hubsys"
)

// testHub is the hub of a testServer.
type testHub struct {
	hubsys.Hub
	srv *testServer
}

func (h *testHub) Echo(v any) any    { return v }
func (h *testHub) Long(n int) string { return strings.Repeat("x", n) }
func (h *testHub) Abort()            { h.Call().Abort() }
func (h *testHub) Note(text string)  { h.srv.notes <- text }

// Wait returns when the test calls releaseAll, even if its context has ended.
func (h *testHub) Wait() string {
	h.srv.waiting <- struct{}{}
	<-h.srv.release
	return "passed"
}

func (h *testHub) Flood(ctx context.Context, n, size int) error {
	text := strings.Repeat("x", size)
	for i := range n {
		if err := h.Clients().Caller().Send(ctx, "n", i, text); err != nil {
			return err
		}
	}
	return nil
}

func (h *testHub) Ask(ctx context.Context, question string) (string, error) {
	return hubsys.Invoke[string](ctx, h.Clients().Caller(), "answer", question)
}

func (h *testHub) Sum(items iter.Seq2[int, error]) (sum int, err error) {
	for item, err := range items {
		if err != nil {
			return 0, err
		}
		sum += item
	}
	return sum, nil
}

func (h *testHub) Count(n int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for i := range n {
			if !yield(i, nil) {
				return
			}
		}
	}
}

// Tick streams ten numbers a second.
func (h *testHub) Tick(ctx context.Context, n int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for i := range n {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
			if !yield(i, nil) {
				return
			}
		}
	}
}

func (h *testHub) Who() string   { return h.Call().UserID() }
func (h *testHub) Query() string { return h.Call().Request().Query("q") }

func (h *testHub) OnDisconnected(_ context.Context, cause error) error {
	h.srv.disconnected <- cause
	return nil
}

// testServer is a server with a testHub at /test and at /other.
type testServer struct {
	t            testing.TB
	sys          *hubsys.System
	hub          *hubsys.HubContext
	server       *httptest.Server
	client       *http.Client
	disconnected chan error // errors that OnDisconnected has received
	notes        chan string
	waiting      chan struct{} // running calls of Wait
	release      chan struct{}
	releaseAll   func()       // lets calls of Wait return
	fetches      atomic.Int64 // requests that have begun to wait for messages
	isShutdown   bool         // the test has shut down the system
}

type testConfig struct {
	hubsys.HubOptions
	hubsys.EndpointOptions
	configure    func(*httptest.Server)
	middleware   func(http.Handler) http.Handler
	http2        bool // over TLS
	smallBuffers bool // the server's connections have small sending buffers
	unopened     int  // negotiated connections without a transport at the end of the test
}

// fetchRecorder counts the requests that have begun to wait for messages: they clear their read deadline then.
type fetchRecorder struct {
	http.ResponseWriter
	srv *testServer
}

func (w *fetchRecorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
func (w *fetchRecorder) SetReadDeadline(t time.Time) error {
	err := http.NewResponseController(w.ResponseWriter).SetReadDeadline(t)
	w.srv.fetches.Add(1)
	return err
}

func requireNoLeaks(t testing.TB) {
	t.Cleanup(func() {
		goleak.VerifyNone(t,
			// Protoactor counts dead letters in a goroutine that runs for a second.
			goleak.IgnoreAnyFunction("github.com/asynkron/protoactor-go/actor.NewDeadLetter.NewThrottle.func4.1"),
			goleak.IgnoreAnyFunction("github.com/asynkron/protoactor-go/actor.NewThrottle.func1.1"))
	})
}

func newTestServer(t testing.TB, c testConfig) *testServer {
	t.Helper()
	requireNoLeaks(t)
	sys, err := hubsys.New(hubsys.Config{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	s := &testServer{t: t, sys: sys, disconnected: make(chan error, 1000), notes: make(chan string, 10000), waiting: make(chan struct{}, 100), release: make(chan struct{})}
	s.releaseAll = sync.OnceFunc(func() { close(s.release) })
	s.hub, err = hubsys.Register(sys, func(context.Context) (*testHub, error) { return &testHub{srv: s}, nil }, c.HubOptions)
	require.NoError(t, err)
	require.NoError(t, s.hub.Map("/test", c.EndpointOptions))
	require.NoError(t, s.hub.Map("/other", c.EndpointOptions))
	var handler http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { sys.ServeHTTP(&fetchRecorder{w, s}, r) })
	if c.middleware != nil {
		handler = c.middleware(handler)
	}
	s.server = httptest.NewUnstartedServer(handler)
	if c.smallBuffers {
		s.server.Listener = smallBufferListener{s.server.Listener}
	}
	s.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	if c.configure != nil {
		c.configure(s.server)
	}
	if c.http2 {
		s.server.EnableHTTP2 = true
		s.server.StartTLS()
		s.client = s.server.Client()
	} else {
		s.server.Start()
		s.client = &http.Client{Transport: &http.Transport{}}
	}
	t.Cleanup(func() {
		s.releaseAll()
		if !s.isShutdown {
			ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
			defer cancel()
			if err := sys.Shutdown(ctx); err != nil {
				t.Error(err)
			}
		}
		s.client.CloseIdleConnections()
		s.server.Close()
		if n := s.connectionCount(); n != c.unopened {
			t.Errorf("%d connections are left in the table, not %d", n, c.unopened)
		}
	})
	return s
}

// overHTTP1AndHTTP2 runs a test over HTTP/1.1 and over HTTP/2.
func overHTTP1AndHTTP2(t *testing.T, f func(t *testing.T, h2 bool)) {
	t.Run("HTTP/1.1", func(t *testing.T) { f(t, false) })
	t.Run("HTTP/2", func(t *testing.T) { f(t, true) })
}

// connectionCount returns the number of connections in the token table. It may only be called when no request is running.
func (s *testServer) connectionCount() int {
	return reflect.ValueOf(s.sys).Elem().FieldByName("tokens").Elem().FieldByName("byToken").Len()
}

func (s *testServer) eventually(what string, f func() bool) {
	s.t.Helper()
	require.Eventually(s.t, f, testTimeout, time.Millisecond, what)
}

func (s *testServer) requireDisconnected() error {
	s.t.Helper()
	return receive(s.t, s.disconnected)
}

// receive returns the next value of a channel, and fails the test after testTimeout.
func receive[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(testTimeout):
		require.FailNow(t, "nothing was received")
	}
	return v
}

// httpResult is a response with its whole body.
type httpResult struct {
	status int
	header http.Header
	body   string
	length int64
	proto  int
	err    error
}

// doContext sends a request, and reads the whole response.
func (s *testServer) doContext(ctx context.Context, method, path string, body io.Reader, header http.Header) (a httpResult) {
	r, err := http.NewRequestWithContext(ctx, method, s.server.URL+path, body)
	if err != nil {
		return httpResult{err: err}
	}
	for name, values := range header {
		r.Header[name] = values
	}
	response, err := s.client.Do(r)
	if err != nil {
		return httpResult{err: err}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return httpResult{response.StatusCode, response.Header, string(text), response.ContentLength, response.ProtoMajor, err}
}

func (s *testServer) do(method, path, body string, header http.Header) httpResult {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	a := s.doContext(ctx, method, path, strings.NewReader(body), header)
	require.NoError(s.t, a.err)
	return a
}

// requireText requires a response with this status and this text.
func (a httpResult) requireText(t testing.TB, status int, text string) {
	t.Helper()
	require.NoError(t, a.err)
	require.Equal(t, status, a.status, a.body)
	require.Equal(t, text, a.body)
	require.Equal(t, []string{"text/plain"}, a.header["Content-Type"])
}

// authenticateByHeader takes the user from the header User. The header Refuse makes it fail.
func authenticateByHeader(r *http.Request) (*hubsys.Principal, error) {
	switch r.Header.Get("Refuse") {
	case "":
		return &hubsys.Principal{UserID: r.Header.Get("User")}, nil
	case "403":
		return nil, fmt.Errorf("%w: for a test", hubsys.ErrForbidden)
	default:
		return nil, errors.New("unauthenticated")
	}
}

func userHeader(name string) http.Header { return http.Header{"User": {name}} }

func useShortTimeouts(server *httptest.Server) {
	server.Config.ReadTimeout, server.Config.WriteTimeout, server.Config.IdleTimeout = 500*time.Millisecond, 500*time.Millisecond, testTimeout
}

// opaqueWriter is a ResponseWriter of a middleware without Flush and Unwrap.
type opaqueWriter struct{ next http.ResponseWriter }

func (w *opaqueWriter) Header() http.Header         { return w.next.Header() }
func (w *opaqueWriter) Write(b []byte) (int, error) { return w.next.Write(b) }
func (w *opaqueWriter) WriteHeader(status int)      { w.next.WriteHeader(status) }

// unwrappingWriter is a ResponseWriter of a middleware with Unwrap.
type unwrappingWriter struct{ opaqueWriter }

func (w *unwrappingWriter) Unwrap() http.ResponseWriter { return w.next }
