package actors

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-go/troupe/hubsys/backplane"
	nodev1 "github.com/troupe-go/troupe/proto/troupe/node/v1"
)

// nodeAnswer is an answer, and the node that it comes from.
type nodeAnswer struct {
	from backplane.NodeID
	*nodev1.Answer
}

// newRequest numbers a request, whose answers it returns. endRequest has to follow.
func (n *nodes) newRequest(r *nodev1.Request, answers int) <-chan nodeAnswer {
	c := make(chan nodeAnswer, answers)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last++
	r.Number = n.last
	n.requests[r.Number] = c
	return c
}

func (n *nodes) endRequest(r *nodev1.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.requests, r.GetNumber())
}

// answered passes an answer to whoever waits for it.
func (n *nodes) answered(from backplane.NodeID, a *nodev1.Answer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c := n.requests[a.GetNumber()]; c != nil {
		select {
		case c <- nodeAnswer{from, a}:
		default: // more than nodes have been asked
		}
	}
}

func (n *nodes) publishRequest(topic, hub string, r *nodev1.Request) error {
	b, err := proto.Marshal(&nodev1.Message{Hub: hub, Kind: &nodev1.Message_Request{Request: r}})
	if err == nil {
		_, err = n.plane.Publish(topic, b)
	}
	return err
}

const (
	askPeriod  = 250 * time.Millisecond // between two looks at whether the node that is asked is still there
	acceptTime = 5 * time.Second        // for a node to say that it has a connection
	ownerSends = 8                      // answers of nodes that may have a connection
)

// askOwner asks the node that has a connection. The answer is nil if no node has it.
func (h *Hub) askOwner(ctx context.Context, id string, r *nodev1.Request) (*nodev1.Answer, error) {
	if h.sys.nodes == nil {
		return nil, nil
	}
	return h.sys.nodes.askOwner(ctx, h.name, h.topic(Connections, id), r)
}

// FindOwner returns the node that has what a topic names.
func (s *System) FindOwner(ctx context.Context, topic string, l *nodev1.Locate) (node NodeID, ok bool) {
	a, err := s.nodes.askOwner(ctx, "", topic, &nodev1.Request{Kind: &nodev1.Request_Locate{Locate: l}})
	return NodeID(a.GetNode()), err == nil && a.GetKind() == nodev1.Answer_KIND_DONE
}

// askOwner asks the node that wants a topic which one node wants. The answer is nil if none does.
func (n *nodes) askOwner(ctx context.Context, hub, topic string, r *nodev1.Request) (*nodev1.Answer, error) {
	if !n.plane.Wanted(topic) {
		return nil, nil
	}
	answers := n.newRequest(r, ownerSends)
	defer n.endRequest(r)
	if err := n.publishRequest(topic, hub, r); err != nil {
		return nil, err
	}
	beforeWait(ctx)
	ticker := time.NewTicker(askPeriod)
	defer ticker.Stop()
	asked := time.Now()
	var owner backplane.NodeID // 0: none has accepted it
	for {
		select {
		case a := <-answers:
			switch a.GetKind() {
			case nodev1.Answer_KIND_ACCEPTED:
				owner = a.from
			case nodev1.Answer_KIND_UNKNOWN:
				if owner == 0 && !n.plane.Wanted(topic) {
					return nil, nil
				}
			default:
				return a.Answer, nil
			}
		case <-ticker.C:
			lost := !n.plane.Wanted(topic) || time.Since(asked) > acceptTime
			if owner != 0 && !n.isUp(owner) || owner == 0 && lost {
				return nil, nil
			}
		case <-ctx.Done():
			if b, err := proto.Marshal(&nodev1.Message{Hub: hub, Kind: &nodev1.Message_Cancel{Cancel: r.GetNumber()}}); err == nil {
				_, _ = n.plane.Publish(topic, b)
			}
			return nil, context.Cause(ctx)
		case <-n.ctx.Done():
			return nil, ErrShutdown
		}
	}
}

// gatherTime is how long nodes have to answer with what they know.
const gatherTime = 2 * time.Second

