package hubsys

import (
	"context"

	"github.com/troupe-go/troupe/actors"
)

// Receiver is who a message goes to: a [Client] or an [Audience].
type Receiver interface {
	// Send calls a method of the receivers by its name. It returns when the message is on its way to each of them; it waits for clients
	// that have much pending and keep taking it, so that a loop of sends does not overrun them, and never for one that does not take
	// anything. It fails if the arguments cannot be encoded, if ctx has ended already, or with [ErrShutdown]. Receivers that are gone are
	// no error.
	Send(ctx context.Context, method string, args ...any) error
}

// Client is one connection.
type Client struct {
	hub *actors.Hub
	to  actors.Audience
}

// Send is described at [Receiver].
func (c Client) Send(ctx context.Context, method string, args ...any) error {
	return c.hub.Send(ctx, &c.to, method, args)
}

// Audience is any number of connections.
type Audience struct {
	hub *actors.Hub
	to  actors.Audience
}

// Send is described at [Receiver].
func (a Audience) Send(ctx context.Context, method string, args ...any) error {
	return a.hub.Send(ctx, &a.to, method, args)
}

var (
	_ Receiver = Client{}
	_ Receiver = Audience{}
)

// Clients chooses among the connections of a hub. Connections, groups and users that do not exist are no error.
type Clients struct{ hub *actors.Hub }

func (c Clients) audience(to actors.Audience) Audience { return Audience{hub: c.hub, to: to} }

// All are all connections.
func (c Clients) All() Audience { return c.audience(actors.Audience{}) }

// AllExcept are all connections but those with these ids.
func (c Clients) AllExcept(connectionIDs ...string) Audience {
	return c.audience(actors.Audience{ExceptIDs: connectionIDs})
}

// Client is the connection with an id.
func (c Clients) Client(connectionID string) Client {
	return Client{hub: c.hub, to: actors.Audience{Kind: actors.Connections, Names: []string{connectionID}}}
}

// Clients are the connections with these ids; one that is named twice is one.
func (c Clients) Clients(connectionIDs ...string) Audience {
	return c.audience(actors.Audience{Kind: actors.Connections, Names: connectionIDs})
}

// Group are the members of a group. Names of groups are compared byte by byte.
func (c Clients) Group(name string) Audience { return c.Groups(name) }

// GroupExcept are the members of a group but those with these ids.
func (c Clients) GroupExcept(name string, connectionIDs ...string) Audience {
	return c.audience(actors.Audience{Kind: actors.Groups, Names: []string{name}, ExceptIDs: connectionIDs})
}

// Groups are the members of several groups. Who is in two of them gets the message twice.
func (c Clients) Groups(names ...string) Audience {
	return c.audience(actors.Audience{Kind: actors.Groups, Names: names})
}

// User are all connections of a user.
func (c Clients) User(userID string) Audience { return c.Users(userID) }

// Users are all connections of these users.
func (c Clients) Users(userIDs ...string) Audience {
	return c.audience(actors.Audience{Kind: actors.Users, Names: userIDs})
}

// CallerClients chooses among the connections of a hub, from inside a call.
type CallerClients struct {
	Clients
	caller *actors.Connection
}

// Caller is the connection that has made the call.
func (c CallerClients) Caller() Client {
	return Client{hub: c.hub, to: actors.Audience{Kind: actors.Caller, Conn: c.caller}}
}

// Others are all connections but the caller.
func (c CallerClients) Others() Audience { return c.audience(actors.Audience{Except: c.caller}) }

// OthersInGroup are the members of a group but the caller.
func (c CallerClients) OthersInGroup(name string) Audience {
	return c.audience(actors.Audience{Kind: actors.Groups, Names: []string{name}, Except: c.caller})
}

// Groups changes who is in the groups of a hub. A group exists while it has members; a connection that closes leaves its groups by
// itself, and is in none when it reconnects.
type Groups struct{ hub *actors.Hub }

// Add puts a connection into a group, and returns when it is a member. That it is one already, or that the connection is gone, is no
// error; the end of ctx is.
func (g Groups) Add(ctx context.Context, connectionID, group string) error {
	return g.hub.Join(ctx, connectionID, group)
}

// Remove takes a connection out of a group, and returns when it is no member any more.
func (g Groups) Remove(ctx context.Context, connectionID, group string) error {
	return g.hub.Leave(ctx, connectionID, group)
}
