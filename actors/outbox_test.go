package actors

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/internal/wsframe"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// note is a message to a client that names its sender and says how many there were before it.
func note(sender, n, size int) *packet {
	b, _ := hubproto.JSON.AppendInvocation(packetBuffer(64), nil, "note", []any{sender, n, strings.Repeat("x", size)})
	p := newPacket(b, wsframe.Text)
	p.limited = true
	return p
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

// outboxModel drives one outbox: what was accepted must arrive, whole, once, in order.
type outboxModel struct {
	w        *world
	c        *client
	accepted map[int]int // by sender: so many were queued
	lossy    bool        // some of them may have been dropped: the outbox has overflowed, was dropped, or its socket is gone
	silent   bool        // nothing may be written any more
	sealed   bool
	pushers  int
}

// The senders of the model.
const (
	direct = iota
	completed
	last
	concurrent // and those that follow
)

func TestOutboxModel(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.OutboxLimit = 8 << 10
		id := 0
		w.property(func(t *rapid.T) {
			id++
			m := &outboxModel{w: w, accepted: map[int]int{}, pushers: concurrent}
			m.c = w.open(fmt.Sprint("c", id), "", func(s *socket) {
				s.answers = false
				s.blocks = rapid.Bool().Draw(t, "blocks")
			})
			t.Repeat(map[string]func(*rapid.T){
				"":        m.check,
				"push":    m.push,
				"crowd":   m.crowd,
				"reply":   m.reply,
				"pong":    func(*rapid.T) { m.c.conn.Pong(wsframe.Control(wsframe.Pong, []byte("p"))) },
				"room":    func(t *rapid.T) { m.c.socket.drain(rapid.IntRange(-1, 3000).Draw(t, "room")) },
				"fill":    func(*rapid.T) { m.c.socket.change(func() { m.c.socket.room = 0 }) },
				"rest":    func(*rapid.T) { w.settle() },
				"seal":    m.seal,
				"abandon": m.abandon,
			})
			m.finish(t)
		})
	})
}

func (m *outboxModel) push(t *rapid.T) {
	m.w.settle()
	o := &m.c.conn.out
	p := note(direct, m.accepted[direct], rapid.IntRange(0, 6000).Draw(t, "size"))
	before := o.limited
	switch got := m.c.conn.out.push(p, rapid.Bool().Draw(t, "fanout"), false); {
	case m.sealed:
		require.Equal(t, pushDropped, got)
	case before > 0 && before+p.charge() > m.w.settings.OutboxLimit:
		require.Equal(t, pushOverflow, got)
		m.overflow()
	default:
		require.Contains(t, []pushed{pushQueued, pushAbove}, got, "an outbox with %d bytes", before)
		m.accepted[direct]++
	}
}

// overflow is what a Send does that has met a full outbox.
func (m *outboxModel) overflow() {
	m.c.conn.boxOverflowed()
	m.sealed, m.lossy, m.silent = true, true, true
}

