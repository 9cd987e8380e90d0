package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

const bothHubs = `[{"name":"chat"},{"name":"other"}]`

// A hub whose policy refuses is left out, and a client that has no other one is refused.
func TestPolicyOfAHubOfClassicClients(t *testing.T) {
	srv := newClassicServer(t, classicConfig{
		ClassicOptions: hubsys.ClassicOptions{Authenticate: principalOf}, other: hubsys.HubOptions{Policy: hubsys.RequireRole("member")},
	})
	status := func(hubs, what string, header http.Header) int {
		c := newClassicClient(t, srv.address, "serverSentEvents")
		c.header = header
		c.negotiate()
		c.hubs = hubs
		status, body := c.request(http.MethodGet, what, nil, nil)
		if status != http.StatusOK {
			assert.Empty(t, body)
		}
		return status
	}
	for _, what := range []string{"/negotiate", "/start", "/ping", "/hubs"} {
		for _, test := range []struct {
			name, hubs string
			header     http.Header
			want       int
		}{
			{"anonymous", `[{"name":"other"}]`, nil, http.StatusUnauthorized},
			{"a user", `[{"name":"other"}]`, userHeader("ada"), http.StatusForbidden},
			{"a member", `[{"name":"other"}]`, userHeader("ada", "member"), http.StatusOK},
			{"anonymous, for both", bothHubs, nil, http.StatusOK},
			{"a user, for both", bothHubs, userHeader("ada"), http.StatusOK},
			{"anonymous, for none", `[]`, nil, http.StatusOK},
		} {
			assert.Equal(t, test.want, status(test.hubs, what, test.header), "%s: %s", what, test.name)
		}
	}
	for _, what := range []string{"/connect", "/reconnect", "/send", "/abort", "/x"} { // of requests that are refused alone: these would stay open
		assert.Equal(t, http.StatusUnauthorized, status(`[{"name":"other"}]`, what, nil), what)
	}
}

func TestAClientJoinsTheHubsThatAllowIt(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		srv := newClassicServer(t, classicConfig{
			ClassicOptions: hubsys.ClassicOptions{Authenticate: principalOf}, other: hubsys.HubOptions{Policy: hubsys.RequireUser},
		})
		anonymous, ada := newClassicClient(t, srv.address, transport), newClassicClient(t, srv.address, transport)
		ada.header = userHeader("ada")
		for _, c := range []*classicClient{anonymous, ada} {
			c.hubs = bothHubs
			c.negotiate()
			c.connect()
			c.start()
		}
		require.Equal(t, []string{"Chat connected"}, srv.eventsOf(anonymous.id))
		require.ElementsMatch(t, []string{"Chat connected", "Other connected"}, srv.eventsOf(ada.id))
		require.NoError(t, srv.other.Clients().All().Send(t.Context(), "of the other hub"))
		require.NoError(t, srv.chat.Clients().All().Send(t.Context(), "of the chat"))
		anonymous.requireCall("of the chat")
		require.ElementsMatch(t, []string{classicCall("Other", "of the other hub"), classicCall("Chat", "of the chat")}, []string{ada.next(), ada.next()})
	})
}

func TestPolicyOfAMethodOfClassicClients(t *testing.T) {
	for _, detailed := range []bool{false, true} {
		srv := newClassicServer(t, classicConfig{
			ClassicOptions: hubsys.ClassicOptions{Authenticate: principalOf, EnableDetailedErrors: detailed},
			hub: hubsys.HubOptions{Methods: []hubsys.Method{{Func: (*classicHub).Add, Policy: func(_ context.Context, p *hubsys.Principal) error {
				if p.UserID == "eve" {
					panic("in a policy")
				}
				return hubsys.RequireRole("member")(context.Background(), p)
			}}}},
		})
		as := func(header http.Header) string {
			c := newClassicClient(t, srv.address, "webSockets")
			c.header = header
			c.negotiate()
			c.connect()
			c.start()
			return c.invokeText("1", `{"H":"CHAT","M":"ADD","A":[1,2],"I":"1"}`).raw
		}
		refused := `{"I":"1","E":"There was an error invoking Hub method 'CHAT.ADD'."}`
		if detailed {
			refused = `{"I":"1","E":"Caller is not authorized to invoke the Add method on Chat."}`
		}
		require.Equal(t, `{"R":3,"I":"1"}`, as(userHeader("ada", "member")))
		require.Equal(t, refused, as(userHeader("ada")))
		require.Equal(t, refused, as(nil))
		require.Equal(t, refused, as(userHeader("eve", "member")))
	}
}

