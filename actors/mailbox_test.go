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

// testMessage is a message of this package, as opposed to a foreign one.
type testMessage struct {
	n       int
	refused *int
}

func (l *testMessage) refuse() { *l.refused++ }

// testMailbox is a mailbox whose invoker records the messages, and whose dispatcher runs only in runScheduled.
type testMailbox struct {
	mailbox
	received  []any
	onMessage func(message any)
	scheduled []func()
	refused   int
	env       *env
}

func newTestMailbox(e *env) *testMailbox {
	mb := &testMailbox{env: e}
	mb.owner = &Connection{
		hub: &Hub{sys: &System{actorSystem: e.sys.actorSystem, log: e.sys.log, dispatcher: mb}},
		pid: actor.NewPID("nonhost", "nobody"),
	}
	mb.RegisterHandlers(mb, mb)
	mb.Start()
	return mb
}

func (mb *testMailbox) InvokeUserMessage(message any) {
	mb.received = append(mb.received, message)
	if mb.onMessage != nil {
		mb.onMessage(message)
	}
}

func (mb *testMailbox) InvokeSystemMessage(message any) { mb.InvokeUserMessage(message) }

// EscalateFailure suspends the mailbox, as protoactor does. The test resumes it in place of the supervisor.
func (mb *testMailbox) EscalateFailure(any, any) { mb.PostSystemMessage(&actor.SuspendMailbox{}) }

func (mb *testMailbox) Throughput() int    { return 300 }
func (mb *testMailbox) Schedule(fn func()) { mb.scheduled = append(mb.scheduled, fn) }

// runScheduled runs all scheduled functions, including those scheduled meanwhile.
func (mb *testMailbox) runScheduled() {
	for len(mb.scheduled) > 0 {
		fn := mb.scheduled[0]
		mb.scheduled = mb.scheduled[1:]
		fn()
	}
}

func (mb *testMailbox) message(n int) *testMessage { return &testMessage{n, &mb.refused} }

func (mb *testMailbox) numbers() []int {
	numbers := []int{}
	for _, message := range mb.received {
		switch m := message.(type) {
		case *testMessage:
			numbers = append(numbers, m.n)
		case int:
			numbers = append(numbers, m)
		}
	}
	return numbers
}

// Checks the mailbox against a queue, with messages of this package and foreign ones, and partial runs.
func TestMailboxModel(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.checkProperty(func(t *rapid.T) {
			mb := newTestMailbox(e)
			want := []int{}
			next, foreign, waiting, refusedAll := 0, 0, 0, 0
			closed := false
			deadBefore := e.deadLetterCount()
			dead := 0
			t.Repeat(map[string]func(*rapid.T){
				"": func(t *rapid.T) {
					require.LessOrEqual(t, len(mb.scheduled), 1, "a mailbox is scheduled at most once")
					require.Equal(t, waiting, mb.UserMessageCount())
					require.Equal(t, refusedAll, mb.refused)
					require.Equal(t, deadBefore+dead, e.deadLetterCount())
				},
				"own": func(t *rapid.T) {
					for range rapid.IntRange(1, 200).Draw(t, "messages") {
						mb.PostUserMessage(mb.message(next))
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
						mb.PostUserMessage(next)
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
					mb.runScheduled()
					waiting, foreign = 0, 0
				},
				"trim": func(*rapid.T) {
					mb.trim()
					if waiting == 0 {
						require.Nil(t, mb.ring, "an empty mailbox keeps no memory")
					}
				},
				"close": func(t *rapid.T) {
					if rapid.IntRange(0, 9).Draw(t, "dice") > 0 {
						return // close only in one of ten steps
					}
					if !closed {
						for _, n := range want[len(want)-waiting:] {
							if slices.ContainsFunc(mb.ring, func(m any) bool { return m == n }) {
								dead++
							} else {
								refusedAll++
							}
						}
						want = want[:len(want)-waiting]
						waiting, foreign = 0, 0
					}
					closed = true
					mb.close()
				},
			})
			mb.runScheduled()
			require.Equal(t, want, mb.numbers())
			require.Empty(t, mb.scheduled)
		})
	})
}

func TestForeignMessagesAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		mb := newTestMailbox(e)
		for i := range maxForeign + 5 {
			mb.PostUserMessage(i)
		}
		for i := range 10 {
			mb.PostUserMessage(mb.message(i))
		}
		assert.Equal(t, []any{maxForeign, maxForeign + 1, maxForeign + 2, maxForeign + 3, maxForeign + 4}, e.deadLetters())
		assert.Zero(t, mb.refused, "messages of this package are not bounded")
		mb.runScheduled()
		mb.PostUserMessage(0)
		assert.Len(t, e.deadLetters(), 5, "there is room again")
	})
}

