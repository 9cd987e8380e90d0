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
type group struct {
	name      string
	known     <-chan struct{} // closed when other nodes know that it has members; nil: they do, or there are none
	watchers  *watchers
	mu        sync.Mutex
	members   []*Connection
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
	g.members = append(g.members, c)
	if g.everyone {
		c.everyoneIndex = int32(len(g.members) - 1)
	} else if g.index != nil {
		g.index[c] = len(g.members) - 1
	} else if len(g.members) > smallGroup {
		g.index = map[*Connection]int{}
		for i, member := range g.members {
			g.index[member] = i
		}
	}
	if g.count[c.protocol]++; g.count[c.protocol] == 1 {
		g.protocols.Or(1 << c.protocol)
	}
	g.watchers.notify(g.nameFor(c), c.member(), true)
	return true
}

// changeUser tells who watches that a member belongs to another user than before.
func (g *group) changeUser(c *Connection, before string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.watchers.notify(g.nameFor(c), Member{Conn: c, UserID: before}, false)
	g.watchers.notify(g.nameFor(c), c.member(), true)
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
	moved := g.members[last]
	g.members[i] = moved
	g.members[last] = nil
	g.members = g.members[:last]
	if g.everyone {
		moved.everyoneIndex = int32(i)
	} else if g.index != nil {
		g.index[moved] = i
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
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.protocols.Load()&^m.encoded != 0 {
		return false, nil
	}
	fanout := len(g.members) > smallGroup
	m.hub.sys.counts.sent.Add(int64(len(g.members)))
	for _, c := range g.members {
		if p := m.packets[c.protocol]; p != nil && (except == nil || !except.has(c)) {
			s.Push(&c.out, p, fanout)
		}
	}
	return true, nil
}
