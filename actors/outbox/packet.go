package outbox

import (
	"sync"

	"github.com/troupe-go/troupe/internal/wsframe"
)

// Packet is what a Box queues: whole hub messages in one protocol's encoding, behind room for a WebSocket header.
//
// A packet made by [NewPacket] may be pushed to many boxes. It is immutable, its header is written when it is made, and the garbage
// collector frees it. An own packet belongs to one box: replies are appended to it while it is the last one in the box, and it returns
// to its pool when it has been written.
type Packet struct {
	b        []byte // wsframe.Room bytes, then the messages
	own      bool
	limited  bool
	tracked  bool // the peer acknowledges its messages, if the box keeps them
	policy   Policy
	key      string
	messages int
}

// overhead is what a packet is charged besides its bytes.
const overhead = 64

func (p *Packet) charge() int { return len(p.b) - wsframe.Room + overhead }

// limitedCharge is the part of the charge that counts against the limit.
func (p *Packet) limitedCharge() int {
	if p.limited {
		return p.charge()
	}
	return 0
}

// Buffer returns an empty buffer to append a message of about size bytes to, for [NewPacket].
func Buffer(size int) []byte { return make([]byte, wsframe.Room, wsframe.Room+size) }

// NewPacket makes a packet of one message that was appended to a [Buffer]. If it is limited, it counts against the limit of a box.
func NewPacket(b []byte, opcode byte, limited bool) *Packet {
	p := NewControl(b, opcode)
	p.limited, p.tracked = limited, true
	return p
}

// NewControl makes a packet of one message that peers do not acknowledge: an answer to a handshake, a ping, a close.
func NewControl(b []byte, opcode byte) *Packet {
	wsframe.Put(b, opcode)
	return &Packet{b: b, messages: 1}
}

// Message returns the message that a packet was made of.
func (p *Packet) Message() []byte { return p.b[wsframe.Room:] }

var ownPackets = sync.Pool{New: func() any { return &Packet{b: Buffer(502), own: true, tracked: true} }}

const maxPooled = 64 << 10 // larger buffers are left to the garbage collector

// free returns an own packet to its pool.
func (p *Packet) free() {
	if p.own && cap(p.b) <= maxPooled {
		p.b, p.messages = p.b[:wsframe.Room], 0
		ownPackets.Put(p)
	}
}
