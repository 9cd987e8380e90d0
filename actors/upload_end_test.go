package actors

import (
	"errors"
	"io"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

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
