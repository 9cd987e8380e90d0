package hubsys_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// cutNode is a node that can be cut off from the others for a while, of which it knows no more than that they are down.
type cutNode struct {
	droppingNode
	isCut atomic.Bool
}

func (n *cutNode) Wanted(topic string) bool { return !n.isCut.Load() && n.droppingNode.Wanted(topic) }

func (n *cutNode) Publish(topic string, message []byte) (<-chan struct{}, error) {
	if n.isCut.Load() {
		return nil, nil
	}
	return n.droppingNode.Publish(topic, message)
}

// cutServers are three servers that are joined, and a function that cuts them off from each other, or joins them again.
func cutServers(t *testing.T) (servers []*classicServer, cut func(bool)) {
	t.Helper()
	node, keys := inMemory(), [][]byte{[]byte("a key of thirty-two random bytes")}
	var nodes []*cutNode
	for i := range 3 {
		n := &cutNode{droppingNode: droppingNode{hostedNode: hostedNode{Backplane: node(fmt.Sprint("node ", i))}}}
		nodes = append(nodes, n)
		servers = append(servers, newClassicServer(t, classicConfig{Config: hubsys.Config{Keys: keys, Backplane: n}}))
	}
	return servers, func(isCut bool) {
		for _, n := range nodes {
			n.isCut.Store(isCut)
		}
	}
}

// awaitOne waits until the servers have one connection.
func awaitOne(t *testing.T, servers []*classicServer) {
	t.Helper()
	eventually(t, func() bool {
		n, err := servers[0].chat.Clients().All().Count(t.Context())
		return err == nil && n == 1
	}, "the session is on one node")
}

// A node that cannot reach the one that has a session opens it, too. When they reach each other again, the client has one session: calls that come to
// any node are executed where the client receives.
func TestCallsOfASessionThatIsOnTwoNodes(t *testing.T) {
	for _, transport := range []string{"serverSentEvents", "foreverFrame"} {
		t.Run(transport, func(t *testing.T) {
			servers, cut := cutServers(t)
			c := dialClassic(t, servers[0], transport)
			cut(true)
			c.address = servers[1].address
			c.invoke("CallMe", "lost")
			cut(false)
			for i := range 9 {
				c.address = servers[(i+1)%3].address
				c.invoke("CallMe", i)
				c.requireCall("called", i)
			}
			awaitOne(t, servers)
			servers[1].awaitEvents(c.id, "Chat reconnected", "Chat disconnected")
			require.Equal(t, []string{"Chat connected"}, servers[0].eventsOf(c.id))
		})
	}
}

// The client of such a session that polls has the one that it polls, with its groups.
func TestPollsOfASessionThatIsOnTwoNodes(t *testing.T) {
	servers, cut := cutServers(t)
	c := dialClassic(t, servers[0], "longPolling")
	pollAt := func(s *classicServer) {
		c.drop()
		c.address = s.address
		c.open("/poll", c.position())
	}
	cut(true)
	pollAt(servers[1])
	c.invoke("Join", "g")
	c.awaitGroups()
	cut(false)
	pollAt(servers[0])
	awaitOne(t, servers)
	eventually(t, func() bool {
		groups, err := servers[2].chat.Clients().Client(c.id).Groups(t.Context())
		return err == nil && len(groups) == 1
	}, "it is in its group")
	for i := range 9 { // but for the first one, between two polls
		require.NoError(t, servers[0].chat.Clients().Group("g").Send(t.Context(), "called", i))
		c.requireCall("called", i)
		c.drop()
		c.address = servers[i%3].address
	}
}
