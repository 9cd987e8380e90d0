package hubsys_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/backplane"
)

// spokenNode is a node that has clients with all protocols on other nodes, or another node that has just joined, and may have.
type spokenNode struct{ backplane.Backplane }

func (n spokenNode) Wanted(topic string) bool {
	return strings.HasPrefix(topic, "p/") || n.Backplane.Wanted(topic)
}

// A client of another node is asked for a result whatever other clients speak: those of SignalR 2 cannot be asked.
func TestResultsBesideClientsThatHaveNone(t *testing.T) {
	node := inMemory()
	servers := joinServers(t, func(name string) backplane.Backplane { return spokenNode{node(name)} }, 2)
	c, id := dialWithID(t, servers[1].url, nil)
	answer := invokeAsync[int](t.Context(), servers[0].hub.Clients().Client(id), "7")
	c.send(`{"type":3,"invocationId":"` + c.requireAsk("7") + `","result":7}`)
	got := receive(t, answer)
	require.NoError(t, got.err)
	require.Equal(t, 7, got.value)
}

// It is so with a client of SignalR 2 on another node, too.
func TestResultsBesideAClassicClient(t *testing.T) {
	overBackplanes(t, func(t *testing.T, node newNode) {
		var servers []*classicServer
		for i := range 2 {
			keys := [][]byte{[]byte("a key of thirty-two random bytes")}
			servers = append(servers, newClassicServer(t, classicConfig{Config: hubsys.Config{Keys: keys, Backplane: node(fmt.Sprint("node ", i))}}))
		}
		old := newClassicClient(t, servers[1].address, "longPolling")
		old.negotiate()
		old.connect()
		old.start()
		c, id := dialWithID(t, servers[1].http.URL+"/test", nil)
		answer := invokeAsync[int](t.Context(), servers[0].chat.Clients().Client(id), "7")
		c.send(`{"type":3,"invocationId":"` + c.requireAsk("7") + `","result":7}`)
		require.NoError(t, receive(t, answer).err)
		_, err := hubsys.Invoke[int](t.Context(), servers[0].chat.Clients().Client(old.id), "ask")
		require.ErrorIs(t, err, hubsys.ErrNotSupported)
	})
}
