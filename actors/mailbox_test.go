package actors

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// letter is a message of ours, to a mailbox that belongs to nobody.
type letter struct {
	n       int
	refused *int
}

func (l *letter) refuse() { *l.refused++ }

// stage is a mailbox with an invoker that notes what it gets, and a dispatcher that runs when it is told to.
type stage struct {
	mailbox
	got     []any
	on      func(message any)
	queued  []func()
	refused int
	w       *world
}

func newStage(w *world) *stage {
	s := &stage{w: w}
	s.owner = &Connection{hub: &Hub{sys: &System{actors: w.sys.actors, log: w.sys.log, dispatcher: s}}, pid: actor.NewPID("nonhost", "nobody")}
	s.RegisterHandlers(s, s)
	s.Start()
	return s
}

func (s *stage) InvokeUserMessage(message any) {
	s.got = append(s.got, message)
	if s.on != nil {
		s.on(message)
	}
}

func (s *stage) InvokeSystemMessage(message any) { s.InvokeUserMessage(message) }

// EscalateFailure does what protoactor does: it suspends, and the supervisor resumes.
func (s *stage) EscalateFailure(any, any) { s.PostSystemMessage(&actor.SuspendMailbox{}) }

func (s *stage) Throughput() int    { return 300 }
func (s *stage) Schedule(fn func()) { s.queued = append(s.queued, fn) }

// run runs what has been scheduled, and what that schedules.
func (s *stage) run() {
	for len(s.queued) > 0 {
		fn := s.queued[0]
		s.queued = s.queued[1:]
		fn()
	}
}

func (s *stage) letter(n int) *letter { return &letter{n, &s.refused} }

func (s *stage) numbers() []int {
	numbers := []int{}
	for _, message := range s.got {
		switch m := message.(type) {
		case *letter:
			numbers = append(numbers, m.n)
		case int:
			numbers = append(numbers, m)
		}
	}
	return numbers
}

// The mailbox against a plain queue, with messages of ours and of others, run in part or whole.
func TestMailboxModel(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.property(func(t *rapid.T) {
			s := newStage(w)
			want := []int{}
			next, foreign, waiting, refusedAll := 0, 0, 0, 0
			closed := false
			letters := w.lost()
			dead := 0
			t.Repeat(map[string]func(*rapid.T){
				"": func(t *rapid.T) {
					require.LessOrEqual(t, len(s.queued), 1, "one at a time runs a mailbox")
					require.Equal(t, waiting, s.UserMessageCount())
					require.Equal(t, refusedAll, s.refused)
					require.Equal(t, letters+dead, w.lost())
				},
				"own": func(t *rapid.T) {
					for range rapid.IntRange(1, 200).Draw(t, "messages") {
						s.PostUserMessage(s.letter(next))
						if closed {
							refusedAll++
						} else {
							want = append(want, next)
							waiting++
						}
						next++
					}
				},
				"foreign": func(t *rapid.T) {
					for range rapid.SampledFrom([]int{1, 3, 700}).Draw(t, "messages") {
						s.PostUserMessage(next)
						if closed || foreign == maxForeign {
							dead++
						} else {
							want = append(want, next)
							waiting, foreign = waiting+1, foreign+1
						}
						next++
					}
				},
				"run": func(*rapid.T) {
					s.run()
					waiting, foreign = 0, 0
				},
				"trim": func(*rapid.T) {
					s.trim()
					if waiting == 0 {
						require.Nil(t, s.ring, "an empty mailbox keeps no memory")
					}
				},
				"close": func(t *rapid.T) {
					if rapid.IntRange(0, 9).Draw(t, "dice") > 0 {
						return // seldom
					}
					if !closed {
						for _, n := range want[len(want)-waiting:] {
							if slices.ContainsFunc(s.ring, func(m any) bool { return m == n }) {
								dead++
							} else {
								refusedAll++
							}
						}
						want = want[:len(want)-waiting]
						waiting, foreign = 0, 0
					}
					closed = true
					s.close()
				},
			})
			s.run()
			require.Equal(t, want, s.numbers())
			require.Empty(t, s.queued)
		})
	})
}

func TestForeignMessagesAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := newStage(w)
		for i := range maxForeign + 5 {
			s.PostUserMessage(i)
		}
		for i := range 10 {
			s.PostUserMessage(s.letter(i))
		}
		assert.Equal(t, []any{maxForeign, maxForeign + 1, maxForeign + 2, maxForeign + 3, maxForeign + 4}, w.letters())
		assert.Zero(t, s.refused, "messages of ours are not bounded")
		s.run()
		s.PostUserMessage(0)
		assert.Len(t, w.letters(), 5, "there is room again")
	})
}

