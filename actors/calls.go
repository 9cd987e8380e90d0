package actors

import (
	"bytes"
	"sync"

	"github.com/troupe-go/troupe/internal/metric"
)

// runQueue holds a connection's invocations: those that run, and those that wait, in order of arrival. The connection actor and the workers
// share it, so the end of a call is not a message: the goroutine that makes it possible begins the next one.
//
// Calls begin in their order, and one at a time has the turn: the next one begins when that call has returned, waits for something outside,
// or has returned its stream. So the code of a call up to its first wait runs before that of the next one begins, whatever the limit, as in
// the reference, whose calls run until they first wait. It is known when a call waits in this package (for an answer of its client, for
// room, for items of an upload). Other waits cannot be seen: they are assumed when no goroutine of the program runs, or when the call has had
// the turn for longer than a goroutine waits for a busy processor.
//
// There are as many slots as MaximumParallelInvocationsPerClient says. An invocation without streams holds one from its beginning to its
// end. One that waits for its client releases its slot early, so that the client can call the hub before it answers; a client has at
// most MaximumPendingResults such calls.
type runQueue struct {
	mu         sync.Mutex
	head, tail *Call
	running    []*Call
	turn       *Call              // the call behind which the next one waits
	uploads    map[string]*Upload // those that the client has not ended
	byID       map[string]*Call   // made when many calls would be searched; calls with one id are chained
	slots      slots
	unreturned int32    // calls that have not returned, except those whose results are streamed
	streams    int16    // calls with streams that run
	ticks      uint8    // late ticks that the same call has had the turn for
	slowTicks  uint8    // those of them that came late themselves
	starting   bool     // a worker is going to ask for the next call
	open       bool     // OnConnected has succeeded
	idleKind   idleKind // what onIdle waits for
	givenUp    bool     // calls that have not returned are not waited for any more
	ended      error    // if not nil, nothing is added any more, and streams end with it
	onIdle     func()   // called once when the calls that are waited for have ended
}

// MaxStreams is how many calls with streams of one client may run; further ones fail. The reference has no limit, but each of them costs the
// server a goroutine, and its client almost nothing.
const MaxStreams = 1000

// maxTicks is for how many late ticks, a millisecond apart, a call can have the turn on a busy machine before it is assumed to wait. Ticks
// that came late, because no processor was free, are counted apart.
const maxTicks = 100

// needsSlot reports whether a call is one of those that MaximumParallelInvocationsPerClient counts.
func (k *Call) needsSlot() bool { return !k.wantsStream && k.uploads == nil }

// add appends a call. It returns false if the connection is closing.
func (q *runQueue) add(k *Call, streamIDs [][]byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended != nil {
		return false
	}
	if len(streamIDs) > 0 {
		q.openUploads(k, streamIDs)
	}
	if q.tail == nil {
		q.head = k
	} else {
		q.tail.next = k
	}
	q.tail = k
	if !k.wantsStream {
		q.unreturned++
	}
	if q.byID != nil {
		q.index(k)
	}
	return true
}

// maxReconnects is how many events of a client that connects again and again may wait.
const maxReconnects = 16

// addEvent appends the event of refreshed credentials, unless one waits already: it sees the newest ones when it begins; or that of a client that
// has connected again.
func (q *runQueue) addEvent(k *Call) {
	q.mu.Lock()
	waiting := 0
	for one := q.head; one != nil; one = one.next {
		if one.event == k.event {
			waiting++
		}
	}
	q.mu.Unlock()
	if waiting == 0 || k.event == reconnected && waiting < maxReconnects {
		q.add(k, nil)
	}
}

// canBegin reports whether the call at the head waits for nothing but the turn. The lock is held, as in all that follow.
func (q *runQueue) canBegin() bool {
	return q.head != nil && q.open && (!q.head.needsSlot() || q.slots.isFree())
}

// isTurnAwaited reports whether a call has the turn that another one, or OnDisconnected, waits for.
func (q *runQueue) isTurnAwaited() bool {
	return q.turn != nil && (q.canBegin() || q.onIdle != nil && q.idleKind == allBegun && q.head == nil)
}

// needsWorker reports whether a worker has to be started.
func (q *runQueue) needsWorker() bool {
	start := q.turn == nil && !q.starting && q.canBegin()
	if start {
		q.starting = true
	}
	return start
}

// begin takes the call at the head.
func (q *runQueue) begin() *Call {
	k := q.head
	duplicate := k.wantsStream && q.hasStream(k.id)
	if q.head = k.next; q.head == nil {
		q.tail = nil
	}
	k.next = nil
	if k.needsSlot() {
		k.slot = q.slots.acquire()
	} else if k.overLimit = q.streams == MaxStreams; k.overLimit {
		k.conn.hub.sys.counts.limits.Reach(metric.Streams)
	} else {
		q.streams++
		k.duplicateID = duplicate
	}
	if k.wantsStream && q.ended != nil {
		k.stop(q.ended)
	}
	k.index = int32(len(q.running))
	q.running = append(q.running, k)
	k.begun = true
	k.who = k.conn.who.Load()
	q.turn, q.ticks, q.slowTicks = k, 0, 0
	return k
}

// hasStream reports whether a stream with an id runs.
func (q *runQueue) hasStream(id []byte) bool {
	if q.byID == nil && len(q.running) > indexFrom {
		q.makeIndex()
	}
	if q.byID != nil {
		for k := q.byID[string(id)]; k != nil && k.begun; k = k.later { // those that wait are behind them
			if k.wantsStream {
				return true
			}
		}
		return false
	}
	for _, k := range q.running {
		if k.wantsStream && bytes.Equal(k.id, id) {
			return true
		}
	}
	return false
}

// next begins the next call, for a worker whose call has ended, if it has run one. If there is none, such a worker writes, and asks again with
// nil: what arrives meanwhile needs no other worker. waiting reports whether something waits for nothing but the turn.
func (q *runQueue) next(done *Call) (k *Call, waiting bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.starting = done != nil; q.starting {
		q.release(done)
	}
	if q.turn != nil || !q.canBegin() {
		return nil, q.isTurnAwaited()
	}
	q.starting = false
	k = q.begin()
	return k, q.canBegin()
}

// release frees what a call that has ended holds. It can be called twice.
func (q *runQueue) release(k *Call) {
	if k.released {
		return
	}
	k.released = true
	q.slots.release(&k.slot)
	if q.turn == k {
		q.turn = nil
	}
	if !k.wantsStream && !k.excluded {
		q.unreturned--
	}
	q.notifyIdle()
}

// exclude has the end of the connection not wait for a call, or wait for it again. A call for which it does not wait gives up its turn and its
// slot as well.
func (q *runQueue) exclude(k *Call, on bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if on && q.turn == k {
		q.turn = nil
	}
	if on && k.slot == heldSlot {
		q.slots.release(&k.slot)
	}
	if !k.isLifetime() && !k.wantsStream && !k.released && k.excluded != on {
		if k.excluded = on; on {
			q.unreturned--
		} else {
			q.unreturned++
		}
	}
	q.notifyIdle()
}

// forget removes a call whose completion is about to be sent from the tables, so that its id can be used again.
func (q *runQueue) forget(k *Call) {
	q.mu.Lock()
	defer q.mu.Unlock()
	last := len(q.running) - 1
	moved := q.running[last]
	q.running[k.index] = moved
	moved.index = k.index
	q.running[last] = nil
	q.running = q.running[:last]
	q.closeUploads(k)
	if !k.needsSlot() && !k.overLimit {
		q.streams--
	}
	if q.byID != nil {
		q.unindex(k)
	}
}
