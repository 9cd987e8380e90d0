package actors

import (
	"context"
	"maps"
	"slices"
)

// Members returns the connections of an audience, each once, sorted by id.
func (h *Hub) Members(of *Audience) []Member {
	connections := h.resolve(of)
	if of.Kind == Caller && h.Connection(of.Conn.id) == nil {
		connections = nil
	}
	members := make([]Member, len(connections))
	for i, c := range connections {
		members[i] = c.member()
	}
	sortMembers(members)
	return members
}

// groupsRequest asks a connection for the groups that it is in.
type groupsRequest struct{ answer chan []string } // nil: it is gone

func (m *groupsRequest) refuse() { m.answer <- nil }

// GroupsOf returns the groups that a connection is in, sorted, or ErrGone.
func (h *Hub) GroupsOf(ctx context.Context, to *Audience) ([]string, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	members := h.Members(to)
	if len(members) == 0 {
		return nil, ErrGone
	}
	m := &groupsRequest{answer: make(chan []string, 1)}
	members[0].Conn.post(m)
	select {
	case groups := <-m.answer:
		if groups == nil {
			return nil, ErrGone
		}
		return groups, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (c *Connection) onGroupsRequest(m *groupsRequest) {
	if c.state >= closed {
		m.refuse()
		return
	}
	groups := slices.AppendSeq(make([]string, 0, len(c.groups)), maps.Keys(c.groups))
	slices.Sort(groups)
	m.answer <- groups
}

// Disconnect closes the connections of an audience, and returns when nothing more can be sent to them. What was sent before is still
// delivered. Calls that wait are dropped, and those that run go on. Clients are told not to reconnect, and get the reason as the error if it is
// not empty; then it is the cause for OnDisconnected as well, as a *DisconnectError.
func (h *Hub) Disconnect(of *Audience, reason string) {
	for _, m := range h.Members(of) {
		m.Conn.disconnect(reason)
	}
}

// Reconnect closes the connections of an audience so that their clients connect again. Calls that have been received are executed.
func (h *Hub) Reconnect(of *Audience) {
	for _, m := range h.Members(of) {
		m.Conn.askToClose(nil, closeReason{message: true, allowReconnect: true})
	}
}

// DisconnectError is the reason of a Disconnect.
type DisconnectError struct{ Reason string }

func (e *DisconnectError) Error() string { return e.Reason }
