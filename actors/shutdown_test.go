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

const closeAllowingReconnect = `{"type":7,"allowReconnect":true}`

func TestShutdown(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		var reason error
		e.handler.methods["wait"] = func(k *Call, _ string) (any, error) {
			<-k.Done() // well before the end of the shutdown timeout
			reason = context.Cause(k)
			return nil, reason
		}
		silent, idle, busy := e.connect("silent", ""), e.open("idle", "bob"), e.open("busy", "")
		require.NoError(t, e.hub.Join(context.Background(), "idle", "g"))
		busy.send(call("1", "wait"), call("2", "wait"))
		e.settle()
		root := e.sys.Root().Id
		assert.NotEmpty(t, processNames(e.sys.actorSystem, root))
		start := time.Now()
		require.NoError(t, e.shutdown())
		assert.Less(t, time.Since(start), 5*second)
		assert.Equal(t, []string{closeAllowingReconnect, "close 1000"}, idle.messages())
		assert.Equal(t, []string{
			failure("1", ErrShutdown.Error()), failure("2", ErrShutdown.Error()), closeAllowingReconnect, "close 1000",
		}, busy.messages())
		assert.Equal(t, []string{"close 1000"}, silent.records())
		assert.ErrorIs(t, reason, ErrShutdown)
		assert.ElementsMatch(t, []string{
			"connected idle", "connected busy", "disconnected idle: <nil>", "disconnected busy: <nil>",
		}, e.handler.events())
		for _, c := range []*client{silent, idle, busy} {
			c.assertRemoved(t)
		}
		assert.Empty(t, processNames(e.sys.actorSystem, root))
		assert.True(t, e.sys.actorSystem.IsStopped(), "the System has created the actor system")

		_, err := e.tryConnect("late", "")
		require.ErrorIs(t, err, ErrShutdown)
		_, err = e.sys.NewHub("late", e.handler, e.hub.protocols, HubSettings{MaxNames: 100})
		require.ErrorIs(t, err, ErrShutdown)
		require.ErrorIs(t, e.hub.Send(context.Background(), &Audience{}, "x", nil), ErrShutdown)
		require.NoError(t, e.sys.Shutdown(context.Background()), "a second Shutdown returns nil")
	})
}

// Pending output is written before Close, as long as the timeout allows.
func TestShutdownWritesPendingOutput(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		slow := e.open("slow", "", func(s *linktest.Socket) { s.Room = 10 })
		for i := range 20 {
			slow.conn.out.Push(notePacket(0, i, 100), false, false)
		}
		done := make(chan error, 1)
		go func() { done <- e.shutdown() }()
		e.sleep(second)
		assert.Empty(t, done)
		slow.socket.Drain(-1)
		e.settle()
		require.Len(t, done, 1)
		require.NoError(t, <-done)
		got := slow.messages()
		assert.Len(t, got, 22)
		assert.Equal(t, []string{closeAllowingReconnect, "close 1000"}, got[20:])
	})
}

func TestConnectDuringShutdownIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		gate, open := e.gate()
		e.handler.disconnected = func(k *Call, _ error) { _, _ = gate(k, "") }
		e.open("a", "")
		done := make(chan error, 1)
		go func() { done <- e.shutdown() }()
		e.settle()
		_, err := e.tryConnect("b", "")
		require.ErrorIs(t, err, ErrShutdown)
		assert.Empty(t, done)
		assert.NoError(t, e.hub.Send(context.Background(), &Audience{}, "x", nil), "OnDisconnected may still send")
		open()
		e.settle()
		require.Len(t, done, 1)
		assert.NoError(t, <-done)
	})
}

// Connections that are opened while a shutdown begins are either refused or closed.
func TestConnectRacesWithShutdown(t *testing.T) {
	for range 20 {
		inBubble(t, func(t *testing.T, e *env) {
			var all sync.WaitGroup
			var mu sync.Mutex
			var in []*client
			start := make(chan struct{})
			for i := range 8 {
				s := linktest.NewSocket()
				s.Answers = true
				all.Go(func() {
					<-start
					conn, err := e.hub.ConnectSocket(fmt.Sprint(i), &Identity{}, s, &e.settings, false)
					if err != nil {
						assert.ErrorIs(t, err, ErrShutdown)
						return
					}
					c := &client{env: e, conn: conn, socket: s, readLock: make(chan struct{}, 1)}
					mu.Lock()
					in = append(in, c)
					mu.Unlock()
					all.Go(func() { <-s.Gone; c.end(nil) })
					c.sendHandshake("json")
				})
			}
			all.Go(func() { <-start; assert.NoError(t, e.shutdown()) })
			close(start)
			all.Wait()
			for _, c := range in {
				assert.True(t, c.socket.IsFinished())
			}
		})
	}
}

