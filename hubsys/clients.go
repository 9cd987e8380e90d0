package hubsys

import (
	"context"
	"slices"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/actors"
)

// Receiver is who a message goes to: a [Client] or an [Audience]. Tests can put a fake in its place.
type Receiver interface {
	// Send calls a method of the receivers by its name. It returns when the message is queued for each of them.
	//
	// It waits for receivers for which much is pending, so that a loop of sends does not overrun clients that are able to keep up; a client
	// that is slower than the others delays senders for one second in all ([HubOptions.OutboxLimit]). When ctx ends during that wait, Send
	// stops waiting and returns nil, because the message has been queued. Code that must not wait, such as an actor, sends to
	// Client.NoWait or Audience.NoWait.
	//
	// Send fails if there are receivers and the arguments cannot be encoded, with the cause of ctx if that has ended before, or with
	// [ErrShutdown]. If one of several protocols cannot encode the arguments, receivers of others may have got the message. Receivers that
	// do not exist any more are no error.
	Send(ctx context.Context, method string, args ...any) error
}

// Client is one connection. It is made by the methods of [Clients]; the zero value cannot be used.
type Client struct {
	hub *hub
	to  actors.Audience
}

var _ Receiver = Client{}

// Send is described at [Receiver].
func (c Client) Send(ctx context.Context, method string, args ...any) error {
	return c.hub.send(ctx, &c.to, method, args)
}

// NoWait returns the same client for senders that cannot wait: Send only queues, and if the outbox of the client is at its limit, the client is
// disconnected, or what [HubOptions].SlowClients says. Other methods are not affected.
func (c Client) NoWait() Client {
	c.to.NoWait = true
	return c
}

// Join adds the connection to a group, and returns when it is a member. It is no error if it is one already, or if the connection does not
// exist any more. If ctx ends first, Join returns its cause, and the connection may still become a member. A [*PartialError] says
// that it is on none of the nodes that can be reached, or that its node has not answered.
func (c Client) Join(ctx context.Context, group string) error {
	return fromRuntime(c.hub.runtime.ChangeMembership(ctx, &c.to, group, false))
}

// Leave removes the connection from a group, and returns when it is no member any more.
func (c Client) Leave(ctx context.Context, group string) error {
	return fromRuntime(c.hub.runtime.ChangeMembership(ctx, &c.to, group, true))
}

// Groups returns the groups that the connection is in, sorted. It fails with [ErrGone], and with a *[PartialError] if the node that has the
// connection does not answer.
func (c Client) Groups(ctx context.Context) ([]string, error) {
	groups, err := c.hub.runtime.GroupsOf(ctx, &c.to)
	return groups, fromRuntime(err)
}

// Disconnect is Audience.Disconnect for one connection.
func (c Client) Disconnect(ctx context.Context, reason string) error {
	return Audience(c).Disconnect(ctx, reason)
}

// Reconnect is Audience.Reconnect for one connection.
func (c Client) Reconnect(ctx context.Context) error { return Audience(c).Reconnect(ctx) }

// PID returns the address of the connection in the actor system. It takes troupe.v1.Send and Disconnect. Watch is answered with Terminated when the
// connection has ended, at once if it does not exist, or if another node has it.
func (c Client) PID() *actor.PID { return c.hub.runtime.PID(&c.to) }

// Clients chooses among the connections of a hub. Connections, groups and users that do not exist are no error.
type Clients struct{ clients }

// CallerClients chooses among the connections of a hub, from inside a call.
type CallerClients struct {
	clients
	caller *actors.Connection
}

// clients has the methods of both.
type clients struct{ hub *hub }

func (c clients) audience(to actors.Audience) Audience { return Audience{hub: c.hub, to: to} }

// All returns all connections.
func (c clients) All() Audience { return c.audience(actors.Audience{}) }

// AllExcept returns all connections except those with these ids.
func (c clients) AllExcept(connectionIDs ...string) Audience { return c.All().Except(connectionIDs...) }

// Client returns the connection with an id.
func (c clients) Client(connectionID string) Client {
	return Client{hub: c.hub, to: actors.Audience{Kind: actors.Connections, Names: []string{connectionID}}}
}

// Clients returns the connections with these ids. One that is named twice gets a message once.
func (c clients) Clients(connectionIDs ...string) Audience {
	return c.audience(actors.Audience{Kind: actors.Connections, Names: slices.Clone(connectionIDs)})
}

// Group returns the members of a group. Names of groups are compared byte by byte.
func (c clients) Group(name string) Audience {
	return c.audience(actors.Audience{Kind: actors.Groups, Names: []string{name}})
}

// GroupExcept returns the members of a group except those with these ids.
func (c clients) GroupExcept(name string, connectionIDs ...string) Audience {
	return c.Group(name).Except(connectionIDs...)
}

// Groups returns the members of several groups. A member of two of them, or of one that is named twice, gets a message twice.
func (c clients) Groups(names ...string) Audience {
	return c.audience(actors.Audience{Kind: actors.Groups, Names: slices.Clone(names)})
}

// User returns all connections of a user.
func (c clients) User(userID string) Audience {
	return c.audience(actors.Audience{Kind: actors.Users, Names: []string{userID}})
}

// Users returns all connections of these users. Those of a user who is named twice get a message once.
func (c clients) Users(userIDs ...string) Audience {
	return c.audience(actors.Audience{Kind: actors.Users, Names: slices.Clone(userIDs)})
}

// Caller returns the connection that has made the call.
func (c CallerClients) Caller() Client {
	return Client{hub: c.hub, to: actors.Audience{Kind: actors.Caller, Conn: c.caller}}
}

// Others returns all connections except the caller.
func (c CallerClients) Others() Audience { return c.audience(actors.Audience{Except: c.caller}) }

// OthersInGroup returns the members of a group except the caller.
func (c CallerClients) OthersInGroup(name string) Audience {
	return c.audience(actors.Audience{Kind: actors.Groups, Names: []string{name}, Except: c.caller})
}

// Groups changes who is in the groups of a hub. A group exists while it has members. A connection that closes leaves its groups, and is in
// none when it reconnects. That of a client of SignalR 2 is in them when the client has come back, see [Config].Keys.
type Groups struct{ groups }

// CallerGroups changes who is in the groups of a hub, from inside a call.
type CallerGroups struct {
	groups
	caller *actors.Connection
}

// groups has the methods of both.
type groups struct{ hub *hub }

// Add adds a connection to a group, as [Client.Join] does.
func (g groups) Add(ctx context.Context, connectionID, group string) error {
	return clients(g).Client(connectionID).Join(ctx, group)
}

// Remove removes a connection from a group, as [Client.Leave] does.
func (g groups) Remove(ctx context.Context, connectionID, group string) error {
	return clients(g).Client(connectionID).Leave(ctx, group)
}

// Join adds the caller to a group, as [Client.Join] does.
func (g CallerGroups) Join(ctx context.Context, group string) error {
	return g.Add(ctx, g.caller.ID(), group)
}

// Leave removes the caller from a group, as [Client.Leave] does.
func (g CallerGroups) Leave(ctx context.Context, group string) error {
	return g.Remove(ctx, g.caller.ID(), group)
}
