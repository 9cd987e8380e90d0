package actors

import (
	"hash/maphash"
	"maps"
	"slices"
	"sync"
)

// directory holds the groups of a hub, or its users, by name. A group exists while it has members.
//
// No lock of the directory is held while a group is locked, so that a group that is busy with a fan-out delays nothing but itself.
type directory struct {
	watchers watchers
	onEmpty  func(*group) // is called when a group has been emptied
	// Where there are other nodes, these are called for names that get a group, and that have none any more, with the shard locked.
	subscribe   func(name string) (known <-chan struct{})
	unsubscribe func(name string)
	seed        maphash.Seed
	shards      [16]directoryShard
}

type directoryShard struct {
	mu     sync.Mutex
	groups map[string]*group
}

func newDirectory(onEmpty func(*group)) *directory {
	d := &directory{onEmpty: onEmpty, seed: maphash.MakeSeed()}
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

// join puts c into the group of a name, which it makes if there is none. known is closed when other nodes know of the group; nil: they do.
func (d *directory) join(name string, c *Connection) (known <-chan struct{}) {
	s := d.shard(name)
	for {
		s.mu.Lock()
		g := s.groups[name]
		if g == nil {
			g = &group{name: name, watchers: &d.watchers}
			s.groups[name] = g
			if d.subscribe != nil {
				g.known = d.subscribe(name)
			}
		}
		s.mu.Unlock()
		if g.join(c) {
			return g.known
		}
		d.remove(name, g) // it has been emptied since: a new one takes its place
	}
}

// leave removes c from the group of a name, which is removed if it is empty then.
func (d *directory) leave(name string, c *Connection) {
	if g := d.find(name); g != nil && g.leave(c) {
		d.remove(name, g)
		d.onEmpty(g)
	}
}

// list returns all groups.
func (d *directory) list() []*group {
	var all []*group
	for i := range d.shards {
		s := &d.shards[i]
		s.mu.Lock()
		all = slices.AppendSeq(all, maps.Values(s.groups))
		s.mu.Unlock()
	}
	return all
}

func (d *directory) remove(name string, g *group) {
	s := d.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.groups[name] == g {
		delete(s.groups, name)
		if d.unsubscribe != nil {
			d.unsubscribe(name)
		}
	}
}

// connections finds a connection by its hub and id.
type connections struct {
	seed   maphash.Seed
	shards [64]struct {
		mu   sync.RWMutex
		byID map[connectionKey]*Connection
	}
}

// connectionKey names a connection. A client of SignalR 2 has one in each of its hubs, with the same id.
type connectionKey struct {
	hub *Hub
	id  string
}

func newConnections() *connections {
	cs := &connections{seed: maphash.MakeSeed()}
	for i := range cs.shards {
		cs.shards[i].byID = map[connectionKey]*Connection{}
	}
	return cs
}

func (cs *connections) find(h *Hub, id string) *Connection {
	s := &cs.shards[maphash.String(cs.seed, id)%uint64(len(cs.shards))]
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.byID[connectionKey{h, id}]
}

// add adds a connection. known is closed when other nodes know where it is; nil: they do.
func (cs *connections) add(c *Connection) (known <-chan struct{}) {
	s := &cs.shards[maphash.String(cs.seed, c.id)%uint64(len(cs.shards))]
	key := connectionKey{c.hub, c.id}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := c.hub.sys.nodes; n != nil && s.byID[key] == nil {
		known = n.plane.Subscribe(c.hub.topic(Connections, c.id))
	}
	s.byID[key] = c
	return known
}

func (cs *connections) remove(c *Connection) {
	s := &cs.shards[maphash.String(cs.seed, c.id)%uint64(len(cs.shards))]
	s.mu.Lock()
	if key := (connectionKey{c.hub, c.id}); s.byID[key] == c { // a session of SignalR 2 may have been opened again with its id
		delete(s.byID, key)
		if n := c.hub.sys.nodes; n != nil {
			n.plane.Unsubscribe(c.hub.topic(Connections, c.id))
		}
	}
	s.mu.Unlock()
}
