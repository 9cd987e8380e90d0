package hubactor_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/hubactor"
)

func TestAnActorForWhichNobodyDecidesIsStopped(t *testing.T) {
	for name, decide := range map[string]actor.DeciderFunc{
		"escalated": func(any) actor.Directive { return actor.EscalateDirective },
		"panic":     func(any) actor.Directive { panic("the supervisor panics") },
	} {
		for _, scope := range allScopes {
			sys := newSystem(t, hubsys.Config{ActorSystem: newActorSystem(t)})
			hub := counting(scope)
			hub.Timeout = hubsys.Unlimited
			hub.Supervisor = actor.NewOneForOneStrategy(10, time.Second, decide)
			c := dial(t, serveIn(t, sys, hub, hubsys.HubOptions{}))
			assert.Equal(t, unexpected("fail"), c.failure("fail", 1))
			eventually(t, func() bool { return len(names(sys.ActorSystem(), "hubs/test/actors/")) == 0 }, "%s, scope %d", name, scope)
			if scope != hubactor.PerCall {
				assert.Equal(t, unexpected("next"), c.failure("next"), "at once")
			}
			c.close()
		}
	}
}

func TestCallsAtWhichMiddlewarePanicsDoNotCountAsPending(t *testing.T) {
	var panics atomic.Bool
	hub := counting(hubactor.Shared)
	hub.Pending = 2
	inner := hub.Props
	hub.Props = func(h *hubsys.HubContext) *actor.Props {
		props := inner(h)
		return props.Clone(actor.WithReceiverMiddleware(func(next actor.ReceiverFunc) actor.ReceiverFunc {
			return func(c actor.ReceiverContext, e *actor.MessageEnvelope) {
				if _, ok := e.Message.(*hubactor.Call[none]); ok && panics.Load() {
					panic("the middleware panics")
				}
				next(c, e)
			}
		}))
	}
	c := dial(t, serveHub(t, hub, hubsys.HubOptions{}))
	panics.Store(true)
	for range 4 {
		assert.Equal(t, unexpected("next"), c.failure("next"))
	}
	panics.Store(false)
	assert.Equal(t, "1", c.result("next"))
}
