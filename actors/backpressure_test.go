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
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open("a", "", linktest.Full)
		w.settle()
		c.socket.Drain(100)
		w.settle()
		require.Zero(t, pending(c))
		c.socket.Change(func() { c.socket.Room = 0 })
		assert.Equal(t, outbox.AboveMark, c.conn.out.Push(note(0, 0, 10*w.settings.OutboxLimit), false, false))
		assert.Equal(t, outbox.Overflow, c.conn.out.Push(note(0, 1, 0), false, false))
	})
}

func TestASlowClientIsDisconnected(t *testing.T) {
	for _, blocks := range []bool{false, true} {
		inBubble(t, func(t *testing.T, w *world) {
			c := w.open("slow", "", linktest.Full, func(s *linktest.Socket) { s.BlocksOnly = blocks })
			other := w.open("other", "")
			w.open("another", "")
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			start := time.Now()
			for range 4 {
				require.NoError(t, w.hub.Send(context.WithoutCancel(ctx), &Audience{}, "x", []any{strings.Repeat("x", 30<<10)}))
			}
			w.settle()
			assert.Equal(t, outbox.HoldTime, time.Since(start), "it has held the sender for a second in all")
			assert.True(t, c.socket.IsCut())
			assert.Contains(t, w.handler.noted(), "disconnected slow: hubsys: the client is too slow: its outbox has reached OutboxLimit of 65536 bytes")
			assert.Len(t, other.got(), 4)
			require.ErrorIs(t, w.hub.Send(ctx, &Audience{}, "x", nil), context.Canceled)
		})
	}
}

func TestWaitersWake(t *testing.T) {
	reasons := map[string]func(w *world, c *client, cancel func()){
		"room":    func(_ *world, c *client, _ func()) { c.socket.Drain(-1) },
		"seal":    func(_ *world, c *client, _ func()) { c.conn.out.Seal(nil) },
		"abandon": func(_ *world, c *client, _ func()) { c.conn.abandon() },
		"full":    func(w *world, c *client, _ func()) { c.conn.out.Push(note(0, 0, w.settings.OutboxLimit), false, false) },
		"cut":     func(_ *world, c *client, _ func()) { c.socket.Cut() },
		"ctx":     func(_ *world, _ *client, cancel func()) { cancel() },
		"time":    func(w *world, _ *client, _ func()) { w.pass(w.settings.SendTimeout + 2*second) },
	}
	for _, to := range []*Audience{{}, {Kind: Connections, Names: []string{"a"}}} {
		for name, reason := range reasons {
			if name == "full" && to.Kind == Connections {
				continue // what is sent to one client is not what the limit is about
			}
			t.Run(name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, w *world) {
					c := w.open("a", "", linktest.Full)
					ctx, cancel := context.WithCancel(context.Background())
					defer cancel()
					sent := make(chan error, 1)
					go func() {
						sent <- w.hub.Send(ctx, to, "x", []any{strings.Repeat("x", w.settings.OutboxLimit*2/3)})
					}()
					w.settle()
					w.pass(5 * second)
					require.Empty(t, sent, "it waits")
					reason(w, c, cancel)
					w.settle()
					require.Len(t, sent, 1)
					assert.NoError(t, <-sent, "what was pushed has succeeded")
				})
			})
		}
	}
}

// A healthy client is never disconnected: whoever sends to it waits.
func TestALoopOfSendsToAHealthyClient(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open("a", "", linktest.Blocking)
		c.socket.Before = func() { <-time.After(100 * time.Microsecond) }
		for i := range 2000 {
			w.send(&Audience{}, "note", 0, i, strings.Repeat("x", 200))
		}
		w.pass(second)
		assert.Len(t, noted(t, c.got())[0], 2000)
		assert.Equal(t, []string{"connected a"}, w.handler.noted())
	})
}

