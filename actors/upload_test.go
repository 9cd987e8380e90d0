package actors

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// uploading is a call to which the client streams.
func uploading(id, target string, streams ...string) string {
	return withStreams(call(id, target), streams)
}

func withStreams(record string, streams []string) string {
	return strings.TrimSuffix(record, "}") + `,"streamIds":["` + strings.Join(streams, `","`) + `"]}`
}

// one is an item of a stream.
func one(stream string, value any) string {
	return fmt.Sprintf(`{"type":2,"invocationId":%q,"item":"%v"}`, stream, value)
}

// over ends a stream.
func over(stream string) string { return fmt.Sprintf(`{"type":3,"invocationId":%q}`, stream) }

// take gives the items of an upload until it ends, and why it did.
func take(u *Upload) (items []string, err error) {
	for {
		if err := u.Next(func(value []byte) error { items = append(items, string(value)); return nil }); err != nil {
			return items, err
		}
	}
}

// quoted is items as a client sends them.
func quoted(items ...any) (all []string) {
	for _, item := range items {
		all = append(all, fmt.Sprintf(`"%v"`, item))
	}
	return all
}

// clean checks that nothing is left of the calls and streams of a connection.
func (c *client) clean(t require.TestingT) {
	q, in := &c.conn.calls, &c.conn.in
	q.mu.Lock()
	defer q.mu.Unlock()
	require.Empty(t, q.running, "running")
	require.Empty(t, q.uploads, "uploads")
	require.Nil(t, q.head)
	require.Zero(t, q.slots.taken, "slots")
	in.mu.Lock()
	defer in.mu.Unlock()
	require.Zero(t, in.charged, "charged")
	require.Zero(t, in.fullUploads, "full")
	require.Nil(t, in.answers)
}

// taken is what a call has got from its uploads.
type taken struct {
	mu    sync.Mutex
	items map[string][]string // by the ids of call and stream
	ends  map[string]error
}

func (s *taken) of(key string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.items[key], s.ends[key]
}

func (s *taken) put(key string, items []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items[key], s.ends[key] = items, err
}

// taking adds methods: "take" takes everything from all streams at once, "later" waits for its gate before.
func (w *world) taking() (s *taken, open func()) {
	s = &taken{items: map[string][]string{}, ends: map[string]error{}}
	gate, open := w.gate()
	w.handler.methods["take"] = func(k *Call, _ string) (any, error) {
		list, id := k.Uploads()
		if id != "" {
			return nil, errors.New("taken: " + id)
		}
		var all sync.WaitGroup
		for _, u := range list {
			all.Go(func() {
				items, err := take(u)
				s.put(string(k.ID())+"/"+u.id, items, err)
			})
		}
		all.Wait()
		return "taken", nil
	}
	w.handler.methods["later"] = func(k *Call, args string) (any, error) {
		_, _ = gate(k, args)
		return w.handler.methods["take"](k, args)
	}
	w.settings.StreamBuffer = 4
	return s, open
}

func TestAnUpload(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s, _ := w.taking()
		c := w.open("a", "")
		c.say(uploading("1", "take", "s"), one("s", 1))
		c.say(one("s", 2))
		w.settle()
		assert.Empty(t, c.got())
		c.say(one("s", 3), over("s"))
		w.settle()
		items, err := s.of("1/s")
		assert.Equal(t, quoted(1, 2, 3), items)
		assert.Equal(t, io.EOF, err)
		assert.Equal(t, []string{result("1", `"taken"`)}, c.got())
		c.clean(t)
	})
}

// What is streamed to a call that waits for its turn waits with it.
func TestItemsThatComeBeforeTheCallStarts(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s, open := w.taking()
		gate, pass := w.gate()
		w.handler.methods["gate"] = gate
		c := w.open("a", "")
		c.say(call("1", "gate"), call("2", "gate"), uploading("3", "take", "s", "r"), one("s", 1))
		c.say(one("r", "x"))
		c.say(one("s", 2), over("s"))
		c.say(over("r"))
		w.pass(soon)
		assert.Empty(t, c.got())
		assert.NotZero(t, c.conn.in.charged)
		pass()
		open()
		w.pass(soon)
		items, err := s.of("3/s")
		assert.Equal(t, quoted(1, 2), items)
		assert.Equal(t, io.EOF, err)
		items, _ = s.of("3/r")
		assert.Equal(t, quoted("x"), items)
		assert.ElementsMatch(t, []string{result("1", `"passed"`), result("2", `"passed"`), result("3", `"taken"`)}, c.got())
		c.clean(t)
	})
}

