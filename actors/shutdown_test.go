package actors

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/linktest"
	"github.com/troupe-go/troupe/proto/hubproto"
)

const closeForNow = `{"type":7,"allowReconnect":true}`

func TestShutdown(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var reason error
		w.handler.methods["wait"] = func(k *Call, _ string) (any, error) {
			<-k.Done() // which is a while before the time is over
			reason = context.Cause(k)
			return nil, reason
		}
		silent, idle, busy := w.connect("silent", ""), w.open("idle", "bob"), w.open("busy", "")
		require.NoError(t, w.hub.Join(context.Background(), "idle", "g"))
		busy.say(call("1", "wait"), call("2", "wait"))
		w.settle()
		root := w.sys.Root().Id
		assert.NotEmpty(t, registered(w.sys.actors, root))
		start := time.Now()
		require.NoError(t, w.shutdown())
		assert.Less(t, time.Since(start), 5*second)
		assert.Equal(t, []string{closeForNow, "close 1000"}, idle.got())
		assert.Equal(t, []string{failure("1", ErrShutdown.Error()), failure("2", ErrShutdown.Error()), closeForNow, "close 1000"}, busy.got())
		assert.Equal(t, []string{"close 1000"}, silent.everything())
		assert.ErrorIs(t, reason, ErrShutdown)
		assert.ElementsMatch(t, []string{"connected idle", "connected busy", "disconnected idle: <nil>", "disconnected busy: <nil>"}, w.handler.noted())
		for _, c := range []*client{silent, idle, busy} {
			c.gone(t)
		}
		assert.Empty(t, registered(w.sys.actors, root))
		assert.True(t, w.sys.actors.IsStopped(), "an actor system of its own")

		_, err := w.tryConnect("late", "")
		require.ErrorIs(t, err, ErrShutdown)
		_, err = w.sys.NewHub("late", w.handler, w.hub.protocols)
		require.ErrorIs(t, err, ErrShutdown)
		require.ErrorIs(t, w.hub.Send(context.Background(), &Audience{}, "x", nil), ErrShutdown)
		require.NoError(t, w.sys.Shutdown(context.Background()), "a second call")
	})
}

// What waits for a client is written before the Close, for as long as there is time.
func TestShutdownDrains(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		slow := w.open("slow", "", func(s *linktest.Socket) { s.Room = 10 })
		for i := range 20 {
			slow.conn.out.Push(note(0, i, 100), false, false)
		}
		done := make(chan error, 1)
		go func() { done <- w.shutdown() }()
		w.pass(second)
		assert.Empty(t, done)
		slow.socket.Drain(-1)
		w.settle()
		require.Len(t, done, 1)
		require.NoError(t, <-done)
		got := slow.got()
		assert.Len(t, got, 22)
		assert.Equal(t, []string{closeForNow, "close 1000"}, got[20:])
	})
}

func TestNobodyConnectsDuringShutdown(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		gate, open := w.gate()
		w.handler.disconnected = func(k *Call, _ error) { _, _ = gate(k, "") }
		w.open("a", "")
		done := make(chan error, 1)
		go func() { done <- w.shutdown() }()
		w.settle()
		_, err := w.tryConnect("b", "")
		require.ErrorIs(t, err, ErrShutdown)
		assert.Empty(t, done)
		assert.NoError(t, w.hub.Send(context.Background(), &Audience{}, "x", nil), "OnDisconnected may still send")
		open()
		w.settle()
		require.Len(t, done, 1)
		assert.NoError(t, <-done)
	})
}

// Whoever connects while a shutdown begins is refused, or closed.
func TestConnectRacesWithShutdown(t *testing.T) {
	for range 20 {
		inBubble(t, func(t *testing.T, w *world) {
			var all sync.WaitGroup
			var mu sync.Mutex
			var in []*client
			start := make(chan struct{})
			for i := range 8 {
				s := linktest.NewSocket()
				s.Answers = true
				all.Go(func() {
					<-start
					conn, err := w.hub.ConnectSocket(fmt.Sprint(i), "", s, &w.settings, nil)
					if err != nil {
						assert.ErrorIs(t, err, ErrShutdown)
						return
					}
					c := &client{w: w, conn: conn, socket: s, turn: make(chan struct{}, 1)}
					mu.Lock()
					in = append(in, c)
					mu.Unlock()
					all.Go(func() { <-s.Gone; c.end(nil) })
					c.shake("json")
				})
			}
			all.Go(func() { <-start; assert.NoError(t, w.shutdown()) })
			close(start)
			all.Wait()
			for _, c := range in {
				assert.True(t, c.socket.IsFinished())
			}
		})
	}
}