func TestAuthenticateIsAskedForEachRequestOfAClassicClient(t *testing.T) {
	var fail func() error
	srv := newClassicServer(t, classicConfig{ClassicOptions: hubsys.ClassicOptions{Authenticate: func(*http.Request) (*hubsys.Principal, error) {
		if fail != nil {
			return nil, fail()
		}
		return &hubsys.Principal{UserID: "ada"}, nil
	}}})
	c := newClassicClient(t, srv.address, "longPolling")
	c.negotiate()
	c.connect()
	c.start()
	for want, f := range map[int]func() error{
		http.StatusUnauthorized: func() error { return errors.New("no") }, http.StatusForbidden: func() error { return hubsys.ErrForbidden },
		http.StatusInternalServerError: func() error { panic("no") },
	} {
		fail = f
		for _, what := range []string{"/negotiate", "/connect", "/start", "/send", "/poll", "/reconnect", "/abort", "/ping", "/hubs", "/js"} {
			status, body := c.request(http.MethodPost, what, nil, nil)
			require.Equal(t, want, status, what)
			require.Empty(t, body)
		}
	}
	fail = nil
	require.Equal(t, `{"R":1,"I":"1"}`, c.invoke("Echo", 1).raw)
	require.Equal(t, []string{"Chat connected"}, srv.eventsOf(c.id))
}

func TestJSONPIsRefusedByDefault(t *testing.T) {
	srv := newClassicServer(t, classicConfig{})
	c := newClassicClient(t, srv.address, "longPolling")
	c.negotiate()
	for _, what := range []string{"/negotiate", "/ping", "/connect", "/start", "/send", "/poll", "/reconnect", "/abort", "/hubs", "/x"} {
		status, body := c.request(http.MethodGet, what, url.Values{"callback": {"f"}}, nil)
		require.Equal(t, http.StatusForbidden, status, what)
		require.Empty(t, body)
	}
	require.Empty(t, srv.eventsOf(c.id))
	status, _ := c.request(http.MethodGet, "/ping", url.Values{"callback": {""}}, nil)
	require.Equal(t, http.StatusOK, status, "an empty name is none")
}

func TestJSONP(t *testing.T) {
	srv := newClassicServer(t, classicConfig{ClassicOptions: hubsys.ClassicOptions{EnableJSONP: true}})
	c := newClassicClient(t, srv.address, "longPolling")
	c.negotiate()
	get := func(what string, values url.Values) string {
		query := url.Values{"callback": {"jQuery.f_1"}, "transport": {"longPolling"}, "connectionToken": {c.token}, "connectionData": {c.hubs}, "clientProtocol": {"1.5"}}
		for name, value := range values {
			query[name] = value
		}
		response, body := classicGet(t, http.MethodGet, srv.address+what+"?"+query.Encode(), nil)
		require.Equal(t, http.StatusOK, response.StatusCode, what)
		require.Equal(t, "application/javascript; charset=UTF-8", response.Header.Get("Content-Type"))
		object, ok := strings.CutPrefix(body, "jQuery.f_1(")
		require.True(t, ok, body)
		object, ok = strings.CutSuffix(object, ");")
		require.True(t, ok, body)
		return object
	}
	require.Contains(t, get("/negotiate", nil), `{"Url":"/signalr",`)
	require.Equal(t, `{ "Response": "pong" }`, get("/ping", nil))
	require.NotNil(t, c.read(get("/connect", nil)).S)
	require.Equal(t, `{ "Response": "started" }`, get("/start", nil))
	require.Equal(t, `{"R":"\u2028</script>","I":"1"}`, get("/send", url.Values{"data": {`{"H":"chat","M":"Echo","A":["\u2028</script>"],"I":1}`}}))
	require.Equal(t, `{"I":"2"}`, get("/send", url.Values{"data": {`{"H":"chat","M":"CallMe","A":[1],"I":2}`}}))
	c.read(get("/poll", c.position()))
	c.requireCall("called", 1)
}

