package actors

import (
	"bytes"
	"sync"
)

// runQueue holds a connection's invocations: those that run, and those that wait, in order of arrival. It is shared by the connection
// actor and the workers, so that the end of a call is not a message: whoever makes it possible begins the next one.
//
// Calls begin in their order, and one at a time has the turn: the next one begins when it has returned, waits for something outside, or
// has returned its stream. So the code of a call up to its first wait runs before that of the next one begins, at every limit, as in the
// reference, whose calls run until they first wait. Where a call waits with us (for an answer of its client, for room, for items of an
// upload), that is known. Waiting elsewhere cannot be seen: it is taken for granted when the program has come to rest, or when the call has
// had the turn for longer than a goroutine waits for a busy processor.
//
// There are as many slots as MaximumParallelInvocationsPerClient says, and an invocation without streams holds one from its beginning to
// its end. One that waits for its client gives its slot back for good, so that the client can call the hub before it answers; a client has
// at most MaximumPendingResults such calls.
type runQueue struct {
	mu         sync.Mutex
	head, tail *Call
	running    []*Call
	turn       *Call              // the call behind which the next one waits
	uploads    map[string]*Upload // those that the client has not ended
	byID       map[string]*Call   // made by cancels when there is much to look through; calls with one id are chained
	slots      int32              // taken
	limit      int32
	owed       int32    // calls that have not returned, without those whose results are streamed
	lent       int16    // running calls that have given their slot back
	streams    int16    // calls with streams that run
	lateLooks  uint8    // and those that came late
	looks      uint8    // at the same turn
	starting   bool     // a worker is going to ask for the next call
	open       bool     // OnConnected has succeeded
	idleKind   idleKind // what idle waits for
	givenUp    bool     // calls that have not returned are not waited for any more
	ended      bool     // nothing is added any more
	idle       func()   // called once when the calls that are waited for have ended
}

// MaxStreams is how many calls with streams one client may have running; further ones fail. The reference knows no limit, but each costs
// a goroutine, and a client next to nothing.
const MaxStreams = 1000

// maxLooks is for how many looks, a millisecond apart, a call can have the turn on a busy machine before it is taken to wait. Looks that
// came late, because no processor was free, are counted apart.
const maxLooks = 100

// needsSlot reports whether a call is one of those that MaximumParallelInvocationsPerClient counts.
func (k *Call) needsSlot() bool { return !k.streaming && k.uploads == nil }

// add appends a call. It returns false if the connection is closing.
func (q *runQueue) add(k *Call, streamIDs [][]byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
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
	if !k.streaming {
		q.owed++
	}
	if q.byID != nil {
		q.index(k)
	}
	return true
}

// isBehind reports whether the call at the head waits for nothing but the turn. The lock is held, as in all that follow.
func (q *runQueue) isBehind() bool {
	return q.head != nil && q.open && (!q.head.needsSlot() || q.slots < q.limit)
}

// isTurnAwaited reports whether a call has the turn that another one, or OnDisconnected, waits for.
func (q *runQueue) isTurnAwaited() bool {
	return q.turn != nil && (q.isBehind() || q.idle != nil && q.idleKind == allBegun && q.head == nil)
}

// claim reports whether a worker has to be started, which then is on its way.
func (q *runQueue) claim() bool {
	start := q.turn == nil && !q.starting && q.isBehind()
	if start {
		q.starting = true
	}
	return start
}

// pop begins the call at the head.
func (q *runQueue) pop() *Call {
	k := q.head
	duplicate := k.streaming && q.hasStream(k.id)
	if q.head = k.next; q.head == nil {
		q.tail = nil
	}
	k.next = nil
	if k.needsSlot() {
		k.slot = true
		q.slots++
	} else if k.overLimit = q.streams == MaxStreams; !k.overLimit {
		q.streams++
		k.duplicateID = duplicate
	}
	if k.streaming && q.ended {
		k.stop(k.conn.sys.reason())
	}
	k.place = int32(len(q.running))
	q.running = append(q.running, k)
	k.begun = true
	q.turn, q.looks, q.lateLooks = k, 0, 0
	return k
}

// hasStream reports whether a stream with an id runs.
func (q *runQueue) hasStream(id []byte) bool {
	if q.byID == nil && len(q.running) > indexFrom {
		q.makeIndex()
	}
	if q.byID != nil {
		for k := q.byID[string(id)]; k != nil; k = k.sameID {
			if k.begun && k.streaming {
				return true
			}
		}
		return false
	}
	for _, k := range q.running {
		if k.streaming && bytes.Equal(k.id, id) {
			return true
		}
	}
	return false
}

