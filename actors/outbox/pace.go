package outbox

import "time"

// HoldTime is for how long in all a peer that is slower than the crowd may hold those who send to it, counted while its link is full and
// more than half of the limit waits for it. It has that time again when its box has been empty.
const HoldTime = time.Second

// stallTime is for how long a peer that takes nothing at all holds those who send to it, unless mostOver times the limit waits for it: what is
// pushed meanwhile would all come at once to the others.
const stallTime = 50 * time.Millisecond

// mostOver is how many times the limit may wait for a peer that keeps taking, or has stalled.
const mostOver = 4

// uncount takes bytes off the counts. The lock is held, as in all that follows.
func (b *Box) uncount(bytes, limited int) {
	b.bytes -= bytes
	if b.limited -= limited; b.limited <= b.mark() {
		b.stopHolding()
	}
	if b.bytes == 0 {
		b.held = 0
	}
	if b.waiting != nil && b.limited <= b.mark() {
		b.notify()
	}
}

func (b *Box) startHolding() {
	b.holdingSince, b.heldTaken = b.flusher.now()+1, b.taken
	if b.held == 0 {
		b.sample()
	}
}

func (b *Box) stopHolding() {
	if b.holdingSince > 0 {
		b.held += uint32(min(b.flusher.now()+1-b.holdingSince, HoldTime) / time.Microsecond)
		b.holdingSince = 0
	}
}

// holding is for how long the peer has held senders this time, and used the part of HoldTime that is gone.
func (b *Box) holding() (holding, used time.Duration) {
	if b.holdingSince > 0 {
		holding = b.flusher.now() + 1 - b.holdingSince
	}
	return holding, time.Duration(b.held)*time.Microsecond + holding
}

// holdLeft is for how long the peer may still hold senders.
func (b *Box) holdLeft() time.Duration {
	holding, used := b.holding()
	left := HoldTime - used
	if b.holdingSince > 0 && b.taken == b.heldTaken && b.limited <= mostOver*int(b.limit) {
		left = min(left, stallTime-holding)
	}
	return left
}

// isTooSlow reports whether the peer, which may not hold senders any longer, is to be disconnected. One that has taken an eighth of the
// limit in the last second is not, unless it is far beyond the limit: many who sent at once may have brought it there.
func (b *Box) isTooSlow() bool {
	if b.limited <= int(b.limit) || !b.peerTurn || b.holdLeft() > 0 {
		return false
	}
	if b.limited > mostOver*int(b.limit) {
		return true
	}
	if milliseconds(b.flusher.now())-b.sampled < milliseconds(HoldTime) {
		return false
	}
	slow := int(b.taken-b.sampledTaken) < int(b.limit)/8
	b.sample()
	return slow
}

func (b *Box) sample() { b.sampled, b.sampledTaken = milliseconds(b.flusher.now()), b.taken }

// milliseconds may wrap.
func milliseconds(d time.Duration) uint32 { return uint32(d / time.Millisecond) }
