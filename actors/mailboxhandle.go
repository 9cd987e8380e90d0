package actors

import (
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
)

var _ actor.Mailbox = (*mailboxHandle)(nil)

// mailboxHandle is the mailbox that protoactor knows. Protoactor keeps pointers to actors that have ended for a while (in its sets of children):
// they must not keep the connection in memory, with its request and everything that the application has put there.
type mailboxHandle struct {
	sys     *System
	pid     *actor.PID // set before mailbox is cleared
	mailbox atomic.Pointer[mailbox]
}

func (m *mailbox) newHandle() *mailboxHandle {
	m.handle = &mailboxHandle{sys: m.owner.hub.sys}
	m.handle.mailbox.Store(m)
	return m.handle
}

func (h *mailboxHandle) RegisterHandlers(invoker actor.MessageInvoker, dispatcher actor.Dispatcher) {
	if m := h.mailbox.Load(); m != nil {
		m.RegisterHandlers(invoker, dispatcher)
	}
}

func (h *mailboxHandle) Start() {
	if m := h.mailbox.Load(); m != nil {
		m.Start()
	}
}

func (h *mailboxHandle) UserMessageCount() int {
	if m := h.mailbox.Load(); m != nil {
		return m.UserMessageCount()
	}
	return 0
}

func (h *mailboxHandle) PostUserMessage(message any) {
	if m := h.mailbox.Load(); m != nil {
		m.PostUserMessage(message)
	} else {
		h.sys.actorSystem.DeadLetter.SendUserMessage(h.pid, message)
	}
}

func (h *mailboxHandle) PostSystemMessage(message any) {
	if m := h.mailbox.Load(); m != nil {
		m.PostSystemMessage(message)
	} else if watch, ok := message.(*actor.Watch); ok {
		if process, ok := h.sys.actorSystem.ProcessRegistry.Get(watch.Watcher); ok {
			process.SendSystemMessage(watch.Watcher, &actor.Terminated{Who: h.pid})
		}
	}
}
