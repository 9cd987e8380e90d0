package actors

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/internal/linktest"
	"github.com/troupe-go/troupe/internal/wsframe"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// resumeModel drives one connection whose client loses its socket again and again, at any byte, in both directions. Each side must have every
// message of the other once and in order, and the hub must see one connection.
type resumeModel struct {
	e  *env
	c  *returning
	id string

	// What the client has sent: the number of a record is its index plus 1. What a lost socket has swallowed is known only by the acks of the
	// server, and need not be.
	sent  []string
	acked int64 // by the server

	// What the client has received.
	next, latest int64
	records      []string
	seen         int // bytes of the wire of the present socket

	notes    int // that were sent by the client
	toClient int // messages that were sent to it, by whom
	started  int // streams
	answered map[string]bool
	budget   int // of the present socket: bytes that still reach the server; negative: all
	over     bool
	cause    string

	mu       sync.Mutex
	received []string // by the hub
}

func newResumeModel(e *env, t *rapid.T, n int) *resumeModel {
	m := &resumeModel{e: e, id: fmt.Sprint("model-", n), next: 1, budget: -1, answered: map[string]bool{}}
	e.settings.KeptLimit = rapid.SampledFrom([]int{1, 400, 2000, 100_000}).Draw(t, "kept")
	e.handler.methods["note"] = func(k *Call, args string) (any, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.received = append(m.received, args)
		return json.RawMessage(args), nil
	}
	e.handler.methods["count"] = countMethod(7)
	m.c = e.openReturning(m.id, m.id, m.socket(t))
	require.NoError(t, e.hub.Join(context.Background(), m.id, m.id))
	return m
}

// socket draws how a socket is: one that takes everything, or one that is full soon.
func (m *resumeModel) socket(t *rapid.T) func(*linktest.Socket) {
	room, blocks := rapid.SampledFrom([]int{-1, -1, 5, 60, 500}).Draw(t, "room"), rapid.Bool().Draw(t, "blocks")
	return func(s *linktest.Socket) {
		s.BlocksOnly, s.Room = blocks, room
	}
}

// send sends a numbered record. Of what is beyond the budget of the socket, nothing arrives.
func (m *resumeModel) send(record string) {
	m.sent = append(m.sent, record)
	m.transmit(record)
}

func (m *resumeModel) transmit(record string) {
	b := []byte(record + "\x1e")
	if m.c.conn.isLost() || m.over {
		return
	}
	if m.budget >= 0 {
		b = b[:min(len(b), m.budget)]
		m.budget -= len(b)
	}
	if len(b) > 0 {
		m.c.write(b)
	}
}

// receive takes what the present socket has brought. The rest of a frame that was cut is dropped with its socket.
func (m *resumeModel) receive(t *rapid.T) {
	m.e.settle()
	wire := m.c.socket.Wire()
	frames, rest := linktest.ParseFrames(wire[m.seen:])
	m.seen = len(wire) - len(rest)
	for _, f := range frames {
		if f.Opcode != wsframe.Text {
			continue
		}
		payload, whole := strings.CutSuffix(string(f.Payload), "\x1e")
		require.True(t, whole, "half a message: %q", f.Payload)
		for record := range strings.SplitSeq(payload, "\x1e") {
			m.take(t, record)
		}
	}
}

func (m *resumeModel) take(t *rapid.T, record string) {
	var parsed hubproto.Message
	if record == "{}" {
		return
	}
	require.NoError(t, hubproto.JSON.Parse([]byte(record+"\x1e"), &parsed))
	switch parsed.Type {
	case hubproto.Ack:
		require.LessOrEqual(t, parsed.SequenceID, int64(len(m.sent)), "an Ack of what was not sent")
		m.acked = max(m.acked, parsed.SequenceID)
	case hubproto.Sequence:
		require.LessOrEqual(t, parsed.SequenceID, m.latest+1, "a gap")
		m.next = parsed.SequenceID
	case hubproto.Ping, hubproto.Close:
	default:
		number := m.next
		m.next++
		if number <= m.latest {
			require.Equal(t, m.records[number-1], record, "message %d is another one when it comes again", number)
			return
		}
		m.latest = number
		m.records = append(m.records, record)
	}
}

func (m *resumeModel) lose(t *rapid.T) {
	m.receive(t)
	m.c.lose()
}

// resume comes back. The client sends again what was not acknowledged, behind its Sequence.
func (m *resumeModel) resume(t *rapid.T, change func(*linktest.Socket)) {
	m.receive(t)
	if m.over {
		require.False(t, m.c.resume(change))
		return
	}
	require.True(t, m.c.resume(change))
	m.seen = 0
	m.receive(t)
	m.transmit(sequenceOf(m.acked + 1))
	for _, record := range m.sent[m.acked:] {
		m.transmit(record)
	}
}

// check holds at any time.
func (m *resumeModel) check(t *rapid.T) {
	m.mu.Lock()
	for i, args := range m.received {
		require.Equal(t, fmt.Sprintf("[%d]", i), args, "once and in order")
	}
	m.mu.Unlock()
	want := []string{"connected " + m.id}
	if m.over {
		want = append(want, "disconnected "+m.id+": "+m.cause)
	}
	var got []string
	for _, event := range m.e.handler.events() {
		if strings.HasSuffix(event, m.id) || strings.Contains(event, m.id+":") {
			got = append(got, event)
		}
	}
	require.Equal(t, want, got)
	require.Equal(t, !m.over, m.e.hub.Connection(m.id) != nil)
}

