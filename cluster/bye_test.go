package cluster

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// Of a node that has said Bye, gossip says that it drains before it says that it has left. It is not a node that cannot be reached meanwhile.
func TestANodeThatHasLeftDoesNotComeBackByItsGossip(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.pair(t)
		var stopping sync.WaitGroup
		stopping.Go(func() { _ = b.Stop(context.Background()) })
		for len(a.Nodes()) > 0 {
			synctest.Wait()
			require.True(t, a.Nodes() == nil || a.Nodes()[0].Up)
		}
		n, late := a.node.Load(), member{id: b.id, name: "b", draining: true}
		n.joined(late) // while the link ends
		require.Empty(t, a.Nodes())
		synctest.Wait()
		n.joined(late)
		require.Empty(t, a.Nodes())
		require.Empty(t, n.all())
		n.left(b.id)
		n.joined(late)
		require.Len(t, a.Nodes(), 1, "it has come back")
		n.left(b.id)
		stopping.Wait()
	})
}
