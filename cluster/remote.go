package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/troupe-go/troupe/internal/logs"
	clusterv1 "github.com/troupe-go/troupe/proto/troupe/cluster/v1"
)

const (
	// nodeActor takes the frames for a node. It has no mailbox: frames are handled on the goroutine of the stream that they arrive on, so a sender
	// is held up by what it has sent itself, and no others are.
	nodeActor = "cluster/node"

	connectTime   = 15 * time.Second // how long a peer may take until what waits for it is lost
	handshakeTime = 5 * time.Second  // the same for one attempt
	farewellTime  = 3 * time.Second  // the same when this node leaves
	dialTime      = 2 * time.Second  // the same for its first step
	handoverTime  = time.Second      // how long a peer may take to read what it was sent before a connection is closed
	batchBytes    = 1 << 20          // of several messages together
	streamWindow  = 2 << 20          // bytes under way; without it, gRPC measures how many it needs, with a ping for each message
)

// remoting carries messages between the actors of nodes, frames among them. It speaks the protocol of protoactor's remote, with its generated code,
// and resolves the addresses of actors as that does: they are sent to, asked and watched by their PIDs.
//
// It stands in for remote.Remote, which cannot be used in a process that has anything else: it silences the log of gRPC for the whole process, while
// other goroutines read it; it crashes at messages of unknown types, has queues without limits, sleeps after an attempt to connect that fails, loses
// batches above a size, and cannot be stopped while messages are sent.
type remoting struct {
	remote.UnimplementedRemotingServer // for calls other than Receive

	system  *actor.ActorSystem
	server  *grpc.Server
	options []grpc.DialOption
	port    uint16
	limit   int // bytes of a message
	log     *slog.Logger
	limiter *logs.Limiter
	counts  *counts

	frame  func(*clusterv1.Frame)
	broken func(address string) // messages to an address may have been lost

	closing context.Context
	close   context.CancelFunc
	tasks   sync.WaitGroup

	mu        sync.Mutex
	stopped   bool                 // nothing is sent any more
	endpoints map[string]*endpoint // by address
	incoming  map[string]*inbound  // by the id of the actor system that sends
}

// startRemoting makes system reachable at the advertised address.
func startRemoting(c *Config, system *actor.ActorSystem, s *secrets, counts *counts, bind netip.AddrPort, frame func(*clusterv1.Frame), broken func(string)) (*remoting, error) {
	listener, err := net.Listen("tcp", bind.String())
	if err != nil {
		return nil, err
	}
	r := &remoting{
		system: system, port: listener.Addr().(*net.TCPAddr).AddrPort().Port(), limit: c.MaxMessage + batchBytes, log: c.Logger, limiter: &logs.Limiter{Most: 5},
		counts: counts, frame: frame, broken: broken, endpoints: map[string]*endpoint{}, incoming: map[string]*inbound{},
	}
	advertised, err := c.advertised([3]uint16{1: r.port})
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	client, server := insecure.NewCredentials(), insecure.NewCredentials()
	if s != nil {
		client, server = credentials.NewTLS(s.tls), credentials.NewTLS(s.tls)
	}
	r.options = []grpc.DialOption{
		grpc.WithTransportCredentials(client),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return c.dial(ctx, "tcp", address) }),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.5, Jitter: 0.2, MaxDelay: 500 * time.Millisecond}, MinConnectTimeout: handshakeTime}),
		grpc.WithInitialWindowSize(streamWindow), grpc.WithInitialConnWindowSize(streamWindow),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 2 * time.Second}),
	}
	r.server = grpc.NewServer(
		grpc.Creds(server), grpc.MaxRecvMsgSize(r.limit+batchBytes), grpc.ConnectionTimeout(handshakeTime), grpc.WaitForHandlers(true),
		grpc.InitialWindowSize(streamWindow), grpc.InitialConnWindowSize(streamWindow),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 2 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second}),
	)
	remote.RegisterRemotingServer(r.server, r)
	r.closing, r.close = context.WithCancel(context.Background())
	system.ProcessRegistry.Address = advertised[1].String()
	system.ProcessRegistry.RegisterAddressResolver(func(pid *actor.PID) (actor.Process, bool) { return &distant{pid.Address, r}, true })
	system.ProcessRegistry.Add((*nodeProcess)(r), nodeActor)
	r.tasks.Go(func() { _ = r.server.Serve(listener) })
	return r, nil
}

// send sends a frame to the node at a PID.
func (r *remoting) send(to *actor.PID, f *clusterv1.Frame) { r.system.Root.Send(to, f) }

// endpoint returns the connection to an address, which it opens if there is none. It returns nil when remoting has stopped.
func (r *remoting) endpoint(address string) *endpoint {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.endpoints[address]
	if e == nil && !r.stopped {
		e = &endpoint{r: r, address: address, wake: make(chan struct{}, 1)}
		e.ctx, e.cancel = context.WithCancel(r.closing)
		r.endpoints[address] = e
		r.tasks.Go(e.run)
	}
	return e
}

