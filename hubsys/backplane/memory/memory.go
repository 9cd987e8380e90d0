// Package memory joins several Systems of one process: for tests of what runs on many nodes.
package memory

import (
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"

	"github.com/troupe-go/troupe/hubsys/backplane"
)

// Cluster joins the nodes that are made by Node. The zero value is ready for use.
type Cluster struct {
	// Delay, if it is set, is called before something travels from one node to another, on the goroutine that delivers it.
	Delay func()

	mu    sync.Mutex
	nodes map[backplane.NodeID]*Node
}

// Node is one node. It implements backplane.Backplane.
type Node struct {
	cluster *Cluster
	name    string
	id      backplane.NodeID
	host    backplane.Host
	gone    chan struct{} // closed when it has left

	mu       sync.Mutex
	left     bool
	own      map[string]struct{}                             // topics that it wants
	interest map[string][]backplane.NodeID                   // of others
	links    map[backplane.NodeID]*link                      // to others
	pressed  map[string]map[backplane.NodeID]<-chan struct{} // by receivers
	working  sync.WaitGroup
}

var (
	_ backplane.Backplane = (*Node)(nil)
	_ backplane.Secrets   = (*Node)(nil)
)

// Secrets returns what depends on the purpose alone: there is nobody else in the process.
func (n *Node) Secrets(purpose string) [][]byte {
	hash := sha256.Sum256([]byte(purpose))
	return [][]byte{hash[:]}
}

// Node returns a node that has not started.
func (c *Cluster) Node(name string) *Node {
	return &Node{
		cluster: c, name: name, gone: make(chan struct{}), own: map[string]struct{}{}, interest: map[string][]backplane.NodeID{}, links: map[backplane.NodeID]*link{},
		pressed: map[string]map[backplane.NodeID]<-chan struct{}{},
	}
}

// link is what is on its way from one node to another, in order.
type link struct {
	from, to *Node
	mu       sync.Mutex
	some     sync.Cond
	queue    []func()
	over     bool
}

func newLink(from, to *Node) *link {
	l := &link{from: from, to: to}
	l.some.L = &l.mu
	return l
}

func (l *link) push(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over {
		l.queue = append(l.queue, f)
		l.some.Signal()
	}
}

func (l *link) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	l.some.Signal()
}

func (l *link) run() {
	for {
		l.mu.Lock()
		for len(l.queue) == 0 && !l.over {
			l.some.Wait()
		}
		if len(l.queue) == 0 {
			l.mu.Unlock()
			return
		}
		f := l.queue[0]
		l.queue = l.queue[1:]
		l.mu.Unlock()
		if l.from.cluster.Delay != nil {
			l.from.cluster.Delay()
		}
		f()
	}
}

// Start is part of backplane.Backplane, as are the methods that follow.
func (n *Node) Start(_ context.Context, host backplane.Host) (backplane.NodeID, error) {
	c := n.cluster
	c.mu.Lock()
	if n.host != nil {
		c.mu.Unlock()
		return 0, errors.New("memory: the node has been started before")
	}
	n.id, n.host = backplane.NodeID(rand.Uint32()|1), host
	if c.nodes == nil {
		c.nodes = map[backplane.NodeID]*Node{}
	}
	var others []*Node
	for _, other := range c.nodes {
		others = append(others, other)
	}
	c.nodes[n.id] = n
	for _, other := range others {
		other.mu.Lock()
		n.mu.Lock()
		n.linkTo(other)
		other.linkTo(n)
		for topic := range other.own { // nothing is on its way yet
			n.interest[topic] = append(n.interest[topic], other.id)
		}
		n.mu.Unlock()
		other.mu.Unlock()
	}
	c.mu.Unlock()
	for _, other := range others {
		other.host.Changed(backplane.Node{ID: n.id, Name: n.name, Up: true})
	}
	return n.id, nil
}

// linkTo is called with the lock of the node held.
func (n *Node) linkTo(other *Node) {
	l := newLink(n, other)
	n.links[other.id] = l
	n.working.Go(l.run)
}

