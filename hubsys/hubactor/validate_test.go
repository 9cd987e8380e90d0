package hubactor_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/hubactor"
)

type (
	none   struct{}
	oneInt struct{ N int }
)

// plain is a hub without faults.
func plain(receive func(c actor.Context)) hubactor.Hub {
	return hubactor.Hub{Methods: []hubactor.Method{hubactor.Receive[none]("do")}, Props: receiver(receive)}
}

func TestValidateReportsAllFaultsAtOnce(t *testing.T) {
	type unbindable struct {
		Fine int
		Ctx  context.Context
		Done chan int
		Also hubactor.Items[func()]
	}
	err := hubactor.Hub{
		Methods: []hubactor.Method{
			hubactor.Receive[none]("place"), hubactor.Receive[oneInt]("PLACE"), hubactor.Receive[int]("number"),
			hubactor.Receive[*none]("pointer"), hubactor.Receive[unbindable]("unbindable"), {}, hubactor.Receive[none](""),
		},
		Scope: hubactor.Shared + 1, Pending: -1, Timeout: -2,
	}.Validate()
	for _, text := range []string{
		"hubactor: Hub: ", "Props is nil", "Scope is unknown: 3", "Pending is -1: it is at least 1, or 0 for the default",
		"Timeout is -2ns: it is a time, 0 for the default, or hubsys.Unlimited",
		`Methods[1]: there is a method "PLACE" already`,
		`Methods[2], "number": int is no struct whose fields are the parameters`,
		`Methods[3], "pointer": *hubactor_test.none is no struct`,
		`Methods[4], "unbindable": field Ctx: `, "field Done: ", "field Also: ",
		"Methods[5] has no name: hubactor.Receive makes methods", "Methods[6] has no name",
	} {
		assert.ErrorContains(t, err, text)
	}
	assert.NotContains(t, err.Error(), "field Fine")
}

func TestValidateReportsTheZeroHub(t *testing.T) {
	err := hubactor.Hub{}.Validate()
	assert.ErrorContains(t, err, "Props is nil")
	assert.ErrorContains(t, err, "Methods is empty")
}

func TestValidateTakesWhatIsInOrder(t *testing.T) {
	type args struct {
		Text   string
		Items  hubactor.Items[map[string]int]
		Nested struct{ A, B []int }
		hidden chan int
	}
	_ = args{}.hidden
	hub := plain(func(actor.Context) {})
	require.NoError(t, hub.Validate())
	hub.Methods = append(hub.Methods, hubactor.Receive[args]("more"))
	for _, timeout := range []time.Duration{0, time.Microsecond, time.Hour, hubsys.Unlimited} {
		hub.Timeout = timeout
		require.NoError(t, hub.Validate())
	}
}

func TestRegisterRefusesWhatValidateReports(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	_, err := hubactor.Register(sys, hubactor.Hub{}, hubsys.HubOptions{Name: "test"})
	require.ErrorContains(t, err, "Props is nil")
	_, err = hubactor.Register(sys, plain(func(actor.Context) {}), hubsys.HubOptions{Name: "test"})
	require.NoError(t, err, "the name is still free")
}

func TestRegisterNeedsAName(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	_, err := hubactor.Register(sys, plain(func(actor.Context) {}), hubsys.HubOptions{})
	require.ErrorContains(t, err, "HubOptions.Name is empty")

	_, err = hubactor.Register(sys, plain(func(actor.Context) {}), hubsys.HubOptions{Name: "test", MaximumPendingResults: -1})
	require.ErrorContains(t, err, "MaximumPendingResults is -1")

	_, err = hubactor.Register(sys, plain(func(actor.Context) {}), hubsys.HubOptions{Name: "test"})
	require.NoError(t, err)
	_, err = hubactor.Register(sys, plain(func(actor.Context) {}), hubsys.HubOptions{Name: "test"})
	require.ErrorContains(t, err, `there is a hub named "test" already`)
}

