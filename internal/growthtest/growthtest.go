// Package growthtest has what benchmarks of how cost grows have in common. actors/growth_bench_test.go says how to read them.
package growthtest

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// Run runs a benchmark with inputs of growing sizes.
func Run(b *testing.B, f func(b *testing.B, n int)) {
	for _, n := range []int{1000, 10_000, 100_000} {
		b.Run(fmt.Sprint("n=", n), func(b *testing.B) { f(b, n) })
	}
}

// PerUnit reports the time for each of the units that an operation has.
func PerUnit(b *testing.B, units int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(units), "ns/unit")
}

// LongestWait reports for how long a change has to wait while an operation runs: the longest wait, as the median of some operations. prepare is
// called before each of them. Nothing of that counts in the time of the benchmark.
func LongestWait(b *testing.B, prepare, operation, change func()) {
	const (
		operations    = 15
		changesBefore = 1000 // so that it certainly runs
	)
	var longest []time.Duration
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // which has goroutines wait as well
	for range operations {
		prepare()
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
				change()
				most = max(most, time.Since(start))
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
