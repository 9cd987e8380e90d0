package outbox

import (
	"github.com/troupe-go/troupe/internal/link"
	"github.com/troupe-go/troupe/internal/wsframe"
)

// kept holds the messages of a box that its peer has not acknowledged, so that they can be written again when the peer comes back over another
// link. Messages are numbered from 1 on, in the order in which writers take them.
type kept struct {
	limit   int       // of bytes: when there are more, nothing further is written until the peer acknowledges some
	packets []*Packet // tracked ones
	bytes   int       // that they have
	first   int64     // number of the first message in them, or of the next one that is taken
	next    int64     // number of the next message that is taken
	sent    int64     // number of the last message that was ever taken
	acked   int64     // that of the last one that the peer has acknowledged
	ack     *Packet   // that is to be written, whatever waits
	overdue bool      // it did not fit into the last turn, and has the next one
}

// isFull reports whether the peer has to acknowledge something before more is written. It is nil-safe.
func (k *kept) isFull() bool { return k != nil && k.bytes > k.limit }

func (k *kept) add(p *Packet) {
	if !p.tracked {
		return
	}
	k.next += int64(p.messages)
	k.sent = max(k.sent, k.next-1)
	if k.next-1 <= k.acked { // it was acknowledged while it waited to be written again
		k.first = k.next
		return
	}
	k.packets = append(k.packets, p)
	k.bytes += p.size()
}

// size is the number of bytes of the messages of a packet.
func (p *Packet) size() int { return len(p.b) - wsframe.Room }

// Keep has the box keep what it writes until the peer acknowledges it, and wait for that when more than limit bytes are kept. It is called before
// the first tracked message is pushed.
func (b *Box) Keep(limit int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept = &kept{limit: limit, first: 1, next: 1}
}

// PushAck pushes a packet that acknowledges what the peer has sent. It is written even if nothing else may be; a newer one replaces one that
// has not been written.
func (b *Box) PushAck(p *Packet) {
	b.mu.Lock()
	var c claim
	if b.kept != nil && b.phase == open && b.hasLink() {
		if former := b.kept.ack; former != nil {
			b.bytes -= former.charge()
		}
		b.kept.ack = p
		b.bytes += p.charge()
		c = b.claimPending()
	}
	b.mu.Unlock()
	b.wake(c, false)
}

// AwaitsPeer reports whether nothing is written before the peer has acknowledged something, or has come back over another link.
func (b *Box) AwaitsPeer() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.kept != nil && b.phase == open && (!b.hasLink() || b.kept.isFull())
}

// dropAck forgets an acknowledgement that has not been written.
func (b *Box) dropAck() {
	if b.kept != nil && b.kept.ack != nil {
		b.bytes -= b.kept.ack.charge()
		b.kept.ack, b.kept.overdue = nil, false
	}
}

// takeAck adds the packet that acknowledges to what has been taken. If that is a full turn, the packet has the next one: the peer may wait for it while
// more and more is sent to it.
func (b *Box) takeAck(t *taken, full bool) {
	k := b.kept
	if k == nil || k.ack == nil {
		return
	}
	if k.overdue = full; full {
		return
	}
	t.packets = append(t.packets, k.ack)
	t.size += len(k.ack.b)
	t.charge += k.ack.charge()
	k.ack = nil
}

// Acknowledge says that the peer has received all messages up to a number.
func (b *Box) Acknowledge(number int64) {
	b.mu.Lock()
	k, n := b.kept, 0
	if k == nil {
		b.mu.Unlock()
		return
	}
	number = min(number, k.sent)
	for n < len(k.packets) && k.first+int64(k.packets[n].messages)-1 <= number {
		k.first += int64(k.packets[n].messages)
		k.bytes -= k.packets[n].size()
		n++
	}
	clear(k.packets[:n])
	k.packets = k.packets[n:]      // what is left is not moved for each message
	k.acked = max(k.acked, number) // also for what waits to be written again
	var c claim
	if n > 0 && !k.isFull() && b.hasLink() {
		if b.state == idle {
			b.setPeerTurn(false)
		}
		c = b.claimPending()
	}
	b.mu.Unlock()
	b.wake(c, false)
}

// Detach takes the link away, because it is lost and the peer may come back over another one. What follows is queued. It returns false if the box
// is sealed, or if it keeps nothing.
func (b *Box) Detach() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.kept == nil || b.phase != open {
		return false
	}
	b.detach()
	return true
}

func (b *Box) detach() {
	b.link, b.state = linkState{}, idle
	b.setPeerTurn(true)
}

// Reattach puts another socket under the box. What the peer has not acknowledged is written again, behind what introduce returns for the number of
// the first one of these messages. It returns false if the box is sealed, or if introduce returns nil. Introduce may be the application's code: no
// lock is held for it, and it is called again if the peer has acknowledged something meanwhile.
func (b *Box) Reattach(s link.Socket, introduce func(first int64) *Packet) bool {
	var introduction *Packet
	for first := int64(0); ; {
		b.mu.Lock()
		if b.phase != open {
			b.mu.Unlock()
			return false
		}
		if first == b.kept.first {
			break
		}
		first = b.kept.first
		b.mu.Unlock()
		if introduction = introduce(first); introduction == nil {
			return false
		}
	}
	k := b.kept
	again := make([]*Packet, 0, 1+len(k.packets))
	again = append(again, introduction)
	for _, p := range k.packets {
		again = append(again, p.copied(b.opcode))
	}
	for _, p := range again {
		b.bytes += p.charge()
	}
	b.queue.putBack(again)
	k.packets, k.bytes, k.next = nil, 0, k.first
	b.dropAck() // the introduction has to be first
	b.link, b.state = linkState{socket: s}, idle
	b.setPeerTurn(false)
	c := b.claimPending()
	b.mu.Unlock()
	b.wake(c, false)
	return true
}

// copied returns a packet with the same messages that does not count against the limit again. One of an own packet has bytes of its own: nothing is
// appended to it, and a writer of the former link does not see it.
func (p *Packet) copied(opcode byte) *Packet {
	if !p.own {
		again := *p
		again.limited, again.key = false, ""
		return &again
	}
	one := NewPacket(append(Buffer(len(p.b)), p.b[wsframe.Room:]...), opcode, false) // without the header, which a writer may be writing
	one.messages = p.messages
	return one
}
