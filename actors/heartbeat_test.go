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

func TestPings(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.KeepAlive = 5 * second
		c := w.open("a", "")
		w.pass(4*second + second/2)
		assert.Zero(t, c.pings())
		w.pass(5 * second)
		assert.Equal(t, 1, c.pings())
		w.pass(50 * second)
		assert.Equal(t, 11, c.pings())
	})
}

// Nobody is sent a ping before the handshake, or while something else is on its way.
func TestNoPingWhenBusy(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.KeepAlive = 2 * second
		silent := w.connect("silent", "")
		c := w.open("a", "", func(s *linktest.Socket) { s.Room = 10 })
		c.conn.out.Push(note(0, 0, 100), false, false)
		w.pass(8 * second)
		assert.Empty(t, silent.everything())
		c.socket.Drain(-1)
		w.settle()
		assert.Len(t, c.got(), 1)
		w.pass(2 * second)
		assert.Equal(t, 1, c.pings())
		c.conn.out.Seal(nil)
		w.pass(8 * second)
		got := c.got()
		assert.Equal(t, "close 1000", got[len(got)-1])
	})
}

// Every protocol has its own ping, and the first one does not come before the handshake's answer.
func TestPingsOfASecondProtocol(t *testing.T) {
	inBubbleOf(t, never, func(t *testing.T, w *world) {
		w.settings.KeepAlive = second
		for i := range 50 {
			c := w.connect(fmt.Sprint(i), "")
			go c.shake("loud")
			go func() {
				for range 10 {
					c.conn.tick(1000)
				}
			}()
			w.settle()
			frames, _ := linktest.ParseFrames(c.socket.Wire())
			require.True(t, strings.HasPrefix(string(frames[0].Payload), "{}\x1e"))
			for _, f := range frames {
				require.EqualValues(t, wsframe.Binary, f.Opcode)
			}
		}
	}, hubproto.JSON, loud{hubproto.JSON})
}

// A client that has never sent a ping may be silent, one that has may not.
func TestClientTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.ClientTimeout = 10 * second
		never, once := w.open("never", ""), w.open("once", "")
		never.say(call("1", "echo"))
		once.say(ping)
		w.pass(10*second + second/2)
		assert.False(t, once.socket.IsFinished())
		w.pass(2 * second)
		assert.True(t, once.socket.IsFinished())
		assert.Equal(t, []string{fmt.Sprintf(`{"type":7,"error":"Connection closed with an error. Error: %s","allowReconnect":true}`, jsonText(ErrClientTimeout.Error())), "close 1000"}, once.got())
		assert.Equal(t, "disconnected once: "+ErrClientTimeout.Error(), w.handler.noted()[2])
		w.pass(60 * second)
		assert.False(t, never.socket.IsFinished())
	})
}

func TestAnyMessageResetsTheClientTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.ClientTimeout = 10 * second
		c := w.open("a", "")
		c.say(ping)
		for range 5 {
			w.pass(8 * second)
			c.say(call("", "echo"))
		}
		assert.False(t, c.socket.IsFinished())
		for range 5 { // but not parts of one
			w.pass(4 * second)
			c.write([]byte("x"))
		}
		assert.True(t, c.socket.IsFinished())
	})
}

// While the reader waits for us, a client cannot be heard.
func TestTheClientTimeoutStandsWhileTheReaderWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.ClientTimeout = 10 * second
		w.settings.InboundLimit = 5 << 10
		gate, open := w.gate()
		w.handler.bind = func(*Call) { _, _ = gate(nil, "") }
		c := w.open("a", "")
		c.say(ping)
		c.say(call("1", "echo"))
		go c.say(call("2", "echo"))
		w.settle()
		require.True(t, c.conn.in.waiting.Load())
		w.pass(60 * second)
		assert.False(t, c.socket.IsFinished())
		assert.Equal(t, 4, c.pings(), "pings to the client go on")
		open()
		w.settle()
		w.pass(8 * second)
		assert.False(t, c.socket.IsFinished())
		w.pass(8 * second)
		assert.True(t, c.socket.IsFinished())
	})
}

func TestHandshakeTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		silent, half := w.connect("silent", ""), w.connect("half", "")
		half.write([]byte(`{"protocol":"json"`))
		w.pass(15*second + second/2)
		assert.Empty(t, silent.everything())
		w.pass(second)
		want := []string{`{"error":"Handshake was canceled."}`, "close 1000"}
		assert.Equal(t, want, silent.everything())
		assert.Equal(t, want, half.everything())
		silent.gone(t)
		half.gone(t)
		assert.Empty(t, w.handler.noted())
	})
}

// OnConnected may take longer than a handshake.
func TestOnConnectedHasNoTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		gate, open := w.gate()
		w.handler.connected = func(k *Call) error { _, _ = gate(k, ""); return nil }
		c := w.open("a", "")
		w.pass(60 * second)
		assert.False(t, c.socket.IsFinished())
		open()
	})
}

