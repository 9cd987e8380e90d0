package hubsys_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// forgetfulNode is a node that does not hear that others know of a user before that is told.
type forgetfulNode struct {
	hostedNode
	asked, known chan struct{}
}

func (n *forgetfulNode) Subscribe(topic string) <-chan struct{} {
	known := n.hostedNode.Subscribe(topic)
	if strings.HasSuffix(topic, "/eve") {
		close(n.asked)
		return n.known
	}
	return known
}

// limitedRefreshes is a server at which a user can have one connection, and ada's connection.
func limitedRefreshes(t *testing.T, config hubsys.Config, refresh hubsys.RefreshOptions) (address, query string) {
	t.Helper()
	refresh.AllowUserChange = true
	config.MaximumConnectionsPerUser, config.EndpointDefaults = 1, hubsys.EndpointOptions{Authenticate: principalOf, Refresh: &refresh}
	sys := newSystem(t, config)
	address = serve(t, sys, register(t, sys, func(context.Context) (*limitedHub, error) { return &limitedHub{}, nil }, hubsys.HubOptions{}))
	_, token := negotiate(t, address, userHeader("ada"))
	query = "?id=" + url.QueryEscape(token)
	dialWith(t, address+query, dialOptions{header: userHeader("ada")})
	return address, query
}

// A connection counts for the user who has taken it over, also if the request for that was given up before other nodes knew.
func TestARefreshThatIsGivenUpCounts(t *testing.T) {
	node := &forgetfulNode{hostedNode: hostedNode{Backplane: inMemory()("node")}, asked: make(chan struct{}), known: make(chan struct{})}
	address, query := limitedRefreshes(t, hubsys.Config{Backplane: node}, hubsys.RefreshOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-node.asked
		cancel()
	}()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address+"/refresh"+query, nil)
	require.NoError(t, err)
	r.Header["User"] = []string{"eve"}
	_, err = http.DefaultClient.Do(r)
	require.ErrorIs(t, err, context.Canceled)
	close(node.known)
	require.Eventually(t, func() bool {
		status, _, _ := tryUpgrade(t, address, userHeader("ada"))
		return status == http.StatusSwitchingProtocols
	}, testTimeout, time.Millisecond, "ada has none")
}

// Of several refreshes at once, the connection counts for the user of the last one, also if that was of the user it had when the request came.
func TestTheLastOfSeveralRefreshesCounts(t *testing.T) {
	checks, release := make(chan struct{}), make(chan struct{})
	address, query := limitedRefreshes(t, hubsys.Config{}, hubsys.RefreshOptions{Check: func(_ *http.Request, _, after *hubsys.Principal) error {
		if after.UserID == "ada" {
			close(checks)
			<-release
		}
		return nil
	}})
	last := make(chan int, 1)
	go func() {
		status, _ := post(t, address+"/refresh"+query, userHeader("ada"))
		last <- status
	}()
	<-checks
	status, body := post(t, address+"/refresh"+query, userHeader("eve"))
	require.Equal(t, http.StatusOK, status, body)
	close(release)
	require.Equal(t, http.StatusOK, receive(t, last))
	status, _, _ = tryUpgrade(t, address, userHeader("ada"))
	require.Equal(t, http.StatusTooManyRequests, status, "ada has one")
	status, _, _ = tryUpgrade(t, address, userHeader("eve"))
	require.Equal(t, http.StatusSwitchingProtocols, status, "eve has none")
}
