package outbox

import (
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/troupe-go/troupe/internal/counter"
)

// Flusher writes for many boxes on one goroutine, so that no connection needs a goroutine to write.
//
// It has two lists of boxes with something to write: what was sent to one client or a few goes first, fan-outs second. After a pass over a list it
// rests for as long as the pass took, if that was long, so that under load more is merged into each write. Behind fan-outs of which each box has had
// many it rests longer: at 2,000 messages a second for each of 1,000 boxes, that saves a fifth of the time of the processor, and costs 2 ms of
// latency. It does not rest there while the first list holds anything. A third list holds boxes whose owners want to be called a millisecond later.
// A box gets one turn at a time, and a full socket never stops the flusher: its box goes to a drainer.
type Flusher struct {
	now      func() time.Duration // since the system was started
	log      *slog.Logger
	drainers *counter.Counter // goroutines that write to full sockets
	isQuiet  func() bool

	mu             sync.Mutex
	direct, fanout []*Box
	late           []*Box
	wakeDirect     chan struct{} // signaled when the list was empty, as are the other two
	wakeFanout     chan struct{}
	wakeLate       chan struct{}
	writer         Writer

	drops [dropCauses]atomic.Int64
}

const (
	lateTime  = time.Millisecond
	lateSlack = time.Millisecond       // by which a tick may be later and still count as on time
	shortRest = 200 * time.Microsecond // shorter rests are not worth a timer
	stride    = 64                     // boxes of a fan-out between two looks at the direct list

	manyMerged = 8 // packets in a write on the average, from which on the flusher rests for three times as long as a pass took

	longRest       = 10 * time.Millisecond
	longDirectRest = 2 * time.Millisecond
)

// Bits of Box.listed: the lists that hold an entry of the box.
const (
	listDirect uint32 = 1 << iota
	listFanout
	listLate
)

// NewFlusher makes a flusher. now tells the time since the system was started, isQuiet whether no other goroutine is running or ready to
// run; drainers counts the goroutines that the flusher starts for full sockets.
func NewFlusher(now func() time.Duration, isQuiet func() bool, log *slog.Logger, drainers *counter.Counter) *Flusher {
	return &Flusher{
		now: now, isQuiet: isQuiet, log: log, drainers: drainers,
		wakeDirect: make(chan struct{}, 1), wakeFanout: make(chan struct{}, 1), wakeLate: make(chan struct{}, 1),
	}
}

// add puts a box that has just become queued on a list, unless an entry of it is still there.
func (f *Flusher) add(b *Box, fanout bool) {
	if fanout {
		f.append(&f.fanout, listFanout, f.wakeFanout, b)
	} else {
		f.append(&f.direct, listDirect, f.wakeDirect, b)
	}
}

// addLate has the owner of a box called in a millisecond.
func (f *Flusher) addLate(b *Box) { f.append(&f.late, listLate, f.wakeLate, b) }

func (f *Flusher) append(list *[]*Box, bit uint32, wake chan struct{}, b *Box) {
	if b.listed.Or(bit)&bit != 0 {
		return // there is an entry that has not been looked at
	}
	f.mu.Lock()
	*list = append(*list, b)
	first := len(*list) == 1
	f.mu.Unlock()
	if first {
		signal(wake)
	}
}

// swap takes a list, and leaves the memory of spare in its place.
func (f *Flusher) swap(list *[]*Box, spare []*Box) []*Box {
	f.mu.Lock()
	defer f.mu.Unlock()
	taken := *list
	clear(spare)
	*list = spare[:0]
	return taken
}

// Run writes until done is closed.
func (f *Flusher) Run(done <-chan struct{}) {
	var direct, fanout []*Box
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-done:
			return
		case <-f.wakeDirect:
		case <-f.wakeFanout:
		}
		for {
			start := time.Now()
			direct = f.passDirect(direct)
			if !rest(timer, time.Since(start), longDirectRest, nil, done) {
				return
			}
			start = time.Now()
			fanout = f.swap(&f.fanout, fanout)
			if len(fanout) == 0 {
				if len(direct) == 0 {
					break
				}
				continue
			}
			packets := 0
			for i, b := range fanout {
				if i%stride == stride-1 {
					direct = f.passDirect(direct)
				}
				packets += f.write(b, listFanout)
			}
			f.writer.forgetMerge()
			took := time.Since(start)
			if packets >= manyMerged*len(fanout) {
				took *= 3
			}
			if !rest(timer, took, longRest, f.wakeDirect, done) {
				return
			}
		}
	}
}

// rest waits for as long as a pass took, for most at the longest, or until wake is signaled. It returns false if done is closed.
func rest(timer *time.Timer, took, most time.Duration, wake, done <-chan struct{}) bool {
	rest := min(took, most)
	if rest <= shortRest {
		return true
	}
	timer.Reset(rest)
	select {
	case <-timer.C:
	case <-wake:
	case <-done:
		return false
	}
	return true
}

// passDirect writes for the boxes that are on the direct list now, and returns them. What is added meanwhile waits for the next pass, so
// that fan-outs get their turn.
func (f *Flusher) passDirect(spare []*Box) []*Box {
	select {
	case <-f.wakeDirect: // it shall not end the next rest
	default:
	}
	direct := f.swap(&f.direct, spare)
	for _, b := range direct {
		f.write(b, listDirect)
	}
	f.writer.forgetMerge()
	return direct
}

// write writes for a box of a list if it still waits for the flusher. Otherwise its entry is stale. It returns how many packets it has taken.
func (f *Flusher) write(b *Box, list uint32) (packets int) {
	b.listed.And(^list)
	b.mu.Lock()
	taken := b.state == queued && b.link.socket != nil && f.writer.take(b)
	b.mu.Unlock()
	if taken {
		f.writer.fanout = list == listFanout
		packets = len(f.writer.packets)
		f.writer.write(b)
	}
	return packets
}

// RunLate calls the owners of boxes that are on the late list, until done is closed.
func (f *Flusher) RunLate(done <-chan struct{}) {
	var late []*Box
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
		for _, b := range late {
			f.lateTick(b, onTime, quiet)
		}
	}
}

func (f *Flusher) lateTick(b *Box, onTime, quiet bool) {
	b.listed.And(^listLate)
	defer func() {
		if reason := recover(); reason != nil {
			f.log.Error("the late tick of a connection panicked", "reason", reason, "stack", string(debug.Stack()))
		}
	}()
	b.owner.LateTick(onTime, quiet)
}
