package actors

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/actors/outbox"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// Call is the hub actor of one invocation or lifetime event: user code runs in it, and it ends when that code has returned.
//
// exec recovers its panics, so that a panic or runtime.Goexit ends this one call. Its PID, below that of its connection, is registered when
// somebody first asks for it, see callProcess. Messages to it are handled on the goroutine that sends them, and never block: the inbox takes
// maxInbox messages, the next one is a dead letter.
//
// A Call is the context of its user code. It ends when the client cancels the invocation, the connection closes, the system shuts down,
// somebody stops the PID, or the call has returned; context.Cause tells which.
type Call struct {
	method  string // as clients know it, or OnConnected and the like
	times   *CallTimes
	conn    *Connection
	id      []byte
	who     *Identity         // of the connection when the call began
	message *hubproto.Message // valid until the arguments are bound, as is the batch that it came in
	batch   *batch
	uploads *uploads // nil: it has none

	event       event
	wantsStream bool // a StreamInvocation
	streaming   bool // its results are being streamed
	failed      bool // for metrics; used by the goroutine that runs the call

	// Of the run queue, under its lock.
	duplicateID bool // a stream with its id was running when it began
	overLimit   bool // MaxStreams were running when it began
	overRate    Rate // the client, or its user, calls more often than it may
	begun       bool // it does not wait any more
	canceled    bool // as are those before it in the index
	released    bool // it has ended, and holds nothing any more
	excluded    bool // the end of the connection does not wait for it
	slot        slot
	index       int32 // among those that run
	next        *Call // behind it, while it waits
	earlier     *Call // in the index, the one with the same id before it; of the first one, the last
	later       *Call // and the one behind it

	idRoom [16]byte
	state  any // see SetState

	mu                sync.Mutex
	inner             context.Context // made when more than Err is needed
	cancel            context.CancelCauseFunc
	cause             error // why the context has ended
	ended             bool
	ignoresCancel     bool
	shutdownsInFlight int16                     // calls of Shutdown from inside, during which a shutdown does not end the context
	stopped           atomic.Bool               // there is a cause; read without the lock
	extra             atomic.Pointer[callExtra] // set under the lock; nil: none
}

// callExtra is what few calls have.
type callExtra struct {
	headers  []byte     // of the hub message, encoded; never changed
	returned chan error // of a lifetime event: gets its error; never changed
	cleanups []func()
	attached any
	process  *callProcess // made when somebody asks for the PID; under the lock of the call
}

// event is the cause of a call.
type event uint8

const (
	invocation event = iota
	connected
	disconnected
	refreshed
	reconnected
)

const maxInbox = 64

// Reasons for which the context of a call ends, as context.Cause gives them.
var (
	ErrCanceled     = errors.New("hubsys: the client has canceled the invocation")
	ErrDisconnected = errors.New("hubsys: the connection is closed")
	ErrShutdown     = errors.New("hubsys: the system is shutting down")
	ErrStopped      = errors.New("hubsys: the actor of the call was stopped")
	ErrReturned     = errors.New("hubsys: the call has returned")
)

// PanicError is the error that a panic in user code becomes.
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

// Unwrap returns the value of the panic if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Connection returns the connection that has made the call.
func (k *Call) Connection() *Connection { return k.conn }

// Identity returns who has called: the user of the connection when the call began.
func (k *Call) Identity() *Identity { return k.who }

// ID returns the invocation id. If it is empty, the client wants no answer.
func (k *Call) ID() []byte { return k.id }

// Method returns what SetMethod has set.
func (k *Call) Method() string { return k.method }

// SetMethod sets the name of the method that runs, and where its calls are counted: nil is with those of other names. The Handler calls it before
// user code runs.
func (k *Call) SetMethod(name string, times *CallTimes) { k.method, k.times = name, times }

// SetState has State return something of the Handler's, or nil. It is called on the goroutine that runs the call.
func (k *Call) SetState(state any) { k.state = state }

// State returns what SetState was given.
func (k *Call) State() any { return k.state }

// Target returns the name of the method as the client has written it. again reports whether the client has written another one before its
// arguments. Only valid until Bound.
func (k *Call) Target() (name []byte, again bool) {
	if k.message == nil {
		return nil, false
	}
	return k.message.Target, k.message.Retargeted
}

// Arguments returns the encoded arguments. Only valid until Bound.
func (k *Call) Arguments() []byte {
	if k.message == nil {
		return nil
	}
	return k.message.Arguments
}

// Header returns a header of the hub message, or an empty string. Names are compared as they are.
func (k *Call) Header(name string) string {
	extra := k.extra.Load()
	if extra == nil || extra.headers == nil || k.conn.IsPart() {
		return ""
	}
	var headers map[string]string
	if err := k.conn.Protocol().BindValue(extra.headers, reflect.ValueOf(&headers).Elem()); err != nil {
		return ""
	}
	return headers[name]
}

// RawHeaders returns the headers of the hub message, encoded; nil: there are none.
func (k *Call) RawHeaders() []byte {
	if extra := k.extra.Load(); extra != nil {
		return extra.headers
	}
	return nil
}

