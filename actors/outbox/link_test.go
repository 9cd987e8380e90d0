package outbox

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/linktest"
)

func TestKinds(t *testing.T) {
	e := newEnv(t)
	b := e.box(1 << 10)
	assert.Equal(t, None, b.Kind())
	b.Cut() // does nothing
	for range 2 {
		s := e.socket()
		require.True(t, b.AttachSocket(s))
		assert.Equal(t, Socket, b.Kind())
		for _, polls := range []bool{true, false} {
			f := e.fetcher(polls)
			require.True(t, b.AttachFetcher(f))
			assert.Equal(t, map[bool]Kind{true: Polls, false: Stream}[polls], b.Kind())
			assert.False(t, f.IsCut())
			b.Cut()
			assert.True(t, f.IsCut())
		}
		assert.False(t, s.IsCut(), "only the present link is cut")
		s = e.socket()
		b.AttachSocket(s)
		b.Cut()
		assert.True(t, s.IsCut())
	}
}

// What is pushed before there is a link is written to the first one.
func TestPushesBeforeTheFirstLink(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b := e.box(1 << 10)
		b.Push(note(0, 0, 0), true, false)
		b.Push(note(0, 1, 0), false, false)
		settle()
		flush(b)
		settle()
		s := e.socket()
		b.AttachSocket(s)
		settle()
		assert.Equal(t, []string{"0/0/", "0/1/"}, received(t, s))
		requireNothingPending(t, b)

		b = e.box(1 << 10)
		b.Push(note(0, 0, 0), true, false)
		settle()
		f := e.fetcher(false)
		b.AttachFetcher(f)
		r := fetching(b, f)
		<-r.done
		assert.Equal(t, []string{"0/0/"}, messages(t, r.out))
		r.out.Done(true)
	})
}

// change is a way to put another link under a box. It returns what the link has got, in the end.
type change struct {
	name   string
	attach func(t *testing.T, e *env, b *testBox) (got func() []string)
}

var changes = []change{
	{"to a socket", func(t *testing.T, e *env, b *testBox) func() []string {
		s := e.socket()
		require.True(t, b.AttachSocket(s))
		return func() []string { return received(t, s) }
	}},
	{"to a socket that blocks", func(t *testing.T, e *env, b *testBox) func() []string {
		s := e.socket(linktest.Blocking)
		require.True(t, b.AttachSocket(s))
		return func() []string { return received(t, s) }
	}},
	{"to polls", fetchesAll(true)},
	{"to a stream", fetchesAll(false)},
}

func fetchesAll(polls bool) func(t *testing.T, e *env, b *testBox) func() []string {
	return func(t *testing.T, e *env, b *testBox) func() []string {
		f := e.fetcher(polls)
		require.True(t, b.AttachFetcher(f))
		var got []string
		over := background(func() {
			for {
				out, err := b.Take(f.Context())
				if err != nil {
					return
				}
				got = append(got, messages(t, out)...)
				out.Done(true)
			}
		})
		return func() []string {
			f.Cut()
			<-over
			return got
		}
	}
}

// swaps runs a test for each kind of link that takes the place of another one.
func swaps(t *testing.T, f func(t *testing.T, e *env, attach func(b *testBox) (got func() []string))) {
	for _, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				f(t, e, func(b *testBox) func() []string { return c.attach(t, e, b) })
			})
		})
	}
}

// Nothing is lost, or sent twice, if the former link was idle.
func TestSwapOfAnIdleLink(t *testing.T) {
	swaps(t, func(t *testing.T, e *env, attach func(*testBox) func() []string) {
		b, old := e.boxOver(1 << 10)
		b.Push(note(0, 0, 0), true, false)
		settle()
		b.Reply(text(0, 1, 0), false) // which nobody has scheduled
		got := attach(b)
		old.Cut()
		settle()
		b.Push(note(0, 2, 0), true, false)
		settle()
		b.Push(note(0, 3, 0), false, false)
		settle()
		assert.Equal(t, []string{"0/1/", "0/2/", "0/3/"}, got())
		assert.Equal(t, []string{"0/0/"}, received(t, old))
		requireNothingPending(t, b)
		_, broken, over := b.told.counts()
		assert.Zero(t, broken+over)
	})
}

