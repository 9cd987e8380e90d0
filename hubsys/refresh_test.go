package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// refreshHub is the hub of a refreshServer.
type refreshHub struct {
	hubsys.Hub
	srv *refreshServer
}

var refreshItem = hubsys.Item[string]("refresh test")

// Who describes the principal of the call.
func (h *refreshHub) Who() string { return describe(h.Call().Principal()) }

// Block returns the principal of the call when the test calls open.
func (h *refreshHub) Block() string {
	h.srv.blocked <- struct{}{}
	<-h.srv.gate
	return describe(h.Call().Principal())
}

func (h *refreshHub) Keep(value string) { refreshItem.Store(h.Call(), value) }

func (h *refreshHub) Kept() string { value, _ := refreshItem.Load(h.Call()); return value }

func (h *refreshHub) Header() string { return h.Call().Request().Header("Opened-With") }

func (h *refreshHub) OnAuthenticationRefreshed(ctx context.Context) error {
	call, _ := hubsys.CallFrom(ctx)
	h.srv.note(call.Method() + " " + describe(call.Principal()))
	if h.srv.onRefreshed != nil {
		return h.srv.onRefreshed()
	}
	return nil
}

// describe returns the user and the roles of a principal.
func describe(p *hubsys.Principal) string { return p.UserID + ":" + strings.Join(p.Roles, ",") }

// refreshServer serves a refreshHub at /hub whose users come from principalOf.
type refreshServer struct {
	t           *testing.T
	sys         *hubsys.System
	hub         *hubsys.HubContext
	url         string
	blocked     chan struct{} // running calls of Block
	gate        chan struct{}
	open        func() // lets calls of Block return
	onRefreshed func() error

	mu    sync.Mutex
	notes []string
}

func newRefreshServer(t *testing.T, refresh hubsys.RefreshOptions, options hubsys.HubOptions) *refreshServer {
	t.Helper()
	s := &refreshServer{t: t, blocked: make(chan struct{}, 10), gate: make(chan struct{})}
	s.open = sync.OnceFunc(func() { close(s.gate) })
	s.sys = newSystem(t, hubsys.Config{EndpointDefaults: hubsys.EndpointOptions{Authenticate: principalOf, Refresh: &refresh, CloseTimeout: quickClose}})
	t.Cleanup(s.open)
	s.hub = register(t, s.sys, func(context.Context) (*refreshHub, error) { return &refreshHub{srv: s}, nil }, options)
	s.url = serve(t, s.sys, s.hub)
	return s
}

func (s *refreshServer) note(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes = append(s.notes, text)
}

func (s *refreshServer) takeNotes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.notes = nil }()
	return s.notes
}

// dial opens a WebSocket, and returns its query.
func (s *refreshServer) dial(header http.Header) (c *testClient, query string) {
	s.t.Helper()
	_, token := negotiate(s.t, s.url, header)
	query = "?id=" + url.QueryEscape(token)
	return dialWith(s.t, s.url+query, dialOptions{header: header}), query
}

func (s *refreshServer) refresh(query string, header http.Header) (status int, body string) {
	s.t.Helper()
	return post(s.t, s.url+"/refresh"+query, header)
}

func (s *refreshServer) mustRefresh(query string, header http.Header) {
	s.t.Helper()
	status, body := s.refresh(query, header)
	require.Equal(s.t, http.StatusOK, status, body)
}

func (c *testClient) who() string {
	c.t.Helper()
	return strings.Trim(string(c.invoke("Who").Result), `"`)
}

