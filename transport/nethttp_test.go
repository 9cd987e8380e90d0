package transport_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/link"
)

// pipeListener accepts in-memory connections. Within a synctest bubble their deadlines follow the bubble's clock.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

func (p *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipeListener) Close() error   { p.close(); return nil }
func (p *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

// pipeServer is an HTTP server of a testEndpoint over in-memory connections.
type pipeServer struct {
	*testEndpoint
	t       *testing.T
	pipes   *pipeListener
	session *testSession // of the first connection; others get new sessions
	links   chan link.Transport
}

func newPipeServer(t *testing.T, change func(*http.Server)) *pipeServer {
	s := &pipeServer{testEndpoint: newTestEndpoint(t), t: t, session: newTestSession(), links: make(chan link.Transport, 10)}
	s.accept = func(l link.Transport) (hubSession, error) {
		session := s.session
		if len(s.links) > 0 {
			session = newTestSession()
		}
		s.links <- l
		return session, nil
	}
	s.pipes = &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	s.pipes.close = sync.OnceFunc(func() { close(s.pipes.closed) })
	server := &http.Server{Handler: http.HandlerFunc(s.Connect)}
	if change != nil {
		change(server)
	}
	go func() { _ = server.Serve(s.pipes) }()
	t.Cleanup(func() { _ = server.Close() })
	return s
}

// pipeConn is the client's end of a connection.
type pipeConn struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

// dial opens a connection whose deadline is one hour.
func (s *pipeServer) dial() *pipeConn {
	ours, theirs := net.Pipe()
	s.pipes.conns <- theirs
	s.t.Cleanup(func() { _ = ours.Close() })
	require.NoError(s.t, ours.SetDeadline(time.Now().Add(time.Hour)))
	return &pipeConn{s.t, ours, bufio.NewReader(ours)}
}

// requestHead returns the head of a request.
func requestHead(method, token string, length int) string {
	return fmt.Sprintf("%s /test?id=%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", method, token, length)
}

// request sends a request, or a part of one, and waits for the response.
func (conn *pipeConn) request(request string) (status int, body string, err error) {
	if _, err = io.WriteString(conn.conn, request); err != nil {
		return 0, "", err
	}
	response, err := http.ReadResponse(conn.r, nil)
	if err != nil {
		return 0, "", err
	}
	b, err := io.ReadAll(response.Body)
	return response.StatusCode, string(b), err
}

// requestInBackground sends a request in a goroutine.
func (conn *pipeConn) requestInBackground(request string) (done chan httpResult) {
	done = make(chan httpResult, 1)
	go func() {
		status, body, err := conn.request(request)
		done <- httpResult{status: status, body: body, err: err}
	}()
	return done
}

func (conn *pipeConn) requireResponse(request string, status int, body string) {
	conn.t.Helper()
	gotStatus, gotBody, err := conn.request(request)
	require.NoError(conn.t, err)
	require.Equal(conn.t, status, gotStatus)
	require.Equal(conn.t, body, gotBody)
}

// A POST is not answered before the hub has room, because the client or a proxy then uses the TCP connection for other requests.
func TestAPostIsNotAnsweredBeforeThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newPipeServer(t, nil)
		busy := make(chan struct{})
		s.session.commit = func([]byte) { <-busy }
		one, other := s.negotiate(t), s.negotiate(t)
		conn := s.dial()
		conn.requireResponse(requestHead(http.MethodGet, one, 0), http.StatusOK, "")
		posted := conn.requestInBackground(requestHead(http.MethodPost, one, 1) + "x")
		synctest.Wait()
		require.Empty(t, posted)
		close(busy)
		require.Equal(t, httpResult{status: http.StatusOK}, <-posted)
		conn.requireResponse(requestHead(http.MethodGet, other, 0), http.StatusOK, "")
	})
}

// A middleware may have read the body already. Then net/http is in its background read, which must not meet a deadline of the body,
// however long the hub is busy.
func TestABodyThatAMiddlewareHasReadHasNoDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newPipeServer(t, func(server *http.Server) {
			next := server.Handler
			server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				all, _ := io.ReadAll(r.Body)
				r.Body = io.NopCloser(bytes.NewReader(all))
				next.ServeHTTP(w, r)
			})
		})
		s.session.commit = func([]byte) { time.Sleep(time.Minute) } // the hub is busy
		one, other := s.negotiate(t), s.negotiate(t)
		conn := s.dial()
		conn.requireResponse(requestHead(http.MethodGet, one, 0), http.StatusOK, "")
		conn.requireResponse(requestHead(http.MethodGet, other, 0), http.StatusOK, "")
		long := strings.Repeat("x", 10000)
		conn.requireResponse(requestHead(http.MethodPost, one, len(long))+long, http.StatusOK, "")
		start := time.Now()
		conn.requireResponse(requestHead(http.MethodGet, other, 0), http.StatusOK, "")
		require.GreaterOrEqual(t, time.Since(start), testTimeout, "a poll that does not wait")
	})
}