// When the time is over, the error says what was left behind.
func TestShutdownIsCutShort(t *testing.T) {
	tests := map[string]struct {
		prepare func(w *world, c *client)
		want    string
	}{
		"a call": {func(w *world, c *client) {
			gate, _ := w.gate()
			w.handler.methods["gate"] = gate
			c.say(call("1", "gate"))
		}, "1 connections cut off, 1 calls abandoned"},
		"OnDisconnected": {func(w *world, _ *client) {
			gate, _ := w.gate()
			w.handler.disconnected = func(k *Call, _ error) { _, _ = gate(k, "") }
		}, "1 connections cut off, 1 calls abandoned"},
		"a client": {func(_ *world, c *client) {
			c.socket.Change(func() { c.socket.Room, c.socket.Answers = 1, false })
		}, "1 connections cut off, 0 calls abandoned"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.settings.CloseTimeout, w.settings.SendTimeout = 60*second, 60*second
				c := w.open("a", "")
				other := w.open("b", "", func(s *linktest.Socket) { s.Answers = true })
				test.prepare(w, c)
				w.settle()
				if name == "OnDisconnected" { // of one of them
					gate := w.handler.disconnected
					w.handler.disconnected = func(k *Call, cause error) {
						if k.Connection() == c.conn {
							gate(k, cause)
						}
					}
				}
				start := time.Now()
				err := w.shutdown()
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorContains(t, err, test.want)
				assert.Equal(t, 5*second, time.Since(start), "the second half of the time is not taken")
				assert.True(t, other.socket.IsFinished())
				w.settle()
				assert.True(t, c.socket.IsFinished() || c.socket.IsCut())
			})
		})
	}
}

// The cause of a context that ends is told.
func TestShutdownWithAContextThatHasEnded(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open("a", "")
		ctx, cancel := context.WithCancelCause(context.Background())
		why := errors.New("no time")
		cancel(why)
		w.stopped.Store(true)
		require.ErrorIs(t, w.sys.Shutdown(ctx), why)
		w.settle()
		c.gone(t)
		assert.True(t, c.socket.IsCut() || c.socket.IsFinished())
	})
}

func TestLaterCallersWaitForTheFirst(t *testing.T) {
	w := newWorld(t, nil, never, hubproto.JSON)
	gate, open := w.gate()
	w.handler.disconnected = func(k *Call, _ error) { w.handler.note("waiting"); _, _ = gate(k, "") }
	w.open("a", "")
	require.Eventually(t, func() bool { return len(w.handler.noted()) == 1 }, 5*second, time.Millisecond)
	results := make(chan error, 3)
	for range cap(results) {
		go func() { results <- w.shutdown() }()
	}
	require.Eventually(t, func() bool { return len(w.handler.noted()) == 3 }, 5*second, time.Millisecond)
	assert.Never(t, func() bool { return len(results) > 0 }, 20*time.Millisecond, time.Millisecond)
	open()
	inTime(t, func() {
		for range cap(results) {
			assert.NoError(t, <-results)
		}
	})
}

