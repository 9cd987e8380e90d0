package outbox

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/linktest"
)

// What is written again counts against the limit again, and not below zero when it has been written.
func TestCountsOfWhatIsWrittenAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, _ := e.keeping(10_000, 100_000)
		for i := range 5 {
			b.Push(note(0, i, 1000), true, false)
			settle()
		}
		requireNothingPending(t, b)
		for range 3 {
			b.Detach()
			e.reattach(b)
			settle()
			requireNothingPending(t, b)
		}
		b.Detach()
		b.Push(note(0, 5, 6000), true, false)
		assert.Equal(t, Overflow, b.Push(note(0, 6, 6000), true, false))
	})
}

// A peer that has acknowledged all that it has received before does not do so again. What it acknowledges need not have been written again.
func TestAcknowledgementOfWhatWaitsToBeWrittenAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, _ := e.keeping(1_000_000, 1_000_000)
		for i := range 200 {
			b.Push(note(0, i, 10), false, false)
		}
		settle()
		b.Detach()
		s := e.reattach(b, linktest.Full)
		settle()
		b.Acknowledge(200)
		s.Drain(-1)
		settle()
		packets, bytes, _ := b.keptNow()
		assert.Equal(t, [2]int{}, [2]int{packets, bytes})
		b.Detach()
		s = e.reattach(b)
		settle()
		assert.Equal(t, []string{"sequence 201"}, received(t, s))
	})
}

// What is acknowledged while it waits to be written again is written all the same, because the introduction has told the peer of it, and is not
// kept then.
func TestAcknowledgementDoesNotDropWhatWaitsToBeWrittenAgain(t *testing.T) {
	const n = 200 // more than a writer takes at once
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	for drained := range 5 {
		for _, acknowledged := range []int{1, 70, n - 1, n} {
			inBubble(t, func(t *testing.T, e *env) {
				b, _ := e.keeping(1_000_000, 1_000_000)
				for i := range n {
					b.Push(note(0, i, 100), false, false)
				}
				settle()
				b.Detach()
				s := e.reattach(b, linktest.Full)
				settle()
				s.Drain(drained * 5000) // some of them have been written
				settle()
				b.Acknowledge(int64(acknowledged))
				s.Drain(-1)
				settle()
				require.Equal(t, append([]string{"sequence 1"}, of(0, all...)...), shortened(received(t, s)))
				requireNothingPending(t, b)
				packets, bytes, first := b.keptNow()
				size := 0
				for _, i := range all[acknowledged:] {
					size += len(text(0, i, 100))
				}
				require.Equal(t, [2]int{n - acknowledged, size}, [2]int{packets, bytes})
				require.EqualValues(t, acknowledged+1, first)
				b.Detach()
				s = e.reattach(b)
				settle()
				require.Equal(t, append([]string{fmt.Sprint("sequence ", acknowledged+1)}, of(0, all[acknowledged:]...)...), shortened(received(t, s)))
			})
		}
	}
}

// The last message is the last one.
func TestAnAcknowledgementIsNotWrittenBehindTheLastMessage(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.keeping(10_000, 10_000, linktest.Full)
		b.Push(note(0, 0, 10), false, false)
		settle()
		b.PushAck(control("ack"))
		b.Seal(control("the end"))
		s.Drain(-1)
		settle()
		got := received(t, s)
		require.Equal(t, "the end", got[len(got)-2], got)
	})
}

func TestAbandonForgetsAnAcknowledgement(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.keeping(10_000, 10_000, linktest.Full)
		b.Push(note(0, 0, 10), false, false)
		settle()
		b.PushAck(control("ack"))
		b.Abandon()
		s.Cut()
		settle()
		requireNothingPending(t, b)
	})
}

// A writer that finds a link broken cuts it: whoever reads from it need not find that.
func TestALinkThatCannotBeWrittenToIsCut(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.keeping(10_000, 10_000)
		s.Break(assert.AnError)
		b.Push(note(0, 0, 10), false, false)
		settle()
		assert.True(t, s.IsCut())
	})
}

// An acknowledgement is one of the messages that are merged.
func TestAcknowledgementsMergeWithinTheLimit(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.keeping(1_000_000, 1_000_000, linktest.Full)
		b.Push(note(0, 0, 0), false, false)
		settle()
		for i := range maxMerged {
			b.Reply(text(1, i, 0), false)
		}
		b.PushAck(control("ack"))
		s.Drain(-1)
		settle()
		assert.Len(t, received(t, s), 2+maxMerged)
	})
}

// The application's code writes the introduction. It may panic, and does not find the box locked.
func TestIntroductionsAreMadeWithoutTheLock(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.keeping(10_000, 10_000)
		b.Push(note(0, 0, 10), false, false)
		b.Push(note(0, 1, 10), false, false)
		settle()
		b.Detach()
		s.Cut()
		require.Panics(t, func() { b.Reattach(e.socket(), func(int64) *Packet { panic("no") }) })
		unlocked := b.mu.TryLock()
		b.mu.Unlock()
		require.True(t, unlocked)
		assert.False(t, b.Reattach(e.socket(), func(int64) *Packet { return nil }))
		var asked []int64
		s = e.socket()
		require.True(t, b.Reattach(s, func(first int64) *Packet {
			asked = append(asked, first)
			b.Acknowledge(1) // it has come over the former link
			return sequence(first)
		}))
		settle()
		assert.Equal(t, []int64{1, 2}, asked)
		assert.Equal(t, append([]string{"sequence 2"}, of(0, 1)...), shortened(received(t, s)))
	})
}
