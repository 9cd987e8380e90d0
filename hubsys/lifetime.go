package hubsys

import (
	"context"
	"errors"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/transport"
)

type (
	onConnected interface {
		OnConnected(ctx context.Context) error
	}
	onDisconnected interface {
		OnDisconnected(ctx context.Context, cause error) error
	}
	onReconnected interface {
		OnReconnected(ctx context.Context) error
	}
	onRefreshed interface {
		OnAuthenticationRefreshed(ctx context.Context) error
	}
)

// Connected is part of actors.Handler.
func (h *hub) Connected(k *actors.Call) error {
	k.SetMethod("OnConnected", nil)
	defer k.RunCleanups(0)
	err := h.handler.Connected(k)
	if err != nil {
		h.report(k, "a connection is refused", err)
	} else if s, ok := h.subscriptions.Load(k.Connection().ID()); ok {
		close(s.(*subscription).connected)
	}
	return err
}

// Disconnected is part of actors.Handler.
func (h *hub) Disconnected(k *actors.Call, cause error) {
	k.SetMethod("OnDisconnected", nil)
	defer k.RunCleanups(0)
	if err := h.handler.Disconnected(k, endCause(cause)); err != nil {
		h.report(k, "a hub method failed", err)
	}
}

// endCause returns why a connection has ended as OnDisconnected gets it.
func endCause(cause error) error {
	if cause == nil {
		return nil
	}
	var fromClient *actors.ClientError
	var disconnected *actors.DisconnectError
	switch {
	case errors.As(cause, &fromClient):
		return &HubError{Message: fromClient.Text}
	case errors.As(cause, &disconnected):
		return &HubError{Message: disconnected.Reason}
	}
	return fromRuntime(cause)
}

// Refreshed is part of actors.Handler.
func (h *hub) Refreshed(k *actors.Call) {
	k.SetMethod("OnAuthenticationRefreshed", nil)
	defer k.RunCleanups(0)
	if err := h.handler.Refreshed(k); err != nil {
		h.report(k, "a hub method failed", err)
	}
}

// Reconnected is part of actors.Handler.
func (h *hub) Reconnected(k *actors.Call) error {
	k.SetMethod("OnReconnected", nil)
	defer k.RunCleanups(0)
	err := h.handler.Reconnected(k)
	if err != nil {
		h.report(k, "a hub method failed", err)
	}
	return err
}

// Ended is part of actors.Handler.
func (h *hub) Ended(c *actors.Connection, cause error) {
	s := sessionNow(c).origin()
	address := transport.AddressOf(s.request.remoteAddr)
	if one, ok := h.subscriptions.LoadAndDelete(c.ID()); ok {
		address = noAddress
		defer one.(*subscription).over(cause)
	}
	h.limits.end(s, address)
}

// methodHandler is the innermost Handler of a hub with methods.
func (h *hub) methodHandler() Handler {
	return Handler{
		Invoke: h.invokeMethod,
		Connected: func(ctx context.Context) error {
			return h.withValue(ctx, func(value Instance) error {
				if hub, ok := value.(onConnected); ok {
					return hub.OnConnected(ctx)
				}
				return nil
			})
		},
		Disconnected: func(ctx context.Context, cause error) error {
			return h.withValue(ctx, func(value Instance) error {
				if hub, ok := value.(onDisconnected); ok {
					return hub.OnDisconnected(ctx, cause)
				}
				return nil
			})
		},
		Reconnected: func(ctx context.Context) error {
			return h.withValue(ctx, func(value Instance) error {
				if hub, ok := value.(onReconnected); ok {
					return hub.OnReconnected(ctx)
				}
				return nil
			})
		},
		Refreshed: func(ctx context.Context) error {
			return h.withValue(ctx, func(value Instance) error {
				if hub, ok := value.(onRefreshed); ok {
					return hub.OnAuthenticationRefreshed(ctx)
				}
				return nil
			})
		},
	}
}

// withValue calls f with a hub value.
func (h *hub) withValue(ctx context.Context, f func(Instance) error) error {
	k := actors.CallOf(ctx)
	if k == nil {
		return errors.New("hubsys: a filter has passed on a context that is not derived from that of the call")
	}
	cleanups := k.Cleanups()
	value, err := h.open(ctx, k)
	if err != nil {
		return err
	}
	defer h.release(k, value, cleanups)
	return f(value)
}
