package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/typed"
	"github.com/troupe-go/troupe/proto/hubproto"
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

// What goes wrong has a type, and a text that the reference has as well.
func TestErrorsOfInvoke(t *testing.T) {
	w := newWorld(t, setup{})
	secret := errors.New("secret")
	var hubError *hubsys.HubError
	var bind *hubproto.BindError
	for name, test := range map[string]struct {
		args []any
		then func(c *client, id string, cancel context.CancelCauseFunc) // nil: the client is not asked
		as   any
		is   error
		text string
	}{
		"the client's error": {nil, func(c *client, id string, _ context.CancelCauseFunc) { c.send(broken(id, "my fault")) }, &hubError, nil, "my fault"},
		"without a text":     {nil, func(c *client, id string, _ context.CancelCauseFunc) { c.send(broken(id, "")) }, &hubError, nil, ""},
		"no result":          {nil, func(c *client, id string, _ context.CancelCauseFunc) { c.send(over(id)) }, &hubError, hubsys.ErrNoResult, "Client didn't provide a result."},
		"a misfit":           {nil, func(c *client, id string, _ context.CancelCauseFunc) { c.send(value(id, "x")) }, &bind, nil, "Error trying to deserialize result to int. json: cannot unmarshal string into Go value of type int"},
		"a misfit, HubError": {nil, func(c *client, id string, _ context.CancelCauseFunc) { c.send(value(id, nil)) }, &hubError, nil, "Error trying to deserialize result to int. null does not fit int"},
		"canceled":           {nil, func(_ *client, _ string, cancel context.CancelCauseFunc) { cancel(secret) }, &hubError, secret, "Invocation canceled by the server."},
		"canceled, no cause": {nil, func(_ *client, _ string, cancel context.CancelCauseFunc) { cancel(nil) }, &hubError, context.Canceled, "Invocation canceled by the server."},
		"leaves":             {nil, func(c *client, _ string, _ context.CancelCauseFunc) { c.leave() }, nil, hubsys.ErrGone, "Connection '%s' disconnected."},
		"vanishes":           {nil, func(c *client, _ string, _ context.CancelCauseFunc) { _ = c.ws.CloseNow() }, nil, hubsys.ErrGone, "Connection '%s' disconnected."},
		"unencodable":        {[]any{func() {}}, nil, nil, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c, id := dialID(t, w.url, nil)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			a := inquire[int](ctx, w.hub.Clients().Client(id), test.args...)
			if test.then != nil {
				test.then(c, c.asked(test.args...), cancel)
			}
			got := wait(t, a)
			require.Error(t, got.err)
			require.Zero(t, got.value)
			if test.as != nil {
				require.ErrorAs(t, got.err, test.as)
			}
			if test.is != nil {
				require.ErrorIs(t, got.err, test.is)
			}
			switch {
			case test.then == nil:
				require.ErrorContains(t, got.err, "cannot be encoded")
				require.False(t, errors.As(got.err, &hubError), "clients do not see it")
			case strings.Contains(test.text, "%s"):
				require.EqualError(t, got.err, fmt.Sprintf(test.text, id))
			default:
				require.EqualError(t, got.err, test.text)
				c.quiet()
			}
		})
	}
	_, err := hubsys.Invoke[int](t.Context(), w.hub.Clients().Client("nobody"), "ask")
	require.ErrorIs(t, err, hubsys.ErrGone)
	require.EqualError(t, err, "Connection 'nobody' does not exist.")
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	_, id := dialID(t, w.url, nil)
	_, err = hubsys.Invoke[int](ctx, w.hub.Clients().Client(id), "ask")
	require.ErrorAs(t, err, &hubError)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, shutdown(w.sys))
	_, err = hubsys.Invoke[int](t.Context(), w.hub.Clients().Client(id), "ask")
	require.Equal(t, hubsys.ErrShutdown, err)
}

// A result that fits in part is not given.
func TestAMisfitGivesNothing(t *testing.T) {
	w := newWorld(t, setup{})
	c, id := dialID(t, w.url, nil)
	a := inquire[point](t.Context(), w.hub.Clients().Client(id))
	c.send(value(c.asked(), map[string]any{"x": 1, "y": "two"}))
	got := wait(t, a)
	require.Error(t, got.err)
	require.Zero(t, got.value)
}

// The cause of a context that has ended is not mistaken for an answer.
func TestACauseThatIsAClientsError(t *testing.T) {
	w := newWorld(t, setup{})
	c, id := dialID(t, w.url, nil)
	a := inquire[int](t.Context(), w.hub.Clients().Client(id))
	c.send(broken(c.asked(), "my fault"))
	first := wait(t, a).err
	ctx, cancel := context.WithCancelCause(t.Context())
	a = inquire[int](ctx, w.hub.Clients().Client(id))
	c.asked()
	cancel(first)
	err := wait(t, a).err
	require.ErrorIs(t, err, first)
	require.EqualError(t, err, "Invocation canceled by the server.")
}

