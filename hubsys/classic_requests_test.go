package hubsys_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

const (
	classicToken = `"ConnectionToken":"[A-Za-z0-9+/]+=*"`
	classicID    = `"ConnectionId":"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"`
)

// classicGet makes a request for a path of an endpoint, and returns the response, whose body has been read.
func classicGet(t testing.TB, method, address string, header http.Header) (response *http.Response, body string) {
	t.Helper()
	w := httptest.NewRecorder()
	r, err := http.NewRequestWithContext(t.Context(), method, address, nil)
	require.NoError(t, err)
	for name, values := range header {
		r.Header[name] = values
	}
	response, err = http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	_, err = w.Body.ReadFrom(response.Body)
	require.NoError(t, err)
	require.Equal(t, "nosniff", response.Header.Get("X-Content-Type-Options"))
	return response, w.Body.String()
}

func TestNegotiationOfClassicClients(t *testing.T) {
	for _, test := range []struct {
		name, query string
		options     hubsys.ClassicOptions
		want        string
	}{
		{"by default", "clientProtocol=2.1&connectionData=[]", hubsys.ClassicOptions{},
			`"KeepAliveTimeout":20.0,"DisconnectTimeout":30.0,"ConnectionTimeout":110.0,"TryWebSockets":true,"ProtocolVersion":"2.0","TransportConnectTimeout":5.0,"LongPollDelay":0.0`},
		{"with other times", "clientProtocol=1.5", hubsys.ClassicOptions{
			DisconnectTimeout: 9 * time.Second, ConnectionTimeout: 2500 * time.Millisecond, TransportConnectTimeout: 7 * time.Second, LongPollDelay: 250 * time.Millisecond,
		}, `"KeepAliveTimeout":6.0,"DisconnectTimeout":9.0,"ConnectionTimeout":2.5,"TryWebSockets":true,"ProtocolVersion":"1.5","TransportConnectTimeout":7.0,"LongPollDelay":0.25`},
		{"with a keep-alive of its own", "clientProtocol=1.4", hubsys.ClassicOptions{KeepAlive: 2500 * time.Millisecond},
			`"KeepAliveTimeout":5.0,"DisconnectTimeout":30.0,"ConnectionTimeout":110.0,"TryWebSockets":true,"ProtocolVersion":"1.4","TransportConnectTimeout":5.0,"LongPollDelay":0.0`},
		{"without keep-alives", "", hubsys.ClassicOptions{KeepAlive: hubsys.Unlimited},
			`"KeepAliveTimeout":null,"DisconnectTimeout":30.0,"ConnectionTimeout":110.0,"TryWebSockets":true,"ProtocolVersion":"1.2","TransportConnectTimeout":5.0,"LongPollDelay":0.0`},
	} {
		t.Run(test.name, func(t *testing.T) {
			srv := newClassicServer(t, classicConfig{ClassicOptions: test.options})
			seen := map[string]bool{}
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				response, body := classicGet(t, method, srv.address+"/negotiate?"+test.query, nil)
				require.Equal(t, http.StatusOK, response.StatusCode)
				require.Equal(t, "application/json; charset=UTF-8", response.Header.Get("Content-Type"))
				require.Regexp(t, `^{"Url":"/signalr",`+classicToken+`,`+classicID+`,`+test.want+`}$`, body)
				require.False(t, seen[body])
				seen[body] = true
			}
		})
	}
}

// The URL is that at which the client has asked, so that it is right behind a prefix that was stripped as well.
func TestTheURLOfANegotiation(t *testing.T) {
	srv := newClassicServer(t, classicConfig{})
	mux := http.NewServeMux()
	mux.Handle("/app/", http.StripPrefix("/app", srv.sys))
	mux.Handle("/", srv.sys)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	for path, want := range map[string]string{
		"/signalr/negotiate": "/signalr", "/signalr/negotiate/": "/signalr", "/signalr/deeper/negotiate": "/signalr/deeper", "/app/signalr/negotiate": "/app/signalr",
		"/signalr/NEGOTIATE": "/signalr/NEGOTIATE", "/signalr/js/negotiate": "/signalr/js",
	} {
		response, body := classicGet(t, http.MethodGet, server.URL+path, nil)
		require.Equal(t, http.StatusOK, response.StatusCode, path)
		var n struct{ URL string }
		require.NoError(t, json.Unmarshal([]byte(body), &n))
		assert.Equal(t, want, n.URL, path)
	}
	for _, path := range []string{"/signalr2/negotiate", "/signal/negotiate", "/Signalr/negotiate", "/x/signalr/negotiate"} {
		response, err := http.Get(server.URL + path) //nolint:gosec // of the test
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, http.StatusNotFound, response.StatusCode, path)
	}
}

func TestPingOfClassicClients(t *testing.T) {
	srv := newClassicServer(t, classicConfig{})
	for _, address := range []string{"/ping", "/PING", "/ping/", "/ping?x=1&_=2"} {
		response, body := classicGet(t, http.MethodGet, srv.address+address, nil)
		require.Equal(t, http.StatusOK, response.StatusCode)
		require.Equal(t, "application/json; charset=UTF-8", response.Header.Get("Content-Type"))
		require.Equal(t, `{ "Response": "pong" }`, body)
	}
}

