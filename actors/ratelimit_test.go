package actors

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// A client that keeps to the rate is not refused, whatever the time between its calls.
func TestARateLimitLosesNothing(t *testing.T) {
	for _, rate := range []int{1, 3, 10, 300, 1000, 7000} {
		for _, pause := range []time.Duration{time.Millisecond, 7 * time.Millisecond, 99 * time.Millisecond, 101 * time.Millisecond, 1999 * time.Millisecond} {
			const calls = 2000
			var b rateLimit
			taken := 0
			for i := range calls {
				if b.take(time.Duration(i)*pause, rate) {
					taken++
				}
			}
			allowed := min(calls, burst*rate+int((calls-1)*pause.Milliseconds())*rate/1000)
			assert.InDelta(t, allowed, taken, 1, "%d a second, every %s", rate, pause)
		}
	}
}
