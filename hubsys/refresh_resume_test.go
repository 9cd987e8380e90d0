package hubsys_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// A socket that comes back with credentials that are older than those of the connection does not take these back.
func TestASocketComesBackWithOlderCredentials(t *testing.T) {
	s := newRefreshServer(t, hubsys.RefreshOptions{}, hubsys.HubOptions{})
	require.NoError(t, s.hub.Map("/resumable", hubsys.EndpointOptions{AllowStatefulReconnects: true}))
	s.url = strings.TrimSuffix(s.url, "/hub") + "/resumable"
	header := func(role, lifetime string) http.Header {
		h := userHeader("ada", role)
		h.Set("Lifetime", lifetime)
		return h
	}
	old := header("old", "1h")
	status, body := post(t, s.url+"/negotiate?negotiateVersion=1&useStatefulReconnect=true", old)
	require.Equal(t, http.StatusOK, status)
	var n struct{ ConnectionToken string }
	require.NoError(t, json.Unmarshal([]byte(body), &n))
	suite.note(n.ConnectionToken)
	query := "?id=" + url.QueryEscape(n.ConnectionToken)

	c := dialSocket(t, s.url+query, dialOptions{header: old})
	c.send(`{"protocol":"json","version":2}`)
	require.Equal(t, "{}", c.next().raw)
	require.Equal(t, "ada:old", c.who())
	s.mustRefresh(query, header("new", "2h"))
	require.Equal(t, "ada:new", c.who())
	for _, again := range []struct {
		with http.Header
		who  string
	}{{old, "ada:new"}, {header("newer", "3h"), "ada:newer"}, {old, "ada:newer"}} {
		calls := c.lastID
		require.NoError(t, c.ws.CloseNow())
		c = dialSocket(t, s.url+query, dialOptions{header: again.with})
		c.lastID = calls
		c.send(fmt.Sprintf(`{"type":9,"sequenceId":%d}`, calls+1))
		require.Equal(t, again.who, c.who())
	}
}
