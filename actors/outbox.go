package actors

import (
	"sync"
	"sync/atomic"
	"time"
)

// outbox is one FIFO of everything that goes to a connection. It knows nothing of the connection but its owner's verbs, and carries its
// output over a link: a socket that is written to, or requests that fetch.
//
// One word says who may write:
//
//	idle → queued (waits for the flusher, or for a request that fetches) → writing → idle
//	                                                  writing → blocked: a drainer owns it until the socket has taken everything
//
// A push that finds idle hands the outbox to its flusher; a push that finds anything else relies on whoever owns it, who looks again
// before giving it back. Writers and requests use the same two operations, each under the lock: take what is pending, at most one
// turn's worth, and give back.
//
// Two counts are kept. bytes is everything that the peer has not taken; calls, streams and direct sends wait for their client by it.
// limited is the part of it that OutboxLimit is about: what fan-outs, and senders that cannot wait, have pushed. So a large result does
// not make its receiver a slow client.
type outbox struct {
	owner   boxOwner
	socket  Socket // nil: its output is fetched
	pull    *pull
	flusher *flusher

	mu      sync.Mutex
	queue   []*packet
	bytes   int // charged and not yet taken by the peer
	limited int // of these, what counts against the limit
	pong    *[]byte
	waiting *waitNode // who waits for room

	since time.Duration // since when it does so now, plus 1; 0: it does not
	taken uint32        // bytes taken in all, which may wrap: the heartbeat sees by it whether the link moves

	held        uint32        // for how many milliseconds the peer has held senders, since the outbox was last empty
	judged      uint32        // when it was last seen how much the peer takes, in milliseconds
	judgedTaken uint32        // what had been taken then
	listed      atomic.Uint32 // the flusher's lists that hold an entry of it
	limit       int32
	state       boxState
	phase       boxPhase
	opcode      byte // of the messages that are sent
	peerTurn    bool // the peer has to take something before more can be written
	withheld    bool // the first message is not to be written yet
	overflowed  bool // it was full: that is what has sealed it, whoever tells the owner first
}

// boxOwner is the connection, as its outbox sees it. The methods are called without the outbox's lock.
type boxOwner interface {
	// boxOverflowed says that the outbox was full and has been sealed.
	boxOverflowed()
	// boxBroken says that the socket takes nothing any more, and why, if it is not its own error.
	boxBroken(err error)
	// boxOver says that nothing more will be written.
	boxOver()
	// lateLook comes a millisecond or more after flusher.addLate. onTime: no later than that; quiet: no goroutine of the program was running or
	// about to run.
	lateLook(onTime, quiet bool)
}

type boxState uint8

const (
	boxIdle boxState = iota
	boxQueued
	boxWriting
	boxBlocked
)

// boxPhase says how far the end of an outbox has come.
type boxPhase uint8

const (
	boxOpen      boxPhase = iota
	boxSealed             // nothing can be pushed; what is pending is written
	boxFinishing          // the link's last frame is being written: nothing follows it
	boxOver               // the last frame has been taken, or nothing ever will be
)

// Bits of listed: the flusher's lists that the outbox is on.
const (
	listDirect uint32 = 1 << iota
	listFanout
	listLate
)

// pushed is what became of a push.
type pushed uint8

const (
	pushDropped  pushed = iota // the outbox is sealed
	pushQueued                 // there is room
	pushAbove                  // queued, above the mark: the sender waits if it can
	pushOver                   // queued, above the limit, where it was before: a sender that does not wait meets the policy
	pushOverflow               // the outbox was full and has been sealed; its owner is to be told
)

// mark is where senders begin to wait.
func (o *outbox) mark() int { return int(o.limit) / 2 }

// push appends a packet. Unless it is part of a fan-out it is written before those that are. Only a sender that waits lifts the limit, by
// one message of its own.
func (o *outbox) push(p *packet, fanout, waits bool) pushed {
	result, wake := o.add(p, waits)
	if wake {
		o.wake(fanout)
	}
	return result
}

func (o *outbox) add(p *packet, waits bool) (result pushed, wake bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.phase != boxOpen {
		return pushDropped, false
	}
	charge, before, count := p.charge(), o.bytes, o.bytes
	if p.limited {
		before = o.limited
		if !waits && before > 0 && before+charge > int(o.limit) {
			o.overflow()
			return pushOverflow, false
		}
		o.limited += charge
		count = o.limited
		if o.peerTurn && before <= o.mark() && count > o.mark() {
			o.startHolding()
		}
	} else {
		count += charge
	}
	o.queue = append(o.queue, p)
	o.bytes += charge
	switch {
	case before > int(o.limit):
		result = pushOver
	case count > o.mark():
		result = pushAbove
	default:
		result = pushQueued
	}
	return result, o.claim()
}

