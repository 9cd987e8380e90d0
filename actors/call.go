package actors

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// Call is the hub actor of one invocation or lifetime event: user code runs in it, and it is gone when that has returned.
//
// It is a child of its connection in all but the bookkeeping: supervised by it (a panic or runtime.Goexit ends this one call), and an
// actor.Process with a PID, which is registered when somebody first asks for it. It owns the call's context and inbox; its messages
// are handled on the goroutine that sends them and never block: the inbox takes maxInbox, the next one is a dead letter.
//
// A Call is the context of its user code. It ends when the client cancels the invocation, the connection closes, the system shuts
// down, somebody stops the PID, or the call has returned; context.Cause tells which.
type Call struct {
	// Method is the name of the method that runs. Whoever handles the call sets it.
	Method string

	conn    *Connection
	id      []byte
	message *hubproto.Message // valid until the arguments are bound, as is the batch that it came in
	batch   *batch
	uploads *uploads // nil: it has none

	event     event
	streaming bool // a StreamInvocation
	flowing   bool // its results are being streamed

	// The run queue's.
	duplicateID bool  // a stream with its id was running when it began
	overLimit   bool  // MaxStreams were running when it began
	begun       bool  // it does not wait any more
	canceled    bool  // and so are those behind it in the index
	slot        bool  // it holds a slot
	lent        bool  // it has given its slot back because it waits for its client
	released    bool  // it has ended, and holds nothing any more
	excused     bool  // the end of the connection does not wait for it
	place       int32 // among those that run
	next        *Call // behind it, while it waits
	sameID      *Call // the next one in the index

	returned chan error // of a lifetime event: what came of it
	idRoom   [16]byte

	mu       sync.Mutex
	inner    context.Context // made when somebody needs more than Err
	cancel   context.CancelCauseFunc
	cause    error // why the context has ended
	ended    bool
	deaf     bool  // to its client's cancel
	inside   int16 // how often it waits for the system to shut down, by which it does not end
	pid      *actor.PID
	inbox    chan any
	watchers []*actor.PID
}

// event is what a call is due to.
type event uint8

const (
	invocation event = iota
	connected
	disconnected
)

const maxInbox = 64

// Reasons for which the context of a call ends, as context.Cause gives them.
var (
	ErrCanceled     = errors.New("troupe: the client has canceled the invocation")
	ErrDisconnected = errors.New("troupe: the connection is closed")
	ErrShutdown     = errors.New("troupe: the system is shutting down")
	ErrStopped      = errors.New("troupe: the call's actor was stopped")
	ErrReturned     = errors.New("troupe: the call has returned")
)

// PanicError is what a panic of user code becomes.
type PanicError struct {
	Value any // nil if the code called runtime.Goexit
	Stack []byte
}

func (e *PanicError) Error() string {
	if e.Value == nil {
		return "runtime.Goexit was called"
	}
	return fmt.Sprintf("panic: %v", e.Value)
}

// Unwrap gives the panic's value, if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Connection is the connection that has made the call.
func (k *Call) Connection() *Connection { return k.conn }

// ID is the invocation id. Empty: the client wants no answer.
func (k *Call) ID() []byte { return k.id }

// Target is the name of the method as the client has written it; again says that it has written another one before its arguments.
// Only valid until Bound.
func (k *Call) Target() (name []byte, again bool) {
	if k.message == nil {
		return nil, false
	}
	return k.message.Target, k.message.Retargeted
}

// Arguments are the encoded arguments. Only valid until Bound.
func (k *Call) Arguments() []byte {
	if k.message == nil {
		return nil
	}
	return k.message.Arguments
}

// Bound says that the arguments have been decoded or are not needed: the memory that they came in is used again.
func (k *Call) Bound() {
	if k.batch != nil {
		b := k.batch
		k.message, k.batch = nil, nil
		b.done(1)
	}
}

// work runs a lifetime event; invocations are run by their connection's work.
func (k *Call) work() { k.runEvent() }

// runEvent runs OnConnected or OnDisconnected. An error is put into words here, because that is the application's code, too.
func (k *Call) runEvent() {
	ended := &eventEnded{event: k.event, err: &PanicError{}}
	defer func() {
		k.end()
		k.returned <- ended.err
		k.conn.post(ended)
	}()
	defer func() {
		if ended.err != nil {
			ended.text = connectedText
			ended.text = k.inWords(ended.err) // unless that, too, calls runtime.Goexit
		}
	}()
	defer func() {
		if reason := recover(); reason != nil {
			ended.err = k.panicked(reason)
		}
	}()
	if k.event == disconnected {
		k.conn.hub.handler.Disconnected(k, k.conn.cause)
		ended.err = nil
		return
	}
	w := borrowWriter() // the answer to the handshake leaves before user code runs
	w.flush(&k.conn.out)
	returnWriter(w)
	ended.err = k.conn.hub.handler.Connected(k)
}

// connectedText is what the text of a Close that is due to an error begins with.
const connectedText = "Connection closed with an error."

// inWords is the text of a Close that is due to err.
func (k *Call) inWords(err error) (text string) {
	defer func() {
		if reason := recover(); reason != nil {
			_ = k.panicked(reason)
			text = connectedText
		}
	}()
	return k.conn.hub.handler.Describe(connectedText, err)
}

