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

func TestAnEmptyOutboxTakesAnyFrame(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "", linktest.Full)
		e.settle()
		c.socket.Drain(100)
		e.settle()
		require.Zero(t, pendingBytes(c))
		c.socket.Change(func() { c.socket.Room = 0 })
		assert.Equal(t, outbox.AboveMark, c.conn.out.Push(notePacket(0, 0, 10*e.settings.OutboxLimit), false, false))
		assert.Equal(t, outbox.Overflow, c.conn.out.Push(notePacket(0, 1, 0), false, false))
	})
}

func TestASlowClientIsDisconnected(t *testing.T) {
	for _, blocks := range []bool{false, true} {
		inBubble(t, func(t *testing.T, e *env) {
			c := e.open("slow", "", linktest.Full, func(s *linktest.Socket) { s.BlocksOnly = blocks })
			other := e.open("other", "")
			e.open("another", "")
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			start := time.Now()
			for range 4 {
				require.NoError(t, e.hub.Send(context.WithoutCancel(ctx), &Audience{}, "x", []any{strings.Repeat("x", 30<<10)}))
			}
			e.settle()
			assert.Equal(t, outbox.HoldTime, time.Since(start), "it has held the sender for a second in all")
			assert.True(t, c.socket.IsCut())
			assert.Contains(t, e.handler.events(), "disconnected slow: hubsys: the client is too slow: its outbox has reached OutboxLimit of 65536 bytes")
			assert.Len(t, other.messages(), 4)
			require.ErrorIs(t, e.hub.Send(ctx, &Audience{}, "x", nil), context.Canceled)
		})
	}
}

func TestWaitersWake(t *testing.T) {
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
				continue // what is sent to one client is not what the limit is about
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
					require.Empty(t, sent, "it waits")
					reason(e, c, cancel)
					e.settle()
					require.Len(t, sent, 1)
					assert.NoError(t, <-sent, "what was pushed has succeeded")
				})
			})
		}
	}
}

// A healthy client is never disconnected: whoever sends to it waits.
func TestALoopOfSendsToAHealthyClient(t *testing.T) {
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

// A client that is slower than the crowd holds senders for a second in all, and is then disconnected at its limit.
func TestSendersWaitASecondForASlowClient(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.open("b", "")
		e.open("c", "")
		c := e.open("a", "", linktest.Full)
		start := time.Now()
		for i := 0; !c.conn.ending.Load(); i++ {
			require.Less(t, i, 1000)
			e.send(&Audience{}, "x", strings.Repeat("x", 1<<10))
			e.settle()
			c.socket.Drain(10)
		}
		assert.Equal(t, outbox.HoldTime, time.Since(start))
	})
}

// It has its second again when its outbox has been empty.
func TestTheSecondIsGivenAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.open("b", "")
		e.open("c", "")
		c := e.open("a", "", linktest.Full)
		for range 3 {
			start := time.Now()
			e.send(&Audience{}, "x", strings.Repeat("x", e.settings.OutboxLimit*2/3))
			assert.Equal(t, outbox.HoldTime, time.Since(start))
			e.send(&Audience{}, "x")
			assert.Equal(t, outbox.HoldTime, time.Since(start), "but only once")
			c.socket.Drain(2 * e.settings.OutboxLimit)
			e.settle()
			require.Zero(t, pendingBytes(c))
			c.socket.Change(func() { c.socket.Room = 0 })
		}
		assert.False(t, c.conn.ending.Load())
	})
}

// If most clients are slow, that is the server, or its link: senders wait for them, and nobody is disconnected.
func TestACrowdIsNotASlowClient(t *testing.T) {
	for _, clients := range []int{50, 400} {
		inBubble(t, func(t *testing.T, e *env) {
			e.settings.OutboxLimit = 1 << 20
			const link = 40 << 20 // bytes a second, which all share
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
				assert.False(t, c.conn.ending.Load())
				c.socket.Change(func() { c.socket.Taken = nil })
			}
			assert.Greater(t, sends*len(payload)*clients, 15*link, "and the link is used")
		})
	}
}

// A client that takes 600 KiB a second slows nobody down for longer than its second.
func TestASlowClientIsNobodysBrake(t *testing.T) {
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
		assert.True(t, slow.conn.ending.Load())
	})
}

// A large result that a client takes steadily is not what makes it slow.
func TestABroadcastBesideADownload(t *testing.T) {
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
		assert.Equal(t, 20*second, time.Since(start), "nor does it hold a broadcast")
		require.False(t, c.conn.ending.Load())
		e.settle()
		assert.Equal(t, 1+20, len(c.messages()))
	})
}

// A sender whose context ends in the wait has sent. Again and again it cannot: what it adds to an outbox that is beyond its limit already
// meets the policy.
func TestSendersThatDoNotWaitLiftNoLimit(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "", linktest.Full)
		most := 0
		for i := 0; !c.conn.ending.Load(); i++ {
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

// Nor can they lift what no limit counts: what is sent to one client, and what it is asked.
func TestSendersToOneThatDoNotWait(t *testing.T) {
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
					err = e.hub.Ask(ctx, to, "x", []any{text}, nil)
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

// A worker whose client takes nothing does not go on answering without end, also when the outbox no longer moves.
func TestCompletionsAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.handler.methods["large"] = func(*Call, string) (any, error) { return strings.Repeat("z", 16<<10), nil }
		c := e.open("a", "", linktest.Full)
		for i := range 100 {
			c.send(call(fmt.Sprint(i), "large"))
		}
		e.sleep(5 * second) // less than SendTimeout
		require.False(t, c.socket.IsCut())
		assert.LessOrEqual(t, pendingBytes(c), 2*e.settings.OutboxLimit)
	})
}

// A client that has much pending gets no further answers: its calls wait, in their order, and are dropped if the server ends it.
func TestCallsWaitForRoom(t *testing.T) {
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

// Many who send at once bring a client that keeps taking beyond its limit: that is not its fault, until it is far beyond.
func TestManySendersAtOnce(t *testing.T) {
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
			require.False(t, c.conn.ending.Load())
			if far {
				send(12)
				e.sleep(100 * time.Millisecond)
				assert.True(t, c.conn.ending.Load())
				return
			}
			e.sleep(20 * second)
			assert.False(t, c.conn.ending.Load())
			assert.Len(t, without(c.messages(), ping), 9)
		})
	}
}
