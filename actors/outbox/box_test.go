package outbox

import (
	"testing"
	"testing/synctest"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/linktest"
)

// Each connection has a box, which idle memory depends on.
func TestSizes(t *testing.T) {
	assert.LessOrEqual(t, unsafe.Sizeof(Box{}), uintptr(192))
}

func TestResultsOfAPush(t *testing.T) {
	const limit = 1000
	type push struct {
		size    int // with what a packet is charged besides its bytes
		limited bool
		waits   bool
		want    Result
	}
	for name, pushes := range map[string][]push{
		"up to the mark":              {{500, true, false, Queued}, {100, true, false, AboveMark}},
		"up to the limit":             {{500, true, false, Queued}, {500, true, false, AboveMark}, {100, true, false, Overflow}, {100, true, true, Dropped}},
		"any packet when it is empty": {{5000, true, false, AboveMark}, {100, true, false, Overflow}},
		"a sender that waits":         {{900, true, true, AboveMark}, {900, true, true, AboveMark}, {900, true, true, AboveLimit}, {100, true, false, Overflow}},
		"exactly the limit":           {{1000, true, true, AboveMark}, {100, true, true, AboveMark}, {100, true, true, AboveLimit}},
		"what the limit is not about": {{500, false, false, Queued}, {900, false, false, AboveMark}, {900, false, false, AboveLimit}},
		"both":                        {{5000, false, false, AboveMark}, {500, true, false, Queued}, {100, false, false, AboveLimit}, {500, true, false, AboveMark}},
	} {
		t.Run(name, func(t *testing.T) {
			b, bytes, limited := newEnv(t).box(limit), 0, 0
			for i, p := range pushes {
				make := answer
				if p.limited {
					make = note
				}
				packet := make(0, i, p.size-overhead-len(text(0, i, 0)))
				require.Equal(t, p.size, packet.charge())
				require.Equal(t, p.want, b.Push(packet, false, p.waits), "push %d", i)
				switch {
				case p.want == Overflow:
					bytes, limited = 0, 0
				case p.want != Dropped:
					bytes += p.size
					limited += packet.limitedCharge()
				}
				gotBytes, gotLimited := b.Pending()
				require.Equal(t, bytes, gotBytes)
				require.Equal(t, limited, gotLimited)
			}
			last := pushes[len(pushes)-1].want
			assert.Equal(t, last == Overflow || last == Dropped, b.HasOverflowed())
			assert.Equal(t, b.HasOverflowed(), b.Progress().Sealed)
			assert.False(t, b.IsOver(), "what a writer has taken is still written")
			overflowed, _, _ := b.told.counts()
			assert.Zero(t, overflowed, "the one who pushes tells the owner")
		})
	}
}

func TestLargestLimit(t *testing.T) {
	b := newEnv(t).box(1 << 40)
	assert.Equal(t, Queued, b.Push(note(0, 0, 0), false, false))
	assert.Equal(t, Queued, b.Push(note(0, 1, 1<<20), false, false))
}

func TestMarkAndLimitOfABox(t *testing.T) {
	b := newEnv(t).box(1000)
	size := func(charge int) int { return charge - overhead - len(text(0, 0, 0)) }
	b.Push(answer(0, 0, size(500)), false, false)
	assert.False(t, b.IsAboveMark())
	b.Push(answer(0, 1, size(500)), false, false)
	assert.True(t, b.IsAboveMark())
	assert.False(t, b.HasBytesAboveLimit())
	b.Push(answer(0, 2, size(100)), false, false)
	assert.True(t, b.HasBytesAboveLimit())
	b.Seal(nil)
	assert.False(t, b.IsAboveMark(), "nobody waits for a box that is sealed")
	assert.False(t, b.HasBytesAboveLimit())
}

// The first message is written when it is released, whatever owns the box meanwhile.
func TestAMessageThatIsWithheld(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.boxOver(1 << 20)
		b.Withhold(answer(0, 0, 0))
		b.Schedule()
		b.Reply(text(0, 1, 0), true)
		b.Push(note(0, 2, 0), true, false)
		flush(b)
		b.PushPong(pong("p"))
		settle()
		assert.Equal(t, []string{"pong p"}, received(t, s))
		b.Release()
		settle()
		assert.Equal(t, []string{"pong p", "0/0/", "0/1/", "0/2/"}, received(t, s))
		requireNothingPending(t, b)
	})
}

// Nor does an acknowledgement pass it.
func TestAnAcknowledgementBehindAMessageThatIsWithheld(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.keeping(10_000, 10_000)
		b.Withhold(control("greeting"))
		b.PushAck(control("ack"))
		b.PushPong(pong("p"))
		settle()
		assert.Equal(t, []string{"pong p"}, received(t, s))
		b.Release()
		settle()
		assert.Equal(t, []string{"pong p", "greeting", "ack"}, received(t, s))
		requireNothingPending(t, b)
	})
}

