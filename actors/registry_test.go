package actors

import (
	"fmt"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What was registered before, and what is registered afterwards, is found.
func TestSmallerRegistry(t *testing.T) {
	system := actor.NewActorSystem()
	defer system.Shutdown()
	registry := system.ProcessRegistry
	require.Zero(t, len(registry.LocalPIDs.LocalPIDs)%registryBuckets)
	var pids []*actor.PID
	add := func(n int) {
		pid, added := registry.Add(system.DeadLetter, fmt.Sprintf("process/%d", n))
		require.True(t, added)
		pids = append(pids, pid)
	}
	for n := range 1000 {
		add(n)
	}
	shrinkRegistry(system)
	for n := range 1000 {
		add(1000 + n)
	}
	_, ok := registry.GetLocal("eventstream")
	assert.True(t, ok)
	for _, pid := range pids {
		_, ok := registry.Get(pid)
		require.True(t, ok, pid.Id)
		registry.Remove(pid)
		_, ok = registry.Get(pid)
		require.False(t, ok, pid.Id)
	}
}
