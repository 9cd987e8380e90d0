package hubactor

import (
	"context"
	"fmt"
	"log/slog"
	"path"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/internal/logs"
)

// family is an actor that spawns other actors under itself, for whoever asks, and stops with the System.
type family struct {
	system  *actor.ActorSystem
	pid     *actor.PID
	stopped chan struct{}
	once    sync.Once
}

// spawnRequest asks a family for an actor.
type spawnRequest struct {
	props   *actor.Props
	name    string
	result  chan spawned
	settled atomic.Bool // by whoever comes first: the family with a result, or the one who asks and has waited enough
}

type spawned struct {
	pid *actor.PID
	err error
}

func newFamily(hub *actors.Hub, name string, supervisor actor.SupervisorStrategy) (*family, error) {
	f := &family{system: hub.ActorSystem(), stopped: make(chan struct{})}
	var err error
	f.pid, err = hub.Spawn(name, actor.PropsFromFunc(f.receive, actor.WithSupervisor(supervisor), actor.WithDispatcher(lasting{})))
	return f, err
}

func (f *family) receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *spawnRequest:
		select {
		case <-f.stopped:
			m.result <- spawned{err: hubsys.ErrShutdown}
		default:
			spawnUnder(ctx, m)
		}
	case *actor.Stopping:
		f.once.Do(func() { close(f.stopped) }) // it can come twice
	}
}

// lasting is a dispatcher whose mailboxes go on when the application's code has called runtime.Goexit.
type lasting struct{}

func (lasting) Throughput() int { return 300 }
func (lasting) Schedule(run func()) {
	go func() {
		returned := false
		defer func() {
			if !returned {
				lasting{}.Schedule(run)
			}
		}()
		run()
		returned = true
	}()
}

// spawnUnder spawns an actor. A panic of its producer becomes an error.
func spawnUnder(ctx actor.Context, m *spawnRequest) {
	var result spawned
	returned := false
	defer func() {
		if reason := recover(); !returned {
			result = spawned{err: &hubsys.PanicError{Value: reason, Stack: debug.Stack()}}
		}
		if !m.settled.CompareAndSwap(false, true) && result.pid != nil {
			ctx.Stop(result.pid)
		}
		m.result <- result
	}()
	if !m.settled.Load() {
		result.pid, result.err = ctx.SpawnNamed(m.props, m.name)
	}
	returned = true
}

// spawn spawns an actor. It fails with [hubsys.ErrShutdown] when the System stops, and with the cause of ctx.
func (f *family) spawn(ctx context.Context, props *actor.Props, name string) (*actor.PID, error) {
	m := &spawnRequest{props: props, name: name, result: make(chan spawned, 1)}
	f.system.Root.Send(f.pid, m)
	select {
	case result := <-m.result:
		return result.pid, result.err
	case <-f.stopped:
		return nil, hubsys.ErrShutdown
	case <-ctx.Done():
		if m.settled.CompareAndSwap(false, true) {
			return nil, context.Cause(ctx)
		}
		result := <-m.result
		return result.pid, result.err
	}
}

// receive is the middleware of actors that get calls. A call at which the actor panics is answered at once, one for whose answer nobody waits any
// more is left out, and a restart ends ticks. The supervisor learns of panics as usual.
func (d *dispatcher) receive(next actor.ReceiverFunc) actor.ReceiverFunc {
	return guarded(d.log, &d.panics, func(c actor.ReceiverContext, envelope *actor.MessageEnvelope) {
		message := envelope.Message
		if one, ok := message.(interface{ handled() }); ok {
			defer one.handled()
		}
		if one, ok := message.(interface{ claim() bool }); ok && !one.claim() {
			return
		}
		if _, ok := message.(*actor.Restarting); ok {
			stopTicks(c.ActorSystem(), c.Self())
		}
		next(c, envelope)
	})
}

// connectionEnd is a process that watches a connection, and ends its actor with it: there may be no OnDisconnected that does so.
type connectionEnd struct {
	of   *instance
	self *actor.PID
	left func() bool // whether OnDisconnected, if there is one, has returned
}

var _ actor.Process = (*connectionEnd)(nil)

func (d *dispatcher) stopWith(to *instance, connection *actor.PID) {
	registry := d.family.system.ProcessRegistry
	hub, id := d.context.Runtime(), path.Base(to.pid.Id)
	found := hub.Connection(id)
	end := &connectionEnd{of: to, left: func() bool { return found == nil || hub.Connection(id) != found }}
	end.self, _ = registry.Add(end, "hubactor-end-"+number())
	target, _ := registry.Get(connection)
	target.SendSystemMessage(connection, &actor.Watch{Watcher: end.self})
}

