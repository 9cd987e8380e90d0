package hubsys_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/backplane"
	troupev1 "github.com/troupe-go/troupe/proto/troupe/v1"
)

// Names that are not UTF-8 are names like others, also for other nodes.
func TestNamesThatAreNotUTF8AcrossNodes(t *testing.T) {
	const name = "caf\xc3"
	overNodes(t, 2, func(t *testing.T, servers []*nodeServer) {
		c, id := dialWithID(t, servers[0].url, userHeader(name))
		all := watchIDs(t, servers[1].hub.Clients().All())
		require.Equal(t, []string{"+" + id}, receive(t, all))
		require.NoError(t, servers[1].hub.Groups().Add(t.Context(), id, name))
		for _, of := range []hubsys.Audience{servers[1].hub.Clients().All(), servers[1].hub.Clients().User(name), servers[1].hub.Clients().Group(name)} {
			members, err := of.Members(t.Context())
			require.NoError(t, err)
			require.Equal(t, []hubsys.Member{{ConnectionID: id, UserID: name}}, members)
			answer, err := servers[1].sys.ActorSystem().Root.RequestFuture(of.PID(), &troupev1.ListMembers{}, testTimeout).Result()
			require.NoError(t, err)
			require.Equal(t, "caf\ufffd", answer.(*troupev1.Members).GetMembers()[0].GetUserId())
			require.NoError(t, of.Send(t.Context(), "called"))
			c.requireInvocation("called")
		}
		groups, err := servers[1].hub.Clients().Client(id).Groups(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{name}, groups)
		require.NoError(t, servers[1].hub.Clients().User(name).Disconnect(t.Context(), "\xff"))
		require.Equal(t, "\ufffd", *c.next().Error)
	})
}

// droppingNode drops messages, as a node whose queue is full does.
type droppingNode struct {
	hostedNode
	drop atomic.Pointer[func(topic string) bool]
}

func (n *droppingNode) Publish(topic string, message []byte) (<-chan struct{}, error) {
	if drop := n.drop.Load(); drop != nil && (*drop)(topic) {
		return nil, nil
	}
	return n.hostedNode.Publish(topic, message)
}

// dropping drops what is published on topics that begin so.
func (n *droppingNode) dropping(prefix string) {
	drop := func(topic string) bool { return strings.HasPrefix(topic, prefix) }
	n.drop.Store(&drop)
}

// droppingServers are two servers that are joined, and the node of the first.
func droppingServers(t *testing.T) (servers []*nodeServer, nodes []*droppingNode) {
	t.Helper()
	node := inMemory()
	servers = joinServers(t, func(name string) backplane.Backplane {
		nodes = append(nodes, &droppingNode{hostedNode: hostedNode{Backplane: node(name)}})
		return nodes[len(nodes)-1]
	}, 2)
	return servers, nodes
}

// requirePartial requires an error that says that node 1 has not answered.
func requirePartial(t *testing.T, err error) {
	t.Helper()
	var partial *hubsys.PartialError
	require.ErrorAs(t, err, &partial)
	require.Equal(t, []string{"node 1"}, partial.Missing)
}

// Who asks another node is told when the request was lost, or the answer.
func TestRequestsThatAreLost(t *testing.T) {
	t.Run("request", func(t *testing.T) {
		t.Parallel()
		servers, nodes := droppingServers(t)
		_, id := dialWithID(t, servers[1].url, nil)
		nodes[0].dropping("c/")
		join, groups, invoke := make(chan error, 1), make(chan error, 1), make(chan error, 1)
		client := servers[0].hub.Clients().Client(id)
		go func() { join <- servers[0].hub.Groups().Add(context.Background(), id, "g") }()
		go func() { _, err := client.Groups(context.Background()); groups <- err }()
		go func() { _, err := hubsys.Invoke[int](context.Background(), client, "ask"); invoke <- err }()
		requirePartial(t, receive(t, join))
		requirePartial(t, receive(t, groups))
		requirePartial(t, receive(t, invoke))
	})
	t.Run("request to all", func(t *testing.T) {
		t.Parallel()
		servers, nodes := droppingServers(t)
		nodes[0].dropping("n/")
		requirePartial(t, servers[0].hub.Clients().All().Join(context.Background(), "g"))
	})
	t.Run("answer", func(t *testing.T) {
		t.Parallel()
		servers, nodes := droppingServers(t)
		_, id := dialWithID(t, servers[1].url, nil)
		var answers atomic.Int32
		drop := func(topic string) bool { return strings.HasPrefix(topic, "n/") && answers.Add(1) > 1 } // it has said that it has the connection
		nodes[1].drop.Store(&drop)
		join := make(chan error, 1)
		go func() { join <- servers[0].hub.Groups().Add(context.Background(), id, "g") }()
		eventually(t, func() bool { return answers.Load() == 2 }, "the join is not answered")
		nodes[0].host.Missed(nodes[1].id, 1)
		requirePartial(t, receive(t, join))
	})
}

// A watch asks again when its request was lost.
func TestAWatchWhoseRequestIsLost(t *testing.T) {
	servers, nodes := droppingServers(t)
	_, id := dialWithID(t, servers[1].url, nil)
	nodes[0].dropping("n/")
	watch := watchIDs(t, servers[0].hub.Clients().All())
	require.Empty(t, receive(t, watch))
	nodes[0].drop.Store(nil)
	require.Equal(t, []string{"+" + id}, receive(t, watch))
}

// A watch that is asked again says of nobody that they have left and come back.
func TestAWatchThatIsAskedAgainTellsNothing(t *testing.T) {
	servers, nodes := hostedServers(t)
	for range 50 {
		dialWithID(t, servers[1].url, nil)
	}
	watch := watchIDs(t, servers[0].hub.Clients().All())
	require.Len(t, receive(t, watch), 50)
	for range 50 {
		nodes[0].host.Missed(nodes[1].id, 1)
	}
	_, id := dialWithID(t, servers[1].url, nil)
	require.Equal(t, []string{"+" + id}, receive(t, watch))
}

// Joining and leaving by the PID of a group keep their order for connections of other nodes.
func TestTheOrderOfMessagesToPIDsAcrossNodes(t *testing.T) {
	overNodes(t, 2, func(t *testing.T, servers []*nodeServer) {
		_, id := dialWithID(t, servers[1].url, nil)
		root := servers[0].sys.ActorSystem().Root
		for i := range 100 {
			group := servers[0].hub.Clients().Group(fmt.Sprint("g", i)).PID()
			root.Send(group, &troupev1.Join{ConnectionId: id})
			answer, err := root.RequestFuture(group, &troupev1.Leave{ConnectionId: id}, testTimeout).Result()
			require.NoError(t, err)
			require.Empty(t, answer.(*troupev1.SendResult).GetError())
		}
		groups, err := servers[0].hub.Clients().Client(id).Groups(t.Context())
		require.NoError(t, err)
		require.Empty(t, groups)
	})
}
