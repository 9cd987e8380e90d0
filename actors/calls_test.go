package actors

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/internal/linktest"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// Checks the run queue against a model: calls start in order of arrival, and as many run as there are slots.
func TestRunQueueModel(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.KeepAlive = never
		client := 0
		e.checkProperty(func(t *rapid.T) {
			control := newCallControl(e)
			client++
			e.settings.Parallel = rapid.IntRange(1, 4).Draw(t, "limit")
			c := e.open(fmt.Sprint("c", client), "")
			next := 0
			var alive, answered []string // calls that have not ended; completions of those that have
			want := []string{}           // all calls in order of arrival
			canceled := map[string]bool{}
			busy := func() []string { return alive[:min(len(alive), e.settings.Parallel)] }
			ended := func(id, how string) {
				alive = slices.DeleteFunc(alive, func(one string) bool { return one == id })
				answered = append(answered, completion(id, how))
			}
			t.Repeat(map[string]func(*rapid.T){
				"": func(t *rapid.T) {
					e.sleep(schedulingTime) // all calls that may run have started
					started := want[:len(want)-len(alive)+len(busy())]
					require.Equal(t, started, control.started())
					require.LessOrEqual(t, control.maxRunning, e.settings.Parallel)
					require.EqualValues(t, len(busy()), c.conn.calls.slots.taken)
				},
				"arrive": func(t *rapid.T) {
					var calls []string
					for range rapid.IntRange(1, 6).Draw(t, "calls") {
						id := strconv.Itoa(next)
						next++
						calls = append(calls, call(id, "work"))
						alive, want = append(alive, id), append(want, id)
					}
					c.send(calls...)
				},
				"end": func(t *rapid.T) {
					if len(alive) == 0 {
						return // no call is running
					}
					id := rapid.SampledFrom(busy()).Draw(t, "call")
					how := rapid.SampledFrom([]string{"ok", "fail", "panic", "goexit"}).Draw(t, "how")
					control.end(id, how)
					ended(id, how)
				},
				"race": func(t *rapid.T) { // ends race with an arrival
					if len(alive) == 0 {
						return // no call is running
					}
					var ends sync.WaitGroup
					for _, id := range slices.Clone(busy()) {
						how := rapid.SampledFrom([]string{"ok", "goexit"}).Draw(t, "how")
						ends.Go(func() { control.end(id, how) })
						ended(id, how)
					}
					id := strconv.Itoa(next)
					next++
					alive, want = append(alive, id), append(want, id)
					c.send(call(id, "work"))
					ends.Wait()
				},
				"cancel": func(t *rapid.T) {
					if len(alive) == 0 {
						return // no call can be canceled
					}
					id := rapid.SampledFrom(alive).Draw(t, "call")
					c.send(cancel(id))
					canceled[id] = true
				},
			})
			for len(alive) > 0 {
				id := alive[0]
				control.end(id, "ok")
				ended(id, "ok")
				e.sleep(schedulingTime)
			}
			require.ElementsMatch(t, answered, c.messages())
			for id, cause := range control.causes {
				require.True(t, canceled[id])
				require.Equal(t, ErrCanceled, cause)
			}
			require.Len(t, control.causes, len(canceled))
			require.Zero(t, c.conn.calls.slots.taken)
			require.Empty(t, c.conn.calls.running)
			c.socket.Cut()
			e.settle()
		})
	})
}

// Calls end as fast as they arrive, so that each end races with an arrival.
func TestNoCallIsLostInRace(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.OutboxLimit = 16 << 20
		for _, limit := range []int{1, 3} {
			e.settings.Parallel = limit
			c := e.open(fmt.Sprint(limit), "")
			for i := range 3000 {
				c.send(call(strconv.Itoa(i), "echo"))
				if i%100 == 0 {
					e.settle()
				}
			}
			e.settle()
			got := c.messages()
			assert.Len(t, got, 3000)
			if limit == 1 {
				for i, record := range got {
					require.Equal(t, result(strconv.Itoa(i), "[]"), record, "calls that run one at a time are answered in order")
				}
			}
		}
	})
}