// A box that is sealed does not withhold anything.
func TestSealReleases(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.boxOver(1 << 20)
		b.Withhold(answer(0, 0, 0))
		b.Seal(answer(0, 1, 0))
		settle()
		assert.Equal(t, []string{"0/0/", "0/1/", "close 1000"}, received(t, s))
		b.Withhold(answer(0, 2, 0))
		b.Release()
		settle()
		assert.Equal(t, []string{"0/0/", "0/1/", "close 1000"}, received(t, s))
	})
}

func TestPushIfIdle(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.boxOver(1000)
		ping := answer(0, 0, 2000)
		b.PushIfIdle(ping)
		settle()
		require.Equal(t, 1, len(received(t, s)), "whatever the limit")
		b.Reply(text(0, 1, 0), false)
		b.PushIfIdle(ping)
		settle()
		require.Len(t, received(t, s), 1, "something waits")
		b.Schedule()
		settle()
		require.Len(t, received(t, s), 2)
		fill(s)
		b.Push(note(0, 2, 0), false, false)
		settle()
		b.PushIfIdle(ping)
		s.Drain(-1)
		settle()
		require.Len(t, received(t, s), 3, "something was being written")
		b.Seal(nil)
		b.PushIfIdle(ping)
		settle()
		b.PushIfIdle(ping)
		settle()
		assert.Equal(t, "close 1000", received(t, s)[3])
		requireNothingPending(t, b)
	})
}

// Replies lie in the box until somebody writes them, or pushes something.
func TestReplies(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.boxOver(1 << 10)
		assert.False(t, b.HasUnscheduled())
		for i := range 5 {
			assert.Equal(t, Unscheduled, b.Reply(text(0, i, 0), false))
		}
		settle()
		assert.True(t, b.HasUnscheduled())
		assert.Empty(t, received(t, s))
		flush(b)
		assert.False(t, b.HasUnscheduled())
		fill(s)
		b.Reply(text(1, 0, 0), true)
		settle()
		b.Reply(text(1, 1, 0), false)
		assert.False(t, b.HasUnscheduled(), "a drainer writes it")
		s.Drain(-1)
		settle()
		assert.Equal(t, upTo(5), numbers(t, received(t, s))[0])
		frames, _ := linktest.ParseFrames(s.Wire())
		assert.Len(t, frames, 1+2)

		b.Reply(text(0, 5, 0), false)
		b.Schedule()
		settle()
		b.Reply(text(0, 6, 0), true)
		settle()
		b.Reply(text(0, 7, 0), false)
		b.Push(note(0, 8, 0), false, false)
		settle()
		b.Reply(text(0, 9, 0), false)
		b.Seal(nil)
		assert.Zero(t, b.Reply(text(0, 10, 0), true))
		settle()
		all := received(t, s)
		assert.Equal(t, upTo(10), numbers(t, all[:12])[0])
		assert.Equal(t, []string{"close 1000"}, all[12:])
	})
}

func TestEnoughReplies(t *testing.T) {
	b := newEnv(t).box(1 << 10)
	for i := range 2 * maxMerged {
		assert.Equal(t, (i+1)%maxMerged == 0, b.Reply(text(0, i, 0), false)&Enough != 0, "reply %d", i)
	}
	assert.Len(t, b.queue.packets, 2)
	b = newEnv(t).box(1 << 10)
	assert.Zero(t, b.Reply(text(0, 0, 40<<10), false)&Enough)
	assert.NotZero(t, b.Reply(text(0, 1, 40<<10), false)&Enough)
	assert.Len(t, b.queue.packets, 2, "both do not fit into one message")
}

// What replies were in is used again when it has been written, or delivered, unless it is large.
func TestOwnPacketsAreUsedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		written, _ := e.boxOver(1 << 10)
		fetched, _ := e.boxFetched(1<<10, true)
		for _, size := range []int{0, maxPooled} {
			for _, b := range []*testBox{written, fetched} {
				b.Reply(text(0, 0, size), false)
				own := b.queue.packets[0]
				b.Schedule()
				if b == fetched {
					out, err := poll(b)
					require.NoError(t, err)
					require.Equal(t, 1, own.messages)
					out.Done(true)
				}
				settle()
				assert.Equal(t, size == 0, own.messages == 0)
			}
		}
	})
}

// A reply never changes a packet that others have too, or one that is being written.
func TestRepliesBehindOtherPackets(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		a, first := e.boxOver(1<<20, linktest.Full)
		b, second := e.boxOver(1 << 20)
		p := note(0, 0, 0)
		a.Reply(text(0, 1, 0), true)
		settle()
		a.Reply(text(0, 2, 0), true)
		a.Push(p, true, false)
		a.Reply(text(0, 3, 0), true)
		b.Push(p, true, false)
		b.Reply(text(0, 4, 0), true)
		first.Drain(-1)
		settle()
		assert.Equal(t, []string{"0/1/", "0/2/", "0/0/", "0/3/"}, received(t, first))
		assert.Equal(t, []string{"0/0/", "0/4/"}, received(t, second))
	})
}

