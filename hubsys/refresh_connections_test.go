package hubsys_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// With AllowUserChange, a connection is found by its new user, and not by the old one.
func TestRefreshMovesAConnectionToAnotherUser(t *testing.T) {
	s := newRefreshServer(t, hubsys.RefreshOptions{AllowUserChange: true}, hubsys.HubOptions{})
	c, query := s.dial(userHeader("ada"))
	other, _ := s.dial(userHeader("ada"))
	ctx := t.Context()
	toAll := func(users ...string) {
		for _, user := range users {
			require.NoError(t, s.hub.Clients().User(user).Send(ctx, "to", user))
		}
	}
	s.mustRefresh(query, userHeader("bob"))
	toAll("ada", "bob")
	c.requireInvocation("to", "bob")
	other.requireInvocation("to", "ada")
	require.Equal(t, "bob:", c.who())
	require.Equal(t, "ada:", other.who())
	s.mustRefresh(query, nil) // anonymous
	toAll("ada", "bob")
	other.requireInvocation("to", "ada")
	require.Equal(t, ":", c.who())
	s.mustRefresh(query, userHeader("ada"))
	toAll("ada", "bob")
	c.requireInvocation("to", "ada")
	require.Equal(t, "ada:", c.who())
	require.Empty(t, c.skipped)
}

// After a change of the user, requests of the old one are refused, and those of the new one are taken.
func TestRefreshOfAPollingConnection(t *testing.T) {
	s := newRefreshServer(t, hubsys.RefreshOptions{AllowUserChange: true}, hubsys.HubOptions{})
	ada, bob := userHeader("ada"), userHeader("bob")
	_, token := negotiate(t, s.url, ada)
	query := "?id=" + url.QueryEscape(token)
	status := func(method, body string, header http.Header) int {
		t.Helper()
		status, _ := doRequest(t, method, s.url+query, body, header)
		return status
	}
	require.Equal(t, http.StatusOK, status(http.MethodGet, "", ada))
	require.Equal(t, http.StatusOK, status(http.MethodPost, handshakeJSON+separator, ada))
	require.Equal(t, http.StatusForbidden, status(http.MethodGet, "", bob))
	code, answer := doRequest(t, http.MethodGet, s.url+query, "", ada)
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, "{}"+separator, answer, "the connection is open")
	s.mustRefresh(query, bob)
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		require.Equal(t, http.StatusForbidden, status(method, "", ada), method)
	}
	require.Equal(t, http.StatusOK, status(http.MethodPost, invocation("1", "Who")+separator, bob))
	all := ""
	for !strings.Contains(all, `"result":"bob:"`) {
		code, body := doRequest(t, http.MethodGet, s.url+query, "", bob)
		require.Equal(t, http.StatusOK, code)
		all += body
	}
	require.Equal(t, http.StatusAccepted, status(http.MethodDelete, "", bob))
}

// Connections over event streams can be refreshed as well.
func TestRefreshOfAnEventStream(t *testing.T) {
	s := newRefreshServer(t, hubsys.RefreshOptions{}, hubsys.HubOptions{})
	ada := userHeader("ada")
	_, token := negotiate(t, s.url, ada)
	query := "?id=" + url.QueryEscape(token)
	p := dialTCP(t, s.url)
	p.mustWrite(p.request(http.MethodGet, query, events+"User: ada\r\n"))
	require.Equal(t, http.StatusOK, p.response().StatusCode)
	_, _ = doRequest(t, http.MethodPost, s.url+query, handshakeJSON+separator, ada)
	p.readEvents("{}" + separator)
	s.mustRefresh(query, userHeader("ada", "refreshed"))
	_, _ = doRequest(t, http.MethodPost, s.url+query, invocation("1", "Who")+separator, ada)
	p.readEvents(`"result":"ada:refreshed"`)
	require.Equal(t, []string{"OnAuthenticationRefreshed ada:refreshed"}, s.takeNotes())
}

// A client that floods a server with refreshes while a call of it runs costs the server one event.
func TestManyRefreshesWhileACallRuns(t *testing.T) {
	s := newRefreshServer(t, hubsys.RefreshOptions{}, hubsys.HubOptions{})
	c, query := s.dial(userHeader("ada", "first"))
	id := c.call("Block")
	receive(t, s.blocked)
	refresh := func(role string) {
		require.Equal(t, http.StatusOK, serveRequest(s.sys, http.MethodPost, "/hub/refresh"+query, "", userHeader("ada", role)).Code)
	}
	refresh("warm up")
	before := heapInUse()
	for i := range 10_000 {
		refresh(fmt.Sprint(i))
	}
	requireHeapSettles(t, before, 512<<10, "10,000 refreshes")
	refresh("last")
	s.open()
	require.Equal(t, `"ada:first"`, string(c.awaitCompletion(id).Result))
	require.Equal(t, "ada:last", c.who())
	require.Equal(t, []string{"OnAuthenticationRefreshed ada:last"}, s.takeNotes())
}

