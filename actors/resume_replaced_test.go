package actors

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/troupe-go/troupe/internal/linktest"
)

// A client that comes back does not wait until its calls, for which the reader of its former socket waits, have returned. Those for which there was
// no room come again.
func TestAReaderWhoseSocketIsReplaced(t *testing.T) {
	for where, method := range map[string]string{"at the budget": "slow", "at twice the budget, as its client is awaited": "large"} {
		t.Run(where, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				e.settings.KeptLimit, e.settings.InboundLimit = 10<<20, 64<<10
				gate, open := e.gate()
				executed := 0
				slow := func(k *Call, args string) (any, error) { executed++; return gate(k, args) }
				e.handler.methods["slow"] = slow
				e.handler.methods["large"] = func(*Call, string) (any, error) { executed++; return strings.Repeat("x", 1000), nil }
				c := e.openReturning("a", "")
				c.socket.Change(func() { linktest.Full(c.socket) })
				var all []string
				for i := range 1000 {
					all = append(all, call(strconv.Itoa(i), method))
				}
				sent := c.sendAsync(all...)
				e.sleep(3 * second)
				assert.False(t, sent())
				c.socket.Cut()
				c.conn.Replaced()
				e.settle()
				assert.True(t, sent())
				assert.True(t, isClosed(c.detached))
				c.mustResume()
				again := c.sendAsync(slices.Concat([]string{sequenceOf(1)}, all)...)
				open()
				e.sleep(2 * second)
				assert.True(t, again())
				assert.Equal(t, 1000, executed)
				assert.Contains(t, strings.Join(c.records(), ""), `"invocationId":"999"`)
			})
		})
	}
}

// What cannot be read is read again, if there was no room for it.
func TestAMessageThatCannotBeReadOnASocketThatIsReplaced(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.InboundLimit = 64 << 10
		slow, open := e.gate()
		e.handler.methods["slow"] = slow
		c := e.openReturning("a", "")
		all := slices.Repeat([]string{call("", "slow")}, 300)
		sent := c.sendAsync(slices.Concat(all, []string{`{"type":"1"}`})...)
		e.sleep(3 * second)
		assert.False(t, sent())
		c.socket.Cut()
		c.conn.Replaced()
		e.settle()
		c.mustResume()
		c.sendAsync(slices.Concat([]string{sequenceOf(1)}, all, []string{call("1", "echo", "x")})...)
		open()
		e.sleep(2 * second)
		assert.Contains(t, c.records(), result("1", `["x"]`))
	})
}
