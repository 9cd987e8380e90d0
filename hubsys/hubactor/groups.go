package hubactor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"runtime/debug"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/internal/counter"
	"github.com/troupe-go/troupe/internal/logs"
)

// Joined is a message: a connection joins the group. It is in the mailbox before anything that the connection sends to the group's actor later, and
// before Join returns.
type Joined struct{ hubsys.Member }

// Left is a message: a connection has left the group, or has ended. One that becomes another user ([hubsys.RefreshOptions].AllowUserChange) leaves as
// the former user, and joins as the new one.
type Left struct{ hubsys.Member }

// Groups are the actors beside the groups of a hub.
type Groups struct {
	props  func(group string) *actor.Props
	family *family
	log    *slog.Logger
	panics logs.Limiter    // of the actors, that are logged
	live   counter.Counter // actors that have not stopped

	mu      sync.Mutex
	byGroup map[string]*groupActor
}

var _ actors.GroupObserver = (*Groups)(nil)

// groupActor is the actor of a group.
type groupActor struct {
	groups  *Groups
	name    string
	pid     *actor.PID
	members int                      // of the group; under the lock of Groups
	gone    bool                     // it has stopped; under the same lock
	known   map[string]hubsys.Member // whose Joined the actor has handled; used by the actor alone
	began   bool                     // it has been started once; used by the actor alone
}

// lastWords is for how long a shutdown waits for actors of groups that have not handled the last *Left.
const lastWords = 5 * time.Second

// emptied asks the actor of a group to stop if nobody has joined since.
type emptied struct{}

// PerGroup spawns an actor for each group of a hub, before its first member is in, and stops it when the last one has left and it has handled what
// was sent to it until then. Somebody who joins before that keeps it. It gets *Joined and *Left for each member. If it panics, it loses the
// message and is replaced by a new actor, which gets a *Joined for each member that the former one knew.
//
// Groups for which props returns nil have no actor. props, and the producer in what it returns, run while the group is locked: they must not
// block, nor send to the group. If the actor stops by itself, the next one who joins gets a new one, which knows of nobody else. PerGroup is called once for a hub, before Map.
func PerGroup(hub *hubsys.HubContext, props func(group string) *actor.Props) (*Groups, error) {
	if props == nil {
		return nil, errors.New("hubactor: PerGroup: props is nil")
	}
	f, err := newFamily(hub.Runtime(), "groups", restart{})
	switch {
	case errors.Is(err, actor.ErrNameExists):
		return nil, fmt.Errorf("hubactor: PerGroup: hub %q has actors beside its groups already: %w", hub.Name(), err)
	case err != nil:
		return nil, fmt.Errorf("hubactor: PerGroup: %w", err)
	}
	g := &Groups{props: props, family: f, log: hub.Runtime().Log(), panics: logs.Limiter{Most: loggedPanics}, byGroup: map[string]*groupActor{}}
	hub.Runtime().ObserveGroups(g)
	hub.Runtime().BeforeStop(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, lastWords)
		defer cancel()
		_ = g.live.Wait(ctx)
	})
	return g, nil
}

// Of returns the actor of a group, and false if there is none.
func (g *Groups) Of(group string) (Ref, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if a := g.byGroup[group]; a != nil && a.pid != nil {
		return RefTo(g.family.system, a.pid), true
	}
	return Ref{}, false
}

// Tell sends a message to the actor of a group. It fails with [ErrNoActor].
func (g *Groups) Tell(group string, message any) error {
	to, ok := g.Of(group)
	if !ok {
		return ErrNoActor
	}
	to.Tell(message)
	return nil
}

// Joined is part of actors.GroupObserver.
func (g *Groups) Joined(group string, c *actors.Connection) {
	if g.tellJoined(group, c) {
		return
	}
	a := &groupActor{groups: g, name: group, known: map[string]hubsys.Member{}}
	a.pid = g.spawn(a) // without the lock; nobody else joins or leaves this group meanwhile
	g.mu.Lock()
	if !a.gone {
		g.byGroup[group] = a
	}
	g.mu.Unlock()
	g.tellJoined(group, c)
}

