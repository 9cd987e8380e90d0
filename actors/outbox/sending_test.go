package outbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/linktest"
)

// send sends a message to boxes as a fan-out, and waits for room.
func send(ctx context.Context, p *Packet, boxes ...*testBox) {
	s := Sending{Waits: true}
	for _, b := range boxes {
		s.Push(&b.Box, p, true)
	}
	s.Finish(ctx)
}

// background runs f, and returns a channel that is closed when it has returned.
func background(f func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		f()
		close(done)
	}()
	return done
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// trickle lets a peer take rate bytes a second until the test ends.
func trickle(t *testing.T, s *linktest.Socket, rate int) {
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	go func() {
		for {
			select {
			case <-time.After(10 * time.Millisecond):
				s.Drain(rate / 100)
			case <-stop:
				return
			}
		}
	}()
}

func (b *testBox) hasOverflowed() bool {
	overflowed, _, _ := b.told.counts()
	return overflowed > 0
}

func TestSendersThatNeedNotWait(t *testing.T) {
	e := newEnv(t) // whose flusher does not run
	a, b := e.box(1000), e.box(1000)
	for _, waits := range []bool{true, false} {
		s := Sending{Waits: waits}
		s.Push(&a.Box, note(0, 0, charged(200)), true)
		s.Push(&b.Box, note(0, 0, charged(200)), true)
		assert.False(t, s.MustWait())
		s.Finish(context.Background())
	}
	s := Sending{Waits: true}
	s.Push(&a.Box, note(0, 0, charged(200)), true)
	assert.True(t, s.MustWait())
	s = Sending{}
	s.Push(&b.Box, note(0, 0, charged(200)), true)
	assert.False(t, s.MustWait())
	s.Finish(context.Background())
	a.Seal(nil)
	s = Sending{Waits: true}
	s.Push(&a.Box, note(0, 0, charged(200)), true)
	assert.False(t, s.MustWait())
	s.Finish(context.Background())
	assert.False(t, a.hasOverflowed() || b.hasOverflowed())
}

func TestWaitersWake(t *testing.T) {
	reasons := map[string]func(e *env, b *testBox, s *linktest.Socket, cancel func()){
		"room":    func(_ *env, _ *testBox, s *linktest.Socket, _ func()) { s.Drain(-1) },
		"seal":    func(_ *env, b *testBox, _ *linktest.Socket, _ func()) { b.Seal(nil) },
		"abandon": func(_ *env, b *testBox, _ *linktest.Socket, _ func()) { b.Abandon() },
		"full": func(_ *env, b *testBox, _ *linktest.Socket, _ func()) {
			b.Push(note(0, 1, charged(1000)), false, false)
		},
		"broken": func(_ *env, _ *testBox, s *linktest.Socket, _ func()) { s.Break(errors.New("broken")) },
		"cut":    func(_ *env, b *testBox, _ *linktest.Socket, _ func()) { b.Cut() },
		"ctx":    func(_ *env, _ *testBox, _ *linktest.Socket, cancel func()) { cancel() },
		"swap": func(e *env, b *testBox, s *linktest.Socket, _ func()) {
			b.AttachSocket(e.socket())
			s.Cut()
		},
	}
	for _, direct := range []bool{false, true} {
		for name, reason := range reasons {
			if name == "full" && direct {
				continue // what is sent to one client is not what the limit is about
			}
			t.Run(fmt.Sprintf("%s direct=%v", name, direct), func(t *testing.T) {
				inBubble(t, func(t *testing.T, e *env) {
					b, socket := e.boxOver(1000, linktest.Full)
					ctx, cancel := context.WithCancel(context.Background())
					defer cancel()
					s, p := Sending{Waits: true, Direct: direct}, note(0, 0, charged(600))
					if direct {
						p = answer(0, 0, charged(600))
					}
					s.Push(&b.Box, p, !direct)
					require.True(t, s.MustWait())
					sent := background(func() { s.Finish(ctx) })
					pass(10 * time.Second)
					require.False(t, isClosed(sent), "it waits")
					reason(e, b, socket, cancel)
					settle()
					assert.True(t, isClosed(sent))
					assert.False(t, b.hasOverflowed())
				})
			})
		}
	}
}

