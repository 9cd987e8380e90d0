package transport_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/internal/link"
)

func TestWhatIsPostedBeforeTheTransport(t *testing.T) {
	for name, open := range map[string]func(c *testClient) (got func(...string)){
		"polling": func(c *testClient) func(...string) {
			c.startPolling()
			return func(r ...string) { c.requireMessages(r...) }
		},
		"events": func(c *testClient) func(...string) { return c.openEvents().requireMessages },
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestServer(t, testConfig{})
			c := s.negotiate(nil)
			c.mustPost(handshakeJSON[:5])
			c.mustPost("")
			c.mustPost(handshakeJSON[5:] + invocationJSON("1", "Echo", 1)[:9])
			c.mustPost(invocationJSON("1", "Echo", 1)[9:])
			got := open(c)
			got("{}", strings.TrimSuffix(completionJSON("1", "1"), separator))
		})
	}
}

func TestHowMuchIsKeptBeforeTheTransport(t *testing.T) {
	const tooMuch = "At most 4096 bytes can be sent before the connection has its transport."
	s := newTestServer(t, testConfig{})
	c := s.negotiate(nil)
	padding := strings.Repeat(" ", 4096-len(handshakeJSON)-1)
	first := handshakeJSON[:len(handshakeJSON)-2] + padding + handshakeJSON[len(handshakeJSON)-2:]
	require.Len(t, first, 4095)
	c.post(strings.Repeat("x", 4097)).requireText(t, http.StatusRequestEntityTooLarge, tooMuch)
	c.post(strings.Repeat("x", 1<<20)).requireText(t, http.StatusRequestEntityTooLarge, tooMuch)
	c.mustPost(first)
	c.post("xx").requireText(t, http.StatusRequestEntityTooLarge, tooMuch)
	c.mustPost("{")
	c.post("x").requireText(t, http.StatusRequestEntityTooLarge, tooMuch)
	c.mustPost("")
	c.startPolling()
	c.mustPost(strings.TrimPrefix(invocationJSON("1", "Echo", 1), "{"))
	c.requireMessages("{}", strings.TrimSuffix(completionJSON("1", "1"), separator))
}

func TestAnIncompleteBodyBeforeTheTransportIsDiscarded(t *testing.T) {
	s := newTestServer(t, testConfig{})
	c := s.negotiate(nil)
	h := &socketServer{t: t, addr: s.server.Listener.Addr().String()}
	conn := h.dialTCP()
	_, err := io.WriteString(conn.conn, "POST "+c.path()+" HTTP/1.1\r\nHost: host\r\nContent-Length: 100\r\n\r\nhalf")
	require.NoError(t, err)
	require.NoError(t, conn.conn.CloseWrite())
	response, err := http.ReadResponse(conn.r, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusBadRequest, response.StatusCode)
	c.startPolling() // nothing of the body is kept
	c.mustPost(handshakeJSON)
	c.requireMessages("{}")
}

// dialTCP opens a connection that is ready for a request.
func (h *socketServer) dialTCP() *rawConn {
	h.t.Helper()
	p, response := h.request("OPTIONS /nowhere HTTP/1.1\r\nHost: host\r\n\r\n")
	_, err := io.Copy(io.Discard, response.Body)
	require.NoError(h.t, err)
	return p
}

// A body that is being read when the connection gets its transport is not interleaved with later bodies.
func TestABodyIsNotInterleavedWhenTheTransportStarts(t *testing.T) {
	e := newTestEndpoint(t)
	session := newTestSession()
	e.accept = func(link.Transport) (hubSession, error) { return session, nil }
	token := e.negotiate(t)
	ctx := context.Background()
	long := strings.Repeat("a", 5000)
	body := &hookedReader{text: long, before: func() {
		receive(t, e.serve(ctx, httptest.NewRecorder(), http.MethodGet, token, nil, nil))
	}}
	var other chan struct{}
	w := &deadlineWriter{ResponseWriter: httptest.NewRecorder(), during: func() {
		other = e.serve(ctx, httptest.NewRecorder(), http.MethodPost, token, nil, strings.NewReader("bbb"))
		select {
		case <-other: // it was read first
		case <-time.After(100 * time.Millisecond): // it waits for the first body
		}
	}}
	receive(t, e.serve(ctx, w, http.MethodPost, token, nil, body))
	receive(t, other)
	session.mu.Lock()
	defer session.mu.Unlock()
	require.Contains(t, []string{long + "bbb", "bbb" + long}, string(session.read))
}

