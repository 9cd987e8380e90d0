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
	s := newTestServer(t, testConfig{})
	c := s.negotiate(nil)
	e := c.openEvents()
	h := e.response.Header
	require.Equal(t, []string{"text/event-stream"}, h["Content-Type"])
	require.Equal(t, []string{"no-cache,no-store"}, h["Cache-Control"])
	require.Equal(t, []string{"no-cache"}, h["Pragma"])
	require.Equal(t, []string{"identity"}, h["Content-Encoding"])
	require.Equal(t, []string{"no"}, h["X-Accel-Buffering"])
	require.Equal(t, []string{"chunked"}, e.response.TransferEncoding)
	c.mustPost(handshakeJSON)
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
		e := newTestEndpoint(t)
		session := newTestSession()
		e.accept = func(link.Transport) (hubSession, error) { return session, nil }
		w := httptest.NewRecorder()
		done := e.serve(context.Background(), w, http.MethodGet, e.negotiate(t), acceptEvents, nil)
		var messages [][]byte
		for part := range strings.SplitSeq(test.messages, "|") {
			messages = append(messages, []byte(part))
		}
		session.output <- messages
		close(session.output)
		receive(t, done)
		require.Equal(t, ":\r\n"+test.want, w.Body.String(), "%.100q", test.messages)
		require.True(t, w.Flushed)
	}
}

// multilineJSON is encoded in several lines.
type multilineJSON struct{}

func (multilineJSON) MarshalJSON() ([]byte, error) {
	return []byte("{\r\n\"a\":\n[\r1,\r\n\r\n\"\\n\"]}"), nil
}

func TestAValueInSeveralLines(t *testing.T) {
	s := newTestServer(t, testConfig{})
	_, e := s.connectEvents(nil)
	require.NoError(t, s.hub.Clients().All().Send(context.Background(), "n", multilineJSON{}))
	e.requireMessages(`{"type":1,"target":"n","arguments":[{"a":[1,"\n"]}]}`)
}

