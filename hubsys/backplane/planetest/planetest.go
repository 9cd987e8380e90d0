// Package planetest checks implementations of backplane.Backplane. Their authors call Run in a test.
//
// A Backplane may keep only some of the promises of the interface: Wanted may always be true, and the channels that Subscribe and Publish return
// may always be nil. It says so in Promises.
package planetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys/backplane"
)

// Cluster is where the nodes of one test find each other, and what can be done to them.
type Cluster struct {
	// Open returns a Backplane that has not been started. Those of one Cluster are nodes of one cluster.
	Open func(name string) backplane.Backplane
	// Kill takes a node away, without the others being told. Its Stop is called afterwards, as that of all nodes. If it is nil, there are no tests
	// of that.
	Kill func(backplane.Backplane)
	// Cut has nothing pass between two nodes until Heal, without their being told. If they are nil, there are no tests of that.
	Cut, Heal func(a, b backplane.Backplane)
	// Promises are those that are tested beyond what every Backplane promises.
	Promises Promises
	// MaxMessage is the size of the largest message that can be carried. If it is 0, that is not tested.
	MaxMessage int
	// Patience is how long something may take that has to happen; 0: 30 seconds.
	Patience time.Duration
}

// Promises are what a Backplane need not keep.
type Promises struct {
	Interest bool // Wanted returns false when nobody wants a topic
	Known    bool // Subscribe returns a channel that is closed when the topic is known
	Room     bool // Publish returns a channel when another node has no room for the topic
	Relay    bool // Relay does not return backplane.ErrNoRelay
}

// Test is one of the tests of the suite.
type Test struct {
	Name string
	run  func(*suite)
}

// Run runs the suite. open is called for each test.
func Run(t *testing.T, open func(t *testing.T) Cluster) {
	for _, test := range Tests() {
		t.Run(test.Name, func(t *testing.T) { test.Run(t, open(t)) })
	}
}

// Run runs the test. Nothing is left running when it returns, so that it can be called in a bubble of testing/synctest.
func (test Test) Run(t *testing.T, c Cluster) {
	if c.Patience == 0 {
		c.Patience = 30 * time.Second
	}
	s := &suite{T: t, Cluster: c}
	defer s.stop()
	test.run(s)
}

// Tests returns the tests of the suite.
func Tests() []Test {
	return []Test{
		{"Delivery", testDelivery},
		{"Bytes", testBytes},
		{"Order", testOrder},
		{"Concurrency", testConcurrency},
		{"Unsubscribe", testUnsubscribe},
		{"Interest", testInterest},
		{"Known", testKnown},
		{"Start", testStart},
		{"LargeMessages", testLargeMessages},
		{"Room", testRoom},
		{"RoomOfLostNodes", testRoomOfLostNodes},
		{"Stop", testStop},
		{"Kill", testKill},
		{"Loss", testLoss},
		{"Return", testReturn},
		{"Relay", testRelay},
	}
}

// suite is one test that is running.
type suite struct {
	*testing.T
	Cluster
	nodes []*node
}

// node is a Backplane with its host.
type node struct {
	backplane.Backplane
	*host
	id      backplane.NodeID
	name    string
	stopped bool
	killed  bool
}

// start starts a node.
func (s *suite) start(name string) *node {
	n := &node{Backplane: s.Open(name), host: newHost(), name: name}
	s.nodes = append(s.nodes, n)
	ctx, cancel := context.WithTimeout(context.Background(), s.Patience)
	defer cancel()
	id, err := n.Start(ctx, n.host)
	require.NoError(s, err)
	n.id = id
	n.met(n.Nodes())
	return n
}

// cluster starts nodes, and waits until all are up.
func (s *suite) cluster(names ...string) []*node {
	var nodes []*node
	for _, name := range names {
		nodes = append(nodes, s.start(name))
	}
	for _, n := range nodes {
		for _, o := range nodes {
			if o != n {
				s.await(n.name+" is told of "+o.name, func() bool { return n.sees(o) && n.isUp(o) })
			}
		}
	}
	return nodes
}

// halt stops a node.
func (s *suite) halt(n *node) {
	n.stopped = true
	ctx, cancel := context.WithTimeout(context.Background(), s.Patience)
	defer cancel()
	require.NoError(s, n.Stop(ctx))
}

func (s *suite) kill(n *node) {
	n.killed = true
	s.Kill(n.Backplane)
}

func (s *suite) stop() {
	for _, n := range s.nodes {
		if !n.stopped {
			ctx, cancel := context.WithTimeout(context.Background(), s.Patience)
			if err := n.Stop(ctx); !n.killed {
				assert.NoError(s, err)
			}
			cancel()
		}
	}
}

// await waits for a condition.
func (s *suite) await(what string, condition func() bool) {
	s.Helper()
	for until := time.Now().Add(s.Patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			require.Fail(s, "this has not happened: "+what)
		}
	}
}

// subscribe has a node want topics, and waits until the others know.
func (s *suite) subscribe(n *node, topics ...string) {
	s.Helper()
	for _, topic := range topics {
		s.wait("known of "+topic, n.Subscribe(topic))
	}
	if s.Promises.Known {
		return
	}
	for _, o := range s.nodes {
		for i, topic := range topics {
			if o != n && !o.stopped && !o.killed {
				s.probe(o, n, topic, i)
			}
		}
	}
}

// probe publishes until a message arrives: nothing else tells that the interest is known.
func (s *suite) probe(from, to *node, topic string, i int) {
	s.Helper()
	text := fmt.Sprintf("%s%d", probe, i)
	s.await("interest is known", func() bool {
		s.publish(from, topic, text)
		return to.probed(from.id, topic, text)
	})
}

func (s *suite) wait(what string, c <-chan struct{}) {
	s.Helper()
	if c == nil {
		return
	}
	timer := time.NewTimer(s.Patience)
	defer timer.Stop()
	select {
	case <-c:
	case <-timer.C:
		require.Fail(s, "this channel has not been closed: "+what)
	}
}

func (s *suite) publish(n *node, topic, text string) <-chan struct{} {
	s.Helper()
	room, err := n.Publish(topic, []byte(text))
	require.NoError(s, err)
	return room
}

// send publishes, and waits for room.
func (s *suite) send(n *node, topic, text string) {
	s.Helper()
	s.wait("room for "+topic, s.publish(n, topic, text))
}

// reaches publishes a last message, and waits for it: what was published before has arrived then, or never will.
func (s *suite) reaches(from, to *node, topic string) {
	s.Helper()
	last := fmt.Sprintf("%slast%d", probe, to.next())
	s.send(from, topic, last)
	s.await("a message reaches "+to.name, func() bool { return to.probed(from.id, topic, last) })
}

// isUp reports whether a node lists another one as up.
func (n *node) isUp(o *node) bool {
	for _, x := range n.Nodes() {
		if x.ID == o.id {
			return x.Up
		}
	}
	return false
}

// tooLarge returns the error that a message is too large, or nil.
func tooLarge(err error) *backplane.TooLargeError {
	var large *backplane.TooLargeError
	errors.As(err, &large)
	return large
}
