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
	overBoth(t, func(t *testing.T, h2 bool) {
		s := newStage(t, scene{http2: h2})
		g := s.negotiate(nil)
		g.say(greeting) // something is there already
		a := g.poll()
		g.polls = true
		require.Empty(t, a.data(t))
		if h2 {
			require.Equal(t, 2, a.proto)
		}
		require.Equal(t, "{}"+separator, g.poll().data(t))
	})
}

func TestAPollTakesAllThatIsThere(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		s := newStage(t, scene{http2: h2})
		g := s.visit(nil)
		var want string
		for i := range 300 {
			s.send(t, i, strings.Repeat("é", i))
			want += told("n", i, strings.Repeat("é", i)) + separator
		}
		require.Equal(t, want, g.poll().data(t))
		waits, _ := g.polling()
		s.send(t, 1)
		require.Equal(t, told("n", 1)+separator, get(t, waits).data(t))
		g.say(call("1", "Long", 3<<20))
		require.Equal(t, result("1", `"`+strings.Repeat("x", 3<<20)+`"`), g.poll().data(t))
	})
}

func TestAPollThatBringsNothing(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		s := newStage(t, scene{http2: h2, server: hurried, EndpointOptions: hubsys.EndpointOptions{PollTimeout: 500 * time.Millisecond}})
		g := s.visit(nil)
		start := time.Now()
		a := g.poll()
		a.is(t, http.StatusOK, "")
		a.uncached(t)
		require.Equal(t, []string{"0"}, a.header["Content-Length"])
		require.GreaterOrEqual(t, time.Since(start), 500*time.Millisecond)
		s.send(t, 1)
		g.got(told("n", 1))
	})
}

func TestAPollReplacesAnother(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		s := newStage(t, scene{http2: h2})
		g := s.visit(nil)
		for i := range 20 {
			first, _ := g.polling()
			second, _ := g.polling()
			get(t, first).over(t)
			s.send(t, i)
			require.Equal(t, told("n", i)+separator, get(t, second).data(t))
		}
	})
}

// Each message comes with one poll or the other, whoever is faster.
func TestAPollReplacesAnotherThatHasSomething(t *testing.T) {
	s := newStage(t, scene{})
	g := s.visit(nil)
	var all string
	take := func(a answer) {
		require.NoError(t, a.err)
		require.Contains(t, []int{http.StatusOK, http.StatusNoContent}, a.status)
		all += a.body
	}
	for i := range 100 {
		first, _ := g.polling()
		done := make(chan error, 1)
		go func() { done <- s.hub.Clients().All().Send(context.Background(), "n", i) }()
		second := make(chan answer, 1)
		go func() { second <- g.try(context.Background(), http.MethodGet, g.path(), nil, nil) }()
		take(get(t, first))
		require.NoError(t, get(t, done))
		s.send(t, -1)
		take(get(t, second))
	}
	for strings.Count(all, separator) < 200 {
		take(g.poll())
	}
	n := 0
	for record := range strings.SplitSeq(strings.TrimSuffix(all, separator), separator) {
		if record != told("n", -1) {
			require.Equal(t, told("n", n), record)
			n++
		}
	}
	require.Equal(t, 100, n)
}

// Of two polls that wait for a third to end, the one that came last stays.
func TestTheNewestPollStays(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			d := newDoor(t)
			session := newScript()
			d.accept = func(link.Transport) (anySession, error) { return session, nil }
			token := d.negotiate(t)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			get(t, d.knock(ctx, httptest.NewRecorder(), http.MethodGet, token, nil, nil))
			slow := &gated{ResponseWriter: httptest.NewRecorder(), gate: make(chan struct{})}
			first := d.knock(ctx, slow, http.MethodGet, token, nil, nil)
			session.output <- [][]byte{[]byte("a\x1e")}
			synctest.Wait()
			// The older one is from a client that is gone: it cannot make use of anything.
			gone, leave := context.WithCancel(ctx)
			older, newer := httptest.NewRecorder(), httptest.NewRecorder()
			second := d.knock(gone, older, http.MethodGet, token, nil, nil)
			synctest.Wait()
			leave()
			synctest.Wait()
			third := d.knock(ctx, newer, http.MethodGet, token, nil, nil)
			synctest.Wait()
			close(slow.gate)
			get(t, first)
			get(t, second)
			synctest.Wait()
			select {
			case session.output <- [][]byte{[]byte("b\x1e")}:
			default:
			}
			get(t, third)
			require.Equal(t, http.StatusOK, newer.Code, "an older poll has replaced the newer one")
			require.Equal(t, "b\x1e", newer.Body.String())
		})
	}
}

