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

// Errors of Invoke have a type, and the text of the reference.
func TestErrorsOfInvoke(t *testing.T) {
	t.Parallel()
	srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{CloseTimeout: quickClose}})
	secret := errors.New("secret")
	var hubError *hubsys.HubError
	var bind *hubproto.BindError
	for name, test := range map[string]struct {
		args []any
		then func(c *testClient, id string, cancel context.CancelCauseFunc) // nil: no invocation is sent
		as   any
		is   error
		text string
	}{
		"the client's error": {nil, func(c *testClient, id string, _ context.CancelCauseFunc) { c.send(errorCompletion(id, "my fault")) }, &hubError, nil, "my fault"},
		"without a text":     {nil, func(c *testClient, id string, _ context.CancelCauseFunc) { c.send(errorCompletion(id, "")) }, &hubError, nil, ""},
		"no result":          {nil, func(c *testClient, id string, _ context.CancelCauseFunc) { c.send(completion(id)) }, &hubError, hubsys.ErrNoResult, "Client didn't provide a result."},
		"a misfit":           {nil, func(c *testClient, id string, _ context.CancelCauseFunc) { c.send(resultCompletion(id, "x")) }, &bind, nil, "Error trying to deserialize result to int. json: cannot unmarshal string into Go value of type int"},
		"a misfit, HubError": {nil, func(c *testClient, id string, _ context.CancelCauseFunc) { c.send(resultCompletion(id, nil)) }, &hubError, nil, "Error trying to deserialize result to int. null does not fit int"},
		"canceled":           {nil, func(_ *testClient, _ string, cancel context.CancelCauseFunc) { cancel(secret) }, &hubError, secret, "Invocation canceled by the server."},
		"canceled, no cause": {nil, func(_ *testClient, _ string, cancel context.CancelCauseFunc) { cancel(nil) }, &hubError, context.Canceled, "Invocation canceled by the server."},
		"leaves":             {nil, func(c *testClient, _ string, _ context.CancelCauseFunc) { c.close() }, nil, hubsys.ErrGone, "Connection '%s' disconnected."},
		"vanishes":           {nil, func(c *testClient, _ string, _ context.CancelCauseFunc) { _ = c.ws.CloseNow() }, nil, hubsys.ErrGone, "Connection '%s' disconnected."},
		"unencodable":        {[]any{func() {}}, nil, nil, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c, id := dialWithID(t, srv.url, nil)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			a := invokeAsync[int](ctx, srv.hub.Clients().Client(id), test.args...)
			if test.then != nil {
				test.then(c, c.requireAsk(test.args...), cancel)
			}
			got := receive(t, a)
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
				require.False(t, errors.As(got.err, &hubError), "it is not sent to clients")
			case strings.Contains(test.text, "%s"):
				require.EqualError(t, got.err, fmt.Sprintf(test.text, id))
			default:
				require.EqualError(t, got.err, test.text)
				c.requireNoMessages()
			}
		})
	}
	_, err := hubsys.Invoke[int](t.Context(), srv.hub.Clients().Client("unknown"), "ask")
	require.ErrorIs(t, err, hubsys.ErrGone)
	require.EqualError(t, err, "Connection 'unknown' does not exist.")
	ctx, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	_, id := dialWithID(t, srv.url, nil)
	_, err = hubsys.Invoke[int](ctx, srv.hub.Clients().Client(id), "ask")
	require.ErrorAs(t, err, &hubError)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, shutdown(srv.sys))
	_, err = hubsys.Invoke[int](t.Context(), srv.hub.Clients().Client(id), "ask")
	require.Equal(t, hubsys.ErrShutdown, err)
}

// A result that cannot be decoded completely is not returned.
func TestInvokeReturnsNoPartialResult(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	c, id := dialWithID(t, srv.url, nil)
	a := invokeAsync[point](t.Context(), srv.hub.Clients().Client(id))
	c.send(resultCompletion(c.requireAsk(), map[string]any{"x": 1, "y": "two"}))
	got := receive(t, a)
	require.Error(t, got.err)
	require.Zero(t, got.value)
}

// The cause of a canceled context is not mistaken for the client's result, even if it is a client's error.
func TestInvokeReturnsTheCauseOfItsContextAsSuch(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	c, id := dialWithID(t, srv.url, nil)
	a := invokeAsync[int](t.Context(), srv.hub.Clients().Client(id))
	c.send(errorCompletion(c.requireAsk(), "my fault"))
	first := receive(t, a).err
	ctx, cancel := context.WithCancelCause(t.Context())
	a = invokeAsync[int](ctx, srv.hub.Clients().Client(id))
	c.requireAsk()
	cancel(first)
	err := receive(t, a).err
	require.ErrorIs(t, err, first)
	require.EqualError(t, err, "Invocation canceled by the server.")
}

