package actors

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Watches start and stop while connections join and leave. Whoever takes everything at the end knows who is there.
func TestWatchesRaceWithJoinsAndLeaves(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		ctx := context.Background()
		var moving, watching sync.WaitGroup
		moved := make(chan struct{})
		for i := range 4 {
			id := e.open(fmt.Sprint("c", i), modelUsers[i%3]).conn.id
			moving.Go(func() {
				for n := range 150 {
					group := modelGroups[(i+n)%len(modelGroups)]
					assert.NoError(t, e.hub.Join(ctx, id, group))
					if (n+i)%4 > 0 {
						assert.NoError(t, e.hub.Leave(ctx, id, group))
					}
				}
			})
		}
		var mu sync.Mutex
		var kept []*watchReader
		for i, of := range modelAudiences {
			watching.Go(func() {
				for n := 0; ; n++ {
					r := e.hub.startReader(of)
					for range (n + i) % 5 {
						r.take(t)
						runtime.Gosched()
					}
					select {
					case <-moved:
						mu.Lock()
						kept = append(kept, r)
						mu.Unlock()
						return
					default:
						r.Stop()
					}
				}
			})
		}
		moving.Wait()
		close(moved)
		watching.Wait()
		for _, r := range kept {
			r.take(t)
			if r.audience.to == nil {
				assert.Len(t, r.known, len(r.inside))
			} else {
				members := e.hub.membersHere(r.audience.to)
				assert.Len(t, r.known, len(members), r.audience.name)
				for _, c := range members {
					assert.Contains(t, r.known, membership{"", c}, r.audience.name)
				}
			}
			r.Stop()
		}
		requireNoWatches(t, e.hub)
	})
}

// A watch that begins while its group is emptied and filled again misses nothing.
func TestWatchRacesWithEmptyingOfItsGroup(t *testing.T) {
	h := &Hub{groups: newDirectory(func(*group) {}), users: newDirectory(func(*group) {})}
	c, other := bareConnection("a"), bareConnection("b")
	stop := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				h.groups.join("g", c)
				h.groups.leave("g", c)
			}
		}
	})
	for range 2000 {
		h.groups.join("g", other)
		r := h.startReader(watchedAudience{"g", &Audience{Kind: Groups, Names: []string{"g"}}})
		r.take(t)
		require.Contains(t, r.known, membership{"", other.member()})
		h.groups.leave("g", other)
		r.take(t)
		require.NotContains(t, r.known, membership{"", other.member()})
		r.Stop()
	}
	close(stop)
	all.Wait()
	requireNoWatches(t, &Hub{groups: h.groups, users: h.users, everyone: group{watchers: &watchers{}}})
}

// Wait returns after each change that is made after a Take.
func TestNoWakeUpOfAWatchIsLost(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		ctx, cancel := context.WithCancel(context.Background())
		e.open("a", "")
		r := e.hub.startReader(modelAudiences[2])
		defer r.Stop()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for r.Wait(ctx) {
				r.take(t)
			}
		}()
		for n := range 500 {
			require.NoError(t, e.hub.Join(ctx, "a", "g"))
			if n%3 > 0 {
				require.NoError(t, e.hub.Leave(ctx, "a", "g"))
			}
			if n%10 == 0 {
				e.settle()
				require.Equal(t, n%3 == 0, len(r.known) == 1)
			}
			require.NoError(t, e.hub.Leave(ctx, "a", "g"))
		}
		e.settle()
		require.Empty(t, r.known)
		cancel()
		<-ended
	})
}

// joinAndLeave has n connections, each in its own group, join and leave.
func joinAndLeave(d *directory, n int) {
	for i := range n {
		c, name := bareConnection(strconv.Itoa(i)), "g"+strconv.Itoa(i)
		for _, group := range []string{name, "common"} {
			d.join(group, c)
		}
		for _, group := range []string{name, "common"} {
			d.leave(group, c)
		}
	}
}

// A watch that nobody takes from holds what was told and who is there, not what happened.
func TestMemoryOfAWatchThatNobodyTakesFromIsBounded(t *testing.T) {
	h := &Hub{groups: newDirectory(func(*group) {}), users: newDirectory(func(*group) {})}
	readers := []*watchReader{
		h.startReader(watchedAudience{"all groups", nil}),
		h.startReader(watchedAudience{"common", &Audience{Kind: Groups, Names: []string{"common"}}}),
	}
	stays, left := bareConnection("stays"), bareConnection("left")
	h.groups.join("common", stays)
	h.groups.join("common", left)
	for _, r := range readers {
		r.take(t)
		require.Len(t, r.known, 2)
	}
	h.groups.leave("common", left)
	joinAndLeave(h.groups, 1000)
	before := heapInUse()
	joinAndLeave(h.groups, 100_000)
	assert.Less(t, heapInUse(), before+1<<20)
	for _, r := range readers {
		assert.Len(t, r.inside, 1)
		assert.Len(t, r.seats, 1)
		assert.Len(t, r.news, 1, "left")
		assert.Len(t, r.told, 2)
		r.take(t)
		assert.Len(t, r.known, 1)
		for at := range r.known {
			assert.Same(t, stays, at.Conn)
		}
		r.Stop()
	}
}

// heapInUse returns the bytes of objects that are in use.
func heapInUse() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// A watch retains no connection that has gone.
func TestWatchRetainsNoConnectionThatHasGone(t *testing.T) {
	h := &Hub{groups: newDirectory(func(*group) {}), users: newDirectory(func(*group) {})}
	notTaken, taken := h.WatchGroups(), h.WatchGroups()
	gone := func() weak.Pointer[Connection] {
		c := bareConnection("a")
		h.groups.join("g", c)
		require.Len(t, taken.Take(), 1)
		h.groups.leave("g", c)
		require.Len(t, taken.Take(), 1)
		return weak.Make(c)
	}()
	require.Eventually(t, func() bool { runtime.GC(); return gone.Value() == nil }, 10*time.Second, time.Millisecond)
	runtime.KeepAlive(notTaken)
	runtime.KeepAlive(taken)
}
