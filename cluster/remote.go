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
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/eventstream"
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

	connectTime  = 10 * time.Second // how long a peer may take until what waits for it is lost
	attemptTime  = 2 * time.Second  // the same for one attempt
	handoverTime = time.Second      // how long a peer may take to read what it was sent before a connection is closed
	queueLength  = 1024             // messages for one peer that there is room for at first
	batchLength  = 256
	batchBytes   = 1 << 20 // of several messages together
	freePorts    = 10      // attempts to find one
)

// remoting sends frames, and any other message to an actor of another node, by the remote of protoactor.
//
// Three things are done around it. Interceptors drop what would crash it, or would stop actors, and end one stream of a peer before its next one
// goes on. They also wait for peers to connect, because remote itself sleeps for two seconds after an attempt that fails. And it is stopped without its
// own Shutdown, which is not safe while messages are sent.
type remoting struct {
	system  *actor.ActorSystem
	remote  *remote.Remote
	events  *eventstream.Subscription
	port    uint16
	limit   int
	log     *slog.Logger
	limiter *logs.Limiter
	counts  *counts

	frame  func(*clusterv1.Frame)
	broken func(address string) // messages to an address may have been lost

	stopped atomic.Bool // nothing is sent any more
	closing context.Context
	close   context.CancelFunc

	mu       sync.Mutex
	incoming map[string]*inbound // by the id of the actor system that sends
	queued   map[string]int      // frames that remote has not sent yet, by address
	idle     chan struct{}       // closed when there are none
}

// startRemoting makes system reachable at the advertised address.
func startRemoting(c *Config, system *actor.ActorSystem, s *secrets, counts *counts, bind netip.AddrPort, frame func(*clusterv1.Frame), broken func(string)) (*remoting, error) {
	r := &remoting{
		system: system, limit: c.MaxMessage + batchBytes, log: c.Logger, limiter: &logs.Limiter{Most: 5}, counts: counts, frame: frame, broken: broken,
		incoming: map[string]*inbound{}, queued: map[string]int{},
	}
	r.closing, r.close = context.WithCancel(context.Background())
	if _, added := system.ProcessRegistry.Add((*nodeProcess)(r), nodeActor); !added {
		return nil, errors.New("cluster: there is another node in the actor system")
	}
	var err error
	if bind.Port() != 0 {
		err = r.listen(c, s, bind)
	} else {
		for range freePorts { // another process may take a port between the two steps
			var port uint16
			if port, err = freePort(bind.Addr()); err == nil {
				err = r.listen(c, s, netip.AddrPortFrom(bind.Addr(), port))
			}
			if err == nil {
				break
			}
		}
	}
	if err != nil {
		r.close()
		system.ProcessRegistry.Remove(system.NewLocalPID(nodeActor))
		return nil, err
	}
	r.events = system.EventStream.Subscribe(func(e any) {
		if ended, ok := e.(*remote.EndpointTerminatedEvent); ok {
			r.lose(ended.Address)
		}
	})
	return r, nil
}

func freePort(ip netip.Addr) (uint16, error) {
	l, err := net.Listen("tcp", netip.AddrPortFrom(ip, 0).String())
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).AddrPort().Port(), l.Close()
}

// listen starts remote, which panics if it cannot listen.
func (r *remoting) listen(c *Config, s *secrets, bind netip.AddrPort) (err error) {
	advertised, err := c.advertised([3]uint16{1: bind.Port()})
	if err != nil {
		return err
	}
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("cluster: %v", reason)
		}
	}()
	client, server := insecure.NewCredentials(), insecure.NewCredentials()
	if s != nil {
		client, server = credentials.NewTLS(s.tls), credentials.NewTLS(s.tls)
	}
	host := bind.Addr().String()
	if bind.Addr().Is6() {
		host = "[" + host + "]"
	}
	config := remote.Configure(host, int(bind.Port()),
		remote.WithAdvertisedHost(advertised[1].String()),
		remote.WithEndpointWriterQueueSize(queueLength), remote.WithEndpointWriterBatchSize(batchLength),
		remote.WithDialOptions(
			grpc.WithTransportCredentials(client), grpc.WithStreamInterceptor(r.open),
			grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return c.dial(ctx, "tcp", address) }),
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.5, Jitter: 0.2, MaxDelay: 500 * time.Millisecond}, MinConnectTimeout: attemptTime}),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 2 * time.Second, PermitWithoutStream: true}),
		),
		remote.WithServerOptions(
			grpc.Creds(server), grpc.StreamInterceptor(r.accept), grpc.UnaryInterceptor(refuse), grpc.MaxRecvMsgSize(r.limit+batchBytes), grpc.ConnectionTimeout(attemptTime),
			grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 2 * time.Second}),
			grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		))
	config.MaxRetryCount = 1 // the connection of an attempt that is repeated would never be closed
	r.remote = remote.NewRemote(r.system, config)
	r.remote.Start()
	r.port = bind.Port()
	handlers := r.system.ProcessRegistry.RemoteHandlers
	resolve := handlers[len(handlers)-1]
	handlers[len(handlers)-1] = func(pid *actor.PID) (actor.Process, bool) {
		process, ok := resolve(pid)
		return &outgoing{process, r}, ok
	}
	return nil
}

