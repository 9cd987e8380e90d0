package cluster

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// While the key is changed, a node wants topics by the hashes of all keys, and others find them by that of their own.
func TestNodesWithDifferentKeysHearEachOther(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		open := func(keys ...string) *meshNode {
			p := &meshNode{Backplane: m.open(keys[0]), t: t, mesh: m, rooms: map[string]chan struct{}{}}
			p.settings.topicKeys = nil
			for _, key := range keys {
				p.settings.topicKeys = append(p.settings.topicKeys, []byte(key))
			}
			p.hashes.key = p.settings.topicKeys[0]
			var err error
			p.id, err = p.Start(context.Background(), p)
			require.NoError(t, err)
			t.Cleanup(func() { _ = p.Stop(context.Background()); p.check(t) })
			return p
		}
		a, b := open("old", "new"), open("new", "old")
		a.subscribe("x")
		b.subscribe("y")
		assert.True(t, a.Wanted("y"))
		assert.False(t, a.Wanted("x"))
		b.publish("x", "1")
		a.publish("y", "2")
		settle()
		assert.Equal(t, []received{{b.id, "x", "1"}}, a.all())
		assert.Equal(t, []received{{a.id, "y", "2"}}, b.all())

		room := make(chan struct{})
		b.setRoom("y", room)
		a.publish("y", "3")
		settle()
		pressed := a.publish("y", "4")
		assert.NotNil(t, pressed)
		b.setRoom("y", nil)
		close(room)
		settle()
		assert.True(t, isClosed(pressed))

		b.Unsubscribe("y")
		settle()
		assert.False(t, a.Wanted("y"))
		assert.Zero(t, a.Status().Interest)
	})
}
