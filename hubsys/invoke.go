package hubsys

import (
	"context"
	"errors"
	"reflect"
	"runtime/debug"
	"strings"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// Invoke calls a method of one client and returns its result. It waits as long as ctx allows. A hub method that waits lets the next
// call of its client start, so that the client can call the hub before it answers; for that ctx must be the method's own, or come from
// it.
//
// It fails with a [HubError] if the client's method has failed, if there is no result ([ErrNoResult]) or one that does not fit T, or if
// ctx has ended, whose cause it then wraps; with a [GoneError] if the connection does not exist, or ends meanwhile; with
// [ErrInboundFull]; or like [Client.Send].
func Invoke[T any](ctx context.Context, client Client, method string, args ...any) (T, error) {
	var result T
	err := client.hub.Ask(ctx, &client.to, method, args, func(p hubproto.Protocol, value []byte) (err error) {
		defer func() {
			if reason := recover(); reason != nil { // code of the application's, which decodes
				err = &PanicError{Value: reason, Stack: debug.Stack()}
			}
		}()
		return p.BindValue(value, reflect.ValueOf(&result).Elem())
	})
	var failure *actors.ClientError
	var misfit *hubproto.BindError
	switch {
	case errors.Is(err, actors.ErrUnanswered): // which wraps whatever ctx has ended with
		err = &HubError{Message: actors.ErrUnanswered.Error(), Err: err}
	case errors.As(err, &failure):
		err = &HubError{Message: failure.Text, Err: err}
	case errors.As(err, &misfit):
		why := misfit.Text
		if misfit.Cause != nil {
			why = misfit.Cause.Error()
		}
		err = &HubError{Message: "Error trying to deserialize result to " + strings.TrimLeft(reflect.TypeFor[T]().String(), "*") + ". " + why, Err: err}
	case errors.Is(err, actors.ErrNoResult):
		err = &HubError{Message: "Client didn't provide a result.", Err: err}
	}
	if err != nil {
		var none T
		return none, err
	}
	return result, nil
}

// Invocations of clients' methods that return a result, with a name and types of their own. One is declared once:
//
//	var Ask = hubsys.Invocation1[string, int]("ask")
//
// and called with Ask.Invoke(ctx, client, question).
type (
	// Invocation0 is a method of clients without parameters, with a result.
	Invocation0[R any] string
	// Invocation1 is a method of clients with one parameter and a result.
	Invocation1[A, R any] string
	// Invocation2 is a method of clients with two parameters and a result.
	Invocation2[A, B, R any] string
	// Invocation3 is a method of clients with three parameters and a result.
	Invocation3[A, B, C, R any] string
	// Invocation4 is a method of clients with four parameters and a result.
	Invocation4[A, B, C, D, R any] string
)

// Invoke is [Invoke] with this method.
func (i Invocation0[R]) Invoke(ctx context.Context, client Client) (R, error) {
	return Invoke[R](ctx, client, string(i))
}

// Invoke is [Invoke] with this method.
func (i Invocation1[A, R]) Invoke(ctx context.Context, client Client, a A) (R, error) {
	return Invoke[R](ctx, client, string(i), a)
}

// Invoke is [Invoke] with this method.
func (i Invocation2[A, B, R]) Invoke(ctx context.Context, client Client, a A, b B) (R, error) {
	return Invoke[R](ctx, client, string(i), a, b)
}

// Invoke is [Invoke] with this method.
func (i Invocation3[A, B, C, R]) Invoke(ctx context.Context, client Client, a A, b B, c C) (R, error) {
	return Invoke[R](ctx, client, string(i), a, b, c)
}

// Invoke is [Invoke] with this method.
func (i Invocation4[A, B, C, D, R]) Invoke(ctx context.Context, client Client, a A, b B, c C, d D) (R, error) {
	return Invoke[R](ctx, client, string(i), a, b, c, d)
}
