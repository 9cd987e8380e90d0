package cluster

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/hubsys/backplane"
	clusterv1 "github.com/troupe-go/troupe/proto/troupe/cluster/v1"
)

// wire is the real network: memberlist says who is there, the remote of protoactor carries frames, and HTTP carries requests.
type wire struct {
	id       backplane.NodeID
	config   Config
	to       events
	counts   counts
	remoting *remoting
	relays   *relays
	secrets  *secrets
	ports    [3]uint16   // of gossip, messages and requests; that of gossip is 0 if join finds a free one
	members  *membership // nil before join
	stopping sync.Once

	mu    sync.RWMutex
	peers map[backplane.NodeID]*peer
}

var _ network = (*wire)(nil)

// counts are of what a node did not take or send.
type counts struct {
	misdirected atomic.Uint64 // frames for another node, whose address this one has now
	strange     atomic.Uint64 // frames of processes that are not, or not yet, members
	refused     atomic.Uint64 // messages that nodes have no reason to send, or of unknown types
	oversize    atomic.Uint64 // messages to other nodes beyond MaxMessage
}

// peer is another member.
type peer struct {
	member
	remote, relay string
	node          *actor.PID
}

// newWire opens the ports of a node, whose configuration is one of withDefaults. It starts the remote of system, which must not have any actors yet.
// serve answers what other nodes relay. Nothing is given to the events before join.
func newWire(config Config, system *actor.ActorSystem, id backplane.NodeID, serve http.Handler, to events) (*wire, error) {
	if err := checkUnused(system); err != nil {
		return nil, err
	}
	w := &wire{id: id, config: config, to: to, peers: map[backplane.NodeID]*peer{}}
	var err error
	if w.secrets, err = w.config.secrets(); err != nil {
		return nil, err
	}
	if err = w.open(system, serve); err != nil {
		w.shut()
		return nil, err
	}
	return w, nil
}

func (w *wire) open(system *actor.ActorSystem, serve http.Handler) (err error) {
	bind, _ := parseBind(w.config.Bind)
	if bind.Port() != 0 {
		w.ports = [3]uint16{bind.Port(), bind.Port() + 1, bind.Port() + 2}
	}
	listener, err := net.Listen("tcp", netip.AddrPortFrom(bind.Addr(), w.ports[2]).String())
	if err != nil {
		return err
	}
	w.ports[2] = listener.Addr().(*net.TCPAddr).AddrPort().Port()
	w.relays = startRelays(&w.config, w.secrets, listener, serve)
	w.remoting, err = startRemoting(&w.config, system, w.secrets, &w.counts, netip.AddrPortFrom(bind.Addr(), w.ports[1]), w.frame, w.broken)
	if err != nil {
		return err
	}
	w.ports[1] = w.remoting.port
	return nil
}

// join makes the node a member of the cluster, as far as it can reach other members. If it cannot, it goes on trying.
func (w *wire) join(ctx context.Context) (err error) {
	if w.members, err = newMembership(&w.config, w.secrets, w.id, w.ports, w.joined, w.left); err == nil {
		err = w.members.join(ctx)
	}
	if err != nil {
		w.shut()
	}
	return err
}

func (w *wire) peer(id backplane.NodeID) *peer {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.peers[id]
}

func (w *wire) joined(m member, remote, relay string) {
	p := &peer{member: m, remote: remote, relay: relay, node: actor.NewPID(remote, nodeActor)}
	w.mu.Lock()
	w.peers[m.id] = p
	w.mu.Unlock()
	w.to.joined(m)
}

// left handles that a member has gone. Requests that it is answering go on: it may have left, or only be slow.
func (w *wire) left(id backplane.NodeID) {
	w.mu.Lock()
	_, ok := w.peers[id]
	delete(w.peers, id)
	w.mu.Unlock()
	if ok {
		w.to.left(id)
	}
}

// broken is called when the connection on which frames go to an address has ended.
func (w *wire) broken(address string) {
	var ids []backplane.NodeID
	w.mu.RLock()
	for id, p := range w.peers {
		if p.remote == address {
			ids = append(ids, id)
		}
	}
	w.mu.RUnlock()
	for _, id := range ids {
		w.to.broken(id)
	}
}

// frame takes a frame that has arrived.
func (w *wire) frame(f *clusterv1.Frame) {
	switch {
	case f.To != uint32(w.id):
		w.counts.misdirected.Add(1)
	case w.peer(backplane.NodeID(f.From)) == nil:
		w.counts.strange.Add(1)
	default:
		w.to.frame(f)
	}
}

func (w *wire) send(to backplane.NodeID, f *clusterv1.Frame) {
	if p := w.peer(to); p != nil {
		w.remoting.send(p.node, f)
	}
}

func (w *wire) address() string { return w.members.addresses[0].String() }

func (w *wire) ignored() uint64 {
	c := &w.counts
	return c.misdirected.Load() + c.strange.Load() + c.refused.Load() + c.oversize.Load()
}

func (w *wire) drain() { w.members.tasks.Go(w.members.drain) }

var (
	errGone    = errors.New("cluster: the node is not a member of the cluster, or has gone")
	errStopped = errors.New("cluster: this node has stopped")
	errRelayed = errors.New("cluster: the request has been relayed already, and is not for this node")
)

func (w *wire) relay(to backplane.NodeID, rw http.ResponseWriter, r *http.Request) error {
	p := w.peer(to)
	if p == nil {
		return errGone
	}
	return w.relays.relay(p, rw, r)
}

// stop sends what is queued, leaves, and waits for the requests that are being answered for other nodes. Before join, it is shut.
func (w *wire) stop(ctx context.Context) (err error) {
	if w.members == nil {
		w.shut()
	}
	w.stopping.Do(func() {
		w.remoting.flush(ctx)
		left := make(chan struct{})
		go func() {
			defer close(left)
			w.members.stop(true)
		}()
		select {
		case <-left:
		case <-ctx.Done():
		}
		err = w.relays.stop(ctx)
		w.remoting.shut()
	})
	return err
}

// shut closes everything at once, so that the other members have to find out.
func (w *wire) shut() {
	w.stopping.Do(func() {
		if w.members != nil {
			w.members.stop(false)
		}
		if w.remoting != nil {
			w.remoting.shut()
		}
		if w.relays != nil {
			w.relays.shut()
		}
	})
}
