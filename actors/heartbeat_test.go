package actors

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/linktest"
	"github.com/troupe-go/troupe/internal/wsframe"
	"github.com/troupe-go/troupe/proto/hubproto"
)

func TestPingsAreSentWhenIdle(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.KeepAlive = 5 * second
		c := e.open("a", "")
		e.sleep(4*second + second/2)
		assert.Zero(t, c.countPings())
		e.sleep(5 * second)
		assert.Equal(t, 1, c.countPings())
		e.sleep(50 * second)
		assert.Equal(t, 11, c.countPings())
	})
}

// No ping is sent before the handshake, or while other output is pending.
func TestNoPingBeforeHandshakeOrWithPendingOutput(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.KeepAlive = 2 * second
		silent := e.connect("silent", "")
		c := e.open("a", "", func(s *linktest.Socket) { s.Room = 10 })
		c.conn.out.Push(notePacket(0, 0, 100), false, false)
		e.sleep(8 * second)
		assert.Empty(t, silent.records())
		c.socket.Drain(-1)
		e.settle()
		assert.Len(t, c.messages(), 1)
		e.sleep(2 * second)
		assert.Equal(t, 1, c.countPings())
		c.conn.out.Seal(nil)
		e.sleep(8 * second)
		got := c.messages()
		assert.Equal(t, "close 1000", got[len(got)-1])
	})
}

// Each protocol has its own ping. No ping is sent before the handshake response.
func TestPingsOfSecondProtocol(t *testing.T) {
	inBubbleWith(t, never, func(t *testing.T, e *env) {
		e.settings.KeepAlive = second
		for i := range 50 {
			c := e.connect(fmt.Sprint(i), "")
			go c.sendHandshake("upper")
			go func() {
				for range 10 {
					c.conn.tick(1000)
				}
			}()
			e.settle()
			frames, _ := linktest.ParseFrames(c.socket.Wire())
			require.True(t, strings.HasPrefix(string(frames[0].Payload), "{}\x1e"))
			for _, f := range frames {
				require.EqualValues(t, wsframe.Binary, f.Opcode)
			}
		}
	}, hubproto.JSON, upperProtocol{hubproto.JSON})
}

// Only a client that has sent a ping is subject to ClientTimeout.
func TestClientTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.ClientTimeout = 10 * second
		never, once := e.open("never", ""), e.open("once", "")
		never.send(call("1", "echo"))
		once.send(ping)
		e.sleep(10*second + second/2)
		assert.False(t, once.socket.IsFinished())
		e.sleep(2 * second)
		assert.True(t, once.socket.IsFinished())
		assert.Equal(t, []string{
			fmt.Sprintf(`{"type":7,"error":"Connection closed with an error. Error: %s","allowReconnect":true}`, jsonText(ErrClientTimeout.Error())),
			"close 1000",
		}, once.messages())
		assert.Equal(t, "disconnected once: "+ErrClientTimeout.Error(), e.handler.events()[2])
		e.sleep(60 * second)
		assert.False(t, never.socket.IsFinished())
	})
}

func TestAnyMessageResetsClientTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.ClientTimeout = 10 * second
		c := e.open("a", "")
		c.send(ping)
		for range 5 {
			e.sleep(8 * second)
			c.send(call("", "echo"))
		}
		assert.False(t, c.socket.IsFinished())
		for range 5 { // parts of a message do not reset it
			e.sleep(4 * second)
			c.write([]byte("x"))
		}
		assert.True(t, c.socket.IsFinished())
	})
}

// The client timeout does not run while the reader waits for inbound budget.
func TestClientTimeoutPausesWhileReaderWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.ClientTimeout = 10 * second
		e.settings.InboundLimit = 5 << 10
		gate, open := e.gate()
		e.handler.bind = func(*Call) { _, _ = gate(nil, "") }
		c := e.open("a", "")
		c.send(ping)
		c.send(call("1", "echo"))
		go c.send(call("2", "echo"))
		e.settle()
		require.True(t, c.conn.in.waiting.Load())
		e.sleep(60 * second)
		assert.False(t, c.socket.IsFinished())
		assert.Equal(t, 4, c.countPings(), "pings to the client go on")
		open()
		e.settle()
		e.sleep(8 * second)
		assert.False(t, c.socket.IsFinished())
		e.sleep(8 * second)
		assert.True(t, c.socket.IsFinished())
	})
}

func TestHandshakeTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		silent, half := e.connect("silent", ""), e.connect("half", "")
		half.write([]byte(`{"protocol":"json"`))
		e.sleep(15*second + second/2)
		assert.Empty(t, silent.records())
		e.sleep(second)
		want := []string{`{"error":"Handshake was canceled."}`, "close 1000"}
		assert.Equal(t, want, silent.records())
		assert.Equal(t, want, half.records())
		silent.assertRemoved(t)
		half.assertRemoved(t)
		assert.Empty(t, e.handler.events())
	})
}

// OnConnected may take longer than HandshakeTimeout.
func TestOnConnectedHasNoTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		gate, open := e.gate()
		e.handler.connected = func(k *Call) error { _, _ = gate(k, ""); return nil }
		c := e.open("a", "")
		e.sleep(60 * second)
		assert.False(t, c.socket.IsFinished())
		open()
	})
}

