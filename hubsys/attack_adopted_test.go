package hubsys_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/backplane/memory"
)

// Connections that were negotiated with another node, and given to this one, count as those that were negotiated here.
func TestConnectionsOfOtherNodesAreNegotiatedWithinTheLimits(t *testing.T) {
	const limit, rounds = 20, 200
	cluster := &memory.Cluster{}
	var nodes [2]*testServer
	for i := range nodes {
		config := testConfig{Config: hubsys.Config{Backplane: cluster.Node([]string{"a", "b"}[i]), PendingConnectionsPerAddress: limit}}
		config.Authenticate = principalOf
		nodes[i] = newTestServer(t, config)
	}
	var tokens []string
	for range rounds {
		_, token := negotiate(t, nodes[0].url, userHeader("ada"))
		status := serveRequest(nodes[1].sys, http.MethodGet, "/test?id="+token, "", nil).Code // moves it, and does not open it
		require.Contains(t, []int{http.StatusForbidden, http.StatusNotFound}, status)
		tokens = append(tokens, token)
	}
	waiting := 0
	for _, token := range tokens {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/test?id="+token, nil)
		r.Header = userHeader("ada")
		nodes[1].sys.ServeHTTP(w, r)
		if w.Code == http.StatusOK {
			waiting++
		}
	}
	require.Positive(t, waiting)
	require.LessOrEqual(t, waiting, limit)
}
