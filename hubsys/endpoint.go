package hubsys

import (
	"errors"
	"net/http"
	"runtime/debug"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/internal/link"
	"github.com/troupe-go/troupe/transport"
)

// endpoint joins the HTTP side of an endpoint with its hub.
type endpoint struct {
	sys          *System
	hub          *hub
	settings     *actors.Settings
	authenticate func(*http.Request) (*Principal, error)
	http         *transport.Endpoint
}

var _ transport.Acceptor = (*endpoint)(nil)

// Authenticate is part of transport.Acceptor.
func (e *endpoint) Authenticate(r *http.Request) (transport.Identity, error) {
	principal := anonymous
	if e.authenticate != nil {
		var panicked *PanicError
		switch p, err := e.callAuthenticate(r); {
		case errors.As(err, &panicked):
			e.hub.log.Error("Authenticate panicked", "path", r.URL.Path, "error", err, "stack", string(panicked.Stack))
			return transport.Identity{}, &transport.Refusal{Status: http.StatusInternalServerError, Err: err}
		case errors.Is(err, ErrForbidden):
			return transport.Identity{}, &transport.Refusal{Status: http.StatusForbidden, Err: err}
		case err != nil:
			return transport.Identity{}, &transport.Refusal{Status: http.StatusUnauthorized, Err: err}
		case p != nil:
			principal = p
		}
	}
	return transport.Identity{UserID: principal.UserID, Value: principal}, nil
}

// anonymous is shared by all connections without a principal of their own.
var anonymous = &Principal{}

func (e *endpoint) callAuthenticate(r *http.Request) (p *Principal, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = &PanicError{Value: reason, Stack: debug.Stack()}
		}
	}()
	return e.authenticate(r)
}

// AcceptSocket is part of transport.Acceptor.
func (e *endpoint) AcceptSocket(o transport.Opening, socket link.Socket) (link.SocketSession, error) {
	return e.hub.runtime.ConnectSocket(o.ID, o.Identity.UserID, socket, e.settings, newSession(o))
}

// AcceptFetcher is part of transport.Acceptor.
func (e *endpoint) AcceptFetcher(o transport.Opening, fetcher link.Fetcher) (link.FetchSession, error) {
	return e.hub.runtime.ConnectFetcher(o.ID, o.Identity.UserID, fetcher, e.settings, newSession(o))
}

func newSession(o transport.Opening) *session {
	return &session{principal: o.Identity.Value.(*Principal), request: newRequest(o.Request, Transports(o.Transport))}
}

// IsClosing is part of transport.Acceptor.
func (e *endpoint) IsClosing() bool { return e.sys.isClosing() }
