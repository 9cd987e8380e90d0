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
	w := newWorld(t, setup{})
	c, id := dialID(t, w.url, nil)
	client := w.hub.Clients().Client(id)

	a := inquire[point](t.Context(), client, 1, "two", point{3, 4})
	c.send(value(c.asked(1, "two", map[string]int{"x": 3, "y": 4}), map[string]int{"x": 5, "y": 6}))
	got := wait(t, a)
	require.NoError(t, got.err)
	require.Equal(t, point{5, 6}, got.value)

	b := inquire[*int](t.Context(), client)
	c.send(value(c.asked(), nil))
	require.Equal(t, answered[*int]{}, wait(t, b))

	raw := inquire[json.RawMessage](t.Context(), client)
	c.send(value(c.asked(), []int{1, 2}))
	require.Equal(t, "[1,2]", string(wait(t, raw).value))

	list := inquire[[]string](t.Context(), client)
	c.send(value(c.asked(), []string{"a", "b"}))
	require.Equal(t, []string{"a", "b"}, wait(t, list).value)
	c.quiet()
}

func TestInvocationsWithTypes(t *testing.T) {
	w := newWorld(t, setup{})
	w.on("ask", func(ctx context.Context, h *lab, _ []json.RawMessage) (any, error) {
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
	c := dial(t, w.url)
	id := c.call("Do", "ask", []any{})
	args := []any{1, "2", true, nil}
	for i := range 5 {
		c.send(value(c.asked(args[:i]...), i))
	}
	require.Equal(t, "10", string(c.await(id).Result))
}

// With a limit of one, the client can call the hub before it answers.
func TestInvokeAndTheLimit(t *testing.T) {
	w := newWorld(t, setup{})
	w.asks()
	c := dial(t, w.url)
	var ids []string
	for i := range 5 {
		c.send(invocation(fmt.Sprint("outer", i), "Do", "ask", []any{}))
		ids = append(ids, c.asked())
		c.send(invocation("inner", "Echo", i))
		c.reads(value("inner", i))
	}
	for i := range ids {
		c.send(value(ids[len(ids)-1-i], i))
		c.reads(value(fmt.Sprint("outer", len(ids)-1-i), i))
	}
	c.quiet()
}

func TestInvokeInLifetimeMethods(t *testing.T) {
	errs := make(chan error, 1)
	w := newWorld(t, setup{
		connected: func(ctx context.Context, h *lab) error {
			name, err := hubsys.Invoke[string](ctx, h.Clients().Caller(), "ask", "name")
			h.Call().Items().Store("name", name)
			return err
		},
		disconnected: func(ctx context.Context, h *lab, _ error) error {
			_, err := hubsys.Invoke[string](ctx, h.Clients().Caller(), "ask")
			errs <- err
			return nil
		},
	})
	w.on("name", func(_ context.Context, h *lab, _ []json.RawMessage) (any, error) {
		name, _ := h.Call().Items().Load("name")
		return name, nil
	})
	c := shake(t, w.url, dialing{})
	c.send(invocation("1", "Do", "name", []any{}))
	c.send(value(c.asked("name"), "ada"))
	c.reads(value("1", "ada"))
	c.leave()
	require.ErrorIs(t, wait(t, errs), hubsys.ErrGone)

	c = shake(t, w.url, dialing{})
	c.send(broken(c.asked("name"), "none of your business"))
	c.reads(`{"type":7,"error":"Connection closed with an error. HubException: none of your business"}`)
}

// Methods of two connections ask each other's clients.
func TestInvokeAcross(t *testing.T) {
	w := newWorld(t, setup{})
	w.on("other", func(ctx context.Context, h *lab, args []json.RawMessage) (any, error) {
		var id string
		_ = json.Unmarshal(args[0], &id)
		return hubsys.Invoke[string](ctx, h.Clients().Client(id), "ask")
	})
	c, first := dialID(t, w.url, nil)
	d, second := dialID(t, w.url, nil)
	c.send(invocation("1", "Do", "other", []any{second}))
	d.send(invocation("1", "Do", "other", []any{first}))
	forC, forD := c.asked(), d.asked()
	c.send(value(forC, "from c"))
	d.send(value(forD, "from d"))
	c.reads(value("1", "from d"))
	d.reads(value("1", "from c"))
}

// Streams ask, too, in the methods and in what they return.
func TestInvokeInStreams(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*asker, error) { return &asker{}, nil }, hubsys.HubOptions{})
	c := dial(t, serve(t, sys, hub))
	c.send(streaming("1", "Answers", nil, 3))
	for i := range 3 {
		c.send(value(c.asked(i), 10*i))
		c.reads(part("1", 10*i))
	}
	c.reads(over("1"))
	c.send(streaming("1", "Answers", nil, 3))
	c.asked(0)
	c.send(cancel("1"))
	c.reads(over("1"))
	c.send(streaming("1", "Answers", nil, 3))
	c.send(broken(c.asked(0), "my fault"))
	c.reads(broken("1", streamingText+" HubException: my fault"))
	c.quiet()
}

