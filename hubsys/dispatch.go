package hubsys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"reflect"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/internal/logs"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// hub runs the calls of one hub. A call of a method takes three steps: bind, run, answer.
type hub struct {
	runtime      *actors.Hub
	hasOwnName   bool // HubOptions.Name was given
	detailed     bool
	limits       *connectionLimits
	callRate     int
	userCallRate int
	explain      bool // with detailed: says which argument did not fit
	log          *slog.Logger
	failures     logs.Limiter // of methods, that are logged as errors
	handler      Handler      // with its filters; what happens to connections is always its business
	filtered     bool         // calls are its business
	sender       SendFunc     // with its filters; nil: there are none

	subscriptions sync.Map // of HubContext.Subscribe, by the ids of their connections

	// Of a hub with methods.
	methods *methods // nil: it was made by RegisterHandler
	create  func(context.Context) (Instance, error)

	// Of a hub of RegisterHandler.
	policies map[string]Policy // by the method's name in lower case
	hidden   map[string]bool
	named    map[string]string // the names that options.Methods have, by those in lower case
}

var _ actors.Handler = (*hub)(nil)

// Invoke is part of actors.Handler. The texts are those of docs/protocol.md, 6.3.
func (h *hub) Invoke(k *actors.Call, dst []byte) []byte {
	if h.methods == nil {
		return h.runHandler(k, dst)
	}
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
	if m == nil && k.OverRate() != actors.WithinRate {
		return nil, nil, h.tooOften(k, string(target))
	}
	if m == nil {
		h.logUnknown(k, target)
		if again { // what the reference says when the name was known until it was given again behind the arguments
			return nil, nil, "Unknown hub method '" + string(target) + "'"
		}
		return nil, nil, unknownMethod(k, string(target))
	}
	m = m.taking(k)
	k.SetMethod(m.name, m.times)
	if k.OverRate() != actors.WithinRate {
		return nil, nil, h.tooOften(k, m.name)
	}
	if m.policy != nil && !h.authorize(k, m.name, m.policy) {
		return nil, nil, unauthorized(k, m.name)
	}
	if refusal = m.unresolved(k); refusal != "" {
		h.log.Debug("arguments do not fit", "connection", k.Connection().ID(), "method", m.name, "error", fmt.Sprintf("no %s takes %d arguments", m.name, k.Connection().Protocol().CountArguments(k.Arguments())))
		return nil, nil, refusal
	}
	f = m.borrow()
	if m.variadic {
		f.setRest(k.Connection().Protocol().CountArguments(k.Arguments()))
	}
	if err := h.decode(k, m.name, f.params); err != nil {
		return nil, nil, h.describeUnbound(k, m.name, err)
	}
	switch {
	case k.WantsStream() && !m.streams:
		return nil, nil, notStreaming(m.name)
	case !k.WantsStream() && m.streams:
		return nil, nil, streaming(m.name)
	}
	if refusal = refused(k); refusal != "" {
		return nil, nil, refusal
	}
	if !m.takesContext && !m.streams {
		k.IgnoreCancel()
	}
	return m, f, ""
}

// refused returns the text of a call that cannot run because of others.
func refused(k *actors.Call) string {
	switch {
	case k.DuplicateID():
		return "Invocation ID '" + string(k.ID()) + "' is already in use."
	case k.OverLimit():
		return fmt.Sprintf("At most %d calls with streams of one client can run at once.", actors.MaxStreams)
	}
	return ""
}

// tooOften returns the text of a call of a client that calls more often than it may.
func (h *hub) tooOften(k *actors.Call, method string) string {
	if k.OverRate() == actors.UserRate {
		return fmt.Sprintf("Failed to invoke '%s' because a user can make at most %d calls per second.", method, h.userCallRate)
	}
	return fmt.Sprintf("Failed to invoke '%s' because a client can make at most %d calls per second.", method, h.callRate)
}

func (h *hub) logUnknown(k *actors.Call, target []byte) {
	h.log.Debug("an unknown method was called", "connection", k.Connection().ID(), "method", logs.Clip(string(target)))
}

func unknownMethod(k *actors.Call, target string) string {
	if k.Connection().IsPart() {
		return "'" + target + "' method could not be resolved. No method found with that name."
	}
	return "Failed to invoke '" + target + "' due to an error on the server. HubException: Method does not exist."
}

func unauthorized(k *actors.Call, target string) string {
	if k.Connection().IsPart() {
		return classicUnauthorized(k.Connection().Hub().Name(), target)
	}
	return "Failed to invoke '" + target + "' because user is unauthorized"
}

func notStreaming(method string) string {
	return "The client attempted to invoke the non-streaming '" + method + "' method with a streaming invocation."
}

func streaming(method string) string {
	return "The client attempted to invoke the streaming '" + method + "' method with a non-streaming invocation."
}

