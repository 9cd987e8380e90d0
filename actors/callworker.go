package actors

import "math"

// start lets a worker run what can begin.
func (c *Connection) start() {
	q := &c.calls
	q.mu.Lock()
	start, behind := q.claim(), q.isTurnAwaited()
	q.mu.Unlock()
	if start {
		c.sys.workers.do(c)
	}
	if behind {
		c.out.flusher.addLate(&c.out)
	}
}

// pass lets the next call begin, because k waits for something outside or has returned its stream. With lend, k's slot is free from then
// on.
func (c *Connection) pass(k *Call, lend bool) {
	q := &c.calls
	q.mu.Lock()
	if q.turn == k {
		q.turn = nil
	}
	if lend && k.slot && int(q.lent) < min(c.settings.PendingResults, math.MaxInt16) {
		k.slot, k.lent = false, true
		q.slots--
		q.lent++
	}
	q.settle()
	q.mu.Unlock()
	c.start()
}

// waits says that the call is about to wait for something outside: what its worker has left unwritten shall not wait as well, nor shall the
// calls behind it.
func (k *Call) waits() {
	k.conn.out.schedule()
	k.conn.pass(k, false)
}

// lateLook is part of boxOwner: it looks at what waits behind a running call.
func (c *Connection) lateLook(onTime, quiet bool) {
	c.out.schedule()
	q := &c.calls
	q.mu.Lock()
	behind := q.isTurnAwaited()
	if behind {
		seen := q.looks+q.lateLooks > 0 // the same turn, before the program was found quiet
		if onTime {
			q.looks++
		} else {
			q.lateLooks++
		}
		if seen && quiet || max(q.looks, q.lateLooks) >= maxLooks {
			q.turn, behind = nil, false
			q.settle()
		}
	}
	q.mu.Unlock()
	c.start()
	if behind {
		c.out.flusher.addLate(&c.out)
	}
}

// work is a worker's way through the calls that wait for this connection. It writes the completions itself when no call waits any more, so
// that the answers to calls that came together leave together.
func (c *Connection) work() { c.runCalls(nil) }

// runCalls goes on behind a call whose code ended its goroutine, if there is one.
func (c *Connection) runCalls(done *Call) {
	w := borrowWriter()
	var running *Call
	defer func() {
		if running != nil { // runtime.Goexit: the call has been answered, its place and what waits are still to be seen to
			c.sys.workers.do(&unfinished{c, running})
		}
		returnWriter(w)
	}()
	for {
		if c.calls.pause(done, c.out.aboveMark()) { // the client gets no further answers meanwhile
			done = nil
			c.out.schedule()
			c.out.waitForRoom(nil)
		}
		k, behind := c.calls.next(done)
		if k == nil {
			w.flush(&c.out)
			if done != nil {
				k, behind = c.calls.next(nil)
			}
			if k == nil {
				c.start()
				return
			}
		} else if done != nil && c.out.isUnwritten() {
			behind = true
		}
		if behind {
			c.out.flusher.addLate(&c.out)
		}
		running = k
		enough := k.exec()
		running, done = nil, k
		if enough {
			w.flush(&c.out)
		}
	}
}

// pause gives up the place of the call that a worker has run, if it has run one, because the client's outbox is above its mark and other
// calls wait. No other worker is started for them until it is called again with the outbox below.
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

// unfinished is the rest of a worker's way that runtime.Goexit has cut short.
type unfinished struct {
	conn *Connection
	done *Call
}

func (u *unfinished) work() { u.conn.runCalls(u.done) }
