package actors

import (
	"bytes"
	"slices"
	"sync"
)

// runQueue holds a connection's invocations: those that run, and those that wait for a slot, in order of arrival. It is shared by the
// connection actor and the workers, so that the end of a call is not a message: whoever frees a slot starts what waits for it.
//
// There are as many slots as MaximumParallelInvocationsPerClient says. A worker holds one, and runs one waiting call after the other.
// The first worker starts at once; others join it, twice as many each millisecond, when its call is still running then: so quick calls
// are answered in order and together, as they are by the reference, whose calls run until they wait for something before the next one
// starts. A call with streams needs no slot: when its turn comes it starts on a worker of its own. A call that waits for its client
// gives its slot back, once.
type runQueue struct {
	mu         sync.Mutex
	head, tail *Call
	running    []*Call
	uploads    map[string]*Upload
	slots      int32 // taken
	limit      int32
	streams    int32 // calls with streams that run
	open       bool  // OnConnected has succeeded
	closed     error
	idle       func() // called once, when nothing has a slot or waits for one any more
}

// MaxStreams is how many calls with streams one client may have running; further ones fail. The reference knows no limit, but each costs
// a goroutine, and a client next to nothing.
const MaxStreams = 1000

// free tells whether a call needs no slot.
func (k *Call) free() bool { return k.streaming || k.uploads != nil }

// add appends a call. false: the connection is closing.
func (q *runQueue) add(k *Call, streamIDs [][]byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed != nil {
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
	return true
}

// pop takes the call at the head.
func (q *runQueue) pop() *Call {
	k := q.head
	if q.head = k.next; q.head == nil {
		q.tail = nil
	}
	k.next = nil
	k.twin = k.streaming && slices.ContainsFunc(q.running, func(r *Call) bool { return r.streaming && bytes.Equal(r.id, k.id) })
	q.running = append(q.running, k)
	return k
}

// startFree starts the calls at the head that need no slot.
func (q *runQueue) startFree(w *workers) {
	for q.head != nil && q.head.free() {
		k := q.pop()
		if k.crowded = q.streams == MaxStreams; !k.crowded {
			q.streams++
		}
		w.do(k)
	}
}

// claim takes slots for workers, if calls wait for them: the first one, or, with more, as many as calls are running already. later says
// that it should be asked for more in a while.
func (q *runQueue) claim(more bool, w *workers) (claimed int32, later bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.open {
		return 0, false
	}
	if q.startFree(w); q.head == nil {
		return 0, false
	}
	if q.slots == 0 {
		claimed = 1
	} else if more {
		claimed = min(int32(len(q.running)), q.limit-q.slots)
	}
	q.slots += claimed
	return claimed, q.slots < q.limit && (q.head.next != nil || claimed == 0)
}

// next gives the worker that holds a slot the next call. With giveUp, the slot is free if there is none.
func (q *runQueue) next(giveUp bool, w *workers) *Call {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.startFree(w)
	if q.head == nil {
		if giveUp {
			q.slots--
		}
		return nil
	}
	k := q.pop()
	q.startFree(w) // what is at the head now does not wait for this one
	return k
}

// lend gives the slot of a running call back, if it has one.
func (c *Connection) lend(k *Call) {
	q := &c.calls
	q.mu.Lock()
	lend := !k.lent && !k.free() && slices.Contains(q.running, k)
	if lend {
		k.lent = true
		q.slots--
	}
	q.mu.Unlock()
	if lend {
		c.start(false)
		q.settled()
	}
}

// regain is for the worker of a call that has ended. false: its slot was given back, and is taken.
func (q *runQueue) regain(k *Call) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !k.lent {
		return true
	}
	if q.slots < q.limit {
		q.slots++
		return true
	}
	return false
}

// forget takes a call whose completion is about to be sent out of the tables, so that its id can be used again.
func (q *runQueue) forget(k *Call) {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.running, k)
	last := len(q.running) - 1
	q.running[i] = q.running[last]
	q.running[last] = nil
	q.running = q.running[:last]
	q.closeUploads(k)
	if k.free() && !k.crowded {
		q.streams--
	}
}

// settled tells who waits for it that the last worker has given its slot back: all calls have ended and been answered, but for those
// that wait for the client, or have streams.
func (q *runQueue) settled() {
	q.mu.Lock()
	var idle func()
	if q.idle != nil && q.slots == 0 && q.head == nil {
		idle, q.idle = q.idle, nil
	}
	q.mu.Unlock()
	if idle != nil {
		idle()
	}
}

// whenIdle calls f when no slot is taken and nothing waits for one, at once if that is so already.
func (q *runQueue) whenIdle(f func()) {
	q.mu.Lock()
	q.idle = f
	q.mu.Unlock()
	q.settled()
}

// cancel ends the context of the calls with an id. One that waits will start canceled.
func (q *runQueue) cancel(id []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, k := range q.running {
		if bytes.Equal(k.id, id) {
			k.stop(ErrCanceled)
		}
	}
	for k := q.head; k != nil; k = k.next {
		if bytes.Equal(k.id, id) {
			k.stop(ErrCanceled)
		}
	}
}

// close ends the context of what runs, and drops what waits.
func (q *runQueue) close(cause error) {
	q.mu.Lock()
	head := q.head
	q.head, q.tail, q.closed = nil, nil, cause
	for k := head; k != nil; k = k.next {
		q.closeUploads(k)
	}
	for _, k := range q.running {
		k.stop(cause)
		list, _ := k.Uploads()
		for _, u := range list { // a call that shuts the system down goes on
			u.end(cause)
		}
	}
	q.mu.Unlock()
	for k := head; k != nil; k = k.next {
		k.Bound()
		k.dropUploads()
		k.end()
	}
	q.settled()
}

// start lets workers run what waits, as far as there are slots.
func (c *Connection) start(more bool) {
	claimed, later := c.calls.claim(more, &c.sys.workers)
	for range claimed {
		c.sys.workers.do(c)
	}
	if later {
		c.lookLater()
	}
}

// work is a worker's way through the calls that wait for this connection. The worker holds a slot. It writes the completions itself
// when no call waits any more, so that the answers to calls that came together leave together.
func (c *Connection) work() { c.runCalls(nil) }

// runCalls goes on behind a call whose code ended its goroutine, if there is one.
func (c *Connection) runCalls(behind *Call) {
	w := borrowWriter()
	var running *Call
	defer func() {
		if running != nil { // runtime.Goexit: the call has been answered, the slot and what waits are still to be seen to
			c.sys.workers.do(&unfinished{c, running})
		}
		returnWriter(w)
	}()
	for k := behind; ; {
		if k != nil && !c.calls.regain(k) {
			w.flush(c)
			return
		}
		first := k == nil
		if k = c.calls.next(false, &c.sys.workers); k == nil {
			w.flush(c)
			if k = c.calls.next(true, &c.sys.workers); k == nil {
				c.calls.settled()
				return
			}
		} else if !first {
			c.unwritten()
		}
		c.giveTime()
		running = k
		enough := k.exec()
		running = nil
		if enough {
			w.flush(c)
		}
	}
}

// unfinished is the rest of a worker's way that runtime.Goexit has cut short.
type unfinished struct {
	conn   *Connection
	behind *Call
}

func (u *unfinished) work() { u.conn.runCalls(u.behind) }

var writers = sync.Pool{New: func() any { return new(writer) }}

func borrowWriter() *writer { return writers.Get().(*writer) }

func returnWriter(w *writer) {
	w.forget()
	writers.Put(w)
}
