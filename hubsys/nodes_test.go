package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/cluster"
	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/backplane"
	"github.com/troupe-go/troupe/hubsys/backplane/memory"
	troupev1 "github.com/troupe-go/troupe/proto/troupe/v1"
)

// nodeServer is one of several Systems that are joined.
type nodeServer struct {
	*testServer
	plane backplane.Backplane
}

func (s *nodeServer) kill() { s.plane.(*memory.Node).Kill() }

// newNode makes the Backplane of another node of a cluster.
type newNode func(name string) backplane.Backplane

// inMemory makes nodes of this process. What travels between them takes random times.
func inMemory() newNode {
	c := &memory.Cluster{Delay: func() { time.Sleep(time.Duration(rand.IntN(200)) * time.Microsecond) }}
	return func(name string) backplane.Backplane { return c.Node(name) }
}

// remoting makes nodes as applications have them.
func remoting(t testing.TB) newNode {
	var first *cluster.Backplane
	return func(name string) backplane.Backplane {
		config := cluster.Config{Name: name, Bind: "127.0.0.1:0", Key: make([]byte, 32), Logger: newSuiteLogger()}
		if first != nil {
			config.Seeds = []string{first.Status().Address}
		}
		node, err := cluster.New(config)
		require.NoError(t, err)
		if first == nil {
			first = node
		}
		return node
	}
}

// overBackplanes runs a test with nodes in memory, and as applications have them.
func overBackplanes(t *testing.T, test func(t *testing.T, node newNode)) {
	t.Helper()
	t.Run("in memory", func(t *testing.T) { test(t, inMemory()) })
	t.Run("remoting", func(t *testing.T) { test(t, remoting(t)) })
}

// overNodes runs a test with servers that are joined, over all backplanes.
func overNodes(t *testing.T, n int, test func(t *testing.T, servers []*nodeServer)) {
	t.Helper()
	overBackplanes(t, func(t *testing.T, node newNode) { test(t, joinServers(t, node, n)) })
}

// joinServers returns Systems that are joined, each with the hub of a testServer.
func joinServers(t testing.TB, newNode newNode, n int) []*nodeServer {
	t.Helper()
	var servers []*nodeServer
	for i := range n {
		node := newNode(fmt.Sprint("node ", i))
		config := testConfig{Config: hubsys.Config{Backplane: node}}
		config.Authenticate = principalOf
		s := &nodeServer{newTestServer(t, config), node}
		s.handle("join", func(ctx context.Context, h *testHub, args []json.RawMessage) (any, error) {
			return nil, h.Groups().Join(ctx, "g")
		})
		servers = append(servers, s)
	}
	return servers
}

// Whoever sends, and wherever its receivers are: an audience is the same on many nodes as on one.
func TestAudiencesOfSeveralNodes(t *testing.T) {
	overNodes(t, 3, func(t *testing.T, servers []*nodeServer) {
		var clients []*testClient
		var ids []string
		for i, s := range servers { // two of them on each node, the second one of ada's and in the group
			for _, user := range []string{fmt.Sprint("user", i), "ada"} {
				c, id := dialWithID(t, s.url, userHeader(user))
				if user == "ada" {
					c.do("join")
				}
				clients, ids = append(clients, c), append(ids, id)
			}
		}
		for i, s := range servers {
			to := s.hub.Clients()
			for name, test := range map[string]struct {
				to   hubsys.Receiver
				want []int
			}{
				"all":                {to.All(), []int{0, 1, 2, 3, 4, 5}},
				"all but some":       {to.AllExcept(ids[0], ids[3], "nobody"), []int{1, 2, 4, 5}},
				"one":                {to.Client(ids[2]), []int{2}},
				"several":            {to.Clients(ids[0], ids[2], ids[5], ids[5], "nobody"), []int{0, 2, 5}},
				"a group":            {to.Group("g"), []int{1, 3, 5}},
				"a group but some":   {to.GroupExcept("g", ids[1]), []int{3, 5}},
				"several groups":     {to.Groups("g", "h"), []int{1, 3, 5}},
				"a user":             {to.User("ada"), []int{1, 3, 5}},
				"several users":      {to.Users("user0", "user2", "nobody"), []int{0, 4}},
				"whoever is not one": {to.Client("nobody"), nil},
				"without waiting":    {to.All().NoWait(), []int{0, 1, 2, 3, 4, 5}},
			} {
				require.NoError(t, test.to.Send(t.Context(), "called", name, i))
				require.NoError(t, to.All().Send(t.Context(), "end"))
				var got []int
				for j, c := range clients {
					m := c.next()
					if m.Target == "called" {
						got, m = append(got, j), c.next()
					}
					require.Equal(t, "end", m.Target)
				}
				require.Equal(t, test.want, got, "%s, from node %d", name, i)
			}
			members, err := to.Group("g").Members(t.Context())
			require.NoError(t, err)
			require.ElementsMatch(t, []hubsys.Member{{ids[1], "ada"}, {ids[3], "ada"}, {ids[5], "ada"}}, members)
			count, err := to.All().Count(t.Context())
			require.NoError(t, err)
			require.Equal(t, 6, count)
		}
	})
}

