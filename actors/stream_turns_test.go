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

// A call that needs no slot starts when its turn comes: not before those that came earlier, and whatever slots are taken.
func TestTurnsOfCallsWithStreams(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.StreamBuffer = 10
		crew := newCrew(w)
		c := w.open("a", "")
		c.say(streaming("1", "work"), call("2", "work"), streaming("3", "work"), uploading("4", "work", "s"))
		w.pass(soon)
		assert.ElementsMatch(t, []string{"1", "2", "3", "4"}, crew.starts())
		c.say(streaming("5", "work"))
		w.pass(soon)
		assert.Contains(t, crew.starts(), "5", "the slot is taken, which it does not need")
		c.say(call("6", "work"), streaming("7", "work"), call("8", "work"), uploading("9", "work", "r"))
		w.pass(soon)
		assert.Len(t, crew.starts(), 5, "6 waits for a slot, and what follows for 6")
		assert.EqualValues(t, 1, c.conn.calls.slots.taken)
		crew.end("2", "ok")
		w.pass(soon)
		assert.ElementsMatch(t, []string{"6", "7"}, crew.starts()[5:])
		crew.end("6", "goexit")
		w.pass(soon)
		assert.ElementsMatch(t, []string{"8", "9"}, crew.starts()[7:])
		for _, id := range []string{"1", "3", "4", "5", "7", "8", "9"} {
			crew.end(id, "ok")
		}
		w.pass(soon)
		assert.Len(t, c.got(), 9)
		c.clean(t)
	})
}

// Calls with streams know how many run beside them; those that have ended, and ordinary calls, do not count.
func TestAsManyStreamsAsMayRun(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		crew := newCrew(w)
		var crowded sync.Map
		w.handler.bind = func(k *Call) {
			if k.OverLimit() {
				crowded.Store(string(k.ID()), true)
			}
		}
		c := w.open("a", "")
		var records []string
		for i := range MaxStreams {
			records = append(records, streaming(strconv.Itoa(i), "work"))
		}
		c.say(records...)
		c.say(streaming("a", "work"), uploading("b", "work", "s"), call("c", "work"))
		w.pass(10 * second)
		crew.end("0", "panic")
		w.pass(soon)
		c.say(streaming("d", "work"), streaming("e", "work"))
		w.pass(soon)
		for _, id := range crew.starts() {
			if id != "0" {
				crew.end(id, "ok")
			}
		}
		w.pass(soon)
		var ids []string
		crowded.Range(func(id, _ any) bool { ids = append(ids, id.(string)); return true })
		if len(ids) == 3 && slices.Contains(ids, "d") { // either of the last two was first
			ids[slices.Index(ids, "d")] = "e"
		}
		assert.ElementsMatch(t, []string{"a", "b", "e"}, ids)
		assert.Len(t, c.got(), MaxStreams+5)
		assert.Zero(t, c.conn.calls.streams)
		c.clean(t)
	})
}

// A client with so many subscriptions that one more has to wait can go on calling, and can end them.
func TestCallsBehindTooManyStreams(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.StreamBuffer = 2
		w.feeding()
		c := w.open("a", "")
		var records []string
		for i := range MaxStreams {
			records = append(records, streaming(strconv.Itoa(i), "feed"))
		}
		c.say(records...)
		c.say(uploading("one more", "echo", "s"))
		for i := range 5 {
			c.later(one("s", i))
		}
		c.later(call("call", "echo"))
		c.later(cancel("0"))
		w.pass(second)
		got := strings.Join(c.got(), "")
		assert.Contains(t, got, `"invocationId":"0"`, "the cancel was read")
		assert.Contains(t, got, `"invocationId":"call"`, "so was the call")
	})
}

// Ordinary calls run one after the other beside a stream, which ends neither with them nor after them.
func TestCallsBesideAStream(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		feed := w.feeding()
		c := w.open("a", "")
		c.say(streaming("s", "feed"))
		for i := range 50 {
			c.say(call(strconv.Itoa(i), "echo"))
			feed("s", i)
		}
		feed("s", nil)
		var results, items []string
		for _, record := range c.got() {
			if strings.HasPrefix(record, `{"type":2`) {
				items = append(items, record)
			} else if !strings.Contains(record, `"s"`) {
				results = append(results, record)
			}
		}
		for i := range 50 {
			require.Equal(t, itemOf("s", i), items[i])
			require.Equal(t, result(strconv.Itoa(i), "[]"), results[i])
		}
		c.clean(t)
	})
}

// Turns against a model: calls start in order of arrival, those that need a slot when there is one.
func TestTurnModel(t *testing.T) {
	type job struct {
		id    string
		free  bool
		ended bool
	}
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.KeepAlive = never
		w.settings.StreamBuffer = 10
		n := 0
		w.property(func(t *rapid.T) {
			crew := newCrew(w)
			n++
			limit := rapid.IntRange(1, 3).Draw(t, "limit")
			w.settings.Parallel = limit
			c := w.open(fmt.Sprint("c", n), "")
			defer c.socket.Cut()
			var all []*job
			started := []string{} // by the model
			answers := []string{}
			run := func() (running []*job) { // starts what can be started
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
					w.pass(soon)
					running := run()
					require.Equal(t, started, crew.starts())
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
							records = append(records, streaming(j.id, "work"))
						case 1:
							j.free = true
							records = append(records, uploading(j.id, "work", "s"+j.id))
						default:
							records = append(records, call(j.id, "work"))
						}
						all = append(all, j)
					}
					c.say(records...)
				},
				"end": func(t *rapid.T) {
					running := run()
					if len(running) == 0 {
						return // nothing runs
					}
					j := rapid.SampledFrom(running).Draw(t, "call")
					how := rapid.SampledFrom([]string{"ok", "fail", "panic", "goexit"}).Draw(t, "how")
					crew.end(j.id, how)
					j.ended = true
					answers = append(answers, completion(j.id, how))
				},
			})
			for running := run(); len(running) > 0; running = run() {
				for _, j := range running {
					crew.end(j.id, "ok")
					j.ended = true
					answers = append(answers, completion(j.id, "ok"))
				}
				w.pass(soon)
			}
			require.Len(t, answers, len(all))
			require.ElementsMatch(t, answers, c.got())
			c.clean(t)
		})
	})
}
