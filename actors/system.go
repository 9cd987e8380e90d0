package actors

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/actors/outbox"
	"github.com/troupe-go/troupe/hubsys/backplane"
	"github.com/troupe-go/troupe/internal/counter"
	"github.com/troupe-go/troupe/internal/logs"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// NodeID names the node that a System is: in the name of its root actor, and at the head of connection ids.
type NodeID = backplane.NodeID

// System is the runtime of all hubs of a program: the root of their actors, the goroutines that write, and those that run calls.
type System struct {
	node        NodeID
	actorSystem *actor.ActorSystem
	owned       bool // the actor system was made here
	log         *slog.Logger
	clock

	dispatcher  actor.Dispatcher // of the connections
	root        *actor.PID
	supervisors []*connectionSupervisor
	flushers    []*outbox.Flusher
	workers     workers
	nodes       *nodes // nil: there is one node
	connections *connections
	addresses   addresses
	counts      *counts
	hubs        []*Hub                  // under mu
	beforeStop  []func(context.Context) // under mu, until Shutdown
	drainers    counter.Counter         // goroutines that write to full sockets
	services    sync.WaitGroup          // goroutines that live as long as the system
	quit        chan struct{}
	lastCall    atomic.Uint64 // number of the last call that has got a PID
	opened      atomic.Uint64 // connections, which are spread over supervisors and flushers by it
	parts       atomic.Uint64 // of sessions of SignalR 2 that have become actors
	panics      logs.Limiter  // of the application's code, that are logged
	stacks      logs.Limiter  // of these
	closings    logs.Limiter  // causes of closing, and slow clients, that are logged
	ticking     atomic.Bool   // a tick of the heartbeat is under way
	ticked      time.Duration // when the last one was; the heartbeat actor's own
	beaten      atomic.Int64  // the same, for others

	mu       sync.RWMutex  // held for reading while a connection is added
	closing  atomic.Bool   // no connections are added any more; set under mu
	refusing chan struct{} // closed then
	stopped  atomic.Bool
	alive    counter.Counter // connections that have something to do, or that are open
	shutdown sync.Once
	finished chan struct{}
	result   error
}

// clock is what tests replace.
type clock struct {
	now     func() time.Duration // since the system was started
	period  time.Duration        // of the heartbeat
	isQuiet func() bool          // see outbox.NewQuiet
}

// NewSystem starts the runtime, under a root of its own in system, or in a new actor system if that is nil. Nothing else in an actor system
// that was passed is touched, then or later.
//
// If plane is not nil, the System joins the cluster of plane, whose nodes ask front for connections that are not of one hub.
func NewSystem(system *actor.ActorSystem, log *slog.Logger, plane backplane.Backplane, front Front) (*System, error) {
	start := time.Now()
	return newSystem(system, log, plane, front, clock{now: func() time.Duration { return time.Since(start) }, period: time.Second})
}

func newSystem(system *actor.ActorSystem, log *slog.Logger, plane backplane.Backplane, front Front, clock clock) (*System, error) {
	log = slog.New(logs.Safe(log.Handler()))
	s := &System{
		actorSystem: system, owned: system == nil, log: log, clock: clock, connections: newConnections(), counts: newCounts(), dispatcher: actor.NewDefaultDispatcher(maxRun),
		panics: logs.Limiter{Most: 10}, closings: logs.Limiter{Most: mostClosings}, quit: make(chan struct{}), refusing: make(chan struct{}), finished: make(chan struct{}),
	}
	s.node = NodeID(rand.Uint32())
	if s.owned {
		s.actorSystem = actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(logs.InfoAsDebug(log.Handler())) }))
		shrinkRegistry(s.actorSystem)
	}
	if plane != nil {
		if err := s.join(plane, front); err != nil {
			s.shutdownActors()
			return nil, err
		}
	}
	for range runtime.GOMAXPROCS(0) {
		isQuiet := clock.isQuiet
		if isQuiet == nil {
			isQuiet = outbox.NewQuiet()
		}
		s.flushers = append(s.flushers, outbox.NewFlusher(s.now, isQuiet, log, &s.drainers))
		s.supervisors = append(s.supervisors, &connectionSupervisor{sys: s})
	}
	if err := s.spawnTree(); err != nil {
		if s.nodes != nil {
			_ = s.nodes.leave(context.Background())
		}
		s.shutdownActors()
		return nil, err
	}
	for _, f := range s.flushers {
		s.services.Go(func() { f.Run(s.quit) })
		s.services.Go(func() { f.RunLate(s.quit) })
	}
	return s, nil
}

// shutdownActors ends the actor system, if it was made here.
func (s *System) shutdownActors() {
	if s.owned {
		s.actorSystem.Shutdown()
	}
}

// rootName returns the name of the root. Where there are other nodes, these know it.
func (s *System) rootName() string {
	if s.nodes != nil {
		return "hubsys"
	}
	return "hubsys-" + fmt.Sprintf("%08x", uint32(s.node))
}

// spawnTree spawns the root and the actors that are always under it.
func (s *System) spawnTree() error {
	var err error
	props := actor.PropsFromProducer(func() actor.Actor { return &root{sys: s} }, actor.WithSupervisor(resume{}), actor.WithMailbox(s.newRootMailbox))
	if s.root, err = s.actorSystem.Root.SpawnNamed(props, s.rootName()); err != nil {
		return err
	}
	for i, one := range s.supervisors {
		props := actor.PropsFromProducer(func() actor.Actor { return one }, actor.WithSupervisor(resume{}))
		if one.pid, err = s.spawn(fmt.Sprintf("connections/%d", i), props); err != nil {
			return err
		}
	}
	heartbeat, err := s.spawn("heartbeat", actor.PropsFromFunc(func(ctx actor.Context) {
		if _, ok := ctx.Message().(*tick); ok {
			s.tick()
		}
	}))
	if err != nil {
		return err
	}
	s.services.Go(func() { s.runHeartbeat(heartbeat) })
	return nil
}

// Node returns the id of the node, which is made anew for each System.
func (s *System) Node() NodeID { return s.node }

// ActorSystem returns the actor system that the runtime lives in.
func (s *System) ActorSystem() *actor.ActorSystem { return s.actorSystem }

// Root returns the address of the actor above all others of the runtime.
func (s *System) Root() *actor.PID { return s.root }

// connect passes a connection to a supervisor, which makes it an actor.
func (s *System) connect(c *Connection, attach func()) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closing.Load() {
		return ErrShutdown
	}
	n := s.opened.Add(1)
	c.out.Init((*boxOwner)(c), s.flushers[n%uint64(len(s.flushers))], c.settings.OutboxLimit, opcodeOf(hubproto.JSON)) // handshakes are text
	attach()
	c.supervisor = s.supervisors[n%uint64(len(s.supervisors))]
	c.supervisor.add(c)
	s.alive.Add(1)
	c.countOpened()
	s.actorSystem.Root.Send(c.supervisor.pid, &spawnConnection{c})
	return nil
}

// allConnections returns the connections that there are now.
func (s *System) allConnections() []*Connection {
	var all []*Connection
	for _, one := range s.supervisors {
		all = one.appendAll(all)
	}
	return all
}

// allHubs returns the hubs that there are now.
func (s *System) allHubs() []*Hub {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.hubs)
}

// refuseConnections lets no connection be added any more.
func (s *System) refuseConnections() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing.Swap(true) {
		close(s.refusing)
	}
}

// closeCause is why the contexts of calls end when their connection closes.
func (s *System) closeCause() error {
	if s.closing.Load() {
		return ErrShutdown
	}
	return ErrDisconnected
}
