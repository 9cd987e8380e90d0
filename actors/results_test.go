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
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/hubproto"
)

func TestAnswer(t *testing.T) {
	tests := map[string]struct {
		answer string
		value  string
		err    error
	}{
		"value":      {result("s1", `{"a":[1]}`), `{"a":[1]}`, nil},
		"null":       {result("s1", "null"), "null", nil},
		"error":      {failure("s1", "no"), "", &ClientError{Text: "no"}},
		"no text":    {failure("s1", ""), "", &ClientError{}},
		"no result":  {uploadEnd("s1"), "", ErrNoResult},
		"misfit":     {result("s1", `"misfit"`), `"misfit"`, errors.New("misfit")},
		"in a batch": {ping + "\x1e" + result("s1", "1") + "\x1e" + ping, "1", nil},
	}
	for name, test := range tests {
		for _, from := range []string{"outside", "a call"} {
			t.Run(name+"/"+from, func(t *testing.T) {
				inBubble(t, func(t *testing.T, e *env) {
					c := e.open("a", "")
					var a *askResult
					if from == "outside" {
						a = e.askAsync(t.Context(), toConnection("a"))
					} else {
						e.handler.methods["ask"] = func(k *Call, _ string) (any, error) {
							a = &askResult{done: make(chan struct{})}
							defer close(a.done)
							a.value, a.err = e.ask(k, &Audience{Kind: Caller, Conn: c.conn})
							return "asked", nil
						}
						c.send(call("1", "ask"))
						e.settle()
					}
					require.Equal(t, []string{askInvocation("s1")}, c.messages())
					require.False(t, a.isDone())
					c.send(test.answer)
					e.settle()
					require.True(t, a.isDone())
					assert.Equal(t, test.value, a.value)
					assert.Equal(t, test.err, a.err)
					c.send(test.answer) // a second answer is ignored
					c.send(call("2", "echo"))
					e.settle()
					assert.Contains(t, c.messages(), result("2", "[]"))
					e.requireNoPendingAsks(t)
					c.requireIdle(t)
				})
			})
		}
	}
}

// A panic while the answer is bound occurs in Invoke, and no resources are leaked.
func TestAnswerWhoseBindPanics(t *testing.T) {
	for name, fail := range map[string]func(){"panic": func() { panic("oh") }, "goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				e.handler.methods["ask"] = func(k *Call, _ string) (any, error) {
					return nil, e.hub.Invoke(k, toConnection("a"), "question", nil, func(hubproto.Protocol, []byte) error { fail(); return nil })
				}
				c := e.open("a", "")
				c.send(call("1", "ask"), call("2", "echo"))
				e.sleep(schedulingTime)
				c.send(result("s1", "1"))
				e.sleep(schedulingTime)
				assert.Len(t, c.messages(), 3)
				e.requireNoPendingAsks(t)
				c.requireIdle(t)
			})
		})
	}
}

// Invoke returns an error for arguments that cannot be encoded, before it waits.
func TestAskWithArgumentsThatCannotBeEncoded(t *testing.T) {
	for name, arg := range map[string]any{"panic": marshalHook(func() { panic("oh") }), "error": func() {}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				c := e.open("a", "")
				a := e.askAsync(t.Context(), toConnection("a"), arg)
				require.True(t, a.isDone())
				assert.ErrorContains(t, a.err, `hubsys: the arguments of "question" cannot be encoded`)
				e.handler.methods["ask"] = func(k *Call, _ string) (any, error) { return e.ask(k, toConnection("a"), arg) }
				c.send(call("1", "ask"), call("2", "echo"))
				e.settle()
				assert.Len(t, c.messages(), 2)
				e.requireNoPendingAsks(t)
				c.requireIdle(t)
			})
		})
	}
}

func TestAskWhoseMarshalerCallsGoexit(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "")
		a := e.askAsync(t.Context(), toConnection("a"), marshalHook(runtime.Goexit))
		require.True(t, a.isDone())
		e.requireNoPendingAsks(t)
		c.requireIdle(t)
	})
}

