package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// bareConnection returns a connection that has nothing but an id.
func bareConnection(id string) *Connection {
	c := &Connection{id: id}
	c.who.Store(&Identity{})
	return c
}

// membersOf returns connections as members.
func membersOf(connections ...*Connection) []Member {
	var members []Member
	for _, c := range connections {
		members = append(members, c.member())
	}
	return members
}

// connectionsOf returns the connections of members.
func connectionsOf(members []Member) []*Connection {
	var connections []*Connection
	for _, m := range members {
		connections = append(connections, m.Conn)
	}
	return connections
}

// listIDs returns the ids of the members of an audience.
func (e *env) listIDs(of *Audience) string {
	var ids []string
	for _, m := range e.hub.membersHere(of) {
		ids = append(ids, m.Conn.id)
	}
	return strings.Join(ids, " ")
}

func TestMembersAreListedOnceAndSorted(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		for _, id := range []string{"c", "a", "e", "b", "d"} {
			e.open(id, map[string]string{"a": "ann", "e": "ann", "b": "bob"}[id])
		}
		a := e.clients[1].conn
		for group, ids := range map[string][]string{"g": {"d", "a", "b"}, "h": {"b", "c"}} {
			for _, id := range ids {
				require.NoError(t, e.hub.Join(context.Background(), id, group))
			}
		}
		for _, test := range []struct {
			of   Audience
			want string
		}{
			{Audience{}, "a b c d e"},
			{Audience{Except: a}, "b c d e"},
			{Audience{ExceptIDs: []string{"c", "nobody", "c"}}, "a b d e"},
			{Audience{Kind: Caller, Conn: a}, "a"},
			{Audience{Kind: Connections, Names: []string{"d", "nobody", "b", "d"}}, "b d"},
			{Audience{Kind: Connections, Names: []string{"nobody"}}, ""},
			{Audience{Kind: Connections}, ""},
			{Audience{Kind: Connections, Names: []string{"a"}, ExceptIDs: []string{"a"}}, ""},
			{Audience{Kind: Groups, Names: []string{"g"}}, "a b d"},
			{Audience{Kind: Groups, Names: []string{"g"}, Except: a}, "b d"},
			{Audience{Kind: Groups, Names: []string{"h", "none", "g", "h"}}, "a b c d"},
			{Audience{Kind: Groups, Names: []string{"h", "g"}, ExceptIDs: []string{"b"}}, "a c d"},
			{Audience{Kind: Groups}, ""},
			{Audience{Kind: Users, Names: []string{"ann"}}, "a e"},
			{Audience{Kind: Users, Names: []string{"bob", "ann", "", "bob"}}, "a b e"},
		} {
			assert.Equal(t, test.want, e.listIDs(&test.of), test.of.String())
		}
		e.clients[1].socket.Cut()
		e.settle()
		assert.Empty(t, e.listIDs(&Audience{Kind: Caller, Conn: a}), "after its end")
		assert.Equal(t, "b d", e.listIDs(groupAudience("g")))
	})
}

func TestGroupsOfAConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		ctx := context.Background()
		gate, open := e.gate()
		e.handler.disconnected = func(k *Call, _ error) { _, _ = gate(k, "") }
		c, to := e.open("a", ""), clientAudience("a")
		groups, err := e.hub.GroupsOf(ctx, to)
		require.NoError(t, err)
		assert.Empty(t, groups)
		for _, group := range []string{"z", "", "m", "a"} {
			require.NoError(t, e.hub.Join(ctx, "a", group))
		}
		groups, err = e.hub.GroupsOf(ctx, to)
		require.NoError(t, err)
		assert.Equal(t, []string{"", "a", "m", "z"}, groups)
		_, err = e.hub.GroupsOf(ctx, clientAudience("nobody"))
		require.ErrorIs(t, err, ErrGone)
		ended, cancel := context.WithCancelCause(ctx)
		cancel(errors.New("enough"))
		_, err = e.hub.GroupsOf(ended, to)
		require.EqualError(t, err, "enough")

		c.socket.Cut()
		e.settle()
		groups, err = e.hub.GroupsOf(ctx, to)
		require.NoError(t, err, "memberships last while OnDisconnected runs")
		assert.Len(t, groups, 4)
		open()
		e.settle()
		for _, to := range []*Audience{to, {Kind: Caller, Conn: c.conn}} {
			_, err = e.hub.GroupsOf(ctx, to)
			require.ErrorIs(t, err, ErrGone)
		}
	})
}

