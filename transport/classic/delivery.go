package classic

import (
	"slices"
	"time"
)

// deliveryTime is how long an answer that comes with a request of its own waits for the messages that were sent before it.
const deliveryTime = 100 * time.Millisecond

// awaitDelivery waits until messages up to a number have been given to the client, if it is there.
func (s *session) awaitDelivery(number uint64, done <-chan struct{}) {
	s.mu.Lock()
	if s.ring.delivered >= number || s.receiver == nil {
		s.mu.Unlock()
		return
	}
	moved := make(chan struct{})
	s.watchers = append(s.watchers, watcher{number, moved})
	s.mu.Unlock()
	timer := time.NewTimer(deliveryTime)
	defer timer.Stop()
	select {
	case <-moved:
		return
	case <-timer.C:
	case <-done:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers = slices.DeleteFunc(s.watchers, func(w watcher) bool { return w.moved == moved })
}

// presentTime is how long after its last request a client still is there: polls follow each other.
const presentTime = 2 * time.Second

// isPresent reports whether the client takes messages: then none is dropped that it has not been given, and who sends waits instead.
func (s *session) isPresent() bool {
	return !s.closed && (s.receiver != nil || time.Since(s.awaySince) < presentTime)
}

// awaitRoom waits while as much waits for a client that is there as is kept for it. It returns false at once if it would wait and must not.
func (s *session) awaitRoom(mayWait bool) bool {
	for {
		s.mu.Lock()
		if !s.isPresent() || !s.isFull() {
			s.mu.Unlock()
			return true
		}
		if !mayWait {
			s.mu.Unlock()
			return false
		}
		if s.room == nil {
			s.room = make(chan struct{})
		}
		room := s.room
		s.mu.Unlock()
		timer := time.NewTimer(presentTime / 4)
		select {
		case <-room:
		case <-timer.C: // it may have gone
		}
		timer.Stop()
	}
}

// isFull reports whether as much waits for the client as is kept for it.
func (s *session) isFull() bool {
	return s.ring.isFull() || s.receiver != nil && (len(s.receiver.answers) >= s.ring.messages || s.receiver.waiting >= s.ring.size)
}

// noteRoom says that the ring may have room again.
func (s *session) noteRoom() {
	if s.room != nil {
		close(s.room)
		s.room = nil
	}
}

// watcher waits until a message has been given to the client.
type watcher struct {
	number uint64
	moved  chan struct{}
}

// written says that everything that a receiver was given has been written. If another one has taken its place, the cursor of that tells what the
// client has.
func (s *session) written(r *receiver) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.receiver == r {
		s.noteDelivery(r.sent)
	}
}

// noteDelivery says that messages up to a number have been given to the client.
func (s *session) noteDelivery(number uint64) {
	s.ring.deliver(number)
	s.noteRoom()
	if len(s.watchers) == 0 {
		return
	}
	s.watchers = slices.DeleteFunc(s.watchers, func(w watcher) bool {
		if w.number <= s.ring.delivered {
			close(w.moved)
			return true
		}
		return false
	})
}
