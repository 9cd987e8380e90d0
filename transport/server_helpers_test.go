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

// show is the hub behind event streams and polls.
type show struct {
	hubsys.Hub
	s *stage
}

func (h *show) Echo(v any) any    { return v }
func (h *show) Long(n int) string { return strings.Repeat("x", n) }
func (h *show) Abort()            { h.Call().Abort() }
func (h *show) Note(text string)  { h.s.notes <- text }

// Wait returns when the test opens the gate, whatever becomes of its context.
func (h *show) Wait() string {
	h.s.entered <- struct{}{}
	<-h.s.gate
	return "passed"
}

func (h *show) Flood(ctx context.Context, n, size int) error {
	text := strings.Repeat("x", size)
	for i := range n {
		if err := h.Clients().Caller().Send(ctx, "n", i, text); err != nil {
			return err
		}
	}
	return nil
}

func (h *show) Ask(ctx context.Context, question string) (string, error) {
	return hubsys.Invoke[string](ctx, h.Clients().Caller(), "answer", question)
}

func (h *show) Sum(items iter.Seq2[int, error]) (sum int, err error) {
	for item, err := range items {
		if err != nil {
			return 0, err
		}
		sum += item
	}
	return sum, nil
}

func (h *show) Count(n int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for i := range n {
			if !yield(i, nil) {
				return
			}
		}
	}
}

// Tick counts as well, ten times a second.
func (h *show) Tick(ctx context.Context, n int) iter.Seq2[int, error] {
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

func (h *show) Who() string   { return h.Call().UserID() }
func (h *show) Query() string { return h.Call().Request().Query("q") }

func (h *show) OnDisconnected(_ context.Context, cause error) error {
	h.s.gone <- cause
	return nil
}

// stage is a server with the hub show on /show, and on /other.
type stage struct {
	t       testing.TB
	sys     *hubsys.System
	hub     *hubsys.HubContext
	server  *httptest.Server
	client  *http.Client
	gone    chan error // what OnDisconnected was told
	notes   chan string
	entered chan struct{} // calls of Wait
	gate    chan struct{}
	open    func()       // lets them return
	began   atomic.Int64 // requests that have begun to fetch
	stopped bool         // the test has shut down the system
}

type scene struct {
	hubsys.HubOptions
	hubsys.EndpointOptions
	server func(*httptest.Server)
	wrap   func(http.Handler) http.Handler
	http2  bool // over TLS
	small  bool // the server's connections have small sending buffers
	left   int  // connections that nobody has opened
}

// watch sees when a request begins to fetch: then it gets rid of its deadlines.
type watch struct {
	http.ResponseWriter
	s *stage
}

func (w *watch) Unwrap() http.ResponseWriter { return w.ResponseWriter }
func (w *watch) SetReadDeadline(t time.Time) error {
	err := http.NewResponseController(w.ResponseWriter).SetReadDeadline(t)
	w.s.began.Add(1)
	return err
}

func noLeaks(t testing.TB) {
	t.Cleanup(func() {
		goleak.VerifyNone(t,
			// Protoactor counts dead letters in a goroutine that lives for a second.
			goleak.IgnoreAnyFunction("github.com/asynkron/protoactor-go/actor.NewDeadLetter.NewThrottle.func4.1"),
			goleak.IgnoreAnyFunction("github.com/asynkron/protoactor-go/actor.NewThrottle.func1.1"))
	})
}

func newStage(t testing.TB, c scene) *stage {
	t.Helper()
	noLeaks(t)
	sys, err := hubsys.New(hubsys.Config{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	s := &stage{t: t, sys: sys, gone: make(chan error, 1000), notes: make(chan string, 10000), entered: make(chan struct{}, 100), gate: make(chan struct{})}
	s.open = sync.OnceFunc(func() { close(s.gate) })
	s.hub, err = hubsys.Register(sys, func(context.Context) (*show, error) { return &show{s: s}, nil }, c.HubOptions)
	require.NoError(t, err)
	require.NoError(t, s.hub.Map("/show", c.EndpointOptions))
	require.NoError(t, s.hub.Map("/other", c.EndpointOptions))
	var handler http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { sys.ServeHTTP(&watch{w, s}, r) })
	if c.wrap != nil {
		handler = c.wrap(handler)
	}
	s.server = httptest.NewUnstartedServer(handler)
	if c.small {
		s.server.Listener = smallBuffers{s.server.Listener}
	}
	s.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	if c.server != nil {
		c.server(s.server)
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
		s.open()
		if !s.stopped {
			ctx, cancel := context.WithTimeout(context.Background(), within)
			defer cancel()
			if err := sys.Shutdown(ctx); err != nil {
				t.Error(err)
			}
		}
		s.client.CloseIdleConnections()
		s.server.Close()
		if n := s.reservations(); n != c.left {
			t.Errorf("%d connections are left in the table, not %d", n, c.left)
		}
	})
	return s
}

// overBoth runs a test over HTTP/1.1 and over HTTP/2.
func overBoth(t *testing.T, f func(t *testing.T, h2 bool)) {
	t.Run("HTTP/1.1", func(t *testing.T) { f(t, false) })
	t.Run("HTTP/2", func(t *testing.T) { f(t, true) })
}

// reservations is the number of connections that can be named. It is for the end, when nobody changes it.
func (s *stage) reservations() int {
	return reflect.ValueOf(s.sys).Elem().FieldByName("tokens").Elem().FieldByName("byToken").Len()
}

func (s *stage) until(what string, f func() bool) {
	s.t.Helper()
	require.Eventually(s.t, f, within, time.Millisecond, what)
}

func (s *stage) disconnected() error {
	s.t.Helper()
	return get(s.t, s.gone)
}

// get waits for a value.
func get[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(within):
		require.FailNow(t, "nothing came")
	}
	return v
}

