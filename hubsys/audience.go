package hubsys

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/actors"
)

// Audience is any number of connections: to send to, to list, to watch, to put into groups, to disconnect. It says who is meant; who that is, is
// looked up each time. It is made by the methods of [Clients]; the zero value cannot be used.
type Audience struct {
	hub *hub
	to  actors.Audience
}

var _ Receiver = Audience{}

// Send is described at [Receiver].
func (a Audience) Send(ctx context.Context, method string, args ...any) error {
	return a.hub.send(ctx, &a.to, method, args)
}

// Except returns the audience without the connections with these ids.
func (a Audience) Except(connectionIDs ...string) Audience {
	a.to.ExceptIDs = slices.Concat(a.to.ExceptIDs, connectionIDs)
	return a
}

// NoWait returns the same audience for senders that cannot wait: Send only queues, and a receiver whose outbox is at its limit is disconnected,
// or what [HubOptions].SlowClients says. Other methods are not affected.
func (a Audience) NoWait() Audience {
	a.to.NoWait = true
	return a
}

// Join adds all connections that the audience has now to a group, as [Client.Join] does for one. A [*PartialError] names nodes that could not be reached,
// or have not answered within 5 s: their connections may not have joined.
func (a Audience) Join(ctx context.Context, group string) error {
	return fromRuntime(a.hub.runtime.ChangeMembership(ctx, &a.to, group, false))
}

// Leave removes all connections that the audience has now from a group. The error is that of Join.
func (a Audience) Leave(ctx context.Context, group string) error {
	return fromRuntime(a.hub.runtime.ChangeMembership(ctx, &a.to, group, true))
}

// Member is a connection of an [Audience].
type Member struct{ ConnectionID, UserID string }

func members(of []actors.Member) []Member {
	list := make([]Member, len(of))
	for i, m := range of {
		list[i] = Member{ConnectionID: m.ID(), UserID: m.UserID}
	}
	return list
}

// Members lists the connections, each once, sorted by id. The error can be a [*PartialError]; then the list is what is known without the nodes
// that it names.
func (a Audience) Members(ctx context.Context) ([]Member, error) {
	if err := a.hub.runtime.Check(ctx, &a.to); err != nil {
		return nil, err
	}
	all, missing, err := a.hub.runtime.Members(ctx, &a.to)
	return members(all), partial(missing, err)
}

// Count returns the number of the connections. The error is that of Members.
func (a Audience) Count(ctx context.Context) (int, error) {
	if err := a.hub.runtime.Check(ctx, &a.to); err != nil {
		return 0, err
	}
	n, missing, err := a.hub.runtime.Count(ctx, &a.to)
	return n, partial(missing, err)
}

// partial returns the error of a list that lacks what some nodes know.
func partial(missing []string, err error) error {
	if err != nil || len(missing) == 0 {
		return fromRuntime(err)
	}
	slices.Sort(missing)
	return &PartialError{Missing: missing}
}

// Change is what has changed in an audience.
type Change struct {
	// Group is the group that has changed, for Groups.Watch. It is empty for Audience.Watch.
	Group        string
	Joined, Left []Member
}

// Watch yields who is there, which may be nobody, and then who comes and goes, until ctx ends or the system is shut down. Changes that have
// not been taken yet are merged, so a slow reader gets fewer and larger ones, and does not see who came and went meanwhile.
func (a Audience) Watch(ctx context.Context) iter.Seq[Change] {
	return func(yield func(Change) bool) {
		w := a.hub.runtime.WatchEverywhere(ctx, &a.to)
		defer w.Stop()
		first := w.Take()
		if len(first) == 0 {
			first = []actors.Change{{}}
		}
		if yieldChanges(ctx, first, yield) {
			watch(ctx, w, yield)
		}
	}
}

// Watch yields who is in which group, and then who comes and goes, as [Audience.Watch] does. Each change is one of one group.
func (g groups) Watch(ctx context.Context) iter.Seq[Change] {
	return func(yield func(Change) bool) {
		w := g.hub.runtime.WatchEverywhere(ctx, nil)
		defer w.Stop()
		if yieldChanges(ctx, w.Take(), yield) {
			watch(ctx, w, yield)
		}
	}
}

// watch yields changes until ctx ends, the system is shut down, or yield returns false.
func watch(ctx context.Context, w *actors.Watch, yield func(Change) bool) {
	for w.Wait(ctx) && yieldChanges(ctx, w.Take(), yield) {
	}
}

func yieldChanges(ctx context.Context, changes []actors.Change, yield func(Change) bool) bool {
	for _, c := range changes {
		if ctx.Err() != nil || !yield(Change{Group: c.Group, Joined: members(c.Joined), Left: members(c.Left)}) {
			return false
		}
	}
	return true
}

// Disconnect closes the connections, and returns when nothing more can be sent to them. What was sent before is still delivered. Calls that
// wait are dropped, and those that run go on. Clients are told not to reconnect, and get reason as the error if it is not empty; then
// OnDisconnected gets it as a [*HubError], and otherwise nil. Clients of SignalR 2 cannot be told: they try to reconnect, and are
// refused.
func (a Audience) Disconnect(ctx context.Context, reason string) error {
	if err := a.hub.runtime.Check(ctx, &a.to); err != nil {
		return err
	}
	a.hub.runtime.Disconnect(&a.to, reason)
	return nil
}

// Reconnect closes the connections so that their clients connect again, by which they are authenticated anew. What was received is still
// executed, and what was sent is delivered.
func (a Audience) Reconnect(ctx context.Context) error {
	if err := a.hub.runtime.Check(ctx, &a.to); err != nil {
		return err
	}
	a.hub.runtime.Reconnect(&a.to)
	return nil
}

// PID returns the address of the audience in the actor system if it is all connections, a group, or all connections of a user, with nobody
// left out, and nil otherwise. It takes troupe.v1.Send, ListMembers and Disconnect, that of a group also Join and Leave, from any actor, on
// this node or on another. (That of all connections is the hub's: a Send to it says to whom.) Watch is answered with Terminated when the last
// connection that this node has of it has left; the PID stays valid, and can be watched again. (Audience.Watch tells of connections of all
// nodes.) A group or a user whose PID was asked for stays registered until the System is shut down.
func (a Audience) PID() *actor.PID { return a.hub.runtime.PID(&a.to) }

// PartialError says that some nodes have not answered in time, or cannot be reached. What is returned beside it is what the others know, and what was asked
// for has been done there.
type PartialError struct{ Missing []string }

func (e *PartialError) Error() string {
	return fmt.Sprintf("hubsys: %d nodes have not answered: %s", len(e.Missing), strings.Join(e.Missing, ", "))
}
