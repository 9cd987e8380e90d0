package hubsys_test

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// invokeResult is what hubsys.Invoke has returned.
type invokeResult[T any] struct {
	value T
	err   error
}

// invokeAsync calls hubsys.Invoke in a goroutine.
func invokeAsync[T any](ctx context.Context, client hubsys.Client, args ...any) <-chan invokeResult[T] {
	answers := make(chan invokeResult[T], 1)
	go func() {
		value, err := hubsys.Invoke[T](ctx, client, "ask", args...)
		answers <- invokeResult[T]{value, err}
	}()
	return answers
}

// requireAsk requires that the next message invokes the client's method "ask", and returns the invocation ID.
func (c *testClient) requireAsk(args ...any) (id string) {
	c.t.Helper()
	r := c.next()
	require.Equal(c.t, 1, r.Type, r.raw)
	require.NotEmpty(c.t, r.InvocationID, r.raw)
	want := strings.Replace(serverInvocation("ask", args...), `"type":1,`, `"type":1,"invocationId":"`+r.InvocationID+`",`, 1)
	require.Equal(c.t, want, r.raw)
	return r.InvocationID
}

// handleAsk registers the action "ask", which invokes the method "ask" of its caller.
func (srv *testServer) handleAsk() {
	srv.handle("ask", func(ctx context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		return hubsys.Invoke[any](ctx, h.Clients().Caller(), "ask")
	})
}