func TestContextEndsWaitingGroups(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		mailbox := &e.open("a", "").conn.mailbox
		run := func(keep bool) {
			mailbox.mu.Lock()
			mailbox.running = keep // keeps the mailbox from being run
			mailbox.mu.Unlock()
		}
		run(true)
		ctx, cancel := context.WithTimeout(context.Background(), second/2)
		defer cancel()
		_, err := e.hub.GroupsOf(ctx, clientAudience("a"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		run(false)
		_, err = e.hub.GroupsOf(context.Background(), clientAudience("a"))
		require.NoError(t, err)
	})
}

// A request for the groups of a connection is answered, whenever the connection ends.
func TestGroupsRacesWithTheEndOfItsConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		for i := range 50 {
			c := e.open(fmt.Sprint(i), "")
			require.NoError(t, e.hub.Join(context.Background(), c.conn.id, "g"))
			for range 3 {
				go func() {
					for {
						groups, err := e.hub.GroupsOf(context.Background(), &Audience{Kind: Caller, Conn: c.conn})
						if err != nil {
							assert.ErrorIs(t, err, ErrGone)
							return
						}
						assert.Equal(t, []string{"g"}, groups)
					}
				}()
			}
			switch i % 3 {
			case 0:
				c.socket.Cut()
			case 1:
				e.hub.Disconnect(clientAudience(c.conn.id), "")
			case 2:
				e.sys.actorSystem.Root.Stop(c.conn.PID())
			}
		}
	}) // the bubble waits for all goroutines
}

// What is sent before a Disconnect is delivered; what is sent after it has returned is not.
func TestDisconnectIsTheEndOfOutput(t *testing.T) {
	for reason, last := range map[string]string{"enough": `{"type":7,"error":"enough"}`, "": `{"type":7}`} {
		inBubble(t, func(t *testing.T, e *env) {
			a, b := e.open("a", ""), e.open("b", "")
			for i := range 20 {
				e.send(&Audience{}, fmt.Sprint("before", i))
			}
			e.hub.Disconnect(clientAudience("a"), reason)
			e.send(&Audience{}, "after")
			e.settle()
			records := a.messages()
			require.Len(t, records, 22)
			assert.Equal(t, []string{invocationRecord("before19"), last, "close 1000"}, records[19:])
			assert.Equal(t, invocationRecord("after"), b.messages()[20])
			a.assertRemoved(t)
			want := "disconnected a: <nil>"
			if reason != "" {
				want = "disconnected a: " + reason
			}
			assert.Contains(t, e.handler.events(), want)
		})
	}
}

// The calls that wait are dropped; the one that runs goes on with its context, but its result is not sent any more.
func TestDisconnectDropsWaitingCalls(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		gate, open := e.gate()
		var alive bool
		e.handler.methods["run"] = func(k *Call, args string) (any, error) {
			v, err := gate(k, args)
			alive = k.Err() == nil
			e.handler.record("run returned")
			return v, err
		}
		e.handler.methods["waiting"] = func(*Call, string) (any, error) { e.handler.record("waiting"); return nil, nil }
		c := e.open("a", "")
		c.send(call("1", "run"), call("2", "waiting"), call("3", "waiting"))
		e.settle()
		e.hub.Disconnect(clientAudience("a"), "enough")
		e.settle()
		assert.Equal(t, []string{`{"type":7,"error":"enough"}`, "close 1000"}, c.messages())
		open()
		e.settle()
		assert.True(t, alive)
		assert.Equal(t, []string{"connected a", "run returned", "disconnected a: enough"}, e.handler.events())
		assert.Len(t, c.messages(), 2)
		c.assertRemoved(t)
	})
}

