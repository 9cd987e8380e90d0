package actors

import "github.com/troupe-go/troupe/actors/outbox"

// start lets a worker run what can begin.
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

// pass lets the next call begin, because k waits for something outside or has returned its stream. With lend, k gives its slot back for good.
func (c *Connection) pass(k *Call, lend bool) {
	q := &c.calls
	q.mu.Lock()
	if q.turn == k {
		q.turn = nil
	}
	if lend {
		q.slots.lend(&k.slot, c.settings.PendingResults)
	}
	q.notifyIdle()
	q.mu.Unlock()
	c.start()
}

// beforeWait is called before a call waits for something outside: neither what its worker has left unwritten nor the calls behind it shall
// wait as well.
func (k *Call) beforeWait() {
	k.conn.out.Schedule()
	k.conn.pass(k, false)
}

// lateTick looks at what waits behind a running call.
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

// work runs the calls that wait for this connection, on a worker. It writes the completions itself when no call waits any more, so that the
// answers to calls that came together leave together.
func (c *Connection) work() { c.runCalls(nil) }

// runCalls goes on behind a call whose code ended its goroutine, if there is one.
func (c *Connection) runCalls(done *Call) {
	w := outbox.BorrowWriter()
	var running *Call
	defer func() {
		if running != nil { // runtime.Goexit: the call has been answered; its slot and the calls behind it are still to be seen to
			c.hub.sys.workers.do(&goexited{c, running})
		}
		outbox.ReturnWriter(w)
	}()
	for {
		if c.calls.pause(done, c.out.IsAboveMark()) { // the client gets no further answers meanwhile
			done = nil
			c.out.Schedule()
			c.out.WaitForRoom(nil)
		}
		k, waiting := c.calls.next(done)
		if k == nil {
			w.Flush(&c.out)
			if done != nil {
				k, waiting = c.calls.next(nil)
			}
			if k == nil {
				c.start()
				return
			}
		} else if done != nil && c.out.HasUnscheduled() {
			waiting = true
		}
		if waiting {
			c.out.WakeLate()
		}
		running = k
		enough := k.exec()
		running, done = nil, k
		if enough {
			w.Flush(&c.out)
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

// goexited is what is left for a worker to do when runtime.Goexit has ended another one.
type goexited struct {
	conn *Connection
	done *Call
}

func (g *goexited) work() { g.conn.runCalls(g.done) }
