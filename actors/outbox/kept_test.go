package outbox

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/linktest"
	"github.com/troupe-go/troupe/internal/wsframe"
)

// keeping returns a box that keeps what it writes, over a socket.
func (e *env) keeping(limit, kept int, change ...func(*linktest.Socket)) (*testBox, *linktest.Socket) {
	b, s := e.boxOver(limit, change...)
	b.Keep(kept)
	return b, s
}

// control is a packet that peers do not acknowledge.
func control(text string) *Packet {
	return NewControl(append(Buffer(len(text)+1), text+"\x1e"...), wsframe.Text)
}

// sequence introduces what is written again.
func sequence(first int64) *Packet { return control(fmt.Sprintf("sequence %d", first)) }

// reattach puts another socket under a box that has lost its own.
func (e *env) reattach(b *testBox, change ...func(*linktest.Socket)) *linktest.Socket {
	s := e.socket(change...)
	require.True(e.t, b.Reattach(s, sequence))
	return s
}

// keptNow is what a box keeps: how many packets, their bytes, and the number of the first message in them.
func (b *Box) keptNow() (packets, bytes int, first int64) {
	b.locked(func() { packets, bytes, first = len(b.kept.packets), b.kept.bytes, b.kept.first })
	return packets, bytes, first
}

// shortened returns messages without what they are padded with.
func shortened(messages []string) (short []string) {
	for _, m := range messages {
		short = append(short, strings.TrimRight(m, "x"))
	}
	return short
}

// of is the beginnings of the messages of one sender.
func of(sender int, numbers ...int) (all []string) {
	for _, n := range numbers {
		all = append(all, fmt.Sprintf("%d/%d/", sender, n))
	}
	return all
}

func TestWhatIsNotAcknowledgedIsWrittenAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, first := e.keeping(10_000, 10_000)
		for i := range 5 {
			b.Push(note(0, i, 10), i%2 == 0, false)
			settle()
		}
		b.Acknowledge(2)
		require.True(t, b.Detach())
		b.Push(note(0, 5, 10), false, false)
		settle()
		assert.Equal(t, of(0, 0, 1, 2, 3, 4), shortened(received(t, first)))
		second := e.reattach(b)
		settle()
		assert.Equal(t, append([]string{"sequence 3"}, of(0, 2, 3, 4, 5)...), shortened(received(t, second)))
		assert.Equal(t, of(0, 0, 1, 2, 3, 4), shortened(received(t, first)), "nothing more for the former one")
	})
}

func TestNothingToWriteAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, _ := e.keeping(10_000, 10_000)
		for i := range 3 {
			b.Push(note(0, i, 10), false, false)
		}
		settle()
		b.Acknowledge(3)
		b.Detach()
		s := e.reattach(b)
		settle()
		assert.Equal(t, []string{"sequence 4"}, received(t, s))
		requireNothingPending(t, b)
	})
}

// Control packets are neither numbered nor kept.
func TestControlPacketsAreNotKept(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, _ := e.keeping(10_000, 10_000)
		b.Push(control("ping"), false, false)
		b.Push(note(0, 0, 10), false, false)
		b.PushAck(control("ack"))
		settle()
		b.Push(control("ping"), false, false)
		settle()
		packets, _, first := b.keptNow()
		assert.Equal(t, 1, packets)
		assert.EqualValues(t, 1, first)
		b.Detach()
		s := e.reattach(b)
		settle()
		assert.Equal(t, append([]string{"sequence 1"}, of(0, 0)...), shortened(received(t, s)))
	})
}

// A packet of several replies is kept until the last one is acknowledged.
func TestAcknowledgementInsideAPacketOfReplies(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, _ := e.keeping(100_000, 100_000)
		b.Push(note(0, 0, 10), false, false)
		settle() // so that no reply leaves with it
		for i := range 5 {
			b.Reply(text(1, i, 10), false)
		}
		b.Schedule()
		settle()
		for number, want := range map[int64][2]int64{-1: {2, 1}, 0: {2, 1}} {
			b.Acknowledge(number)
			packets, _, first := b.keptNow()
			assert.Equal(t, want, [2]int64{int64(packets), first}, "%d", number)
		}
		for number := int64(1); number <= 5; number++ {
			b.Acknowledge(number)
			packets, bytes, first := b.keptNow()
			assert.Equal(t, [2]int64{1, 2}, [2]int64{int64(packets), first}, "%d", number)
			assert.Equal(t, 5*len(text(1, 0, 10)), bytes)
		}
		b.Detach()
		s := e.reattach(b)
		settle()
		assert.Equal(t, append([]string{"sequence 2"}, of(1, 0, 1, 2, 3, 4)...), shortened(received(t, s)), "all of the packet")
		b.Acknowledge(6)
		packets, bytes, first := b.keptNow()
		assert.Equal(t, [3]int64{0, 0, 7}, [3]int64{int64(packets), int64(bytes), first})
	})
}

