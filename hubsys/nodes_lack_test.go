package hubsys_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

type rareHub struct{ hubsys.Hub }

// A hub that another node lacks is watched without waiting for that node.
func TestAWatchOfAHubThatAnotherNodeLacks(t *testing.T) {
	overNodes(t, 2, func(t *testing.T, servers []*nodeServer) {
		hub, err := hubsys.Register[*rareHub](servers[0].sys, nil, hubsys.HubOptions{})
		require.NoError(t, err)
		start := time.Now()
		require.Empty(t, receive(t, watchIDs(t, hub.Clients().All())))
		require.Less(t, time.Since(start), time.Second)
	})
}
