package transport_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/internal/link"
)

func TestTheFirstPollIsAnsweredAtOnce(t *testing.T) {
	overHTTP1AndHTTP2(t, func(t *testing.T, h2 bool) {
		s := newTestServer(t, testConfig{http2: h2})
		c := s.negotiate(nil)
		c.mustPost(handshakeJSON) // a message is available already
		a := c.poll()
		c.isPolling = true
		require.Empty(t, a.requirePolled(t))
		if h2 {
			require.Equal(t, 2, a.proto)
		}
		require.Equal(t, "{}"+separator, c.poll().requirePolled(t))
	})
}

func TestAPollTakesAllThatIsThere(t *testing.T) {
	overHTTP1AndHTTP2(t, func(t *testing.T, h2 bool) {
		s := newTestServer(t, testConfig{http2: h2})
		c := s.connectPolling(nil)
		var want string
		for i := range 300 {
			s.sendAll(t, i, strings.Repeat("é", i))
			want += invocation("n", i, strings.Repeat("é", i)) + separator
		}
		require.Equal(t, want, c.poll().requirePolled(t))
		waitingPoll, _ := c.pollInBackground()
		s.sendAll(t, 1)
		require.Equal(t, invocation("n", 1)+separator, receive(t, waitingPoll).requirePolled(t))
		c.mustPost(invocationJSON("1", "Long", 3<<20))
		require.Equal(t, completionJSON("1", `"`+strings.Repeat("x", 3<<20)+`"`), c.poll().requirePolled(t))
	})
}

func TestAPollThatBringsNothing(t *testing.T) {
	overHTTP1AndHTTP2(t, func(t *testing.T, h2 bool) {
		s := newTestServer(t, testConfig{
			http2: h2, configure: useShortTimeouts, EndpointOptions: hubsys.EndpointOptions{PollTimeout: time.Second},
		})
		c := s.connectPolling(nil)
		start := time.Now()
		a := c.poll()
		a.requireText(t, http.StatusOK, "")
		a.requireUncached(t)
		require.Equal(t, []string{"0"}, a.header["Content-Length"])
		require.GreaterOrEqual(t, time.Since(start), time.Second)
		s.sendAll(t, 1)
		c.requireMessages(invocation("n", 1))
	})
}

func TestAPollReplacesAnother(t *testing.T) {
	overHTTP1AndHTTP2(t, func(t *testing.T, h2 bool) {
		s := newTestServer(t, testConfig{http2: h2})
		c := s.connectPolling(nil)
		for i := range 20 {
			first, _ := c.pollInBackground()
			second, _ := c.pollInBackground()
			receive(t, first).requireClosed(t)
			s.sendAll(t, i)
			require.Equal(t, invocation("n", i)+separator, receive(t, second).requirePolled(t))
		}
	})
}

// Each message is delivered by exactly one of the polls.
func TestAPollThatReplacesAnotherLosesNoMessages(t *testing.T) {
	s := newTestServer(t, testConfig{})
	c := s.connectPolling(nil)
	var all string
	take := func(a httpResult) {
		require.NoError(t, a.err)
		require.Contains(t, []int{http.StatusOK, http.StatusNoContent}, a.status)
		all += a.body
	}
	for i := range 100 {
		first, _ := c.pollInBackground()
		done := make(chan error, 1)
		go func() { done <- s.hub.Clients().All().Send(context.Background(), "n", i) }()
		second := make(chan httpResult, 1)
		go func() { second <- c.doContext(context.Background(), http.MethodGet, c.path(), nil, nil) }()
		take(receive(t, first))
		require.NoError(t, receive(t, done))
		s.sendAll(t, -1)
		take(receive(t, second))
	}
	for strings.Count(all, separator) < 200 {
		take(c.poll())
	}
	n := 0
	for record := range strings.SplitSeq(strings.TrimSuffix(all, separator), separator) {
		if record != invocation("n", -1) {
			require.Equal(t, invocation("n", n), record)
			n++
		}
	}
	require.Equal(t, 100, n)
}

