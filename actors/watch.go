package actors

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

// Watch tells who is in an audience, and then who comes and goes. Changes that have not been taken are merged, so what it holds is bounded by
// the number of members, however slow the reader is.
type Watch struct {
	sys       *System
	elsewhere *watchElsewhere // nil: only this node is watched
	except    *exception
	perGroup  bool // members are told apart by group, otherwise who is in several groups counts once
	list      *watchers
	names     []string
	changed   chan struct{} // with room for one

	mu     sync.Mutex
	inside map[membership]struct{}
	seats  map[membership]int // memberships by what is told of them
	told   map[membership]struct{}
	news   map[membership]struct{} // whose presence differs from what was told
}

// membership is a connection in a group, for a user. The group is empty where groups are not told apart.
type membership struct {
	group string
	Member
}

// Member is a connection, with the user that it belonged to.
type Member struct {
	Conn      *Connection // nil: another node has it
	Elsewhere string      // its id then
	UserID    string
}

// ID returns the id of the connection.
func (m Member) ID() string {
	if m.Conn == nil {
		return m.Elsewhere
	}
	return m.Conn.id
}

// Change is what has changed in an audience.
type Change struct {
	Group        string // of a watch of all groups
	Joined, Left []Member
}

// watchers are the watches of a hub's groups, of its users, or of everyone.
type watchers struct {
	observer GroupObserver // nil: there is none
	count    atomic.Int32
	mu       sync.RWMutex
	byName   map[string]map[*Watch]struct{} // of everyone: by connection id
	all      map[*Watch]struct{}
}

// GroupObserver is told of all changes of the groups of a hub while they are made, with the group locked: it must not block, nor send to the group.
// A member that becomes another user is one that has left and joins again.
type GroupObserver interface {
	// Joined says that a connection has joined a group. It is not a member yet, so nothing has been sent to it; ChangeMembership has not returned.
	Joined(group string, c *Connection)
	// Left says that a connection has left a group, perhaps as the last one.
	Left(group string, c *Connection, last bool)
}

// ObserveGroups sets the observer of the hub's groups. It is called before the first connection.
func (h *Hub) ObserveGroups(o GroupObserver) { h.groups.watchers.observer = o }

// notify is called for each change, with the group locked.
func (ws *watchers) notify(name string, m Member, in bool) {
	if ws.count.Load() == 0 {
		return
	}
	ws.mu.RLock()
	defer ws.mu.RUnlock()
	for w := range ws.byName[name] {
		w.set(name, m, in)
	}
	for w := range ws.all {
		w.set(name, m, in)
	}
}

// addForAll adds a watch for all names.
func (ws *watchers) addForAll(w *Watch) {
	w.list = ws
	ws.count.Add(1)
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.all == nil {
		ws.all = map[*Watch]struct{}{}
	}
	ws.all[w] = struct{}{}
}

// add adds a watch for names.
func (ws *watchers) add(w *Watch, names []string) {
	w.list, w.names = ws, names
	ws.count.Add(1)
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.byName == nil {
		ws.byName = map[string]map[*Watch]struct{}{}
	}
	for _, name := range names {
		if ws.byName[name] == nil {
			ws.byName[name] = map[*Watch]struct{}{}
		}
		ws.byName[name][w] = struct{}{}
	}
}

func (ws *watchers) remove(w *Watch) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.all, w)
	for _, name := range w.names {
		if delete(ws.byName[name], w); len(ws.byName[name]) == 0 {
			delete(ws.byName, name)
		}
	}
	ws.count.Add(-1)
}

// Watch begins to watch an audience.
func (h *Hub) Watch(to *Audience) *Watch {
	w := h.newWatch(newException(to))
	switch to.Kind {
	case All:
		h.everyone.watchers.addForAll(w)
		h.everyone.show(w)
	case Caller, Connections:
		names := distinct(to.Names)
		if to.Kind == Caller {
			names = []string{to.Conn.id}
		}
		h.everyone.watchers.add(w, names)
		for _, id := range names {
			if c := h.Connection(id); c != nil {
				h.everyone.showSome(w, c)
			}
		}
	default:
		d := h.directory(to.Kind)
		names := distinct(to.Names)
		d.watchers.add(w, names)
		for _, name := range names {
			if g := d.find(name); g != nil {
				g.show(w)
			}
		}
	}
	return w
}

