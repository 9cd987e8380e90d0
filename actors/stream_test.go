package actors

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/troupe-go/troupe/internal/linktest"
	"pgregory.net/rapid"
)

// streaming is a call whose results are to be streamed.
func streaming(id, target string, streams ...string) string {
	record := strings.Replace(call(id, target), `"type":1`, `"type":4`, 1)
	if len(streams) > 0 {
		record = withStreams(record, streams)
	}
	return record
}

// itemOf is what a client gets.
func itemOf(id string, value any) string {
	return fmt.Sprintf(`{"type":2,"invocationId":%q,"item":%v}`, id, value)
}

// counting is a method that streams numbers until there are n, or nobody wants more; n < 0: for ever.
func counting(n int) method {
	return func(k *Call, _ string) (any, error) {
		if k.DuplicateID() {
			return nil, fmt.Errorf("in use: %s", k.ID())
		}
		k.StartStream()
		for i := 0; i != n; i++ {
			b, err := k.Connection().Protocol().AppendItem(nil, k.ID(), i)
			if err != nil {
				return nil, err
			}
			if !k.SendItem(b) {
				return nil, context.Cause(k)
			}
		}
		return "all", nil
	}
}

// feeding is a method that streams what it is given by its id.
func (w *world) feeding() (feed func(id string, items ...any)) {
	var mu sync.Mutex
	feeds := map[string]chan any{}
	of := func(id string) chan any {
		mu.Lock()
		defer mu.Unlock()
		if feeds[id] == nil {
			feeds[id] = make(chan any, 100)
		}
		return feeds[id]
	}
	w.handler.methods["feed"] = func(k *Call, _ string) (any, error) {
		if k.DuplicateID() {
			return nil, fmt.Errorf("in use: %s", k.ID())
		}
		k.StartStream()
		items := of(string(k.ID()))
		for {
			select {
			case item := <-items:
				switch item {
				case nil:
					return nil, nil
				case "panic":
					panic("no")
				case "goexit":
					runtime.Goexit()
				}
				b, _ := k.Connection().Protocol().AppendItem(nil, k.ID(), item)
				if !k.SendItem(b) {
					return nil, context.Cause(k)
				}
			case <-k.Done():
				return nil, context.Cause(k)
			case <-w.over:
				return nil, nil
			}
		}
	}
	return func(id string, items ...any) {
		for _, item := range items {
			of(id) <- item
		}
		w.settle()
	}
}

func TestAStreamOfItems(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.handler.methods["count"] = counting(500)
		c := w.open("a", "")
		c.say(streaming("1", "count"))
		w.settle()
		var want []string
		for i := range 500 {
			want = append(want, itemOf("1", i))
		}
		assert.Equal(t, append(want, result("1", `"all"`)), c.got())
		c.clean(t)
	})
}

// An item is not kept back until something else is written.
func TestItemsAreWrittenAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		feed := w.feeding()
		c := w.open("a", "")
		c.say(streaming("1", "feed"), streaming("2", "feed"))
		w.settle()
		feed("1", 1)
		assert.Equal(t, []string{itemOf("1", 1)}, c.got())
		feed("2", 2)
		feed("1", 3, nil)
		assert.Equal(t, []string{itemOf("2", 2), itemOf("1", 3), result("1", "null")}, c.got()[1:])
		feed("2", nil)
		assert.Len(t, c.got(), 5)
		c.clean(t)
	})
}

func TestStreamsThatAreCanceled(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		feed := w.feeding()
		gate, open := w.gate()
		w.handler.methods["gate"] = gate
		c := w.open("a", "")
		c.say(streaming("1", "feed"))
		feed("1", 1)
		c.say(cancel("none"), cancel("1"), cancel("1"))
		w.settle()
		no := ErrCanceled.Error()
		assert.Equal(t, []string{itemOf("1", 1), failure("1", no)}, c.got())

		c.say(call("2", "gate"), call("3", "gate"), streaming("4", "feed"), cancel("4")) // before it starts
		w.settle()
		assert.Len(t, c.got(), 2)
		open()
		w.pass(soon)
		assert.Contains(t, c.got(), failure("4", no))
		c.clean(t)
	})
}

// A stream whose id another one has is told so; the first goes on, and the id can be used again.
func TestStreamsWithOneID(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		feed := w.feeding()
		c := w.open("a", "")
		c.say(streaming("1", "feed"), streaming("1", "feed"), streaming("1", "feed"), call("1", "echo"))
		w.settle()
		assert.ElementsMatch(t, []string{failure("1", "in use: 1"), failure("1", "in use: 1"), result("1", "[]")}, c.got())
		feed("1", "x", nil)
		assert.Equal(t, []string{itemOf("1", `"x"`), result("1", "null")}, c.got()[3:])
		c.say(streaming("1", "feed"))
		feed("1", "y", nil)
		assert.Equal(t, []string{itemOf("1", `"y"`), result("1", "null")}, c.got()[5:])
		c.clean(t)
	})
}

func TestStreamsThatFail(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		feed := w.feeding()
		c := w.open("a", "")
		c.say(streaming("1", "feed"), streaming("2", "feed"), streaming("3", "feed"))
		w.settle()
		var flowing []bool
		w.handler.panicked = func(k *Call, _ error) { flowing = append(flowing, k.IsStreaming()) }
		feed("1", 1, "panic")
		feed("2", 2, "goexit")
		feed("3", 3, nil)
		assert.Equal(t, []string{
			itemOf("1", 1), failure("1", "panic: no"), itemOf("2", 2), failure("2", "runtime.Goexit was called"), itemOf("3", 3), result("3", "null"),
		}, c.got())
		assert.Equal(t, []bool{true, true}, flowing)
		c.clean(t)
	})
}

