package cluster

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys/backplane"
	clusterv1 "github.com/troupe-go/troupe/proto/troupe/cluster/v1"
)

func (n *testNode) losesMember(t *testing.T, other *testNode) {
	t.Helper()
	n.sees(t, fmt.Sprintf("%s has gone", other.id), func(s *watcher) bool { _, ok := s.members[other.id]; return !ok })
}

func stopNode(t *testing.T, n *testNode) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	require.NoError(t, n.stop(ctx))
}

func TestMembersMeetThroughOneSeed(t *testing.T) {
	t.Parallel()
	a := start(t, nil, func(c *Config) { c.Name = "first" })
	b := start(t, nil, nil, a)
	c := start(t, nil, nil, a)
	meet(t, a, b, c)
	b.sees(t, "the name", func(s *watcher) bool { return s.members[a.id].name == "first" && !s.members[a.id].draining })

	a.drain()
	for _, n := range []*testNode{b, c} {
		n.sees(t, "draining", func(s *watcher) bool { return s.members[a.id].draining })
	}
	talk(t, a, b) // a member that drains is still one

	began := time.Now()
	stopNode(t, a)
	b.losesMember(t, a)
	c.losesMember(t, a)
	t.Logf("leaving and being seen to took %s", time.Since(began))
	meet(t, b, c)
	talk(t, b, c)
}

func TestMembersThatAreKilledAreMissed(t *testing.T) {
	t.Parallel()
	a := start(t, nil, quick)
	b := start(t, nil, quick, a)
	meet(t, a, b)
	talk(t, a, b)
	began := time.Now()
	b.shut()
	a.sees(t, "the connection has broken", func(s *watcher) bool { return s.lost[b.id] > 0 })
	t.Logf("broken after %s", time.Since(began))
	a.losesMember(t, b)
	t.Logf("left after %s", time.Since(began))
	assert.ErrorIs(t, a.relay(b.id, nil, nil), errGone)
}

func TestPartitionsHeal(t *testing.T) {
	t.Parallel()
	a := start(t, nil, quick)
	b := start(t, nil, quick, a)
	c := start(t, nil, quick, a)
	meet(t, a, b, c)
	talk(t, a, c)

	cut(a, c, true)
	cut(b, c, true)
	a.losesMember(t, c)
	b.losesMember(t, c)
	c.losesMember(t, a)
	c.losesMember(t, b)
	meet(t, a, b)

	cut(a, c, false)
	cut(b, c, false)
	began := time.Now()
	meet(t, a, b, c)
	t.Logf("healed after %s", time.Since(began))
	talk(t, a, c)
	talk(t, c, b)
}

// The first node of a cluster cannot reach its seeds, which start later.
func TestSeedsMayStartLater(t *testing.T) {
	t.Parallel()
	port := threePorts(t)
	a := start(t, nil, func(c *Config) { c.Seeds = []string{fmt.Sprintf("localhost:%d", port)} })
	b := start(t, nil, func(c *Config) { c.Bind = fmt.Sprintf("127.0.0.1:%d", port) })
	meet(t, a, b)
	assert.Equal(t, fmt.Sprintf("127.0.0.1:%d", port+1), b.system.Address())
}

// A process that takes the place of another one at the same address is another member.
func TestMembersStartAgainAtTheSameAddress(t *testing.T) {
	t.Parallel()
	port := threePorts(t)
	place := func(c *Config) { c.Bind = fmt.Sprintf("127.0.0.1:%d", port) }
	a := start(t, nil, quick)
	before := start(t, nil, place, a)
	meet(t, a, before)
	talk(t, a, before)
	before.shut()
	after := start(t, nil, place, a)
	meet(t, a, after)
	a.losesMember(t, before)
	talk(t, a, after)

	a.send(after.id, &clusterv1.Frame{From: uint32(a.id), To: uint32(before.id)})
	require.Eventually(t, func() bool { return after.counts.misdirected.Load() == 1 }, testTime, time.Millisecond)
}

