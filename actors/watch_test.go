package actors

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// watchReader is a watch, and what its reader knows from the changes that it has taken.
type watchReader struct {
	*Watch
	audience watchedAudience
	known    map[membership]struct{}
}

// watchedAudience is an audience that a watchReader watches.
type watchedAudience struct {
	name string
	to   *Audience // nil: all groups
}

func (h *Hub) startReader(of watchedAudience) *watchReader {
	r := &watchReader{audience: of, known: map[membership]struct{}{}}
	if of.to == nil {
		r.Watch = h.WatchGroups()
	} else {
		r.Watch = h.Watch(of.to)
	}
	return r
}

// take applies what has changed to what is known. Nobody may join who is there, or leave who is not.
func (r *watchReader) take(t require.TestingT) (changes []Change) {
	changes = r.Take()
	groups := map[string]bool{}
	for _, change := range changes {
		require.False(t, groups[change.Group], "one change for a group")
		groups[change.Group] = true
		require.NotEmpty(t, slices.Concat(change.Joined, change.Left))
		for _, list := range [][]*Connection{connectionsOf(change.Joined), connectionsOf(change.Left)} {
			require.True(t, slices.IsSortedFunc(list, func(a, b *Connection) int { return strings.Compare(a.id, b.id) }), "sorted")
		}
		for _, m := range change.Joined {
			at := membership{change.Group, m}
			require.NotContains(t, r.known, at, r.audience.name)
			r.known[at] = struct{}{}
		}
		for _, m := range change.Left {
			at := membership{change.Group, m}
			require.Contains(t, r.known, at, r.audience.name)
			delete(r.known, at)
		}
	}
	require.True(t, slices.IsSortedFunc(changes, func(a, b Change) int { return strings.Compare(a.Group, b.Group) }))
	return changes
}

// hasWakeUp reports whether Wait returns at once.
func (r *watchReader) hasWakeUp() bool { return len(r.changed) > 0 }

// requireNoWatches requires that nothing of a watch is left in the hub.
func requireNoWatches(t require.TestingT, h *Hub) {
	for name, list := range map[string]*watchers{"groups": &h.groups.watchers, "users": &h.users.watchers, "everyone": h.everyone.watchers} {
		require.Zero(t, list.count.Load(), name)
		require.Empty(t, list.all, name)
		require.Empty(t, list.byName, name)
	}
}

// watchModel is what a hub should look like.
type watchModel struct {
	e       *env
	clients map[string]*client
	users   map[string]string
	groups  map[string]map[string]bool // ids by group
	readers []*watchReader
}

func newWatchModel(e *env) *watchModel {
	return &watchModel{e: e, clients: map[string]*client{}, users: map[string]string{}, groups: map[string]map[string]bool{}}
}

// members returns who is in an audience, told apart by group for all groups.
func (m *watchModel) members(of watchedAudience) map[membership]struct{} {
	list := map[membership]struct{}{}
	add := func(group, id string) {
		c := m.clients[id].conn
		if of.to == nil || c != of.to.Except && !slices.Contains(of.to.ExceptIDs, id) {
			list[membership{group, c.member()}] = struct{}{}
		}
	}
	for id := range m.clients {
		if of.to != nil && (of.to.Kind == All || of.to.Kind == Connections && slices.Contains(of.to.Names, id) ||
			of.to.Kind == Users && slices.Contains(of.to.Names, m.users[id])) {
			add("", id)
		}
	}
	for group, ids := range m.groups {
		for id := range ids {
			if of.to == nil {
				add(group, id)
			} else if of.to.Kind == Groups && slices.Contains(of.to.Names, group) {
				add("", id)
			}
		}
	}
	return list
}

func (m *watchModel) remove(id string) {
	delete(m.clients, id)
	delete(m.users, id)
	for _, ids := range m.groups {
		delete(ids, id)
	}
}

func (m *watchModel) removeAll(ids []string) {
	for _, id := range ids {
		m.remove(id)
	}
}