// gated waits before it writes.
type gated struct {
	http.ResponseWriter
	gate chan struct{}
}

func (w *gated) Write(b []byte) (int, error) {
	<-w.gate
	return w.ResponseWriter.Write(b)
}

func TestAPollThatItsClientGivesUp(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		s := newStage(t, scene{http2: h2})
		g := s.visit(nil)
		for i := range 50 {
			first, abort := g.polling()
			abort()
			require.ErrorIs(t, get(t, first).err, context.Canceled)
			second, _ := g.polling() // the server has seen it
			s.send(t, i)
			require.Equal(t, told("n", i)+separator, get(t, second).data(t))
		}
		require.Empty(t, s.gone)
	})
}

func TestTenThousandMessagesToAClientThatPolls(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		s := newStage(t, scene{http2: h2})
		g := s.visit(nil)
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
			body := g.poll().data(t)
			require.True(t, strings.HasSuffix(body, separator), "half a message")
			n += strings.Count(body, separator)
			all.WriteString(body)
		}
		n := 0
		for record := range strings.SplitSeq(strings.TrimSuffix(all.String(), separator), separator) {
			require.Equal(t, told("n", n, text), record)
			n++
		}
		require.Equal(t, 10000, n)
		require.NoError(t, get(t, sent))
		require.Empty(t, s.gone)
	})
}

func TestNobodyPollsAndTheOutboxIsFull(t *testing.T) {
	s := newStage(t, scene{HubOptions: hubsys.HubOptions{OutboxLimit: 64 << 10}})
	g := s.visit(nil)
	for range 2 { // so that it is slower than most
		s.negotiate(nil).reads()
	}
	text := strings.Repeat("x", 10000)
	for len(s.gone) == 0 {
		s.send(t, text)
	}
	require.ErrorIs(t, s.disconnected(), hubsys.ErrSlowClient)
	s.until("it is forgotten", func() bool { return g.poll().status == http.StatusNotFound })
}

func TestAClientThatDoesNotReadItsPoll(t *testing.T) {
	s := newStage(t, scene{small: true, EndpointOptions: hubsys.EndpointOptions{TransportSendTimeout: time.Second}})
	g := s.visit(nil)
	g.say(call("1", "Long", 4<<20))
	h := &host{t: t, addr: s.server.Listener.Addr().String()}
	_, response := h.request("GET " + g.path() + " HTTP/1.1\r\nHost: host\r\n\r\n")
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.ErrorIs(t, s.disconnected(), hubsys.ErrSendTimeout)
	s.until("it is forgotten", func() bool { return g.poll().status == http.StatusNotFound })
}

func TestRequestsToAConnectionThatPolls(t *testing.T) {
	s := newStage(t, scene{})
	g := s.visit(nil)
	s.do(http.MethodGet, g.path(), "", accept).is(t, http.StatusBadRequest, "Cannot change transports mid-connection")
	s.do(http.MethodGet, g.path(), "", http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}).is(t, http.StatusBadRequest, "Cannot change transports mid-connection")
	s.do(http.MethodPut, g.path(), "", nil).is(t, http.StatusMethodNotAllowed, "")
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		for _, path := range []string{"/other?id=" + g.token, "/show?id=" + g.id, g.path() + "&ID=" + g.token, "/show?id=" + g.token + "x"} {
			a := s.do(method, path, "", nil)
			a.is(t, http.StatusNotFound, "No Connection with that ID")
			if method == http.MethodGet {
				a.uncached(t)
			}
		}
	}
	s.send(t, 1)
	require.Equal(t, told("n", 1)+separator, s.do(http.MethodGet, "/show?_=1&ID="+g.token, "", nil).data(t))
}