// Completions of calls that arrived in one read are sent in one write.
func TestCompletionsOfOneReadAreOneWrite(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "")
		before, _ := linktest.ParseFrames(c.socket.Wire())
		var calls []string
		for i := range 8 {
			calls = append(calls, call(strconv.Itoa(i), "echo"))
		}
		c.send(calls...)
		e.settle()
		after, _ := linktest.ParseFrames(c.socket.Wire())
		assert.Len(t, c.messages(), 8)
		assert.Len(t, after, len(before)+1)
	})
}

// The answer of a call that has ended its goroutine does not wait for the end of the next call.
func TestTheAnswerBehindAGoexit(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		gate, open := e.gate()
		e.handler.methods["gate"] = gate
		e.handler.methods["exit"] = func(*Call, string) (any, error) { runtime.Goexit(); return nil, nil }
		c := e.open("a", "")
		c.send(call("1", "exit"), call("2", "gate"))
		e.settle()
		e.sleep(2 * time.Millisecond)
		assert.Len(t, c.messages(), 1)
		open()
	})
}

// Calls received before the client ends the connection run, in order and within the limit, before OnDisconnected. If the server ends
// the connection, waiting calls are dropped and running ones continue.
func TestReceivedCallsRunBeforeOnDisconnected(t *testing.T) {
	ends := map[string]struct {
		how  func(e *env, c *client)
		runs []string
	}{
		"Close":    {func(_ *env, c *client) { c.send(`{"type":7}`) }, []string{"1", "2", "3", "4"}},
		"cut":      {func(_ *env, c *client) { c.socket.Cut() }, []string{"1", "2", "3", "4"}},
		"shutdown": {func(e *env, _ *client) { go func() { assert.NoError(e.t, e.shutdown()) }() }, []string{"1", "2", "3", "4"}},
		"abort":    {func(_ *env, c *client) { c.conn.Abort() }, []string{"1"}},
		"overflow": {func(_ *env, c *client) { c.conn.overflowed() }, []string{"1"}},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				control := newCallControl(e)
				e.settings.Parallel = 1
				c := e.open("a", "")
				c.send(call("1", "work"), call("2", "work"), call("3", "work"), call("4", "work"))
				e.sleep(schedulingTime)
				end.how(e, c)
				e.settle()
				require.Equal(t, []string{"connected a"}, e.handler.events())
				for i, how := range []string{"ok", "goexit", "panic", "fail"}[:len(end.runs)] {
					require.Equal(t, []string{"connected a"}, e.handler.events(), "before OnDisconnected")
					control.end(strconv.Itoa(i+1), how)
					e.sleep(schedulingTime)
				}
				assert.Equal(t, end.runs, control.started())
				assert.Empty(t, control.causes)
				assert.Len(t, e.handler.events(), 2)
				assert.Zero(t, c.conn.in.charged)
				if name == "Close" || name == "shutdown" {
					got := c.messages()
					require.Len(t, got, 4+2, "the completions, then Close")
					assert.Contains(t, got[4], `"type":7`)
				}
			})
		})
	}
}

// A call that ignores its context delays OnDisconnected by at most DisconnectGrace and CloseTimeout, or until it returns if
// DisconnectGrace is unlimited.
func TestOnDisconnectedWaitsForGraceTime(t *testing.T) {
	for _, grace := range []time.Duration{-1, 3 * second} {
		inBubble(t, func(t *testing.T, e *env) {
			e.settings.DisconnectGrace = grace
			control := newCallControl(e)
			c := e.open("a", "")
			c.send(call("1", "work"), call("2", "echo"))
			e.settle()
			c.socket.Cut()
			e.sleep(2 * second)
			assert.Len(t, e.handler.events(), 1)
			e.sleep(e.settings.CloseTimeout + 3*second)
			if grace < 0 {
				assert.Len(t, e.handler.events(), 1)
			} else {
				assert.Equal(t, []string{"connected a", "disconnected a: <nil>"}, e.handler.events())
			}
			control.end("1", "ok")
			e.settle()
			assert.Len(t, e.handler.events(), 2)
			assert.Len(t, control.causes, map[bool]int{true: 0, false: 1}[grace < 0])
			c.assertRemoved(t)
		})
	}
}