// Subscribe tells all others, and is known when they have heard it.
func (n *Node) Subscribe(topic string) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.own[topic] = struct{}{}
	if len(n.links) == 0 {
		return nil
	}
	var hearing sync.WaitGroup
	for _, l := range n.links {
		hearing.Add(1)
		to := l.to
		l.push(func() {
			defer hearing.Done()
			to.mu.Lock()
			defer to.mu.Unlock()
			if !slices.Contains(to.interest[topic], n.id) {
				to.interest[topic] = append(to.interest[topic], n.id)
			}
		})
	}
	known := make(chan struct{})
	n.working.Go(func() {
		hearing.Wait()
		close(known)
	})
	return known
}

// Unsubscribe tells all others.
func (n *Node) Unsubscribe(topic string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.own, topic)
	for _, l := range n.links {
		to := l.to
		l.push(func() { to.forget(topic, n.id) })
	}
}

// forget removes the interest of a node in a topic.
func (n *Node) forget(topic string, id backplane.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.interest[topic] = slices.DeleteFunc(n.interest[topic], func(one backplane.NodeID) bool { return one == id })
	if len(n.interest[topic]) == 0 {
		delete(n.interest, topic)
	}
}

// Wanted reports whether another node wants a topic.
func (n *Node) Wanted(topic string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.interest[topic]) > 0
}

// Publish queues a message for the nodes that want it.
func (n *Node) Publish(topic string, message []byte) (room <-chan struct{}, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, id := range n.interest[topic] {
		l := n.links[id]
		if l == nil {
			continue
		}
		l.push(func() {
			l.to.mu.Lock()
			gone := l.to.left
			l.to.mu.Unlock()
			if gone {
				return
			}
			if room := l.to.host.Receive(n.id, topic, message); room != nil {
				n.press(topic, l.to, room)
			}
		})
		if pressed := n.pressed[topic][id]; pressed != nil {
			select {
			case <-pressed:
				delete(n.pressed[topic], id)
			default:
				room = pressed
			}
		}
	}
	return room, nil
}

// press has senders wait for a room of another node, or for its end.
func (n *Node) press(topic string, to *Node, room <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	free := make(chan struct{})
	n.working.Go(func() {
		defer close(free)
		select {
		case <-room:
		case <-to.gone:
		case <-n.gone:
		}
	})
	if n.pressed[topic] == nil {
		n.pressed[topic] = map[backplane.NodeID]<-chan struct{}{}
	}
	n.pressed[topic][to.id] = free
}

// Nodes returns the others, which are all up.
func (n *Node) Nodes() []backplane.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []backplane.Node
	for id, l := range n.links {
		all = append(all, backplane.Node{ID: id, Name: l.to.name, Up: true})
	}
	return all
}

// Relay calls the other node.
func (n *Node) Relay(id backplane.NodeID, w http.ResponseWriter, r *http.Request) error {
	n.mu.Lock()
	l := n.links[id]
	n.mu.Unlock()
	if l == nil {
		return errors.New("memory: there is no such node")
	}
	l.to.host.Serve(w, r)
	return nil
}

// Stop leaves when what is queued has been delivered.
func (n *Node) Stop(ctx context.Context) error {
	n.part()
	done := make(chan struct{})
	go func() {
		n.working.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Kill has the node cease to take part at once, as if its process had died. What it has published may be delivered, and what is for it is not.
func (n *Node) Kill() {
	n.mu.Lock()
	n.left = true
	n.mu.Unlock()
	n.part()
}

// part takes the node out of the cluster.
func (n *Node) part() {
	c := n.cluster
	c.mu.Lock()
	if c.nodes[n.id] != n {
		c.mu.Unlock()
		return
	}
	delete(c.nodes, n.id)
	close(n.gone)
	n.mu.Lock()
	links := n.links
	n.links = map[backplane.NodeID]*link{}
	n.mu.Unlock()
	c.mu.Unlock()
	for _, l := range links {
		other := l.to
		l.push(func() { other.lose(n) }) // behind what was published before
		l.end()
	}
}

// lose removes another node.
func (n *Node) lose(other *Node) {
	n.mu.Lock()
	l := n.links[other.id]
	delete(n.links, other.id)
	for topic, ids := range n.interest {
		if n.interest[topic] = slices.DeleteFunc(ids, func(id backplane.NodeID) bool { return id == other.id }); len(n.interest[topic]) == 0 {
			delete(n.interest, topic)
		}
	}
	n.mu.Unlock()
	if l != nil {
		l.end()
	}
	n.host.Changed(backplane.Node{ID: other.id, Name: other.name})
}
