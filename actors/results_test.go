package actors

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/hubproto"
)

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