// A call may shut down the system that it runs in, also with its own context, which that ends. Nobody waits for it; everybody else
// is given the time that they need.
func TestShutdownFromInside(t *testing.T) {
	contexts := map[string]func(k *Call) (context.Context, context.CancelFunc){
		"own":      func(k *Call) (context.Context, context.CancelFunc) { return k, func() {} },
		"deadline": func(k *Call) (context.Context, context.CancelFunc) { return context.WithTimeout(k, 3*second) },
		"lasting":  func(k *Call) (context.Context, context.CancelFunc) { return context.WithoutCancel(k), func() {} },
	}
	for _, where := range []string{"method", "OnConnected", "OnDisconnected", "a stopped connection"} {
		for kind, contextOf := range contexts {
			t.Run(where+" "+kind, func(t *testing.T) {
				w := newWorld(t, nil, never, hubproto.JSON)
				w.stopped.Store(true)
				result := make(chan error, 1)
				shutdown := func(k *Call) error {
					ctx, cancel := contextOf(k)
					defer cancel()
					result <- w.sys.Shutdown(ctx)
					return nil
				}
				w.handler.methods["shutdown"] = func(k *Call, _ string) (any, error) { return nil, shutdown(k) }
				w.handler.connected = func(k *Call) error {
					if where == "OnConnected" && k.Connection().ID() == "a" {
						return shutdown(k)
					}
					return nil
				}
				w.handler.disconnected = func(k *Call, _ error) {
					if k.Connection().ID() == "a" {
						if where == "OnDisconnected" || where == "a stopped connection" {
							_ = shutdown(k)
						}
						return
					}
					<-time.After(20 * time.Millisecond) // it takes its time
					w.handler.note("left")
				}
				other := w.open("b", "")
				require.Eventually(t, func() bool { return len(w.handler.noted()) == 1 }, 5*second, time.Millisecond)
				c := w.connect("a", "")
				c.shake("json")
				switch where {
				case "method":
					c.say(call("1", "shutdown"))
				case "OnDisconnected":
					c.say(`{"type":7}`)
				case "a stopped connection":
					require.Eventually(t, c.conn.calls.isOpen, 5*second, time.Millisecond)
					w.sys.actors.Root.Stop(c.conn.PID())
				}
				inTime(t, func() { assert.NoError(t, <-result) })
				assert.Contains(t, w.handler.noted(), "left", "the others' OnDisconnected has run")
				assert.True(t, other.socket.IsFinished())
			})
		}
	}
}

// A goroutine that a call has left behind is no call: what it shuts down waits for those that run.
func TestShutdownByAGoroutineOfACall(t *testing.T) {
	w := newWorld(t, nil, never, hubproto.JSON)
	w.stopped.Store(true)
	gate, open := w.gate()
	w.handler.methods["gate"] = gate
	result := make(chan error, 1)
	w.handler.methods["shutdown"] = func(k *Call, _ string) (any, error) {
		ctx := context.WithoutCancel(k)
		go func() { result <- w.sys.Shutdown(ctx) }()
		return nil, nil
	}
	busy, c := w.connect("busy", ""), w.connect("a", "")
	busy.shake("json")
	busy.say(call("1", "gate"))
	require.Eventually(t, func() bool { return w.sys.workers.busy.Get() == 1 && busy.conn.calls.isOpen() }, 5*second, time.Millisecond)
	c.shake("json")
	c.say(call("1", "shutdown"))
	require.Eventually(t, func() bool { return busy.conn.ending.Load() && c.socket.IsFinished() }, 5*second, time.Millisecond)
	assert.Never(t, func() bool { return len(result) > 0 }, 50*time.Millisecond, time.Millisecond)
	open()
	inTime(t, func() { assert.NoError(t, <-result) })
}

// Two shutdowns, one of them from inside, do not wait for each other.
func TestTwoShutdowns(t *testing.T) {
	w := newWorld(t, nil, never, hubproto.JSON)
	running := make(chan struct{})
	w.handler.methods["shutdown"] = func(k *Call, _ string) (any, error) {
		close(running)
		<-k.conn.Done() // because of the first
		return nil, w.sys.Shutdown(k)
	}
	c := w.connect("a", "")
	c.shake("json")
	c.say(call("1", "shutdown"))
	<-running
	w.stopped.Store(true)
	inTime(t, func() { assert.NoError(t, w.sys.Shutdown(context.Background())) })
}

// User code that runs on behalf of an actor that somebody has stopped does not hold up a shutdown for longer than its context.
func TestShutdownBesideAFinisher(t *testing.T) {
	w := newWorld(t, nil, never, hubproto.JSON)
	w.stopped.Store(true)
	gate, _ := w.gate()
	w.handler.disconnected = func(k *Call, _ error) { _, _ = gate(k, "") }
	c := w.open("a", "")
	require.Eventually(t, c.conn.calls.isOpen, 5*second, time.Millisecond)
	w.sys.actors.Root.Stop(c.conn.PID())
	require.Eventually(t, func() bool { return len(w.handler.noted()) == 2 }, 5*second, time.Millisecond)
	inTime(t, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, w.sys.Shutdown(ctx), context.DeadlineExceeded)
	})
}

func TestShutdownAfterTheRootWasStopped(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open("a", "")
		w.sys.actors.Root.Stop(w.sys.Root())
		w.settle()
		c.gone(t)
		start := time.Now()
		require.NoError(t, w.shutdown())
		assert.Less(t, time.Since(start), second, "there is nothing to wait for")
	})
}
