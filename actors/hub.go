package actors

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// Handler runs the user's code of a hub. Invoke, Connected and Disconnected are called on the goroutines of calls and may block.
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
	// Describe makes the text that a client gets of an error, from a generic text that it begins with.
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
}

// Hub is what the connections of one hub share: their groups, their users, everyone. One hub can have several endpoints.
type Hub struct {
	sys       *System
	name      string
	handler   Handler
	protocols []hubproto.Protocol
	pings     []*packet
	everyone  group
	groups    *directory
	users     *directory
	results   results
	inbox     *actor.PID
}

// NewHub adds a hub. Its name is unique in the system, and it speaks at least one protocol and at most eight.
func (s *System) NewHub(name string, handler Handler, protocols []hubproto.Protocol) (*Hub, error) {
	if len(protocols) == 0 || len(protocols) > MaxProtocols {
		return nil, fmt.Errorf("troupe: hub %q has %d protocols, not 1 to %d", name, len(protocols), MaxProtocols)
	}
	h := &Hub{sys: s, name: name, handler: handler, protocols: protocols, groups: newDirectory(), users: newDirectory()}
	h.everyone.everyone = true
	for _, p := range protocols {
		h.pings = append(h.pings, newPacket(p.Append(packetBuffer(16), &hubproto.Message{Type: hubproto.Ping}), opcodeOf(p)))
	}
	var err error
	h.inbox, err = s.spawn("hubs/"+name+"/inbox", actor.PropsFromFunc(h.receive, actor.WithMailbox(h.newInbox)))
	return h, err
}

// Inbox is the address at which the hub takes a troupe.v1.Send from any actor.
func (h *Hub) Inbox() *actor.PID { return h.inbox }

// Connect begins a connection. Its reading half may be used at once.
func (h *Hub) Connect(id, userID string, transport Transport, settings *Settings, value any) (*Connection, error) {
	c := &Connection{
		sys: h.sys, hub: h, settings: settings, id: id, userID: userID, value: value,
	}
	c.out.owner, c.out.limit, c.out.opcode = c, int32(min(settings.OutboxLimit, math.MaxInt32)), opcodeOf(hubproto.JSON) // handshakes are text
	switch t := transport.(type) {
	case Socket:
		c.out.socket = t
	case Requests:
		c.out.pull = &pull{requests: t, polls: t.Polls(), ready: make(chan struct{}, 1)}
		c.out.peerTurn = true
	}
	c.calls.limit = int32(min(settings.Parallel, math.MaxInt32))
	c.mailbox.owner = c
	return c, h.sys.connect(c)
}

// Join puts a connection into a group and returns when that is done. A connection that is not there any more is nobody's error.
func (h *Hub) Join(ctx context.Context, id, group string) error {
	return h.member(ctx, id, group, false)
}

// Leave takes a connection out of a group and returns when that is done.
func (h *Hub) Leave(ctx context.Context, id, group string) error {
	return h.member(ctx, id, group, true)
}

func (h *Hub) member(ctx context.Context, id, group string, leave bool) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c := h.sys.connections.find(id)
	if c == nil || c.hub != h {
		return nil
	}
	m := &membership{group: group, leave: leave, done: make(chan struct{})}
	c.post(m)
	select {
	case <-m.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
