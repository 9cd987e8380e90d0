package outbox

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/linktest"
)

// order notes in which order sockets are written.
type order struct {
	mu    sync.Mutex
	names []string
}

func (o *order) note(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.names = append(o.names, name)
}

// box returns a box over a socket that notes when it is written.
func (o *order) box(e *env, name string) *testBox {
	b, _ := e.boxOver(1<<20, func(s *linktest.Socket) { s.Before = func() { o.note(name) } })
	return b
}

// runUntilIdle runs a flusher until nothing is left to write.
func runUntilIdle(f *Flusher) {
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { f.Run(done) })
	synctest.Wait()
	close(done)
	running.Wait()
}

func TestDirectGoesBeforeFanOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, o := newEnv(t), &order{}
		o.box(e, "fan-out").Push(note(0, 0, 0), true, false)
		o.box(e, "direct").Push(note(0, 0, 0), false, false)
		runUntilIdle(e.flusher)
		assert.Equal(t, []string{"direct", "fan-out"}, o.names)
	})
}

// What is sent to one client during a large fan-out waits for a stride of it at most.
func TestDirectDuringAFanOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, o := newEnv(t), &order{}
		single := o.box(e, "single")
		first, _ := e.boxOver(1<<20, func(s *linktest.Socket) {
			s.Before = func() { single.Push(note(0, 0, 0), false, false) }
		})
		first.Push(note(0, 0, 0), true, false)
		for i := range 10 * stride {
			o.box(e, fmt.Sprint(i)).Push(note(0, 0, 0), true, false)
		}
		runUntilIdle(e.flusher)
		assert.Len(t, o.names, 10*stride+1)
		assert.LessOrEqual(t, slices.Index(o.names, "single"), stride)
	})
}

// An entry of a box that a worker has written for already is skipped.
func TestStaleEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, o := newEnv(t), &order{}
		b := o.box(e, "a")
		for i := range 3 {
			b.Push(note(0, i, 0), false, false)
			flush(b)
		}
		b.Push(note(0, 3, 0), true, false)
		runUntilIdle(e.flusher)
		assert.Equal(t, []string{"a", "a", "a", "a"}, o.names)
		assert.Equal(t, idle, b.state)
	})
}

// Nor does the flusher write for a box that belongs to a drainer.
func TestStaleEntriesBesideADrainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t)
		b, s := e.boxOver(1<<10, linktest.Full)
		b.Push(note(0, 0, 0), false, false)
		flush(b)
		settle()
		require.Equal(t, 1, e.drainers.Get())
		b.Push(note(0, 1, 0), false, false)
		runUntilIdle(e.flusher)
		assert.Empty(t, s.Faults())
		assert.Equal(t, 1, e.drainers.Get())
		s.Drain(-1)
		settle()
		assert.Equal(t, []string{"0/0/", "0/1/"}, received(t, s))
	})
}

// What has been merged is not kept in memory, nor is a list of boxes.
func TestTheFlusherForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, fanout := range []bool{false, true} {
			e := newEnv(t)
			b, _ := e.boxOver(1 << 10)
			b.Push(note(0, 0, 0), fanout, false)
			b.Push(note(0, 1, 0), fanout, false)
			runUntilIdle(e.flusher)
			key := e.flusher.writer.key
			require.GreaterOrEqual(t, cap(key), 2)
			assert.Equal(t, make([]*Packet, 2), key[:2])
			spare := []*Box{&b.Box}
			e.flusher.swap(&e.flusher.direct, spare)
			assert.Nil(t, spare[0])
		}
	})
}

// Nor is what has been written, and where.
func TestAWriterForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t)
		b, _ := e.boxOver(1 << 10)
		b.Push(note(0, 0, 0), false, false)
		runUntilIdle(e.flusher)
		packets := e.flusher.writer.packets
		require.GreaterOrEqual(t, cap(packets), 1)
		assert.Nil(t, packets[:1][0])
		b.Seal(nil)
		runUntilIdle(e.flusher)
		b.Seal(nil) // again, as the end of a connection may
		runUntilIdle(e.flusher)
		assert.Nil(t, e.flusher.writer.socket)
	})
}

