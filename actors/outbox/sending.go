package outbox

import (
	"context"
	"time"
)

// Sending is one message on its way to a number of boxes. It pushes without waiting, remembers which boxes are above their marks, and waits
// for those in Finish.
type Sending struct {
	// Waits says that the sender can wait for room. One that cannot meets the policy of a box at its limit.
	Waits bool
	// Direct says that the message goes to one connection, for which the sender waits as long as it takes anything.
	Direct bool
	// Policy is that of the packets.
	Policy Policy

	reached int
	above   []aboveMark
	full    []*Box
}

// aboveMark is a box that a Sending has left above its mark.
type aboveMark struct {
	box  *Box
	over bool // it was above its limit before
}

// Push pushes to one box.
func (s *Sending) Push(b *Box, p *Packet, fanout bool) {
	s.reached++
	switch b.Push(p, fanout, s.Waits) {
	case AboveMark:
		s.above = append(s.above, aboveMark{b, false})
	case AboveLimit:
		s.above = append(s.above, aboveMark{b, true})
	case Overflow:
		s.full = append(s.full, b)
	}
}

// PushBytes pushes a message for one connection, to which no limit applies. Its bytes are copied behind what waits for the connection already.
func (s *Sending) PushBytes(b *Box, message []byte) {
	s.reached++
	if b.Reply(message, true)&AboveItsMark != 0 {
		s.above = append(s.above, aboveMark{b, false})
	}
}

// MustWait reports whether Finish is going to wait.
func (s *Sending) MustWait() bool { return s.Waits && len(s.above) > 0 }

// Finish waits for room, and tells the owners of boxes that were full. If ctx ends, the wait ends, and the message has been sent all the
// same.
func (s *Sending) Finish(ctx context.Context) {
	if s.MustWait() {
		if s.Direct {
			s.above[0].box.WaitForRoom(ctx.Done())
		} else {
			s.waitForCrowd(ctx)
		}
		if ctx.Err() != nil { // a sender that gives up waiting cannot exceed a limit again and again
			for _, a := range s.above {
				if a.over {
					a.box.meet(s.Policy, (*Box).isLimitedAboveLimit)
				}
			}
		}
	}
	for _, b := range s.full {
		b.owner.Overflowed()
	}
}

// waitForCrowd waits until at least half of the receivers are below their marks, however long that takes: if most are slow, the cause is
// the server, or its network. A receiver that is slower than the crowd is waited for as long as it may hold senders. After that it is
// disconnected if it was above its limit before this push, still is, and is too slow.
func (s *Sending) waitForCrowd(ctx context.Context) {
	for ctx.Err() == nil {
		holding, longest := s.holding()
		if n := len(s.above) - s.reached/2; n > 0 {
			boxes := make([]*Box, len(s.above))
			for i, a := range s.above {
				boxes[i] = a.box
			}
			waitForSome(ctx, boxes, n, 0)
			continue
		}
		for _, a := range s.above {
			if a.over {
				a.box.meet(s.Policy, (*Box).isTooSlow)
			}
		}
		if len(holding) == 0 {
			return
		}
		waitForSome(ctx, holding, len(holding), min(longest, stallTime)) // one may have stalled since
	}
}

// holding forgets the boxes that have room now, and returns those that may still hold the sender, and for how long at most.
func (s *Sending) holding() (boxes []*Box, longest time.Duration) {
	n := 0
	for _, a := range s.above {
		room, left := a.box.holdsFor()
		if room {
			continue
		}
		s.above[n] = a
		n++
		if left > 0 {
			boxes = append(boxes, a.box)
			longest = max(longest, left)
		}
	}
	s.above = s.above[:n]
	return boxes, longest
}

// ownTurn is how long a sender waits for the flusher before it looks again whether the peer's link is full.
const ownTurn = 50 * time.Millisecond

// holdsFor reports whether there is room, and else for how long the peer may hold a fan-out. What waits for the server's own turn is not
// the peer's fault: then the sender soon looks again.
func (b *Box) holdsFor() (room bool, left time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hasRoom(true) {
		return true, 0
	}
	if left = b.holdLeft(); !b.peerTurn {
		left = max(left, ownTurn)
	}
	return false, left
}

// meet has a box for which the condition holds meet the policy of a packet: it drops some, or is sealed, and its owner told.
func (b *Box) meet(policy Policy, condition func(*Box) bool) {
	b.mu.Lock()
	tooMuch := b.phase == open && condition(b)
	disconnect := tooMuch && policy == Disconnect
	switch {
	case disconnect:
		b.overflow()
	case tooMuch:
		b.shorten(policy)
	}
	b.mu.Unlock()
	if disconnect {
		b.owner.Overflowed()
	}
}

func (b *Box) isLimitedAboveLimit() bool { return b.limited > int(b.limit) }
