package actors

import (
	"sync"

	"github.com/troupe-go/troupe/internal/wsframe"
)

// packet is what an outbox queues: whole hub messages in one protocol's encoding, behind room for a WebSocket header.
//
// A shared packet is immutable, its header is written when it is made, and the garbage collector frees it. An own packet belongs to
// one connection: completions are appended to it while it is the last one in the outbox, and it goes back to its pool when written.
type packet struct {
	b        []byte // wsframe.Room bytes, then the messages
	own      bool
	limited  bool // it counts against OutboxLimit
	messages int
}

// overhead is what a packet is charged besides its bytes.
const overhead = 64

func (p *packet) charge() int { return len(p.b) - wsframe.Room + overhead }

// packetBuffer returns an empty buffer for newPacket.
func packetBuffer(size int) []byte { return make([]byte, wsframe.Room, wsframe.Room+size) }

func newPacket(b []byte, opcode byte) *packet {
	wsframe.Put(b, opcode)
	return &packet{b: b, messages: 1}
}

var ownPackets = sync.Pool{New: func() any { return &packet{b: packetBuffer(502), own: true} }}

const maxPooled = 64 << 10 // larger buffers are left to the garbage collector

func (p *packet) free() {
	if p.own && cap(p.b) <= maxPooled {
		p.b, p.messages = p.b[:wsframe.Room], 0
		ownPackets.Put(p)
	}
}
