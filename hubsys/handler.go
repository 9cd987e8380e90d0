package hubsys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/troupe-go/troupe/actors"
)

// Handler is what a hub does, as functions. [RegisterHandler] takes one in place of a struct with methods, for hubs that are generated or
// scripted; a [Filter] wraps one. The functions are called on the goroutines of calls, and may block.
type Handler struct {
	// Invoke runs a call, and returns its result: if in.Streaming, a stream, which is an iter.Seq2[T, error] or a <-chan T. It fails with
	// [ErrNoMethod] if there is no such method.
	Invoke func(ctx context.Context, in *Invocation) (result any, err error)
	// Connected is called for a new connection, before its first call. An error refuses the connection.
	Connected func(ctx context.Context) error
	// Disconnected is called once for each connection for which Connected succeeded, as OnDisconnected is, see [Hub].
	Disconnected func(ctx context.Context, cause error) error
	// Reconnected is called when a client of SignalR 2 has connected again, in order with its calls.
	Reconnected func(ctx context.Context) error
	// Refreshed is called when a client has refreshed its credentials, in order with its calls.
	Refreshed func(ctx context.Context) error
}

// complete returns the handler with functions that do nothing in place of those that are nil.
func (h Handler) complete() Handler {
	if h.Connected == nil {
		h.Connected = func(context.Context) error { return nil }
	}
	if h.Disconnected == nil {
		h.Disconnected = func(context.Context, error) error { return nil }
	}
	if h.Reconnected == nil {
		h.Reconnected = func(context.Context) error { return nil }
	}
	if h.Refreshed == nil {
		h.Refreshed = func(context.Context) error { return nil }
	}
	return h
}

// Filter wraps a hub, as middleware wraps an http.Handler: it returns a Handler that does something before or after the functions of next, none
// of which is nil, and leaves those that it has nothing to do with as they are.
//
// A filter may change the context, the arguments and the result, call next several times or not at all, and fail; its error is an error of the
// method. It must not return while next runs: one that limits the time of a call gives next a context with a deadline. It is made once, when the
// hub is registered, and its functions run concurrently. The first of several filters is the outermost; those of [Config].HubDefaults are around
// those of a hub. Filters run after policies, when the arguments have been decoded, and calls of methods that a hub does not have do not reach
// them, except around a hub of [RegisterHandler], which does both itself. Of a method that returns a stream they see the stream, whose items flow
// when they have returned. A panic of the method passes through them.
type Filter func(next Handler) Handler

// Invocation is a call on its way to its method, as a [Handler] sees it. It must not be used when the call is over.
type Invocation actors.Call

func (in *Invocation) runtime() *actors.Call { return (*actors.Call)(in) }

// frame returns the arguments of a method. It is nil for a hub of RegisterHandler, and when the call is over.
func (in *Invocation) frame() *callArgs {
	f, _ := in.runtime().State().(*callArgs)
	return f
}

// Call returns the call.
func (in *Invocation) Call() *Call { return (*Call)(in) }

// Method returns the name of the method: as the hub declares it, or, for a hub of [RegisterHandler], as HubOptions.Methods has it or else as the
// client has written it.
func (in *Invocation) Method() string { return in.runtime().Method() }

// Hub returns the hub value whose method is called. It is nil for a hub of [RegisterHandler].
func (in *Invocation) Hub() any {
	if f := in.frame(); f != nil {
		return f.value
	}
	return nil
}

// Streaming reports whether the client wants a stream.
func (in *Invocation) Streaming() bool { return in.runtime().WantsStream() }

// Args returns the arguments of the client, decoded. Elements can be replaced by values that can be assigned to the parameters. Streams,
// services and the context are not among them; the remaining arguments of a variadic method are one slice. It is nil for a hub of
// [RegisterHandler], which decodes the arguments itself.
func (in *Invocation) Args() []any {
	f := in.frame()
	if f == nil {
		return nil
	}
	if f.filtered == nil {
		params := f.arguments()
		f.filtered = make([]any, len(params))
		for i, p := range params {
			f.filtered[i] = p.Interface()
		}
	}
	return f.filtered
}