// hookedReader calls a function before its last bytes.
type hookedReader struct {
	text   string
	before func()
}

func (r *hookedReader) Read(b []byte) (int, error) {
	if r.text == "" {
		return 0, io.EOF
	}
	if len(r.text) < 3000 && r.before != nil {
		r.before()
		r.before = nil
	}
	n := copy(b[:min(len(b), 1000)], r.text)
	r.text = r.text[n:]
	return n, nil
}

// deadlineWriter calls a function when its write deadline is set.
type deadlineWriter struct {
	http.ResponseWriter
	during func()
}

func (w *deadlineWriter) SetWriteDeadline(time.Time) error {
	if during := w.during; during != nil {
		w.during = nil
		during()
	}
	return nil
}

func TestRecordsMaySpanBodies(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(fmt.Sprint(h2), func(t *testing.T) {
			s := newTestServer(t, testConfig{http2: h2})
			c, e := s.connectEvents(nil)
			all := invocationJSON("", "Note", "a") + invocationJSON("", "Note", "é") + invocationJSON("", "Note", "c")
			for i := range len(all) { // parts of messages and of characters
				c.mustPost(all[i : i+1])
			}
			c.mustPost(all)
			for range 2 {
				for _, want := range []string{"a", "é", "c"} {
					require.Equal(t, want, receive(t, s.notes))
				}
			}
			r, w := io.Pipe()
			done := c.postInBackground(r)
			for i := range len(all) {
				_, err := io.WriteString(w, all[i:i+1])
				require.NoError(t, err)
			}
			for _, want := range []string{"a", "é", "c"} {
				require.Equal(t, want, receive(t, s.notes), "before the body has ended")
			}
			select {
			case <-done:
				require.FailNow(t, "answered before the body has ended")
			default:
			}
			require.NoError(t, w.Close())
			receive(t, done).requireText(t, http.StatusOK, "")
			c.mustPost(invocationJSON("1", "Echo", 1))
			e.requireMessages(strings.TrimSuffix(completionJSON("1", "1"), separator))
		})
	}
}

func TestBodiesAtOnce(t *testing.T) {
	s := newTestServer(t, testConfig{})
	c := s.connectPolling(nil)
	const posters, each = 4, 50
	var all sync.WaitGroup
	for p := range posters {
		all.Go(func() {
			for i := range each {
				var b strings.Builder
				for k := range 20 {
					b.WriteString(invocationJSON("", "Note", fmt.Sprintf("%d %d %d %s", p, i, k, strings.Repeat("x", 500))))
				}
				if a := c.doContext(context.Background(), http.MethodPost, c.path(), strings.NewReader(b.String()), nil); a.status != http.StatusOK {
					panic(fmt.Sprint(a))
				}
			}
		})
	}
	next := map[int]int{} // of each poster, and of the current body
	body, count := -1, 0
	for range posters * each * 20 {
		var p, i, k int
		_, err := fmt.Sscanf(receive(t, s.notes), "%d %d %d", &p, &i, &k)
		require.NoError(t, err)
		require.Equal(t, next[p], i*20+k, "poster %d", p)
		next[p]++
		if count > 0 {
			require.Equal(t, body, p, "two bodies are mixed")
		}
		if body, count = p, count+1; count == 20 {
			count = 0
		}
	}
	all.Wait()
	require.Empty(t, s.disconnected)
}

func TestABodyThatBreaksOff(t *testing.T) {
	s := newTestServer(t, testConfig{})
	c, e := s.connectEvents(nil)
	h := &socketServer{t: t, addr: s.server.Listener.Addr().String()}
	for _, body := range []string{"", invocationJSON("", "Note", "a")} {
		conn := h.dialTCP()
		_, err := io.WriteString(conn.conn, "POST "+c.path()+" HTTP/1.1\r\nHost: host\r\nContent-Length: 1000\r\n\r\n"+body)
		require.NoError(t, err)
		require.NoError(t, conn.conn.CloseWrite())
		response, err := http.ReadResponse(conn.r, nil)
		require.NoError(t, err)
		text, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		httpResult{status: response.StatusCode, header: response.Header, body: string(text)}.requireText(t, http.StatusBadRequest, "")
	}
	require.Equal(t, "a", receive(t, s.notes))
	c.mustPost(invocationJSON("1", "Echo", 1))
	e.requireMessages(strings.TrimSuffix(completionJSON("1", "1"), separator))
}

