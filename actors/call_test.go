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

func TestACallIsAContext(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		type key struct{}
		k := w.during(func(k *Call) {
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
		require.ErrorIs(t, context.Cause(k), ErrReturned, "a call that has returned")
		select {
		case <-k.Done():
		default:
			assert.Fail(t, "Done is not closed")
		}
	})
}

// Nothing but Err is asked before the context ends, or after that.
func TestDoneOfACallThatHasEnded(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		k := w.during(func(*Call) {})
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

func TestReasonsForWhichACallEnds(t *testing.T) {
	reasons := map[string]struct {
		how   func(w *world, c *client, k *Call)
		cause error
		lasts bool // its context ends when DisconnectGrace is over
	}{
		"cancel":    {func(_ *world, c *client, _ *Call) { c.say(cancel("1")) }, ErrCanceled, false},
		"cut":       {func(_ *world, c *client, _ *Call) { c.socket.Cut() }, ErrDisconnected, true},
		"close":     {func(_ *world, c *client, _ *Call) { c.say(`{"type":7}`) }, ErrDisconnected, true},
		"abort":     {func(_ *world, c *client, _ *Call) { c.conn.Abort() }, ErrDisconnected, true},
		"shutdown":  {func(w *world, _ *client, _ *Call) { require.NoError(w.t, w.shutdown()) }, ErrShutdown, false},
		"stop":      {func(w *world, _ *client, k *Call) { w.sys.actors.Root.Stop(k.PID()) }, ErrStopped, false},
		"poison":    {func(w *world, _ *client, k *Call) { w.sys.actors.Root.Poison(k.PID()) }, ErrStopped, false},
		"stop conn": {func(w *world, c *client, _ *Call) { w.sys.actors.Root.Stop(c.conn.PID()) }, ErrDisconnected, false},
	}
	for name, reason := range reasons {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				c := w.open("a", "")
				k := w.start(c, "1")
				require.NoError(t, k.Err())
				child, stop := context.WithTimeout(k, time.Hour)
				defer stop()
				after := false
				context.AfterFunc(child, func() { after = true })
				reason.how(w, c, k)
				w.settle()
				if reason.lasts {
					require.NoError(t, k.Err(), "its going does not stop what the call does to others")
					w.pass(w.settings.DisconnectGrace + 2*second)
				}
				require.ErrorIs(t, k.Err(), context.Canceled)
				require.ErrorIs(t, context.Cause(k), reason.cause, "the first reason stays")
				require.ErrorIs(t, context.Cause(child), reason.cause)
				assert.True(t, after)
			})
		})
	}
}

func TestAChildWithATimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		k := w.start(w.open("a", ""), "1")
		child, stop := context.WithTimeout(k, second)
		defer stop()
		w.pass(second)
		require.ErrorIs(t, child.Err(), context.DeadlineExceeded)
		assert.NoError(t, k.Err())
	})
}

// Contexts of one call that are asked for at once are one.
func TestAContextIsMadeOnce(t *testing.T) {
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

func TestThePIDIsRegisteredOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		registry := w.sys.actors.ProcessRegistry
		var pid *actor.PID
		k := w.during(func(k *Call) {
			pid = k.PID()
			assert.Same(t, pid, k.PID())
			assert.True(t, strings.HasPrefix(pid.Id, k.Connection().PID().Id+"/call/"))
			process, ok := registry.Get(pid)
			assert.True(t, ok)
			assert.Same(t, k, process)
		})
		_, ok := registry.Get(pid)
		assert.False(t, ok, "it is gone with the call")
		assert.Same(t, pid, k.PID())

		late := w.during2(func(*Call) {})
		other := late.PID()
		_, ok = registry.Get(other)
		assert.False(t, ok, "after the end never")
		assert.NotEqual(t, pid.Id, other.Id, "numbers are not used again")
		_, open := <-late.Inbox()
		assert.False(t, open)
	})
}

func TestInboxOfACall(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open("a", "")
		k := w.start(c, "1")
		pid := k.PID()
		for i := range maxInbox + 2 {
			w.tell(pid, i)
		}
		assert.Equal(t, []any{maxInbox, maxInbox + 1}, w.letters())
		for i := range maxInbox {
			assert.Equal(t, i, <-k.Inbox())
		}
		sender := w.probe("sender")
		w.sys.actors.Root.RequestWithCustomSender(pid, "question", sender.pid)
		_, body, from := actor.UnwrapEnvelope(<-k.Inbox())
		assert.Equal(t, "question", body)
		assert.Equal(t, sender.pid, from)

		w.tell(pid, "left")
		c.say(cancel("1"))
		w.settle()
		assert.Equal(t, "left", <-k.Inbox())
		_, open := <-k.Inbox()
		assert.False(t, open, "it is closed when the call has returned")
		w.tell(pid, "late")
		assert.Equal(t, "late", w.letters()[2], "also for those who have kept the PID")
		w.sys.actors.Root.Stop(pid)
	})
}

