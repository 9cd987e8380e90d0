package transport_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/link"
	"github.com/troupe-go/troupe/transport"
)

// door is an endpoint whose connections the test makes.
type door struct {
	*transport.Endpoint
	authenticate func(*http.Request) (transport.Identity, error)
	accept       func(link.Transport) (anySession, error)
}

// anySession is one over either kind of link.
type anySession interface {
	link.SocketSession
	link.FetchSession
}

func newDoor(t testing.TB) *door {
	origins, err := transport.NewOrigins(nil, false)
	require.NoError(t, err)
	d := &door{}
	d.Endpoint = &transport.Endpoint{
		Acceptor: d, Transports: transport.AllTransports, Origins: origins, Tokens: transport.NewTokens([4]byte{}),
		Log: slog.New(slog.DiscardHandler), PollTimeout: within,
	}
	return d
}

func (d *door) Authenticate(r *http.Request) (transport.Identity, error) {
	if d.authenticate != nil {
		return d.authenticate(r)
	}
	return transport.Identity{}, nil
}

func (d *door) AcceptSocket(_ transport.Opening, s link.Socket) (link.SocketSession, error) {
	return d.open(s)
}

func (d *door) AcceptFetcher(_ transport.Opening, f link.Fetcher) (link.FetchSession, error) {
	return d.open(f)
}

func (d *door) open(t link.Transport) (anySession, error) {
	if d.accept != nil {
		return d.accept(t)
	}
	return newScript(), nil
}

func (d *door) IsClosing() bool { return false }

func (d *door) negotiate(t testing.TB) (token string) {
	w := httptest.NewRecorder()
	d.Negotiate(w, httptest.NewRequest(http.MethodPost, "/door/negotiate?negotiateVersion=1", nil))
	var n struct{ ConnectionToken string }
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &n))
	return n.ConnectionToken
}

// knock makes a request of a door in the background.
func (d *door) knock(ctx context.Context, w http.ResponseWriter, method, token string, header http.Header, body io.Reader) (done chan struct{}) {
	done = make(chan struct{})
	r := httptest.NewRequestWithContext(ctx, method, "/door?id="+token, body)
	for name, values := range header {
		r.Header[name] = values
	}
	go func() {
		defer close(done)
		d.Connect(w, r)
	}()
	return done
}

var accept = http.Header{"Accept": {"text/event-stream"}}

// script is a session that the test plays.
type script struct {
	output chan [][]byte // closed at the end
	done   chan struct{}
	ended  chan error
	commit func(b []byte)

	mu     sync.Mutex
	buffer [4096]byte
	read   []byte
}

func newScript() *script {
	return &script{output: make(chan [][]byte), done: make(chan struct{}), ended: make(chan error, 10)}
}

func (s *script) Buffer() []byte { return s.buffer[:] }
func (s *script) Commit(n int) bool {
	if s.commit != nil && n > 0 {
		s.commit(s.buffer[:n])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read = append(s.read, s.buffer[:n]...)
	return true
}
func (s *script) CommitLast(n int) bool { return s.Commit(n) }
func (s *script) Partial() bool         { return false }
func (s *script) End(err error)         { s.ended <- err }
func (s *script) Pong([]byte)           {}
func (s *script) Leave(error)           {}
func (s *script) Done() <-chan struct{} { return s.done }
func (s *script) Take(ctx context.Context) (link.Output, error) {
	select {
	case messages, more := <-s.output:
		if !more {
			return nil, io.EOF
		}
		return scripted(messages), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// scripted is output that is lost if it is not delivered.
type scripted [][]byte

func (o scripted) Messages() [][]byte { return o }
func (scripted) Advance(int)          {}
func (scripted) Done(bool)            {}
