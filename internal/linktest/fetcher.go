package linktest

import "context"

// Fetcher is a link.Fetcher in memory. Its requests use its context, which ends when the Fetcher is cut.
type Fetcher struct {
	polls  bool
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// NewFetcher returns a Fetcher that represents long polling, or an event stream if polls is false.
func NewFetcher(polls bool) *Fetcher {
	f := &Fetcher{polls: polls}
	f.ctx, f.cancel = context.WithCancelCause(context.Background())
	return f
}

// Polls is part of link.Fetcher.
func (f *Fetcher) Polls() bool { return f.polls }

// Cut is part of link.Fetcher.
func (f *Fetcher) Cut() { f.cancel(errCut) }

// Context returns the context of the transport's requests.
func (f *Fetcher) Context() context.Context { return f.ctx }

// IsCut reports whether the transport was cut.
func (f *Fetcher) IsCut() bool { return f.ctx.Err() != nil }
