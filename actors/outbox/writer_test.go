package outbox

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/linktest"
	"github.com/troupe-go/troupe/internal/wsframe"
)

// Many replies wait for a socket that is full: they lie in packets of many messages each.
func TestAtMost64MessagesAreMerged(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.boxOver(64<<10, room(5))
		for i := range 3 * maxMerged {
			b.Reply(text(0, i, 0), false)
		}
		b.Schedule()
		settle()
		s.Drain(-1)
		settle()
		assert.Equal(t, upTo(3*maxMerged), numbers(t, received(t, s))[0])
		frames, _ := linktest.ParseFrames(s.Wire())
		assert.Len(t, frames, 3)
	})
}

func TestLargeMessagesAreNotMerged(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.boxOver(1<<20, linktest.Full)
		b.Push(note(0, 0, 0), false, false)
		settle()
		for i := range 10 {
			require.NotEqual(t, Overflow, b.Push(note(0, 1+i, 30<<10), false, false))
		}
		b.Push(note(0, 11, 100<<10), false, false)
		b.Push(note(0, 12, 0), false, false)
		s.Drain(-1)
		settle()
		assert.Equal(t, upTo(13), numbers(t, received(t, s))[0])
		frames, _ := linktest.ParseFrames(s.Wire())
		assert.Len(t, frames, 1+5+1+1, "two at a time, and the largest alone")
	})
}

func TestSameMessagesAreMergedOnce(t *testing.T) {
	w := &Writer{taken: taken{size: 200}}
	merge := func(opcode byte, packets ...*Packet) []byte {
		w.packets = packets
		return w.merge(opcode)
	}
	a, b := note(0, 0, 10), note(0, 1, 10)
	first := merge(wsframe.Text, a, b)
	again := merge(wsframe.Text, a, b)
	assert.Same(t, &first[0], &again[0])
	assert.Equal(t, byte(0x80|wsframe.Binary), merge(wsframe.Binary, a, b)[0], "but not for another kind of frame")
	w.forgetMerge()
	assert.Empty(t, w.key)

	own := &Packet{b: append(Buffer(10), "one"...), own: true}
	assert.Contains(t, string(merge(wsframe.Text, own, a)), "one")
	own.b = append(own.b[:wsframe.Room], "two"...)
	assert.Contains(t, string(merge(wsframe.Text, own, a)), "two", "an own packet comes back with other bytes")
}

// A packet that is alone is written from its own memory, which many boxes share.
func TestOnePacketIsNotCopied(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		for _, size := range []int{0, 200, 100 << 10} {
			p := note(0, 0, size)
			w := &Writer{taken: taken{packets: []*Packet{p}, size: len(p.b)}}
			wire := w.merge(wsframe.Text)
			assert.Same(t, &p.b[len(p.b)-1], &wire[len(wire)-1])
			for range 3 {
				b, s := e.boxOver(1 << 10)
				b.Push(p, true, false)
				settle()
				assert.Equal(t, wire, s.Wire())
			}
		}
	})
}

func TestAnEmptyOutboxTakesAnyFrame(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		const limit = 64 << 10
		b, s := e.boxOver(limit)
		b.Push(note(0, 0, 10), false, false)
		settle()
		requireNothingPending(t, b)
		fill(s)
		assert.Equal(t, AboveMark, b.Push(note(0, 1, 10*limit), false, false))
		settle()
		assert.Equal(t, Overflow, b.Push(note(0, 2, 0), false, false))
		s.Drain(-1)
		settle()
		assert.Equal(t, []int{0, 1}, numbersOf(t, s, 0), "a drainer had taken it")
	})
}

// A drainer writes packets one by one, unless each write costs more than that saves.
func TestADrainerDoesNotCopy(t *testing.T) {
	for _, blocks := range []bool{false, true} {
		e := newEnv(t)
		b, s := e.boxOver(1<<10, func(s *linktest.Socket) { s.BlocksOnly = blocks })
		p, q := note(0, 0, 0), note(0, 1, 0)
		all := len(text(0, 0, 0)) + len(text(0, 1, 0))
		w := &Writer{blocking: true, socket: s, taken: taken{packets: []*Packet{p, q}, size: len(p.b) + len(q.b)}}
		w.prepare(&b.Box)
		if blocks {
			assert.Len(t, w.message, 2+all)
			continue
		}
		assert.Equal(t, wsframe.Header(wsframe.Text, all), w.message)
		assert.Equal(t, 2+all, w.left())
		w.next()
		assert.Same(t, &p.b[wsframe.Room], &w.message[0])
	}
}

