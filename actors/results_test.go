package actors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/internal/linktest"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// asked is the outcome of a call of a client's method.
type asked struct {
	over  chan struct{}
	value string
	err   error
}

func (a *asked) done() bool {
	select {
	case <-a.over:
		return true
	default:
		return false
	}
}

// ask asks on a goroutine of its own.
func (w *world) ask(ctx context.Context, to *Audience, args ...any) *asked {
	a := &asked{over: make(chan struct{})}
	go func() {
		defer close(a.over)
		a.value, a.err = w.askFor(ctx, to, args...)
	}()
	if w.bubble {
		w.settle()
	}
	return a
}

func (w *world) askFor(ctx context.Context, to *Audience, args ...any) (value string, err error) {
	err = w.hub.Ask(ctx, to, "question", args, func(_ hubproto.Protocol, b []byte) error {
		value = string(b)
		if value == `"misfit"` {
			return errors.New("misfit")
		}
		return nil
	})
	return value, err
}

func the(id string) *Audience { return &Audience{Kind: Connections, Names: []string{id}} }

// question is what a client gets.
func question(id string) string {
	return fmt.Sprintf(`{"type":1,"invocationId":%q,"target":"question","arguments":[]}`, id)
}

// asking adds a method that asks its own client and returns the answer.
func (w *world) asking() {
	w.handler.methods["ask"] = func(k *Call, _ string) (any, error) {
		value, err := w.askFor(k, &Audience{Kind: Caller, Conn: k.Connection()})
		return json.RawMessage(value), err
	}
}

// unasked checks that nobody waits for clients.
func (w *world) unasked(t require.TestingT) {
	w.hub.results.mu.Lock()
	defer w.hub.results.mu.Unlock()
	require.Empty(t, w.hub.results.waiting)
}

func TestAnswers(t *testing.T) {
	tests := map[string]struct {
		answer string
		value  string
		err    error
	}{
		"value":      {result("s1", `{"a":[1]}`), `{"a":[1]}`, nil},
		"null":       {result("s1", "null"), "null", nil},
		"error":      {failure("s1", "no"), "", &ClientError{Text: "no"}},
		"no text":    {failure("s1", ""), "", &ClientError{}},
		"no result":  {over("s1"), "", ErrNoResult},
		"misfit":     {result("s1", `"misfit"`), `"misfit"`, errors.New("misfit")},
		"in a batch": {ping + "\x1e" + result("s1", "1") + "\x1e" + ping, "1", nil},
	}
	for name, test := range tests {
		for _, from := range []string{"outside", "a call"} {
			t.Run(name+"/"+from, func(t *testing.T) {
				inBubble(t, func(t *testing.T, w *world) {
					c := w.open("a", "")
					var a *asked
					if from == "outside" {
						a = w.ask(t.Context(), the("a"))
					} else {
						w.handler.methods["ask"] = func(k *Call, _ string) (any, error) {
							a = &asked{over: make(chan struct{})}
							defer close(a.over)
							a.value, a.err = w.askFor(k, &Audience{Kind: Caller, Conn: c.conn})
							return "asked", nil
						}
						c.say(call("1", "ask"))
						w.settle()
					}
					require.Equal(t, []string{question("s1")}, c.got())
					require.False(t, a.done())
					c.say(test.answer)
					w.settle()
					require.True(t, a.done())
					assert.Equal(t, test.value, a.value)
					assert.Equal(t, test.err, a.err)
					c.say(test.answer) // once more: it is nobody's
					c.say(call("2", "echo"))
					w.settle()
					assert.Contains(t, c.got(), result("2", "[]"))
					w.unasked(t)
					c.clean(t)
				})
			})
		}
	}
}

// A bind that panics does so where it was asked for, and nothing is left.
func TestAnAnswerThatCannotBeBound(t *testing.T) {
	for name, fail := range map[string]func(){"panic": func() { panic("oh") }, "goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.handler.methods["ask"] = func(k *Call, _ string) (any, error) {
					return nil, w.hub.Ask(k, the("a"), "question", nil, func(hubproto.Protocol, []byte) error { fail(); return nil })
				}
				c := w.open("a", "")
				c.say(call("1", "ask"), call("2", "echo"))
				w.pass(soon)
				c.say(result("s1", "1"))
				w.pass(soon)
				assert.Len(t, c.got(), 3)
				w.unasked(t)
				c.clean(t)
			})
		})
	}
}

