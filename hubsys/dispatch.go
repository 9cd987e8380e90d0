package hubsys

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"runtime/debug"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/internal/logs"
)

// hub runs the calls of one hub. A call of a method takes three steps: bind, run, answer.
type hub struct {
	runtime  *actors.Hub
	methods  *methods
	create   func(context.Context) (Instance, error)
	detailed bool
	log      *slog.Logger
}

var _ actors.Handler = (*hub)(nil)

// Invoke is part of actors.Handler. The texts are those of docs/protocol.md, 6.3.
func (h *hub) Invoke(k *actors.Call, dst []byte) []byte {
	m, f, refusal := h.bind(k)
	if refusal != "" {
		return h.appendError(k, dst, refusal)
	}
	dst = h.run(k, dst, m, f)
	m.recycle(f) // not after a panic, and not before everything that may hold on to arguments is over
	return dst
}

// bind finds the method of a call, and decodes its arguments. If the call does not reach its method, bind returns the text for the client.
func (h *hub) bind(k *actors.Call) (m *method, f *callArgs, refusal string) {
	target, again := k.Target()
	m = h.methods.find(target)
	if m == nil {
		h.log.Debug("an unknown method was called", "connection", k.Connection().ID(), "method", logs.Clip(string(target)))
		if again { // what the reference says when the name was known until it was given again behind the arguments
			return nil, nil, "Unknown hub method '" + string(target) + "'"
		}
		return nil, nil, "Failed to invoke '" + string(target) + "' due to an error on the server. HubException: Method does not exist."
	}
	k.SetMethod(m.name)
	f = m.borrow()
	if err := k.Connection().Protocol().BindArguments(k.Arguments(), f.params); err != nil {
		h.log.Debug("arguments do not fit", "connection", k.Connection().ID(), "method", m.name, "error", logs.Error(err), "cause", logs.Error(errors.Unwrap(err)))
		return nil, nil, h.Describe("Failed to invoke '"+m.name+"' due to an error on the server.", err)
	}
	k.Bound()
	switch {
	case k.WantsStream() && !m.streams:
		return nil, nil, "The client attempted to invoke the non-streaming '" + m.name + "' method with a streaming invocation."
	case !k.WantsStream() && m.streams:
		return nil, nil, "The client attempted to invoke the streaming '" + m.name + "' method with a non-streaming invocation."
	case k.DuplicateID():
		return nil, nil, "Invocation ID '" + string(k.ID()) + "' is already in use."
	case k.OverLimit():
		return nil, nil, fmt.Sprintf("At most %d calls with streams of one client can run at once.", actors.MaxStreams)
	}
	if !m.takesContext && !m.streams {
		k.IgnoreCancel()
	}
	return m, f, ""
}

// run opens a hub value, calls the method, answers, and closes the hub value.
func (h *hub) run(k *actors.Call, dst []byte, m *method, f *callArgs) []byte {
	if err := h.bindUploads(k, m, f); err != nil {
		return h.answerError(k, dst, err)
	}
	value, err := h.open(k)
	if err != nil {
		return h.answerError(k, dst, err)
	}
	defer h.close(k, value)
	result, err := m.call(value, k, f)
	return h.answer(k, dst, m, result, err)
}

// open makes the hub value of a call.
func (h *hub) open(k *actors.Call) (Instance, error) {
	value, err := h.create(k)
	if err != nil {
		return nil, err
	}
	return value, value.attach((*Call)(k))
}

// close closes a hub value when its call is over.
func (h *hub) close(k *actors.Call, value Instance) {
	if !h.methods.closes {
		return
	}
	defer func() {
		if reason := recover(); reason != nil {
			h.log.Error("a hub's Close panicked", "connection", k.Connection().ID(), "method", k.Method(), "reason", reason, "stack", string(debug.Stack()))
		}
	}()
	if err := value.(io.Closer).Close(); err != nil {
		h.log.Error("a hub's Close failed", "connection", k.Connection().ID(), "method", k.Method(), "error", err)
	}
}

// answer appends the completion of a call that has returned, behind the items of its stream.
func (h *hub) answer(k *actors.Call, dst []byte, m *method, result reflect.Value, err error) []byte {
	switch {
	case err != nil && m.streams && isCanceled(k, err):
		return h.answerStreamEnd(k, dst)
	case err != nil:
		return h.answerError(k, dst, err)
	case m.streams:
		return h.stream(k, dst, result)
	case len(k.ID()) == 0:
		return dst
	}
	var value any
	if result.IsValid() {
		value = result.Interface()
	}
	completion, err := k.Connection().Protocol().AppendResult(dst, k.ID(), value)
	if err != nil {
		return h.answerError(k, dst, err)
	}
	return completion
}

// appendError appends the completion of a call that does not reach its method, or that fails.
func (h *hub) appendError(k *actors.Call, dst []byte, text string) []byte {
	if len(k.ID()) == 0 {
		return dst
	}
	return k.Connection().Protocol().AppendError(dst, k.ID(), text)
}

// answerError appends the completion of a call whose method has failed.
func (h *hub) answerError(k *actors.Call, dst []byte, err error) []byte {
	h.report(k, "a hub method failed", err)
	return h.appendError(k, dst, h.Describe("An unexpected error occurred invoking '"+k.Method()+"' on the server.", err))
}

// Panicked is part of actors.Handler.
func (h *hub) Panicked(k *actors.Call, dst []byte, err error) []byte {
	if k.IsStreaming() {
		return h.appendError(k, dst, h.Describe(streamText, err))
	}
	return h.appendError(k, dst, h.Describe("An unexpected error occurred invoking '"+k.Method()+"' on the server.", err))
}

// report logs that user code has failed. An error that is meant for the client, or that is due to a client that has gone, is no fault of
// that code.
func (h *hub) report(k *actors.Call, what string, err error) {
	level := slog.LevelError
	var forClient *HubError
	if errors.As(err, &forClient) || errors.Is(err, ErrGone) || isCanceled(k, err) {
		level = slog.LevelDebug
	}
	h.log.Log(k, level, what, "connection", k.Connection().ID(), "method", k.Method(), "error", logs.Error(err))
}

// Describe is part of actors.Handler.
func (h *hub) Describe(generic string, err error) string {
	var forClient *HubError
	switch {
	case errors.As(err, &forClient) && forClient != nil:
		return generic + " HubException: " + forClient.Message
	case h.detailed:
		return generic + " Error: " + err.Error()
	}
	return generic
}
