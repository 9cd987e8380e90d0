package hubsys

import (
	"context"
	"sync"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/actors"
)

// Principal is who has opened a connection. It is shared by all calls of the connection, and must not be changed.
type Principal struct {
	// UserID is the user identifier, by which Clients.User finds the connections of a user. Empty: none. It is compared byte by byte.
	UserID string
	// Roles are the roles of the user.
	Roles []string
	// Claims are what a token says of the user.
	Claims map[string]any
	// Value is the application's own: its user record, its session, its tenant.
	Value any
}

// HasRole reports whether the user has a role. It returns false for a nil Principal.
func (p *Principal) HasRole(role string) bool {
	if p == nil {
		return false
	}
	for _, one := range p.Roles {
		if one == role {
			return true
		}
	}
	return false
}

// Call is one call of a hub method, or of OnConnected or OnDisconnected. It can be kept for any time, and used concurrently. Its principal and
// its request are those from when the call began; Items and Aborted are those of the connection.
type Call actors.Call

// CallFrom returns the call whose context ctx is, or is derived from.
func CallFrom(ctx context.Context) (*Call, bool) {
	k := actors.CallOf(ctx)
	return (*Call)(k), k != nil
}

// session is what belongs to a connection on this side of the runtime.
type session struct {
	principal *Principal
	request   *Request
	items     sync.Map
}

func (c *Call) runtime() *actors.Call { return (*actors.Call)(c) }

func (c *Call) session() *session { return c.runtime().Connection().Value().(*session) }

// Method returns the name of the method as clients know it, or "OnConnected" or "OnDisconnected".
func (c *Call) Method() string { return c.runtime().Method() }

// ConnectionID returns the public id of the connection.
func (c *Call) ConnectionID() string { return c.runtime().Connection().ID() }

// UserID returns the user identifier of the connection, which is empty if it has none.
func (c *Call) UserID() string { return c.runtime().Connection().UserID() }

// Principal returns who has opened the connection. It is never nil.
func (c *Call) Principal() *Principal { return c.session().principal }

// Request returns the request that has opened the connection: the GET of its transport, not the negotiation.
func (c *Call) Request() *Request { return c.session().request }

// Items belong to the connection, and live as long as it does.
func (c *Call) Items() *sync.Map { return &c.session().items }

// Clients chooses who a message goes to, for code that has the call and not the hub, such as a service.
func (c *Call) Clients() CallerClients {
	conn := c.runtime().Connection()
	return CallerClients{clients: clients{hub: conn.Hub()}, caller: conn}
}

// Groups changes who is in which group, for code that has the call and not the hub.
func (c *Call) Groups() CallerGroups {
	conn := c.runtime().Connection()
	return CallerGroups{groups: groups{hub: conn.Hub()}, caller: conn}
}

// Aborted is closed when the connection begins to close. The context of the call goes on then, see [HubOptions.DisconnectGrace].
func (c *Call) Aborted() <-chan struct{} { return c.runtime().Connection().Done() }

// Abort closes the connection. What was sent to it before is still delivered. Nothing that follows is, including the result of this call;
// calls that wait are dropped, and those that run go on. The client is told not to reconnect.
func (c *Call) Abort() { c.runtime().Connection().Abort() }

// PID returns the address of this call in the actor system. The call is an actor that lives until it returns: what is sent to it arrives in
// Inbox, stopping it ends its context, and whoever watches it is told when it has returned.
func (c *Call) PID() *actor.PID { return c.runtime().PID() }

// Inbox holds what other actors have sent to the PID, at most 64 messages; a further one is a dead letter. It is closed when the call has
// returned.
func (c *Call) Inbox() <-chan any { return c.runtime().Inbox() }