// Arguments that cannot be encoded are an error, before anybody waits.
func TestQuestionsThatCannotBeEncoded(t *testing.T) {
	for name, arg := range map[string]any{"panic": encoded(func() { panic("oh") }), "error": func() {}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				c := w.open("a", "")
				a := w.ask(t.Context(), the("a"), arg)
				require.True(t, a.done())
				assert.ErrorContains(t, a.err, `hubsys: the arguments of "question" cannot be encoded`)
				w.handler.methods["ask"] = func(k *Call, _ string) (any, error) { return w.askFor(k, the("a"), arg) }
				c.say(call("1", "ask"), call("2", "echo"))
				w.settle()
				assert.Len(t, c.got(), 2)
				w.unasked(t)
				c.clean(t)
			})
		})
	}
}

func TestAQuestionWhoseMarshalerExits(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open("a", "")
		a := w.ask(t.Context(), the("a"), encoded(runtime.Goexit))
		require.True(t, a.done())
		w.unasked(t)
		c.clean(t)
	})
}

type encoded func()

func (m encoded) MarshalJSON() ([]byte, error) { m(); return []byte("null"), nil }

func TestConnectionsThatCannotBeAsked(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		_, err := w.askFor(t.Context(), the("nobody"))
		assert.Equal(t, &goneError{id: "nobody"}, err)
		assert.EqualError(t, err, "Connection 'nobody' does not exist.")

		c := w.open("a", "")
		other, err := w.sys.NewHub("other", w.handler, w.hub.protocols)
		require.NoError(t, err)
		err = other.Ask(t.Context(), the("a"), "question", nil, nil)
		assert.Equal(t, &goneError{id: "a"}, err, "it is a connection of another hub")
		assert.Empty(t, c.got())

		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("before"))
		_, err = w.askFor(ctx, the("a"))
		assert.ErrorIs(t, err, ErrUnanswered)
		assert.EqualError(t, err, "Invocation canceled by the server. (before)")
		assert.Empty(t, c.got())

		c.conn.Abort()
		_, err = w.askFor(t.Context(), &Audience{Kind: Caller, Conn: c.conn})
		assert.Equal(t, &goneError{id: "a", existed: true}, err)
		assert.EqualError(t, err, "Connection 'a' disconnected.")
		w.settle()
		_, err = w.askFor(t.Context(), the("a"))
		assert.Equal(t, &goneError{id: "a"}, err)

		require.NoError(t, w.shutdown())
		_, err = w.askFor(t.Context(), the("a"))
		assert.Equal(t, ErrShutdown, err)
		w.unasked(t)
	})
}

// The same id is another question on another hub.
func TestAnAnswerToAnotherHub(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		other, err := w.sys.NewHub("other", w.handler, w.hub.protocols)
		require.NoError(t, err)
		c := w.open("a", "")
		hub := w.hub
		w.hub = other
		d := w.open("d", "")
		w.hub = hub
		a := w.ask(t.Context(), the("a"))
		d.say(result("s1", "1"), call("1", "echo"))
		w.settle()
		assert.False(t, a.done())
		assert.Equal(t, []string{result("1", "[]")}, d.got())
		c.say(result("s1", "2"))
		w.settle()
		assert.True(t, a.done())
		assert.Equal(t, "2", a.value)
	})
}

