package outbox

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/internal/linktest"
)

// charged returns the size of a message whose packet is charged with n bytes.
func charged(n int) int { return n - overhead - len(text(0, 0, 0)) }

// isDone reports whether a waiter's boxes have room.
func (w *waiter) isDone() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// Room for what the limit is about and room for everything are waited for separately, in the same box.
func TestAwait(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.boxOver(1000, linktest.Full)
		there := newWaiter(2)
		b.await(there, true)
		b.await(there, false)
		assert.True(t, there.isDone(), "there is room already")

		b.Push(answer(0, 0, charged(2000)), false, false)
		settle()
		anything, limited := newWaiter(1), newWaiter(1)
		b.await(anything, false)
		b.await(limited, true)
		assert.True(t, limited.isDone(), "the limit is not about it")
		for i := range 6 {
			b.Push(note(0, 1+i, charged(100)), false, false)
		}
		settle()
		limited = newWaiter(1)
		b.await(limited, true)
		s.Drain(1000)
		settle()
		assert.False(t, anything.isDone() || limited.isDone())
		s.Drain(1000)
		settle()
		require.LessOrEqual(t, b.limited, 600)
		s.Drain(-1)
		settle()
		assert.True(t, anything.isDone() && limited.isDone())
		assert.Nil(t, b.waiting)
	})
}

// Those who need less room wake first.
func TestNotifyWakesThoseForWhomThereIsRoom(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.boxOver(1000, linktest.Full)
		b.Push(note(0, 0, charged(600)), false, false)
		settle()
		b.Push(answer(0, 1, charged(2000)), false, false)
		anything, limited, again := newWaiter(1), newWaiter(1), newWaiter(1)
		b.await(anything, false)
		b.await(limited, true)
		b.await(again, true)
		s.Drain(600)
		settle()
		assert.True(t, limited.isDone() && again.isDone())
		assert.False(t, anything.isDone())
		s.Drain(-1)
		settle()
		assert.True(t, anything.isDone())
	})
}

// A waiter of several boxes can be satisfied with some of them.
func TestAWaiterOfSeveralBoxes(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		w := newWaiter(2)
		var sockets []*linktest.Socket
		for range 3 {
			b, s := e.boxOver(1000, linktest.Full)
			b.Push(note(0, 0, charged(600)), false, false)
			settle()
			b.await(w, true)
			sockets = append(sockets, s)
		}
		for i, s := range sockets {
			s.Drain(-1)
			settle()
			assert.Equal(t, i >= 1, w.isDone())
		}
	})
}

// Waiters come and give up in any order. When there is room, those that are left wake.
func TestWaitersGiveUpInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newBenchBox(1000)
		b.Push(note(0, 0, charged(600)), false, false)
		type waiting struct {
			*waiter
			node *waitNode
		}
		var all, gone []waiting
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			if len(all) == 0 || rapid.Bool().Draw(t, "come") {
				w := newWaiter(1)
				all = append(all, waiting{w, b.await(w, rapid.Bool().Draw(t, "limited"))})
				continue
			}
			i := rapid.IntRange(0, len(all)-1).Draw(t, "waiter")
			b.forget(all[i].node)
			gone, all = append(gone, all[i]), slices.Delete(all, i, i+1)
		}
		flushAll(b)
		for _, one := range all {
			require.True(t, one.isDone())
			b.forget(one.node) // it was woken at the same time
		}
		for _, one := range gone {
			require.False(t, one.isDone())
		}
		require.Nil(t, b.waiting)
	})
}

func TestTheEndOfAWait(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, _ := e.boxOver(1000, linktest.Full)
		b.Push(note(0, 0, charged(600)), false, false)
		boxes, start := []*Box{&b.Box}, time.Now()
		waitForSome(context.Background(), boxes, 1, time.Second)
		assert.Equal(t, time.Second, time.Since(start))
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		waitForSome(ctx, boxes, 1, 0)
		assert.Equal(t, 2*time.Second, time.Since(start))
		b.WaitForRoom(ctx.Done())
		assert.Nil(t, b.waiting, "entries of waits that were given up are removed")
		b.Abandon()
		waitForSome(context.Background(), boxes, 1, 0)
		b.WaitForRoom(nil)
		assert.Equal(t, 2*time.Second, time.Since(start))
	})
}

func TestWaitForRoom(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.boxOver(1000, linktest.Full)
		b.WaitForRoom(nil)
		b.Push(answer(0, 0, charged(600)), false, false)
		done := make(chan struct{})
		time.AfterFunc(time.Minute, func() { close(done) })
		start := time.Now()
		b.WaitForRoom(done)
		assert.Equal(t, time.Minute, time.Since(start))
		time.AfterFunc(time.Minute, func() { s.Drain(-1) })
		b.WaitForRoom(nil)
		assert.Equal(t, 2*time.Minute, time.Since(start))
	})
}

// holdLeftNow is what is left of HoldTime.
func (b *Box) holdLeftNow() (left time.Duration) {
	b.locked(func() {
		_, used := b.holding()
		left = HoldTime - used
	})
	return left
}

