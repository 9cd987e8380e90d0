package actors

import (
	"context"
	"time"
)

// IgnoreCancel is for a method that takes no context: uploads that it reads go on when its client cancels the call, as in the reference
// (docs/protocol.md, 6.7). The context of the call ends all the same.
func (k *Call) IgnoreCancel() {
	if k.uploads == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ignoresCancel = true
	if k.uploads.cause == ErrCanceled {
		k.uploads.cause = nil
	}
}

// stop ends the context for a reason.
func (k *Call) stop(cause error) {
	k.mu.Lock()
	k.endContext(cause)
	k.mu.Unlock()
}

// endContext ends the context, and the reading of uploads. The lock is held.
func (k *Call) endContext(cause error) {
	if k.shutdownsInFlight > 0 && cause == ErrShutdown {
		return
	}
	if k.cause == nil {
		k.cause = cause
		k.stopped.Store(true)
		if k.cancel != nil {
			k.cancel(cause)
		}
	}
	if k.uploads != nil && (!k.ignoresCancel || cause != ErrCanceled) {
		k.uploads.stop(cause)
	}
}

type callKey struct{}

// CallOf returns the call whose context ctx is or comes from, or nil.
func CallOf(ctx context.Context) *Call {
	k, _ := ctx.Value(callKey{}).(*Call)
	return k
}

// Deadline is part of context.Context: there is none.
func (k *Call) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done is part of context.Context.
func (k *Call) Done() <-chan struct{} { return k.full().Done() }

// Err is part of context.Context. It takes no lock, because each item of a stream asks: that would be a seventh of the CPU of an item.
func (k *Call) Err() error {
	if k.stopped.Load() {
		return context.Canceled
	}
	return nil
}

// Value is part of context.Context.
func (k *Call) Value(key any) any {
	if key == (callKey{}) {
		return k
	}
	return k.full().Value(key)
}

// full returns a context of package context that ends with this one. Most calls never need it.
func (k *Call) full() context.Context {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.inner == nil {
		k.inner, k.cancel = context.WithCancelCause(context.Background())
		if k.cause != nil {
			k.cancel(k.cause)
		}
	}
	return k.inner
}
