package hubactor_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/hubactor"
)

// counting is a hub with the methods next, which counts the calls of an actor, and fail, at which it panics.
func counting(scope hubactor.Scope) hubactor.Hub {
	return hubactor.Hub{
		Scope:   scope,
		Methods: []hubactor.Method{hubactor.Receive[none]("next"), hubactor.Receive[oneInt]("fail")},
		Props: func(*hubsys.HubContext) *actor.Props {
			return actor.PropsFromProducer(func() actor.Actor {
				count := 0
				return actor.ReceiveFunc(func(c actor.Context) {
					switch c.Message().(type) {
					case *hubactor.Call[none]:
						count++
						c.Respond(count)
					case *hubactor.Call[oneInt]:
						panic("the test panics")
					}
				})
			})
		},
	}
}

func TestACallAtWhichItsActorPanicsFailsAtOnce(t *testing.T) {
	for _, scope := range allScopes {
		hub := counting(scope)
		hub.Timeout = hubsys.Unlimited
		c := dial(t, serveHub(t, hub, hubsys.HubOptions{}))
		assert.Equal(t, unexpected("fail"), c.failure("fail", 1))

		c = dial(t, serveHub(t, hub, hubsys.HubOptions{EnableDetailedErrors: true}))
		assert.Equal(t, unexpected("fail")+" Error: panic: the test panics", c.failure("fail", 1))
	}
}

func TestAPanicOfAnActorOfACallAffectsNoOther(t *testing.T) {
	c := dial(t, serveHub(t, counting(hubactor.PerCall), hubsys.HubOptions{}))
	for range 3 {
		assert.Equal(t, unexpected("fail"), c.failure("fail", 1))
		assert.Equal(t, "1", c.result("next"))
	}
}

func TestAPanicOfTheActorOfAConnectionClosesThatConnection(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	url := serveIn(t, sys, counting(hubactor.PerConnection), hubsys.HubOptions{})
	c, other := dial(t, url), dial(t, url)
	c.result("next")
	other.result("next")
	assert.Equal(t, unexpected("fail"), c.failure("fail", 1))
	assert.True(t, c.requireClose(), "its client may connect again")
	c.close()
	assert.Equal(t, "2", other.result("next"), "the other connection has its actor")
	eventually(t, func() bool { return len(names(sys.ActorSystem(), "actors/connections/")) == 1 }, "one actor is left")
}

func TestAPanicAtConnectedClosesTheConnection(t *testing.T) {
	for name, fails := range map[string]func(message any) bool{
		"Connected": func(message any) bool { _, ok := message.(*hubactor.Connected); return ok },
		"Started":   func(message any) bool { _, ok := message.(*actor.Started); return ok },
	} {
		hub := plain(func(c actor.Context) {
			if fails(c.Message()) {
				panic("the test panics")
			}
		})
		hub.Scope = hubactor.PerConnection
		c := dialHandshake(t, serveHub(t, hub, hubsys.HubOptions{}))
		assert.True(t, c.requireClose(), name)
	}
}

func TestWaitingCallsOfAConnectionWhoseActorPanicsFail(t *testing.T) {
	c := dial(t, serveHub(t, counting(hubactor.PerConnection), hubsys.HubOptions{MaximumParallelInvocationsPerClient: 5}))
	c.send(invocation("1", "fail", 1), invocation("2", "next"), invocation("3", "next"))
	for _, id := range []string{"1", "2", "3"} {
		m := c.completion(id)
		require.NotNil(t, m.Error)
		assert.Contains(t, *m.Error, "An unexpected error occurred invoking ")
	}
}

