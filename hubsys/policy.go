package hubsys

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/internal/logs"
)

// Policy decides whether somebody may use a hub or call a method: nil allows it, any error refuses it. It may block, as hub methods may.
//
// As [HubOptions].Policy it is asked for each HTTP request, after Authenticate, with the context of the request; a request that is refused is
// answered with status 401 if the user is anonymous, otherwise with 403. As [Method].Policy it is asked for each call, with the context of the
// call, before the arguments are decoded and before all filters; the client gets "Failed to invoke 'X' because user is unauthorized". The
// error itself is logged at the level Debug, and not shown to clients. A policy that panics refuses.
type Policy func(ctx context.Context, p *Principal) error

// RequireUser is a [Policy] that refuses anonymous users.
func RequireUser(_ context.Context, p *Principal) error {
	if !p.Authenticated() {
		return errors.New("hubsys: the user is anonymous")
	}
	return nil
}

// RequireRole returns a [Policy] that allows users who have one of these roles.
func RequireRole(roles ...string) Policy {
	return func(_ context.Context, p *Principal) error {
		for _, role := range roles {
			if p.HasRole(role) {
				return nil
			}
		}
		return fmt.Errorf("hubsys: the user has none of the roles %s", strings.Join(roles, ", "))
	}
}

// both returns a policy that allows what both of two allow. Nil allows everything.
func both(first, second Policy) Policy {
	switch {
	case first == nil:
		return second
	case second == nil:
		return first
	}
	return func(ctx context.Context, p *Principal) error {
		if err := first(ctx, p); err != nil {
			return err
		}
		return second(ctx, p)
	}
}

// ask asks a policy. A panic becomes an error.
func (policy Policy) ask(ctx context.Context, p *Principal) (err error) {
	defer recoverAs(&err)
	return policy(ctx, p)
}

// authorize asks the policy of a method. It returns false if the call is refused.
func (h *hub) authorize(k *actors.Call, method string, policy Policy) bool {
	err := policy.ask(k, sessionOf(k).principal)
	if err == nil {
		return true
	}
	var panicked *PanicError
	if errors.As(err, &panicked) {
		h.logError(k, "a policy panicked", "error", logs.Error(err), "stack", string(panicked.Stack))
	} else {
		h.log.Debug("a call was refused", "connection", k.Connection().ID(), "method", method, "error", logs.Error(err))
	}
	return false
}
