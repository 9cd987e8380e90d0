package outbox

import (
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A goroutine that runs is seen.
func TestQuiet(t *testing.T) {
	isQuiet := NewQuiet()
	var stop atomic.Bool
	var all sync.WaitGroup
	all.Go(func() {
		for !stop.Load() { // it keeps a processor busy
		}
	})
	require.Eventually(t, func() bool { return !isQuiet() }, 10*time.Second, time.Millisecond)
	stop.Store(true)
	all.Wait()
	require.Eventually(t, isQuiet, 10*time.Second, time.Millisecond)
}

// Nor is one overlooked that starts the garbage collector. (While it waits for all processors at the end of marking, it is seen only when the
// operating system has woken its thread, which a busy machine does late. Of 1,000 collections, 30 are overlooked if nothing is done about it.)
func TestQuietWhileTheGarbageCollectorStarts(t *testing.T) {
	isQuiet := NewQuiet()
	cycles := func() uint64 {
		sample := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	var stop atomic.Bool
	var all sync.WaitGroup
	all.Go(func() {
		kept := make([][]byte, 2000)
		for i := 0; !stop.Load(); i++ {
			kept[i%len(kept)] = make([]byte, 1000)
		}
	})
	require.Eventually(t, func() bool { return !isQuiet() }, 10*time.Second, time.Millisecond)
	quiet := 0
	for last := cycles() + 1000; cycles() < last; {
		time.Sleep(100 * time.Microsecond) // so that a pause can begin when this goroutine does
		if isQuiet() {
			quiet++
		}
	}
	stop.Store(true)
	all.Wait()
	require.LessOrEqual(t, quiet, 5)
}
