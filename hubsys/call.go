package hubsys

import (
	"context"
	"sync"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/actors"
)

// Call is one call of a hub method, or of a lifetime method, see [Hub]. It can be kept for any time, and used concurrently. Its principal is
// that from when the call began: credentials that are refreshed are seen by later calls only.
type Call actors.Call

// CallFrom returns the call whose context ctx is, or is derived from.
func CallFrom(ctx context.Context) (*Call, bool) {
	k := actors.CallOf(ctx)
	return (*Call)(k), k != nil
}

// session is what belongs to a connection on this side of the runtime. Refreshed credentials, and another WebSocket,
// make another one of it.
type session struct {
	identity  actors.Identity // whose value is the session
	principal *Principal
	request   *Request
	first     *session // nil: it is the first one
	items     sync.Map // of the first one
	detailed  bool     // its client gets the texts of all errors

	// Of the first one, and guarded by the lock of connectionLimits:
	counted string // the user that the connection counts for
	ended   bool   // it does not count any more
}

// newSession makes the session of a connection that had another one before, unless former is nil.
func newSession(principal *Principal, request *Request, former *session) *session {
	s := &session{principal: principal, request: request, first: former, counted: principal.UserID}
	if former != nil && former.first != nil {
		s.first = former.first
	}
	s.identity = actors.Identity{UserID: principal.UserID, Expires: principal.Expires, Value: s}
	return s
}

// origin returns the first session of the connection.
func (s *session) origin() *session {
	if s.first != nil {
		return s.first
	}
	return s
}

// sessionOf returns the session that a connection had when a call of it began.
func sessionOf(k *actors.Call) *session { return k.Identity().Value.(*session) }

// sessionNow returns the session that a connection has now.
func sessionNow(c *actors.Connection) *session { return c.Identity().Value.(*session) }

func (c *Call) runtime() *actors.Call { return (*actors.Call)(c) }

func (c *Call) session() *session { return sessionOf(c.runtime()) }

// Method returns the name of the method as clients know it, or "OnConnected", "OnReconnected", "OnDisconnected"
// or "OnAuthenticationRefreshed".
func (c *Call) Method() string { return c.runtime().Method() }

// HubName returns the name of the hub: [HubOptions].Name.
func (c *Call) HubName() string { return c.runtime().Connection().Hub().Name() }

// ConnectionID returns the public id of the connection.
func (c *Call) ConnectionID() string { return c.runtime().Connection().ID() }

// Header returns a header of the hub message that the client has called with, such as traceparent, or an empty string. It is not one of HTTP.
func (c *Call) Header(name string) string { return c.runtime().Header(name) }

// UserID returns the user identifier of the connection, which is empty if it has none.
func (c *Call) UserID() string { return c.runtime().Identity().UserID }

// Principal returns who has opened the connection, with the credentials that it had when the call began. It is never nil.
func (c *Call) Principal() *Principal { return c.session().principal }

// Request returns the request that has opened the connection: the GET of its transport, not the negotiation.
func (c *Call) Request() *Request { return c.session().request }

// IsClassic reports whether the client speaks SignalR 2, see [System.MapClassic].
func (c *Call) IsClassic() bool { return c.runtime().Connection().IsPart() }

// Items belong to the connection, and live as long as it does.
func (c *Call) Items() *sync.Map {
	return &c.session().origin().items
}

// Cleanup has f run when the call is over: when its result has been encoded, or its stream has ended. Functions that were added last run first,
// and all before Close of the hub. When the call is over, f runs at once. A panic in f is logged.
func (c *Call) Cleanup(f func()) { c.runtime().Cleanup(f) }

// Clients chooses who a message goes to, for code that has the call and not the hub, such as a service.
func (c *Call) Clients() CallerClients {
	conn := c.runtime().Connection()
	return CallerClients{clients: clients{hub: hubOf(conn)}, caller: conn}
}

// Groups changes who is in which group, for code that has the call and not the hub.
func (c *Call) Groups() CallerGroups {
	conn := c.runtime().Connection()
	return CallerGroups{groups: groups{hub: hubOf(conn)}, caller: conn}
}

func hubOf(c *actors.Connection) *hub { return c.Hub().Handler().(*hub) }

// Aborted is closed when the connection begins to close. The context of the call goes on then, see [HubOptions.DisconnectGrace].
func (c *Call) Aborted() <-chan struct{} { return c.runtime().Connection().Done() }

// Abort closes the connection. What was sent to it before is still delivered. Nothing that follows is, including the result of this call;
// calls that wait are dropped, and those that run go on. The client is told not to reconnect; one of SignalR 2 is refused when it tries.
func (c *Call) Abort() { c.runtime().Connection().Abort() }

// PID returns the address of this call in the actor system. The call is an actor that lives until it returns: what is sent to it arrives in
// Inbox, stopping it ends its context, and whoever watches it is told when it has returned.
func (c *Call) PID() *actor.PID { return c.runtime().PID() }

// Inbox holds what other actors have sent to the PID, at most 64 messages; a further one is a dead letter. It is closed when the call has
// returned.
func (c *Call) Inbox() <-chan any { return c.runtime().Inbox() }