// applyArgs passes on what filters have made of the arguments.
func (in *Invocation) applyArgs(f *callArgs) error {
	if f.filtered == nil {
		return nil
	}
	for i, p := range f.arguments() {
		v := reflect.ValueOf(f.filtered[i])
		switch {
		case !v.IsValid():
			p.SetZero()
		case v.Type().AssignableTo(p.Type()):
			p.Set(v)
		default:
			return fmt.Errorf("hubsys: a filter has put a %s in the place of argument %d of %s, which is a %s", v.Type(), i+1, in.Method(), p.Type())
		}
	}
	return nil
}

// Bind decodes the arguments into what args point to, for a hub of [RegisterHandler]. Pointers to iter.Seq2[T, error] or <-chan T get the streams of
// the client. It can be called once, on the goroutine of Invoke and before that returns. Its error is to be returned by Invoke: the
// client gets the text that belongs to it.
func (in *Invocation) Bind(args ...any) error {
	k := in.runtime()
	if in.frame() != nil || k.Arguments() == nil {
		return errors.New("hubsys: the arguments have been decoded")
	}
	var params, streams []reflect.Value
	var uploads []uploadParam
	for i, arg := range args {
		p := reflect.ValueOf(arg)
		if p.Kind() != reflect.Pointer || p.IsNil() {
			return fmt.Errorf("hubsys: Bind: argument %d is a %T, and no pointer", i+1, arg)
		}
		item := itemType(p.Type().Elem())
		if err := checkBindable(cmp.Or(item, p.Type().Elem())); err != nil {
			return fmt.Errorf("hubsys: Bind: argument %d: %w", i+1, err)
		}
		if item != nil {
			streams, uploads = append(streams, p.Elem()), append(uploads, uploadParam{param: p.Type().Elem(), item: item})
		} else {
			p.Elem().SetZero()
			params = append(params, p.Elem())
		}
	}
	h := hubOf(k.Connection())
	if err := h.decode(k, in.Method(), params); err != nil {
		return err
	}
	return h.bindUploads(k, uploads, streams)
}

// bindables are the results of bindable, which is slow.
var bindables sync.Map // reflect.Type → error, or nil

func checkBindable(t reflect.Type) error {
	result, ok := bindables.Load(t)
	if !ok {
		result, _ = bindables.LoadOrStore(t, bindable(t))
	}
	err, _ := result.(error)
	return err
}

// SendFunc sends a message of a hub to clients. [HubOptions].SendFilters wrap it.
type SendFunc func(ctx context.Context, out *Outgoing) error

// Outgoing is a message to clients before it is encoded, which happens once for all receivers. Messages that other actors send to PIDs, results
// and items of streams are not among them.
type Outgoing struct {
	Method string
	Args   []any

	to     *actors.Audience
	invoke func(ctx context.Context, out *Outgoing) error // set by Invoke
}

// IsInvoke reports whether the result of the client's method is waited for. SendFunc then returns when it is there.
func (o *Outgoing) IsInvoke() bool { return o.invoke != nil }

// To describes the receivers, for logs.
func (o *Outgoing) To() string { return o.to.String() }

// send sends a message, through the filters.
func (h *hub) send(ctx context.Context, to *actors.Audience, method string, args []any) error {
	if to.Kind == actors.Caller && to.Conn.IsPart() {
		changed := *to
		if k := actors.CallOf(ctx); k != nil && k.Connection() == to.Conn {
			changed.State = stateChanges(k)
		}
		to = &changed
	}
	if h.sender == nil {
		return fromRuntime(h.runtime.Send(ctx, to, method, args))
	}
	receivers := *to // so that to does not escape where there are no filters
	return h.sender(ctx, &Outgoing{Method: method, Args: args, to: &receivers})
}

// sendOut is the innermost SendFunc.
func (h *hub) sendOut(ctx context.Context, out *Outgoing) error {
	if out.invoke != nil {
		return out.invoke(ctx, out)
	}
	return fromRuntime(h.runtime.Send(ctx, out.to, out.Method, out.Args))
}
