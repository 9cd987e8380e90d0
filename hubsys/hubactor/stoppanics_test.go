package hubactor_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/hubactor"
)

// panicsAtItsEnd panics while it stops, or behind that.
func panicsAtItsEnd(stopped bool) func(c actor.Context) {
	return func(c actor.Context) {
		switch c.Message().(type) {
		case *actor.Stopping:
			if !stopped {
				panic("the test panics")
			}
		case *actor.Stopped:
			if stopped {
				panic("the test panics")
			}
		case *hubactor.Call[none]:
			c.Respond(1)
		}
	}
}

func requireQuickShutdown(t *testing.T, sys *hubsys.System) {
	t.Helper()
	begin := time.Now()
	require.NoError(t, shutdown(sys))
	require.Less(t, time.Since(begin), testTimeout/5)
}

func TestActorsThatPanicWhileTheyStopAreGone(t *testing.T) {
	for _, stopped := range []bool{false, true} {
		for _, scope := range allScopes {
			sys, err := hubsys.New(hubsys.Config{Logger: slog.New(slog.DiscardHandler)})
			require.NoError(t, err)
			hub := plain(panicsAtItsEnd(stopped))
			hub.Scope = scope
			c := dial(t, serveIn(t, sys, hub, hubsys.HubOptions{}))
			assert.Equal(t, "1", c.result("do"))
			c.close()
			if scope != hubactor.Shared {
				eventually(t, func() bool { return len(names(sys.ActorSystem(), "hubs/test/actors/")) == 0 }, "scope %d", scope)
			}
			requireQuickShutdown(t, sys)
		}
	}
}

func TestActorsOfGroupsThatPanicWhileTheyStopAreGone(t *testing.T) {
	for _, stopped := range []bool{false, true} {
		sys, err := hubsys.New(hubsys.Config{Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		_, url := newRooms(t, sys, func(string) *actor.Props { return actor.PropsFromFunc(panicsAtItsEnd(stopped)) })
		c := dial(t, url)
		c.result("join", "lobby")
		c.result("leave", "lobby")
		eventually(t, func() bool { return len(names(sys.ActorSystem(), "groups/lobby/")) == 0 }, "stopped %t", stopped)
		c.result("join", "lobby")
		c.close()
		requireQuickShutdown(t, sys)
	}
}

func TestAnActorThatPanicsWhileItIsRestartedIsReplaced(t *testing.T) {
	hub := counting(hubactor.Shared)
	hub.Timeout = time.Second
	hub.Props = receiver(func(c actor.Context) {
		switch c.Message().(type) {
		case *hubactor.Call[none]:
			c.Respond(1)
		case *hubactor.Call[oneInt], *actor.Restarting:
			panic("the test panics")
		}
	})
	c := dial(t, serveHub(t, hub, hubsys.HubOptions{}))
	assert.Equal(t, unexpected("fail"), c.failure("fail", 1))
	assert.Equal(t, "1", c.result("next"))
}
