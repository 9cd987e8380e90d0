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

// However a call ends, the items that it has not received are released, and the reader continues.
func TestCallEndsBeforeItsUploads(t *testing.T) {
	ways := map[string]func(e *env, k *Call) (any, error){
		"returns": func(*env, *Call) (any, error) { return "early", nil },
		"fails":   func(*env, *Call) (any, error) { return nil, errors.New("no") },
		"panics":  func(*env, *Call) (any, error) { panic("no") },
		"goexit":  func(*env, *Call) (any, error) { runtime.Goexit(); return nil, nil },
		"takes one": func(_ *env, k *Call) (any, error) {
			list, _ := k.Uploads()
			return nil, list[0].Next(func([]byte) error { return nil })
		},
		"panics in bind": func(_ *env, k *Call) (any, error) {
			list, _ := k.Uploads()
			return nil, list[0].Next(func([]byte) error { panic("no") })
		},
		"goexit in bind": func(_ *env, k *Call) (any, error) {
			list, _ := k.Uploads()
			return nil, list[0].Next(func([]byte) error { runtime.Goexit(); return nil })
		},
		"misfit": func(_ *env, k *Call) (any, error) {
			list, _ := k.Uploads()
			return nil, list[0].Next(func([]byte) error { return errors.New("misfit") })
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				rec, _ := e.addTakeMethods()
				gate, open := e.gate()
				e.handler.methods["way"] = func(k *Call, args string) (any, error) {
					_, _ = gate(k, args)
					return way(e, k)
				}
				c := e.open("a", "")
				c.send(uploadCall("1", "way", "s", "r"))
				var sent func() bool
				for i := range 20 {
					sent = c.sendAsync(uploadItem("s", i), uploadItem("r", i))
				}
				require.False(t, sent())
				open()
				e.settle()
				require.True(t, sent())
				require.Len(t, c.messages(), 1)
				c.send(uploadItem("s", "late"), uploadEnd("s")) // ignored
				c.send(uploadCall("2", "take", "r", "s"), uploadItem("s", "new"), uploadEnd("s"), uploadEnd("r"))
				e.settle()
				items, _ := rec.get("2/s")
				assert.Equal(t, quotedItems("new"), items)
				assert.Len(t, c.messages(), 2)
				c.requireIdle(t)
			})
		})
	}
}

// An upload ends if its bind function fails, panics, or calls Goexit. The call may continue without it, and the client is not blocked.
func TestItemThatCannotBeBoundEndsUpload(t *testing.T) {
	ways := map[string]func() error{
		"fails":  func() error { return errors.New("misfit") },
		"panics": func() error { panic("no") },
		"goexit": func() error { runtime.Goexit(); return nil },
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				e.settings.StreamBuffer = 4
				gate, open := e.gate()
				e.handler.methods["bind"] = func(k *Call, args string) (any, error) {
					list, _ := k.Uploads()
					go func() {
						defer func() { _ = recover() }()
						_ = list[0].Next(func([]byte) error { return way() })
					}()
					_, _ = gate(k, args)
					assert.NotEqual(t, io.EOF, list[0].Next(nil), "the upload does not seem complete")
					return nil, nil
				}
				c := e.open("a", "")
				c.send(uploadCall("1", "bind", "s"))
				var sent func() bool
				for i := range 20 {
					sent = c.sendAsync(uploadItem("s", i))
				}
				c.sendAsync(call("2", "echo"))
				e.sleep(schedulingTime)
				assert.True(t, sent())
				assert.Equal(t, []string{result("2", "[]")}, c.messages())
				open()
				e.sleep(schedulingTime)
				assert.Len(t, c.messages(), 2)
				c.requireIdle(t)
			})
		})
	}
}