// A name that is none is refused everywhere, also by polls, so that it cannot become a script.
func TestCallbacksOfJSONPAreChecked(t *testing.T) {
	srv := newClassicServer(t, classicConfig{ClassicOptions: hubsys.ClassicOptions{EnableJSONP: true}})
	c := newClassicClient(t, srv.address, "longPolling")
	c.negotiate()
	for _, name := range []string{"alert(1)//", "a b", "if", "a.", "1", "a\n", "<script>", strings.Repeat("a", 257), " "} {
		for _, what := range []string{"/negotiate", "/ping", "/connect", "/start", "/send", "/poll", "/reconnect", "/abort", "/hubs", "/x"} {
			status, body := c.request(http.MethodGet, what, url.Values{"callback": {name}}, nil)
			require.Equal(t, http.StatusInternalServerError, status, "%s %q", what, name)
			require.Empty(t, body)
		}
	}
	require.Empty(t, srv.eventsOf(c.id))
}

func TestOriginsOfClassicClients(t *testing.T) {
	srv := newClassicServer(t, classicConfig{ClassicOptions: hubsys.ClassicOptions{
		AllowedOrigins: []string{"https://app.example"}, AllowCredentials: true,
		Authenticate: func(r *http.Request) (*hubsys.Principal, error) {
			if cookie, err := r.Cookie("user"); err == nil {
				return &hubsys.Principal{UserID: cookie.Value}, nil
			}
			return nil, nil
		},
	}})
	srv.handle("who", func(_ context.Context, h *classicHub, _ []json.RawMessage) (any, error) {
		return h.Call().UserID(), nil
	})
	header := func(origin string) http.Header {
		h := http.Header{"Cookie": {"user=ada"}}
		if origin != "" {
			h.Set("Origin", origin)
		}
		return h
	}
	for _, test := range []struct{ origin, allowed, user string }{
		{"", "", "ada"}, {"https://app.example", "https://app.example", "ada"}, {srv.http.URL, "", "ada"}, {"https://evil.example", "", ""}, {"null", "", ""},
	} {
		for _, what := range []string{"/negotiate?clientProtocol=2.1", "/ping", "/connect", "/none"} { // two of them fail
			response, _ := classicGet(t, http.MethodGet, srv.address+what, header(test.origin))
			require.Equal(t, test.allowed, response.Header.Get("Access-Control-Allow-Origin"), "%s %s", what, test.origin)
			if test.allowed != "" {
				require.Equal(t, "true", response.Header.Get("Access-Control-Allow-Credentials"))
			}
		}
		c := newClassicClient(t, srv.address, "serverSentEvents")
		c.header = header(test.origin)
		c.negotiate()
		c.connect()
		c.start()
		require.JSONEq(t, `"`+test.user+`"`, c.run("who"), "cookies of pages that are not allowed are hidden")

		ws := newClassicClient(t, srv.address, "webSockets")
		ws.header = header(test.origin)
		ws.negotiate()
		status, _ := ws.tryOpen("/connect", nil)
		if test.user == "" {
			require.Equal(t, http.StatusForbidden, status)
			require.Empty(t, srv.eventsOf(ws.id))
		} else {
			require.Equal(t, http.StatusOK, status)
		}
	}
}