// An entry that a list of the flusher holds for the former link serves the next one.
func TestSwapOfALinkThatWaitsForTheFlusher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, fanout := range []bool{false, true} {
			e := newEnv(t)
			b, old := e.boxOver(1 << 10)
			b.Push(note(0, 0, 0), fanout, false)
			between := e.fetcher(false)
			require.True(t, b.AttachFetcher(between))
			next := e.socket()
			require.True(t, b.AttachSocket(next))
			old.Cut()
			between.Cut()
			runUntilIdle(e.flusher)
			assert.Empty(t, received(t, old))
			assert.Equal(t, []string{"0/0/"}, received(t, next))
			assert.Equal(t, idle, b.state)
			requireNothingPending(t, b)
		}
	})
}

// What a drainer has taken for the former link is lost. Nothing else is, and nothing of it is written to the next link.
func TestSwapOfAFullSocket(t *testing.T) {
	for _, cutFirst := range []bool{true, false} {
		for _, taken := range []int{0, 3, 100} {
			swaps(t, func(t *testing.T, e *env, attach func(*testBox) func() []string) {
				b, old := e.boxOver(1000, room(taken))
				b.Push(note(0, 0, charged(600)), true, false)
				settle()
				require.Equal(t, 1, e.drainers.Get())
				require.True(t, b.isPeerTurn())
				b.PushPong(pong("lost"))
				b.Push(note(0, 1, 0), true, false)
				b.Reply(text(0, 2, 0), false)
				got := attach(b)
				if cutFirst {
					old.Cut()
				}
				settle()
				b.Push(note(0, 3, 0), true, false)
				settle()
				if !cutFirst {
					old.Drain(-1)
				}
				settle()
				b.Push(note(0, 4, 0), true, false)
				settle()
				assert.Equal(t, []string{"0/1/", "0/2/", "0/3/", "0/4/"}, got())
				assert.LessOrEqual(t, len(numbersOfPart(t, old)), 1)
				requireNothingPending(t, b)
				assert.Zero(t, e.drainers.Get())
				_, broken, over := b.told.counts()
				assert.Zero(t, broken+over, "the end of the former link is not the end of the box")
				assert.False(t, b.IsOver())
			})
		}
	}
}

// numbersOfPart returns the numbers of sender 0 on a link that may have ended in the middle of a frame.
func numbersOfPart(t require.TestingT, s *linktest.Socket) []int {
	all, _ := receivedInPart(t, s)
	var messages []string
	for _, message := range all {
		if message[0] == '0' {
			messages = append(messages, message)
		}
	}
	return numbers(t, messages)[0]
}

// The link changes while the flusher is about to write to the former one.
func TestSwapDuringAWrite(t *testing.T) {
	for name, change := range map[string]func(*linktest.Socket){"takes all": room(-1), "takes a part": room(3), "blocks": linktest.Blocking} {
		for _, cut := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, e *env) {
					b, next := e.box(1<<10), e.socket()
					old := e.socket(change)
					once := false
					old.Before = func() {
						if once {
							return
						}
						once = true
						b.Push(note(0, 2, 0), true, false)
						assert.True(t, b.AttachSocket(next))
						if cut {
							old.Cut()
						}
						b.Push(note(0, 3, 0), true, false)
					}
					b.Reply(text(0, 0, 0), false)
					b.Reply(text(0, 1, 0), false)
					b.AttachSocket(old)
					settle()
					assert.Equal(t, []int{2, 3}, numbersOf(t, next, 0))
					old.Drain(-1)
					settle()
					if cut {
						assert.Empty(t, old.Wire())
					} else {
						assert.Equal(t, []int{0, 1}, numbersOf(t, old, 0))
					}
					requireNothingPending(t, b)
					assert.Equal(t, idle, b.state)
					_, broken, _ := b.told.counts()
					assert.Zero(t, broken)
				})
			})
		}
	}
}

// A socket that panics, or breaks, after it has been replaced is nobody's concern.
func TestTheEndOfAFormerSocket(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, old := e.boxOver(1<<10, linktest.Full)
		b.Push(note(0, 0, 0), true, false)
		settle()
		next := e.socket()
		b.AttachSocket(next)
		old.Break(errors.New("broken"))
		settle()
		b.Push(note(0, 1, 0), true, false)
		settle()
		assert.Equal(t, []string{"0/1/"}, received(t, next))

		third := e.socket()
		released := make(chan struct{})
		waits := &panicsLater{e.socket(linktest.Blocking), released}
		b.AttachSocket(waits)
		b.Push(note(0, 2, 0), true, false)
		settle()
		b.AttachSocket(third)
		close(released)
		settle()
		b.Push(note(0, 3, 0), true, false)
		settle()
		assert.Equal(t, []string{"0/3/"}, received(t, third))
		assert.Len(t, e.log.take(), 1)
		_, broken, over := b.told.counts()
		assert.Zero(t, broken+over)
		requireNothingPending(t, b)
	})
}