// Attached returns what is attached to the call, which create makes if there is nothing yet.
func (k *Call) Attached(create func() any) any {
	k.mu.Lock()
	defer k.mu.Unlock()
	extra := k.needExtra()
	if extra.attached == nil && create != nil {
		extra.attached = create()
	}
	return extra.attached
}

// needExtra returns what few calls have. The lock is held.
func (k *Call) needExtra() *callExtra {
	extra := k.extra.Load()
	if extra == nil {
		extra = &callExtra{}
		k.extra.Store(extra)
	}
	return extra
}

// Bound says that the arguments have been decoded or are not needed: the memory that they came in is used again.
func (k *Call) Bound() {
	if k.batch != nil {
		b := k.batch
		k.message, k.batch = nil, nil
		b.done(1)
	}
}

// Cleanup has f run when the call is over, those that were added last first; if it is over already, at once. A panic in f is logged.
func (k *Call) Cleanup(f func()) {
	k.mu.Lock()
	over := k.ended
	if !over {
		extra := k.needExtra()
		extra.cleanups = append(extra.cleanups, f)
	}
	k.mu.Unlock()
	if over {
		k.cleanUp(f)
	}
}

// Cleanups returns how many functions Cleanup was given that have not run.
func (k *Call) Cleanups() int {
	extra := k.extra.Load()
	if extra == nil {
		return 0
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(extra.cleanups)
}

// RunCleanups runs what Cleanup was given, except for the first ones. The Handler calls it when user code has returned and its result has been
// encoded.
func (k *Call) RunCleanups(first int) {
	extra := k.extra.Load()
	for extra != nil {
		k.mu.Lock()
		if len(extra.cleanups) <= first {
			k.mu.Unlock()
			return
		}
		last := len(extra.cleanups) - 1
		f := extra.cleanups[last]
		extra.cleanups = extra.cleanups[:last]
		k.mu.Unlock()
		k.cleanUp(f)
	}
}

func (k *Call) cleanUp(f func()) {
	returned := false
	defer func() {
		if reason := recover(); reason != nil || !returned {
			_ = k.panicked(reason)
		}
	}()
	f()
	returned = true
}

func (k *Call) panicked(reason any) error {
	err := &PanicError{Value: reason, Stack: debug.Stack()}
	k.conn.hub.sys.logPanic("user code panicked", k.conn, k, err)
	return err
}

// exec runs an invocation that begins at a time of the system's clock, and appends its completion to the outbox. It returns when its code has
// returned, and what the outbox looks like then.
func (k *Call) exec(begun time.Duration) (ended time.Duration, out outbox.Replied) {
	answer := borrowBuffer()
	returned := false
	defer func() {
		ended = k.conn.hub.sys.now()
		k.observe(ended-begun, answer.shard)
		k.Bound()
		k.conn.calls.forget(k)
		k.dropUploads()
		if len(answer.bytes) > 0 {
			out = k.conn.out.Reply(answer.bytes, false)
		} else if k.conn.out.IsAboveMark() {
			out = outbox.AboveItsMark
		}
		k.end()
		answer.giveBack()
	}()
	defer func() {
		if reason := recover(); !returned {
			k.failed = true
			answer.bytes = k.plainFailure(answer.bytes[:0])
			answer.bytes = k.failure(k.panicked(reason)) // unless that calls runtime.Goexit as well
		}
	}()
	switch k.event {
	case refreshed:
		k.conn.hub.handler.Refreshed(k)
	case reconnected:
		k.conn.reportReconnected(k)
	default:
		answer.bytes = k.conn.hub.handler.Invoke(k, answer.bytes[:0])
	}
	returned = true
	return
}

// failure returns the completion of a call that has panicked. Its text is made by the application's code, which may panic again.
func (k *Call) failure(err error) (completion []byte) {
	defer func() {
		if reason := recover(); reason != nil {
			_ = k.panicked(reason)
			completion = k.plainFailure(nil)
		}
	}()
	return k.conn.hub.handler.Panicked(k, nil, err)
}

// plainFailure appends a completion whose text is not the application's. Its protocol may be, and if that panics, there is no completion.
func (k *Call) plainFailure(dst []byte) (completion []byte) {
	if len(k.id) == 0 {
		return dst
	}
	defer func() {
		if reason := recover(); reason != nil {
			_ = k.panicked(reason)
			completion = dst
		}
	}()
	return k.conn.Protocol().AppendError(dst, k.id, "An error occurred on the server.")
}

// end ends the context of the call and its PID.
func (k *Call) end() {
	k.mu.Lock()
	k.ended = true
	if k.shutdownsInFlight > 0 {
		k.countAlive(1)
	}
	k.endContext(ErrReturned)
	var watchers []*actor.PID
	var process *callProcess
	unclean := false
	if extra := k.extra.Load(); extra != nil {
		unclean = len(extra.cleanups) > 0
		if process = extra.process; process != nil {
			watchers = process.end()
		}
	}
	k.mu.Unlock()
	for _, watcher := range watchers {
		k.conn.hub.sys.sendSystem(watcher, &actor.Terminated{Who: process.pid})
	}
	if unclean { // added since the Handler has run them
		k.RunCleanups(0)
	}
}
