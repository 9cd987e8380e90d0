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
