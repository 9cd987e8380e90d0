package hubactor_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/hubactor"
)

type tick struct{ n int }

func requireNoTickers(t *testing.T, system *actor.ActorSystem) {
	t.Helper()
	eventually(t, func() bool { return goroutines("hubactor.Tick") == 0 }, "goroutines of tickers")
	eventually(t, func() bool { return len(names(system, "/tick/")) == 0 }, "processes of tickers")
}

func TestTickSendsAgainAndAgainUntilItsActorStops(t *testing.T) {
	for what, end := range map[string]func(*actor.RootContext, *actor.PID) *actor.Future{
		"Stop": (*actor.RootContext).StopFuture, "Poison": (*actor.RootContext).PoisonFuture,
	} {
		system := newActorSystem(t)
		ticks := make(chan any, 1000)
		to := spawn(t, system, func(c actor.Context) {
			switch m := c.Message().(type) {
			case *actor.Started:
				hubactor.Tick(c, time.Millisecond, tick{7})
			case tick:
				select {
				case ticks <- m:
				default:
				}
			}
		})
		for range 5 {
			assert.Equal(t, tick{7}, receive(t, ticks))
		}
		require.NoError(t, end(system.Root, to.PID()).Wait(), what)
		requireNoTickers(t, system)
	}
}

func TestTickEndsWithStop(t *testing.T) {
	system := newActorSystem(t)
	ticks, stops := make(chan any, 1000), make(chan func(), 1)
	to := spawn(t, system, func(c actor.Context) {
		switch m := c.Message().(type) {
		case *actor.Started:
			stops <- hubactor.Tick(c, time.Millisecond, tick{})
		case tick:
			select {
			case ticks <- m:
			default:
			}
		case question:
			c.Respond(answer{})
		}
	})
	stop := receive(t, stops)
	receive(t, ticks)
	stop()
	stop()
	requireNoTickers(t, system)
	_, err := ask[answer](t, to, question{})
	require.NoError(t, err, "the actor goes on")
	for len(ticks) > 0 {
		<-ticks
	}
	_, err = ask[answer](t, to, question{})
	require.NoError(t, err)
	assert.Empty(t, ticks)
}

func TestTickOfAnActorThatIsStoppingEndsAtOnce(t *testing.T) {
	system := newActorSystem(t)
	to := spawn(t, system, func(c actor.Context) {
		if _, ok := c.Message().(*actor.Stopping); ok {
			hubactor.Tick(c, time.Hour, tick{})
		}
	})
	require.NoError(t, system.Root.StopFuture(to.PID()).Wait())
	requireNoTickers(t, system)
}

func TestSeveralTicksOfOneActorAreApart(t *testing.T) {
	system := newActorSystem(t)
	var first atomic.Int32
	second := make(chan struct{}, 1000)
	stops := make(chan func(), 1)
	to := spawn(t, system, func(c actor.Context) {
		switch m := c.Message().(type) {
		case *actor.Started:
			stops <- hubactor.Tick(c, time.Millisecond, tick{1})
			hubactor.Tick(c, time.Millisecond, tick{2})
		case tick:
			if m.n == 1 {
				first.Add(1)
			} else if len(second) < cap(second) {
				second <- struct{}{}
			}
		}
	})
	eventually(t, func() bool { return first.Load() > 0 }, "the first ticks")
	receive(t, stops)()
	eventually(t, func() bool { return len(names(system, "/tick/")) == 1 }, "the first ends")
	for len(second) > 0 {
		<-second
	}
	receive(t, second)
	require.NoError(t, system.Root.StopFuture(to.PID()).Wait())
	requireNoTickers(t, system)
}

func TestAStopOfTickFromInsideItsOwnMessageWorks(t *testing.T) {
	system := newActorSystem(t)
	var stop func()
	ended := make(chan struct{}, 100)
	spawn(t, system, func(c actor.Context) {
		switch c.Message().(type) {
		case *actor.Started:
			stop = hubactor.Tick(c, time.Millisecond, tick{})
		case tick:
			stop()
			ended <- struct{}{}
		}
	})
	receive(t, ended)
	requireNoTickers(t, system)
}

func TestTickWithoutAPeriodPanicsInItsCaller(t *testing.T) {
	system := newActorSystem(t)
	reasons := make(chan any, 10)
	to := spawn(t, system, func(c actor.Context) {
		switch m := c.Message().(type) {
		case time.Duration:
			defer func() { reasons <- recover() }()
			hubactor.Tick(c, m, tick{})
		case question:
			c.Respond(answer{})
		}
	})
	for _, d := range []time.Duration{0, -1, -time.Hour} {
		to.Tell(d)
		assert.Equal(t, "hubactor: Tick: the period is not positive", receive(t, reasons), d)
	}
	_, err := ask[answer](t, to, question{})
	require.NoError(t, err)
	requireNoTickers(t, system)
}

// A restarted actor has the ticks that it has asked for itself, and not those of its former self as well.
func TestTicksAreNotDoubledByARestart(t *testing.T) {
	tickOnce := func(c actor.Context, message any) {
		if _, ok := message.(*actor.Started); ok {
			hubactor.Tick(c, time.Hour, tick{})
		}
	}
	sys := newSystem(t, hubsys.Config{})
	hub := counting(hubactor.Shared)
	inner := hub.Props
	hub.Props = func(h *hubsys.HubContext) *actor.Props {
		return inner(h).Clone(actor.WithReceiverMiddleware(func(next actor.ReceiverFunc) actor.ReceiverFunc {
			return func(c actor.ReceiverContext, e *actor.MessageEnvelope) {
				tickOnce(c.(actor.Context), e.Message)
				next(c, e)
			}
		}))
	}
	c := dial(t, serveIn(t, sys, hub, hubsys.HubOptions{}))
	for range 3 {
		c.failure("fail", 1)
		assert.Equal(t, "1", c.result("next"), "it was restarted")
		eventually(t, func() bool {
			return len(names(sys.ActorSystem(), "/tick/")) == 1 && goroutines("hubactor.Tick.func") == 1
		}, "one ticker")
	}
	c.close()
	require.NoError(t, shutdown(sys))
	requireNoTickers(t, sys.ActorSystem())

	sys = newSystem(t, hubsys.Config{})
	groups, url := newRooms(t, sys, func(string) *actor.Props {
		return actor.PropsFromFunc(func(c actor.Context) {
			tickOnce(c, c.Message())
			if m, ok := c.Message().(func(actor.Context)); ok {
				m(c)
			}
		})
	})
	c = dial(t, url)
	join(c, "a")
	to, ok := groups.Of("a")
	require.True(t, ok)
	for range 3 {
		to.Tell(func(actor.Context) { panic("the test panics") })
		_, err := ask[answer](t, to, func(c actor.Context) { c.Respond(answer{}) })
		require.NoError(t, err)
		eventually(t, func() bool {
			return len(names(sys.ActorSystem(), "/tick/")) == 1 && goroutines("hubactor.Tick.func") == 1
		}, "one ticker")
	}
	c.result("Leave", "a")
	requireNoTickers(t, sys.ActorSystem())
}