// SendSystemMessage is part of actor.Process.
func (e *connectionEnd) SendSystemMessage(_ *actor.PID, message any) {
	if _, ok := message.(*actor.Terminated); !ok {
		return
	}
	e.of.system.ProcessRegistry.Remove(e.self)
	if e.left() {
		e.end()
		return
	}
	go func() { // somebody has stopped the connection's actor: OnDisconnected is still to come
		for !e.left() {
			time.Sleep(10 * time.Millisecond)
		}
		e.end()
	}()
}

func (e *connectionEnd) end() {
	if _, alive := e.of.system.ProcessRegistry.Get(e.of.pid); alive {
		e.of.system.Root.Poison(e.of.pid)
	}
}

// SendUserMessage is part of actor.Process.
func (*connectionEnd) SendUserMessage(*actor.PID, any) {}

// Stop is part of actor.Process.
func (*connectionEnd) Stop(*actor.PID) {}

// guarded logs a panic of the actor, answers the call at which that happened, and panics on, except at a message that comes while the actor is
// stopped or restarted: protoactor would not go on with that. (Nor does it go on with an actor that has called runtime.Goexit.)
func guarded(log *slog.Logger, panics *logs.Limiter, next actor.ReceiverFunc) actor.ReceiverFunc {
	return func(c actor.ReceiverContext, envelope *actor.MessageEnvelope) {
		returned := false
		defer func() {
			reason := recover()
			if returned {
				return
			}
			stack := debug.Stack()
			kind := fmt.Sprintf("%T", envelope.Message)
			panics.Log(context.Background(), log, slog.LevelError, kind, "an actor panicked", // clients must not flood the log
				"actor", logs.Clip(c.Self().Id), "message", kind, "reason", reason, "stack", string(stack))
			failCall(envelope.Message, &hubsys.PanicError{Value: reason, Stack: stack})
			switch envelope.Message.(type) {
			case *actor.Stopping, *actor.Stopped, *actor.Restarting:
			default:
				if reason != nil {
					panic(reason)
				}
			}
		}()
		next(c, envelope)
		returned = true
	}
}

// failCall answers the call that a message belongs to with an error.
func failCall(message any, err error) {
	if call, ok := message.(interface{ fail(error) }); ok {
		call.fail(err)
	}
}

// answering is a strategy that answers calls at which something else than the actor itself has panicked, such as middleware of the application.
type answering struct{ actor.SupervisorStrategy }

func (a answering) HandleFailure(system *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID, stats *actor.RestartStatistics, reason, message any) {
	failCall(actor.UnwrapEnvelopeMessage(message), &hubsys.PanicError{Value: reason})
	if one, ok := actor.UnwrapEnvelopeMessage(message).(interface{ handled() }); ok {
		one.handled() // the actor may not have seen it
	}
	returned := false
	defer func() {
		if reason := recover(); !returned { // the strategy is the application's
			system.Logger().Error("a supervisor panicked: the actor is stopped", "actor", child.Id, "reason", reason)
			supervisor.StopChildren(child)
		}
	}()
	a.SupervisorStrategy.HandleFailure(system, top{supervisor, child}, child, stats, reason, message)
	returned = true
}

// top is the supervisor that a strategy of the application sees. There is nobody above who could decide better, so an actor whose failure is escalated
// is stopped: otherwise its mailbox would stay suspended.
type top struct {
	actor.Supervisor
	child *actor.PID
}

// EscalateFailure is part of actor.Supervisor.
func (t top) EscalateFailure(_, _ any) { t.StopChildren(t.child) }

// restart replaces an actor that has panicked by a new one, which gets the messages that wait. One that panics again and again is replaced later
// and later.
type restart struct{}

const (
	restartWindow = 10 * time.Second // in which panics are counted
	firstRest     = 10 * time.Millisecond
	mostDoublings = 9 // about five seconds
)

func (restart) HandleFailure(_ *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID, stats *actor.RestartStatistics, _, _ any) {
	stats.Fail()
	n := stats.NumberOfFailures(restartWindow)
	if n <= 1 {
		supervisor.RestartChildren(child)
		return
	}
	time.AfterFunc(firstRest<<min(n-2, mostDoublings), func() { supervisor.RestartChildren(child) })
}

// stop stops an actor that has panicked.
type stop struct{}

func (stop) HandleFailure(_ *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, _, _ any) {
	supervisor.StopChildren(child)
}

// stopWithConnection stops the actor of a connection that has panicked, and closes the connection, whose client may connect again.
type stopWithConnection struct{ hub *hubsys.HubContext }

func (s stopWithConnection) HandleFailure(system *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID, stats *actor.RestartStatistics, reason, message any) {
	stop{}.HandleFailure(system, supervisor, child, stats, reason, message)
	_ = s.hub.Clients().Client(path.Base(child.Id)).Reconnect(context.Background())
}
