package cluster

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys/backplane"
	clusterv1 "github.com/troupe-go/troupe/proto/troupe/cluster/v1"
)

// meshNode is a Backplane with its host.
type meshNode struct {
	*Backplane
	t    *testing.T
	mesh *mesh
	id   backplane.NodeID

	mu      sync.Mutex
	got     []received
	changes []backplane.Node
	missed  uint64
	rooms   map[string]chan struct{} // that Receive returns
	wrong   string                   // what must not have happened
	block   chan struct{}            // Receive waits for it, though it must not
	on      func(received)
}

type received struct {
	from  backplane.NodeID
	topic string
	text  string
}

func (p *meshNode) ActorSystem() *actor.ActorSystem { return nil }

func (p *meshNode) Receive(from backplane.NodeID, topic string, message []byte) <-chan struct{} {
	d := received{from, topic, string(message)}
	p.mu.Lock()
	block := p.block
	p.mu.Unlock()
	if block != nil {
		<-block
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = append(p.got, d)
	if !p.isTold(from) {
		p.wrong = "a message of a node that is not up: " + d.topic
	}
	if p.on != nil {
		p.on(d)
	}
	if room := p.rooms[topic]; room != nil {
		return room
	}
	return nil
}

func (p *meshNode) Changed(n backplane.Node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n.Up == p.isTold(n.ID) {
		p.wrong = "a change that is none"
	}
	p.changes = append(p.changes, n)
}

func (p *meshNode) Missed(_ backplane.NodeID, messages uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.missed += messages
}

// hasMissed returns of how many lost messages the host has been told.
func (p *meshNode) hasMissed() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.missed
}

// isTold reports whether the host has been told that a node is up.
func (p *meshNode) isTold(id backplane.NodeID) bool {
	for _, n := range slices.Backward(p.changes) {
		if n.ID == id {
			return n.Up
		}
	}
	return false
}

// check fails the test if something has happened that must not.
func (p *meshNode) check(t require.TestingT) {
	p.mu.Lock()
	defer p.mu.Unlock()
	require.Empty(t, p.wrong)
}

func (p *meshNode) Serve(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTeapot) }

func (p *meshNode) all() []received {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]received(nil), p.got...)
}

func (p *meshNode) changed() []backplane.Node {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]backplane.Node(nil), p.changes...)
}

func (p *meshNode) setBlock(c chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.block = c
}

func (p *meshNode) setRoom(topic string, room chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rooms[topic] = room
}

// link returns its end of the link to another one.
func (p *meshNode) link(o *meshNode) *link { return p.node.Load().link(o.id) }

func (p *meshNode) metricsOf(o *meshNode) PeerStatus { return p.link(o).status() }

func (p *meshNode) publish(topic, text string) <-chan struct{} {
	room, err := p.Publish(topic, []byte(text))
	require.NoError(p.t, err)
	return room
}

// subscribe waits until the others know.
func (p *meshNode) subscribe(topics ...string) {
	for _, topic := range topics {
		if known := p.Subscribe(topic); known != nil {
			<-known
		}
	}
}

// start starts a node that is stopped at the end.
func (m *mesh) start(t *testing.T, name string) *meshNode {
	p := &meshNode{Backplane: m.open(name), t: t, mesh: m, rooms: map[string]chan struct{}{}}
	id, err := p.Start(context.Background(), p)
	require.NoError(t, err)
	p.id = id
	t.Cleanup(func() { _ = p.Stop(context.Background()); p.check(t) })
	return p
}

// bubble runs a test with a clock of its own.
func bubble(t *testing.T, f func(t *testing.T, m *mesh)) {
	synctest.Test(t, func(t *testing.T) { f(t, newMesh()) })
}

// settle lets everything that is under way arrive.
func settle() {
	time.Sleep(100 * time.Millisecond)
	synctest.Wait()
}

// helloFrom returns the Hello that a node says first to another one.
func (n *node) helloFrom(t *testing.T, to backplane.NodeID) *clusterv1.Frame {
	l := newLink(n, member{id: to})
	f := l.next(time.Now()).frame
	require.NotNil(t, f.GetHello())
	f.From, f.To = uint32(n.id), uint32(to)
	return f
}
