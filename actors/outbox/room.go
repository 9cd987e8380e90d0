package outbox

import (
	"context"
	"sync/atomic"
	"time"
)

// waiter waits until a number of boxes have room.
type waiter struct {
	left atomic.Int32
	done chan struct{}
}

func newWaiter(boxes int) *waiter {
	w := &waiter{done: make(chan struct{})}
	w.left.Store(int32(boxes))
	return w
}

func (w *waiter) arrive() {
	if w.left.Add(-1) == 0 {
		close(w.done)
	}
}

// waitForSome waits until n of the boxes have room for what the limit is about, for the end of ctx, and for no longer than most unless that
// is 0.
func waitForSome(ctx context.Context, boxes []*Box, n int, most time.Duration) {
	w := newWaiter(n)
	for _, b := range boxes {
		b.await(w, true)
	}
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
	for _, b := range boxes {
		b.forget(w)
	}
}

// waitNode is one waiter's entry in one box.
type waitNode struct {
	waiter  *waiter
	limited bool // it waits for room for what the limit is about
	next    *waitNode
}

// hasRoom reports whether a sender need not wait. The lock is held.
func (b *Box) hasRoom(limited bool) bool {
	bytes := b.bytes
	if limited {
		bytes = b.limited
	}
	return b.phase != open || bytes <= b.mark()
}

// await decrements w's count when there is room, at once if there is.
func (b *Box) await(w *waiter, limited bool) {
	b.mu.Lock()
	room := b.hasRoom(limited)
	if !room {
		b.waiting = &waitNode{w, limited, b.waiting}
	}
	b.mu.Unlock()
	if room {
		w.arrive()
	}
}

// forget removes the entries of a waiter that has given up.
func (b *Box) forget(w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for at := &b.waiting; *at != nil; {
		if (*at).waiter == w {
			*at = (*at).next
		} else {
			at = &(*at).next
		}
	}
}

// notify wakes those for whom there is room now. The lock is held.
func (b *Box) notify() {
	for at := &b.waiting; *at != nil; {
		node := *at
		if !b.hasRoom(node.limited) {
			at = &node.next
			continue
		}
		*at = node.next
		node.waiter.arrive()
	}
}

// WaitForRoom waits until the box is at most half full, or done is closed. Only goroutines of user code may call it. A peer that takes
// nothing is disconnected by the heartbeat.
func (b *Box) WaitForRoom(done <-chan struct{}) {
	w := newWaiter(1)
	b.await(w, false)
	select {
	case <-w.done:
	case <-done:
		b.forget(w)
	}
}

// HasBytesAboveLimit reports whether more than the limit waits for the peer.
func (b *Box) HasBytesAboveLimit() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.phase == open && b.bytes > int(b.limit)
}
