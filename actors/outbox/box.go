package outbox

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Box is the FIFO of everything that goes to one connection. Its methods can be called by any goroutine.
//
// One word says which goroutine may write:
//
//	idle → queued (waits for the flusher, or for a request that fetches) → writing → idle
//	                                                  writing → blocked: a drainer waits for the socket, and then writes everything
//
// A push that finds an idle box hands it to its flusher. A push that finds anything else relies on the goroutine that owns the box, which
// looks again before it gives the box back. Writers and requests use the same two operations, each under the lock: take what is pending,
// at most one turn's worth, and give the box back.
//
// A box keeps two counts. bytes is everything that the peer has not taken; calls, streams and sends to one connection wait by it. limited
// is the part that the limit is about: what fan-outs, and senders that cannot wait, have pushed. So a large result does not make its
// receiver a slow client.
type Box struct {
	owner   Owner
	flusher *Flusher
	link    linkState
	kept    *kept // nil: messages are forgotten when they have been written

	mu      sync.Mutex
	queue   queue
	bytes   int // charged, and not taken by the peer yet
	limited int // of these, what counts against the limit
	waiting *waitNode

	holdingSince time.Duration // since when the peer has held senders, plus 1; 0: it does not now
	held         uint32        // for how many microseconds it has, since the box was last empty
	heldTaken    uint32        // what it had taken when it began to
	taken        uint32        // bytes that the peer has taken in all; it may wrap
	sampled      uint32        // when the rate of the peer was last looked at, in milliseconds
	sampledTaken uint32        // and what it had taken then
	listed       atomic.Uint32 // the flusher's lists that hold an entry of this box
	limit        int32
	state        boxState
	phase        phase
	opcode       byte // of the messages that are sent
	peerTurn     bool // the peer has to take something before more can be written
	withheld     bool // the first message must not be written yet
	overflowed   bool // it was full, and has been sealed for that
	hasDropped   bool // it has dropped a packet, as the policy of that said
	reasoned     bool // it was sealed with a reason, see SealFor
}

// Owner is told what happens to its box. Its methods are called without the lock of the box.
type Owner interface {
	// Overflowed says that the box was full, and has been sealed.
	Overflowed()
	// Broken says that the socket takes nothing any more, and why, unless the socket's own error tells.
	Broken(err error)
	// Over says that nothing more will be written.
	Over()
	// LateTick follows Box.WakeLate within about a millisecond. onTime: not later; quiet: no other goroutine of the program was running
	// or ready to run.
	LateTick(onTime, quiet bool)
}

type boxState uint8

const (
	idle boxState = iota
	queued
	writing
	blocked
)

// phase says how far the end of a box has come.
type phase uint8

const (
	open      phase = iota
	sealed          // nothing can be pushed; what is pending is written
	finishing       // the link's last frame is being written
	over            // the last frame has been written, or nothing ever will be
)

// Result is what became of a push.
type Result uint8

// The results of a push.
const (
	Dropped    Result = iota // the box is sealed
	Queued                   // there is room
	AboveMark                // queued; the box is above its mark: a sender that can wait does so
	AboveLimit               // queued; the box was above its limit before
	Overflow                 // the box was full and has been sealed; its owner is to be told
	Skipped                  // the box is full, and the packet dropped for that
)

// Init prepares a box for use. limit is the number of bytes that may wait, each packet charged with 64 more than it has. The box has no
// link yet.
func (b *Box) Init(owner Owner, flusher *Flusher, limit int, opcode byte) {
	b.owner, b.flusher, b.limit, b.opcode = owner, flusher, int32(min(limit, math.MaxInt32)), opcode
}

// SetOpcode sets the WebSocket opcode of messages, before the first one is pushed.
func (b *Box) SetOpcode(opcode byte) { b.opcode = opcode }

// mark is where senders begin to wait.
func (b *Box) mark() int { return int(b.limit) / 2 }

