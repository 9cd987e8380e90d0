package actors

import (
	"context"
	"maps"
	"slices"

	nodev1 "github.com/troupe-go/troupe/proto/troupe/node/v1"
)

// Members returns the connections of an audience, each once, sorted by id, and the names of nodes that have not said which they have.
func (h *Hub) Members(ctx context.Context, of *Audience) (all []Member, missing []string, err error) {
	all = h.membersHere(of)
	answers, missing, err := h.listElsewhere(ctx, of, false)
	for _, a := range answers {
		for _, m := range a.GetMembers() {
			all = append(all, fromNodeMember(m))
		}
	}
	sortMembers(all)
	return all, missing, err
}

// Count returns the number of the connections of an audience, and the names of nodes that have not said how many they have.
func (h *Hub) Count(ctx context.Context, of *Audience) (n int, missing []string, err error) {
	n = h.countHere(of)
	answers, missing, err := h.listElsewhere(ctx, of, true)
	for _, a := range answers {
		n += int(a.GetCount())
	}
	return n, missing, err
}

// listElsewhere asks the other nodes for the connections of an audience, or for their number.
func (h *Hub) listElsewhere(ctx context.Context, of *Audience, countOnly bool) (answers []*nodev1.Answer, missing []string, err error) {
	if h.sys.nodes == nil || of.Kind == Caller {
		return nil, nil, nil
	}
	return h.gather(ctx, &nodev1.Request{Kind: &nodev1.Request_List{List: &nodev1.List{Of: of.toNode(), CountOnly: countOnly}}}, gatherTime)
}

// membersHere returns the connections of an audience that this node has, each once, sorted by id.
func (h *Hub) membersHere(of *Audience) []Member {
	connections := h.connectionsHere(of)
	members := make([]Member, len(connections))
	for i, c := range connections {
		members[i] = c.member()
	}
	sortMembers(members)
	return members
}

// connectionsHere returns the connections of an audience that this node has, each once.
func (h *Hub) connectionsHere(of *Audience) []*Connection {
	if of.Kind == Caller && h.Connection(of.Conn.id) == nil {
		return nil
	}
	return h.resolve(of)
}

// countHere returns the number of these connections.
func (h *Hub) countHere(of *Audience) int {
	all := of.Except == nil && len(of.ExceptIDs) == 0
	switch {
	case all && of.Kind == All:
		return h.everyone.size()
	case all && (of.Kind == Groups || of.Kind == Users) && len(of.Names) == 1:
		if g := h.directory(of.Kind).find(of.Names[0]); g != nil {
			return g.size()
		}
		return 0
	}
	return len(h.connectionsHere(of))
}

// groupsRequest asks a connection for the groups that it is in.
type groupsRequest struct{ answer chan []string } // nil: it is gone

func (m *groupsRequest) refuse() { m.answer <- nil }

// GroupsOf returns the groups that a connection is in, sorted, ErrGone, or a *MissingError if the node that has it does not answer.
func (h *Hub) GroupsOf(ctx context.Context, to *Audience) ([]string, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	members := h.membersHere(to)
	if len(members) == 0 && to.Kind == Connections {
		a, err := h.askOwner(ctx, to.Names[0], &nodev1.Request{Kind: &nodev1.Request_ListGroups{ListGroups: &nodev1.ListGroups{}}})
		switch {
		case err != nil:
		case isUnanswered(a):
			err = h.sys.nodes.unanswered(a)
		case a.GetKind() != nodev1.Answer_KIND_DONE:
			err = ErrGone
		}
		return a.GetGroups(), err
	}
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
	h.publishEnd(of, reason, false)
	h.disconnectHere(of, reason)
}

func (h *Hub) disconnectHere(of *Audience, reason string) {
	for _, c := range h.connectionsHere(of) {
		c.disconnect(reason)
	}
}

// Reconnect closes the connections of an audience so that their clients connect again. Calls that have been received are executed.
func (h *Hub) Reconnect(of *Audience) {
	h.publishEnd(of, "", true)
	h.reconnectHere(of)
}

func (h *Hub) reconnectHere(of *Audience) {
	for _, c := range h.connectionsHere(of) {
		c.askToClose(nil, closeReason{message: true, allowReconnect: true})
	}
}

// DisconnectError is the reason of a Disconnect.
type DisconnectError struct{ Reason string }

func (e *DisconnectError) Error() string { return e.Reason }