// Whoever answers for another is closed; the one that was asked still answers.
func TestAnAnswerFromAnotherConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c, d := w.open("a", ""), w.open("d", "")
		a := w.ask(t.Context(), the("a"))
		d.say(call("1", "echo"), result("s1", `"forged"`), call("2", "echo"))
		w.settle()
		const text = "Connection ID 'd' is not valid for invocation ID 's1'."
		assert.Contains(t, w.handler.noted(), "disconnected d: "+text)
		got := d.got()
		assert.Contains(t, got, `{"type":7,"error":"Connection closed with an error. Error: `+text+`","allowReconnect":true}`)
		assert.NotContains(t, got, result("2", "[]"))
		assert.False(t, a.done())
		c.say(result("s1", `"mine"`))
		w.settle()
		require.NoError(t, a.err)
		assert.Equal(t, `"mine"`, a.value)
		assert.Zero(t, d.conn.in.charged)
		d.gone(t)
		c.clean(t)
		w.unasked(t)
	})
}

// An upload has the first claim on an id.
func TestAnUploadWithTheIDOfAQuestion(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s, _ := w.taking()
		c := w.open("a", "")
		c.say(uploading("1", "take", "s1"))
		a := w.ask(t.Context(), the("a"))
		c.say(one("s1", "x"), over("s1"))
		w.settle()
		assert.False(t, a.done())
		items, _ := s.of("1/s1")
		assert.Equal(t, quoted("x"), items)
		c.say(result("s1", "2"))
		w.settle()
		assert.Equal(t, "2", a.value)
		c.clean(t)
	})
}

func TestAnAnswerThatComesTooLate(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open("a", "")
		ctx, cancel := context.WithTimeout(t.Context(), second)
		defer cancel()
		a := w.ask(ctx, the("a"))
		w.pass(second)
		require.True(t, a.done())
		assert.ErrorIs(t, a.err, ErrUnanswered)
		assert.ErrorIs(t, a.err, context.DeadlineExceeded)
		w.unasked(t)
		c.say(result("s1", "1"), call("1", "echo"))
		w.settle()
		assert.Equal(t, []string{question("s1"), result("1", "[]")}, c.got())
		c.clean(t)
	})
}

// The client cancels the call that waits for it.
func TestACallThatAsksIsCanceled(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.asking()
		c := w.open("a", "")
		c.say(call("1", "ask"))
		w.settle()
		c.say(cancel("1"))
		w.settle()
		assert.Equal(t, []string{question("s1"), failure("1", "Invocation canceled by the server. (hubsys: the client has canceled the invocation)")}, c.got())
		c.say(result("s1", "1"))
		w.settle()
		c.clean(t)
		w.unasked(t)
	})
}

// An answer that comes as the wait ends is taken, or let go: never both, never neither.
func TestAnAnswerAtTheLastMoment(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.OutboxLimit = 16 << 20
		c := w.open("a", "")
		answers := 0
		for i := range 500 {
			ctx, cancel := context.WithCancel(t.Context())
			a := w.ask(ctx, the("a"))
			go cancel()
			c.say(result("s"+strconv.Itoa(i+1), "1"))
			w.settle()
			require.True(t, a.done())
			if a.err == nil {
				answers++
			} else {
				require.ErrorIs(t, a.err, ErrUnanswered)
			}
			cancel()
		}
		t.Log(answers, "of 500 were answered")
		w.unasked(t)
		c.clean(t)
	})
}

// The same with a connection that closes.
func TestClosingWhileSomebodyWaits(t *testing.T) {
	ways := map[string]func(w *world, c *client){
		"cut":      func(_ *world, c *client) { c.socket.Cut() },
		"abort":    func(_ *world, c *client) { c.conn.Abort() },
		"close":    func(_ *world, c *client) { c.say(`{"type":7}`) },
		"garbage":  func(_ *world, c *client) { c.say("garbage") },
		"stop":     func(w *world, c *client) { w.sys.actors.Root.Stop(c.conn.PID()) },
		"broken":   func(w *world, c *client) { c.socket.Break(errCut); w.send(&Audience{}, "x") },
		"overflow": func(w *world, c *client) { c.conn.overflowed() },
		"shutdown": func(w *world, _ *client) { assert.NoError(w.t, w.shutdown()) },
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				var inside error
				w.handler.methods["ask"] = func(k *Call, _ string) (any, error) {
					_, inside = w.askFor(k, the("a"))
					return nil, inside
				}
				var elsewhere error
				w.handler.methods["ask a"] = func(k *Call, _ string) (any, error) {
					_, elsewhere = w.askFor(k, the("a"))
					return nil, nil
				}
				c, d := w.open("a", ""), w.open("d", "")
				c.say(call("1", "ask"))
				d.say(call("1", "ask a"))
				a := w.ask(t.Context(), the("a"))
				way(w, c)
				w.pass(w.settings.CloseTimeout + 2*second)
				require.True(t, a.done())
				gone := &goneError{id: "a", existed: true}
				assert.Equal(t, gone, a.err)
				assert.Equal(t, gone, inside)
				if name == "shutdown" {
					assert.Error(t, elsewhere)
				} else {
					assert.Equal(t, gone, elsewhere)
				}
				w.unasked(t)
				c.gone(t)
				assert.Zero(t, c.conn.calls.slots.taken)
				assert.Zero(t, c.conn.calls.haveLent())
			})
		})
	}
}