// drawOpen draws the id of an open connection, or skips the action if there is none.
func (m *watchModel) drawOpen(t *rapid.T) string {
	if len(m.clients) == 0 {
		t.Skip("no connection")
	}
	return rapid.SampledFrom(slices.Sorted(maps.Keys(m.clients))).Draw(t, "id")
}

func (m *watchModel) drawReader(t *rapid.T) *watchReader {
	if len(m.readers) == 0 {
		t.Skip("no watch")
	}
	return m.readers[rapid.IntRange(0, len(m.readers)-1).Draw(t, "watch")]
}

// requireKnown requires that a reader that has taken everything knows who is there.
func (m *watchModel) requireKnown(t require.TestingT, r *watchReader) {
	want := m.members(r.audience)
	require.Equal(t, len(want), len(r.known), r.audience.name)
	for at := range want {
		require.Contains(t, r.known, at, r.audience.name)
	}
	if r.audience.to == nil {
		return
	}
	listed := m.e.hub.membersHere(r.audience.to)
	require.Len(t, listed, len(r.known), r.audience.name)
	for _, c := range listed {
		require.Contains(t, r.known, membership{"", c}, r.audience.name)
	}
}

var (
	modelIDs       = []string{"a", "b", "c", "d", "e"}
	modelUsers     = []string{"", "ann", "bob"}
	modelGroups    = []string{"g", "h", "i"}
	modelAudiences = []watchedAudience{
		{"all", &Audience{}},
		{"all except", &Audience{ExceptIDs: []string{"b", "nobody"}}},
		{"a group", &Audience{Kind: Groups, Names: []string{"g"}}},
		{"overlapping groups", &Audience{Kind: Groups, Names: []string{"g", "h", "none", "g"}}},
		{"groups except", &Audience{Kind: Groups, Names: []string{"h", "i"}, ExceptIDs: []string{"a", "c"}}},
		{"a user", &Audience{Kind: Users, Names: []string{"ann"}}},
		{"users", &Audience{Kind: Users, Names: []string{"ann", "bob", "ann"}, ExceptIDs: []string{"d"}}},
		{"connections", &Audience{Kind: Connections, Names: []string{"a", "b", "nobody", "a"}}},
		{"all groups", nil},
	}
)

func (m *watchModel) actions(ctx context.Context) map[string]func(*rapid.T) {
	e := m.e
	return map[string]func(*rapid.T){
		"": func(t *rapid.T) {
			for _, r := range m.readers {
				require.True(t, r.hasWakeUp() || len(r.news) == 0, "a change without a wake-up")
				require.LessOrEqual(t, len(r.news), len(r.told)+len(r.seats), "what has not been taken is bounded by the members")
			}
		},
		"open": func(t *rapid.T) {
			id := rapid.SampledFrom(modelIDs).Draw(t, "id")
			if m.clients[id] != nil {
				t.Skip("open")
			}
			user := rapid.SampledFrom(modelUsers).Draw(t, "user")
			m.clients[id], m.users[id] = e.open(id, user), user
		},
		"cut": func(t *rapid.T) {
			id := m.drawOpen(t)
			m.clients[id].socket.Cut()
			e.settle()
			m.remove(id)
		},
		"disconnect": func(t *rapid.T) {
			id := m.drawOpen(t)
			e.hub.Disconnect(&Audience{Kind: Connections, Names: []string{id}}, "enough")
			e.settle()
			m.remove(id)
		},
		"disconnect a group": func(t *rapid.T) {
			group := rapid.SampledFrom(modelGroups).Draw(t, "group")
			e.hub.Disconnect(&Audience{Kind: Groups, Names: []string{group}}, "")
			e.settle()
			m.removeAll(slices.Collect(maps.Keys(m.groups[group])))
		},
		"refresh": func(t *rapid.T) {
			id, user := m.drawOpen(t), rapid.SampledFrom(modelUsers).Draw(t, "user")
			require.NoError(t, m.clients[id].conn.Refresh(ctx, &Identity{UserID: user}))
			m.users[id] = user
		},
		"join": func(t *rapid.T) {
			id, group := m.drawOpen(t), rapid.SampledFrom(modelGroups).Draw(t, "group")
			require.NoError(t, e.hub.Join(ctx, id, group))
			if m.groups[group] == nil {
				m.groups[group] = map[string]bool{}
			}
			m.groups[group][id] = true
		},
		"leave": func(t *rapid.T) {
			id, group := m.drawOpen(t), rapid.SampledFrom(modelGroups).Draw(t, "group")
			require.NoError(t, e.hub.Leave(ctx, id, group))
			delete(m.groups[group], id)
		},
		"watch": func(t *rapid.T) {
			r := e.hub.startReader(rapid.SampledFrom(modelAudiences).Draw(t, "audience"))
			m.readers = append(m.readers, r)
			if rapid.Bool().Draw(t, "take at once") {
				r.take(t)
				m.requireKnown(t, r)
			}
		},
		"take": func(t *rapid.T) {
			r := m.drawReader(t)
			r.take(t)
			m.requireKnown(t, r)
			require.Empty(t, r.take(t), "nothing is told twice")
		},
		"stop": func(t *rapid.T) {
			r := m.drawReader(t)
			r.Stop()
			m.readers = slices.DeleteFunc(m.readers, func(one *watchReader) bool { return one == r })
		},
	}
}

