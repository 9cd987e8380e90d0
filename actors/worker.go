package actors

import (
	"slices"
	"sync"

	"github.com/troupe-go/troupe/internal/counter"
)

// workers are the goroutines that run user code. They are parked when idle, and the last one parked is the first one used again, so
// that few goroutines keep a grown stack. There are as many as calls run at once; the heartbeat lets those go that were idle for long.
type workers struct {
	mu      sync.Mutex
	idle    []*worker
	ticks   int
	stopped bool
	busy    counter.Counter // workers that run a task
}

// task is what a worker runs. Only user code may block in it.
type task interface{ work() }

type worker struct {
	tasks  chan task
	parked int // the tick at which it went idle
}

const idleTicks = 10 // heartbeats

// do runs t on a parked worker, or on a new one.
func (w *workers) do(t task) {
	w.busy.Add(1)
	w.mu.Lock()
	if n := len(w.idle); n > 0 {
		one := w.idle[n-1]
		w.idle[n-1] = nil
		w.idle = w.idle[:n-1]
		w.mu.Unlock()
		one.tasks <- t
		return
	}
	w.mu.Unlock()
	one := &worker{tasks: make(chan task, 1)}
	one.tasks <- t
	go w.loop(one)
}

// loop ends when its channel is closed, and when user code calls runtime.Goexit: then the task has seen to what it left behind.
func (w *workers) loop(one *worker) {
	running := false
	defer func() {
		if running { // runtime.Goexit
			w.busy.Add(-1)
		}
	}()
	for t := range one.tasks {
		running = true
		t.work()
		running = false
		w.busy.Add(-1)
		w.mu.Lock()
		stopped := w.stopped
		if !stopped {
			one.parked = w.ticks
			w.idle = append(w.idle, one)
		}
		w.mu.Unlock()
		if stopped {
			return
		}
	}
}

// tick ends workers that were idle for idleTicks heartbeats.
func (w *workers) tick() {
	w.mu.Lock()
	w.ticks++
	n := 0
	for n < len(w.idle) && w.ticks-w.idle[n].parked >= idleTicks {
		n++
	}
	w.release(n)
	w.mu.Unlock()
}

// release ends the n workers that have been idle longest.
func (w *workers) release(n int) {
	for _, one := range w.idle[:n] {
		close(one.tasks)
	}
	w.idle = slices.Delete(w.idle, 0, n)
}

// stop ends all workers, those that still run a task when it has ended.
func (w *workers) stop() {
	w.mu.Lock()
	w.stopped = true
	w.release(len(w.idle))
	w.mu.Unlock()
}
