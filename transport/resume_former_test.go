package transport_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/link"
)

// resumableSession is a session that can be resumed, as long as its test wants that.
type resumableSession struct {
	*testSession
	mu      sync.Mutex
	closing bool
	sockets []link.Socket // that it was resumed over
	losses  int

	replaced func() // when another socket takes the place of one; nil: nothing
}

func (s *resumableSession) Replaced() {
	if s.replaced != nil {
		s.replaced()
	}
}

func (s *resumableSession) CanResume() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.closing
}

func (s *resumableSession) Lost() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.losses++
	return !s.closing
}

func (s *resumableSession) Resume(socket link.Socket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sockets = append(s.sockets, socket)
	return !s.closing
}

// close begins to close the connection.
func (s *resumableSession) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	close(s.done)
}

// resumableEndpoint is an endpoint with one such connection.
type resumableEndpoint struct {
	*socketServer
	session *resumableSession
	path    string
	first   *rawConn
	reading chan struct{} // gets something when the session is to take what has been read
	release func()        // lets it do so
	closing *atomic.Bool  // the server refuses new connections
}

func newResumableEndpoint(t *testing.T) *resumableEndpoint {
	requireNoLeaks(t)
	e := newTestEndpoint(t)
	e.Resumes = true
	r := &resumableEndpoint{session: &resumableSession{testSession: newTestSession()}, reading: make(chan struct{}), closing: &e.closing}
	gate := make(chan struct{})
	r.release = sync.OnceFunc(func() { close(gate) })
	t.Cleanup(r.release)
	r.session.commit = func([]byte) { r.reading <- struct{}{}; <-gate }
	e.accept = func(link.Transport) (hubSession, error) { return r.session, nil }
	server := httptest.NewServer(http.HandlerFunc(e.Connect))
	t.Cleanup(server.Close)
	r.socketServer = &socketServer{t: t, addr: server.Listener.Addr().String()}
	r.path = "/test?id=" + e.negotiateResumable(t)
	var response *http.Response
	r.first, response = r.request(upgradeRequest(r.path, nil))
	require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
	return r
}

func (r *resumableEndpoint) resume() (*rawConn, int) {
	r.t.Helper()
	p, response := r.request(upgradeRequest(r.path, nil))
	return p, response.StatusCode
}

// mustResume is resume for requests one after the other. The one before may not have ended when it has been answered.
func (r *resumableEndpoint) mustResume() *rawConn {
	r.t.Helper()
	for {
		p, status := r.resume()
		if status != http.StatusConflict {
			require.Equal(r.t, http.StatusSwitchingProtocols, status)
			return p
		}
	}
}

// end closes the connection, and waits until its token is released.
func (r *resumableEndpoint) end(sockets ...*rawConn) {
	r.t.Helper()
	r.session.close()
	for _, p := range sockets {
		p.conn.Close()
	}
	require.Eventually(r.t, func() bool { _, status := r.resume(); return status == http.StatusNotFound }, testTimeout, time.Millisecond)
}

// While one request waits for the reader of the former WebSocket, another one is refused.
func TestASecondRequestToResumeAtOnce(t *testing.T) {
	r := newResumableEndpoint(t)
	r.first.write(text, true, "x")
	receive(t, r.reading)
	one := make(chan int)
	var p *rawConn
	go func() {
		var status int
		p, status = r.resume()
		one <- status
	}()
	require.Eventually(t, func() bool { _, _, err := r.first.tryRead(); return err != nil }, testTimeout, time.Millisecond, "the former one is cut")
	_, status := r.resume()
	require.Equal(t, http.StatusConflict, status)
	r.release()
	require.Equal(t, http.StatusSwitchingProtocols, receive(t, one))
	q := r.mustResume() // later it is not
	require.Empty(t, r.session.ended)
	r.end(p, q)
}

// A reader that waits for the hub is waited for, but not for ever, and the client may try again.
func TestAFormerWebSocketWhoseReaderWaits(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 5 s")
	}
	r := newResumableEndpoint(t)
	r.first.write(text, true, "x")
	receive(t, r.reading)
	_, status := r.resume()
	require.Equal(t, http.StatusNoContent, status)
	r.release()
	r.end(r.mustResume())
}

// Nobody comes back: when the connection ends, its token is released, and the goroutine that has waited ends.
func TestTheTokenOfALostConnectionIsReleased(t *testing.T) {
	for _, resumed := range []int{0, 1, 3} {
		t.Run(fmt.Sprint("resumed ", resumed), func(t *testing.T) {
			r := newResumableEndpoint(t)
			p := r.first
			for range resumed {
				q := r.mustResume()
				_, _, err := p.tryRead()
				require.Error(t, err)
				p = q
			}
			p.conn.Close()
			require.Eventually(t, func() bool {
				r.session.mu.Lock()
				defer r.session.mu.Unlock()
				return r.session.losses == resumed+1
			}, testTimeout, time.Millisecond)
			r.end()
			require.Empty(t, r.session.ended)
			require.Len(t, r.session.sockets, resumed)
		})
	}
}

// A connection that begins to close between the request and the upgrade does not keep the WebSocket.
func TestAConnectionThatClosesWhileItIsResumed(t *testing.T) {
	r := newResumableEndpoint(t)
	r.first.write(text, true, "x")
	receive(t, r.reading)
	one := make(chan int)
	go func() {
		_, status := r.resume()
		one <- status
	}()
	require.Eventually(t, func() bool { _, _, err := r.first.tryRead(); return err != nil }, testTimeout, time.Millisecond)
	r.session.close()
	require.Equal(t, http.StatusNoContent, receive(t, one))
	r.release()
	require.NoError(t, receive(t, r.session.ended), "the reader of the former one ends it")
	require.Eventually(t, func() bool { _, status := r.resume(); return status == http.StatusNotFound }, testTimeout, time.Millisecond)
}

// A close frame ends the connection, over whichever WebSocket it comes.
func TestACloseFrameEndsAResumedConnection(t *testing.T) {
	r := newResumableEndpoint(t)
	p, q := r.mustResume(), r.mustResume()
	q.write(closeOpcode, true, closeFrame(1000, ""))
	require.NoError(t, receive(t, r.session.ended))
	require.Eventually(t, func() bool { _, status := r.resume(); return status == http.StatusNotFound }, testTimeout, time.Millisecond)
	p.conn.Close()
	require.Equal(t, 2, r.session.losses)
}

// A reader that waits for the hub is told that its socket was cut: it need not wait for calls that take long.
func TestTheReaderOfAFormerSocketIsTold(t *testing.T) {
	r := newResumableEndpoint(t)
	r.session.replaced = r.release
	r.first.write(text, true, "it waits")
	receive(t, r.reading)
	began := time.Now()
	second, status := r.resume()
	require.Equal(t, http.StatusSwitchingProtocols, status)
	require.Less(t, time.Since(began), 4*time.Second)
	second.conn.Close()
	r.session.close()
}
