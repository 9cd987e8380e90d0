package actors

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/troupe-go/troupe/hubsys/backplane"
	nodev1 "github.com/troupe-go/troupe/proto/troupe/node/v1"
)

// watchElsewhere is what a watch knows from other nodes.
type watchElsewhere struct {
	hub    *Hub
	number uint64 // of the request
	of     *Audience

	mu      sync.Mutex
	members map[backplane.NodeID]map[membership]struct{}
	former  map[backplane.NodeID]map[membership]struct{} // what a node had told that now lists its members anew
	waiting map[backplane.NodeID]struct{}                // nodes that were asked, and have told nothing since
	all     chan struct{}                                // closed when there are none
	again   *time.Timer                                  // asks those once more, because a request can be lost
	pause   time.Duration                                // between two times
	stopped bool
}

const (
	askAgain     = gatherTime
	askAgainMost = time.Minute
)

// WatchEverywhere begins to watch an audience, or all groups if it is nil, on all nodes. It waits for what other nodes know, as long as they have to
// answer a request.
func (h *Hub) WatchEverywhere(ctx context.Context, to *Audience) *Watch {
	w := h.watchHere(to)
	n := h.sys.nodes
	if n == nil || to != nil && to.Kind == Caller {
		return w
	}
	e := &watchElsewhere{
		hub: h, of: to, all: make(chan struct{}),
		members: map[backplane.NodeID]map[membership]struct{}{}, former: map[backplane.NodeID]map[membership]struct{}{}, waiting: map[backplane.NodeID]struct{}{},
	}
	w.elsewhere = e
	n.mu.Lock()
	n.last++
	e.number = n.last
	n.watches[e.number] = w
	n.mu.Unlock()
	var up []backplane.NodeID
	for _, node := range n.plane.Nodes() {
		if node.Up {
			up = append(up, node.ID)
		}
	}
	e.ask(up...)
	timer := time.NewTimer(gatherTime)
	defer timer.Stop()
	select {
	case <-e.all:
	case <-timer.C:
	case <-ctx.Done():
	}
	return w
}

// watchHere begins to watch an audience, or all groups if it is nil, on this node.
func (h *Hub) watchHere(to *Audience) *Watch {
	if to == nil {
		return h.WatchGroups()
	}
	return h.Watch(to)
}

// checkWaiting says that nobody is waited for any more, once. The lock is held.
func (e *watchElsewhere) checkWaiting() {
	if len(e.waiting) == 0 && !isClosed(e.all) {
		close(e.all)
	}
}

// ask has nodes tell what they know, from the beginning.
func (e *watchElsewhere) ask(nodes ...backplane.NodeID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, node := range nodes {
		e.waiting[node] = struct{}{}
	}
	e.checkWaiting()
	if len(nodes) == 0 || e.stopped {
		return
	}
	e.publish(nodes)
	e.pause = askAgain
	if e.again == nil {
		e.again = time.AfterFunc(e.pause, e.askAgain)
	} else {
		e.again.Reset(e.pause)
	}
}

// missed is ask for a node of which messages were lost, unless it has been asked and has not answered: a node that has more to say than arrives loses
// messages all the time, and would list its members each time. If its answer is lost, it is asked again.
func (e *watchElsewhere) missed(node backplane.NodeID) {
	e.mu.Lock()
	_, asked := e.waiting[node]
	asked = asked && e.pause == askAgain // and is asked again soon
	e.mu.Unlock()
	if !asked {
		e.ask(node)
	}
}

// refused says that a node lacks the hub. It is asked when it has it.
func (e *watchElsewhere) refused(node backplane.NodeID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.waiting, node)
	e.checkWaiting()
}

// publish sends the request to nodes. The lock is held, so that no request follows a Cancel.
func (e *watchElsewhere) publish(nodes []backplane.NodeID) {
	r := &nodev1.Request{Number: e.number, Kind: &nodev1.Request_Watch{Watch: &nodev1.Watch{}}}
	if e.of != nil {
		r.GetWatch().Of = e.of.toNode()
	}
	var topics []string
	for _, node := range nodes {
		topics = append(topics, nodeTopic(node))
	}
	_, _ = e.hub.sys.nodes.publish(&nodev1.Message{Hub: e.hub.name, Kind: &nodev1.Message_Request{Request: r}}, topics...)
}

// askAgain asks the nodes that have not answered, and waits longer from time to time.
func (e *watchElsewhere) askAgain() {
	e.mu.Lock()
	defer e.mu.Unlock()
	maps.DeleteFunc(e.waiting, func(node backplane.NodeID, _ struct{}) bool { return !e.hub.sys.nodes.isUp(node) }) // they are asked when they come back
	if len(e.waiting) > 0 && !e.stopped {
		e.publish(slices.Collect(maps.Keys(e.waiting)))
		e.pause = min(2*e.pause, askAgainMost)
		e.again.Reset(e.pause)
	}
}

