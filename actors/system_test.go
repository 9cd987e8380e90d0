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

// registered is the names of all actors that begin with a prefix.
func registered(system *actor.ActorSystem, prefix string) (names []string) {
	for _, bucket := range system.ProcessRegistry.LocalPIDs.LocalPIDs {
		for _, name := range bucket.Keys() {
			if strings.HasPrefix(name, prefix) {
				names = append(names, name)
			}
		}
	}
	return names
}

// inTime runs a function that might hang, and tells whether it has returned.
func inTime(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(5 * second):
		t.Fatal("it hangs")
	}
}

func TestAForeignActorSystem(t *testing.T) {
	inBubble(t, func(t *testing.T, own *world) {
		system := own.sys.actors
		before := registered(system, "")
		w := newWorld(t, system, second, hubproto.JSON)
		w.bubble = true
		echo := system.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
			if text, ok := ctx.Message().(string); ok {
				ctx.Respond(text)
			}
		}))
		require.NotEqual(t, own.sys.Root().Id, w.sys.Root().Id)
		assert.Same(t, system, w.sys.ActorSystem())
		a, b := own.open("same", ""), w.open("same", "")
		pid := b.conn.PID()
		assert.True(t, strings.HasPrefix(pid.Id, w.sys.Root().Id+"/connections/"))
		assert.True(t, strings.HasSuffix(pid.Id, "/same"))
		require.NoError(t, w.shutdown())
		b.gone(t)
		assert.Empty(t, registered(system, w.sys.Root().Id))
		assert.False(t, system.IsStopped())

		sender := w.probe("sender")
		system.Root.RequestWithCustomSender(echo, "hello", sender.pid)
		a.say(call("1", "echo"))
		w.settle()
		assert.Equal(t, []any{"hello"}, sender.messages())
		assert.Equal(t, []string{result("1", "[]")}, a.got())
		system.Root.Stop(echo)
		system.ProcessRegistry.Remove(sender.pid)
		a.socket.Cut()
		w.settle()
		assert.ElementsMatch(t, before, registered(system, ""))
	})
}

func TestNewHub(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		_, err := w.sys.NewHub("chat", w.handler, w.hub.protocols)
		require.ErrorIs(t, err, actor.ErrNameExists)
		_, err = w.sys.NewHub("none", w.handler, nil)
		require.ErrorContains(t, err, "0 protocols")
		_, err = w.sys.NewHub("many", w.handler, make([]hubproto.Protocol, MaxProtocols+1))
		require.ErrorContains(t, err, "9 protocols")
		other, err := w.sys.NewHub("other", w.handler, w.hub.protocols)
		require.NoError(t, err)
		c := w.open("a", "")
		assert.Equal(t, []any{w.hub, "a", "", nil, hubproto.JSON}, []any{c.conn.Hub(), c.conn.ID(), c.conn.UserID(), c.conn.Value(), c.conn.Protocol()})
		require.NoError(t, other.Send(context.Background(), &Audience{}, "x", nil))
		require.NoError(t, other.Send(context.Background(), &Audience{Kind: Connections, Names: []string{"a"}}, "x", nil))
		w.settle()
		assert.Empty(t, c.got(), "hubs are apart")
	})
}

func TestNewSystem(t *testing.T) {
	sys, err := NewSystem(nil, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	inTime(t, func() { require.NoError(t, sys.Shutdown(context.Background())) })
}