func TestRequestsOfClassicClientsThatAreRefused(t *testing.T) {
	srv := newClassicServer(t, classicConfig{ClassicOptions: hubsys.ClassicOptions{Authenticate: principalOf}})
	c := newClassicClient(t, srv.address, "serverSentEvents")
	c.negotiate()
	ada := newClassicClient(t, srv.address, "serverSentEvents")
	ada.header = userHeader("ada")
	ada.negotiate()
	ada.connect()
	ada.start()
	ada.invoke("Join", "g")
	ada.awaitGroups()
	valid := "&connectionToken=" + url.QueryEscape(c.token)
	of := func(token string) string { return "&connectionToken=" + url.QueryEscape(token) }
	const (
		unknown = "Protocol error: Unknown transport."
		missing = "Protocol error: Missing connection token."
		format  = "The ConnectionId is in the incorrect format."
		user    = "Unrecognized user identity.  The user identity cannot change during an active SignalR connection."
		socket  = "Not a valid web socket request."
	)
	for _, test := range []struct {
		name, address string
		header        http.Header
		status        int
		body          string
	}{
		{"no transport", "/connect?x=1" + valid, nil, 400, unknown},
		{"an unknown transport", "/connect?transport=pigeons" + valid, nil, 400, unknown},
		{"no transport, at another path", "/x?x=1" + valid, nil, 400, unknown},
		{"no transport, to start", "/start?x=1" + valid, nil, 400, unknown},
		{"neither transport nor token", "/connect", nil, 400, unknown},
		{"no token", "/connect?transport=serverSentEvents", nil, 400, missing},
		{"an empty token", "/start?transport=longPolling&connectionToken=", nil, 400, missing},
		{"a garbled token", "/connect?transport=serverSentEvents&connectionToken=garbled", nil, 400, format},
		{"a token that was cut", "/send?transport=serverSentEvents" + of(c.token[:len(c.token)-4]), nil, 400, format},
		{"the token of groups", "/connect?transport=serverSentEvents" + of(ada.groups), userHeader("ada"), 400, format},
		{"an id as token", "/connect?transport=serverSentEvents" + of(c.id), nil, 400, format},
		{"a token of another user", "/connect?transport=serverSentEvents" + of(ada.token), userHeader("bob"), 403, user},
		{"a token of a user, anonymously", "/send?transport=serverSentEvents" + of(ada.token), nil, 403, user},
		{"a token of nobody, for a user", "/abort?transport=serverSentEvents" + valid, userHeader("ada"), 403, user},
		{"no WebSocket", "/connect?transport=webSockets" + valid, nil, 400, socket},
		{"no WebSocket, to send", "/send?transport=webSockets" + valid, nil, 400, socket},
		{"no WebSocket, at another path", "/?transport=webSockets" + valid, nil, 400, socket},
		{"an unknown hub", `/negotiate?connectionData=[{"name":"chat"},{"name":"none"}]`, nil, 500, ""},
		{"an unknown hub, to connect", `/connect?transport=serverSentEvents&connectionData=[{"name":"none"}]` + valid, nil, 500, ""},
		{"a hub twice", `/negotiate?connectionData=[{"name":"chat"},{"name":"CHAT"}]`, nil, 500, ""},
		{"hubs that are no list", `/negotiate?connectionData={"name":"chat"}`, nil, 500, ""},
		{"hubs that are no JSON", `/start?transport=longPolling&connectionData=[` + valid, nil, 500, ""},
		{"no number of the frame", "/connect?transport=foreverFrame" + valid, nil, 500, ""},
		{"a number of the frame that is none", "/connect?transport=foreverFrame&frameId=7');alert(1);//" + valid, nil, 500, ""},
		{"a negative number of the frame", "/connect?transport=foreverFrame&frameId=-1" + valid, nil, 500, ""},
		{"a number of the frame with a comma", "/connect?transport=foreverFrame&frameId=1,000" + valid, nil, 500, ""},
		{"a user who is refused", "/negotiate", http.Header{"Refuse": {"401"}}, 401, ""},
		{"a user who may not", "/ping", http.Header{"Refuse": {"403"}}, 403, ""},
		{"a user who is refused, for the script", "/hubs", http.Header{"Refuse": {"401"}}, 401, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			address := strings.NewReplacer(`"`, "%22", "{", "%7B", "}", "%7D", " ", "%20").Replace(test.address)
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				response, body := classicGet(t, method, srv.address+address, test.header)
				assert.Equal(t, test.status, response.StatusCode)
				assert.Equal(t, test.body, body)
				assert.Empty(t, response.Header.Get("Content-Type"))
			}
		})
	}
	require.Equal(t, []string{"Chat connected"}, srv.eventsOf(ada.id))
	require.Empty(t, srv.eventsOf(c.id))
}

