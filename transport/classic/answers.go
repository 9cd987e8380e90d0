package classic

import (
	"bytes"
	"strconv"
)

// waiter waits for the answer to a call.
type waiter struct {
	receiver *receiver   // the WebSocket that gets it; nil: a POST does
	answer   chan answer // of a POST; closed if there will be none
}

// answer is the answer to a call.
type answer struct {
	object []byte
	behind uint64 // number of the last message that was sent before it
}

// answerItself answers a call that does not reach its hub.
func (s *session) answerItself(w *waiter, object []byte) (number uint64, err error) {
	if number, err = s.await(w); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.unlock()
	if s.waiting[number] == nil { // the session has ended since
		return 0, errOver
	}
	delete(s.waiting, number)
	s.giveAnswer(w, object)
	s.changed = true
	return number, nil
}

// await returns the number of a new call, whose answer goes to w.
func (s *session) await(w *waiter) (number uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, errOver
	}
	s.calls++
	if s.waiting == nil {
		s.waiting = map[uint64]*waiter{}
	}
	s.waiting[s.calls] = w
	return s.calls, nil
}

func (s *session) forget(call uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, call)
}

func (s *session) deliverAnswer(record []byte) {
	number, object, _ := bytes.Cut(record, []byte{' '})
	n, err := strconv.ParseUint(string(number), 10, 64)
	w := s.waiting[n]
	if err != nil || w == nil {
		return
	}
	delete(s.waiting, n)
	s.giveAnswer(w, object)
}

// giveAnswer passes an answer on. A raw connection gets none over its WebSocket, and a WebSocket that was replaced gets none at all.
func (s *session) giveAnswer(w *waiter, object []byte) {
	switch {
	case w.receiver == nil:
		w.answer <- answer{object, s.ring.last()}
	case s.endpoint.Raw == nil && s.receiver == w.receiver:
		w.receiver.addAnswer(answer{bytes.Clone(object), s.ring.last()})
	}
}