func TestRegisterCallsPropsOnceWithItsHub(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	var got []*hubsys.HubContext
	hub := plain(func(actor.Context) {})
	hub.Props = func(c *hubsys.HubContext) *actor.Props {
		got = append(got, c)
		return actor.PropsFromFunc(func(c actor.Context) { c.Respond(nil) })
	}
	c, err := hubactor.Register(sys, hub, hubsys.HubOptions{Name: "test"})
	require.NoError(t, err)
	client := dial(t, serve(t, sys, c))
	client.result("do")
	client.result("do")
	require.Len(t, got, 1)
	assert.Same(t, c, got[0])
}

func TestRegisterFailsIfPropsAreNil(t *testing.T) {
	hub := plain(nil)
	hub.Props = func(*hubsys.HubContext) *actor.Props { return nil }
	_, err := hubactor.Register(newSystem(t, hubsys.Config{}), hub, hubsys.HubOptions{Name: "test"})
	require.ErrorContains(t, err, "Hub.Props has returned nil")
}

func TestRegisterFailsIfTheProducerOfASharedActorPanics(t *testing.T) {
	hub := plain(nil)
	hub.Scope = hubactor.Shared
	hub.Props = func(*hubsys.HubContext) *actor.Props {
		return actor.PropsFromProducer(func() actor.Actor { panic(errTest) })
	}
	_, err := hubactor.Register(newSystem(t, hubsys.Config{}), hub, hubsys.HubOptions{Name: "test"})
	require.ErrorIs(t, err, errTest)
	var panicked *hubsys.PanicError
	require.True(t, errors.As(err, &panicked))
	assert.Contains(t, string(panicked.Stack), "validate_test.go")
}

func TestRegisterFailsAfterShutdown(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	require.NoError(t, shutdown(sys))
	for _, scope := range []hubactor.Scope{hubactor.PerCall, hubactor.PerConnection, hubactor.Shared} {
		hub := plain(func(actor.Context) {})
		hub.Scope = scope
		_, err := hubactor.Register(sys, hub, hubsys.HubOptions{Name: "test"})
		require.Error(t, err)
	}
}

func TestPropsOfTheApplicationAreNotChanged(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	props := actor.PropsFromFunc(func(c actor.Context) {
		if _, ok := c.Message().(*hubactor.Call[none]); ok {
			c.Respond(c.Self().Id)
		}
	})
	hub := plain(nil)
	hub.Props = func(*hubsys.HubContext) *actor.Props { return props }
	first := dial(t, serveIn(t, sys, hub, hubsys.HubOptions{Name: "first"}))
	second := dial(t, serveIn(t, sys, hub, hubsys.HubOptions{Name: "second"}))
	assert.Contains(t, first.result("do"), "hubs/first/actors/calls/")
	assert.Contains(t, second.result("do"), "hubs/second/actors/calls/")
}

func TestRegisterRefusesOptionsForMethodsThatThereAreNot(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	for _, name := range []string{"done", "", "d"} {
		_, err := hubactor.Register(sys, plain(func(actor.Context) {}), hubsys.HubOptions{Name: "test", Methods: []hubsys.Method{{Name: "DO"}, {Name: name, Policy: hubsys.RequireUser}}})
		require.EqualError(t, err, fmt.Sprintf("hubactor: HubOptions.Methods[1]: the hub has no method %q", name))
	}
	_, err := hubactor.Register(sys, plain(func(actor.Context) {}), hubsys.HubOptions{Name: "test", Methods: []hubsys.Method{{Name: "DO"}}})
	require.NoError(t, err, "names are compared without regard to case")
}

func TestANumberAloneIsNoTimeout(t *testing.T) {
	hub := plain(func(actor.Context) {})
	hub.Timeout = 30
	require.ErrorContains(t, hub.Validate(), "Timeout is 30ns: a number alone means nanoseconds; write 15*time.Second")
}
