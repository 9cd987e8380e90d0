package actors

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/actors/outbox"
	"github.com/troupe-go/troupe/internal/linktest"
)

func TestSlowClientIsDisconnected(t *testing.T) {
	for _, blocks := range []bool{false, true} {
		inBubble(t, func(t *testing.T, e *env) {
			c := e.open("slow", "", linktest.Full, func(s *linktest.Socket) { s.BlocksOnly = blocks })
			other := e.open("other", "")
			e.open("another", "")
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			start := time.Now()
			const sends = 10 // more than four times the limit, where a client that takes nothing holds senders
			for range sends {
				require.NoError(t, e.hub.Send(context.WithoutCancel(ctx), &Audience{}, "x", []any{strings.Repeat("x", 30<<10)}))
			}
			e.settle()
			assert.Equal(t, outbox.HoldTime, time.Since(start), "it has delayed the senders by HoldTime in total")
			assert.True(t, c.socket.IsCut())
			assert.Contains(
				t, e.handler.events(),
				"disconnected slow: hubsys: the client is too slow: its outbox has reached OutboxLimit of 65536 bytes",
			)
			assert.Len(t, other.messages(), sends)
			require.ErrorIs(t, e.hub.Send(ctx, &Audience{}, "x", nil), context.Canceled)
		})
	}
}

func TestWaitingSendReturns(t *testing.T) {
	reasons := map[string]func(e *env, c *client, cancel func()){
		"room":    func(_ *env, c *client, _ func()) { c.socket.Drain(-1) },
		"seal":    func(_ *env, c *client, _ func()) { c.conn.out.Seal(nil) },
		"abandon": func(_ *env, c *client, _ func()) { c.conn.abandon() },
		"full": func(e *env, c *client, _ func()) {
			c.conn.out.Push(notePacket(0, 0, e.settings.OutboxLimit), false, false)
		},
		"cut":  func(_ *env, c *client, _ func()) { c.socket.Cut() },
		"ctx":  func(_ *env, _ *client, cancel func()) { cancel() },
		"time": func(e *env, _ *client, _ func()) { e.sleep(e.settings.SendTimeout + 2*second) },
	}
	for _, to := range []*Audience{{}, {Kind: Connections, Names: []string{"a"}}} {
		for name, reason := range reasons {
			if name == "full" && to.Kind == Connections {
				continue // messages to a single connection do not count toward the limit
			}
			t.Run(name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, e *env) {
					c := e.open("a", "", linktest.Full)
					ctx, cancel := context.WithCancel(context.Background())
					defer cancel()
					sent := make(chan error, 1)
					go func() {
						sent <- e.hub.Send(ctx, to, "x", []any{strings.Repeat("x", e.settings.OutboxLimit*2/3)})
					}()
					e.settle()
					e.sleep(5 * second)
					require.Empty(t, sent, "Send waits")
					reason(e, c, cancel)
					e.settle()
					require.Len(t, sent, 1)
					assert.NoError(t, <-sent, "a Send that has pushed its message succeeds")
				})
			})
		}
	}
}

// Sends wait for a client that keeps reading; it is not disconnected.
func TestClientThatReadsIsNeverDisconnected(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "", linktest.Blocking)
		c.socket.Before = func() { <-time.After(100 * time.Microsecond) }
		for i := range 2000 {
			e.send(&Audience{}, "note", 0, i, strings.Repeat("x", 200))
		}
		e.sleep(second)
		assert.Len(t, noteNumbers(t, c.messages())[0], 2000)
		assert.Equal(t, []string{"connected a"}, e.handler.events())
	})
}

// A client that is slower than the others delays senders by HoldTime in total, and is disconnected when its outbox is full.
func TestSlowClientDelaysSendersByHoldTimeInTotal(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.open("b", "")
		e.open("c", "")
		c := e.open("a", "", linktest.Full)
		start := time.Now()
		for i := 0; !c.conn.isClosing.Load(); i++ {
			require.Less(t, i, 1000)
			e.send(&Audience{}, "x", strings.Repeat("x", 1<<10))
			e.settle()
			c.socket.Drain(10)
		}
		// While the box waits for its writer, time does not count against the client, and the sender looks again a little later.
		assert.GreaterOrEqual(t, time.Since(start), outbox.HoldTime)
		assert.Less(t, time.Since(start), outbox.HoldTime*5/4)
	})
}

