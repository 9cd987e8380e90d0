package actors

import (
	"context"
	"sync/atomic"
	"time"
)

// holdTime is for how long in all a receiver that is slower than the crowd may hold those who send to it, counted while its link is full
// and more than half of OutboxLimit waits for it. It has that time again when its outbox has been empty.
const holdTime = time.Second

// waiter waits until a number of outboxes have room.
type waiter struct {
	left atomic.Int32
	done chan struct{}
}

func newWaiter(outboxes int) *waiter {
	w := &waiter{done: make(chan struct{})}
	w.left.Store(int32(outboxes))
	return w
}

func (w *waiter) arrive() {
	if w.left.Add(-1) == 0 {
		close(w.done)
	}
}

// waitNode is one waiter's entry in one outbox.
type waitNode struct {
	waiter  *waiter
	limited bool // it waits for room for what the limit is about
	next    *waitNode
}

// hasRoom reports whether a sender need not wait. The lock is held.
func (o *outbox) hasRoom(limited bool) bool {
	bytes := o.bytes
	if limited {
		bytes = o.limited
	}
	return o.phase != boxOpen || bytes <= o.mark()
}

// await makes w's count go down when there is room, at once if there is.
func (o *outbox) await(w *waiter, limited bool) {
	o.mu.Lock()
	room := o.hasRoom(limited)
	if !room {
		o.waiting = &waitNode{w, limited, o.waiting}
	}
	o.mu.Unlock()
	if room {
		w.arrive()
	}
}

// notify lets those go on for whom there is room now. The lock is held.
func (o *outbox) notify() {
	for at := &o.waiting; *at != nil; {
		node := *at
		if !o.hasRoom(node.limited) {
			at = &node.next
			continue
		}
		*at = node.next
		node.waiter.arrive()
	}
}

// waitForRoom waits until there is room for more of the connection's own output, or done is closed. A client that takes nothing is
// disconnected by the heartbeat. Only goroutines of user code may call it.
func (o *outbox) waitForRoom(done <-chan struct{}) {
	w := newWaiter(1)
	o.await(w, false)
	select {
	case <-w.done:
	case <-done:
	}
}

// waitToPush waits before a push of what no limit counts, while more than the limit waits for the client already: senders that give up
// waiting for room cannot lift the limit again and again.
func (o *outbox) waitToPush(ctx context.Context) error {
	o.mu.Lock()
	over := o.phase == boxOpen && o.bytes > int(o.limit)
	o.mu.Unlock()
	if !over {
		return nil
	}
	if k := CallOf(ctx); k != nil {
		k.waits()
	}
	o.waitForRoom(ctx.Done())
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// patience reports whether a fan-out still has to wait for this receiver, and for how long the receiver may hold it. What waits for the
// server's own turn is not the receiver's fault: then it is asked again soon.
func (o *outbox) patience() (room bool, left time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.hasRoom(true) {
		return true, 0
	}
	if left = o.holdLeft(); !o.peerTurn {
		left = max(left, ownTurn)
	}
	return false, left
}

// ownTurn is how long a sender waits for the flusher before it looks again whether the receiver's link is full.
const ownTurn = 50 * time.Millisecond

// disconnectIf applies the policy of a receiver at its limit: if it is too slow, or at once if its sender does not wait any more. It returns
// true if the owner is to be told.
func (o *outbox) disconnectIf(waits bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.phase != boxOpen || o.limited <= int(o.limit) || waits && !o.isTooSlow() {
		return false
	}
	o.overflow()
	return true
}

// sending is what a Send has met on its way.
type sending struct {
	waits   bool // the sender can wait
	direct  bool // it goes to one connection
	reached int
	above   []aboveMark
	full    []*outbox
}

// aboveMark is an outbox that a Send has left above its mark.
type aboveMark struct {
	box  *outbox
	over bool // it was above its limit before
}

func (s *sending) push(o *outbox, p *packet, fanout bool) {
	s.reached++
	switch o.push(p, fanout, s.waits) {
	case pushAbove:
		s.above = append(s.above, aboveMark{o, false})
	case pushOver:
		s.above = append(s.above, aboveMark{o, true})
	case pushOverflow:
		s.full = append(s.full, o)
	}
}

// finish tells the owners of outboxes that were full, and waits for the others. A ctx that ends, ends the wait and not the Send.
func (s *sending) finish(ctx context.Context) {
	if s.waits && len(s.above) > 0 {
		if k := CallOf(ctx); k != nil {
			k.waits()
		}
		if s.direct {
			s.above[0].box.waitForRoom(ctx.Done())
		} else {
			s.waitForCrowd(ctx)
		}
		if ctx.Err() != nil { // whoever does not wait any more cannot lift a limit again and again
			for _, a := range s.above {
				if a.over {
					s.disconnect(a.box, false)
				}
			}
		}
	}
	for _, o := range s.full {
		o.owner.boxOverflowed()
	}
}

func (s *sending) disconnect(o *outbox, waits bool) {
	if o.disconnectIf(waits) {
		o.owner.boxOverflowed()
	}
}

// waitForCrowd waits until at least half of the receivers are below their marks, however long that takes: if most are slow, it is the
// server, or its link. A receiver that is slower than the crowd is waited for as long as it may hold senders; then it is disconnected if
// it was beyond its limit before this push, still is, and is too slow.
func (s *sending) waitForCrowd(ctx context.Context) {
	for ctx.Err() == nil {
		var holding []*outbox
		var longest time.Duration
		n := 0
		for _, a := range s.above {
			room, left := a.box.patience()
			if room {
				continue
			}
			s.above[n] = a
			n++
			if left > 0 {
				holding = append(holding, a.box)
				longest = max(longest, left)
			}
		}
		s.above = s.above[:n]
		if n > s.reached/2 {
			w := newWaiter(n - s.reached/2)
			for _, a := range s.above {
				a.box.await(w, true)
			}
			w.wait(ctx, 0)
			continue
		}
		for _, a := range s.above {
			if a.over {
				s.disconnect(a.box, true)
			}
		}
		if len(holding) == 0 {
			return
		}
		w := newWaiter(len(holding))
		for _, o := range holding {
			o.await(w, true)
		}
		w.wait(ctx, longest)
	}
}

// wait waits for the outboxes, for the end of ctx, and for no longer than most unless that is 0.
func (w *waiter) wait(ctx context.Context, most time.Duration) {
	var expired <-chan time.Time
	if most > 0 {
		timer := time.NewTimer(most)
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case <-w.done:
	case <-expired:
	case <-ctx.Done():
	}
}
