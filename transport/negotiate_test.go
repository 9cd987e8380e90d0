package transport

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/troupe-go/troupe/internal/link"
)

// testAcceptor accepts all requests, except those with a header Refuse.
type testAcceptor struct {
	closing         bool
	authentications int
}

func (a *testAcceptor) Authenticate(r *http.Request) (Identity, error) {
	a.authentications++
	switch refuse := r.Header.Get("Refuse"); refuse {
	case "":
		return Identity{UserID: r.Header.Get("User")}, nil
	case "403":
		return Identity{}, &Refusal{Status: http.StatusForbidden, Err: errors.New("refused")}
	default:
		return Identity{}, errors.New("refused")
	}
}

func (a *testAcceptor) AcceptSocket(Opening, link.Socket) (link.SocketSession, error) {
	return nil, errors.New("no connections here")
}

func (a *testAcceptor) AcceptFetcher(Opening, link.Fetcher) (link.FetchSession, error) {
	return nil, errors.New("no connections here")
}

func (a *testAcceptor) Refresh(*http.Request, string, Identity) (Refreshed, error) {
	return nil, ErrNotOpen
}

func (a *testAcceptor) Resumed(Opening, link.SocketSession) {}

func (a *testAcceptor) Reserve(*http.Request, Identity) error { return nil }

func (a *testAcceptor) Release(*http.Request, Identity) {}

func (a *testAcceptor) IsClosing() bool { return a.closing }

// fixedClockEndpoint is an endpoint whose clock is set by the test.
type fixedClockEndpoint struct {
	t    *testing.T
	time time.Time
	*testAcceptor
	*Endpoint
}

func newFixedClockEndpoint(t *testing.T) *fixedClockEndpoint {
	c := &fixedClockEndpoint{t: t, time: time.Unix(1e9, 0), testAcceptor: &testAcceptor{}}
	tokens := NewTokens([4]byte{1, 2, 3, 4})
	tokens.now = func() time.Time { return c.time }
	origins, err := NewOrigins(nil, nil, false)
	require.NoError(t, err)
	c.Endpoint = &Endpoint{Acceptor: c.testAcceptor, Transports: WebSockets, Origins: origins, Tokens: tokens, Log: slog.New(slog.DiscardHandler)}
	return c
}

type httpResult struct {
	status int
	header http.Header
	body   string
}

func serveRequest(handler http.HandlerFunc, method, query string, header http.Header) httpResult {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, "http://host/hub"+query, nil)
	for name, values := range header {
		r.Header[name] = values
	}
	handler(w, r)
	body, _ := io.ReadAll(w.Result().Body)
	return httpResult{w.Code, w.Result().Header, string(body)}
}

func (c *fixedClockEndpoint) negotiate(query string) (id, token string) {
	c.t.Helper()
	r := serveRequest(c.Negotiate, http.MethodPost, query, nil)
	require.Equal(c.t, http.StatusOK, r.status, r.body)
	var n struct {
		ConnectionID    string  `json:"connectionId"`
		ConnectionToken *string `json:"connectionToken"`
	}
	require.NoError(c.t, json.Unmarshal([]byte(r.body), &n))
	if n.ConnectionToken == nil {
		return n.ConnectionID, n.ConnectionID
	}
	return n.ConnectionID, *n.ConnectionToken
}

const transports = `"availableTransports":[{"transport":"WebSockets","transferFormats":["Text","Binary"]}]}`