func TestLargeEventsAndManyOfThem(t *testing.T) {
	overHTTP1AndHTTP2(t, func(t *testing.T, h2 bool) {
		s := newTestServer(t, testConfig{http2: h2})
		c, e := s.connectEvents(nil)
		if h2 {
			require.Equal(t, 2, e.response.ProtoMajor)
		}
		c.mustPost(invocationJSON("1", "Long", 5<<20))
		e.requireMessages(strings.TrimSuffix(completionJSON("1", `"`+strings.Repeat("x", 5<<20)+`"`), separator))
		text := strings.Repeat("y", 300)
		var want []string
		for i := range 10000 {
			want = append(want, invocation("n", i, text))
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
		e.requireMessages(want...)
		require.NoError(t, receive(t, sent))
	})
}

// Each event is received before the next one is requested.
func TestEventsAreNotHeldBack(t *testing.T) {
	s := newTestServer(t, testConfig{})
	c, e := s.connectEvents(nil)
	for i := range 100 {
		c.mustPost(invocationJSON(fmt.Sprint(i), "Echo", i))
		require.Equal(t, completionJSON(fmt.Sprint(i), fmt.Sprint(i)), e.next())
	}
}

func TestOneEventStreamForAConnection(t *testing.T) {
	s := newTestServer(t, testConfig{})
	c, e := s.connectEvents(nil)
	s.do(http.MethodGet, c.path(), "", acceptEvents).requireText(t, http.StatusConflict, "")
	s.do(http.MethodGet, c.path(), "", nil).requireText(t, http.StatusBadRequest, "Cannot change transports mid-connection")
	s.do(http.MethodGet, c.path(), "", http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}).requireText(t, http.StatusBadRequest, "Cannot change transports mid-connection")
	c.delete().requireText(t, http.StatusBadRequest, "Cannot terminate this connection using the DELETE endpoint.")
	s.do(http.MethodPut, c.path(), "", nil).requireText(t, http.StatusMethodNotAllowed, "")
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		s.do(method, "/other?id="+c.token, "", nil).requireText(t, http.StatusNotFound, "No Connection with that ID")
		s.do(method, "/test?id="+c.id, "", nil).requireText(t, http.StatusNotFound, "No Connection with that ID")
		s.do(method, c.path()+"&id="+c.token, "", nil).requireText(t, http.StatusNotFound, "No Connection with that ID")
	}
	c.mustPost(invocationJSON("1", "Echo", 1)) // the connection still works
	e.requireMessages(strings.TrimSuffix(completionJSON("1", "1"), separator))
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
			s := newTestServer(t, testConfig{unopened: 1, EndpointOptions: hubsys.EndpointOptions{
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
			a := s.do(http.MethodPost, "/test/negotiate?negotiateVersion=1", "", nil)
			require.Contains(t, a.body, `"availableTransports":[`+strings.Join(list, ",")+`]}`)
			var n struct{ ConnectionToken string }
			require.NoError(t, json.Unmarshal([]byte(a.body), &n))
			require.EqualValues(t, 1, asked.Load())
			if has&hubsys.WebSockets == 0 {
				s.do(http.MethodGet, "/test?id="+n.ConnectionToken, "", upgrade).requireText(t, http.StatusNotFound, "WebSockets transport not supported by this end point type")
				s.do(http.MethodGet, "/test", "", upgrade).requireText(t, http.StatusNotFound, "WebSockets transport not supported by this end point type")
			}
			if has&hubsys.ServerSentEvents == 0 {
				s.do(http.MethodGet, "/test?id="+n.ConnectionToken, "", acceptEvents).requireText(t, http.StatusNotFound, "ServerSentEvents transport not supported by this end point type")
				s.do(http.MethodGet, "/test", "", acceptEvents).requireText(t, http.StatusBadRequest, "Connection ID required")
				s.do(http.MethodGet, "/test?id=x", "", acceptEvents).requireText(t, http.StatusNotFound, "No Connection with that ID")
			} else {
				s.connectEvents(nil)
			}
			if has&hubsys.LongPolling == 0 {
				s.do(http.MethodGet, "/test?id="+n.ConnectionToken, "", nil).requireText(t, http.StatusNotFound, "LongPolling transport not supported by this end point type")
			} else {
				s.connectPolling(nil)
			}
		})
	}
}

func TestBinaryOverAnEventStream(t *testing.T) {
	s := newTestServer(t, testConfig{})
	c := s.negotiate(nil)
	e := c.openEvents()
	c.mustPost(`{"protocol":"messagepack","version":1}` + separator)
	e.requireMessages(`{"error":"Cannot use the 'messagepack' protocol on the current transport. The transport does not support 'Binary' transfer format."}`)
	e.requireEOF()
	require.Empty(t, s.disconnected)
}

func TestRequestsOfAnotherUserAndAnEventStream(t *testing.T) {
	s := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{Authenticate: authenticateByHeader}})
	c := s.negotiate(userHeader("ann"))
	both := func(name string) http.Header { return http.Header{"User": {name}, "Accept": acceptEvents["Accept"]} }
	for header, status := range map[*http.Header]int{
		{"User": {"bob"}, "Accept": acceptEvents["Accept"]}:                    http.StatusForbidden,
		{"Accept": acceptEvents["Accept"]}:                                     http.StatusForbidden,
		{"User": {"ann"}, "Accept": acceptEvents["Accept"], "Refuse": {"401"}}: http.StatusUnauthorized,
		{"User": {"ann"}, "Accept": acceptEvents["Accept"], "Refuse": {"403"}}: http.StatusForbidden,
	} {
		s.do(http.MethodGet, c.path(), "", *header).requireText(t, status, "")
	}
	e := c.openEvents()
	s.do(http.MethodPost, c.path(), handshakeJSON, userHeader("bob")).requireText(t, http.StatusForbidden, "")
	s.do(http.MethodPost, c.path(), handshakeJSON, c.withHeader("Refuse", "401")).requireText(t, http.StatusUnauthorized, "")
	s.do(http.MethodGet, c.path(), "", both("bob")).requireText(t, http.StatusConflict, "")                                                                       // the transport is checked before the user
	s.do(http.MethodDelete, c.path(), "", userHeader("bob")).requireText(t, http.StatusBadRequest, "Cannot terminate this connection using the DELETE endpoint.") // as above
	c.mustPost(handshakeJSON)
	e.requireMessages("{}")
	c.mustPost(invocationJSON("1", "Who"))
	e.requireMessages(strings.TrimSuffix(completionJSON("1", `"ann"`), separator))
	require.Empty(t, s.disconnected)
}

