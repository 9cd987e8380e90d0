package actors

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCallIsContext(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		type key struct{}
		k := e.runInCall(func(k *Call) {
			_, ok := k.Deadline()
			assert.False(t, ok)
			require.NoError(t, k.Err())
			require.NoError(t, context.Cause(k))
			assert.Nil(t, k.Value(key{}))
			assert.Same(t, k, CallOf(k))
			child := context.WithValue(k, key{}, 1)
			assert.Same(t, k, CallOf(child))
			assert.Equal(t, 1, child.Value(key{}))
			assert.Same(t, k, CallOf(context.WithoutCancel(k)))
		})
		assert.Nil(t, CallOf(context.Background()))
		require.ErrorIs(t, k.Err(), context.Canceled)
		require.ErrorIs(t, context.Cause(k), ErrReturned, "the call has returned")
		select {
		case <-k.Done():
		default:
			assert.Fail(t, "Done is not closed")
		}
	})
}

// The context of the call is first used after the call has ended.
func TestDoneOfEndedCallIsClosed(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		k := e.runInCall(func(*Call) {})
		<-k.Done()
		child, stop := context.WithTimeout(k, time.Hour)
		defer stop()
		require.ErrorIs(t, child.Err(), context.Canceled)
		require.ErrorIs(t, context.Cause(child), ErrReturned)
		ran := make(chan bool)
		context.AfterFunc(k, func() { close(ran) })
		<-ran
	})
}

func TestCauseOfEndedCall(t *testing.T) {
	reasons := map[string]struct {
		how   func(e *env, c *client, k *Call)
		cause error
		lasts bool // the context ends only after DisconnectGrace
	}{
		"cancel":    {func(_ *env, c *client, _ *Call) { c.send(cancel("1")) }, ErrCanceled, false},
		"cut":       {func(_ *env, c *client, _ *Call) { c.socket.Cut() }, ErrDisconnected, true},
		"close":     {func(_ *env, c *client, _ *Call) { c.send(`{"type":7}`) }, ErrDisconnected, true},
		"abort":     {func(_ *env, c *client, _ *Call) { c.conn.Abort() }, ErrDisconnected, true},
		"shutdown":  {func(e *env, _ *client, _ *Call) { require.NoError(e.t, e.shutdown()) }, ErrShutdown, false},
		"stop":      {func(e *env, _ *client, k *Call) { e.sys.actorSystem.Root.Stop(k.PID()) }, ErrStopped, false},
		"poison":    {func(e *env, _ *client, k *Call) { e.sys.actorSystem.Root.Poison(k.PID()) }, ErrStopped, false},
		"stop conn": {func(e *env, c *client, _ *Call) { e.sys.actorSystem.Root.Stop(c.conn.PID()) }, ErrDisconnected, false},
	}
	for name, reason := range reasons {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				c := e.open("a", "")
				k := e.startCall(c, "1")
				require.NoError(t, k.Err())
				child, stop := context.WithTimeout(k, time.Hour)
				defer stop()
				after := false
				context.AfterFunc(child, func() { after = true })
				reason.how(e, c, k)
				e.settle()
				if reason.lasts {
					require.NoError(t, k.Err(), "the call may finish after the client has disconnected")
					e.sleep(e.settings.DisconnectGrace + 2*second)
				}
				require.ErrorIs(t, k.Err(), context.Canceled)
				require.ErrorIs(t, context.Cause(k), reason.cause, "the first reason stays")
				require.ErrorIs(t, context.Cause(child), reason.cause)
				assert.True(t, after)
			})
		})
	}
}

func TestTimeoutOfChildContext(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		k := e.startCall(e.open("a", ""), "1")
		child, stop := context.WithTimeout(k, second)
		defer stop()
		e.sleep(second)
		require.ErrorIs(t, child.Err(), context.DeadlineExceeded)
		assert.NoError(t, k.Err())
	})
}

// Concurrent calls of Done return the same channel.
func TestConcurrentDoneReturnsSameChannel(t *testing.T) {
	k := &Call{}
	done := make(chan (<-chan struct{}), 10)
	for range cap(done) {
		go func() { done <- k.Done() }()
	}
	first := <-done
	for range cap(done) - 1 {
		assert.Equal(t, first, <-done)
	}
	k.stop(ErrStopped)
	<-first
	k.stop(ErrCanceled)
	assert.Equal(t, ErrStopped, context.Cause(k))
}

func TestPIDIsRegisteredWhileCallRuns(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		registry := e.sys.actorSystem.ProcessRegistry
		var pid *actor.PID
		k := e.runInCall(func(k *Call) {
			pid = k.PID()
			assert.Same(t, pid, k.PID())
			assert.True(t, strings.HasPrefix(pid.Id, k.Connection().PID().Id+"/call/"))
			process, ok := registry.Get(pid)
			assert.True(t, ok)
			assert.Same(t, k.extra.Load().process, process)
		})
		_, ok := registry.Get(pid)
		assert.False(t, ok, "it is removed with the call")
		assert.Same(t, pid, k.PID())

		late := e.runInSecondCall(func(*Call) {})
		other := late.PID()
		_, ok = registry.Get(other)
		assert.False(t, ok, "a call that has ended is not registered")
		assert.NotEqual(t, pid.Id, other.Id, "numbers are not reused")
		_, open := <-late.Inbox()
		assert.False(t, open)
	})
}

