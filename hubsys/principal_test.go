package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// principalOf returns the principal that a request's headers describe: User, Roles, and Lifetime, which is a duration. Without the header User,
// the user is anonymous. The header Refuse makes it fail.
func principalOf(r *http.Request) (*hubsys.Principal, error) {
	switch r.Header.Get("Refuse") {
	case "":
	case "403":
		return nil, hubsys.ErrForbidden
	default:
		return nil, errors.New("refused")
	}
	user := r.Header.Values("User")
	if len(user) == 0 {
		return nil, nil
	}
	p := &hubsys.Principal{UserID: user[0], Roles: r.Header.Values("Roles")}
	if lifetime := r.Header.Get("Lifetime"); lifetime != "" {
		d, err := time.ParseDuration(lifetime)
		if err != nil {
			return nil, err
		}
		p.Expires = time.Now().Add(d)
	}
	return p, nil
}

func userHeader(user string, roles ...string) http.Header {
	h := http.Header{"User": {user}}
	if len(roles) > 0 {
		h["Roles"] = roles
	}
	return h
}

// with returns a header with one more value.
func with(h http.Header, name, value string) http.Header {
	h = h.Clone()
	if h == nil {
		h = http.Header{}
	}
	h.Set(name, value)
	return h
}

func TestWhoIsAuthenticated(t *testing.T) {
	var none *hubsys.Principal
	require.False(t, none.Authenticated())
	require.True(t, (&hubsys.Principal{}).Authenticated(), "a principal without any field set")
	require.True(t, (&hubsys.Principal{UserID: "ada"}).Authenticated())
}

// The principal of a call is never nil. That of anonymous users is not authenticated.
func TestPrincipalOfACall(t *testing.T) {
	srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{Authenticate: principalOf}})
	srv.handle("who", func(_ context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		p := h.Call().Principal()
		return []any{p.Authenticated(), p.UserID, h.Call().UserID(), p.HasRole("admin"), p.HasRole(""), p.Expires.IsZero()}, nil
	})
	for _, test := range []struct {
		header http.Header
		want   string
	}{
		{nil, `[false,"","",false,false,true]`},
		{http.Header{"Roles": {"admin"}}, `[false,"","",false,false,true]`},
		{userHeader(""), `[true,"","",false,false,true]`},
		{userHeader("ada"), `[true,"ada","ada",false,false,true]`},
		{userHeader("ada", "user", "admin"), `[true,"ada","ada",true,false,true]`},
		{userHeader("ada", "Admin", ""), `[true,"ada","ada",false,true,true]`},
		{with(userHeader("ada"), "Lifetime", "1h"), `[true,"ada","ada",false,false,false]`},
	} {
		require.JSONEq(t, test.want, dialWith(t, srv.url, dialOptions{header: test.header}).do("who"), "%v", test.header)
	}
}

func TestPrincipalWithoutAuthenticate(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	srv.handle("who", func(_ context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		return h.Call().Principal().Authenticated(), nil
	})
	require.Equal(t, "false", dial(t, srv.url).do("who"))
}

func TestRolesOfPrincipals(t *testing.T) {
	var none *hubsys.Principal
	require.False(t, none.HasRole("a"))
	require.False(t, (&hubsys.Principal{}).HasRole(""))
	p := &hubsys.Principal{Roles: []string{"a", "b c"}}
	for role, has := range map[string]bool{"a": true, "b c": true, "b": false, "A": false, "": false, "a ": false} {
		require.Equal(t, has, p.HasRole(role), "%q", role)
	}
}

