package actors

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

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
