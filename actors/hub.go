package actors

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/actors/outbox"
	"github.com/troupe-go/troupe/internal/link"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// Handler runs the user code of a hub. Invoke, Connected and Disconnected are called on the goroutines of calls and may block.
type Handler interface {
	// Invoke runs an invocation and appends its completion to dst, or nothing if the client wants no answer. It calls Bound as soon as
	// the arguments are decoded.
	Invoke(call *Call, dst []byte) []byte
	// Panicked appends the completion of an invocation whose code panicked or called runtime.Goexit; err is a *PanicError.
	Panicked(call *Call, dst []byte, err error) []byte
	// Connected runs OnConnected. An error refuses the connection.
	Connected(call *Call) error
	// Disconnected runs OnDisconnected. The cause is nil if the connection was closed normally.
	Disconnected(call *Call, cause error)
	// Refreshed runs OnAuthenticationRefreshed.
	Refreshed(call *Call)
	// Reconnected runs OnReconnected, of a session of SignalR 2.
	Reconnected(call *Call) error
	// Ended says that a connection of the hub has ended, and why, as Disconnected does.
	Ended(c *Connection, cause error)
	// Methods lists the methods whose calls are counted apart, see Hub.CallTimes. The others are counted together.
	Methods() []string
	// Describe returns the text that a client gets of an error. It begins with the generic text.
	Describe(generic string, err error) string
}

// Settings are the limits and times of the connections of one endpoint. All of them are set.
type Settings struct {
	MaxMessage       int // bytes of one message from the client, 0: no limit
	Parallel         int // invocations of one client that run at once
	StreamBuffer     int // items of one upload that wait to be taken
	OutboxLimit      int // bytes that wait for one client
	InboundLimit     int // bytes from one client that wait to be handled
	HandshakeTimeout time.Duration
	KeepAlive        time.Duration // between two pings
	ClientTimeout    time.Duration // without a message from a client that has sent a ping
	CloseTimeout     time.Duration // for a client to answer a close
	SendTimeout      time.Duration // without the client taking a byte of what waits for it
	DisconnectGrace  time.Duration // for which calls go on when their client has gone; negative: no limit
	PendingResults   int           // calls of one client that wait for its answers without a slot
	CallRate         int           // calls of one client in a second, with a burst of two seconds; 0: no limit
	UserCallRate     int           // the same, of all connections of a user; 0: no limit
	IdleTimeout      time.Duration // without a message from a client that has never sent a ping; 0: no limit
	Lifetime         time.Duration // of a connection; 0: no limit
	InvokeTimeout    time.Duration // of Invoke with a context without a deadline; 0: no limit
	MaxGroups        int           // that a connection is in
	MaxGroupNames    int           // bytes of the names of these groups
	KeptLimit        int           // bytes that are kept for a client that may come back, see resumption
	IgnoreExpiration bool          // connections outlive the credentials of their users
}

// HubSettings is what is the same for all endpoints of a hub.
type HubSettings struct {
	Policy         outbox.Policy     // for slow clients
	MaxNames       int               // of an audience
	ReconnectOnGap bool              // connections are closed when messages of another node were lost that may have been for them
	Members        hubproto.Protocol // of the connections that ConnectMember opens; nil: there are none
}

// Hub is what the connections of one hub share: their groups, their users, everyone. One hub can have several endpoints.
type Hub struct {
	sys       *System
	name      string
	handler   Handler
	protocols []hubproto.Protocol
	offered   int // how many of them clients can ask for; the others are HubSettings.Members, and JSON for subscribers
	pings     []*outbox.Packet
	everyone  group
	groups    *directory
	users     *directory
	results   results
	settings  HubSettings
	userRates userRates
	inbox     *actor.PID

	// Where there are other nodes. What is closed when they know:
	wanted   <-chan struct{}                   // that this node has the hub
	announce [encodings]func() <-chan struct{} // that they have to encode their messages for a protocol, from its first connection on
	// protocolTopics are wanted by nodes that have connections of a protocol.
	protocolTopics [encodings]string

	calls      map[string]*CallTimes // by method
	otherCalls *CallTimes            // of what is no method
}

