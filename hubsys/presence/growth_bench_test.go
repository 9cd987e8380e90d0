package presence

import (
	"fmt"
	"testing"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/internal/growthtest"
)

// These benchmarks show how the cost of presence grows with the number of users of a group. actors/growth_bench_test.go says how to read them;
// max-ms is how long it takes meanwhile until it is known that somebody has joined another group.

func grow(b *testing.B, f func(b *testing.B, t *Tracker, change hubsys.Change)) {
	growthtest.Run(b, func(b *testing.B, n int) {
		t := &Tracker{groups: map[string]map[string]*user{}, watchers: map[*watcher]struct{}{}, ended: make(chan struct{})}
		change := hubsys.Change{Group: "g"}
		for i := range n {
			change.Joined = append(change.Joined, hubsys.Member{ConnectionID: fmt.Sprint(i), UserID: fmt.Sprint("user-", i)})
		}
		f(b, t, change)
		growthtest.PerUnit(b, n)
	})
}

// longestWait reports for how long somebody waits who joins another group, and leaves it.
func longestWait(b *testing.B, t *Tracker, operation func()) {
	one := hubsys.Change{Group: "other", Joined: []hubsys.Member{{ConnectionID: "c", UserID: "ada"}}}
	left := hubsys.Change{Group: one.Group, Left: one.Joined}
	growthtest.LongestWait(b, func() {}, operation, func() {
		t.apply(one)
		t.apply(left)
	})
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