// The same with the mailbox of a real connection, by its PID.
func TestForeignMessagesToConnectionAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "")
		c.conn.mailbox.mu.Lock()
		c.conn.mailbox.running = true // keeps the mailbox from being run
		c.conn.mailbox.mu.Unlock()
		for i := range maxForeign + 1 {
			e.tell(c.conn.PID(), i)
		}
		assert.Equal(t, []any{maxForeign}, e.deadLetters())
		c.conn.mailbox.process()
		c.send(call("1", "echo"))
		e.settle()
		assert.Equal(t, []string{result("1", "[]")}, c.messages(), "unknown messages are ignored")
	})
}

func TestReaderRunsIdleMailboxInline(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		mb := newTestMailbox(e)
		mb.postInline(mb.message(0))
		assert.Equal(t, []int{0}, mb.numbers())
		assert.Empty(t, mb.scheduled)

		mb.PostUserMessage(mb.message(1)) // scheduled with the dispatcher, but not running yet
		mb.postInline(mb.message(2))
		assert.Equal(t, []int{0}, mb.numbers(), "only if it is idle")
		mb.runScheduled()
		assert.Equal(t, []int{0, 1, 2}, mb.numbers())
	})
}

func TestReaderRunsLimitedNumberOfMessages(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		mb := newTestMailbox(e)
		mb.onMessage = func(message any) { // each message posts another one
			if m, ok := message.(*testMessage); ok && m.n < 1000 {
				mb.PostUserMessage(mb.message(m.n + 1))
			}
		}
		mb.postInline(mb.message(0))
		assert.Len(t, mb.received, 1+inlineExtra)
		assert.Len(t, mb.scheduled, 1, "the rest is left to the dispatcher")
		mb.runScheduled()
		assert.Len(t, mb.received, 1001)
	})
}

// The message that causes a panic is lost. After the mailbox was resumed, the actor first receives resumed.
func TestPanicLosesOnlyItsMessage(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		for _, inline := range []bool{false, true} {
			mb := newTestMailbox(e)
			mb.onMessage = func(message any) {
				if m, ok := message.(*testMessage); ok && m.n == 1 {
					panic("one")
				}
			}
			mb.PostUserMessage(mb.message(0))
			if inline {
				mb.runScheduled()
				mb.postInline(mb.message(1))
			} else {
				mb.PostUserMessage(mb.message(1))
			}
			mb.PostUserMessage(mb.message(2))
			mb.PostUserMessage(3)
			mb.runScheduled()
			assert.Equal(t, []int{0, 1}, mb.numbers(), "it waits for its supervisor")
			mb.PostSystemMessage("system")
			mb.runScheduled()
			assert.Equal(t, "system", mb.received[2], "system messages are handled meanwhile")
			mb.PostSystemMessage(&actor.ResumeMailbox{})
			mb.runScheduled()
			assert.IsType(t, &resumed{}, mb.received[3])
			assert.Equal(t, []int{0, 1, 2, 3}, mb.numbers())
		}
		assert.Len(t, e.log.errors, 2)
	})
}

func TestSystemMessagesAreHandledFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		mb := newTestMailbox(e)
		mb.PostUserMessage(mb.message(0))
		mb.PostSystemMessage("a")
		mb.PostSystemMessage("b")
		mb.runScheduled()
		assert.Equal(t, []any{"a", "b"}, mb.received[:2])
	})
}

// The reader may post messages before the actor runs. None is handled before Started, with which the actor learns its PID.
func TestNothingRunsBeforeStarted(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		mb := &testMailbox{env: e}
		mb.owner = &Connection{hub: &Hub{sys: &System{dispatcher: mb}}}
		mb.PostUserMessage(mb.message(0))
		mb.RegisterHandlers(mb, mb)
		mb.postInline(mb.message(1)) // between RegisterHandlers and Start
		mb.PostSystemMessage(&actor.Started{})
		mb.Start()
		mb.runScheduled()
		require.Len(t, mb.received, 3)
		assert.IsType(t, &actor.Started{}, mb.received[0])
		assert.Equal(t, []int{0, 1}, mb.numbers())
	})
}

func TestConcurrentPosters(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		const posters, each = 8, 2000
		mb := &testMailbox{env: e}
		mb.owner = &Connection{hub: &Hub{sys: e.sys}}
		mb.RegisterHandlers(mb, nil)
		mb.Start()
		var all sync.WaitGroup
		var refused int
		for p := range posters {
			all.Go(func() {
				for i := range each {
					m := &testMessage{p*each + i, &refused}
					if p == 0 {
						mb.postInline(m)
					} else {
						mb.PostUserMessage(m)
					}
				}
			})
		}
		all.Wait()
		e.settle()
		last := map[int]int{}
		for _, n := range mb.numbers() {
			require.Equal(t, last[n/each], n%each, fmt.Sprint("poster ", n/each))
			last[n/each]++
		}
		assert.Len(t, mb.received, posters*each)
	})
}
