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

// hub runs the calls of one hub.
type hub struct {
	runtime  *actors.Hub
	methods  *methods
	create   func(*Call) (Instance, error)
	detailed bool
	log      *slog.Logger
}

var _ actors.Handler = (*hub)(nil)

// open makes the hub value of a call.
func (h *hub) open(k *actors.Call) (Instance, error) {
	value, err := h.create((*Call)(k))
	if err != nil {
		return nil, err
	}
	return value, value.attach((*Call)(k))
}

// close lets go of a hub value when its call is over.
func (h *hub) close(k *actors.Call, value Instance) {
	if !h.methods.closes {
		return
	}
	defer func() {
		if reason := recover(); reason != nil {
			h.log.Error("a hub's Close panicked", "connection", k.Connection().ID(), "method", k.Method, "reason", reason, "stack", string(debug.Stack()))
		}
	}()
	if err := value.(io.Closer).Close(); err != nil {
		h.log.Error("a hub's Close failed", "connection", k.Connection().ID(), "method", k.Method, "error", err)
	}
}

// Invoke is part of actors.Handler. The texts are those of spec §6.3.
func (h *hub) Invoke(k *actors.Call, dst []byte) []byte {
	target, again := k.Target()
	m := h.methods.find(target)
	if m == nil {
		text := "Failed to invoke '" + string(target) + "' due to an error on the server. HubException: Method does not exist."
		if again { // what the reference says when the name was known until it was given again behind the arguments
			text = "Unknown hub method '" + string(target) + "'"
		}
		h.log.Debug("an unknown method was called", "connection", k.Connection().ID(), "method", logs.Clip(string(target)))
		return h.refuse(k, dst, text)
	}
	k.Method = m.name
	f := m.borrow()
	if err := k.Connection().Protocol().BindArguments(k.Arguments(), f.params); err != nil {
		h.log.Debug("arguments do not fit", "connection", k.Connection().ID(), "method", m.name, "error", logs.Error(err), "cause", logs.Error(errors.Unwrap(err)))
		return h.refuse(k, dst, h.Describe("Failed to invoke '"+m.name+"' due to an error on the server.", err))
	}
	k.Bound()
	switch {
	case k.Streaming() && !m.stream:
		return h.refuse(k, dst, "The client attempted to invoke the non-streaming '"+m.name+"' method with a streaming invocation.")
	case !k.Streaming() && m.stream:
		return h.refuse(k, dst, "The client attempted to invoke the streaming '"+m.name+"' method with a non-streaming invocation.")
	case k.DuplicateID():
		return h.refuse(k, dst, "Invocation ID '"+string(k.ID())+"' is already in use.")
	case k.OverLimit():
		return h.refuse(k, dst, fmt.Sprintf("At most %d calls with streams of one client can run at once.", actors.MaxStreams))
	}
	if !m.context && !m.stream {
		k.IgnoreCancel()
	}
	if err := h.receive(k, m, f); err != nil {
		return h.failed(k, dst, err)
	}
	value, err := h.open(k)
	if err != nil {
		return h.failed(k, dst, err)
	}
	defer h.close(k, value)
	result, err := m.call(value, k, f)
	switch {
	case err != nil && m.stream && canceled(k, err):
		return h.ended(k, dst)
	case err != nil:
		return h.failed(k, dst, err)
	case m.stream:
		return h.stream(k, dst, result)
	}
	return h.complete(k, dst, result)
}

// complete appends the completion of a call that has returned.
func (h *hub) complete(k *actors.Call, dst []byte, result reflect.Value) []byte {
	if len(k.ID()) == 0 {
		return dst
	}
	var value any
	if result.IsValid() {
		value = result.Interface()
	}
	completion, err := k.Connection().Protocol().AppendResult(dst, k.ID(), value)
	if err != nil {
		return h.failed(k, dst, err)
	}
	return completion
}

// refuse appends a completion for a call that does not reach its method.
func (h *hub) refuse(k *actors.Call, dst []byte, text string) []byte {
	if len(k.ID()) == 0 {
		return dst
	}
	return k.Connection().Protocol().AppendError(dst, k.ID(), text)
}

// failed appends the completion of a call whose method has failed.
func (h *hub) failed(k *actors.Call, dst []byte, err error) []byte {
	h.report(k, "a hub method failed", err)
	return h.refuse(k, dst, h.Describe("An unexpected error occurred invoking '"+k.Method+"' on the server.", err))
}

// report logs that user code has failed. What is meant for the client, or comes of a client that has gone, is no fault of that code.
func (h *hub) report(k *actors.Call, what string, err error) {
	level := slog.LevelError
	var said *HubError
	var gone *GoneError
	if errors.As(err, &said) || errors.As(err, &gone) || canceled(k, err) {
		level = slog.LevelDebug
	}
	h.log.Log(k, level, what, "connection", k.Connection().ID(), "method", k.Method, "error", logs.Error(err))
}

// Panicked is part of actors.Handler.
func (h *hub) Panicked(k *actors.Call, dst []byte, err error) []byte {
	if k.Flowing() {
		return h.refuse(k, dst, h.Describe(streamText, err))
	}
	return h.refuse(k, dst, h.Describe("An unexpected error occurred invoking '"+k.Method+"' on the server.", err))
}

// Connected is part of actors.Handler.
func (h *hub) Connected(k *actors.Call) error {
	k.Method = "OnConnected"
	value, err := h.open(k)
	if err == nil {
		defer h.close(k, value)
		if hub, ok := value.(onConnected); ok {
			err = hub.OnConnected(k)
		}
	}
	if err != nil {
		h.report(k, "a connection is refused", err)
	}
	return err
}

// Disconnected is part of actors.Handler.
func (h *hub) Disconnected(k *actors.Call, cause error) {
	k.Method = "OnDisconnected"
	value, err := h.open(k)
	if err == nil {
		defer h.close(k, value)
		if hub, ok := value.(onDisconnected); ok {
			err = hub.OnDisconnected(k, cause)
		}
	}
	if err != nil {
		h.report(k, "a hub method failed", err)
	}
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

type (
	onConnected interface {
		OnConnected(ctx context.Context) error
	}
	onDisconnected interface {
		OnDisconnected(ctx context.Context, cause error) error
	}
)