// crowd lets several senders push at once, beside whoever owns the outbox.
func (m *outboxModel) crowd(t *rapid.T) {
	if m.sealed {
		return // sealed
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	all.Go(func() { // a worker, who writes, too
		w := borrowWriter()
		defer returnWriter(w)
		for range 10 {
			mu.Lock()
			n := m.accepted[completed]
			if !m.sealed {
				m.accepted[completed]++
			}
			mu.Unlock()
			m.c.conn.out.reply(fmt.Appendf(nil, "{\"type\":3,\"invocationId\":\"%d/%d\"}\x1e", completed, n), false)
			w.flush(&m.c.conn.out)
		}
	})
	for range rapid.IntRange(2, 4).Draw(t, "senders") {
		sender, n := m.pushers, rapid.IntRange(1, 30).Draw(t, "notes")
		m.pushers++
		all.Go(func() {
			for i := range n {
				got := m.c.conn.out.push(note(sender, i, i), i%2 == 0, false)
				mu.Lock()
				switch got {
				case pushOverflow:
					m.overflow()
				case pushQueued, pushAbove:
					m.accepted[sender]++
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
}

// reply does what a worker does behind a call.
func (m *outboxModel) reply(t *rapid.T) {
	for range rapid.IntRange(1, 80).Draw(t, "completions") {
		size := rapid.IntRange(0, 100).Draw(t, "size")
		b := fmt.Appendf(nil, `{"type":3,"invocationId":"%d/%d","result":"%s"}`, completed, m.accepted[completed], strings.Repeat("y", size))
		enough := m.c.conn.out.reply(append(b, 0x1e), false)
		if !m.sealed {
			m.accepted[completed]++
		}
		if enough {
			break
		}
	}
	switch rapid.SampledFrom([]string{"write", "late", "schedule"}).Draw(t, "then") {
	case "write":
		w := borrowWriter()
		w.flush(&m.c.conn.out)
		returnWriter(w)
	case "late":
		m.c.conn.out.flusher.addLate(&m.c.conn.out)
		m.w.pass(lateTime)
	case "schedule":
		m.c.conn.out.schedule()
	}
}

func (m *outboxModel) seal(t *rapid.T) {
	var end *packet
	if rapid.Bool().Draw(t, "last") {
		end = note(last, 0, 10)
		if !m.sealed {
			m.accepted[last]++
		}
	}
	drop := rapid.Bool().Draw(t, "drop")
	m.lossy = m.lossy || drop
	m.sealed = true
	m.c.conn.out.seal(end, drop)
}

func (m *outboxModel) abandon(*rapid.T) {
	m.c.conn.abandon()
	m.sealed, m.lossy, m.silent = true, true, true
}

func (m *outboxModel) check(t *rapid.T) {
	require.Empty(t, m.c.socket.wrong())
}

func (m *outboxModel) finish(t *rapid.T) {
	m.c.socket.drain(-1)
	m.c.conn.out.schedule()
	m.w.settle()
	s, o := m.c.socket, &m.c.conn.out
	frames, rest := parseFrames(s.wire())
	if !m.silent {
		require.Empty(t, rest)
	}
	var records []string
	for i, f := range frames {
		switch f.opcode {
		case wsframe.Close:
			require.Equal(t, len(frames)-1, i, "a close frame ends all")
			require.True(t, m.sealed)
		case wsframe.Text:
			parts, err := f.records()
			require.NoError(t, err)
			records = append(records, parts...)
		}
	}
	got := noted(t, records[1:])
	for sender, numbers := range got {
		require.LessOrEqual(t, len(numbers), m.accepted[sender], "sender %d", sender)
		for i, n := range numbers {
			if m.lossy && sender == last {
				break
			}
			require.Equal(t, i, n, "sender %d: %v", sender, numbers)
		}
	}
	if !m.lossy {
		for sender, n := range m.accepted {
			require.Len(t, got[sender], n, "sender %d", sender)
		}
	}
	require.Equal(t, boxIdle, o.state)
	require.Empty(t, o.queue)
	if !m.silent {
		require.Zero(t, o.bytes)
		require.Equal(t, m.sealed, s.isFinished(), "who empties a sealed outbox ends it")
	}
	s.Cut()
	m.w.settle()
	require.Empty(t, s.wrong())
}

// Many calls of one client end while its socket is full: their completions lie in packets of many messages each.
func TestAtMost64MessagesAreMerged(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open("a", "", func(s *socket) { s.room = len(wsframe.CloseFrame(1000)) + 1 })
		for i := range 3 * maxMerged {
			c.conn.out.reply([]byte(call(fmt.Sprint(i), "x")+"\x1e"), false)
		}
		c.conn.out.schedule()
		w.settle()
		c.socket.drain(-1)
		w.settle()
		assert.Len(t, c.got(), 3*maxMerged)
	})
}

func TestLargeMessagesAreNotMerged(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.OutboxLimit = 1 << 20
		c := w.open("a", "", full)
		for i := range 10 {
			require.NotEqual(t, pushOverflow, c.conn.out.push(note(0, i, 30<<10), false, false))
		}
		c.conn.out.push(note(0, 10, 100<<10), false, false)
		c.socket.drain(-1)
		w.settle()
		assert.Len(t, c.got(), 11)
		frames, _ := parseFrames(c.socket.wire())
		assert.Len(t, frames, 1+5+1, "two at a time, and the largest alone")
	})
}

func TestSameMessagesAreMergedOnce(t *testing.T) {
	w := &writer{size: 200}
	merge := func(opcode byte, packets ...*packet) []byte {
		w.packets = packets
		return w.merge(opcode)
	}
	a, b := note(0, 0, 10), note(0, 1, 10)
	first := merge(wsframe.Text, a, b)
	again := merge(wsframe.Text, a, b)
	assert.Same(t, &first[0], &again[0])
	assert.Equal(t, byte(0x80|wsframe.Binary), merge(wsframe.Binary, a, b)[0], "but not for another kind of frame")
	w.forget()
	assert.Empty(t, w.key)

	own := &packet{b: append(packetBuffer(10), "one"...), own: true}
	assert.Contains(t, string(merge(wsframe.Text, own, a)), "one")
	own.b = append(own.b[:wsframe.Room], "two"...)
	assert.Contains(t, string(merge(wsframe.Text, own, a)), "two", "an own packet comes back with other bytes")
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
		for i := range maxMerged {
			calls = append(calls, call(fmt.Sprint(i), "echo"))
		}
		c.say(append(calls, call("x", "gate"))...)
		w.settle()
		assert.Len(t, c.got(), maxMerged)
		open()
	})
}

