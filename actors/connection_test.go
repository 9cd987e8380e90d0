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
			inBubble(t, func(t *testing.T, e *env) {
				c := e.connect("a", "")
				c.send(test.request, call("1", "echo"))
				e.settle()
				if test.answer == "{}" {
					assert.Equal(t, []string{"{}", result("1", "[]")}, c.records())
					assert.Equal(t, []string{"connected a"}, e.handler.events())
					return
				}
				assert.Equal(t, []string{test.answer, "close 1000"}, c.records())
				assert.Empty(t, e.handler.events())
				c.assertRemoved(t)
			})
		})
	}
}

func TestEndBeforeHandshake(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		silent, half := e.connect("silent", ""), e.connect("half", "")
		half.write([]byte(`{"protocol"`))
		silent.socket.Cut()
		half.socket.Cut()
		e.settle()
		silent.assertRemoved(t)
		half.assertRemoved(t)
		assert.Empty(t, e.handler.events())
	})
}

func TestInvocationsWaitForOnConnected(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		gate, open := e.gate()
		e.handler.connected = func(k *Call) error {
			assert.NotEmpty(t, k.PID().Id)
			assert.Same(t, k.Connection(), e.hub.Connection("a"))
			e.send(&Audience{Kind: Users, Names: []string{"bob"}}, "hello")
			require.NoError(t, e.hub.Join(k, "a", "g"))
			_, _ = gate(k, "")
			return nil
		}
		c := e.connect("a", "bob")
		c.sendHandshake("json")
		c.send(call("1", "echo"), call("2", "echo"), ping)
		e.sleep(second)
		assert.Equal(t, []string{invocationRecord("hello")}, c.messages(), "it is already a member of its groups and users")
		assert.True(t, c.conn.pinged.Load(), "only invocations wait")
		e.send(&Audience{Kind: Groups, Names: []string{"g"}}, "group")
		open()
		e.settle()
		assert.Equal(t, []string{invocationRecord("hello"), invocationRecord("group"), result("1", "[]"), result("2", "[]")}, c.messages())
	})
}

func TestOnConnectedErrorClosesConnection(t *testing.T) {
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
			inBubble(t, func(t *testing.T, e *env) {
				e.handler.connected = func(*Call) error { return way.how() }
				c := e.connect("a", "bob")
				c.sendHandshake("json")
				c.send(call("1", "echo"))
				e.settle()
				want := fmt.Sprintf(`{"type":7,"error":"Connection closed with an error. Error: %s"}`, way.text)
				assert.Equal(t, []string{"{}", want, "close 1000"}, c.records())
				assert.Equal(t, []string{"connected a"}, e.handler.events(), "no OnDisconnected")
				c.assertRemoved(t)
				assert.Zero(t, e.sys.workers.busy.Get())
			})
		})
	}
}

func (panickingError) Error() string { panic("bad") }

// The Error method of an application's error is user code, which may panic or block. The actor must not call it.
func TestOnConnectedErrorThatPanics(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.handler.connected = func(*Call) error { return panickingError{} }
		c := e.open("a", "bob")
		e.sleep(second)
		assert.True(t, c.socket.IsFinished(), "the connection is closed")
		c.assertRemoved(t)
	})
}

func TestActorDoesNotFormatErrors(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		gate, open := e.gate()
		e.handler.connected = func(*Call) error { return errors.New("no") }
		e.handler.describe = func(generic string, _ error) string { _, _ = gate(nil, ""); return generic }
		e.open("a", "")
		ctx, cancel := context.WithTimeout(context.Background(), second)
		defer cancel()
		require.NoError(t, e.hub.Join(ctx, "a", "g"), "the actor continues")
		open()
		e.settle()
	})
}