// answer is a response that has come whole.
type answer struct {
	status int
	header http.Header
	body   string
	length int64
	proto  int
	err    error
}

// try makes a request of the whole answer.
func (s *stage) try(ctx context.Context, method, path string, body io.Reader, header http.Header) (a answer) {
	r, err := http.NewRequestWithContext(ctx, method, s.server.URL+path, body)
	if err != nil {
		return answer{err: err}
	}
	for name, values := range header {
		r.Header[name] = values
	}
	response, err := s.client.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(text), response.ContentLength, response.ProtoMajor, err}
}

func (s *stage) do(method, path, body string, header http.Header) answer {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	a := s.try(ctx, method, path, strings.NewReader(body), header)
	require.NoError(s.t, a.err)
	return a
}

// is checks an answer that is a status and a text.
func (a answer) is(t testing.TB, status int, text string) {
	t.Helper()
	require.NoError(t, a.err)
	require.Equal(t, status, a.status, a.body)
	require.Equal(t, text, a.body)
	require.Equal(t, []string{"text/plain"}, a.header["Content-Type"])
}

// user is who the header User says, unless Refuse says that this request is refused.
func user(r *http.Request) (*hubsys.Principal, error) {
	switch r.Header.Get("Refuse") {
	case "":
		return &hubsys.Principal{UserID: r.Header.Get("User")}, nil
	case "403":
		return nil, fmt.Errorf("%w: for a test", hubsys.ErrForbidden)
	default:
		return nil, errors.New("who are you?")
	}
}

func named(name string) http.Header { return http.Header{"User": {name}} }

func hurried(server *httptest.Server) {
	server.Config.ReadTimeout, server.Config.WriteTimeout, server.Config.IdleTimeout = 200*time.Millisecond, 200*time.Millisecond, within
}

// wrapper is what a middleware hands on.
type wrapper struct{ inner http.ResponseWriter }

func (w *wrapper) Header() http.Header         { return w.inner.Header() }
func (w *wrapper) Write(b []byte) (int, error) { return w.inner.Write(b) }
func (w *wrapper) WriteHeader(status int)      { w.inner.WriteHeader(status) }

// unwrapper can do nothing itself.
type unwrapper struct{ wrapper }

func (w *unwrapper) Unwrap() http.ResponseWriter { return w.inner }