// unboundError is an error of arguments that do not fit.
type unboundError struct{ error }

func (e *unboundError) Unwrap() error { return e.error }

// decode decodes the arguments of a call into params.
func (h *hub) decode(k *actors.Call, method string, params []reflect.Value) error {
	err := k.Connection().Protocol().BindArguments(k.Arguments(), params)
	if err == nil {
		k.Bound()
		return nil
	}
	h.log.Debug("arguments do not fit", "connection", k.Connection().ID(), "method", logs.Clip(method), "error", logs.Error(err), "cause", logs.Error(errors.Unwrap(err)))
	return &unboundError{err}
}

// describeUnbound returns the text that a client gets of arguments that do not fit.
func (h *hub) describeUnbound(k *actors.Call, method string, err error) string {
	isClassic := k.Connection().IsPart()
	var why *hubproto.BindError
	if (h.explain || isClassic) && errors.As(err, &why) && why.Cause != nil {
		err = fmt.Errorf("%s %w", why.Text, why.Cause)
	}
	if isClassic {
		return err.Error()
	}
	return h.Describe("Failed to invoke '"+method+"' due to an error on the server.", err)
}

// run opens a hub value, calls the method, answers, and closes the hub value.
func (h *hub) run(k *actors.Call, dst []byte, m *method, f *callArgs) []byte {
	if err := h.bindUploads(k, m.uploads, f.uploads); err != nil {
		return h.answerError(k, dst, err)
	}
	var value Instance
	defer func() { h.release(k, value, 0) }()
	if err := h.makeServices(k, m, f); err != nil {
		return h.answerError(k, dst, err)
	}
	f.setProgress(k)
	value, err := h.open(k, k)
	if err != nil {
		return h.answerError(k, dst, err)
	}
	if h.filtered {
		f.method, f.value = m, value
		return h.runFiltered(k, dst, f)
	}
	result, err := m.call(k, value, f)
	return h.answer(k, dst, m.streams, result, err)
}

// runFiltered passes a call of a method to the filters.
func (h *hub) runFiltered(k *actors.Call, dst []byte, f *callArgs) []byte {
	k.SetState(f)
	result, err := h.handler.Invoke(k, (*Invocation)(k))
	dst = h.answer(k, dst, f.method.streams, result, err)
	k.SetState(nil) // f is used again
	return dst
}

// invokeMethod is the innermost Handler.Invoke of a hub with methods.
func (h *hub) invokeMethod(ctx context.Context, in *Invocation) (any, error) {
	f := in.frame()
	if f == nil {
		return nil, errors.New("hubsys: a filter has called a method whose call is over")
	}
	if err := in.applyArgs(f); err != nil {
		return nil, err
	}
	return f.method.call(ctx, f.value, f)
}

// runHandler runs a call of a hub of RegisterHandler, which finds the method and decodes the arguments itself.
func (h *hub) runHandler(k *actors.Call, dst []byte) []byte {
	target, _ := k.Target()
	name := string(target)
	key := foldName(name)
	name = cmp.Or(h.named[key], name)
	k.SetMethod(name, h.runtime.CallTimes(name))
	if k.OverRate() != actors.WithinRate {
		return h.appendError(k, dst, h.tooOften(k, name))
	}
	if h.hidden[key] {
		return h.appendError(k, dst, unknownMethod(k, name))
	}
	if policy := h.policies[key]; policy != nil && !h.authorize(k, name, policy) {
		return h.appendError(k, dst, unauthorized(k, name))
	}
	if refusal := refused(k); refusal != "" {
		return h.appendError(k, dst, refusal)
	}
	defer k.RunCleanups(0)
	value, err := h.handler.Invoke(k, (*Invocation)(k))
	var unbound *unboundError
	streams := value != nil && itemType(reflect.TypeOf(value)) != nil
	switch {
	case errors.Is(err, ErrNoMethod):
		h.logUnknown(k, []byte(name))
		return h.appendError(k, dst, unknownMethod(k, name))
	case errors.As(err, &unbound):
		return h.appendError(k, dst, h.describeUnbound(k, name, unbound.error))
	case err == nil && k.WantsStream() && !streams:
		return h.appendError(k, dst, notStreaming(name))
	case err == nil && !k.WantsStream() && streams:
		return h.appendError(k, dst, streaming(name))
	}
	return h.answer(k, dst, k.WantsStream(), value, err)
}

// open makes the hub value of a call.
func (h *hub) open(ctx context.Context, k *actors.Call) (Instance, error) {
	value, err := h.create(ctx)
	if err == nil {
		err = value.attach((*Call)(k))
	}
	if err != nil {
		return nil, err
	}
	return value, nil
}