// When its context ends, Shutdown returns an error with the number of connections and calls that were left.
func TestShutdownTimeout(t *testing.T) {
	tests := map[string]struct {
		prepare func(e *env, c *client)
		want    string
	}{
		"a call": {func(e *env, c *client) {
			gate, _ := e.gate()
			e.handler.methods["gate"] = gate
			c.send(call("1", "gate"))
		}, "1 connections cut off, 1 calls abandoned"},
		"OnDisconnected": {func(e *env, _ *client) {
			gate, _ := e.gate()
			e.handler.disconnected = func(k *Call, _ error) { _, _ = gate(k, "") }
		}, "1 connections cut off, 1 calls abandoned"},
		"a client": {func(_ *env, c *client) {
			c.socket.Change(func() { c.socket.Room, c.socket.Answers = 1, false })
		}, "1 connections cut off, 0 calls abandoned"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				e.settings.CloseTimeout, e.settings.SendTimeout = 60*second, 60*second
				c := e.open("a", "")
				other := e.open("b", "", func(s *linktest.Socket) { s.Answers = true })
				test.prepare(e, c)
				e.settle()
				if name == "OnDisconnected" { // block OnDisconnected of one connection only
					gate := e.handler.disconnected
					e.handler.disconnected = func(k *Call, cause error) {
						if k.Connection() == c.conn {
							gate(k, cause)
						}
					}
				}
				start := time.Now()
				err := e.shutdown()
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorContains(t, err, test.want)
				assert.Equal(t, 5*second, time.Since(start), "Shutdown returns at the end of its context")
				assert.True(t, other.socket.IsFinished())
				e.settle()
				assert.True(t, c.socket.IsFinished() || c.socket.IsCut())
			})
		})
	}
}

// Shutdown returns the cause of a context that has ended.
func TestShutdownReturnsCauseOfEndedContext(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "")
		e.startCall(c, "1") // so that the connection cannot end before its context is looked at
		ctx, cancel := context.WithCancelCause(context.Background())
		why := errors.New("no time")
		cancel(why)
		e.wasShutDown.Store(true)
		require.ErrorIs(t, e.sys.Shutdown(ctx), why)
		e.settle()
		c.assertRemoved(t)
		assert.True(t, c.socket.IsCut() || c.socket.IsFinished())
	})
}

func TestConcurrentShutdownsWaitForTheFirst(t *testing.T) {
	e := newEnv(t, nil, never, hubproto.JSON)
	gate, open := e.gate()
	e.handler.disconnected = func(k *Call, _ error) { e.handler.record("waiting"); _, _ = gate(k, "") }
	e.open("a", "")
	require.Eventually(t, func() bool { return len(e.handler.events()) == 1 }, 5*second, time.Millisecond)
	results := make(chan error, 3)
	for range cap(results) {
		go func() { results <- e.shutdown() }()
	}
	require.Eventually(t, func() bool { return len(e.handler.events()) == 3 }, 5*second, time.Millisecond)
	assert.Never(t, func() bool { return len(results) > 0 }, 20*time.Millisecond, time.Millisecond)
	open()
	requireReturns(t, func() {
		for range cap(results) {
			assert.NoError(t, <-results)
		}
	})
}

// A call may shut down its own system, also with its own context, which the shutdown cancels. Shutdown does not wait for that call,
// but gives all others the time that they need.
func TestShutdownFromWithinCall(t *testing.T) {
	contexts := map[string]func(k *Call) (context.Context, context.CancelFunc){
		"own":      func(k *Call) (context.Context, context.CancelFunc) { return k, func() {} },
		"deadline": func(k *Call) (context.Context, context.CancelFunc) { return context.WithTimeout(k, 3*second) },
		"lasting":  func(k *Call) (context.Context, context.CancelFunc) { return context.WithoutCancel(k), func() {} },
	}
	for _, where := range []string{"method", "OnConnected", "OnDisconnected", "a stopped connection"} {
		for kind, contextOf := range contexts {
			t.Run(where+" "+kind, func(t *testing.T) {
				e := newEnv(t, nil, never, hubproto.JSON)
				e.wasShutDown.Store(true)
				result := make(chan error, 1)
				shutdown := func(k *Call) error {
					ctx, cancel := contextOf(k)
					defer cancel()
					result <- e.sys.Shutdown(ctx)
					return nil
				}
				e.handler.methods["shutdown"] = func(k *Call, _ string) (any, error) { return nil, shutdown(k) }
				e.handler.connected = func(k *Call) error {
					if where == "OnConnected" && k.Connection().ID() == "a" {
						return shutdown(k)
					}
					return nil
				}
				e.handler.disconnected = func(k *Call, _ error) {
					if k.Connection().ID() == "a" {
						if where == "OnDisconnected" || where == "a stopped connection" {
							_ = shutdown(k)
						}
						return
					}
					<-time.After(20 * time.Millisecond) // takes a while
					e.handler.record("left")
				}
				other := e.open("b", "")
				require.Eventually(t, func() bool { return len(e.handler.events()) == 1 }, 5*second, time.Millisecond)
				c := e.connect("a", "")
				c.sendHandshake("json")
				switch where {
				case "method":
					c.send(call("1", "shutdown"))
				case "OnDisconnected":
					c.send(`{"type":7}`)
				case "a stopped connection":
					require.Eventually(t, c.conn.calls.isOpen, 5*second, time.Millisecond)
					e.sys.actorSystem.Root.Stop(c.conn.PID())
				}
				requireReturns(t, func() { assert.NoError(t, <-result) })
				assert.Contains(t, e.handler.events(), "left", "the others' OnDisconnected has run")
				assert.True(t, other.socket.IsFinished())
			})
		}
	}
}