func (k *Call) panicked(reason any) error {
	err := &PanicError{Value: reason, Stack: debug.Stack()}
	k.conn.sys.logPanic("user code panicked", k.conn, k.Method, err)
	return err
}

var completions = sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}

// exec runs an invocation and appends its completion to the outbox. enough says that so much is unwritten that it should be written now.
func (k *Call) exec() (enough bool) {
	buffer := completions.Get().(*[]byte)
	returned := false
	defer func() {
		k.Bound()
		k.conn.calls.forget(k)
		k.dropUploads()
		if len(*buffer) > 0 {
			enough = k.conn.out.reply(*buffer, false)
		}
		k.end()
		if cap(*buffer) <= maxPooled {
			*buffer = (*buffer)[:0]
			completions.Put(buffer)
		}
	}()
	defer func() {
		if reason := recover(); !returned {
			*buffer = k.plainFailure((*buffer)[:0])
			*buffer = k.failure(k.panicked(reason)) // unless that, too, calls runtime.Goexit
		}
	}()
	*buffer = k.conn.hub.handler.Invoke(k, (*buffer)[:0])
	returned = true
	return
}

// failure is the completion of a call that has panicked. Words for it are the application's code again, which may fail again.
func (k *Call) failure(err error) (completion []byte) {
	defer func() {
		if reason := recover(); reason != nil {
			_ = k.panicked(reason)
			completion = k.plainFailure(nil)
		}
	}()
	return k.conn.hub.handler.Panicked(k, nil, err)
}

func (k *Call) plainFailure(dst []byte) []byte {
	if len(k.id) == 0 {
		return dst
	}
	return k.conn.Protocol().AppendError(dst, k.id, "An error occurred on the server.")
}

// end makes the call a thing of the past: its context is over, its PID dead.
func (k *Call) end() {
	k.mu.Lock()
	k.ended = true
	if k.inside > 0 {
		k.count(1)
	}
	k.finish(ErrReturned)
	pid, watchers := k.pid, k.watchers
	k.watchers = nil
	if pid != nil {
		k.conn.sys.actors.ProcessRegistry.Remove(pid)
		close(k.inbox)
	}
	k.mu.Unlock()
	for _, watcher := range watchers {
		k.tell(watcher, &actor.Terminated{Who: pid})
	}
}

// reason is why the context has ended, if it has.
func (k *Call) reason() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.cause
}

// IgnoreCancel is for a method that takes no context: it knows nothing of a cancel, and what it reads goes on (spec §6.7).
func (k *Call) IgnoreCancel() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.deaf = true; k.cause == ErrCanceled {
		k.cause = nil
	}
}

// stop ends the context for a reason.
func (k *Call) stop(cause error) {
	k.mu.Lock()
	k.finish(cause)
	k.mu.Unlock()
}

func (k *Call) finish(cause error) {
	if k.cause == nil && (k.inside == 0 || cause != ErrShutdown) && (!k.deaf || cause != ErrCanceled) {
		k.cause = cause
		if k.cancel != nil {
			k.cancel(cause)
		}
	}
}

// ---- context.Context

type callKey struct{}

// CallOf returns the call whose context ctx is or comes from.
func CallOf(ctx context.Context) *Call {
	k, _ := ctx.Value(callKey{}).(*Call)
	return k
}

// Deadline is part of context.Context: there is none.
func (k *Call) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done is part of context.Context.
func (k *Call) Done() <-chan struct{} { return k.full().Done() }

// Err is part of context.Context.
func (k *Call) Err() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cause == nil {
		return nil
	}
	return context.Canceled
}

// Value is part of context.Context.
func (k *Call) Value(key any) any {
	if key == (callKey{}) {
		return k
	}
	return k.full().Value(key)
}

// full returns a context of the standard library's that ends with this one. Most calls never need it.
func (k *Call) full() context.Context {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.inner == nil {
		k.inner, k.cancel = context.WithCancelCause(context.Background())
		if k.cause != nil {
			k.cancel(k.cause)
		}
	}
	return k.inner
}

// ---- actor.Process

var _ actor.Process = (*Call)(nil)

// PID is the call's address in the actor system. What is sent to it arrives in Inbox; Stop and PoisonPill end its context; Watch is
// answered when the call has returned.
func (k *Call) PID() *actor.PID {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pid == nil {
		id := k.conn.pid.Id + "/call/" + strconv.FormatUint(k.conn.sys.calls.Add(1), 10)
		k.inbox = make(chan any, maxInbox)
		if k.ended {
			k.pid = actor.NewPID(k.conn.pid.Address, id)
			close(k.inbox)
		} else {
			k.pid, _ = k.conn.sys.actors.ProcessRegistry.Add(k, id)
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
		k.conn.sys.actors.DeadLetter.SendUserMessage(pid, message)
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
			k.tell(m.Watcher, &actor.Terminated{Who: pid})
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

// tell sends a system message.
func (k *Call) tell(pid *actor.PID, message any) {
	if process, ok := k.conn.sys.actors.ProcessRegistry.Get(pid); ok {
		process.SendSystemMessage(pid, message)
	}
}