// What a reader has been told, all together, is who is there, whatever happens, whenever the watch begins, and however slow the reader is.
func TestWatchModel(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.checkProperty(func(t *rapid.T) {
			m := newWatchModel(e)
			defer func() {
				for _, r := range m.readers {
					r.Stop()
				}
				for _, c := range m.clients {
					c.socket.Cut()
				}
				e.settle()
				e.clients = nil
			}()
			t.Repeat(m.actions(context.Background()))
			for _, r := range m.readers {
				r.take(t)
				m.requireKnown(t, r)
			}
			for _, c := range m.clients {
				c.socket.Cut()
			}
			e.settle()
			for _, r := range m.readers {
				r.take(t)
				require.Empty(t, r.known, "everybody has gone")
				require.Empty(t, r.told)
				require.Empty(t, r.news)
				require.Empty(t, r.inside)
				require.Empty(t, r.seats)
				r.Stop()
			}
			m.readers, m.clients = nil, nil
			requireNoWatches(t, e.hub)
		})
	})
}

func TestChangesThatAreNotTakenAreMerged(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		ctx := context.Background()
		a, b := e.open("a", ""), e.open("b", "")
		w := e.hub.Watch(&Audience{Kind: Groups, Names: []string{"g", "h"}})
		defer w.Stop()
		assert.Empty(t, w.Take())
		require.NoError(t, e.hub.Join(ctx, "a", "g"))
		require.NoError(t, e.hub.Leave(ctx, "a", "g"))
		assert.Empty(t, w.Take(), "a has come and gone")
		require.NoError(t, e.hub.Join(ctx, "b", "g"))
		require.NoError(t, e.hub.Join(ctx, "a", "g"))
		assert.Equal(t, []Change{{Joined: membersOf(a.conn, b.conn)}}, w.Take())
		require.NoError(t, e.hub.Leave(ctx, "a", "g"))
		require.NoError(t, e.hub.Join(ctx, "a", "g"))
		assert.Empty(t, w.Take(), "a has gone and come")
		require.NoError(t, e.hub.Join(ctx, "a", "h"))
		require.NoError(t, e.hub.Leave(ctx, "a", "g"))
		assert.Empty(t, w.Take(), "a is in one of the groups all the time")
		require.NoError(t, e.hub.Leave(ctx, "a", "h"))
		b.socket.Cut()
		e.settle()
		assert.Equal(t, []Change{{Left: membersOf(a.conn, b.conn)}}, w.Take())
	})
}