// If most clients are slow, the server or its link is the cause: senders wait, and no client is disconnected.
func TestSlowMajorityIsNotDisconnected(t *testing.T) {
	for _, clients := range []int{50, 400} {
		inBubble(t, func(t *testing.T, e *env) {
			e.settings.OutboxLimit = 1 << 20
			const link = 40 << 20 // bytes per second, shared by all clients
			var all []*client
			for i := range clients {
				all = append(all, e.open(fmt.Sprint(i), "", func(s *linktest.Socket) { s.Room = 4 << 10 }))
			}
			stop := make(chan struct{})
			go func() {
				for {
					select {
					case <-time.After(20 * time.Millisecond):
						for _, c := range all {
							c.socket.Change(func() { c.socket.Taken = nil })
							c.socket.Drain(link / 50 / clients)
						}
					case <-stop:
						return
					}
				}
			}()
			payload := strings.Repeat("x", 10_000)
			sends := 0
			for start := time.Now(); time.Since(start) < 20*second; sends++ {
				e.send(&Audience{}, "x", payload)
			}
			close(stop)
			e.sleep(10 * time.Millisecond)
			for _, c := range all {
				assert.False(t, c.conn.isClosing.Load())
				c.socket.Change(func() { c.socket.Taken = nil })
			}
			assert.Greater(t, sends*len(payload)*clients, 15*link, "the link is utilized")
		})
	}
}

// A client that reads 600 KiB per second does not delay senders by more than the hold time.
func TestSlowClientDoesNotThrottleSenders(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.OutboxLimit = 1 << 20
		e.open("fast", "")
		slow := e.open("slow", "", func(s *linktest.Socket) { s.Room = 1 << 10 })
		stop := make(chan struct{})
		defer close(stop)
		go slow.drainAtRate(600<<10, stop)
		payload := strings.Repeat("x", 10_000)
		start := time.Now()
		for range 10_000 {
			e.send(&Audience{}, "x", payload)
		}
		assert.Less(t, time.Since(start), 2*outbox.HoldTime)
		assert.True(t, slow.conn.isClosing.Load())
	})
}

// A client that steadily reads a large result is not treated as slow, and does not delay broadcasts.
func TestLargeResultDoesNotMakeClientSlow(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.OutboxLimit = 1 << 20
		e.settings.KeepAlive = never
		const size = 4 << 20
		e.handler.methods["report"] = func(*Call, string) (any, error) {
			return json.RawMessage(`"` + strings.Repeat("x", size) + `"`), nil
		}
		c := e.open("a", "", func(s *linktest.Socket) { s.Room = 64 << 10 })
		e.open("b", "")
		stop := make(chan struct{})
		defer close(stop)
		go c.drainAtRate(300<<10, stop)
		c.send(call("1", "report"))
		start := time.Now()
		for range 20 {
			e.sleep(second)
			e.send(&Audience{}, "tick", 1)
		}
		assert.Equal(t, 20*second, time.Since(start), "broadcasts are not delayed")
		require.False(t, c.conn.isClosing.Load())
		e.settle()
		assert.Equal(t, 1+20, len(c.messages()))
	})
}

// A Send whose context ends while it waits has succeeded. Repeated sends of this kind cannot fill the outbox beyond its limit.
func TestSendsWithEndedContextsRespectLimit(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "", linktest.Full)
		most := 0
		for i := 0; !c.conn.isClosing.Load(); i++ {
			require.Less(t, i, 1000)
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
			require.NoError(t, e.hub.Send(ctx, &Audience{}, "x", []any{strings.Repeat("x", 1<<10)}))
			cancel()
			most = max(most, pendingBytes(c))
		}
		assert.Less(t, most, e.settings.OutboxLimit+4<<10)
		assert.Greater(t, most, e.settings.OutboxLimit)
	})
}