// What is for a connection of this node, or for nobody, does not reach other nodes.
func TestWhatOtherNodesDoNotWantIsNotPublished(t *testing.T) {
	node := inMemory()
	plane := &countingPlane{Backplane: node("counting")}
	s := newTestServer(t, testConfig{Config: hubsys.Config{Backplane: plane}})
	other := joinServers(t, node, 1)[0]
	c, id := dialWithID(t, s.url, nil)
	d, elsewhere := dialWithID(t, other.url, nil)
	before := plane.published.Load()
	for _, to := range []hubsys.Receiver{s.hub.Clients().Client(id), s.hub.Clients().Client("nobody"), s.hub.Clients().Group("nobody"), s.hub.Clients().User("nobody")} {
		require.NoError(t, to.Send(t.Context(), "called"))
	}
	c.requireInvocation("called")
	require.Equal(t, before, plane.published.Load())
	require.NoError(t, s.hub.Clients().Client(elsewhere).Send(t.Context(), "called"))
	d.requireInvocation("called")
	require.Equal(t, before+1, plane.published.Load())
}

// countingPlane counts what is published.
type countingPlane struct {
	backplane.Backplane
	published atomic.Int64
}

func (p *countingPlane) Publish(topic string, message []byte) (<-chan struct{}, error) {
	p.published.Add(1)
	return p.Backplane.Publish(topic, message)
}

// One sender and one receiver see one order, whatever the audiences, and wherever they are.
func TestTheOrderOfMessagesAcrossNodes(t *testing.T) {
	overNodes(t, 2, func(t *testing.T, servers []*nodeServer) {
		const messages = 2000
		c, id := dialWithID(t, servers[1].url, userHeader("ada"))
		c.do("join")
		to := servers[0].hub.Clients()
		audiences := []hubsys.Receiver{to.All(), to.Client(id), to.Clients(id, "nobody"), to.Group("g"), to.User("ada")}
		var sending sync.WaitGroup
		sending.Go(func() {
			for i := range messages {
				assert.NoError(t, audiences[rand.IntN(len(audiences))].Send(context.Background(), "called", i))
			}
		})
		for i := range messages {
			c.requireInvocation("called", i)
		}
		sending.Wait()
	})
}

// When a change of membership has returned, all nodes know it.
func TestMembershipAcrossNodes(t *testing.T) {
	overNodes(t, 3, func(t *testing.T, servers []*nodeServer) {
		c, id := dialWithID(t, servers[0].url, nil)
		for round := range 20 {
			changes, sends := servers[round%3].hub, servers[(round+1)%3].hub
			group := fmt.Sprint("g", round)
			require.NoError(t, changes.Groups().Add(t.Context(), id, group))
			require.NoError(t, sends.Clients().Group(group).Send(t.Context(), "called", round))
			c.requireInvocation("called", round)
			groups, err := sends.Clients().Client(id).Groups(t.Context())
			require.NoError(t, err)
			require.Equal(t, []string{group}, groups)
			require.NoError(t, changes.Groups().Remove(t.Context(), id, group))
			require.NoError(t, sends.Clients().Group(group).Send(t.Context(), "not called"))
			require.NoError(t, changes.Groups().Add(t.Context(), "nobody", group))
			count, err := sends.Clients().Group(group).Count(t.Context())
			require.NoError(t, err)
			require.Zero(t, count)
		}
		require.NoError(t, servers[1].hub.Clients().All().Join(t.Context(), "all"))
		members, err := servers[2].hub.Clients().Group("all").Members(t.Context())
		require.NoError(t, err)
		require.Equal(t, []hubsys.Member{{ConnectionID: id}}, members)
		c.requireNoMessages()
	})
}

