package actors

import (
	"sync"
	"time"
)

// outbox is one FIFO of everything that goes to a connection, and one word that says who may write:
//
//	idle → queued (on its flusher's list) → writing → idle
//	                                        writing → blocked: a drainer owns it until the socket has taken everything
//
// A push that finds idle queues the connection with its flusher; a push that finds anything else relies on the owner, who looks
// again before giving the box back. A writer locks to take what is pending, writes unlocked, and locks to give back.
type outbox struct {
	mu       sync.Mutex
	queue    []*packet
	bytes    int // charged and not yet taken by the kernel
	state    boxState
	late     bool // on the flusher's late list
	sealed   bool // nothing can be pushed any more
	spilled  bool // because it was full: that is what ends the connection, whoever tells the actor first
	finished bool // the transport's last frame is being written: nothing follows it
	over     bool // it has been taken, or never will be
	pong     []byte

	room    chan struct{} // made by who waits for room, closed when there is a reason to look again
	drained bool          // emptied since the mark was last crossed
	moved   time.Duration // when it last had taken half a limit's worth within moveTime, or was emptied before filling up
	window  time.Duration // the beginning of the moveTime that is being looked at
	since   int           // bytes taken since then
	taken   uint64        // bytes taken in all; the heartbeat sees by it whether the socket moves
}

type boxState uint8

const (
	boxIdle boxState = iota
	boxQueued
	boxWriting
	boxBlocked
)

// moveTime is how long an outbox counts as moving without having taken half a limit's worth.
const moveTime = time.Second

// pushed is what became of a push.
type pushed uint8

const (
	pushDropped  pushed = iota // the connection is closing
	pushQueued                 // there is room
	pushAbove                  // queued, above the mark on an outbox that moves: the sender waits if it can
	pushOverflow               // the outbox was full: it has been sealed, and the connection is to be told
)

// push appends a packet for this connection. Unless it is part of a fan-out it goes before those that are. At the limit an outbox that
// moves takes one more from a sender that will wait for room: of many who send at once, each is one too many.
func (c *Connection) push(p *packet, fanout, waits bool) pushed {
	o := &c.out
	limit := c.settings.OutboxLimit
	o.mu.Lock()
	if o.sealed {
		o.mu.Unlock()
		return pushDropped
	}
	before, after := o.bytes, o.bytes+p.charge()
	moves := false
	if mark := limit / 2; after > mark {
		now := c.sys.now()
		if before <= mark && o.drained {
			o.drained, o.moved, o.window, o.since = false, now, now, 0
		}
		moves = o.moves(now)
	}
	if before > 0 && after > limit && (!moves || !waits) {
		o.sealed, o.spilled = true, true
		o.discard()
		o.mu.Unlock()
		return pushOverflow
	}
	o.queue = append(o.queue, p)
	o.bytes = after
	result := pushQueued
	if moves {
		result = pushAbove
	}
	c.unlock(true, fanout)
	return result
}

// pushIfIdle pushes a message, which no limit touches, if nothing else is on its way.
func (c *Connection) pushIfIdle(p *packet) {
	o := &c.out
	o.mu.Lock()
	push := !o.sealed && len(o.queue) == 0 && o.state == boxIdle
	if push {
		o.queue = append(o.queue, p)
		o.bytes += p.charge()
	}
	c.unlock(push, true)
}

// hold queues the first message. true: it is not written before tell is called. Else whoever has the box now takes it along, if it is not
// sealed.
func (c *Connection) hold(p *packet) bool {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sealed {
		return false
	}
	o.queue = append(o.queue, p)
	o.bytes += p.charge()
	if o.state != boxIdle {
		return false
	}
	o.state = boxQueued
	return true
}

// unlock gives the outbox's lock back. If there is something to write and nobody writes, who does so for this connection is told: its
// flusher, or the request that fetches.
func (c *Connection) unlock(write, fanout bool) {
	tell := write && c.out.state == boxIdle
	if tell {
		c.out.state = boxQueued
	}
	c.out.mu.Unlock()
	if tell {
		c.tell(fanout)
	}
}

// tell is for whoever has made the outbox boxQueued.
func (c *Connection) tell(fanout bool) {
	if c.pull == nil {
		c.flusher.dirty(c, fanout)
		return
	}
	select {
	case c.pull.ready <- struct{}{}:
	default:
	}
}

func (o *outbox) moves(now time.Duration) bool { return now-o.moved < moveTime }

// discard drops what is queued. What an owner has taken already is still its own.
func (o *outbox) discard() {
	for i, p := range o.queue {
		o.bytes -= p.charge()
		p.free()
		o.queue[i] = nil
	}
	o.queue = o.queue[:0]
	o.look()
}

// look lets those who wait for room look again.
func (o *outbox) look() {
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
}

// release takes n charged bytes off the count, because the kernel has them.
func (o *outbox) release(n, limit int, now func() time.Duration) {
	if o.bytes -= n; o.bytes <= limit/2 {
		o.look()
	}
	o.move(n, limit, now)
}

