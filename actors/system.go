package actors

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/internal/logs"
)

// System is the runtime of all hubs of a program: the root of their actors, the goroutines that write, and those that run calls.
type System struct {
	actors *actor.ActorSystem
	mine   bool // the actor system was made here
	log    *slog.Logger
	now    func() time.Duration // since the system was started
	period time.Duration        // of the heartbeat

	root        *actor.PID
	shards      []*shard
	flushers    []*flusher
	workers     workers
	connections *connections
	drainers    counter        // goroutines that write to full sockets
	services    sync.WaitGroup // goroutines that live as long as the system
	quit        chan struct{}
	calls       atomic.Uint64 // numbers of calls that have a PID
	turn        atomic.Uint64
	panics      logs.Limiter  // of the application's code, that are logged
	closings    logs.Limiter  // causes of closing, that are logged
	stacks      logs.Limiter  // and their stacks
	ticking     atomic.Bool   // a tick of the heartbeat is under way
	ticked      time.Duration // when the last one was; the heartbeat actor's own

	mu       sync.RWMutex // held for reading while a connection is added
	closing  bool
	leaving  atomic.Bool // Shutdown has begun
	stopped  atomic.Bool
	alive    counter // connections that have not done all that they owe
	shutdown sync.Once
	finished chan struct{}
	result   error
}

// NewSystem starts the runtime, under a root of its own in system, or in a new actor system if that is nil. Nothing else in a foreign
// actor system is touched, then or later.
func NewSystem(system *actor.ActorSystem, log *slog.Logger) (*System, error) {
	start := time.Now()
	return newSystem(system, log, func() time.Duration { return time.Since(start) }, time.Second, newFlusher)
}

func newSystem(system *actor.ActorSystem, log *slog.Logger, now func() time.Duration, period time.Duration, newFlusher func(func() time.Duration, *slog.Logger, *counter) *flusher) (*System, error) {
	log = slog.New(logs.Safe(log.Handler()))
	s := &System{actors: system, mine: system == nil, log: log, now: now, period: period, connections: newConnections(), panics: logs.Limiter{Most: 10}, closings: logs.Limiter{Most: 100}, quit: make(chan struct{}), finished: make(chan struct{})}
	if s.mine {
		s.actors = actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return log }))
	}
	for range runtime.GOMAXPROCS(0) {
		s.flushers = append(s.flushers, newFlusher(now, log, &s.drainers))
		s.shards = append(s.shards, &shard{sys: s})
	}
	if err := s.plant(); err != nil {
		return nil, err
	}
	for _, f := range s.flushers {
		s.services.Go(func() { f.run(s.quit) })
		s.services.Go(func() { f.runLate(s.quit) })
	}
	return s, nil
}

// plant spawns the root and what is always under it.
func (s *System) plant() error {
	var name [4]byte
	rand.Read(name[:])
	var err error
	props := actor.PropsFromProducer(func() actor.Actor { return &root{sys: s} }, actor.WithSupervisor(resume{}))
	if s.root, err = s.actors.Root.SpawnNamed(props, "hubsys-"+hex.EncodeToString(name[:])); err != nil {
		return err
	}
	for i, sh := range s.shards {
		props := actor.PropsFromProducer(func() actor.Actor { return sh }, actor.WithSupervisor(resume{}))
		if sh.pid, err = s.spawn(fmt.Sprintf("connections/%d", i), props); err != nil {
			return err
		}
	}
	heart, err := s.spawn("heartbeat", actor.PropsFromFunc(func(ctx actor.Context) {
		if _, ok := ctx.Message().(*tick); ok {
			s.tick()
		}
	}))
	if err != nil {
		return err
	}
	s.services.Go(func() { s.beat(heart) })
	return nil
}

// logPanic logs a panic of the application's code: a few times a minute for each method, and once with its stack, so that clients cannot
// flood the log.
func (s *System) logPanic(what string, c *Connection, method string, err *PanicError) {
	kind := what + "\x00" + c.hub.name + "\x00" + method
	logged, missed := s.panics.Allow(kind)
	if !logged {
		return
	}
	args := []any{"hub", c.hub.name, "connection", c.id, "method", method, "error", logs.Error(err)}
	if stack, _ := s.stacks.Allow(kind); stack {
		args = append(args, "stack", string(err.Stack))
	}
	if missed > 0 {
		args = append(args, "unlogged", missed)
	}
	s.log.Error(what, args...)
}

// logClosing logs why a connection is closed, so often a minute for each kind of cause.
func (s *System) logClosing(level slog.Level, c *Connection, cause error) {
	if !s.log.Enabled(context.Background(), level) {
		return
	}
	logged, missed := s.closings.Allow(fmt.Sprintf("%s %s %T", level, c.hub.name, cause))
	if !logged {
		return
	}
	args := []any{"hub", c.hub.name, "connection", c.id, "cause", logs.Error(cause)}
	if missed > 0 {
		args = append(args, "unlogged", missed)
	}
	s.log.Log(context.Background(), level, "a connection is closed", args...)
}

// ActorSystem is the actor system that the runtime lives in.
func (s *System) ActorSystem() *actor.ActorSystem { return s.actors }

// Root is the actor above all others of the runtime.
func (s *System) Root() *actor.PID { return s.root }

// connect hands a connection to a shard, which makes it an actor.
func (s *System) connect(c *Connection) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closing {
		return ErrShutdown
	}
	turn := s.turn.Add(1)
	c.out.flusher = s.flushers[turn%uint64(len(s.flushers))]
	c.shard = s.shards[turn%uint64(len(s.shards))]
	c.shard.add(c)
	s.alive.add(1)
	s.actors.Root.Send(c.shard.pid, &adopt{c})
	return nil
}

