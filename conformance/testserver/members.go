package main

import (
	"cmp"
	"context"

	"github.com/troupe-go/troupe/hubsys/typed"
)

// What is in this file, the reference's program does not have.

var refreshed = typed.Message1[[]string]("Refreshed")

// Members are the ids of the connections that are in a group.
func (h *TestHub) Members(ctx context.Context, group string) ([]string, error) {
	members, err := h.Clients().Group(group).Members(ctx)
	ids := make([]string, len(members))
	for i, member := range members {
		ids[i] = member.ConnectionID
	}
	return ids, err
}

// Online tells whether a user has a connection.
func (h *TestHub) Online(ctx context.Context, user string) (bool, error) {
	n, err := h.Clients().User(user).Count(ctx)
	return n > 0, err
}

func (h *TestHub) AddTo(ctx context.Context, id, group string) error {
	return h.Clients().Client(id).Join(ctx, group)
}

func (h *TestHub) RemoveFrom(ctx context.Context, id, group string) error {
	return h.Clients().Client(id).Leave(ctx, group)
}

func (h *TestHub) Kick(ctx context.Context, id string) error {
	return h.Clients().Client(id).Disconnect(ctx, "kicked")
}

// Node is the name of the node that runs the call.
func (h *TestHub) Node() string { return cmp.Or(*nodeName, h.Call().PID().Address) }

// Node is the name of the node that runs the call.
func (h *BenchHub) Node() string { return cmp.Or(*nodeName, h.Call().PID().Address) }

func (h *TestHub) CustomObjectToAll(ctx context.Context, o *CustomObject) error {
	return customObject.Send(ctx, h.Clients().All(), o)
}

// OnAuthenticationRefreshed tells a client which roles it has now.
func (h *TestHub) OnAuthenticationRefreshed(ctx context.Context) error {
	return refreshed.Send(ctx, h.Clients().Caller(), h.Call().Principal().Roles)
}