func TestCloseDuringOnConnected(t *testing.T) {
	for _, err := range []error{nil, errors.New("no")} {
		inBubble(t, func(t *testing.T, e *env) {
			gate, open := e.gate()
			var cause error
			e.handler.connected = func(k *Call) error {
				_, _ = gate(k, "")
				cause = context.Cause(k)
				return err
			}
			c := e.open("a", "bob")
			c.send(call("1", "echo"), `{"type":7,"error":"bye"}`)
			e.sleep(second)
			assert.Equal(t, []string{"connected a"}, e.handler.events(), "OnDisconnected waits for OnConnected")
			assert.NotNil(t, e.hub.Connection("a"))
			open()
			e.settle()
			require.NoError(t, cause, "it is not canceled")
			if err == nil {
				assert.Equal(t, []string{"connected a", "disconnected a: bye"}, e.handler.events())
			} else {
				assert.Equal(t, []string{"connected a"}, e.handler.events())
			}
			c.assertRemoved(t)
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
			inBubble(t, func(t *testing.T, e *env) {
				c := e.open("a", "")
				c.send(call("1", "echo"))
				e.settle()
				c.send(test.message, call("2", "echo"))
				e.settle()
				c.send(call("3", "echo"))
				e.settle()
				assert.Equal(t, []string{result("1", "[]"), `{"type":7}`, "close 1000"}, c.messages())
				assert.Equal(t, []string{"connected a", "disconnected a: " + test.cause}, e.handler.events())
				c.assertRemoved(t)
			})
		})
	}
}

// If the transport ends, the connection is closed normally, unless the transport reports an error.
func TestEndOfTransportClosesConnection(t *testing.T) {
	for _, err := range []error{nil, errors.New("no UTF-8")} {
		inBubble(t, func(t *testing.T, e *env) {
			c := e.open("a", "")
			c.end(err)
			e.settle()
			assert.Equal(t, []string{"close 1000"}, c.messages())
			assert.Equal(t, fmt.Sprint("disconnected a: ", err), e.handler.events()[1])
			c.assertRemoved(t)
		})
	}
}

func TestAbort(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "")
		e.send(&Audience{}, "before")
		c.conn.Abort()
		<-c.conn.Done()
		e.send(&Audience{}, "after")
		e.settle()
		assert.Equal(t, []string{invocationRecord("before"), `{"type":7}`, "close 1000"}, c.messages())
		assert.Equal(t, "disconnected a: <nil>", e.handler.events()[1])
		c.conn.Abort()
		e.settle()
		c.assertRemoved(t)
	})
}

// Done is closed for all who ask for it before, while, or after the connection begins to close.
func TestDoneOfConnectionIsClosed(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		for i := range 50 {
			c := e.open(fmt.Sprint(i), "")
			for j := range 4 {
				go func() { <-c.conn.Done() }()
				if j == i%4 {
					go c.conn.Abort()
				}
			}
			<-c.conn.Done()
		}
	}) // the bubble waits for all goroutines
}

// OnDisconnected runs once, whatever closes the connection, also if several causes race.
func TestOnDisconnectedRunsOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.OutboxLimit = 100
		for i := range 30 {
			id := fmt.Sprint(i)
			c := e.open(id, "")
			start := make(chan struct{})
			for _, end := range []func(){
				c.socket.Cut,
				c.conn.Abort,
				func() { c.send(`{"type":7}`) },
				func() { c.send("nonsense") },
				func() { e.sys.actorSystem.Root.Stop(c.conn.PID()) },
				c.panicActor,
				func() { e.send(&Audience{}, "x", strings.Repeat("x", 100)) },
			} {
				go func() { <-start; end() }()
			}
			close(start)
			e.settle()
			n := 0
			for _, event := range e.handler.events() {
				if strings.HasPrefix(event, "disconnected "+id+":") {
					n++
				}
			}
			require.Equal(t, 1, n, e.handler.events())
			c.assertRemoved(t)
		}
	})
}

func TestOnDisconnectedPanicDoesNotKeepConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		for i, how := range []func(){func() { panic("oh") }, runtime.Goexit} {
			e.handler.disconnected = func(*Call, error) { how() }
			c := e.open(fmt.Sprint(i), "bob")
			require.NoError(t, e.hub.Join(context.Background(), c.conn.id, "g"))
			c.socket.Cut()
			e.settle()
			c.assertRemoved(t)
		}
	})
}

