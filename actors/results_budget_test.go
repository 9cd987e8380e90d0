package actors

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/linktest"
)

// An answer may lie behind what the reader waits with.
func TestAnAnswerBehindASpentBudget(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.InboundLimit = 2*charge + 100
		w.settings.Parallel = 10
		bind := w.unbound()
		c := w.open("a", "")
		c.say(call("1", "echo"))
		c.say(call("2", "echo"))
		sent := c.later(call("3", "echo"))
		require.False(t, sent())
		a := w.ask(t.Context(), the("a"))
		assert.True(t, sent(), "the reader that waits goes on")
		c.later(result("s1", "1"))
		assert.True(t, a.done())
		assert.Equal(t, "1", a.value)
		sent = c.later(call("4", "echo"))
		assert.False(t, sent(), "from then on it waits as ever")
		for range 4 {
			w.pass(soon)
			bind()
		}
		w.settle()
		assert.True(t, sent())
		assert.Len(t, c.got(), 5)
		c.clean(t)
	})
}

// It is given up when it lies behind more than twice the budget. The connection lives.
func TestAnAnswerBehindTwiceTheBudget(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.InboundLimit = 2*charge + 100
		w.settings.Parallel = 10
		bind := w.unbound()
		c := w.open("a", "")
		one, two := w.ask(t.Context(), the("a")), w.ask(t.Context(), the("a"))
		for i := range 4 {
			sent := c.later(call(strconv.Itoa(i), "echo"))
			require.True(t, sent())
		}
		require.False(t, one.done())
		sent := c.later(call("4", "echo"))
		require.False(t, sent())
		for _, a := range []*asked{one, two} {
			require.True(t, a.done())
			assert.ErrorIs(t, a.err, ErrInboundFull)
			assert.ErrorContains(t, a.err, strconv.Itoa(w.settings.InboundLimit))
		}
		w.unasked(t)
		again := w.ask(t.Context(), the("a"))
		assert.ErrorIs(t, again.err, ErrInboundFull, "nothing has changed")
		for range 5 {
			w.pass(soon)
			bind()
		}
		w.settle()
		require.True(t, sent())
		c.say(result("s1", "1"), result("s2", "1")) // too late
		again = w.ask(t.Context(), the("a"))
		c.say(result("s4", "4"))
		w.settle()
		assert.Equal(t, "4", again.value)
		c.clean(t)
	})
}

// Behind an upload that is linktest.Full, too.
func TestAnAnswerBehindAFullUpload(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s, _ := w.taking()
		w.handler.methods["ask"] = func(k *Call, args string) (any, error) {
			if _, err := w.askFor(k, the("a")); err != nil {
				return nil, err
			}
			return w.handler.methods["take"](k, args)
		}
		c := w.open("a", "")
		c.say(uploading("1", "ask", "s"))
		var want []any
		for i := range 20 {
			c.later(one("s", i))
			want = append(want, i)
		}
		c.later(result("s1", "1"))
		c.later(over("s"))
		items, _ := s.of("1/s")
		assert.Equal(t, quoted(want...), items)
		assert.Equal(t, []string{question("s1"), result("1", `"taken"`)}, c.got())
		c.clean(t)
	})
}

// An answer of any size is admitted when nothing else is charged, as every message is.
func TestAnAnswerLargerThanTheBudget(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.MaxMessage = 0
		w.settings.InboundLimit = 64 << 10
		c := w.open("a", "")
		text := `"` + strings.Repeat("x", 200<<10) + `"`
		a := w.ask(t.Context(), the("a"))
		c.later(result("s1", text))
		require.True(t, a.done())
		require.NoError(t, a.err)
		assert.Equal(t, text, a.value)
		c.clean(t)
	})
}

// An answer that was delivered before the budget was overrun is taken, and at any rate let go.
func TestAnAnswerBeforeTheBudgetIsOverrun(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.InboundLimit = 2*charge + 100
		w.settings.Parallel = 10
		failed := 0
		for i := range 20 {
			c := w.open(fmt.Sprint("c", i), "", linktest.Full)
			c.conn.out.Push(note(0, 0, w.settings.OutboxLimit*2/3), false, false)
			w.handler.bind = func(*Call) { // holds what it was given
				<-c.conn.Done()
			}
			a := w.ask(t.Context(), the(c.conn.id))
			require.False(t, a.done())
			c.say(result("s"+strconv.Itoa(i+1), "1"))
			for j := range 5 {
				c.later(call(strconv.Itoa(j), "echo"))
			}
			w.pass(soon)
			require.True(t, a.done())
			if a.err != nil {
				require.ErrorIs(t, a.err, ErrInboundFull)
				failed++
			}
			c.conn.Abort()
			c.socket.Cut()
			w.pass(soon)
			require.Zero(t, c.conn.in.charged, "the memory of an answer is held for ever (%v)", a.err)
		}
		assert.Zero(t, failed, "questions that were answered have failed")
		w.unasked(t)
	})
}
