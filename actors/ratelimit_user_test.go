package actors

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// Connections of one user that call at once get no more than its rate, also while the heartbeat forgets users.
func TestCallRateOfAUserWhoseConnectionsCallAtOnce(t *testing.T) {
	var reads, within atomic.Int64
	s := &System{connections: newConnections(), counts: newCounts(), clock: clock{now: func() time.Duration {
		now := time.Duration(reads.Add(1)) * 100 * time.Microsecond // later each time that it is read
		runtime.Gosched()
		return now
	}}}
	h := &Hub{sys: s}
	s.hubs = []*Hub{h}
	var all sync.WaitGroup
	for range 8 {
		c := &Connection{hub: h, settings: &Settings{UserCallRate: 10}}
		c.who.Store(&Identity{UserID: "ann"})
		all.Go(func() {
			for range 2000 {
				if c.overRate() == WithinRate {
					within.Add(1)
				}
			}
		})
	}
	all.Go(func() {
		for range 2000 {
			s.tick()
		}
	})
	all.Wait()
	most := 20 + 10*reads.Load()/10000 + 1 // the burst, and what the time allows
	assert.LessOrEqual(t, within.Load(), most)
}
