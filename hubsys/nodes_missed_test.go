package hubsys_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// A node that loses messages all the time is not asked to list its members for each of them.
func TestAWatchAsksOnceWhileMessagesAreLost(t *testing.T) {
	servers, nodes := droppingServers(t)
	_, id := dialWithID(t, servers[1].url, nil)
	watch := watchIDs(t, servers[0].hub.Clients().All())
	require.Equal(t, []string{"+" + id}, receive(t, watch))
	nodes[1].dropping("n/") // its answers
	var asked atomic.Int32
	count := func(topic string) bool {
		if strings.HasPrefix(topic, "n/") {
			asked.Add(1)
		}
		return false
	}
	nodes[0].drop.Store(&count)
	for range 100 {
		nodes[0].host.Missed(nodes[1].id, 1)
	}
	require.EqualValues(t, 1, asked.Load())
	_, id = dialWithID(t, servers[1].url, nil)
	nodes[1].drop.Store(nil)
	require.Equal(t, []string{"+" + id}, receive(t, watch)) // when it has been asked again
}
