package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// callWithState returns a call of Do with the state of a client.
func callWithState(action, state string) string {
	return `{"H":"chat","M":"Do","A":["` + action + `",[]],"I":"7","S":` + state + `}`
}

func TestStateOfClassicClients(t *testing.T) {
	srv := newClassicServer(t, classicConfig{})
	srv.handle("read", func(_ context.Context, h *classicHub, _ []json.RawMessage) (any, error) {
		s := h.Call().State()
		return []any{s.Get("a"), s.Get("b"), s.Get("A"), s.Get("none")}, nil
	})
	srv.handle("write", func(_ context.Context, h *classicHub, _ []json.RawMessage) (any, error) {
		s := h.Call().State()
		n, _ := s.Get("n").(int64)
		s.Set("n", n+1)
		s.Set("Other", struct{ X int }{1})
		s.Set("same", "x")
		s.Set("gone", nil)
		return s.Get("n"), nil
	})
	srv.handle("fail", func(_ context.Context, h *classicHub, _ []json.RawMessage) (any, error) {
		h.Call().State().Set("n", 1)
		return nil, &hubsys.HubError{Message: "no"}
	})
	srv.handle("leave it", func(_ context.Context, h *classicHub, _ []json.RawMessage) (any, error) {
		s := h.Call().State()
		s.Set("list", []any{1.0, "x"})
		s.Set("null", nil)
		s.Set("object", map[string]any{"a": true})
		return nil, nil
	})
	overClassicTransports(t, func(t *testing.T, transport string) {
		c := dialClassic(t, srv, transport)
		for _, test := range []struct{ action, state, want string }{
			{"read", `{"a":1,"b":{"c":["x",null]}}`, `{"R":[1,{"c":["x",null]},null,null],"I":"7"}`},
			{"read", `{}`, `{"R":[null,null,null,null],"I":"7"}`},
			{"read", `null`, `{"R":[null,null,null,null],"I":"7"}`},
			{"write", `{"n":4,"same":"x"}`, `{"S":{"Other":{"X":1},"gone":null,"n":5},"R":5,"I":"7"}`},
			{"write", `{"n":"4","gone":1,"unchanged":true}`, `{"S":{"Other":{"X":1},"gone":null,"n":1,"same":"x"},"R":1,"I":"7"}`},
			{"fail", `{}`, `{"S":{"n":1},"I":"7","H":true,"E":"no"}`},
			{"leave it", `{"list":[1,"x"],"null":null,"object":{"a":true}}`, `{"I":"7"}`},
		} {
			require.Equal(t, test.want, c.invokeText("7", callWithState(test.action, test.state)).raw)
		}
		require.Equal(t, `{"R":[null,null,null,null],"I":"1"}`, c.invoke("Do", "read", []any{}).raw, "nothing is kept for the next call")
	})
}

// A message to the caller brings what has changed so far, and one to others does not.
func TestStateGoesWithMessagesToTheCaller(t *testing.T) {
	srv := newClassicServer(t, classicConfig{})
	srv.handle("call", func(ctx context.Context, h *classicHub, _ []json.RawMessage) (any, error) {
		send := func(to hubsys.Receiver) error { return to.Send(ctx, "called") }
		s, clients := h.Call().State(), h.Clients()
		err := send(clients.Caller())
		s.Set("a", 1)
		err = errors.Join(err, send(clients.Caller()), send(clients.All()), send(clients.Client(h.Call().ConnectionID())))
		s.Set("b", "<")
		return "done", errors.Join(err, send(clients.Caller()))
	})
	overClassicTransports(t, func(t *testing.T, transport string) {
		c := dialClassic(t, srv, transport)
		require.Equal(t, `{"S":{"a":1,"b":"<"},"R":"done","I":"7"}`, c.invokeText("7", callWithState("call", `{"c":1}`)).raw)
		for _, state := range []string{``, `,"S":{"a":1}`, ``, ``, `,"S":{"a":1,"b":"<"}`} {
			require.JSONEq(t, `{"H":"Chat","M":"called","A":[]`+state+`}`, c.next())
		}
	})
}

func TestEventsHaveNoState(t *testing.T) {
	states := make(chan any, 10)
	note := func(_ context.Context, h *classicHub) error {
		s := h.Call().State()
		s.Set("x", 1)
		states <- s.Get("a")
		return nil
	}
	srv := newClassicServer(t, classicConfig{connected: note, reconnected: note, disconnected: note})
	c := dialClassic(t, srv, "longPolling")
	require.Equal(t, `{"R":1,"I":"7"}`, c.invokeText("7", `{"H":"chat","M":"Echo","A":[1],"I":7,"S":{"a":1}}`).raw)
	c.reconnect()
	srv.awaitEvents(c.id, "Chat connected", "Chat reconnected")
	c.abort()
	srv.awaitEvents(c.id, "Chat connected", "Chat reconnected", "Chat disconnected")
	for range 3 {
		require.Nil(t, receive(t, states))
	}
}

