package actors

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A client that comes back does not wait until its calls, for which the reader of its former socket waits, have returned.
func TestAReaderWhoseSocketIsReplaced(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.InboundLimit = 64 << 10
		slow, open := e.gate()
		e.handler.methods["slow"] = slow
		c := e.openReturning("a", "")
		var all []string
		for i := range 300 {
			all = append(all, call(strconv.Itoa(i), "slow"))
		}
		sent := c.sendAsync(all...)
		e.sleep(3 * second)
		assert.False(t, sent())
		c.socket.Cut()
		c.conn.Replaced()
		e.settle()
		assert.True(t, sent())
		assert.True(t, isClosed(c.detached))
		assert.True(t, c.resume())
		c.sendAsync(sequenceOf(301))
		open()
		e.sleep(2 * second)
		assert.Contains(t, c.records(), result("299", `"passed"`))
	})
}
