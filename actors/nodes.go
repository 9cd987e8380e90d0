package actors

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-go/troupe/hubsys/backplane"
	"github.com/troupe-go/troupe/internal/logs"
	nodev1 "github.com/troupe-go/troupe/proto/troupe/node/v1"
)

// nodes is the side of a System that faces other nodes.
//
// What is for connections of other nodes is published on a topic that names them, and delivered there as it would be here: a node wants the
// topics of its groups, its users, its connections and its hubs. What one goroutine publishes arrives at each node in that order, whatever the
// topics; so a sender and a receiver see the same order on many nodes as on one.
type nodes struct {
	sys   *System
	plane backplane.Backplane
	loss  func(topic string) // counts that a message was not published
	front Front

	ctx    context.Context // until the System is shut down
	cancel context.CancelFunc
	work   sync.WaitGroup // goroutines that wait for what another node has asked for

	ignored atomic.Int64 // messages of other nodes
	reports logs.Limiter // what is logged of other nodes

	mu       sync.Mutex
	left     bool // no work begins any more
	hubs     map[string]*Hub
	last     uint64 // number of the last request
	requests map[uint64]chan nodeAnswer
	falls    uint64                      // how often a node, or messages of one, have been lost
	lastFall map[backplane.NodeID]uint64 // which of these was a node's last one
	served   map[nodeRequest]*servedRequest
	watches  map[uint64]*Watch          // by the number of the request
	pressed  map[string]<-chan struct{} // topics whose receivers have no room
}

// nodeRequest names a request of another node.
type nodeRequest struct {
	from   backplane.NodeID
	number uint64
}

// Front is the HTTP side of a System, as other nodes see it.
type Front interface {
	// ServeRelayed answers a request that another node has relayed.
	ServeRelayed(w http.ResponseWriter, r *http.Request)
	// Locate says where a connection is that was negotiated here, and gives it away. It does not wait.
	Locate(from backplane.NodeID, l *nodev1.Locate) *nodev1.Answer
	// EndPoll ends the poll of a connection that is here.
	EndPoll(p *nodev1.EndPoll)
}

const (
	// joinTime is how long joining a cluster may take.
	joinTime = 30 * time.Second
	// mostReports is how many records of a kind and a node are logged a minute: a node that sends more than arrives loses messages all the time.
	mostReports = 10
)