func TestVersionsOfNegotiation(t *testing.T) {
	const (
		zero    = `^{"negotiateVersion":0,"connectionId":"[\w-]{22}",TRANSPORTS$`
		one     = `^{"negotiateVersion":1,"connectionId":"[\w-]{22}","connectionToken":"[\w-]{27}",TRANSPORTS$`
		number  = `^{"error":"The client requested a non-integer protocol version\."}$`
		minus   = `^{"error":"The client requested version '-1', but the server does not support this version\."}$`
		minimum = `^{"error":"The client requested version '-2147483648', but the server does not support this version\."}$`
	)
	c := newFixedClockEndpoint(t)
	for query, want := range map[string]string{
		"":                             zero,
		"?negotiateVersion=0":          zero,
		"?negotiateVersion=-0":         zero,
		"?x=1":                         zero,
		"?negotiateVersion=1":          one,
		"?NEGOTIATEVERSION=1":          one,
		"?negotiateversion=%31":        one,
		"?negotiateVersion=2":          one,
		"?negotiateVersion=2147483647": one,
		"?negotiateVersion=%201%20":    one,
		"?negotiateVersion=%2B1":       one,
		"?negotiateVersion=0001":       one,
		"?negotiateVersion=1&useStatefulReconnect=true&x": one,
		"?negotiateVersion=":                              number,
		"?negotiateVersion":                               number,
		"?negotiateVersion=one":                           number,
		"?negotiateVersion=1.0":                           number,
		"?negotiateVersion=%zz":                           number,
		"?negotiateVersion=1%":                            number,
		"?negotiateVersion=1&negotiateVersion=%zz":        number,
		"?negotiateVersion=0x1":                           number,
		"?negotiateVersion=1_0":                           number,
		"?negotiateVersion=2147483648":                    number,
		"?negotiateVersion=1&negotiateVersion=1":          number,
		"?negotiateVersion=1&NegotiateVersion=1":          number,
		"?negotiateVersion=-1":                            minus,
		"?negotiateVersion=-2147483648":                   minimum,
	} {
		r := serveRequest(c.Negotiate, http.MethodPost, query, nil)
		require.Equal(t, http.StatusOK, r.status, query)
		require.Regexp(t, strings.Replace(want, "TRANSPORTS", regexp.QuoteMeta(transports), 1), r.body, query)
		require.Equal(t, []string{"application/json"}, r.header["Content-Type"])
		require.Equal(t, []string{strconv.Itoa(len(r.body))}, r.header["Content-Length"])
	}
}

func TestMethodsOfNegotiation(t *testing.T) {
	c := newFixedClockEndpoint(t)
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "X"} {
		r := serveRequest(c.Negotiate, method, "", nil)
		require.Equal(t, http.StatusMethodNotAllowed, r.status)
		require.Equal(t, "text/plain", r.header.Get("Content-Type"))
		require.Empty(t, r.body)
	}
	require.Equal(t, http.StatusOK, serveRequest(c.Negotiate, "post", "", nil).status)
	require.Equal(t, 1, c.authentications, "requests of other methods are not authenticated")
}

func TestWhoMayNotNegotiate(t *testing.T) {
	c := newFixedClockEndpoint(t)
	for refuse, status := range map[string]int{"401": http.StatusUnauthorized, "403": http.StatusForbidden} {
		r := serveRequest(c.Negotiate, http.MethodPost, "", http.Header{"Refuse": {refuse}})
		require.Equal(t, status, r.status)
		require.Empty(t, r.body)
	}
	asked := c.authentications
	c.closing = true
	require.Equal(t, http.StatusServiceUnavailable, serveRequest(c.Negotiate, http.MethodPost, "", nil).status)
	require.Equal(t, asked, c.authentications)
}

func TestIDsAndTokens(t *testing.T) {
	c := newFixedClockEndpoint(t)
	c.Tokens.AddressLimit = -1
	seen := map[string]bool{}
	for range 1000 {
		id, token := c.negotiate("?negotiateVersion=1")
		require.NotEqual(t, id, token)
		for _, text := range []string{id, token, c.Tokens.NewID()} {
			require.False(t, seen[text])
			seen[text] = true
			b, err := base64.RawURLEncoding.DecodeString(text)
			require.NoError(t, err)
			require.Equal(t, []byte{1, 2, 3, 4}, b[:4], "the node")
		}
		require.Len(t, id, 22)
		require.Nil(t, c.Tokens.find(id, c.Endpoint), "the connection ID is no token")
		require.Equal(t, id, c.Tokens.find(token, c.Endpoint).id)
	}
	id, _ := c.negotiate("")
	require.Equal(t, id, c.Tokens.find(id, c.Endpoint).id, "in version 0 the id is the token")
}