func TestASharedActorThatPanicsIsReplacedAndHandlesTheCallsThatWait(t *testing.T) {
	type wait struct{ Long bool }
	waits, release := make(chan struct{}), make(chan struct{})
	var started atomic.Int32
	hub := counting(hubactor.Shared)
	hub.Methods = append(hub.Methods, hubactor.Receive[wait]("wait"))
	inner := hub.Props
	hub.Props = func(h *hubsys.HubContext) *actor.Props {
		return inner(h).Clone(actor.WithReceiverMiddleware(func(next actor.ReceiverFunc) actor.ReceiverFunc {
			return func(c actor.ReceiverContext, e *actor.MessageEnvelope) {
				switch m := e.Message.(type) {
				case *actor.Started:
					started.Add(1)
				case *hubactor.Call[wait]:
					close(waits)
					<-release
					m.Return(nil, nil)
				}
				next(c, e)
			}
		}))
	}
	url := serveHub(t, hub, hubsys.HubOptions{})
	c := dial(t, url)
	assert.Equal(t, "1", c.result("next"))
	other := dial(t, url)
	blocked := c.call("wait", true)
	receive(t, waits)
	fail := other.call("fail", 1)
	next := other.call("next")
	close(release)
	c.resultOf(blocked)
	assert.Equal(t, unexpected("fail"), other.failureOf(fail))
	assert.Equal(t, "1", other.resultOf(next), "the new one handles it")
	assert.Equal(t, "2", c.result("next"))
	assert.EqualValues(t, 2, started.Load())
}

func TestASharedActorSurvivesManyPanics(t *testing.T) {
	c := dial(t, serveHub(t, counting(hubactor.Shared), hubsys.HubOptions{}))
	for range 50 {
		require.Equal(t, unexpected("fail"), c.failure("fail", 1))
	}
	assert.Equal(t, "1", c.result("next"))
}

func TestTheSupervisorOfTheApplicationDecides(t *testing.T) {
	for directive, next := range map[actor.Directive]string{actor.ResumeDirective: "2", actor.RestartDirective: "1"} {
		for _, scope := range []hubactor.Scope{hubactor.PerConnection, hubactor.Shared} {
			reasons := make(chan any, 10)
			hub := counting(scope)
			hub.Supervisor = actor.NewOneForOneStrategy(1000, time.Hour, func(reason any) actor.Directive {
				reasons <- reason
				return directive
			})
			c := dial(t, serveHub(t, hub, hubsys.HubOptions{}))
			assert.Equal(t, "1", c.result("next"))
			assert.Equal(t, unexpected("fail"), c.failure("fail", 1))
			assert.Equal(t, next, c.result("next"), "%v, scope %d", directive, scope)
			assert.Equal(t, "the test panics", receive(t, reasons))
		}
	}
}

func TestASharedActorThatItsSupervisorStopsIsGone(t *testing.T) {
	hub := counting(hubactor.Shared)
	hub.Supervisor = actor.NewOneForOneStrategy(0, 0, func(any) actor.Directive { return actor.StopDirective })
	hub.Timeout = hubsys.Unlimited
	c := dial(t, serveHub(t, hub, hubsys.HubOptions{}))
	assert.Equal(t, unexpected("fail"), c.failure("fail", 1))
	assert.Equal(t, unexpected("next"), c.failure("next"))
}

func TestAnActorThatStopsWithoutAnAnswerFailsItsCallAtOnce(t *testing.T) {
	for _, scope := range allScopes {
		hub := answering(scope, func(c actor.Context, _ *hubactor.Call[none]) { c.Stop(c.Self()) })
		hub.Timeout = hubsys.Unlimited
		c := dial(t, serveHub(t, hub, hubsys.HubOptions{}))
		assert.Equal(t, unexpected("do"), c.failure("do"))
		if scope != hubactor.PerCall {
			assert.Equal(t, unexpected("do"), c.failure("do"), "it is not replaced")
		}
	}
}

func TestAnActorThatTheApplicationStopsFailsItsCallsAtOnce(t *testing.T) {
	for _, scope := range allScopes {
		sys := newSystem(t, hubsys.Config{})
		pids := make(chan *actor.PID, 1)
		hub := answering(scope, func(c actor.Context, _ *hubactor.Call[none]) { pids <- c.Self() })
		hub.Timeout = hubsys.Unlimited
		c := dial(t, serveIn(t, sys, hub, hubsys.HubOptions{}))
		id := c.call("do")
		sys.ActorSystem().Root.Stop(receive(t, pids))
		assert.Equal(t, unexpected("do"), c.failureOf(id))
	}
}

