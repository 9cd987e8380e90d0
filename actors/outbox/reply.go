package outbox

// Reply appends a message to the box's own last packet: a completion, a stream item or what is sent to this connection alone. No limit applies, because
// the client's next call, the next item or the sender waits for room. Unless now is set, the caller writes it later.
func (b *Box) Reply(message []byte, now bool) Replied {
	b.mu.Lock()
	r, c := b.reply(message, now)
	b.mu.Unlock()
	b.wake(c, false)
	return r
}

// ReplyInRoom is Reply with now if the box is not above its mark, and reports whether that is so.
func (b *Box) ReplyInRoom(message []byte) (room bool) {
	b.mu.Lock()
	var c claim
	if room = b.hasRoom(false); room {
		_, c = b.reply(message, true)
	}
	b.mu.Unlock()
	b.wake(c, false)
	return room
}

// reply is Reply with the lock held.
func (b *Box) reply(message []byte, now bool) (r Replied, c claim) {
	if b.phase != open {
		return 0, claim{}
	}
	p := b.queue.last()
	if p == nil || !p.own || p.messages == maxMerged || len(p.b)+len(message) > maxMergedBytes {
		if b.kept != nil { // it may be kept for long, and counts with what it contains
			p = &Packet{b: Buffer(len(message)), own: true, tracked: true}
		} else {
			p = ownPackets.Get().(*Packet)
		}
		b.queue.push(p)
		b.bytes += overhead
	}
	p.b = append(p.b, message...)
	p.messages++
	b.bytes += len(message)
	if b.state == idle {
		r |= Unscheduled
	}
	if p.messages == maxMerged || b.bytes >= maxMergedBytes {
		r |= Enough
	}
	if b.bytes > b.mark() {
		r |= AboveItsMark
	}
	if now {
		c = b.claim()
	}
	return r, c
}

// Replied is what a box looks like behind a reply.
type Replied uint8

// Bits of Replied. A reply to a box that is sealed has none.
const (
	Unscheduled  Replied = 1 << iota // nobody is going to write it, unless now was set
	Enough                           // so much is unwritten that the caller should write it at once
	AboveItsMark                     // see Box.IsAboveMark
)

// Schedule hands replies that their caller has not written to the flusher.
func (b *Box) Schedule() {
	b.mu.Lock()
	c := b.claimPending()
	b.mu.Unlock()
	b.wake(c, false)
}
