package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// What goes wrong has a type, and a text that the reference has as well.
func TestErrorsOfInvoke(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{EndpointOptions: hubsys.EndpointOptions{CloseTimeout: quickClose}})
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