// WatchGroups begins to watch all groups of the hub.
func (h *Hub) WatchGroups() *Watch {
	w := h.newWatch(nil)
	w.perGroup = true
	h.groups.watchers.addForAll(w)
	for _, g := range h.groups.list() {
		g.show(w)
	}
	return w
}

func (h *Hub) newWatch(except *exception) *Watch {
	return &Watch{
		sys: h.sys, except: except, changed: make(chan struct{}, 1),
		inside: map[membership]struct{}{}, seats: map[membership]int{}, told: map[membership]struct{}{}, news: map[membership]struct{}{},
	}
}

// showAtOnce is how many members a watch is told before others can have the lock of the group.
const showAtOnce = 64

// show tells a watch who is in the group. The watch has been added before, so what happens later, it is told as well; and what it has been told
// already does not matter, because the last it is told of a membership is what is so.
func (g *group) show(w *Watch) {
	for some := range slices.Chunk(g.appendMembers(nil), showAtOnce) {
		g.showSome(w, some...)
	}
}

// showSome is show for some connections, of which those do not matter that are no members any more.
func (g *group) showSome(w *Watch, some ...*Connection) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range some {
		if g.find(c) >= 0 {
			w.set(g.nameFor(c), c.member(), true)
		}
	}
}

// member returns the connection with the user that it belongs to now.
func (c *Connection) member() Member { return Member{Conn: c, UserID: c.who.Load().UserID} }

// set says whether a connection is in a group.
func (w *Watch) set(group string, m Member, in bool) {
	if w.except != nil && m.Conn != nil && w.except.has(m.Conn) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	at := membership{group, m}
	if _, was := w.inside[at]; was == in {
		return
	}
	seat := at
	if !w.perGroup {
		seat.group = ""
	}
	if in {
		w.inside[at] = struct{}{}
		w.seats[seat]++
	} else {
		delete(w.inside, at)
		if w.seats[seat]--; w.seats[seat] == 0 {
			delete(w.seats, seat)
		}
	}
	_, told := w.told[seat]
	if present := w.seats[seat] > 0; present == told {
		delete(w.news, seat)
		return
	}
	w.news[seat] = struct{}{}
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// Take returns what has changed since the last call, by group; the first call returns who is there. It does not wait, and returns nothing
// if nothing has changed.
func (w *Watch) Take() []Change {
	w.mu.Lock()
	news := w.news
	w.news = map[membership]struct{}{}
	w.mu.Unlock()
	var changes []Change
	at := map[string]int{}
	for one := range news {
		present, changed := w.tell(one)
		if !changed {
			continue
		}
		i, ok := at[one.group]
		if !ok {
			i = len(changes)
			at[one.group] = i
			changes = append(changes, Change{Group: one.group})
		}
		if present {
			changes[i].Joined = append(changes[i].Joined, one.Member)
		} else {
			changes[i].Left = append(changes[i].Left, one.Member)
		}
	}
	for _, change := range changes {
		sortMembers(change.Joined)
		sortMembers(change.Left)
	}
	slices.SortFunc(changes, func(a, b Change) int { return cmp.Compare(a.Group, b.Group) })
	return changes
}

// tell returns whether somebody is there, and whether that is not what was told before. Groups that change do not wait longer than for one of them.
func (w *Watch) tell(one membership) (present, changed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.news, one) // it may have changed since
	_, told := w.told[one]
	if present = w.seats[one] > 0; present == told {
		return present, false
	}
	if present {
		w.told[one] = struct{}{}
	} else {
		delete(w.told, one)
	}
	return present, true
}

// Wait waits for a change. It returns false if ctx has ended, or if the system has been shut down.
func (w *Watch) Wait(ctx context.Context) bool {
	if ctx.Err() != nil {
		return false
	}
	select {
	case <-w.changed:
		return true
	case <-ctx.Done():
	case <-w.sys.quit:
	}
	return false
}

// Stop ends the watch.
func (w *Watch) Stop() {
	w.list.remove(w)
	if w.elsewhere != nil {
		w.elsewhere.stop()
	}
}

func sortMembers(list []Member) {
	slices.SortFunc(list, func(a, b Member) int { return cmp.Compare(a.ID(), b.ID()) })
}
