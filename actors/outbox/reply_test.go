package outbox

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// Items are taken until the box is above its mark, and again when the peer has taken what waits.
func TestReplyInRoom(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.boxOver(1000)
		fill(s)
		n := 0
		for n < 100 && b.ReplyInRoom(text(0, n, 100)) {
			n++
		}
		assert.True(t, b.IsAboveMark())
		before, _ := b.Pending()
		assert.False(t, b.ReplyInRoom(text(0, n, 100)))
		after, _ := b.Pending()
		assert.Equal(t, before, after)
		s.Drain(-1)
		settle()
		assert.True(t, b.ReplyInRoom(text(0, n, 100)))
		settle()
		assert.Equal(t, upTo(n+1), numbers(t, received(t, s))[0])

		b.Seal(nil)
		assert.True(t, b.ReplyInRoom(text(0, n+1, 100)), "nobody waits for a box that is sealed")
		settle()
		assert.Equal(t, "close 1000", received(t, s)[n+1])
		requireNothingPending(t, b)
	})
}
