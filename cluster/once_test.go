package cluster_test

import (
	"log/slog"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/cluster"
	"github.com/troupe-go/troupe/hubsys"
)

// The second System would take the messages of the first one, and would never leave the cluster.
func TestABackplaneIsOfOneSystem(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	node, err := cluster.New(cluster.Config{Bind: "127.0.0.1:0", Insecure: true, Logger: quiet})
	require.NoError(t, err)
	sys, err := hubsys.New(hubsys.Config{Backplane: node, Logger: quiet})
	require.NoError(t, err)
	joined := node.Status()
	_, err = hubsys.New(hubsys.Config{Backplane: node, Logger: quiet})
	require.EqualError(t, err, "cluster: the Backplane belongs to another System already, or has belonged to one: each needs one of its own")
	require.Equal(t, joined.ID, node.Status().ID)
	require.NoError(t, sys.Shutdown(t.Context()))
	_, err = hubsys.New(hubsys.Config{Backplane: node, Logger: quiet})
	require.Error(t, err)
}

// What has failed can be tried again.
func TestABackplaneThatHasNotStartedIsOfNoSystem(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	node, err := cluster.New(cluster.Config{Bind: "127.0.0.1:0", Insecure: true, Logger: quiet})
	require.NoError(t, err)
	full := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return quiet }))
	defer full.Shutdown()
	full.Root.Spawn(actor.PropsFromFunc(func(actor.Context) {}))
	_, err = hubsys.New(hubsys.Config{ActorSystem: full, Backplane: node, Logger: quiet})
	require.ErrorContains(t, err, "the actor system has actors already")
	sys, err := hubsys.New(hubsys.Config{Backplane: node, Logger: quiet})
	require.NoError(t, err)
	require.NoError(t, sys.Shutdown(t.Context()))
}
