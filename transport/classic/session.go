package classic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/internal/logs"
	"github.com/troupe-go/troupe/internal/metric"
	"github.com/troupe-go/troupe/proto/classic"
	"github.com/troupe-go/troupe/transport"
)

// session is what a client has with the hubs that it has listed. It lives until the client aborts it, the server closes a connection of it, or
// the client has been away for too long.
type session struct {
	endpoint *Endpoint
	id       string
	epoch    uint32 // of its cursors: no former session with this id has had it
	who      transport.Identity
	snapshot any             // of the request that has opened it
	known    <-chan struct{} // closed when all nodes know where it is; nil: they do

	mu         sync.Mutex
	members    []*member
	ring       ring
	watchers   []watcher     // of what has been delivered
	room       chan struct{} // closed when the ring may have room again; nil: nobody waits
	receiver   *receiver     // nil: the client is away
	former     uint32        // epoch of the session that the client had before, whose cursors say that it has seen nothing of this one; epoch: it had none
	awaySince  time.Time
	groups     map[string]struct{} // names with that of their hub in front
	regrouped  bool                // they may not be what the client knows
	sentGroups string              // the token's text that was sent last
	calls      uint64              // number of the last call
	waiting    map[uint64]*waiter  // for the answers to calls
	closed     bool
	goingAway  bool // its client has to connect again
	dismissed  bool // its client has to start anew, if it may
	reserved   bool // it counts as a connection, because it has none
	unreceived bool // it was not opened by /connect or /start, and has had no receiver: the groups of the client, and perhaps hubs, are not there yet
	received   bool // it has had a receiver
	changed    bool // there may be something to write: see unlock
}

// errUnauthorized says that the client may not use a hub.
var errUnauthorized = errors.New("the client may not use the hub")

// newSession returns a session without connections. The lock of the endpoint is held.
func newSession(e *Endpoint, in *request, opening actors.Opening) *session {
	e.epoch++
	return &session{
		endpoint: e, id: in.id, epoch: e.epoch, former: e.epoch, ring: ring{first: 1, messages: e.ReplayMessages, size: e.ReplayBytes}, sentGroups: noGroups, awaySince: time.Now(), who: in.who,
		unreceived: opening != actors.WithConnected,
		snapshot:   e.acceptor.Snapshot(transport.Opening{ID: in.id, Identity: in.who, Request: withoutGroupsToken(in.Request), Transport: in.transport.ofCore()}),
	}
}

const noGroups = "[]"

// unlock releases the lock, and writes to the WebSocket of the client if there may be something to write and nobody does it already.
func (s *session) unlock() {
	var k *socket
	if s.changed && s.receiver != nil {
		if k = s.receiver.socket; k != nil && k.writing {
			k = nil
		}
		if k != nil {
			k.writing = true
		} else if s.receiver.socket == nil {
			s.receiver.wakeUp()
		}
	}
	s.changed = false
	s.mu.Unlock()
	if k != nil {
		k.flush()
	}
}

// addMember makes the connection of a hub. The lock is held.
func (s *session) addMember(hub Hub, opening actors.Opening) error {
	m := &member{session: s, hub: hub, quiet: opening == actors.WithoutEvents, opened: make(chan struct{}), known: make(chan struct{})}
	m.reading.Lock() // the connection may end before Connect returns
	defer m.reading.Unlock()
	conn, err := hub.Connect(s.id, s.snapshot, m, m, opening)
	if err != nil {
		return err
	}
	m.conn = conn
	s.members = append(s.members, m)
	return nil
}

// ofCore returns the transport of ASP.NET Core SignalR that is the most similar.
func (t Transports) ofCore() transport.Transports {
	switch t {
	case WebSockets:
		return transport.WebSockets
	case LongPolling:
		return transport.LongPolling
	}
	return transport.ServerSentEvents
}

// member returns the connection of a hub. It makes one without events if the client calls a hub that it has not listed.
func (s *session) member(ctx context.Context, who transport.Identity, hub Hub) (*member, error) {
	if m := s.find(hub); m != nil {
		return m, nil
	}
	if hub.Authorize(ctx, who) != nil { // which may take its time
		return nil, errUnauthorized
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.findLocked(hub); m != nil {
		return m, nil
	}
	if s.closed {
		return nil, errOver
	}
	if err := s.addMember(hub, actors.WithoutEvents); err != nil {
		return nil, err
	}
	return s.members[len(s.members)-1], nil
}

func (s *session) find(hub Hub) *member {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.findLocked(hub)
}

func (s *session) findLocked(hub Hub) *member {
	for _, m := range s.members {
		if m.hub == hub {
			return m
		}
	}
	return nil
}

func (s *session) allMembers() []*member {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.members)
}

