package hubsys

import (
	"net/http"
	"strings"
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
	opens := suffix == "" && strings.EqualFold(r.Method, http.MethodGet) && !s.isClosing()
	at, err := e.hub.runtime.Locate(r.Context(), id, backplane.NodeIDFrom(issuer), &nodev1.Locate{Path: strings.TrimSuffix(r.URL.Path, suffix), Token: token, Claim: opens})
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
	s.relayTo(node, w, r)
	return true
}

// relayTo has another node answer a request.
func (s *System) relayTo(node backplane.NodeID, w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w) // the other node sees to times
	_ = control.SetReadDeadline(time.Time{})
	_ = control.SetWriteDeadline(time.Time{})
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
	return transport.Identity{UserID: user, Value: &Principal{UserID: user}, Relayed: true}, ok
}

// Locate is part of actors.Front.
func (s *System) Locate(from backplane.NodeID, l *nodev1.Locate) *nodev1.Answer {
	s.mu.RLock()
	e, classic := s.endpoints[l.GetPath()], s.classic[l.GetPath()]
	s.mu.RUnlock()
	unknown := &nodev1.Answer{Kind: nodev1.Answer_KIND_UNKNOWN}
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