// A client that takes nothing gets no more than half of what may wait for it, and one item of each stream; then its streams wait.
func TestAStreamWaitsForItsClient(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var made atomic.Int64
		text := strings.Repeat("x", 1000)
		gate, begin := w.gate()
		endless := func(k *Call, args string) (any, error) {
			k.StartStream()
			_, _ = gate(k, args)
			for {
				b, _ := k.Connection().Protocol().AppendItem(nil, k.ID(), text)
				if !k.SendItem(b) {
					return nil, context.Cause(k)
				}
				made.Add(1)
			}
		}
		w.handler.methods["endless"] = endless
		w.settings.SendTimeout = never
		c := w.open("a", "", linktest.Full)
		const streams = 10
		for i := range streams {
			c.say(streaming(strconv.Itoa(i), "endless"))
		}
		w.settle()
		begin()
		w.pass(5 * second)
		assert.LessOrEqual(t, pending(c), w.settings.OutboxLimit/2+streams*(len(text)+200))
		for range 10 {
			before := made.Load()
			c.socket.Drain(16 << 10)
			w.settle()
			after := made.Load()
			assert.LessOrEqual(t, after-before, int64(16+2*streams))
		}
		assert.Greater(t, made.Load(), int64(w.settings.OutboxLimit/2/1200))
		c.say(cancel("0")) // while it waits for room
		w.settle()
		c.conn.calls.mu.Lock()
		assert.Len(t, c.conn.calls.running, streams-1)
		c.conn.calls.mu.Unlock()
		c.conn.Abort()
		w.settle()
		assert.Zero(t, w.sys.workers.busy.Get())
		c.clean(t)
	})
}

// Each way to close ends a stream, whether it waits for room or for something to send.
func TestClosingInTheMiddleOfAStream(t *testing.T) {
	ways := map[string]func(w *world, c *client){
		"cut":   func(_ *world, c *client) { c.socket.Cut() },
		"abort": func(_ *world, c *client) { c.conn.Abort() },
		"close": func(_ *world, c *client) { c.say(`{"type":7}`) },
		"stop":  func(w *world, c *client) { w.sys.actors.Root.Stop(c.conn.PID()) },
		"shutdown": func(w *world, _ *client) {
			w.stopped.Store(true)
			assert.NoError(w.t, w.sys.Shutdown(context.Background()))
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.feeding()
				w.handler.methods["count"] = counting(-1)
				c := w.open("a", "", linktest.Full)
				c.say(streaming("1", "feed"), streaming("2", "count"), streaming("3", "count"))
				w.settle()
				way(w, c)
				w.pass(2*w.settings.CloseTimeout + 3*second)
				assert.Zero(t, w.sys.workers.busy.Get())
				c.gone(t)
				c.clean(t)
			})
		})
	}
}

// A message that cannot be read does not wait for streams, which may never end.
func TestGarbageBehindAStream(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		feed := w.feeding()
		c := w.open("a", "")
		c.say(streaming("1", "feed"), call("2", "echo"))
		feed("1", 1)
		c.say("garbage")
		w.settle()
		got := c.got()
		assert.ElementsMatch(t, []string{itemOf("1", 1), result("2", "[]")}, got[:2])
		assert.Contains(t, got[2], `{"type":7,"error":"Connection closed with an error.`)
	})
}

// Nor does it when both came while OnConnected ran.
func TestGarbageBehindAStreamDuringOnConnected(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		feed := w.feeding()
		gate, open := w.gate()
		w.handler.connected = func(k *Call) error { _, err := gate(k, ""); return err }
		c := w.open("a", "")
		c.say(streaming("1", "feed"), "garbage")
		w.settle()
		open()
		w.settle()
		feed("1", 1)
		assert.Contains(t, strings.Join(c.got(), ""), `{"type":7,"error":"Connection closed with an error.`, "it does not take until the heartbeat loses patience")
	})
}

// ---- turns

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

func TestManyStreamsAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.OutboxLimit = 256 << 10
		w.handler.methods["count"] = counting(20)
		c := w.open("a", "")
		const streams = 300
		var records []string
		for i := range streams {
			records = append(records, streaming(strconv.Itoa(i), "count"))
		}
		c.say(records...)
		w.settle()
		next := make([]int, streams)
		for _, record := range c.got() {
			var id, value int
			if _, err := fmt.Sscanf(record, `{"type":2,"invocationId":"%d","item":%d}`, &id, &value); err == nil {
				require.Equal(t, next[id], value, "stream %d", id)
				next[id]++
				continue
			}
			_, err := fmt.Sscanf(record, `{"type":3,"invocationId":"%d","result":"all"}`, &id)
			require.NoError(t, err, record)
			require.Equal(t, 20, next[id], "the end comes last")
			next[id] = -1
		}
		for id, n := range next {
			require.Equal(t, -1, n, "stream %d has ended", id)
		}
		c.clean(t)
	})
}

// What ends the context of a call with an error of its own is its cause, if it comes first.
func TestFail(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.handler.methods["fail"] = func(k *Call, _ string) (any, error) {
			go func() {
				k.Fail(errors.New("why"))
				k.Fail(errors.New("later"))
			}()
			<-k.Done()
			return nil, context.Cause(k)
		}
		c := w.open("a", "")
		c.say(call("1", "fail"))
		w.settle()
		assert.Equal(t, []string{failure("1", "why")}, c.got())
		c.clean(t)
	})
}
