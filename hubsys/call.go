package hubsys

import (
	"sync"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/transport"
)

// Principal is who has opened a connection.
type Principal struct {
	// UserID is the user identifier, by which Clients.User finds the connections of a user. Empty: none. It is compared byte by byte.
	UserID string
	// Claims is whatever else is known of the user.
	Claims map[string]any
}

// Request is what is kept of the HTTP request that has opened a connection: headers, query, cookies, remote address.
type Request = transport.Request

// Call is one call of a hub method, or of OnConnected or OnDisconnected. It may be kept for as long as one likes, and used
// concurrently; what it says of its connection then is what was true for the call.
type Call actors.Call

// companion is what goes with a connection.
type companion struct {
	principal *Principal
	request   *Request
	items     sync.Map
}

func (c *Call) runtime() *actors.Call { return (*actors.Call)(c) }

func (c *Call) companion() *companion { return c.runtime().Connection().Value().(*companion) }

// ConnectionID is the public id of the connection.
func (c *Call) ConnectionID() string { return c.runtime().Connection().ID() }

// UserID is the user identifier of the connection, empty if it has none.
func (c *Call) UserID() string { return c.runtime().Connection().UserID() }

// Principal is who has opened the connection. It is never nil.
func (c *Call) Principal() *Principal { return c.companion().principal }

// Request is the request that has opened the connection.
func (c *Call) Request() *Request { return c.companion().request }

// Items belong to the connection and live as long as it does.
func (c *Call) Items() *sync.Map { return &c.companion().items }

// Aborted is closed when the connection begins to close. The context of the call goes on then, see [HubOptions.DisconnectGrace].
func (c *Call) Aborted() <-chan struct{} { return c.runtime().Connection().Done() }

// Abort closes the connection. What was sent to it before is still delivered, nothing that follows, the result of this call included;
// calls that wait are dropped, those that run go on. The client is told not to reconnect.
func (c *Call) Abort() { c.runtime().Connection().Abort() }

// PID is the address of this call in the actor system. The call is an actor that lives until it returns: what is sent to it arrives in
// Inbox, stopping it ends its context, and who watches it is told when it has returned.
func (c *Call) PID() *actor.PID { return c.runtime().PID() }

// Inbox holds what other actors have sent to the PID, 64 messages at most; it is closed when the call has returned.
func (c *Call) Inbox() <-chan any { return c.runtime().Inbox() }
