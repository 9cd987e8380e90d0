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
	srv := newTestServer(t, testConfig{})
	c := dial(t, srv.url)
	for _, name := range []string{"Echo", "echo", "ECHO", "eChO"} {
		require.Equal(t, `"x"`, string(c.invoke(name, "x").Result))
	}
}

// keepingHub keeps the arguments of its methods.
type keepingHub struct {
	hubsys.Hub
	kept *keptArguments
}

type keptArguments struct {
	mu       sync.Mutex
	original [][6]string
	current  []func() [6]string
}

func (h *keepingHub) Keep(a []byte, b string, c json.RawMessage, d map[string]json.RawMessage, e []string, f any) {
	see := func() [6]string {
		return [6]string{string(a), b, string(c), fmt.Sprint(d), fmt.Sprint(e), fmt.Sprint(f)}
	}
	h.kept.mu.Lock()
	defer h.kept.mu.Unlock()
	h.kept.original, h.kept.current = append(h.kept.original, see()), append(h.kept.current, see)
}

func TestArgumentsCanBeKept(t *testing.T) {
	kept := &keptArguments{}
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*keepingHub, error) { return &keepingHub{kept: kept}, nil },
		hubsys.HubOptions{MaximumParallelInvocationsPerClient: 4})
	url := serve(t, sys, hub)
	clients := []*testClient{dial(t, url), dial(t, url)}
	for i := range 300 {
		for _, c := range clients {
			s := fmt.Sprint("value ", i)
			c.send(invocation("", "Keep", []byte(s), s, map[string]any{s: i}, map[string]any{"k": s}, []string{s, s}, map[string]any{"v": []any{s}}))
		}
	}
	require.Eventually(t, func() bool {
		kept.mu.Lock()
		defer kept.mu.Unlock()
		return len(kept.current) == 600
	}, testTimeout, time.Millisecond)
	kept.mu.Lock()
	defer kept.mu.Unlock()
	for i, see := range kept.current {
		require.Equal(t, kept.original[i], see())
	}
}

func TestWhyTheContextOfACallEnds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		end  func(srv *testServer, c *testClient, id string)
		want error
	}{
		{"the client closes the socket", func(_ *testServer, c *testClient, _ string) { go c.close() }, hubsys.ErrDisconnected}, // the first four end after DisconnectGrace
		{"the client vanishes", func(_ *testServer, c *testClient, _ string) { _ = c.ws.CloseNow() }, hubsys.ErrDisconnected},
		{"the client sends a close message", func(_ *testServer, c *testClient, _ string) { c.send(closeJSON) }, hubsys.ErrDisconnected},
		{"the connection is aborted", func(srv *testServer, c *testClient, _ string) { c.send(invocation("", "Do", "abort", []any{})) }, hubsys.ErrDisconnected},
		{"the client cancels the call", func(_ *testServer, c *testClient, id string) {
			c.send(`{"type":5,"invocationId":"no such call"}`, `{"type":5,"invocationId":"`+id+`"}`)
		}, hubsys.ErrCanceled},
		{"the system shuts down", func(srv *testServer, _ *testClient, _ string) {
			go func() { _ = srv.sys.Shutdown(context.Background()) }()
		}, hubsys.ErrShutdown},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			srv := newTestServer(t, testConfig{
				HubOptions:      hubsys.HubOptions{MaximumParallelInvocationsPerClient: 2, DisconnectGrace: 100 * time.Millisecond},
				EndpointOptions: hubsys.EndpointOptions{CloseTimeout: quickClose},
			})
			started, causes, derived := make(chan struct{}), make(chan error, 1), make(chan error, 1)
			srv.handle("run", func(ctx context.Context, h *testHub, _ []json.RawMessage) (any, error) {
				close(started)
				child, cancel := context.WithCancel(ctx)
				defer cancel()
				<-child.Done()
				derived <- context.Cause(child)
				causes <- context.Cause(ctx)
				return "late", ctx.Err()
			})
			srv.handle("abort", func(_ context.Context, h *testHub, _ []json.RawMessage) (any, error) {
				h.Call().Abort()
				return nil, nil
			})
			c := dial(t, srv.url)
			id := c.call("Do", "run", []any{})
			receive(t, started)
			test.end(srv, c, id)
			require.Equal(t, test.want, receive(t, causes))
			require.Equal(t, test.want, receive(t, derived))
			if test.want == hubsys.ErrCanceled { // such a call is answered, and its connection remains open
				require.Equal(t, `{"type":3,"invocationId":"1","error":"An unexpected error occurred invoking 'Do' on the server."}`, c.next().raw)
				c.requireNoMessages()
			}
		})
	}
}