// start has all connections begin, and waits until they have, and all nodes know. It returns false if one was refused.
func (s *session) start(done <-chan struct{}) bool {
	members := s.allMembers()
	for _, m := range members {
		m.begin()
	}
	for _, m := range members {
		for _, step := range []chan struct{}{m.opened, m.known} {
			select {
			case <-step:
			case <-done:
				return false
			}
		}
		if m.over.Load() {
			return false
		}
	}
	return true
}

// rejoin opens the connections of a session that was lost, in the hubs that the client has listed and in the groups that its token says.
func (s *session) rejoin(hubs []Hub, groups []string) {
	s.mu.Lock()
	for _, hub := range hubs {
		if s.findLocked(hub) == nil && !s.closed {
			if err := s.addMember(hub, actors.WithReconnected); err != nil {
				s.endpoint.hubs.Debug("a session of SignalR 2 could not be opened again in a hub", "session", s.id, "hub", hub.Name(), "error", logs.Error(err))
			}
		}
	}
	s.mu.Unlock()
	for _, m := range s.allMembers() {
		prefix := m.hub.Name() + "."
		var own []string
		for _, group := range groups {
			if len(group) > len(prefix) && group[:len(prefix)] == prefix {
				own = append(own, group[len(prefix):])
				s.setGroup(group, true) // the client's next token has it, though the connection joins later
			}
		}
		m.beginIn(own)
	}
}

// deliver takes records that the connection of a hub writes, and keeps their memory.
func (s *session) deliver(m *member, records []byte) {
	s.mu.Lock()
	defer s.unlock()
	// What is kept keeps its frame. Answers, and most of what a quiet connection gets, are not kept, so messages beside them get memory of their own.
	shared := !m.quiet && !bytes.HasPrefix(records, []byte{classic.AnswerRecord}) && !bytes.Contains(records, []byte{classic.Separator, classic.AnswerRecord})
	for len(records) > 0 {
		record, rest, _ := bytes.Cut(records, []byte{classic.Separator})
		records = rest
		if len(record) == 0 {
			continue
		}
		switch record[0] {
		case classic.MessageRecord:
			if !m.quiet || bytes.HasPrefix(record[1:], []byte(`{"I"`)) { // a client fails at a call for a hub that it has not listed
				message := record[1:]
				if !shared {
					message = bytes.Clone(message)
				}
				s.push(message)
			}
		case '{':
			m.isKnown()
		case classic.AnswerRecord:
			s.deliverAnswer(record[1:])
		case classic.CloseRecord:
			s.goingAway = s.goingAway || len(record) > 1
			s.dismissed = s.dismissed || len(record) == 1
		}
	}
	s.changed = true
}

// push keeps a message for the client.
func (s *session) push(message []byte) {
	if s.endpoint.Raw != nil {
		message = classic.RawValue(message)
	}
	dropped := s.ring.dropped
	s.ring.push(message, s.isPresent())
	for range s.ring.dropped - dropped {
		s.endpoint.Limits.Reach(metric.Replay)
	}
}

// hasExpired reports whether the credentials of the user have expired.
func (s *session) hasExpired(now time.Time) bool {
	return !s.who.Expires.IsZero() && !now.Before(s.who.Expires)
}

// goAway ends a session that has no connections, because the server shuts down, or because the credentials of its user have expired.
func (s *session) goAway() {
	s.mu.Lock()
	s.goingAway, s.changed = true, true
	s.unlock()
	s.close(nil)
}

// leftBy ends the session when the server has closed a connection of it. If the client is to connect again, those of its other hubs first execute
// and answer what they have received.
func (s *session) leftBy() {
	s.mu.Lock()
	var others []*member
	if s.goingAway && !s.closed {
		others = slices.DeleteFunc(slices.Clone(s.members), func(m *member) bool { return m.over.Load() })
	}
	s.mu.Unlock()
	if len(others) == 0 {
		s.close(nil)
	}
	for _, m := range others {
		m.conn.Close(nil)
	}
}

// isFresh reports whether a request that receives is the first one of a session that the client takes for one that it had before.
func (s *session) isFresh() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := s.unreceived
	s.unreceived = false
	return fresh
}