// If the program is not quiet, a running call keeps its turn for maxTicks before it is considered to be waiting.
func TestCallsStartInOrderOnBusyMachine(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.busy.Store(true)
		e.settings.Parallel = 4
		control := newCallControl(e)
		c := e.open("a", "")
		c.send(call("1", "work"), call("2", "work"))
		e.sleep((maxTicks - 1) * lateTickTime)
		assert.Equal(t, []string{"1"}, control.started())
		e.sleep(2 * lateTickTime)
		assert.Equal(t, []string{"1", "2"}, control.started())
		control.end("1", "ok")
		control.end("2", "ok")
	})
}

// A waiting call that was canceled starts in its turn, with its context canceled.
func TestCanceledWaitingCallStartsInOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		control := newCallControl(e)
		c := e.open("a", "")
		c.send(call("1", "work"), call("2", "wait"), call("3", "echo"))
		c.send(cancel("2"))
		e.settle()
		assert.Empty(t, c.messages())
		control.end("1", "ok")
		e.sleep(lateTickTime)
		assert.Equal(t, []string{result("1", `"ok"`), failure("2", ErrCanceled.Error()), result("3", "[]")}, c.messages())
	})
}

// CancelInvocation, Ping and Close are handled while calls run and wait.
func TestControlMessagesOvertakeWaitingCalls(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "")
		c.send(call("1", "wait"), call("2", "wait"), ping, cancel("1"))
		e.settle()
		assert.True(t, c.conn.pinged.Load())
		c.send(cancel("2"), cancel("none"))
		e.sleep(lateTickTime)
		assert.Equal(t, []string{failure("1", ErrCanceled.Error()), failure("2", ErrCanceled.Error())}, c.messages())
		c.send(call("3", "wait"), `{"type":7}`)
		e.settle()
		assert.True(t, c.conn.isClosing.Load())
	})
}

// An invocation id can be reused after its completion was sent, and concurrent calls may have the same id.
func TestInvocationIDsCanBeReused(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.Parallel = 3
		c := e.open("a", "")
		for range 3 {
			c.send(call("1", "echo"))
			e.settle()
		}
		c.send(call("1", "wait"), call("1", "wait"))
		e.sleep(schedulingTime)
		c.send(cancel("1"))
		e.settle()
		no := failure("1", ErrCanceled.Error())
		assert.Equal(t, []string{result("1", "[]"), result("1", "[]"), result("1", "[]"), no, no}, c.messages())
		c.send(call("1", "echo"))
		e.settle()
		assert.Len(t, c.messages(), 6)
	})
}

// A call is removed from the index before its completion is written, so that the client can reuse the id at once.
func TestCallIsRemovedBeforeItsCompletionIsWritten(t *testing.T) {
	e := newEnv(t, nil, never, hubproto.JSON)
	gate, open := e.gate()
	e.handler.methods["gate"] = gate
	c := e.connect("a", "")
	c.sendHandshake("json")
	c.send(call("1", "gate"))
	running := func() int {
		c.conn.calls.mu.Lock()
		defer c.conn.calls.mu.Unlock()
		return len(c.conn.calls.running)
	}
	require.Eventually(t, func() bool { return running() == 1 && len(e.handler.events()) == 1 }, 5*second, time.Millisecond)
	written := make(chan int, 1)
	c.socket.Change(func() { c.socket.Before = func() { written <- running() } })
	open()
	assert.Zero(t, <-written, "number of running calls when the completion is written")
}

// A handler that panics while it formats a panic, for example because the value is an error that is a nil pointer, ends only the call.
// The test runs in a child process.
func TestPanicWhileFormattingPanicEndsOnlyTheCall(t *testing.T) {
	const child = "TROUPE_TEST_CHILD"
	panics := func(*Call) error { panic("oh") }
	tests := map[string]func(t *testing.T, e *env){
		"method": func(t *testing.T, e *env) {
			e.handler.methods["panic"] = func(k *Call, _ string) (any, error) { return nil, panics(k) }
			e.handler.panicked = func(*Call, error) { panic("no") }
			c := e.open("a", "")
			c.send(call("1", "panic"), call("2", "echo"))
			e.sleep(lateTickTime)
			assert.Contains(t, c.messages(), result("2", "[]"))
			assert.Zero(t, c.conn.calls.slots.taken)
			assert.Zero(t, c.conn.in.charged)
		},
		"OnConnected": func(t *testing.T, e *env) {
			e.handler.connected = panics
			e.handler.describe = func(string, error) string { panic("no") }
			c := e.open("a", "")
			e.sleep(second)
			c.assertRemoved(t)
		},
		"OnDisconnected": func(t *testing.T, e *env) {
			e.handler.disconnected = func(k *Call, _ error) { _ = panics(k) }
			e.handler.describe = func(string, error) string { panic("no") }
			c := e.open("a", "")
			c.socket.Cut()
			e.sleep(second)
			c.assertRemoved(t)
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if os.Getenv(child) != "" {
				inBubble(t, test)
				return
			}
			process := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
			process.Env = append(os.Environ(), child+"=1")
			out, err := process.CombinedOutput()
			assert.NoError(t, err, "%.1000s", out)
		})
	}
}