func TestACallCanBeStoppedByItsPID(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	pids := make(chan *actor.PID, 1)
	srv.handle("run", func(ctx context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		pids <- h.Call().PID()
		message := <-h.Call().Inbox()
		<-ctx.Done()
		require.ErrorIs(t, context.Cause(ctx), hubsys.ErrStopped)
		return message, nil
	})
	c := dial(t, srv.url)
	id := c.call("Do", "run", []any{})
	pid := receive(t, pids)
	srv.sys.ActorSystem().Root.Send(pid, "hello")
	srv.sys.ActorSystem().Root.Stop(pid)
	require.Equal(t, `"hello"`, string(c.awaitCompletion(id).Result))
}

func TestACallCanBeKept(t *testing.T) {
	srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{Authenticate: authenticateByQuery}})
	type kept struct {
		ctx  context.Context
		hub  *testHub
		call *hubsys.Call
	}
	calls := make(chan kept, 1)
	srv.handle("keep", func(ctx context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		calls <- kept{ctx, h, h.Call()}
		return nil, nil
	})
	c := dial(t, srv.url+"?user=ada&key=value")
	c.do("keep")
	k := receive(t, calls)
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
	require.NoError(t, srv.hub.Clients().Group("group").Send(context.Background(), "grouped"))
	c.requireInvocation("late")
	c.requireInvocation("grouped")
	select {
	case <-k.call.Aborted():
		require.Fail(t, "the connection is open")
	default:
	}
	k.call.Abort()
	receive(t, k.call.Aborted())
	require.Equal(t, closeJSON, c.next().raw)
	require.EqualValues(t, 1000, c.requireClosed())
	check()
	k.call.Abort()
	require.NoError(t, k.hub.Clients().Caller().Send(context.Background(), "gone"))
	require.NoError(t, k.hub.Groups().Add(context.Background(), k.call.ConnectionID(), "group"))
}

func TestAsManyCallsAtOnceAsTheLimitSays(t *testing.T) {
	for _, limit := range []int{1, 3} {
		t.Run(fmt.Sprint("parallel=", limit), func(t *testing.T) {
			const calls = 60
			srv := newTestServer(t, testConfig{HubOptions: hubsys.HubOptions{MaximumParallelInvocationsPerClient: limit}})
			var running atomic.Int32
			full := make(chan struct{})
			srv.handle("together", func(context.Context, *testHub, []json.RawMessage) (any, error) {
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
				<-full // until the limit is reached
				return nil, nil
			})
			c := dial(t, srv.url)
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

// Pings, cancels and close messages are handled while calls are running.
func TestPingsCancelsAndClosesDoNotWaitForCalls(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	started := make(chan struct{})
	srv.handle("run", func(ctx context.Context, _ *testHub, _ []json.RawMessage) (any, error) {
		close(started)
		<-ctx.Done()
		return nil, context.Cause(ctx)
	})
	c := dial(t, srv.url)
	c.call("Do", "run", []any{})
	receive(t, started)
	c.send(invocation("waits", "Echo", 1), `{"type":6}`, `{"type":5,"invocationId":"1"}`)
	require.Equal(t, "1", c.next().InvocationID)
	require.Equal(t, `{"type":3,"invocationId":"waits","result":1}`, c.next().raw)
}

// A call that is canceled before it begins runs with a canceled context, and is completed.
func TestACallCanBeCanceledBeforeItBegins(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	running := make(chan struct{})
	srv.handle("first", func(ctx context.Context, _ *testHub, _ []json.RawMessage) (any, error) {
		close(running)
		<-ctx.Done()
		return 1, nil
	})
	srv.handle("second", func(ctx context.Context, _ *testHub, _ []json.RawMessage) (any, error) {
		return fmt.Sprint(context.Cause(ctx)), nil
	})
	c := dial(t, srv.url)
	first := c.call("Do", "first", []any{})
	receive(t, running)
	c.send(invocation("second", "Do", "second", []any{}), `{"type":5,"invocationId":"second"}`, `{"type":5,"invocationId":"`+first+`"}`)
	require.Equal(t, first, c.next().InvocationID)
	require.Equal(t, `"hubsys: the client has canceled the invocation"`, string(c.next().Result))
}