// attach has a request receive what the client has not seen, in place of another one: what is behind its cursor or, if it connects or is the first
// one of the session, what was not written to it yet. known are the groups that its token says.
func (s *session) attach(r *receiver, known []string, cursor string, connects bool) bool {
	s.mu.Lock()
	defer s.unlock()
	if s.closed {
		return false
	}
	if s.receiver != nil {
		s.receiver.end()
	}
	seen, ok := classic.ParseCursor(cursor)
	switch {
	case connects:
		r.sent = s.ring.delivered
	case !s.received: // the cursor is of a former session: until the client has another one, it has seen nothing
		r.sent = s.ring.delivered
		if ok {
			s.former = seen.Epoch
		}
	case ok && seen.Epoch == s.former && s.former != s.epoch:
		r.sent = 0
	default:
		r.sent = s.ring.position(seen, s.epoch, ok)
	}
	s.ring.rewind(r.sent)
	s.received = true
	s.sentGroups, s.regrouped = groupsText(known), true
	s.receiver = r
	s.awaySince = time.Time{}
	s.changed = true
	return true
}

// detach says that a request has ended.
func (s *session) detach(r *receiver) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.receiver == r {
		s.receiver, s.awaySince = nil, time.Now()
		s.noteRoom()
	}
	for number, w := range s.waiting { // answers that nobody gets any more
		if w.receiver == r {
			delete(s.waiting, number)
		}
	}
}

// isAway reports whether the client has been away for longer than a time.
func (s *session) isAway(limit time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.receiver == nil && time.Since(s.awaySince) > limit
}

// next returns what a receiver has to send: an envelope, or the answer to a call. It returns nothing if there is nothing, and false if the
// receiver is over.
func (s *session) next(r *receiver) (envelope *classic.Envelope, answer []byte, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nextLocked(r)
}

func (s *session) nextLocked(r *receiver) (envelope *classic.Envelope, answer []byte, ok bool) {
	if s.receiver != r {
		return nil, nil, false
	}
	end := s.ring.last()
	if len(r.answers) > 0 {
		end = r.answers[0].behind
	}
	messages, last := s.ring.after(r.sent, end)
	s.noteDelivery(r.sent) // which has been written
	r.sent = last
	if len(messages) == 0 && len(r.answers) > 0 {
		return nil, r.takeAnswer(), true
	}
	groups := s.changedGroups()
	if len(messages) == 0 && groups == nil && !r.initializes {
		return nil, nil, !s.closed
	}
	envelope = &classic.Envelope{Cursor: classic.Cursor{Epoch: s.epoch, Number: last}, Initialized: r.initializes, Groups: groups, Messages: messages}
	r.initializes = false
	return envelope, nil, true
}

// final is the envelope of a poll that has nothing to send.
func (s *session) final(r *receiver) *classic.Envelope {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &classic.Envelope{Cursor: classic.Cursor{Epoch: s.epoch, Number: r.sent}, GoingAway: s.goingAway}
}

// changedGroups returns a token of the groups if they are not those that were sent last.
func (s *session) changedGroups() *string {
	if !s.regrouped {
		return nil
	}
	s.regrouped = false
	text := groupsText(slices.Collect(maps.Keys(s.groups)))
	if text == s.sentGroups {
		return nil
	}
	token := s.endpoint.Keys.protect(groupsPurpose, s.id+":"+text)
	s.sentGroups = text
	return &token
}

// groupsText returns groups as they are in a token.
func groupsText(groups []string) string {
	if len(groups) == 0 {
		return noGroups
	}
	text, _ := json.Marshal(slices.Sorted(slices.Values(groups))) // strings
	return string(text)
}

// groupsOf returns the groups of a client's token, which are none if it is not a token of this session.
func (e *Endpoint) groupsOf(in *request) []string {
	text, err := e.Keys.unprotect(groupsPurpose, in.value("groupsToken"))
	id, list, ok := strings.Cut(text, ":")
	var groups []string
	if err != nil || !ok || !strings.EqualFold(id, in.id) || json.Unmarshal([]byte(list), &groups) != nil {
		return nil
	}
	return groups
}

// close ends the session and its connections. A cause says that the client has not ended it.
func (s *session) close(cause error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	members := slices.Clone(s.members)
	for _, w := range s.waiting {
		if w.receiver == nil {
			close(w.answer)
		}
	}
	clear(s.waiting)
	s.noteRoom()
	if s.receiver != nil && s.receiver.socket != nil {
		s.receiver.socket.cutLater()
	}
	reserved, dismissed := s.reserved, s.dismissed && !s.goingAway
	s.changed = true
	s.unlock()
	s.endpoint.forget(s, dismissed)
	if reserved {
		s.endpoint.acceptor.Release(s.snapshot)
	}
	for _, m := range members {
		m.end(cause)
	}
}
