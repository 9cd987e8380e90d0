package backplane

import "context"

type userKey struct{}

// WithUser returns the context of a request for Relay that says which user makes it. It is how a node that has authenticated a request tells the
// one that answers it; nothing in the request itself says so.
func WithUser(ctx context.Context, user string) context.Context {
	return context.WithValue(ctx, userKey{}, user)
}

// User returns the user of a request that was given to Host.Serve, if the node that has relayed it has said who that is.
func User(ctx context.Context) (user string, ok bool) {
	user, ok = ctx.Value(userKey{}).(string)
	return user, ok
}
