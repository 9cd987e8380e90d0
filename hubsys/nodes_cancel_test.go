package hubsys_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// Who is told that the answer of a client may be lost waits for it no more, and the node that has the client must not, either.
func TestAnInvocationThatMayBeLostEndsAtItsOwner(t *testing.T) {
	servers, nodes := droppingServers(t)
	c, id := dialWithID(t, servers[1].url, nil)
	var published atomic.Int32
	count := func(topic string) bool {
		if strings.HasPrefix(topic, "c/") {
			published.Add(1)
		}
		return false
	}
	nodes[0].drop.Store(&count)
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout) // with a deadline, the owner of the client has none
	defer cancel()
	invoked := make(chan error, 1)
	go func() {
		_, err := hubsys.Invoke[int](ctx, servers[0].hub.Clients().Client(id), "ask")
		invoked <- err
	}()
	c.next()
	require.EqualValues(t, 1, published.Load())
	nodes[0].host.Missed(nodes[1].id, 1)
	requirePartial(t, receive(t, invoked))
	require.EqualValues(t, 2, published.Load(), "the request, and that it is not wanted any more")
}
