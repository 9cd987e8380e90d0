package actors

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// processNames returns the names of all registered processes that begin with prefix.
func processNames(system *actor.ActorSystem, prefix string) (names []string) {
	for _, bucket := range system.ProcessRegistry.LocalPIDs.LocalPIDs {
		for _, name := range bucket.Keys() {
			if strings.HasPrefix(name, prefix) {
				names = append(names, name)
			}
		}
	}
	return names
}

// requireReturns fails the test if f does not return.
func requireReturns(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(5 * second):
		t.Fatal("the function does not return")
	}
}

func TestSystemInExistingActorSystem(t *testing.T) {
	inBubble(t, func(t *testing.T, own *env) {
		system := own.sys.actorSystem
		before := processNames(system, "")
		e := newEnv(t, system, second, hubproto.JSON)
		e.bubble = true
		echo := system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
			if text, ok := ctx.Message().(string); ok {
				ctx.Respond(text)
			}
		}))
		require.NotEqual(t, own.sys.Root().Id, e.sys.Root().Id)
		assert.Same(t, system, e.sys.ActorSystem())
		a, b := own.open("same", ""), e.open("same", "")
		pid := b.conn.PID()
		assert.True(t, strings.HasPrefix(pid.Id, e.sys.Root().Id+"/connections/"))
		assert.True(t, strings.HasSuffix(pid.Id, "/same"))
		require.NoError(t, e.shutdown())
		b.assertRemoved(t)
		assert.Empty(t, processNames(system, e.sys.Root().Id))
		assert.False(t, system.IsStopped())

		sender := e.newRecorder("sender")
		system.Root.RequestWithCustomSender(echo, "hello", sender.pid)
		a.send(call("1", "echo"))
		e.settle()
		assert.Equal(t, []any{"hello"}, sender.messages())
		assert.Equal(t, []string{result("1", "[]")}, a.messages())
		system.Root.Stop(echo)
		system.ProcessRegistry.Remove(sender.pid)
		a.socket.Cut()
		e.settle()
		assert.ElementsMatch(t, before, processNames(system, ""))
	})
}

func TestNewHub(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		_, err := e.sys.NewHub("chat", e.handler, e.hub.protocols, HubSettings{MaxNames: 100})
		require.ErrorIs(t, err, actor.ErrNameExists)
		_, err = e.sys.NewHub("none", e.handler, nil, HubSettings{MaxNames: 100})
		require.ErrorContains(t, err, "0 protocols")
		_, err = e.sys.NewHub("many", e.handler, make([]hubproto.Protocol, MaxProtocols+1), HubSettings{MaxNames: 100})
		require.ErrorContains(t, err, "8 protocols")
		other, err := e.sys.NewHub("other", e.handler, e.hub.protocols, HubSettings{MaxNames: 100})
		require.NoError(t, err)
		c := e.open("a", "")
		assert.Equal(t, []any{e.hub, "a", "", hubproto.JSON}, []any{
			c.conn.Hub(), c.conn.ID(), c.conn.Identity().UserID, c.conn.Protocol(),
		})
		require.NoError(t, other.Send(context.Background(), &Audience{}, "x", nil))
		require.NoError(t, other.Send(context.Background(), &Audience{Kind: Connections, Names: []string{"a"}}, "x", nil))
		e.settle()
		assert.Empty(t, c.messages(), "hubs do not share connections")
	})
}

func TestNewSystem(t *testing.T) {
	sys, err := NewSystem(nil, slog.New(slog.DiscardHandler), nil, nil)
	require.NoError(t, err)
	requireReturns(t, func() { require.NoError(t, sys.Shutdown(context.Background())) })
}
