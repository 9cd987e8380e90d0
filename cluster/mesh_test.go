package cluster

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-go/troupe/hubsys/backplane"
	clusterv1 "github.com/troupe-go/troupe/proto/troupe/cluster/v1"
)

// mesh is a network in memory. Each pair of nodes has a pipe in each direction, and frames of different pipes overtake each other.
type mesh struct {
	delay func() time.Duration // of a frame; nil: none

	mu    sync.Mutex
	ends  []*end
	cuts  map[direction]bool          // frames are lost
	holds map[direction]chan struct{} // frames wait until it is closed
}

type direction struct{ from, to backplane.NodeID }

func newMesh() *mesh {
	return &mesh{cuts: map[direction]bool{}, holds: map[direction]chan struct{}{}}
}

// end is one node's network.
type end struct {
	mesh   *mesh
	self   member
	host   backplane.Host
	events events
	closed chan struct{} // it sends and gets nothing any more

	mu    sync.Mutex
	pipes map[backplane.NodeID]*pipe
	wg    sync.WaitGroup
}

var errMeshRefuses = errors.New("the mesh refuses")

// notice is how long news of members takes.
const notice = 20 * time.Millisecond

func (m *mesh) join(_ context.Context, self member, host backplane.Host, e events) (network, error) {
	n := &end{mesh: m, self: self, host: host, events: e, closed: make(chan struct{}), pipes: map[backplane.NodeID]*pipe{}}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range m.ends {
		if o.isClosed() {
			continue
		}
		e.joined(o.self)
		if o.self.id != self.id {
			n.after(notice, func() { o.tell(func() { o.events.joined(self) }) })
		}
	}
	m.ends = append(m.ends, n)
	return n, nil
}

func (n *end) isClosed() bool {
	select {
	case <-n.closed:
		return true
	default:
		return false
	}
}

// tell calls f if the node is there to be told something.
func (n *end) tell(f func()) {
	if !n.isClosed() {
		f()
	}
}

// after calls f after a time, unless the node is gone.
func (n *end) after(d time.Duration, f func()) {
	n.wg.Go(func() {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			f()
		case <-n.closed:
		}
	})
}

func (m *mesh) find(id backplane.NodeID) *end {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range m.ends {
		if n.self.id == id && !n.isClosed() {
			return n
		}
	}
	return nil
}

func (m *mesh) others(n *end) (others []*end) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range m.ends {
		if o != n && !o.isClosed() {
			others = append(others, o)
		}
	}
	return others
}

type pipe struct {
	to   *end
	mu   sync.Mutex
	wait []parcel
	rest int // that have not arrived
	wake chan struct{}
}

type parcel struct {
	bytes []byte
	at    time.Time
}