func TestATokenBelongsToItsEndpoint(t *testing.T) {
	c := newFixedClockEndpoint(t)
	other := &Endpoint{Acceptor: c.Acceptor, Transports: c.Transports, Origins: c.Origins, Tokens: c.Tokens, Log: c.Log}
	_, token := c.negotiate("?negotiateVersion=1")
	require.Equal(t, http.StatusNotFound, serveRequest(other.Connect, http.MethodPost, "?id="+token, nil).status)
	require.Equal(t, http.StatusOK, serveRequest(c.Connect, http.MethodPost, "?id="+token, nil).status)
}

func TestNegotiatedConnectionsExpire(t *testing.T) {
	c := newFixedClockEndpoint(t)
	known := func(token string) bool {
		return serveRequest(c.Connect, http.MethodPost, "?id="+token, nil).status != http.StatusNotFound
	}
	start := c.time
	_, first := c.negotiate("?negotiateVersion=1")
	c.time = start.Add(10 * time.Second)
	_, second := c.negotiate("?negotiateVersion=1")
	_, active := c.negotiate("?negotiateVersion=1")
	require.True(t, activated(c.Tokens.activate(c.Tokens.find(active, c.Endpoint), WebSockets)))
	stale := c.Tokens.find(first, c.Endpoint)
	c.time = start.Add(15 * time.Second)
	require.True(t, known(first))
	c.time = start.Add(15*time.Second + 1)
	require.False(t, known(first))
	require.True(t, known(second))
	c.time = start.Add(25*time.Second + 1)
	require.False(t, known(second))
	c.time = start.Add(time.Hour)
	require.True(t, known(active), "one that has its transport does not expire")
	c.Tokens.release(c.Tokens.find(active, c.Endpoint))
	require.False(t, known(active))
	// A request may have found the connection just before it expired.
	require.False(t, activated(c.Tokens.activate(stale, WebSockets)))
	c.Tokens.release(stale)
	c.Tokens.release(nil)
	require.Zero(t, c.Tokens.count)
	require.Empty(t, c.Tokens.byToken)
	require.Empty(t, c.Tokens.waiting)
}

// At the limit the oldest connection without a transport is dropped, so that a flood of negotiations does not lock out other clients.
func TestConnectionsWithoutATransportAreLimited(t *testing.T) {
	c := newFixedClockEndpoint(t)
	c.Tokens.Limit = 2
	negotiate := func() string {
		c.time = c.time.Add(time.Millisecond)
		_, token := c.negotiate("?negotiateVersion=1")
		return token
	}
	waitingPoll := func(token string) bool { return c.Tokens.find(token, c.Endpoint) != nil }
	first, second := negotiate(), negotiate()
	require.True(t, activated(c.Tokens.activate(c.Tokens.find(first, c.Endpoint), WebSockets)))
	require.False(t, activated(c.Tokens.activate(c.Tokens.find(first, c.Endpoint), WebSockets)), "once")
	third := negotiate()
	require.True(t, waitingPoll(first) && waitingPoll(second) && waitingPoll(third), "one that has its transport waits no longer")
	fourth := negotiate()
	require.False(t, waitingPoll(second), "the oldest makes room")
	require.True(t, waitingPoll(first) && waitingPoll(third) && waitingPoll(fourth))
	c.Tokens.release(c.Tokens.find(third, c.Endpoint))
	fifth := negotiate()
	require.True(t, waitingPoll(fourth) && waitingPoll(fifth), "one that was released has made room already")
	c.time = c.time.Add(15*time.Second + 1)
	require.True(t, waitingPoll(first))
	require.False(t, waitingPoll(fourth) || waitingPoll(fifth), "they have expired")
}

