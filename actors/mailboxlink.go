package actors

import (
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
)

var _ actor.Mailbox = (*mailboxLink)(nil)

// mailboxLink is the mailbox that protoactor knows. Protoactor keeps pointers to actors that have ended for a while (in its sets of children):
// they must not keep the connection in memory, with its request and everything that the application has put there.
type mailboxLink struct {
	sys *System
	pid *actor.PID // set before box is cleared
	box atomic.Pointer[mailbox]
}

func (m *mailbox) newLink() *mailboxLink {
	m.link = &mailboxLink{sys: m.owner.hub.sys}
	m.link.box.Store(m)
	return m.link
}

func (l *mailboxLink) RegisterHandlers(invoker actor.MessageInvoker, dispatcher actor.Dispatcher) {
	if m := l.box.Load(); m != nil {
		m.RegisterHandlers(invoker, dispatcher)
	}
}

func (l *mailboxLink) Start() {
	if m := l.box.Load(); m != nil {
		m.Start()
	}
}

func (l *mailboxLink) UserMessageCount() int {
	if m := l.box.Load(); m != nil {
		return m.UserMessageCount()
	}
	return 0
}

func (l *mailboxLink) PostUserMessage(message any) {
	if m := l.box.Load(); m != nil {
		m.PostUserMessage(message)
	} else {
		l.sys.actors.DeadLetter.SendUserMessage(l.pid, message)
	}
}

func (l *mailboxLink) PostSystemMessage(message any) {
	if m := l.box.Load(); m != nil {
		m.PostSystemMessage(message)
	} else if watch, ok := message.(*actor.Watch); ok {
		if process, ok := l.sys.actors.ProcessRegistry.Get(watch.Watcher); ok {
			process.SendSystemMessage(watch.Watcher, &actor.Terminated{Who: l.pid})
		}
	}
}
