package actors

import (
	"fmt"
	"runtime/debug"
	"sync"

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

	received bool              // from another node, which has encoded it
	envelope []byte            // for other nodes
	rooms    []<-chan struct{} // of nodes that are slow
}

// scratch are buffers in which messages are encoded, so that what is queued has the size that it needs.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

const maxScratch = 64 << 10 // larger buffers are left to the garbage collector

// withBytes encodes the call and passes it to a function that does not keep it.
func (m *message) withBytes(p hubproto.Protocol, use func(encoded []byte)) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = &PanicError{Value: reason, Stack: debug.Stack()}
		}
		if err != nil {
			err = fmt.Errorf("hubsys: the arguments of %q cannot be encoded: %w", m.target, err)
		}
	}()
	buf := scratch.Get().(*[]byte)
	b, err := m.append((*buf)[:0], p)
	if err != nil {
		return err
	}
	use(b)
	if cap(b) <= maxScratch {
		*buf = b
		scratch.Put(buf)
	}
	return nil
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

// encode makes the encodings that are wanted and not there yet. No lock may be held, because the application's marshalers run in it.
func (m *message) encode(wanted uint32) error {
	if m.received {
		m.encoded |= wanted
		return nil
	}
	for i, p := range m.hub.protocols {
		if bit := uint32(1) << i; wanted&^m.encoded&bit != 0 {
			if err := m.withBytes(p, func(b []byte) {
				m.packets[i] = outbox.NewPacket(append(outbox.Buffer(len(b)), b...), opcodeOf(p), m.limited).WithPolicy(m.policy, m.key)
			}); err != nil {
				return err
			}
			m.encoded |= bit
		}
	}
	return nil
}