func TestLifetimeEventsThatAsk(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var before, after *asked
		w.handler.connected = func(k *Call) error {
			before = &asked{}
			before.value, before.err = w.askFor(k, the("a"))
			return before.err
		}
		w.handler.disconnected = func(k *Call, _ error) {
			after = &asked{}
			after.value, after.err = w.askFor(k, &Audience{Kind: Caller, Conn: k.Connection()})
			_, other := w.askFor(k, the("a"))
			after.err = errors.Join(after.err, other)
		}
		c := w.open("a", "")
		c.say(call("1", "echo"))
		w.settle()
		assert.Equal(t, []string{question("s1")}, c.got(), "calls wait for OnConnected")
		c.say(result("s1", `"yes"`))
		w.settle()
		assert.Equal(t, `"yes"`, before.value)
		assert.Equal(t, []string{question("s1"), result("1", "[]")}, c.got())
		c.clean(t)
		c.socket.Cut()
		w.settle()
		require.NotNil(t, after)
		assert.EqualError(t, after.err, "Connection 'a' disconnected.\nConnection 'a' disconnected.")
		w.unasked(t)
	})
}

// ---- slots

// The client calls the hub before it answers.
func TestACallOfTheHubBeforeTheAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.asking()
		c := w.open("a", "")
		c.say(call("1", "ask"))
		w.settle()
		c.say(call("2", "ask"))
		w.settle()
		c.say(call("3", "echo"))
		w.settle()
		assert.Equal(t, []string{question("s1"), question("s2"), result("3", "[]")}, c.got())
		assert.Equal(t, 2, c.conn.calls.haveLent())
		assert.Zero(t, c.conn.calls.slots.taken)
		c.say(result("s1", `"first"`))
		w.settle()
		c.say(result("s2", `"second"`))
		w.settle()
		assert.Equal(t, []string{result("1", `"first"`), result("2", `"second"`)}, c.got()[3:])
		c.clean(t)
	})
}

// Calls that wait already start when a slot is lent, and what was answered before does not wait for the client.
func TestALentSlotIsUsedAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.asking()
		gate, open := w.gate()
		w.handler.methods["gate"] = gate
		c := w.open("a", "")
		c.say(call("1", "echo"), call("2", "ask"), call("3", "gate"), call("4", "echo"))
		w.settle()
		assert.Equal(t, []string{result("1", "[]"), question("s1")}, c.got())
		assert.EqualValues(t, 1, c.conn.calls.slots.taken)
		c.say(result("s1", "1"))
		w.settle()
		assert.Equal(t, result("2", "1"), c.got()[2], "a call whose slot is taken goes on without it")
		w.pass(soon)
		assert.Len(t, c.got(), 3, "but its worker takes no other call")
		open()
		w.pass(soon)
		assert.Equal(t, []string{result("3", `"passed"`), result("4", "[]")}, c.got()[3:])
		c.clean(t)
	})
}

