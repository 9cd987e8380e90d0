package actors

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/internal/linktest"
)

func TestReaderWaitsForInboundBudget(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.InboundLimit = 2*smallMessageCharge + 100
		e.settings.Parallel = 10
		bind := e.holdBinding()
		c := e.open("a", "")
		c.send(call("1", "echo"))
		c.send(call("2", "echo"))
		assert.Equal(t, 2*smallMessageCharge, c.conn.in.charged)
		sent := c.sendAsync(call("3", "echo"))
		assert.False(t, sent())
		assert.True(t, c.conn.in.waiting.Load())
		assert.Equal(t, 2*smallMessageCharge, c.conn.in.charged)
		bind()
		assert.True(t, sent(), "a call returns its bytes when its arguments are bound")
		assert.False(t, c.conn.in.waiting.Load())
		assert.Equal(t, 2*smallMessageCharge, c.conn.in.charged)
		bind()
		e.sleep(schedulingTime)
		bind()
		assert.Zero(t, c.conn.in.charged)
		e.settle()
		assert.ElementsMatch(t, []string{result("1", "[]"), result("2", "[]"), result("3", "[]")}, c.messages())
	})
}

func TestOnePieceIsAlwaysAdmitted(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.InboundLimit = 10
		bind := e.holdBinding()
		c := e.open("a", "")
		sent := c.sendAsync(call("1", "echo", strings.Repeat("x", 20<<10)))
		assert.True(t, sent())
		assert.Greater(t, c.conn.in.charged, 20<<10)
		sent = c.sendAsync(ping)
		assert.False(t, sent())
		bind()
		assert.True(t, sent())
		assert.Zero(t, c.conn.in.charged)
	})
}

// A piece is charged until its last message has been handled.
func TestPieceIsChargedUntilLastMessageIsHandled(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		bind := e.holdBinding()
		c := e.open("a", "")
		c.send(call("1", "echo"), ping, call("2", "echo"), ping)
		assert.Equal(t, pieceSize+4*messageCharge, c.conn.in.charged)
		bind()
		assert.Equal(t, pieceSize+4*messageCharge, c.conn.in.charged)
		bind()
		assert.Zero(t, c.conn.in.charged)
	})
}

// A call that ends without binding its arguments releases their budget.
func TestCallThatDoesNotBindReleasesBudget(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.handler.bind = func(*Call) { panic("before the arguments are bound") }
		c := e.open("a", "")
		for i := range 100 {
			c.send(call(strconv.Itoa(i), "echo"))
		}
		e.settle()
		assert.Zero(t, c.conn.in.charged)
		assert.Len(t, c.messages(), 100)
	})
}

// A reader that waits for budget is released, however the connection is closed.
func TestClosingReleasesWaitingReader(t *testing.T) {
	ways := map[string]func(e *env, c *client){
		"abort":    func(_ *env, c *client) { c.conn.Abort() },
		"stop":     func(e *env, c *client) { e.sys.actorSystem.Root.Stop(c.conn.PID()) },
		"broken":   func(e *env, c *client) { c.socket.Break(errCut); e.send(&Audience{}, "x") },
		"shutdown": func(e *env, _ *client) { assert.NoError(e.t, e.shutdown()) },
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				e.settings.InboundLimit = smallMessageCharge
				gate := make(chan struct{})
				e.handler.bind = func(*Call) { <-gate }
				c := e.open("a", "")
				c.send(call("1", "echo"))
				sent := c.sendAsync(call("2", "echo"))
				require.False(t, sent())
				go way(e, c)
				if name == "broken" {
					e.sleep(e.settings.CloseTimeout + 2*second)
				}
				e.settle()
				assert.True(t, sent())
				close(gate) // the second call is executed if it came before the end
				e.settle()
				c.assertRemoved(t)
			})
		})
	}
}

// The result does not depend on how the input is split into reads.
func TestInputSplitAtEveryByte(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		stream := []byte(
			`{"protocol":"json","version":1}` + "\x1e" + call("1", "echo", "ü") + "\x1e" + ping + "\x1e" + call("2", "echo") + "\x1e",
		)
		want := []string{"{}", result("1", `["ü"]`), result("2", "[]")}
		for i := range stream {
			c := e.connect(strconv.Itoa(i), "")
			c.write(stream[:i])
			c.write(stream[i:])
			e.settle()
			require.Equal(t, want, c.records(), "cut at %d", i)
			require.Nil(t, c.conn.in.piece, "an idle connection holds no piece")
			require.Nil(t, c.conn.in.partial)
			require.Zero(t, c.conn.in.charged)
			c.socket.Cut()
		}
		c := e.connect("bytes", "")
		for _, b := range stream {
			c.write([]byte{b})
		}
		e.settle()
		require.Equal(t, want, c.records(), "byte by byte")
	})
}