// They wait for the end of OnConnected, too.
func TestItemsThatComeDuringOnConnected(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s, _ := w.taking()
		gate, open := w.gate()
		w.handler.connected = func(k *Call) error { _, err := gate(k, ""); return err }
		c := w.open("a", "")
		c.say(uploading("1", "take", "s"), one("s", 1))
		c.say(one("s", 2), over("s"))
		w.settle()
		assert.Empty(t, c.got())
		open()
		w.settle()
		items, _ := s.of("1/s")
		assert.Equal(t, quoted(1, 2), items)
		assert.Len(t, c.got(), 1)
		c.clean(t)
	})
}

func TestSeveralUploadsAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s, _ := w.taking()
		c := w.open("a", "")
		c.say(uploading("1", "take", "a", "b"), uploading("2", "take", "c"), uploading("", "take", "d"))
		want := map[string][]any{}
		for i := range 50 {
			for _, id := range []string{"a", "b", "c", "d"}[i%3:] {
				c.say(one(id, i))
				want[id] = append(want[id], i)
			}
		}
		c.say(over("b"), failure("c", "broken"))
		c.say(over("d"), over("a"))
		w.settle()
		for _, key := range []string{"1/a", "1/b", "2/c", "/d"} {
			items, err := s.of(key)
			_, id, _ := strings.Cut(key, "/")
			assert.Equal(t, quoted(want[id]...), items, key)
			if id == "c" {
				assert.Equal(t, &ClientError{Text: "broken"}, err)
			} else {
				assert.Equal(t, io.EOF, err, key)
			}
		}
		assert.ElementsMatch(t, []string{result("1", `"taken"`), result("2", `"taken"`)}, c.got())
		c.clean(t)
	})
}

// What is for no upload, or for one that has ended, is nobody's error.
func TestItemsAndEndsOfNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s, _ := w.taking()
		c := w.open("a", "")
		c.say(one("none", 1), over("none"), failure("none", "x"))
		c.say(uploading("1", "take", "s"), one("s", 1), over("s"), one("s", 2), over("s"), failure("s", "late"))
		c.say(one("s", 3))
		w.settle()
		items, err := s.of("1/s")
		assert.Equal(t, quoted(1), items)
		assert.Equal(t, io.EOF, err)
		c.say(call("2", "echo"))
		w.settle()
		assert.Equal(t, []string{result("1", `"taken"`), result("2", "[]")}, c.got())
		c.clean(t)
	})
}

// The ids of a call are those of its connection.
func TestUploadsOfTwoConnections(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s, _ := w.taking()
		a, b := w.open("a", ""), w.open("b", "")
		a.say(uploading("1", "take", "s"))
		b.say(uploading("2", "take", "s"))
		a.say(one("s", "a"))
		b.say(one("s", "b"), over("s"))
		a.say(over("s"))
		w.settle()
		for key, want := range map[string]string{"1/s": "a", "2/s": "b"} {
			items, _ := s.of(key)
			assert.Equal(t, quoted(want), items)
		}
		a.clean(t)
		b.clean(t)
	})
}

// An id is free again when its stream has ended, though its call is still to take what has come.
func TestAnIDIsUsedAgainAfterTheEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s, open := w.taking()
		c := w.open("a", "")
		c.say(uploading("1", "later", "s"), one("s", 1), one("s", 2), over("s"))
		c.say(uploading("2", "later", "s"), one("s", 3), failure("s", "no more"))
		c.say(uploading("3", "take", "s"), one("s", 4))
		w.pass(soon)
		c.say(one("s", 5), over("s"))
		w.pass(soon)
		items, _ := s.of("3/s")
		assert.Equal(t, quoted(4, 5), items)
		open()
		w.pass(soon)
		items, err := s.of("1/s")
		assert.Equal(t, quoted(1, 2), items)
		assert.Equal(t, io.EOF, err)
		items, err = s.of("2/s")
		assert.Equal(t, quoted(3), items)
		assert.Equal(t, &ClientError{Text: "no more"}, err)
		c.clean(t)
	})
}

