package actors

import (
	"fmt"
	"hash/maphash"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
)

// group is the group actor: it fans out. The same actor stands for a user (all their connections) and for everyone.
//
// Its mailbox has no queue: a message, a Join, a Leave is handled on the goroutine that sends it, one at a time under the group's
// lock, so that there is no hop and every member sees the group's messages in one order. It owns its list of members. It never
// blocks: a fan-out is pushes to outboxes, which do not. Its bound is the number of connections.
type group struct {
	mu        sync.Mutex
	members   []*Connection
	index     map[*Connection]int // of a group that is not small
	everyone  bool                // the members know their places themselves; it is never given up
	emptied   bool                // its last member has left: nobody can join any more
	count     [MaxProtocols]int   // members of each protocol
	protocols atomic.Uint32       // the protocols with members, a bit each
}

const (
	// MaxProtocols is how many protocols one hub may speak.
	MaxProtocols = 8
	smallGroup   = 8 // members that are found by looking at each, and whose messages go out before fan-outs
)

// find gives c's place among the members, or -1.
func (g *group) find(c *Connection) int {
	if g.everyone {
		if int(c.place) < len(g.members) && g.members[c.place] == c {
			return int(c.place)
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

// join adds a member. It returns false if the group has been given up.
func (g *group) join(c *Connection) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.emptied {
		return false
	}
	if g.find(c) >= 0 {
		return true
	}
	g.members = append(g.members, c)
	if g.everyone {
		c.place = int32(len(g.members) - 1)
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
	return true
}

// leave removes a member. It returns true if the group is empty then, and so given up.
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
		moved.place = int32(i)
	} else if g.index != nil {
		g.index[moved] = i
		delete(g.index, c)
	}
	if g.count[c.protocol]--; g.count[c.protocol] == 0 {
		g.protocols.And(^(uint32(1) << c.protocol))
	}
	g.emptied = last == 0 && !g.everyone
	return g.emptied
}

// send pushes m to every member but those that are left out.
func (g *group) send(m *message, except *exception, s *sending) error {
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

// fanOut pushes. done is false if a member has joined whose protocol is not encoded yet.
func (g *group) fanOut(m *message, except *exception, s *sending) (done bool, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			m.hub.sys.log.Error("a group panicked; the message may not have reached all members", "hub", m.hub.name, "reason", reason, "stack", string(debug.Stack()))
			err = fmt.Errorf("troupe: sending %q failed: %v", m.target, reason)
		}
	}()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.protocols.Load()&^m.encoded != 0 {
		return false, nil
	}
	fanout := len(g.members) > smallGroup
	for _, c := range g.members {
		if except == nil || !except.has(c) {
			s.push(&c.out, m.packets[c.protocol], fanout)
		}
	}
	return true, nil
}

// directory holds the groups of a hub, or its users, by name. A group exists while it has members.
//
// No lock of the directory is held while a group is locked, so that a group that is busy with a fan-out holds up nobody but itself.
type directory struct {
	seed   maphash.Seed
	shards [16]directoryShard
}

type directoryShard struct {
	mu     sync.Mutex
	groups map[string]*group
}

func newDirectory() *directory {
	d := &directory{seed: maphash.MakeSeed()}
	for i := range d.shards {
		d.shards[i].groups = map[string]*group{}
	}
	return d
}

func (d *directory) shard(name string) *directoryShard {
	return &d.shards[maphash.String(d.seed, name)%uint64(len(d.shards))]
}

// find returns the group of a name, or nil.
func (d *directory) find(name string) *group {
	s := d.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.groups[name]
}

// join puts c into the group of a name, which it makes if there is none.
func (d *directory) join(name string, c *Connection) {
	s := d.shard(name)
	for {
		s.mu.Lock()
		g := s.groups[name]
		if g == nil {
			g = &group{}
			s.groups[name] = g
		}
		s.mu.Unlock()
		if g.join(c) {
			return
		}
		s.remove(name, g) // it has become empty since: the next one takes its place
	}
}

// leave takes c out of the group of a name, which is given up if it is empty then.
func (d *directory) leave(name string, c *Connection) {
	if g := d.find(name); g != nil && g.leave(c) {
		d.shard(name).remove(name, g)
	}
}

func (s *directoryShard) remove(name string, g *group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.groups[name] == g {
		delete(s.groups, name)
	}
}

// connections finds a connection by its id.
type connections struct {
	seed   maphash.Seed
	shards [64]struct {
		mu   sync.RWMutex
		byID map[string]*Connection
	}
}

func newConnections() *connections {
	cs := &connections{seed: maphash.MakeSeed()}
	for i := range cs.shards {
		cs.shards[i].byID = map[string]*Connection{}
	}
	return cs
}

func (cs *connections) find(id string) *Connection {
	s := &cs.shards[maphash.String(cs.seed, id)%uint64(len(cs.shards))]
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byID[id]
}

func (cs *connections) add(c *Connection) {
	s := &cs.shards[maphash.String(cs.seed, c.id)%uint64(len(cs.shards))]
	s.mu.Lock()
	s.byID[c.id] = c
	s.mu.Unlock()
}

func (cs *connections) remove(c *Connection) {
	s := &cs.shards[maphash.String(cs.seed, c.id)%uint64(len(cs.shards))]
	s.mu.Lock()
	delete(s.byID, c.id)
	s.mu.Unlock()
}
