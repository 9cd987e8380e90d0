package outbox

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/linktest"
)

// A peer that takes a message at a time is seen to move.
func TestProgressOfADrainer(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.boxOver(1<<20, linktest.Full)
		for i := range 10 {
			b.Push(note(0, i, 1000), true, true)
		}
		settle()
		first := b.Progress()
		require.True(t, first.Stalled)
		s.Drain(4) // the header
		settle()
		for range 5 {
			s.Drain(1000 + len("0/0/\x1e"))
			settle()
		}
		require.Greater(t, len(s.Wire()), 5000)
		assert.NotEqual(t, first.Taken, b.Progress().Taken, "5,000 bytes were taken")
	})
}

// The time of HoldTime is used up in small pieces, too.
func TestHoldingInSmallPieces(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.boxOver(64<<10, linktest.Full)
		for i := range 60 {
			b.Push(note(0, i, 1000), true, true)
		}
		settle()
		for range 4000 { // 3.6 s, in which the socket is full all the time
			pass(900 * time.Microsecond)
			s.Drain(1)
			settle()
		}
		var left time.Duration
		b.locked(func() { left = b.holdLeft() })
		assert.LessOrEqual(t, left, time.Duration(0))
	})
}

// A writer of a former link does not end the box.
func TestADrainerOfAFormerLinkFails(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, old := e.boxOver(1<<20, linktest.Full)
		b.Push(note(0, 0, 10), true, true)
		settle() // a drainer waits for the socket
		var last *linktest.Socket
		for range 256 {
			last = e.socket()
			require.True(t, b.AttachSocket(last))
		}
		settle()
		old.Cut() // the drainer fails now
		settle()
		assert.False(t, b.IsOver())
		assert.False(t, last.IsCut())
	})
}

// What a broken link has taken with it does not stay on the counts.
func TestCountsAfterABreak(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.boxOver(1<<20, linktest.Full)
		b.Push(note(0, 0, 10), true, true)
		settle()
		s.Cut()
		settle()
		require.True(t, b.IsOver())
		requireNothingPending(t, b)
	})
}