// The deadline that ends a body is not overwritten by the body's own deadline, even if both are set concurrently.
func TestAConnectionThatIsCutBetweenTwoReadsOfABody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newPipeServer(t, nil)
		s.session.commit = func([]byte) {
			(<-s.links).Cut()
			close(s.session.done)
		}
		token := s.negotiate(t)
		s.dial().requireResponse(requestHead(http.MethodGet, token, 0), http.StatusOK, "")
		start := time.Now()
		done := s.dial().requestInBackground(requestHead(http.MethodPost, token, 10) + "x")
		a := <-done
		if a.err == nil {
			require.Equal(t, http.StatusNotFound, a.status)
		}
		require.Less(t, time.Since(start), time.Second, "a POST outlives its connection")
	})
}

// The time that a body waits for another body does not count as a pause of its client.
func TestWaitingForAnotherBodyIsNoPause(t *testing.T) {
	e := newTestEndpoint(t)
	session, entered, busy := newTestSession(), make(chan struct{}, 2), make(chan struct{})
	session.commit = func([]byte) { entered <- struct{}{}; <-busy }
	e.accept = func(link.Transport) (hubSession, error) { return session, nil }
	came := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 2 { // the server's ReadTimeout is over when its turn comes
			assert.NoError(t, http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0)))
			close(came)
		}
		e.Connect(w, r)
	}))
	defer server.Close()
	dial := func() *pipeConn {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		require.NoError(t, conn.SetDeadline(time.Now().Add(testTimeout)))
		return &pipeConn{t, conn, bufio.NewReader(conn)}
	}
	token := e.negotiate(t)
	dial().requireResponse(requestHead(http.MethodGet, token, 0), http.StatusOK, "")
	dial().requestInBackground(requestHead(http.MethodPost, token, 1) + "a")
	receive(t, entered) // and waits for its turn
	conn := dial()
	_, err := io.WriteString(conn.conn, requestHead(http.MethodPost, token, 2))
	require.NoError(t, err)
	receive(t, came)
	go close(busy)
	conn.requireResponse("bb", http.StatusOK, "")
}

// An unfinished body that was begun before the session ends with the session.
func TestAnUnfinishedEarlyBodyEndsWithItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newPipeServer(t, nil)
		token := s.negotiate(t)
		done := s.dial().requestInBackground(requestHead(http.MethodPost, token, 10))
		synctest.Wait()
		s.dial().requireResponse(requestHead(http.MethodGet, token, 0), http.StatusOK, "")
		(<-s.links).Cut()
		a := <-done
		require.NotErrorIs(t, a.err, os.ErrDeadlineExceeded, "the POST is never answered")
	})
}

// The ReadTimeout of the server also limits the body of a poll: net/http does not answer before the body has ended or timed out.
func TestAPollWithoutItsBodyTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newPipeServer(t, func(server *http.Server) { server.ReadTimeout = time.Second })
		token := s.negotiate(t)
		s.dial().requireResponse(requestHead(http.MethodGet, token, 0), http.StatusOK, "")
		_, _, err := s.dial().request(requestHead(http.MethodGet, token, 10))
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the poll is never answered")
	})
}

// stuckWriter is the ResponseWriter of a client that does not read, so that only a deadline ends a write.
type stuckWriter struct {
	http.ResponseWriter
	flushing chan struct{}
	deadline chan struct{}
	expire   func()
}

func (w *stuckWriter) FlushError() error {
	close(w.flushing)
	<-w.deadline
	return os.ErrDeadlineExceeded
}

func (w *stuckWriter) SetWriteDeadline(t time.Time) error {
	if !t.IsZero() && t.Before(time.Now()) {
		w.expire()
	}
	return nil
}

func TestAnEventStreamThatIsCutWhileItOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newTestEndpoint(t)
		links := make(chan link.Transport, 1)
		e.accept = func(l link.Transport) (hubSession, error) {
			links <- l
			return newTestSession(), nil
		}
		w := &stuckWriter{ResponseWriter: httptest.NewRecorder(), flushing: make(chan struct{}), deadline: make(chan struct{})}
		w.expire = sync.OnceFunc(func() { close(w.deadline) })
		defer w.expire()
		done := e.serve(context.Background(), w, http.MethodGet, e.negotiate(t), acceptEvents, nil)
		<-w.flushing
		(<-links).Cut()
		synctest.Wait()
		select {
		case <-done:
		default:
			w.expire()
			<-done
			require.FailNow(t, "the request outlives its connection")
		}
	})
}
