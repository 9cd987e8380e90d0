package actors

import (
	"fmt"
	"runtime/debug"

	"github.com/troupe-go/troupe/actors/outbox"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// message is a call of client methods on its way: encoded once for each protocol that has receivers.
type message struct {
	hub     *Hub
	id      []byte // of a call that is answered
	key     string
	target  string
	args    []any
	state   map[string]any // of a client of SignalR 2, which the call changes
	packets [encodings]*outbox.Packet
	encoded uint32
	limited bool // it counts against its receivers' OutboxLimit
	policy  outbox.Policy

	from     *nodeCall         // another node has sent it, and encoded it; nil: it is of this one
	envelope []byte            // for other nodes
	rooms    []<-chan struct{} // of nodes that are slow
}

// bytes encodes the call, in a buffer that is given back afterwards. No lock may be held, because the application's marshalers run in it.
func (m *message) bytes(p hubproto.Protocol) (b *buffer, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = &PanicError{Value: reason, Stack: debug.Stack()}
		}
		if err != nil {
			err = fmt.Errorf("hubsys: the arguments of %q cannot be encoded: %w", m.target, err)
		}
	}()
	b = borrowBuffer()
	b.bytes, err = m.append(b.bytes, p)
	return b, err
}

// append appends the encoded call.
func (m *message) append(dst []byte, p hubproto.Protocol) ([]byte, error) {
	if m.state != nil { // which only a client of SignalR 2 has
		if classic, ok := p.(interface {
			AppendCallOfClient(dst []byte, target string, args []any, state map[string]any) ([]byte, error)
		}); ok {
			return classic.AppendCallOfClient(dst, m.target, m.args, m.state)
		}
	}
	return p.AppendInvocation(dst, m.id, m.target, m.args)
}

// encode makes the packets that are wanted and not there yet. Of a message of another node, there are those that it has encoded. No lock may be held,
// as for bytes.
func (m *message) encode(wanted uint32) error {
	for i, p := range m.hub.protocols {
		bit := uint32(1) << i
		if wanted&^m.encoded&bit == 0 {
			continue
		}
		if m.from == nil {
			b, err := m.bytes(p)
			if err != nil {
				return err
			}
			m.packets[i] = m.packet(p, b.bytes)
			b.giveBack()
		} else if encoded := m.from.encodings[i]; encoded != nil {
			m.packets[i] = m.packet(p, encoded)
		}
		m.encoded |= bit
	}
	return nil
}

// packet returns a packet of the encoded call, which it copies.
func (m *message) packet(p hubproto.Protocol, encoded []byte) *outbox.Packet {
	b := append(outbox.Buffer(len(encoded)), encoded...)
	return outbox.NewPacket(b, opcodeOf(p), m.limited).WithPolicy(m.policy, m.key)
}