func TestOpcodes(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.boxOver(1<<10, linktest.Full)
		b.SetOpcode(wsframe.Binary)
		b.Push(NewPacket(append(Buffer(1), 'a'), wsframe.Binary, true), false, false)
		settle()
		b.Push(NewPacket(append(Buffer(1), 'b'), wsframe.Binary, true), false, false)
		b.Reply([]byte("c"), true)
		s.Drain(-1)
		settle()
		b.Reply([]byte("d"), true)
		settle()
		frames, _ := linktest.ParseFrames(s.Wire())
		want := []linktest.Frame{}
		for _, payload := range []string{"a", "bc", "d"} {
			want = append(want, linktest.Frame{Opcode: wsframe.Binary, Payload: []byte(payload)})
		}
		assert.Equal(t, want, frames)
	})
}

func TestPongs(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.boxOver(1<<10, linktest.Full)
		b.Push(note(0, 0, 0), false, false)
		settle()
		for _, payload := range []string{"1", "2", "3"} {
			b.PushPong(pong(payload))
		}
		s.Drain(-1)
		settle()
		assert.Equal(t, []string{"0/0/", "pong 3"}, received(t, s), "the newest is answered")
		b.PushPong(pong("4"))
		settle()
		assert.Equal(t, []string{"0/0/", "pong 3", "pong 4"}, received(t, s))
		b.Seal(nil)
		settle()
		b.PushPong(pong("5"))
		settle()
		assert.Equal(t, []string{"0/0/", "pong 3", "pong 4", "close 1000"}, received(t, s), "nothing follows the last frame")
	})
}

// A pong is written in front of the messages that were taken with it, and is not lost if the socket takes only a part of it.
func TestAPongInParts(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		for n := range len(pong("p")) + 3 {
			b, s := e.boxOver(1<<10, room(n))
			b.PushPong(pong("p"))
			b.Push(note(0, 0, 0), false, false)
			b.Push(note(0, 1, 0), false, false)
			settle()
			require.NotZero(t, e.drainers.Get())
			s.Drain(-1)
			settle()
			assert.Equal(t, []string{"pong p", "0/0/", "0/1/"}, received(t, s))
			requireNothingPending(t, b)
		}
	})
}

// A socket that is full at any byte of a turn.
func TestATurnInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t)
		all := len(text(0, 0, 20)) + len(text(0, 1, 0)) + len(text(0, 2, 150)) + 4
		for n := range all {
			b, s := e.boxOver(1<<10, room(n))
			b.Push(note(0, 0, 20), false, false)
			b.Reply(text(0, 1, 0), false)
			b.Push(note(0, 2, 150), false, false)
			runUntilIdle(e.flusher)
			require.Len(t, s.Wire(), n)
			require.Equal(t, blocked, b.state)
			for range 3 {
				s.Drain(1)
				settle()
			}
			s.Drain(-1)
			settle()
			assert.Equal(t, upTo(3), numbers(t, received(t, s))[0])
			assert.Len(t, s.Wire(), all)
			requireNothingPending(t, b)
		}
	})
}

// A socket that is full in the middle of the close frame.
func TestTheLastFrameInParts(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		for n := range len(wsframe.CloseFrame(1000)) {
			b, s := e.boxOver(1<<10, room(n))
			b.Seal(nil)
			settle()
			require.False(t, s.IsFinished())
			require.False(t, b.IsOver())
			s.Drain(-1)
			settle()
			assert.True(t, s.IsFinished())
			assert.True(t, b.IsOver())
			assert.Equal(t, []string{"close 1000"}, received(t, s))
		}
	})
}

// withoutEnd is a socket that needs no last frame.
type withoutEnd struct{ *linktest.Socket }

func (withoutEnd) LastFrame() []byte { return nil }

func TestAnEmptyLastFrame(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		for _, change := range []func(*linktest.Socket){room(-1), linktest.Blocking, linktest.Full} {
			b, s := e.box(1<<10), e.socket(change)
			b.AttachSocket(withoutEnd{s})
			b.Push(note(0, 0, 0), false, false)
			b.Seal(nil)
			s.Drain(-1)
			settle()
			assert.Equal(t, []string{"0/0/"}, received(t, s))
			assert.True(t, s.IsFinished())
			_, _, over := b.told.counts()
			assert.Equal(t, 1, over)
		}
	})
}