// Stalled is who takes no byte while bytes are pending.
func TestSendTimeout(t *testing.T) {
	for _, blocks := range []bool{false, true} {
		inBubble(t, func(t *testing.T, w *world) {
			w.settings.KeepAlive = never
			with := func(s *linktest.Socket) { s.BlocksOnly = blocks }
			idle, stalled, slow := w.open("idle", "", with), w.open("stalled", "", with), w.open("slow", "", with)
			stalled.socket.Change(func() { stalled.socket.Room = 3 })
			slow.socket.Change(func() { slow.socket.Room = 3 })
			w.send(&Audience{Kind: Connections, Names: []string{"stalled", "slow"}}, "x", string(make([]byte, 1000)))
			for range 20 {
				w.pass(second)
				slow.socket.Drain(1)
			}
			assert.True(t, stalled.socket.IsCut())
			assert.False(t, slow.socket.IsCut(), "a slow client that moves is not stalled")
			assert.False(t, idle.socket.IsCut())
			assert.Equal(t, "disconnected stalled: "+ErrSendTimeout.Error(), w.handler.noted()[3])
			stalled.gone(t)
			slow.socket.Drain(-1)
			w.settle()
			assert.Len(t, slow.got(), 1)
		})
	}
}

// A client that does not answer a close is cut off, and OnDisconnected does not wait for that.
func TestCloseTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open("a", "", func(s *linktest.Socket) { s.Answers = false })
		c.say(`{"type":7}`)
		w.settle()
		assert.Equal(t, "disconnected a: <nil>", w.handler.noted()[1])
		w.pass(4 * second)
		assert.False(t, c.socket.IsCut())
		w.pass(3 * second)
		assert.True(t, c.socket.IsCut())
		c.gone(t)
	})
}

// A client that has taken nothing until its outbox was full is not given the time for a polite end.
func TestCloseAtTheLimit(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open("a", "", func(s *linktest.Socket) { s.Room = 5 })
		c.conn.out.Push(note(0, 0, w.settings.OutboxLimit), false, false)
		w.settle()
		c.say(`{"type":7}`)
		w.pass(2 * second)
		assert.True(t, c.socket.IsCut())
	})
}

// A client that takes leave, but not what waits for it, is cut off: nothing may hang on to its descriptor.
func TestAClientThatLeavesWithoutReading(t *testing.T) {
	for _, how := range []string{"full", "blocking", "in the close frame"} {
		t.Run(how, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.settings.KeepAlive = never
				c := w.open("a", "", func(s *linktest.Socket) { s.BlocksOnly = how == "blocking" })
				c.socket.Change(func() { c.socket.Room = 1 })
				if how != "in the close frame" {
					w.send(&Audience{}, "x", string(make([]byte, 1000)))
				}
				c.end(nil) // a close frame of the client's: the descriptor is still open
				w.settle()
				assert.Equal(t, "disconnected a: <nil>", w.handler.noted()[1])
				w.pass(10 * second)
				assert.True(t, c.socket.IsCut())
				c.gone(t)
				assert.NoError(t, w.shutdown())
			})
		})
	}
}

// Idle goroutines go after a while, those that are used stay.
func TestIdleWorkersAreReleased(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.Parallel = 8
		gate, open := w.gate()
		w.handler.methods["gate"] = gate
		c := w.open("a", "")
		var calls []string
		for i := range 8 {
			calls = append(calls, call(strconv.Itoa(i), "gate"))
		}
		c.say(calls...)
		w.pass(soon)
		assert.Equal(t, 8, w.sys.workers.busy.Get())
		open()
		w.settle()
		idle := func() int {
			w.sys.workers.mu.Lock()
			defer w.sys.workers.mu.Unlock()
			return len(w.sys.workers.idle)
		}
		assert.Equal(t, 8, idle())
		for range 2 * idleTicks {
			c.say(call("x", "echo"))
			w.pass(second)
		}
		assert.Equal(t, 1, idle())
		w.pass(2 * idleTicks * second)
		assert.Zero(t, idle())
		c.say(call("y", "echo"))
		w.settle()
		assert.True(t, slices.Contains(c.got(), result("y", "[]")))
	})
}

// A ring that has grown is given up when it is empty.
func TestEmptyMailboxesKeepNoMemory(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open("a", "")
		for i := range 500 {
			w.tell(c.conn.PID(), i)
		}
		w.settle()
		w.pass(second)
		assert.Nil(t, c.conn.mailbox.ring)
	})
}

// Timers are the heartbeat's own: a period that is longer changes how exact they are, and not how long they take.
func TestALongPeriod(t *testing.T) {
	inBubbleOf(t, never, func(t *testing.T, w *world) {
		c := w.connect("a", "")
		c.conn.tick(10_000)
		w.settle()
		assert.False(t, c.socket.IsFinished())
		c.conn.tick(10_000)
		w.settle()
		assert.True(t, c.socket.IsFinished())
	}, hubproto.JSON)
}

// A client is heard while all calls that it may run are running: one that pings is not timed out, and one that has stopped is.
func TestTheClientTimeoutDuringACall(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.ClientTimeout = 10 * second
		pings, stops := w.open("pings", ""), w.open("stops", "")
		for _, c := range []*client{pings, stops} {
			c.say(ping, call("1", "wait"))
		}
		for i := range 7 { // 56 s, and calls go on for 30 s
			w.pass(8 * second)
			pings.say(ping)
			assert.Equal(t, i > 0, stops.conn.ending.Load())
		}
		assert.False(t, pings.conn.ending.Load())
		assert.True(t, stops.socket.IsFinished())
		assert.Contains(t, w.handler.noted(), "disconnected stops: "+ErrClientTimeout.Error())
		pings.say(cancel("1"))
		w.settle()
		assert.Contains(t, pings.got(), failure("1", ErrCanceled.Error()))
	})
}
