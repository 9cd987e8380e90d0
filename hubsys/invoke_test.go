package hubsys_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/typed"
)

func TestInvoke(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	c, id := dialWithID(t, srv.url, nil)
	client := srv.hub.Clients().Client(id)

	a := invokeAsync[point](t.Context(), client, 1, "two", point{3, 4})
	c.send(resultCompletion(c.requireAsk(1, "two", map[string]int{"x": 3, "y": 4}), map[string]int{"x": 5, "y": 6}))
	got := receive(t, a)
	require.NoError(t, got.err)
	require.Equal(t, point{5, 6}, got.value)

	b := invokeAsync[*int](t.Context(), client)
	c.send(resultCompletion(c.requireAsk(), nil))
	require.Equal(t, invokeResult[*int]{}, receive(t, b))

	raw := invokeAsync[json.RawMessage](t.Context(), client)
	c.send(resultCompletion(c.requireAsk(), []int{1, 2}))
	require.Equal(t, "[1,2]", string(receive(t, raw).value))

	list := invokeAsync[[]string](t.Context(), client)
	c.send(resultCompletion(c.requireAsk(), []string{"a", "b"}))
	require.Equal(t, []string{"a", "b"}, receive(t, list).value)
	c.requireNoMessages()
}

func TestInvocationsWithTypes(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	srv.handle("ask", func(ctx context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		caller := h.Clients().Caller()
		var sum int
		for _, ask := range []func() (int, error){
			func() (int, error) { return typed.Func0[int]("ask").Invoke(ctx, caller) },
			func() (int, error) { return typed.Func1[int, int]("ask").Invoke(ctx, caller, 1) },
			func() (int, error) { return typed.Func2[int, string, int]("ask").Invoke(ctx, caller, 1, "2") },
			func() (int, error) {
				return typed.Func3[int, string, bool, int]("ask").Invoke(ctx, caller, 1, "2", true)
			},
			func() (int, error) {
				return typed.Func4[int, string, bool, *int, int]("ask").Invoke(ctx, caller, 1, "2", true, nil)
			},
		} {
			n, err := ask()
			if err != nil {
				return nil, err
			}
			sum += n
		}
		return sum, nil
	})
	c := dial(t, srv.url)
	id := c.call("Do", "ask", []any{})
	args := []any{1, "2", true, nil}
	for i := range 5 {
		c.send(resultCompletion(c.requireAsk(args[:i]...), i))
	}
	require.Equal(t, "10", string(c.awaitCompletion(id).Result))
}

// With a limit of one parallel call, a client can call the hub before it completes an invocation.
func TestInvokeAndTheLimit(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	srv.handleAsk()
	c := dial(t, srv.url)
	var ids []string
	for i := range 5 {
		c.send(invocation(fmt.Sprint("outer", i), "Do", "ask", []any{}))
		ids = append(ids, c.requireAsk())
		c.send(invocation("inner", "Echo", i))
		c.requireMessages(resultCompletion("inner", i))
	}
	for i := range ids {
		c.send(resultCompletion(ids[len(ids)-1-i], i))
		c.requireMessages(resultCompletion(fmt.Sprint("outer", len(ids)-1-i), i))
	}
	c.requireNoMessages()
}

func TestInvokeInLifetimeMethods(t *testing.T) {
	errs := make(chan error, 1)
	srv := newTestServer(t, testConfig{
		onConnected: func(ctx context.Context, h *testHub) error {
			name, err := hubsys.Invoke[string](ctx, h.Clients().Caller(), "ask", "name")
			h.Call().Items().Store("name", name)
			return err
		},
		onDisconnected: func(ctx context.Context, h *testHub, _ error) error {
			_, err := hubsys.Invoke[string](ctx, h.Clients().Caller(), "ask")
			errs <- err
			return nil
		},
	})
	srv.handle("name", func(_ context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		name, _ := h.Call().Items().Load("name")
		return name, nil
	})
	c := dialHandshake(t, srv.url, dialOptions{})
	c.send(invocation("1", "Do", "name", []any{}))
	c.send(resultCompletion(c.requireAsk("name"), "ada"))
	c.requireMessages(resultCompletion("1", "ada"))
	c.close()
	require.ErrorIs(t, receive(t, errs), hubsys.ErrGone)

	c = dialHandshake(t, srv.url, dialOptions{})
	c.send(errorCompletion(c.requireAsk("name"), "none of your business"))
	c.requireMessages(`{"type":7,"error":"Connection closed with an error. HubException: none of your business"}`)
}

// Hub methods of two connections invoke methods of each other's clients.
func TestInvokeAcross(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	srv.handle("other", func(ctx context.Context, h *testHub, args []json.RawMessage) (any, error) {
		var id string
		_ = json.Unmarshal(args[0], &id)
		return hubsys.Invoke[string](ctx, h.Clients().Client(id), "ask")
	})
	c, first := dialWithID(t, srv.url, nil)
	d, second := dialWithID(t, srv.url, nil)
	c.send(invocation("1", "Do", "other", []any{second}))
	d.send(invocation("1", "Do", "other", []any{first}))
	idForC, idForD := c.requireAsk(), d.requireAsk()
	c.send(resultCompletion(idForC, "from c"))
	d.send(resultCompletion(idForD, "from d"))
	c.requireMessages(resultCompletion("1", "from d"))
	d.requireMessages(resultCompletion("1", "from c"))
}