type marshalHook func()

func (m marshalHook) MarshalJSON() ([]byte, error) { m(); return []byte("null"), nil }

func TestAskErrors(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		_, err := e.ask(t.Context(), toConnection("nobody"))
		assert.Equal(t, &goneError{id: "nobody"}, err)
		assert.EqualError(t, err, "Connection 'nobody' does not exist.")

		c := e.open("a", "")
		other, err := e.sys.NewHub("other", e.handler, e.hub.protocols, HubSettings{MaxNames: 100})
		require.NoError(t, err)
		err = other.Invoke(t.Context(), toConnection("a"), "question", nil, nil)
		assert.Equal(t, &goneError{id: "a"}, err, "it is a connection of another hub")
		assert.Empty(t, c.messages())

		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("before"))
		_, err = e.ask(ctx, toConnection("a"))
		assert.ErrorIs(t, err, ErrUnanswered)
		assert.EqualError(t, err, "Invocation canceled by the server. (before)")
		assert.Empty(t, c.messages())

		c.conn.Abort()
		_, err = e.ask(t.Context(), &Audience{Kind: Caller, Conn: c.conn})
		assert.Equal(t, &goneError{id: "a", existed: true}, err)
		assert.EqualError(t, err, "Connection 'a' disconnected.")
		e.settle()
		_, err = e.ask(t.Context(), toConnection("a"))
		assert.Equal(t, &goneError{id: "a"}, err)

		require.NoError(t, e.shutdown())
		_, err = e.ask(t.Context(), toConnection("a"))
		assert.Equal(t, ErrShutdown, err)
		e.requireNoPendingAsks(t)
	})
}

// Invocation ids of Asks are specific to a hub.
func TestAnswerBelongsToHub(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		other, err := e.sys.NewHub("other", e.handler, e.hub.protocols, HubSettings{MaxNames: 100})
		require.NoError(t, err)
		c := e.open("a", "")
		hub := e.hub
		e.hub = other
		d := e.open("d", "")
		e.hub = hub
		a := e.askAsync(t.Context(), toConnection("a"))
		d.send(result("s1", "1"), call("1", "echo"))
		e.settle()
		assert.False(t, a.isDone())
		assert.Equal(t, []string{result("1", "[]")}, d.messages())
		c.send(result("s1", "2"))
		e.settle()
		assert.True(t, a.isDone())
		assert.Equal(t, "2", a.value)
	})
}

// A connection that answers an Invoke to another connection is closed. The connection that was asked can still answer.
func TestAnswerFromAnotherConnectionIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c, d := e.open("a", ""), e.open("d", "")
		a := e.askAsync(t.Context(), toConnection("a"))
		d.send(call("1", "echo"), result("s1", `"from d"`), call("2", "echo"))
		e.settle()
		const text = "Connection ID 'd' is not valid for invocation ID 's1'."
		assert.Contains(t, e.handler.events(), "disconnected d: "+text)
		got := d.messages()
		assert.Contains(t, got, `{"type":7,"error":"Connection closed with an error. Error: `+text+`","allowReconnect":true}`)
		assert.NotContains(t, got, result("2", "[]"))
		assert.False(t, a.isDone())
		c.send(result("s1", `"from a"`))
		e.settle()
		require.NoError(t, a.err)
		assert.Equal(t, `"from a"`, a.value)
		assert.Zero(t, d.conn.in.charged)
		d.assertRemoved(t)
		c.requireIdle(t)
		e.requireNoPendingAsks(t)
	})
}

