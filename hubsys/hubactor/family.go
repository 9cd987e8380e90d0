package hubactor

import (
	"context"
	"path"
	"runtime/debug"
	"sync"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/hubsys"
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
	props  *actor.Props
	name   string
	result chan spawned
}

type spawned struct {
	pid *actor.PID
	err error
}

func newFamily(hub *actors.Hub, name string, supervisor actor.SupervisorStrategy) (*family, error) {
	f := &family{system: hub.ActorSystem(), stopped: make(chan struct{})}
	var err error
	f.pid, err = hub.Spawn(name, actor.PropsFromFunc(f.receive, actor.WithSupervisor(supervisor)))
	return f, err
}

func (f *family) receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *spawnRequest:
		m.result <- spawnUnder(ctx, m)
	case *actor.Stopping:
		f.once.Do(func() { close(f.stopped) }) // it can come twice
	}
}

// spawnUnder spawns an actor. A panic of its producer becomes an error.
func spawnUnder(ctx actor.Context, m *spawnRequest) (result spawned) {
	defer func() {
		if reason := recover(); reason != nil {
			result = spawned{err: &hubsys.PanicError{Value: reason, Stack: debug.Stack()}}
		}
	}()
	pid, err := ctx.SpawnNamed(m.props, m.name)
	return spawned{pid, err}
}

// spawn spawns an actor. It fails with [hubsys.ErrShutdown] when the System stops.
func (f *family) spawn(props *actor.Props, name string) (*actor.PID, error) {
	m := &spawnRequest{props: props, name: name, result: make(chan spawned, 1)}
	f.system.Root.Send(f.pid, m)
	select {
	case result := <-m.result:
		return result.pid, result.err
	case <-f.stopped:
		return nil, hubsys.ErrShutdown
	}
}

// answerPanics is the middleware of actors that get calls: a call at which the actor panics is answered at once, and the supervisor learns of
// the panic as usual.
func answerPanics(next actor.ReceiverFunc) actor.ReceiverFunc {
	return func(c actor.ReceiverContext, envelope *actor.MessageEnvelope) {
		returned := false
		defer func() {
			if one, ok := envelope.Message.(interface{ handled() }); ok {
				one.handled()
			}
			if returned {
				return
			}
			reason := recover()
			if call, ok := envelope.Message.(interface{ fail(error) }); ok {
				call.fail(&hubsys.PanicError{Value: reason, Stack: debug.Stack()})
			}
			if reason != nil {
				panic(reason)
			}
		}()
		next(c, envelope)
		returned = true
	}
}

// restart replaces an actor that has panicked by a new one, which gets the messages that wait.
type restart struct{}

func (restart) HandleFailure(_ *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, _, _ any) {
	supervisor.RestartChildren(child)
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
