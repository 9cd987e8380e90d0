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
	if first == nil || first.canceled {
		return // as are those behind it
	}
	first.canceled = true
	for k := first; k != nil; k = k.sameID {
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

func (q *runQueue) index(k *Call) {
	if len(k.id) > 0 {
		k.sameID = q.byID[string(k.id)]
		q.byID[string(k.id)] = k
	}
}

func (q *runQueue) unindex(k *Call) {
	if len(q.running) == 0 && q.head == nil {
		q.byID = nil
		return
	}
	first := q.byID[string(k.id)]
	if first == k {
		if k.sameID == nil {
			delete(q.byID, string(k.id))
		} else {
			q.byID[string(k.id)] = k.sameID
		}
		return
	}
	for at := first; at != nil; at = at.sameID {
		if at.sameID == k {
			at.sameID = k.sameID
			return
		}
	}
}