func TestWatchersOfACall(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open("a", "")
		k := w.start(c, "1")
		pid := k.PID()
		one, two, three, twice := w.probe("one"), w.probe("two"), w.probe("three"), w.probe("twice")
		for _, p := range []*probe{one, two, twice, twice} {
			w.tellSystem(pid, &actor.Watch{Watcher: p.pid})
		}
		w.tellSystem(pid, &actor.Unwatch{Watcher: two.pid})
		w.settle()
		assert.Empty(t, one.messages())
		c.say(cancel("1"))
		w.settle()
		assert.Equal(t, []any{&actor.Terminated{Who: pid}}, one.messages())
		assert.Empty(t, two.messages(), "it does not watch any more")
		assert.Len(t, twice.messages(), 1, "one Terminated each")
		k.SendSystemMessage(pid, &actor.Watch{Watcher: three.pid}) // by somebody who has kept the process
		assert.Equal(t, []any{&actor.Terminated{Who: pid}}, three.messages())
		w.tellSystem(pid, &actor.Watch{Watcher: two.pid})
		w.settle()
		require.Len(t, two.messages(), 1)
		assert.IsType(t, &actor.Terminated{}, two.messages()[0])
	})
}

// Watch, messages and the end race: whoever watches gets one Terminated.
func TestWatchRacesWithTheEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open("a", "")
		for range 100 {
			k := w.start(c, "1")
			pid := k.PID()
			watcher := w.probe("watcher")
			go k.SendSystemMessage(pid, &actor.Watch{Watcher: watcher.pid})
			go w.tell(pid, "x")
			c.say(cancel("1"))
			w.settle()
			require.Len(t, watcher.messages(), 1)
			w.sys.actors.ProcessRegistry.Remove(watcher.pid)
		}
	})
}

// An actor of protoactor's own watches a call as it would any other actor.
func TestAnActorWatchesACall(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open("a", "")
		k := w.start(c, "1")
		gone := make(chan *actor.PID, 10)
		watcher := w.sys.actors.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
			switch m := ctx.Message().(type) {
			case *actor.Started:
				ctx.Watch(k.PID())
			case *actor.Terminated:
				gone <- m.Who
			}
		}))
		w.settle()
		w.sys.actors.Root.Stop(k.PID())
		w.settle()
		require.Len(t, gone, 1)
		assert.True(t, k.PID().Equal(<-gone))
		w.sys.actors.Root.Stop(watcher)
	})
}

func TestWhatACallKnows(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.handler.bind = func(k *Call) {
			target, again := k.Target()
			w.handler.note("%s %t %s %q %t", target, again, k.Arguments(), k.ID(), k.WantsStream())
		}
		w.handler.methods["echo"] = func(k *Call, args string) (any, error) {
			target, _ := k.Target()
			assert.Nil(t, target, "its memory is used again")
			assert.Nil(t, k.Arguments())
			assert.Equal(t, "echo", k.Method())
			assert.Equal(t, "bob", k.Connection().UserID())
			assert.Same(t, w.hub, k.Connection().Hub())
			return json.RawMessage(args), nil
		}
		c := w.open("a", "bob")
		long := strings.Repeat("i", 100) // longer than the room that a call has for it
		c.say(call("1", "echo", 7), call("", "echo"), strings.Replace(call(long, "echo"), `"type":1`, `"type":4`, 1),
			`{"type":1,"target":"other","arguments":[],"target":"echo"}`)
		w.pass(lateTime)
		// The one with streams runs beside the others.
		assert.ElementsMatch(t, []string{"connected a", `echo false [7] "1" false`, `echo false [] "" false`, `echo false [] "` + long + `" true`, `echo true [] "" false`}, w.handler.noted())
		assert.ElementsMatch(t, []string{result("1", "[7]"), result(long, "[]")}, c.got())
	})
}

func TestPanicError(t *testing.T) {
	cause := errors.New("x")
	require.ErrorIs(t, &PanicError{Value: cause}, cause)
	require.NoError(t, errors.Unwrap(&PanicError{Value: "x"}))
	require.EqualError(t, &PanicError{Value: 1}, "panic: 1")
	require.EqualError(t, &PanicError{}, "runtime.Goexit was called")
}