func TestBearerTokensOfHeaders(t *testing.T) {
	for header, want := range map[string]string{
		"Bearer abc": "abc", "bearer abc": "abc", "BEARER abc": "abc", "bEaReR a.b-c_d~e+f/g==": "a.b-c_d~e+f/g==",
		"Bearer  abc ": "abc", "Bearer a b": "a b",
		"Bearer": "", "Bearer ": "", "Bearer   ": "", "Bearerabc": "", "Bearer\tabc": "", " Bearer abc": "",
		"Basic YWRhOlNFQ1JFVA==": "", "Basic": "", "Digest Bearer abc": "", "abc": "", "access_token=abc": "",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			r := httptest.NewRequest(method, "/hub", nil)
			r.Header.Set("Authorization", header)
			require.Equal(t, want, hubsys.BearerToken(r), "%s %q", method, header)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/hub", nil)
	require.Empty(t, hubsys.BearerToken(r))
	r.Header["Authorization"] = []string{"Bearer first", "Bearer second"}
	require.Equal(t, "first", hubsys.BearerToken(r))
}

// The query value access_token counts only in requests whose headers browsers cannot set.
func TestBearerTokensOfQueries(t *testing.T) {
	upgrade := http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
	accept := func(value string) http.Header { return http.Header{"Accept": {value}} }
	for _, test := range []struct {
		what, method string
		header       http.Header
		counts       bool
	}{
		{"a WebSocket", http.MethodGet, upgrade, true},
		{"a WebSocket behind a proxy that adds values", http.MethodGet, with(with(upgrade, "Connection", "keep-alive, Upgrade"), "Upgrade", "WebSocket"), true},
		{"an event stream", http.MethodGet, accept("text/event-stream"), true},
		{"an event stream among others", http.MethodGet, accept("application/json, TEXT/event-stream"), true},
		{"a poll", http.MethodGet, nil, false},
		{"a poll that accepts anything", http.MethodGet, accept("*/*"), false},
		{"a poll that accepts parameters", http.MethodGet, accept("text/event-stream;q=0.5"), false},
		{"a POST", http.MethodPost, nil, false},
		{"a POST that accepts events", http.MethodPost, accept("text/event-stream"), false},
		{"a POST that asks for an upgrade", http.MethodPost, upgrade, false},
		{"a DELETE that accepts events", http.MethodDelete, accept("text/event-stream"), false},
		{"an upgrade to something else", http.MethodGet, with(upgrade, "Upgrade", "h2c"), false},
		{"an upgrade of another version", http.MethodGet, with(upgrade, "Sec-Websocket-Version", "8"), false},
		{"an upgrade with a wrong key", http.MethodGet, with(upgrade, "Sec-Websocket-Key", "x"), false},
		{"an upgrade without Connection", http.MethodGet, with(upgrade, "Connection", "close"), false},
	} {
		r := httptest.NewRequest(test.method, "/hub?id=1&access_token=a%2Bb%3D", nil)
		for name, values := range test.header {
			r.Header[name] = values
		}
		want := ""
		if test.counts {
			want = "a+b="
		}
		require.Equal(t, want, hubsys.BearerToken(r), test.what)
		r.Header.Set("Authorization", "Bearer header")
		require.Equal(t, "header", hubsys.BearerToken(r), "%s: the header comes first", test.what)
		r.Header.Set("Authorization", "Basic YWRhOlNFQ1JFVA==")
		require.Empty(t, hubsys.BearerToken(r), "%s: a header of another scheme is not replaced by the query", test.what)
	}
}

// Requests of each kind carry the token where Authenticate finds it, and where it does not.
func TestTokensOnAllRequests(t *testing.T) {
	srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{Authenticate: func(r *http.Request) (*hubsys.Principal, error) {
		if token := hubsys.BearerToken(r); token != "secret" {
			return nil, errors.New("wrong token " + token)
		}
		return &hubsys.Principal{UserID: "ada"}, nil
	}}})
	header := http.Header{"Authorization": {"Bearer secret"}}
	inQuery := "&access_token=secret"
	status := func(method, query, body string, header http.Header) int {
		t.Helper()
		status, _ := doRequest(t, method, srv.url+query, body, header)
		return status
	}
	require.Equal(t, http.StatusUnauthorized, status(http.MethodPost, "/negotiate?negotiateVersion=1"+inQuery, "", nil))
	_, token := negotiate(t, srv.url, header)
	query := "?id=" + url.QueryEscape(token)
	require.Equal(t, http.StatusUnauthorized, status(http.MethodGet, query+inQuery, "", nil), "a poll")
	dialWith(t, srv.url+query+inQuery, dialOptions{}).requireNoMessages()
	dialWith(t, srv.url+"?"+inQuery, dialOptions{}).requireNoMessages() // without a negotiation
	dialWith(t, srv.url, dialOptions{header: header}).requireNoMessages()

	_, token = negotiate(t, srv.url, header)
	query = "?id=" + url.QueryEscape(token)
	p := dialTCP(t, srv.url)
	p.mustWrite(p.request(http.MethodGet, query+inQuery, events))
	require.Equal(t, http.StatusOK, p.response().StatusCode)
	require.Equal(t, http.StatusUnauthorized, status(http.MethodPost, query+inQuery, handshakeJSON+separator, nil))
	require.Equal(t, http.StatusOK, status(http.MethodPost, query, handshakeJSON+separator, header))
	p.readEvents("{}" + separator)

	_, token = negotiate(t, srv.url, header)
	query = "?id=" + url.QueryEscape(token)
	require.Equal(t, http.StatusOK, status(http.MethodGet, query, "", header))
	require.Equal(t, http.StatusUnauthorized, status(http.MethodGet, query+inQuery, "", nil))
	require.Equal(t, http.StatusUnauthorized, status(http.MethodDelete, query+inQuery, "", nil))
	require.Equal(t, http.StatusAccepted, status(http.MethodDelete, query, "", header))
}

// readEvents reads an event stream until it has brought a text.
func (p *rawConn) readEvents(text string) (all string) {
	p.t.Helper()
	require.NoError(p.t, p.conn.SetReadDeadline(time.Now().Add(testTimeout)))
	b := make([]byte, 1000)
	for !strings.Contains(all, text) {
		n, err := p.r.Read(b)
		require.NoError(p.t, err, "before %q, after %q", text, all)
		all += string(b[:n])
	}
	return all
}
