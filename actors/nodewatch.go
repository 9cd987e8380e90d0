package actors

import (
	"context"
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
	waiting map[backplane.NodeID]struct{} // nodes that have told nothing yet
	all     chan struct{}                 // closed when there are none
}

// WatchEverywhere begins to watch an audience, or all groups if it is nil, on all nodes. It waits for what other nodes know, as long as they have to
// answer a request.
func (h *Hub) WatchEverywhere(ctx context.Context, to *Audience) *Watch {
	w := h.watchHere(to)
	n := h.sys.nodes
	if n == nil || to != nil && to.Kind == Caller {
		return w
	}
	w.elsewhere = &watchElsewhere{hub: h, of: to, members: map[backplane.NodeID]map[membership]struct{}{}, waiting: map[backplane.NodeID]struct{}{}, all: make(chan struct{})}
	e := w.elsewhere
	n.mu.Lock()
	n.last++
	e.number = n.last
	n.watches[e.number] = w
	n.mu.Unlock()
	nodes := n.plane.Nodes()
	e.mu.Lock()
	for _, node := range nodes {
		if node.Up {
			e.waiting[node.ID] = struct{}{}
		}
	}
	e.checkWaiting()
	e.mu.Unlock()
	for _, node := range nodes {
		if node.Up {
			e.ask(node.ID)
		}
	}
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

// ask has a node tell what it knows, from the beginning.
func (e *watchElsewhere) ask(node backplane.NodeID) {
	r := &nodev1.Request{Number: e.number, Kind: &nodev1.Request_Watch{Watch: &nodev1.Watch{}}}
	if e.of != nil {
		r.GetWatch().Of = e.of.toNode()
	}
	_, _ = e.hub.sys.nodes.publish(&nodev1.Message{Hub: e.hub.name, Kind: &nodev1.Message_Request{Request: r}}, nodeTopic(node))
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
	w.forget(node.ID)
	delete(e.waiting, node.ID)
	e.checkWaiting()
}

// forget has what a node has told be not so any more. The lock is held.
func (w *Watch) forget(node backplane.NodeID) {
	for at := range w.elsewhere.members[node] {
		w.set(at.group, at.Member, false)
	}
	delete(w.elsewhere.members, node)
}

// hear takes what another node tells.
func (w *Watch) hear(from backplane.NodeID, c *nodev1.Changes) {
	e := w.elsewhere
	e.mu.Lock()
	defer e.mu.Unlock()
	if c.GetFirst() {
		w.forget(from)
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
			w.set(at.group, at.Member, false)
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
	n.publishToAll(&nodev1.Message{Hub: e.hub.name, Kind: &nodev1.Message_Cancel{Cancel: e.number}})
}

// toldAtOnce is how many members one message tells of at most.
const toldAtOnce = 1000

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

// publishChanges tells another node, and waits for it if it is slow.
func (n *nodes) publishChanges(ctx context.Context, to backplane.NodeID, c *nodev1.Changes) {
	if room, _ := n.publish(&nodev1.Message{Kind: &nodev1.Message_Changes{Changes: c}}, nodeTopic(to)); room != nil {
		select {
		case <-room:
		case <-ctx.Done():
		}
	}
}
