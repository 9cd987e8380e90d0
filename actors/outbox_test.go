package actors

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/actors/outbox"
	"github.com/troupe-go/troupe/internal/linktest"
	"github.com/troupe-go/troupe/internal/wsframe"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// note is a message to a client that names its sender and says how many there were before it.
func note(sender, n, size int) *outbox.Packet {
	b, _ := hubproto.JSON.AppendInvocation(outbox.Buffer(64), nil, "note", []any{sender, n, strings.Repeat("x", size)})
	return outbox.NewPacket(b, wsframe.Text, true)
}

// pending is how many bytes wait for a client.
func pending(c *client) int {
	bytes, _ := c.conn.out.Pending()
	return bytes
}

// noted takes the records of notes apart, and gives the numbers of each sender in order of arrival.
func noted(t require.TestingT, records []string) map[int][]int {
	numbers := map[int][]int{}
	for _, record := range records {
		var sender, n int
		if _, err := fmt.Sscanf(record, `{"type":1,"target":"note","arguments":[%d,%d,`, &sender, &n); err != nil {
			if _, err := fmt.Sscanf(record, `{"type":3,"invocationId":"%d/%d"`, &sender, &n); err != nil {
				require.Failf(t, "no note", "%.200s", record)
			}
		}
		numbers[sender] = append(numbers[sender], n)
	}
	return numbers
}

// Many calls of one client end while its socket is full: their completions lie in packets of many messages each.
func TestAtMost64MessagesAreMerged(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open("a", "", func(s *linktest.Socket) { s.Room = len(wsframe.CloseFrame(1000)) + 1 })
		for i := range 3 * 64 {
			c.conn.out.Reply([]byte(call(fmt.Sprint(i), "x")+"\x1e"), false)
		}
		c.conn.out.Schedule()
		w.settle()
		c.socket.Drain(-1)
		w.settle()
		assert.Len(t, c.got(), 3*64)
	})
}

func TestLargeMessagesAreNotMerged(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.OutboxLimit = 1 << 20
		c := w.open("a", "", linktest.Full)
		for i := range 10 {
			require.NotEqual(t, outbox.Overflow, c.conn.out.Push(note(0, i, 30<<10), false, false))
		}
		c.conn.out.Push(note(0, 10, 100<<10), false, false)
		c.socket.Drain(-1)
		w.settle()
		assert.Len(t, c.got(), 11)
		frames, _ := linktest.ParseFrames(c.socket.Wire())
		assert.Len(t, frames, 1+5+1, "two at a time, and the largest alone")
	})
}

// A worker writes at 64 KB unwritten, however large the completions are.
func TestAWorkerWritesAt64KB(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.OutboxLimit = 1 << 20
		w.handler.methods["large"] = func(*Call, string) (any, error) { return strings.Repeat("z", 40<<10), nil }
		gate, open := w.gate()
		w.handler.methods["gate"] = gate
		c := w.open("a", "")
		c.say(call("1", "large"), call("2", "large"), call("3", "gate"))
		w.settle() // the clock stands, so the late list was not looked at
		assert.NotEmpty(t, c.got(), "80 KB wait for a call that runs")
		open()
		w.settle()
		assert.Len(t, c.got(), 3)
	})
}

func TestAWorkerWritesAt64Messages(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		gate, open := w.gate()
		w.handler.methods["gate"] = gate
		c := w.open("a", "")
		var calls []string
		for i := range 64 {
			calls = append(calls, call(fmt.Sprint(i), "echo"))
		}
		c.say(append(calls, call("x", "gate"))...)
		w.settle()
		assert.Len(t, c.got(), 64)
		open()
	})
}

func TestAnEmptyOutboxTakesAnyFrame(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open("a", "", linktest.Full)
		w.settle()
		c.socket.Drain(100)
		w.settle()
		require.Zero(t, pending(c))
		c.socket.Change(func() { c.socket.Room = 0 })
		assert.Equal(t, outbox.AboveMark, c.conn.out.Push(note(0, 0, 10*w.settings.OutboxLimit), false, false))
		assert.Equal(t, outbox.Overflow, c.conn.out.Push(note(0, 1, 0), false, false))
	})
}

func TestASlowClientIsDisconnected(t *testing.T) {
	for _, blocks := range []bool{false, true} {
		inBubble(t, func(t *testing.T, w *world) {
			c := w.open("slow", "", linktest.Full, func(s *linktest.Socket) { s.BlocksOnly = blocks })
			other := w.open("other", "")
			w.open("another", "")
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			start := time.Now()
			for range 4 {
				require.NoError(t, w.hub.Send(context.WithoutCancel(ctx), &Audience{}, "x", []any{strings.Repeat("x", 30<<10)}))
			}
			w.settle()
			assert.Equal(t, outbox.HoldTime, time.Since(start), "it has held the sender for a second in all")
			assert.True(t, c.socket.IsCut())
			assert.Contains(t, w.handler.noted(), "disconnected slow: hubsys: the client is too slow: its outbox has reached OutboxLimit of 65536 bytes")
			assert.Len(t, other.got(), 4)
			require.ErrorIs(t, w.hub.Send(ctx, &Audience{}, "x", nil), context.Canceled)
		})
	}
}

// A failed write leaves it to the reader to find the end. If it does not, the connection is cut.
func TestAFailedWriteEndsTheConnection(t *testing.T) {
	for _, blocks := range []bool{false, true} {
		inBubble(t, func(t *testing.T, w *world) {
			c := w.open("a", "", func(s *linktest.Socket) { s.BlocksOnly = blocks })
			c.socket.Break(errors.New("broken"))
			w.send(&Audience{}, "x")
			w.settle()
			c.say(call("", "note"))
			w.settle()
			assert.False(t, c.socket.IsCut())
			w.pass(w.settings.CloseTimeout + 2*second)
			assert.True(t, c.socket.IsCut())
			assert.Equal(t, []string{"connected a", "disconnected a: <nil>"}, w.handler.noted())
		})
	}
}

func TestPongs(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.connect("a", "", linktest.Full)
		for _, payload := range []string{"1", "2", "3"} {
			c.conn.Pong(wsframe.Control(wsframe.Pong, []byte(payload)))
		}
		c.socket.Drain(-1)
		w.settle()
		all := c.everything()
		assert.Equal(t, "pong 3", all[len(all)-1], "the newest is answered")
		c.conn.Pong(wsframe.Control(wsframe.Pong, []byte("4")))
		w.settle()
		assert.Equal(t, append(all, "pong 4"), c.everything())
		c.conn.out.Seal(nil)
		w.settle()
		c.conn.Pong(wsframe.Control(wsframe.Pong, []byte("5")))
		w.settle()
		assert.Equal(t, append(all, "pong 4", "close 1000"), c.everything(), "nothing follows the last frame")
	})
}

// A socket that is full in the middle of the close frame.
func TestTheLastFrameInParts(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open("a", "")
		c.socket.Drain(0)
		c.socket.Change(func() { c.socket.Room = 1 })
		c.conn.out.Seal(nil)
		w.settle()
		require.False(t, c.socket.IsFinished())
		c.socket.Drain(-1)
		w.settle()
		assert.True(t, c.socket.IsFinished())
		assert.Equal(t, []string{"{}", "close 1000"}, c.everything())
	})
}