// claim makes an idle outbox queued, and reports whether it has to be handed to its flusher. The lock is held.
func (o *outbox) claim() bool {
	if o.state != boxIdle {
		return false
	}
	o.state = boxQueued
	return true
}

// wake hands a queued outbox to whoever writes it.
func (o *outbox) wake(fanout bool) {
	if o.pull == nil {
		o.flusher.add(o, fanout)
	} else {
		signal(o.pull.ready)
	}
}

// overflow seals a full outbox and drops what is queued. The lock is held.
func (o *outbox) overflow() {
	o.phase, o.overflowed = boxSealed, true
	o.discard()
}

// pushIfIdle pushes a packet, which no limit touches, if nothing else is on its way.
func (o *outbox) pushIfIdle(p *packet) {
	o.mu.Lock()
	push := o.phase == boxOpen && len(o.queue) == 0 && o.state == boxIdle
	if push {
		o.queue = append(o.queue, p)
		o.bytes += p.charge()
		o.state = boxQueued
	}
	o.mu.Unlock()
	if push {
		o.wake(true)
	}
}

// withhold queues the first message, which is not written before release.
func (o *outbox) withhold(p *packet) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.phase == boxOpen {
		o.queue = append(o.queue, p)
		o.bytes += p.charge()
		o.withheld = true
	}
}

// release lets the first message be written, behind a pong if one is being written.
func (o *outbox) release() {
	o.mu.Lock()
	o.withheld = false
	wake := len(o.queue) > 0 && o.claim()
	o.mu.Unlock()
	if wake {
		o.wake(false)
	}
}

// reply appends a completion or an item to the connection's own last packet. No limit applies to it: its client's next call, or the
// stream's next item, waits for room. Unless it shall be written at once, the worker of its call writes it when no call waits; enough
// says that so much is unwritten that it should be written now.
func (o *outbox) reply(message []byte, now bool) (enough bool) {
	o.mu.Lock()
	if o.phase != boxOpen {
		o.mu.Unlock()
		return false
	}
	n := len(o.queue)
	if n == 0 || !o.queue[n-1].own || o.queue[n-1].messages == maxMerged || len(o.queue[n-1].b)+len(message) > maxMergedBytes {
		o.queue = append(o.queue, ownPackets.Get().(*packet))
		o.bytes += overhead
		n++
	}
	p := o.queue[n-1]
	p.b = append(p.b, message...)
	p.messages++
	o.bytes += len(message)
	enough = p.messages == maxMerged || o.bytes >= maxMergedBytes
	wake := now && o.claim()
	o.mu.Unlock()
	if wake {
		o.wake(false)
	}
	return enough
}

// schedule hands what a worker has left unwritten to the flusher.
func (o *outbox) schedule() {
	o.mu.Lock()
	wake := len(o.queue) > 0 && !o.withheld && o.claim()
	o.mu.Unlock()
	if wake {
		o.wake(false)
	}
}

// isUnwritten reports whether completions lie in the outbox that nobody is going to write.
func (o *outbox) isUnwritten() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.state == boxIdle && len(o.queue) > 0
}

// pushPong answers a ping of the WebSocket layer with a frame, which it keeps. Only the newest answer is kept until it is written.
func (o *outbox) pushPong(frame []byte) {
	o.mu.Lock()
	wake := false
	if o.phase < boxFinishing {
		o.pong = &frame
		wake = o.claim()
	}
	o.mu.Unlock()
	if wake {
		o.wake(false)
	}
}

// seal appends the connection's last message, if it has one, and lets nothing follow. Whoever empties the outbox closes the link. With
// drop, what is pending is not written any more.
func (o *outbox) seal(last *packet, drop bool) {
	o.mu.Lock()
	if drop {
		o.discard()
	}
	if last != nil && o.phase == boxOpen {
		o.queue = append(o.queue, last)
		o.bytes += last.charge()
	}
	o.phase = max(o.phase, boxSealed)
	o.withheld = false
	o.notify()
	wake := o.claim()
	o.mu.Unlock()
	if wake {
		o.wake(false)
	}
}

// abandon is for a link that is gone: nothing is written any more. What an owner has taken already is still its own.
func (o *outbox) abandon() {
	o.mu.Lock()
	o.phase, o.pong = boxOver, nil
	o.discard()
	o.mu.Unlock()
}

