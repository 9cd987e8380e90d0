package hubactor_test

import (
	"context"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/hubactor"
)

// Protoactor does not go on with an actor that ends its goroutine: the call is answered, and Shutdown says that the actor has not stopped.
func TestAnActorThatEndsItsGoroutine(t *testing.T) {
	sys, err := hubsys.New(hubsys.Config{Logger: slog.New(slog.DiscardHandler), ActorSystem: newActorSystem(t)})
	require.NoError(t, err)
	hub := counting(hubactor.Shared)
	hub.Timeout = hubsys.Unlimited
	hub.Props = receiver(func(c actor.Context) {
		if _, ok := c.Message().(*hubactor.Call[none]); ok {
			runtime.Goexit()
		}
	})
	c := dial(t, serveIn(t, sys, hub, hubsys.HubOptions{}))
	assert.Equal(t, unexpected("next"), c.failure("next"))
	c.close()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	err = sys.Shutdown(ctx)
	require.ErrorContains(t, err, "have not stopped")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}