// The names of transports and the ends of paths are compared without regard to case, and the name of a user as well.
func TestCaseDoesNotMatterToClassicRequests(t *testing.T) {
	srv := newClassicServer(t, classicConfig{ClassicOptions: hubsys.ClassicOptions{Authenticate: principalOf}})
	c := newClassicClient(t, srv.address, "SERVERSENTEVENTS")
	c.header, c.hubs = userHeader("Ada"), `[{"NAME":"CHAT"}]`
	c.negotiate()
	c.transport = "serverSentEvents" // for the parser of this client
	c.query.Set("transport", "SERVERSENTEVENTS")
	c.open("/CONNECT", nil)
	frame, ok := c.tryFrame()
	require.True(t, ok && frame.S != nil)
	c.header = userHeader("aDA")
	status, body := c.request(http.MethodPost, "/START", nil, nil)
	require.Equal(t, http.StatusOK, status, body)
	status, body = c.request(http.MethodGet, "/SEND", url.Values{"data": {`{"H":"CHAT","M":"ECHO","A":[1],"I":5}`}}, nil)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, `{"R":1,"I":"5"}`, body)
	status, _ = c.request(http.MethodGet, "/ABORT", nil, nil)
	require.Equal(t, http.StatusOK, status)
	c.awaitEnd()
}

func TestWhatCannotBeSentByClassicClients(t *testing.T) {
	bodies := map[string]string{
		"nothing":                 "",
		"no JSON":                 "{",
		"no object":               "[]",
		"an unknown hub":          `{"H":"none","M":"Echo","A":[1],"I":0}`,
		"no hub":                  `{"M":"Echo","A":[1],"I":0}`,
		"too much state":          `{"H":"chat","M":"Echo","A":[1],"I":0,"S":{"a":"` + strings.Repeat("x", 4096) + `"}}`,
		"arguments that are none": `{"H":"chat","M":"Echo","A":1,"I":0}`,
		"an id that is too long":  `{"H":"chat","M":"Echo","A":[1],"I":"` + strings.Repeat("x", 300) + `"}`,
	}
	srv := newClassicServer(t, classicConfig{})
	c := dialClassic(t, srv, "longPolling")
	for name, text := range bodies {
		status, body := c.send(text)
		require.Equal(t, http.StatusInternalServerError, status, name)
		require.Empty(t, body)
	}
	require.Equal(t, `{"R":1,"I":"1"}`, c.invoke("Echo", 1).raw)

	ws := dialClassic(t, srv, "webSockets") // which gets no answer, and stays open
	for _, text := range bodies {
		ws.write(text)
	}
	require.Equal(t, `{"R":1,"I":"1"}`, ws.invoke("Echo", 1).raw)
	require.Equal(t, []string{"Chat connected"}, srv.eventsOf(ws.id))
}

func TestMessagesOfClassicClientsAreLimited(t *testing.T) {
	const limit = 1000
	srv := newClassicServer(t, classicConfig{ClassicOptions: hubsys.ClassicOptions{MaximumMessageSize: limit}})
	echo := func(size int) string {
		const head, tail = `{"H":"chat","M":"Echo","A":["`, `"],"I":"1"}`
		return head + strings.Repeat("é", (size-len(head+tail))/2) + tail
	}
	c := dialClassic(t, srv, "serverSentEvents")
	status, _ := c.send(echo(limit))
	require.Equal(t, http.StatusOK, status)
	for _, size := range []int{limit + 2, 100 * limit} {
		status, body := c.send(echo(size))
		require.Equal(t, http.StatusRequestEntityTooLarge, status)
		require.Empty(t, body)
	}
	ws := dialClassic(t, srv, "webSockets")
	require.Contains(t, ws.invokeText("1", echo(limit)).raw, "é")
	ws.write(echo(limit + 2))
	ws.awaitEnd()
	ws.reconnect() // as clients do
	require.Contains(t, ws.invokeText("1", echo(limit)).raw, "é")
	srv.awaitEvents(ws.id, "Chat connected", "Chat reconnected")
}

// What a form escapes comes back as it was.
func TestFormsOfClassicClients(t *testing.T) {
	srv := newClassicServer(t, classicConfig{})
	for _, transport := range []string{"serverSentEvents", "longPolling"} {
		c := dialClassic(t, srv, transport)
		const text = "a+b c&d=e;f%2B%20é\u2028<>\"\\"
		a := c.invoke("Echo", text)
		var got string
		require.NoError(t, json.Unmarshal(a.R, &got))
		require.Equal(t, text, got)
		c.invoke("CallMe", text)
		require.JSONEq(t, classicCall("Chat", "called", text), c.next())
	}
}

// An encoded slash is part of a segment.
func TestAnEncodedSlashIsNoPathOfClassicClients(t *testing.T) {
	srv := newClassicServer(t, classicConfig{})
	for _, path := range []string{"/signalr%2Fnegotiate", "/signalr%2fping", "/signalr/x%2Fhubs"} {
		w := httptest.NewRecorder()
		srv.sys.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		assert.Equal(t, http.StatusNotFound, w.Code, path)
	}
}
