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

// The client calls hub methods before it answers an Invoke.
func TestClientCallsHubBeforeItAnswers(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.addAskMethod()
		c := e.open("a", "")
		c.send(call("1", "ask"))
		e.settle()
		c.send(call("2", "ask"))
		e.settle()
		c.send(call("3", "echo"))
		e.settle()
		assert.Equal(t, []string{askInvocation("s1"), askInvocation("s2"), result("3", "[]")}, c.messages())
		assert.Equal(t, 2, c.conn.calls.earlySlots())
		assert.Zero(t, c.conn.calls.slots.taken)
		c.send(result("s1", `"first"`))
		e.settle()
		c.send(result("s2", `"second"`))
		e.settle()
		assert.Equal(t, []string{result("1", `"first"`), result("2", `"second"`)}, c.messages()[3:])
		c.requireIdle(t)
	})
}

// When a call lends its slot, waiting calls start, and completions of earlier calls are sent.
func TestLentSlotIsUsedAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.addAskMethod()
		gate, open := e.gate()
		e.handler.methods["gate"] = gate
		c := e.open("a", "")
		c.send(call("1", "echo"), call("2", "ask"), call("3", "gate"), call("4", "echo"))
		e.settle()
		assert.Equal(t, []string{result("1", "[]"), askInvocation("s1")}, c.messages())
		assert.EqualValues(t, 1, c.conn.calls.slots.taken)
		c.send(result("s1", "1"))
		e.settle()
		assert.Equal(t, result("2", "1"), c.messages()[2], "a call whose slot is taken release on without it")
		e.sleep(schedulingTime)
		assert.Len(t, c.messages(), 3, "its worker takes no other call")
		open()
		e.sleep(schedulingTime)
		assert.Equal(t, []string{result("3", `"passed"`), result("4", "[]")}, c.messages()[3:])
		c.requireIdle(t)
	})
}

// A call lends its slot only once, however many Asks it has pending on however many goroutines.
func TestSlotIsLentOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.handler.methods["ask"] = func(k *Call, _ string) (any, error) {
			var all sync.WaitGroup
			for range 5 {
				all.Go(func() { _, _ = e.ask(k, toConnection("a")) })
			}
			all.Wait()
			_, err := e.ask(k, toConnection("a"))
			return nil, err
		}
		gate, open := e.gate()
		e.handler.methods["gate"] = gate
		c := e.open("a", "")
		c.send(call("1", "ask"), call("2", "gate"), call("3", "gate"))
		e.sleep(schedulingTime)
		assert.Equal(t, 1, c.conn.calls.earlySlots())
		assert.EqualValues(t, 1, c.conn.calls.slots.taken)
		for i := range 6 {
			c.send(result("s"+strconv.Itoa(i+1), "1"))
			e.sleep(schedulingTime)
		}
		assert.Contains(t, c.messages(), result("1", "null"))
		assert.EqualValues(t, 1, c.conn.calls.slots.taken)
		open()
		e.sleep(schedulingTime)
		c.requireIdle(t)
	})
}

// An Invoke outside a call, or of a goroutine that outlives its call, lends no slot.
func TestAskWithoutSlotLendsNone(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		var late *askResult
		e.handler.methods["outlive"] = func(k *Call, _ string) (any, error) {
			ctx := context.WithoutCancel(k)
			late = &askResult{done: make(chan struct{})}
			go func() {
				defer close(late.done)
				<-k.Done()
				late.value, late.err = e.ask(ctx, toConnection("a"))
			}()
			return nil, nil
		}
		e.addAskMethod()
		e.settings.StreamBuffer = 1
		gate, open := e.gate()
		e.handler.methods["gate"] = gate
		c := e.open("a", "")
		c.send(call("1", "outlive"))
		e.settle()
		c.send(uploadCall("2", "ask", "s"))
		a := e.askAsync(t.Context(), toConnection("a"))
		c.send(call("3", "gate"), call("4", "gate"))
		e.sleep(schedulingTime)
		assert.Zero(t, c.conn.calls.earlySlots())
		assert.EqualValues(t, 1, c.conn.calls.slots.taken)
		c.send(result("s1", "1"), result("s2", "2"), result("s3", "3"))
		e.sleep(schedulingTime)
		assert.True(t, late.isDone())
		assert.True(t, a.isDone())
		assert.EqualValues(t, 1, c.conn.calls.slots.taken)
		open()
		e.sleep(schedulingTime)
		c.requireIdle(t)
	})
}

// Waiting calls continue after a call that has lent its slot has ended, in any way.
func TestCallThatHasLentItsSlotEnds(t *testing.T) {
	for _, how := range []string{"ok", "panic", "goexit", "fail"} {
		for _, taken := range []bool{true, false} {
			t.Run(fmt.Sprint(how, ", slot taken: ", taken), func(t *testing.T) {
				inBubble(t, func(t *testing.T, e *env) {
					control := newCallControl(e)
					work := e.handler.methods["work"]
					e.handler.methods["ask"] = func(k *Call, args string) (any, error) {
						_, _ = e.ask(k, toConnection("a"))
						return work(k, args)
					}
					c := e.open("a", "")
					c.send(call("1", "ask"))
					e.settle()
					c.send(result("s1", "1"))
					e.settle()
					if taken {
						c.send(call("2", "work"), call("3", "work"), call("4", "echo"))
					}
					e.sleep(schedulingTime)
					control.end("1", how)
					e.sleep(schedulingTime)
					assert.Contains(t, c.messages(), completion("1", how))
					if taken {
						assert.Equal(t, []string{"1", "2"}, control.started())
						control.end("2", "ok")
						e.sleep(schedulingTime)
						control.end("3", "ok")
					} else {
						c.send(call("4", "echo"))
					}
					e.sleep(schedulingTime)
					assert.Contains(t, c.messages(), result("4", "[]"))
					c.requireIdle(t)
				})
			})
		}
	}
}