// gather asks all other nodes, see ask.
func (h *Hub) gather(ctx context.Context, r *nodev1.Request, most time.Duration) (answers []*nodev1.Answer, missing []string, err error) {
	return h.ask(ctx, r, h.sys.nodes.plane.Nodes(), most)
}

// ask asks nodes, and returns their answers, and the names of those that have not answered in time; zero: ctx alone bounds it. A node that goes
// meanwhile is not waited for.
func (h *Hub) ask(ctx context.Context, r *nodev1.Request, all []backplane.Node, most time.Duration) (answers []*nodev1.Answer, missing []string, err error) {
	n := h.sys.nodes
	waiting := map[backplane.NodeID]string{}
	got := n.newRequest(r, len(all))
	defer n.endRequest(r)
	for _, node := range all {
		if !node.Up {
			missing = append(missing, node.Name)
			continue
		}
		if err := n.publishRequest(nodeTopic(node.ID), h.name, r); err != nil {
			return nil, nil, err
		}
		waiting[node.ID] = node.Name
	}
	if len(waiting) > 0 {
		beforeWait(ctx)
	}
	ticker := time.NewTicker(askPeriod)
	defer ticker.Stop()
	asked := time.Now()
	for len(waiting) > 0 {
		select {
		case a := <-got:
			if _, ok := waiting[a.from]; ok {
				delete(waiting, a.from)
				answers = append(answers, a.Answer)
			}
		case <-ticker.C:
			for id, name := range waiting {
				if !n.isUp(id) || most > 0 && time.Since(asked) > most {
					delete(waiting, id)
					missing = append(missing, name)
				}
			}
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		case <-n.ctx.Done():
			return nil, nil, ErrShutdown
		}
	}
	return answers, missing, nil
}

// Locate finds the node that has a connection, of which the token says who has issued it. The answer is nil if nobody knows.
func (h *Hub) Locate(ctx context.Context, id string, issuer NodeID, l *nodev1.Locate) (*nodev1.Answer, error) {
	n := h.sys.nodes
	r := &nodev1.Request{Kind: &nodev1.Request_Locate{Locate: l}}
	a, err := h.askOwner(ctx, id, r)
	switch {
	case err != nil || a.GetKind() == nodev1.Answer_KIND_DONE:
		return a, err
	case issuer == n.self:
		return n.front.Locate(n.self, l), nil
	}
	for _, node := range n.plane.Nodes() {
		if node.ID == issuer {
			answers, _, err := h.ask(ctx, r, []backplane.Node{node}, gatherTime)
			if err != nil || len(answers) == 0 {
				return nil, err
			}
			return answers[0], nil
		}
	}
	return nil, nil
}

func (n *nodes) publishAnswer(to backplane.NodeID, r *nodev1.Request, a *nodev1.Answer) {
	a.Number = r.GetNumber()
	if b, err := proto.Marshal(&nodev1.Message{Kind: &nodev1.Message_Answer{Answer: a}}); err == nil {
		_, _ = n.plane.Publish(nodeTopic(to), b)
	}
}

// serveRequest does what another node asks for. to is what the topic names, or nil if it is the node.
func (h *Hub) serveRequest(from backplane.NodeID, to *Audience, r *nodev1.Request) {
	n := h.sys.nodes
	answer := func(a *nodev1.Answer) { n.publishAnswer(from, r, a) }
	var conn *Connection
	if to != nil {
		if to.Kind != Connections {
			n.refuse(from, "requests are for a node or for a connection")
			return
		}
		if conn = h.Connection(to.Names[0]); conn == nil {
			answer(&nodev1.Answer{Kind: nodev1.Answer_KIND_UNKNOWN})
			return
		}
		answer(&nodev1.Answer{Kind: nodev1.Answer_KIND_ACCEPTED})
	}
	switch kind := r.GetKind().(type) {
	case *nodev1.Request_Change:
		h.serveChange(conn, kind.Change, answer)
	case *nodev1.Request_List:
		answer(h.serveList(kind.List))
	case *nodev1.Request_ListGroups:
		h.serveListGroups(conn, answer)
	case *nodev1.Request_Watch:
		h.serveWatch(nodeRequest{from, r.GetNumber()}, kind.Watch.GetOf())
	case *nodev1.Request_Locate:
		if conn != nil {
			answer(&nodev1.Answer{Kind: nodev1.Answer_KIND_DONE, Node: uint32(n.self)})
		} else {
			answer(n.front.Locate(from, kind.Locate))
		}
	case *nodev1.Request_Invoke:
		h.serveInvoke(nodeRequest{from, r.GetNumber()}, conn, kind.Invoke, answer)
	default:
		n.refuse(from, "the kind of its request is not known")
		answer(&nodev1.Answer{Kind: nodev1.Answer_KIND_NOT_SUPPORTED})
	}
}

