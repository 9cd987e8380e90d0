package actors

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A call that runs when the socket is lost goes on, and its answer waits.
func TestCallsGoOnWithoutASocket(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		gate, open := e.gate()
		e.handler.methods["gate"] = gate
		c := e.openReturning("a", "")
		c.send(call("1", "gate"), call("2", "echo", 2))
		e.settle()
		c.lose()
		open()
		e.sleep(2 * second)
		c.mustResume()
		c.send(sequenceOf(3), call("3", "echo", 3))
		e.settle()
		assert.Equal(t, []string{sequenceOf(1), result("1", `"passed"`), result("2", "[2]"), result("3", "[3]")}, c.records())
		c.requireIdle(t)
	})
}

func TestStreamsGoOnAcrossSockets(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		feed := e.addFeedMethod()
		c := e.openReturning("a", "")
		c.send(streamCall("1", "feed"))
		e.settle()
		feed("1", 1)
		e.settle()
		c.lose()
		feed("1", 2)
		c.mustResume()
		feed("1", 3)
		e.settle()
		assert.Equal(t, []string{sequenceOf(1), streamItem("1", 1), streamItem("1", 2), streamItem("1", 3)}, c.records())
		c.send(ackOf(2))
		c.mustResume()
		feed("1", 4, nil)
		e.settle()
		got := c.records()
		assert.Equal(t, []string{sequenceOf(3), streamItem("1", 3), streamItem("1", 4)}, got[:3])
		assert.Contains(t, got[3], `{"type":3,"invocationId":"1"`)
		c.requireIdle(t)
	})
}

// A stream that the client gives up while it is away is canceled when it is back, once.
func TestACancelAcrossSockets(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		feed := e.addFeedMethod()
		c := e.openReturning("a", "")
		c.send(streamCall("1", "feed"))
		e.settle()
		feed("1", 1)
		c.mustResume()
		c.send(sequenceOf(1), streamCall("1", "feed"), cancel("1"))
		e.settle()
		c.mustResume()
		c.send(sequenceOf(2), cancel("1"), call("2", "echo"))
		e.settle()
		got := c.records()
		require.Len(t, got, 4)
		assert.Equal(t, []string{sequenceOf(1), streamItem("1", 1)}, got[:2])
		assert.Equal(t, result("2", "[]"), got[3])
		c.requireIdle(t)
	})
}

func TestUploadsGoOnAcrossSockets(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		calls := newScriptedCalls(e)
		c := e.openReturning("a", "")
		c.send(uploadCall("1", "now-take", "s"), uploadItem("s", 1), uploadItem("s", 2))
		e.settle()
		c.write([]byte(uploadItem("s", 3)[:20]))
		c.lose()
		e.sleep(3 * second)
		c.mustResume()
		c.send(sequenceOf(2), uploadItem("s", 1), uploadItem("s", 2), uploadItem("s", 3))
		e.settle()
		c.mustResume()
		c.send(sequenceOf(4), uploadItem("s", 3), uploadItem("s", 4), uploadEnd("s"))
		e.settle()
		calls.mu.Lock()
		defer calls.mu.Unlock()
		assert.Equal(t, []string{"1", "2", "3", "4"}, calls.received["1/s"])
		c.requireIdle(t)
	})
}

// A question that was asked before the loss, or while the client is away, is answered when it is back.
func TestClientsAnswerAcrossSockets(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.openReturning("a", "")
		before := e.askAsync(context.Background(), toConnection("a"))
		c.lose()
		during := e.askAsync(context.Background(), toConnection("a"))
		c.mustResume()
		asked := c.records()
		require.Len(t, asked, 3)
		assert.Equal(t, sequenceOf(1), asked[0])
		c.send(result("s1", "1"))
		e.settle()
		c.mustResume()
		c.send(sequenceOf(1), result("s1", "1"), result("s2", "2"))
		e.settle()
		require.True(t, before.isDone() && during.isDone(), "%q", asked)
		assert.Equal(t, []string{"1", "2"}, []string{before.value, during.value})
		e.requireNoPendingAsks(t)
	})
}

// Who asks a client that does not come back is told so.
func TestClientsThatDoNotComeBackDoNotAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.openReturning("a", "")
		c.lose()
		ask := e.askAsync(context.Background(), toConnection("a"))
		e.sleep(10 * second)
		assert.False(t, ask.isDone())
		e.sleep(8 * second)
		require.True(t, ask.isDone())
		require.Error(t, ask.err)
		e.requireNoPendingAsks(t)
	})
}
