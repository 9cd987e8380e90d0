package actors

import "time"

// rateLimit is a bucket of the calls that a client may make at once. It is empty until the first call.
type rateLimit struct {
	left     uint32 // calls
	filledAt millis // when it was last filled, since the system was started; it may wrap, which gives a client its burst a little later
}

// take takes a call out of the bucket. It returns false if the client calls more often than rate times a second, and has used up its burst, which is
// that of two seconds.
func (b *rateLimit) take(now time.Duration, rate int) bool {
	at := millis(now.Milliseconds()) + 1 // 0: it was never filled
	if b.filledAt == 0 {
		b.left, b.filledAt = uint32(burst*rate), at
	}
	if more := uint64(at-b.filledAt) * uint64(rate) / 1000; more > 0 {
		b.left = uint32(min(uint64(b.left)+more, uint64(burst*rate)))
		b.filledAt = at
	}
	if b.left == 0 {
		return false
	}
	b.left--
	return true
}

// burst is for how many seconds' calls a client may make at once.
const burst = 2