func TestOnDisconnectedCanSend(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.handler.disconnected = func(k *Call, _ error) {
			assert.NoError(t, k.Err())
			assert.NoError(t, e.hub.Send(k, &Audience{}, "left", []any{k.Connection().ID()}))
			assert.NoError(t, e.hub.Join(k, k.Connection().ID(), "group"))
		}
		other := e.open("other", "")
		c := e.open("a", "")
		c.send(`{"type":7}`)
		e.settle()
		assert.Equal(t, []string{invocationRecord("left", "a")}, other.messages())
		assert.Equal(t, []string{`{"type":7}`, "close 1000"}, c.messages())
		assert.Nil(t, e.hub.groups.find("group"), "a closing connection cannot join groups")
		e.handler.disconnected = nil
	})
}

func TestProtocolErrorClosesConnection(t *testing.T) {
	tooLarge := (&hubproto.TooLargeError{Limit: 32 << 10}).Error()
	tests := map[string]struct{ bytes, text string }{
		"no JSON": {"nonsense\x1e", "Error reading JSON."},
		"33 KB":   {call("2", "echo", strings.Repeat("x", 33<<10)) + "\x1e", tooLarge},
		"no end":  {strings.Repeat("x", 33<<10), tooLarge},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				c := e.open("a", "")
				c.write([]byte(call("1", "echo") + "\x1e" + test.bytes + call("3", "echo") + "\x1e"))
				e.settle()
				want := `{"type":7,"error":"Connection closed with an error. Error: ` + test.text + `","allowReconnect":true}`
				assert.Equal(t, []string{result("1", "[]"), want, "close 1000"}, c.messages(), "what came before is answered")
				assert.Equal(t, "disconnected a: "+test.text, e.handler.events()[1])
				c.assertRemoved(t)
			})
		})
	}
}

// Calls received before an unreadable message are answered first, unless that takes too long.
func TestProtocolErrorWaitsForEarlierCalls(t *testing.T) {
	for _, end := range []string{"ok", "goexit", ""} {
		inBubble(t, func(t *testing.T, e *env) {
			control := newCallControl(e)
			c := e.open("a", "")
			c.send(call("1", "work"))
			c.send("nonsense", call("2", "echo"))
			e.settle()
			charged := c.conn.in.charged
			c.send(call("3", "echo"))
			e.settle()
			assert.Equal(t, charged, c.conn.in.charged, "later input is not parsed")
			e.sleep(second / 2)
			require.NotContains(t, strings.Join(c.messages(), ""), `"type":7`)
			if end != "" {
				control.end("1", end)
				e.settle()
				assert.Equal(t, completion("1", end), c.messages()[0])
			} else {
				e.sleep(3 * second)
			}
			got := c.messages()
			assert.Contains(t, got[len(got)-2], `"allowReconnect":true`)
			assert.Equal(t, "close 1000", got[len(got)-1])
			if end == "" {
				control.end("1", "ok")
				e.settle()
			}
			c.assertRemoved(t)
		})
	}
}

func TestManyTinyMessages(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.InboundLimit = 64 << 10
		e.settings.OutboxLimit = 8 << 20
		c := e.open("a", "")
		c.send(strings.TrimSuffix(strings.Repeat(ping+"\x1e", 10_000), "\x1e"))
		c.send(strings.TrimSuffix(strings.Repeat(call("1", "echo")+"\x1e", 10_000), "\x1e"))
		c.send(
			`{"type":8,"sequenceId":1}`, `{"type":9,"sequenceId":1}`, `{"type":3,"invocationId":"x"}`,
			`{"type":2,"invocationId":"x","item":1}`, `{"type":99}`,
		)
		c.send(call("2", "echo"))
		e.sleep(second)
		got := c.messages()
		assert.Len(t, got, 10_001)
		assert.Equal(t, result("2", "[]"), got[10_000])
		assert.Zero(t, c.conn.in.charged)
	})
}
