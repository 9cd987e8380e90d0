package actors

import (
	"math"
	"sync"
	"time"

	"github.com/troupe-go/troupe/internal/metric"
)

// rateLimit is a bucket of the calls that a client may make at once. It is empty until the first call.
type rateLimit struct {
	left     uint32 // thousandths of calls
	filledAt millis // when it was last filled, since the system was started; it may wrap, which gives a client its burst a little later
}

// take takes a call out of the bucket. It returns false if the client calls more often than rate times a second, and has used up its burst, which is
// that of two seconds.
func (b *rateLimit) take(now time.Duration, rate int) bool {
	const call = 1000
	at, full := millis(now.Milliseconds())+1, min(burst*uint64(rate)*call, math.MaxUint32) // 0: it was never filled
	if b.filledAt == 0 {
		b.left = uint32(full)
	} else {
		b.left = uint32(min(uint64(b.left)+uint64(at-b.filledAt)*uint64(rate), full)) // a thousandth in each millisecond for each call a second
	}
	b.filledAt = at
	if b.left < call {
		return false
	}
	b.left -= call
	return true
}

// Rate is a limit of how often calls may be made.
type Rate uint8

// The limits.
const (
	WithinRate Rate = iota
	ClientRate      // Settings.CallRate
	UserRate        // Settings.UserCallRate
)

// overRate counts a call, and returns the limit that it exceeds.
func (c *Connection) overRate() Rate {
	s, now := c.settings, c.hub.sys.now
	if s.CallRate > 0 && !c.rate.take(now(), s.CallRate) {
		c.hub.sys.counts.limits.Reach(metric.CallRate)
		return ClientRate
	}
	if s.UserCallRate > 0 {
		if user := c.who.Load().UserID; user != "" && !c.hub.userRates.take(user, now, s.UserCallRate) {
			c.hub.sys.counts.limits.Reach(metric.UserCallRate)
			return UserRate
		}
	}
	return WithinRate
}

// userRates are the buckets of the users of a hub that have called lately. The clock is read under the lock: a bucket that was filled later than
// it says would seem to have been filled long ago.
type userRates struct {
	mu      sync.Mutex
	buckets map[string]*rateLimit
}

func (r *userRates) take(user string, now func() time.Duration, rate int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.buckets[user]
	if b == nil {
		if r.buckets == nil {
			r.buckets = map[string]*rateLimit{}
		}
		b = &rateLimit{}
		r.buckets[user] = b
	}
	return b.take(now(), rate)
}

// forgetFull forgets the users whose buckets are full again.
func (r *userRates) forgetFull(now func() time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := millis(now().Milliseconds()) + 1
	for user, b := range r.buckets {
		if at-b.filledAt > burst*1000 {
			delete(r.buckets, user)
		}
	}
}

// burst is for how many seconds' calls a client may make at once.
const burst = 2