func TestAnswersToRefreshes(t *testing.T) {
	s := newRefreshServer(t, hubsys.RefreshOptions{Check: func(_ *http.Request, _, after *hubsys.Principal) error {
		switch {
		case after.HasRole("unwanted"):
			return errors.New("unwanted")
		case after.HasRole("panic"):
			panic("in Check")
		}
		return nil
	}}, hubsys.HubOptions{Policy: func(ctx context.Context, p *hubsys.Principal) error {
		if p.HasRole("panic in policy") {
			panic("in a policy")
		}
		return hubsys.RequireUser(ctx, p)
	}})
	require.NoError(t, s.hub.Map("/other", hubsys.EndpointOptions{}))
	ada := userHeader("ada")
	c, query := s.dial(ada)
	_, token := negotiate(t, strings.TrimSuffix(s.url, "/hub")+"/other", ada)
	other := "?id=" + url.QueryEscape(token)
	_, token = negotiate(t, s.url, ada)
	waiting := "?id=" + url.QueryEscape(token)
	status, body := post(t, s.url+"/negotiate", ada)
	require.Equal(t, http.StatusOK, status)
	var old struct{ ConnectionID string }
	require.NoError(t, json.Unmarshal([]byte(body), &old))
	for _, test := range []struct {
		what, query string
		header      http.Header
		status      int
		code        string
	}{
		{"no id", "", ada, 400, "missing_connection_token"},
		{"an empty id", "?id=", ada, 400, "missing_connection_token"},
		{"an unknown id", "?id=unknown", ada, 404, "connection_not_found"},
		{"two ids", query + "&" + query[1:], ada, 404, "connection_not_found"},
		{"the id of another endpoint", other, ada, 404, "connection_not_found"},
		{"a connection without a transport", waiting, ada, 404, "connection_not_found"},
		{"version 0", "?id=" + old.ConnectionID, ada, 400, "unsupported_negotiate_version"},
		{"Authenticate fails", query, with(ada, "Refuse", "401"), 401, "invalid_token"},
		{"Authenticate forbids", query, with(ada, "Refuse", "403"), 403, "permission_change_rejected"},
		{"the policy refuses an anonymous user", query, nil, 401, "invalid_token"},
		{"the policy panics", query, userHeader("ada", "panic in policy"), 500, "server_error"},
		{"credentials come before the id", "?id=unknown", nil, 401, "invalid_token"},
		{"Check refuses", query, userHeader("ada", "unwanted"), 403, "permission_change_rejected"},
		{"Check panics", query, userHeader("ada", "panic"), 500, "server_error"},
		{"another user", query, userHeader("bob"), 403, "user_changed"},
		{"another user in case", query, userHeader("Ada"), 403, "user_changed"},
		{"no user identifier", query, userHeader(""), 403, "user_changed"},
	} {
		w := serveRequest(s.sys, http.MethodPost, "/hub/refresh"+test.query, "", test.header)
		require.Equal(t, test.status, w.Code, test.what)
		require.Equal(t, `{"error":"`+test.code+`"}`, w.Body.String(), test.what)
		require.Equal(t, "application/json", w.Header().Get("Content-Type"), test.what)
	}
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodHead, http.MethodOptions} {
		w := serveRequest(s.sys, method, "/hub/refresh"+query, "", ada)
		require.Equal(t, http.StatusMethodNotAllowed, w.Code, method)
		require.Equal(t, "text/plain", w.Header().Get("Content-Type"))
		require.Empty(t, w.Body.String())
	}
	require.Empty(t, s.takeNotes())
	require.Equal(t, "ada:", c.who(), "the connection is as it was")

	w := serveRequest(s.sys, http.MethodPost, "/hub/refresh"+query, "a body is not expected", userHeader("ada", "member"))
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "{}", w.Body.String(), "credentials that never expire")
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	require.Equal(t, "ada:member", c.who())
	require.Equal(t, []string{"OnAuthenticationRefreshed ada:member"}, s.takeNotes())

	c.close()
	eventually(t, func() bool { status, _ := s.refresh(query, ada); return status == http.StatusNotFound }, "the connection has ended")
	_, body = s.refresh(query, ada)
	require.Equal(t, `{"error":"connection_not_found"}`, body)
}

// lifetime returns the value of tokenLifetimeSeconds.
func lifetime(t *testing.T, body string) int {
	t.Helper()
	var answer map[string]int
	require.NoError(t, json.Unmarshal([]byte(body), &answer))
	require.Len(t, answer, 1, body)
	return answer["tokenLifetimeSeconds"]
}

