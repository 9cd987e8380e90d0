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

	"github.com/troupe-go/troupe/internal/linktest"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// A worker flushes its completions at 64 KB, although it has further calls to run.
func TestWorkerFlushesAt64KB(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.OutboxLimit = 1 << 20
		e.handler.methods["large"] = func(*Call, string) (any, error) { return strings.Repeat("z", 40<<10), nil }
		gate, open := e.gate()
		e.handler.methods["gate"] = gate
		c := e.open("a", "")
		c.send(call("1", "large"), call("2", "large"), call("3", "gate"))
		e.settle() // the clock has not advanced, so no late tick has flushed the outbox
		assert.NotEmpty(t, c.messages(), "80 KB are flushed while a call runs")
		open()
		e.settle()
		assert.Len(t, c.messages(), 3)
	})
}

func TestWorkerFlushesAt64Messages(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		gate, open := e.gate()
		e.handler.methods["gate"] = gate
		c := e.open("a", "")
		var calls []string
		for i := range 64 {
			calls = append(calls, call(fmt.Sprint(i), "echo"))
		}
		c.send(append(calls, call("x", "gate"))...)
		e.settle()
		assert.Len(t, c.messages(), 64)
		open()
	})
}

// After a failed write the reader is expected to find the end of the connection. If it does not, the connection is cut.
func TestFailedWriteEndsConnection(t *testing.T) {
	for _, blocks := range []bool{false, true} {
		inBubble(t, func(t *testing.T, e *env) {
			c := e.open("a", "", func(s *linktest.Socket) { s.BlocksOnly = blocks })
			c.socket.Break(errors.New("broken"))
			e.send(&Audience{}, "x")
			e.settle()
			c.send(call("", "note"))
			e.settle()
			assert.False(t, c.socket.IsCut())
			e.sleep(e.settings.CloseTimeout + 2*second)
			assert.True(t, c.socket.IsCut())
			assert.Equal(t, []string{"connected a", "disconnected a: <nil>"}, e.handler.events())
		})
	}
}

// The same with the real clock, where flushers pause after each pass.
func TestNoWakeUpIsLostInRealTime(t *testing.T) {
	e := newEnv(t, nil, never, hubproto.JSON)
	slow := func(s *linktest.Socket) { s.Before = func() { <-time.After(500 * time.Microsecond) } }
	c := e.open("a", "", slow)
	require.Eventually(t, func() bool { return len(e.handler.events()) == 1 }, 10*second, time.Millisecond)
	var all sync.WaitGroup
	for sender := range 4 {
		all.Go(func() {
			for i := range 50 {
				c.conn.out.Push(notePacket(sender, i, 0), i%2 == 0, false)
				if i%10 == 0 {
					<-time.After(time.Millisecond)
				}
			}
		})
	}
	all.Wait()
	require.Eventually(t, func() bool {
		_, rest := linktest.ParseFrames(c.socket.Wire())
		return len(rest) == 0 && len(c.records()) == 201
	}, 10*second, time.Millisecond)
	for _, numbers := range noteNumbers(t, c.messages()) {
		assert.True(t, slices.IsSorted(numbers))
	}
}

// A completion is not delayed by a call that runs after it.
func TestCompletionIsSentWhileNextCallRuns(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		gate, open := e.gate()
		e.handler.methods["gate"] = gate
		c := e.open("a", "")
		c.send(call("1", "echo"), call("2", "echo"), call("3", "gate"), call("4", "echo"))
		e.settle()
		require.Empty(t, c.messages(), "the worker has calls to run first")
		e.sleep(lateTickTime)
		assert.Equal(t, []string{result("1", "[]"), result("2", "[]")}, c.messages())
		open()
		e.settle()
		assert.Equal(t, []string{result("3", `"passed"`), result("4", "[]")}, c.messages()[2:])
		e.sleep(lateTickTime)
	})
}

// A Send that is about to wait first flushes the completions of its own connection.
func TestWaitingSendFlushesCompletionsOfItsConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		slow := e.open("slow", "", linktest.Full)
		e.handler.methods["send"] = func(k *Call, _ string) (any, error) {
			return nil, e.hub.Send(
				k, &Audience{Kind: Connections, Names: []string{"slow"}}, "x",
				[]any{strings.Repeat("x", e.settings.OutboxLimit*2/3)},
			)
		}
		c := e.open("a", "")
		c.send(call("1", "echo"), call("2", "send"))
		e.settle()
		assert.Equal(t, []string{result("1", "[]")}, c.messages())
		slow.socket.Drain(-1)
		e.settle()
		assert.Len(t, c.messages(), 2)
	})
}

// The packet of a broadcast is shared by all of its receivers.
func TestBroadcastsArriveInOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		var clients []*client
		for i := range 3 * smallGroup {
			clients = append(clients, e.open(fmt.Sprint(i), ""))
		}
		for i := range 100 {
			require.NoError(t, e.hub.Send(context.Background(), &Audience{}, "note", []any{0, i, ""}))
		}
		e.settle()
		for _, c := range clients {
			numbers := noteNumbers(t, c.messages())[0]
			assert.Len(t, numbers, 100)
			assert.True(t, slices.IsSorted(numbers))
		}
	})
}