// The end of an older call leaves the stream that has its id now alone.
func TestTheEndOfACallLeavesTheNextStreamAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s, open := w.taking()
		c := w.open("a", "")
		c.say(uploading("1", "later", "s"), over("s"), uploading("2", "take", "s"))
		w.settle()
		open()
		w.settle()
		assert.Equal(t, []string{result("1", `"taken"`)}, c.got())
		c.say(one("s", 1), over("s"))
		w.settle()
		items, _ := s.of("2/s")
		assert.Equal(t, quoted(1), items)
		c.clean(t)
	})
}

func TestIDsThatAreInUse(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s, _ := w.taking()
		c := w.open("a", "")
		c.say(uploading("1", "take", "s"))
		c.say(uploading("2", "take", "n", "s"), one("n", "x"), one("s", 1))
		c.say(uploading("3", "take", "m", "m"), uploading("4", "take", "n", "m"), one("n", 2), over("n"), over("m"))
		c.say(one("s", 3), over("s"))
		w.settle()
		assert.ElementsMatch(t, []string{failure("2", "taken: s"), failure("3", "taken: m"), result("4", `"taken"`), result("1", `"taken"`)}, c.got())
		items, _ := s.of("1/s")
		assert.Equal(t, quoted(1, 3), items, "the first goes on")
		items, _ = s.of("4/n")
		assert.Equal(t, quoted(2), items)
		c.clean(t)
	})
}

// The reader waits for an upload that is linktest.Full, and goes on when its items are taken.
func TestTheReaderWaitsForAFullUpload(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s, open := w.taking()
		c := w.open("a", "")
		c.say(uploading("1", "later", "s"))
		var records []any
		var sent func() bool
		for i := range 40 {
			sent = c.later(one("s", i))
			records = append(records, i)
		}
		assert.False(t, sent())
		assert.True(t, c.conn.in.waiting.Load())
		u := c.conn.calls.upload([]byte("s"), false)
		assert.LessOrEqual(t, len(u.items), w.settings.StreamBuffer+1)
		assert.Equal(t, 1, c.conn.in.fullUploads)
		ended := c.later(over("s"))
		open()
		w.settle()
		assert.True(t, sent())
		assert.True(t, ended())
		items, err := s.of("1/s")
		assert.Equal(t, quoted(records...), items)
		assert.Equal(t, io.EOF, err)
		c.clean(t)
	})
}

// What one read has brought is kept, however much it is.
func TestMoreThanTheBufferHoldsInOneRead(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s, open := w.taking()
		c := w.open("a", "")
		records := []string{uploading("1", "later", "s", "r")}
		var want []any
		for i := range 20 {
			records = append(records, one("s", i), one("r", i))
			want = append(want, i)
		}
		c.say(append(records, over("s"), over("r"))...)
		w.settle()
		assert.Equal(t, 2, c.conn.in.fullUploads)
		sent := c.later(call("2", "echo"))
		assert.False(t, sent())
		open()
		w.settle()
		assert.True(t, sent())
		for _, id := range []string{"s", "r"} {
			items, _ := s.of("1/" + id)
			assert.Equal(t, quoted(want...), items)
		}
		c.clean(t)
	})
}

// An upload that holds what it may hold keeps nobody waiting yet: what the client sends next may be what its call waits for.
func TestABufferThatIsJustFull(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.StreamBuffer = 2
		w.handler.methods["second"] = func(k *Call, _ string) (any, error) { // takes the second stream first
			list, _ := k.Uploads()
			second, _ := take(list[1])
			first, _ := take(list[0])
			return append(second, first...), nil
		}
		c := w.open("a", "")
		sent := []func() bool{
			c.later(uploading("1", "second", "s", "r"), one("s", 1)), c.later(one("s", 2)), c.later(one("r", 3)), c.later(over("r")), c.later(over("s")),
		}
		w.settle()
		for i, sent := range sent {
			assert.True(t, sent(), "record %d is read", i)
		}
		assert.Equal(t, []string{result("1", `["\"3\"","\"1\"","\"2\""]`)}, c.got())
		c.clean(t)
	})
}