func TestAProducerThatPanicsFailsTheCall(t *testing.T) {
	hub := answering(hubactor.PerCall, nil)
	var made atomic.Int32
	hub.Props = func(*hubsys.HubContext) *actor.Props {
		return actor.PropsFromProducer(func() actor.Actor {
			if made.Add(1) == 1 {
				panic(errTest)
			}
			return actor.ReceiveFunc(func(c actor.Context) {
				if _, ok := c.Message().(*hubactor.Call[none]); ok {
					c.Respond("fine")
				}
			})
		})
	}
	c := dial(t, serveHub(t, hub, hubsys.HubOptions{EnableDetailedErrors: true}))
	assert.Equal(t, unexpected("do")+" Error: panic: the test says so", c.failure("do"))
	assert.Equal(t, `"fine"`, c.result("do"))
}

func TestAProducerThatPanicsRefusesTheConnection(t *testing.T) {
	hub := answering(hubactor.PerConnection, nil)
	hub.Props = func(*hubsys.HubContext) *actor.Props {
		return actor.PropsFromProducer(func() actor.Actor { panic(errTest) })
	}
	c := dialHandshake(t, serveHub(t, hub, hubsys.HubOptions{}))
	assert.Equal(t, `{"type":7,"error":"Connection closed with an error."}`, c.next().raw)
}

func TestPanicsAtCallsAreLogged(t *testing.T) {
	log := &logRecorder{}
	c := dial(t, serveIn(t, newSystem(t, hubsys.Config{Logger: log.logger()}), counting(hubactor.Shared), hubsys.HubOptions{}))
	c.failure("fail", 1)
	assert.Regexp(t, `level=ERROR msg="a hub method failed" hub=test .*method=fail error="panic: the test panics"`, log.String())
}

func TestAPanicWithAnErrorIsThatErrorForFilters(t *testing.T) {
	var panicked *hubsys.PanicError
	errs := make(chan error, 1)
	hub := answering(hubactor.Shared, func(actor.Context, *hubactor.Call[none]) { panic(errTest) })
	c := dialHandshake(t, serveHub(t, hub, hubsys.HubOptions{Filters: []hubsys.Filter{resultFilter(errs)}}))
	c.failure("do")
	err := receive(t, errs)
	require.ErrorIs(t, err, errTest)
	require.True(t, errors.As(err, &panicked))
	assert.True(t, strings.Contains(string(panicked.Stack), "failures_test.go"), "the stack is that of the panic")
}

// panicAt makes middleware that panics at calls of do.
func panicAt(next actor.ReceiverFunc) actor.ReceiverFunc {
	return func(c actor.ReceiverContext, e *actor.MessageEnvelope) {
		if _, ok := e.Message.(*hubactor.Call[none]); ok {
			panic("the middleware panics")
		}
		next(c, e)
	}
}

func TestAPanicOfTheApplicationsMiddlewareFailsTheCall(t *testing.T) {
	for _, scope := range allScopes {
		hub := plain(func(c actor.Context) {
			if m, ok := c.Message().(*hubactor.Call[oneInt]); ok {
				m.Return(m.Args.N, nil)
			}
		})
		inner := hub.Props
		hub.Scope, hub.Timeout, hub.Methods = scope, hubsys.Unlimited, append(hub.Methods, hubactor.Receive[oneInt]("other"))
		hub.Props = func(h *hubsys.HubContext) *actor.Props { return inner(h).Clone(actor.WithReceiverMiddleware(panicAt)) }
		url := serveHub(t, hub, hubsys.HubOptions{EnableDetailedErrors: true})
		for range 2 {
			c := dial(t, url)
			assert.Equal(t, "1", c.result("other", 1))
			assert.Equal(t, unexpected("do")+" Error: panic: the middleware panics", c.failure("do"), "scope %d", scope)
		}
	}
}

func TestAnActorThatPanicsAgainAndAgainIsRestartedLaterAndLater(t *testing.T) {
	var starts atomic.Int32
	hub := plain(func(c actor.Context) {
		if _, ok := c.Message().(*actor.Started); ok {
			starts.Add(1)
			panic("the test panics")
		}
	})
	hub.Scope = hubactor.Shared
	_, err := hubactor.Register(newSystem(t, hubsys.Config{}), hub, hubsys.HubOptions{Name: "test"})
	require.NoError(t, err)
	time.Sleep(300 * time.Millisecond)
	assert.Less(t, starts.Load(), int32(50))
	eventually(t, func() bool { return starts.Load() > 3 }, "it is tried again")
}