// Hub methods that return streams can invoke client methods while they stream.
func TestInvokeInStreams(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*invokingHub, error) { return &invokingHub{}, nil }, hubsys.HubOptions{})
	c := dial(t, serve(t, sys, hub))
	c.send(streamInvocation("1", "Answers", nil, 3))
	for i := range 3 {
		c.send(resultCompletion(c.requireAsk(i), 10*i))
		c.requireMessages(streamItem("1", 10*i))
	}
	c.requireMessages(completion("1"))
	c.send(streamInvocation("1", "Answers", nil, 3))
	c.requireAsk(0)
	c.send(cancelInvocation("1"))
	c.requireMessages(completion("1"))
	c.send(streamInvocation("1", "Answers", nil, 3))
	c.send(errorCompletion(c.requireAsk(0), "my fault"))
	c.requireMessages(errorCompletion("1", streamErrorText+" HubException: my fault"))
	c.requireNoMessages()
}

type invokingHub struct{ hubsys.Hub }

func (*invokingHub) Echo(v any) any { return v }

func (h *invokingHub) Answers(ctx context.Context, n int) namedSequence {
	return func(yield func(int, error) bool) {
		for i := range n {
			if !yield(hubsys.Invoke[int](ctx, h.Clients().Caller(), "ask", i)) {
				return
			}
		}
	}
}

// A result may be as large as any message.
func TestInvokeWithALargeResult(t *testing.T) {
	srv := newTestServer(t, testConfig{HubOptions: hubsys.HubOptions{MaximumReceiveMessageSize: hubsys.Unlimited, InboundLimit: 64 << 10}})
	c, id := dialWithID(t, srv.url, nil)
	c.send(invocation("1", "Echo", strings.Repeat("x", 300<<10)))
	require.Len(t, c.next().Result, 300<<10+2, "a call may be that large")
	a := invokeAsync[string](t.Context(), srv.hub.Clients().Client(id))
	c.send(resultCompletion(c.requireAsk(), strings.Repeat("x", 300<<10)))
	got := receive(t, a)
	require.NoError(t, got.err)
	require.Len(t, got.value, 300<<10)
}

func TestShutdownEndsPendingInvokes(t *testing.T) {
	requireNoLeaks(t)
	srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{CloseTimeout: quickClose}})
	srv.handleAsk()
	c, id := dialWithID(t, srv.url, nil)
	a := invokeAsync[int](t.Context(), srv.hub.Clients().Client(id))
	c.requireAsk()
	c.send(invocation("1", "Do", "ask", []any{}))
	c.requireAsk()
	require.NoError(t, shutdown(srv.sys))
	require.ErrorIs(t, receive(t, a).err, hubsys.ErrGone)
}

// A method with a client stream can shut down the System, and its context is not canceled until the method returns.
func TestShutdownInsideACallWithAnUpload(t *testing.T) {
	for _, method := range []string{"Take", "TakeChannel"} {
		t.Run(method, func(t *testing.T) {
			s, url := newStreamServer(t, hubsys.HubOptions{})
			errs := make(chan error, 2)
			down := func(ctx context.Context) (any, error) {
				deadline, cancel := context.WithTimeout(ctx, 3*time.Second)
				defer cancel()
				errs <- s.sys.Shutdown(deadline)
				errs <- context.Cause(ctx)
				return nil, nil
			}
			s.readChannel = func(ctx context.Context, _ <-chan int) (any, error) { return down(ctx) }
			s.readSequence = func(ctx context.Context, items iter.Seq2[int, error]) (any, error) { return down(ctx) }
			c := dial(t, url)
			c.send(uploadInvocation("1", method, []string{"s"}))
			c.requireMessages(reconnectJSON)
			c.requireClosed()
			require.NoError(t, receive(t, errs))
			require.NoError(t, receive(t, errs), "its context")
		})
	}
}

func TestConcurrentInvokes(t *testing.T) {
	requireNoLeaks(t)
	srv := newTestServer(t, testConfig{HubOptions: hubsys.HubOptions{MaximumParallelInvocationsPerClient: 3}})
	srv.handle("ask", func(ctx context.Context, h *testHub, args []json.RawMessage) (any, error) {
		return hubsys.Invoke[int](ctx, h.Clients().Caller(), "ask", args[0])
	})
	var clients sync.WaitGroup
	for range 4 {
		c := dial(t, srv.url)
		clients.Go(func() {
			const calls = 100
			ctx := context.Background()
			write := func(record string) error {
				return c.ws.Write(ctx, websocket.MessageText, []byte(record+separator))
			}
			for i := range calls {
				if write(invocation(fmt.Sprint(i), "Do", "ask", []any{i})) != nil {
					t.Error("closed")
					return
				}
			}
			for done := 0; done < calls; {
				r, err := c.tryNext()
				if err != nil {
					t.Error(err)
					return
				}
				if r.Type == 3 {
					done++
					if string(r.Result) != r.InvocationID {
						t.Error(r.raw)
					}
					continue
				}
				if err := write(resultCompletion(r.InvocationID, r.Arguments[0])); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
}
