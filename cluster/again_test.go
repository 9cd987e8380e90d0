package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys/backplane"
)

// livingNode is the host of a node over the real network.
type livingNode struct {
	*meshNode
	system *actor.ActorSystem
}

func (n livingNode) ActorSystem() *actor.ActorSystem { return n.system }

func newLivingNode(t *testing.T, config Config) livingNode {
	t.Helper()
	config.Insecure, config.Logger = true, slog.New(slog.DiscardHandler)
	b, err := New(config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Stop(context.Background()) })
	return livingNode{&meshNode{Backplane: b, t: t, rooms: map[string]chan struct{}{}}, newSystem()}
}

// An actor system is as it was before an attempt to start that has failed.
func TestAStartThatHasFailedIsTriedAgain(t *testing.T) {
	address := fmt.Sprintf("127.0.0.1:%d", threePorts(t))
	taken, err := net.ListenPacket("udp", address)
	require.NoError(t, err)
	n := newLivingNode(t, Config{Bind: address})
	_, err = n.Start(t.Context(), n)
	require.ErrorContains(t, err, "address already in use")
	require.NoError(t, taken.Close())
	other := newLivingNode(t, Config{Bind: "127.0.0.1:0"})
	other.system = n.system
	_, err = other.Start(t.Context(), other)
	require.NoError(t, err)
	require.NoError(t, other.Stop(t.Context()))
}

// A node whose id is taken draws another one.
func TestANodeWhoseIDIsTakenStarts(t *testing.T) {
	a := newLivingNode(t, Config{Bind: "127.0.0.1:0"})
	id, err := a.Start(t.Context(), a)
	require.NoError(t, err)
	b := newLivingNode(t, Config{Bind: "127.0.0.1:0", Seeds: []string{a.Status().Address}})
	ids := []backplane.NodeID{id, id + 1}
	b.settings.draw = func() backplane.NodeID {
		next := ids[0]
		ids = ids[1:]
		return next
	}
	drawn, err := b.Start(t.Context(), b)
	require.NoError(t, err)
	require.Equal(t, id+1, drawn)
}