// release ends the use of a hub value, which is nil if none was made, and of what was made with it: everything for which there are cleanups
// behind the first ones.
func (h *hub) release(k *actors.Call, value Instance, first int) {
	defer h.close(k, value) // also behind a cleanup that calls runtime.Goexit
	k.RunCleanups(first)
}

// close closes a hub value when its call is over.
func (h *hub) close(k *actors.Call, value Instance) {
	if value == nil || !h.methods.closes {
		return
	}
	defer func() {
		if reason := recover(); reason != nil {
			h.logError(k, "a hub's Close panicked", "reason", reason, "stack", string(debug.Stack()))
		}
	}()
	if err := value.(io.Closer).Close(); err != nil {
		h.logError(k, "a hub's Close failed", "error", logs.Error(err))
	}
}

// answer appends the completion of a call that has returned, behind the items of its stream.
func (h *hub) answer(k *actors.Call, dst []byte, streams bool, result any, err error) []byte {
	switch {
	case err != nil && streams && context.Cause(k) == ErrCanceled && isCanceled(k, err): // otherwise the client would take it for an empty stream
		return h.answerStreamEnd(k, dst)
	case err != nil:
		return h.answerError(k, dst, err)
	case streams:
		return h.stream(k, dst, reflect.ValueOf(result))
	case len(k.ID()) == 0:
		return dst
	}
	completion, err := appendResult(k, dst, result)
	if err != nil {
		return h.answerError(k, dst, fmt.Errorf("hubsys: the result of %q cannot be encoded: %w", k.Method(), err))
	}
	return completion
}

// appendError appends the completion of a call that does not reach its method, or that fails.
func (h *hub) appendError(k *actors.Call, dst []byte, text string) []byte {
	if p := classicProtocol(k); p != nil {
		return h.appendClassicError(k, p, dst, text, nil)
	}
	k.MarkFailed()
	if len(k.ID()) == 0 {
		return dst
	}
	return k.Connection().Protocol().AppendError(dst, k.ID(), text)
}

// answerError appends the completion of a call whose method has failed.
func (h *hub) answerError(k *actors.Call, dst []byte, err error) []byte {
	h.report(k, "a hub method failed", err)
	if p := classicProtocol(k); p != nil {
		return h.appendClassicError(k, p, dst, "", err)
	}
	return h.appendError(k, dst, h.Describe("An unexpected error occurred invoking '"+k.Method()+"' on the server.", err))
}

// Panicked is part of actors.Handler.
func (h *hub) Panicked(k *actors.Call, dst []byte, err error) []byte {
	if p := classicProtocol(k); p != nil {
		return h.appendClassicError(k, p, dst, "", err)
	}
	if k.IsStreaming() {
		return h.appendError(k, dst, h.Describe(streamText, err))
	}
	return h.appendError(k, dst, h.Describe("An unexpected error occurred invoking '"+k.Method()+"' on the server.", err))
}

// report logs that user code has failed. An error that is meant for the client, or that is due to a client that has gone, is no fault of
// that code.
func (h *hub) report(k *actors.Call, what string, err error) {
	level := slog.LevelError
	args := []any{"error", logs.Error(err)}
	var forClient *HubError
	if errors.As(err, &forClient) || errors.Is(err, ErrGone) || isCanceled(k, err) {
		level = slog.LevelDebug
	}
	if forClient != nil && forClient.Err != nil && forClient.Err.Error() != forClient.Message {
		args = append(args, "cause", logs.Error(forClient.Err))
		if !isOfClient(forClient.Err) && !isCanceled(k, err) {
			level = slog.LevelError // something that the client is not told
		}
	}
	if level == slog.LevelError {
		h.logError(k, what, args...)
	} else {
		h.log.DebugContext(k, what, append(ofCall(k), args...)...)
	}
}

// mostFailures is how many errors of the application's code are logged in a minute, of each kind.
const mostFailures = 100

// logError logs what a client may cause at will, which must not flood the log: a limited number of times a minute for each method.
func (h *hub) logError(k *actors.Call, what string, args ...any) {
	h.failures.Log(k, h.log, slog.LevelError, what+"\x00"+k.LogKind(), what, append(ofCall(k), args...)...)
}

// ofCall returns what is logged of each call.
func ofCall(k *actors.Call) []any {
	return []any{"connection", k.Connection().ID(), "method", logs.Clip(k.Method())}
}

// isOfClient reports whether an error is due to a client: its own, one of an answer that does not fit or did not come.
func isOfClient(err error) bool {
	var failure *actors.ClientError
	var misfit *hubproto.BindError
	return errors.As(err, &failure) || errors.As(err, &misfit) || errors.Is(err, ErrNoResult) || errors.Is(err, actors.ErrUnanswered)
}

// Methods is part of actors.Handler.
func (h *hub) Methods() []string {
	if h.methods != nil {
		return slices.Collect(maps.Keys(h.methods.exact))
	}
	return slices.Collect(maps.Values(h.named))
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
