package actors

import (
	"net/url"
	"slices"
	"sync"

	"github.com/asynkron/protoactor-go/actor"
)

// address is a group or a user in the actor system. It is registered when somebody first asks for its PID, and then for as long as the hub
// exists, whether there are members or not. Messages to it are handled on the goroutine that sends them.
type address struct {
	hub *Hub
	to  Audience
	pid *actor.PID

	mu       sync.Mutex
	watchers []groupWatcher
}

// groupWatcher is an actor that watches an address. It is told when the group that it has found there is emptied, even if another one has taken its
// place by then.
type groupWatcher struct {
	pid   *actor.PID
	group *group
}

var _ actor.Process = (*address)(nil)

// addresses are those of all hubs of a System.
type addresses struct {
	mu     sync.RWMutex
	all    map[addressKey]*address
	closed bool // nothing is registered any more
}

type addressKey struct {
	hub  *Hub
	kind Kind
	name string
}

// PID returns the address of an audience: of everyone, of one connection, group or user, with nobody left out. It is nil for any other. That of a
// connection that does not exist is one that nobody listens to.
func (h *Hub) PID(to *Audience) *actor.PID {
	if to.Except != nil || len(to.ExceptIDs) > 0 || len(to.Names) != 1 && to.Kind != All && to.Kind != Caller {
		return nil
	}
	switch to.Kind {
	case All:
		return h.inbox
	case Caller:
		return to.Conn.pid
	case Connections:
		if c := h.Connection(to.Names[0]); c != nil {
			return c.pid
		}
		return actor.NewPID(h.inbox.Address, h.sys.root.Id+"/connections/gone/"+to.Names[0])
	}
	return h.sys.addresses.get(addressKey{h, to.Kind, to.Names[0]}).pid
}

func (as *addresses) find(key addressKey) *address {
	as.mu.RLock()
	defer as.mu.RUnlock()
	return as.all[key]
}

// get returns an address, which it makes if there is none.
func (as *addresses) get(key addressKey) *address {
	if one := as.find(key); one != nil {
		return one
	}
	as.mu.Lock()
	defer as.mu.Unlock()
	one := as.all[key]
	if one == nil {
		h := key.hub
		one = &address{hub: h, to: Audience{Kind: key.kind, Names: []string{key.name}}}
		id := h.sys.root.Id + "/" + h.path() + map[Kind]string{Groups: "groups/", Users: "users/"}[key.kind] + url.PathEscape(key.name)
		if as.closed {
			one.pid = actor.NewPID(h.inbox.Address, id)
			return one
		}
		one.pid, _ = h.sys.actorSystem.ProcessRegistry.Add(one, id)
		if as.all == nil {
			as.all = map[addressKey]*address{}
		}
		as.all[key] = one
	}
	return one
}

// remove takes all addresses out of the actor system.
func (as *addresses) remove(system *actor.ActorSystem) {
	as.mu.Lock()
	all := as.all
	as.all, as.closed = nil, true
	as.mu.Unlock()
	for _, one := range all {
		system.ProcessRegistry.Remove(one.pid)
		one.terminate(func(*group) bool { return true })
	}
}

// emptied is called when the last connection has left a group or a user.
func (h *Hub) emptied(kind Kind, g *group) {
	if one := h.sys.addresses.find(addressKey{h, kind, g.name}); one != nil {
		one.terminate(func(watched *group) bool { return watched == g })
	}
}

// terminate tells those who watch a group that there is nobody left in it.
func (a *address) terminate(isOver func(*group) bool) {
	var over []*actor.PID
	a.mu.Lock()
	a.watchers = slices.DeleteFunc(a.watchers, func(w groupWatcher) bool {
		if isOver(w.group) {
			over = append(over, w.pid)
			return true
		}
		return false
	})
	a.mu.Unlock()
	for _, pid := range over {
		a.hub.sys.sendSystem(pid, &actor.Terminated{Who: a.pid})
	}
}

// forget removes an actor that watches. The lock is held.
func (a *address) forget(pid *actor.PID) {
	a.watchers = slices.DeleteFunc(a.watchers, func(w groupWatcher) bool { return w.pid.Equal(pid) })
}

// SendUserMessage is part of actor.Process.
func (a *address) SendUserMessage(pid *actor.PID, message any) {
	_, body, sender := actor.UnwrapEnvelope(message)
	a.hub.handleForeign(&a.to, pid, body, sender)
}

// SendSystemMessage is part of actor.Process. Watch is answered when the last connection has left, at once if there is none.
func (a *address) SendSystemMessage(_ *actor.PID, message any) {
	switch m := message.(type) {
	case *actor.Watch:
		g := a.hub.directory(a.to.Kind).find(a.to.Names[0])
		a.mu.Lock()
		a.forget(m.Watcher)
		a.watchers = append(a.watchers, groupWatcher{m.Watcher, g})
		a.mu.Unlock()
		if g == nil || g.isEmptied() {
			a.terminate(func(watched *group) bool { return watched == g })
		}
	case *actor.Unwatch:
		a.mu.Lock()
		a.forget(m.Watcher)
		a.mu.Unlock()
	}
}

// Stop is part of actor.Process. Nobody can stop a group or a user.
func (a *address) Stop(*actor.PID) {}
