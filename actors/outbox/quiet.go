package outbox

import (
	"runtime"
	"runtime/metrics"
)

// NewQuiet returns a function that reports whether no goroutine of the program but its caller is running or ready to run: a goroutine that
// has work to do then waits for something outside of the program. It is for one goroutine at a time.
func NewQuiet() func() bool {
	samples := []metrics.Sample{{Name: "/sched/goroutines/runnable:goroutines"}, {Name: "/sched/goroutines/running:goroutines"}}
	look := func() bool {
		metrics.Read(samples)
		for _, sample := range samples {
			if sample.Value.Kind() != metrics.KindUint64 {
				return false
			}
		}
		return samples[0].Value.Uint64() == 0 && samples[1].Value.Uint64() <= 1
	}
	return func() bool {
		if !look() {
			return false
		}
		// A goroutine that stops the world for the garbage collector is not counted while it waits for this one to stop. One that waits for all
		// processors at the end of marking can still be overlooked, for as long as the operating system takes to wake its thread.
		runtime.Gosched()
		return look()
	}
}
