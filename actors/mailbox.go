package actors

import (
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/asynkron/protoactor-go/actor"
)

// mailbox is the mailbox of a connection actor: a ring under a lock, allocated when the first message waits and given up when
// the heartbeat finds it empty.
//
// It never blocks a sender. Messages of this package are bounded by their senders (the inbound budget, the callers that wait for an
// answer). Of foreign messages it takes maxForeign, the next one is a dead letter. After a panic it invokes the actor with a *resumed, which
// has the message if the actor has not seen it. When the actor has stopped, all messages are refused.
type mailbox struct {
	mu      sync.Mutex
	ring    []any
	head, n int32
	foreign int16 // foreign messages in the ring
	started bool
	running bool
	waiting bool // suspended, between a panic and its supervisor's answer
	closed  bool
	stops   uint8    // panics while the actor stopped; used by whoever runs the mailbox, as is panic
	system  *[]any   // messages of protoactor
	panic   *resumed // follows a panic

	invoker actor.MessageInvoker
	owner   *Connection
	handle  *mailboxHandle
}

const (
	maxForeign  = 1024
	inlineExtra = 64 // messages that postInline runs besides its own
	maxRun      = 300
	maxStops    = 3 // panics while an actor stops
)

// internalMessage is a message of this package. refuse is called instead of Receive when the actor has stopped.
type internalMessage interface{ refuse() }

// resumed follows a panic of the actor. If that was raised before the actor has seen its message, such as by a middleware of protoactor, the
// message is not lost.
type resumed struct{ lost internalMessage }

func (*resumed) refuse() {}

// RegisterHandlers is called once, before Start. The dispatcher is that of the System, which saves room.
func (m *mailbox) RegisterHandlers(invoker actor.MessageInvoker, _ actor.Dispatcher) {
	m.mu.Lock()
	m.invoker = invoker
	m.mu.Unlock()
}

// Start has messages run that were posted before the actor existed. Started goes first, on the goroutine of the supervisor.
func (m *mailbox) Start() {
	m.mu.Lock()
	m.started = true
	claimed := m.claimLocked()
	m.mu.Unlock()
	m.schedule(claimed && !m.run(1))
}

// UserMessageCount returns the number of messages that wait.
func (m *mailbox) UserMessageCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int(m.n)
}

// claimLocked reports whether the caller has to run the mailbox: nobody else does, and there is something to do.
func (m *mailbox) claimLocked() bool {
	if m.running || !m.started || m.system == nil && (m.waiting || m.n == 0) {
		return false
	}
	m.running = true
	return true
}

func (m *mailbox) schedule(claimed bool) {
	if claimed {
		m.owner.hub.sys.dispatcher.Schedule(m.process)
	}
}

// PostUserMessage queues a message and lets the dispatcher run the actor.
func (m *mailbox) PostUserMessage(message any) {
	claimed, ok := m.put(message)
	if !ok {
		m.refused(message)
		return
	}
	m.schedule(claimed)
}

// postInline queues a message, and runs the actor on the caller's goroutine if it is idle. The caller holds no lock, and has a stack that has grown: it is
// the connection's reader, or a worker.
func (m *mailbox) postInline(message internalMessage) {
	claimed, ok := m.put(message)
	if !ok {
		message.refuse()
		return
	}
	m.schedule(claimed && !m.run(1+inlineExtra))
}

func (m *mailbox) put(message any) (claimed, ok bool) {
	_, internal := message.(internalMessage)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || !internal && m.foreign == maxForeign {
		return false, false
	}
	if !internal {
		m.foreign++
	}
	if int(m.n) == len(m.ring) {
		ring := make([]any, max(4, 2*len(m.ring)))
		for i := range m.n {
			ring[i] = m.ring[(m.head+i)%int32(len(m.ring))]
		}
		m.ring, m.head = ring, 0
	}
	m.ring[(m.head+m.n)%int32(len(m.ring))] = message
	m.n++
	return m.claimLocked(), true
}

func (m *mailbox) refused(message any) {
	if internal, ok := message.(internalMessage); ok {
		internal.refuse()
	} else {
		m.owner.hub.sys.actorSystem.DeadLetter.SendUserMessage(m.owner.pid, message)
	}
}

