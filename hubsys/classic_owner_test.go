package hubsys_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// droppingClassicServers are two servers that are joined, and the node of the second.
func droppingClassicServers(t *testing.T) (servers []*classicServer, last *droppingNode) {
	t.Helper()
	node, keys := inMemory(), [][]byte{[]byte("a key of thirty-two random bytes")}
	for _, name := range []string{"node 0", "node 1"} {
		last = &droppingNode{hostedNode: hostedNode{Backplane: node(name)}}
		servers = append(servers, newClassicServer(t, classicConfig{Config: hubsys.Config{Keys: keys, Backplane: last}}))
	}
	return servers, last
}

// A node that does not hear which node has a session opens none of its own, which would take what is for the client.
func TestAnOwnerThatIsNotHeardOf(t *testing.T) {
	for name, request := range map[string]func(t *testing.T, c *classicClient, asked <-chan struct{}){
		"call": func(t *testing.T, c *classicClient, _ <-chan struct{}) {
			_, text := c.callText("Nothing")
			status, _ := c.send(text)
			require.Equal(t, http.StatusServiceUnavailable, status)
		},
		"poll that is given up": func(t *testing.T, c *classicClient, asked <-chan struct{}) {
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-asked
				cancel()
			}()
			query := url.Values{"connectionData": {c.hubs}, "transport": {c.transport}, "connectionToken": {c.token}}
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.address+"/poll?"+query.Encode(), nil)
			require.NoError(t, err)
			_, err = http.DefaultClient.Do(r)
			require.ErrorIs(t, err, context.Canceled)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			servers, node := droppingClassicServers(t)
			c := dialClassic(t, servers[0], "longPolling")
			asked := make(chan struct{})
			isAsked := sync.OnceFunc(func() { close(asked) })
			drop := func(topic string) bool {
				isQuestion := strings.HasPrefix(topic, "s/")
				if isQuestion {
					isAsked()
				}
				return isQuestion
			}
			node.drop.Store(&drop)
			c.address = servers[1].address
			request(t, c, asked)
			node.drop.Store(nil)
			c.invoke("CallMe", "at node 0")
			c.address = servers[0].address
			c.requireCall("called", "at node 0")
			require.Empty(t, servers[1].eventsOf(c.id))
		})
	}
}
