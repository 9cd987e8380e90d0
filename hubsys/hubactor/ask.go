package hubactor

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
)

// ErrNoActor says that an actor does not exist, or has stopped before it has answered.
var ErrNoActor = errors.New("hubactor: there is no such actor")

// Ref is the address of an actor, and the actor system by which it is reached.
type Ref struct {
	system *actor.ActorSystem
	pid    *actor.PID
}

// RefTo makes a Ref.
func RefTo(system *actor.ActorSystem, pid *actor.PID) Ref { return Ref{system, pid} }

// PID returns the address alone.
func (r Ref) PID() *actor.PID { return r.pid }

// Tell sends a message. It does not wait.
func (r Ref) Tell(message any) { r.system.Root.Send(r.pid, message) }

func (r Ref) request(message any, sender *actor.PID) {
	r.system.Root.RequestWithCustomSender(r.pid, message, sender)
}

// Ask sends a message, and waits for the response, which is a T. It fails with [ErrNoActor], with the response if that is an error, if the response
// is no T, or with the cause of ctx. An actor that panics and is restarted does not respond: ctx needs a deadline, or has to be that of a
// call.
func Ask[T any](ctx context.Context, to Ref, message any) (T, error) {
	var none T
	if ctx.Err() != nil {
		return none, context.Cause(ctx)
	}
	if to.system == nil || to.pid == nil {
		return none, ErrNoActor
	}
	waiting := newReply()
	stop := waiting.watch(to)
	defer stop()
	to.request(message, waiting.pid)
	select {
	case answer := <-waiting.answer:
		switch answer := answer.(type) {
		case nil:
			if takesNil[T]() {
				return none, nil
			}
		case error: // also if T is any
			return none, answer
		case T:
			return answer, nil
		}
		return none, fmt.Errorf("hubactor: the response to a %T is a %T, not a %T", message, answer, none)
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
}

// takesNil reports whether nil is a T.
func takesNil[T any]() bool {
	switch reflect.TypeFor[T]().Kind() {
	case reflect.Interface, reflect.Pointer, reflect.Map, reflect.Slice, reflect.Func, reflect.Chan:
		return true
	}
	return false
}

// reply is a process to which an actor responds. The first response counts. (A Future of protoactor has no context, and a data race.)
type reply struct {
	answer   chan any
	answered atomic.Bool
	over     atomic.Bool // of a call: it has been answered in full
	pid      *actor.PID
}

var _ actor.Process = (*reply)(nil)

func newReply() *reply { return &reply{answer: make(chan any, 1)} }

// watch registers the process, and has it told when the actor stops.
func (r *reply) watch(to Ref) (stop func()) {
	registry := to.system.ProcessRegistry
	r.pid, _ = registry.Add(r, "hubactor-reply-"+number())
	target, _ := registry.Get(to.pid)
	target.SendSystemMessage(to.pid, &actor.Watch{Watcher: r.pid})
	return func() {
		target.SendSystemMessage(to.pid, &actor.Unwatch{Watcher: r.pid})
		registry.Remove(r.pid)
	}
}

var numbers atomic.Uint64

// number returns a text that no other call returns, for the names of processes.
func number() string { return strconv.FormatUint(numbers.Add(1), 10) }

// SendUserMessage is part of actor.Process.
func (r *reply) SendUserMessage(_ *actor.PID, message any) {
	message = actor.UnwrapEnvelopeMessage(message)
	if _, ok := message.(*actor.DeadLetterResponse); ok {
		message = ErrNoActor
	}
	r.put(message)
}

// SendSystemMessage is part of actor.Process.
func (r *reply) SendSystemMessage(_ *actor.PID, message any) {
	if _, ok := message.(*actor.Terminated); ok {
		r.put(ErrNoActor)
	}
}

// Stop is part of actor.Process.
func (r *reply) Stop(*actor.PID) {}

func (r *reply) put(answer any) {
	if r.answered.CompareAndSwap(false, true) {
		r.answer <- answer
	}
}
