package actors

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestJoinAndLeave(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		ctx := context.Background()
		c := e.open("a", "bob")
		send := func() { e.send(&Audience{Kind: Groups, Names: []string{"g"}}, "x"); e.settle() }
		for range 2 {
			require.NoError(t, e.hub.Join(ctx, "a", "g"))
		}
		send()
		assert.Len(t, c.messages(), 1, "joining twice has no effect")
		for range 2 {
			require.NoError(t, e.hub.Leave(ctx, "a", "g"))
		}
		send()
		assert.Len(t, c.messages(), 1)
		assert.Nil(t, e.hub.groups.find("g"))
		require.NoError(t, e.hub.Join(ctx, "nobody", "g"))
		require.NoError(t, e.hub.Leave(ctx, "nobody", "g"))

		other, err := e.sys.NewHub("other", e.handler, e.hub.protocols, HubSettings{MaxNames: 100})
		require.NoError(t, err)
		require.NoError(t, other.Join(ctx, "a", "g"), "a connection of another hub is unknown")
		assert.Nil(t, other.groups.find("g"))
		assert.Nil(t, e.hub.groups.find("g"))
	})
}

func TestClosingLeavesGroupsAndUsers(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		ctx := context.Background()
		c, other := e.open("a", "bob"), e.open("b", "bob")
		for _, group := range []string{"g", "h"} {
			require.NoError(t, e.hub.Join(ctx, "a", group))
		}
		require.NoError(t, e.hub.Join(ctx, "b", "g"))
		c.socket.Cut()
		e.settle()
		c.assertRemoved(t)
		assert.Nil(t, e.hub.groups.find("h"))
		e.send(&Audience{Kind: Groups, Names: []string{"g"}}, "group")
		e.send(&Audience{Kind: Users, Names: []string{"bob"}}, "user")
		e.settle()
		assert.Equal(t, []string{invocationRecord("group"), invocationRecord("user")}, other.messages())
		require.NoError(t, e.hub.Join(ctx, "a", "h"))
		assert.Nil(t, e.hub.groups.find("h"))
	})
}

// During OnDisconnected a connection keeps its memberships. It can leave groups, but cannot join any.
func TestMembershipsDuringOnDisconnected(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		ctx := context.Background()
		gate, open := e.gate()
		e.handler.disconnected = func(k *Call, _ error) { _, _ = gate(k, "") }
		c := e.open("a", "")
		require.NoError(t, e.hub.Join(ctx, "a", "g"))
		require.NoError(t, e.hub.Join(ctx, "a", "h"))
		c.socket.Cut()
		e.settle()
		require.NotNil(t, e.hub.groups.find("g"))
		require.NoError(t, e.hub.Leave(ctx, "a", "g"))
		assert.Nil(t, e.hub.groups.find("g"))
		require.NoError(t, e.hub.Join(ctx, "a", "i"))
		assert.Nil(t, e.hub.groups.find("i"))
		open()
		e.settle()
		c.assertRemoved(t)
	})
}

// The end of its context ends a waiting Join.
func TestContextEndsWaitingJoin(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "")
		c.conn.mailbox.mu.Lock()
		c.conn.mailbox.running = true // keeps the mailbox from being run
		c.conn.mailbox.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), second)
		defer cancel()
		require.ErrorIs(t, e.hub.Join(ctx, "a", "g"), context.DeadlineExceeded)
		joined := make(chan error)
		go func() { joined <- e.hub.Join(context.Background(), "a", "h") }()
		e.settle()
		c.conn.mailbox.close() // as when the actor stops
		require.NoError(t, <-joined, "Join does not wait forever")
		require.NoError(t, e.hub.Join(context.Background(), "a", "h"))
		e.sys.connections.remove(c.conn)
		c.conn.supervisor.remove(c.conn)
		e.sys.alive.Add(-1)
		c.socket.Cut()
		ctx, cancel = context.WithTimeout(context.Background(), second)
		defer cancel()
		require.ErrorContains(t, e.sys.Shutdown(ctx), "have not stopped")
		e.wasShutDown.Store(true)
	})
}

// Checks groups, small and large, and the everyone group, whose members store their own indexes, against a model.
func TestGroupModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := &group{everyone: rapid.Bool().Draw(t, "everyone"), watchers: &watchers{}}
		var all []*Connection
		for i := range 3 * smallGroup {
			c := bareConnection("")
			c.protocol = uint8(i % 3)
			all = append(all, c)
		}
		members := map[*Connection]bool{}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				require.Len(t, g.members, len(members))
				count := [encodings]int{}
				for _, c := range all {
					require.Equal(t, members[c], g.find(c) >= 0)
					if members[c] {
						require.Same(t, c, g.members[g.find(c)])
						count[c.protocol]++
					}
				}
				require.Equal(t, count, g.count)
				for i := range count {
					require.Equal(t, count[i] > 0, g.protocols.Load()&(1<<i) != 0)
				}
			},
			"join": func(t *rapid.T) {
				c := rapid.SampledFrom(all).Draw(t, "connection")
				g.join(c)
				members[c] = true
			},
			"leave": func(t *rapid.T) {
				c := rapid.SampledFrom(all).Draw(t, "connection")
				was := len(members)
				delete(members, c)
				require.Equal(t, was == 1 && len(members) == 0 && !g.everyone, g.leave(c))
				if g.emptied {
					require.False(t, g.join(c), "the group was emptied")
					g.emptied = false
				}
			},
		})
	})
}

// An empty group is removed while other connections join it. No member is lost, and no empty group remains.
func TestEmptyGroupIsRemovedWhileOthersJoin(t *testing.T) {
	d := newDirectory(func(*group) {})
	const rounds = 2000
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			c := bareConnection("")
			for range rounds {
				d.join("g", c)
				g := d.find("g")
				if g == nil {
					assert.Fail(t, "the group of a member was removed")
					return
				}
				g.mu.Lock()
				there := g.find(c) >= 0
				g.mu.Unlock()
				if !there {
					assert.Fail(t, "a member is lost")
					return
				}
				d.leave("g", c)
			}
		})
	}
	all.Wait()
	assert.Nil(t, d.find("g"))
	d.leave("g", bareConnection(""))
	assert.Nil(t, d.find("g"))
}

// Members receive the messages to a group, and connections that have left do not.
func TestConcurrentJoinsLeavesAndSends(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		ctx := context.Background()
		e.settings.OutboxLimit = 8 << 20
		var all sync.WaitGroup
		for i := range 4 {
			c := e.open(fmt.Sprint(i), "")
			all.Go(func() {
				for n := range 100 {
					assert.NoError(t, e.hub.Join(ctx, c.conn.id, "g"))
					assert.NoError(t, e.hub.Send(ctx, &Audience{Kind: Groups, Names: []string{"g"}}, "note", []any{i, 2 * n, ""}))
					assert.NoError(t, e.hub.Leave(ctx, c.conn.id, "g"))
					assert.NoError(t, e.hub.Send(ctx, &Audience{Kind: Groups, Names: []string{"g"}}, "note", []any{i, 2*n + 1, ""}))
				}
			})
		}
		all.Wait()
		e.settle()
		for i, c := range e.clients {
			for sender, numbers := range noteNumbers(t, c.messages()) {
				require.True(t, slices.IsSorted(numbers))
				require.Len(t, slices.Compact(slices.Clone(numbers)), len(numbers), "at most once")
				if sender == i {
					require.Len(t, numbers, 100)
					require.False(t, slices.ContainsFunc(numbers, func(n int) bool { return n%2 == 1 }))
				}
			}
		}
		assert.Nil(t, e.hub.groups.find("g"))
	})
}
