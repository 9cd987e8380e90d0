package hubsys

import (
	"context"
	"errors"

	"github.com/troupe-go/troupe/actors"
)

type (
	onConnected interface {
		OnConnected(ctx context.Context) error
	}
	onDisconnected interface {
		OnDisconnected(ctx context.Context, cause error) error
	}
)

// Connected is part of actors.Handler.
func (h *hub) Connected(k *actors.Call) error {
	k.SetMethod("OnConnected")
	value, err := h.open(k)
	if err == nil {
		defer h.close(k, value)
		if hub, ok := value.(onConnected); ok {
			err = hub.OnConnected(k)
		}
	}
	if err != nil {
		h.report(k, "a connection is refused", err)
	}
	return err
}

// Disconnected is part of actors.Handler.
func (h *hub) Disconnected(k *actors.Call, cause error) {
	k.SetMethod("OnDisconnected")
	var fromClient *actors.ClientError
	if errors.As(cause, &fromClient) {
		cause = &HubError{Message: fromClient.Text}
	}
	value, err := h.open(k)
	if err == nil {
		defer h.close(k, value)
		if hub, ok := value.(onDisconnected); ok {
			err = hub.OnDisconnected(k, cause)
		}
	}
	if err != nil {
		h.report(k, "a hub method failed", err)
	}
}