// tellJoined tells the actor of a group of a new member. It returns false if there is none.
func (g *Groups) tellJoined(group string, c *actors.Connection) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.byGroup[group]
	if a == nil {
		return false
	}
	a.members++
	a.tell(&Joined{memberOf(c)})
	return true
}

// Left is part of actors.GroupObserver.
func (g *Groups) Left(group string, c *actors.Connection, last bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.byGroup[group]
	if a == nil {
		return // it has stopped by itself
	}
	a.members--
	a.tell(&Left{memberOf(c)})
	if !last {
		return
	}
	a.members = 0 // it counts from when the actor was spawned, and one that stopped by itself may have had members
	if a.pid == nil {
		delete(g.byGroup, group)
	} else {
		a.tell(&emptied{})
	}
}

func memberOf(c *actors.Connection) hubsys.Member {
	return hubsys.Member{ConnectionID: c.ID(), UserID: c.Identity().UserID}
}

func (a *groupActor) tell(message any) {
	if a.pid != nil {
		a.groups.family.system.Root.Send(a.pid, message)
	}
}

// spawn returns nil if the group has no actor.
func (g *Groups) spawn(a *groupActor) *actor.PID {
	props := g.propsOf(a.name)
	if props == nil {
		return nil
	}
	pid, err := g.family.spawn(context.Background(), props.Clone(actor.WithReceiverMiddleware(a.receive)), url.PathEscape(a.name)+"/"+number())
	if err != nil {
		g.logError("the actor of a group could not be spawned", a.name, "error", logs.Error(err))
		return nil
	}
	g.live.Add(1)
	return pid
}

// logError logs what clients can cause, who may have chosen the name of the group.
func (g *Groups) logError(what, group string, args ...any) {
	g.panics.Log(context.Background(), g.log, slog.LevelError, what, what, append([]any{"group", logs.Clip(group)}, args...)...)
}

func (g *Groups) propsOf(group string) (props *actor.Props) {
	defer func() {
		if reason := recover(); reason != nil {
			g.logError("the props of a group's actor panicked", group, "reason", reason, "stack", string(debug.Stack()))
		}
	}()
	return g.props(group)
}

// receive is the middleware of the actor: it knows the members that the actor knows, tells them to a new one after a panic, and stops the actor
// when the group is empty.
func (a *groupActor) receive(next actor.ReceiverFunc) actor.ReceiverFunc {
	return guarded(a.groups.log, &a.groups.panics, func(c actor.ReceiverContext, envelope *actor.MessageEnvelope) {
		switch m := envelope.Message.(type) {
		case *emptied:
			if a.retire() {
				c.ActorSystem().Root.Stop(c.Self())
			}
			return
		case *actor.Restarting:
			stopTicks(c.ActorSystem(), c.Self())
		case *actor.Started:
			next(c, envelope)
			if a.began {
				for _, member := range a.known {
					next(c, &actor.MessageEnvelope{Message: &Joined{member}})
				}
			}
			a.began = true
			return
		case *Joined:
			next(c, envelope)
			a.known[m.ConnectionID] = m.Member
			return
		case *Left:
			if joined, ok := a.known[m.ConnectionID]; ok {
				m.Member = joined // the connection may belong to another user now
				delete(a.known, m.ConnectionID)
			}
		case *actor.Stopping:
			a.forget()
		case *actor.Stopped:
			defer a.groups.live.Add(-1)
		}
		next(c, envelope)
	})
}

// retire takes the actor out of the list if the group is still empty.
func (a *groupActor) retire() bool {
	a.groups.mu.Lock()
	defer a.groups.mu.Unlock()
	if a.members > 0 {
		return false
	}
	if a.groups.byGroup[a.name] == a {
		delete(a.groups.byGroup, a.name)
	}
	return true
}

// forget takes the actor out of the list when it has stopped for whatever reason. The next connection that joins gets a new one.
func (a *groupActor) forget() {
	a.groups.mu.Lock()
	defer a.groups.mu.Unlock()
	a.gone = true // perhaps before it was in the list
	if a.groups.byGroup[a.name] == a {
		delete(a.groups.byGroup, a.name)
	}
}
