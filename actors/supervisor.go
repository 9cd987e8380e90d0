package actors

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/asynkron/protoactor-go/actor"
)

// resume is how all actors of this package are supervised: the actor loses the message that made it panic, and goes on. A restart would wait
// for children, and lose the session, which is the actor's struct.
type resume struct{}

func (resume) HandleFailure(system *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason, message any) {
	system.EventStream.Publish(&actor.SupervisorEvent{Child: child, Reason: reason, Directive: actor.ResumeDirective})
	lose(actor.UnwrapEnvelopeMessage(message))
	supervisor.ResumeChildren(child)
}

// lossyMessage is a message whose effect somebody relies on. lost is called after a panic, whether that was raised before the message was handled,
// meanwhile, or behind that.
type lossyMessage interface{ lost() }

func lose(message any) {
	if m, ok := message.(lossyMessage); ok {
		m.lost()
	}
}

// root is the actor above all others. It owns its children and does nothing but spawn them. It has no supervisor: protoactor would restart it, which
// stops its children. Its mailbox goes on behind a panic instead.
type root struct{ sys *System }

// rootMailbox is the mailbox of the root.
type rootMailbox struct {
	actor.Mailbox
	sys *System
}

func (s *System) newRootMailbox() actor.Mailbox { return &rootMailbox{actor.Unbounded()(), s} }

// RegisterHandlers is called once.
func (m *rootMailbox) RegisterHandlers(invoker actor.MessageInvoker, dispatcher actor.Dispatcher) {
	m.Mailbox.RegisterHandlers(&rootInvoker{invoker, m.sys}, dispatcher)
}

type rootInvoker struct {
	actor.MessageInvoker
	sys *System
}

// EscalateFailure is called when a panic was raised outside of Receive.
func (i *rootInvoker) EscalateFailure(reason, message any) {
	i.sys.logActorPanic("root", reason)
	lose(actor.UnwrapEnvelopeMessage(message))
}

// spawnRequest asks the root for a child.
type spawnRequest struct {
	name     string
	props    *actor.Props
	pid      chan *actor.PID
	err      chan error
	answered bool // used by the root only
}

var errSpawn = errors.New("hubsys: spawning an actor panicked")

func (m *spawnRequest) lost() {
	if !m.answered && m.err != nil {
		m.answered = true
		m.err <- errSpawn
	}
}

// Receive is the actor's behaviour.
func (r *root) Receive(ctx actor.Context) {
	defer r.sys.recoverActor("root", ctx.Message())
	r.sys.noticeStop(ctx.Message())
	if m, ok := ctx.Message().(*spawnRequest); ok {
		pid, err := ctx.SpawnNamed(m.props, m.name)
		m.answered = true
		if err != nil {
			m.err <- fmt.Errorf("hubsys: no actor can be named %q: %w", m.name, err)
			return
		}
		m.pid <- pid
	}
}

// spawn makes a child of the root.
func (s *System) spawn(name string, props *actor.Props) (*actor.PID, error) {
	m := &spawnRequest{name: name, props: props, pid: make(chan *actor.PID, 1), err: make(chan error, 1)}
	s.actorSystem.Root.Send(s.root, m)
	select {
	case pid := <-m.pid:
		return pid, nil
	case err := <-m.err:
		return nil, err
	case <-s.refusing: // also when somebody has stopped the root
		return nil, ErrShutdown
	}
}

// noticeStop refuses new connections when somebody stops an actor without which they would not live.
func (s *System) noticeStop(message any) {
	if _, ok := message.(*actor.Stopping); ok {
		s.refuseConnections()
	}
}

// recoverActor logs a panic of an actor that must not fail, and tells the message that is lost. It is deferred.
func (s *System) recoverActor(who string, message any) {
	if reason := recover(); reason != nil {
		s.logActorPanic(who, reason)
		lose(message)
	}
}

func (s *System) logActorPanic(who string, reason any) {
	s.log.Error("an actor panicked; it goes on without the message", "actor", who, "reason", reason, "stack", string(debug.Stack()))
}

// connectionSupervisor supervises a part of the connections. It owns their list, which the heartbeat goes through, and is the only one that
// spawns them, because the producers of actor and mailbox take the connection from next. It never blocks; its bound is the number of
// connections.
type connectionSupervisor struct {
	sys   *System
	pid   *actor.PID
	props *actor.Props
	next  *Connection

	mu   sync.Mutex
	list []*Connection
}

// spawnConnection makes a connection an actor.
type spawnConnection struct{ conn *Connection }

func (m *spawnConnection) lost() {
	if m.conn != nil && m.conn.mailbox.handle == nil {
		m.conn.supervisor.refuse(m.conn)
	}
}

// Receive is the actor's behaviour.
func (s *connectionSupervisor) Receive(ctx actor.Context) {
	defer s.sys.recoverActor("connections", ctx.Message())
	s.sys.noticeStop(ctx.Message())
	m, ok := ctx.Message().(*spawnConnection)
	if !ok {
		return
	}
	if s.props == nil {
		s.props = actor.PropsFromProducer(func() actor.Actor { return s.next }, actor.WithMailbox(func() actor.Mailbox { return s.next.mailbox.newHandle() }))
	}
	s.next = m.conn
	if _, err := ctx.SpawnNamed(s.props, m.conn.actorName()); err != nil {
		s.sys.log.Error("a connection could not become an actor", "connection", m.conn.id, "error", err)
		s.refuse(m.conn)
	}
	s.next = nil
}

// refuse ends a connection that is no actor.
func (s *connectionSupervisor) refuse(c *Connection) {
	c.markClosing()
	c.abandon()
	c.mailbox.close()
	s.remove(c)
	c.countClosed()
	s.sys.alive.Add(-1)
}

func (s *connectionSupervisor) add(c *Connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.supervisorIndex = int32(len(s.list))
	s.list = append(s.list, c)
}

// remove takes a connection off the list, if it is on it.
func (s *connectionSupervisor) remove(c *Connection) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, last := int(c.supervisorIndex), len(s.list)-1
	if i > last || s.list[i] != c {
		return false
	}
	s.list[i] = s.list[last]
	s.list[i].supervisorIndex = int32(i)
	s.list[last] = nil
	s.list = s.list[:last]
	return true
}

// appendAll appends the list to dst.
func (s *connectionSupervisor) appendAll(dst []*Connection) []*Connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append(dst, s.list...)
}
