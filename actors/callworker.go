package actors

import (
	"time"

	"github.com/troupe-go/troupe/actors/outbox"
)

// start starts a worker if a call can begin.
func (c *Connection) start() {
	q := &c.calls
	q.mu.Lock()
	start, awaited := q.needsWorker(), q.isTurnAwaited()
	q.mu.Unlock()
	if start {
		c.hub.sys.workers.do(c)
	}
	if awaited {
		c.out.WakeLate()
	}
}

// passTurn lets the next call begin, because k waits for something outside or has returned its stream. With yield, k releases its slot early.
func (c *Connection) passTurn(k *Call, yield bool) {
	q := &c.calls
	q.mu.Lock()
	if q.turn == k {
		q.turn = nil
	}
	if yield {
		q.slots.yield(&k.slot, c.settings.PendingResults)
	}
	q.notifyIdle()
	q.mu.Unlock()
	c.start()
}

// beforeWait is called before a call waits for something outside. Replies that its worker has not written are scheduled, and the next call may
// begin.
func (k *Call) beforeWait() {
	k.conn.out.Schedule()
	k.conn.passTurn(k, false)
}

// lateTick schedules replies, and passes the turn on if the call that has it seems to wait.
func (c *Connection) lateTick(onTime, quiet bool) {
	c.out.Schedule()
	q := &c.calls
	q.mu.Lock()
	awaited := q.isTurnAwaited()
	if awaited {
		again := q.ticks+q.slowTicks > 0 // the call had the turn at the last tick as well
		if onTime {
			q.ticks++
		} else {
			q.slowTicks++
		}
		if again && quiet || max(q.ticks, q.slowTicks) >= maxTicks {
			q.turn, awaited = nil, false
			q.notifyIdle()
		}
	}
	q.mu.Unlock()
	c.start()
	if awaited {
		c.out.WakeLate()
	}
}

// unread is a time for which the clock has not been read.
const unread time.Duration = -1

// work runs the calls that wait for this connection, on a worker. It writes the completions itself when no call waits any more, so that the
// answers to calls that came together leave together.
func (c *Connection) work() { c.runCalls(nil) }

// runCalls is work. If done is not nil, it continues behind a call whose code has ended the goroutine of its worker.
func (c *Connection) runCalls(done *Call) {
	w := outbox.BorrowWriter()
	var running *Call
	above, unscheduled := c.out.IsAboveMark(), done != nil // whose answer may not have been written
	now := unread
	defer func() {
		if running != nil { // runtime.Goexit: the call has been answered, and another worker continues
			c.hub.sys.workers.do(&goexited{c, running})
		}
		outbox.ReturnWriter(w)
	}()
	for {
		if c.calls.pause(done, above) { // the client gets no further answers meanwhile
			done = nil
			c.out.Schedule()
			c.out.WaitForRoom(nil)
			now = unread
		}
		k, waiting := c.calls.next(done)
		if k == nil {
			w.Flush(&c.out)
			now = unread
			if done != nil {
				k, waiting = c.calls.next(nil)
			}
		} else if unscheduled {
			waiting = true
		}
		if waiting {
			c.out.WakeLate()
		}
		if k == nil {
			return
		}
		if now == unread {
			now = c.hub.sys.now()
		}
		running = k
		var out outbox.Replied
		now, out = k.exec(now) // the next call begins when this one has ended, and the clock is read once
		running, done = nil, k
		above, unscheduled = out&outbox.AboveItsMark != 0, out&outbox.Unscheduled != 0
		if out&outbox.Enough != 0 {
			w.Flush(&c.out)
			above, unscheduled, now = c.out.IsAboveMark(), false, unread
		}
	}
}

// pause gives up the place of the call that a worker has run, if it has run one, because the client's outbox is above its mark and other
// calls wait. No other worker is started for them until it is called again with the outbox below its mark.
func (q *runQueue) pause(done *Call, above bool) bool {
	if !above {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.head == nil {
		return false
	}
	if done != nil {
		q.release(done)
	}
	q.starting = true
	return true
}

// goexited is the task of continuing behind a call that has called runtime.Goexit.
type goexited struct {
	conn *Connection
	done *Call
}

func (g *goexited) work() { g.conn.runCalls(g.done) }
