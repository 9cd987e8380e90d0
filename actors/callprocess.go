package actors

import (
	"slices"
	"strconv"

	"github.com/asynkron/protoactor-go/actor"
)

var _ actor.Process = (*Call)(nil)

// PID is the call's address in the actor system. What is sent to it arrives in Inbox; Stop and PoisonPill end its context; Watch is
// answered when the call has returned.
func (k *Call) PID() *actor.PID {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pid == nil {
		id := k.conn.pid.Id + "/call/" + strconv.FormatUint(k.conn.hub.sys.lastCall.Add(1), 10)
		k.inbox = make(chan any, maxInbox)
		if k.ended {
			k.pid = actor.NewPID(k.conn.pid.Address, id)
			close(k.inbox)
		} else {
			k.pid, _ = k.conn.hub.sys.actorSystem.ProcessRegistry.Add(k, id)
		}
	}
	return k.pid
}

// Inbox holds what has been sent to the PID. It is closed when the call has returned.
func (k *Call) Inbox() <-chan any {
	k.PID()
	return k.inbox
}

// SendUserMessage is part of actor.Process.
func (k *Call) SendUserMessage(pid *actor.PID, message any) {
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
		case k.inbox <- message:
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
func (k *Call) SendSystemMessage(pid *actor.PID, message any) {
	switch m := message.(type) {
	case *actor.Watch:
		k.mu.Lock()
		ended := k.ended
		if !ended {
			k.watchers = append(slices.DeleteFunc(k.watchers, m.Watcher.Equal), m.Watcher)
		}
		k.mu.Unlock()
		if ended {
			k.sendSystem(m.Watcher, &actor.Terminated{Who: pid})
		}
	case *actor.Unwatch:
		k.mu.Lock()
		k.watchers = slices.DeleteFunc(k.watchers, m.Watcher.Equal)
		k.mu.Unlock()
	case *actor.Stop:
		k.stop(ErrStopped)
	}
}

// Stop is part of actor.Process: it ends the call's context.
func (k *Call) Stop(*actor.PID) { k.stop(ErrStopped) }

// sendSystem sends a system message.
func (k *Call) sendSystem(pid *actor.PID, message any) {
	if process, ok := k.conn.hub.sys.actorSystem.ProcessRegistry.Get(pid); ok {
		process.SendSystemMessage(pid, message)
	}
}