// send sends a frame to the node at a PID.
func (r *remoting) send(to *actor.PID, f *clusterv1.Frame) {
	if r.stopped.Load() {
		return
	}
	r.mu.Lock()
	r.queued[to.Address]++
	r.mu.Unlock()
	r.system.Root.Send(to, f)
}

// sent says that n frames for an address have been given to its connection.
func (r *remoting) sent(address string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if left, ok := r.queued[address]; ok && left > n {
		r.queued[address] = left - n
	} else {
		delete(r.queued, address)
	}
	r.checkIdleLocked()
}

func (r *remoting) checkIdleLocked() {
	if r.idle != nil && len(r.queued) == 0 {
		close(r.idle)
		r.idle = nil
	}
}

// lose handles that the connection to an address has ended.
func (r *remoting) lose(address string) {
	r.mu.Lock()
	delete(r.queued, address)
	r.checkIdleLocked()
	r.mu.Unlock()
	r.broken(address)
}

// flush sends what is queued, and then nothing any more. It ends when ctx ends at the latest.
func (r *remoting) flush(ctx context.Context) {
	r.stopped.Store(true)
	idle := make(chan struct{})
	r.mu.Lock()
	r.idle = idle
	r.checkIdleLocked()
	r.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

// stop closes all connections, when peers have read what they were sent, or when ctx ends.
func (r *remoting) stop(ctx context.Context) {
	defer context.AfterFunc(ctx, r.close)()
	for _, name := range []string{"EndpointSupervisor", "activator"} {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = r.system.Root.StopFuture(r.system.NewLocalPID(name)).Wait()
		}()
		select {
		case <-ended:
		case <-ctx.Done():
		}
	}
	r.shut()
}

// shut closes everything at once.
func (r *remoting) shut() {
	r.stopped.Store(true)
	r.close()
	r.remote.Shutdown(false)
	r.system.EventStream.Unsubscribe(r.events)
	r.system.ProcessRegistry.Remove(r.system.NewLocalPID(nodeActor))
}

// nodeProcess takes frames.
type nodeProcess remoting

var _ actor.Process = (*nodeProcess)(nil)

func (p *nodeProcess) SendUserMessage(_ *actor.PID, message any) {
	if f, ok := actor.UnwrapEnvelopeMessage(message).(*clusterv1.Frame); ok && !p.stopped.Load() {
		p.frame(f)
	}
}

func (*nodeProcess) SendSystemMessage(*actor.PID, any) {}
func (*nodeProcess) Stop(*actor.PID)                   {}

// outgoing is an actor on another node. Once remoting has stopped, messages to it are dead letters; remote itself would panic.
type outgoing struct {
	actor.Process
	r *remoting
}

func (o *outgoing) process() actor.Process {
	if o.r.stopped.Load() {
		return o.r.system.DeadLetter
	}
	return o.Process
}

func (o *outgoing) SendUserMessage(pid *actor.PID, message any) {
	o.process().SendUserMessage(pid, message)
}

func (o *outgoing) SendSystemMessage(pid *actor.PID, message any) {
	o.process().SendSystemMessage(pid, message)
}

func (o *outgoing) Stop(pid *actor.PID) { o.process().Stop(pid) }

// checkUnused returns an error if an actor system has actors, whose addresses would be wrong, or a remote.
func checkUnused(system *actor.ActorSystem) error {
	if system.ProcessRegistry.Address != "nonhost" || len(system.ProcessRegistry.RemoteHandlers) > 0 {
		return errors.New("cluster: the actor system has a remote already: a node starts its own")
	}
	var found string
	for _, bucket := range system.ProcessRegistry.LocalPIDs.LocalPIDs {
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