func TestLifetimeOfRefreshedCredentials(t *testing.T) {
	s := newRefreshServer(t, hubsys.RefreshOptions{}, hubsys.HubOptions{})
	_, query := s.dial(expiringHeader("ada", "10m"))
	for _, test := range []struct {
		lifetime string
		seconds  int
	}{{"1h", 3600}, {"2h", 7200}, {"876000h", 1<<31 - 1}} {
		status, body := s.refresh(query, expiringHeader("ada", test.lifetime))
		require.Equal(t, http.StatusOK, status)
		require.InDelta(t, test.seconds-30, lifetime(t, body), 30, test.lifetime)
	}
	status, body := s.refresh(query, userHeader("ada"))
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "{}", body)
}

func TestMaximumLifetimeOfRefreshedCredentials(t *testing.T) {
	s := newRefreshServer(t, hubsys.RefreshOptions{MaximumLifetime: time.Hour}, hubsys.HubOptions{})
	c, query := s.dial(expiringHeader("ada", "10m"))
	for _, header := range []http.Header{expiringHeader("ada", "24h"), userHeader("ada"), expiringHeader("ada", "24h")} {
		status, body := s.refresh(query, header)
		require.Equal(t, http.StatusOK, status)
		require.InDelta(t, 3570, lifetime(t, body), 30)
		require.Equal(t, "ada:", c.who())
		require.Equal(t, []string{"OnAuthenticationRefreshed ada:"}, s.takeNotes(), "it was not ignored")
	}

	_, query = s.dial(expiringHeader("ada", "10m"))
	_, body := s.refresh(query, expiringHeader("ada", "30m"))
	require.InDelta(t, 1770, lifetime(t, body), 30, "credentials that are valid for less")
}

// Credentials that expire earlier than those of the connection are answered with success, and change nothing.
func TestOlderCredentialsAreIgnored(t *testing.T) {
	asked := 0
	s := newRefreshServer(t, hubsys.RefreshOptions{Check: func(*http.Request, *hubsys.Principal, *hubsys.Principal) error { asked++; return nil }}, hubsys.HubOptions{})
	c, query := s.dial(with(userHeader("ada", "new"), "Lifetime", "2h"))
	s.mustRefresh(query, with(userHeader("ada", "old"), "Lifetime", "1h"))
	require.Equal(t, "ada:new", c.who())
	require.Zero(t, asked)
	require.Empty(t, s.takeNotes())
	s.mustRefresh(query, with(userHeader("ada", "newer"), "Lifetime", "3h"))
	require.Equal(t, "ada:newer", c.who())
	require.Equal(t, 1, asked)
}

// A call keeps the principal that it began with. Those behind a refresh see the new one, and OnAuthenticationRefreshed runs before them.
func TestRefreshIsInOrderWithCalls(t *testing.T) {
	s := newRefreshServer(t, hubsys.RefreshOptions{}, hubsys.HubOptions{})
	c, query := s.dial(userHeader("ada", "one"))
	before := c.call("Block")
	receive(t, s.blocked)
	s.mustRefresh(query, userHeader("ada", "two"))
	after := c.call("Who")
	require.Empty(t, s.takeNotes(), "OnAuthenticationRefreshed waits for the call")
	s.open()
	require.Equal(t, `"ada:one"`, string(c.awaitCompletion(before).Result))
	require.Equal(t, `"ada:two"`, string(c.awaitCompletion(after).Result))
	require.Equal(t, []string{"OnAuthenticationRefreshed ada:two"}, s.takeNotes())
}

// What OnAuthenticationRefreshed returns, and whether it panics, is no matter of the connection.
func TestOnAuthenticationRefreshedMayFail(t *testing.T) {
	s := newRefreshServer(t, hubsys.RefreshOptions{}, hubsys.HubOptions{})
	n := 0
	s.onRefreshed = func() error {
		if n++; n == 2 {
			panic("in OnAuthenticationRefreshed")
		}
		return hubsys.Errorf("failed")
	}
	c, query := s.dial(userHeader("ada"))
	for i := range 3 {
		role := fmt.Sprint(i)
		s.mustRefresh(query, userHeader("ada", role))
		require.Equal(t, "ada:"+role, c.who())
		require.Equal(t, []string{"OnAuthenticationRefreshed ada:" + role}, s.takeNotes())
	}
	require.Empty(t, c.skipped)
}