// reason is why the context of a call ends when its connection closes.
func (s *System) reason() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closing {
		return ErrShutdown
	}
	return ErrDisconnected
}

// Shutdown closes every connection with allowReconnect, lets OnDisconnected run and the outboxes drain, and stops all actors and
// goroutines. When ctx ends first, sockets are cut and calls that still run are abandoned; the error then says how many, and wraps
// the cause of ctx. Later callers wait for the first, as long as their own ctx allows. A call may shut down the system that it runs in:
// nobody waits for it, and its context goes on.
func (s *System) Shutdown(ctx context.Context) error {
	if k := CallOf(ctx); k != nil && k.conn.sys == s {
		defer s.stepInside(k)()
	}
	first := false
	s.shutdown.Do(func() {
		first = true
		go func() {
			s.result = s.stop(ctx)
			close(s.finished)
		}()
	})
	if first { // stop looks at ctx itself
		<-s.finished
		return s.result
	}
	select {
	case <-s.finished:
		return s.result
	case <-ctx.Done():
		return fmt.Errorf("troupe: another Shutdown is still under way: %w", context.Cause(ctx))
	}
}

// stepInside takes a call that waits for the end of the system out of what that end waits for, until it goes back or returns.
func (s *System) stepInside(k *Call) (back func()) {
	k.mu.Lock()
	if k.ended {
		k.mu.Unlock()
		return func() {}
	}
	k.inside++
	first := k.inside == 1
	if first {
		k.count(-1)
	}
	k.mu.Unlock()
	if first {
		k.conn.calls.excuse(k, true)
		k.conn.start()
	}
	return func() {
		k.mu.Lock()
		k.inside--
		last := k.inside == 0 && !k.ended
		if last {
			k.count(1)
		}
		k.mu.Unlock()
		if last {
			k.conn.calls.excuse(k, false)
		}
	}
}

// count changes by how much a call, and the connection whose end waits for it, keep the system alive.
func (k *Call) count(d int) {
	k.conn.sys.workers.busy.add(d)
	if k.event != invocation {
		k.conn.sys.alive.add(d)
	}
}

// stopCallsBefore stops what still runs when nine tenths of the time until the end of ctx are over, unless that is called off. So calls that
// heed their contexts end in time.
func (s *System) stopCallsBefore(ctx context.Context) (callOff func()) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return func() {}
	}
	timer := time.AfterFunc(time.Until(deadline)*9/10, s.stopCalls)
	return func() { timer.Stop() }
}

// stopCalls ends the contexts of all calls.
func (s *System) stopCalls() {
	for _, sh := range s.shards {
		for _, c := range sh.all() {
			c.post(&stopCalls{ErrShutdown})
		}
	}
}

func (s *System) stop(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.leaving.Store(true)
	for _, sh := range s.shards {
		for _, c := range sh.all() {
			c.post(&closeRequest{reason: closeReason{message: true, allowReconnect: true}})
		}
	}
	callOff := s.stopCallsBefore(ctx)
	connections := s.alive.wait(ctx)
	callOff()
	if connections != nil {
		s.stopCalls()
	}
	cut := s.alive.get()
	s.stopped.Store(true)
	for _, sh := range s.shards {
		for _, c := range sh.all() {
			c.cut()
		}
	}
	s.workers.stop()
	calls := s.workers.busy.wait(ctx)
	abandoned := s.workers.busy.get()
	s.uproot(ctx)
	close(s.quit)
	s.services.Wait()
	if s.mine {
		s.actors.Shutdown()
	}
	if connections != nil || calls != nil {
		return fmt.Errorf("troupe: shutdown was cut short: %d connections cut off, %d calls abandoned: %w", cut, abandoned, context.Cause(ctx))
	}
	if s.drainers.wait(ctx) != nil { // a net.Conn of the application's whose Close does not end its Write
		return fmt.Errorf("troupe: shutdown was cut short: %d sockets are still being written: %w", s.drainers.get(), context.Cause(ctx))
	}
	return nil
}

// uproot stops the root and what is under it, and waits for that as long as ctx allows.
func (s *System) uproot(ctx context.Context) {
	gone := &watcher{gone: make(chan struct{})}
	pid, _ := s.actors.ProcessRegistry.Add(gone, s.root.Id+"/shutdown")
	defer s.actors.ProcessRegistry.Remove(pid)
	process, ok := s.actors.ProcessRegistry.Get(s.root)
	if !ok {
		return // somebody has stopped it already
	}
	process.SendSystemMessage(s.root, &actor.Watch{Watcher: pid})
	s.actors.Root.Stop(s.root)
	select {
	case <-gone.gone:
	case <-ctx.Done():
	}
}

// watcher waits for a Terminated.
type watcher struct {
	once sync.Once
	gone chan struct{}
}

func (w *watcher) SendUserMessage(*actor.PID, any) {}
func (w *watcher) Stop(*actor.PID)                 {}
func (w *watcher) SendSystemMessage(_ *actor.PID, message any) {
	if _, ok := message.(*actor.Terminated); ok {
		w.once.Do(func() { close(w.gone) })
	}
}

// counter counts what lives, and lets wait until nothing does.
type counter struct {
	mu      sync.Mutex
	n       int
	changed chan struct{} // made by who waits
}

func (c *counter) add(d int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += d
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

func (c *counter) get() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// wait returns when nothing is left, or with the error of ctx.
func (c *counter) wait(ctx context.Context) error {
	for {
		c.mu.Lock()
		if c.n <= 0 {
			c.mu.Unlock()
			return nil
		}
		if c.changed == nil {
			c.changed = make(chan struct{})
		}
		changed := c.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
