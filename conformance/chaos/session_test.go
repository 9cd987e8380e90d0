package chaos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// session is one session of a client with the hub, from the handshake to the end, over one link or, with stateful reconnect, over several.
// What is sent comes from the goroutine of the client; another goroutine reads from the link.
type session struct {
	c         *client
	transport transport
	id        string // of the connection; empty while it is not known
	query     url.Values

	// Used by the goroutine of the client.
	lastID   int
	lastPing time.Time
	batching bool // what is sent waits in batched
	batched  []byte
	lastAck  int64

	batchedCall int64 // number of the last call in batched

	mu        sync.Mutex
	link      link          // the last one
	readEnds  chan struct{} // closed when nothing more is read from it
	greeted   bool          // the handshake has been answered
	known     bool          // Hello has been answered
	lost      time.Time     // when it was noticed that the link is lost; zero: it is not
	heard     time.Time     // when something was last received
	over      bool
	partial   bool // the last message was not whole, which only the end of a link excuses
	sequenced bool // the server has said where it goes on

	view      *view
	numbering numbering
	waiting   []*call // calls that are answered in their order
	open      map[string]*call
	replies   []string
	kept      []keptRecord
	lastKept  int64
	acked     int64

	sent, received, answered int64 // numbers of calls
	closing                  bool  // the client has said that it closes
	byFrame                  bool  // with a close frame
	ended                    error // of the last link
	closed                   *message
	forced                   bool
	trace                    []event
}

// keptRecord is a message that the server has not acknowledged.
type keptRecord struct {
	number int64
	call   int64 // number of the call; 0: it is none
	record string
}

// event is something that has happened to a session, for the text of a violation.
type event struct {
	at   time.Duration
	what string
}

const mostEvents = 30

// message is a message of the server.
type message struct {
	Type           int
	InvocationID   string
	Target         string
	Arguments      []note
	Item, Result   json.RawMessage
	Error          *string
	AllowReconnect bool
	SequenceID     int64
}

// Types of messages.
const (
	typeInvocation       = 1
	typeStreamItem       = 2
	typeCompletion       = 3
	typeStreamInvocation = 4
	typeCancelInvocation = 5
	typePing             = 6
	typeClose            = 7
	typeAck              = 8
	typeSequence         = 9
)

const separator = "\x1e"

// call is a call that has not been answered.
type call struct {
	id       string
	method   string
	number   int64 // 0: it is not executed
	series   int
	items    int // of a stream
	got      int
	canceled bool
	failure  string // the error that it has to have
}

func newSession(c *client, t transport) *session {
	s := &session{c: c, transport: t, query: url.Values{userQuery: {c.user()}}, open: map[string]*call{}, view: newView(&c.w.report.checked)}
	s.numbering = numbering{next: 1, hashes: map[int64]uint64{}}
	return s
}

// note adds to the trace. The lock is held.
func (s *session) note(what string) {
	s.trace = append(s.trace, event{s.c.w.since(), what})
	if len(s.trace) > mostEvents {
		s.trace = slices.Delete(s.trace, 0, 1)
	}
}

func (s *session) happened(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(what)
}

func (s *session) history() string {
	var b strings.Builder
	for _, e := range s.trace {
		fmt.Fprintf(&b, " [%.3f %s]", e.at.Seconds(), e.what)
	}
	return b.String()
}

// violation reports a violation of the model. The lock is held.
func (s *session) violation(format string, args ...any) {
	s.c.w.report.violation("client %d, session %s (%s), %.3f s: %s:%s", s.c.index, s.id, transportNames[s.transport], s.c.w.since().Seconds(),
		fmt.Sprintf(format, args...), s.history())
}

// attach puts a link under the session, and begins to read from it.
func (s *session) attach(l link) {
	ends := make(chan struct{})
	s.mu.Lock()
	s.link, s.readEnds, s.lost, s.partial = l, ends, time.Time{}, false
	if s.heard.IsZero() { // another WebSocket may be answered and be cut at once, because it has come too late
		s.heard = time.Now()
	}
	s.sequenced = !s.greeted // the first link has no Sequence
	s.mu.Unlock()
	s.c.all.Go(func() {
		defer close(ends)
		s.read(l)
	})
}

