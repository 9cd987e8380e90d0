package hubsys

import (
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/troupe-go/troupe/actors"
)

// HubError is an error whose text is meant for clients. The client that has made the call gets it, whether detailed errors are enabled or
// not; it gets every other error of a hub method as a generic text. (ASP.NET Core calls it HubException, and that name stands in front of the
// text on the wire.)
//
// In the other direction it is what a client says went wrong: with a method of its own that was called, with a stream that it sends, or with
// the connection that it closes. Then the cause that OnDisconnected gets is a *HubError.
type HubError struct {
	Message string
	Err     error // the cause, if there is one; clients do not see it
	Data    any   // goes to a client of SignalR 2 beside the message; other clients do not get it
}

// Errorf makes a [HubError]. All of its text goes to the client, including what %w prints: for a cause that the client must not see there is
// HubError.Err.
func Errorf(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	made := &HubError{Message: err.Error()}
	switch err.(type) { //nolint:errorlint // it is what fmt.Errorf has made
	case interface{ Unwrap() error }, interface{ Unwrap() []error }:
		made.Err = err
	}
	return made
}

func (e *HubError) Error() string {
	if e == nil {
		return "a nil *HubError"
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *HubError) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.Err
}

// Errors to be told apart with errors.Is.
var (
	// ErrForbidden is for Authenticate: the user is known, and may not connect. The request is answered with status 403.
	ErrForbidden = errors.New("hubsys: forbidden")

	// ErrTooManyGroups says that a connection is in as many groups as MaximumGroupsPerConnection and MaximumGroupNameBytes of HubOptions allow.
	ErrTooManyGroups = actors.ErrTooManyGroups
	// ErrNotSupported says that a client speaks SignalR 2, or is one of HubContext.Subscribe, and cannot be asked for a result.
	ErrNotSupported = actors.ErrNotSupported
	// ErrTooManyNames says that an audience has more names than HubOptions.MaximumNamesPerAudience allows.
	ErrTooManyNames = actors.ErrTooManyNames

	// ErrNoMethod is for [Handler].Invoke: the hub has no method of that name.
	ErrNoMethod = errors.New("hubsys: no such method")

	// Why the context of a call has ended, as context.Cause tells, and what Send then returns. Invoke returns a *HubError that wraps it.
	ErrCanceled     = actors.ErrCanceled     // the client has canceled the invocation
	ErrDisconnected = actors.ErrDisconnected // the connection is closed
	ErrShutdown     = actors.ErrShutdown     // the system is shutting down
	ErrStopped      = actors.ErrStopped      // the actor of the call was stopped
	ErrReturned     = actors.ErrReturned     // the call has returned

	// Causes that OnDisconnected gets, besides nil, a *HubError, and errors of the protocol.
	ErrClientTimeout    = actors.ErrClientTimeout    // nothing was received for ClientTimeoutInterval, or IdleTimeout
	ErrSlowClient       = actors.ErrSlowClient       // OutboxLimit was reached
	ErrSendTimeout      = actors.ErrSendTimeout      // the client took nothing for TransportSendTimeout
	ErrExpired          = actors.ErrExpired          // Principal.Expires has passed
	ErrHandshakeTimeout = actors.ErrHandshakeTimeout // only logged: such a connection was never open

	// Why Invoke has no result, besides what the client says.
	ErrGone        = actors.ErrGone        // the connection does not exist, or has ended meanwhile
	ErrNoResult    = actors.ErrNoResult    // the client has answered without one; that in JavaScript fails instead: "Client didn't provide a result."
	ErrInboundFull = actors.ErrInboundFull // the answer lies behind more than twice HubOptions.InboundLimit
)

// PanicError is the error that a panic in user code becomes.
type PanicError struct {
	Value any // nil if the code called runtime.Goexit
	Stack []byte
}

func (e *PanicError) Error() string { return (*actors.PanicError)(e).Error() }

// Unwrap returns the value of the panic if it is an error.
func (e *PanicError) Unwrap() error { return (*actors.PanicError)(e).Unwrap() }

// fromRuntime returns err as the errors of this package.
func fromRuntime(err error) error {
	if err == nil {
		return nil
	}
	var panicked *actors.PanicError
	if errors.As(err, &panicked) {
		return &runtimeError{err, (*PanicError)(panicked)}
	}
	if missing := new(actors.MissingError); errors.As(err, &missing) {
		return partial(missing.Nodes, nil)
	}
	return err
}

// recoverAs is deferred: it has a panic become an error.
func recoverAs(err *error) {
	if reason := recover(); reason != nil {
		*err = &PanicError{Value: reason, Stack: debug.Stack()}
	}
}

// runtimeError is an error of the runtime's in which a panic is found as a PanicError of this package.
type runtimeError struct {
	error
	panicked *PanicError
}

func (e *runtimeError) Unwrap() []error { return []error{e.error, e.panicked} }
