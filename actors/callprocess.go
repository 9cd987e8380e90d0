package actors

import (
	"slices"
	"strconv"

	"github.com/asynkron/protoactor-go/actor"
)

// callProcess is a call in the actor system. What is sent to its PID arrives in the inbox; Stop and PoisonPill end the context of the call; Watch
// is answered when the call has returned. Its fields are guarded by the lock of
// the call.
type callProcess struct {
	call     *Call
	pid      *actor.PID
	inbox    chan any
	watchers []*actor.PID
}

var _ actor.Process = (*callProcess)(nil)

// PID returns the call's address in the actor system.
func (k *Call) PID() *actor.PID { return k.inSystem().pid }

// Inbox holds what has been sent to the PID. It is closed when the call has returned.
func (k *Call) Inbox() <-chan any { return k.inSystem().inbox }

// inSystem returns the process of the call, which it registers if nobody has asked for it before.
func (k *Call) inSystem() *callProcess {
	k.mu.Lock()
	defer k.mu.Unlock()
	extra := k.needExtra()
	if extra.process == nil {
		sys := k.conn.hub.sys
		id := k.conn.pid.Id + "/call/" + strconv.FormatUint(sys.lastCall.Add(1), 10)
		extra.process = &callProcess{call: k, inbox: make(chan any, maxInbox)}
		if k.ended {
			extra.process.pid = actor.NewPID(k.conn.pid.Address, id)
			close(extra.process.inbox)
		} else {
			extra.process.pid, _ = sys.actorSystem.ProcessRegistry.Add(extra.process, id)
		}
	}
	return extra.process
}

// end is called when the call has returned. It returns those who watch the call.
func (p *callProcess) end() (watchers []*actor.PID) {
	p.call.conn.hub.sys.actorSystem.ProcessRegistry.Remove(p.pid)
	close(p.inbox)
	watchers, p.watchers = p.watchers, nil
	return watchers
}

// SendUserMessage is part of actor.Process.
func (p *callProcess) SendUserMessage(pid *actor.PID, message any) {
	k := p.call
	header, body, sender := actor.UnwrapEnvelope(message)
	if _, ok := body.(*actor.PoisonPill); ok {
		k.stop(ErrStopped)
		return
	}
	if header == nil && sender == nil {
		message = body
	}
	k.mu.Lock()
	taken := false
	if !k.ended {
		select {
		case p.inbox <- message:
			taken = true
		default:
		}
	}
	k.mu.Unlock()
	if !taken {
		k.conn.hub.sys.actorSystem.DeadLetter.SendUserMessage(pid, message)
	}
}

// SendSystemMessage is part of actor.Process.
func (p *callProcess) SendSystemMessage(pid *actor.PID, message any) {
	k := p.call
	switch m := message.(type) {
	case *actor.Watch:
		k.mu.Lock()
		ended := k.ended
		if !ended {
			p.watchers = append(slices.DeleteFunc(p.watchers, m.Watcher.Equal), m.Watcher)
		}
		k.mu.Unlock()
		if ended {
			k.conn.hub.sys.sendSystem(m.Watcher, &actor.Terminated{Who: pid})
		}
	case *actor.Unwatch:
		k.mu.Lock()
		p.watchers = slices.DeleteFunc(p.watchers, m.Watcher.Equal)
		k.mu.Unlock()
	case *actor.Stop:
		k.stop(ErrStopped)
	}
}

// Stop is part of actor.Process: it ends the context of the call.
func (p *callProcess) Stop(*actor.PID) { p.call.stop(ErrStopped) }

// sendSystem sends a system message.
func (s *System) sendSystem(pid *actor.PID, message any) {
	if process, ok := s.actorSystem.ProcessRegistry.Get(pid); ok {
		process.SendSystemMessage(pid, message)
	}
}
