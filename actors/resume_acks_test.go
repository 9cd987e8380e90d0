package actors

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A call that alone is more than the budget is acknowledged while it waits for those before it: a client whose buffer it fills sends nothing before
// that, no pings either.
func TestALargeCallThatWaitsIsAcknowledged(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.MaxMessage, e.settings.InboundLimit = 1<<20, 64<<10
		slow, open := e.gate()
		e.handler.methods["slow"] = func(k *Call, args string) (any, error) { k.Bound(); return slow(k, args) }
		c := e.openReturning("a", "")
		c.send(call("1", "slow"))
		e.settle()
		c.send(call("2", "echo", strings.Repeat("x", 200_000)))
		e.sleep(3 * second)
		assert.Contains(t, c.messages(), ackOf(2))
		open()
	})
}

// A client that is asked something may have to send more than the budget before its answer, for which its own buffer has to get room.
func TestWhatComesBeforeAnAnswerIsAcknowledged(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.InboundLimit = 64 << 10
		slow, open := e.gate()
		e.handler.methods["slow"] = slow
		c := e.openReturning("a", "")
		c.send(call("", "slow"))
		e.settle()
		asked := e.askAsync(context.Background(), toConnection("a"))
		for range 20 {
			c.send(call("", "slow"))
		}
		e.sleep(3 * second)
		assert.Contains(t, c.messages(), ackOf(21))
		c.send(result("s1", `"yes"`))
		e.settle()
		assert.Equal(t, `"yes"`, asked.value)
		open()
	})
}

// A client that gets no acknowledgement, because more than the budget waits, is not expected to send anything, not even pings.
func TestAClientWithoutAcknowledgementsMayBeSilent(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.KeptLimit, e.settings.InboundLimit = 10_000, 64<<10
		slow, open := e.gate()
		begun := false
		e.handler.methods["slow"] = func(k *Call, args string) (any, error) { begun = true; return slow(k, args) }
		e.handler.methods["large"] = func(*Call, string) (any, error) { return strings.Repeat("x", 1000), nil }
		c := e.openReturning("a", "")
		c.send(ping)
		var all []string
		for i, method := range slices.Concat(slices.Repeat([]string{"large"}, 60), []string{"slow"}, slices.Repeat([]string{"echo"}, 260)) {
			all = append(all, call(strconv.Itoa(i), method))
		}
		c.sendAsync(all...)
		answers := func() (n int) {
			for _, m := range c.messages() {
				if strings.HasPrefix(m, `{"type":3,`) {
					n++
				}
			}
			return n
		}
		for acked := -1; acked < answers(); e.sleep(second) {
			acked = answers()
			c.sendAsync(ackOf(int64(acked)))
		}
		assert.True(t, begun)
		assert.NotContains(t, c.messages(), ackOf(int64(len(all))))
		e.sleep(2 * e.settings.ClientTimeout)
		assert.False(t, isClosed(c.conn.Done()))
		open()
		e.sleep(2 * second)
		assert.Contains(t, c.messages(), ackOf(int64(len(all))))
	})
}