// PostSystemMessage queues a message of protoactor's, which goes before all others.
func (m *mailbox) PostSystemMessage(message any) {
	m.mu.Lock()
	if m.system == nil {
		m.system = new([]any)
	}
	*m.system = append(*m.system, message)
	claimed := m.claimLocked()
	m.mu.Unlock()
	m.schedule(claimed)
}

// close refuses what waits and what comes.
func (m *mailbox) close() {
	m.mu.Lock()
	waiting := make([]any, 0, m.n)
	for i := range m.n {
		waiting = append(waiting, m.ring[(m.head+i)%int32(len(m.ring))])
	}
	m.closed, m.ring, m.head, m.n, m.foreign = true, nil, 0, 0, 0
	m.mu.Unlock()
	if m.panic != nil && m.panic.lost != nil { // its supervisor has not answered yet
		waiting = append(waiting, m.panic.lost)
		m.panic.lost = nil
	}
	if m.handle != nil {
		m.handle.pid = m.owner.pid
		m.handle.mailbox.Store(nil)
	}
	for _, message := range waiting {
		m.refused(message)
	}
}

func (m *mailbox) process() {
	for !m.run(maxRun) {
	}
}

// run handles up to budget messages. It returns true when nothing is left and somebody else may claim the mailbox.
func (m *mailbox) run(budget int) (idle bool) {
	var current any
	defer func() {
		if reason := recover(); reason != nil {
			m.owner.hub.sys.log.Error("an actor panicked; it goes on without the message", "reason", reason, "message", fmt.Sprintf("%T", current), "stack", string(debug.Stack()))
			m.onPanic(reason, current)
			idle = false
		}
	}()
	for range budget {
		message, system, ok := m.take()
		if !ok {
			return true
		}
		current = message
		m.owner.begun = false
		switch {
		case !system:
			m.invoker.InvokeUserMessage(message)
		case !m.control(message):
			m.invoker.InvokeSystemMessage(message)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running = false
	return !m.claimLocked()
}

// onPanic has protoactor resume the actor. While the actor stops, protoactor would not continue with that.
func (m *mailbox) onPanic(reason, message any) {
	_, stop := message.(*actor.Stop)
	_, again := message.(*actor.Terminated)
	if (stop || again && m.stops > 0) && m.stops < maxStops {
		m.stops++
		m.owner.hub.sys.counts.panics.Add(1)
		m.PostSystemMessage(&actor.Terminated{Who: &actor.PID{}}) // of no child: it continues
		return
	}
	if lost, ok := message.(internalMessage); ok {
		m.panic = &resumed{}
		if !m.owner.begun {
			m.panic.lost = lost
		}
	}
	m.invoker.EscalateFailure(reason, message)
}

func (m *mailbox) take() (message any, system, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.system != nil {
		message = (*m.system)[0]
		(*m.system)[0] = nil
		if *m.system = (*m.system)[1:]; len(*m.system) == 0 {
			m.system = nil
		}
		return message, true, true
	}
	if m.waiting || m.n == 0 {
		m.running = false
		return nil, false, false
	}
	message = m.ring[m.head]
	m.ring[m.head] = nil
	m.head = (m.head + 1) % int32(len(m.ring))
	m.n--
	if _, internal := message.(internalMessage); !internal {
		m.foreign--
	}
	return message, false, true
}

// trim frees an empty ring.
func (m *mailbox) trim() {
	m.mu.Lock()
	if m.n == 0 {
		m.ring, m.head = nil, 0
	}
	m.mu.Unlock()
}

// control handles what protoactor says to the mailbox itself.
func (m *mailbox) control(message any) bool {
	switch message.(type) {
	case *actor.SuspendMailbox:
		m.mu.Lock()
		m.waiting = true
		m.mu.Unlock()
	case *actor.ResumeMailbox:
		m.mu.Lock()
		m.waiting = false
		m.mu.Unlock()
		if m.panic == nil {
			m.panic = &resumed{}
		}
		m.invoker.InvokeUserMessage(m.panic)
		m.panic = nil
	case *actor.Restart: // of somebody else than its supervisor, which resumes: there is no other actor for the connection
	default:
		return false
	}
	return true
}
