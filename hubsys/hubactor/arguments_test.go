package hubactor_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/hubactor"
)

func TestExportedFieldsAreTheParametersInTheirOrder(t *testing.T) {
	type order struct {
		Symbol string
		Amount int `json:"amount"`
	}
	type place struct {
		First  string
		hidden int
		Order  order
		Flags  []bool
		Maybe  *int
		Any    any
	}
	got := make(chan place, 1)
	c := dial(t, serveHub(t, hubactor.Hub{
		Methods: []hubactor.Method{hubactor.Receive[place]("place")},
		Props: receiver(func(c actor.Context) {
			if m, ok := c.Message().(*hubactor.Call[place]); ok {
				got <- m.Args
				c.Respond(m.Args.hidden)
			}
		}),
	}, hubsys.HubOptions{}))
	c.result("Place", "a", map[string]any{"symbol": "ACME", "amount": 5}, []bool{true, false}, nil, []int{1})
	assert.Equal(t, place{First: "a", Order: order{"ACME", 5}, Flags: []bool{true, false}, Any: []any{1.0}}, receive(t, got))
}

func TestCallsThatDoNotFitReachNoActor(t *testing.T) {
	for _, scope := range allScopes {
		var calls atomic.Int32
		url := serveHub(t, hubactor.Hub{Scope: scope, Methods: []hubactor.Method{hubactor.Receive[oneInt]("do")}, Props: receiver(func(c actor.Context) {
			switch c.Message().(type) {
			case *actor.Started, *actor.Stopping, *actor.Stopped, *hubactor.Connected, *hubactor.Disconnected:
			default:
				calls.Add(1)
			}
		})}, hubsys.HubOptions{EnableDetailedErrors: true})
		c := dial(t, url)
		const failed, unknown = "Failed to invoke 'do' due to an error on the server.", "' due to an error on the server. HubException: Method does not exist."
		assert.Equal(t, failed+" Error: Error binding arguments. Make sure that the types of the provided values match the types of the hub method being invoked.", c.failure("do", "text"))
		assert.Equal(t, failed+" Error: Invocation provides 0 argument(s) but target expects 1.", c.failure("do"))
		assert.Equal(t, failed+" Error: Invocation provides 2 argument(s) but target expects 1.", c.failure("do", 1, 2))
		assert.Equal(t, "Failed to invoke 'undo"+unknown, c.failure("undo"))
		assert.Equal(t, "Failed to invoke 'OnConnected"+unknown, c.failure("OnConnected"))
		assert.Equal(t, "Failed to invoke '"+unknown, c.failure(""))
		c.send(streamInvocation("s", "undo"))
		assert.Equal(t, "Failed to invoke 'undo"+unknown, c.failureOf("s"))
		c.send(upload("u", "do", "s"))
		assert.Contains(t, c.failureOf("u"), failed)
		assert.Zero(t, calls.Load())
	}
}

func TestErrorsOfArgumentsAreNotDetailedByDefault(t *testing.T) {
	c := dial(t, serveHub(t, hubactor.Hub{
		Methods: []hubactor.Method{hubactor.Receive[oneInt]("do")}, Props: receiver(func(actor.Context) {}),
	}, hubsys.HubOptions{}))
	assert.Equal(t, "Failed to invoke 'do' due to an error on the server.", c.failure("do", "text"))
}

func TestMethodsAreFoundWithoutRegardToCase(t *testing.T) {
	c := dial(t, serveHub(t, answering(hubactor.Shared, func(c actor.Context, _ *hubactor.Call[none]) { c.Respond(1) }), hubsys.HubOptions{}))
	for _, name := range []string{"do", "Do", "DO", "dO"} {
		assert.Equal(t, "1", c.result(name))
	}
}