func TestABodyAboveTheLimitOfMessages(t *testing.T) {
	s := newTestServer(t, testConfig{})
	c, e := s.connectEvents(nil)
	c.mustPost(strings.Repeat(invocationJSON("", "Note", strings.Repeat("x", 1000)), 100)) // the limit applies to each message
	for range 100 {
		receive(t, s.notes)
	}
	c.post(invocationJSON("1", "Note", strings.Repeat("x", 40000)))
	e.requireMessages(`{"type":7,"error":"Connection closed with an error.","allowReconnect":true}`)
	e.requireEOF()
	require.Error(t, s.requireDisconnected())

	c = s.connectPolling(nil)
	c.post(invocationJSON("1", "Note", strings.Repeat("x", 40000)))
	c.requireMessages(`{"type":7,"error":"Connection closed with an error.","allowReconnect":true}`)
	c.poll().requireClosed(t)
	require.Error(t, s.requireDisconnected())
}

// callsBeyondInboundLimit returns a call of Wait, and more calls than InboundLimit allows to wait behind it.
func callsBeyondInboundLimit() string {
	return invocationJSON("1", "Wait") + strings.Repeat(invocationJSON("", "Note", strings.Repeat("x", 1000)), 2000)
}

func TestABodyWaitsForTheHub(t *testing.T) {
	for name, change := range map[string]func(*httptest.Server){"": func(*httptest.Server) {}, "with short server timeouts": useShortTimeouts} {
		overHTTP1AndHTTP2(t, func(t *testing.T, h2 bool) {
			t.Run(strings.TrimSpace("body "+name), func(t *testing.T) {
				s := newTestServer(t, testConfig{http2: h2, configure: change, HubOptions: hubsys.HubOptions{InboundLimit: 64 << 10}})
				c := s.connectPolling(nil)
				done := c.postInBackground(strings.NewReader(callsBeyondInboundLimit()))
				receive(t, s.waiting)
				other := c.postInBackground(strings.NewReader(invocationJSON("", "Note", "other")))
				select {
				case a := <-done:
					require.FailNow(t, "answered while the hub is busy", "%d %q", a.status, a.body)
				case <-other:
					require.FailNow(t, "one body has overtaken the other")
				case <-time.After(1100 * time.Millisecond): // longer than the timeouts of the server
				}
				s.releaseAll()
				receive(t, done).requireText(t, http.StatusOK, "")
				receive(t, other).requireText(t, http.StatusOK, "")
				for range 2000 {
					receive(t, s.notes)
				}
				require.Equal(t, "other", receive(t, s.notes))
			})
		})
	}
}

func TestTheConnectionEndsWhileABodyWaits(t *testing.T) {
	s := newTestServer(t, testConfig{HubOptions: hubsys.HubOptions{InboundLimit: 64 << 10}})
	c := s.connectPolling(nil)
	done := c.postInBackground(strings.NewReader(callsBeyondInboundLimit()))
	receive(t, s.waiting)
	other := c.postInBackground(strings.NewReader(invocationJSON("", "Note", "other")))
	select {
	case <-done:
		require.FailNow(t, "answered while the hub is busy")
	case <-time.After(100 * time.Millisecond):
	}
	c.delete().requireText(t, http.StatusAccepted, "")
	receive(t, done).requireText(t, http.StatusNotFound, "")
	receive(t, other).requireText(t, http.StatusNotFound, "")
	s.releaseAll() // what was received is executed
	require.NoError(t, s.requireDisconnected())
}

// A body of a slow or vanished client ends with its connection, and so does a body that waits for it.
func TestTheConnectionEndsWhileABodyIsSlow(t *testing.T) {
	s := newTestServer(t, testConfig{})
	c := s.connectPolling(nil)
	r, w := io.Pipe()
	defer w.Close()
	done := c.postInBackground(r)
	_, err := io.WriteString(w, invocationJSON("", "Note", "a"))
	require.NoError(t, err)
	require.Equal(t, "a", receive(t, s.notes))
	other := c.postInBackground(strings.NewReader(invocationJSON("", "Note", "b")))
	c.delete().requireText(t, http.StatusAccepted, "")
	require.NoError(t, s.requireDisconnected())
	for _, one := range []chan httpResult{done, other} {
		select {
		case a := <-one:
			require.True(t, errors.Is(a.err, io.EOF) || a.status == http.StatusNotFound, "%v", a)
		case <-time.After(3 * time.Second):
			require.FailNow(t, "a POST hangs behind its connection")
		}
	}
}

