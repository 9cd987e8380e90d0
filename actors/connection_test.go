package actors

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/hubproto"
)

func TestHandshake(t *testing.T) {
	tests := []struct{ name, request, answer string }{
		{"json", `{"protocol":"json","version":1}`, `{}`},
		{"case", `{"protocol":"JSON","version":2}`, `{}`},
		{"protocol", `{"protocol":"x","version":1}`, `{"error":"The protocol 'x' is not supported."}`},
		{"version", `{"protocol":"json","version":3}`, `{"error":"The server does not support version 3 of the 'json' protocol."}`},
		{"nothing", `{}`, `{"error":"An unexpected error occurred during connection handshake. Error: Missing required property 'protocol'. Message content: {}"}`},
		{"too long", `{"protocol":"` + strings.Repeat("x", 33<<10), `{"error":"Handshake was canceled."}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				c := w.connect("a", "")
				c.say(test.request, call("1", "echo"))
				w.settle()
				if test.answer == "{}" {
					assert.Equal(t, []string{"{}", result("1", "[]")}, c.everything())
					assert.Equal(t, []string{"connected a"}, w.handler.noted())
					return
				}
				assert.Equal(t, []string{test.answer, "close 1000"}, c.everything())
				assert.Empty(t, w.handler.noted())
				c.gone(t)
			})
		})
	}
}

func TestTheEndBeforeTheHandshake(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		silent, half := w.connect("silent", ""), w.connect("half", "")
		half.write([]byte(`{"protocol"`))
		silent.socket.Cut()
		half.socket.Cut()
		w.settle()
		silent.gone(t)
		half.gone(t)
		assert.Empty(t, w.handler.noted())
	})
}

func TestInvocationsWaitForOnConnected(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		gate, open := w.gate()
		w.handler.connected = func(k *Call) error {
			assert.NotEmpty(t, k.PID().Id)
			assert.Same(t, k.Connection(), w.sys.connections.find("a"))
			w.send(&Audience{Kind: Users, Names: []string{"bob"}}, "hello")
			require.NoError(t, w.hub.Join(k, "a", "g"))
			_, _ = gate(k, "")
			return nil
		}
		c := w.connect("a", "bob")
		c.shake("json")
		c.say(call("1", "echo"), call("2", "echo"), ping)
		w.pass(second)
		assert.Equal(t, []string{told("hello")}, c.got(), "it is a member of everything already")
		assert.True(t, c.conn.pinged.Load(), "only invocations wait")
		w.send(&Audience{Kind: Groups, Names: []string{"g"}}, "group")
		open()
		w.settle()
		assert.Equal(t, []string{told("hello"), told("group"), result("1", "[]"), result("2", "[]")}, c.got())
	})
}

func TestOnConnectedFails(t *testing.T) {
	ways := map[string]struct {
		how  func() error
		text string
	}{
		"error":  {func() error { return errors.New("no") }, "no"},
		"panic":  {func() error { panic("oh") }, "panic: oh"},
		"goexit": {func() error { runtime.Goexit(); return nil }, "runtime.Goexit was called"},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.handler.connected = func(*Call) error { return way.how() }
				c := w.connect("a", "bob")
				c.shake("json")
				c.say(call("1", "echo"))
				w.settle()
				want := fmt.Sprintf(`{"type":7,"error":"Connection closed with an error. Error: %s"}`, way.text)
				assert.Equal(t, []string{"{}", want, "close 1000"}, c.everything())
				assert.Equal(t, []string{"connected a"}, w.handler.noted(), "no OnDisconnected")
				c.gone(t)
				assert.Zero(t, w.sys.workers.busy.Get())
			})
		})
	}
}

func (badError) Error() string { panic("bad") }

// The text of a user's error is user code: it may panic and may block, and must do neither in the connection's actor.
func TestOnConnectedFailsWithABadError(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.handler.connected = func(*Call) error { return badError{} }
		c := w.open("a", "bob")
		w.pass(second)
		assert.True(t, c.socket.IsFinished(), "the connection is closed")
		c.gone(t)
	})
}

func TestTheTextOfAnErrorIsNotMadeByTheActor(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		gate, open := w.gate()
		w.handler.connected = func(*Call) error { return errors.New("no") }
		w.handler.describe = func(generic string, _ error) string { _, _ = gate(nil, ""); return generic }
		w.open("a", "")
		ctx, cancel := context.WithTimeout(context.Background(), second)
		defer cancel()
		require.NoError(t, w.hub.Join(ctx, "a", "g"), "the actor goes on")
		open()
		w.settle()
	})
}

func TestCloseDuringOnConnected(t *testing.T) {
	for _, err := range []error{nil, errors.New("no")} {
		inBubble(t, func(t *testing.T, w *world) {
			gate, open := w.gate()
			var cause error
			w.handler.connected = func(k *Call) error {
				_, _ = gate(k, "")
				cause = context.Cause(k)
				return err
			}
			c := w.open("a", "bob")
			c.say(call("1", "echo"), `{"type":7,"error":"bye"}`)
			w.pass(second)
			assert.Equal(t, []string{"connected a"}, w.handler.noted(), "and waited for")
			assert.NotNil(t, w.sys.connections.find("a"))
			open()
			w.settle()
			require.NoError(t, cause, "it is not canceled")
			if err == nil {
				assert.Equal(t, []string{"connected a", "disconnected a: bye"}, w.handler.noted())
			} else {
				assert.Equal(t, []string{"connected a"}, w.handler.noted())
			}
			c.gone(t)
		})
	}
}

func TestClientCloses(t *testing.T) {
	tests := map[string]struct{ message, cause string }{
		"normal":          {`{"type":7}`, "<nil>"},
		"error":           {`{"type":7,"error":"why"}`, "why"},
		"empty error":     {`{"type":7,"error":""}`, ""},
		"allow reconnect": {`{"type":7,"allowReconnect":true}`, "<nil>"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				c := w.open("a", "")
				c.say(call("1", "echo"))
				w.settle()
				c.say(test.message, call("2", "echo"))
				w.settle()
				c.say(call("3", "echo"))
				w.settle()
				assert.Equal(t, []string{result("1", "[]"), `{"type":7}`, "close 1000"}, c.got())
				assert.Equal(t, []string{"connected a", "disconnected a: " + test.cause}, w.handler.noted())
				c.gone(t)
			})
		})
	}
}

// A client that is gone, or has left on the level of its transport, has closed normally, but for what the transport found wrong.
func TestTheTransportEnds(t *testing.T) {
	for _, err := range []error{nil, errors.New("no UTF-8")} {
		inBubble(t, func(t *testing.T, w *world) {
			c := w.open("a", "")
			c.end(err)
			w.settle()
			assert.Equal(t, []string{"close 1000"}, c.got())
			assert.Equal(t, fmt.Sprint("disconnected a: ", err), w.handler.noted()[1])
			c.gone(t)
		})
	}
}

func TestAbort(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open("a", "")
		w.send(&Audience{}, "before")
		c.conn.Abort()
		<-c.conn.Done()
		w.send(&Audience{}, "after")
		w.settle()
		assert.Equal(t, []string{told("before"), `{"type":7}`, "close 1000"}, c.got())
		assert.Equal(t, "disconnected a: <nil>", w.handler.noted()[1])
		c.conn.Abort()
		w.settle()
		c.gone(t)
	})
}

// Done is closed for everybody who asks for it, before, after, or while the connection begins to close.
func TestDoneOfAConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		for i := range 50 {
			c := w.open(fmt.Sprint(i), "")
			for j := range 4 {
				go func() { <-c.conn.Done() }()
				if j == i%4 {
					go c.conn.Abort()
				}
			}
			<-c.conn.Done()
		}
	}) // which waits for all of them
}

// Whatever closes a connection, and however much at once: OnDisconnected runs once.
func TestOnDisconnectedRunsOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.OutboxLimit = 100
		for i := range 30 {
			id := fmt.Sprint(i)
			c := w.open(id, "")
			start := make(chan struct{})
			for _, end := range []func(){
				c.socket.Cut,
				c.conn.Abort,
				func() { c.say(`{"type":7}`) },
				func() { c.say("nonsense") },
				func() { w.sys.actors.Root.Stop(c.conn.PID()) },
				c.upset,
				func() { w.send(&Audience{}, "x", strings.Repeat("x", 100)) },
			} {
				go func() { <-start; end() }()
			}
			close(start)
			w.settle()
			n := 0
			for _, event := range w.handler.noted() {
				if strings.HasPrefix(event, "disconnected "+id+":") {
					n++
				}
			}
			require.Equal(t, 1, n, w.handler.noted())
			c.gone(t)
		}
	})
}

func TestOnDisconnectedThatPanics(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		for i, how := range []func(){func() { panic("oh") }, runtime.Goexit} {
			w.handler.disconnected = func(*Call, error) { how() }
			c := w.open(fmt.Sprint(i), "bob")
			require.NoError(t, w.hub.Join(context.Background(), c.conn.id, "g"))
			c.socket.Cut()
			w.settle()
			c.gone(t)
		}
	})
}

func TestOnDisconnectedCanSend(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.handler.disconnected = func(k *Call, _ error) {
			assert.NoError(t, k.Err())
			assert.NoError(t, w.hub.Send(k, &Audience{}, "left", []any{k.Connection().ID()}))
			assert.NoError(t, w.hub.Join(k, k.Connection().ID(), "ghosts"))
		}
		other := w.open("other", "")
		c := w.open("a", "")
		c.say(`{"type":7}`)
		w.settle()
		assert.Equal(t, []string{told("left", "a")}, other.got())
		assert.Equal(t, []string{`{"type":7}`, "close 1000"}, c.got())
		assert.Nil(t, w.hub.groups.find("ghosts"), "who is leaving joins nothing")
		w.handler.disconnected = nil
	})
}

func TestProtocolErrors(t *testing.T) {
	tooLarge := (&hubproto.TooLargeError{Limit: 32 << 10}).Error()
	tests := map[string]struct{ bytes, text string }{
		"no JSON": {"nonsense\x1e", "Error reading JSON."},
		"33 KB":   {call("2", "echo", strings.Repeat("x", 33<<10)) + "\x1e", tooLarge},
		"no end":  {strings.Repeat("x", 33<<10), tooLarge},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				c := w.open("a", "")
				c.write([]byte(call("1", "echo") + "\x1e" + test.bytes + call("3", "echo") + "\x1e"))
				w.settle()
				want := `{"type":7,"error":"Connection closed with an error. Error: ` + test.text + `","allowReconnect":true}`
				assert.Equal(t, []string{result("1", "[]"), want, "close 1000"}, c.got(), "what came before is answered")
				assert.Equal(t, "disconnected a: "+test.text, w.handler.noted()[1])
				c.gone(t)
			})
		})
	}
}

// What came before an unreadable message is answered first, if that does not take long.
func TestAProtocolErrorBehindALongCall(t *testing.T) {
	for _, end := range []string{"ok", "goexit", ""} {
		inBubble(t, func(t *testing.T, w *world) {
			crew := newCrew(w)
			c := w.open("a", "")
			c.say(call("1", "work"))
			c.say("nonsense", call("2", "echo"))
			w.settle()
			charged := c.conn.in.charged
			c.say(call("3", "echo"))
			w.settle()
			assert.Equal(t, charged, c.conn.in.charged, "what comes then is not looked at")
			w.pass(second / 2)
			require.NotContains(t, strings.Join(c.got(), ""), `"type":7`)
			if end != "" {
				crew.end("1", end)
				w.settle()
				assert.Equal(t, completion("1", end), c.got()[0])
			} else {
				w.pass(3 * second)
			}
			got := c.got()
			assert.Contains(t, got[len(got)-2], `"allowReconnect":true`)
			assert.Equal(t, "close 1000", got[len(got)-1])
			if end == "" {
				crew.end("1", "ok")
				w.settle()
			}
			c.gone(t)
		})
	}
}

func TestTenThousandTinyMessages(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.InboundLimit = 64 << 10
		w.settings.OutboxLimit = 8 << 20
		c := w.open("a", "")
		c.say(strings.TrimSuffix(strings.Repeat(ping+"\x1e", 10_000), "\x1e"))
		c.say(strings.TrimSuffix(strings.Repeat(call("1", "echo")+"\x1e", 10_000), "\x1e"))
		c.say(`{"type":8,"sequenceId":1}`, `{"type":9,"sequenceId":1}`, `{"type":3,"invocationId":"x"}`, `{"type":2,"invocationId":"x","item":1}`, `{"type":99}`)
		c.say(call("2", "echo"))
		w.pass(second)
		got := c.got()
		assert.Len(t, got, 10_001)
		assert.Equal(t, result("2", "[]"), got[10_000])
		assert.Zero(t, c.conn.in.charged)
	})
}
