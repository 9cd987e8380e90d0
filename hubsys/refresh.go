package hubsys

import (
	"errors"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/transport"
)

// RefreshOptions say which refreshed credentials are taken. The zero value takes all of the same user.
type RefreshOptions struct {
	// Check refuses refreshed credentials with an error: the request is answered with status 403, and the connection stays as it was. It is not
	// asked about credentials that expire before those that the connection has; these are ignored. Nil: none are refused.
	Check func(r *http.Request, before, after *Principal) error
	// AllowUserChange lets another user take over the connection. It is then found by the new UserID. Default: false, status 403.
	AllowUserChange bool
	// MaximumLifetime is for how long refreshed credentials are valid at most. Default: as long as Principal.Expires says.
	MaximumLifetime time.Duration
}

// Refresh is part of transport.Acceptor.
func (e *endpoint) Refresh(r *http.Request, connectionID string, who transport.Identity) (transport.Refreshed, error) {
	options, after := e.options.Refresh, who.Value.(*Principal)
	conn := e.hub.runtime.Connection(connectionID)
	if conn == nil {
		return transport.Refreshed{}, transport.ErrNotOpen
	}
	if most := time.Now().Add(options.MaximumLifetime); options.MaximumLifetime > 0 && (after.Expires.IsZero() || after.Expires.After(most)) {
		changed := *after
		changed.Expires = most
		after = &changed
	}
	before := sessionNow(conn)
	renewed := newSession(after, before.request, before)
	if after.UserID != before.principal.UserID && !options.AllowUserChange {
		return transport.Refreshed{}, transport.ErrUserChanged
	}
	if !renewed.identity.IsOlderThan(&before.identity) {
		err := options.check(r, before.principal, after)
		if e.logPanic("RefreshOptions.Check panicked", r, err) {
			return transport.Refreshed{}, &transport.Refusal{Status: http.StatusInternalServerError, Err: err}
		}
		if err != nil {
			return transport.Refreshed{}, errors.Join(transport.ErrRefreshRejected, err)
		}
	}
	if err := conn.Refresh(r.Context(), &renewed.identity); err != nil {
		if errors.Is(err, actors.ErrGone) {
			err = transport.ErrNotOpen
		}
		return transport.Refreshed{}, err
	}
	return transport.Refreshed{UserID: after.UserID, Expires: after.Expires}, nil
}

func (o *RefreshOptions) check(r *http.Request, before, after *Principal) (err error) {
	if o.Check == nil {
		return nil
	}
	defer func() {
		if reason := recover(); reason != nil {
			err = &PanicError{Value: reason, Stack: debug.Stack()}
		}
	}()
	return o.Check(r, before, after)
}