// A hub that is made of functions is told of refreshes as well, through its filters.
func TestRefreshedOfAHandler(t *testing.T) {
	notes := make(chan string, 10)
	filter := func(next hubsys.Handler) hubsys.Handler {
		refreshed := next.Refreshed
		next.Refreshed = func(ctx context.Context) error { notes <- "filter"; return refreshed(ctx) }
		return next
	}
	sys := newSystem(t, hubsys.Config{EndpointDefaults: hubsys.EndpointOptions{Authenticate: principalOf, Refresh: &hubsys.RefreshOptions{}}})
	hub, err := hubsys.RegisterHandler(sys, hubsys.Handler{
		Invoke: func(context.Context, *hubsys.Invocation) (any, error) { return nil, nil },
		Refreshed: func(ctx context.Context) error {
			call, _ := hubsys.CallFrom(ctx)
			notes <- describe(call.Principal())
			return nil
		},
	}, hubsys.HubOptions{Name: "functions", Filters: []hubsys.Filter{filter}})
	require.NoError(t, err)
	s := &refreshServer{t: t, url: serve(t, sys, hub)}
	_, query := s.dial(userHeader("ada"))
	s.mustRefresh(query, userHeader("ada", "member"))
	require.Equal(t, "filter", receive(t, notes))
	require.Equal(t, "ada:member", receive(t, notes))
}

func TestItemsSurviveRefreshes(t *testing.T) {
	s := newRefreshServer(t, hubsys.RefreshOptions{AllowUserChange: true}, hubsys.HubOptions{})
	c, query := s.dial(with(userHeader("ada"), "Opened-With", "first"))
	c.invoke("Keep", "first value")
	for _, user := range []string{"ada", "bob", "eve"} {
		s.mustRefresh(query, with(userHeader(user), "Opened-With", "refresh"))
		require.Equal(t, user+":", c.who())
		require.Equal(t, `"first"`, string(c.invoke("Header").Result), "the request is that which has opened the connection")
		if user == "bob" {
			require.Equal(t, `"first value"`, string(c.invoke("Kept").Result))
			c.invoke("Keep", "second value")
		}
	}
	require.Equal(t, `"second value"`, string(c.invoke("Kept").Result))
}

// Check is asked with what the connection has and with what it would get.
func TestCheckIsAskedWithBothPrincipals(t *testing.T) {
	var asked []string
	s := newRefreshServer(t, hubsys.RefreshOptions{AllowUserChange: true, MaximumLifetime: time.Minute, Check: func(r *http.Request, before, after *hubsys.Principal) error {
		asked = append(asked, fmt.Sprintf("%s %s → %s, %v", r.URL.Path, describe(before), describe(after), time.Until(after.Expires) <= time.Minute))
		if after.HasRole("no") {
			return errors.New("no")
		}
		return nil
	}}, hubsys.HubOptions{})
	c, query := s.dial(expiringHeader("ada", "5s"))
	status, body := s.refresh(query, userHeader("bob", "no"))
	require.Equal(t, http.StatusForbidden, status)
	require.Equal(t, `{"error":"permission_change_rejected"}`, body)
	s.mustRefresh(query, userHeader("bob", "yes"))
	require.Equal(t, "bob:yes", c.who())
	s.mustRefresh(query, userHeader("bob", "more"))
	require.Equal(t, []string{"/hub/refresh ada: → bob:no, true", "/hub/refresh ada: → bob:yes, true", "/hub/refresh bob:yes → bob:more, true"}, asked)
}

