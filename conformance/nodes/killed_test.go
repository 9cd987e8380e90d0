//go:build linux

package nodes

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// onlyAt returns the members that connect to no other node.
func (c *cluster) onlyAt(x *node) (members []*member) {
	for _, m := range c.members {
		if len(m.nodes) == 1 && m.nodes[0] == x {
			members = append(members, m)
		}
	}
	return members
}

// A node that is killed is missed, its clients go to others, and what the others send each other arrives meanwhile.
func TestKilledNodesAreMissed(t *testing.T) {
	t.Parallel()
	skipIfShort(t)
	c := newCluster(t, 3, nil)
	killed := c.nodes[2]
	c.crowd(t, 4)
	var moving []*member
	for i := range 20 {
		m := c.join(fmt.Sprint("moving ", i), []*node{killed, c.nodes[i%2]}, nil, memberGroups(i)...)
		moving = append(moving, m)
	}
	stream := c.startTraffic(t)

	gone := c.nodes[2:]
	began := time.Now()
	killed.signal(t, syscall.SIGKILL)
	killed.end(t, bySignal)
	c.nodes = c.nodes[:2]
	t.Logf("%s is seen down after %s", killed.name, awaitEach(t, c.nodes, killed, false))
	c.leave(c.onlyAt(killed)...)
	await(t, "its clients are connected to others", func() error {
		for _, m := range moving {
			if client, _ := m.current(); client == nil || client.node == killed {
				return fmt.Errorf("%s is not", m.name)
			}
		}
		return nil
	})
	t.Logf("its clients are connected to others, and in their groups, after %s", milliseconds(time.Since(began)))
	c.round(t)

	began = time.Now()
	killed.start(t)
	c.nodes = append(c.nodes, gone...)
	c.awaitUp(t)
	t.Logf("another process at its address is up after %s", milliseconds(time.Since(began)))
	c.join("returned", gone, nil, memberGroups(0)...)
	c.round(t)

	stream.stop()
	missing := stream.check(t, [][2]int{{0, 1}})
	for i, x := range c.nodes[:2] {
		t.Logf("node %s has sent %d messages, the longest took %s; missing: %d", x.name, stream.sent[i], milliseconds(stream.longest[i]), missing[[2]int{1 - i, i}])
	}
}