// Messages and Asks to a single connection, which do not count toward the limit, are bounded as well.
func TestDirectSendsWithEndedContextsAreBounded(t *testing.T) {
	for _, ask := range []bool{false, true} {
		inBubble(t, func(t *testing.T, e *env) {
			e.settings.SendTimeout = never
			c := e.open("a", "", linktest.Full)
			text, refused := strings.Repeat("x", 10<<10), 0
			for range 50 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
				to := &Audience{Kind: Connections, Names: []string{"a"}}
				var err error
				if ask {
					err = e.hub.Invoke(ctx, to, "x", []any{text}, nil)
				} else {
					err = e.hub.Send(ctx, to, "x", []any{text})
				}
				cancel()
				if err != nil {
					require.ErrorIs(t, err, context.DeadlineExceeded)
					refused++
				}
			}
			assert.Less(t, pendingBytes(c), e.settings.OutboxLimit+2*len(text))
			assert.GreaterOrEqual(t, refused, 40)
		})
	}
}

// Completions for a client that does not read are bounded, also while the outbox makes no progress.
func TestCompletionsAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.handler.methods["large"] = func(*Call, string) (any, error) { return strings.Repeat("z", 16<<10), nil }
		c := e.open("a", "", linktest.Full)
		for i := range 100 {
			c.send(call(fmt.Sprint(i), "large"))
		}
		e.sleep(5 * second) // shorter than SendTimeout
		require.False(t, c.socket.IsCut())
		assert.LessOrEqual(t, pendingBytes(c), 2*e.settings.OutboxLimit)
	})
}

// Calls of a client with much pending output wait in their order. They are dropped if the server closes the connection.
func TestCallsWaitForOutboxSpace(t *testing.T) {
	for _, abort := range []bool{false, true} {
		inBubble(t, func(t *testing.T, e *env) {
			e.settings.Parallel = 8
			control := newCallControl(e)
			c := e.open("a", "", linktest.Full)
			c.conn.out.Push(notePacket(0, 0, e.settings.OutboxLimit*2/3), false, false)
			for i := range 6 {
				c.send(call(fmt.Sprint(i), "work"), streamCall(fmt.Sprint("s", i), "work"))
				e.sleep(schedulingTime)
			}
			assert.Empty(t, control.started())
			assert.LessOrEqual(t, e.sys.workers.busy.Get(), 1)
			if abort {
				c.conn.Abort()
				e.sleep(schedulingTime)
				assert.Empty(t, control.started())
				return
			}
			c.socket.Drain(-1)
			e.sleep(schedulingTime)
			assert.Equal(t, []string{"0", "s0", "1", "s1", "2", "s2", "3", "s3", "4", "s4", "5", "s5"}, control.started())
			for _, id := range control.started() {
				control.end(id, "ok")
			}
		})
	}
}

// Many concurrent senders may fill the outbox of a client that keeps reading beyond its limit. The client is disconnected only far
// beyond it.
func TestConcurrentSendersMayExceedLimit(t *testing.T) {
	for _, far := range []bool{false, true} {
		inBubble(t, func(t *testing.T, e *env) {
			e.open("b", "")
			e.open("c", "")
			c := e.open("a", "", func(s *linktest.Socket) { s.Room = 1 << 10 })
			stop := make(chan struct{})
			defer close(stop)
			go c.drainAtRate(e.settings.OutboxLimit/4, stop)
			text := strings.Repeat("x", e.settings.OutboxLimit/4)
			send := func(n int) {
				for range n {
					go func() { _ = e.hub.Send(context.Background(), &Audience{}, "x", []any{text}) }()
				}
			}
			send(8)
			e.sleep(outbox.HoldTime + 100*time.Millisecond)
			_, limited := c.conn.out.Pending()
			require.Greater(t, limited, e.settings.OutboxLimit)
			send(1)
			e.sleep(100 * time.Millisecond)
			require.False(t, c.conn.isClosing.Load())
			if far {
				send(12)
				e.sleep(100 * time.Millisecond)
				assert.True(t, c.conn.isClosing.Load())
				return
			}
			e.sleep(20 * second)
			assert.False(t, c.conn.isClosing.Load())
			assert.Len(t, without(c.messages(), ping), 9)
		})
	}
}
