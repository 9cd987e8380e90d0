package actors

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/linktest"
)

func TestAStreamOfItems(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.handler.methods["count"] = counting(500)
		c := w.open("a", "")
		c.say(streaming("1", "count"))
		w.settle()
		var want []string
		for i := range 500 {
			want = append(want, itemOf("1", i))
		}
		assert.Equal(t, append(want, result("1", `"all"`)), c.got())
		c.clean(t)
	})
}

// An item is not kept back until something else is written.
func TestItemsAreWrittenAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		feed := w.feeding()
		c := w.open("a", "")
		c.say(streaming("1", "feed"), streaming("2", "feed"))
		w.settle()
		feed("1", 1)
		assert.Equal(t, []string{itemOf("1", 1)}, c.got())
		feed("2", 2)
		feed("1", 3, nil)
		assert.Equal(t, []string{itemOf("2", 2), itemOf("1", 3), result("1", "null")}, c.got()[1:])
		feed("2", nil)
		assert.Len(t, c.got(), 5)
		c.clean(t)
	})
}

func TestStreamsThatAreCanceled(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		feed := w.feeding()
		gate, open := w.gate()
		w.handler.methods["gate"] = gate
		c := w.open("a", "")
		c.say(streaming("1", "feed"))
		feed("1", 1)
		c.say(cancel("none"), cancel("1"), cancel("1"))
		w.settle()
		no := ErrCanceled.Error()
		assert.Equal(t, []string{itemOf("1", 1), failure("1", no)}, c.got())

		c.say(call("2", "gate"), call("3", "gate"), streaming("4", "feed"), cancel("4")) // before it starts
		w.settle()
		assert.Len(t, c.got(), 2)
		open()
		w.pass(soon)
		assert.Contains(t, c.got(), failure("4", no))
		c.clean(t)
	})
}

// A stream whose id another one has is told so; the first goes on, and the id can be used again.
func TestStreamsWithOneID(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		feed := w.feeding()
		c := w.open("a", "")
		c.say(streaming("1", "feed"), streaming("1", "feed"), streaming("1", "feed"), call("1", "echo"))
		w.settle()
		assert.ElementsMatch(t, []string{failure("1", "in use: 1"), failure("1", "in use: 1"), result("1", "[]")}, c.got())
		feed("1", "x", nil)
		assert.Equal(t, []string{itemOf("1", `"x"`), result("1", "null")}, c.got()[3:])
		c.say(streaming("1", "feed"))
		feed("1", "y", nil)
		assert.Equal(t, []string{itemOf("1", `"y"`), result("1", "null")}, c.got()[5:])
		c.clean(t)
	})
}

func TestStreamsThatFail(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		feed := w.feeding()
		c := w.open("a", "")
		c.say(streaming("1", "feed"), streaming("2", "feed"), streaming("3", "feed"))
		w.settle()
		var flowing []bool
		w.handler.panicked = func(k *Call, _ error) { flowing = append(flowing, k.IsStreaming()) }
		feed("1", 1, "panic")
		feed("2", 2, "goexit")
		feed("3", 3, nil)
		assert.Equal(t, []string{
			itemOf("1", 1), failure("1", "panic: no"), itemOf("2", 2), failure("2", "runtime.Goexit was called"), itemOf("3", 3), result("3", "null"),
		}, c.got())
		assert.Equal(t, []bool{true, true}, flowing)
		c.clean(t)
	})
}

// A client that takes nothing gets no more than half of what may wait for it, and one item of each stream; then its streams wait.
func TestAStreamWaitsForItsClient(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var made atomic.Int64
		text := strings.Repeat("x", 1000)
		gate, begin := w.gate()
		endless := func(k *Call, args string) (any, error) {
			k.StartStream()
			_, _ = gate(k, args)
			for {
				b, _ := k.Connection().Protocol().AppendItem(nil, k.ID(), text)
				if !k.SendItem(b) {
					return nil, context.Cause(k)
				}
				made.Add(1)
			}
		}
		w.handler.methods["endless"] = endless
		w.settings.SendTimeout = never
		c := w.open("a", "", linktest.Full)
		const streams = 10
		for i := range streams {
			c.say(streaming(strconv.Itoa(i), "endless"))
		}
		w.settle()
		begin()
		w.pass(5 * second)
		assert.LessOrEqual(t, pending(c), w.settings.OutboxLimit/2+streams*(len(text)+200))
		for range 10 {
			before := made.Load()
			c.socket.Drain(16 << 10)
			w.settle()
			after := made.Load()
			assert.LessOrEqual(t, after-before, int64(16+2*streams))
		}
		assert.Greater(t, made.Load(), int64(w.settings.OutboxLimit/2/1200))
		c.say(cancel("0")) // while it waits for room
		w.settle()
		c.conn.calls.mu.Lock()
		assert.Len(t, c.conn.calls.running, streams-1)
		c.conn.calls.mu.Unlock()
		c.conn.Abort()
		w.settle()
		assert.Zero(t, w.sys.workers.busy.Get())
		c.clean(t)
	})
}

