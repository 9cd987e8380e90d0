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
	nodes := make([]*waitNode, len(boxes))
	for i, b := range boxes {
		nodes[i] = b.await(w, true)
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
	for i, b := range boxes {
		b.forget(nodes[i])
	}
}

// waitNode is one waiter's entry in one box.
type waitNode struct {
	waiter  *waiter
	limited bool // it waits for room for what the limit is about
	next    *waitNode
	at      **waitNode // what points to it in the list; nil: it is not in the list any more
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
func (b *Box) await(w *waiter, limited bool) *waitNode {
	node := &waitNode{waiter: w, limited: limited}
	b.mu.Lock()
	room := b.hasRoom(limited)
	if !room {
		node.next, node.at = b.waiting, &b.waiting
		if b.waiting = node; node.next != nil {
			node.next.at = &node.next
		}
	}
	b.mu.Unlock()
	if room {
		w.arrive()
	}
	return node
}

// forget removes the entry of a waiter that has given up, if it is still there.
func (b *Box) forget(node *waitNode) {
	b.mu.Lock()
	defer b.mu.Unlock()
	node.remove()
}

// remove takes an entry out of the list. The lock is held.
func (n *waitNode) remove() {
	if n.at == nil {
		return
	}
	if *n.at = n.next; n.next != nil {
		n.next.at = n.at
	}
	n.next, n.at = nil, nil
}

// notify wakes those for whom there is room now. The lock is held.
func (b *Box) notify() {
	for node := b.waiting; node != nil; {
		next := node.next
		if b.hasRoom(node.limited) {
			node.remove()
			node.waiter.arrive()
		}
		node = next
	}
}

// WaitForRoom waits until the box is at most half full, or done is closed. Only goroutines of user code may call it. A peer that takes
// nothing is disconnected by the heartbeat.
func (b *Box) WaitForRoom(done <-chan struct{}) {
	w := newWaiter(1)
	node := b.await(w, false)
	select {
	case <-w.done:
	case <-done:
		b.forget(node)
	}
}

// HasBytesAboveLimit reports whether more than the limit waits for the peer.
func (b *Box) HasBytesAboveLimit() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.phase == open && b.bytes > int(b.limit)
}