// Push appends a packet. Packets of a fan-out are written after those of sends to few connections. Each sender that waits may exceed the limit
// by one packet. Others may not, except that an empty box accepts a packet of any size.
func (b *Box) Push(p *Packet, fanout, waits bool) Result {
	result, claimed := b.add(p, waits)
	b.wake(claimed, fanout)
	return result
}

func (b *Box) add(p *Packet, waits bool) (Result, claim) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.phase != open {
		return Dropped, claim{}
	}
	charge, before := p.charge(), b.bytes
	if p.limited {
		if !waits && !b.makeRoom(charge, p.key) {
			if p.policy == Disconnect {
				b.overflow()
				return Overflow, claim{}
			}
			b.countDrop(causeOf(p.policy))
			return Skipped, claim{}
		}
		b.replace(p)
		before = b.limited
		if b.peerTurn && before <= b.mark() && before+charge > b.mark() {
			b.startHolding()
		}
	}
	b.append(p)
	result := Queued
	switch {
	case before > int(b.limit):
		result = AboveLimit
	case before+charge > b.mark():
		result = AboveMark
	}
	return result, b.claim()
}

// append queues a packet. The lock is held, as in all methods that follow unless they take it.
func (b *Box) append(p *Packet) {
	b.queue.push(p)
	b.bytes += p.charge()
	b.limited += p.limitedCharge()
}

// claim says that an idle box has become queued, and whom to wake once the lock is released.
type claim struct {
	claimed bool
	ready   chan struct{} // of the requests that fetch; nil: the flusher
}

// claim makes an idle box queued.
func (b *Box) claim() claim {
	if b.state != idle || !b.hasLink() {
		return claim{}
	}
	b.state = queued
	if b.link.fetch != nil {
		return claim{true, b.link.fetch.ready}
	}
	return claim{claimed: true}
}

// claimPending is claim for a box in which something can be written.
func (b *Box) claimPending() claim {
	if !b.hasOutput() {
		return claim{}
	}
	return b.claim()
}

// hasOutput reports whether a message can be written now.
func (b *Box) hasOutput() bool {
	return !b.withheld && (!b.queue.isEmpty() && !b.awaitsAck() || b.kept != nil && b.kept.ack != nil)
}

// awaitsAck reports whether nothing may be written before the peer has acknowledged something.
func (b *Box) awaitsAck() bool { return b.phase == open && b.kept.isFull() }

// hasLink reports whether there is a link. There is none before the first one, and while a peer may come back over another one.
func (b *Box) hasLink() bool { return b.link.socket != nil || b.link.fetch != nil }

// wake hands a box that has been claimed to the goroutine that writes it. The lock is not held.
func (b *Box) wake(c claim, fanout bool) {
	switch {
	case !c.claimed:
	case c.ready != nil:
		signal(c.ready)
	default:
		b.flusher.add(b, fanout)
	}
}

// PushIfIdle pushes a packet, whatever the limit, if nothing else is on its way.
func (b *Box) PushIfIdle(p *Packet) {
	b.mu.Lock()
	var c claim
	if b.phase == open && b.queue.isEmpty() {
		if c = b.claim(); c.claimed {
			b.append(p)
		}
	}
	b.mu.Unlock()
	b.wake(c, true)
}

// Withhold queues the first message, which is not written before Release.
func (b *Box) Withhold(p *Packet) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.phase == open {
		b.append(p)
		b.withheld = true
	}
}

// Release lets the first message be written.
func (b *Box) Release() {
	b.mu.Lock()
	b.withheld = false
	c := b.claimPending()
	b.mu.Unlock()
	b.wake(c, false)
}

// WakeLate has the owner's LateTick called in a millisecond.
func (b *Box) WakeLate() { b.flusher.addLate(b) }

// Seal appends the last packet, if there is one, and lets nothing follow. Whoever empties the box then ends the link. It returns false if the box
// was sealed already.
func (b *Box) Seal(last *Packet) (first bool) { return b.seal(last, false) }

// SealFor is Seal, and remembers that the last packet says why, which the owner is told later.
func (b *Box) SealFor(last *Packet) (first bool) { return b.seal(last, true) }

