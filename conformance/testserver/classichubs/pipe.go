package classichubs

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/troupe-go/troupe/hubsys"
)

var created atomic.Int64

func newTestHub(context.Context) (*TestHub, error) {
	created.Add(1)
	return &TestHub{}, nil
}

func (h *TestHub) Created() int64 { return created.Load() }

// PipeHub has methods that filters do something with.
type PipeHub struct{ hubsys.Hub }

func (h *PipeHub) Vetoed() string    { return "never" }
func (h *PipeHub) Decorated() string { return "plain" }
func (h *PipeHub) Swallowed() error  { return errors.New("swallowed") }
func (h *PipeHub) Replaced() error   { return errors.New("secret") }
func (h *PipeHub) Seen() []string    { return eventsOf(h.Call().ConnectionID()) }

func (h *PipeHub) Outgoing(ctx context.Context) error {
	if err := h.Clients().Caller().Send(ctx, "dropped", "no"); err != nil {
		return err
	}
	return h.Clients().Caller().Send(ctx, "kept", "yes")
}

// pipeline does what a module of the original's pipeline does.
func pipeline(next hubsys.Handler) hubsys.Handler {
	h := next
	h.Invoke = func(ctx context.Context, in *hubsys.Invocation) (any, error) {
		if in.Method() == "Vetoed" {
			return nil, nil
		}
		result, err := next.Invoke(ctx, in)
		switch in.Method() {
		case "Decorated":
			return "<" + result.(string) + ">", err
		case "Swallowed":
			return 42, nil
		case "Replaced":
			return nil, &hubsys.HubError{Message: "replaced"}
		}
		return result, err
	}
	h.Connected = func(ctx context.Context) error {
		err := next.Connected(ctx)
		if call, ok := hubsys.CallFrom(ctx); ok {
			note(call.ConnectionID(), "module:connect")
		}
		return err
	}
	return h
}

// dropping drops calls of a client method.
func dropping(next hubsys.SendFunc) hubsys.SendFunc {
	return func(ctx context.Context, out *hubsys.Outgoing) error {
		if out.Method == "dropped" {
			return nil
		}
		return next(ctx, out)
	}
}

// InvokeSecretHub wants a user for calls alone.
type InvokeSecretHub struct{ hubsys.Hub }

func (h *InvokeSecretHub) Name() string { return h.Call().UserID() }
