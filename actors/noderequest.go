package actors

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/troupe-go/troupe/hubsys/backplane"
	nodev1 "github.com/troupe-go/troupe/proto/troupe/node/v1"
)

// nodeAnswer is an answer, and the node that it comes from.
type nodeAnswer struct {
	from backplane.NodeID
	*nodev1.Answer
}

// newRequest numbers a request, whose answers it returns, and how often nodes have been lost until now. endRequest has to follow.
func (n *nodes) newRequest(r *nodev1.Request, answers int) (got <-chan nodeAnswer, falls uint64) {
	c := make(chan nodeAnswer, answers)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last++
	r.Number = n.last
	n.requests[r.Number] = c
	return c, n.falls
}

func (n *nodes) endRequest(r *nodev1.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.requests, r.GetNumber())
}

// answered passes an answer to whoever waits for it.
func (n *nodes) answered(from backplane.NodeID, a *nodev1.Answer) {
	n.mu.Lock()
	c, w := n.requests[a.GetNumber()], n.watches[a.GetNumber()]
	if c != nil {
		select {
		case c <- nodeAnswer{from, a}:
		default: // more than nodes have been asked
		}
	}
	n.mu.Unlock()
	if w != nil {
		w.elsewhere.refused(from)
	}
}

const (
	askPeriod  = 250 * time.Millisecond // between two looks at whether the node that is asked is still there
	acceptTime = 5 * time.Second        // for a node to say that it has a connection
	ownerSends = 8                      // answers of nodes that may have a connection
)

// askOwner asks the node that has a connection, and waits for the answer, see question.wait.
func (h *Hub) askOwner(ctx context.Context, id string, r *nodev1.Request) (*nodev1.Answer, error) {
	if h.sys.nodes == nil {
		return nil, nil
	}
	return h.sys.nodes.askOwner(ctx, h.name, h.topic(Connections, id), r)
}

// FindOwner returns the node that has what a topic names, or 0 if none has it. It fails if that is not known.
func (s *System) FindOwner(ctx context.Context, topic string, l *nodev1.Locate) (NodeID, error) {
	a, err := s.nodes.askOwner(ctx, "", topic, &nodev1.Request{Kind: &nodev1.Request_Locate{Locate: l}})
	switch {
	case isUnanswered(a):
		return 0, s.nodes.unanswered(a)
	case a.GetKind() != nodev1.Answer_KIND_DONE:
		return 0, err
	}
	return NodeID(a.GetNode()), err
}

// Claim tells other nodes that this one has what a topic names. Nobody waits for their answers.
func (s *System) Claim(topic string, l *nodev1.Locate) {
	_, _ = s.nodes.publish(&nodev1.Message{Kind: &nodev1.Message_Request{Request: &nodev1.Request{Kind: &nodev1.Request_Locate{Locate: l}}}}, topic)
}

// askOwner asks the node that wants a topic which one node wants, and waits for the answer, see question.wait.
func (n *nodes) askOwner(ctx context.Context, hub, topic string, r *nodev1.Request) (*nodev1.Answer, error) {
	q, err := n.question(hub, topic, r)
	if err != nil {
		return nil, err
	}
	return q.wait(ctx)
}

// question is a request for the node that wants a topic which one node wants.
type question struct {
	nodes      *nodes
	hub, topic string
	request    *nodev1.Request
	asked      time.Time
	answers    <-chan nodeAnswer // nil: no node wants the topic
	falls      uint64
}

// question publishes a request. It does not wait, so that questions of one goroutine arrive in their order. wait or end has to follow.
func (n *nodes) question(hub, topic string, r *nodev1.Request) (*question, error) {
	q := &question{nodes: n, hub: hub, topic: topic, request: r, asked: time.Now()}
	if !n.plane.Wanted(topic) {
		return q, nil
	}
	q.answers, q.falls = n.newRequest(r, ownerSends)
	if _, err := n.publish(&nodev1.Message{Hub: hub, Kind: &nodev1.Message_Request{Request: r}}, topic); err != nil {
		q.end()
		return nil, err
	}
	return q, nil
}

func (q *question) end() {
	if q.answers != nil {
		q.nodes.endRequest(q.request)
	}
}

// cancel says that the answer is not wanted any more.
func (q *question) cancel() {
	_, _ = q.nodes.publish(&nodev1.Message{Hub: q.hub, Kind: &nodev1.Message_Cancel{Cancel: q.request.GetNumber()}}, q.topic)
}