// Of two polls that wait for a third one to end, the newest remains.
func TestTheNewestPollStays(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			e := newTestEndpoint(t)
			session := newTestSession()
			e.accept = func(link.Transport) (hubSession, error) { return session, nil }
			token := e.negotiate(t)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			receive(t, e.serve(ctx, httptest.NewRecorder(), http.MethodGet, token, nil, nil))
			slow := &gatedWriter{ResponseWriter: httptest.NewRecorder(), proceed: make(chan struct{})}
			first := e.serve(ctx, slow, http.MethodGet, token, nil, nil)
			session.output <- [][]byte{[]byte("a\x1e")}
			synctest.Wait()
			// The client of the older poll is gone, so the poll must not take any messages.
			canceledCtx, cancelOlder := context.WithCancel(ctx)
			older, newer := httptest.NewRecorder(), httptest.NewRecorder()
			second := e.serve(canceledCtx, older, http.MethodGet, token, nil, nil)
			synctest.Wait()
			cancelOlder()
			synctest.Wait()
			third := e.serve(ctx, newer, http.MethodGet, token, nil, nil)
			synctest.Wait()
			close(slow.proceed)
			receive(t, first)
			receive(t, second)
			synctest.Wait()
			select {
			case session.output <- [][]byte{[]byte("b\x1e")}:
			default:
			}
			receive(t, third)
			require.Equal(t, http.StatusOK, newer.Code, "the newest poll remains")
			require.Equal(t, "b\x1e", newer.Body.String())
		})
	}
}

// gatedWriter waits for the test before it writes.
type gatedWriter struct {
	http.ResponseWriter
	proceed chan struct{}
}

func (w *gatedWriter) Write(b []byte) (int, error) {
	<-w.proceed
	return w.ResponseWriter.Write(b)
}

func TestACanceledPollLosesNoMessages(t *testing.T) {
	overHTTP1AndHTTP2(t, func(t *testing.T, h2 bool) {
		s := newTestServer(t, testConfig{http2: h2})
		c := s.connectPolling(nil)
		for i := range 50 {
			first, abort := c.pollInBackground()
			abort()
			require.ErrorIs(t, receive(t, first).err, context.Canceled)
			second, _ := c.pollInBackground() // the server has seen it
			s.sendAll(t, i)
			require.Equal(t, invocation("n", i)+separator, receive(t, second).requirePolled(t))
		}
		require.Empty(t, s.disconnected)
	})
}

func TestTenThousandMessagesToAClientThatPolls(t *testing.T) {
	overHTTP1AndHTTP2(t, func(t *testing.T, h2 bool) {
		s := newTestServer(t, testConfig{http2: h2})
		c := s.connectPolling(nil)
		sent := make(chan error, 1)
		text := strings.Repeat("x", 50)
		go func() {
			for i := range 10000 {
				if err := s.hub.Clients().All().Send(context.Background(), "n", i, text); err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
		var all strings.Builder
		for n := 0; n < 10000; {
			body := c.poll().requirePolled(t)
			require.True(t, strings.HasSuffix(body, separator), "half a message")
			n += strings.Count(body, separator)
			all.WriteString(body)
		}
		n := 0
		for record := range strings.SplitSeq(strings.TrimSuffix(all.String(), separator), separator) {
			require.Equal(t, invocation("n", n, text), record)
			n++
		}
		require.Equal(t, 10000, n)
		require.NoError(t, receive(t, sent))
		require.Empty(t, s.disconnected)
	})
}

func TestAClientThatDoesNotPollIsDisconnectedWhenItsOutboxIsFull(t *testing.T) {
	s := newTestServer(t, testConfig{HubOptions: hubsys.HubOptions{OutboxLimit: 64 << 10}})
	c := s.connectPolling(nil)
	for range 2 { // so that the other one is slower than most clients
		s.negotiate(nil).openDrainedEvents()
	}
	text := strings.Repeat("x", 10000)
	for len(s.disconnected) == 0 {
		s.sendAll(t, text)
	}
	require.ErrorIs(t, s.requireDisconnected(), hubsys.ErrSlowClient)
	s.eventually("the connection is forgotten", func() bool { return c.poll().status == http.StatusNotFound })
}

func TestAClientThatDoesNotReadItsPollIsDisconnected(t *testing.T) {
	s := newTestServer(t, testConfig{smallBuffers: true, EndpointOptions: hubsys.EndpointOptions{TransportSendTimeout: time.Second}})
	c := s.connectPolling(nil)
	c.mustPost(invocationJSON("1", "Long", 4<<20))
	h := &socketServer{t: t, addr: s.server.Listener.Addr().String()}
	_, response := h.request("GET " + c.path() + " HTTP/1.1\r\nHost: host\r\n\r\n")
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.ErrorIs(t, s.requireDisconnected(), hubsys.ErrSendTimeout)
	s.eventually("the connection is forgotten", func() bool { return c.poll().status == http.StatusNotFound })
}

func TestRequestsToAConnectionThatPolls(t *testing.T) {
	s := newTestServer(t, testConfig{})
	c := s.connectPolling(nil)
	s.do(http.MethodGet, c.path(), "", acceptEvents).requireText(t, http.StatusBadRequest, "Cannot change transports mid-connection")
	s.do(http.MethodGet, c.path(), "", http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}).requireText(t, http.StatusBadRequest, "Cannot change transports mid-connection")
	s.do(http.MethodPut, c.path(), "", nil).requireText(t, http.StatusMethodNotAllowed, "")
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		for _, path := range []string{"/other?id=" + c.token, "/test?id=" + c.id, c.path() + "&ID=" + c.token, "/test?id=" + c.token + "x"} {
			a := s.do(method, path, "", nil)
			a.requireText(t, http.StatusNotFound, "No Connection with that ID")
			if method == http.MethodGet {
				a.requireUncached(t)
			}
		}
	}
	s.sendAll(t, 1)
	require.Equal(t, invocation("n", 1)+separator, s.do(http.MethodGet, "/test?_=1&ID="+c.token, "", nil).requirePolled(t))
}