// The client of another node is asked for a result like one of this node.
func TestResultsAcrossNodes(t *testing.T) {
	overNodes(t, 3, func(t *testing.T, servers []*nodeServer) {
		c, id := dialWithID(t, servers[0].url, nil)
		for _, s := range servers {
			client := s.hub.Clients().Client(id)
			answer := invokeAsync[int](t.Context(), client, "7")
			invocation := c.requireAsk("7")
			c.send(`{"type":3,"invocationId":"` + invocation + `","result":7}`)
			got := receive(t, answer)
			require.NoError(t, got.err)
			require.Equal(t, 7, got.value)

			answer = invokeAsync[int](t.Context(), client)
			c.send(`{"type":3,"invocationId":"` + c.requireAsk() + `","error":"no"}`)
			var failure *hubsys.HubError
			require.ErrorAs(t, receive(t, answer).err, &failure)
			require.Equal(t, "no", failure.Message)

			ctx, cancel := context.WithCancelCause(t.Context())
			answer = invokeAsync[int](ctx, client)
			c.requireAsk()
			cancel(errors.New("enough"))
			require.ErrorContains(t, receive(t, answer).err, "Invocation canceled by the server.")

			answer = invokeAsync[int](t.Context(), client)
			c.send(`{"type":3,"invocationId":"` + c.requireAsk() + `","result":"no number"}`)
			require.Error(t, receive(t, answer).err)

			_, err := hubsys.Invoke[int](t.Context(), s.hub.Clients().Client("nobody"), "ask")
			require.ErrorIs(t, err, hubsys.ErrGone)
		}
		answer := invokeAsync[int](t.Context(), servers[2].hub.Clients().Client(id))
		c.requireAsk()
		c.close()
		require.ErrorIs(t, receive(t, answer).err, hubsys.ErrGone)
	})
}

// Connections are closed wherever they are.
func TestDisconnectAcrossNodes(t *testing.T) {
	overNodes(t, 2, func(t *testing.T, servers []*nodeServer) {
		one, id := dialWithID(t, servers[0].url, nil)
		other, _ := dialWithID(t, servers[0].url, userHeader("ada"))
		require.NoError(t, servers[1].hub.Clients().Client(id).Disconnect(t.Context(), "enough"))
		require.Equal(t, `{"type":7,"error":"enough"}`, one.next().raw)
		require.NoError(t, servers[1].hub.Clients().User("ada").Reconnect(t.Context()))
		require.Equal(t, `{"type":7,"allowReconnect":true}`, other.next().raw)
	})
}

