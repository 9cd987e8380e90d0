package hubsys_test

import (
	"context"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// A connection counts for the user that it belongs to, also when that has taken it over from another one.
func TestConnectionsThatChangeTheirUserAreCountedForIt(t *testing.T) {
	sys := newSystem(t, hubsys.Config{MaximumConnectionsPerUser: 1, EndpointDefaults: hubsys.EndpointOptions{
		Authenticate: principalOf, Refresh: &hubsys.RefreshOptions{AllowUserChange: true},
	}})
	address := serve(t, sys, register(t, sys, func(context.Context) (*limitedHub, error) { return &limitedHub{}, nil }, hubsys.HubOptions{}))
	ada, eve := userHeader("ada"), userHeader("eve")
	_, token := negotiate(t, address, ada)
	query := "?id=" + url.QueryEscape(token)
	taken := dialWith(t, address+query, dialOptions{header: ada})
	status, _, _ := tryUpgrade(t, address, ada)
	require.Equal(t, http.StatusTooManyRequests, status)
	status, body := post(t, address+"/refresh"+query, eve)
	require.Equal(t, http.StatusOK, status, body)
	status, _, _ = tryUpgrade(t, address, eve)
	require.Equal(t, http.StatusTooManyRequests, status, "eve has one")
	dialWith(t, address, dialOptions{header: ada}) // who has none

	taken.close()
	require.Eventually(t, func() bool {
		status, _, _ := tryUpgrade(t, address, eve)
		return status == http.StatusSwitchingProtocols
	}, testTimeout, time.Millisecond, "nobody counts for eve")
	status, _, _ = tryUpgrade(t, address, ada)
	require.Equal(t, http.StatusTooManyRequests, status, "ada still has one")
}