// Senders wait until half of the receivers have room, however long that takes, and then for the others no longer than these may hold them.
func TestHalfOfTheCrowdIsWaitedFor(t *testing.T) {
	for _, receivers := range []int{2, 3, 4, 5} {
		inBubble(t, func(t *testing.T, e *env) {
			var boxes []*testBox
			var sockets []*linktest.Socket
			for range receivers {
				b, s := e.boxOver(1000, linktest.Full)
				boxes, sockets = append(boxes, b), append(sockets, s)
			}
			sent := background(func() { send(context.Background(), note(0, 0, charged(600)), boxes...) })
			settle()
			start := time.Now()
			for i := range receivers - receivers/2 {
				pass(10 * HoldTime)
				require.False(t, isClosed(sent))
				sockets[i].Drain(-1)
				settle()
			}
			<-sent
			assert.Equal(t, time.Duration(receivers-receivers/2)*10*HoldTime, time.Since(start), "the others have held the sender long enough")
			for _, b := range boxes {
				assert.False(t, b.hasOverflowed(), "none was above its limit before")
			}
		})
	}
}

// A receiver that is slower than the crowd holds senders for a second in all, and is then disconnected at its limit.
func TestSendersWaitASecondForASlowReceiver(t *testing.T) {
	for _, change := range []func(*linktest.Socket){room(0), func(s *linktest.Socket) { s.Room, s.BlocksOnly = 0, true }} {
		inBubble(t, func(t *testing.T, e *env) {
			fast, _ := e.boxOver(64 << 10)
			other, _ := e.boxOver(64 << 10)
			slow, s := e.boxOver(64<<10, change)
			start := time.Now()
			sends := 0
			for ; !slow.hasOverflowed(); sends++ {
				require.Less(t, sends, 1000)
				send(context.Background(), note(0, sends, 1<<10), fast, other, slow)
				settle()
				s.Drain(10)
				settle() // while a drainer writes, it is not the peer's turn
			}
			assert.Equal(t, HoldTime, time.Since(start))
			assert.Equal(t, Dropped, slow.Push(note(0, 0, 0), true, true))
			assert.True(t, slow.HasOverflowed())
			send(context.Background(), note(0, sends, 0), fast, other, slow)
			overflowed, _, _ := slow.told.counts()
			assert.Equal(t, 1, overflowed, "its owner hears of it once")
			assert.False(t, fast.hasOverflowed() || other.hasOverflowed())
		})
	}
}

// One that takes nothing holds senders for a shorter time, and again when its box has been empty.
func TestAStalledReceiverHoldsShortly(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		const limit = 64 << 10
		fast, _ := e.boxOver(limit)
		other, _ := e.boxOver(limit)
		slow, s := e.boxOver(limit, linktest.Full)
		for i := range 3 {
			start := time.Now()
			send(context.Background(), note(0, i, limit*2/3), fast, other, slow)
			assert.Equal(t, stallTime, time.Since(start))
			send(context.Background(), note(0, i, 0), fast, other, slow)
			assert.Equal(t, stallTime, time.Since(start), "but only once")
			s.Drain(2 * limit)
			settle()
			requireNothingPending(t, slow)
			fill(s)
		}
		assert.False(t, slow.hasOverflowed())
	})
}

// A link that takes the place of a full one does not begin with the time that the former one has used up, if it takes what waits.
func TestTheHoldTimeBehindASwap(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		const limit = 1000
		fast, _ := e.boxOver(limit)
		other, _ := e.boxOver(limit)
		slow, s := e.boxOver(limit, linktest.Full)
		start := time.Now()
		send(context.Background(), note(0, 0, charged(600)), fast, other, slow)
		assert.Equal(t, stallTime, time.Since(start))
		next := e.socket()
		require.True(t, slow.AttachSocket(next))
		s.Cut()
		settle()
		requireNothingPending(t, slow)
		assert.Equal(t, HoldTime, slow.holdLeftNow())
		fill(next)
		send(context.Background(), note(0, 1, charged(600)), fast, other, slow)
		assert.Equal(t, 2*stallTime, time.Since(start))
		assert.False(t, slow.hasOverflowed())
	})
}

// If most receivers are slow, that is the server, or its network: senders wait for them, and nobody is disconnected.
func TestACrowdIsNotASlowReceiver(t *testing.T) {
	for _, receivers := range []int{5, 40} {
		inBubble(t, func(t *testing.T, e *env) {
			const link, seconds = 256 << 10, 10 // bytes a second, which all share
			var boxes []*testBox
			for range receivers {
				b, s := e.boxOver(64<<10, room(4<<10))
				boxes = append(boxes, b)
				trickle(t, s, link/receivers)
			}
			sends, size := 0, 1000
			for start := time.Now(); time.Since(start) < seconds*time.Second; sends++ {
				send(context.Background(), note(0, sends, size), boxes...)
			}
			for _, b := range boxes {
				assert.False(t, b.hasOverflowed())
			}
			assert.Greater(t, sends*size*receivers, seconds*link*3/4, "and the link is used")
		})
	}
}

