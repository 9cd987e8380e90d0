package actors

import (
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// There is no other actor for a connection, so somebody who sends it a Restart must not have it replaced.
func TestARestartLeavesAConnectionAsItIs(t *testing.T) {
	e := newEnv(t, nil, never, hubproto.JSON)
	c := e.open("a", "")
	require.Eventually(t, c.conn.calls.isOpen, 5*second, second/1000)
	e.tellSystem(c.conn.PID(), &actor.Restart{})
	require.NoError(t, e.hub.Join(t.Context(), "a", "lobby"))
	c.end(nil)
	requireReturns(t, func() { require.NoError(t, e.shutdown()) })
}
