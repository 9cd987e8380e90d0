package actors

// How the calls of a connection end when the connection does.

// setOpen lets calls begin.
func (q *runQueue) setOpen() {
	q.mu.Lock()
	q.open = true
	q.mu.Unlock()
}

// end says that nothing more comes from the client: calls that have been received are run, but streams end, in both directions.
func (q *runQueue) end(cause error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended == nil {
		q.ended = cause
	}
	for _, k := range q.running {
		if k.wantsStream {
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

// drop drops the calls that wait.
func (q *runQueue) drop() (dropped bool) {
	q.mu.Lock()
	head := q.head
	q.head, q.tail = nil, nil
	for k := head; k != nil; k = k.next {
		q.closeUploads(k)
		if !k.wantsStream {
			q.unreturned--
		}
	}
	q.byID = nil
	q.notifyIdle()
	q.mu.Unlock()
	for k := head; k != nil; k = k.next {
		k.Bound()
		k.dropUploads()
		k.end()
	}
	return head != nil
}

// abort is end and drop.
func (q *runQueue) abort(cause error) {
	q.end(cause)
	q.drop()
}

// stop ends the contexts of all calls.
func (q *runQueue) stop(cause error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.each(func(k *Call) bool { k.stop(cause); return true })
}

// giveUp drops the calls that wait, and does not wait any longer for those that have not returned.
func (q *runQueue) giveUp() {
	q.drop()
	q.mu.Lock()
	q.givenUp = true
	q.notifyIdle()
	q.mu.Unlock()
}

// idleKind is what the end of a connection waits for.
type idleKind uint8

const (
	slotsFree   idleKind = iota // no call holds a slot or waits for one
	allBegun                    // no call waits, and none has the turn; with a limit of one, allReturned
	allReturned                 // except those whose results are streamed
)

// whenIdle reports whether the calls are idle in the sense of kind. If they are not, then is called when they are, with the lock held.
func (q *runQueue) whenIdle(kind idleKind, then func()) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.idleKind, q.onIdle = kind, nil
	if q.isIdle() {
		return true
	}
	q.onIdle = then
	return false
}

func (q *runQueue) isIdle() bool {
	switch {
	case q.idleKind == slotsFree:
		return q.slots.taken == 0 && q.head == nil
	case q.givenUp || !q.open:
		return true
	case q.idleKind == allBegun:
		return q.head == nil && q.turn == nil && (q.slots.limit > 1 || q.unreturned == 0)
	}
	return q.head == nil && q.unreturned == 0
}

// notifyIdle calls onIdle if the calls are idle. The lock is held.
func (q *runQueue) notifyIdle() {
	if q.onIdle != nil && q.isIdle() {
		then := q.onIdle
		q.onIdle = nil
		then()
	}
}

// checkIdle is notifyIdle without the lock.
func (q *runQueue) checkIdle() {
	q.mu.Lock()
	q.notifyIdle()
	q.mu.Unlock()
}