func TestInboxOfCall(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "")
		k := e.startCall(c, "1")
		pid := k.PID()
		for i := range maxInbox + 2 {
			e.tell(pid, i)
		}
		assert.Equal(t, []any{maxInbox, maxInbox + 1}, e.deadLetters())
		for i := range maxInbox {
			assert.Equal(t, i, <-k.Inbox())
		}
		sender := e.newRecorder("sender")
		e.sys.actorSystem.Root.RequestWithCustomSender(pid, "question", sender.pid)
		_, body, from := actor.UnwrapEnvelope(<-k.Inbox())
		assert.Equal(t, "question", body)
		assert.Equal(t, sender.pid, from)

		e.tell(pid, "left")
		c.send(cancel("1"))
		e.settle()
		assert.Equal(t, "left", <-k.Inbox())
		_, open := <-k.Inbox()
		assert.False(t, open, "it is closed when the call has returned")
		e.tell(pid, "late")
		assert.Equal(t, "late", e.deadLetters()[2], "also if the PID was obtained earlier")
		e.sys.actorSystem.Root.Stop(pid)
	})
}

func TestWatchersOfCallAreNotified(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "")
		k := e.startCall(c, "1")
		pid := k.PID()
		one, two, three, twice := e.newRecorder("one"), e.newRecorder("two"), e.newRecorder("three"), e.newRecorder("twice")
		for _, r := range []*actorRecorder{one, two, twice, twice} {
			e.tellSystem(pid, &actor.Watch{Watcher: r.pid})
		}
		e.tellSystem(pid, &actor.Unwatch{Watcher: two.pid})
		e.settle()
		assert.Empty(t, one.messages())
		c.send(cancel("1"))
		e.settle()
		assert.Equal(t, []any{&actor.Terminated{Who: pid}}, one.messages())
		assert.Empty(t, two.messages(), "it has stopped watching")
		assert.Len(t, twice.messages(), 1, "one Terminated for each watcher")
		k.inSystem().SendSystemMessage(pid, &actor.Watch{Watcher: three.pid}) // sent directly to the process of the ended call
		assert.Equal(t, []any{&actor.Terminated{Who: pid}}, three.messages())
		e.tellSystem(pid, &actor.Watch{Watcher: two.pid})
		e.settle()
		require.Len(t, two.messages(), 1)
		assert.IsType(t, &actor.Terminated{}, two.messages()[0])
	})
}

// Every watcher receives one Terminated, even if Watch and other messages race with the end of the call.
func TestWatchRacesWithEndOfCall(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "")
		for range 100 {
			k := e.startCall(c, "1")
			pid := k.PID()
			watcher := e.newRecorder("watcher")
			go k.inSystem().SendSystemMessage(pid, &actor.Watch{Watcher: watcher.pid})
			go e.tell(pid, "x")
			c.send(cancel("1"))
			e.settle()
			require.Len(t, watcher.messages(), 1)
			e.sys.actorSystem.ProcessRegistry.Remove(watcher.pid)
		}
	})
}

// A protoactor actor can watch a call like any other actor.
func TestActorCanWatchCall(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "")
		k := e.startCall(c, "1")
		terminated := make(chan *actor.PID, 10)
		watcher := e.sys.actorSystem.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
			switch m := ctx.Message().(type) {
			case *actor.Started:
				ctx.Watch(k.PID())
			case *actor.Terminated:
				terminated <- m.Who
			}
		}))
		e.settle()
		e.sys.actorSystem.Root.Stop(k.PID())
		e.settle()
		require.Len(t, terminated, 1)
		assert.True(t, k.PID().Equal(<-terminated))
		e.sys.actorSystem.Root.Stop(watcher)
	})
}

func TestPropertiesOfCall(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.handler.bind = func(k *Call) {
			target, again := k.Target()
			e.handler.record("%s %t %s %q %t", target, again, k.Arguments(), k.ID(), k.WantsStream())
		}
		e.handler.methods["echo"] = func(k *Call, args string) (any, error) {
			target, _ := k.Target()
			assert.Nil(t, target, "its memory is reused")
			assert.Nil(t, k.Arguments())
			assert.Equal(t, "echo", k.Method())
			assert.Equal(t, "bob", k.Identity().UserID)
			assert.Same(t, e.hub, k.Connection().Hub())
			return json.RawMessage(args), nil
		}
		c := e.open("a", "bob")
		long := strings.Repeat("i", 100) // longer than the buffer for ids within a Call
		c.send(call("1", "echo", 7), call("", "echo"), strings.Replace(call(long, "echo"), `"type":1`, `"type":4`, 1),
			`{"type":1,"target":"other","arguments":[],"target":"echo"}`)
		e.sleep(lateTickTime)
		// The stream invocation runs concurrently with the others.
		assert.ElementsMatch(t, []string{
			"connected a", `echo false [7] "1" false`, `echo false [] "" false`, `echo false [] "` + long + `" true`,
			`echo true [] "" false`,
		}, e.handler.events())
		assert.ElementsMatch(t, []string{result("1", "[7]"), result(long, "[]")}, c.messages())
	})
}

func TestPanicError(t *testing.T) {
	cause := errors.New("x")
	require.ErrorIs(t, &PanicError{Value: cause}, cause)
	require.NoError(t, errors.Unwrap(&PanicError{Value: "x"}))
	require.EqualError(t, &PanicError{Value: 1}, "panic: 1")
	require.EqualError(t, &PanicError{}, "runtime.Goexit was called")
}
