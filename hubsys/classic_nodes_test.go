package hubsys_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// A session of SignalR 2 lives where its client connects, and its other requests may reach any node.
func TestClassicClientsOfSeveralNodes(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		overBackplanes(t, func(t *testing.T, node newNode) {
			var servers []*classicServer
			for i := range 3 {
				config := classicConfig{Config: hubsys.Config{Backplane: node(fmt.Sprint("node ", i))}}
				config.Authenticate = principalOf
				config.hub.Policy = hubsys.RequireRole("member")
				servers = append(servers, newClassicServer(t, config))
			}
			c := newClassicClient(t, "", transport)
			c.header = userHeader("ada", "member")
			turn := 0
			next := func() *classicServer {
				turn++
				s := servers[turn%len(servers)]
				c.address = s.address
				return s
			}
			next()
			c.negotiate()
			owner := next()
			c.connect()
			next()
			c.start()
			for i := range 6 {
				next()
				require.Equal(t, fmt.Sprintf(`{"R":%d,"I":"%d"}`, i, i+1), c.invoke("Echo", i).raw)
				require.NoError(t, next().chat.Clients().Client(c.id).Send(t.Context(), "called", i))
				c.requireCall("called", i)
			}
			next()
			c.invoke("Join", "g")
			c.awaitGroups()
			for i := range 6 {
				c.drop()
				require.NoError(t, next().chat.Clients().Group("g").Send(t.Context(), "called", i))
				next()
				c.reconnect()
				c.requireCall("called", i)
			}
			next()
			c.abort()
			eventually(t, func() bool { return len(owner.eventsOf(c.id)) == 8 }, "its events are those of one node")
			require.Equal(t, "Chat disconnected", owner.eventsOf(c.id)[7])
			for _, s := range servers {
				if s != owner {
					require.Empty(t, s.eventsOf(c.id))
				}
			}
		})
	})
}

// A client that has started gets all that is sent to it from then on, on any node.
func TestAClassicClientThatHasStartedIsKnownToAllNodes(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		overBackplanes(t, func(t *testing.T, node newNode) {
			var servers []*classicServer
			for i := range 2 {
				keys := [][]byte{[]byte("a key of thirty-two random bytes")}
				servers = append(servers, newClassicServer(t, classicConfig{Config: hubsys.Config{Keys: keys, Backplane: node(fmt.Sprint("node ", i))}}))
			}
			for i := range 20 {
				c := newClassicClient(t, servers[0].address, transport)
				if i%2 == 0 {
					c.version = "1.3" // does not start
				}
				c.negotiate()
				c.connect()
				if i%2 == 1 {
					c.start()
				}
				require.NoError(t, servers[1].chat.Clients().Client(c.id).Send(t.Context(), "called", "from the other node"))
				c.requireCall("called", "from the other node")
				c.abort()
				c.drop()
			}
		})
	})
}