// wait waits for the answer. It is nil if no node has what the topic names, KIND_GONE if the node that had it has gone meanwhile, and
// KIND_UNSPECIFIED, perhaps with the node, if the request or its answer was lost.
func (q *question) wait(ctx context.Context) (*nodev1.Answer, error) {
	defer q.end()
	if q.answers == nil {
		return nil, nil
	}
	n := q.nodes
	beforeWait(ctx)
	ticker := time.NewTicker(askPeriod)
	defer ticker.Stop()
	var owner backplane.NodeID // 0: none has accepted it
	isUnknown := false         // to a node that wants the topic no more, or is about to say so
	for {
		select {
		case a := <-q.answers:
			switch a.GetKind() {
			case nodev1.Answer_KIND_ACCEPTED:
				owner = a.from
			case nodev1.Answer_KIND_UNKNOWN:
				isUnknown = true
				if owner == 0 && !n.plane.Wanted(q.topic) {
					return nil, nil
				}
			default:
				return a.Answer, nil
			}
		case <-ticker.C:
			late := time.Since(q.asked) > acceptTime
			switch {
			case owner != 0 && !n.isLost(owner, q.falls):
			case owner != 0 && !n.isUp(owner):
				return &nodev1.Answer{Kind: nodev1.Answer_KIND_GONE}, nil
			case owner != 0 || late && !isUnknown && n.plane.Wanted(q.topic):
				q.cancel() // what may still be done
				return &nodev1.Answer{Node: uint32(owner)}, nil
			case late || !n.plane.Wanted(q.topic):
				return nil, nil
			}
		case <-ctx.Done():
			q.cancel()
			return nil, context.Cause(ctx)
		case <-n.ctx.Done():
			return nil, ErrShutdown
		}
	}
}

// isUnanswered reports whether a question or its answer was lost.
func isUnanswered(a *nodev1.Answer) bool {
	return a != nil && a.GetKind() == nodev1.Answer_KIND_UNSPECIFIED
}

// unanswered is the error for that. It names the node that was asked, or those of which one was.
func (n *nodes) unanswered(a *nodev1.Answer) *MissingError {
	missing := &MissingError{}
	for _, node := range n.plane.Nodes() {
		if a.GetNode() == 0 || backplane.NodeID(a.GetNode()) == node.ID {
			missing.Nodes = append(missing.Nodes, node.Name)
		}
	}
	return missing
}

// gatherTime is how long nodes have to answer with what they know.
const gatherTime = 2 * time.Second

// gather asks all other nodes, see ask.
func (h *Hub) gather(ctx context.Context, r *nodev1.Request, most time.Duration) (answers []*nodev1.Answer, missing []string, err error) {
	return h.ask(ctx, r, h.sys.nodes.plane.Nodes(), most)
}