func TestDisconnectOfFetchClients(t *testing.T) {
	for _, polls := range []bool{true, false} {
		inBubble(t, func(t *testing.T, e *env) {
			f := e.openFetcher("a", polls)
			e.send(&Audience{}, "before")
			e.hub.Disconnect(clientAudience("a"), "enough")
			e.send(&Audience{}, "after")
			e.settle()
			assert.Equal(t, []string{invocationRecord("before"), `{"type":7,"error":"enough"}`}, f.poll())
			f.Cut()
			e.settle()
			assert.Equal(t, []string{"connected a", "disconnected a: enough"}, e.handler.events())
		})
	}
}

// A connection can be disconnected while OnConnected runs. OnDisconnected runs behind it.
func TestDisconnectDuringOnConnected(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		gate, open := e.gate()
		e.handler.connected = func(k *Call) error { _, err := gate(k, ""); return err }
		c := e.open("a", "")
		require.Equal(t, "a", e.listIDs(&Audience{}))
		e.hub.Disconnect(&Audience{}, "enough")
		e.settle()
		assert.Equal(t, []string{`{"type":7,"error":"enough"}`, "close 1000"}, c.messages())
		assert.Equal(t, []string{"connected a"}, e.handler.events())
		require.Equal(t, "a", e.listIDs(&Audience{}), "until OnDisconnected has run")
		open()
		e.settle()
		assert.Equal(t, []string{"connected a", "disconnected a: enough"}, e.handler.events())
		c.assertRemoved(t)
	})
}

// What has been received before a Reconnect is executed and answered before the Close message.
func TestReconnectAnswersReceivedCalls(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		gate, open := e.gate()
		e.handler.methods["run"] = gate
		c := e.open("a", "")
		c.send(call("1", "run"), call("2", "echo", 2), call("3", "echo", 3))
		e.settle()
		e.hub.Reconnect(clientAudience("a"))
		e.settle()
		require.Empty(t, c.messages())
		e.send(&Audience{}, "meanwhile")
		open()
		e.settle()
		assert.Equal(t, []string{
			invocationRecord("meanwhile"), result("1", `"passed"`), result("2", "[2]"), result("3", "[3]"), `{"type":7,"allowReconnect":true}`, "close 1000",
		}, c.messages())
		assert.Equal(t, lifetimeEvents("a", nil), e.handler.events())
		c.assertRemoved(t)
	})
}

// However a Disconnect races with other ends, the connection ends once, nothing follows its Close message, and the cause is a truthful one.
func TestDisconnectRacesWithOtherEnds(t *testing.T) {
	ends := map[string]func(e *env, c *client){
		"abort":        func(_ *env, c *client) { c.conn.Abort() },
		"cut":          func(_ *env, c *client) { c.socket.Cut() },
		"client close": func(_ *env, c *client) { c.send(`{"type":7}`) },
		"reconnect":    func(e *env, c *client) { e.hub.Reconnect(clientAudience(c.conn.id)) },
		"disconnect":   func(e *env, c *client) { e.hub.Disconnect(clientAudience(c.conn.id), "reason") },
		"stop":         func(e *env, c *client) { e.sys.actorSystem.Root.Stop(c.conn.PID()) },
		"overflow":     func(_ *env, c *client) { c.conn.overflowed() },
		"shutdown":     func(e *env, _ *client) { _ = e.shutdown() },
	}
	for name, end := range ends {
		inBubble(t, func(t *testing.T, e *env) {
			rounds := 20
			if name == "shutdown" {
				rounds = 1
			}
			for i := range rounds {
				c := e.open(fmt.Sprint(i), "")
				var all sync.WaitGroup
				all.Go(func() { e.hub.Disconnect(clientAudience(c.conn.id), "reason") })
				all.Go(func() { end(e, c) })
				all.Go(func() { _ = e.hub.Send(context.Background(), &Audience{}, "x", nil) })
				all.Wait()
				e.settle()
				c.assertRemoved(t)
				records := without(c.messages(), invocationRecord("x"))
				assert.LessOrEqual(t, len(records), 2, "%s: %q", name, records)
				if len(records) == 2 {
					assert.Contains(t, records[0], `{"type":7`, name)
					assert.Contains(t, records[1], "close ", name)
				}
				ended := slices.DeleteFunc(e.handler.events(), func(s string) bool { return !strings.HasPrefix(s, "disconnected "+c.conn.id+":") })
				assert.Len(t, ended, 1, name)
			}
		})
	}
}