func TestOtherClientsHaveNoState(t *testing.T) {
	srv := newClassicServer(t, classicConfig{})
	srv.handle("write", func(ctx context.Context, h *classicHub, _ []json.RawMessage) (any, error) {
		h.Call().State().Set("a", 1)
		return h.Call().State().Get("a"), h.Clients().Caller().Send(ctx, "called")
	})
	c := dial(t, srv.http.URL+"/test")
	r := c.invoke("Do", "write", []any{})
	require.Nil(t, r.Error, r.raw)
	require.Equal(t, "null", string(r.Result))
	c.requireInvocation("called")
}

// progressHub reports progress.
type progressHub struct {
	hubsys.Hub
	late chan error
}

func (h *progressHub) Work(ctx context.Context, n int, p hubsys.Progress[any]) (string, error) {
	for i := range n {
		if err := p.Report(ctx, i); err != nil {
			return "", err
		}
		if err := h.Clients().Caller().Send(ctx, "called", i); err != nil {
			return "", err
		}
	}
	inbox := h.Call().Inbox()
	go func() {
		for range inbox { // until the call has returned
		}
		h.late <- p.Report(context.Background(), "late")
	}()
	return "done", nil
}

func (h *progressHub) Object(ctx context.Context, p hubsys.Progress[point]) error {
	h.Call().State().Set("at", 1)
	return p.Report(ctx, point{X: 1})
}

func (h *progressHub) Fails(ctx context.Context, p hubsys.Progress[any]) error {
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	return errors.Join(p.Report(ctx, func() {}), p.Report(canceled, 1), hubsys.Progress[int]{}.Report(ctx, 1))
}

func TestProgressOfClassicCalls(t *testing.T) {
	const n = 100
	late := make(chan error, 100)
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*progressHub, error) { return &progressHub{late: late}, nil }, hubsys.HubOptions{Name: "Chat"})
	require.NoError(t, sys.MapClassic("/signalr", hubsys.ClassicOptions{EnableDetailedErrors: true}))
	url := serve(t, sys, hub)
	address := url[:len(url)-len("/hub")] + "/signalr"
	overClassicTransports(t, func(t *testing.T, transport string) {
		c := newClassicClient(t, address, transport)
		c.negotiate()
		c.connect()
		c.start()
		require.Equal(t, `{"R":"done","I":"7"}`, c.invokeText("7", fmt.Sprintf(`{"H":"chat","M":"Work","A":[%d],"I":7}`, n)).raw)
		if transport == "webSockets" {
			require.Len(t, c.messages, 2*n, "all of it comes before the result")
		}
		for i := range n {
			require.Equal(t, fmt.Sprintf(`{"I":"P|7","P":{"I":"7","D":%d}}`, i), c.next())
			c.requireCall("called", i)
		}
		require.ErrorContains(t, receive(t, late), "progress of a call was reported that has returned")

		require.Equal(t, `{"S":{"at":1},"I":"a"}`, c.invokeText("a", `{"H":"chat","M":"Object","A":[],"I":"a"}`).raw)
		require.Equal(t, `{"I":"P|a","P":{"I":"a","D":{"X":1,"Y":0}},"S":{"at":1}}`, c.next(), "with what has changed of the state so far")

		a := c.invokeText("8", `{"H":"chat","M":"Fails","I":8}`)
		require.NotNil(t, a.E)
		for _, text := range []string{"func()", "context canceled", "a Progress is given by the hub"} {
			assert.Contains(t, *a.E, text)
		}
		require.Empty(t, c.messages)
	})
}

// Other clients are not told, and do not give the parameter.
func TestProgressOfOtherClients(t *testing.T) {
	late := make(chan error, 1)
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*progressHub, error) { return &progressHub{late: late}, nil }, hubsys.HubOptions{})
	c := dial(t, serve(t, sys, hub))
	r := c.invoke("Work", 1)
	require.Nil(t, r.Error, r.raw)
	require.Equal(t, `"done"`, string(r.Result))
	c.requireInvocation("called", 0)
	require.Error(t, receive(t, late))
	c.invokeError("Work", 1, nil)
}