func TestPostsToAWebSocket(t *testing.T) {
	s := newTestServer(t, testConfig{})
	c := s.negotiate(nil)
	h := &socketServer{t: t, addr: s.server.Listener.Addr().String()}
	p, response := h.request(upgradeRequest(c.path(), nil))
	require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
	c.post(handshakeJSON).requireText(t, http.StatusMethodNotAllowed, "POST requests are not allowed for WebSocket connections.")
	c.delete().requireText(t, http.StatusBadRequest, "Cannot terminate this connection using the DELETE endpoint.")
	s.do(http.MethodGet, c.path(), "", acceptEvents).requireText(t, http.StatusBadRequest, "Cannot change transports mid-connection")
	s.do(http.MethodGet, c.path(), "", nil).requireText(t, http.StatusBadRequest, "Cannot change transports mid-connection")
	p.handshake() // the connection still works
	p.write(closeOpcode, true, "")
	p.requireClose(1000)
	p.requireEOF()
	require.NoError(t, s.requireDisconnected())
	s.eventually("the connection is forgotten", func() bool { return c.post("").status == http.StatusNotFound })
}

func TestPostsBeforeAWebSocket(t *testing.T) {
	s := newTestServer(t, testConfig{})
	c := s.negotiate(nil)
	c.mustPost(handshakeJSON + invocationJSON("1", "Echo", 1))
	h := &socketServer{t: t, addr: s.server.Listener.Addr().String()}
	p, response := h.request(upgradeRequest(c.path(), nil))
	require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)
	got, want := "", "{}"+separator+completionJSON("1", "1")
	for len(got) < len(want) {
		got += p.text()
	}
	require.Equal(t, want, got)
	p.write(closeOpcode, true, "")
	p.requireClose(1000)
	p.requireEOF()
	s.eventually("the connection is forgotten", func() bool { return c.post("").status == http.StatusNotFound })
}

// A POST is not answered with 200 if its connection has expired meanwhile.
func TestAPostIsNotAcceptedIfItsConnectionExpires(t *testing.T) {
	e := newTestEndpoint(t)
	e.Tokens.Limit = 1
	token := e.negotiate(t)
	w := httptest.NewRecorder()
	receive(t, e.serve(context.Background(), w, http.MethodPost, token, nil, &hookedReader{text: "abc", before: func() { e.negotiate(t) }}))
	require.Equal(t, http.StatusNotFound, w.Code)
}

// The memory for bodies of connections without a transport is limited by the number of such connections.
func TestBodiesOfUnopenedConnectionsAreLimited(t *testing.T) {
	e := newTestEndpoint(t)
	e.Tokens.Limit = 10
	var tokens []string
	for range 100 {
		token := e.negotiate(t)
		w := httptest.NewRecorder()
		receive(t, e.serve(context.Background(), w, http.MethodPost, token, nil, strings.NewReader(strings.Repeat("x", 4096))))
		require.Equal(t, http.StatusOK, w.Code)
		tokens = append(tokens, token)
	}
	known := 0
	for _, token := range tokens {
		w := httptest.NewRecorder()
		receive(t, e.serve(context.Background(), w, http.MethodPost, token, nil, nil))
		if w.Code == http.StatusOK {
			known++
		}
	}
	require.Equal(t, 10, known)
}

// After the body, net/http reads on in the background to detect a disconnect. The deadline that ends a POST may end that read instead of
// the body's, and with it the contexts of all later requests on the TCP connection.
func TestACutPostDoesNotAffectOtherRequestsOfItsTCPConnection(t *testing.T) {
	var atEnd atomic.Pointer[func()]
	s := newTestServer(t, testConfig{middleware: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Body = eofHookBody{r.Body, &atEnd}
			next.ServeHTTP(w, r)
		})
	}})
	for range 20 {
		c, other := s.connectPolling(nil), s.connectPolling(nil)
		cut := func() {
			c.delete().requireText(t, http.StatusAccepted, "")
			require.NoError(t, s.requireDisconnected())
		}
		atEnd.Store(&cut)
		c.post(invocationJSON("", "Note", "x"))
		waitingPoll, _ := other.pollInBackground()
		other.mustPost(invocationJSON("1", "Echo", 1))
		require.Equal(t, completionJSON("1", "1"), receive(t, waitingPoll).requirePolled(t))
	}
}

// eofHookBody calls a function at the end of the body.
type eofHookBody struct {
	io.ReadCloser
	atEnd *atomic.Pointer[func()]
}

func (b eofHookBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		if hook := b.atEnd.Swap(nil); hook != nil {
			(*hook)()
		}
	}
	return n, err
}