func TestAnEmptyOutboxTakesAnyFrame(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open("a", "", full)
		w.settle()
		c.socket.drain(100)
		w.settle()
		require.Zero(t, c.conn.out.bytes)
		c.socket.change(func() { c.socket.room = 0 })
		assert.Equal(t, pushAbove, c.conn.out.push(note(0, 0, 10*w.settings.OutboxLimit), false, false))
		assert.Equal(t, pushOverflow, c.conn.out.push(note(0, 1, 0), false, false))
	})
}

func TestASlowClientIsDisconnected(t *testing.T) {
	for _, blocks := range []bool{false, true} {
		inBubble(t, func(t *testing.T, w *world) {
			c := w.open("slow", "", full, func(s *socket) { s.blocks = blocks })
			other := w.open("other", "")
			w.open("another", "")
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			start := time.Now()
			for range 4 {
				require.NoError(t, w.hub.Send(context.WithoutCancel(ctx), &Audience{}, "x", []any{strings.Repeat("x", 30<<10)}))
			}
			w.settle()
			assert.Equal(t, holdTime, time.Since(start), "it has held the sender for a second in all")
			assert.True(t, c.socket.isCut())
			assert.Contains(t, w.handler.noted(), "disconnected slow: troupe: the client is too slow: its outbox has reached OutboxLimit of 65536 bytes")
			assert.Len(t, other.got(), 4)
			require.ErrorIs(t, w.hub.Send(ctx, &Audience{}, "x", nil), context.Canceled)
		})
	}
}

// A failed write leaves it to the reader to find the end. If it does not, the connection is cut.
func TestAFailedWriteEndsTheConnection(t *testing.T) {
	for _, blocks := range []bool{false, true} {
		inBubble(t, func(t *testing.T, w *world) {
			c := w.open("a", "", func(s *socket) { s.blocks = blocks })
			c.socket.breakDown(errors.New("broken"))
			w.send(&Audience{}, "x")
			w.settle()
			c.say(call("", "note"))
			w.settle()
			assert.False(t, c.socket.isCut())
			w.pass(w.settings.CloseTimeout + 2*second)
			assert.True(t, c.socket.isCut())
			assert.Equal(t, []string{"connected a", "disconnected a: <nil>"}, w.handler.noted())
			assert.Equal(t, boxIdle, c.conn.out.state)
		})
	}
}

func TestPongs(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.connect("a", "", full)
		for _, payload := range []string{"1", "2", "3"} {
			c.conn.Pong(wsframe.Control(wsframe.Pong, []byte(payload)))
		}
		c.socket.drain(-1)
		w.settle()
		all := c.everything()
		assert.Equal(t, "pong 3", all[len(all)-1], "the newest is answered")
		c.conn.Pong(wsframe.Control(wsframe.Pong, []byte("4")))
		w.settle()
		assert.Equal(t, append(all, "pong 4"), c.everything())
		c.conn.out.seal(nil, false)
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
		c.socket.drain(0)
		c.socket.change(func() { c.socket.room = 1 })
		c.conn.out.seal(nil, false)
		w.settle()
		require.False(t, c.socket.isFinished())
		c.socket.drain(-1)
		w.settle()
		assert.True(t, c.socket.isFinished())
		assert.Equal(t, []string{"{}", "close 1000"}, c.everything())
	})
}