// A slot is lent once, whatever else the call asks, from however many goroutines.
func TestASlotIsLentOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.handler.methods["ask"] = func(k *Call, _ string) (any, error) {
			var all sync.WaitGroup
			for range 5 {
				all.Go(func() { _, _ = w.askFor(k, the("a")) })
			}
			all.Wait()
			_, err := w.askFor(k, the("a"))
			return nil, err
		}
		gate, open := w.gate()
		w.handler.methods["gate"] = gate
		c := w.open("a", "")
		c.say(call("1", "ask"), call("2", "gate"), call("3", "gate"))
		w.pass(soon)
		assert.Equal(t, 1, c.conn.calls.haveLent())
		assert.EqualValues(t, 1, c.conn.calls.slots.taken)
		for i := range 6 {
			c.say(result("s"+strconv.Itoa(i+1), "1"))
			w.pass(soon)
		}
		assert.Contains(t, c.got(), result("1", "null"))
		assert.EqualValues(t, 1, c.conn.calls.slots.taken)
		open()
		w.pass(soon)
		c.clean(t)
	})
}

// Whoever outlives a call, or is no call, lends nothing.
func TestWhoLendsNoSlot(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var late *asked
		w.handler.methods["leave"] = func(k *Call, _ string) (any, error) {
			ctx := context.WithoutCancel(k)
			late = &asked{over: make(chan struct{})}
			go func() {
				defer close(late.over)
				<-k.Done()
				late.value, late.err = w.askFor(ctx, the("a"))
			}()
			return nil, nil
		}
		w.asking()
		w.settings.StreamBuffer = 1
		gate, open := w.gate()
		w.handler.methods["gate"] = gate
		c := w.open("a", "")
		c.say(call("1", "leave"))
		w.settle()
		c.say(uploading("2", "ask", "s"))
		a := w.ask(t.Context(), the("a"))
		c.say(call("3", "gate"), call("4", "gate"))
		w.pass(soon)
		assert.Zero(t, c.conn.calls.haveLent())
		assert.EqualValues(t, 1, c.conn.calls.slots.taken)
		c.say(result("s1", "1"), result("s2", "2"), result("s3", "3"))
		w.pass(soon)
		assert.True(t, late.done())
		assert.True(t, a.done())
		assert.EqualValues(t, 1, c.conn.calls.slots.taken)
		open()
		w.pass(soon)
		c.clean(t)
	})
}

// A call that has lent its slot ends in whatever way: what waits goes on.
func TestEndsOfCallsThatHaveLent(t *testing.T) {
	for _, how := range []string{"ok", "panic", "goexit", "fail"} {
		for _, taken := range []bool{true, false} {
			t.Run(fmt.Sprint(how, ", slot taken: ", taken), func(t *testing.T) {
				inBubble(t, func(t *testing.T, w *world) {
					crew := newCrew(w)
					work := w.handler.methods["work"]
					w.handler.methods["ask"] = func(k *Call, args string) (any, error) {
						_, _ = w.askFor(k, the("a"))
						return work(k, args)
					}
					c := w.open("a", "")
					c.say(call("1", "ask"))
					w.settle()
					c.say(result("s1", "1"))
					w.settle()
					if taken {
						c.say(call("2", "work"), call("3", "work"), call("4", "echo"))
					}
					w.pass(soon)
					crew.end("1", how)
					w.pass(soon)
					assert.Contains(t, c.got(), completion("1", how))
					if taken {
						assert.Equal(t, []string{"1", "2"}, crew.starts())
						crew.end("2", "ok")
						w.pass(soon)
						crew.end("3", "ok")
					} else {
						c.say(call("4", "echo"))
					}
					w.pass(soon)
					assert.Contains(t, c.got(), result("4", "[]"))
					c.clean(t)
				})
			})
		}
	}
}