type asker struct{ hubsys.Hub }

func (*asker) Echo(v any) any { return v }

func (h *asker) Answers(ctx context.Context, n int) numbers {
	return func(yield func(int, error) bool) {
		for i := range n {
			if !yield(hubsys.Invoke[int](ctx, h.Clients().Caller(), "ask", i)) {
				return
			}
		}
	}
}

// An answer may be as large as any message.
func TestALargeAnswer(t *testing.T) {
	w := newWorld(t, setup{HubOptions: hubsys.HubOptions{MaximumReceiveMessageSize: hubsys.Unlimited, InboundLimit: 64 << 10}})
	c, id := dialID(t, w.url, nil)
	c.send(invocation("1", "Echo", strings.Repeat("x", 300<<10)))
	require.Len(t, c.next().Result, 300<<10+2, "so large is a call")
	a := inquire[string](t.Context(), w.hub.Clients().Client(id))
	c.send(value(c.asked(), strings.Repeat("x", 300<<10)))
	got := wait(t, a)
	require.NoError(t, got.err)
	require.Len(t, got.value, 300<<10)
}

func TestShutdownWhileAClientIsAsked(t *testing.T) {
	noLeaks(t)
	w := newWorld(t, setup{EndpointOptions: hubsys.EndpointOptions{CloseTimeout: quickClose}})
	w.asks()
	c, id := dialID(t, w.url, nil)
	a := inquire[int](t.Context(), w.hub.Clients().Client(id))
	c.asked()
	c.send(invocation("1", "Do", "ask", []any{}))
	c.asked()
	require.NoError(t, shutdown(w.sys))
	require.ErrorIs(t, wait(t, a).err, hubsys.ErrGone)
}

// A method with a stream from its client can shut the system down, and its context goes on until it returns.
func TestShutdownInsideACallWithAnUpload(t *testing.T) {
	for _, method := range []string{"Take", "TakeChannel"} {
		t.Run(method, func(t *testing.T) {
			s, url := newStage(t, hubsys.HubOptions{})
			errs := make(chan error, 2)
			down := func(ctx context.Context) (any, error) {
				deadline, cancel := context.WithTimeout(ctx, 3*time.Second)
				defer cancel()
				errs <- s.sys.Shutdown(deadline)
				errs <- context.Cause(ctx)
				return nil, nil
			}
			s.chans = func(ctx context.Context, _ <-chan int) (any, error) { return down(ctx) }
			s.do = func(ctx context.Context, items iter.Seq2[int, error]) (any, error) { return down(ctx) }
			c := dial(t, url)
			c.send(uploading("1", method, []string{"s"}))
			c.reads(reconnect)
			c.ended()
			require.NoError(t, wait(t, errs))
			require.NoError(t, wait(t, errs), "its context")
		})
	}
}

func TestManyAsk(t *testing.T) {
	noLeaks(t)
	w := newWorld(t, setup{HubOptions: hubsys.HubOptions{MaximumParallelInvocationsPerClient: 3}})
	w.on("ask", func(ctx context.Context, h *lab, args []json.RawMessage) (any, error) {
		return hubsys.Invoke[int](ctx, h.Clients().Caller(), "ask", args[0])
	})
	var clients sync.WaitGroup
	for range 4 {
		c := dial(t, w.url)
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
				if err := write(value(r.InvocationID, r.Arguments[0])); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
}
