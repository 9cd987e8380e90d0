package hubsys

import (
	"errors"
	"fmt"

	"github.com/troupe-go/troupe/actors"
)

// HubError is an error whose text is meant for the client that has made the call, detailed errors or not. Every other error of a hub
// method reaches it as a generic text. (In ASP.NET Core this is HubException, and that name stands in front of the text on the wire.)
type HubError struct {
	Message string
	Err     error // what it is due to, if anything; clients do not see it
}

// Errorf makes a [HubError]. It formats like fmt.Errorf: what a verb %w prints is part of the message, for the client as well.
func Errorf(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	made := &HubError{Message: err.Error()}
	switch err.(type) { //nolint:errorlint // it is what fmt.Errorf has made
	case interface{ Unwrap() error }, interface{ Unwrap() []error }:
		made.Err = err
	}
	return made
}

func (e *HubError) Error() string { return e.Message }

// Unwrap gives what the error is due to.
func (e *HubError) Unwrap() error { return e.Err }

// Errors to be told apart by errors.Is.
var (
	// ErrForbidden is for Authenticate: the user is known and may not connect. It is answered with status 403.
	ErrForbidden = errors.New("hubsys: forbidden")

	// Why the context of a call has ended, as context.Cause tells, and what Send and Invoke return then.
	ErrCanceled     = actors.ErrCanceled     // the client has canceled the invocation
	ErrDisconnected = actors.ErrDisconnected // the connection is closed
	ErrShutdown     = actors.ErrShutdown     // the system is shutting down
	ErrStopped      = actors.ErrStopped      // the call's actor was stopped
	ErrReturned     = actors.ErrReturned     // the call has returned

	// What OnDisconnected is told, besides nil and errors of the protocol.
	ErrClientTimeout    = actors.ErrClientTimeout    // nothing was heard for ClientTimeoutInterval
	ErrSlowClient       = actors.ErrSlowClient       // OutboxLimit was reached
	ErrSendTimeout      = actors.ErrSendTimeout      // the client took nothing for TransportSendTimeout
	ErrHandshakeTimeout = actors.ErrHandshakeTimeout // logged only: such a connection was never open

	// Why Invoke has no result, besides what the client says.
	ErrNoResult    = actors.ErrNoResult    // the client has answered without one
	ErrInboundFull = actors.ErrInboundFull // the answer lies behind more than twice HubOptions.InboundLimit
)

// GoneError says that a client has no answer because its connection does not exist, or has ended while it was waited for.
type GoneError = actors.GoneError

// ClosedByClientError is the cause of a connection that its client has closed with an error.
type ClosedByClientError = actors.ClosedByClientError

// PanicError is the error that a panic in user code becomes.
type PanicError = actors.PanicError