// What waits until the calls have ended does not wait for those that have lent their slots, and is told once.
func TestWhenIdleAndCallsThatHaveLent(t *testing.T) {
	for _, how := range []string{"ok", "goexit"} {
		t.Run(how, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				crew := newCrew(w)
				work := w.handler.methods["work"]
				w.handler.methods["ask"] = func(k *Call, args string) (any, error) {
					_, _ = w.askFor(k, the("a"))
					return work(k, args)
				}
				c := w.open("a", "")
				c.say(call("1", "ask"), call("2", "work"))
				w.pass(soon)
				idle := 0
				require.False(t, c.conn.calls.whenIdle(slotsFree, func() { idle++ }))
				assert.Zero(t, idle)
				crew.end("2", how)
				w.pass(soon)
				assert.Equal(t, 1, idle)
				c.say(result("s1", "1"))
				w.pass(soon)
				crew.end("1", how)
				w.pass(soon)
				c.say(call("3", "echo"))
				w.settle()
				assert.Equal(t, 1, idle)
				c.clean(t)

				c.say(call("4", "ask"))
				w.settle()
				require.True(t, c.conn.calls.whenIdle(slotsFree, func() { idle++ }), "the slot that is lent was the last")
				c.say(result("s2", "1"))
				w.settle()
				crew.end("4", how)
				w.pass(soon)
				assert.Equal(t, 1, idle)
				c.clean(t)
			})
		})
	}
}

// A message that cannot be read closes the connection, whoever waits for its client: nothing more is read.
func TestGarbageBehindAQuestion(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.asking()
		c := w.open("a", "")
		a := w.ask(t.Context(), the("a"))
		c.say(call("1", "ask"), call("2", "ask"))
		w.settle()
		c.say("garbage")
		w.settle()
		got := c.got()
		require.NotEmpty(t, got)
		assert.Contains(t, got[3], `{"type":7,"error":"Connection closed with an error.`)
		assert.Equal(t, &goneError{id: "a", existed: true}, a.err)
		w.pass(w.settings.CloseTimeout)
		w.unasked(t)
		c.gone(t)
	})
}

// Slots against a model: calls start in order, as many at once as there are slots that are not lent.
func TestSlotModel(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.KeepAlive = never
		n := 0
		w.property(func(t *rapid.T) {
			n++
			crew := newCrew(w)
			work := w.handler.methods["work"]
			var mu sync.Mutex
			questions := map[string]string{} // by call: the answer that it waits for
			goes := map[string]chan struct{}{}
			w.handler.methods["ask"] = func(k *Call, args string) (any, error) {
				id := string(k.ID())
				mu.Lock()
				goes[id] = make(chan struct{})
				goOn := goes[id]
				mu.Unlock()
				begin := crew.begin(id)
				crew.done()
				<-goOn
				mu.Lock()
				w.hub.results.mu.Lock()
				questions[id] = "s" + strconv.FormatUint(w.hub.results.last+1, 10)
				w.hub.results.mu.Unlock()
				mu.Unlock()
				_, _ = w.askFor(k, &Audience{Kind: Caller, Conn: k.Connection()})
				_ = begin
				return work(k, args)
			}
			limit := rapid.IntRange(1, 3).Draw(t, "limit")
			w.settings.Parallel = limit
			c := w.open(fmt.Sprint("c", n), "")
			defer c.socket.Cut()
			type job struct {
				id   string
				asks int // 0: not, 1: will, 2: waits, 3: has been answered
			}
			var alive []*job // in order of arrival
			next, ended := 0, 0
			holding := func() (held, running []*job) { // by the model
				slots := limit
				for _, j := range alive {
					switch {
					case j.asks >= 2:
						running = append(running, j)
					case slots > 0:
						slots--
						held, running = append(held, j), append(running, j)
					}
				}
				return held, running
			}
			t.Repeat(map[string]func(*rapid.T){
				"": func(t *rapid.T) {
					w.pass(soon)
					held, running := holding()
					q := &c.conn.calls
					q.mu.Lock()
					defer q.mu.Unlock()
					require.EqualValues(t, len(held), q.slots.taken)
					require.Len(t, q.running, len(running))
					for _, j := range running {
						require.True(t, slices.ContainsFunc(q.running, func(k *Call) bool { return string(k.id) == j.id }), j.id)
					}
				},
				"arrive": func(t *rapid.T) {
					var records []string
					for range rapid.IntRange(1, 4).Draw(t, "calls") {
						j := &job{id: strconv.Itoa(next)}
						next++
						target := "work"
						if rapid.Bool().Draw(t, "asks") {
							j.asks, target = 1, "ask"
						}
						alive = append(alive, j)
						records = append(records, call(j.id, target))
					}
					c.say(records...)
				},
				"ask": func(t *rapid.T) {
					held, _ := holding()
					for _, j := range held {
						if j.asks == 1 {
							j.asks = 2
							close(goes[j.id])
							return
						}
					}
				},
				"answer": func(t *rapid.T) {
					for _, j := range alive {
						if j.asks == 2 {
							j.asks = 3
							c.say(result(questions[j.id], "1"))
							return
						}
					}
				},
				"end": func(t *rapid.T) {
					_, running := holding()
					running = slices.DeleteFunc(running, func(j *job) bool { return j.asks == 1 || j.asks == 2 })
					if len(running) == 0 {
						return // nothing can end
					}
					j := rapid.SampledFrom(running).Draw(t, "call")
					crew.end(j.id, rapid.SampledFrom([]string{"ok", "panic", "goexit", "fail"}).Draw(t, "how"))
					alive = slices.DeleteFunc(alive, func(o *job) bool { return o == j })
					ended++
				},
			})
			for len(alive) > 0 {
				j := alive[0]
				alive = alive[1:]
				if j.asks == 1 {
					close(goes[j.id])
					w.settle()
				}
				if j.asks == 1 || j.asks == 2 {
					c.say(result(questions[j.id], "1"))
					w.settle()
				}
				crew.end(j.id, "ok")
				w.pass(soon)
			}
			c.clean(t)
			w.unasked(t)
		})
	})
}

