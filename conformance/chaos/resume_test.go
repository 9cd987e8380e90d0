package chaos

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// resume goes on with a session over another WebSocket.
func (c *client) resume() {
	s := c.session
	s.link.close()
	<-s.readEnds
	l, err := c.w.openSocket(c.index, s.query)
	s.mu.Lock()
	away, silent := time.Since(s.lost), time.Since(s.heard) // a client that does not read notices late what the server has noticed at once
	s.mu.Unlock()
	status := statusOf(err)
	switch {
	case err == nil:
		s.goOn(l)
	case status == http.StatusNoContent || status == http.StatusNotFound || away > longestAway:
		s.mu.Lock()
		s.note(fmt.Sprintf("not resumed after %s: %v", away, err))
		s.over, s.forced = true, s.forced || silent > surelyKept
		s.mu.Unlock()
	default:
		s.happened("resuming: " + err.Error())
		c.w.report.retries.add()
		time.Sleep(retryPause)
	}
}

// goOn puts another WebSocket under a session, and sends again what the server has not acknowledged.
func (s *session) goOn(l *socket) {
	s.c.w.report.checked[checkResumed].add()
	s.mu.Lock()
	s.lastAck = 0
	first := s.lastKept + 1
	if len(s.kept) > 0 {
		first = s.kept[0].number
	}
	kept := append([]keptRecord(nil), s.kept...)
	s.note(fmt.Sprintf("resumed, goes on with %d, %d messages again", first, len(kept)))
	s.mu.Unlock()
	s.attach(l)
	var b strings.Builder
	fmt.Fprintf(&b, `{"type":9,"sequenceId":%d}%s`, first, separator)
	for _, one := range kept {
		s.c.w.report.resent.add()
		b.WriteString(one.record + separator)
	}
	if err := l.send([]byte(b.String())); err != nil {
		l.close()
	}
}

// send sends a record, which belongs to a call with a number, or to none. Tracked ones are kept for stateful reconnect.
func (s *session) send(record string, number int64, tracked bool) {
	s.mu.Lock()
	if tracked && s.transport == resuming {
		s.lastKept++
		s.kept = append(s.kept, keptRecord{s.lastKept, number, record})
	}
	l := s.link
	if !s.lost.IsZero() || s.over {
		l = nil
	}
	s.mu.Unlock()
	if s.batching {
		s.batched, s.batchedCall = append(s.batched, record+separator...), number
		return
	}
	if l == nil {
		return
	}
	s.write(l, []byte(record+separator), number)
}

// batch sends everything that f sends at once.
func (s *session) batch(f func()) {
	s.batching = true
	f()
	s.batching = false
	s.mu.Lock()
	l, alive := s.link, s.lost.IsZero() && !s.over
	s.mu.Unlock()
	if alive {
		s.write(l, s.batched, s.batchedCall)
	}
	s.batched = nil
}

// write writes whole records to the link. The last call in them has a number.
func (s *session) write(l link, records []byte, number int64) {
	if err := l.send(records); err != nil {
		l.close()
		return
	}
	if s.transport == events || s.transport == polls {
		s.mu.Lock()
		s.received = max(s.received, number)
		s.mu.Unlock()
	}
}