// nodeChanged follows a node that has come, and forgets one that has gone.
func (w *Watch) nodeChanged(node backplane.Node) {
	if node.Up {
		w.elsewhere.ask(node.ID)
		return
	}
	e := w.elsewhere
	e.mu.Lock()
	defer e.mu.Unlock()
	former := [...]map[membership]struct{}{e.members[node.ID], e.former[node.ID]}
	delete(e.members, node.ID)
	delete(e.former, node.ID)
	for _, members := range former {
		for at := range members {
			w.setOut(at)
		}
	}
	delete(e.waiting, node.ID)
	e.checkWaiting()
}

// setOut says that a node has a connection no more. Another one may have it: one of SignalR 2 is taken to another node with its id. The lock is held.
func (w *Watch) setOut(at membership) {
	for _, members := range w.elsewhere.members {
		if _, ok := members[at]; ok {
			return
		}
	}
	w.set(at.group, at.Member, false)
}

// hear takes what another node tells.
func (w *Watch) hear(from backplane.NodeID, c *nodev1.Changes) {
	e := w.elsewhere
	e.mu.Lock()
	defer e.mu.Unlock()
	if c.GetFirst() {
		if former := e.former[from]; former == nil {
			e.former[from] = e.members[from]
		} else { // that list was not complete
			maps.Copy(former, e.members[from])
		}
		e.members[from] = map[membership]struct{}{}
		delete(e.waiting, from)
	}
	known := e.members[from]
	if known == nil {
		return // it has been taken to have gone since
	}
	for _, change := range c.GetChanges() {
		for _, m := range change.GetJoined() {
			at := membership{change.GetGroup(), fromNodeMember(m)}
			known[at] = struct{}{}
			w.set(at.group, at.Member, true)
		}
		for _, m := range change.GetLeft() {
			at := membership{change.GetGroup(), fromNodeMember(m)}
			delete(known, at)
			w.setOut(at)
		}
	}
	if !c.GetMore() {
		former := e.former[from]
		delete(e.former, from)
		for at := range former {
			w.setOut(at)
		}
	}
	e.checkWaiting()
}

// stop ends the watch on other nodes.
func (e *watchElsewhere) stop() {
	n := e.hub.sys.nodes
	n.mu.Lock()
	delete(n.watches, e.number)
	n.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stopped = true
	if e.again != nil {
		e.again.Stop()
	}
	n.publishToAll(&nodev1.Message{Hub: e.hub.name, Kind: &nodev1.Message_Cancel{Cancel: e.number}})
}

// toldAtOnce is how many members one message tells of at most. Names of users and groups have a KiB, and a message may have to fit into a MiB.
const toldAtOnce = 256

// serveWatch tells another node of connections of this one, until that does not want it any more.
func (h *Hub) serveWatch(key nodeRequest, of *nodev1.Audience) {
	to := fromNode(of)
	if of != nil && to == nil {
		return
	}
	n := h.sys.nodes
	n.serve(key, func(ctx context.Context) {
		w := h.watchHere(to)
		defer w.Stop()
		for first := true; first || w.Wait(ctx); first = false {
			tell := &nodev1.Changes{Number: key.number, First: first}
			told := 0
			for _, change := range w.Take() {
				one := &nodev1.Changes_Change{Group: change.Group}
				tell.Changes = append(tell.Changes, one)
				for joined, list := range map[bool][]Member{true: change.Joined, false: change.Left} {
					for _, m := range list {
						if told == toldAtOnce {
							tell.More = true
							n.publishChanges(ctx, key.from, tell)
							one = &nodev1.Changes_Change{Group: change.Group}
							tell, told = &nodev1.Changes{Number: key.number, Changes: []*nodev1.Changes_Change{one}}, 0
						}
						told++
						if joined {
							one.Joined = append(one.Joined, m.toNode())
						} else {
							one.Left = append(one.Left, m.toNode())
						}
					}
				}
			}
			if tell.First || len(tell.Changes) > 0 {
				n.publishChanges(ctx, key.from, tell)
			}
		}
	})
}

// publishChanges tells another node, unless ctx has ended, and waits for it if it is slow.
func (n *nodes) publishChanges(ctx context.Context, to backplane.NodeID, c *nodev1.Changes) {
	if ctx.Err() != nil {
		return
	}
	if room, _ := n.publish(&nodev1.Message{Kind: &nodev1.Message_Changes{Changes: c}}, nodeTopic(to)); room != nil {
		select {
		case <-room:
		case <-ctx.Done():
		}
	}
}