func TestPollsOfAnotherUser(t *testing.T) {
	s := newStage(t, scene{EndpointOptions: hubsys.EndpointOptions{Authenticate: user}})
	g := s.negotiate(named("ann"))
	refused := func(method string) {
		t.Helper()
		for header, status := range map[*http.Header]int{
			{"User": {"bob"}}:                    http.StatusForbidden,
			{}:                                   http.StatusForbidden,
			{"User": {"ann"}, "Refuse": {"401"}}: http.StatusUnauthorized,
			{"User": {"ann"}, "Refuse": {"403"}}: http.StatusForbidden,
		} {
			s.do(method, g.path(), greeting, *header).is(t, status, "")
		}
	}
	refused(http.MethodGet)
	refused(http.MethodPost)
	g.begin()
	refused(http.MethodPost)
	g.say(greeting)
	g.got("{}")
	waits, _ := g.polling()
	refused(http.MethodGet)
	refused(http.MethodPost)
	refused(http.MethodDelete)
	g.say(call("1", "Who"))
	require.Equal(t, result("1", `"ann"`), get(t, waits).data(t))
	require.Empty(t, s.gone)
	g.remove().is(t, http.StatusAccepted, "")
	require.NoError(t, s.disconnected())
}

func TestTheQueryOfTheFirstPoll(t *testing.T) {
	s := newStage(t, scene{})
	g := s.negotiate(nil)
	require.Empty(t, s.do(http.MethodGet, g.path()+"&q=first", "", nil).data(t))
	g.polls = true
	g.say(greeting + call("1", "Query"))
	all := ""
	for strings.Count(all, separator) < 2 {
		all += s.do(http.MethodGet, g.path()+"&q=second", "", nil).data(t)
	}
	require.Equal(t, "{}"+separator+result("1", `"first"`), all)
}

func TestCallsOverPolling(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		s := newStage(t, scene{http2: h2})
		g := s.visit(nil)
		converse(g, func() string { return g.poll().data(t) })
	})
}

func TestPollingBehindAMiddleware(t *testing.T) {
	for name, wrap := range map[string]func(http.ResponseWriter) http.ResponseWriter{
		"that unwraps":      func(w http.ResponseWriter) http.ResponseWriter { return &unwrapper{wrapper{w}} },
		"that cannot flush": func(w http.ResponseWriter) http.ResponseWriter { return &wrapper{w} },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, scene{wrap: func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(wrap(w), r) })
			}})
			g := s.visit(nil)
			converse(g, func() string { return g.poll().data(t) })
		})
	}
}

// Many clients at once, with a connection each.
func TestManyClientsThatPoll(t *testing.T) {
	s := newStage(t, scene{})
	const n = 100
	var guests []*guest
	for range n {
		guests = append(guests, s.visit(nil))
	}
	done := make(chan error, n)
	for _, g := range guests {
		go func() {
			all := ""
			for strings.Count(all, separator) < 20 {
				a := g.try(t.Context(), http.MethodGet, g.path(), nil, nil)
				if a.err != nil || a.status != http.StatusOK {
					done <- fmt.Errorf("%d %w", a.status, a.err)
					return
				}
				all += a.body
			}
			var want string
			for i := range 20 {
				want += told("n", i) + separator
			}
			if all != want {
				done <- fmt.Errorf("got %q", all)
				return
			}
			done <- nil
		}()
	}
	for i := range 20 {
		s.send(t, i)
	}
	for range n {
		require.NoError(t, get(t, done))
	}
}