// Each way to close ends a stream, whether it waits for room or for something to send.
func TestClosingInTheMiddleOfAStream(t *testing.T) {
	ways := map[string]func(w *world, c *client){
		"cut":   func(_ *world, c *client) { c.socket.Cut() },
		"abort": func(_ *world, c *client) { c.conn.Abort() },
		"close": func(_ *world, c *client) { c.say(`{"type":7}`) },
		"stop":  func(w *world, c *client) { w.sys.actors.Root.Stop(c.conn.PID()) },
		"shutdown": func(w *world, _ *client) {
			w.stopped.Store(true)
			assert.NoError(w.t, w.sys.Shutdown(context.Background()))
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.feeding()
				w.handler.methods["count"] = counting(-1)
				c := w.open("a", "", linktest.Full)
				c.say(streaming("1", "feed"), streaming("2", "count"), streaming("3", "count"))
				w.settle()
				way(w, c)
				w.pass(2*w.settings.CloseTimeout + 3*second)
				assert.Zero(t, w.sys.workers.busy.Get())
				c.gone(t)
				c.clean(t)
			})
		})
	}
}

// A message that cannot be read does not wait for streams, which may never end.
func TestGarbageBehindAStream(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		feed := w.feeding()
		c := w.open("a", "")
		c.say(streaming("1", "feed"), call("2", "echo"))
		feed("1", 1)
		c.say("garbage")
		w.settle()
		got := c.got()
		assert.ElementsMatch(t, []string{itemOf("1", 1), result("2", "[]")}, got[:2])
		assert.Contains(t, got[2], `{"type":7,"error":"Connection closed with an error.`)
	})
}

// Nor does it when both came while OnConnected ran.
func TestGarbageBehindAStreamDuringOnConnected(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		feed := w.feeding()
		gate, open := w.gate()
		w.handler.connected = func(k *Call) error { _, err := gate(k, ""); return err }
		c := w.open("a", "")
		c.say(streaming("1", "feed"), "garbage")
		w.settle()
		open()
		w.settle()
		feed("1", 1)
		assert.Contains(t, strings.Join(c.got(), ""), `{"type":7,"error":"Connection closed with an error.`, "it does not take until the heartbeat loses patience")
	})
}

func TestManyStreamsAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.OutboxLimit = 256 << 10
		w.handler.methods["count"] = counting(20)
		c := w.open("a", "")
		const streams = 300
		var records []string
		for i := range streams {
			records = append(records, streaming(strconv.Itoa(i), "count"))
		}
		c.say(records...)
		w.settle()
		next := make([]int, streams)
		for _, record := range c.got() {
			var id, value int
			if _, err := fmt.Sscanf(record, `{"type":2,"invocationId":"%d","item":%d}`, &id, &value); err == nil {
				require.Equal(t, next[id], value, "stream %d", id)
				next[id]++
				continue
			}
			_, err := fmt.Sscanf(record, `{"type":3,"invocationId":"%d","result":"all"}`, &id)
			require.NoError(t, err, record)
			require.Equal(t, 20, next[id], "the end comes last")
			next[id] = -1
		}
		for id, n := range next {
			require.Equal(t, -1, n, "stream %d has ended", id)
		}
		c.clean(t)
	})
}

// What ends the context of a call with an error of its own is its cause, if it comes first.
func TestFail(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.handler.methods["fail"] = func(k *Call, _ string) (any, error) {
			go func() {
				k.Fail(errors.New("why"))
				k.Fail(errors.New("later"))
			}()
			<-k.Done()
			return nil, context.Cause(k)
		}
		c := w.open("a", "")
		c.say(call("1", "fail"))
		w.settle()
		assert.Equal(t, []string{failure("1", "why")}, c.got())
		c.clean(t)
	})
}
