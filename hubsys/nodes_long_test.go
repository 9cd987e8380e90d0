package hubsys_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/backplane"
)

// A watch is told of everybody on other nodes, however long the names are that clients have, and however small messages between nodes have to be.
func TestWatchesOfLongNamesAcrossNodes(t *testing.T) {
	node := inMemory()
	servers := joinServers(t, func(name string) backplane.Backplane { return narrowNode{node(name), 1 << 20} }, 2)
	long := strings.Repeat("x", 1000)
	const members = 600
	for i := range members {
		user := &hubsys.Principal{UserID: fmt.Sprint(i, long)}
		id, _, err := servers[1].hub.Subscribe(t.Context(), user, func(string, []json.RawMessage) {})
		require.NoError(t, err)
		require.NoError(t, servers[1].hub.Groups().Add(t.Context(), id, fmt.Sprint(i, long)))
	}
	joined := make(chan struct{}, members)
	go func() {
		for change := range servers[0].hub.Groups().Watch(t.Context()) {
			for range change.Joined {
				joined <- struct{}{}
			}
		}
	}()
	for range members {
		receive(t, joined)
	}
}
