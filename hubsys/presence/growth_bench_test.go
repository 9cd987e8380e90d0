package presence

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/troupe-go/troupe/hubsys"
)

// These benchmarks show how the cost of presence grows with the number of users of a group. actors/growth_bench_test.go says how to read them;
// max-ms is how long it takes meanwhile until it is known that somebody has joined another group.

func grow(b *testing.B, f func(b *testing.B, t *Tracker, change hubsys.Change)) {
	for _, n := range []int{1000, 10_000, 100_000} {
		b.Run(fmt.Sprint("n=", n), func(b *testing.B) {
			t := &Tracker{groups: map[string]map[string]*user{}, watchers: map[*watcher]struct{}{}, ended: make(chan struct{})}
			change := hubsys.Change{Group: "g"}
			for i := range n {
				change.Joined = append(change.Joined, hubsys.Member{ConnectionID: fmt.Sprint(i), UserID: fmt.Sprint("user-", i)})
			}
			f(b, t, change)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/unit")
		})
	}
}

// longestWait reports the longest wait, as the median of some operations.
func longestWait(b *testing.B, t *Tracker, operation func()) {
	one := hubsys.Change{Group: "other", Joined: []hubsys.Member{{ConnectionID: "c", UserID: "ada"}}}
	left := hubsys.Change{Group: one.Group, Left: one.Joined}
	const (
		operations    = 15
		changesBefore = 1000 // so that it certainly runs
	)
	var longest []time.Duration
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for range operations {
		runtime.GC()
		var over atomic.Bool
		begun, waited := make(chan struct{}), make(chan time.Duration)
		go func() {
			most := time.Duration(0)
			for i := 0; !over.Load(); i++ {
				if i == changesBefore {
					close(begun)
					most = 0
				}
				start := time.Now()
				t.apply(one)
				most = max(most, time.Since(start))
				t.apply(left)
			}
			waited <- most
		}()
		<-begun
		operation()
		over.Store(true)
		longest = append(longest, <-waited)
	}
	slices.Sort(longest)
	b.ReportMetric(float64(longest[operations/2].Microseconds())/1000, "max-ms")
}

// All users of a group come and go.
func BenchmarkGrowthApply(b *testing.B) {
	grow(b, func(b *testing.B, t *Tracker, change hubsys.Change) {
		operation := func() {
			t.apply(change)
			t.apply(hubsys.Change{Group: change.Group, Left: change.Joined})
		}
		for b.Loop() {
			operation()
		}
		longestWait(b, t, operation)
	})
}

// The users of a group are listed.
func BenchmarkGrowthUsers(b *testing.B) {
	grow(b, func(b *testing.B, t *Tracker, change hubsys.Change) {
		t.apply(change)
		for b.Loop() {
			t.Users("g")
		}
		longestWait(b, t, func() { t.Users("g") })
	})
}

// A watch begins, and is told who is there.
func BenchmarkGrowthWatch(b *testing.B) {
	grow(b, func(b *testing.B, t *Tracker, change hubsys.Change) {
		t.apply(change)
		operation := func() {
			for change := range t.Watch(b.Context()) {
				if change.Group == "g" {
					break
				}
			}
		}
		for b.Loop() {
			operation()
		}
		longestWait(b, t, operation)
	})
}