// The real thing: a connection that is busy, and its PID.
func TestForeignMessagesToAConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open("a", "")
		c.conn.mailbox.mu.Lock()
		c.conn.mailbox.running = true // nobody runs it
		c.conn.mailbox.mu.Unlock()
		for i := range maxForeign + 1 {
			w.tell(c.conn.PID(), i)
		}
		assert.Equal(t, []any{maxForeign}, w.letters())
		c.conn.mailbox.process()
		c.say(call("1", "echo"))
		w.settle()
		assert.Equal(t, []string{result("1", "[]")}, c.got(), "what it does not know, it ignores")
	})
}

func TestTheReaderRunsAnIdleMailbox(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := newStage(w)
		s.postInline(s.letter(0))
		assert.Equal(t, []int{0}, s.numbers())
		assert.Empty(t, s.queued)

		s.PostUserMessage(s.letter(1)) // the dispatcher has it, and has not begun
		s.postInline(s.letter(2))
		assert.Equal(t, []int{0}, s.numbers(), "only if it is idle")
		s.run()
		assert.Equal(t, []int{0, 1, 2}, s.numbers())
	})
}

func TestTheReaderDoesNotRunForOthersForEver(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := newStage(w)
		s.on = func(message any) { // each message brings another one
			if m, ok := message.(*letter); ok && m.n < 1000 {
				s.PostUserMessage(s.letter(m.n + 1))
			}
		}
		s.postInline(s.letter(0))
		assert.Len(t, s.got, 1+inlineExtra)
		assert.Len(t, s.queued, 1, "the rest is the dispatcher's")
		s.run()
		assert.Len(t, s.got, 1001)
	})
}

// A panic loses its message. The actor is told that it has been resumed, before anything else.
func TestAPanicLosesItsMessage(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		for _, inline := range []bool{false, true} {
			s := newStage(w)
			s.on = func(message any) {
				if m, ok := message.(*letter); ok && m.n == 1 {
					panic("one")
				}
			}
			s.PostUserMessage(s.letter(0))
			if inline {
				s.run()
				s.postInline(s.letter(1))
			} else {
				s.PostUserMessage(s.letter(1))
			}
			s.PostUserMessage(s.letter(2))
			s.PostUserMessage(3)
			s.run()
			assert.Equal(t, []int{0, 1}, s.numbers(), "it waits for its supervisor")
			s.PostSystemMessage("system")
			s.run()
			assert.Equal(t, "system", s.got[2], "what protoactor says is heard meanwhile")
			s.PostSystemMessage(&actor.ResumeMailbox{})
			s.run()
			assert.IsType(t, &resumed{}, s.got[3])
			assert.Equal(t, []int{0, 1, 2, 3}, s.numbers())
		}
		assert.Len(t, w.log.errors, 2)
	})
}

func TestSystemMessagesGoFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := newStage(w)
		s.PostUserMessage(s.letter(0))
		s.PostSystemMessage("a")
		s.PostSystemMessage("b")
		s.run()
		assert.Equal(t, []any{"a", "b"}, s.got[:2])
	})
}

// A reader may be there before the actor is. Nothing is handled before Started, on which the actor learns its address.
func TestNothingRunsBeforeStarted(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s := &stage{w: w}
		s.owner = &Connection{hub: &Hub{sys: &System{dispatcher: s}}}
		s.PostUserMessage(s.letter(0))
		s.RegisterHandlers(s, s)
		s.postInline(s.letter(1)) // while protoactor is between the two
		s.PostSystemMessage(&actor.Started{})
		s.Start()
		s.run()
		require.Len(t, s.got, 3)
		assert.IsType(t, &actor.Started{}, s.got[0])
		assert.Equal(t, []int{0, 1}, s.numbers())
	})
}

func TestManyPostersAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		const posters, each = 8, 2000
		s := &stage{w: w}
		s.owner = &Connection{hub: &Hub{sys: w.sys}}
		s.RegisterHandlers(s, nil)
		s.Start()
		var all sync.WaitGroup
		var refused int
		for p := range posters {
			all.Go(func() {
				for i := range each {
					m := &letter{p*each + i, &refused}
					if p == 0 {
						s.postInline(m)
					} else {
						s.PostUserMessage(m)
					}
				}
			})
		}
		all.Wait()
		w.settle()
		last := map[int]int{}
		for _, n := range s.numbers() {
			require.Equal(t, last[n/each], n%each, fmt.Sprint("poster ", n/each))
			last[n/each]++
		}
		assert.Len(t, s.got, posters*each)
	})
}