// NewHub adds a hub. Its name is unique in the system, and it offers at least one protocol and at most MaxProtocols. The policy is that of sends that have
// none of their own.
func (s *System) NewHub(name string, handler Handler, protocols []hubproto.Protocol, settings HubSettings) (*Hub, error) {
	if len(protocols) == 0 || len(protocols) > MaxProtocols {
		return nil, fmt.Errorf("hubsys: hub %q has %d protocols, not 1 to %d", name, len(protocols), MaxProtocols)
	}
	offered := len(protocols)
	if settings.Members != nil {
		protocols = append(slices.Clip(protocols), settings.Members)
	}
	if !slices.ContainsFunc(protocols[:offered], func(p hubproto.Protocol) bool { return strings.EqualFold(p.Name(), hubproto.JSON.Name()) }) {
		protocols = append(slices.Clip(protocols), hubproto.JSON)
	}
	h := &Hub{sys: s, name: name, handler: handler, protocols: protocols, offered: offered, settings: settings}
	h.groups = newDirectory(func(g *group) { h.emptied(Groups, g) })
	h.users = newDirectory(func(g *group) { h.emptied(Users, g) })
	h.calls, h.otherCalls = map[string]*CallTimes{}, newCallTimes()
	for _, method := range handler.Methods() {
		h.calls[method] = newCallTimes()
	}
	h.everyone.everyone, h.everyone.watchers = true, &watchers{}
	for _, p := range protocols {
		h.pings = append(h.pings, outbox.NewControl(p.Append(outbox.Buffer(16), &hubproto.Message{Type: hubproto.Ping}), opcodeOf(p)))
	}
	if s.nodes != nil {
		s.nodes.addHub(h)
	}
	var err error
	if h.inbox, err = s.spawn(h.path()+"inbox", actor.PropsFromFunc(h.receive, actor.WithMailbox(h.newInbox))); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.hubs = append(s.hubs, h)
	s.mu.Unlock()
	return h, nil
}

// Name returns the name of the hub.
func (h *Hub) Name() string { return h.name }

// Inbox returns the address at which the hub takes a troupe.v1.Send from any actor.
func (h *Hub) Inbox() *actor.PID { return h.inbox }

// Spawn spawns an actor under the hub. It is stopped with the System.
func (h *Hub) Spawn(name string, props *actor.Props) (*actor.PID, error) {
	return h.sys.spawn(h.path()+name, props)
}

// path is what the names of the hub's actors begin with, below the root.
func (h *Hub) path() string { return "hubs/" + url.PathEscape(h.name) + "/" }

// BeforeStop has f called by Shutdown when all connections have ended, and before actors are stopped. It is called before the first connection.
func (h *Hub) BeforeStop(f func(ctx context.Context)) {
	h.sys.mu.Lock()
	defer h.sys.mu.Unlock()
	h.sys.beforeStop = append(h.sys.beforeStop, f)
}

// ActorSystem returns the actor system that the hub lives in.
func (h *Hub) ActorSystem() *actor.ActorSystem { return h.sys.actorSystem }

// Log returns the logger of the System.
func (h *Hub) Log() *slog.Logger { return h.sys.log.With("hub", h.name) }

// Handler returns the handler that the hub was made with.
func (h *Hub) Handler() Handler { return h.handler }

// Connection returns the open connection with an id, or nil.
func (h *Hub) Connection(id string) *Connection {
	return h.sys.connections.find(h, id)
}

// ConnectSocket opens a connection over a socket. Its reading half may be used at once. If it is resumable, and its client knows how, it can go on over
// another socket when it has lost this one.
func (h *Hub) ConnectSocket(id string, who *Identity, socket link.Socket, settings *Settings, resumable bool) (*Connection, error) {
	c := h.newConnection(id, who, settings)
	c.resumable = resumable
	return c, h.sys.connect(c, func() { c.out.AttachSocket(socket) })
}

// ConnectFetcher opens a connection whose output is fetched by requests.
func (h *Hub) ConnectFetcher(id string, who *Identity, fetcher link.Fetcher, settings *Settings) (*Connection, error) {
	c := h.newConnection(id, who, settings)
	return c, h.sys.connect(c, func() { c.out.AttachFetcher(fetcher) })
}

func (h *Hub) newConnection(id string, who *Identity, settings *Settings) *Connection {
	c := &Connection{hub: h, settings: settings, id: id}
	c.identify(who)
	c.calls.slots.limit = int32(min(settings.Parallel, math.MaxInt32))
	c.mailbox.owner = c
	return c
}