func TestRequestsWithoutAWebSocket(t *testing.T) {
	c := newFixedClockEndpoint(t)
	_, token := c.negotiate("?negotiateVersion=1")
	events := http.Header{"Accept": {"text/event-stream"}}
	polls := "LongPolling transport not supported by this end point type"
	sse := "ServerSentEvents transport not supported by this end point type"
	for _, test := range []struct {
		method, query string
		header        http.Header
		status        int
		body          string
	}{
		{"GET", "", nil, 400, "Connection ID required"},
		{"GET", "?id=", nil, 400, "Connection ID required"},
		{"GET", "?x=1", events, 400, "Connection ID required"},
		{"POST", "", nil, 400, "Connection ID required"},
		{"DELETE", "", nil, 400, "Connection ID required"},
		{"GET", "?id=unknown", nil, 404, "No Connection with that ID"},
		{"GET", "?id=unknown", events, 404, "No Connection with that ID"},
		{"POST", "?id=unknown", nil, 404, "No Connection with that ID"},
		{"DELETE", "?id=unknown", nil, 404, "No Connection with that ID"},
		{"GET", "?id=T&id=T", nil, 404, "No Connection with that ID"},
		{"GET", "?id=T&id=%zz", nil, 404, "No Connection with that ID"},
		{"POST", "?id=%zz&id=T", nil, 404, "No Connection with that ID"},
		{"GET", "?id=%zz", nil, 404, "No Connection with that ID"},
		{"DELETE", "?id=%", nil, 404, "No Connection with that ID"},
		{"GET", "?id=&id=", nil, 404, "No Connection with that ID"},
		{"GET", "?id=T&ID=T", nil, 404, "No Connection with that ID"},
		{"GET", "?id=T", nil, 404, polls},
		{"get", "?ID=T&_=12345", nil, 404, polls},
		{"GET", "?id=T", events, 404, sse},
		{"GET", "?id=T", http.Header{"Accept": {"TEXT/EVENT-STREAM"}}, 404, sse},
		{"GET", "?id=T", http.Header{"Accept": {"a, text/event-stream"}}, 404, sse},
		{"GET", "?id=T", http.Header{"Accept": {"a", " text/event-stream "}}, 404, sse},
		{"GET", "?id=T", http.Header{"Accept": {"text/event-stream;q=0.9"}}, 404, polls},
		{"GET", "?id=T", http.Header{"Accept": {"text/event-stream; charset=utf-8"}}, 404, polls},
		{"GET", "?id=T", http.Header{"Accept": {"*/*"}}, 404, polls},
		{"POST", "?id=T", nil, 200, ""},
		{"DELETE", "?id=T", nil, 400, "Cannot terminate this connection using the DELETE endpoint."},
		{"HEAD", "?id=T", nil, 405, ""},
		{"PUT", "?id=T", nil, 405, ""},
		{"OPTIONS", "", nil, 405, ""},
	} {
		r := serveRequest(c.Connect, test.method, strings.ReplaceAll(test.query, "T", token), test.header)
		require.Equal(t, test.status, r.status, "%v", test)
		require.Equal(t, test.body, r.body, "%v", test)
		require.Equal(t, "text/plain", r.header.Get("Content-Type"))
		if strings.EqualFold(test.method, "GET") && test.body != sse && test.header == nil {
			require.Equal(t, "no-cache, no-store", r.header.Get("Cache-Control"))
			require.Equal(t, "no-cache", r.header.Get("Pragma"))
			require.Equal(t, "Thu, 01 Jan 1970 00:00:00 GMT", r.header.Get("Expires"))
		}
	}
}

func TestTheFirstValueOfAQuery(t *testing.T) {
	for _, test := range []struct {
		query, value string
		count        int
	}{
		{"", "", 0},
		{"key=1", "1", 1},
		{"KEY=1", "1", 1},
		{"key=1&key=2", "1", 2},
		{"Key=1&key=2&x=3&KEY=4", "1", 3},
		{"x&key=a%26b%20+c", "a&b  c", 1},
		{"k%65y=1", "1", 1},
		{"key=%zz&key=2", "%zz", 2}, // what cannot be unescaped is there all the same
		{"key=a+%", "a+%", 1},
		{"key=2&key=%zz", "2", 2},
		{"k%zzey=1", "", 0},
		{"&&key=1&", "1", 1},
		{"keys=1&ke=2&=3", "", 0},
		{"key=1&KEY=1&Key=1", "1", 3},
		{"key", "", 1},
	} {
		value, count := QueryValue(test.query, "Key")
		require.Equal(t, test.value, value)
		require.Equal(t, test.count, count)
	}
}

func activated(_ Transports, ok bool) bool { return ok }