// If an upload and a pending Invoke have the same id, messages with it belong to the upload.
func TestUploadTakesPrecedenceOverAskWithSameID(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		rec, _ := e.addTakeMethods()
		c := e.open("a", "")
		c.send(uploadCall("1", "take", "s1"))
		a := e.askAsync(t.Context(), toConnection("a"))
		c.send(uploadItem("s1", "x"), uploadEnd("s1"))
		e.settle()
		assert.False(t, a.isDone())
		items, _ := rec.get("1/s1")
		assert.Equal(t, quotedItems("x"), items)
		c.send(result("s1", "2"))
		e.settle()
		assert.Equal(t, "2", a.value)
		c.requireIdle(t)
	})
}

func TestLateAnswerIsIgnored(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "")
		ctx, cancel := context.WithTimeout(t.Context(), second)
		defer cancel()
		a := e.askAsync(ctx, toConnection("a"))
		e.sleep(second)
		require.True(t, a.isDone())
		assert.ErrorIs(t, a.err, ErrUnanswered)
		assert.ErrorIs(t, a.err, context.DeadlineExceeded)
		e.requireNoPendingAsks(t)
		c.send(result("s1", "1"), call("1", "echo"))
		e.settle()
		assert.Equal(t, []string{askInvocation("s1"), result("1", "[]")}, c.messages())
		c.requireIdle(t)
	})
}

// The client cancels a call that waits for the client's answer.
func TestCancelOfCallThatAsks(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.addAskMethod()
		c := e.open("a", "")
		c.send(call("1", "ask"))
		e.settle()
		c.send(cancel("1"))
		e.settle()
		assert.Equal(t, []string{
			askInvocation("s1"),
			failure("1", "Invocation canceled by the server. (hubsys: the client has canceled the invocation)"),
		}, c.messages())
		c.send(result("s1", "1"))
		e.settle()
		c.requireIdle(t)
		e.requireNoPendingAsks(t)
	})
}

// An answer that races with the end of the context is either returned or released.
func TestAnswerRacesWithEndOfContext(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.OutboxLimit = 16 << 20
		c := e.open("a", "")
		answers := 0
		for i := range 500 {
			ctx, cancel := context.WithCancel(t.Context())
			a := e.askAsync(ctx, toConnection("a"))
			go cancel()
			c.send(result("s"+strconv.Itoa(i+1), "1"))
			e.settle()
			require.True(t, a.isDone())
			if a.err == nil {
				answers++
			} else {
				require.ErrorIs(t, a.err, ErrUnanswered)
			}
			cancel()
		}
		t.Log(answers, "of 500 were answered")
		e.requireNoPendingAsks(t)
		c.requireIdle(t)
	})
}

// Asks end when the connection closes, in any way.
func TestClosingEndsPendingAsks(t *testing.T) {
	ways := map[string]func(e *env, c *client){
		"cut":      func(_ *env, c *client) { c.socket.Cut() },
		"abort":    func(_ *env, c *client) { c.conn.Abort() },
		"close":    func(_ *env, c *client) { c.send(`{"type":7}`) },
		"invalid":  func(_ *env, c *client) { c.send("invalid") },
		"stop":     func(e *env, c *client) { e.sys.actorSystem.Root.Stop(c.conn.PID()) },
		"broken":   func(e *env, c *client) { c.socket.Break(errCut); e.send(&Audience{}, "x") },
		"overflow": func(e *env, c *client) { c.conn.overflowed() },
		"shutdown": func(e *env, _ *client) { assert.NoError(e.t, e.shutdown()) },
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				var callErr error
				e.handler.methods["ask"] = func(k *Call, _ string) (any, error) {
					_, callErr = e.ask(k, toConnection("a"))
					return nil, callErr
				}
				var otherErr error
				e.handler.methods["ask a"] = func(k *Call, _ string) (any, error) {
					_, otherErr = e.ask(k, toConnection("a"))
					return nil, nil
				}
				c, d := e.open("a", ""), e.open("d", "")
				c.send(call("1", "ask"))
				d.send(call("1", "ask a"))
				a := e.askAsync(t.Context(), toConnection("a"))
				way(e, c)
				e.sleep(e.settings.CloseTimeout + 2*second)
				require.True(t, a.isDone())
				want := &goneError{id: "a", existed: true}
				assert.Equal(t, want, a.err)
				assert.Equal(t, want, callErr)
				if name == "shutdown" {
					assert.Error(t, otherErr)
				} else {
					assert.Equal(t, want, otherErr)
				}
				e.requireNoPendingAsks(t)
				c.assertRemoved(t)
				assert.Zero(t, c.conn.calls.slots.taken)
				assert.Zero(t, c.conn.calls.earlySlots())
			})
		})
	}
}

