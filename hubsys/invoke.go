package hubsys

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// Invoke calls a method of one client, and returns its result. It waits as long as ctx allows, or for
// [HubOptions].InvokeTimeout if that has no deadline. While a hub method waits, the next call of its client may start, so that the client can
// call the hub before it answers; for that, ctx must be the context of the method, or derived from it.
//
// It fails with a [HubError] if the client's method has failed, if there is no result ([ErrNoResult]) or one that does not fit T, or if
// ctx has ended, whose cause the error then wraps, or with a *[PartialError] if another node has the connection and its answer may have
// been lost; with [ErrGone] if the connection does not exist, or ends meanwhile; with [ErrInboundFull]; or like [Receiver].Send.
func Invoke[T any](ctx context.Context, client Client, method string, args ...any) (T, error) {
	var result T
	if err := client.hub.invoke(ctx, &client.to, method, args, reflect.ValueOf(&result).Elem()); err != nil {
		var none T
		return none, err
	}
	return result, nil
}

// invoke is Invoke, through the filters. The result is decoded into result.
func (h *hub) invoke(ctx context.Context, to *actors.Audience, method string, args []any, result reflect.Value) error {
	bind := func(p hubproto.Protocol, value []byte) (err error) {
		defer recoverAs(&err) // code of the application decodes
		result.SetZero()      // a filter may ask again behind an answer that did not fit
		return p.BindValue(value, result)
	}
	if h.sender == nil {
		return h.ask(ctx, to, method, args, bind, result.Type())
	}
	receiver, passed := *to, false // receiver: so that to does not escape where there are no filters
	err := h.sender(ctx, &Outgoing{Method: method, Args: args, to: &receiver, invoke: func(ctx context.Context, out *Outgoing) error {
		passed = true
		return h.ask(ctx, &receiver, out.Method, out.Args, bind, result.Type())
	}})
	if err == nil && !passed {
		return fmt.Errorf("hubsys: a filter has not passed on the call of %q, so there is no result", method)
	}
	return err
}

// ask calls a method of a client, whose result is of type t.
func (h *hub) ask(ctx context.Context, to *actors.Audience, method string, args []any, bind func(hubproto.Protocol, []byte) error, t reflect.Type) error {
	if err := h.runtime.Invoke(ctx, to, method, args, bind); err != nil {
		return invokeError(err, t)
	}
	return nil
}

// invokeError returns the error of a call whose result should have been of type t.
func invokeError(err error, t reflect.Type) error {
	var failure *actors.ClientError
	var misfit *hubproto.BindError
	switch {
	case errors.Is(err, actors.ErrUnanswered): // which wraps the cause of ctx
		return &HubError{Message: actors.ErrUnanswered.Error(), Err: fromRuntime(err)}
	case errors.As(err, &failure):
		return &HubError{Message: failure.Text, Err: err}
	case errors.As(err, &misfit):
		why := misfit.Text
		if misfit.Cause != nil {
			why = misfit.Cause.Error()
		}
		return &HubError{Message: "Error trying to deserialize result to " + strings.TrimLeft(t.String(), "*") + ". " + why, Err: err}
	case errors.Is(err, actors.ErrNoResult):
		return &HubError{Message: "Client didn't provide a result.", Err: err}
	}
	return fromRuntime(err)
}