// Errors of Invoke can be returned to the calling client.
func TestErrorsOfInvokeOnTheirWayBack(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	srv.handleAsk()
	c := dial(t, srv.url)
	text := fmt.Sprintf(invocationErrorFormat, "Do")
	for _, test := range []struct {
		answer func(id string) string
		want   string
	}{
		{func(id string) string { return errorCompletion(id, "my fault") }, text + " HubException: my fault"},
		{completion, text + " HubException: Client didn't provide a result."},
		{func(string) string { return cancelInvocation("1") }, text + " HubException: Invocation canceled by the server."},
	} {
		c.send(invocation("1", "Do", "ask", []any{}))
		c.send(test.answer(c.requireAsk()))
		c.requireMessages(errorCompletion("1", test.want))
	}
	srv.handle("unknown", func(ctx context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		return hubsys.Invoke[any](ctx, h.Clients().Client("unknown"), "ask")
	})
	require.Equal(t, text, c.invokeError("Do", "unknown", []any{}), "no HubError, because it contains a connection ID")
}

// A client that completes an invocation of another client is disconnected.
func TestAForgedAnswer(t *testing.T) {
	causes := make(chan error, 2)
	srv := newTestServer(t, testConfig{
		onDisconnected: func(_ context.Context, _ *testHub, cause error) error { causes <- cause; return nil },
	})
	c, id := dialWithID(t, srv.url, nil)
	d, forger := dialWithID(t, srv.url, nil)
	a := invokeAsync[string](t.Context(), srv.hub.Clients().Client(id))
	invocationID := c.requireAsk()
	d.send(resultCompletion(invocationID, "forged"))
	d.requireMessages(closeErrorJSON)
	d.requireClosed()
	require.EqualError(t, receive(t, causes), fmt.Sprintf("Connection ID '%s' is not valid for invocation ID '%s'.", forger, invocationID))
	c.send(resultCompletion(invocationID, "mine"))
	require.Equal(t, "mine", receive(t, a).value)
	c.requireNoMessages()
}

// A call that waits for an answer is not answered any more when its client sends one that cannot be read: that closes the connection.
func TestAnAnswerThatClosesTheConnection(t *testing.T) {
	t.Parallel()
	srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{CloseTimeout: quickClose}})
	srv.handleAsk()
	for range 50 {
		c, _ := dialWithID(t, srv.url, nil)
		c.send(invocation("1", "Do", "ask", []any{}))
		id := c.requireAsk()
		c.send(`{"type":3,"invocationId":"` + id + `","result":"r","error":"e"}`)
		c.requireMessages(closeErrorJSON)
	}
}

// Marshalers and unmarshalers of the application may panic or call runtime.Goexit: only the call fails.
func TestInvokeWithMisbehavingMarshalers(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	srv.handle("result", func(ctx context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		return hubsys.Invoke[misbehavingJSON](ctx, h.Clients().Caller(), "ask")
	})
	srv.handle("argument", func(ctx context.Context, h *testHub, args []json.RawMessage) (any, error) {
		var how string
		_ = json.Unmarshal(args[0], &how)
		return hubsys.Invoke[any](ctx, h.Clients().Caller(), "ask", misbehavingMarshaler(how))
	})
	c := dial(t, srv.url)
	text := fmt.Sprintf(invocationErrorFormat, "Do")
	for _, how := range []string{"panic", "goexit"} {
		c.send(invocation("1", "Do", "result", []any{}))
		c.send(resultCompletion(c.requireAsk(), how))
		c.requireMessages(errorCompletion("1", text))
		c.send(invocation("1", "Do", "argument", []any{how}))
		c.requireMessages(errorCompletion("1", text))
		c.requireNoMessages()
	}
	c.send(invocation("1", "Do", "result", []any{}))
	c.send(resultCompletion(c.requireAsk(), "error"))
	c.requireMessages(errorCompletion("1", text+" HubException: Error trying to deserialize result to hubsys_test.misbehavingJSON. secret"))
	c.requireNoMessages()
}

type misbehavingMarshaler string

func (r misbehavingMarshaler) MarshalJSON() ([]byte, error) {
	if r == "goexit" {
		runtime.Goexit()
	}
	panic("secret")
}

// Invoke fails if the result is behind more input than twice InboundLimit. The connection is not closed.
func TestInvokeFailsBehindTooMuchInput(t *testing.T) {
	s := &uploadInvokeState{err: make(chan error, 1), proceed: make(chan struct{})}
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*uploadInvokeHub, error) { return &uploadInvokeHub{s: s}, nil },
		hubsys.HubOptions{InboundLimit: 64 << 10})
	url := serve(t, sys, hub)
	c := dial(t, url)
	c.send(uploadInvocation("1", "InvokeThenRead", []string{"s"}))
	id := c.requireAsk()
	text := strings.Repeat("x", 8<<10)
	for range 40 { // five times the limit
		c.send(streamItem("s", text))
	}
	err := receive(t, s.err)
	require.ErrorIs(t, err, hubsys.ErrInboundFull)
	close(s.proceed)
	c.send(resultCompletion(id, "late"), completion("s"))
	c.requireMessages(resultCompletion("1", 40))
	c.requireNoMessages()
}

type uploadInvokeHub struct {
	hubsys.Hub
	s *uploadInvokeState
}

type uploadInvokeState struct {
	err     chan error
	proceed chan struct{}
}

func (*uploadInvokeHub) Echo(v any) any { return v }

func (h *uploadInvokeHub) InvokeThenRead(ctx context.Context, items iter.Seq2[string, error]) (int, error) {
	_, err := hubsys.Invoke[string](ctx, h.Clients().Caller(), "ask")
	h.s.err <- err
	select {
	case <-h.s.proceed:
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
