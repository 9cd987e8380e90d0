package actors

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/linktest"
)

// While an Invoke is pending, the reader does not wait for budget, because the answer may follow.
func TestAnswerIsReadBeyondSpentBudget(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.InboundLimit = 2*smallMessageCharge + 100
		e.settings.Parallel = 10
		bind := e.holdBinding()
		c := e.open("a", "")
		c.send(call("1", "echo"))
		c.send(call("2", "echo"))
		sent := c.sendAsync(call("3", "echo"))
		require.False(t, sent())
		a := e.askAsync(t.Context(), toConnection("a"))
		assert.True(t, sent(), "the waiting reader continues")
		c.sendAsync(result("s1", "1"))
		assert.True(t, a.isDone())
		assert.Equal(t, "1", a.value)
		sent = c.sendAsync(call("4", "echo"))
		assert.False(t, sent(), "it waits again after the answer")
		for range 4 {
			e.sleep(schedulingTime)
			bind()
		}
		e.settle()
		assert.True(t, sent())
		assert.Len(t, c.messages(), 5)
		c.requireIdle(t)
	})
}

// An Invoke fails if more than twice the budget arrives before the answer. The connection stays open.
func TestAskFailsAtTwiceTheBudget(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.InboundLimit = 2*smallMessageCharge + 100
		e.settings.Parallel = 10
		bind := e.holdBinding()
		c := e.open("a", "")
		one, two := e.askAsync(t.Context(), toConnection("a")), e.askAsync(t.Context(), toConnection("a"))
		for i := range 4 {
			sent := c.sendAsync(call(strconv.Itoa(i), "echo"))
			require.True(t, sent())
		}
		require.False(t, one.isDone())
		sent := c.sendAsync(call("4", "echo"))
		require.False(t, sent())
		for _, a := range []*askResult{one, two} {
			require.True(t, a.isDone())
			assert.ErrorIs(t, a.err, ErrInboundFull)
			assert.ErrorContains(t, a.err, strconv.Itoa(e.settings.InboundLimit))
		}
		e.requireNoPendingAsks(t)
		again := e.askAsync(t.Context(), toConnection("a"))
		assert.ErrorIs(t, again.err, ErrInboundFull, "the budget is still exceeded")
		for range 5 {
			e.sleep(schedulingTime)
			bind()
		}
		e.settle()
		require.True(t, sent())
		c.send(result("s1", "1"), result("s2", "1")) // these are too late
		again = e.askAsync(t.Context(), toConnection("a"))
		c.send(result("s4", "4"))
		e.settle()
		assert.Equal(t, "4", again.value)
		c.requireIdle(t)
	})
}

// The reader does not wait for a full upload either while an Invoke is pending.
func TestAnswerIsReadBeyondFullUpload(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		rec, _ := e.addTakeMethods()
		e.handler.methods["ask"] = func(k *Call, args string) (any, error) {
			if _, err := e.ask(k, toConnection("a")); err != nil {
				return nil, err
			}
			return e.handler.methods["take"](k, args)
		}
		c := e.open("a", "")
		c.send(uploadCall("1", "ask", "s"))
		var want []any
		for i := range 20 {
			c.sendAsync(uploadItem("s", i))
			want = append(want, i)
		}
		c.sendAsync(result("s1", "1"))
		c.sendAsync(uploadEnd("s"))
		items, _ := rec.get("1/s")
		assert.Equal(t, quotedItems(want...), items)
		assert.Equal(t, []string{askInvocation("s1"), result("1", `"taken"`)}, c.messages())
		c.requireIdle(t)
	})
}

// An answer of any size is admitted when nothing else is charged, as any message is.
func TestAnswerLargerThanBudgetIsAdmitted(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.MaxMessage = 0
		e.settings.InboundLimit = 64 << 10
		c := e.open("a", "")
		text := `"` + strings.Repeat("x", 200<<10) + `"`
		a := e.askAsync(t.Context(), toConnection("a"))
		c.sendAsync(result("s1", text))
		require.True(t, a.isDone())
		require.NoError(t, a.err)
		assert.Equal(t, text, a.value)
		c.requireIdle(t)
	})
}

// An answer that arrived before the budget was exceeded is delivered, and its budget is released.
func TestAnswerBeforeBudgetOverrunIsDelivered(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.InboundLimit = 2*smallMessageCharge + 100
		e.settings.Parallel = 10
		failed := 0
		for i := range 20 {
			c := e.open(fmt.Sprint("c", i), "", linktest.Full)
			c.conn.out.Push(notePacket(0, 0, e.settings.OutboxLimit*2/3), false, false)
			e.handler.bind = func(*Call) { // holds its budget
				<-c.conn.Done()
			}
			a := e.askAsync(t.Context(), toConnection(c.conn.id))
			require.False(t, a.isDone())
			c.send(result("s"+strconv.Itoa(i+1), "1"))
			for j := range 5 {
				c.sendAsync(call(strconv.Itoa(j), "echo"))
			}
			e.sleep(schedulingTime)
			require.True(t, a.isDone())
			if a.err != nil {
				require.ErrorIs(t, a.err, ErrInboundFull)
				failed++
			}
			c.conn.Abort()
			c.socket.Cut()
			e.sleep(schedulingTime)
			require.Zero(t, c.conn.in.charged, "the budget of an answer was not released (%v)", a.err)
		}
		assert.Zero(t, failed, "answered Asks have failed")
		e.requireNoPendingAsks(t)
	})
}

// A client can guess the id of a call, and answer before it is called. What it has sent is released, also if it is not called any more.
func TestAnswerBeforeTheCallIsReleased(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.OutboxLimit = 1000
		c := e.open("a", "")
		c.socket.Change(func() { c.socket.Room = 0 })
		c.conn.out.Push(notePacket(0, 0, 2000), false, true)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		question := e.askAsync(ctx, toConnection("a"))
		require.False(t, question.isDone(), "it waits for room")
		c.send(result("s1", "1"))
		e.settle()
		cancel()
		e.settle()
		require.True(t, question.isDone())
		require.ErrorIs(t, question.err, ErrUnanswered)
		c.requireIdle(t)
	})
}
