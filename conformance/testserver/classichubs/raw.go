package classichubs

import (
	"context"
	"errors"
	"strings"

	"github.com/troupe-go/troupe/hubsys"
)

// Raw is a connection without calls.
type Raw struct{ hubsys.Hub }

func (h *Raw) OnConnected(ctx context.Context) error {
	return h.Clients().Caller().Send(ctx, "", "hello")
}

func (h *Raw) OnReceived(ctx context.Context, data string) error {
	switch {
	case strings.HasPrefix(data, "all:"):
		return h.Clients().All().Send(ctx, "", data[len("all:"):])
	case strings.HasPrefix(data, "others:"):
		return h.Clients().Others().Send(ctx, "", data[len("others:"):])
	case data == "object":
		return h.Clients().Caller().Send(ctx, "", struct {
			Name string
			List []int
		}{"x", []int{1, 2}})
	case data == "fail":
		return errors.New("secret reason")
	}
	return h.Clients().Caller().Send(ctx, "", data)
}

// RawGroups has groups of such connections.
type RawGroups struct{ hubsys.Hub }

func (h *RawGroups) OnReceived(ctx context.Context, data string) error {
	order, rest, _ := strings.Cut(data, ":")
	switch order {
	case "join":
		if err := h.Groups().Join(ctx, rest); err != nil {
			return err
		}
		return h.Clients().Caller().Send(ctx, "", "joined")
	case "leave":
		if err := h.Groups().Leave(ctx, rest); err != nil {
			return err
		}
		return h.Clients().Caller().Send(ctx, "", "left")
	}
	group, text, _ := strings.Cut(rest, ":")
	return h.Clients().Group(group).Send(ctx, "", text)
}

// RawSecret wants a user.
type RawSecret struct{ hubsys.Hub }

func (h *RawSecret) OnReceived(ctx context.Context, data string) error {
	return h.Clients().Caller().Send(ctx, "", h.Call().UserID()+":"+data)
}
