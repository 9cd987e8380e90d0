package transport_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/link"
	"github.com/troupe-go/troupe/transport"
)

// testEndpoint is an endpoint whose sessions are created by the test.
type testEndpoint struct {
	*transport.Endpoint
	authenticate func(*http.Request) (transport.Identity, error)
	accept       func(link.Transport) (hubSession, error)
	closing      atomic.Bool
	rooms        atomic.Int64 // that were reserved, and not released
}

// hubSession is a session over any kind of transport.
type hubSession interface {
	link.SocketSession
	link.FetchSession
}

func newTestEndpoint(t testing.TB) *testEndpoint {
	origins, err := transport.NewOrigins(nil, nil, false)
	require.NoError(t, err)
	e := &testEndpoint{}
	e.Endpoint = &transport.Endpoint{
		Acceptor: e, Transports: transport.AllTransports, Origins: origins, Tokens: transport.NewTokens([4]byte{}),
		Log: slog.New(slog.DiscardHandler), PollTimeout: testTimeout,
	}
	return e
}

func (e *testEndpoint) Authenticate(r *http.Request) (transport.Identity, error) {
	if e.authenticate != nil {
		return e.authenticate(r)
	}
	return transport.Identity{}, nil
}

func (e *testEndpoint) AcceptSocket(_ transport.Opening, s link.Socket) (link.SocketSession, error) {
	return e.newSession(s)
}

func (e *testEndpoint) AcceptFetcher(_ transport.Opening, f link.Fetcher) (link.FetchSession, error) {
	return e.newSession(f)
}

func (e *testEndpoint) newSession(t link.Transport) (hubSession, error) {
	if e.accept != nil {
		return e.accept(t)
	}
	return newTestSession(), nil
}

func (e *testEndpoint) Refresh(*http.Request, string, transport.Identity) (transport.Refreshed, error) {
	return nil, transport.ErrNotOpen
}

func (e *testEndpoint) Resumed(transport.Opening, link.SocketSession) {}

func (e *testEndpoint) Reserve(*http.Request, transport.Identity) error {
	e.rooms.Add(1)
	return nil
}

func (e *testEndpoint) Release(*http.Request, transport.Identity) { e.rooms.Add(-1) }

func (e *testEndpoint) IsClosing() bool { return e.closing.Load() }

func (e *testEndpoint) negotiate(t testing.TB) (token string) { return e.negotiateWith(t, "") }

// negotiateResumable negotiates a connection that may be resumed.
func (e *testEndpoint) negotiateResumable(t testing.TB) (token string) {
	return e.negotiateWith(t, "&useStatefulReconnect=true")
}

func (e *testEndpoint) negotiateWith(t testing.TB, query string) (token string) {
	w := httptest.NewRecorder()
	e.Negotiate(w, httptest.NewRequest(http.MethodPost, "/test/negotiate?negotiateVersion=1"+query, nil))
	var n struct{ ConnectionToken string }
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &n))
	return n.ConnectionToken
}

// serve serves a request in a goroutine.
func (e *testEndpoint) serve(ctx context.Context, w http.ResponseWriter, method, token string, header http.Header, body io.Reader) (done chan struct{}) {
	done = make(chan struct{})
	r := httptest.NewRequestWithContext(ctx, method, "/test?id="+token, body)
	for name, values := range header {
		r.Header[name] = values
	}
	go func() {
		defer close(done)
		e.Connect(w, r)
	}()
	return done
}

var acceptEvents = http.Header{"Accept": {"text/event-stream"}}

// testSession is a session that is controlled by the test.
type testSession struct {
	output chan [][]byte // closed at the end
	done   chan struct{}
	ended  chan error
	commit func(b []byte)

	mu     sync.Mutex
	buffer [4096]byte
	read   []byte
}

func newTestSession() *testSession {
	return &testSession{output: make(chan [][]byte), done: make(chan struct{}), ended: make(chan error, 10)}
}

func (s *testSession) Buffer() []byte { return s.buffer[:] }
func (s *testSession) Commit(n int) bool {
	if s.commit != nil && n > 0 {
		s.commit(s.buffer[:n])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read = append(s.read, s.buffer[:n]...)
	return true
}
func (s *testSession) CommitLast(n int) bool   { return s.Commit(n) }
func (s *testSession) Partial() bool           { return false }
func (s *testSession) End(err error)           { s.ended <- err }
func (s *testSession) Pong([]byte)             {}
func (s *testSession) Replaced()               {}
func (s *testSession) Lost() bool              { return false }
func (s *testSession) CanResume() bool         { return false }
func (s *testSession) Resume(link.Socket) bool { return false }
func (s *testSession) Leave(error)             {}
func (s *testSession) Done() <-chan struct{}   { return s.done }
func (s *testSession) Take(ctx context.Context) (link.Output, error) {
	select {
	case messages, more := <-s.output:
		if !more {
			return nil, io.EOF
		}
		return testOutput(messages), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// testOutput is output that is lost if it is not delivered.
type testOutput [][]byte

func (o testOutput) Messages() [][]byte { return o }
func (testOutput) Advance(int)          {}
func (testOutput) Done(bool)            {}