// IsSealedFor reports whether SealFor has sealed the box.
func (b *Box) IsSealedFor() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reasoned
}

func (b *Box) seal(last *Packet, reasoned bool) (first bool) {
	b.mu.Lock()
	first = b.phase == open
	b.reasoned = b.reasoned || first && reasoned
	if last != nil && first {
		b.append(last)
	}
	b.phase = max(b.phase, sealed)
	b.dropAck() // nothing stands behind the last packet
	b.withheld = false
	b.notify()
	c := b.claim()
	b.mu.Unlock()
	b.wake(c, false)
	return first
}

// Abandon is for a box whose link is gone: nothing is written any more, except what a writer has taken already.
func (b *Box) Abandon() {
	b.mu.Lock()
	b.abandon()
	b.mu.Unlock()
}

func (b *Box) abandon() {
	b.dropAck()
	b.phase, b.link.pong, b.kept = over, nil, nil
	b.discard()
}

// overflow seals a full box, and drops what is queued.
func (b *Box) overflow() {
	b.phase, b.overflowed = sealed, true
	b.discard()
}

// discard drops what is queued.
func (b *Box) discard() {
	for _, p := range b.queue.packets {
		if p != nil {
			b.uncount(p.charge(), p.limitedCharge())
			p.free()
		}
	}
	b.queue.dropFirst(len(b.queue.packets))
	b.notify()
}

// take moves packets to dst, which is empty: one turn's worth, or with all everything. A packet that is larger than a turn is taken alone.
func (b *Box) take(dst []*Packet, all bool) (t taken) {
	if t.packets = dst; b.kept != nil && b.kept.overdue && !b.withheld {
		b.takeAck(&t, false)
		return t
	}
	n, messages := 0, 0
	for n < len(b.queue.packets) && !b.withheld && !b.awaitsAck() {
		p := b.queue.packets[n]
		if p == nil {
			n++
			continue
		}
		if len(dst) > 0 && !all && (messages+p.messages > maxMerged || t.size+len(p.b) > maxMergedBytes) {
			break
		}
		t.size += len(p.b)
		messages += p.messages
		t.charge += p.charge()
		t.limited += p.limitedCharge()
		dst = append(dst, p)
		n++
		if b.kept != nil {
			b.kept.add(p)
		}
	}
	t.packets = dst
	if !b.withheld {
		b.takeAck(&t, messages == maxMerged)
	}
	b.queue.dropFirst(n)
	return t
}

// taken is what has been taken from a box.
type taken struct {
	packets []*Packet
	size    int // of the packets, with the room for their headers
	charge  int // the bytes that are on the counts for them
	limited int
}

// IsOver reports whether nothing more will be written.
func (b *Box) IsOver() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.phase == over
}

// HasOverflowed reports whether the box was sealed because it was full, which its owner may not have been told yet.
func (b *Box) HasOverflowed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.overflowed
}

// IsAboveMark reports whether the box is more than half full.
func (b *Box) IsAboveMark() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.phase == open && b.bytes > b.mark()
}

// Progress is what a box and its link look like from time to time.
type Progress struct {
	Stalled bool   // bytes are pending, and the peer has to take some before more can be written
	Full    bool   // stalled, and at the limit
	Sealed  bool   // nothing can be pushed any more
	Taken   uint32 // bytes that the peer has taken in all; it may wrap
	Dropped bool   // packets have been dropped, as their policies said
}

// Progress returns the present state.
func (b *Box) Progress() Progress {
	b.mu.Lock()
	defer b.mu.Unlock()
	stalled := b.peerTurn && b.bytes > 0 && b.hasLink() && (b.link.fetch == nil || b.state == writing)
	return Progress{Stalled: stalled, Full: stalled && b.limited >= int(b.limit), Sealed: b.phase != open, Taken: b.taken, Dropped: b.hasDropped}
}

// Pending returns the number of bytes that the peer has not taken, and how many of them count against the limit.
func (b *Box) Pending() (bytes, limited int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes, b.limited
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