func TestStrangersAreNoMembers(t *testing.T) {
	t.Parallel()
	a := start(t, nil, nil)
	for name, configure := range map[string]func(*Config){
		"another key":        func(c *Config) { c.Key = bytes.Repeat([]byte("x"), leastKey) },
		"no key":             func(c *Config) { c.Key, c.Insecure = nil, true },
		"another cluster":    func(c *Config) { c.Cluster = "other" },
		"only accepts a key": func(c *Config) { c.AcceptedKeys, c.Key = [][]byte{c.Key}, bytes.Repeat([]byte("x"), leastKey) },
	} {
		t.Run(name, func(t *testing.T) {
			stranger := start(t, nil, configure, a)
			assert.Zero(t, stranger.members.list.NumMembers()-1, "join has returned, so the seed has answered or refused")
			stranger.seen.mu.Lock()
			assert.Empty(t, stranger.seen.members)
			stranger.seen.mu.Unlock()
			assert.Equal(t, 1, a.members.list.NumMembers())
		})
	}
}

func TestKeysAreChangedWhileNodesRun(t *testing.T) {
	t.Parallel()
	old, other := bytes.Repeat([]byte("o"), 32), bytes.Repeat([]byte("n"), 40)
	keys := func(key []byte, accepted ...[]byte) func(*Config) {
		return func(c *Config) { c.Key, c.AcceptedKeys = key, accepted }
	}
	steps := []func(*Config){keys(old), keys(old, other), keys(other, old), keys(other)}
	for i := range len(steps) - 1 {
		a := start(t, echo{}, steps[i])
		b := start(t, echo{}, steps[i+1], a)
		meet(t, a, b)
		talk(t, a, b)
		for _, both := range [][2]*testNode{{a, b}, {b, a}} {
			status, body := relayOnce(t, both[0], both[1].id, "/x")
			assert.Equal(t, "200 /x", fmt.Sprint(status, " ", body))
		}
		b.shut()
		a.shut()
	}
}

func TestNodesUseIPv6(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("this machine has no IPv6")
	}
	l.Close()
	a := start(t, echo{}, func(c *Config) { c.Bind = "[::1]:0" })
	b := start(t, nil, func(c *Config) { c.Bind = "[::1]:0" }, a)
	meet(t, a, b)
	talk(t, a, b)
	status, body := relayOnce(t, b, a.id, "/6")
	assert.Equal(t, "200 /6", fmt.Sprint(status, " ", body))
}

func TestTwoProcessesWithOneIDAreNotBothMembers(t *testing.T) {
	t.Parallel()
	a := start(t, nil, nil)
	b := open(t, nil, func(c *Config) { c.Seeds = []string{a.members.addresses[0].String()} })
	b.id = a.id
	require.ErrorIs(t, b.join(t.Context()), errTaken)
	assert.Equal(t, 1, a.members.list.NumMembers())
}

func TestNodesShareNoPorts(t *testing.T) {
	t.Parallel()
	port := threePorts(t)
	taken, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+1))
	require.NoError(t, err)
	defer taken.Close()
	_, err = newWire(Config{Bind: fmt.Sprintf("127.0.0.1:%d", port), Key: testKey}.withDefaults(), newSystem(), 1, nil, newWatcher())
	require.ErrorContains(t, err, fmt.Sprint(port+1))
}

func TestMetaFitsIntoGossip(t *testing.T) {
	t.Parallel()
	a := start(t, nil, func(c *Config) { c.Name = strings.Repeat("n", maxLabel) })
	assert.Less(t, len((*delegate)(a.members).NodeMeta(0)), 256)
	_, err := parseID("not an id")
	assert.Error(t, err)
	id, err := parseID(backplane.NodeID(258).String())
	assert.NoError(t, err)
	assert.Equal(t, backplane.NodeID(258), id)
}
