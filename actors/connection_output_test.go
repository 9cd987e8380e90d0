package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/actors/outbox"
	"github.com/troupe-go/troupe/internal/linktest"
	"github.com/troupe-go/troupe/internal/wsframe"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// Many calls of one client end while its socket is full: their completions lie in packets of many messages each.
func TestAtMost64MessagesAreMerged(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open("a", "", func(s *linktest.Socket) { s.Room = len(wsframe.CloseFrame(1000)) + 1 })
		for i := range 3 * 64 {
			c.conn.out.Reply([]byte(call(fmt.Sprint(i), "x")+"\x1e"), false)
		}
		c.conn.out.Schedule()
		w.settle()
		c.socket.Drain(-1)
		w.settle()
		assert.Len(t, c.got(), 3*64)
	})
}

func TestLargeMessagesAreNotMerged(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.OutboxLimit = 1 << 20
		c := w.open("a", "", linktest.Full)
		for i := range 10 {
			require.NotEqual(t, outbox.Overflow, c.conn.out.Push(note(0, i, 30<<10), false, false))
		}
		c.conn.out.Push(note(0, 10, 100<<10), false, false)
		c.socket.Drain(-1)
		w.settle()
		assert.Len(t, c.got(), 11)
		frames, _ := linktest.ParseFrames(c.socket.Wire())
		assert.Len(t, frames, 1+5+1, "two at a time, and the largest alone")
	})
}

// A worker writes at 64 KB unwritten, however large the completions are.
func TestAWorkerWritesAt64KB(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.OutboxLimit = 1 << 20
		w.handler.methods["large"] = func(*Call, string) (any, error) { return strings.Repeat("z", 40<<10), nil }
		gate, open := w.gate()
		w.handler.methods["gate"] = gate
		c := w.open("a", "")
		c.say(call("1", "large"), call("2", "large"), call("3", "gate"))
		w.settle() // the clock stands, so the late list was not looked at
		assert.NotEmpty(t, c.got(), "80 KB wait for a call that runs")
		open()
		w.settle()
		assert.Len(t, c.got(), 3)
	})
}

func TestAWorkerWritesAt64Messages(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		gate, open := w.gate()
		w.handler.methods["gate"] = gate
		c := w.open("a", "")
		var calls []string
		for i := range 64 {
			calls = append(calls, call(fmt.Sprint(i), "echo"))
		}
		c.say(append(calls, call("x", "gate"))...)
		w.settle()
		assert.Len(t, c.got(), 64)
		open()
	})
}

// A failed write leaves it to the reader to find the end. If it does not, the connection is cut.
func TestAFailedWriteEndsTheConnection(t *testing.T) {
	for _, blocks := range []bool{false, true} {
		inBubble(t, func(t *testing.T, w *world) {
			c := w.open("a", "", func(s *linktest.Socket) { s.BlocksOnly = blocks })
			c.socket.Break(errors.New("broken"))
			w.send(&Audience{}, "x")
			w.settle()
			c.say(call("", "note"))
			w.settle()
			assert.False(t, c.socket.IsCut())
			w.pass(w.settings.CloseTimeout + 2*second)
			assert.True(t, c.socket.IsCut())
			assert.Equal(t, []string{"connected a", "disconnected a: <nil>"}, w.handler.noted())
		})
	}
}

func TestPongs(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.connect("a", "", linktest.Full)
		for _, payload := range []string{"1", "2", "3"} {
			c.conn.Pong(wsframe.Control(wsframe.Pong, []byte(payload)))
		}
		c.socket.Drain(-1)
		w.settle()
		all := c.everything()
		assert.Equal(t, "pong 3", all[len(all)-1], "the newest is answered")
		c.conn.Pong(wsframe.Control(wsframe.Pong, []byte("4")))
		w.settle()
		assert.Equal(t, append(all, "pong 4"), c.everything())
		c.conn.out.Seal(nil)
		w.settle()
		c.conn.Pong(wsframe.Control(wsframe.Pong, []byte("5")))
		w.settle()
		assert.Equal(t, append(all, "pong 4", "close 1000"), c.everything(), "nothing follows the last frame")
	})
}

// A socket that is full in the middle of the close frame.
func TestTheLastFrameInParts(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open("a", "")
		c.socket.Drain(0)
		c.socket.Change(func() { c.socket.Room = 1 })
		c.conn.out.Seal(nil)
		w.settle()
		require.False(t, c.socket.IsFinished())
		c.socket.Drain(-1)
		w.settle()
		assert.True(t, c.socket.IsFinished())
		assert.Equal(t, []string{"{}", "close 1000"}, c.everything())
	})
}