// Behind a long pass over fan-outs the flusher rests, unless something is sent to one client.
func TestTheFlusherRests(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		const long = 8 * time.Millisecond
		a, _ := e.boxOver(1<<10, func(s *linktest.Socket) { s.Before = func() { <-time.After(long) } })
		b, s := e.boxOver(1 << 10)
		for _, fanout := range []bool{true, false} {
			before := len(received(t, s))
			a.Push(note(0, 0, 0), true, false)
			pass(long)
			b.Push(note(0, 0, 0), fanout, false)
			settle()
			if !fanout {
				assert.Len(t, received(t, s), before+1, "at once")
				continue
			}
			assert.Len(t, received(t, s), before)
			pass(long - 1)
			assert.Len(t, received(t, s), before)
			pass(1)
			assert.Len(t, received(t, s), before+1)
		}
	})
}

// What was sent to one client during a pass, and has been written in it, does not end the rest.
func TestTheFlusherRestsBehindDirectMessages(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		const long = 8 * time.Millisecond
		slow := func(s *linktest.Socket) { s.Before = func() { <-time.After(long) } }
		first, _ := e.boxOver(1<<10, slow)
		first.Push(note(0, 0, 0), true, false)
		settle() // it is being written
		second, _ := e.boxOver(1<<10, slow)
		second.Push(note(0, 0, 0), true, false)
		for range stride {
			b, _ := e.boxOver(1 << 10)
			b.Push(note(0, 0, 0), true, false)
		}
		pass(2*long + long/2) // the rest is over, and the second one is being written
		direct, s := e.boxOver(1 << 10)
		direct.Push(note(0, 0, 0), false, false)
		pass(long / 2)
		assert.Len(t, received(t, s), 1)
		last, s := e.boxOver(1 << 10)
		last.Push(note(0, 0, 0), true, false)
		pass(long - 1)
		assert.Empty(t, received(t, s))
		pass(1)
		assert.Len(t, received(t, s), 1)
	})
}

// Behind fan-outs of which each box has had many, the flusher rests for three times as long.
func TestTheFlusherRestsLongerBehindMany(t *testing.T) {
	for many, rest := range map[int]time.Duration{manyMerged - 1: 2 * time.Millisecond, manyMerged: 6 * time.Millisecond} {
		inBubble(t, func(t *testing.T, e *env) {
			const long = 2 * time.Millisecond
			slow := func(s *linktest.Socket) { s.Before = func() { <-time.After(long) } }
			a, _ := e.boxOver(1<<10, slow)
			b, _ := e.boxOver(1<<10, slow)
			c, s := e.boxOver(1 << 10)
			a.Push(note(0, 0, 0), true, false)
			settle() // it is being written
			for i := range many {
				b.Push(note(0, i, 0), true, false)
			}
			pass(2 * long) // and the rest
			c.Push(note(0, 0, 0), true, false)
			pass(long + rest - 1)
			assert.Empty(t, received(t, s))
			pass(1)
			assert.Len(t, received(t, s), 1)
		})
	}
}

// However long a pass has taken, the rest is short.
func TestTheLongestRest(t *testing.T) {
	for fanout, rest := range map[bool]time.Duration{true: longRest, false: longDirectRest} {
		inBubble(t, func(t *testing.T, e *env) {
			a, _ := e.boxOver(1<<10, func(s *linktest.Socket) { s.Before = func() { <-time.After(time.Second) } })
			b, s := e.boxOver(1 << 10)
			a.Push(note(0, 0, 0), fanout, false)
			pass(time.Second)
			b.Push(note(0, 0, 0), fanout, false)
			pass(rest - 1)
			assert.Empty(t, received(t, s))
			pass(1)
			assert.Len(t, received(t, s), 1)
		})
	}
}

func TestAnOutboxIsOnEachListOnce(t *testing.T) {
	e, o := newEnv(t), &order{}
	b := o.box(e, "a")
	for range 3 {
		b.WakeLate()
	}
	assert.Len(t, e.flusher.late, 1)
	for range 1000 {
		b.Push(note(0, 0, 0), false, false)
		b.Push(note(0, 0, 0), true, false)
		flush(b)
	}
	assert.Len(t, e.flusher.direct, 1)
	assert.Empty(t, e.flusher.fanout)
}

// Whoever pushes as fast as a socket takes keeps nobody else waiting for longer than a turn. Nor does a client that sends pings.
func TestATurnIsBounded(t *testing.T) {
	for name, push := range map[string]func(b *testBox){
		"direct":  func(b *testBox) { b.Push(note(0, 0, 0), false, false) },
		"fan-out": func(b *testBox) { b.Push(note(0, 0, 0), true, false) },
		"pong":    func(b *testBox) { b.PushPong(pong("p")) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, o := newEnv(t), &order{}
				a, b := e.box(1<<20), o.box(e, "b")
				left := 1000
				a.AttachSocket(e.socket(func(s *linktest.Socket) {
					s.Before = func() {
						o.note("a")
						if left--; left > 0 {
							push(a)
						}
					}
				}))
				push(a)
				push(b)
				runUntilIdle(e.flusher)
				assert.Equal(t, 1, slices.Index(o.names, "b"))
				assert.Len(t, o.names, 1001)
			})
		})
	}
}