// ask asks nodes, and returns their answers, and the names of those that have not answered in time. A node that goes meanwhile, or whose answer
// may have been lost, is not waited for.
func (h *Hub) ask(ctx context.Context, r *nodev1.Request, all []backplane.Node, most time.Duration) (answers []*nodev1.Answer, missing []string, err error) {
	n := h.sys.nodes
	waiting := map[backplane.NodeID]string{}
	got, falls := n.newRequest(r, len(all))
	defer n.endRequest(r)
	var topics []string
	for _, node := range all {
		if !node.Up {
			missing = append(missing, node.Name)
			continue
		}
		topics = append(topics, nodeTopic(node.ID))
		waiting[node.ID] = node.Name
	}
	if _, err := n.publish(&nodev1.Message{Hub: h.name, Kind: &nodev1.Message_Request{Request: r}}, topics...); err != nil {
		return nil, nil, err
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
			name, ok := waiting[a.from]
			delete(waiting, a.from)
			switch {
			case ok && isUnanswered(a.Answer):
				missing = append(missing, name)
			case ok:
				answers = append(answers, a.Answer)
			}
		case <-ticker.C:
			for id, name := range waiting {
				if n.isLost(id, falls) || time.Since(asked) > most {
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
	case issuer == n.sys.node:
		return n.front.Locate(issuer, l), nil
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

// publishAnswer sends an answer. If it is too large, it is one that was lost: whoever waits for it may have no time limit.
func (n *nodes) publishAnswer(to backplane.NodeID, r *nodev1.Request, a *nodev1.Answer) {
	a.Number = r.GetNumber()
	_, err := n.publish(&nodev1.Message{Kind: &nodev1.Message_Answer{Answer: a}}, nodeTopic(to))
	if err == nil {
		return
	}
	const text = "an answer to another node could not be sent"
	n.reports.Log(context.Background(), n.sys.log, slog.LevelError, text+to.String(), text, "node", to.String(), "error", err)
	lost := &nodev1.Answer{Number: r.GetNumber(), Node: uint32(n.sys.node)}
	_, _ = n.publish(&nodev1.Message{Kind: &nodev1.Message_Answer{Answer: lost}}, nodeTopic(to))
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
			answer(&nodev1.Answer{Kind: nodev1.Answer_KIND_DONE, Node: uint32(n.sys.node)})
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

// nodeKinds are kinds of audiences as they are sent to other nodes, where the caller is not.
var nodeKinds = [...]nodev1.Audience_Kind{
	All: nodev1.Audience_KIND_ALL, Connections: nodev1.Audience_KIND_CONNECTIONS, Groups: nodev1.Audience_KIND_GROUPS, Users: nodev1.Audience_KIND_USERS,
}

func (a *Audience) toNode() *nodev1.Audience {
	return &nodev1.Audience{Kind: nodeKinds[a.Kind], Names: a.Names, Except: a.ExceptIDs}
}

// fromNode returns an audience that another node has sent, or nil if there is none of its kind.
func fromNode(a *nodev1.Audience) *Audience {
	kind := slices.Index(nodeKinds[:], a.GetKind())
	if kind < 0 || a.GetKind() == nodev1.Audience_KIND_UNSPECIFIED {
		return nil
	}
	return &Audience{Kind: Kind(kind), Names: a.GetNames(), ExceptIDs: a.GetExcept()}
}

func (m Member) toNode() *nodev1.Member {
	return &nodev1.Member{ConnectionId: m.ID(), UserId: m.UserID}
}

func fromNodeMember(m *nodev1.Member) Member {
	return Member{Elsewhere: m.GetConnectionId(), UserID: m.GetUserId()}
}

// serve has a goroutine do what another node has asked for. Its context ends when that node does not want it any more.
func (n *nodes) serve(key nodeRequest, work func(ctx context.Context)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.left {
		return
	}
	former := n.served[key]
	if former != nil {
		former.cancel()
	}
	ctx, cancel := context.WithCancel(n.ctx)
	one := &servedRequest{cancel, make(chan struct{})}
	n.served[key] = one
	n.work.Go(func() {
		defer func() {
			cancel()
			close(one.ended)
			n.mu.Lock()
			defer n.mu.Unlock()
			if n.served[key] == one {
				delete(n.served, key)
			}
		}()
		if former != nil {
			<-former.ended // so that nothing of it follows what is told from now on
		}
		work(ctx)
	})
}

// servedRequest is a request of another node that is being served.
type servedRequest struct {
	cancel context.CancelFunc
	ended  chan struct{} // closed when it says nothing more
}

// serveChange changes the membership of a connection, or of an audience.
func (h *Hub) serveChange(conn *Connection, change *nodev1.Change, answer func(*nodev1.Answer)) {
	var connections []*Connection
	if conn != nil {
		connections = []*Connection{conn}
	} else if of := fromNode(change.GetOf()); of != nil {
		connections = h.resolve(of)
	}
	h.change(connections, change.GetGroup(), change.GetLeave(), func(err error) {
		kind := nodev1.Answer_KIND_DONE
		if err != nil {
			kind = nodev1.Answer_KIND_TOO_MANY_GROUPS
		}
		answer(&nodev1.Answer{Kind: kind})
	})
}

// whenKnown calls f when the other nodes know something, at once if they do, or when the System is shut down.
func (n *nodes) whenKnown(known *<-chan struct{}, f func()) {
	if known == nil || !n.begin(func() {
		select {
		case <-*known:
		case <-n.ctx.Done():
		}
		f()
	}) {
		f()
	}
}

func (h *Hub) serveList(list *nodev1.List) *nodev1.Answer {
	a := &nodev1.Answer{Kind: nodev1.Answer_KIND_DONE}
	of := fromNode(list.GetOf())
	if of == nil {
		return a
	}
	if list.GetCountOnly() {
		a.Count = uint64(h.countHere(of))
		return a
	}
	for _, m := range h.membersHere(of) {
		a.Members = append(a.Members, m.toNode())
	}
	a.Count = uint64(len(a.Members))
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
