package actors

import (
	"sync"
	"time"
)

// flusher is one of a few goroutines that write for all connections, so that none needs a goroutine of its own to write.
//
// It has two lists of connections with something to write: what was sent to one client or a few goes first, fan-outs second. After a pass over
// the second it rests for half as long as the pass took, so that under load more is merged into each write; it does not rest while
// the first list holds anything. A third list holds connections whose workers run a call while completions are unwritten or other
// calls wait: they are looked at a millisecond later. A full socket never holds it up: the outbox goes to a drainer.
type flusher struct {
	mu             sync.Mutex
	direct, fanout []*Connection
	waiting        []*Connection // the late list
	wake           chan struct{} // something is on the direct list
	wakeFanout     chan struct{}
	wakeLate       chan struct{}
	writer         writer
}

const (
	lateTime  = time.Millisecond
	shortRest = 200 * time.Microsecond // shorter rests are not worth a timer
	longRest  = 10 * time.Millisecond
	stride    = 64 // connections of a fan-out between two looks at the direct list
)

func newFlusher() *flusher {
	return &flusher{wake: make(chan struct{}, 1), wakeFanout: make(chan struct{}, 1), wakeLate: make(chan struct{}, 1)}
}

// dirty puts a connection whose outbox has just become queued on a list.
func (f *flusher) dirty(c *Connection, fanout bool) {
	list, wake := &f.direct, f.wake
	if fanout {
		list, wake = &f.fanout, f.wakeFanout
	}
	f.add(list, wake, c)
}

// later looks at c in a millisecond.
func (f *flusher) later(c *Connection) { f.add(&f.waiting, f.wakeLate, c) }

func (f *flusher) add(list *[]*Connection, wake chan struct{}, c *Connection) {
	f.mu.Lock()
	*list = append(*list, c)
	first := len(*list) == 1
	f.mu.Unlock()
	if first {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

// swap takes a list and leaves spare's memory in its place.
func (f *flusher) swap(list *[]*Connection, spare []*Connection) []*Connection {
	f.mu.Lock()
	defer f.mu.Unlock()
	taken := *list
	clear(spare)
	*list = spare[:0]
	return taken
}

// run writes until done is closed.
func (f *flusher) run(done <-chan struct{}) {
	var direct, fanout []*Connection
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-done:
			return
		case <-f.wake:
		case <-f.wakeFanout:
		}
		for {
			direct = f.pass(direct)
			start := time.Now()
			fanout = f.swap(&f.fanout, fanout)
			if len(fanout) == 0 {
				if len(direct) == 0 {
					break
				}
				continue
			}
			for i, c := range fanout {
				if i%stride == stride-1 {
					direct = f.pass(direct)
				}
				f.write(c)
			}
			f.writer.forget()
			if rest := min(time.Since(start)/2, longRest); rest > shortRest {
				timer.Reset(rest)
				select {
				case <-timer.C:
				case <-f.wake:
				case <-done:
					return
				}
			}
		}
	}
}

// pass writes for what is on the direct list now, and returns that list, emptied. What comes meanwhile waits for the next pass, so that
// fan-outs get their turn.
func (f *flusher) pass(spare []*Connection) []*Connection {
	direct := f.swap(&f.direct, spare)
	for _, c := range direct {
		f.write(c)
	}
	f.writer.forget()
	return direct
}

// write writes for c if its outbox still waits for the flusher; otherwise the entry is stale.
func (f *flusher) write(c *Connection) {
	c.out.mu.Lock()
	queued := c.out.state == boxQueued
	if queued {
		c.out.state = boxWriting
	}
	c.out.mu.Unlock()
	if queued {
		f.writer.own(c)
	}
}

// runLate looks at connections in which something waits behind a running call.
func (f *flusher) runLate(done <-chan struct{}) {
	var late []*Connection
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-done:
			return
		case <-f.wakeLate:
		}
		timer.Reset(lateTime)
		select {
		case <-done:
			return
		case <-timer.C:
		}
		late = f.swap(&f.waiting, late)
		for _, c := range late {
			c.lookNow()
		}
	}
}
