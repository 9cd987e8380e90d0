package hubsys

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/transport"
)

// RefreshOptions say which refreshed credentials are taken. The zero value takes all of the same user.
type RefreshOptions struct {
	// Check refuses refreshed credentials with an error: the request is answered with status 403, and the connection stays as it was. It is not
	// asked about credentials that expire before those that the connection has; these are ignored. Nil: none are refused.
	Check func(r *http.Request, before, after *Principal) error
	// AllowUserChange lets another user take over the connection. It is then found by the new UserID, and counts for that user, also above
	// MaximumConnectionsPerUser. Default: false, status 403.
	AllowUserChange bool
	// MaximumLifetime is for how long credentials are valid at most, those that a connection is opened with as well, except for anonymous users.
	// Default: as long as Principal.Expires says.
	MaximumLifetime time.Duration
}

// Refresh is part of transport.Acceptor.
func (e *endpoint) Refresh(r *http.Request, connectionID string, who transport.Identity) (transport.Refreshed, error) {
	options, after := e.options.Refresh, who.Value.(*Principal)
	conn := e.hub.runtime.Connection(connectionID)
	if conn == nil {
		return nil, transport.ErrNotOpen
	}
	before := sessionNow(conn)
	renewed := newSession(after, before.request, before)
	if after.UserID != before.principal.UserID && !options.AllowUserChange {
		return nil, transport.ErrUserChanged
	}
	if !renewed.identity.IsOlderThan(&before.identity) {
		err := options.check(r, before.principal, after)
		if logRequestPanic(e.hub.log, &e.hub.failures, "RefreshOptions.Check panicked", r, err) {
			return nil, &transport.Refusal{Status: http.StatusInternalServerError, Err: err}
		}
		if err != nil {
			return nil, errors.Join(transport.ErrRefreshRejected, err)
		}
	}
	// A client that goes away meanwhile does not undo it. It does not wait longer than for other nodes to know of the user.
	if err := conn.Refresh(context.WithoutCancel(r.Context()), &renewed.identity); err != nil {
		if errors.Is(err, actors.ErrGone) {
			err = transport.ErrNotOpen
		}
		return nil, err
	}
	e.hub.limits.changeUser(conn) // or back: there may have been another refresh since before
	return func() (string, time.Time) {
		now := conn.Identity()
		return now.UserID, now.Expires
	}, nil
}

// limited returns a principal whose credentials are valid for as long as the endpoint allows.
func (e *endpoint) limited(p *Principal) *Principal {
	if e.options.Refresh == nil || e.options.Refresh.MaximumLifetime == 0 || !p.Authenticated() {
		return p
	}
	most := time.Now().Add(e.options.Refresh.MaximumLifetime)
	if !p.Expires.IsZero() && !p.Expires.After(most) {
		return p
	}
	limited := *p
	limited.Expires = most
	return &limited
}

func (o *RefreshOptions) check(r *http.Request, before, after *Principal) (err error) {
	if o.Check == nil {
		return nil
	}
	defer recoverAs(&err)
	return o.Check(r, before, after)
}
