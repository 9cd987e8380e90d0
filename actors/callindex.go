package actors

import "bytes"

// indexFrom is how many calls are searched for an id before an index is made.
const indexFrom = 16

// cancel ends the context of the calls with an id. One that waits will start canceled.
func (q *runQueue) cancel(id []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.byID == nil {
		looked := 0
		few := q.each(func(k *Call) bool {
			if bytes.Equal(k.id, id) {
				k.stop(ErrCanceled)
			}
			looked++
			return looked < indexFrom
		})
		if few {
			return
		}
		q.makeIndex()
	}
	first := q.byID[string(id)]
	if first == nil {
		return
	}
	for k := first.earlier; !k.canceled; k = k.earlier { // those before one that was canceled have been as well
		k.canceled = true
		k.stop(ErrCanceled)
	}
}

func (q *runQueue) makeIndex() {
	q.byID = map[string]*Call{}
	q.each(func(k *Call) bool { q.index(k); return true })
}

// each visits all calls, as long as f returns true, and reports whether it did.
func (q *runQueue) each(f func(*Call) bool) bool {
	for _, k := range q.running {
		if !f(k) {
			return false
		}
	}
	for k := q.head; k != nil; k = k.next {
		if !f(k) {
			return false
		}
	}
	return true
}

// index adds a call behind those with its id.
func (q *runQueue) index(k *Call) {
	if len(k.id) == 0 {
		return
	}
	k.later, k.canceled = nil, false // it may have been in an index before
	first := q.byID[string(k.id)]
	if first == nil {
		q.byID[string(k.id)], k.earlier = k, k
		return
	}
	last := first.earlier
	last.later, k.earlier, first.earlier = k, last, k
}

func (q *runQueue) unindex(k *Call) {
	if len(q.running) == 0 && q.head == nil {
		q.byID = nil
		return
	}
	if len(k.id) == 0 {
		return
	}
	first := q.byID[string(k.id)]
	switch {
	case first != k:
		k.earlier.later = k.later
	case k.later != nil:
		q.byID[string(k.id)] = k.later
	default:
		delete(q.byID, string(k.id))
	}
	if k.later != nil {
		k.later.earlier = k.earlier
	} else {
		first.earlier = k.earlier
	}
	k.earlier, k.later = nil, nil
}
