package actors

import (
	"log/slog"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// flusher is one of a few goroutines that write for all connections, so that none needs a goroutine of its own to write.
//
// It has two lists of outboxes with something to write: what was sent to one client or a few goes first, fan-outs second. After a pass
// over the second it rests for half as long as the pass took, so that under load more is merged into each write; it does not rest while
// the first list holds anything. A third list holds connections that are looked at a millisecond later: their workers run a call while
// completions are unwritten, or other calls wait behind it. An outbox gets one turn at a time, and a full socket never holds the flusher
// up: its outbox goes to a drainer.
type flusher struct {
	now      func() time.Duration // since the system was started
	log      *slog.Logger
	drainers *counter    // goroutines that write to full sockets
	isQuiet  func() bool // reports whether no other goroutine is running or about to run

	mu             sync.Mutex
	direct, fanout []*outbox
	late           []*outbox
	wake           chan struct{} // something is on the direct list
	wakeFanout     chan struct{}
	wakeLate       chan struct{}
	writer         writer
}

const (
	lateTime  = time.Millisecond
	lateSlack = time.Millisecond       // by which a look may come later and still be on time
	shortRest = 200 * time.Microsecond // shorter rests are not worth a timer
	longRest  = 10 * time.Millisecond
	stride    = 64 // connections of a fan-out between two looks at the direct list
)

func newFlusher(now func() time.Duration, log *slog.Logger, drainers *counter) *flusher {
	return &flusher{
		now: now, log: log, drainers: drainers, isQuiet: newIdleness().isQuiet,
		wake: make(chan struct{}, 1), wakeFanout: make(chan struct{}, 1), wakeLate: make(chan struct{}, 1),
	}
}

// add puts an outbox that has just become queued on a list, unless an entry of it is still there.
func (f *flusher) add(o *outbox, fanout bool) {
	list, wake, bit := &f.direct, f.wake, listDirect
	if fanout {
		list, wake, bit = &f.fanout, f.wakeFanout, listFanout
	}
	f.append(list, bit, wake, o)
}

// addLate looks at the owner of an outbox in a millisecond.
func (f *flusher) addLate(o *outbox) { f.append(&f.late, listLate, f.wakeLate, o) }

func (f *flusher) append(list *[]*outbox, bit uint32, wake chan struct{}, o *outbox) {
	if o.listed.Or(bit)&bit != 0 {
		return // the entry has not been looked at yet
	}
	f.mu.Lock()
	*list = append(*list, o)
	first := len(*list) == 1
	f.mu.Unlock()
	if first {
		signal(wake)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// swap takes a list and leaves spare's memory in its place.
func (f *flusher) swap(list *[]*outbox, spare []*outbox) []*outbox {
	f.mu.Lock()
	defer f.mu.Unlock()
	taken := *list
	clear(spare)
	*list = spare[:0]
	return taken
}

// run writes until done is closed.
func (f *flusher) run(done <-chan struct{}) {
	var direct, fanout []*outbox
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
			for i, o := range fanout {
				if i%stride == stride-1 {
					direct = f.pass(direct)
				}
				f.write(o, listFanout)
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
func (f *flusher) pass(spare []*outbox) []*outbox {
	direct := f.swap(&f.direct, spare)
	for _, o := range direct {
		f.write(o, listDirect)
	}
	f.writer.forget()
	return direct
}

// write writes for an outbox of a list if it still waits for the flusher; otherwise the entry is stale.
func (f *flusher) write(o *outbox, list uint32) {
	o.listed.And(^list)
	o.mu.Lock()
	taken := o.state == boxQueued && f.writer.take(o)
	o.mu.Unlock()
	if taken {
		f.writer.fanout = list == listFanout
		f.writer.write(o)
	}
}

// runLate looks at connections in which something waits behind a running call.
func (f *flusher) runLate(done <-chan struct{}) {
	var late []*outbox
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-done:
			return
		case <-f.wakeLate:
		}
		due := time.Now().Add(lateTime)
		timer.Reset(lateTime)
		select {
		case <-done:
			return
		case <-timer.C:
		}
		onTime := time.Since(due) <= lateSlack
		quiet := f.isQuiet()
		late = f.swap(&f.late, late)
		for _, o := range late {
			f.lookLate(o, onTime, quiet)
		}
	}
}

func (f *flusher) lookLate(o *outbox, onTime, quiet bool) {
	o.listed.And(^listLate)
	defer func() {
		if reason := recover(); reason != nil {
			f.log.Error("a look at a connection panicked", "reason", reason, "stack", string(debug.Stack()))
		}
	}()
	o.owner.lateLook(onTime, quiet)
}

// idleness reports whether the program is idle but for the goroutine that asks.
type idleness [2]metrics.Sample

func newIdleness() *idleness {
	return &idleness{{Name: "/sched/goroutines/runnable:goroutines"}, {Name: "/sched/goroutines/running:goroutines"}}
}

// isQuiet reports whether no other goroutine is running or about to run. A goroutine with work to do then waits for something outside.
func (i *idleness) isQuiet() bool {
	metrics.Read(i[:])
	for _, sample := range i {
		if sample.Value.Kind() != metrics.KindUint64 {
			return false
		}
	}
	return i[0].Value.Uint64() == 0 && i[1].Value.Uint64() <= 1
}