func TestAcknowledgementsThatSayNothingNew(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, _ := e.keeping(10_000, 10_000)
		none, _ := e.boxOver(10_000)
		none.Acknowledge(1) // it keeps nothing
		none.PushAck(control("ack"))
		assert.False(t, none.Detach())
		for i := range 4 {
			b.Push(note(0, i, 10), false, false)
		}
		settle()
		b.Acknowledge(3)
		for _, number := range []int64{3, 2, 0, -5} {
			b.Acknowledge(number)
			packets, _, first := b.keptNow()
			assert.Equal(t, [2]int64{1, 4}, [2]int64{int64(packets), first}, "%d", number)
		}
		b.Acknowledge(1 << 62) // of more than was sent
		packets, bytes, first := b.keptNow()
		assert.Equal(t, [3]int64{0, 0, 5}, [3]int64{int64(packets), int64(bytes), first}, "what follows is numbered as ever")
		b.Push(note(0, 4, 10), false, false)
		settle()
		packets, _, first = b.keptNow()
		assert.Equal(t, [2]int64{1, 5}, [2]int64{int64(packets), first}, "and kept")
	})
}

// What exceeds the limit is one packet, and then nothing is written before an acknowledgement, except for acknowledgements.
func TestNothingIsWrittenAboveTheLimitOfWhatIsKept(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		const size = 1000
		b, s := e.keeping(100_000, 3000)
		for i := range 10 {
			b.Push(note(0, i, size), false, false)
		}
		settle()
		assert.Equal(t, of(0, 0, 1, 2), shortened(received(t, s)))
		_, bytes, _ := b.keptNow()
		assert.Greater(t, bytes, 3000)
		assert.LessOrEqual(t, bytes, 3000+note(0, 0, size).size())
		assert.True(t, b.isPeerTurn())
		assert.True(t, b.Progress().Stalled)
		flush(b)
		b.PushPong(pong("?"))
		b.PushAck(control("ack 1"))
		settle()
		assert.Equal(t, append(of(0, 0, 1, 2), "pong ?", "ack 1"), shortened(received(t, s)))
		assert.True(t, b.Progress().Stalled, "still the peer's turn")
		b.PushIfIdle(control("ping"))
		b.Acknowledge(0)
		settle()
		assert.Len(t, received(t, s), 5)
		b.Acknowledge(1)
		settle()
		assert.Equal(t, append(of(0, 0, 1, 2), append([]string{"pong ?", "ack 1"}, of(0, 3)...)...), shortened(received(t, s)))
		for number := int64(2); number <= 10; number++ {
			assert.Equal(t, number < 8, b.isPeerTurn(), number)
			b.Acknowledge(number)
			settle()
		}
		assert.Equal(t, upTo(10), numbers(t, without(received(t, s), "pong ?", "ack 1"))[0])
		requireNothingPending(t, b)
		assert.False(t, b.Progress().Stalled)
	})
}

func without(messages []string, out ...string) (rest []string) {
	for _, m := range messages {
		if !strings.Contains(strings.Join(out, "\n"), m) {
			rest = append(rest, m)
		}
	}
	return rest
}

// A single message may be larger than the limit.
func TestAMessageAboveTheLimitOfWhatIsKept(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.keeping(1_000_000, 100)
		b.Push(note(0, 0, 200_000), false, false)
		b.Push(note(0, 1, 0), false, false)
		settle()
		assert.Equal(t, of(0, 0), shortened(received(t, s)))
		b.Acknowledge(1)
		settle()
		assert.Equal(t, of(0, 0, 1), shortened(received(t, s)))
	})
}

// The end does not wait for acknowledgements.
func TestSealWritesWhatAwaitsAnAcknowledgement(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.keeping(1_000_000, 1000)
		for i := range 5 {
			b.Push(note(0, i, 1000), false, false)
		}
		settle()
		require.Equal(t, of(0, 0), shortened(received(t, s)))
		b.Seal(control("the end"))
		settle()
		assert.Equal(t, append(of(0, 0, 1, 2, 3, 4), "the end", "close 1000"), shortened(received(t, s)))
		assert.True(t, b.IsOver())
		assert.False(t, b.Detach(), "it is over")
		assert.False(t, b.Reattach(e.socket(), sequence))
		requireNothingPending(t, b)
	})
}

func TestANewerAcknowledgementReplacesOneThatIsNotWritten(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.keeping(10_000, 10_000, linktest.Full)
		b.Push(note(0, 0, 10), false, false)
		settle()
		for i := range 5 {
			b.PushAck(control("ack " + strconv.Itoa(i)))
		}
		bytes, _ := b.Pending()
		assert.Equal(t, note(0, 0, 10).charge()+control("ack 0").charge(), bytes)
		s.Drain(-1)
		settle()
		assert.Equal(t, append(of(0, 0), "ack 4"), shortened(received(t, s)))
		requireNothingPending(t, b)
	})
}

