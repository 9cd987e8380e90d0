//go:build linux

package nodes

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

const hubPath = "/testhub"

// member is a client that comes back when its connection ends, at the first of its nodes that takes it, and joins its groups again.
type member struct {
	name    string
	nodes   []*node
	stopped chan struct{}
	done    sync.WaitGroup
	hears   func(text string) bool // takes a message; nil, or false: it is one of a round

	mu       sync.Mutex
	groups   map[string]bool
	got      map[string]int // how often each message has come
	client   *client        // with which all groups are joined; nil: none
	sessions int
}

// join adds a member to a cluster.
func (c *cluster) join(name string, nodes []*node, hears func(string) bool, groups ...string) *member {
	m := &member{name: name, nodes: nodes, stopped: make(chan struct{}), hears: hears, groups: map[string]bool{}, got: map[string]int{}}
	for _, g := range groups {
		m.groups[g] = true
	}
	c.members = append(c.members, m)
	m.done.Go(m.run)
	return m
}

func (m *member) run() {
	for i := 0; ; i++ {
		select {
		case <-m.stopped:
			return
		default:
		}
		c, err := m.connect(m.nodes[i%len(m.nodes)])
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		m.set(c)
		select {
		case <-c.ended:
		case <-m.stopped:
		}
		m.set(nil)
		c.close()
	}
}

func (m *member) connect(x *node) (*client, error) {
	c, err := connect(x, nil, hubPath, m.take)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	groups := slices.Collect(maps.Keys(m.groups))
	m.mu.Unlock()
	for _, g := range groups {
		if err := c.call(nil, "Join", g); err != nil {
			c.close()
			return nil, err
		}
	}
	return c, nil
}

func (m *member) set(c *client) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.client = c
	m.sessions++
}

// current returns the client, and the number of its session.
func (m *member) current() (c *client, session int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.client, m.sessions
}

func (m *member) take(text string) {
	if m.hears != nil && m.hears(text) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.got[text]++
}

func (m *member) stop() {
	select {
	case <-m.stopped:
	default:
		close(m.stopped)
	}
	m.done.Wait()
}

// move leaves a group and joins another one.
func (m *member) move(t *testing.T, from, to string) time.Duration {
	t.Helper()
	m.mu.Lock()
	delete(m.groups, from)
	m.groups[to] = true
	m.mu.Unlock()
	return await(t, m.name+" changes its groups", func() error {
		c, _ := m.current()
		if c == nil {
			return errEnded
		}
		return errors.Join(c.call(nil, "Leave", from), c.call(nil, "Join", to))
	})
}

// awaitMembers waits until all members are connected and have joined their groups.
func (c *cluster) awaitMembers(t *testing.T) time.Duration {
	t.Helper()
	return await(t, "all clients are connected", func() error {
		for _, m := range c.members {
			if client, _ := m.current(); client == nil {
				return fmt.Errorf("%s is not", m.name)
			}
		}
		return nil
	})
}

// round checks that what members of all nodes send to everyone and to groups comes to whom it is for, once, and that the lists of groups are right.
// When a message does not come that has been counted as lost, or whose receiver was away, all are sent again.
func (c *cluster) round(t *testing.T) {
	t.Helper()
	await(t, "all messages arrive", func() error {
		c.awaitMembers(t)
		before := c.state(t)
		c.rounds++
		if err := c.say(before.senders); err != nil {
			return err
		}
		var missing error
		await(t, "all messages arrive, or are counted as lost", func() error {
			if missing = c.missing(before.senders); missing != nil && c.state(t).same(before) {
				return missing
			}
			return nil
		})
		if missing != nil {
			t.Logf("a round is played again: %v", missing)
		}
		return missing
	})
	c.extra(t)
	c.checkLists(t)
}

// state is what must not change while nothing may be lost.
type state struct {
	sessions []int
	losses   []peer
	senders  []*member // one on each node that has members
}

func (s *state) same(other *state) bool {
	return slices.Equal(s.sessions, other.sessions) && slices.Equal(s.losses, other.losses)
}

func (c *cluster) state(t *testing.T) *state {
	t.Helper()
	s := &state{}
	senders := map[*node]bool{}
	for _, m := range c.members {
		client, session := m.current()
		s.sessions = append(s.sessions, session)
		if client != nil && !senders[client.node] {
			senders[client.node] = true
			s.senders = append(s.senders, m)
		}
	}
	for _, x := range c.nodes {
		if x.cmd == nil {
			continue
		}
		await(t, "node "+x.name+" answers", func() error {
			now, err := x.status()
			for _, p := range now.Peers {
				if p.Up { // of others, losses are counted as long as something is sent
					s.losses = append(s.losses, p)
				}
			}
			return err
		})
	}
	return s
}

// roundGroups are the groups of members.
var roundGroups = []string{"odd", "even", "third", "later"}

func (c *cluster) text(to string, from *member) string {
	return fmt.Sprintf("round %d to %s from %s", c.rounds, to, from.name)
}

func (c *cluster) say(senders []*member) error {
	for _, from := range senders {
		client, _ := from.current()
		if client == nil {
			return errEnded
		}
		for _, g := range roundGroups {
			if err := client.call(nil, "ToGroup", g, c.text(g, from)); err != nil {
				return err
			}
		}
		if err := client.call(nil, "ToAll", c.text("all", from)); err != nil {
			return err
		}
	}
	return nil
}

// missing returns an error if a message of the round has not arrived.
func (c *cluster) missing(senders []*member) error {
	for _, m := range c.members {
		m.mu.Lock()
		got, groups := maps.Clone(m.got), append(slices.Sorted(maps.Keys(m.groups)), "all")
		m.mu.Unlock()
		for _, from := range senders {
			for _, g := range groups {
				if text := c.text(g, from); slices.Contains(append(roundGroups, "all"), g) && got[text] == 0 {
					return fmt.Errorf("%s has not got %q", m.name, text)
				}
			}
		}
	}
	return nil
}

// extra checks that nobody has got a message twice, or one of this round that is for others.
func (c *cluster) extra(t *testing.T) {
	t.Helper()
	for _, m := range c.members {
		m.mu.Lock()
		for text, n := range m.got {
			assert.Equal(t, 1, n, "%s has got %q", m.name, text)
			to, _, _ := strings.Cut(strings.TrimPrefix(text, fmt.Sprintf("round %d to ", c.rounds)), " ")
			if strings.HasPrefix(text, fmt.Sprintf("round %d ", c.rounds)) && to != "all" && !m.groups[to] {
				t.Errorf("%s is not in the group, and has got %q", m.name, text)
			}
		}
		m.mu.Unlock()
	}
}

// checkLists checks who is in which group, as each node tells it.
func (c *cluster) checkLists(t *testing.T) {
	t.Helper()
	await(t, "the lists of groups are right", func() error {
		want := map[string][]string{}
		for _, m := range c.members {
			client, _ := m.current()
			if client == nil {
				return errEnded
			}
			for _, g := range roundGroups {
				if m.groups[g] {
					want[g] = append(want[g], client.id)
				}
			}
		}
		for _, from := range c.state(t).senders {
			client, _ := from.current()
			for _, g := range roundGroups {
				var ids []string
				if err := client.call(&ids, "Members", g); err != nil {
					return err
				}
				slices.Sort(ids)
				slices.Sort(want[g])
				if !slices.Equal(ids, want[g]) {
					return fmt.Errorf("%s says that %v are in %q, and it is %v", from.name, ids, g, want[g])
				}
			}
		}
		return nil
	})
}