func (s *session) read(l link) {
	for {
		s.c.pauseReading()
		b, err := l.receive()
		s.mu.Lock()
		if err != nil && s.transport == polls && time.Since(s.heard) > surelyKept {
			s.forced = true // a client that does not poll is disconnected
		} else if err == nil || len(b) > 0 {
			s.heard = time.Now()
		}
		s.take(b)
		if err != nil {
			s.note("the link ends: " + err.Error())
			s.ended = err
			if s.transport == resuming && s.greeted && s.closed == nil && !s.closing && err != errClosed && !isCloseFrame(err) {
				s.lost = time.Now()
			} else {
				s.over = true
			}
		}
		s.mu.Unlock()
		s.c.wake()
		if err != nil {
			return
		}
	}
}

// take takes what has come over the link. The lock is held, as in all that follow.
func (s *session) take(b []byte) {
	if len(b) == 0 {
		return
	}
	if s.partial {
		s.violation("a message of the transport did not hold whole records")
	}
	for len(b) > 0 {
		record, rest, whole := bytes.Cut(b, []byte(separator))
		if s.partial = !whole; s.partial {
			return
		}
		b = rest
		if err := s.onRecord(record); err != nil {
			s.violation("%v", err)
		}
	}
}

func (s *session) onRecord(record []byte) error {
	if !s.greeted {
		if s.greeted = string(record) == "{}"; !s.greeted {
			return fmt.Errorf("the handshake has been answered with %s", record)
		}
		return nil
	}
	var m message
	if err := json.Unmarshal(record, &m); err != nil {
		return fmt.Errorf("%w: %s", err, record)
	}
	if s.closed != nil {
		return fmt.Errorf("behind a Close comes %.200s", record)
	}
	if !s.sequenced {
		if s.sequenced = m.Type == typeSequence; !s.sequenced {
			return fmt.Errorf("the first message over another WebSocket is %.200s", record)
		}
	}
	if s.transport == resuming && m.Type <= typeCancelInvocation {
		if again, err := s.numbering.receive(record, &s.c.w.report.checked); again || err != nil {
			return err
		}
	}
	switch m.Type {
	case typeInvocation:
		return s.onInvocation(&m)
	case typeStreamItem:
		return s.onItem(&m)
	case typeCompletion:
		return s.onCompletion(&m)
	case typePing:
		return nil
	case typeClose:
		s.closed = &m
		s.note("Close: " + string(record))
		return nil
	case typeAck:
		return s.onAck(m.SequenceID)
	case typeSequence:
		s.note(fmt.Sprintf("the server goes on with %d, the client has %d", m.SequenceID, s.numbering.last))
		return s.numbering.sequence(m.SequenceID)
	}
	return fmt.Errorf("a message of the server has a wrong type: %.200s", record)
}

func (s *session) onInvocation(m *message) error {
	if len(m.Arguments) != 1 {
		return fmt.Errorf("an invocation has %d arguments", len(m.Arguments))
	}
	if m.Target == "double" {
		s.replies = append(s.replies, fmt.Sprintf(`{"type":3,"invocationId":%q,"result":%d}`, m.InvocationID, 2*m.Arguments[0].Number))
		return nil
	}
	return s.view.receive(&m.Arguments[0])
}

func (s *session) onItem(m *message) error {
	k := s.open[m.InvocationID]
	if k == nil || k.items == 0 {
		return fmt.Errorf("an item of stream %q has come, which is not open", m.InvocationID)
	}
	s.c.w.report.checked[checkItems].add()
	if string(m.Item) != fmt.Sprint(k.got) || k.got == k.items {
		return fmt.Errorf("item %s has come in place of %d of %d", m.Item, k.got, k.items)
	}
	k.got++
	return nil
}

func (s *session) onAck(number int64) error {
	s.c.w.report.checked[checkAcks].add()
	if number < s.acked || number > s.lastKept {
		return fmt.Errorf("the server acknowledges %d behind %d, and %d were sent", number, s.acked, s.lastKept)
	}
	s.acked = number
	n := 0
	for ; n < len(s.kept) && s.kept[n].number <= number; n++ {
		s.received = max(s.received, s.kept[n].call)
	}
	s.kept = slices.Delete(s.kept, 0, n)
	return nil
}
