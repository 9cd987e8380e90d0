package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/linktest"
)

func TestStreamSendsAllItems(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.handler.methods["count"] = countMethod(500)
		c := e.open("a", "")
		c.send(streamCall("1", "count"))
		e.settle()
		var want []string
		for i := range 500 {
			want = append(want, streamItem("1", i))
		}
		assert.Equal(t, append(want, result("1", `"all"`)), c.messages())
		c.requireIdle(t)
	})
}

// An item is sent without waiting for further output.
func TestItemsAreSentImmediately(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		feed := e.addFeedMethod()
		c := e.open("a", "")
		c.send(streamCall("1", "feed"), streamCall("2", "feed"))
		e.settle()
		feed("1", 1)
		assert.Equal(t, []string{streamItem("1", 1)}, c.messages())
		feed("2", 2)
		feed("1", 3, nil)
		assert.Equal(t, []string{streamItem("2", 2), streamItem("1", 3), result("1", "null")}, c.messages()[1:])
		feed("2", nil)
		assert.Len(t, c.messages(), 5)
		c.requireIdle(t)
	})
}

func TestCancelOfStream(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		feed := e.addFeedMethod()
		gate, open := e.gate()
		e.handler.methods["gate"] = gate
		c := e.open("a", "")
		c.send(streamCall("1", "feed"))
		feed("1", 1)
		c.send(cancel("none"), cancel("1"), cancel("1"))
		e.settle()
		no := ErrCanceled.Error()
		assert.Equal(t, []string{streamItem("1", 1), failure("1", no)}, c.messages())

		c.send(call("2", "gate"), call("3", "gate"), streamCall("4", "feed"), cancel("4")) // canceled before it starts
		e.settle()
		assert.Len(t, c.messages(), 2)
		open()
		e.sleep(schedulingTime)
		assert.Contains(t, c.messages(), failure("4", no))
		c.requireIdle(t)
	})
}

// A stream invocation fails if its id is in use. The running stream continues, and the id can be reused afterwards.
func TestStreamWithDuplicateIDFails(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		feed := e.addFeedMethod()
		c := e.open("a", "")
		c.send(streamCall("1", "feed"), streamCall("1", "feed"), streamCall("1", "feed"), call("1", "echo"))
		e.settle()
		assert.ElementsMatch(t, []string{failure("1", "in use: 1"), failure("1", "in use: 1"), result("1", "[]")}, c.messages())
		feed("1", "x", nil)
		assert.Equal(t, []string{streamItem("1", `"x"`), result("1", "null")}, c.messages()[3:])
		c.send(streamCall("1", "feed"))
		feed("1", "y", nil)
		assert.Equal(t, []string{streamItem("1", `"y"`), result("1", "null")}, c.messages()[5:])
		c.requireIdle(t)
	})
}

func TestStreamEndsWithPanic(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		feed := e.addFeedMethod()
		c := e.open("a", "")
		c.send(streamCall("1", "feed"), streamCall("2", "feed"), streamCall("3", "feed"))
		e.settle()
		var flowing []bool
		e.handler.panicked = func(k *Call, _ error) { flowing = append(flowing, k.IsStreaming()) }
		feed("1", 1, "panic")
		feed("2", 2, "goexit")
		feed("3", 3, nil)
		assert.Equal(t, []string{
			streamItem("1", 1), failure("1", "panic: no"),
			streamItem("2", 2), failure("2", "runtime.Goexit was called"),
			streamItem("3", 3), result("3", "null"),
		}, c.messages())
		assert.Equal(t, []bool{true, true}, flowing)
		c.requireIdle(t)
	})
}

// The pending items of a client that does not read are bounded by half of the outbox limit plus one item per stream. Then its streams
// wait.
func TestStreamWaitsForSlowClient(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		var made atomic.Int64
		text := strings.Repeat("x", 1000)
		gate, begin := e.gate()
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
		e.handler.methods["endless"] = endless
		e.settings.SendTimeout = never
		c := e.open("a", "", linktest.Full)
		const streams = 10
		for i := range streams {
			c.send(streamCall(strconv.Itoa(i), "endless"))
		}
		e.settle()
		begin()
		e.sleep(5 * second)
		assert.LessOrEqual(t, pendingBytes(c), e.settings.OutboxLimit/2+streams*(len(text)+200))
		for range 10 {
			before := made.Load()
			c.socket.Drain(16 << 10)
			e.settle()
			after := made.Load()
			assert.LessOrEqual(t, after-before, int64(16+2*streams))
		}
		assert.Greater(t, made.Load(), int64(e.settings.OutboxLimit/2/1200))
		c.send(cancel("0")) // canceled while it waits for outbox space
		e.settle()
		c.conn.calls.mu.Lock()
		assert.Len(t, c.conn.calls.running, streams-1)
		c.conn.calls.mu.Unlock()
		c.conn.Abort()
		e.settle()
		assert.Zero(t, e.sys.workers.busy.Get())
		c.requireIdle(t)
	})
}

