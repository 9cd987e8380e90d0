package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/troupe-go/troupe/hubsys/backplane"
	clusterv1 "github.com/troupe-go/troupe/proto/troupe/cluster/v1"
)

// protocolVersion is the newest version of what links say to each other, oldestVersion the oldest one that can be talked to.
const (
	protocolVersion = 1
	oldestVersion   = 1
)

// patience is how long a node that starts waits for a member that does not answer.
const patience = 2 * deadAfter

// settings is what a node has to know to talk to others.
type settings struct {
	cluster    string   // the name of the cluster
	network    string   // the version of what frames travel over, which is the same on all nodes
	name       string   // of this node
	keys       [][]byte // of the cluster: that of this node, and others that nodes may have
	topicKeys  [][]byte // derived from them: hashes of topics are made with these
	maxMessage int
	log        *slog.Logger
	// join joins the cluster with an id. It tells the events, also before it returns.
	join func(ctx context.Context, self member, host backplane.Host, e events) (network, error)
	draw func() backplane.NodeID
}

// refuses returns why a node cannot be talked to.
func (s *settings) refuses(h *clusterv1.Hello) string {
	switch {
	case h.GetCluster() != s.cluster:
		return fmt.Sprintf("it is of the cluster %q", h.GetCluster())
	case h.GetNetwork() != s.network:
		return fmt.Sprintf("it speaks %q", h.GetNetwork())
	case h.GetVersion() < oldestVersion || h.GetOldest() > protocolVersion:
		return fmt.Sprintf("it speaks versions %d to %d", h.GetOldest(), h.GetVersion())
	}
	return ""
}

var errTaken = errors.New("cluster: another node has the same id")

// node is this node with one id. It is what the network tells of.
type node struct {
	settings *settings
	host     backplane.Host
	id       backplane.NodeID
	life     uint64
	context  context.Context // of logging
	network  network         // when begun is closed

	begun    chan struct{} // the network is there
	serving  chan struct{} // the host can be called
	stopping chan struct{}
	taken    chan struct{}
	isTaken  sync.Once

	topics     interest
	subs       *subscriptions
	goroutines sync.WaitGroup
	ignored    atomic.Uint64 // frames that are unknown, or for another node

	mu     sync.Mutex
	links  map[backplane.NodeID]*link
	closed bool
	former Losses                        // of links that are not there any more
	gone   map[backplane.NodeID]struct{} // nodes that have said Bye, and are still members: gossip says last of them that they drain
}

func newNode(ctx context.Context, s *settings, host backplane.Host) *node {
	return &node{
		settings: s, host: host, id: s.draw(), life: rand.Uint64() | 1, context: context.WithoutCancel(ctx),
		begun: make(chan struct{}), serving: make(chan struct{}), stopping: make(chan struct{}), taken: make(chan struct{}),
		subs: newSubscriptions(), links: map[backplane.NodeID]*link{}, gone: map[backplane.NodeID]struct{}{},
	}
}

func (n *node) joined(m member) {
	if m.id == n.id {
		n.isTaken.Do(func() { close(n.taken) })
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.links[m.id]
	if _, gone := n.gone[m.id]; gone || n.closed || l != nil && l.join(m) {
		return
	}
	l = newLink(n, m)
	n.links[m.id] = l
	n.goroutines.Go(l.run)
	n.goroutines.Go(l.receive)
}

func (n *node) left(id backplane.NodeID) {
	n.mu.Lock()
	delete(n.gone, id)
	l := n.links[id]
	if l != nil {
		l.unjoin() // with the lock held, so that forget sees it
	}
	n.mu.Unlock()
}

func (n *node) broken(id backplane.NodeID) {
	if l := n.link(id); l != nil {
		l.lose()
	}
}

func (n *node) frame(f *clusterv1.Frame) {
	from := backplane.NodeID(f.GetFrom())
	if from == n.id || f.GetHello().GetTaken() == n.life {
		n.isTaken.Do(func() { close(n.taken) })
		return
	}
	if backplane.NodeID(f.GetTo()) != n.id {
		n.ignored.Add(1)
		return
	}
	if l := n.link(from); l != nil { // a node that is not known to be a member is going to say Hello again
		l.frame(f)
	}
}

func (n *node) link(id backplane.NodeID) *link {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.links[id]
}

func (n *node) all() []*link {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Values(n.links))
}

// signal has all links tell what has changed.
func (n *node) signal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.links {
		l.signal()
	}
}

// forget removes a link that has ended.
func (n *node) forget(l *link) {
	n.topics.remove(l.place)
	n.mu.Lock()
	defer n.mu.Unlock()
	l.mu.Lock()
	counted, isMember := l.losses(), l.isMember
	l.mu.Unlock()
	n.former.add(counted)
	if n.links[l.peer] == l {
		delete(n.links, l.peer)
		if isMember {
			n.gone[l.peer] = struct{}{}
		}
	}
}

// start joins the cluster, and waits until the nodes know of each other.
func (n *node) start(ctx context.Context) error {
	network, err := n.settings.join(ctx, member{id: n.id, name: n.settings.name}, n.host, n)
	if err != nil {
		return err
	}
	n.network = network
	close(n.begun)
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		waiting := n.waitingFor()
		select {
		case <-n.taken:
			return errTaken
		default:
		}
		if len(waiting) == 0 {
			return nil
		}
		select {
		case <-ticker.C:
		case <-n.taken:
			return errTaken
		case <-ctx.Done():
			return fmt.Errorf("cluster: nodes that have not answered: %s: %w", strings.Join(waiting, ", "), context.Cause(ctx))
		}
	}
}

// waitingFor returns the nodes that do not know what this one wants, or whose interest is not known here. Those that do not answer for long are
// left out.
func (n *node) waitingFor() (nodes []string) {
	now := time.Now()
	_, version := n.subs.size()
	for _, l := range n.all() {
		known := n.subs.isKnown(l, version)
		l.mu.Lock()
		if l.up && (!known || l.in.all) || !l.up && l.isMember && l.refused == "" && now.Sub(l.since) < patience {
			nodes = append(nodes, fmt.Sprintf("%s (%s)", l.peer, l.member.name))
		}
		l.mu.Unlock()
	}
	return nodes
}

// stop ends all links, and leaves the cluster.
func (n *node) stop(ctx context.Context) error {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	links := n.all()
	for _, l := range links {
		l.leave()
	}
	close(n.stopping)
	n.goroutines.Wait()
	n.topics.sweeps.Wait()
	if n.network == nil {
		return nil
	}
	return n.network.stop(ctx)
}

// flush waits until all other nodes have acknowledged what has been sent to them.
func (n *node) flush(ctx context.Context) {
	for _, l := range n.all() {
		flushed := l.flush()
		if flushed == nil {
			continue
		}
		select {
		case <-flushed:
		case <-ctx.Done():
			return
		}
	}
}
