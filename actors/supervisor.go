package actors

import (
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/asynkron/protoactor-go/actor"
)

// resume is how everything here is supervised: the actor loses the message that made it panic, and goes on. Restarting would wait for
// children and lose the session, which is the actor's struct.
type resume struct{}

func (resume) HandleFailure(system *actor.ActorSystem, supervisor actor.Supervisor, child *actor.PID, _ *actor.RestartStatistics, reason, _ any) {
	system.EventStream.Publish(&actor.SupervisorEvent{Child: child, Reason: reason, Directive: actor.ResumeDirective})
	supervisor.ResumeChildren(child)
}

// root is the actor above all others. It owns its children and does nothing but spawn them. It has no supervisor that would resume
// it, and so must not panic.
type root struct{ sys *System }

// sow asks the root for a child.
type sow struct {
	name  string
	props *actor.Props
	pid   chan *actor.PID
	err   chan error
}

// Receive is the actor's behaviour.
func (r *root) Receive(ctx actor.Context) {
	defer r.sys.guard("root")
	r.sys.seeStop(ctx.Message())
	if m, ok := ctx.Message().(*sow); ok {
		pid, err := ctx.SpawnNamed(m.props, m.name)
		if err != nil {
			m.err <- fmt.Errorf("troupe: no actor can be named %q: %w", m.name, err)
			return
		}
		m.pid <- pid
	}
}

// spawn makes a child of the root.
func (s *System) spawn(name string, props *actor.Props) (*actor.PID, error) {
	m := &sow{name: name, props: props, pid: make(chan *actor.PID, 1), err: make(chan error, 1)}
	s.actors.Root.Send(s.root, m)
	select {
	case pid := <-m.pid:
		return pid, nil
	case err := <-m.err:
		return nil, err
	case <-s.quit:
		return nil, ErrShutdown
	}
}

// seeStop refuses new connections when somebody stops an actor without which they would not live.
func (s *System) seeStop(message any) {
	if _, ok := message.(*actor.Stopping); ok {
		s.mu.Lock()
		s.closing = true
		s.mu.Unlock()
	}
}

// guard logs a panic of an actor that must not fail.
func (s *System) guard(who string) {
	if reason := recover(); reason != nil {
		s.log.Error("an actor panicked; it goes on without the message", "actor", who, "reason", reason, "stack", string(debug.Stack()))
	}
}

// shard is the supervisor of a part of the connections. It owns their list, which the heartbeat goes through, and spawns them: only
// here, because the producers of actor and mailbox know by next whom they make. It never blocks; its bound is the number of connections.
type shard struct {
	sys   *System
	pid   *actor.PID
	props *actor.Props
	next  *Connection

	mu   sync.Mutex
	list []*Connection
}

// adopt makes a connection an actor.
type adopt struct{ conn *Connection }

// Receive is the actor's behaviour.
func (s *shard) Receive(ctx actor.Context) {
	defer s.sys.guard("connections")
	s.sys.seeStop(ctx.Message())
	m, ok := ctx.Message().(*adopt)
	if !ok {
		return
	}
	if s.props == nil {
		s.props = actor.PropsFromProducer(func() actor.Actor { return s.next }, actor.WithMailbox(func() actor.Mailbox { return s.next.mailbox.newLink() }))
	}
	s.next = m.conn
	if _, err := ctx.SpawnNamed(s.props, m.conn.id); err != nil {
		s.sys.log.Error("a connection could not become an actor", "connection", m.conn.id, "error", err)
		m.conn.markClosed()
		m.conn.abandon()
		m.conn.mailbox.close()
		s.remove(m.conn)
		s.sys.alive.add(-1)
	}
	s.next = nil
}

func (s *shard) add(c *Connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.slot = int32(len(s.list))
	s.list = append(s.list, c)
}

// remove takes a connection off the list, if it is on it.
func (s *shard) remove(c *Connection) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int(c.slot) >= len(s.list) || s.list[c.slot] != c {
		return false
	}
	last := len(s.list) - 1
	s.list[c.slot] = s.list[last]
	s.list[c.slot].slot = c.slot
	s.list[last] = nil
	s.list = s.list[:last]
	return true
}

// all is a copy of the list.
func (s *shard) all() []*Connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Connection(nil), s.list...)
}