// join joins the cluster. Nothing may have been spawned in the actor system before.
func (s *System) join(plane backplane.Backplane, front Front) error {
	n := &nodes{
		sys: s, plane: plane, front: front, hubs: map[string]*Hub{}, requests: map[uint64]chan nodeAnswer{}, lastFall: map[backplane.NodeID]uint64{},
		served: map[nodeRequest]*servedRequest{}, watches: map[uint64]*Watch{}, pressed: map[string]<-chan struct{}{},
		reports: logs.Limiter{Most: mostReports},
	}
	if counts, ok := plane.(backplane.LossCounter); ok {
		n.loss = counts.Lose
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	ctx, cancel := context.WithTimeout(n.ctx, joinTime)
	defer cancel()
	id, err := plane.Start(ctx, n)
	if err != nil {
		n.cancel()
		return err
	}
	s.node, s.nodes = id, n
	if known := plane.Subscribe(nodeTopic(id)); known != nil {
		select {
		case <-known:
		case <-ctx.Done():
		}
	}
	return nil
}

// leave leaves the cluster, when what was published has been delivered.
func (n *nodes) leave(ctx context.Context) error {
	n.mu.Lock()
	n.left = true
	n.mu.Unlock()
	n.cancel()
	n.work.Wait()
	return n.plane.Stop(ctx)
}

// begin has a goroutine do what has to be waited for. It returns false if the System is being shut down.
func (n *nodes) begin(work func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.left {
		n.work.Go(work)
	}
	return !n.left
}

// unreachable returns the names of other nodes that cannot be reached.
func (n *nodes) unreachable() (names []string) {
	for _, node := range n.plane.Nodes() {
		if !node.Up {
			names = append(names, node.Name)
		}
	}
	return names
}

// EndPoll has another node end the poll of a connection that it has.
func (s *System) EndPoll(at NodeID, p *nodev1.EndPoll) {
	_, _ = s.nodes.publish(&nodev1.Message{Kind: &nodev1.Message_EndPoll{EndPoll: p}}, nodeTopic(at))
}

// isUp reports whether another node can be reached.
func (n *nodes) isUp(id backplane.NodeID) bool {
	for _, node := range n.plane.Nodes() {
		if node.ID == id {
			return node.Up
		}
	}
	return false
}

// isLost reports whether a node is down, or has been since falls was read, or whether messages of it were lost since: what it was asked before may
// not be answered any more.
func (n *nodes) isLost(id backplane.NodeID, falls uint64) bool {
	n.mu.Lock()
	fell := n.lastFall[id] > falls
	n.mu.Unlock()
	return fell || !n.isUp(id)
}

// fell counts that a node, or messages of one, have been lost. The lock is held.
func (n *nodes) fell(id backplane.NodeID) {
	n.falls++
	n.lastFall[id] = n.falls
}

// Topics. The first letter says what the rest names.
func nodeTopic(id backplane.NodeID) string { return "n/" + id.String() }

var topicKinds = [...]string{All: "a/", Connections: "c/", Groups: "g/", Users: "u/"}

func (h *Hub) topic(kind Kind, name string) string {
	if kind == All {
		return topicKinds[All] + h.name
	}
	return topicKinds[kind] + h.name + "/" + name
}

// audienceOf returns the audience that a topic names, or nil.
func (h *Hub) audienceOf(topic string) *Audience {
	for _, kind := range []Kind{All, Connections, Groups, Users} {
		rest, isKind := strings.CutPrefix(topic, topicKinds[kind])
		rest, ok := strings.CutPrefix(rest, h.name)
		switch {
		case !isKind || !ok:
		case kind == All && rest == "":
			return &Audience{}
		case kind != All && strings.HasPrefix(rest, "/"):
			return &Audience{Kind: kind, Names: []string{rest[1:]}}
		}
	}
	return nil
}

// publish publishes a message on topics. It returns the room of the last one.
func (n *nodes) publish(m *nodev1.Message, topics ...string) (room <-chan struct{}, err error) {
	b, err := proto.Marshal(m)
	for _, topic := range topics {
		if err == nil {
			room, err = n.plane.Publish(topic, b)
		}
	}
	return room, err
}

// publishToAll publishes a message for all other nodes.
func (n *nodes) publishToAll(m *nodev1.Message) {
	var topics []string
	for _, node := range n.plane.Nodes() {
		topics = append(topics, nodeTopic(node.ID))
	}
	_, _ = n.publish(m, topics...)
}

// ActorSystem is part of backplane.Host.
func (n *nodes) ActorSystem() *actor.ActorSystem { return n.sys.actorSystem }

// Serve is part of backplane.Host.
func (n *nodes) Serve(w http.ResponseWriter, r *http.Request) { n.front.ServeRelayed(w, r) }

// Changed is part of backplane.Host. What waits for a node finds out by isLost.
func (n *nodes) Changed(node backplane.Node) {
	n.sys.log.Info("a node of the cluster has changed", "node", node.ID.String(), "name", node.Name, "up", node.Up)
	n.mu.Lock()
	if !node.Up {
		n.fell(node.ID)
		for key, request := range n.served {
			if key.from == node.ID {
				request.cancel()
			}
		}
	}
	n.mu.Unlock()
	for _, w := range n.allWatches() {
		w.nodeChanged(node)
	}
}

// Missed is part of backplane.Host. It does not wait.
func (n *nodes) Missed(from backplane.NodeID, messages uint64) {
	const text = "messages of another node were lost"
	n.reports.Log(context.Background(), n.sys.log, slog.LevelWarn, text+from.String(), text, "node", from.String(), "messages", messages)
	n.mu.Lock()
	n.fell(from) // there may have been answers among them
	hubs := slices.Collect(maps.Values(n.hubs))
	n.mu.Unlock()
	for _, w := range n.allWatches() { // or changes
		w.elsewhere.missed(from)
	}
	for _, h := range hubs {
		if h.settings.ReconnectOnGap {
			h.reconnectHere(&Audience{})
		}
	}
}

func (n *nodes) allWatches() []*Watch {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Values(n.watches))
}