// Many push at once, and the flushers come to rest in between: nothing is left lying.
func TestNoWakeUpIsLost(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		const rounds, senders = 50, 4
		var clients []*client
		for i := range 3 {
			clients = append(clients, w.open(fmt.Sprint(i), ""))
		}
		for n := range rounds {
			var all sync.WaitGroup
			for sender := range senders {
				all.Go(func() {
					for i, c := range clients {
						assert.Equal(t, outbox.Queued, c.conn.out.Push(note(sender, n, 0), (i+sender+n)%2 == 0, false))
					}
				})
			}
			all.Wait()
			w.settle()
			for _, c := range clients {
				require.Len(t, c.got(), (n+1)*senders)
			}
		}
	})
}

// The same beside a clock that runs, where flushers rest behind a pass.
func TestNoWakeUpIsLostWhileFlushersRest(t *testing.T) {
	w := newWorld(t, nil, never, hubproto.JSON)
	slow := func(s *linktest.Socket) { s.Before = func() { <-time.After(500 * time.Microsecond) } }
	c := w.open("a", "", slow)
	require.Eventually(t, func() bool { return len(w.handler.noted()) == 1 }, 10*second, time.Millisecond)
	var all sync.WaitGroup
	for sender := range 4 {
		all.Go(func() {
			for i := range 50 {
				c.conn.out.Push(note(sender, i, 0), i%2 == 0, false)
				if i%10 == 0 {
					<-time.After(time.Millisecond)
				}
			}
		})
	}
	all.Wait()
	require.Eventually(t, func() bool {
		_, rest := linktest.ParseFrames(c.socket.Wire())
		return len(rest) == 0 && len(c.everything()) == 201
	}, 10*second, time.Millisecond)
	for _, numbers := range noted(t, c.got()) {
		assert.True(t, slices.IsSorted(numbers))
	}
}

// A completion does not wait for a call that runs behind it.
func TestLateList(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		gate, open := w.gate()
		w.handler.methods["gate"] = gate
		c := w.open("a", "")
		c.say(call("1", "echo"), call("2", "echo"), call("3", "gate"), call("4", "echo"))
		w.settle()
		require.Empty(t, c.got(), "the worker has calls to run first")
		w.pass(lateTime)
		assert.Equal(t, []string{result("1", "[]"), result("2", "[]")}, c.got())
		open()
		w.settle()
		assert.Equal(t, []string{result("3", `"passed"`), result("4", "[]")}, c.got()[2:])
		w.pass(lateTime)
	})
}

// Whoever is about to wait for room first sees to it that completions do not wait, too.
func TestASendThatWaitsSchedulesItsOwnCompletions(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		slow := w.open("slow", "", linktest.Full)
		w.handler.methods["send"] = func(k *Call, _ string) (any, error) {
			return nil, w.hub.Send(k, &Audience{Kind: Connections, Names: []string{"slow"}}, "x", []any{strings.Repeat("x", w.settings.OutboxLimit*2/3)})
		}
		c := w.open("a", "")
		c.say(call("1", "echo"), call("2", "send"))
		w.settle()
		assert.Equal(t, []string{result("1", "[]")}, c.got())
		slow.socket.Drain(-1)
		w.settle()
		assert.Len(t, c.got(), 2)
	})
}

// An event that is encoded once is written to each from the same memory.
func TestAFanOutToMany(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var clients []*client
		for i := range 3 * smallGroup {
			clients = append(clients, w.open(fmt.Sprint(i), ""))
		}
		for i := range 100 {
			require.NoError(t, w.hub.Send(context.Background(), &Audience{}, "note", []any{0, i, ""}))
		}
		w.settle()
		for _, c := range clients {
			numbers := noted(t, c.got())[0]
			assert.Len(t, numbers, 100)
			assert.True(t, slices.IsSorted(numbers))
		}
	})
}

// The first message is written when it is released, whatever owns the outbox meanwhile, and a request that fetches does not take it before.
func TestAMessageThatIsWithheld(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.connect("a", "")
		p := w.pull("b", true)
		for _, o := range []*outbox.Box{&c.conn.out, &p.conn.out} {
			o.Withhold(note(0, 0, 0))
			o.Schedule()
			o.Reply([]byte("{}\x1e"), true)
		}
		c.conn.Pong(wsframe.Control(wsframe.Pong, []byte("p")))
		w.settle()
		assert.Equal(t, []string{"pong p"}, c.everything())
		assert.Empty(t, p.poll())
		c.conn.out.Release()
		p.conn.out.Release()
		w.settle()
		assert.Len(t, c.everything(), 3)
		assert.Len(t, p.poll(), 2)
	})
}
