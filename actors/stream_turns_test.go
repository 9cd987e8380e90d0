package actors

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A call that needs no slot starts in its turn: after all earlier calls, but even if all slots are taken.
func TestStreamCallsStartInOrderWithoutSlot(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.StreamBuffer = 10
		control := newCallControl(e)
		c := e.open("a", "")
		c.send(streamCall("1", "work"), call("2", "work"), streamCall("3", "work"), uploadCall("4", "work", "s"))
		e.sleep(schedulingTime)
		assert.ElementsMatch(t, []string{"1", "2", "3", "4"}, control.started())
		c.send(streamCall("5", "work"))
		e.sleep(schedulingTime)
		assert.Contains(t, control.started(), "5", "it needs no slot")
		c.send(call("6", "work"), streamCall("7", "work"), call("8", "work"), uploadCall("9", "work", "r"))
		e.sleep(schedulingTime)
		assert.Len(t, control.started(), 5, "6 waits for a slot, and the following calls wait for 6")
		assert.EqualValues(t, 1, c.conn.calls.slots.taken)
		control.end("2", "ok")
		e.sleep(schedulingTime)
		assert.ElementsMatch(t, []string{"6", "7"}, control.started()[5:])
		control.end("6", "goexit")
		e.sleep(schedulingTime)
		assert.ElementsMatch(t, []string{"8", "9"}, control.started()[7:])
		for _, id := range []string{"1", "3", "4", "5", "7", "8", "9"} {
			control.end(id, "ok")
		}
		e.sleep(schedulingTime)
		assert.Len(t, c.messages(), 9)
		c.requireIdle(t)
	})
}

// OverLimit counts running calls with streams; ended calls and calls without streams do not count.
func TestOverLimitCountsRunningStreams(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		control := newCallControl(e)
		var crowded sync.Map
		e.handler.bind = func(k *Call) {
			if k.OverLimit() {
				crowded.Store(string(k.ID()), true)
			}
		}
		c := e.open("a", "")
		var records []string
		for i := range MaxStreams {
			records = append(records, streamCall(strconv.Itoa(i), "work"))
		}
		c.send(records...)
		c.send(streamCall("a", "work"), uploadCall("b", "work", "s"), call("c", "work"))
		e.sleep(10 * second)
		control.end("0", "panic")
		e.sleep(schedulingTime)
		c.send(streamCall("d", "work"), streamCall("e", "work"))
		e.sleep(schedulingTime)
		for _, id := range control.started() {
			if id != "0" {
				control.end(id, "ok")
			}
		}
		e.sleep(schedulingTime)
		var ids []string
		crowded.Range(func(id, _ any) bool { ids = append(ids, id.(string)); return true })
		if len(ids) == 3 && slices.Contains(ids, "d") { // either of the last two calls may start first
			ids[slices.Index(ids, "d")] = "e"
		}
		assert.ElementsMatch(t, []string{"a", "b", "e"}, ids)
		assert.Len(t, c.messages(), MaxStreams+5)
		assert.Zero(t, c.conn.calls.streams)
		c.requireIdle(t)
	})
}

// A client with the maximum number of streams, and one more waiting, can still call methods and cancel streams.
func TestCallsAreReadBehindTooManyStreams(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.StreamBuffer = 2
		e.addFeedMethod()
		c := e.open("a", "")
		var records []string
		for i := range MaxStreams {
			records = append(records, streamCall(strconv.Itoa(i), "feed"))
		}
		c.send(records...)
		c.send(uploadCall("one more", "echo", "s"))
		for i := range 5 {
			c.sendAsync(uploadItem("s", i))
		}
		c.sendAsync(call("call", "echo"))
		c.sendAsync(cancel("0"))
		e.sleep(second)
		got := strings.Join(c.messages(), "")
		assert.Contains(t, got, `"invocationId":"0"`, "the cancel was read")
		assert.Contains(t, got, `"invocationId":"call"`, "so was the call")
	})
}

// Calls without streams run one after the other beside a stream, which is not affected by their ends.
func TestCallsRunBesideStream(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		feed := e.addFeedMethod()
		c := e.open("a", "")
		c.send(streamCall("s", "feed"))
		for i := range 50 {
			c.send(call(strconv.Itoa(i), "echo"))
			feed("s", i)
		}
		feed("s", nil)
		var results, items []string
		for _, record := range c.messages() {
			if strings.HasPrefix(record, `{"type":2`) {
				items = append(items, record)
			} else if !strings.Contains(record, `"s"`) {
				results = append(results, record)
			}
		}
		for i := range 50 {
			require.Equal(t, streamItem("s", i), items[i])
			require.Equal(t, result(strconv.Itoa(i), "[]"), results[i])
		}
		c.requireIdle(t)
	})
}

// Checks turns against a model: calls start in order of arrival, those that need a slot as soon as one is free.
func TestStreamTurnModel(t *testing.T) {
	type job struct {
		id    string
		free  bool
		ended bool
	}
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.KeepAlive = never
		e.settings.StreamBuffer = 10
		n := 0
		e.checkProperty(func(t *rapid.T) {
			control := newCallControl(e)
			n++
			limit := rapid.IntRange(1, 3).Draw(t, "limit")
			e.settings.Parallel = limit
			c := e.open(fmt.Sprint("c", n), "")
			defer c.socket.Cut()
			var all []*job
			started := []string{} // according to the model
			answers := []string{}
			run := func() (running []*job) { // starts all calls that can start, and returns the running ones
				slots := limit
				blocked := false
				for _, j := range all {
					known := slices.Contains(started, j.id)
					if j.ended || blocked && !known {
						continue
					}
					if !j.free {
						if blocked = slots == 0 && !known; blocked {
							continue
						}
						slots--
					}
					if !known {
						started = append(started, j.id)
					}
					running = append(running, j)
				}
				return running
			}
			t.Repeat(map[string]func(*rapid.T){
				"": func(t *rapid.T) {
					e.sleep(schedulingTime)
					running := run()
					require.Equal(t, started, control.started())
					c.conn.calls.mu.Lock()
					defer c.conn.calls.mu.Unlock()
					require.Len(t, c.conn.calls.running, len(running))
					require.LessOrEqual(t, int(c.conn.calls.slots.taken), limit)
				},
				"arrive": func(t *rapid.T) {
					var records []string
					for range rapid.IntRange(1, 5).Draw(t, "calls") {
						j := &job{id: strconv.Itoa(len(all))}
						switch rapid.IntRange(0, 3).Draw(t, "kind") {
						case 0:
							j.free = true
							records = append(records, streamCall(j.id, "work"))
						case 1:
							j.free = true
							records = append(records, uploadCall(j.id, "work", "s"+j.id))
						default:
							records = append(records, call(j.id, "work"))
						}
						all = append(all, j)
					}
					c.send(records...)
				},
				"end": func(t *rapid.T) {
					running := run()
					if len(running) == 0 {
						return // no call is running
					}
					j := rapid.SampledFrom(running).Draw(t, "call")
					how := rapid.SampledFrom([]string{"ok", "fail", "panic", "goexit"}).Draw(t, "how")
					control.end(j.id, how)
					j.ended = true
					answers = append(answers, completion(j.id, how))
				},
			})
			for running := run(); len(running) > 0; running = run() {
				for _, j := range running {
					control.end(j.id, "ok")
					j.ended = true
					answers = append(answers, completion(j.id, "ok"))
				}
				e.sleep(schedulingTime)
			}
			require.Len(t, answers, len(all))
			require.ElementsMatch(t, answers, c.messages())
			c.requireIdle(t)
		})
	})
}