// Closing the connection, in any way, ends uploads with the reason, after the items that have arrived, and releases their budget.
func TestClosingEndsUploads(t *testing.T) {
	ways := map[string]struct {
		how  func(e *env, c *client)
		why  error
		runs bool // waiting calls are executed
	}{
		"broken":   {func(e *env, c *client) { c.socket.Break(errCut); e.send(&Audience{}, "x") }, ErrDisconnected, true},
		"abort":    {func(_ *env, c *client) { c.conn.Abort() }, ErrDisconnected, false},
		"shutdown": {func(e *env, _ *client) { assert.NoError(e.t, e.shutdown()) }, ErrShutdown, true},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				rec, open := e.addTakeMethods()
				gate, openGate := e.gate()
				e.handler.methods["gate"] = gate
				e.settings.InboundLimit = 10 * smallMessageCharge
				c := e.open("a", "")
				c.send(uploadCall("1", "take", "s"), uploadItem("s", 1))        // waits for further items
				c.send(uploadCall("2", "later", "r"), uploadItem("r", 1))       // has not begun to receive
				c.send(call("3", "gate"), call("4", "gate"))                    // the calls after these have to wait
				c.send(uploadCall("5", "take", "q", "p"), uploadItem("q", "x")) // does not start
				e.sleep(schedulingTime)
				var sent func() bool
				for i := range 20 {
					sent = c.sendAsync(uploadItem("q", i))
				}
				require.False(t, sent())
				go way.how(e, c)
				if name == "broken" {
					e.sleep(e.settings.CloseTimeout + 2*second)
				}
				e.settle()
				assert.True(t, sent())
				items, err := rec.get("1/s")
				assert.Equal(t, quotedItems(1), items)
				assert.Equal(t, way.why, err)
				open()
				openGate()
				e.sleep(schedulingTime)
				items, err = rec.get("2/r")
				assert.Equal(t, quotedItems(1), items)
				assert.Equal(t, way.why, err)
				items, err = rec.get("5/q")
				if way.runs {
					assert.NotEmpty(t, items)
					assert.Equal(t, quotedItems("x"), items[:1])
					assert.Equal(t, way.why, err)
				} else {
					assert.Nil(t, items)
					assert.NoError(t, err, "it never started")
				}
				c.socket.Cut()
				e.sleep(schedulingTime)
				assert.Zero(t, c.conn.in.charged)
				assert.Zero(t, c.conn.in.fullUploads)
			})
		})
	}
}

// Uploads of calls that never start are removed from the table of uploads.
func TestCallsThatNeverStartLeaveNoUploads(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.addTakeMethods()
		gate, open := e.gate()
		e.handler.methods["gate"] = gate
		c := e.open("a", "")
		c.send(call("1", "gate"), call("2", "gate"), uploadCall("3", "take", "s", "r"), uploadItem("s", 1))
		e.settle()
		c.socket.Cut()
		e.settle()
		open()
		e.settle()
		c.requireIdle(t)
	})
}

// Several goroutines can receive from one upload: each item goes to one of them, and each receives the end.
func TestConcurrentReceiversOfOneUpload(t *testing.T) {
	for name, end := range map[string]string{"end": uploadEnd("s"), "error": failure("s", "broken")} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				e.settings.StreamBuffer = 3
				const takers, count = 5, 300
				var all [takers][]string
				var ends [takers]error
				e.handler.methods["take"] = func(k *Call, _ string) (any, error) {
					list, _ := k.Uploads()
					var wait sync.WaitGroup
					for i := range takers {
						wait.Go(func() { all[i], ends[i] = drainUpload(list[0]) })
					}
					wait.Wait()
					return nil, nil
				}
				c := e.open("a", "")
				c.send(uploadCall("1", "take", "s"))
				var want []any
				for i := range count {
					c.send(uploadItem("s", i))
					want = append(want, i)
				}
				c.send(end)
				e.settle()
				require.Len(t, c.messages(), 1)
				var got []string
				for i := range takers {
					got = append(got, all[i]...)
					if name == "end" {
						assert.Equal(t, io.EOF, ends[i])
					} else {
						assert.Equal(t, &ClientError{Text: "broken"}, ends[i], "each receiver gets the error")
					}
				}
				assert.ElementsMatch(t, quotedItems(want...), got)
				c.requireIdle(t)
			})
		})
	}
}

// Next returns the same error again after the end of the upload.
func TestNextAfterEndReturnsSameError(t *testing.T) {
	for name, end := range map[string]string{"end": uploadEnd("s"), "error": failure("s", "broken")} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				e.settings.StreamBuffer = 3
				var first, second error
				var upload *Upload
				e.handler.methods["take"] = func(k *Call, _ string) (any, error) {
					list, _ := k.Uploads()
					upload = list[0]
					_, first = drainUpload(upload)
					_, second = drainUpload(upload)
					return nil, nil
				}
				c := e.open("a", "")
				c.send(uploadCall("1", "take", "s"), uploadItem("s", 1), end)
				e.settle()
				require.Error(t, first)
				assert.Equal(t, first, second)
				_, err := drainUpload(upload)
				assert.Equal(t, ErrReturned, err, "the call has returned")
				c.requireIdle(t)
			})
		})
	}
}

// If the call has ended, Next returns the reason for that instead of pending items.
func TestNextReturnsCauseOfEndedCall(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		rec, open := e.addTakeMethods()
		c := e.open("a", "")
		c.send(uploadCall("1", "later", "s"), uploadItem("s", 1), uploadEnd("s"), cancel("1"))
		c.send(uploadCall("2", "take", "s"), uploadItem("s", 1))
		e.sleep(schedulingTime)
		c.send(cancel("2"))
		open()
		e.sleep(schedulingTime)
		for key, want := range map[string][]string{"1/s": nil, "2/s": quotedItems(1)} {
			items, err := rec.get(key)
			assert.Equal(t, want, items, key)
			assert.Equal(t, ErrCanceled, err, key)
		}
		c.requireIdle(t)
	})
}
