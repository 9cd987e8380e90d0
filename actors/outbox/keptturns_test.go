package outbox

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A peer may need its acknowledgement to send on, and must get it while more than a turn waits for it all the time.
func TestAcknowledgementsAreWrittenBehindFullTurns(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.keeping(1<<20, 1<<20, room(0))
		for i := range 10 * maxMerged {
			b.Reply(text(0, i, 10), true)
		}
		b.PushAck(control("ack"))
		settle()
		s.Drain(-1)
		settle()
		all := received(t, s)
		assert.Len(t, all, 10*maxMerged+1)
		assert.LessOrEqual(t, slices.Index(all, "ack"), 2*maxMerged)
	})
}