// groupLog is a GroupObserver that checks the order of events of each group.
type groupLog struct {
	t  require.TestingT
	d  *directory
	mu sync.Mutex
	in map[string]map[*Connection]bool
	n  int // groups that have been emptied
}

func (l *groupLog) isMember(group string, c *Connection) bool {
	g := l.d.find(group)
	return g != nil && g.find(c) >= 0 // the lock of the group is held
}

func (l *groupLog) Joined(group string, c *Connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	assert.False(l.t, l.in[group][c], "joined twice")
	assert.False(l.t, l.isMember(group, c), "a member before Joined")
	if l.in[group] == nil {
		l.in[group] = map[*Connection]bool{}
	}
	l.in[group][c] = true
}

func (l *groupLog) Left(group string, c *Connection, last bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	assert.True(l.t, l.in[group][c], "left without having joined")
	delete(l.in[group], c)
	assert.Equal(l.t, len(l.in[group]) == 0, last)
	if last {
		l.n++
	}
}

func TestGroupObserverSeesAllChangesInOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		l := &groupLog{t: t, d: e.hub.groups, in: map[string]map[*Connection]bool{}}
		e.hub.ObserveGroups(l)
		ctx := context.Background()
		var all sync.WaitGroup
		for i := range 16 {
			c := e.open(fmt.Sprint(i), "user")
			all.Go(func() {
				for n := range 60 {
					group := modelGroups[(n*7+i)%len(modelGroups)]
					assert.NoError(t, e.hub.Join(ctx, c.conn.id, group))
					if (n+i)%3 > 0 {
						assert.NoError(t, e.hub.Leave(ctx, c.conn.id, group))
					}
				}
				if i%2 == 0 {
					c.socket.Cut()
				}
			})
		}
		all.Wait()
		e.settle()
		for _, group := range modelGroups {
			assert.Len(t, l.in[group], len(e.hub.membersHere(groupAudience(group))), group)
			for _, c := range connectionsOf(e.hub.membersHere(groupAudience(group))) {
				assert.True(t, l.in[group][c])
			}
		}
		for _, c := range e.clients {
			c.socket.Cut()
		}
		e.settle()
		for _, group := range modelGroups {
			assert.Empty(t, l.in[group])
		}
		assert.GreaterOrEqual(t, l.n, len(modelGroups))
	})
}

// BenchmarkJoinLeave measures a connection that joins a group and leaves it: with watches of other groups, and of the same one.
func BenchmarkJoinLeave(b *testing.B) {
	for _, test := range []struct {
		name  string
		count int
		group func(i int) string
	}{
		{"no watch", 0, nil},
		{"1 watch of another group", 1, func(i int) string { return fmt.Sprint("other", i) }},
		{"100 watches of other groups", 100, func(i int) string { return fmt.Sprint("other", i) }},
		{"1 watch of the group", 1, func(int) string { return "g" }},
		{"100 watches of the group", 100, func(int) string { return "g" }},
	} {
		b.Run(strings.ReplaceAll(test.name, " ", "-"), func(b *testing.B) {
			h := &Hub{groups: newDirectory(func(*group) {})}
			for i := range test.count {
				defer h.Watch(groupAudience(test.group(i))).Stop()
			}
			member, c := bareConnection("member"), bareConnection("c")
			h.groups.join("g", member)
			b.ReportAllocs()
			for b.Loop() {
				h.groups.join("g", c)
				h.groups.leave("g", c)
			}
		})
	}
}