// discard drops what is queued. The lock is held.
func (o *outbox) discard() {
	for i, p := range o.queue {
		o.uncount(p.charge(), limitedCharge(p))
		p.free()
		o.queue[i] = nil
	}
	o.queue = o.queue[:0]
	o.notify()
}

func limitedCharge(p *packet) int {
	if p.limited {
		return p.charge()
	}
	return 0
}

// uncount takes bytes off the counts. The lock is held.
func (o *outbox) uncount(bytes, limited int) {
	o.bytes -= bytes
	if o.limited -= limited; o.limited <= o.mark() {
		o.stopHolding()
	}
	if o.bytes == 0 {
		o.held = 0
	}
	if o.waiting != nil && o.limited <= o.mark() {
		o.notify()
	}
}

// setPeerTurn says whether the peer has to take something before more can be written. Only that time counts against it. The lock is held.
func (o *outbox) setPeerTurn(on bool) {
	if o.peerTurn == on {
		return
	}
	o.peerTurn = on
	if !on {
		o.stopHolding()
	} else if o.limited > o.mark() {
		o.startHolding()
	}
}

func (o *outbox) startHolding() {
	o.since = o.flusher.now() + 1
	if o.held == 0 {
		o.judge()
	}
}

func (o *outbox) judge() { o.judged, o.judgedTaken = milliseconds(o.flusher.now()), o.taken }

// milliseconds may wrap.
func milliseconds(d time.Duration) uint32 { return uint32(d / time.Millisecond) }

// isTooSlow reports whether the peer, which may hold senders no longer, is to be disconnected. One that has taken an eighth of the limit in
// the last second is not, unless it is far beyond the limit: it may have been brought there by many who sent at once.
func (o *outbox) isTooSlow() bool {
	if o.limited <= int(o.limit) || !o.peerTurn || o.holdLeft() > 0 {
		return false
	}
	if o.limited > mostOver*int(o.limit) {
		return true
	}
	if milliseconds(o.flusher.now())-o.judged < milliseconds(holdTime) {
		return false
	}
	tooSlow := int(o.taken-o.judgedTaken) < int(o.limit)/8
	o.judge()
	return tooSlow
}

// mostOver is how many times the limit may wait for a peer that keeps taking.
const mostOver = 4

// holdLeft is for how long the peer may still hold senders.
func (o *outbox) holdLeft() time.Duration {
	used := time.Duration(o.held) * time.Millisecond
	if o.since > 0 {
		used += o.flusher.now() + 1 - o.since
	}
	return holdTime - used
}

func (o *outbox) stopHolding() {
	if o.since > 0 {
		o.held += milliseconds(o.flusher.now() + 1 - o.since)
		o.since = 0
	}
}

// take moves packets, at most maxMerged messages and maxMergedBytes but one packet at least, to dst, which is empty; with all, everything.
// The lock is held.
func (o *outbox) take(dst []*packet, all bool) (packets []*packet, size, charge, limited int) {
	n, messages := 0, 0
	for n < len(o.queue) && !o.withheld {
		p := o.queue[n]
		if n > 0 && !all && (messages+p.messages > maxMerged || size+len(p.b) > maxMergedBytes) {
			break
		}
		size += len(p.b)
		messages += p.messages
		charge += p.charge()
		limited += limitedCharge(p)
		n++
	}
	dst = append(dst, o.queue[:n]...)
	rest := copy(o.queue, o.queue[n:])
	clear(o.queue[rest:])
	if o.queue = o.queue[:rest]; rest == 0 && cap(o.queue) > keptQueue {
		o.queue = nil
	}
	return dst, size, charge, limited
}

// isOver reports whether nothing more will be written.
func (o *outbox) isOver() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.phase == boxOver
}

// aboveMark reports whether the outbox is more than half full.
func (o *outbox) aboveMark() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.phase == boxOpen && o.bytes > o.mark()
}

// progress is what the heartbeat looks at.
type progress struct {
	waits  bool   // the link waits for the peer, with bytes pending
	full   bool   // beyond the limit
	sealed bool   // nothing can be pushed any more
	taken  uint32 // bytes that the link has taken in all
}

func (o *outbox) progress() progress {
	o.mu.Lock()
	defer o.mu.Unlock()
	waits := o.peerTurn && o.bytes > 0 && (o.pull == nil || o.state == boxWriting)
	return progress{waits: waits, full: waits && o.limited >= int(o.limit), sealed: o.phase != boxOpen, taken: o.taken}
}
