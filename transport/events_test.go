package transport_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/internal/link"
)

func TestTheHeadOfAnEventStream(t *testing.T) {
	s := newStage(t, scene{})
	g := s.negotiate(nil)
	e := g.stream()
	h := e.response.Header
	require.Equal(t, []string{"text/event-stream"}, h["Content-Type"])
	require.Equal(t, []string{"no-cache,no-store"}, h["Cache-Control"])
	require.Equal(t, []string{"no-cache"}, h["Pragma"])
	require.Equal(t, []string{"identity"}, h["Content-Encoding"])
	require.Equal(t, []string{"no"}, h["X-Accel-Buffering"])
	require.Equal(t, []string{"chunked"}, e.response.TransferEncoding)
	g.say(greeting)
	require.Equal(t, "data: {}"+separator+"\r\n", e.line())
	require.Equal(t, "\r\n", e.line())
}

func TestLinesOfAnEvent(t *testing.T) {
	for _, test := range []struct{ messages, want string }{
		{"a\x1e", "data: a\x1e\r\n\r\n"},
		{"", "data: \r\n\r\n"},
		{"a\x1e|b\x1e", "data: a\x1eb\x1e\r\n\r\n"},
		{"a\nb\x1e", "data: a\r\ndata: b\x1e\r\n\r\n"},
		{"a\r\nb\x1e", "data: a\r\ndata: b\x1e\r\n\r\n"},
		{"a\r\r\nb\x1e", "data: a\r\r\ndata: b\x1e\r\n\r\n"},
		{"\n\r\n\n", "data: \r\ndata: \r\ndata: \r\ndata: \r\n\r\n"},
		{"a\n|\nb", "data: a\r\ndata: \r\ndata: b\r\n\r\n"},
		{strings.Repeat("x", 5000) + "\n" + strings.Repeat("y", 5000), "data: " + strings.Repeat("x", 5000) + "\r\ndata: " + strings.Repeat("y", 5000) + "\r\n\r\n"},
	} {
		d := newDoor(t)
		session := newScript()
		d.accept = func(link.Transport) (anySession, error) { return session, nil }
		w := httptest.NewRecorder()
		done := d.knock(context.Background(), w, http.MethodGet, d.negotiate(t), accept, nil)
		var messages [][]byte
		for part := range strings.SplitSeq(test.messages, "|") {
			messages = append(messages, []byte(part))
		}
		session.output <- messages
		close(session.output)
		get(t, done)
		require.Equal(t, ":\r\n"+test.want, w.Body.String(), "%.100q", test.messages)
		require.True(t, w.Flushed)
	}
}

// broken is written in several lines.
type broken struct{}

func (broken) MarshalJSON() ([]byte, error) {
	return []byte("{\r\n\"a\":\n[\r1,\r\n\r\n\"\\n\"]}"), nil
}

func TestAValueInSeveralLines(t *testing.T) {
	s := newStage(t, scene{})
	_, e := s.attend(nil)
	require.NoError(t, s.hub.Clients().All().Send(context.Background(), "n", broken{}))
	e.got(`{"type":1,"target":"n","arguments":[{"a":[1,"\n"]}]}`)
}

func TestLargeEventsAndManyOfThem(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		s := newStage(t, scene{http2: h2})
		g, e := s.attend(nil)
		if h2 {
			require.Equal(t, 2, e.response.ProtoMajor)
		}
		g.say(call("1", "Long", 5<<20))
		e.got(strings.TrimSuffix(result("1", `"`+strings.Repeat("x", 5<<20)+`"`), separator))
		text := strings.Repeat("y", 300)
		var want []string
		for i := range 10000 {
			want = append(want, told("n", i, text))
		}
		sent := make(chan error, 1)
		go func() {
			for i := range 10000 {
				if err := s.hub.Clients().All().Send(context.Background(), "n", i, text); err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
		e.got(want...)
		require.NoError(t, get(t, sent))
	})
}

// Each event is there before the next one is asked for.
func TestEventsAreNotHeldBack(t *testing.T) {
	s := newStage(t, scene{})
	g, e := s.attend(nil)
	for i := range 100 {
		g.say(call(fmt.Sprint(i), "Echo", i))
		require.Equal(t, result(fmt.Sprint(i), fmt.Sprint(i)), e.next())
	}
}