// Refreshes can be concurrent. The connection has the credentials of one of them in the end.
func TestConcurrentRefreshes(t *testing.T) {
	s := newRefreshServer(t, hubsys.RefreshOptions{}, hubsys.HubOptions{MaximumParallelInvocationsPerClient: 3})
	c, query := s.dial(userHeader("ada"))
	c.invoke("Keep", "kept")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 50 {
				w := httptest.NewRecorder()
				r := httptest.NewRequest(http.MethodPost, "/hub/refresh"+query, nil)
				r.Header = userHeader("ada", fmt.Sprint(i))
				s.sys.ServeHTTP(w, r)
				if w.Code != http.StatusOK {
					t.Errorf("status %d", w.Code)
				}
			}
		})
	}
	for range 50 {
		require.Regexp(t, `^ada:[0-7]?$`, c.who())
	}
	all.Wait()
	require.Regexp(t, `^ada:[0-7]$`, c.who())
	require.Equal(t, `"kept"`, string(c.invoke("Kept").Result))
}

// polled is a client that polls, whose user changes.
type polled struct {
	s     *refreshServer
	query string
}

func (s *refreshServer) poll(header http.Header) *polled {
	s.t.Helper()
	_, token := negotiate(s.t, s.url, header)
	p := &polled{s: s, query: "?id=" + url.QueryEscape(token)}
	require.Equal(s.t, http.StatusOK, p.status(http.MethodGet, "", header))
	require.Equal(s.t, http.StatusOK, p.status(http.MethodPost, handshakeJSON+separator, header))
	p.awaitText("{}"+separator, header)
	return p
}

func (p *polled) status(method, body string, header http.Header) int {
	p.s.t.Helper()
	status, _ := doRequest(p.s.t, method, p.s.url+p.query, body, header)
	return status
}

// awaitText polls until a text has come.
func (p *polled) awaitText(text string, header http.Header) {
	p.s.t.Helper()
	for all := ""; !strings.Contains(all, text); {
		status, body := doRequest(p.s.t, http.MethodGet, p.s.url+p.query, "", header)
		require.Equal(p.s.t, http.StatusOK, status, all)
		all += body
	}
}

// Older credentials change nothing, even if they are those of another user who may take over the connection.
func TestOlderCredentialsOfAnotherUserAreIgnored(t *testing.T) {
	s := newRefreshServer(t, hubsys.RefreshOptions{AllowUserChange: true, Check: func(*http.Request, *hubsys.Principal, *hubsys.Principal) error {
		t.Error("Check was asked about credentials that are ignored")
		return nil
	}}, hubsys.HubOptions{})
	ada, eve := expiringHeader("ada", "2h"), expiringHeader("eve", "1h")
	p := s.poll(ada)
	status, body := s.refresh(p.query, eve)
	require.Equal(t, http.StatusOK, status)
	require.InDelta(t, 7170, lifetime(t, body), 30, "that of the credentials that the connection has")
	require.Equal(t, http.StatusForbidden, p.status(http.MethodPost, invocation("1", "Who")+separator, eve))
	require.Equal(t, http.StatusForbidden, p.status(http.MethodGet, "", eve))
	require.Equal(t, http.StatusOK, p.status(http.MethodPost, invocation("2", "Who")+separator, ada))
	p.awaitText(`"result":"ada:"`, ada)
	require.Empty(t, s.takeNotes())
}

// Whichever of several refreshes to different users comes last: requests and calls are those of the same user then.
func TestConcurrentRefreshesToDifferentUsers(t *testing.T) {
	s := newRefreshServer(t, hubsys.RefreshOptions{AllowUserChange: true}, hubsys.HubOptions{})
	const users = 8
	header := func(i int) http.Header { return userHeader(fmt.Sprint("user", i)) }
	p := s.poll(header(0))
	for round := range 150 {
		var all sync.WaitGroup
		for i := range users {
			all.Go(func() {
				if w := serveRequest(s.sys, http.MethodPost, "/hub/refresh"+p.query, "", header(i)); w.Code != http.StatusOK {
					t.Errorf("status %d", w.Code)
				}
			})
		}
		all.Wait()
		owner := -1
		for i := range users {
			if serveRequest(s.sys, http.MethodPost, "/hub"+p.query, invocation("1", "Who")+separator, header(i)).Code == http.StatusOK {
				require.Negative(t, owner, "round %d: requests of two users are taken", round)
				owner = i
			}
		}
		require.GreaterOrEqual(t, owner, 0, "round %d: requests of nobody are taken", round)
		p.awaitText(fmt.Sprintf(`"result":"user%d:"`, owner), header(owner))
	}
}