// The time in which a peer holds senders is counted while its link is full and more than the mark waits for it.
func TestHoldingIsCounted(t *testing.T) {
	const part = 100 * time.Millisecond
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.boxOver(1000, linktest.Full)
		want := HoldTime
		check := func(held bool, what string) {
			t.Helper()
			settle()
			require.Equal(t, want, b.holdLeftNow(), what)
			if pass(part); held {
				want -= part
			}
			require.Equal(t, want, b.holdLeftNow(), what)
		}
		check(false, "nothing waits")
		b.Push(answer(0, 0, charged(2000)), false, false)
		check(false, "the limit is not about that")
		b.Push(note(0, 1, charged(400)), false, false)
		check(false, "below the mark")
		b.Push(note(0, 2, charged(200)), false, false)
		check(true, "above it")
		s.Drain(100)
		check(true, "still full")
		s.Drain(charged(2000) - 100 + 250)
		settle()
		require.LessOrEqual(t, b.limited, b.mark())
		check(false, "a part of what is written has made room")
		b.Push(note(0, 3, charged(600)), false, true)
		check(true, "above again")
		s.Drain(-1)
		settle()
		fill(s)
		want = HoldTime
		check(false, "the box has been empty")
	})
}

// What waits for the flusher is not the peer's fault.
func TestTheServersOwnTurnIsNotHolding(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		idle := newEnv(t) // whose flusher does not run
		b, s := idle.boxOver(1000)
		b.Push(note(0, 0, charged(600)), false, false)
		pass(10 * HoldTime)
		assert.Equal(t, HoldTime, b.holdLeftNow())
		room, left := b.holdsFor()
		assert.False(t, room)
		assert.Equal(t, HoldTime, left)
		b.locked(func() { b.held = uint32(HoldTime.Microseconds()) })
		_, left = b.holdsFor()
		assert.Equal(t, ownTurn, left, "then the sender looks again soon")
		b.locked(func() { b.setPeerTurn(true) })
		_, left = b.holdsFor()
		assert.LessOrEqual(t, left, time.Duration(0))
		b.locked(func() { b.setPeerTurn(false) })
		flush(b)
		room, _ = b.holdsFor()
		assert.True(t, room)
		assert.Len(t, received(t, s), 1)
	})
}

// A peer that is away between two polls holds senders as one whose socket is full.
func TestAPeerThatIsAwayHolds(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, f := e.boxFetched(1000, true)
		b.Push(note(0, 0, charged(600)), false, false)
		pass(HoldTime / 2)
		assert.Equal(t, HoldTime/2, b.holdLeftNow())
		out, err := b.Take(f.Context())
		require.NoError(t, err)
		pass(HoldTime / 4)
		assert.Equal(t, HoldTime/4, b.holdLeftNow(), "it is being delivered")
		out.Done(true)
		pass(HoldTime)
		assert.Equal(t, HoldTime, b.holdLeftNow(), "the box has been empty")
	})
}

func TestIsTooSlow(t *testing.T) {
	const limit = 10_000
	for name, c := range map[string]struct {
		charge  int           // that waits
		after   time.Duration // then the peer is looked at
		taken   int           // meanwhile
		tooSlow bool
	}{
		"takes nothing":               {limit + 1, HoldTime, 0, true},
		"at the limit":                {limit, HoldTime, 0, false},
		"may still hold":              {limit + 1, HoldTime - 1, 0, false},
		"takes an eighth":             {limit * 2, HoldTime, limit / 8, false},
		"takes less":                  {limit * 2, HoldTime, limit/8 - 1, true},
		"takes much, far beyond":      {mostOver*limit + 1 + limit, HoldTime, limit, true},
		"takes much, not far beyond":  {mostOver*limit + limit, HoldTime, limit, false},
		"is far beyond, and may hold": {mostOver*limit + 1, HoldTime - 1, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				b, s := e.boxOver(limit)
				b.Push(note(0, 0, charged(10*limit)), false, true) // which it takes at once
				pass(10 * HoldTime)
				fill(s)
				b.Push(note(0, 0, charged(c.charge)), false, true)
				pass(HoldTime / 2)
				s.Drain(c.taken)
				pass(c.after - HoldTime/2)
				b.locked(func() { assert.Equal(t, c.tooSlow, b.isTooSlow()) })
			})
		})
	}
}

// A box that waits for the flusher says nothing about the peer.
func TestTheServersOwnTurnIsNotSlow(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *env) {
		b, _ := newEnv(t).boxOver(1000) // whose flusher does not run
		b.Push(note(0, 0, charged(2000)), false, true)
		pass(10 * HoldTime)
		b.locked(func() {
			b.held = uint32(HoldTime.Microseconds())
			assert.False(t, b.isTooSlow())
			b.setPeerTurn(true)
			assert.True(t, b.isTooSlow())
		})
	})
}

// The rate of a peer is looked at once a second.
func TestTheRateOfAPeer(t *testing.T) {
	const limit = 10_000
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.boxOver(limit, linktest.Full)
		b.Push(note(0, 0, charged(4*limit)), false, true)
		isTooSlow := func() (tooSlow bool) {
			b.locked(func() { tooSlow = b.isTooSlow() })
			return tooSlow
		}
		settle()
		for range 10 {
			pass(HoldTime / 2)
			s.Drain(limit / 8)
			pass(HoldTime / 2)
			require.False(t, isTooSlow())
			require.False(t, isTooSlow(), "not before another second")
		}
		pass(HoldTime / 2)
		s.Drain(limit/8 - 1)
		pass(HoldTime/2 - 1)
		require.False(t, isTooSlow())
		pass(time.Millisecond)
		require.True(t, isTooSlow())
	})
}