// A client that is slower than the crowd holds senders for a second in all, and is then disconnected at its limit.
func TestSendersWaitASecondForASlowClient(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.open("b", "")
		w.open("c", "")
		c := w.open("a", "", linktest.Full)
		start := time.Now()
		for i := 0; !c.conn.ending.Load(); i++ {
			require.Less(t, i, 1000)
			w.send(&Audience{}, "x", strings.Repeat("x", 1<<10))
			w.settle()
			c.socket.Drain(10)
		}
		assert.Equal(t, outbox.HoldTime, time.Since(start))
	})
}

// It has its second again when its outbox has been empty.
func TestTheSecondIsGivenAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.open("b", "")
		w.open("c", "")
		c := w.open("a", "", linktest.Full)
		for range 3 {
			start := time.Now()
			w.send(&Audience{}, "x", strings.Repeat("x", w.settings.OutboxLimit*2/3))
			assert.Equal(t, outbox.HoldTime, time.Since(start))
			w.send(&Audience{}, "x")
			assert.Equal(t, outbox.HoldTime, time.Since(start), "but only once")
			c.socket.Drain(2 * w.settings.OutboxLimit)
			w.settle()
			require.Zero(t, pending(c))
			c.socket.Change(func() { c.socket.Room = 0 })
		}
		assert.False(t, c.conn.ending.Load())
	})
}

// If most clients are slow, that is the server, or its link: senders wait for them, and nobody is disconnected.
func TestACrowdIsNotASlowClient(t *testing.T) {
	for _, clients := range []int{50, 400} {
		inBubble(t, func(t *testing.T, w *world) {
			w.settings.OutboxLimit = 1 << 20
			const link = 40 << 20 // bytes a second, which all share
			var all []*client
			for i := range clients {
				all = append(all, w.open(fmt.Sprint(i), "", func(s *linktest.Socket) { s.Room = 4 << 10 }))
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
				w.send(&Audience{}, "x", payload)
			}
			close(stop)
			w.pass(10 * time.Millisecond)
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
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.OutboxLimit = 1 << 20
		w.open("fast", "")
		slow := w.open("slow", "", func(s *linktest.Socket) { s.Room = 1 << 10 })
		stop := make(chan struct{})
		defer close(stop)
		go slow.trickle(600<<10, stop)
		payload := strings.Repeat("x", 10_000)
		start := time.Now()
		for range 10_000 {
			w.send(&Audience{}, "x", payload)
		}
		assert.Less(t, time.Since(start), 2*outbox.HoldTime)
		assert.True(t, slow.conn.ending.Load())
	})
}

// A large result that a client takes steadily is not what makes it slow.
func TestABroadcastBesideADownload(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.OutboxLimit = 1 << 20
		w.settings.KeepAlive = never
		const size = 4 << 20
		w.handler.methods["report"] = func(*Call, string) (any, error) {
			return json.RawMessage(`"` + strings.Repeat("x", size) + `"`), nil
		}
		c := w.open("a", "", func(s *linktest.Socket) { s.Room = 64 << 10 })
		w.open("b", "")
		stop := make(chan struct{})
		defer close(stop)
		go c.trickle(300<<10, stop)
		c.say(call("1", "report"))
		start := time.Now()
		for range 20 {
			w.pass(second)
			w.send(&Audience{}, "tick", 1)
		}
		assert.Equal(t, 20*second, time.Since(start), "nor does it hold a broadcast")
		require.False(t, c.conn.ending.Load())
		w.settle()
		assert.Equal(t, 1+20, len(c.got()))
	})
}

// A sender whose context ends in the wait has sent. Again and again it cannot: what it adds to an outbox that is beyond its limit already
// meets the policy.
func TestSendersThatDoNotWaitLiftNoLimit(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open("a", "", linktest.Full)
		most := 0
		for i := 0; !c.conn.ending.Load(); i++ {
			require.Less(t, i, 1000)
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
			require.NoError(t, w.hub.Send(ctx, &Audience{}, "x", []any{strings.Repeat("x", 1<<10)}))
			cancel()
			most = max(most, pending(c))
		}
		assert.Less(t, most, w.settings.OutboxLimit+4<<10)
		assert.Greater(t, most, w.settings.OutboxLimit)
	})
}