// A receiver that takes little slows nobody down for longer than its second.
func TestASlowReceiverIsNotWaitedForLonger(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		const limit = 64 << 10
		fast, _ := e.boxOver(limit)
		slow, s := e.boxOver(limit, room(1<<10))
		trickle(t, s, limit*6/10)
		start := time.Now()
		for i := range 5000 {
			send(context.Background(), note(0, i, 1000), fast, slow)
		}
		assert.Less(t, time.Since(start), 2*HoldTime)
		assert.True(t, slow.hasOverflowed())
		assert.False(t, fast.hasOverflowed())
	})
}

// A healthy receiver is never disconnected: whoever sends to it waits.
func TestALoopOfSendsToAHealthyReceiver(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.boxOver(8<<10, linktest.Blocking, func(s *linktest.Socket) {
			s.Before = func() { <-time.After(100 * time.Microsecond) }
		})
		for i := range 2000 {
			send(context.Background(), note(0, i, 200), b)
		}
		pass(time.Second)
		assert.Equal(t, upTo(2000), numbersOf(t, s, 0))
		assert.False(t, b.hasOverflowed())
	})
}

// Many who send at once bring a receiver that keeps taking beyond its limit: that is not its fault, until it is far beyond.
func TestManySendersAtOnce(t *testing.T) {
	for _, far := range []bool{false, true} {
		inBubble(t, func(t *testing.T, e *env) {
			const limit = 64 << 10
			fast, _ := e.boxOver(limit)
			other, _ := e.boxOver(limit)
			slow, s := e.boxOver(limit, room(1<<10))
			trickle(t, s, limit/4)
			sent := 0
			var senders sync.WaitGroup
			defer senders.Wait()
			start := func(n int) {
				for range n {
					p := note(sent, 0, limit/4)
					sent++
					senders.Go(func() { send(context.Background(), p, fast, other, slow) })
				}
			}
			start(8)
			pass(HoldTime + 100*time.Millisecond)
			_, limited := slow.Pending()
			require.Greater(t, limited, limit)
			start(1)
			pass(100 * time.Millisecond)
			require.False(t, slow.hasOverflowed())
			if far {
				start(12)
				pass(100 * time.Millisecond)
				assert.True(t, slow.hasOverflowed())
				return
			}
			pass(20 * time.Second)
			assert.False(t, slow.hasOverflowed())
			assert.Len(t, received(t, s), 9)
		})
	}
}

// While the server does not come to write, a sender waits for longer than a receiver may hold it.
func TestSendersWaitForTheServersOwnTurn(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		fast, _ := e.boxOver(1000)
		other, _ := e.boxOver(1000)
		late, _ := newEnv(t).boxOver(1000) // whose flusher does not run
		sent := background(func() { send(context.Background(), note(0, 0, charged(600)), fast, other, late) })
		pass(10 * HoldTime)
		require.False(t, isClosed(sent))
		flush(late)
		settle()
		assert.True(t, isClosed(sent))
		assert.False(t, late.hasOverflowed())
	})
}

// A sender that cannot wait seals a box at its limit, and tells the owner at the end.
func TestASenderThatCannotWait(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		full, _ := e.boxOver(1000, linktest.Full)
		other, socket := e.boxOver(1000)
		full.Push(note(0, 0, charged(900)), true, false)
		settle()
		s := Sending{}
		for _, b := range []*testBox{full, other} {
			s.Push(&b.Box, note(0, 1, charged(200)), true)
		}
		assert.False(t, s.MustWait())
		assert.False(t, full.hasOverflowed(), "not while others are still pushed to")
		assert.True(t, full.HasOverflowed())
		s.Finish(context.Background())
		overflowed, _, _ := full.told.counts()
		assert.Equal(t, 1, overflowed)
		settle()
		assert.Len(t, received(t, socket), 1)
		assert.False(t, other.hasOverflowed())
		again := Sending{}
		again.Push(&full.Box, note(0, 2, 0), true)
		again.Finish(context.Background())
		overflowed, _, _ = full.told.counts()
		assert.Equal(t, 1, overflowed)
	})
}

// Senders that cannot wait do not push to a box beyond its limit, whatever the others have done.
func TestASenderThatCannotWaitBesideOneThatDoes(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, _ := e.boxOver(1000, linktest.Full)
		waiting := background(func() { send(context.Background(), note(0, 0, charged(5000)), b) })
		settle()
		require.False(t, isClosed(waiting))
		s := Sending{}
		s.Push(&b.Box, note(1, 0, 0), true)
		s.Finish(context.Background())
		settle()
		assert.True(t, b.hasOverflowed())
		assert.True(t, isClosed(waiting))
	})
}

