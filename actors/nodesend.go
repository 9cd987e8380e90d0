package actors

import (
	"context"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-go/troupe/actors/outbox"
	"github.com/troupe-go/troupe/proto/hubproto"
	nodev1 "github.com/troupe-go/troupe/proto/troupe/node/v1"
)

// publish sends a message to the receivers that other nodes have of what a topic names. It is called before the message is delivered here, so
// that all of them can be waited for together.
func (h *Hub) publish(kind Kind, name string, except *exception, m *message, s *outbox.Sending) error {
	n := h.sys.nodes
	if n == nil || m.received {
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
		encodings, err := m.encodings()
		if err != nil {
			return err
		}
		call := &nodev1.Call{Encodings: encodings, Waits: s.Waits, Limited: m.limited, Policy: uint32(m.policy), Key: m.key}
		if except != nil {
			call.Except = slices.Collect(maps.Keys(except.ids))
		}
		if m.envelope, err = proto.Marshal(&nodev1.Message{Hub: h.name, Kind: &nodev1.Message_Call{Call: call}}); err != nil {
			return err
		}
	}
	room, err := n.plane.Publish(topic, m.envelope)
	if room != nil && s.Waits {
		m.rooms = append(m.rooms, room)
	}
	return err
}

// encodings returns a message for other nodes, in all protocols that connections there may speak.
func (m *message) encodings() ([]*nodev1.Encoding, error) {
	spoken := m.hub.spokenElsewhere()
	if err := m.encode(spoken); err != nil {
		return nil, err
	}
	var all []*nodev1.Encoding
	for i, p := range m.hub.protocols {
		if spoken&(1<<i) != 0 {
			all = append(all, &nodev1.Encoding{Protocol: p.Name(), Message: m.packets[i].Message()})
		}
	}
	return all, nil
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

// receivedMessage returns a message that another node has encoded. Receivers whose protocol it lacks do not get it.
func (h *Hub) receivedMessage(encodings []*nodev1.Encoding, limited bool, policy outbox.Policy, key string) *message {
	m := &message{hub: h, received: true}
	for _, e := range encodings {
		if i := h.protocolNamed(e.GetProtocol()); i >= 0 {
			b := append(outbox.Buffer(len(e.GetMessage())), e.GetMessage()...)
			m.packets[i] = outbox.NewPacket(b, opcodeOf(h.protocols[i]), limited).WithPolicy(policy, key)
		}
	}
	return m
}

// protocolNamed returns the index of a protocol of the hub, or -1.
func (h *Hub) protocolNamed(name string) int {
	return slices.IndexFunc(h.protocols, func(p hubproto.Protocol) bool { return p.Name() == name })
}

// receiveCall delivers a message of another node. It returns what is closed when receivers that are slow have room, if there are some.
func (h *Hub) receiveCall(topic string, to *Audience, call *nodev1.Call) (room <-chan struct{}) {
	if to == nil {
		return nil
	}
	to.ExceptIDs = call.GetExcept()
	s := outbox.Sending{Waits: call.GetWaits(), Policy: outbox.Policy(call.GetPolicy())}
	m := h.receivedMessage(call.GetEncodings(), call.GetLimited(), s.Policy, call.GetKey())
	_ = h.deliver(h.sys.nodes.ctx, to, m, &s) // encodes nothing
	return h.sys.nodes.finish(topic, &s)
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
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
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
