package actors

import (
	"context"
	"math/rand/v2"
	"time"
)

// Drain refuses new connections, closes those that there are with allowReconnect one after the other, spread over about as much time as pace says,
// and shuts down then. Pacing ends early enough to leave a quarter of the time until the deadline of ctx for the rest, and when somebody else has
// shut down. A call may drain the system that it runs in, as it may shut it down.
func (s *System) Drain(ctx context.Context, pace time.Duration) error {
	if k := CallOf(ctx); k != nil && k.conn.hub.sys == s {
		defer s.excludeCaller(k)()
	}
	s.refuseConnections()
	if deadline, ok := ctx.Deadline(); ok {
		pace = min(pace, time.Until(deadline)*3/4)
	}
	all := s.allConnections()
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	begin, timer := time.Now(), time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for i, c := range all {
		at := time.Duration(float64(pace) * (float64(i) + rand.Float64()) / float64(len(all))) // jittered, so that clients do not come in step
		if wait := at - time.Since(begin); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return s.Shutdown(ctx)
			case <-s.finished:
				return s.Shutdown(ctx)
			}
		}
		c.askToClose(nil, closeReason{message: true, allowReconnect: true})
	}
	return s.Shutdown(ctx)
}

// IsLive reports whether the heartbeat, without which no connection would be looked after, has beaten lately.
func (s *System) IsLive() bool { return time.Duration(s.beaten.Load()) > s.now()-liveTime }

// liveTime is how long ago the last beat may be. A tick may take long where there are many connections.
const liveTime = 30 * time.Second