// next begins the next call, for a worker whose call has ended, if it has run one. If there is none, such a worker writes, and asks again with
// nil: what comes meanwhile needs no other worker. behind says that another call waits for the turn only.
func (q *runQueue) next(done *Call) (k *Call, behind bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.starting = done != nil; q.starting {
		q.release(done)
	}
	if q.turn != nil || !q.isBehind() {
		return nil, false
	}
	q.starting = false
	k = q.pop()
	return k, q.isBehind()
}

// release frees what a call that has ended still holds, once.
func (q *runQueue) release(k *Call) {
	if k.released {
		return
	}
	k.released = true
	if k.slot {
		k.slot = false
		q.slots--
	}
	if k.lent {
		q.lent--
	}
	if q.turn == k {
		q.turn = nil
	}
	if !k.streaming && !k.excused {
		q.owed--
	}
	q.settle()
}

// excuse says whether the end of the connection waits for a call. One for which it does not wait has no place that others wait for, either.
func (q *runQueue) excuse(k *Call, on bool) {
	q.mu.Lock()
	if on && q.turn == k {
		q.turn = nil
	}
	if on && k.slot {
		k.slot = false
		q.slots--
	}
	if k.event == invocation && !k.streaming && !k.released && k.excused != on {
		if k.excused = on; on {
			q.owed--
		} else {
			q.owed++
		}
	}
	q.settle()
	q.mu.Unlock()
}

// forget takes a call whose completion is about to be sent out of the tables, so that its id can be used again.
func (q *runQueue) forget(k *Call) {
	q.mu.Lock()
	defer q.mu.Unlock()
	last := len(q.running) - 1
	moved := q.running[last]
	q.running[k.place] = moved
	moved.place = k.place
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

// ---- the end

// setOpen lets calls begin.
func (q *runQueue) setOpen() {
	q.mu.Lock()
	q.open = true
	q.mu.Unlock()
}

// end says that nothing more comes from the client: what has come is run, but streams end, in both directions.
func (q *runQueue) end(cause error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = true
	for _, k := range q.running {
		if k.streaming {
			k.stop(cause)
		}
	}
	q.each(func(k *Call) bool {
		list, _ := k.Uploads()
		for _, u := range list {
			u.end(cause)
		}
		return true
	})
}

// drop drops what waits.
func (q *runQueue) drop() {
	q.mu.Lock()
	head := q.head
	q.head, q.tail = nil, nil
	for k := head; k != nil; k = k.next {
		q.closeUploads(k)
		if !k.streaming {
			q.owed--
		}
	}
	q.byID = nil
	q.settle()
	q.mu.Unlock()
	for k := head; k != nil; k = k.next {
		k.Bound()
		k.dropUploads()
		k.end()
	}
}

// abort ends and drops at once, whoever is about to begin a call.
func (q *runQueue) abort(cause error) {
	q.end(cause)
	q.drop()
}

// stop ends the contexts of what runs and of what waits.
func (q *runQueue) stop(cause error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.each(func(k *Call) bool { k.stop(cause); return true })
}

// giveUp no longer waits for calls that have not returned.
func (q *runQueue) giveUp() {
	q.drop()
	q.mu.Lock()
	q.givenUp = true
	q.settle()
	q.mu.Unlock()
}

// idleKind is what the end of a connection waits for.
type idleKind uint8

const (
	slotsFree   idleKind = iota // no call holds a slot or waits for one
	allBegun                    // a further call could begin: all have begun and passed their turn, or, one at a time, ended
	allReturned                 // but those whose results are streamed
)

// whenIdle reports whether the calls have come so far. If they have not, then is called once they have.
func (q *runQueue) whenIdle(kind idleKind, then func()) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.idleKind, q.idle = kind, nil
	if q.rests() {
		return true
	}
	q.idle = then
	return false
}

func (q *runQueue) rests() bool {
	switch {
	case q.idleKind == slotsFree:
		return q.slots == 0 && q.head == nil
	case q.givenUp || !q.open:
		return true
	case q.idleKind == allBegun:
		return q.head == nil && q.turn == nil && (q.limit > 1 || q.slots == 0)
	}
	return q.head == nil && q.owed == 0
}

// settle tells who waits for it that the calls have ended. The lock is held.
func (q *runQueue) settle() {
	if q.idle != nil && q.rests() {
		idle := q.idle
		q.idle = nil
		idle()
	}
}

// settled is settle without the lock.
func (q *runQueue) settled() {
	q.mu.Lock()
	q.settle()
	q.mu.Unlock()
}