// The owner hears of a broken socket once. Nothing is written any more.
func TestABrokenSocket(t *testing.T) {
	for name, change := range map[string]func(*linktest.Socket){"": room(-1), "blocks": linktest.Blocking, "full": linktest.Full} {
		inBubble(t, func(t *testing.T, e *env) {
			b, s := e.boxOver(1<<10, change)
			if name == "full" {
				b.Push(note(0, 0, 0), false, false)
				settle()
				require.True(t, b.isPeerTurn(), "a drainer waits")
			}
			s.Break(errors.New("broken"))
			b.Push(note(0, 0, 0), false, false)
			settle()
			b.Seal(nil)
			b.PushPong(pong("p"))
			assert.Equal(t, Dropped, b.Push(note(0, 1, 0), false, false))
			settle()
			overflowed, broken, over := b.told.counts()
			assert.Equal(t, 1, broken)
			assert.NoError(t, b.told.broken[0], "the socket's own error tells")
			assert.Zero(t, overflowed+over)
			assert.True(t, b.IsOver())
			assert.True(t, s.IsFinished())
			assert.Equal(t, idle, b.state)
			assert.False(t, b.Progress().Stalled)
			assert.False(t, b.AttachSocket(e.socket()))
		})
	}
}

// panicking is a socket of the application's that panics.
type panicking struct{ *linktest.Socket }

func (panicking) TryWrite([]byte) (int, error) { panic("on purpose") }
func (panicking) Write([]byte) (int, error)    { panic("on purpose") }

func TestASocketThatPanics(t *testing.T) {
	for _, change := range []func(*linktest.Socket){room(-1), linktest.Blocking} {
		inBubble(t, func(t *testing.T, e *env) {
			b := e.box(1 << 10)
			b.AttachSocket(panicking{e.socket(change)})
			other, s := e.boxOver(1 << 10)
			b.Push(note(0, 0, 0), false, false)
			other.Push(note(0, 0, 0), false, false)
			settle()
			require.Len(t, b.told.broken, 1)
			assert.ErrorContains(t, b.told.broken[0], "on purpose")
			assert.True(t, b.IsOver())
			assert.False(t, b.isPeerTurn())
			assert.Equal(t, idle, b.state)
			assert.Len(t, e.log.take(), 1)
			assert.Len(t, received(t, s), 1, "the flusher goes on")
		})
	}
}

// A worker writes on its own goroutine what nobody else is writing.
func TestFlush(t *testing.T) {
	e := newEnv(t) // whose flusher does not run
	b, s := e.boxOver(1 << 10)
	flush(b)
	assert.Equal(t, idle, b.state)
	b.Reply(text(0, 0, 0), false)
	flush(b)
	b.Push(note(0, 1, 0), true, false) // waits for the flusher
	flush(b)
	b.PushPong(pong("p"))
	flush(b)
	assert.Equal(t, []string{"0/0/", "0/1/", "pong p"}, received(t, s))
	assert.Equal(t, idle, b.state)

	for i := range 2 * maxMerged {
		b.Reply(text(1, i, 0), false)
	}
	flush(b)
	assert.Len(t, numbers(t, received(t, s)[3:])[0], 0)
	assert.Equal(t, upTo(maxMerged), numbersOf(t, s, 1), "one turn")
	assert.Equal(t, queued, b.state, "the flusher does the rest")
	flush(b)
	assert.Equal(t, upTo(2*maxMerged), numbersOf(t, s, 1))
	assert.Empty(t, s.Faults())
}

// A worker leaves it to a drainer to write what it has pushed, in each of the drainer's turns.
func TestFlushBesideADrainer(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.boxOver(1<<10, linktest.Full)
		b.Push(note(0, 0, 0), false, false)
		for i := range 5 {
			settle()
			b.Reply(text(0, 1+i, 0), false)
			flush(b)
			require.Equal(t, 1, e.drainers.Get())
			require.Empty(t, s.Faults())
			s.Drain(len(text(0, 0, 0)) + 2)
		}
		s.Drain(-1)
		settle()
		assert.Equal(t, upTo(6), numbersOf(t, s, 0))
		assert.Zero(t, e.drainers.Get())
	})
}

// numbersOf returns the numbers of the messages of a sender, pongs left out.
func numbersOf(t require.TestingT, s *linktest.Socket, sender int) (all []int) {
	for _, message := range received(t, s) {
		var id noteID
		if n, _ := fmt.Sscanf(message, "%d/%d/", &id.sender, &id.n); n == 2 && id.sender == sender {
			all = append(all, id.n)
		}
	}
	return all
}
