package actors

import (
	"context"

	"github.com/troupe-go/troupe/actors/outbox"
)

// Send calls a method of clients. It returns when the message is in every outbox, and waits for room in those that are more than half
// full. If ctx ends then, the wait ends, and Send succeeds. It fails if ctx has ended before, if the arguments cannot be encoded, with
// ErrTooManyNames or with ErrShutdown.
func (h *Hub) Send(ctx context.Context, to *Audience, target string, args []any) error {
	if err := h.Check(ctx, to); err != nil {
		return err
	}
	if h.sys.stopped.Load() {
		return ErrShutdown
	}
	return h.send(ctx, to, &message{hub: h, target: target, args: args, state: to.State})
}

// send delivers a message, and waits for room unless the audience says otherwise.
func (h *Hub) send(ctx context.Context, to *Audience, m *message) error {
	s := outbox.Sending{Waits: !to.NoWait, Direct: to.Kind == Caller || to.Kind == Connections && len(to.Names) == 1}
	m.limited = to.NoWait || !s.Direct
	if s.Policy = to.Policy; s.Policy == outbox.Disconnect {
		s.Policy = h.settings.Policy
	}
	if m.policy = s.Policy; to.Key != "" {
		m.key = m.target + "\x00" + to.Key
	}
	err := h.deliver(ctx, to, m, &s)
	if s.MustWait() {
		beforeWait(ctx)
	}
	s.Finish(ctx)
	m.waitForNodes(ctx)
	return err
}

func (h *Hub) deliver(ctx context.Context, to *Audience, m *message, s *outbox.Sending) error {
	except := newException(to)
	switch to.Kind {
	case All:
		if err := h.publish(All, "", except, m, s); err != nil {
			return err
		}
		return h.everyone.send(m, except, s)
	case Caller:
		if except != nil && except.has(to.Conn) {
			return nil
		}
		return h.deliverTo(ctx, to.Conn, m, s, false)
	case Connections:
		return h.deliverToIDs(ctx, to.Names, except, m, s)
	}
	var seen map[string]bool
	if to.Kind == Users && len(to.Names) > 1 { // a group that is listed twice gets the message twice
		seen = make(map[string]bool, min(len(to.Names), 1024))
	}
	for _, name := range to.Names {
		if seen[name] {
			continue
		}
		if seen != nil {
			seen[name] = true
		}
		if err := h.publish(to.Kind, name, except, m, s); err != nil {
			return err
		}
		if g := h.directory(to.Kind).find(name); g != nil {
			if err := g.send(m, except, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// deliverToIDs delivers to connections, to each of them once.
func (h *Hub) deliverToIDs(ctx context.Context, ids []string, except *exception, m *message, s *outbox.Sending) error {
	var seen map[string]bool
	if len(ids) > 1 {
		seen = make(map[string]bool, min(len(ids), 1024))
	}
	for _, id := range ids {
		c := h.Connection(id)
		if seen[id] || c == nil && h.sys.nodes == nil || except != nil && (except.ids[id] || c != nil && c == except.conn) {
			continue
		}
		if seen != nil {
			seen[id] = true
		}
		if c == nil {
			if err := h.publish(Connections, id, except, m, s); err != nil {
				return err
			}
			continue
		}
		if err := h.deliverTo(ctx, c, m, s, len(ids) > smallGroup); err != nil {
			return err
		}
	}
	return nil
}

func (h *Hub) deliverTo(ctx context.Context, c *Connection, m *message, s *outbox.Sending, fanout bool) error {
	if c.takesBytes(m) {
		return h.deliverBytes(ctx, c, m, s)
	}
	if err := m.encode(1 << c.protocol); err != nil {
		return err
	}
	if s.Waits && s.Direct {
		if err := waitToPush(ctx, c); err != nil {
			return err
		}
	}
	if p := m.packets[c.protocol]; p != nil { // nil: another node has not encoded it
		h.sys.counts.sent.Add(1)
		s.Push(&c.out, p, fanout)
	}
	return nil
}

// takesBytes reports whether a message needs no packet here: it is for this connection alone, and nothing is going to drop it, to take its place or to
// keep it.
func (c *Connection) takesBytes(m *message) bool {
	return !m.limited && m.policy == outbox.Disconnect && m.key == "" && c.resumption == nil
}

// deliverBytes delivers a message without a packet, which saves a fifth of what it costs.
func (h *Hub) deliverBytes(ctx context.Context, c *Connection, m *message, s *outbox.Sending) error {
	var encoded []byte
	if m.from != nil {
		encoded = m.from.encodings[c.protocol]
	} else {
		b, err := m.bytes(c.Protocol())
		if err != nil {
			return err
		}
		defer b.giveBack()
		encoded = b.bytes
	}
	if s.Waits && s.Direct {
		if err := waitToPush(ctx, c); err != nil {
			return err
		}
	}
	if encoded != nil { // nil: another node has not encoded it
		h.sys.counts.sent.Add(1)
		s.PushBytes(&c.out, encoded)
	}
	return nil
}

// waitToPush waits while more than OutboxLimit waits for a connection, before a push that the limit does not count: senders that do not wait
// for room after a push cannot exceed the limit again and again.
func waitToPush(ctx context.Context, c *Connection) error {
	if !c.out.HasBytesAboveLimit() {
		return nil
	}
	beforeWait(ctx)
	c.out.WaitForRoom(ctx.Done())
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// beforeWait is called before a wait with ctx that may be long, for the call that ctx comes from, if it does.
func beforeWait(ctx context.Context) {
	if k := CallOf(ctx); k != nil {
		k.beforeWait()
	}
}