// Receive is part of backplane.Host. It does not wait.
func (n *nodes) Receive(from backplane.NodeID, topic string, message []byte) (room <-chan struct{}) {
	defer func() {
		if reason := recover(); reason != nil {
			const text = "a message of another node panicked"
			n.reports.Log(context.Background(), n.sys.log, slog.LevelError, text+from.String(), text,
				"node", from.String(), "topic", logs.Clip(topic), "reason", reason, "stack", string(debug.Stack()))
		}
	}()
	if hub, call := findCall(message); call != nil {
		return n.receiveCall(from, topic, hub, call)
	}
	var m nodev1.Message
	if err := proto.Unmarshal(message, &m); err != nil {
		n.refuse(from, "it cannot be read")
		return nil
	}
	switch kind := m.GetKind().(type) {
	case *nodev1.Message_Answer:
		n.answered(from, kind.Answer)
		return nil
	case *nodev1.Message_EndPoll:
		n.front.EndPoll(kind.EndPoll)
		return nil
	case *nodev1.Message_Changes:
		n.mu.Lock()
		w := n.watches[kind.Changes.GetNumber()]
		n.mu.Unlock()
		if w != nil {
			w.hear(from, kind.Changes)
		} else { // the Cancel of the watch was lost, or is on its way
			_, _ = n.publish(&nodev1.Message{Kind: &nodev1.Message_Cancel{Cancel: kind.Changes.GetNumber()}}, nodeTopic(from))
		}
		return nil
	case *nodev1.Message_Cancel:
		n.mu.Lock()
		request := n.served[nodeRequest{from, kind.Cancel}]
		n.mu.Unlock()
		if request != nil {
			request.cancel()
		}
		return nil
	}
	if l := m.GetRequest().GetLocate(); l != nil && m.GetHub() == "" {
		n.publishAnswer(from, m.GetRequest(), n.front.Locate(from, l))
		return nil
	}
	n.mu.Lock()
	h := n.hubs[m.GetHub()]
	n.mu.Unlock()
	if h == nil {
		n.refuse(from, "there is no hub of its name: "+m.GetHub())
		if r := m.GetRequest(); r != nil {
			n.publishAnswer(from, r, &nodev1.Answer{Kind: nodev1.Answer_KIND_UNKNOWN})
		}
		return nil
	}
	to := h.audienceOf(topic) // nil: the topic of the node
	switch kind := m.GetKind().(type) {
	case *nodev1.Message_End:
		h.receiveEnd(to, kind.End)
	case *nodev1.Message_Request:
		h.serveRequest(from, to, kind.Request)
	case *nodev1.Message_HubAdded:
		for _, w := range n.allWatches() {
			if w.elsewhere.hub == h {
				w.elsewhere.ask(from)
			}
		}
	default:
		n.refuse(from, "its kind is not known")
	}
	return nil
}

// refuse counts a message of another node that is ignored, such as one of a newer version.
func (n *nodes) refuse(from backplane.NodeID, why string) {
	n.ignored.Add(1)
	n.sys.log.Debug("a message of another node was ignored", "node", from.String(), "cause", why)
}

// addHub makes a hub known to other nodes.
func (n *nodes) addHub(h *Hub) {
	n.mu.Lock()
	n.hubs[h.name] = h
	n.mu.Unlock()
	for kind, d := range map[Kind]*directory{Groups: h.groups, Users: h.users} {
		d.subscribe = func(name string) <-chan struct{} { return n.plane.Subscribe(h.topic(kind, name)) }
		d.unsubscribe = func(name string) { n.plane.Unsubscribe(h.topic(kind, name)) }
	}
	for i := range h.protocols {
		h.protocolTopics[i] = "p/" + h.name + "/" + h.protocols[i].Name()
		h.announce[i] = sync.OnceValue(func() <-chan struct{} { return n.plane.Subscribe(h.protocolTopics[i]) })
	}
	h.wanted = n.plane.Subscribe(h.topic(All, ""))
	n.publishToAll(&nodev1.Message{Hub: h.name, Kind: &nodev1.Message_HubAdded{HubAdded: &nodev1.HubAdded{}}})
}

// announce adds a connection to those that are found by their ids, here and by other nodes. It returns what is closed when they know.
func (c *Connection) announce() (known []<-chan struct{}) {
	here := c.hub.sys.connections.add(c)
	if c.hub.sys.nodes == nil {
		return nil
	}
	return []<-chan struct{}{here, c.hub.wanted, c.hub.announce[c.protocol]()}
}

// releaseWhenKnown lets the answer to the handshake be written when other nodes send here what is for the client.
func (c *Connection) releaseWhenKnown(known []<-chan struct{}) {
	known = slices.DeleteFunc(known, func(one <-chan struct{}) bool { return one == nil || isClosed(one) })
	if len(known) == 0 {
		c.out.Release()
		return
	}
	if !c.hub.sys.nodes.begin(func() {
		defer c.out.Release()
		for _, one := range known {
			select {
			case <-one:
			case <-c.Done():
				return
			}
		}
	}) {
		c.out.Release()
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// spokenElsewhere returns the protocols that connections of other nodes may speak, a bit each.
func (h *Hub) spokenElsewhere() (protocols uint32) {
	for i := range h.protocols {
		if h.sys.nodes.plane.Wanted(h.protocolTopics[i]) {
			protocols |= 1 << i
		}
	}
	return protocols
}
