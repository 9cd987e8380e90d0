package hubsys_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys/backplane"
)

// narrowNode takes small messages alone.
type narrowNode struct {
	backplane.Backplane
	limit int
}

func (n narrowNode) Publish(topic string, message []byte) (<-chan struct{}, error) {
	if len(message) > n.limit {
		return nil, &backplane.TooLargeError{Size: len(message), Limit: n.limit}
	}
	return n.Backplane.Publish(topic, message)
}

// Who asks another node is told, and at once, that the answer is larger than what nodes take.
func TestAnswersThatAreTooLargeForOtherNodes(t *testing.T) {
	node := inMemory()
	servers := joinServers(t, func(name string) backplane.Backplane { return narrowNode{node(name), 4096} }, 2)
	c, id := dialWithID(t, servers[1].url, nil)
	client := servers[0].hub.Clients().Client(id)
	answer := invokeAsync[string](context.Background(), client)
	c.send(`{"type":3,"invocationId":"` + c.requireAsk() + `","result":"` + strings.Repeat("x", 5000) + `"}`)
	requirePartial(t, receive(t, answer).err)

	for i := range 10 {
		require.NoError(t, servers[1].hub.Groups().Add(t.Context(), id, fmt.Sprint(i, strings.Repeat("x", 500))))
	}
	groups := make(chan error, 1)
	go func() { _, err := client.Groups(context.Background()); groups <- err }()
	requirePartial(t, receive(t, groups))

	for range 200 {
		_, _, err := servers[1].hub.Subscribe(t.Context(), nil, func(string, []json.RawMessage) {})
		require.NoError(t, err)
	}
	start := time.Now()
	members, err := servers[0].hub.Clients().All().Members(t.Context())
	requirePartial(t, err)
	require.Empty(t, members)
	require.Less(t, time.Since(start), time.Second)
	n, err := servers[0].hub.Clients().All().Count(t.Context())
	require.NoError(t, err)
	require.Equal(t, 201, n)
}
