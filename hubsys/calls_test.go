package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

func TestNamesOfMethodsAreComparedWithoutRegardToCase(t *testing.T) {
	w := newWorld(t, setup{})
	c := dial(t, w.url)
	for _, name := range []string{"Echo", "echo", "ECHO", "eChO"} {
		require.Equal(t, `"x"`, string(c.invoke(name, "x").Result))
	}
}

// hoarder keeps what its methods are given.
type hoarder struct {
	hubsys.Hub
	hoard *hoard
}

type hoard struct {
	mu    sync.Mutex
	kinds [][6]string
	keep  []func() [6]string
}

func (h *hoarder) Keep(a []byte, b string, c json.RawMessage, d map[string]json.RawMessage, e []string, f any) {
	see := func() [6]string {
		return [6]string{string(a), b, string(c), fmt.Sprint(d), fmt.Sprint(e), fmt.Sprint(f)}
	}
	h.hoard.mu.Lock()
	defer h.hoard.mu.Unlock()
	h.hoard.kinds, h.hoard.keep = append(h.hoard.kinds, see()), append(h.hoard.keep, see)
}

func TestArgumentsCanBeKept(t *testing.T) {
	kept := &hoard{}
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*hoarder, error) { return &hoarder{hoard: kept}, nil }, hubsys.HubOptions{MaximumParallelInvocationsPerClient: 4})
	url := serve(t, sys, hub)
	clients := []*client{dial(t, url), dial(t, url)}
	for i := range 300 {
		for _, c := range clients {
			s := fmt.Sprint("value ", i)
			c.send(invocation("", "Keep", []byte(s), s, map[string]any{s: i}, map[string]any{"k": s}, []string{s, s}, map[string]any{"v": []any{s}}))
		}
	}
	require.Eventually(t, func() bool {
		kept.mu.Lock()
		defer kept.mu.Unlock()
		return len(kept.keep) == 600
	}, within, time.Millisecond)
	kept.mu.Lock()
	defer kept.mu.Unlock()
	for i, see := range kept.keep {
		require.Equal(t, kept.kinds[i], see())
	}
}

// ---- contexts

func TestWhyTheContextOfACallEnds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		end  func(w *world, c *client, id string)
		want error
	}{
		{"the client closes the socket", func(_ *world, c *client, _ string) { go c.leave() }, hubsys.ErrDisconnected}, // all these after DisconnectGrace
		{"the client vanishes", func(_ *world, c *client, _ string) { _ = c.ws.CloseNow() }, hubsys.ErrDisconnected},
		{"the client says goodbye", func(_ *world, c *client, _ string) { c.send(goodbye) }, hubsys.ErrDisconnected},
		{"the connection is aborted", func(w *world, c *client, _ string) { c.send(invocation("", "Do", "abort", []any{})) }, hubsys.ErrDisconnected},
		{"the client cancels the call", func(_ *world, c *client, id string) {
			c.send(`{"type":5,"invocationId":"no such call"}`, `{"type":5,"invocationId":"`+id+`"}`)
		}, hubsys.ErrCanceled},
		{"the system shuts down", func(w *world, _ *client, _ string) { go func() { _ = w.sys.Shutdown(context.Background()) }() }, hubsys.ErrShutdown},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, setup{
				HubOptions:      hubsys.HubOptions{MaximumParallelInvocationsPerClient: 2, DisconnectGrace: 100 * time.Millisecond},
				EndpointOptions: hubsys.EndpointOptions{CloseTimeout: quickClose},
			})
			started, causes, derived := make(chan struct{}), make(chan error, 1), make(chan error, 1)
			w.on("run", func(ctx context.Context, h *lab, _ []json.RawMessage) (any, error) {
				close(started)
				child, cancel := context.WithCancel(ctx)
				defer cancel()
				<-child.Done()
				derived <- context.Cause(child)
				causes <- context.Cause(ctx)
				return "late", ctx.Err()
			})
			w.on("abort", func(_ context.Context, h *lab, _ []json.RawMessage) (any, error) { h.Call().Abort(); return nil, nil })
			c := dial(t, w.url)
			id := c.call("Do", "run", []any{})
			wait(t, started)
			test.end(w, c, id)
			require.Equal(t, test.want, wait(t, causes))
			require.Equal(t, test.want, wait(t, derived))
			if test.want == hubsys.ErrCanceled { // such a call is answered, and its connection lives
				require.Equal(t, `{"type":3,"invocationId":"1","error":"An unexpected error occurred invoking 'Do' on the server."}`, c.next().raw)
				c.quiet()
			}
		})
	}
}

func TestACallCanBeStoppedByItsPID(t *testing.T) {
	w := newWorld(t, setup{})
	pids := make(chan *actor.PID, 1)
	w.on("run", func(ctx context.Context, h *lab, _ []json.RawMessage) (any, error) {
		pids <- h.Call().PID()
		message := <-h.Call().Inbox()
		<-ctx.Done()
		require.ErrorIs(t, context.Cause(ctx), hubsys.ErrStopped)
		return message, nil
	})
	c := dial(t, w.url)
	id := c.call("Do", "run", []any{})
	pid := wait(t, pids)
	w.sys.ActorSystem().Root.Send(pid, "hello")
	w.sys.ActorSystem().Root.Stop(pid)
	require.Equal(t, `"hello"`, string(c.await(id).Result))
}