// A box whose turn is over goes back to the list that it was on.
func TestTheRestOfATurn(t *testing.T) {
	for list, bit := range map[string]uint32{"direct": listDirect, "fan-out": listFanout} {
		e := newEnv(t)
		b, s := e.boxOver(1 << 20)
		for i := range maxMerged + 1 {
			b.Push(note(0, i, 0), list == "fan-out", false)
		}
		f, taken := e.flusher, &e.flusher.direct
		if list == "fan-out" {
			taken = &f.fanout
		}
		require.Equal(t, []*Box{&b.Box}, f.swap(taken, nil))
		f.write(&b.Box, bit)
		assert.Len(t, received(t, s), maxMerged)
		assert.Equal(t, queued, b.state)
		assert.Equal(t, []*Box{&b.Box}, *taken, list)
		assert.Len(t, append(f.direct, f.fanout...), 1)
	}
}

func TestFlushersStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, o := newEnv(t), &order{}
		done := make(chan struct{})
		go e.flusher.Run(done)
		go e.flusher.RunLate(done)
		b := o.box(e, "a")
		b.Push(note(0, 0, 0), true, false)
		b.Reply(text(1, 0, 0), false)
		b.WakeLate()
		close(done)
	}) // which waits for both
}

// Many push at once, and the flusher comes to rest in between: nothing is left lying.
func TestNoWakeUpIsLost(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		const rounds, senders = 50, 4
		boxes, sockets := make([]*testBox, 3), make([]*linktest.Socket, 3)
		for i := range boxes {
			boxes[i], sockets[i] = e.boxOver(1 << 20)
		}
		for n := range rounds {
			var all sync.WaitGroup
			for sender := range senders {
				all.Go(func() {
					for i, b := range boxes {
						assert.Equal(t, Queued, b.Push(note(sender, n, 0), (i+sender+n)%2 == 0, false))
					}
				})
			}
			all.Wait()
			settle()
			for _, s := range sockets {
				require.Len(t, received(t, s), (n+1)*senders)
			}
		}
	})
}

// The same beside a clock that runs, where the flusher rests behind a pass.
func TestNoWakeUpIsLostWhileTheFlusherRests(t *testing.T) {
	e := newEnv(t)
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { e.flusher.Run(done) })
	defer running.Wait()
	defer close(done)
	b, s := e.boxOver(1<<20, func(s *linktest.Socket) { s.Before = func() { <-time.After(500 * time.Microsecond) } })
	var all sync.WaitGroup
	for sender := range 4 {
		all.Go(func() {
			for i := range 50 {
				b.Push(note(sender, i, 0), i%2 == 0, false)
				if i%10 == 0 {
					<-time.After(time.Millisecond)
				}
			}
		})
	}
	all.Wait()
	require.Eventually(t, func() bool {
		all, rest := receivedInPart(t, s)
		return len(rest) == 0 && len(all) == 200
	}, 10*time.Second, time.Millisecond)
	for _, n := range numbers(t, received(t, s)) {
		assert.Equal(t, upTo(50), n)
	}
}

func TestLateTicks(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		a, b := e.box(1<<10), e.box(1<<10)
		a.WakeLate()
		a.WakeLate()
		pass(lateTime - 1)
		assert.Empty(t, a.told.lateTicks())
		pass(1)
		assert.Equal(t, []lateTick{{true, true}}, a.told.lateTicks(), "one for both")
		e.busy.Store(true)
		again := true
		a.told.onTick = func() {
			if again {
				again = false
				a.WakeLate() // the owner may ask for another one
			}
		}
		a.WakeLate()
		b.WakeLate()
		pass(lateTime)
		assert.Equal(t, []lateTick{{true, false}}, b.told.lateTicks(), "other goroutines were running")
		pass(lateTime)
		assert.Len(t, a.told.lateTicks(), 3)
		assert.Zero(t, a.listed.Load())
		assert.Zero(t, b.listed.Load())
	})
}

func TestALateTickThatPanics(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		a, b := e.box(1<<10), e.box(1<<10)
		a.told.onTick = func() { panic("on purpose") }
		a.WakeLate()
		b.WakeLate()
		pass(lateTime)
		assert.Len(t, b.told.lateTicks(), 1)
		assert.Len(t, e.log.take(), 1)
	})
}