// A client is stalled if it reads nothing while output is pending.
func TestSendTimeout(t *testing.T) {
	for _, blocks := range []bool{false, true} {
		inBubble(t, func(t *testing.T, e *env) {
			e.settings.KeepAlive = never
			with := func(s *linktest.Socket) { s.BlocksOnly = blocks }
			idle, stalled, slow := e.open("idle", "", with), e.open("stalled", "", with), e.open("slow", "", with)
			stalled.socket.Change(func() { stalled.socket.Room = 3 })
			slow.socket.Change(func() { slow.socket.Room = 3 })
			e.send(&Audience{Kind: Connections, Names: []string{"stalled", "slow"}}, "x", string(make([]byte, 1000)))
			for range 20 {
				e.sleep(second)
				slow.socket.Drain(1)
			}
			assert.True(t, stalled.socket.IsCut())
			assert.False(t, slow.socket.IsCut(), "a slow client that makes progress is not stalled")
			assert.False(t, idle.socket.IsCut())
			assert.Equal(t, "disconnected stalled: "+ErrSendTimeout.Error(), e.handler.events()[3])
			stalled.assertRemoved(t)
			slow.socket.Drain(-1)
			e.settle()
			assert.Len(t, slow.messages(), 1)
		})
	}
}

// A client that does not answer the close frame is cut off. OnDisconnected does not wait for that.
func TestCloseTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "", func(s *linktest.Socket) { s.Answers = false })
		c.send(`{"type":7}`)
		e.settle()
		assert.Equal(t, "disconnected a: <nil>", e.handler.events()[1])
		e.sleep(4 * second)
		assert.False(t, c.socket.IsCut())
		e.sleep(3 * second)
		assert.True(t, c.socket.IsCut())
		c.assertRemoved(t)
	})
}

// A client that has read nothing until its outbox was full is cut off without an orderly close.
func TestCloseWithFullOutboxCutsConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "", func(s *linktest.Socket) { s.Room = 5 })
		c.conn.out.Push(notePacket(0, 0, e.settings.OutboxLimit), false, false)
		e.settle()
		c.send(`{"type":7}`)
		e.sleep(2 * second)
		assert.True(t, c.socket.IsCut())
	})
}

// A client that closes the connection without reading the pending output is cut off, so that its descriptor is closed.
func TestClientThatClosesWithoutReadingIsCut(t *testing.T) {
	for _, how := range []string{"full", "blocking", "in the close frame"} {
		t.Run(how, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				e.settings.KeepAlive = never
				c := e.open("a", "", func(s *linktest.Socket) { s.BlocksOnly = how == "blocking" })
				c.socket.Change(func() { c.socket.Room = 1 })
				if how != "in the close frame" {
					e.send(&Audience{}, "x", string(make([]byte, 1000)))
				}
				c.end(nil) // the client has sent a close frame; the descriptor is still open
				e.settle()
				assert.Equal(t, "disconnected a: <nil>", e.handler.events()[1])
				e.sleep(10 * second)
				assert.True(t, c.socket.IsCut())
				c.assertRemoved(t)
				assert.NoError(t, e.shutdown())
			})
		})
	}
}

// Idle worker goroutines end after a while; used ones remain.
func TestIdleWorkersAreReleased(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.Parallel = 8
		gate, open := e.gate()
		e.handler.methods["gate"] = gate
		c := e.open("a", "")
		var calls []string
		for i := range 8 {
			calls = append(calls, call(strconv.Itoa(i), "gate"))
		}
		c.send(calls...)
		e.sleep(schedulingTime)
		assert.Equal(t, 8, e.sys.workers.busy.Get())
		open()
		e.settle()
		idle := func() int {
			e.sys.workers.mu.Lock()
			defer e.sys.workers.mu.Unlock()
			return len(e.sys.workers.idle)
		}
		assert.Equal(t, 8, idle())
		for range 2 * idleTicks {
			c.send(call("x", "echo"))
			e.sleep(second)
		}
		assert.Equal(t, 1, idle())
		e.sleep(2 * idleTicks * second)
		assert.Zero(t, idle())
		c.send(call("y", "echo"))
		e.settle()
		assert.True(t, slices.Contains(c.messages(), result("y", "[]")))
	})
}

// The ring of a mailbox is released when the mailbox is empty.
func TestEmptyMailboxReleasesItsMemory(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "")
		for i := range 500 {
			e.tell(c.conn.PID(), i)
		}
		e.settle()
		e.sleep(second)
		assert.Nil(t, c.conn.mailbox.ring)
	})
}

// The period of the heartbeat determines the precision of timeouts, not their duration.
func TestTimeoutsDoNotDependOnHeartbeatPeriod(t *testing.T) {
	inBubbleWith(t, never, func(t *testing.T, e *env) {
		c := e.connect("a", "")
		c.conn.tick(10_000)
		e.settle()
		assert.False(t, c.socket.IsFinished())
		c.conn.tick(10_000)
		e.settle()
		assert.True(t, c.socket.IsFinished())
	}, hubproto.JSON)
}

// Messages are read while the maximum number of calls run: a client that pings is not timed out, and one that has stopped pinging is.
func TestClientTimeoutDuringCall(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.ClientTimeout = 10 * second
		pings, stops := e.open("pings", ""), e.open("stops", "")
		for _, c := range []*client{pings, stops} {
			c.send(ping, call("1", "wait"))
		}
		for i := range 7 { // 56 s; calls continue for 30 s after the connection has ended
			e.sleep(8 * second)
			pings.send(ping)
			assert.Equal(t, i > 0, stops.conn.isClosing.Load())
		}
		assert.False(t, pings.conn.isClosing.Load())
		assert.True(t, stops.socket.IsFinished())
		assert.Contains(t, e.handler.events(), "disconnected stops: "+ErrClientTimeout.Error())
		pings.send(cancel("1"))
		e.settle()
		assert.Contains(t, pings.messages(), failure("1", ErrCanceled.Error()))
	})
}

// Ticks are not exactly a second apart: a ping does not wait for one more tick because some came a little early.
func TestAPingIsNotLateByATick(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "")
		for range 15 {
			c.conn.tick(999)
		}
		e.settle()
		assert.Equal(t, 1, c.countPings())
	})
}