func TestACallCanBeKept(t *testing.T) {
	w := newWorld(t, setup{EndpointOptions: hubsys.EndpointOptions{Authenticate: byQuery}})
	type kept struct {
		ctx  context.Context
		hub  *lab
		call *hubsys.Call
	}
	calls := make(chan kept, 1)
	w.on("keep", func(ctx context.Context, h *lab, _ []json.RawMessage) (any, error) {
		calls <- kept{ctx, h, h.Call()}
		return nil, nil
	})
	c := dial(t, w.url+"?user=ada&key=value")
	c.do("keep")
	k := wait(t, calls)
	check := func() {
		require.Len(t, k.call.ConnectionID(), 22)
		require.Equal(t, "ada", k.call.UserID())
		require.Equal(t, "ada", k.call.Principal().UserID)
		require.Equal(t, "value", k.call.Request().Query("key"))
		k.call.Items().Store("key", "value")
		require.NotNil(t, k.call.PID())
		_, open := <-k.call.Inbox()
		require.False(t, open)
	}
	check()
	require.ErrorIs(t, context.Cause(k.ctx), hubsys.ErrReturned)
	require.ErrorIs(t, k.ctx.Err(), context.Canceled)
	require.ErrorIs(t, k.hub.Clients().Caller().Send(k.ctx, "late"), hubsys.ErrReturned)
	require.NoError(t, k.hub.Clients().Caller().Send(context.Background(), "late"))
	require.NoError(t, k.hub.Groups().Add(context.Background(), k.call.ConnectionID(), "group"))
	require.NoError(t, w.hub.Clients().Group("group").Send(context.Background(), "grouped"))
	c.got("late")
	c.got("grouped")
	select {
	case <-k.call.Aborted():
		require.Fail(t, "the connection lives")
	default:
	}
	k.call.Abort()
	wait(t, k.call.Aborted())
	require.Equal(t, goodbye, c.next().raw)
	require.EqualValues(t, 1000, c.ended())
	check()
	k.call.Abort()
	require.NoError(t, k.hub.Clients().Caller().Send(context.Background(), "gone"))
	require.NoError(t, k.hub.Groups().Add(context.Background(), k.call.ConnectionID(), "group"))
}

// ---- calls at the same time

func TestAsManyCallsAtOnceAsTheLimitSays(t *testing.T) {
	for _, limit := range []int{1, 3} {
		t.Run(fmt.Sprint("parallel=", limit), func(t *testing.T) {
			const calls = 60
			w := newWorld(t, setup{HubOptions: hubsys.HubOptions{MaximumParallelInvocationsPerClient: limit}})
			var running atomic.Int32
			full := make(chan struct{})
			w.on("together", func(context.Context, *lab, []json.RawMessage) (any, error) {
				n := int(running.Add(1))
				defer running.Add(-1)
				if n > limit {
					return nil, errors.New("too many at once")
				}
				if n == limit {
					select {
					case <-full:
					default:
						close(full)
					}
				}
				<-full // until as many run as may
				return nil, nil
			})
			c := dial(t, w.url)
			var records []string
			for i := range calls {
				records = append(records, invocation(fmt.Sprint(i), "Do", "together", []any{}))
			}
			c.send(records...)
			seen := map[string]bool{}
			for i := range calls {
				r := c.next()
				require.Nil(t, r.Error, r.raw)
				if limit == 1 {
					require.Equal(t, fmt.Sprint(i), r.InvocationID, "in order")
				}
				seen[r.InvocationID] = true
			}
			require.Len(t, seen, calls)
		})
	}
}

// What is no call is handled while calls are running.
func TestPingsCancelsAndClosesDoNotWaitForCalls(t *testing.T) {
	w := newWorld(t, setup{})
	started := make(chan struct{})
	w.on("run", func(ctx context.Context, _ *lab, _ []json.RawMessage) (any, error) {
		close(started)
		<-ctx.Done()
		return nil, context.Cause(ctx)
	})
	c := dial(t, w.url)
	c.call("Do", "run", []any{})
	wait(t, started)
	c.send(invocation("waits", "Echo", 1), `{"type":6}`, `{"type":5,"invocationId":"1"}`)
	require.Equal(t, "1", c.next().InvocationID)
	require.Equal(t, `{"type":3,"invocationId":"waits","result":1}`, c.next().raw)
}

// A canceled call that has not begun yet begins canceled, and is answered.
func TestACallCanBeCanceledBeforeItBegins(t *testing.T) {
	w := newWorld(t, setup{})
	running := make(chan struct{})
	w.on("first", func(ctx context.Context, _ *lab, _ []json.RawMessage) (any, error) {
		close(running)
		<-ctx.Done()
		return 1, nil
	})
	w.on("second", func(ctx context.Context, _ *lab, _ []json.RawMessage) (any, error) {
		return fmt.Sprint(context.Cause(ctx)), nil
	})
	c := dial(t, w.url)
	first := c.call("Do", "first", []any{})
	wait(t, running)
	c.send(invocation("second", "Do", "second", []any{}), `{"type":5,"invocationId":"second"}`, `{"type":5,"invocationId":"`+first+`"}`)
	require.Equal(t, first, c.next().InvocationID)
	require.Equal(t, `"hubsys: the client has canceled the invocation"`, string(c.next().Result))
}
