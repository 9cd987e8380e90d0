//go:build linux

package nodes

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// disturbance keeps some nodes from each other for a time.
type disturbance struct {
	begin, end func()
	apart      [][2]int // the pairs
	silent     int      // the node that answers nobody meanwhile; -1: none
}

// crowd has clients on each node, in several groups.
func (c *cluster) crowd(t *testing.T, n int) {
	t.Helper()
	for _, x := range c.nodes {
		for i := range n {
			c.join(fmt.Sprint(x.name, i), []*node{x}, nil, memberGroups(i)...)
		}
	}
	c.awaitMembers(t)
	c.round(t)
}

func memberGroups(i int) (groups []string) {
	groups = append(groups, []string{"even", "odd"}[i%2])
	if i%3 == 0 {
		groups = append(groups, "third")
	}
	return groups
}

func (c *cluster) member(name string) *member {
	return c.members[slices.IndexFunc(c.members, func(m *member) bool { return m.name == name })]
}

// disturb disturbs a cluster for a time, and checks what its nodes and its clients see, meanwhile and after it.
func (c *cluster) disturb(t *testing.T, length time.Duration, d disturbance) {
	t.Helper()
	lives := c.ids(t)
	stream := c.startTraffic(t)
	began := time.Now()
	d.begin()
	var err error
	var took time.Duration
	joined := make(chan struct{})
	client, _ := c.member("a1").current()
	go func() { // it waits for a node that does not answer until that is seen down
		defer close(joined)
		err = client.call(nil, "Join", fmt.Sprint("early ", length))
		took = time.Since(began)
	}()
	c.awaitPairs(t, d, d.apart, false)
	c.awaitPairs(t, d, c.others(d), true)
	<-joined
	require.NoError(t, err)
	t.Logf("a client of node a has joined a group after %s", milliseconds(took))
	c.change(t, length, d)
	<-time.After(time.Until(began.Add(length))) // what is tested is a disturbance that lasts
	for _, pair := range d.apart {
		for _, way := range both(pair) {
			if way[0] != d.silent {
				assert.NoError(t, c.nodes[way[0]].sees(c.nodes[way[1]], false), "after %s", length)
			}
		}
	}
	d.end()
	d.silent = -1
	c.awaitPairs(t, d, d.apart, true)
	c.awaitUp(t)
	stream.stop()
	counted := c.others(d)
	if length < time.Minute { // after that, what a node wanted is forgotten
		counted = append(counted, d.apart...)
	}
	gone := stream.check(t, counted)
	for from, x := range c.nodes {
		t.Logf("node %s has sent %d messages, the longest took %s; missing: %v", x.name, stream.sent[from], milliseconds(stream.longest[from]), missingOf(gone, from))
	}
	for _, pair := range d.apart {
		assert.Positive(t, gone[pair]+gone[[2]int{pair[1], pair[0]}], "nodes %v did not miss anything of each other", pair)
	}
	require.Equal(t, lives, c.ids(t), "no node has been another one meanwhile")
	c.round(t)
	for _, x := range c.nodes { // for the next time
		if m := c.member(x.name + "1"); m.groups["later"] {
			m.move(t, "later", "odd")
		}
	}
	c.leave(stream.members...)
	c.round(t)
}

// change has groups change, and somebody come, on each node that is not silent.
func (c *cluster) change(t *testing.T, length time.Duration, d disturbance) {
	t.Helper()
	for i, x := range c.nodes {
		if i == d.silent {
			continue
		}
		took := c.member(x.name+"1").move(t, "odd", "later")
		t.Logf("groups change on node %s in %s", x.name, milliseconds(took))
		came := time.Now()
		late := c.join(fmt.Sprint(x.name, " late ", length), []*node{x}, nil, "later")
		await(t, "a client is connected", func() error {
			if client, _ := late.current(); client == nil {
				return errEnded
			}
			return nil
		})
		t.Logf("a client connects to node %s, and joins a group, in %s", x.name, milliseconds(time.Since(came)))
	}
}