// However a call ends, what it has not taken is let go, and the reader goes on.
func TestCallsThatEndBeforeTheirUploads(t *testing.T) {
	ways := map[string]func(w *world, k *Call) (any, error){
		"returns": func(*world, *Call) (any, error) { return "early", nil },
		"fails":   func(*world, *Call) (any, error) { return nil, errors.New("no") },
		"panics":  func(*world, *Call) (any, error) { panic("no") },
		"goexit":  func(*world, *Call) (any, error) { runtime.Goexit(); return nil, nil },
		"takes one": func(_ *world, k *Call) (any, error) {
			list, _ := k.Uploads()
			return nil, list[0].Next(func([]byte) error { return nil })
		},
		"panics in bind": func(_ *world, k *Call) (any, error) {
			list, _ := k.Uploads()
			return nil, list[0].Next(func([]byte) error { panic("no") })
		},
		"goexit in bind": func(_ *world, k *Call) (any, error) {
			list, _ := k.Uploads()
			return nil, list[0].Next(func([]byte) error { runtime.Goexit(); return nil })
		},
		"misfit": func(_ *world, k *Call) (any, error) {
			list, _ := k.Uploads()
			return nil, list[0].Next(func([]byte) error { return errors.New("misfit") })
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				s, _ := w.taking()
				gate, open := w.gate()
				w.handler.methods["way"] = func(k *Call, args string) (any, error) {
					_, _ = gate(k, args)
					return way(w, k)
				}
				c := w.open("a", "")
				c.say(uploading("1", "way", "s", "r"))
				var sent func() bool
				for i := range 20 {
					sent = c.later(one("s", i), one("r", i))
				}
				require.False(t, sent())
				open()
				w.settle()
				require.True(t, sent())
				require.Len(t, c.got(), 1)
				c.say(one("s", "late"), over("s")) // nobody's
				c.say(uploading("2", "take", "r", "s"), one("s", "new"), over("s"), over("r"))
				w.settle()
				items, _ := s.of("2/s")
				assert.Equal(t, quoted("new"), items)
				assert.Len(t, c.got(), 2)
				c.clean(t)
			})
		})
	}
}

// A bind that panics ends the stream as one that fails does: the call may live on without it, and its client goes on as well.
func TestAStreamWhoseItemCannotBeBound(t *testing.T) {
	ways := map[string]func() error{
		"fails":  func() error { return errors.New("misfit") },
		"panics": func() error { panic("no") },
		"goexit": func() error { runtime.Goexit(); return nil },
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.settings.StreamBuffer = 4
				gate, open := w.gate()
				w.handler.methods["bind"] = func(k *Call, args string) (any, error) {
					list, _ := k.Uploads()
					go func() {
						defer func() { _ = recover() }()
						_ = list[0].Next(func([]byte) error { return way() })
					}()
					_, _ = gate(k, args)
					assert.NotEqual(t, io.EOF, list[0].Next(nil), "the stream does not look whole")
					return nil, nil
				}
				c := w.open("a", "")
				c.say(uploading("1", "bind", "s"))
				var sent func() bool
				for i := range 20 {
					sent = c.later(one("s", i))
				}
				c.later(call("2", "echo"))
				w.pass(soon)
				assert.True(t, sent())
				assert.Equal(t, []string{result("2", "[]")}, c.got())
				open()
				w.pass(soon)
				assert.Len(t, c.got(), 2)
				c.clean(t)
			})
		})
	}
}

