package hubsys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/internal/link"
	"github.com/troupe-go/troupe/internal/logs"
	"github.com/troupe-go/troupe/transport"
)

// endpoint joins the HTTP side of an endpoint with its hub.
type endpoint struct {
	sys      *System
	hub      *hub
	settings *actors.Settings
	policy   Policy
	options  EndpointOptions
	http     *transport.Endpoint
}

var _ transport.Acceptor = (*endpoint)(nil)

func newEndpoint(c *HubContext, options EndpointOptions) (*endpoint, error) {
	if options.Refresh != nil && options.Authenticate == nil {
		return nil, errors.New("hubsys: EndpointOptions: Refresh is set, and Authenticate is not: there are no credentials")
	}
	options.guardFunctions(c.hub.log, &c.hub.failures)
	origins, err := options.origins()
	if err != nil {
		return nil, err
	}
	e := &endpoint{sys: c.sys, hub: c.hub, settings: settings(c.options, options), policy: c.options.Policy, options: options}
	e.http = &transport.Endpoint{
		Acceptor: e, Transports: cmp.Or(transport.Transports(options.Transports), transport.AllTransports), Origins: origins, Tokens: c.sys.tokens, Log: c.sys.log,
		PollTimeout: cmp.Or(options.PollTimeout, defaultPollTimeout), RequestLimit: cmp.Or(options.RequestHeaderLimit, defaultRequestLimit), Hosts: options.AllowedHosts,
		Resumes: options.AllowStatefulReconnects, Refreshes: options.Refresh != nil, Subprotocol: options.Subprotocol, Limits: c.sys.runtime.Limits(),
	}
	return e, nil
}

// Authenticate is part of transport.Acceptor.
func (e *endpoint) Authenticate(r *http.Request) (transport.Identity, error) {
	if who, ok := relayedIdentity(r); ok {
		return who, nil
	}
	who, err := authenticate(r, e.options.Authenticate, e.policy, e.hub.log, &e.hub.failures)
	if err != nil {
		return who, err
	}
	principal := e.limited(who.Value.(*Principal))
	return transport.Identity{UserID: principal.UserID, Expires: principal.Expires, Value: principal}, nil
}

// authenticate asks the application who makes a request, and a policy, if there is one, whether that may be.
func authenticate(
	r *http.Request, ask func(*http.Request) (*Principal, error), policy Policy, log *slog.Logger, failures *logs.Limiter,
) (transport.Identity, error) {
	principal := anonymous
	refusal := func(status int, err error) (transport.Identity, error) {
		return transport.Identity{}, &transport.Refusal{Status: status, Err: err}
	}
	p, err := callAuthenticate(r, ask)
	switch {
	case logRequestPanic(log, failures, "Authenticate panicked", r, err):
		return refusal(http.StatusInternalServerError, err)
	case errors.Is(err, ErrForbidden):
		return refusal(http.StatusForbidden, err)
	case err != nil:
		return refusal(http.StatusUnauthorized, err)
	case p != nil:
		principal = p
	}
	if len(principal.UserID) > actors.MaxName {
		return refusal(http.StatusForbidden, fmt.Errorf("hubsys: the UserID has %d bytes, more than %d", len(principal.UserID), actors.MaxName))
	}
	if policy != nil {
		err := policy.ask(r.Context(), principal)
		switch {
		case logRequestPanic(log, failures, "a policy panicked", r, err):
			return refusal(http.StatusInternalServerError, err)
		case err != nil && principal.Authenticated():
			return refusal(http.StatusForbidden, err)
		case err != nil:
			return refusal(http.StatusUnauthorized, err)
		}
	}
	return transport.Identity{UserID: principal.UserID, Expires: principal.Expires, Value: principal}, nil
}

// guardFunctions has panics of functions that decide about requests logged. They then decide against them.
func (o *EndpointOptions) guardFunctions(log *slog.Logger, failures *logs.Limiter) {
	recovered := func(what string) {
		if reason := recover(); reason != nil {
			failures.Log(context.Background(), log, slog.LevelError, what, what+" panicked", "reason", reason, "stack", string(debug.Stack()))
		}
	}
	if allow := o.AllowOrigin; allow != nil {
		o.AllowOrigin = func(r *http.Request, origin string) bool {
			defer recovered("AllowOrigin")
			return allow(r, origin)
		}
	}
	if choose := o.Subprotocol; choose != nil {
		o.Subprotocol = func(requested []string) string {
			defer recovered("Subprotocol")
			return choose(requested)
		}
	}
}

// logRequestPanic reports whether err is a panic, and logs it then, unless failures counts too many: anybody can make requests.
func logRequestPanic(log *slog.Logger, failures *logs.Limiter, what string, r *http.Request, err error) bool {
	if err == nil {
		return false
	}
	var panicked *PanicError
	if !errors.As(err, &panicked) {
		return false
	}
	failures.Log(r.Context(), log, slog.LevelError, what, what, "path", logs.Clip(r.URL.Path), "error", logs.Error(err), "stack", string(panicked.Stack))
	return true
}

func callAuthenticate(r *http.Request, ask func(*http.Request) (*Principal, error)) (p *Principal, err error) {
	if ask == nil {
		return nil, nil
	}
	defer recoverAs(&err)
	return ask(r)
}

// Reserve is part of transport.Acceptor.
func (e *endpoint) Reserve(r *http.Request, who transport.Identity) error {
	return e.hub.limits.reserve(who.UserID, transport.AddressOf(r.RemoteAddr))
}

// Release is part of transport.Acceptor.
func (e *endpoint) Release(r *http.Request, who transport.Identity) {
	e.hub.limits.release(who.UserID, transport.AddressOf(r.RemoteAddr))
}

// AcceptSocket is part of transport.Acceptor.
func (e *endpoint) AcceptSocket(o transport.Opening, socket link.Socket) (link.SocketSession, error) {
	return e.hub.runtime.ConnectSocket(o.ID, e.identityOf(o, nil), socket, e.settings, o.Resumable)
}

// AcceptFetcher is part of transport.Acceptor.
func (e *endpoint) AcceptFetcher(o transport.Opening, fetcher link.Fetcher) (link.FetchSession, error) {
	return e.hub.runtime.ConnectFetcher(o.ID, e.identityOf(o, nil), fetcher, e.settings)
}

// Resumed is part of transport.Acceptor.
func (e *endpoint) Resumed(o transport.Opening, session link.SocketSession) {
	conn := session.(*actors.Connection)
	former := sessionNow(conn)
	if o.Identity.Relayed {
		o.Identity.Value = former.principal
	}
	conn.SetIdentity(e.identityOf(o, former))
}

func (e *endpoint) identityOf(o transport.Opening, former *session) *actors.Identity {
	return &newSession(o.Identity.Value.(*Principal), newRequest(o.Request, Transports(o.Transport)), former).identity
}

// IsClosing is part of transport.Acceptor.
func (e *endpoint) IsClosing() bool { return e.sys.isClosing() }
