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

// pipes is a listener without a network: in a bubble, the time of deadlines passes at once.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.close(); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

// porch is a door behind net/http.
type porch struct {
	*door
	t       *testing.T
	pipes   *pipes
	session *script // of the first connection; others have one of their own
	links   chan link.Transport
}

func newPorch(t *testing.T, change func(*http.Server)) *porch {
	p := &porch{door: newDoor(t), t: t, session: newScript(), links: make(chan link.Transport, 10)}
	p.accept = func(l link.Transport) (anySession, error) {
		session := p.session
		if len(p.links) > 0 {
			session = newScript()
		}
		p.links <- l
		return session, nil
	}
	p.pipes = &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	p.pipes.close = sync.OnceFunc(func() { close(p.pipes.closed) })
	server := &http.Server{Handler: http.HandlerFunc(p.Connect)}
	if change != nil {
		change(server)
	}
	go func() { _ = server.Serve(p.pipes) }()
	t.Cleanup(func() { _ = server.Close() })
	return p
}

// caller is a client's TCP connection.
type caller struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

// call opens one. What is not answered within an hour is not answered.
func (p *porch) call() *caller {
	ours, theirs := net.Pipe()
	p.pipes.conns <- theirs
	p.t.Cleanup(func() { _ = ours.Close() })
	require.NoError(p.t, ours.SetDeadline(time.Now().Add(time.Hour)))
	return &caller{p.t, ours, bufio.NewReader(ours)}
}

// head is a request without its body.
func head(method, token string, length int) string {
	return fmt.Sprintf("%s /door?id=%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", method, token, length)
}

// ask sends a request, or a part of it, and waits for the answer.
func (c *caller) ask(request string) (status int, body string, err error) {
	if _, err = io.WriteString(c.conn, request); err != nil {
		return 0, "", err
	}
	response, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return 0, "", err
	}
	b, err := io.ReadAll(response.Body)
	return response.StatusCode, string(b), err
}

// asking asks in the background.
func (c *caller) asking(request string) (done chan answer) {
	done = make(chan answer, 1)
	go func() {
		status, body, err := c.ask(request)
		done <- answer{status: status, body: body, err: err}
	}()
	return done
}

func (c *caller) is(request string, status int, body string) {
	c.t.Helper()
	gotStatus, gotBody, err := c.ask(request)
	require.NoError(c.t, err)
	require.Equal(c.t, status, gotStatus)
	require.Equal(c.t, body, gotBody)
}

// ---- requests that share a TCP connection

// When a POST has been answered, the client uses its TCP connection for something else, and a proxy for somebody else: until then it waits.
func TestAPostIsNotAnsweredBeforeThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPorch(t, nil)
		busy := make(chan struct{})
		p.session.commit = func([]byte) { <-busy }
		one, other := p.negotiate(t), p.negotiate(t)
		c := p.call()
		c.is(head(http.MethodGet, one, 0), http.StatusOK, "")
		posted := c.asking(head(http.MethodPost, one, 1) + "x")
		synctest.Wait()
		require.Empty(t, posted)
		close(busy)
		require.Equal(t, answer{status: http.StatusOK}, <-posted)
		c.is(head(http.MethodGet, other, 0), http.StatusOK, "")
	})
}

// A middleware may have read the body before. Then net/http reads on already, and must not meet the deadlines of the body, however long
// the hub is busy.
func TestABodyThatAMiddlewareHasRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPorch(t, func(server *http.Server) {
			next := server.Handler
			server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				all, _ := io.ReadAll(r.Body)
				r.Body = io.NopCloser(bytes.NewReader(all))
				next.ServeHTTP(w, r)
			})
		})
		p.session.commit = func([]byte) { time.Sleep(time.Minute) } // the hub is busy
		one, other := p.negotiate(t), p.negotiate(t)
		c := p.call()
		c.is(head(http.MethodGet, one, 0), http.StatusOK, "")
		c.is(head(http.MethodGet, other, 0), http.StatusOK, "")
		long := strings.Repeat("x", 10000)
		c.is(head(http.MethodPost, one, len(long))+long, http.StatusOK, "")
		start := time.Now()
		c.is(head(http.MethodGet, other, 0), http.StatusOK, "")
		require.GreaterOrEqual(t, time.Since(start), within, "a poll that does not wait")
	})
}