// Nor can they lift what no limit counts: what is sent to one client, and what it is asked.
func TestSendersToOneThatDoNotWait(t *testing.T) {
	for _, ask := range []bool{false, true} {
		inBubble(t, func(t *testing.T, w *world) {
			w.settings.SendTimeout = never
			c := w.open("a", "", linktest.Full)
			text, refused := strings.Repeat("x", 10<<10), 0
			for range 50 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
				to := &Audience{Kind: Connections, Names: []string{"a"}}
				var err error
				if ask {
					err = w.hub.Ask(ctx, to, "x", []any{text}, nil)
				} else {
					err = w.hub.Send(ctx, to, "x", []any{text})
				}
				cancel()
				if err != nil {
					require.ErrorIs(t, err, context.DeadlineExceeded)
					refused++
				}
			}
			assert.Less(t, pending(c), w.settings.OutboxLimit+2*len(text))
			assert.GreaterOrEqual(t, refused, 40)
		})
	}
}

// A worker whose client takes nothing does not go on answering without end, also when the outbox no longer moves.
func TestCompletionsAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.handler.methods["large"] = func(*Call, string) (any, error) { return strings.Repeat("z", 16<<10), nil }
		c := w.open("a", "", linktest.Full)
		for i := range 100 {
			c.say(call(fmt.Sprint(i), "large"))
		}
		w.pass(5 * second) // less than SendTimeout
		require.False(t, c.socket.IsCut())
		assert.LessOrEqual(t, pending(c), 2*w.settings.OutboxLimit)
	})
}

// A client that has much pending gets no further answers: its calls wait, in their order, and are dropped if the server ends it.
func TestCallsWaitForRoom(t *testing.T) {
	for _, abort := range []bool{false, true} {
		inBubble(t, func(t *testing.T, w *world) {
			w.settings.Parallel = 8
			crew := newCrew(w)
			c := w.open("a", "", linktest.Full)
			c.conn.out.Push(note(0, 0, w.settings.OutboxLimit*2/3), false, false)
			for i := range 6 {
				c.say(call(fmt.Sprint(i), "work"), streaming(fmt.Sprint("s", i), "work"))
				w.pass(soon)
			}
			assert.Empty(t, crew.starts())
			assert.LessOrEqual(t, w.sys.workers.busy.Get(), 1)
			if abort {
				c.conn.Abort()
				w.pass(soon)
				assert.Empty(t, crew.starts())
				return
			}
			c.socket.Drain(-1)
			w.pass(soon)
			assert.Equal(t, []string{"0", "s0", "1", "s1", "2", "s2", "3", "s3", "4", "s4", "5", "s5"}, crew.starts())
			for _, id := range crew.starts() {
				crew.end(id, "ok")
			}
		})
	}
}

// Many who send at once bring a client that keeps taking beyond its limit: that is not its fault, until it is far beyond.
func TestManySendersAtOnce(t *testing.T) {
	for _, far := range []bool{false, true} {
		inBubble(t, func(t *testing.T, w *world) {
			w.open("b", "")
			w.open("c", "")
			c := w.open("a", "", func(s *linktest.Socket) { s.Room = 1 << 10 })
			stop := make(chan struct{})
			defer close(stop)
			go c.trickle(w.settings.OutboxLimit/4, stop)
			text := strings.Repeat("x", w.settings.OutboxLimit/4)
			send := func(n int) {
				for range n {
					go func() { _ = w.hub.Send(context.Background(), &Audience{}, "x", []any{text}) }()
				}
			}
			send(8)
			w.pass(outbox.HoldTime + 100*time.Millisecond)
			_, limited := c.conn.out.Pending()
			require.Greater(t, limited, w.settings.OutboxLimit)
			send(1)
			w.pass(100 * time.Millisecond)
			require.False(t, c.conn.ending.Load())
			if far {
				send(12)
				w.pass(100 * time.Millisecond)
				assert.True(t, c.conn.ending.Load())
				return
			}
			w.pass(20 * second)
			assert.False(t, c.conn.ending.Load())
			assert.Len(t, noteless(c.got(), ping), 9)
		})
	}
}