func TestAskInLifetimeEvents(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		var before, after *askResult
		e.handler.connected = func(k *Call) error {
			before = &askResult{}
			before.value, before.err = e.ask(k, toConnection("a"))
			return before.err
		}
		e.handler.disconnected = func(k *Call, _ error) {
			after = &askResult{}
			after.value, after.err = e.ask(k, &Audience{Kind: Caller, Conn: k.Connection()})
			_, other := e.ask(k, toConnection("a"))
			after.err = errors.Join(after.err, other)
		}
		c := e.open("a", "")
		c.send(call("1", "echo"))
		e.settle()
		assert.Equal(t, []string{askInvocation("s1")}, c.messages(), "calls wait for OnConnected")
		c.send(result("s1", `"yes"`))
		e.settle()
		assert.Equal(t, `"yes"`, before.value)
		assert.Equal(t, []string{askInvocation("s1"), result("1", "[]")}, c.messages())
		c.requireIdle(t)
		c.socket.Cut()
		e.settle()
		require.NotNil(t, after)
		assert.EqualError(t, after.err, "Connection 'a' disconnected.\nConnection 'a' disconnected.")
		e.requireNoPendingAsks(t)
	})
}

// An unreadable message closes the connection although an Invoke is pending. Nothing more is read.
func TestProtocolErrorWhileAskIsPending(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.addAskMethod()
		c := e.open("a", "")
		a := e.askAsync(t.Context(), toConnection("a"))
		c.send(call("1", "ask"), call("2", "ask"))
		e.settle()
		c.send("invalid")
		e.settle()
		got := c.messages()
		at := slices.IndexFunc(got, func(m string) bool {
			return strings.HasPrefix(m, `{"type":7,"error":"Connection closed with an error.`)
		})
		require.GreaterOrEqual(t, at, 3, "behind the calls of the client's method, and perhaps behind the failure of one: %q", got)
		assert.Equal(t, &goneError{id: "a", existed: true}, a.err)
		e.sleep(e.settings.CloseTimeout)
		e.requireNoPendingAsks(t)
		c.assertRemoved(t)
	})
}

// Clients answer Asks of several calls concurrently.
func TestConcurrentAsks(t *testing.T) {
	e := newEnv(t, nil, never, hubproto.JSON)
	e.settings.OutboxLimit = 16 << 20
	e.addAskMethod()
	const clients, rounds = 4, 100
	var all sync.WaitGroup
	for i := range clients {
		c := e.connect(fmt.Sprint("c", i), "")
		c.sendHandshake("json")
		require.Eventually(t, func() bool { return len(e.handler.events()) == i+1 }, 5*second, time.Millisecond)
		all.Go(func() { // the client answers all Asks
			seen := 0
			for seen < 2*rounds {
				got := c.records()
				for ; seen < len(got); seen++ {
					if id, ok := strings.CutPrefix(got[seen], `{"type":1,"invocationId":"`); ok {
						id, _, _ = strings.Cut(id, `"`)
						c.send(result(id, strconv.Quote(id)))
					}
				}
				runtime.Gosched()
			}
		})
		all.Go(func() {
			for j := range rounds {
				c.send(call(strconv.Itoa(j), "ask"))
			}
		})
	}
	all.Wait()
	for _, c := range e.clients {
		require.Eventually(t, func() bool { return c.conn.calls.isEmpty() }, 5*second, time.Millisecond)
		c.requireIdle(t)
	}
	e.requireNoPendingAsks(t)
}
