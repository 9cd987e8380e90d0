package hubsys_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// A filter asks again when an answer did not fit. Nothing of that is in the result.
func TestFilterThatInvokesAgain(t *testing.T) {
	srv := newTestServer(t, testConfig{HubOptions: hubsys.HubOptions{SendFilters: []func(hubsys.SendFunc) hubsys.SendFunc{func(next hubsys.SendFunc) hubsys.SendFunc {
		return func(ctx context.Context, out *hubsys.Outgoing) error {
			if err := next(ctx, out); err == nil || !out.IsInvoke() {
				return err
			}
			return next(ctx, out)
		}
	}}}})
	c, id := dialWithID(t, srv.url, nil)
	a := invokeAsync[point](t.Context(), srv.hub.Clients().Client(id))
	c.send(resultCompletion(c.requireAsk(), map[string]any{"x": 1, "y": "two"}))
	c.send(resultCompletion(c.requireAsk(), map[string]any{"y": 2}))
	got := receive(t, a)
	require.NoError(t, got.err)
	require.Equal(t, point{0, 2}, got.value)
}
