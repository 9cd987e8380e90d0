package actors

import (
	"context"
	"maps"
	"slices"

	"github.com/troupe-go/troupe/actors/outbox"
	"github.com/troupe-go/troupe/hubsys/backplane"
	"github.com/troupe-go/troupe/proto/hubproto"
	nodev1 "github.com/troupe-go/troupe/proto/troupe/node/v1"
)

// publish sends a message to the receivers that other nodes have of what a topic names. It is called before the message is delivered here, so
// that all of them can be waited for together.
func (h *Hub) publish(kind Kind, name string, except *exception, m *message, s *outbox.Sending) error {
	n := h.sys.nodes
	if n == nil || m.from != nil {
		return nil
	}
	topic := h.topic(kind, name)
	if !n.plane.Wanted(topic) {
		if n.loss != nil {
			n.loss(topic)
		}
		return nil
	}
	if m.envelope == nil {
		call := nodeCall{hub: h, waits: s.Waits, limited: m.limited, policy: m.policy, key: m.key}
		if err := m.encodeForNodes(&call.encodings); err != nil {
			return err
		}
		if except != nil {
			call.except = slices.Collect(maps.Keys(except.ids))
		}
		m.envelope = call.encode()
	}
	room, err := n.plane.Publish(topic, m.envelope)
	if room != nil && s.Waits {
		m.rooms = append(m.rooms, room)
	}
	return err
}

// encodeForNodes encodes a message in all protocols that connections of other nodes may speak.
func (m *message) encodeForNodes(all *[encodings][]byte) error {
	spoken := m.hub.spokenElsewhere()
	if m.id != nil { // clients that speak another protocol than those that are offered cannot be asked for a result, nor can that be encoded for them
		spoken &= 1<<m.hub.offered - 1
	}
	if err := m.encode(spoken); err != nil {
		return err
	}
	for i := range m.hub.protocols {
		if spoken&(1<<i) != 0 {
			all[i] = m.packets[i].Message()
		}
	}
	return nil
}

// waitForNodes waits until the nodes that are slow have caught up, or have ceased to take anything.
func (m *message) waitForNodes(ctx context.Context) {
	if len(m.rooms) == 0 {
		return
	}
	beforeWait(ctx)
	for _, room := range m.rooms {
		select {
		case <-room:
		case <-ctx.Done():
			return
		case <-m.hub.sys.quit:
			return
		}
	}
}

// protocolNamed returns the index of a protocol of the hub, or -1.
func (h *Hub) protocolNamed(name string) int {
	return slices.IndexFunc(h.protocols, func(p hubproto.Protocol) bool { return p.Name() == name })
}

// receiveCall delivers a message of another node. It returns what is closed when receivers that are slow have room, if there are some.
// Receivers whose protocol it lacks do not get it.
func (n *nodes) receiveCall(from backplane.NodeID, topic string, hub, encoded []byte) (room <-chan struct{}) {
	n.mu.Lock()
	h := n.hubs[string(hub)]
	n.mu.Unlock()
	if h == nil {
		n.refuse(from, "there is no hub of its name: "+string(hub))
		return nil
	}
	call := nodeCall{hub: h}
	if !call.decode(encoded) {
		n.refuse(from, "it cannot be read")
		return nil
	}
	to := h.audienceOf(topic)
	if to == nil {
		return nil
	}
	to.ExceptIDs = call.except
	m := &message{hub: h, from: &call, limited: call.limited, policy: call.policy, key: call.key}
	s := outbox.Sending{Waits: call.waits, Policy: call.policy}
	_ = h.deliver(n.ctx, to, m, &s) // encodes nothing
	return n.finish(topic, &s)
}

// finish ends a sending without waiting. If there are receivers without room, it returns what is closed when they have some: one goroutine waits for
// those of a topic.
func (n *nodes) finish(topic string, s *outbox.Sending) (room <-chan struct{}) {
	if !s.MustWait() {
		s.Finish(n.ctx)
		return nil
	}
	n.mu.Lock()
	room = n.pressed[topic]
	waits := room == nil && !n.left
	if waits {
		done := make(chan struct{})
		room, n.pressed[topic] = done, done
		n.work.Go(func() {
			s.Finish(n.ctx)
			n.mu.Lock()
			delete(n.pressed, topic)
			n.mu.Unlock()
			close(done)
		})
	}
	n.mu.Unlock()
	if !waits {
		s.Waits = false
		s.Finish(n.ctx)
	}
	return room
}

// publishEnd tells other nodes to close the connections of an audience that they have.
func (h *Hub) publishEnd(of *Audience, reason string, reconnect bool) {
	n := h.sys.nodes
	if n == nil || of.Kind == Caller {
		return
	}
	names := of.Names
	if of.Kind == All {
		names = []string{""}
	}
	var topics []string
	for _, name := range distinct(names) {
		if topic := h.topic(of.Kind, name); n.plane.Wanted(topic) {
			topics = append(topics, topic)
		}
	}
	end := &nodev1.End{Except: of.ExceptIDs, Reason: reason, Reconnect: reconnect}
	_, _ = n.publish(&nodev1.Message{Hub: h.name, Kind: &nodev1.Message_End{End: end}}, topics...) // a small one
}

func (h *Hub) receiveEnd(of *Audience, end *nodev1.End) {
	if of == nil {
		return
	}
	of.ExceptIDs = end.GetExcept()
	if end.GetReconnect() {
		h.reconnectHere(of)
	} else {
		h.disconnectHere(of, end.GetReason())
	}
}