// Refreshed may shut the system down as well. Its connection ends meanwhile, as that of a method does.
func TestShutdownFromWithinRefreshed(t *testing.T) {
	for _, limit := range []int{1, 2} {
		inBubble(t, func(t *testing.T, e *env) {
			e.settings.Parallel = limit
			e.wasShutDown.Store(true)
			var result error
			var before []string
			e.handler.refreshed = func(k *Call) {
				result = e.sys.Shutdown(k)
				before = e.handler.events()
			}
			c := e.open("a", "")
			require.NoError(t, c.conn.Refresh(context.Background(), &Identity{}))
			e.sleep(second)
			require.NoError(t, result)
			assert.Contains(t, before, "disconnected a: <nil>")
			assert.Equal(t, []string{closeAllowingReconnect, "close 1000"}, c.messages())
			assert.Zero(t, e.sys.alive.Get())
			assert.Zero(t, e.sys.workers.busy.Get())
			c.assertRemoved(t)
		})
	}
}

// A Shutdown called by a goroutine that outlives its call waits for running calls like any other.
func TestShutdownFromGoroutineOfEndedCall(t *testing.T) {
	e := newEnv(t, nil, never, hubproto.JSON)
	e.wasShutDown.Store(true)
	gate, open := e.gate()
	e.handler.methods["gate"] = gate
	result := make(chan error, 1)
	e.handler.methods["shutdown"] = func(k *Call, _ string) (any, error) {
		ctx := context.WithoutCancel(k)
		go func() { result <- e.sys.Shutdown(ctx) }()
		return nil, nil
	}
	busy, c := e.connect("busy", ""), e.connect("a", "")
	busy.sendHandshake("json")
	busy.send(call("1", "gate"))
	require.Eventually(t, func() bool { return e.sys.workers.busy.Get() == 1 && busy.conn.calls.isOpen() }, 5*second, time.Millisecond)
	c.sendHandshake("json")
	c.send(call("1", "shutdown"))
	require.Eventually(t, func() bool { return busy.conn.isClosing.Load() && c.socket.IsFinished() }, 5*second, time.Millisecond)
	assert.Never(t, func() bool { return len(result) > 0 }, 50*time.Millisecond, time.Millisecond)
	open()
	requireReturns(t, func() { assert.NoError(t, <-result) })
}

// Two concurrent Shutdowns, one of them from within a call, do not wait for each other.
func TestShutdownsInsideAndOutsideCallDoNotDeadlock(t *testing.T) {
	e := newEnv(t, nil, never, hubproto.JSON)
	running := make(chan struct{})
	e.handler.methods["shutdown"] = func(k *Call, _ string) (any, error) {
		close(running)
		<-k.conn.Done() // closed by the first Shutdown
		return nil, e.sys.Shutdown(k)
	}
	c := e.connect("a", "")
	c.sendHandshake("json")
	c.send(call("1", "shutdown"))
	<-running
	e.wasShutDown.Store(true)
	requireReturns(t, func() { assert.NoError(t, e.sys.Shutdown(context.Background())) })
}

// User code that runs for a stopped actor does not delay Shutdown beyond its context.
func TestShutdownTimeoutWhileStoppedConnectionFinishes(t *testing.T) {
	e := newEnv(t, nil, never, hubproto.JSON)
	e.wasShutDown.Store(true)
	gate, _ := e.gate()
	e.handler.disconnected = func(k *Call, _ error) { _, _ = gate(k, "") }
	c := e.open("a", "")
	require.Eventually(t, c.conn.calls.isOpen, 5*second, time.Millisecond)
	e.sys.actorSystem.Root.Stop(c.conn.PID())
	require.Eventually(t, func() bool { return len(e.handler.events()) == 2 }, 5*second, time.Millisecond)
	requireReturns(t, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, e.sys.Shutdown(ctx), context.DeadlineExceeded)
	})
}

func TestShutdownAfterRootWasStopped(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "")
		e.sys.actorSystem.Root.Stop(e.sys.Root())
		e.settle()
		c.assertRemoved(t)
		start := time.Now()
		require.NoError(t, e.shutdown())
		assert.Less(t, time.Since(start), second, "there is nothing to wait for")
	})
}
