// Package hubsys is what an application imports to serve SignalR hubs.
//
// A hub is a struct that embeds [Hub]; its exported methods can be called by clients. [Register] makes it known to a [System], which
// is an [http.Handler], and [HubContext.Map] gives it a path:
//
//	type Chat struct{ hubsys.Hub }
//
//	func (c *Chat) Send(ctx context.Context, user, text string) error {
//		return c.Clients().All().Send(ctx, "receive", user, text)
//	}
//
// A method that returns an iter.Seq2[T, error] or a <-chan T streams its results; a parameter of such a type is a stream that the
// client sends. [Invoke] calls a method of one client and waits for its result.
//
// A new hub value is made for every call and dropped when the call has returned: it must not be kept, and needs no locks. The calls
// of one client run one after the other, or as many at once as HubOptions.MaximumParallelInvocationsPerClient says.
//
// Messages from one sender to one client arrive in the order in which they were sent, whatever audience they were sent to.
package hubsys