// Closing the connection, in any way, ends a stream that waits for outbox space or for its next item.
func TestClosingEndsStreams(t *testing.T) {
	ways := map[string]func(e *env, c *client){
		"cut":   func(_ *env, c *client) { c.socket.Cut() },
		"abort": func(_ *env, c *client) { c.conn.Abort() },
		"close": func(_ *env, c *client) { c.send(`{"type":7}`) },
		"stop":  func(e *env, c *client) { e.sys.actorSystem.Root.Stop(c.conn.PID()) },
		"shutdown": func(e *env, _ *client) {
			e.wasShutDown.Store(true)
			assert.NoError(e.t, e.sys.Shutdown(context.Background()))
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				e.addFeedMethod()
				e.handler.methods["count"] = countMethod(-1)
				c := e.open("a", "", linktest.Full)
				c.send(streamCall("1", "feed"), streamCall("2", "count"), streamCall("3", "count"))
				e.settle()
				way(e, c)
				e.sleep(2*e.settings.CloseTimeout + 3*second)
				assert.Zero(t, e.sys.workers.busy.Get())
				c.assertRemoved(t)
				c.requireIdle(t)
			})
		})
	}
}

// A protocol error is handled without waiting for streams, which may never end.
func TestProtocolErrorDoesNotWaitForStreams(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		feed := e.addFeedMethod()
		c := e.open("a", "")
		c.send(streamCall("1", "feed"), call("2", "echo"))
		feed("1", 1)
		c.send("invalid")
		e.settle()
		got := c.messages()
		assert.ElementsMatch(t, []string{streamItem("1", 1), result("2", "[]")}, got[:2])
		closing := slices.IndexFunc(got, func(m string) bool {
			return strings.HasPrefix(m, `{"type":7,"error":"Connection closed with an error.`)
		})
		assert.GreaterOrEqual(t, closing, 2, "perhaps behind the end of the stream: %q", got)
	})
}

// The same if both the stream invocation and the unreadable message arrive during OnConnected.
func TestProtocolErrorDuringOnConnectedDoesNotWaitForStreams(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		feed := e.addFeedMethod()
		gate, open := e.gate()
		e.handler.connected = func(k *Call) error { _, err := gate(k, ""); return err }
		c := e.open("a", "")
		c.send(streamCall("1", "feed"), "invalid")
		e.settle()
		open()
		e.settle()
		feed("1", 1)
		assert.Contains(
			t, strings.Join(c.messages(), ""), `{"type":7,"error":"Connection closed with an error.`,
			"the connection closes without waiting for the heartbeat",
		)
	})
}

func TestConcurrentStreams(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.OutboxLimit = 256 << 10
		e.handler.methods["count"] = countMethod(20)
		c := e.open("a", "")
		const streams = 300
		var records []string
		for i := range streams {
			records = append(records, streamCall(strconv.Itoa(i), "count"))
		}
		c.send(records...)
		e.settle()
		next := make([]int, streams)
		for _, record := range c.messages() {
			var id, value int
			if _, err := fmt.Sscanf(record, `{"type":2,"invocationId":"%d","item":%d}`, &id, &value); err == nil {
				require.Equal(t, next[id], value, "stream %d", id)
				next[id]++
				continue
			}
			_, err := fmt.Sscanf(record, `{"type":3,"invocationId":"%d","result":"all"}`, &id)
			require.NoError(t, err, record)
			require.Equal(t, 20, next[id], "the completion comes last")
			next[id] = -1
		}
		for id, n := range next {
			require.Equal(t, -1, n, "stream %d has ended", id)
		}
		c.requireIdle(t)
	})
}

// The first error passed to Fail is the cause of the call's context.
func TestFailSetsCauseOfContext(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.handler.methods["fail"] = func(k *Call, _ string) (any, error) {
			go func() {
				k.Fail(errors.New("why"))
				k.Fail(errors.New("later"))
			}()
			<-k.Done()
			return nil, context.Cause(k)
		}
		c := e.open("a", "")
		c.send(call("1", "fail"))
		e.settle()
		assert.Equal(t, []string{failure("1", "why")}, c.messages())
		c.requireIdle(t)
	})
}