// ---- the inbound budget

// An answer may lie behind what the reader waits with.
func TestAnAnswerBehindASpentBudget(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.InboundLimit = 2*charge + 100
		w.settings.Parallel = 10
		bind := w.unbound()
		c := w.open("a", "")
		c.say(call("1", "echo"))
		c.say(call("2", "echo"))
		sent := c.later(call("3", "echo"))
		require.False(t, sent())
		a := w.ask(t.Context(), the("a"))
		assert.True(t, sent(), "the reader that waits goes on")
		c.later(result("s1", "1"))
		assert.True(t, a.done())
		assert.Equal(t, "1", a.value)
		sent = c.later(call("4", "echo"))
		assert.False(t, sent(), "from then on it waits as ever")
		for range 4 {
			w.pass(soon)
			bind()
		}
		w.settle()
		assert.True(t, sent())
		assert.Len(t, c.got(), 5)
		c.clean(t)
	})
}

// It is given up when it lies behind more than twice the budget. The connection lives.
func TestAnAnswerBehindTwiceTheBudget(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.InboundLimit = 2*charge + 100
		w.settings.Parallel = 10
		bind := w.unbound()
		c := w.open("a", "")
		one, two := w.ask(t.Context(), the("a")), w.ask(t.Context(), the("a"))
		for i := range 4 {
			sent := c.later(call(strconv.Itoa(i), "echo"))
			require.True(t, sent())
		}
		require.False(t, one.done())
		sent := c.later(call("4", "echo"))
		require.False(t, sent())
		for _, a := range []*asked{one, two} {
			require.True(t, a.done())
			assert.ErrorIs(t, a.err, ErrInboundFull)
			assert.ErrorContains(t, a.err, strconv.Itoa(w.settings.InboundLimit))
		}
		w.unasked(t)
		again := w.ask(t.Context(), the("a"))
		assert.ErrorIs(t, again.err, ErrInboundFull, "nothing has changed")
		for range 5 {
			w.pass(soon)
			bind()
		}
		w.settle()
		require.True(t, sent())
		c.say(result("s1", "1"), result("s2", "1")) // too late
		again = w.ask(t.Context(), the("a"))
		c.say(result("s4", "4"))
		w.settle()
		assert.Equal(t, "4", again.value)
		c.clean(t)
	})
}