func TestAClosedEventStreamEndsItsConnection(t *testing.T) {
	overHTTP1AndHTTP2(t, func(t *testing.T, h2 bool) {
		s := newTestServer(t, testConfig{http2: h2})
		c, e := s.connectEvents(nil)
		e.cancel()
		require.NoError(t, s.requireDisconnected())
		s.eventually("the connection is forgotten", func() bool { return c.post("x").status == http.StatusNotFound })
	})
}

func TestAClosedEventStreamEndsItsConnectionDuringACall(t *testing.T) {
	s := newTestServer(t, testConfig{})
	c, e := s.connectEvents(nil)
	c.mustPost(invocationJSON("1", "Tick", 1000000))
	e.next()
	e.cancel()
	require.NoError(t, s.requireDisconnected())
}

func TestTheServerEndsAnEventStream(t *testing.T) {
	overHTTP1AndHTTP2(t, func(t *testing.T, h2 bool) {
		s := newTestServer(t, testConfig{http2: h2})
		c, e := s.connectEvents(nil)
		status := c.post(invocationJSON("", "Note", "a") + invocationJSON("", "Abort")).status
		require.Contains(t, []int{http.StatusOK, http.StatusNotFound}, status, "the connection may end before its last POST is answered")
		e.requireMessages(`{"type":7}`)
		e.requireEOF()
		require.NoError(t, s.requireDisconnected())
		s.eventually("the connection is forgotten", func() bool { return c.post("x").status == http.StatusNotFound })
		s.do(http.MethodGet, c.path(), "", acceptEvents).requireText(t, http.StatusNotFound, "No Connection with that ID")
	})
}

func TestShutdownEndsEventStreams(t *testing.T) {
	s := newTestServer(t, testConfig{unopened: 1})
	waitingPoll := s.negotiate(nil)
	_, e := s.connectEvents(nil)
	s.isShutdown = true
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	require.NoError(t, s.sys.Shutdown(ctx))
	e.requireMessages(`{"type":7,"allowReconnect":true}`)
	e.requireEOF()
	require.NoError(t, s.requireDisconnected())
	s.do(http.MethodGet, waitingPoll.path(), "", acceptEvents).requireText(t, http.StatusServiceUnavailable, "The server is shutting down.")
	s.do(http.MethodPost, "/test/negotiate", "", nil).requireText(t, http.StatusServiceUnavailable, "The server is shutting down.")
}

func TestCallsOverAnEventStream(t *testing.T) {
	s := newTestServer(t, testConfig{})
	c, e := s.connectEvents(nil)
	testCalls(c, func() string { return e.next() })
}

func TestAnEventStreamOverTLS(t *testing.T) {
	s := newTestServer(t, testConfig{http2: true})
	s.client.Transport.(*http.Transport).TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	s.client.Transport.(*http.Transport).ForceAttemptHTTP2 = false
	s.client.Transport.(*http.Transport).TLSClientConfig.NextProtos = []string{"http/1.1"}
	c, e := s.connectEvents(nil)
	require.Equal(t, 1, e.response.ProtoMajor)
	testCalls(c, func() string { return e.next() })
}
