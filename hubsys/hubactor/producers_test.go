package hubactor_test

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/hubactor"
)

// firstProducer is a hub whose producer is special once.
func firstProducer(special func()) hubactor.Hub {
	var made atomic.Int32
	hub := counting(hubactor.PerCall)
	hub.Props = func(*hubsys.HubContext) *actor.Props {
		return actor.PropsFromProducer(func() actor.Actor {
			if made.Add(1) == 1 {
				special()
			}
			return actor.ReceiveFunc(func(c actor.Context) {
				if _, ok := c.Message().(*hubactor.Call[none]); ok {
					c.Respond(1)
				}
			})
		})
	}
	return hub
}

func TestAProducerThatEndsItsGoroutineFailsTheCallAlone(t *testing.T) {
	sys := newSystem(t, hubsys.Config{ActorSystem: newActorSystem(t)})
	c := dial(t, serveIn(t, sys, firstProducer(runtime.Goexit), hubsys.HubOptions{}))
	assert.Equal(t, unexpected("next"), c.failure("next"))
	assert.Equal(t, "1", c.result("next"))
	c.close()
}

func TestACallWhoseProducerBlocksEnds(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	release := make(chan struct{})
	hub := firstProducer(func() { <-release })
	hub.Timeout = 50 * time.Millisecond
	c := dial(t, serveIn(t, sys, hub, hubsys.HubOptions{}))
	for range 3 {
		assert.Equal(t, unexpected("next")+" HubException: The call was not answered within 50ms.", c.failure("next"))
	}
	close(release)
	eventually(t, func() bool { return c.invoke("next").Error == nil }, "it goes on")
	eventually(t, func() bool { return len(names(sys.ActorSystem(), "actors/calls/")) == 0 }, "nothing is left")
	c.close()
}