// Behind an upload that is linktest.Full, too.
func TestAnAnswerBehindAFullUpload(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s, _ := w.taking()
		w.handler.methods["ask"] = func(k *Call, args string) (any, error) {
			if _, err := w.askFor(k, the("a")); err != nil {
				return nil, err
			}
			return w.handler.methods["take"](k, args)
		}
		c := w.open("a", "")
		c.say(uploading("1", "ask", "s"))
		var want []any
		for i := range 20 {
			c.later(one("s", i))
			want = append(want, i)
		}
		c.later(result("s1", "1"))
		c.later(over("s"))
		items, _ := s.of("1/s")
		assert.Equal(t, quoted(want...), items)
		assert.Equal(t, []string{question("s1"), result("1", `"taken"`)}, c.got())
		c.clean(t)
	})
}

// An answer of any size is admitted when nothing else is charged, as every message is.
func TestAnAnswerLargerThanTheBudget(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.MaxMessage = 0
		w.settings.InboundLimit = 64 << 10
		c := w.open("a", "")
		text := `"` + strings.Repeat("x", 200<<10) + `"`
		a := w.ask(t.Context(), the("a"))
		c.later(result("s1", text))
		require.True(t, a.done())
		require.NoError(t, a.err)
		assert.Equal(t, text, a.value)
		c.clean(t)
	})
}

// An answer that was delivered before the budget was overrun is taken, and at any rate let go.
func TestAnAnswerBeforeTheBudgetIsOverrun(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.InboundLimit = 2*charge + 100
		w.settings.Parallel = 10
		failed := 0
		for i := range 20 {
			c := w.open(fmt.Sprint("c", i), "", linktest.Full)
			c.conn.out.Push(note(0, 0, w.settings.OutboxLimit*2/3), false, false)
			w.handler.bind = func(*Call) { // holds what it was given
				<-c.conn.Done()
			}
			a := w.ask(t.Context(), the(c.conn.id))
			require.False(t, a.done())
			c.say(result("s"+strconv.Itoa(i+1), "1"))
			for j := range 5 {
				c.later(call(strconv.Itoa(j), "echo"))
			}
			w.pass(soon)
			require.True(t, a.done())
			if a.err != nil {
				require.ErrorIs(t, a.err, ErrInboundFull)
				failed++
			}
			c.conn.Abort()
			c.socket.Cut()
			w.pass(soon)
			require.Zero(t, c.conn.in.charged, "the memory of an answer is held for ever (%v)", a.err)
		}
		assert.Zero(t, failed, "questions that were answered have failed")
		w.unasked(t)
	})
}

// ---- races

// Clients answer, calls are canceled and connections close, all at once.
func TestQuestionsInARace(t *testing.T) {
	w := newWorld(t, nil, never, hubproto.JSON)
	w.settings.OutboxLimit = 16 << 20
	w.asking()
	const clients, rounds = 4, 100
	var all sync.WaitGroup
	for i := range clients {
		c := w.connect(fmt.Sprint("c", i), "")
		c.shake("json")
		require.Eventually(t, func() bool { return len(w.handler.noted()) == i+1 }, 5*second, time.Millisecond)
		all.Go(func() { // what the client is asked, it answers
			seen := 0
			for seen < 2*rounds {
				got := c.everything()
				for ; seen < len(got); seen++ {
					if id, ok := strings.CutPrefix(got[seen], `{"type":1,"invocationId":"`); ok {
						id, _, _ = strings.Cut(id, `"`)
						c.say(result(id, strconv.Quote(id)))
					}
				}
				runtime.Gosched()
			}
		})
		all.Go(func() {
			for j := range rounds {
				c.say(call(strconv.Itoa(j), "ask"))
			}
		})
	}
	all.Wait()
	for _, c := range w.clients {
		require.Eventually(t, func() bool { return c.conn.calls.isEmpty() }, 5*second, time.Millisecond)
		c.clean(t)
	}
	w.unasked(t)
}

func (q *runQueue) isEmpty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.slots.taken == 0 && q.head == nil && len(q.running) == 0
}

// haveLent is how many calls run without the slot that they had.
func (q *runQueue) haveLent() (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, k := range q.running {
		if k.slot == earlySlot {
			n++
		}
	}
	return n
}
