package actors

import (
	"fmt"
	"net/url"
	"sync/atomic"

	"github.com/troupe-go/troupe/actors/outbox"
	"github.com/troupe-go/troupe/internal/link"
)

// Opening says what a connection opens with.
type Opening uint8

// The ways to open.
const (
	WithConnected    Opening = iota // OnConnected runs
	WithReconnected                 // OnReconnected runs: the client was connected to a server that has lost it
	WithoutEvents                   // neither runs, and OnDisconnected does not: the client has not listed the hub
	WithoutEventsYet                // the same, until Reconnected is called
)

// sessionPart is what a connection has that is part of a session of SignalR 2. Nil: it is none.
type sessionPart struct {
	observer link.Observer
	kind     outbox.Kind   // what the client receives over
	opening  atomic.Uint32 // an Opening
	groups   []string      // that it has to join
}

// ConnectMember opens a connection that is the part of a session of SignalR 2 in this hub. Its protocol is HubSettings.Members; it opens when
// it gets a handshake, whatever that asks for. Metrics name kind as its transport. The ids of connections of several hubs may be the same.
func (h *Hub) ConnectMember(id string, who *Identity, socket link.Socket, kind outbox.Kind, settings *Settings, observer link.Observer, opening Opening) (*Connection, error) {
	c := h.newConnection(id, who, settings)
	c.part = &sessionPart{observer: observer, kind: kind}
	c.part.opening.Store(uint32(opening))
	return c, h.sys.connect(c, func() { c.out.AttachSocket(socket) })
}

// IsPart reports whether the connection is part of a session of SignalR 2.
func (c *Connection) IsPart() bool { return c.part != nil }

// Rejoin puts the connection into groups: before OnReconnected, if it has not opened.
func (c *Connection) Rejoin(groups []string) { c.post(&rejoining{groups}) }

// rejoining says which groups a client of SignalR 2 is in.
type rejoining struct{ groups []string }

func (*rejoining) refuse() {}

func (c *Connection) onRejoining(m *rejoining) {
	if c.part.groups = m.groups; c.state != handshaking {
		c.rejoin()
	}
}

// rejoin joins the groups that the connection has to be in. It returns what is closed when other nodes know.
func (c *Connection) rejoin() (known []<-chan struct{}) {
	if c.part == nil {
		return nil
	}
	for _, group := range c.part.groups {
		m := &membershipChange{group: group, done: func() {}}
		c.onMembership(m)
		if one := m.known.Load(); one != nil {
			known = append(known, *one)
		}
	}
	c.part.groups = nil
	return known
}

// Close begins to close the connection. End has to follow, for which the reader need not be free before.
func (c *Connection) Close(cause error) { c.post(&closeRequest{cause: cause}) }

// Reconnected runs OnReconnected, in order with the calls of the client.
func (c *Connection) Reconnected() { c.post(&reconnection{}) }

// reconnection says that a client of SignalR 2 has connected again.
type reconnection struct{}

func (*reconnection) refuse() {}

func (c *Connection) onReconnection() {
	if c.state == open {
		c.part.opening.CompareAndSwap(uint32(WithoutEventsYet), uint32(WithReconnected))
	}
	if c.state == open && c.part.hasEvents() {
		c.calls.addEvent(&Call{conn: c, event: reconnected})
		c.start()
	}
}

// reportReconnected runs OnReconnected. Its errors end nothing: they are logged by the handler.
func (c *Connection) reportReconnected(k *Call) { _ = c.hub.handler.Reconnected(k) }

// openingEvent runs the event that the connection opens with.
func (c *Connection) openingEvent(k *Call) error {
	switch {
	case !c.part.hasEvents():
		return nil
	case c.part.isReconnecting():
		return c.hub.handler.Reconnected(k)
	}
	return c.hub.handler.Connected(k)
}

// actorName returns the name of the connection's actor.
func (c *Connection) actorName() string {
	if c.part != nil {
		// With a number, because a session can be opened again with its id while calls of the former one run.
		return fmt.Sprintf("%s-%s-%d", c.id, url.PathEscape(c.hub.name), c.hub.sys.parts.Add(1))
	}
	return c.id
}

// isReconnecting reports whether the connection opens with OnReconnected.
func (m *sessionPart) isReconnecting() bool {
	return m != nil && m.opening.Load() == uint32(WithReconnected)
}

func (m *sessionPart) hasEvents() bool { return m == nil || m.opening.Load() < uint32(WithoutEvents) }

func (m *sessionPart) opened() {
	if m != nil {
		m.observer.Opened()
	}
}

func (m *sessionPart) joined(group string) {
	if m != nil {
		m.observer.Joined(group)
	}
}

func (m *sessionPart) left(group string) {
	if m != nil {
		m.observer.Left(group)
	}
}