// ---- bodies and their deadlines

// What ends a body holds, although the body's own deadline is set at the same time.
func TestAConnectionThatIsCutBetweenTwoReadsOfABody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPorch(t, nil)
		p.session.commit = func([]byte) {
			(<-p.links).Cut()
			close(p.session.done)
		}
		token := p.negotiate(t)
		p.call().is(head(http.MethodGet, token, 0), http.StatusOK, "")
		start := time.Now()
		done := p.call().asking(head(http.MethodPost, token, 10) + "x")
		a := <-done
		if a.err == nil {
			require.Equal(t, http.StatusNotFound, a.status)
		}
		require.Less(t, time.Since(start), time.Second, "a POST outlives its connection")
	})
}

// What a body had to wait for another one is not its client's fault.
func TestABodyThatWaitedForLongerThanTheServerIsPatient(t *testing.T) {
	d := newDoor(t)
	session, entered, busy := newScript(), make(chan struct{}, 2), make(chan struct{})
	session.commit = func([]byte) { entered <- struct{}{}; <-busy }
	d.accept = func(link.Transport) (anySession, error) { return session, nil }
	came := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 2 { // the server's ReadTimeout is over when its turn comes
			assert.NoError(t, http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0)))
			close(came)
		}
		d.Connect(w, r)
	}))
	defer server.Close()
	dial := func() *caller {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		require.NoError(t, conn.SetDeadline(time.Now().Add(within)))
		return &caller{t, conn, bufio.NewReader(conn)}
	}
	token := d.negotiate(t)
	dial().is(head(http.MethodGet, token, 0), http.StatusOK, "")
	dial().asking(head(http.MethodPost, token, 1) + "a")
	get(t, entered) // and waits to be taken in
	c := dial()
	_, err := io.WriteString(c.conn, head(http.MethodPost, token, 2))
	require.NoError(t, err)
	get(t, came)
	go close(busy)
	c.is("bb", http.StatusOK, "")
}

// A body that does not come, begun before there was a session, does not outlive the session for ever.
func TestAnEarlyBodyThatDoesNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPorch(t, nil)
		token := p.negotiate(t)
		done := p.call().asking(head(http.MethodPost, token, 10))
		synctest.Wait()
		p.call().is(head(http.MethodGet, token, 0), http.StatusOK, "")
		(<-p.links).Cut()
		a := <-done
		require.NotErrorIs(t, a.err, os.ErrDeadlineExceeded, "the POST is never answered")
	})
}

// The server's patience is for the body of a poll, too: before it has come, or been given up, net/http answers nothing.
func TestAPollWhoseBodyDoesNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPorch(t, func(server *http.Server) { server.ReadTimeout = time.Second })
		token := p.negotiate(t)
		p.call().is(head(http.MethodGet, token, 0), http.StatusOK, "")
		_, _, err := p.call().ask(head(http.MethodGet, token, 10))
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the poll is never answered")
	})
}

// ---- Cut

// stuck is a client that takes nothing, so that only a deadline ends what is written.
type stuck struct {
	http.ResponseWriter
	flushing chan struct{}
	deadline chan struct{}
	expire   func()
}

func (w *stuck) FlushError() error {
	close(w.flushing)
	<-w.deadline
	return os.ErrDeadlineExceeded
}

func (w *stuck) SetWriteDeadline(t time.Time) error {
	if !t.IsZero() && t.Before(time.Now()) {
		w.expire()
	}
	return nil
}

func TestAnEventStreamThatIsCutWhileItOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t)
		links := make(chan link.Transport, 1)
		d.accept = func(l link.Transport) (anySession, error) {
			links <- l
			return newScript(), nil
		}
		w := &stuck{ResponseWriter: httptest.NewRecorder(), flushing: make(chan struct{}), deadline: make(chan struct{})}
		w.expire = sync.OnceFunc(func() { close(w.deadline) })
		defer w.expire()
		done := d.knock(context.Background(), w, http.MethodGet, d.negotiate(t), accept, nil)
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