// The policy of a hub decides about calls as well, also of clients that have not listed the hub.
func TestPolicyOfAHubThatIsNotListed(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		srv := newClassicServer(t, classicConfig{
			ClassicOptions: hubsys.ClassicOptions{Authenticate: principalOf}, other: hubsys.HubOptions{Policy: hubsys.RequireRole("member")},
		})
		var runs atomic.Int32
		srv.handle("run", func(context.Context, *classicHub, []json.RawMessage) (any, error) { runs.Add(1); return "secret", nil })
		const call = `{"H":"other","M":"Do","A":["run",[]],"I":"7"}`
		for _, hubs := range []string{`[{"name":"chat"}]`, bothHubs, `[]`} {
			c := newClassicClient(t, srv.address, transport)
			c.header, c.hubs = userHeader("ada"), hubs
			c.negotiate()
			c.connect()
			c.start()
			if transport == "webSockets" {
				c.write(call)
			} else {
				_, body := c.send(call)
				require.NotContains(t, body, "secret")
			}
			require.NotContains(t, strings.Join(srv.eventsOf(c.id), " "), "Other")
		}
		member := newClassicClient(t, srv.address, transport)
		member.header = userHeader("ada", "member")
		member.negotiate()
		member.connect()
		member.start()
		require.Equal(t, `{"R":"secret","I":"7"}`, member.invokeText("7", call).raw)
		require.EqualValues(t, 1, runs.Load())
	})
}

// A user without an id is no anonymous one.
func TestAUserWithoutAnIDIsForbidden(t *testing.T) {
	srv := newClassicServer(t, classicConfig{
		ClassicOptions: hubsys.ClassicOptions{Authenticate: func(*http.Request) (*hubsys.Principal, error) {
			return &hubsys.Principal{Roles: []string{"guest"}}, nil
		}},
		hub: hubsys.HubOptions{Policy: hubsys.RequireRole("member")},
	})
	status, _ := newClassicClient(t, srv.address, "longPolling").request(http.MethodGet, "/negotiate", nil, nil)
	require.Equal(t, http.StatusForbidden, status)
}

// A client that is over a limit is refused, and nobody else notices.
func TestClassicClientsOverALimit(t *testing.T) {
	for name, test := range map[string]struct {
		config hubsys.Config
		status int
	}{
		"of all":        {hubsys.Config{MaximumConnections: 3}, http.StatusServiceUnavailable},
		"of a user":     {hubsys.Config{MaximumConnectionsPerUser: 3}, http.StatusTooManyRequests},
		"of an address": {hubsys.Config{MaximumConnectionsPerAddress: 3}, http.StatusTooManyRequests},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newClassicServer(t, classicConfig{Config: test.config, ClassicOptions: hubsys.ClassicOptions{Authenticate: principalOf}})
			dialUser := func() *classicClient {
				c := newClassicClient(t, srv.address, "serverSentEvents")
				c.header, c.hubs = userHeader("ada"), bothHubs
				c.negotiate()
				return c
			}
			first := dialUser()
			first.connect()
			first.start()
			second := dialUser() // whose first hub is the third connection, and whose second hub is one too many
			for _, what := range []string{"/connect", "/start", "/reconnect"} {
				status, body := second.request(http.MethodGet, what, nil, nil)
				require.Equal(t, test.status, status, what)
				require.Contains(t, body, "connections", "it says which limit that is")
			}
			require.Equal(t, `{"R":1,"I":"1"}`, first.invoke("Echo", 1).raw)
			first.abort()
			eventually(t, func() bool {
				status, _ := second.request(http.MethodGet, "/start", nil, nil)
				return status == http.StatusOK
			}, "there is room again")
			require.ElementsMatch(t, []string{"Chat connected", "Other connected"}, srv.eventsOf(second.id))
		})
	}
}
