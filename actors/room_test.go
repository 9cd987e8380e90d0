package actors

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/wsframe"
)

func TestWaitersWake(t *testing.T) {
	reasons := map[string]func(w *world, c *client, cancel func()){
		"room":    func(_ *world, c *client, _ func()) { c.socket.drain(-1) },
		"seal":    func(_ *world, c *client, _ func()) { c.conn.seal(nil, false) },
		"abandon": func(_ *world, c *client, _ func()) { c.conn.abandon() },
		"full":    func(w *world, c *client, _ func()) { c.conn.push(note(0, 0, w.settings.OutboxLimit), false, false) },
		"cut":     func(_ *world, c *client, _ func()) { c.socket.Cut() },
		"ctx":     func(_ *world, _ *client, cancel func()) { cancel() },
		"time":    func(w *world, _ *client, _ func()) { w.pass(moveTime) },
	}
	for name, reason := range reasons {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				c := w.open("a", "", full)
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				sent := make(chan error, 1)
				go func() {
					sent <- w.hub.Send(ctx, &Audience{}, "x", []any{strings.Repeat("x", w.settings.OutboxLimit*2/3)})
				}()
				w.settle()
				w.pass(moveTime / 2)
				require.Empty(t, sent, "it waits")
				reason(w, c, cancel)
				w.settle()
				require.Len(t, sent, 1)
				assert.NoError(t, <-sent, "what was pushed has succeeded")
			})
		})
	}
}

// A healthy client is never disconnected: whoever sends to it waits.
func TestALoopOfSendsToAHealthyClient(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open("a", "", blocking)
		c.socket.before = func() { <-time.After(100 * time.Microsecond) }
		for i := range 2000 {
			w.send(&Audience{}, "note", 0, i, strings.Repeat("x", 200))
		}
		w.pass(second)
		assert.Len(t, noted(t, c.got())[0], 2000)
		assert.Equal(t, []string{"connected a"}, w.handler.noted())
	})
}

// A client that takes less than half a limit a second holds its senders for a second, and is then disconnected.
func TestSendersWaitASecondForASlowClient(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open("a", "", full)
		start := time.Now()
		for i := 0; !c.conn.closed.Load(); i++ {
			require.Less(t, i, 1000)
			w.send(&Audience{}, "x", strings.Repeat("x", 1<<10))
			w.settle()
			c.socket.drain(10)
		}
		assert.Equal(t, moveTime, time.Since(start))
	})
}

// What moves has taken half a limit within the last second, not within any time.
func TestMoving(t *testing.T) {
	const limit = 1000
	now := 10 * second
	clock := func() time.Duration { return now }
	box := func() *Connection {
		c := &Connection{sys: &System{now: clock}, settings: &Settings{OutboxLimit: limit}, flusher: newFlusher()}
		c.out.drained = true
		now += 10 * second
		return c
	}
	above := func(c *Connection) { c.push(&packet{b: make([]byte, wsframe.Room+limit/2)}, false, false) }

	c := box()
	above(c)
	assert.True(t, c.out.moves(now), "a new one")
	now += moveTime
	assert.False(t, c.out.moves(now), "it has taken nothing")

	c = box()
	above(c)
	now += moveTime / 2
	c.out.release(limit/2, limit, clock)
	now += moveTime - 1
	assert.True(t, c.out.moves(now), "it has taken half a limit within the last second")
	now++
	assert.False(t, c.out.moves(now))

	c = box()
	above(c)
	now += 5 * second
	c.out.release(c.out.bytes, limit, clock)
	now += 5 * second
	above(c)
	assert.True(t, c.out.moves(now), "it was emptied")

	c = box()
	above(c)
	now += 5 * second
	c.out.release(limit/4, limit, clock)
	c.push(&packet{b: make([]byte, wsframe.Room+limit/4)}, false, false)
	assert.Greater(t, c.out.bytes, limit/2)
	assert.False(t, c.out.moves(now), "it was below the mark, but not emptied")

	c = box()
	c.push(&packet{b: make([]byte, wsframe.Room+limit*9/10)}, false, false)
	for range 10 {
		now += moveTime
		c.out.release(limit/20, limit, clock)
	}
	assert.False(t, c.out.moves(now), "it has taken half a limit, but in ten seconds")
}

// A worker whose client takes nothing does not go on answering without end, also when the outbox no longer moves.
func TestCompletionsAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.handler.methods["large"] = func(*Call, string) (any, error) { return strings.Repeat("z", 16<<10), nil }
		c := w.open("a", "", full)
		for i := range 100 {
			c.say(call(fmt.Sprint(i), "large"))
		}
		w.pass(5 * second) // less than SendTimeout
		require.False(t, c.socket.isCut())
		assert.LessOrEqual(t, c.conn.out.bytes, 2*w.settings.OutboxLimit)
	})
}

// The answer to the handshake leaves the box to whoever has it: one who writes, or waits for the socket.
func TestAMessageThatIsHeld(t *testing.T) {
	for _, state := range []boxState{boxIdle, boxQueued, boxWriting, boxBlocked} {
		c := &Connection{flusher: newFlusher()}
		c.out.state = state
		require.Equal(t, state == boxIdle, c.hold(note(0, 0, 10)))
		require.Equal(t, max(state, boxQueued), c.out.state)
		require.Len(t, c.out.queue, 1)
		require.Positive(t, c.out.bytes)
	}
	c := &Connection{}
	c.out.sealed = true
	require.False(t, c.hold(note(0, 0, 10)))
	require.Empty(t, c.out.queue)
}