// ended forgets a connection. What is sent to its address from now on needs another one.
func (r *remoting) ended(e *endpoint) {
	r.mu.Lock()
	if r.endpoints[e.address] == e {
		delete(r.endpoints, e.address)
	}
	r.mu.Unlock()
}

// flush waits until what is queued has been read by those who it is for, at the latest until ctx ends. Nothing can be sent afterwards.
func (r *remoting) flush(ctx context.Context) {
	r.mu.Lock()
	r.stopped = true
	all := make([]*endpoint, 0, len(r.endpoints))
	for _, e := range r.endpoints {
		all = append(all, e)
	}
	r.mu.Unlock()
	for _, e := range all {
		e.finish()
	}
	for _, e := range all {
		select {
		case <-e.ctx.Done():
		case <-ctx.Done():
			return
		}
	}
}

// shut closes all connections.
func (r *remoting) shut() {
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	r.close()
	r.server.Stop()
	r.tasks.Wait()
	r.system.ProcessRegistry.Remove(r.system.NewLocalPID(nodeActor))
}

// nodeProcess takes frames.
type nodeProcess remoting

var _ actor.Process = (*nodeProcess)(nil)

func (p *nodeProcess) SendUserMessage(_ *actor.PID, message any) {
	if f, ok := actor.UnwrapEnvelopeMessage(message).(*clusterv1.Frame); ok {
		p.frame(f)
	}
}

func (*nodeProcess) SendSystemMessage(*actor.PID, any) {}
func (*nodeProcess) Stop(*actor.PID)                   {}

// distant stands for the actors at the address of another node.
type distant struct {
	address string
	r       *remoting
}

var _ actor.Process = (*distant)(nil)

func (d *distant) SendUserMessage(pid *actor.PID, message any) {
	header, m, sender := actor.UnwrapEnvelope(message)
	one, err := newDelivery(pid, header, m, sender)
	if err == nil && len(one.data) > d.r.limit {
		d.r.counts.oversize.Add(1)
		err = fmt.Errorf("it has %d bytes, more than Config.MaxMessage allows", len(one.data))
	}
	if err != nil {
		d.r.warn("a message to another node is lost", fmt.Sprintf("%T", m), pid, err)
	}
	if err != nil || !d.deliver(one) {
		d.r.system.DeadLetter.SendUserMessage(pid, message)
	}
}

func (d *distant) SendSystemMessage(pid *actor.PID, message any) {
	one, err := newDelivery(pid, nil, message, nil)
	if err != nil {
		return // it concerns actors of one node
	}
	switch m := message.(type) {
	case *actor.Watch:
		one.watcher = m.Watcher
	case *actor.Unwatch:
		one.unwatcher = m.Watcher
	}
	if !d.deliver(one) && one.watcher != nil {
		d.r.tell(one.watcher, &actor.Terminated{Who: pid, Why: actor.TerminatedReason_AddressTerminated})
	}
}

func (d *distant) Stop(pid *actor.PID) { d.SendSystemMessage(pid, &actor.Stop{}) }

// deliver queues a message. It returns false when remoting has stopped.
func (d *distant) deliver(one *delivery) bool {
	for {
		e := d.r.endpoint(d.address)
		if e == nil {
			return false
		}
		if e.push(one) {
			return true
		}
		d.r.ended(e)
	}
}

// tell gives a system message to an actor of this node, if it still exists.
func (r *remoting) tell(pid *actor.PID, message any) {
	if process, ok := r.system.ProcessRegistry.GetLocal(pid.Id); ok {
		process.SendSystemMessage(pid, message)
	}
}

func (r *remoting) warn(what, kind string, target *actor.PID, err error) {
	r.limiter.Log(context.Background(), r.log, slog.LevelWarn, what, what, "type", logs.Clip(kind), "target", logs.Clip(target.GetId()), "error", logs.Error(err))
}

// leaveUnused makes an actor system as it was before a node that has not started: another one can live in it.
func leaveUnused(system *actor.ActorSystem) {
	system.ProcessRegistry.Address, system.ProcessRegistry.RemoteHandlers = noAddress, nil
}

// noAddress is that of an actor system that has no remote.
const noAddress = "nonhost"

// checkUnused returns an error if an actor system has actors, whose addresses would be wrong, or a remote.
func checkUnused(system *actor.ActorSystem) error {
	if system.ProcessRegistry.Address != noAddress || len(system.ProcessRegistry.RemoteHandlers) > 0 {
		return errors.New("cluster: the actor system has a remote already: a node has its own")
	}
	var found string
	for _, bucket := range system.ProcessRegistry.LocalPIDs.LocalPIDs {
		if bucket.IsEmpty() {
			continue // the list of its keys would need goroutines
		}
		for _, id := range bucket.Keys() {
			if id != "eventstream" && id != "deadletter" {
				found = cmp.Or(found, id)
			}
		}
	}
	if found != "" {
		return fmt.Errorf("cluster: the actor system has actors already, such as %q: they would not be reachable from other nodes, so a node starts before them", logs.Clip(found))
	}
	return nil
}