// missingOf returns how many messages of a node have not arrived, by the receiver.
func missingOf(gone map[[2]int]int, from int) (all []int) {
	for to := range 3 {
		all = append(all, gone[[2]int{to, from}])
	}
	return all
}

// leave has members go.
func (c *cluster) leave(members ...*member) {
	for _, m := range members {
		m.stop()
	}
	c.members = slices.DeleteFunc(c.members, func(m *member) bool { return slices.Contains(members, m) })
}

func (c *cluster) ids(t *testing.T) (ids []string) {
	t.Helper()
	for _, x := range c.nodes {
		s, err := x.status()
		require.NoError(t, err)
		ids = append(ids, s.ID)
	}
	return ids
}

// others returns the pairs that a disturbance does not keep from each other.
func (c *cluster) others(d disturbance) (pairs [][2]int) {
	for i := range c.nodes {
		for j := range i {
			if !slices.Contains(d.apart, [2]int{j, i}) {
				pairs = append(pairs, [2]int{j, i})
			}
		}
	}
	return pairs
}

// awaitPairs waits until both nodes of each pair, or the one that is not silent, see the other one up, or down.
func (c *cluster) awaitPairs(t *testing.T, d disturbance, pairs [][2]int, up bool) {
	t.Helper()
	began := time.Now()
	seen := map[[2]int]time.Duration{}
	var took []string
	await(t, fmt.Sprintf("the nodes see each other: up=%t", up), func() (missing error) {
		for _, pair := range pairs {
			for _, way := range both(pair) {
				if way[0] == d.silent || seen[way] > 0 {
					continue
				}
				x, other := c.nodes[way[0]], c.nodes[way[1]]
				if err := x.sees(other, up); err != nil {
					missing = err
					continue
				}
				seen[way] = time.Since(began)
				took = append(took, fmt.Sprintf("%s by %s after %s", other.name, x.name, milliseconds(seen[way])))
			}
		}
		return missing
	})
	t.Logf("seen, up=%t: %s", up, strings.Join(took, ", "))
}

// A node that is stopped is missed, and comes back as it was.
func TestStoppedNodesComeBack(t *testing.T) {
	t.Parallel()
	skipIfShort(t)
	c := newCluster(t, 3, nil)
	c.crowd(t, 4)
	for _, length := range lengths(t) {
		t.Logf("node c is stopped for %s", length)
		c.disturb(t, length, disturbance{
			begin:  func() { c.nodes[2].signal(t, syscall.SIGSTOP) },
			end:    func() { c.nodes[2].signal(t, syscall.SIGCONT) },
			apart:  [][2]int{{0, 2}, {1, 2}},
			silent: 2,
		})
	}
}

// Partitions heal, and so do cuts between two nodes that both reach a third one.
func TestNodesThatAreCutOffComeBack(t *testing.T) {
	t.Parallel()
	skipIfShort(t)
	skipWithoutNamespaces(t)
	for name, test := range map[string]struct {
		begin, end func(t *testing.T, w *network)
		apart      [][2]int
	}{
		"partition": {
			func(t *testing.T, w *network) { w.cut(t, 2) },
			func(t *testing.T, w *network) { w.uncut(t, 2) },
			[][2]int{{0, 2}, {1, 2}},
		},
		"pair": {
			func(t *testing.T, w *network) { w.block(t, 0, 1); w.block(t, 1, 0) },
			func(t *testing.T, w *network) { w.unblock(t, 0, 1); w.unblock(t, 1, 0) },
			[][2]int{{0, 1}},
		},
		"one direction of a pair": {
			func(t *testing.T, w *network) { w.block(t, 0, 1) },
			func(t *testing.T, w *network) { w.unblock(t, 0, 1) },
			[][2]int{{0, 1}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newNetwork(t, 3)
			c := newCluster(t, 3, w.nodes)
			c.crowd(t, 4)
			for _, length := range lengths(t) {
				t.Logf("for %s", length)
				c.disturb(t, length, disturbance{
					begin: func() { test.begin(t, w) }, end: func() { test.end(t, w) }, apart: test.apart, silent: -1,
				})
			}
		})
	}
}