func TestPollsOfAnotherUser(t *testing.T) {
	s := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{Authenticate: authenticateByHeader}})
	c := s.negotiate(userHeader("ann"))
	refused := func(method string) {
		t.Helper()
		for header, status := range map[*http.Header]int{
			{"User": {"bob"}}:                    http.StatusForbidden,
			{}:                                   http.StatusForbidden,
			{"User": {"ann"}, "Refuse": {"401"}}: http.StatusUnauthorized,
			{"User": {"ann"}, "Refuse": {"403"}}: http.StatusForbidden,
		} {
			s.do(method, c.path(), handshakeJSON, *header).requireText(t, status, "")
		}
	}
	refused(http.MethodGet)
	refused(http.MethodPost)
	c.startPolling()
	refused(http.MethodPost)
	c.mustPost(handshakeJSON)
	c.requireMessages("{}")
	waitingPoll, _ := c.pollInBackground()
	refused(http.MethodGet)
	refused(http.MethodPost)
	refused(http.MethodDelete)
	c.mustPost(invocationJSON("1", "Who"))
	require.Equal(t, completionJSON("1", `"ann"`), receive(t, waitingPoll).requirePolled(t))
	require.Empty(t, s.disconnected)
	c.delete().requireText(t, http.StatusAccepted, "")
	require.NoError(t, s.requireDisconnected())
}

func TestTheQueryOfTheFirstPoll(t *testing.T) {
	s := newTestServer(t, testConfig{})
	c := s.negotiate(nil)
	require.Empty(t, s.do(http.MethodGet, c.path()+"&q=first", "", nil).requirePolled(t))
	c.isPolling = true
	c.mustPost(handshakeJSON + invocationJSON("1", "Query"))
	all := ""
	for strings.Count(all, separator) < 2 {
		all += s.do(http.MethodGet, c.path()+"&q=second", "", nil).requirePolled(t)
	}
	require.Equal(t, "{}"+separator+completionJSON("1", `"first"`), all)
}

func TestCallsOverPolling(t *testing.T) {
	overHTTP1AndHTTP2(t, func(t *testing.T, h2 bool) {
		s := newTestServer(t, testConfig{http2: h2})
		c := s.connectPolling(nil)
		testCalls(c, func() string { return c.poll().requirePolled(t) })
	})
}

func TestPollingBehindAMiddleware(t *testing.T) {
	for name, wrap := range map[string]func(http.ResponseWriter) http.ResponseWriter{
		"that unwraps":      func(w http.ResponseWriter) http.ResponseWriter { return &unwrappingWriter{opaqueWriter{w}} },
		"that cannot flush": func(w http.ResponseWriter) http.ResponseWriter { return &opaqueWriter{w} },
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestServer(t, testConfig{middleware: func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(wrap(w), r) })
			}})
			c := s.connectPolling(nil)
			testCalls(c, func() string { return c.poll().requirePolled(t) })
		})
	}
}

// Many clients poll concurrently, with a connection each.
func TestManyClientsThatPoll(t *testing.T) {
	s := newTestServer(t, testConfig{})
	const n = 100
	var clients []*testClient
	for range n {
		clients = append(clients, s.connectPolling(nil))
	}
	done := make(chan error, n)
	for _, c := range clients {
		go func() {
			all := ""
			for strings.Count(all, separator) < 20 {
				a := c.doContext(t.Context(), http.MethodGet, c.path(), nil, nil)
				if a.err != nil || a.status != http.StatusOK {
					done <- fmt.Errorf("%d %w", a.status, a.err)
					return
				}
				all += a.body
			}
			var want string
			for i := range 20 {
				want += invocation("n", i) + separator
			}
			if all != want {
				done <- fmt.Errorf("got %q", all)
				return
			}
			done <- nil
		}()
	}
	for i := range 20 {
		s.sendAll(t, i)
	}
	for range n {
		require.NoError(t, receive(t, done))
	}
}