func TestOneEventStreamForAConnection(t *testing.T) {
	s := newStage(t, scene{})
	g, e := s.attend(nil)
	s.do(http.MethodGet, g.path(), "", accept).is(t, http.StatusConflict, "")
	s.do(http.MethodGet, g.path(), "", nil).is(t, http.StatusBadRequest, "Cannot change transports mid-connection")
	s.do(http.MethodGet, g.path(), "", http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}).is(t, http.StatusBadRequest, "Cannot change transports mid-connection")
	g.remove().is(t, http.StatusBadRequest, "Cannot terminate this connection using the DELETE endpoint.")
	s.do(http.MethodPut, g.path(), "", nil).is(t, http.StatusMethodNotAllowed, "")
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		s.do(method, "/other?id="+g.token, "", nil).is(t, http.StatusNotFound, "No Connection with that ID")
		s.do(method, "/show?id="+g.id, "", nil).is(t, http.StatusNotFound, "No Connection with that ID")
		s.do(method, g.path()+"&id="+g.token, "", nil).is(t, http.StatusNotFound, "No Connection with that ID")
	}
	g.say(call("1", "Echo", 1)) // it has not suffered
	e.got(strings.TrimSuffix(result("1", "1"), separator))
}

func TestTransportsOfAnEndpoint(t *testing.T) {
	offers := map[hubsys.Transports]string{
		hubsys.WebSockets:       `{"transport":"WebSockets","transferFormats":["Text","Binary"]}`,
		hubsys.ServerSentEvents: `{"transport":"ServerSentEvents","transferFormats":["Text"]}`,
		hubsys.LongPolling:      `{"transport":"LongPolling","transferFormats":["Text","Binary"]}`,
	}
	upgrade := http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
	for mask := hubsys.Transports(0); mask <= hubsys.WebSockets|hubsys.ServerSentEvents|hubsys.LongPolling; mask++ {
		t.Run(fmt.Sprint(uint8(mask)), func(t *testing.T) {
			has := mask
			if mask == 0 {
				has = hubsys.WebSockets | hubsys.ServerSentEvents | hubsys.LongPolling
			}
			var asked atomic.Int64
			s := newStage(t, scene{left: 1, EndpointOptions: hubsys.EndpointOptions{
				Transports: mask,
				Authenticate: func(*http.Request) (*hubsys.Principal, error) {
					asked.Add(1)
					return nil, nil
				},
			}})
			var list []string
			for _, one := range []hubsys.Transports{hubsys.WebSockets, hubsys.ServerSentEvents, hubsys.LongPolling} {
				if has&one != 0 {
					list = append(list, offers[one])
				}
			}
			a := s.do(http.MethodPost, "/show/negotiate?negotiateVersion=1", "", nil)
			require.Contains(t, a.body, `"availableTransports":[`+strings.Join(list, ",")+`]}`)
			var n struct{ ConnectionToken string }
			require.NoError(t, json.Unmarshal([]byte(a.body), &n))
			require.EqualValues(t, 1, asked.Load())
			if has&hubsys.WebSockets == 0 {
				s.do(http.MethodGet, "/show?id="+n.ConnectionToken, "", upgrade).is(t, http.StatusNotFound, "WebSockets transport not supported by this end point type")
				s.do(http.MethodGet, "/show", "", upgrade).is(t, http.StatusNotFound, "WebSockets transport not supported by this end point type")
			}
			if has&hubsys.ServerSentEvents == 0 {
				s.do(http.MethodGet, "/show?id="+n.ConnectionToken, "", accept).is(t, http.StatusNotFound, "ServerSentEvents transport not supported by this end point type")
				s.do(http.MethodGet, "/show", "", accept).is(t, http.StatusBadRequest, "Connection ID required")
				s.do(http.MethodGet, "/show?id=x", "", accept).is(t, http.StatusNotFound, "No Connection with that ID")
			} else {
				s.attend(nil)
			}
			if has&hubsys.LongPolling == 0 {
				s.do(http.MethodGet, "/show?id="+n.ConnectionToken, "", nil).is(t, http.StatusNotFound, "LongPolling transport not supported by this end point type")
			} else {
				s.visit(nil)
			}
		})
	}
}

func TestBinaryOverAnEventStream(t *testing.T) {
	s := newStage(t, scene{})
	g := s.negotiate(nil)
	e := g.stream()
	g.say(`{"protocol":"messagepack","version":1}` + separator)
	e.got(`{"error":"Cannot use the 'messagepack' protocol on the current transport. The transport does not support 'Binary' transfer format."}`)
	e.eof()
	require.Empty(t, s.gone)
}