// A worker whose connection is above the high-water mark does not start the next call, but its completions are sent.
func TestWorkerWaitsForItsClient(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		control := newCallControl(e)
		c := e.open("a", "", linktest.Full)
		c.conn.out.Push(notePacket(0, 0, e.settings.OutboxLimit*2/3), false, false)
		c.send(call("1", "echo"), call("2", "work"))
		e.settle()
		assert.Empty(t, control.started())
		c.socket.Drain(-1)
		e.settle()
		assert.Equal(t, []string{"2"}, control.started())
		control.end("2", "ok")
		e.settle()
		assert.Len(t, c.messages(), 3)
	})
}

// A worker does not wait for a client that has disconnected.
func TestWaitingWorkerIsReleasedByCut(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "", linktest.Full)
		c.conn.out.Push(notePacket(0, 0, e.settings.OutboxLimit*2/3), false, false)
		c.send(call("1", "echo"))
		e.settle()
		assert.NotZero(t, e.sys.workers.busy.Get())
		c.socket.Cut()
		e.settle()
		assert.Zero(t, e.sys.workers.busy.Get())
	})
}

func TestWorkersAreReused(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "")
		for i := range 100 {
			c.send(call(strconv.Itoa(i), "echo"))
			e.settle()
		}
		assert.Len(t, e.sys.workers.idle, 1)
	})
}

// OnDisconnected waits for a free slot, as a call does.
func TestOnDisconnectedWaitsForSlot(t *testing.T) {
	for _, limit := range []int{1, 2} {
		inBubble(t, func(t *testing.T, e *env) {
			e.settings.Parallel = limit
			control := newCallControl(e)
			c := e.open("a", "")
			c.send(call("1", "work"))
			e.settle()
			c.socket.Cut()
			e.sleep(schedulingTime)
			assert.Len(t, e.handler.events(), limit)
			control.end("1", "ok")
			e.settle()
			assert.Len(t, e.handler.events(), 2)
			c.assertRemoved(t)
		})
	}
}

// With a limit of one, OnDisconnected comes behind the ends of all calls: also of one that has given up its slot, or that needs none.
func TestOnDisconnectedWaitsForCallsWithoutSlots(t *testing.T) {
	for _, kind := range []string{"asks", "takes"} {
		t.Run(kind, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				gate, open := e.gate()
				e.handler.methods["asks"] = func(k *Call, args string) (any, error) {
					_, err := e.ask(k, &Audience{Kind: Caller, Conn: k.Connection()})
					assert.NoError(t, err)
					return gate(k, args)
				}
				e.handler.methods["takes"] = func(k *Call, args string) (any, error) {
					list, _ := k.Uploads()
					_, err := drainUpload(list[0])
					assert.Equal(t, io.EOF, err)
					return gate(k, args)
				}
				c := e.open("a", "")
				if kind == "asks" {
					c.send(call("1", kind))
					e.settle()
					c.send(result("s1", "1"))
				} else {
					c.send(uploadCall("1", kind, "s"), uploadEnd("s"))
				}
				e.sleep(schedulingTime)
				c.send(call("2", "echo"))
				e.sleep(schedulingTime)
				require.Len(t, c.messages(), map[string]int{"asks": 2, "takes": 1}[kind], "the next call did not wait")
				c.socket.Cut()
				e.sleep(schedulingTime)
				assert.Len(t, e.handler.events(), 1, "the call runs")
				open()
				e.settle()
				assert.Len(t, e.handler.events(), 2)
				c.assertRemoved(t)
			})
		})
	}
}