// Each way to close ends the streams with the reason, behind the items that have come, and gives the budget back.
func TestClosingInTheMiddleOfAnUpload(t *testing.T) {
	ways := map[string]struct {
		how  func(w *world, c *client)
		why  error
		runs bool // what waits is executed
	}{
		"broken":   {func(w *world, c *client) { c.socket.Break(errCut); w.send(&Audience{}, "x") }, ErrDisconnected, true},
		"abort":    {func(_ *world, c *client) { c.conn.Abort() }, ErrDisconnected, false},
		"shutdown": {func(w *world, _ *client) { assert.NoError(w.t, w.shutdown()) }, ErrShutdown, true},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				s, open := w.taking()
				gate, openGate := w.gate()
				w.handler.methods["gate"] = gate
				w.settings.InboundLimit = 10 * charge
				c := w.open("a", "")
				c.say(uploading("1", "take", "s"), one("s", 1))        // waits for more
				c.say(uploading("2", "later", "r"), one("r", 1))       // has not begun to take
				c.say(call("3", "gate"), call("4", "gate"))            // so that what follows waits
				c.say(uploading("5", "take", "q", "p"), one("q", "x")) // has not started
				w.pass(soon)
				var sent func() bool
				for i := range 20 {
					sent = c.later(one("q", i))
				}
				require.False(t, sent())
				go way.how(w, c)
				if name == "broken" {
					w.pass(w.settings.CloseTimeout + 2*second)
				}
				w.settle()
				assert.True(t, sent())
				items, err := s.of("1/s")
				assert.Equal(t, quoted(1), items)
				assert.Equal(t, way.why, err)
				open()
				openGate()
				w.pass(soon)
				items, err = s.of("2/r")
				assert.Equal(t, quoted(1), items)
				assert.Equal(t, way.why, err)
				items, err = s.of("5/q")
				if way.runs {
					assert.NotEmpty(t, items)
					assert.Equal(t, quoted("x"), items[:1])
					assert.Equal(t, way.why, err)
				} else {
					assert.Nil(t, items)
					assert.NoError(t, err, "it never started")
				}
				c.socket.Cut()
				w.pass(soon)
				assert.Zero(t, c.conn.in.charged)
				assert.Zero(t, c.conn.in.fullUploads)
			})
		})
	}
}

// Calls that never start leave nothing in the table of streams.
func TestTheTableOfUploadsAfterTheEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.taking()
		gate, open := w.gate()
		w.handler.methods["gate"] = gate
		c := w.open("a", "")
		c.say(call("1", "gate"), call("2", "gate"), uploading("3", "take", "s", "r"), one("s", 1))
		w.settle()
		c.socket.Cut()
		w.settle()
		open()
		w.settle()
		c.clean(t)
	})
}

// One stream can be taken by several goroutines: each item goes to one of them, and each is told the end.
func TestSeveralTakeFromOneUpload(t *testing.T) {
	for name, end := range map[string]string{"end": over("s"), "error": failure("s", "broken")} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.settings.StreamBuffer = 3
				const takers, count = 5, 300
				var all [takers][]string
				var ends [takers]error
				w.handler.methods["take"] = func(k *Call, _ string) (any, error) {
					list, _ := k.Uploads()
					var wait sync.WaitGroup
					for i := range takers {
						wait.Go(func() { all[i], ends[i] = take(list[0]) })
					}
					wait.Wait()
					return nil, nil
				}
				c := w.open("a", "")
				c.say(uploading("1", "take", "s"))
				var want []any
				for i := range count {
					c.say(one("s", i))
					want = append(want, i)
				}
				c.say(end)
				w.settle()
				require.Len(t, c.got(), 1)
				var got []string
				for i := range takers {
					got = append(got, all[i]...)
					if name == "end" {
						assert.Equal(t, io.EOF, ends[i])
					} else {
						assert.Equal(t, &ClientError{Text: "broken"}, ends[i], "a stream that was cut off looks whole to a taker that is not told")
					}
				}
				assert.ElementsMatch(t, quoted(want...), got)
				c.clean(t)
			})
		})
	}
}

// The end of a stream stays what it was.
func TestNextAfterTheEnd(t *testing.T) {
	for name, end := range map[string]string{"end": over("s"), "error": failure("s", "broken")} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.settings.StreamBuffer = 3
				var first, second error
				var kept *Upload
				w.handler.methods["take"] = func(k *Call, _ string) (any, error) {
					list, _ := k.Uploads()
					kept = list[0]
					_, first = take(kept)
					_, second = take(kept)
					return nil, nil
				}
				c := w.open("a", "")
				c.say(uploading("1", "take", "s"), one("s", 1), end)
				w.settle()
				require.Error(t, first)
				assert.Equal(t, first, second)
				_, err := take(kept)
				assert.Equal(t, ErrReturned, err, "the call has returned")
				c.clean(t)
			})
		})
	}
}

