package classic

import (
	"net/http"
	"strings"

	"github.com/troupe-go/troupe/proto/classic"
)

// relay has another node answer a request whose session it has. It returns false if this node has to answer.
//
// A session can be on two nodes for a while: where a request arrives while the node that has it cannot be reached, it is opened once more. It stays
// where the client receives.
func (e *Endpoint) relay(w http.ResponseWriter, in *request, path string) (bool, error) {
	s := e.session(in.id)
	switch isCall := strings.HasSuffix(path, "/send") || strings.HasSuffix(path, "/start"); {
	case s == nil && e.Has(in.id) || s != nil && !e.acceptor.IsElsewhere(in.id):
		return false, nil
	case s != nil && !isCall:
		e.acceptor.Claim(in.id)
		return false, nil
	case s != nil && s.isThere():
		return false, nil
	}
	relayed, err := e.acceptor.Relay(w, in.Request, in.who, in.id)
	if err != nil && s == nil && !strings.HasSuffix(path, "/connect") { // a second session would take what is for the client, who tries again
		return false, fail(http.StatusServiceUnavailable, "", err)
	}
	return relayed, nil
}

// Yield ends a session that another node has, too. What has been received is executed and answered.
func (e *Endpoint) Yield(id string) {
	s := e.session(id)
	if s == nil {
		return
	}
	e.forget(s, false)
	s.mu.Lock()
	s.goingAway = true
	s.mu.Unlock()
	s.leftBy()
}

// isThere reports whether the client receives here.
func (s *session) isThere() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.received && s.isPresent()
}

// wasElsewhere reports whether a cursor is of another session, in which the client may have come into groups that are not known here.
func (s *session) wasElsewhere(cursor string) bool {
	seen, ok := classic.ParseCursor(cursor)
	s.mu.Lock()
	defer s.mu.Unlock()
	return ok && seen.Epoch != s.epoch && seen.Epoch != s.former
}