// A sender whose context ends in the wait has sent. Again and again it cannot: what it adds to a box that is beyond its limit already
// disconnects the receiver.
func TestSendersWhoseContextEndsLiftNoLimit(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		const limit = 64 << 10
		b, _ := e.boxOver(limit, linktest.Full)
		most := 0
		for i := 0; !b.hasOverflowed(); i++ {
			require.Less(t, i, 1000)
			_, limited := b.Pending()
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
			send(ctx, note(0, i, 1<<10), b)
			cancel()
			most = max(most, limited)
		}
		assert.Less(t, most, limit+4<<10)
		assert.Greater(t, most, limit)
	})
}

// A receiver that was at its limit before, and has room when the context ends, stays connected.
func TestAContextThatEndsBesideRoom(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		full, _ := e.boxOver(1000, linktest.Full)
		taker, socket := e.boxOver(1000, linktest.Full)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		for i := range 2 {
			for _, b := range []*testBox{full, taker} {
				b.Push(note(0, i, charged(600)), true, true)
			}
		}
		sent := background(func() { send(ctx, note(0, 2, 0), full, taker) })
		settle()
		require.False(t, isClosed(sent))
		socket.Drain(-1)
		settle()
		cancel()
		settle()
		require.True(t, isClosed(sent))
		assert.True(t, full.hasOverflowed())
		assert.False(t, taker.hasOverflowed())
		assert.Equal(t, upTo(3), numbersOf(t, socket, 0))
	})
}

// A box that was sealed after the push keeps what is pending.
func TestAContextThatEndsBesideASeal(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, socket := e.boxOver(1000, linktest.Full)
		for i := range 2 {
			b.Push(note(0, i, charged(600)), true, true)
		}
		settle()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s := Sending{Waits: true}
		s.Push(&b.Box, note(0, 2, 0), true)
		require.True(t, s.MustWait())
		b.Seal(nil)
		s.Finish(ctx)
		assert.False(t, b.hasOverflowed())
		socket.Drain(-1)
		settle()
		assert.Equal(t, upTo(3), numbersOf(t, socket, 0))
		assert.True(t, socket.IsFinished())
	})
}

// A receiver that has held senders for long enough is disconnected by a sender that has found it above its limit, not by one that brings
// it there.
func TestAReceiverIsDisconnectedAboveItsLimit(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		fast, _ := e.boxOver(1000)
		other, _ := e.boxOver(1000)
		slow, _ := e.boxOver(1000, linktest.Full)
		start := time.Now()
		for i, charge := range []int{900, 100, 100} {
			send(context.Background(), note(0, i, charged(charge)), fast, other, slow)
			settle()
			require.False(t, slow.hasOverflowed(), "send %d", i)
		}
		assert.Equal(t, stallTime, time.Since(start))
		pass(HoldTime - stallTime - 1)
		send(context.Background(), note(0, 3, 0), fast, other, slow)
		assert.False(t, slow.hasOverflowed())
		pass(1)
		send(context.Background(), note(0, 4, 0), fast, other, slow)
		assert.True(t, slow.hasOverflowed())
		assert.Equal(t, HoldTime, time.Since(start))
	})
}

// When mostOver times the limit waits for a receiver that takes nothing, senders are held until it has had its second.
func TestAStalledReceiverHoldsAtMostOver(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		fast, _ := e.boxOver(1000)
		other, _ := e.boxOver(1000)
		slow, _ := e.boxOver(1000, linktest.Full)
		start := time.Now()
		for i := range mostOver {
			send(context.Background(), note(0, i, charged(1000)), fast, other, slow)
			settle()
		}
		assert.Equal(t, stallTime, time.Since(start))
		send(context.Background(), note(0, mostOver, 0), fast, other, slow)
		assert.Equal(t, HoldTime, time.Since(start))
		assert.True(t, slow.hasOverflowed())
	})
}

// Who sends to one client waits as long as it takes anything. Nobody is disconnected for that.
func TestASenderToOneClient(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, s := e.boxOver(1000, linktest.Full)
		var all []<-chan struct{}
		for i := range 5 {
			sending := Sending{Waits: true, Direct: true}
			sending.Push(&b.Box, answer(0, i, charged(600)), false)
			all = append(all, background(func() { sending.Finish(context.Background()) }))
		}
		for range 100 {
			pass(HoldTime)
			s.Drain(10)
		}
		for _, sent := range all {
			require.False(t, isClosed(sent))
		}
		s.Drain(-1)
		settle()
		for _, sent := range all {
			assert.True(t, isClosed(sent))
		}
		assert.False(t, b.hasOverflowed())
		assert.Equal(t, upTo(5), numbersOf(t, s, 0))
	})
}