func TestWatchOfAllGroupsTellsThemApart(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		ctx := context.Background()
		a := e.open("a", "")
		require.NoError(t, e.hub.Join(ctx, "a", "h"))
		w := e.hub.WatchGroups()
		defer w.Stop()
		require.NoError(t, e.hub.Join(ctx, "a", "g"))
		one := membersOf(a.conn)
		assert.Equal(t, []Change{{Group: "g", Joined: one}, {Group: "h", Joined: one}}, w.Take())
		require.NoError(t, e.hub.Leave(ctx, "a", "h"))
		require.NoError(t, e.hub.Join(ctx, "a", ""))
		assert.Equal(t, []Change{{Group: "", Joined: one}, {Group: "h", Left: one}}, w.Take())
	})
}

func TestWaitEndsWithItsContextAndWithTheSystem(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		ctx, cancel := context.WithCancel(context.Background())
		first, second := e.hub.Watch(&Audience{}), e.hub.WatchGroups()
		results := make(chan bool, 1)
		go func() { results <- first.Wait(ctx) }()
		e.settle()
		require.Empty(t, results)
		cancel()
		require.False(t, <-results)
		go func() { results <- second.Wait(context.Background()) }()
		e.settle()
		require.Empty(t, results)
		require.NoError(t, e.shutdown())
		require.False(t, <-results)
		first.Stop()
		second.Stop()
		requireNoWatches(t, e.hub)
	})
}

// A reader that is told of everyone sees a connection from its handshake until its groups have been left.
func TestWatchSeesConnectionsWhileOnDisconnectedRuns(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		gate, open := e.gate()
		e.handler.disconnected = func(k *Call, _ error) { _, _ = gate(k, "") }
		w := e.hub.Watch(&Audience{})
		defer w.Stop()
		c := e.connect("a", "")
		e.settle()
		require.Empty(t, w.Take(), "before the handshake")
		c.sendHandshake("json")
		e.settle()
		require.Equal(t, []Change{{Joined: membersOf(c.conn)}}, w.Take())
		c.socket.Cut()
		e.settle()
		require.Empty(t, w.Take(), "OnDisconnected runs")
		open()
		e.settle()
		require.Equal(t, []Change{{Left: membersOf(c.conn)}}, w.Take())
	})
}

func TestWatchOfANamedConnectionDoesNotSeeOthers(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		w := e.hub.Watch(&Audience{Kind: Connections, Names: []string{"c1", "c3"}})
		defer w.Stop()
		for i := range 5 {
			e.open(fmt.Sprint("c", i), "")
		}
		require.Equal(t, []Change{{Joined: membersOf(e.clients[1].conn, e.clients[3].conn)}}, w.Take())
		caller := e.hub.Watch(&Audience{Kind: Caller, Conn: e.clients[2].conn})
		defer caller.Stop()
		require.Equal(t, []Change{{Joined: membersOf(e.clients[2].conn)}}, caller.Take())
		others := e.hub.Watch(&Audience{Except: e.clients[2].conn})
		defer others.Stop()
		require.Len(t, others.Take()[0].Joined, 4)
		e.clients[2].socket.Cut()
		e.settle()
		require.Equal(t, []Change{{Left: membersOf(e.clients[2].conn)}}, caller.Take())
		require.Empty(t, others.Take())
		require.Empty(t, w.Take())
	})
}

func TestWatchOfNoNamesSeesNobody(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.open("a", "ann")
		require.NoError(t, e.hub.Join(context.Background(), "a", "g"))
		for _, kind := range []Kind{Connections, Groups, Users} {
			to := &Audience{Kind: kind}
			require.Nil(t, e.hub.PID(to), kind)
			w := e.hub.Watch(to)
			require.Empty(t, w.Take(), kind)
			id := fmt.Sprint("of kind ", kind)
			c := e.open(id, "ann")
			require.NoError(t, e.hub.Join(context.Background(), id, "g"))
			c.socket.Cut()
			e.settle()
			require.Empty(t, w.Take(), kind)
			require.Empty(t, w.changed, kind)
			w.Stop()
		}
		requireNoWatches(t, e.hub)
	})
}
