package actors

import (
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/troupe-go/troupe/actors/outbox"
)

// group is the group actor: it fans out. The same actor stands for a user (all their connections) and for everyone.
//
// Its mailbox has no queue: a message, a join or a leave is handled on the goroutine that sends it, one at a time under the group's
// lock. So there is no hop, and all members see the messages of the group in one order. It owns its list of members. It never
// blocks, because a push to an outbox does not. Its size is bounded by the number of connections.
//
// A fan-out to many gives the lock back again and again, so that those who join and leave meanwhile do not wait for its end. Messages do: they have
// a lock of their own. Whoever was a member when the fan-out began, and does not leave, gets the message once, and who has left gets no more of it.
type group struct {
	name      string
	known     <-chan struct{} // closed when other nodes know that it has members; nil: they do, or there are none
	watchers  *watchers
	sending   sync.Mutex // held for a whole fan-out
	mu        sync.Mutex
	members   []*Connection
	pushing   bool                // a fan-out is under way
	reached   int                 // members at the front that it has nothing for any more
	index     map[*Connection]int // of a group that is not small
	everyone  bool                // the members know their indexes themselves; it is never emptied
	emptied   bool                // its last member has left: nobody can join any more
	count     [encodings]int      // members of each protocol
	protocols atomic.Uint32       // the protocols with members, a bit each
}

const (
	// MaxProtocols is how many protocols one hub may offer.
	MaxProtocols = 7
	encodings    = MaxProtocols + 2 // with those of sessions of SignalR 2 and of subscribers
	smallGroup   = 8                // members that need no index, and whose messages go out before fan-outs
)

// find returns c's index among the members, or -1.
func (g *group) find(c *Connection) int {
	if g.everyone {
		if int(c.everyoneIndex) < len(g.members) && g.members[c.everyoneIndex] == c {
			return int(c.everyoneIndex)
		}
		return -1
	}
	if g.index == nil {
		return slices.Index(g.members, c)
	}
	if i, ok := g.index[c]; ok {
		return i
	}
	return -1
}

// join adds a member. It returns false if the group has been emptied.
func (g *group) join(c *Connection) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.emptied {
		return false
	}
	if g.find(c) >= 0 {
		return true
	}
	if o := g.watchers.observer; o != nil {
		observe(c, func() { o.Joined(g.name, c) })
	}
	if g.members = append(g.members, c); g.index == nil && !g.everyone && len(g.members) > smallGroup {
		g.index = map[*Connection]int{}
		for i, member := range g.members {
			g.index[member] = i
		}
	}
	if g.pushing { // which is not for c
		g.put(len(g.members)-1, g.members[g.reached])
		g.put(g.reached, c)
		g.reached++
	} else {
		g.put(len(g.members)-1, c)
	}
	if g.count[c.protocol]++; g.count[c.protocol] == 1 {
		g.protocols.Or(1 << c.protocol)
	}
	g.watchers.notify(g.nameFor(c), c.member(), true)
	return true
}

// put sets the place of a member.
func (g *group) put(i int, c *Connection) {
	g.members[i] = c
	if g.everyone {
		c.everyoneIndex = int32(i)
	} else if g.index != nil {
		g.index[c] = i
	}
}

// changeUser tells who watches that a member belongs to another user than before.
func (g *group) changeUser(c *Connection, before string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.watchers.notify(g.nameFor(c), Member{Conn: c, UserID: before}, false)
	g.watchers.notify(g.nameFor(c), c.member(), true)
	if o := g.watchers.observer; o != nil {
		observe(c, func() { o.Left(g.name, c, false) })
		observe(c, func() { o.Joined(g.name, c) })
	}
}

// isEmptied reports whether the last member has left.
func (g *group) isEmptied() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.emptied
}

// nameFor returns the name by which watches of a member are found.
func (g *group) nameFor(c *Connection) string {
	if g.everyone {
		return c.id
	}
	return g.name
}

// leave removes a member. It returns true if the group has been emptied.
func (g *group) leave(c *Connection) (empty bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := g.find(c)
	if i < 0 {
		return false
	}
	last := len(g.members) - 1
	if g.pushing && i < g.reached { // the last member, which it has still to reach, cannot take this place
		g.reached--
		g.put(i, g.members[g.reached])
		i = g.reached
	}
	if i < last {
		g.put(i, g.members[last])
	}
	g.members[last] = nil
	g.members = g.members[:last]
	if g.index != nil {
		delete(g.index, c)
	}
	if g.count[c.protocol]--; g.count[c.protocol] == 0 {
		g.protocols.And(^(uint32(1) << c.protocol))
	}
	g.emptied = last == 0 && !g.everyone
	g.watchers.notify(g.nameFor(c), c.member(), false)
	if o := g.watchers.observer; o != nil {
		observe(c, func() { o.Left(g.name, c, g.emptied) })
	}
	return g.emptied
}

// observe calls an observer. The change is made even if that panics.
func observe(c *Connection, f func()) {
	defer c.recoverPanic("the observer of the groups panicked")
	f()
}

// size returns the number of members.
func (g *group) size() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.members)
}

// appendMembers appends the members to dst.
func (g *group) appendMembers(dst []*Connection) []*Connection {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append(dst, g.members...)
}

// send pushes m to every member except those that are left out.
func (g *group) send(m *message, except *exception, s *outbox.Sending) error {
	for {
		if err := m.encode(g.protocols.Load()); err != nil {
			return err
		}
		done, err := g.fanOut(m, except, s)
		if done || err != nil {
			return err
		}
	}
}

// fanOut pushes. It returns false if a member has joined for whose protocol m is not encoded yet.
func (g *group) fanOut(m *message, except *exception, s *outbox.Sending) (done bool, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			m.hub.sys.log.Error("a group panicked; the message may not have reached all members", "hub", m.hub.name, "reason", reason, "stack", string(debug.Stack()))
			err = fmt.Errorf("hubsys: sending %q failed: %v", m.target, reason)
		}
	}()
	g.sending.Lock()
	defer g.sending.Unlock()
	more := false
	for done, more = g.pushSome(m, except, s, false); more; {
		_, more = g.pushSome(m, except, s, true)
	}
	return done, nil
}

// pushAtOnce is to how many members a fan-out pushes before others can have the lock.
const pushAtOnce = 256

// pushSome pushes to the first members, or to the next ones if again is set. It returns done as fanOut does, and whether there are more.
func (g *group) pushSome(m *message, except *exception, s *outbox.Sending, again bool) (done, more bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !again {
		if g.protocols.Load()&^m.encoded != 0 {
			return false, false
		}
		g.pushing, g.reached = true, 0
	}
	fanout := len(g.members) > smallGroup
	end := min(g.reached+pushAtOnce, len(g.members))
	sent := int64(0)
	for _, c := range g.members[g.reached:end] {
		if p := m.packets[c.protocol]; p != nil && (except == nil || !except.has(c)) {
			s.Push(&c.out, p, fanout)
			sent++
		}
	}
	m.hub.sys.counts.sent.Add(sent)
	g.reached = end
	g.pushing = end < len(g.members)
	return true, g.pushing
}