// A client that is reached through another node is not disconnected because it cannot keep up with a loop of sends, and holds up its senders alone.
func TestSendersAreHeldBackAcrossNodes(t *testing.T) {
	overNodes(t, 2, func(t *testing.T, servers []*nodeServer) {
		const messages, size = 200, 64 << 10
		c, id := dialWithID(t, servers[1].url, nil)
		sent := make(chan error, 1)
		go func() {
			for i := range messages {
				if err := servers[0].hub.Clients().Client(id).Send(context.Background(), "called", i, make([]byte, size)); err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
		for i := range messages {
			m := c.next()
			require.Equal(t, "called", m.Target)
			require.EqualValues(t, i, m.Arguments[0])
		}
		require.NoError(t, receive(t, sent))
	})
}

// The address of a group is that of its members on all nodes.
func TestAddressesAcrossNodes(t *testing.T) {
	overNodes(t, 2, func(t *testing.T, servers []*nodeServer) {
		c, id := dialWithID(t, servers[1].url, nil)
		roots := []*actor.RootContext{servers[0].sys.ActorSystem().Root}
		if _, ok := servers[1].plane.(*cluster.Backplane); ok { // actors of other nodes can have the address as well
			roots = append(roots, servers[1].sys.ActorSystem().Root)
		}
		for i, root := range roots {
			group := servers[0].hub.Clients().Group(fmt.Sprint("g", i)).PID()
			answer, err := root.RequestFuture(group, &troupev1.Join{ConnectionId: id}, testTimeout).Result()
			require.NoError(t, err)
			require.Empty(t, answer.(*troupev1.SendResult).GetError())
			answer, err = root.RequestFuture(group, &troupev1.ListMembers{}, testTimeout).Result()
			require.NoError(t, err)
			require.Equal(t, id, answer.(*troupev1.Members).GetMembers()[0].GetConnectionId())
			root.Send(group, &troupev1.Send{Target: "called"})
			c.requireInvocation("called")
			root.Send(servers[0].hub.PID(), &troupev1.Send{To: &troupev1.Send_All{All: &troupev1.All{}}, Target: "called"})
			c.requireInvocation("called")
		}
	})
}

// When a node is lost, those who wait for it do not, and the others go on.
func TestALostNode(t *testing.T) {
	servers := joinServers(t, inMemory(), 3)
	servers[2].shutdownMayFail = true
	lost, id := dialWithID(t, servers[2].url, nil)
	c, _ := dialWithID(t, servers[1].url, nil)
	answer := invokeAsync[int](t.Context(), servers[0].hub.Clients().Client(id))
	lost.requireAsk()
	servers[2].kill()
	err := receive(t, answer).err
	require.ErrorIs(t, err, hubsys.ErrGone)
	require.EqualError(t, err, "Connection '"+id+"' disconnected.")
	require.NoError(t, servers[0].hub.Groups().Add(t.Context(), id, "g"))
	require.NoError(t, servers[0].hub.Clients().All().Send(t.Context(), "called"))
	c.requireInvocation("called")
	count, err := servers[0].hub.Clients().All().Count(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, count)
}

// A watch sees who comes and goes on all nodes, also on one that comes later, and loses those of one that goes.
func TestWatchesAcrossNodes(t *testing.T) {
	node := inMemory()
	servers := joinServers(t, node, 2)
	servers[1].shutdownMayFail = true
	_, here := dialWithID(t, servers[0].url, userHeader("ada"))
	_, there := dialWithID(t, servers[1].url, userHeader("bob"))
	watch := watchIDs(t, servers[0].hub.Clients().All())
	require.ElementsMatch(t, []string{"+" + here, "+" + there}, receive(t, watch))

	late := joinServers(t, node, 1)[0]
	c, id := dialWithID(t, late.url, nil)
	require.Equal(t, []string{"+" + id}, receive(t, watch))
	groups := watchIDs(t, late.hub.Clients().Group("g"))
	require.Empty(t, receive(t, groups))
	require.NoError(t, servers[0].hub.Groups().Add(t.Context(), there, "g"))
	require.Equal(t, []string{"+" + there}, receive(t, groups))
	require.NoError(t, late.hub.Groups().Remove(t.Context(), there, "g"))
	require.Equal(t, []string{"-" + there}, receive(t, groups))
	c.close()
	require.Equal(t, []string{"-" + id}, receive(t, watch))
	servers[1].kill()
	require.Equal(t, []string{"-" + there}, receive(t, watch))
}

// watchIDs watches an audience, and returns who has come and gone.
func watchIDs(t testing.TB, of hubsys.Audience) <-chan []string {
	ctx, cancel := context.WithCancel(context.Background())
	changes, ended := make(chan []string), make(chan struct{})
	go func() {
		defer close(ended)
		for change := range of.Watch(ctx) {
			ids := []string{}
			for _, m := range change.Joined {
				ids = append(ids, "+"+m.ConnectionID)
			}
			for _, m := range change.Left {
				ids = append(ids, "-"+m.ConnectionID)
			}
			select {
			case changes <- ids:
			case <-ctx.Done():
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return changes
}

// hostedNode is a Backplane that shows what it works for.
type hostedNode struct {
	backplane.Backplane
	host backplane.Host
	id   backplane.NodeID
}

func (n *hostedNode) Start(ctx context.Context, host backplane.Host) (backplane.NodeID, error) {
	n.host = host
	id, err := n.Backplane.Start(ctx, host)
	n.id = id
	return id, err
}

// hostedServers are two servers that are joined, and their nodes.
func hostedServers(t testing.TB) (servers []*nodeServer, nodes []*hostedNode) {
	t.Helper()
	node := inMemory()
	servers = joinServers(t, func(name string) backplane.Backplane {
		nodes = append(nodes, &hostedNode{Backplane: node(name)})
		return nodes[len(nodes)-1]
	}, 2)
	return servers, nodes
}

// Who waits for a node is told that it was lost, also when it is back at once.
func TestANodeThatIsLostForAMoment(t *testing.T) {
	servers, nodes := hostedServers(t)
	c, id := dialWithID(t, servers[1].url, nil)
	failed := make(chan error, 1)
	go func() {
		_, err := hubsys.Invoke[int](context.Background(), servers[0].hub.Clients().Client(id), "ask")
		failed <- err
	}()
	require.Equal(t, "ask", c.next().Target)
	for _, up := range []bool{false, true} {
		nodes[0].host.Changed(backplane.Node{ID: nodes[1].id, Name: "node 1", Up: up})
	}
	requirePartial(t, receive(t, failed))
}

// Changes may have been among the messages that were lost.
func TestAWatchGoesOnBehindAGap(t *testing.T) {
	servers, nodes := hostedServers(t)
	_, id := dialWithID(t, servers[1].url, nil)
	watch := watchIDs(t, servers[0].hub.Clients().All())
	require.Equal(t, []string{"+" + id}, receive(t, watch))
	nodes[0].host.Changed(backplane.Node{ID: nodes[1].id, Name: "node 1"}) // what it has told is forgotten
	require.Equal(t, []string{"-" + id}, receive(t, watch))
	nodes[0].host.Missed(nodes[1].id, 1)
	require.Equal(t, []string{"+" + id}, receive(t, watch))
}

// Where messages of another node were lost, clients that may have missed one begin anew, if that is wanted.
func TestClientsReconnectAfterAGap(t *testing.T) {
	node := &hostedNode{Backplane: inMemory()("node")}
	srv := newTestServer(t, testConfig{HubOptions: hubsys.HubOptions{ReconnectOnGap: true}, Config: hubsys.Config{Backplane: node}})
	other := register(t, srv.sys, func(context.Context) (*testHub, error) { return &testHub{srv: srv}, nil }, hubsys.HubOptions{Name: "other"})
	require.NoError(t, other.Map("/other", hubsys.EndpointOptions{}))
	c, unaffected := dial(t, srv.url), dial(t, strings.TrimSuffix(srv.url, "/test")+"/other")
	node.host.Missed(1, 2)
	require.Equal(t, `{"type":7,"allowReconnect":true}`, c.next().raw)
	require.NoError(t, other.Clients().All().Send(t.Context(), "called"))
	unaffected.requireInvocation("called")
	require.Contains(t, srv.log.String(), "messages of another node were lost")
}

// What another node sends that this one does not understand is counted, and nothing else: nodes of two versions get on while one replaces the other.
func TestMessagesOfNewerNodesAreIgnored(t *testing.T) {
	node := &hostedNode{Backplane: inMemory()("node")}
	srv := newTestServer(t, testConfig{Config: hubsys.Config{Backplane: node}})
	c := dial(t, srv.url)
	ignored := func() float64 {
		for _, m := range srv.sys.Metrics() {
			if m.Name == "troupe.nodes.ignored" {
				return m.Samples[0].Value
			}
		}
		return -1
	}
	require.Zero(t, ignored())
	for i, message := range []string{"\xfa\x7f\x01x", "", "\xff", "no message"} {
		require.Nil(t, node.host.Receive(1, "a/test", []byte(message)))
		require.EqualValues(t, i+1, ignored(), "%q", message)
	}
	require.NoError(t, srv.hub.Clients().All().Send(t.Context(), "called"))
	c.requireInvocation("called")
}

// A message is as large as it may be on one node. One that is larger than nodes take is an error that says so.
func TestLargeMessagesAcrossNodes(t *testing.T) {
	servers := joinServers(t, remoting(t), 2)
	c, id := dialWithID(t, servers[1].url, nil)
	large := strings.Repeat("x", 5<<20)
	require.NoError(t, servers[0].hub.Clients().Client(id).Send(t.Context(), "called", large))
	c.requireInvocation("called", large)
	err := servers[0].hub.Clients().All().Send(t.Context(), "called", strings.Repeat("x", 65<<20))
	var tooLarge *backplane.TooLargeError
	require.ErrorAs(t, err, &tooLarge)
	require.Equal(t, 64<<20, tooLarge.Limit)
}

// lossyNode has another node that cannot be reached.
type lossyNode struct {
	backplane.Backplane
	lost []string
}

func (n *lossyNode) Nodes() []backplane.Node {
	return append(n.Backplane.Nodes(), backplane.Node{ID: 1, Name: "away"})
}

func (n *lossyNode) Lose(topic string) { n.lost = append(n.lost, topic) }

// While a node cannot be reached, it is told who may have been there, and what was not sent to it is counted.
func TestANodeThatCannotBeReached(t *testing.T) {
	node := &lossyNode{Backplane: inMemory()("node")}
	srv := newTestServer(t, testConfig{Config: hubsys.Config{Backplane: node}})
	c, id := dialWithID(t, srv.url, nil)
	require.NoError(t, srv.hub.Groups().Add(t.Context(), id, "g"))
	for _, err := range []error{
		srv.hub.Groups().Add(t.Context(), "nobody", "g"),
		srv.hub.Groups().Remove(t.Context(), "nobody", "g"),
		srv.hub.Clients().All().Join(t.Context(), "all"),
	} {
		var partial *hubsys.PartialError
		require.ErrorAs(t, err, &partial)
		require.Equal(t, []string{"away"}, partial.Missing)
	}
	node.lost = nil
	require.NoError(t, srv.hub.Clients().Group("all").Send(t.Context(), "called"))
	c.requireInvocation("called")
	require.Equal(t, []string{"g/testHub/all"}, node.lost)
}
