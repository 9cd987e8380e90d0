package hubsys

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/troupe-go/troupe/hubsys/backplane"
	nodev1 "github.com/troupe-go/troupe/proto/troupe/node/v1"
	"github.com/troupe-go/troupe/transport"
)

// Where there are several nodes, a connection is on the one that the request has reached that has opened it. Other requests of its client may reach
// any node: they are relayed.

// relay has the node that has a connection answer a request that names it. It returns false if this node has to answer.
func (s *System) relay(w http.ResponseWriter, r *http.Request) bool {
	e, suffix := s.find(r.URL.Path)
	if e == nil || suffix == negotiateSuffix || hasEncodedSlash(r.URL.RawPath) {
		return false
	}
	token, count := transport.QueryValue(r.URL.RawQuery, "id")
	if count != 1 || s.tokens.Has(token) {
		return false
	}
	id, issuer, ok := s.tokens.Read(token)
	if !ok {
		return false
	}
	path, isGet := strings.TrimSuffix(r.URL.Path, suffix), suffix == "" && strings.EqualFold(r.Method, http.MethodGet)
	at, err := e.hub.runtime.Locate(r.Context(), id, backplane.NodeIDFrom(issuer), &nodev1.Locate{Path: path, Token: token, Claim: isGet && !s.isClosing()})
	if err != nil {
		s.log.Debug("the node of a connection was not found", "connection", id, "error", err)
		return false
	}
	if c := at.GetClaimed(); c != nil {
		e.http.Adopt(token, transport.Claimed{ID: c.GetId(), UserID: c.GetUserId(), Address: c.GetAddress(), Resumable: c.GetResumable(), Early: c.GetEarly()})
		return false
	}
	node := backplane.NodeID(at.GetNode())
	if node == 0 || node == s.runtime.Node() {
		return false
	}
	if suffix == "" { // otherwise the credentials are new ones, which the other node reads
		who, ok := e.http.Identify(w, r)
		if !ok {
			return true
		}
		r = r.WithContext(backplane.WithUser(r.Context(), who.UserID))
	}
	if isGet && !transport.IsUpgrade(r) {
		s.relayPoll(node, path, token, w, r)
	} else {
		s.relayTo(node, w, r)
	}
	return true
}

// relayedPolls are polls that wait at other nodes. Before this node leaves, these end them: otherwise their clients would lose connections that go on.
type relayedPolls struct {
	mu   sync.Mutex
	all  map[*nodev1.EndPoll]backplane.NodeID
	ends bool
}

const (
	lateRelay   = 100 * time.Millisecond // how long a poll waits that is relayed by a node that is about to leave
	relayedEnds = time.Second            // for other nodes to end polls
)

// relayPoll has another node answer a poll.
func (s *System) relayPoll(at backplane.NodeID, path, token string, w http.ResponseWriter, r *http.Request) {
	p := &nodev1.EndPoll{Path: path, Token: token}
	s.polls.mu.Lock()
	if s.polls.all == nil {
		s.polls.all = map[*nodev1.EndPoll]backplane.NodeID{}
	}
	s.polls.all[p] = at
	if s.polls.ends {
		defer time.AfterFunc(lateRelay, func() { s.runtime.EndPoll(at, p) }).Stop()
	}
	s.polls.mu.Unlock()
	defer func() {
		s.polls.mu.Lock()
		delete(s.polls.all, p)
		s.polls.mu.Unlock()
	}()
	s.relayTo(at, w, r)
}

// endPolls has other nodes end the polls that this one relays, and waits until they have. Polls that come later end soon.
func (s *System) endPolls(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, relayedEnds)
	defer cancel()
	for s.askToEndPolls() {
		select {
		case <-time.After(lateRelay): // one that had not arrived can be ended now
		case <-ctx.Done():
			return
		}
	}
}

// askToEndPolls returns false if there are none.
func (s *System) askToEndPolls() bool {
	s.polls.mu.Lock()
	defer s.polls.mu.Unlock()
	s.polls.ends = true
	for p, at := range s.polls.all {
		s.runtime.EndPoll(at, p)
	}
	return len(s.polls.all) > 0
}

// EndPoll is part of actors.Front.
func (s *System) EndPoll(p *nodev1.EndPoll) {
	s.mu.RLock()
	e := s.endpoints[p.GetPath()]
	s.mu.RUnlock()
	if e != nil {
		e.http.EndPoll(p.GetToken())
	}
}

// relayTo has another node answer a request.
func (s *System) relayTo(node backplane.NodeID, w http.ResponseWriter, r *http.Request) {
	if err := s.plane.Relay(node, w, r); err != nil {
		s.log.Debug("a request could not be relayed", "node", node.String(), "error", err)
		w.WriteHeader(http.StatusNotFound) // its client starts anew
	}
}

// ServeRelayed is part of actors.Front.
func (s *System) ServeRelayed(w http.ResponseWriter, r *http.Request) { s.serve(w, r) }

// relayedIdentity returns who makes a request that another node has relayed and authenticated.
func relayedIdentity(r *http.Request) (who transport.Identity, ok bool) {
	user, ok := backplane.User(r.Context())
	if !ok {
		return who, false
	}
	return transport.Identity{UserID: user, Value: &Principal{UserID: user}, Relayed: true}, true
}

// Locate is part of actors.Front.
func (s *System) Locate(from backplane.NodeID, l *nodev1.Locate) *nodev1.Answer {
	s.mu.RLock()
	e, classic := s.endpoints[l.GetPath()], s.classic[l.GetPath()]
	s.mu.RUnlock()
	unknown := &nodev1.Answer{Kind: nodev1.Answer_KIND_UNKNOWN}
	if classic != nil && l.GetClaim() {
		classic.http.Yield(l.GetToken())
		return unknown
	}
	if classic != nil && classic.http.Has(l.GetToken()) {
		return &nodev1.Answer{Kind: nodev1.Answer_KIND_DONE, Node: uint32(s.runtime.Node())}
	}
	if e == nil {
		return unknown
	}
	c, has, ok := e.http.Claim(l.GetToken(), l.GetClaim() && from != s.runtime.Node(), from.Bytes())
	switch {
	case !ok:
		return unknown
	case c != nil:
		return &nodev1.Answer{Kind: nodev1.Answer_KIND_DONE, Claimed: &nodev1.Claimed{Id: c.ID, UserId: c.UserID, Address: c.Address, Resumable: c.Resumable, Early: c.Early}}
	}
	return &nodev1.Answer{Kind: nodev1.Answer_KIND_DONE, Node: uint32(backplane.NodeIDFrom(has))}
}
