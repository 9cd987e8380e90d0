package hubsys_test

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// answered is what came of a call of a client's method.
type answered[T any] struct {
	value T
	err   error
}

// inquire asks on a goroutine of its own.
func inquire[T any](ctx context.Context, client hubsys.Client, args ...any) <-chan answered[T] {
	answers := make(chan answered[T], 1)
	go func() {
		value, err := hubsys.Invoke[T](ctx, client, "ask", args...)
		answers <- answered[T]{value, err}
	}()
	return answers
}

// asked makes sure that the next record asks the client, and gives the id.
func (c *client) asked(args ...any) (id string) {
	c.t.Helper()
	r := c.next()
	require.Equal(c.t, 1, r.Type, r.raw)
	require.NotEmpty(c.t, r.InvocationID, r.raw)
	want := strings.Replace(invocationText("ask", args...), `"type":1,`, `"type":1,"invocationId":"`+r.InvocationID+`",`, 1)
	require.Equal(c.t, want, r.raw)
	return r.InvocationID
}

// asks adds an action that asks its caller.
func (w *world) asks() {
	w.on("ask", func(ctx context.Context, h *lab, _ []json.RawMessage) (any, error) {
		return hubsys.Invoke[any](ctx, h.Clients().Caller(), "ask")
	})
}