// move notes that the kernel has taken n bytes. Only a box that is not empty needs to know the time.
func (o *outbox) move(n, limit int, now func() time.Duration) {
	o.taken += uint64(n)
	if o.bytes == 0 {
		o.drained, o.since = true, 0
		return
	}
	t := now()
	if t-o.window >= moveTime {
		o.window, o.since = t, 0
	}
	if o.since += n; o.since >= limit/2 {
		o.moved, o.window, o.since = t, t, 0
	}
}

// reply appends a completion or an item to the connection's own last packet. No limit applies to it: its client's next call, or the
// stream's next item, waits for room. Unless it shall be written at once, its worker writes it when no call waits; enough says that so
// much is unwritten that it should be written now.
func (c *Connection) reply(message []byte, now bool) (enough bool) {
	o := &c.out
	o.mu.Lock()
	if o.sealed {
		o.mu.Unlock()
		return false
	}
	n := len(o.queue)
	if n == 0 || !o.queue[n-1].own || o.queue[n-1].messages == maxMerged || len(o.queue[n-1].b)+len(message) > maxMergedBytes {
		o.queue = append(o.queue, ownPackets.Get().(*packet))
		o.bytes += overhead
		n++
	}
	p := o.queue[n-1]
	p.b = append(p.b, message...)
	p.messages++
	o.bytes += len(message)
	enough = p.messages == maxMerged || o.bytes >= maxMergedBytes
	c.unlock(now, false)
	return enough
}

// schedule hands what a worker has left unwritten to the flusher.
func (c *Connection) schedule() {
	c.out.mu.Lock()
	c.unlock(len(c.out.queue) > 0, false)
}

// unwritten is said by a worker that starts another call with completions unwritten: they will be written within a millisecond, should
// that call still run then.
func (c *Connection) unwritten() {
	o := &c.out
	o.mu.Lock()
	late := o.state == boxIdle && len(o.queue) > 0
	o.mu.Unlock()
	if late {
		c.lookLater()
	}
}

// lookLater puts the connection on its flusher's late list.
func (c *Connection) lookLater() {
	o := &c.out
	o.mu.Lock()
	add := !o.late
	o.late = true
	o.mu.Unlock()
	if add {
		c.flusher.later(c)
	}
}

// lookNow is a millisecond after lookLater.
func (c *Connection) lookNow() {
	c.out.mu.Lock()
	c.out.late = false
	c.out.mu.Unlock()
	c.schedule()
	c.start(true)
}

// Pong answers a ping of the WebSocket layer with a frame, which it keeps. Only the newest answer is kept until it is written.
func (c *Connection) Pong(frame []byte) {
	o := &c.out
	o.mu.Lock()
	if !o.finished {
		o.pong = frame
	}
	c.unlock(!o.finished, false)
}

// seal appends the connection's last message, if it has one, and lets nothing follow. Whoever empties the box closes the transport.
// With drop, nothing that is pending is sent any more, either.
func (c *Connection) seal(last *packet, drop bool) {
	o := &c.out
	o.mu.Lock()
	if drop {
		o.discard()
	}
	if last != nil && !o.sealed {
		o.queue = append(o.queue, last)
		o.bytes += last.charge()
	}
	o.sealed = true
	o.look()
	c.unlock(true, false)
}

// abandon is for a socket that is gone: nothing can be written any more, and a reader that waits is let go, so that it sees that, too.
func (c *Connection) abandon() {
	c.closed.Store(true)
	c.closeDone()
	o := &c.out
	o.mu.Lock()
	o.sealed, o.finished, o.over, o.pong = true, true, true, nil
	o.discard()
	o.mu.Unlock()
	c.cut()
	c.post(&written{})
}

// lastFrameWritten follows the transport's last frame.
func (c *Connection) lastFrameWritten() {
	c.out.mu.Lock()
	c.out.over = true
	c.out.mu.Unlock()
	c.socket.Finished()
	c.post(&written{})
}

// isOver tells whether nothing more will be written.
func (c *Connection) isOver() bool {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.over
}

// aboveMark tells whether the outbox is more than half full.
func (c *Connection) aboveMark() bool {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return !c.out.sealed && c.out.bytes > c.settings.OutboxLimit/2
}

// giveTime waits for a client that takes no more than it is given: it gets no further answers meanwhile.
func (c *Connection) giveTime() {
	if c.aboveMark() {
		c.schedule()
		c.waitForRoom(c.Done(), true)
	}
}

// waitForRoom waits until the outbox is below its mark or sealed, or until done is closed; others than the connection's own workers wait
// no longer than it moves. Only goroutines of user code may call it.
func (c *Connection) waitForRoom(done <-chan struct{}, own bool) {
	o := &c.out
	var timer *time.Timer
	for {
		o.mu.Lock()
		left := moveTime
		if !own {
			left -= c.sys.now() - o.moved
		}
		if o.sealed || o.bytes <= c.settings.OutboxLimit/2 || left <= 0 {
			o.mu.Unlock()
			return
		}
		if o.room == nil {
			o.room = make(chan struct{})
		}
		room := o.room
		o.mu.Unlock()
		if timer == nil {
			timer = time.NewTimer(left)
			defer timer.Stop()
		} else {
			timer.Reset(left)
		}
		select {
		case <-room:
		case <-timer.C:
		case <-done:
			return
		}
	}
}
