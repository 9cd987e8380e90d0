package classic

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/transport"
)

// Has reports whether requests for a session are answered here: it is here, or a hub has closed it here for good.
func (e *Endpoint) Has(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, dismissed := e.dismissed[id]
	return dismissed || e.sessions[id] != nil
}

// session returns the session of a request, or nil.
func (e *Endpoint) session(id string) *session {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sessions[id]
}

// open returns the session of a request, which it makes if there is none.
func (e *Endpoint) open(in *request, opening actors.Opening) (s *session, isNew bool, err error) {
	if s, isNew, err = e.openLocked(in, opening); err != nil && s != nil {
		s.close(nil)
	}
	if err == nil && s.known != nil { // the next request of the client may reach another node
		select {
		case <-s.known:
		case <-in.Context().Done():
		}
	}
	return s, isNew, err
}

func (e *Endpoint) openLocked(in *request, opening actors.Opening) (s *session, isNew bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s = e.sessions[in.id]; s != nil {
		return s, false, nil
	}
	if e.acceptor.IsClosing() {
		return nil, false, errClosing
	}
	if _, dismissed := e.dismissed[in.id]; dismissed {
		return nil, false, fail(http.StatusForbidden, "", errors.New("the server has closed the session"))
	}
	if in.who.Relayed {
		return nil, false, fail(http.StatusNotFound, "", errors.New("the session has ended since the request was relayed"))
	}
	s = newSession(e, in, opening)
	if len(in.hubs) == 0 {
		if err := e.acceptor.Reserve(s.snapshot); err != nil {
			return nil, false, refusal(err)
		}
		s.reserved = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, hub := range in.hubs {
		if err := s.addMember(hub, opening); err != nil {
			return s, false, refusal(err)
		}
	}
	e.sessions[in.id] = s
	s.known = e.acceptor.Opened(in.id)
	if e.janitor == nil {
		e.janitor = time.AfterFunc(janitorPeriod, e.sweep)
	}
	return s, true, nil
}

// checkMembers asks the policies of the hubs that a session has connections in, and that the request has not listed. If one refuses, the session
// is over.
func (e *Endpoint) checkMembers(in *request, s *session) error {
	for _, m := range s.allMembers() {
		if slices.Contains(in.hubs, m.hub) {
			continue
		}
		if err := m.hub.Authorize(in.Context(), in.who); err != nil {
			s.close(nil)
			return e.unauthorized(in.who, err)
		}
	}
	return nil
}

// refusal is the answer to a request that cannot open a session.
func refusal(err error) error {
	var limit *transport.LimitError
	if errors.As(err, &limit) {
		return fail(limit.Status, limit.Text, err)
	}
	return fail(http.StatusServiceUnavailable, "", err)
}

// forget removes a session. One that was dismissed is not opened again, here or on another node: its client tries to reconnect for DisconnectTimeout.
func (e *Endpoint) forget(s *session, dismissed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.sessions[s.id] != s {
		return
	}
	delete(e.sessions, s.id)
	if dismissed {
		e.dismissed[s.id] = time.Now().Add(e.DisconnectTimeout + awayGrace)
	} else {
		e.acceptor.Closed(s.id)
	}
}

const janitorPeriod = time.Second

// sweep ends sessions whose clients have been away for too long.
func (e *Endpoint) sweep() {
	e.mu.Lock()
	all := make([]*session, 0, len(e.sessions))
	for _, s := range e.sessions {
		all = append(all, s)
	}
	maps.DeleteFunc(e.dismissed, func(id string, until time.Time) bool {
		over := time.Now().After(until)
		if over {
			e.acceptor.Closed(id)
		}
		return over
	})
	if len(all)+len(e.dismissed) > 0 {
		e.janitor.Reset(janitorPeriod)
	} else {
		e.janitor = nil
	}
	e.mu.Unlock()
	now, closing := time.Now(), e.acceptor.IsClosing()
	for _, s := range all {
		if s.isAway(e.DisconnectTimeout + max(awayGrace, e.LongPollDelay)) {
			e.heartbeat.Debug("a client of SignalR 2 has been away for too long", "session", s.id)
			s.close(actors.ErrClientTimeout)
		} else if (closing || s.hasExpired(now)) && len(s.allMembers()) == 0 { // no connection tells it
			s.goAway()
		} else {
			s.beat(now)
		}
	}
}

// awayGrace is how much longer than DisconnectTimeout a client may be away.
const awayGrace = 5 * time.Second