// Messages of various sizes arrive in reads of various sizes.
func TestInboundModel(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.OutboxLimit = 8 << 20
		e.settings.InboundLimit = 64 << 10
		n := 0
		e.checkProperty(func(t *rapid.T) {
			n++
			c := e.open(fmt.Sprint(n), "")
			var stream []byte
			var want []string
			for i := range rapid.IntRange(1, 30).Draw(t, "messages") {
				id := strconv.Itoa(i)
				text := strings.Repeat("x", rapid.SampledFrom([]int{0, 1, 400, 512, 600, 4000, 4096, 5000, 20000, 32000}).Draw(t, "size"))
				stream = append(stream, call(id, "echo", text)+"\x1e"...)
				want = append(want, result(id, `["`+text+`"]`))
			}
			for len(stream) > 0 {
				k := min(len(stream), rapid.SampledFrom([]int{1, 10, 511, 512, 513, 1400, 4095, 4096, 4097, 9000, 70000}).Draw(t, "read"))
				c.write(stream[:k])
				stream = stream[k:]
			}
			e.settle()
			require.Equal(t, want, c.messages())
			require.Zero(t, c.conn.in.charged)
			require.Nil(t, c.conn.in.piece)
			require.Nil(t, c.conn.in.partial)
			c.socket.Cut()
			e.settle()
		})
	})
}

// A message of MaxMessage bytes is accepted and one that is a byte longer is not, however they are split into reads.
func TestMaxMessageSize(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.OutboxLimit = 1 << 20
		empty := len(call("1", "echo", "") + "\x1e")
		for _, piece := range []int{1 << 20, 1000} {
			for _, over := range []int{0, 1} {
				c := e.open(fmt.Sprint(piece, over), "")
				b := []byte(call("1", "echo", strings.Repeat("x", e.settings.MaxMessage-empty+over)) + "\x1e")
				require.Len(t, b, e.settings.MaxMessage+over)
				for len(b) > 0 {
					k := min(piece, len(b))
					c.write(b[:k])
					b = b[k:]
				}
				e.settle()
				got := c.messages()
				require.NotEmpty(t, got)
				assert.Equal(t, over == 0, strings.HasPrefix(got[0], `{"type":3`), "%d bytes over", over)
			}
		}
	})
}

func TestUnlimitedMessageSize(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.MaxMessage = 0
		e.settings.OutboxLimit = 8 << 20
		c := e.open("a", "")
		text := strings.Repeat("x", 1<<20)
		c.send(call("1", "echo", text))
		e.settle()
		assert.Equal(t, []string{result("1", `["`+text+`"]`)}, c.messages())
		assert.Zero(t, c.conn.in.charged)
	})
}

// Input that arrives when the connection closes or has failed is neither parsed nor stored.
func TestInputAfterCloseIsDiscarded(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "", func(s *linktest.Socket) { s.Answers = false })
		c.send("nonsense")
		c.write([]byte(strings.Repeat("x", 10<<10)))
		e.settle()
		c.send(call("1", "echo"))
		e.settle()
		assert.Len(t, c.messages(), 2)
		assert.Nil(t, c.conn.in.piece)
		assert.Nil(t, c.conn.in.partial)
		assert.Zero(t, c.conn.in.charged)
	})
}

// Data of earlier messages does not appear in reused memory.
func TestReusedPiecesDoNotLeakData(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		a, b := e.open("a", ""), e.open("b", "")
		for i := range 200 {
			text := strconv.Itoa(i)
			a.send(call("a", "echo", text), ping, ping)
			b.send(call("b", "echo"))
		}
		e.settle()
		for i, record := range a.messages() {
			require.Equal(t, result("a", `["`+strconv.Itoa(i)+`"]`), record)
		}
		for _, record := range b.messages() {
			require.Equal(t, result("b", "[]"), record)
		}
	})
}
