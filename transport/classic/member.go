package classic

import (
	"bytes"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/troupe-go/troupe/internal/link"
	"github.com/troupe-go/troupe/internal/wsframe"
	"github.com/troupe-go/troupe/proto/classic"
)

// member is the socket of the connection that a session has in one hub. It takes everything at once; the session keeps it for the client.
type member struct {
	session *session
	hub     Hub
	conn    Connection
	quiet   bool // the client has not listed the hub: it gets answers alone

	reading sync.Mutex // what comes from the client, in one goroutine at a time
	begun   bool
	ended   bool

	opening sync.Once
	opened  chan struct{} // closed when the connection has opened, or has failed to
	knowing sync.Once
	known   chan struct{} // closed when all nodes send what is for it, or it has failed to open
	gone    sync.Once
	over    atomic.Bool // the connection has ended

	partial []byte // a frame that has not been written whole
}

var (
	_ link.Socket   = (*member)(nil)
	_ link.Observer = (*member)(nil)
)

var errOver = errors.New("the session is over")

// begin sends the handshake, unless that is done: the connection opens.
func (m *member) begin() {
	m.reading.Lock()
	defer m.reading.Unlock()
	m.beginLocked()
}

func (m *member) beginLocked() {
	if !m.begun && !m.ended {
		m.begun = true
		m.commit([]byte{'{', '}', classic.Separator})
	}
}

// beginIn is begin, with the groups that the connection is in from then on.
func (m *member) beginIn(groups []string) {
	m.reading.Lock()
	defer m.reading.Unlock()
	m.conn.Rejoin(groups)
	m.beginLocked()
}

// feed sends the record of a call.
func (m *member) feed(record []byte) error {
	m.reading.Lock()
	defer m.reading.Unlock()
	m.beginLocked()
	if m.ended {
		return errOver
	}
	m.commit(record)
	return nil
}

func (m *member) commit(record []byte) {
	for len(record) > 0 {
		n := copy(m.conn.Buffer(), record)
		m.conn.Commit(n)
		record = record[n:]
	}
}

// end ends the connection, unless that is done. It does not wait for a reader that waits for the connection.
func (m *member) end(cause error) {
	if m.reading.TryLock() {
		m.endLocked(cause)
		return
	}
	m.conn.Close(cause) // the reader does not wait any longer then
	go func() {
		m.reading.Lock()
		m.endLocked(cause)
	}()
}

func (m *member) endLocked(cause error) {
	defer m.reading.Unlock()
	if !m.ended {
		m.ended = true
		m.conn.End(cause)
	}
}

// Blocks is part of link.Socket, as are the methods that follow.
func (m *member) Blocks() bool { return false }

// TryWrite takes records, which are in frames of the WebSocket that a socket of the other dialect is.
func (m *member) TryWrite(b []byte) (int, error) {
	if !m.session.awaitRoom(false) {
		return 0, nil
	}
	m.take(b)
	return len(b), nil
}

// Write takes records when there is room for them.
func (m *member) Write(b []byte) (int, error) {
	m.session.awaitRoom(true)
	m.take(b)
	return len(b), nil
}

func (m *member) take(b []byte) {
	kept := keep(b) // for as long as one of its messages is kept
	if m.partial != nil {
		kept = slices.Concat(m.partial, b)
		m.partial = nil
	}
	for {
		records, rest, ok := wsframe.Cut(kept)
		if !ok {
			if len(rest) > 0 {
				m.partial = bytes.Clone(rest)
			}
			return
		}
		m.session.deliver(m, records)
		kept = rest
	}
}

// lastKept are the bytes that were kept last, by processor.
var lastKept = sync.Pool{New: func() any { return new([]byte) }}

// keep returns a copy of b, which is the same memory for all sessions that are sent the same one after the other.
func keep(b []byte) []byte {
	last := lastKept.Get().(*[]byte)
	defer lastKept.Put(last)
	if !bytes.Equal(*last, b) {
		*last = bytes.Clone(b)
	}
	return *last
}

// LastFrame returns nothing: the end of a connection has a record.
func (m *member) LastFrame() []byte { return nil }

// Finished says that the server has closed the connection, which ends the session.
func (m *member) Finished() { m.gone.Do(func() { go m.leave() }) }

// Cut says the same.
func (m *member) Cut() { m.Finished() }

func (m *member) leave() {
	m.reading.Lock()   // Connect has returned
	m.reading.Unlock() //nolint:staticcheck // nothing more is needed
	m.over.Store(true)
	m.opening.Do(func() { close(m.opened) })
	m.isKnown()
	m.end(nil)
	m.session.leftBy()
}

// Opened is part of link.Observer, as are the methods that follow.
func (m *member) Opened() { m.opening.Do(func() { close(m.opened) }) }

// isKnown is told of the answer to the handshake, which is written when all nodes send what is for the connection.
func (m *member) isKnown() { m.knowing.Do(func() { close(m.known) }) }

// Joined adds a group to the client's token.
func (m *member) Joined(group string) { m.session.setGroup(m.hub.Name()+"."+group, true) }

// Left removes a group from it.
func (m *member) Left(group string) { m.session.setGroup(m.hub.Name()+"."+group, false) }

func (s *session) setGroup(name string, in bool) {
	s.mu.Lock()
	defer s.unlock()
	if s.groups == nil {
		s.groups = map[string]struct{}{}
	}
	if in {
		s.groups[name] = struct{}{}
	} else {
		delete(s.groups, name)
	}
	s.regrouped, s.changed = true, true
}