// What Invoke returns can be returned to the client that has called.
func TestErrorsOfInvokeOnTheirWayBack(t *testing.T) {
	w := newWorld(t, setup{})
	w.asks()
	c := dial(t, w.url)
	text := fmt.Sprintf(failedText, "Do")
	for _, test := range []struct {
		answer func(id string) string
		want   string
	}{
		{func(id string) string { return broken(id, "my fault") }, text + " HubException: my fault"},
		{over, text + " HubException: Client didn't provide a result."},
		{func(string) string { return cancel("1") }, text + " HubException: Invocation canceled by the server."},
	} {
		c.send(invocation("1", "Do", "ask", []any{}))
		c.send(test.answer(c.asked()))
		c.reads(broken("1", test.want))
	}
	w.on("nobody", func(ctx context.Context, h *lab, _ []json.RawMessage) (any, error) {
		return hubsys.Invoke[any](ctx, h.Clients().Client("nobody"), "ask")
	})
	require.Equal(t, text, c.fails("Do", "nobody", []any{}), "no HubError: ids are not for everyone")
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

// Whoever answers for another is closed.
func TestAForgedAnswer(t *testing.T) {
	causes := make(chan error, 2)
	w := newWorld(t, setup{disconnected: func(_ context.Context, _ *lab, cause error) error { causes <- cause; return nil }})
	c, id := dialID(t, w.url, nil)
	d, forger := dialID(t, w.url, nil)
	a := inquire[string](t.Context(), w.hub.Clients().Client(id))
	question := c.asked()
	d.send(value(question, "forged"))
	d.reads(failedClose)
	d.ended()
	require.EqualError(t, wait(t, causes), fmt.Sprintf("Connection ID '%s' is not valid for invocation ID '%s'.", forger, question))
	c.send(value(question, "mine"))
	require.Equal(t, "mine", wait(t, a).value)
	c.quiet()
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

// What the application encodes and decodes with may panic, or end the goroutine: no more than the call fails.
func TestInvokeWithRudeValues(t *testing.T) {
	w := newWorld(t, setup{})
	w.on("result", func(ctx context.Context, h *lab, _ []json.RawMessage) (any, error) {
		return hubsys.Invoke[rude](ctx, h.Clients().Caller(), "ask")
	})
	w.on("argument", func(ctx context.Context, h *lab, args []json.RawMessage) (any, error) {
		var how string
		_ = json.Unmarshal(args[0], &how)
		return hubsys.Invoke[any](ctx, h.Clients().Caller(), "ask", ruder(how))
	})
	c := dial(t, w.url)
	text := fmt.Sprintf(failedText, "Do")
	for _, how := range []string{"panic", "goexit"} {
		c.send(invocation("1", "Do", "result", []any{}))
		c.send(value(c.asked(), how))
		c.reads(broken("1", text))
		c.send(invocation("1", "Do", "argument", []any{how}))
		c.reads(broken("1", text))
		c.quiet()
	}
	c.send(invocation("1", "Do", "result", []any{}))
	c.send(value(c.asked(), "error"))
	c.reads(broken("1", text+" HubException: Error trying to deserialize result to hubsys_test.rude. secret"))
	c.quiet()
}

type ruder string

func (r ruder) MarshalJSON() ([]byte, error) {
	if r == "goexit" {
		runtime.Goexit()
	}
	panic("secret")
}

// An answer behind more than twice the limit is given up, and the connection lives.
func TestInvokeBehindTooMuch(t *testing.T) {
	s := &clogged{err: make(chan error, 1), goOn: make(chan struct{})}
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*clog, error) { return &clog{s: s}, nil }, hubsys.HubOptions{InboundLimit: 64 << 10})
	url := serve(t, sys, hub)
	c := dial(t, url)
	c.send(uploading("1", "Clog", []string{"s"}))
	id := c.asked()
	text := strings.Repeat("x", 8<<10)
	for range 40 { // five times the limit
		c.send(part("s", text))
	}
	err := wait(t, s.err)
	require.ErrorIs(t, err, hubsys.ErrInboundFull)
	close(s.goOn)
	c.send(value(id, "late"), over("s"))
	c.reads(value("1", 40))
	c.quiet()
}

type clog struct {
	hubsys.Hub
	s *clogged
}

type clogged struct {
	err  chan error
	goOn chan struct{}
}

func (*clog) Echo(v any) any { return v }

func (h *clog) Clog(ctx context.Context, items iter.Seq2[string, error]) (int, error) {
	_, err := hubsys.Invoke[string](ctx, h.Clients().Caller(), "ask")
	h.s.err <- err
	select {
	case <-h.s.goOn:
	case <-ctx.Done():
	}
	n := 0
	for _, err := range items {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
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
	w := newWorld(t, setup{})
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