// whenIdle does not wait for calls that have lent their slot, and calls its function once.
func TestWhenIdleIgnoresCallsThatHaveLentTheirSlot(t *testing.T) {
	for _, how := range []string{"ok", "goexit"} {
		t.Run(how, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				control := newCallControl(e)
				work := e.handler.methods["work"]
				e.handler.methods["ask"] = func(k *Call, args string) (any, error) {
					_, _ = e.ask(k, toConnection("a"))
					return work(k, args)
				}
				c := e.open("a", "")
				c.send(call("1", "ask"), call("2", "work"))
				e.sleep(schedulingTime)
				idle := 0
				require.False(t, c.conn.calls.whenIdle(slotsFree, func() { idle++ }))
				assert.Zero(t, idle)
				control.end("2", how)
				e.sleep(schedulingTime)
				assert.Equal(t, 1, idle)
				c.send(result("s1", "1"))
				e.sleep(schedulingTime)
				control.end("1", how)
				e.sleep(schedulingTime)
				c.send(call("3", "echo"))
				e.settle()
				assert.Equal(t, 1, idle)
				c.requireIdle(t)

				c.send(call("4", "ask"))
				e.settle()
				require.True(t, c.conn.calls.whenIdle(slotsFree, func() { idle++ }), "the only slot was lent")
				c.send(result("s2", "1"))
				e.settle()
				control.end("4", how)
				e.sleep(schedulingTime)
				assert.Equal(t, 1, idle)
				c.requireIdle(t)
			})
		})
	}
}

// Checks slots against a model: calls start in order, as many at once as there are slots that are not lent.
func TestSlotModel(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.KeepAlive = never
		n := 0
		e.checkProperty(func(t *rapid.T) {
			n++
			control := newCallControl(e)
			work := e.handler.methods["work"]
			var mu sync.Mutex
			askIDs := map[string]string{} // by call: the id of its pending Invoke
			release := map[string]chan struct{}{}
			e.handler.methods["ask"] = func(k *Call, args string) (any, error) {
				id := string(k.ID())
				mu.Lock()
				release[id] = make(chan struct{})
				released := release[id]
				mu.Unlock()
				begin := control.callStarted(id)
				control.callEnded()
				<-released
				mu.Lock()
				e.hub.results.mu.Lock()
				askIDs[id] = "s" + strconv.FormatUint(e.hub.results.last.Load()+1, 10)
				e.hub.results.mu.Unlock()
				mu.Unlock()
				_, _ = e.ask(k, &Audience{Kind: Caller, Conn: k.Connection()})
				_ = begin
				return work(k, args)
			}
			limit := rapid.IntRange(1, 3).Draw(t, "limit")
			e.settings.Parallel = limit
			c := e.open(fmt.Sprint("c", n), "")
			defer c.socket.Cut()
			type job struct {
				id   string
				asks int // 0: does not ask, 1: will ask, 2: waits for the answer, 3: has the answer
			}
			var alive []*job // running and waiting calls in order of arrival
			next, ended := 0, 0
			holding := func() (holders, running []*job) { // according to the model
				slots := limit
				for _, j := range alive {
					switch {
					case j.asks >= 2:
						running = append(running, j)
					case slots > 0:
						slots--
						holders, running = append(holders, j), append(running, j)
					}
				}
				return holders, running
			}
			t.Repeat(map[string]func(*rapid.T){
				"": func(t *rapid.T) {
					e.sleep(schedulingTime)
					holders, running := holding()
					q := &c.conn.calls
					q.mu.Lock()
					defer q.mu.Unlock()
					require.EqualValues(t, len(holders), q.slots.taken)
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
					c.send(records...)
				},
				"ask": func(t *rapid.T) {
					holders, _ := holding()
					for _, j := range holders {
						if j.asks == 1 {
							j.asks = 2
							close(release[j.id])
							return
						}
					}
				},
				"answer": func(t *rapid.T) {
					for _, j := range alive {
						if j.asks == 2 {
							j.asks = 3
							c.send(result(askIDs[j.id], "1"))
							return
						}
					}
				},
				"end": func(t *rapid.T) {
					_, running := holding()
					running = slices.DeleteFunc(running, func(j *job) bool { return j.asks == 1 || j.asks == 2 })
					if len(running) == 0 {
						return // no call can end
					}
					j := rapid.SampledFrom(running).Draw(t, "call")
					control.end(j.id, rapid.SampledFrom([]string{"ok", "panic", "goexit", "fail"}).Draw(t, "how"))
					alive = slices.DeleteFunc(alive, func(o *job) bool { return o == j })
					ended++
				},
			})
			for len(alive) > 0 {
				j := alive[0]
				alive = alive[1:]
				if j.asks == 1 {
					close(release[j.id])
					e.settle()
				}
				if j.asks == 1 || j.asks == 2 {
					c.send(result(askIDs[j.id], "1"))
					e.settle()
				}
				control.end(j.id, "ok")
				e.sleep(schedulingTime)
			}
			c.requireIdle(t)
			e.requireNoPendingAsks(t)
		})
	})
}
