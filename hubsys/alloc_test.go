//go:build !race

// The race detector changes which values the compiler keeps on the stack.

package hubsys_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/typed"
)

// allocsPerCall returns how often memory is allocated for a call, by server and client together.
func allocsPerCall(t *testing.T, c *testClient, call string) float64 {
	t.Helper()
	record, buffer := []byte(call+separator), make([]byte, 4096)
	once := func() {
		require.NoError(t, c.ws.Write(context.Background(), websocket.MessageText, record))
		_, r, err := c.ws.Reader(context.Background())
		require.NoError(t, err)
		for err == nil {
			_, err = r.Read(buffer)
		}
		require.True(t, errors.Is(err, io.EOF), err)
	}
	const warm, calls = 200, 1000
	for range warm {
		once()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range calls {
		once()
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / calls
}

func TestCallsOfPlainHubsAllocateLittle(t *testing.T) {
	c := dialHub(t, func(context.Context) (*plainHub, error) { return &plainHub{}, nil }, hubsys.HubOptions{})
	const slack = 0.9 // for what runs besides
	for _, test := range []struct {
		call string
		most float64
	}{
		{invocation("1", "Nothing"), 2}, {invocation("1", "Add", 1, 2), 4}, {invocation("1", "Context", "text"), 6}, {invocation("1", "unknown"), 5},
	} {
		require.LessOrEqual(t, allocsPerCall(t, c, test.call), test.most+slack, test.call)
	}
}

// plainHub is a hub without filters, policies and services.
type plainHub struct{ hubsys.Hub }

func (*plainHub) Nothing()                                            {}
func (*plainHub) Add(a, b int) int                                    { return a + b }
func (*plainHub) Context(_ context.Context, s string) (string, error) { return s, nil }

func TestTypedSendsAllocateNoMoreThanOthers(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	to := register(t, sys, func(context.Context) (*plainHub, error) { return &plainHub{}, nil }, hubsys.HubOptions{}).Clients()
	ctx, text, number := t.Context(), t.Name(), 1000*len(t.Name())
	for what, r := range map[string]hubsys.Receiver{"audience": to.Group("nobody"), "client": to.Client("nobody")} {
		measure := func(send func() error) float64 {
			return testing.AllocsPerRun(500, func() {
				if err := send(); err != nil {
					t.Error(err)
				}
			})
		}
		untyped := measure(func() error { return r.Send(ctx, "m", text, number) })
		require.LessOrEqual(t, measure(func() error { return typed.Message2[string, int]("m").Send(ctx, r, text, number) }), untyped, what)
		untyped = measure(func() error { return r.Send(ctx, "m") })
		require.LessOrEqual(t, measure(func() error { return typed.Message0("m").Send(ctx, r) }), untyped, what)
	}
}
