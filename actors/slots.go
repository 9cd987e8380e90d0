package actors

import "math"

// slots are the invocations that one client may have running at once, as MaximumParallelInvocationsPerClient says. The lock of the run queue
// is held for all methods.
type slots struct {
	limit int32
	taken int32
	early int16 // calls that have released their slot before they returned
}

// slot is what one call holds of them.
type slot uint8

const (
	noSlot    slot = iota // it needs none, or does not hold it any more
	heldSlot              // from its beginning to its end
	earlySlot             // released before the end, because the call waits for its client
)

func (s *slots) isFree() bool { return s.taken < s.limit }

// acquire takes a free slot.
func (s *slots) acquire() slot {
	s.taken++
	return heldSlot
}

// yield releases a slot while its call goes on, so that the client can call the hub before it answers. At most that many calls of one client (most)
// may have done so; a further one keeps its slot.
func (s *slots) yield(one *slot, most int) {
	if *one == heldSlot && int(s.early) < min(most, math.MaxInt16) {
		*one = earlySlot
		s.taken--
		s.early++
	}
}

// release ends the use of a slot. It can be called twice.
func (s *slots) release(one *slot) {
	switch *one {
	case heldSlot:
		s.taken--
	case earlySlot:
		s.early--
	}
	*one = noSlot
}
