package main

import (
	"context"
	"errors"

	"github.com/troupe-go/troupe/hubsys"
)

// sendTo sends a message to those that a name stands for.
func sendTo[R hubsys.Receiver](ctx context.Context, what string, name *string, to func(string) R, m *string) error {
	return given(what, name, func(name string) error { return messageText.Send(ctx, to(name), m) })
}

// sendToSome sends a message to those that a list stands for.
func sendToSome[R hubsys.Receiver](ctx context.Context, list []string, to func(...string) R, m *string) error {
	if list == nil {
		return missing("source")
	}
	return messageText.Send(ctx, to(list...), m)
}

func (h *TestHub) InvokeWithString(ctx context.Context, m *string) error {
	return messageText.Send(ctx, h.Clients().Client(h.Call().ConnectionID()), m)
}

func (h *TestHub) SendCustomObject(ctx context.Context, o *CustomObject) error {
	return customObject.Send(ctx, h.Clients().Client(h.Call().ConnectionID()), o)
}

func (h *TestHub) Burst(ctx context.Context, n int32) error {
	for i := range n {
		if err := number.Send(ctx, h.Clients().Caller(), i); err != nil {
			return err
		}
	}
	return nil
}

func (h *TestHub) Join(ctx context.Context, g *string) error {
	return given("groupName", g, func(g string) error { return h.Groups().Add(ctx, h.Call().ConnectionID(), g) })
}

func (h *TestHub) Leave(ctx context.Context, g *string) error {
	return given("groupName", g, func(g string) error { return h.Groups().Remove(ctx, h.Call().ConnectionID(), g) })
}

func (h *TestHub) ToAll(ctx context.Context, m *string) error {
	return messageText.Send(ctx, h.Clients().All(), m)
}

func (h *TestHub) ToCaller(ctx context.Context, m *string) error {
	return messageText.Send(ctx, h.Clients().Caller(), m)
}

func (h *TestHub) ToOthers(ctx context.Context, m *string) error {
	return messageText.Send(ctx, h.Clients().Others(), m)
}

func (h *TestHub) ToClient(ctx context.Context, id, m *string) error {
	return sendTo(ctx, "connectionId", id, h.Clients().Client, m)
}

func (h *TestHub) ToClients(ctx context.Context, ids []string, m *string) error {
	return sendToSome(ctx, ids, h.Clients().Clients, m)
}

func (h *TestHub) ToAllExcept(ctx context.Context, ids []string, m *string) error {
	return sendToSome(ctx, ids, h.Clients().AllExcept, m)
}

func (h *TestHub) ToGroup(ctx context.Context, g, m *string) error {
	return sendTo(ctx, "groupName", g, h.Clients().Group, m)
}

func (h *TestHub) ToGroups(ctx context.Context, g []string, m *string) error {
	if g == nil {
		return errors.New("Object reference not set to an instance of an object.") //nolint:staticcheck // the reference's words
	}
	return messageText.Send(ctx, h.Clients().Groups(g...), m)
}

func (h *TestHub) ToGroupExcept(ctx context.Context, g *string, ids []string, m *string) error {
	return given("groupName", g, func(g string) error {
		return sendToSome(ctx, ids, func(ids ...string) hubsys.Audience { return h.Clients().GroupExcept(g, ids...) }, m)
	})
}

func (h *TestHub) ToOthersInGroup(ctx context.Context, g, m *string) error {
	return sendTo(ctx, "groupName", g, h.Clients().OthersInGroup, m)
}

func (h *TestHub) ToUser(ctx context.Context, u, m *string) error {
	return sendTo(ctx, "userId", u, h.Clients().User, m)
}

func (h *TestHub) ToUsers(ctx context.Context, u []string, m *string) error {
	return sendToSome(ctx, u, h.Clients().Users, m)
}