// An acknowledgement that is not written when the link is lost must not stand before the introduction. The new link gets one of its own.
func TestALostLinkLosesItsAcknowledgement(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.keeping(10_000, 10_000, linktest.Full)
		b.Push(note(0, 0, 10), false, false)
		settle()
		b.PushAck(control("ack 1"))
		b.Detach()
		b.PushAck(control("ack 2"))
		s.Cut()
		settle()
		second := e.reattach(b)
		settle()
		assert.Equal(t, append([]string{"sequence 1"}, of(0, 0)...), shortened(received(t, second)))
		b.PushAck(control("ack 3"))
		settle()
		assert.Equal(t, "ack 3", received(t, second)[2])
	})
}

// A link that is lost before what was written again has left the box loses nothing.
func TestSeveralLossesInARow(t *testing.T) {
	for _, room := range []int{0, 1, 30, 700, 5000, -1} {
		t.Run(fmt.Sprint(room, " bytes"), func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				b, _ := e.keeping(1_000_000, 1_000_000)
				for i := range 150 { // more than are written at once
					b.Push(note(0, i, 10), false, false)
				}
				settle()
				for i := range 4 {
					b.Detach()
					b.Push(note(0, 150+i, 10), false, false)
					b.Reply(text(0, 154+i, 0), false) // a sender of its own would have its place, too
					s := e.reattach(b, func(s *linktest.Socket) { s.Room = room })
					settle()
					s.Cut()
					settle()
				}
				s := e.reattach(b)
				settle()
				got := received(t, s)
				require.Equal(t, "sequence 1", got[0])
				want := upTo(150)
				for i := range 4 {
					want = append(want, 150+i, 154+i)
				}
				assert.Equal(t, want, numbers(t, without(got, "sequence 1"))[0])
				b.Acknowledge(158)
				packets, bytes, first := b.keptNow()
				assert.Equal(t, [3]int64{0, 0, 159}, [3]int64{int64(packets), int64(bytes), first})
			})
		})
	}
}

// A writer that finds the link broken leaves the box to the next one.
func TestABrokenLinkOfAKeepingBox(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.keeping(10_000, 10_000)
		b.Push(note(0, 0, 10), false, false)
		settle()
		s.Break(errors.New("broken"))
		b.Push(note(0, 1, 10), false, false)
		settle()
		b.Push(note(0, 2, 10), false, false)
		settle()
		_, broken, _ := b.told.counts()
		assert.Zero(t, broken)
		assert.Equal(t, None, b.Kind())
		require.True(t, b.Detach(), "the reader finds it, too")
		second := e.reattach(b)
		settle()
		assert.Equal(t, append([]string{"sequence 1"}, of(0, 0, 1, 2)...), shortened(received(t, second)))
	})
}

// What waits while there is no link meets the limits as ever.
func TestLimitsWithoutALink(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, _ := e.keeping(1000, 10_000)
		b.Detach()
		require.Equal(t, Queued, b.Push(note(0, 0, 300), true, false))
		require.Equal(t, AboveMark, b.Push(note(0, 1, 300), true, true))
		assert.False(t, b.Progress().Stalled, "there is no link that could be stalled")
		require.Equal(t, AboveMark, b.Push(note(0, 2, 300), true, true))
		require.Equal(t, AboveLimit, b.Push(note(0, 3, 10), true, true))
		require.Equal(t, Overflow, b.Push(note(0, 4, 300), true, false))
		assert.False(t, b.Reattach(e.socket(), sequence))
	})
}

func TestWhoWaitsForRoomGoesOnWhenTheLinkIsBack(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, _ := e.keeping(1000, 10_000)
		b.Detach()
		b.Push(note(0, 0, 900), false, true)
		var all sync.WaitGroup
		all.Go(func() { b.WaitForRoom(nil) })
		settle()
		e.reattach(b)
		settle()
		all.Wait()
		requireNothingPending(t, b)
	})
}

// An abandoned box keeps nothing.
func TestAbandonForgetsWhatIsKept(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, _ := e.keeping(10_000, 10_000)
		b.Push(note(0, 0, 10), false, false)
		settle()
		b.Detach()
		b.Push(note(0, 1, 10), false, false)
		b.Abandon()
		b.Acknowledge(1)
		b.PushAck(control("ack"))
		b.locked(func() { assert.Nil(t, b.kept) })
		assert.False(t, b.Detach())
		requireNothingPending(t, b)
	})
}

// Two boxes share packets; one of them loses its link. The bytes of neither change.
func TestPacketsOfFanOutsAreWrittenAgainAsTheyAre(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		one, _ := e.keeping(100_000, 100_000)
		other, s := e.boxOver(100_000)
		for i := range 20 {
			p := note(0, i, 100)
			one.Push(p, true, false)
			other.Push(p, true, false)
		}
		settle()
		one.Detach()
		again := e.reattach(one)
		settle()
		assert.Equal(t, received(t, s), received(t, again)[1:])
	})
}