// The reason why a call has ended goes before what it could still take.
func TestNextOfACallThatHasEnded(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s, open := w.taking()
		c := w.open("a", "")
		c.say(uploading("1", "later", "s"), one("s", 1), over("s"), cancel("1"))
		c.say(uploading("2", "take", "s"), one("s", 1))
		w.pass(soon)
		c.say(cancel("2"))
		open()
		w.pass(soon)
		for key, want := range map[string][]string{"1/s": nil, "2/s": quoted(1)} {
			items, err := s.of(key)
			assert.Equal(t, want, items, key)
			assert.Equal(t, ErrCanceled, err, key)
		}
		c.clean(t)
	})
}

// An item is charged until it is taken.
func TestItemsAreCharged(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		s, open := w.taking()
		w.settings.StreamBuffer = 1000
		w.settings.InboundLimit = 5*charge + 100
		c := w.open("a", "")
		c.say(uploading("1", "later", "s"))
		var sent func() bool
		for i := range 8 {
			sent = c.later(one("s", i))
		}
		assert.False(t, sent())
		assert.Equal(t, 5*charge, c.conn.in.charged)
		open()
		w.settle()
		assert.True(t, sent())
		c.say(over("s"))
		w.settle()
		items, _ := s.of("1/s")
		assert.Len(t, items, 8)
		c.clean(t)
	})
}

// ---- the model

// script is what the calls of the model do, and what they have got.
type script struct {
	w     *world
	mu    sync.Mutex
	gates map[string]chan struct{}
	got   map[string][]string // by stream
	ends  map[string]error
}

func newScript(w *world) *script {
	s := &script{w: w, gates: map[string]chan struct{}{}, got: map[string][]string{}, ends: map[string]error{}}
	for _, how := range []string{"take", "one", "panic", "goexit", "none"} {
		w.handler.methods["now-"+how] = func(k *Call, _ string) (any, error) { return s.run(k, how) }
		w.handler.methods["gate-"+how] = func(k *Call, _ string) (any, error) {
			select {
			case <-s.gate(string(k.ID())):
			case <-w.over:
			}
			return s.run(k, how)
		}
	}
	return s
}

func (s *script) gate(id string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gates[id] == nil {
		s.gates[id] = make(chan struct{})
	}
	return s.gates[id]
}

func (s *script) run(k *Call, how string) (any, error) {
	list, _ := k.Uploads()
	if how == "none" {
		return how, nil
	}
	ended := make(chan struct{}, len(list))
	for _, u := range list {
		go func() {
			for {
				err := u.Next(func(value []byte) error {
					s.mu.Lock()
					defer s.mu.Unlock()
					key := string(k.ID()) + "/" + u.id
					s.got[key] = append(s.got[key], strings.Trim(string(value), `"`))
					return nil
				})
				if err != nil {
					s.mu.Lock()
					s.ends[string(k.ID())+"/"+u.id] = err
					s.mu.Unlock()
				}
				if err != nil || how != "take" {
					ended <- struct{}{}
					return
				}
			}
		}()
	}
	for i := range list {
		if how == "take" || i == 0 { // others end with whichever stream is the first
			<-ended
		}
	}
	switch how {
	case "panic":
		panic("no")
	case "goexit":
		runtime.Goexit()
	}
	return how, nil
}