// finish brings everything to both sides.
func (m *resumeModel) finish(t *rapid.T) {
	if m.over {
		return
	}
	m.budget = -1
	m.resume(t, func(*linktest.Socket) {})
	for rest := -1; rest != int(m.latest); {
		rest = int(m.latest)
		m.transmit(ackOf(m.latest))
		m.receive(t)
	}
	m.mu.Lock()
	require.Len(t, m.received, m.notes)
	m.mu.Unlock()
	counts := map[string]int{}
	last := map[string]int{}
	for _, record := range m.records {
		var one struct {
			Type         int
			InvocationID string
			Target       string
			Arguments    []any
			Item         *int
		}
		require.NoError(t, json.Unmarshal([]byte(record), &one))
		switch {
		case one.Target == "n":
			require.EqualValues(t, counts["n"], one.Arguments[0])
			counts["n"]++
		case one.Type == 2:
			require.Equal(t, last[one.InvocationID], *one.Item)
			last[one.InvocationID]++
			counts["item"]++
		case one.Type == 3:
			require.NotContains(t, record, `"error"`)
			require.Zero(t, last["ended "+one.InvocationID], record)
			last["ended "+one.InvocationID] = 1
			counts["completion"]++
		}
	}
	require.Equal(t, map[string]int{"n": m.toClient, "item": 7 * m.started, "completion": m.notes + m.started}, map[string]int{
		"n": counts["n"], "item": counts["item"], "completion": counts["completion"],
	})
	m.e.sleep(2 * second)
	m.receive(t)
	require.EqualValues(t, len(m.sent), m.acked)
	m.c.requireIdle(t)
	pending, _ := m.c.conn.out.Pending()
	require.Zero(t, pending)
}

func (m *resumeModel) end(t *rapid.T, cause string, end func()) {
	if rapid.IntRange(0, 9).Draw(t, "seldom") > 0 || m.over {
		t.Skip("not now")
	}
	m.receive(t)
	end()
	m.e.settle()
	m.over, m.cause = true, cause
}

func TestResumeModel(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.KeepAlive, e.settings.SendTimeout = 5*second, never
		n := 0
		e.checkProperty(func(t *rapid.T) {
			n++
			m := newResumeModel(e, t, n)
			defer func() {
				m.c.conn.Abort()
				m.c.socket.Cut()
				e.sleep(6 * second)
				require.Empty(t, m.c.socket.Faults())
				if !t.Failed() {
					m.c.assertRemoved(e.t)
				}
				e.clients = nil
			}()
			t.Repeat(map[string]func(*rapid.T){
				"": func(t *rapid.T) { m.check(t) },
				"note": func(t *rapid.T) {
					for range rapid.IntRange(1, 5).Draw(t, "calls") {
						m.send(call(fmt.Sprint("c", m.notes), "note", m.notes))
						m.notes++
					}
				},
				"stream": func(*rapid.T) {
					m.send(streamCall(fmt.Sprint("s", m.started), "count"))
					m.started++
				},
				"cancel nothing": func(*rapid.T) { m.send(cancel("nothing")) },
				"ping":           func(*rapid.T) { m.transmit(ping) },
				"broadcast": func(t *rapid.T) {
					e.settle()
					if m.c.conn.out.IsAboveMark() || m.over {
						t.Skip("senders would wait")
					}
					to := rapid.SampledFrom([]*Audience{
						toConnection(m.id), {Kind: Groups, Names: []string{m.id}}, {Kind: Users, Names: []string{m.id}}, {},
					}).Draw(t, "to")
					size := rapid.IntRange(0, 700).Draw(t, "size")
					for range rapid.IntRange(1, 4).Draw(t, "messages") {
						ctx, cancel := context.WithCancel(context.Background())
						go e.hub.Send(ctx, to, "n", []any{m.toClient, strings.Repeat("x", size)})
						e.settle()
						cancel()
						m.toClient++
					}
				},
				"receive": func(t *rapid.T) { m.receive(t) },
				"ack": func(t *rapid.T) {
					m.receive(t)
					m.transmit(ackOf(rapid.Int64Range(-1, m.latest).Draw(t, "number")))
				},
				"ack all": func(t *rapid.T) {
					m.receive(t)
					m.transmit(ackOf(m.latest))
				},
				"room": func(t *rapid.T) {
					m.c.socket.Drain(rapid.SampledFrom([]int{-1, 1, 10, 300}).Draw(t, "room"))
				},
				"cut what is sent": func(t *rapid.T) {
					if m.budget >= 0 {
						t.Skip("half a message may have been sent")
					}
					m.budget = rapid.IntRange(0, 300).Draw(t, "bytes")
				},
				"lose": func(t *rapid.T) { m.lose(t) },
				"lose unread": func(*rapid.T) { // what the socket has brought is lost as well
					m.c.lose()
				},
				"resume": func(t *rapid.T) {
					m.budget = -1
					m.resume(t, m.socket(t))
				},
				"lower sequence": func(t *rapid.T) {
					if m.c.conn.isLost() || m.budget >= 0 {
						t.Skip("not now")
					}
					m.transmit(sequenceOf(m.acked + 1)) // on a socket that is well
					for _, record := range m.sent[m.acked:] {
						m.transmit(record)
					}
				},
				"second": func(t *rapid.T) {
					e.sleep(second)
					m.receive(t)
				},
				"expire": func(t *rapid.T) {
					m.end(t, "<nil>", func() { m.c.lose(); e.sleep(18 * second) })
				},
				"abort": func(t *rapid.T) {
					m.end(t, "<nil>", func() { m.c.conn.Abort(); m.c.socket.Cut() })
				},
				"gap": func(t *rapid.T) {
					if m.budget >= 0 || m.c.conn.isLost() {
						t.Skip("not now")
					}
					m.end(t, errSequence.Error(), func() {
						m.transmit(sequenceOf(int64(len(m.sent)) + 2))
						e.settle()
						m.c.socket.Cut()
					})
				},
			})
			m.finish(t)
		})
	})
}
