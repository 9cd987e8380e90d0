package actors

import (
	"context"
	"fmt"
	"runtime/debug"
)

// Audience is who a Send goes to.
type Audience struct {
	Kind   Kind
	Names  []string    // of connections, groups or users
	Conn   *Connection // of Caller
	Except *Connection
	// ExceptIDs are the ids of connections that are left out.
	ExceptIDs []string
}

// Kind says what the names of an Audience are names of.
type Kind uint8

// The kinds of audiences.
const (
	All Kind = iota
	Caller
	Connections
	Groups
	Users
)

// Send calls a method of clients. It returns when the message is in every outbox, and waits for room in those that are more than half
// full; a ctx that ends then ends the wait, and Send succeeds. It fails if ctx has ended before, if the arguments cannot be encoded, or
// with ErrShutdown.
func (h *Hub) Send(ctx context.Context, to *Audience, target string, args []any) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if h.sys.stopped.Load() {
		return ErrShutdown
	}
	return h.send(ctx, to, &message{hub: h, target: target, args: args}, true)
}

// send delivers a message, and waits for room if it may.
func (h *Hub) send(ctx context.Context, to *Audience, m *message, waits bool) error {
	s := sending{waits: waits, direct: to.Kind == Caller || to.Kind == Connections && len(to.Names) == 1}
	m.limited = !waits || !s.direct
	err := h.deliver(ctx, to, m, &s)
	s.finish(ctx)
	return err
}

func (h *Hub) deliver(ctx context.Context, to *Audience, m *message, s *sending) error {
	except := newException(to)
	fanout := len(to.Names) > smallGroup
	one := func(c *Connection) error {
		if err := m.encode(1 << c.protocol); err != nil {
			return err
		}
		if s.waits && s.direct {
			if err := c.out.waitToPush(ctx); err != nil {
				return err
			}
		}
		s.push(&c.out, m.packets[c.protocol], fanout)
		return nil
	}
	switch to.Kind {
	case All:
		return h.everyone.send(m, except, s)
	case Caller:
		return one(to.Conn)
	case Connections:
		var seen map[*Connection]bool
		if len(to.Names) > 1 {
			seen = make(map[*Connection]bool, min(len(to.Names), 1024))
		}
		for _, id := range to.Names {
			c := h.sys.connections.find(id)
			if c == nil || c.hub != h || seen[c] || except != nil && except.has(c) {
				continue
			}
			if seen != nil {
				seen[c] = true
			}
			if err := one(c); err != nil {
				return err
			}
		}
		return nil
	}
	d := h.groups
	if to.Kind == Users {
		d = h.users
	}
	for _, name := range to.Names {
		if g := d.find(name); g != nil {
			if err := g.send(m, except, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// message is a call of client methods on its way: encoded once for each protocol that has receivers.
type message struct {
	hub     *Hub
	id      []byte // of a call that is answered
	limited bool   // it counts against its receivers' OutboxLimit
	target  string
	args    []any
	packets [MaxProtocols]*packet
	encoded uint32
}

// encode makes the encodings that are wanted and not there yet. The application's marshalers run in it, so no lock may be held.
func (m *message) encode(wanted uint32) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("troupe: the arguments of %q cannot be encoded: %w", m.target, &PanicError{Value: reason, Stack: debug.Stack()})
		}
	}()
	for i, p := range m.hub.protocols {
		if bit := uint32(1) << i; wanted&^m.encoded&bit != 0 {
			b, err := p.AppendInvocation(packetBuffer(128), m.id, m.target, m.args)
			if err != nil {
				return fmt.Errorf("troupe: the arguments of %q cannot be encoded: %w", m.target, err)
			}
			m.packets[i] = newPacket(b, opcodeOf(p))
			m.packets[i].limited = m.limited
			m.encoded |= bit
		}
	}
	return nil
}

// exception is who is left out of a Send.
type exception struct {
	conn *Connection
	ids  map[string]bool
}

func newException(to *Audience) *exception {
	if to.Except == nil && len(to.ExceptIDs) == 0 {
		return nil
	}
	e := &exception{conn: to.Except}
	if len(to.ExceptIDs) > 0 {
		e.ids = make(map[string]bool, len(to.ExceptIDs))
		for _, id := range to.ExceptIDs {
			e.ids[id] = true
		}
	}
	return e
}

func (e *exception) has(c *Connection) bool { return c == e.conn || e.ids[c.id] }