func (n *end) send(to backplane.NodeID, f *clusterv1.Frame) {
	b, err := proto.Marshal(f)
	if err != nil {
		panic(err)
	}
	other := n.mesh.find(to)
	if other == nil || n.isClosed() {
		return
	}
	n.mu.Lock()
	p := n.pipes[to]
	if p == nil || p.to != other {
		p = &pipe{to: other, wake: make(chan struct{}, 1)}
		n.pipes[to] = p
		n.wg.Go(func() { n.deliver(p) })
	}
	n.mu.Unlock()
	at := time.Now()
	if n.mesh.delay != nil {
		at = at.Add(n.mesh.delay())
	}
	p.mu.Lock()
	p.wait = append(p.wait, parcel{b, at})
	p.rest++
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// deliver takes the frames of a pipe to its end, in order.
func (n *end) deliver(p *pipe) {
	for {
		p.mu.Lock()
		wait := p.wait
		p.wait = nil
		p.mu.Unlock()
		for _, one := range wait {
			if d := time.Until(one.at); n.mesh.delay != nil && d > 0 {
				time.Sleep(d)
			}
			if n.passes(p.to) {
				f := &clusterv1.Frame{}
				if err := proto.Unmarshal(one.bytes, f); err != nil {
					panic(err)
				}
				p.to.events.frame(f)
			}
			p.mu.Lock()
			p.rest--
			p.mu.Unlock()
		}
		if wait != nil {
			continue
		}
		select {
		case <-p.wake:
		case <-n.closed:
			return
		}
	}
}

// passes waits while the way is held, and reports whether a frame arrives.
func (n *end) passes(to *end) bool {
	m, d := n.mesh, direction{n.self.id, to.self.id}
	for {
		m.mu.Lock()
		cut, hold := m.cuts[d], m.holds[d]
		m.mu.Unlock()
		if cut || n.isClosed() || to.isClosed() {
			return false
		}
		if hold == nil {
			return true
		}
		select {
		case <-hold:
		case <-n.closed:
		case <-to.closed:
		}
	}
}

func (n *end) address() string { return "" }

func (n *end) ignored() uint64 { return 0 }

func (n *end) drain() {
	n.self.draining = true
	for _, o := range n.mesh.others(n) {
		o.events.joined(n.self)
	}
}

func (n *end) relay(to backplane.NodeID, w http.ResponseWriter, r *http.Request) error {
	o := n.mesh.find(to)
	if o == nil {
		return errMeshRefuses
	}
	o.host.Serve(w, r)
	return nil
}

func (n *end) stop(context.Context) error {
	// What has been sent arrives, if anything does in time.
	until := time.Now().Add(100 * time.Millisecond)
	for n.rest() > 0 && time.Now().Before(until) {
		time.Sleep(time.Millisecond)
	}
	others := n.mesh.others(n)
	n.close()
	if n.mesh.find(n.self.id) != nil {
		return nil // it was not the one that the others know by this id
	}
	for _, o := range others {
		o.after(notice, func() { o.tell(func() { o.events.left(n.self.id) }) })
	}
	return nil
}

// rest returns how many frames have not arrived.
func (n *end) rest() (rest int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.pipes {
		p.mu.Lock()
		rest += p.rest
		p.mu.Unlock()
	}
	return rest
}

func (n *end) close() {
	n.mesh.mu.Lock()
	if !n.isClosed() {
		close(n.closed)
	}
	n.mesh.mu.Unlock()
	n.wg.Wait()
}

// kill takes a node away without notice: the others see the connections break, and miss it some time later.
func (m *mesh) kill(id backplane.NodeID) {
	n := m.find(id)
	others := m.others(n)
	n.close()
	for _, o := range others {
		o.after(3*time.Millisecond, func() { o.events.broken(id) })
		o.after(1200*time.Millisecond, func() { o.events.left(id) })
	}
}

// cut has all frames in a direction be lost, without notice.
func (m *mesh) cut(from, to backplane.NodeID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cuts[direction{from, to}] = true
}

func (m *mesh) heal(from, to backplane.NodeID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.cuts, direction{from, to})
}

// hold has all frames in a direction wait.
func (m *mesh) hold(from, to backplane.NodeID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := (direction{from, to}); m.holds[d] == nil {
		m.holds[d] = make(chan struct{})
	}
}

func (m *mesh) release(from, to backplane.NodeID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := (direction{from, to}); m.holds[d] != nil {
		close(m.holds[d])
		delete(m.holds, d)
	}
}

// part has two nodes miss each other, as they do when nothing passes between them for some time.
func (m *mesh) part(a, b backplane.NodeID) {
	m.find(a).events.left(b)
	m.find(b).events.left(a)
}

// meet has them find each other again.
func (m *mesh) meet(a, b backplane.NodeID) {
	x, y := m.find(a), m.find(b)
	x.events.joined(y.self)
	y.events.joined(x.self)
}

// open returns a Backplane on the mesh that has not been started.
func (m *mesh) open(name string) *Backplane {
	return newBackplane(settings{
		cluster: "test", network: "mesh", name: name, keys: [][]byte{[]byte("key")}, maxMessage: 64 << 20, log: slog.New(slog.DiscardHandler), join: m.join,
	})
}