// The path of refreshes exists where they are enabled.
func TestPathsOfRefreshes(t *testing.T) {
	sys := newSystem(t, hubsys.Config{EndpointDefaults: hubsys.EndpointOptions{Authenticate: principalOf}})
	hub := register(t, sys, func(context.Context) (*base, error) { return &base{}, nil }, hubsys.HubOptions{})
	enabled, disabled := hubsys.EndpointOptions{Refresh: &hubsys.RefreshOptions{}}, hubsys.EndpointOptions{}
	require.NoError(t, hub.Map("/with", enabled))
	require.NoError(t, hub.Map("/without", disabled))
	require.NoError(t, hub.Map("/", enabled))
	require.Equal(t, []string{"/negotiate", "/refresh", "/with", "/with/negotiate", "/with/refresh", "/without", "/without/negotiate", "/{$}"}, sys.Patterns())
	for path, status := range map[string]int{
		"/with/refresh": 400, "/refresh": 400, "/without/refresh": 404, "/with/Refresh": 404, "/with/refresh/": 404, "/with/refresh/negotiate": 404,
		"/with/negotiate/refresh": 404, "/with/refresh/refresh": 404, "/with%2frefresh": 404,
	} {
		w := serveRequest(sys, http.MethodPost, path, "", nil)
		require.Equal(t, status, w.Code, path)
		if status == http.StatusNotFound {
			require.Empty(t, w.Body.String(), path)
		}
	}
	for _, path := range []string{"/with/refresh", "/refresh"} {
		require.ErrorContains(t, hub.Map(path, disabled), "{path}/refresh", path)
	}
	require.NoError(t, hub.Map("/without/refresh", disabled), "a path that nothing else has")
	require.NoError(t, hub.Map("/x/refresh", enabled))
	require.ErrorContains(t, hub.Map("/x", enabled), "{path}/refresh")
	require.NoError(t, hub.Map("/x", disabled))
	require.ErrorContains(t, hub.Map("/x/refresh/negotiate", disabled), "{path}/negotiate")
}

func TestRefreshOptionsReportFaults(t *testing.T) {
	require.EqualError(t, hubsys.EndpointOptions{Refresh: &hubsys.RefreshOptions{MaximumLifetime: -1}}.Validate(),
		"hubsys: EndpointOptions: Refresh.MaximumLifetime is -1ns: it is not negative")
	require.NoError(t, hubsys.EndpointOptions{Authenticate: principalOf, Refresh: &hubsys.RefreshOptions{MaximumLifetime: time.Second}}.Validate())
}

// MaximumLifetime caps the credentials that a connection is opened with, and leaves anonymous users anonymous.
func TestMaximumLifetimeOfOpeningCredentials(t *testing.T) {
	srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{
		Authenticate: principalOf, Refresh: &hubsys.RefreshOptions{MaximumLifetime: time.Hour},
	}})
	srv.handle("who", func(_ context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		p := h.Call().Principal()
		return []bool{p.Authenticated(), p.Expires.IsZero(), !p.Expires.IsZero() && time.Until(p.Expires) <= time.Hour}, nil
	})
	for _, test := range []struct {
		header http.Header
		want   string
	}{
		{nil, "[false,true,false]"},
		{userHeader("ada"), "[true,false,true]"},
		{expiringHeader("ada", "24h"), "[true,false,true]"},
		{expiringHeader("ada", "30m"), "[true,false,true]"},
		{expiringHeader("ada", "876000h"), "[true,false,true]"},
	} {
		require.Equal(t, test.want, dialWith(t, srv.url, dialOptions{header: test.header}).do("who"), "%v", test.header)
	}
}

// A policy refuses anonymous users whether or not lifetimes are limited.
func TestMaximumLifetimeDoesNotAuthenticate(t *testing.T) {
	s := newRefreshServer(t, hubsys.RefreshOptions{MaximumLifetime: time.Hour}, hubsys.HubOptions{Methods: []hubsys.Method{{Func: (*refreshHub).Header, Policy: hubsys.RequireUser}}})
	c, _ := s.dial(nil)
	require.Equal(t, "Failed to invoke 'Header' because user is unauthorized", c.invokeError("Header"))
	c, query := s.dial(userHeader("ada"))
	require.Nil(t, c.invoke("Header").Error)
	status, body := s.refresh(query, nil)
	require.Equal(t, http.StatusForbidden, status)
	require.Equal(t, `{"error":"user_changed"}`, body)
}
