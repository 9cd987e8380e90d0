package actors

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/troupe-go/troupe/internal/linktest"
)

// The reader of a socket that is lost may never find that, because it waits for calls that wait for the client to take their answers. Nobody comes
// back then, and the connection ends.
func TestALossThatTheReaderNeverFinds(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.KeptLimit, e.settings.InboundLimit = 10<<20, 64<<10
		e.handler.methods["large"] = func(*Call, string) (any, error) { return strings.Repeat("x", 1000), nil }
		c := e.openReturning("a", "")
		c.socket.Change(func() { linktest.Full(c.socket) })
		sent := c.sendAsync(slices.Repeat([]string{call("1", "large")}, 1000)...)
		c.socket.Break(errors.New("broken"))
		e.sleep(10 * second)
		assert.False(t, sent())
		assert.False(t, isClosed(c.conn.Done()), "it has 15 s to come back")
		e.sleep(10 * second)
		assert.True(t, isClosed(c.conn.Done()))
		assert.Equal(t, []string{"connected a", "disconnected a: <nil>"}, e.handler.events())
		c.assertRemoved(t)
	})
}