func TestPoliciesOfMethodsGuardActors(t *testing.T) {
	for _, scope := range allScopes {
		var calls, asked atomic.Int32
		hub := hubactor.Hub{
			Scope:   scope,
			Methods: []hubactor.Method{hubactor.Receive[none]("open"), hubactor.Receive[oneInt]("Guarded"), hubactor.Receive[none]("hidden")},
			Props: receiver(func(c actor.Context) {
				if m, ok := c.Message().(*hubactor.Call[oneInt]); ok {
					calls.Add(1)
					c.Respond(m.Args.N)
				} else if _, ok := c.Message().(*hubactor.Call[none]); ok {
					c.Respond(nil)
				}
			}),
		}
		c := dial(t, serveHub(t, hub, hubsys.HubOptions{Methods: []hubsys.Method{
			{Name: "guarded", Policy: func(context.Context, *hubsys.Principal) error {
				if asked.Add(1) == 3 {
					return nil
				}
				return errors.New("not yet")
			}},
			{Name: "HIDDEN", Hidden: true},
		}}))
		assert.Equal(t, "Failed to invoke 'guarded' because user is unauthorized", c.failure("guarded", 1))
		assert.Equal(t, "Failed to invoke 'guarded' because user is unauthorized", c.failure("GUARDED", "does not fit"))
		require.Zero(t, calls.Load())
		assert.Equal(t, "3", c.result("Guarded", 3))
		assert.Contains(t, c.failure("hidden"), "Method does not exist.")
		c.result("open")
		assert.EqualValues(t, 3, asked.Load())
	}
}

func TestFiltersAreAroundHubsOfActors(t *testing.T) {
	type key struct{}
	seen := &journal{}
	filter := func(next hubsys.Handler) hubsys.Handler {
		h := next
		h.Invoke = func(ctx context.Context, in *hubsys.Invocation) (any, error) {
			seen.write("before " + in.Method())
			if in.Method() == "refused" {
				return nil, hubsys.Errorf("Refused.")
			}
			result, err := next.Invoke(context.WithValue(ctx, key{}, "of the filter"), in)
			seen.write("after " + in.Method())
			if err != nil {
				return "instead", nil
			}
			return result, nil
		}
		h.Connected = func(ctx context.Context) error {
			seen.write("connected")
			return next.Connected(ctx)
		}
		return h
	}
	for _, scope := range allScopes {
		seen.clear()
		hub := hubactor.Hub{Scope: scope, Methods: []hubactor.Method{hubactor.Receive[none]("do"), hubactor.Receive[oneInt]("fail"), hubactor.Receive[none]("refused")}, Props: receiver(func(c actor.Context) {
			switch m := c.Message().(type) {
			case *hubactor.Call[none]:
				c.Respond(m.Context().Value(key{}))
			case *hubactor.Call[oneInt]:
				c.Respond(errTest)
			}
		})}
		c := dialHandshake(t, serveHub(t, hub, hubsys.HubOptions{Filters: []hubsys.Filter{filter}}))
		assert.Equal(t, `"of the filter"`, c.result("do"))
		assert.Equal(t, `"instead"`, c.result("fail", 1))
		assert.Contains(t, c.failure("refused"), "HubException: Refused.")
		assert.Equal(t, []string{"connected", "before do", "after do", "before fail", "after fail", "before refused"}, seen.read())
	}
}

func TestAFilterThatRefusesAConnectionLeavesNoActor(t *testing.T) {
	refuse := func(next hubsys.Handler) hubsys.Handler {
		h := next
		h.Connected = func(context.Context) error { return hubsys.Errorf("The server is full.") }
		return h
	}
	sys := newSystem(t, hubsys.Config{})
	hub := answering(hubactor.PerConnection, func(actor.Context, *hubactor.Call[none]) {})
	c := dialHandshake(t, serveIn(t, sys, hub, hubsys.HubOptions{Filters: []hubsys.Filter{refuse}}))
	assert.False(t, c.requireClose())
	assert.Empty(t, names(sys.ActorSystem(), "actors/connections/"))
}