// Whether a former socket is full says nothing about the present one.
func TestADrainerOfAFormerSocket(t *testing.T) {
	for _, change := range []func(*linktest.Socket){room(0), func(s *linktest.Socket) { s.Room, s.BlocksOnly = 0, true }} {
		inBubble(t, func(t *testing.T, e *env) {
			b, old := e.boxOver(1000, change)
			b.Push(note(0, 0, charged(900)), true, true)
			settle()
			require.True(t, b.isPeerTurn())
			next := e.socket()
			b.AttachSocket(next)
			old.Drain(1)
			settle()
			assert.False(t, b.isPeerTurn(), "the drainer waits again")
			assert.Equal(t, HoldTime, b.holdLeftNow())
			fill(next)
			b.Push(note(0, 1, 0), true, true)
			settle()
			require.True(t, b.isPeerTurn())
			old.Drain(1)
			settle()
			assert.True(t, b.isPeerTurn(), "the drainer has written something")
			old.Drain(-1)
			settle()
			assert.True(t, b.isPeerTurn(), "the drainer has ended")
			next.Drain(-1)
			settle()
			assert.False(t, b.isPeerTurn())
			requireNothingPending(t, b)
		})
	}
}

// panicsLater is a socket that panics when it is let.
type panicsLater struct {
	*linktest.Socket
	released chan struct{}
}

func (p *panicsLater) Write([]byte) (int, error) {
	<-p.released
	panic("on purpose")
}

// A sealed box keeps its link.
func TestASealedBoxRefusesASwap(t *testing.T) {
	ends := map[string]func(b *testBox, s *linktest.Socket){
		"sealed":     func(b *testBox, _ *linktest.Socket) { b.Seal(answer(0, 1, 0)) },
		"abandoned":  func(b *testBox, _ *linktest.Socket) { b.Abandon() },
		"overflowed": func(b *testBox, _ *linktest.Socket) { b.Push(note(0, 1, 1<<20), true, false) },
		"broken":     func(_ *testBox, s *linktest.Socket) { s.Break(errors.New("broken")) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				b, s := e.boxOver(1<<10, linktest.Full)
				b.Push(note(0, 0, 0), true, false)
				settle()
				end(b, s)
				settle()
				next := e.socket()
				assert.False(t, b.AttachSocket(next))
				assert.False(t, b.AttachFetcher(e.fetcher(true)))
				assert.Equal(t, Socket, b.Kind())
				s.Drain(-1)
				settle()
				assert.False(t, b.AttachSocket(next))
				assert.Empty(t, next.Wire())
				assert.Equal(t, name != "abandoned", s.IsFinished())
			})
		})
	}
}

// Whoever empties a sealed box ends its last link, and no former one.
func TestSealBehindASwap(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, old := e.boxOver(1<<10, linktest.Full)
		b.Push(note(0, 0, 0), true, false)
		settle()
		next := e.socket(room(3))
		b.AttachSocket(next)
		b.Push(note(0, 1, 0), true, false)
		b.Seal(answer(0, 2, 0))
		settle()
		old.Drain(-1)
		settle()
		_, _, over := b.told.counts()
		assert.Zero(t, over)
		next.Drain(-1)
		settle()
		assert.Equal(t, []string{"0/1/", "0/2/", "close 1000"}, received(t, next))
		assert.Equal(t, []string{"0/0/"}, received(t, old))
		assert.True(t, next.IsFinished())
		assert.False(t, old.IsFinished())
		_, _, over = b.told.counts()
		assert.Equal(t, 1, over)
		requireNothingPending(t, b)
	})
}

// A message that is withheld stays so.
func TestSwapOfALinkWhoseFirstMessageIsWithheld(t *testing.T) {
	swaps(t, func(t *testing.T, e *env, attach func(*testBox) func() []string) {
		b, old := e.boxOver(1 << 10)
		b.Withhold(answer(0, 0, 0))
		b.Push(note(0, 1, 0), true, false)
		got := attach(b)
		settle()
		b.Push(note(0, 2, 0), true, false)
		settle()
		bytes, _ := b.Pending()
		assert.Equal(t, answer(0, 0, 0).charge()*3, bytes)
		b.Release()
		settle()
		requireNothingPending(t, b)
		assert.Equal(t, upTo(3), numbers(t, got())[0])
		assert.Empty(t, old.Wire())
	})
}
