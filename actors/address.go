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
	watchers []*actor.PID
}

var _ actor.Process = (*address)(nil)

// addresses are those of all hubs of a System.
type addresses struct {
	mu  sync.RWMutex
	all map[addressKey]*address
}

type addressKey struct {
	hub  *Hub
	kind Kind
	name string
}

// PID returns the address of an audience: of everyone, of one connection, group or user, with nobody left out. It is nil for any other. That of a
// connection that does not exist is one that nobody listens to.
func (h *Hub) PID(to *Audience) *actor.PID {
	if to.Except != nil || len(to.ExceptIDs) > 0 || len(to.Names) > 1 {
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
		id := h.sys.root.Id + "/hubs/" + h.name + map[Kind]string{Groups: "/groups/", Users: "/users/"}[key.kind] + url.PathEscape(key.name)
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
	defer as.mu.Unlock()
	for _, one := range as.all {
		system.ProcessRegistry.Remove(one.pid)
		one.terminate()
	}
	as.all = nil
}

// emptied is called when the last connection has left a group or a user.
func (h *Hub) emptied(kind Kind, name string) {
	if one := h.sys.addresses.find(addressKey{h, kind, name}); one != nil {
		one.terminate()
	}
}

// terminate tells those who watch that there is nobody left.
func (a *address) terminate() {
	a.mu.Lock()
	watchers := a.watchers
	a.watchers = nil
	a.mu.Unlock()
	for _, watcher := range watchers {
		a.hub.sys.sendSystem(watcher, &actor.Terminated{Who: a.pid})
	}
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
		a.mu.Lock()
		a.watchers = append(slices.DeleteFunc(a.watchers, m.Watcher.Equal), m.Watcher)
		a.mu.Unlock()
		if a.hub.directory(a.to.Kind).find(a.to.Names[0]) == nil {
			a.terminate()
		}
	case *actor.Unwatch:
		a.mu.Lock()
		a.watchers = slices.DeleteFunc(a.watchers, m.Watcher.Equal)
		a.mu.Unlock()
	}
}

// Stop is part of actor.Process. Nobody can stop a group or a user.
func (a *address) Stop(*actor.PID) {}