// Calls with and without streams, items, ends and cancels in any order: what a call takes of a stream is the beginning of what was sent,
// in order, and all of it if the call takes everything; all calls are answered, and nothing is left.
func TestUploadModel(t *testing.T) {
	type stream struct {
		key  string // of the call and the stream
		id   string
		sent []string
		over bool
	}
	type work struct {
		id       string
		how      string
		gated    bool
		streams  []*stream
		canceled bool
	}
	inBubble(t, func(t *testing.T, w *world) {
		connection := 0
		w.property(func(t *rapid.T) {
			s := newScript(w)
			connection++
			w.settings.Parallel = rapid.IntRange(1, 3).Draw(t, "limit")
			w.settings.StreamBuffer = rapid.IntRange(1, 4).Draw(t, "buffer")
			w.settings.InboundLimit = rapid.SampledFrom([]int{1, 3 * charge, 1 << 20}).Draw(t, "budget")
			c := w.open(fmt.Sprint("c", connection), "")
			defer c.socket.Cut()
			var calls []*work
			var open []*stream
			used := map[string]bool{} // ids of streams that have not ended
			item := 0
			say := func(records ...string) { c.later(records...) }
			end := func(st *stream) {
				open = slices.DeleteFunc(open, func(o *stream) bool { return o == st })
				delete(used, st.id)
				st.over = true
			}
			t.Repeat(map[string]func(*rapid.T){
				"": func(t *rapid.T) {
					w.settle()
					q := &c.conn.calls
					q.mu.Lock()
					defer q.mu.Unlock()
					require.LessOrEqual(t, int(q.slots.taken), w.settings.Parallel)
					require.LessOrEqual(t, c.conn.in.fullUploads, 3*len(calls))
				},
				"call": func(t *rapid.T) {
					k := &work{id: strconv.Itoa(len(calls))}
					k.how = rapid.SampledFrom([]string{"take", "take", "take", "one", "panic", "goexit", "none"}).Draw(t, "how")
					k.gated = rapid.Bool().Draw(t, "gated")
					var ids []string
					for range rapid.IntRange(0, 3).Draw(t, "streams") {
						id := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}).Draw(t, "stream")
						if used[id] {
							continue
						}
						used[id] = true
						st := &stream{key: k.id + "/" + id, id: id}
						k.streams, open, ids = append(k.streams, st), append(open, st), append(ids, id)
					}
					target := "now-" + k.how
					if k.gated {
						target = "gate-" + k.how
					}
					calls = append(calls, k)
					if len(ids) > 0 {
						say(uploading(k.id, target, ids...))
					} else {
						say(call(k.id, target))
					}
				},
				"items": func(t *rapid.T) {
					if len(open) == 0 {
						return // nothing to send to
					}
					var records []string
					for range rapid.IntRange(1, 6).Draw(t, "items") {
						st := rapid.SampledFrom(open).Draw(t, "stream")
						st.sent = append(st.sent, strconv.Itoa(item))
						records = append(records, one(st.id, item))
						item++
					}
					if rapid.Bool().Draw(t, "together") {
						say(records...)
						return
					}
					for _, record := range records {
						say(record)
					}
				},
				"end": func(t *rapid.T) {
					if len(open) == 0 {
						return // nothing to end
					}
					st := rapid.SampledFrom(open).Draw(t, "stream")
					end(st)
					if rapid.Bool().Draw(t, "fails") {
						say(failure(st.id, "broken"))
					} else {
						say(over(st.id))
					}
				},
				"cancel": func(t *rapid.T) {
					if len(calls) == 0 {
						return // nothing to cancel
					}
					k := rapid.SampledFrom(calls).Draw(t, "call")
					k.canceled = true
					say(cancel(k.id))
				},
				"open": func(t *rapid.T) {
					if len(calls) == 0 {
						return // nothing waits
					}
					k := rapid.SampledFrom(calls).Draw(t, "call")
					if k.gated {
						k.gated = false
						close(s.gate(k.id))
					}
				},
			})
			for _, st := range slices.Clone(open) {
				end(st)
				say(over(st.id))
			}
			for _, k := range calls {
				if k.gated {
					close(s.gate(k.id))
				}
			}
			w.pass(soon)
			answers := map[string]int{}
			for _, record := range c.got() {
				for _, k := range calls {
					if strings.Contains(record, `"invocationId":"`+k.id+`"`) {
						answers[k.id]++
					}
				}
			}
			for _, k := range calls {
				require.Equal(t, 1, answers[k.id], "answers to %s", k.id)
				for _, st := range k.streams {
					got := s.got[st.key]
					require.LessOrEqual(t, len(got), len(st.sent))
					require.True(t, slices.Equal(st.sent[:len(got)], got), "%s: %q of %q", st.key, got, st.sent)
					if k.how == "take" && !k.canceled {
						require.Len(t, got, len(st.sent), st.key)
						require.NotErrorIs(t, s.ends[st.key], context.Canceled)
					}
				}
			}
			c.clean(t)
		})
	})
}