func TestRequestsOfAnotherUserAndAnEventStream(t *testing.T) {
	s := newStage(t, scene{EndpointOptions: hubsys.EndpointOptions{Authenticate: user}})
	g := s.negotiate(named("ann"))
	both := func(name string) http.Header { return http.Header{"User": {name}, "Accept": accept["Accept"]} }
	for header, status := range map[*http.Header]int{
		{"User": {"bob"}, "Accept": accept["Accept"]}:                    http.StatusForbidden,
		{"Accept": accept["Accept"]}:                                     http.StatusForbidden,
		{"User": {"ann"}, "Accept": accept["Accept"], "Refuse": {"401"}}: http.StatusUnauthorized,
		{"User": {"ann"}, "Accept": accept["Accept"], "Refuse": {"403"}}: http.StatusForbidden,
	} {
		s.do(http.MethodGet, g.path(), "", *header).is(t, status, "")
	}
	e := g.stream()
	s.do(http.MethodPost, g.path(), greeting, named("bob")).is(t, http.StatusForbidden, "")
	s.do(http.MethodPost, g.path(), greeting, g.with("Refuse", "401")).is(t, http.StatusUnauthorized, "")
	s.do(http.MethodGet, g.path(), "", both("bob")).is(t, http.StatusConflict, "")                                                                  // the transport is looked at first
	s.do(http.MethodDelete, g.path(), "", named("bob")).is(t, http.StatusBadRequest, "Cannot terminate this connection using the DELETE endpoint.") // here, too
	g.say(greeting)
	e.got("{}")
	g.say(call("1", "Who"))
	e.got(strings.TrimSuffix(result("1", `"ann"`), separator))
	require.Empty(t, s.gone)
}

func TestAnEventStreamThatVanishes(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		s := newStage(t, scene{http2: h2})
		g, e := s.attend(nil)
		e.cancel()
		require.NoError(t, s.disconnected())
		s.until("it is forgotten", func() bool { return g.post("x").status == http.StatusNotFound })
	})
}

func TestAnEventStreamThatVanishesInACall(t *testing.T) {
	s := newStage(t, scene{})
	g, e := s.attend(nil)
	g.say(call("1", "Tick", 1000000))
	e.next()
	e.cancel()
	require.NoError(t, s.disconnected())
}

func TestTheServerEndsAnEventStream(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		s := newStage(t, scene{http2: h2})
		g, e := s.attend(nil)
		g.say(call("", "Note", "a") + call("", "Abort"))
		e.got(`{"type":7}`)
		e.eof()
		require.NoError(t, s.disconnected())
		s.until("it is forgotten", func() bool { return g.post("x").status == http.StatusNotFound })
		s.do(http.MethodGet, g.path(), "", accept).is(t, http.StatusNotFound, "No Connection with that ID")
	})
}

func TestShutdownEndsEventStreams(t *testing.T) {
	s := newStage(t, scene{left: 1})
	waits := s.negotiate(nil)
	_, e := s.attend(nil)
	s.stopped = true
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	require.NoError(t, s.sys.Shutdown(ctx))
	e.got(`{"type":7,"allowReconnect":true}`)
	e.eof()
	require.NoError(t, s.disconnected())
	s.do(http.MethodGet, waits.path(), "", accept).is(t, http.StatusServiceUnavailable, "The server is shutting down.")
	s.do(http.MethodPost, "/show/negotiate", "", nil).is(t, http.StatusServiceUnavailable, "The server is shutting down.")
}

func TestCallsOverAnEventStream(t *testing.T) {
	s := newStage(t, scene{})
	g, e := s.attend(nil)
	converse(g, func() string { return e.next() })
}

func TestAnEventStreamOverTLS(t *testing.T) {
	s := newStage(t, scene{http2: true})
	s.client.Transport.(*http.Transport).TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	s.client.Transport.(*http.Transport).ForceAttemptHTTP2 = false
	s.client.Transport.(*http.Transport).TLSClientConfig.NextProtos = []string{"http/1.1"}
	g, e := s.attend(nil)
	require.Equal(t, 1, e.response.ProtoMajor)
	converse(g, func() string { return e.next() })
}