// Whoever empties a sealed box ends the link, once.
func TestSeal(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		for _, change := range []func(*linktest.Socket){room(-1), linktest.Full, room(1), room(10), linktest.Blocking} {
			b, s := e.boxOver(1<<10, change)
			b.Push(note(0, 0, 0), false, false)
			b.Seal(answer(0, 1, 0))
			b.Seal(answer(0, 2, 0))
			assert.Equal(t, Dropped, b.Push(note(0, 3, 0), false, false))
			assert.True(t, b.Progress().Sealed)
			settle()
			assert.Equal(t, s.IsFinished(), b.IsOver())
			s.Drain(-1)
			settle()
			b.Seal(answer(0, 4, 0))
			b.PushPong(pong("p"))
			settle()
			assert.Equal(t, []string{"0/0/", "0/1/", "close 1000"}, received(t, s))
			assert.True(t, s.IsFinished())
			assert.True(t, b.IsOver())
			_, broken, over := b.told.counts()
			assert.Zero(t, broken)
			assert.Equal(t, 1, over)
			assert.False(t, b.HasOverflowed())
			requireNothingPending(t, b)
		}
	})
}

func TestAbandon(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.boxOver(1<<10, room(5))
		b.Push(note(0, 0, 0), false, false)
		settle()
		b.Push(note(0, 1, 0), false, false)
		b.PushPong(pong("p"))
		b.Abandon()
		assert.True(t, b.IsOver())
		assert.Equal(t, Dropped, b.Push(note(0, 2, 0), false, false))
		b.Seal(answer(0, 3, 0))
		b.PushPong(pong("p"))
		s.Drain(-1)
		settle()
		assert.Equal(t, []string{"0/0/"}, received(t, s), "what had been taken is written")
		_, broken, over := b.told.counts()
		assert.Zero(t, broken+over)
		assert.False(t, s.IsFinished())
		requireNothingPending(t, b)
	})
}

// What a writer has taken when a box overflows is still written, and the link is ended by whoever seals it.
func TestSealBehindAnOverflow(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.boxOver(1000, room(5))
		b.Push(note(0, 0, 100), false, false)
		settle()
		b.Push(note(0, 1, 100), false, false)
		require.Equal(t, Overflow, b.Push(note(0, 2, 1000), false, false))
		b.Seal(answer(0, 3, 0))
		s.Drain(-1)
		settle()
		all := received(t, s)
		require.Len(t, all, 2)
		assert.Equal(t, noteID{0, 0}, idOf(t, all[0]))
		assert.Equal(t, "close 1000", all[1])
		_, _, over := b.told.counts()
		assert.Equal(t, 1, over)
		requireNothingPending(t, b)
	})
}

func TestProgressOfASocket(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.boxOver(1000)
		assert.Equal(t, Progress{}, b.Progress())
		b.Push(note(0, 0, 0), false, false)
		charge := uint32(note(0, 0, 0).charge())
		settle()
		assert.Equal(t, Progress{Taken: charge}, b.Progress())
		fill(s)
		b.Push(note(0, 1, 400), false, false)
		settle()
		assert.Equal(t, Progress{Stalled: true, Taken: charge}, b.Progress())
		b.Push(note(0, 2, 1000), false, true)
		assert.Equal(t, Progress{Stalled: true, Full: true, Taken: charge}, b.Progress())
		s.Drain(100)
		settle()
		progress := b.Progress()
		assert.True(t, progress.Stalled)
		assert.Greater(t, progress.Taken, charge, "a part of a long message counts")
		b.Seal(nil)
		assert.True(t, b.Progress().Sealed)
		s.Drain(-1)
		settle()
		total := charge + uint32(note(0, 1, 400).charge()+note(0, 2, 1000).charge())
		assert.Equal(t, Progress{Sealed: true, Taken: total}, b.Progress())
	})
}

// A box is idle when everything has been written, whoever has written it.
func TestStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t)
		b, s := e.boxOver(1 << 10)
		assert.Equal(t, idle, b.state)
		b.Push(note(0, 0, 0), false, false)
		assert.Equal(t, queued, b.state)
		s.Before = func() { b.locked(func() { assert.Equal(t, writing, b.state) }) }
		runUntilIdle(e.flusher)
		assert.Equal(t, idle, b.state)
		s.Before = nil
		fill(s)
		b.Push(note(0, 1, 0), false, false)
		runUntilIdle(e.flusher)
		assert.Equal(t, blocked, b.state)
		assert.Equal(t, 1, e.drainers.Get())
		flush(b)
		b.Push(note(0, 2, 0), false, false)
		runUntilIdle(e.flusher)
		assert.Equal(t, blocked, b.state, "nobody else writes")
		s.Drain(-1)
		settle()
		assert.Equal(t, idle, b.state)
		assert.Zero(t, e.drainers.Get())
		assert.Empty(t, s.Faults())
	})
}