// toNode returns an audience as it is sent to other nodes, where its caller is not.
func (a *Audience) toNode() *nodev1.Audience {
	kinds := map[Kind]nodev1.Audience_Kind{
		All: nodev1.Audience_KIND_ALL, Connections: nodev1.Audience_KIND_CONNECTIONS, Groups: nodev1.Audience_KIND_GROUPS, Users: nodev1.Audience_KIND_USERS,
	}
	return &nodev1.Audience{Kind: kinds[a.Kind], Names: a.Names, Except: a.ExceptIDs}
}

// fromNode returns an audience that another node has sent, or nil if there is none of its kind.
func fromNode(a *nodev1.Audience) *Audience {
	kinds := map[nodev1.Audience_Kind]Kind{
		nodev1.Audience_KIND_ALL: All, nodev1.Audience_KIND_CONNECTIONS: Connections, nodev1.Audience_KIND_GROUPS: Groups, nodev1.Audience_KIND_USERS: Users,
	}
	kind, ok := kinds[a.GetKind()]
	if !ok {
		return nil
	}
	return &Audience{Kind: kind, Names: a.GetNames(), ExceptIDs: a.GetExcept()}
}

// serveChange changes the membership of a connection, or of an audience.
func (h *Hub) serveChange(conn *Connection, change *nodev1.Change, answer func(*nodev1.Answer)) {
	var connections []*Connection
	if conn != nil {
		connections = []*Connection{conn}
	} else if of := fromNode(change.GetOf()); of != nil {
		connections = h.resolve(of)
	}
	if len(connections) == 0 {
		answer(&nodev1.Answer{Kind: nodev1.Answer_KIND_DONE})
		return
	}
	m := &membershipChange{group: change.GetGroup(), leave: change.GetLeave()}
	m.done = func() {
		h.sys.nodes.whenKnown(m.known(), func() {
			kind := nodev1.Answer_KIND_DONE
			if m.overLimit.Load() {
				kind = nodev1.Answer_KIND_TOO_MANY_GROUPS
			}
			answer(&nodev1.Answer{Kind: kind})
		})
	}
	m.ask(connections)
}

// whenKnown calls f when the other nodes know something, at once if they do.
func (n *nodes) whenKnown(known <-chan struct{}, f func()) {
	if known == nil {
		f()
		return
	}
	n.begin(func() {
		select {
		case <-known:
			f()
		case <-n.ctx.Done():
		}
	})
}

func (h *Hub) serveList(list *nodev1.List) *nodev1.Answer {
	a := &nodev1.Answer{Kind: nodev1.Answer_KIND_DONE}
	of := fromNode(list.GetOf())
	if of == nil {
		return a
	}
	members := h.membersHere(of)
	if a.Count = uint64(len(members)); list.GetCountOnly() {
		return a
	}
	for _, m := range members {
		a.Members = append(a.Members, &nodev1.Member{ConnectionId: m.Conn.id, UserId: m.UserID})
	}
	return a
}

func (h *Hub) serveListGroups(conn *Connection, answer func(*nodev1.Answer)) {
	if conn == nil {
		answer(&nodev1.Answer{Kind: nodev1.Answer_KIND_UNKNOWN})
		return
	}
	m := &groupsRequest{answer: make(chan []string, 1)}
	conn.post(m)
	h.sys.nodes.begin(func() {
		a := &nodev1.Answer{Kind: nodev1.Answer_KIND_DONE}
		if a.Groups = <-m.answer; a.Groups == nil {
			a.Kind = nodev1.Answer_KIND_GONE
		}
		answer(a)
	})
}
