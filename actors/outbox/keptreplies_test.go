package outbox

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/internal/linktest"
	"github.com/troupe-go/troupe/internal/wsframe"
)

// churn has other boxes use packets of the pool: whoever still reads one that has gone back there sees their bytes, or a race.
func (e *env) churn(n int) {
	b, s := e.boxOver(1_000_000)
	for i := range n {
		b.Reply(text(9, i, 200), i%3 == 0)
		if i%7 == 0 {
			flush(b)
		}
	}
	b.Schedule()
	settle()
	s.Cut()
}

// Drainers of links that were lost still write replies, which have been written to other links, and acknowledged, meanwhile.
func TestRepliesOutliveTheLinksThatTheyWereWrittenTo(t *testing.T) {
	for _, blocks := range []bool{false, true} {
		t.Run(fmt.Sprint("blocks: ", blocks), func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				full := func(s *linktest.Socket) { s.Room, s.BlocksOnly = 3, blocks }
				b, first := e.keeping(1_000_000, 1_000_000, full)
				stale := []*linktest.Socket{first}
				for i := range 8 {
					b.Reply(text(0, i, 100), false)
					if i%2 == 0 {
						b.Push(note(1, i/2, 100), true, false)
					}
					b.Schedule()
					settle()
					b.Detach()
					stale = append(stale, e.reattach(b, full))
					settle()
				}
				b.Detach()
				last := e.reattach(b)
				settle()
				assert.Equal(t, map[int][]int{0: upTo(8), 1: upTo(4)}, numbers(t, received(t, last)[1:]))
				b.Acknowledge(12)
				e.churn(50)
				for _, s := range stale { // now their drainers go on
					s.Drain(50)
					e.churn(20)
					s.Drain(-1)
				}
				settle()
				var wires []string
				for _, s := range stale {
					got, rest := receivedInPart(t, s)
					for _, m := range got {
						require.NotContains(t, m, "9/", "the bytes of another box")
					}
					wires = append(wires, string(rest))
				}
				assert.NotContains(t, strings.Join(wires, ""), "9/")
				b.Reply(text(0, 8, 0), true)
				settle()
				assert.Equal(t, "0/8/", received(t, last)[13])
			})
		})
	}
}

// A reply is not appended to a packet that is written again: the numbers of what a link is introduced with hold.
func TestRepliesBehindWhatIsWrittenAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, _ := e.keeping(100_000, 100_000)
		b.Reply(text(0, 0, 0), true)
		settle()
		b.Detach()
		s := e.reattach(b, linktest.Full)
		b.Reply(text(0, 1, 0), true)
		b.Reply(text(0, 2, 0), true)
		s.Drain(-1)
		settle()
		assert.Equal(t, append([]string{"sequence 1"}, of(0, 0, 1, 2)...), received(t, s))
		b.Acknowledge(1)
		_, _, first := b.keptNow()
		assert.EqualValues(t, 2, first)
	})
}

// keptPeer is the other side of a keeping box: it numbers what it receives, drops what it has, and acknowledges when it likes.
type keptPeer struct {
	next, latest int64
	got          []string
}

// take receives what a link has brought. A link that was lost may have brought half a message, which is dropped.
func (p *keptPeer) take(t *rapid.T, s *linktest.Socket, from int) (seen int) {
	wire := s.Wire()
	frames, rest := linktest.ParseFrames(wire[from:])
	for _, f := range frames {
		if f.Opcode != wsframe.Text {
			continue
		}
		payload, whole := strings.CutSuffix(string(f.Payload), "\x1e")
		require.True(t, whole, "half a message: %.100q", f.Payload)
		for m := range strings.SplitSeq(payload, "\x1e") {
			var first int64
			if _, err := fmt.Sscanf(m, "sequence %d", &first); err == nil {
				require.LessOrEqual(t, first, p.latest+1, "a gap")
				p.next = first
				continue
			}
			if !strings.Contains(m, "/") { // an acknowledgement or a ping
				continue
			}
			number := p.next
			p.next++
			if number == p.latest+1 {
				p.latest = number
				p.got = append(p.got, m)
			} else {
				require.Less(t, number, p.latest+1)
				require.Equal(t, p.got[number-1], m, "message %d is another one when it is written again", number)
			}
		}
	}
	return len(wire) - len(rest)
}

// Random pushes, replies, losses and acknowledgements: the peer has everything once, in order, and the box no more than it may keep.
func TestKeptModel(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		property(t, func(t *rapid.T) {
			limit := rapid.SampledFrom([]int{1, 500, 3000, 100_000}).Draw(t, "kept")
			b := e.box(1 << 20)
			b.Keep(limit)
			room := rapid.SampledFrom([]int{-1, 0, 1, 7, 100, 1000})
			attach := func() *linktest.Socket {
				s := linktest.NewSocket()
				s.Room, s.BlocksOnly = room.Draw(t, "room"), rapid.Bool().Draw(t, "blocks")
				e.sockets = append(e.sockets, s)
				return s
			}
			s := attach()
			b.AttachSocket(s)
			peer, from, sent, unlinked := &keptPeer{next: 1}, 0, 0, false
			largest := 0
			receive := func() {
				settle()
				from += peer.take(t, s, from) - from
			}
			lose := func() {
				if unlinked {
					return
				}
				receive()
				require.True(t, b.Detach())
				if rapid.Bool().Draw(t, "cut") {
					s.Cut()
				} // or a stale writer goes on
				unlinked = true
			}
			resume := func() {
				if unlinked {
					s, from, unlinked = attach(), 0, false
					require.True(t, b.Reattach(s, sequence))
				}
			}
			t.Repeat(map[string]func(*rapid.T){
				"": func(t *rapid.T) {
					b.locked(func() {
						kept := 0
						for _, p := range b.kept.packets {
							kept += p.size()
						}
						require.Equal(t, kept, b.kept.bytes)
						require.LessOrEqual(t, kept, limit+largest)
					})
				},
				"push": func(t *rapid.T) {
					size := rapid.IntRange(0, 2000).Draw(t, "size")
					p := note(0, sent, size)
					if rapid.Bool().Draw(t, "answer") {
						p = answer(0, sent, size)
					}
					largest = max(largest, p.size())
					b.Push(p, rapid.Bool().Draw(t, "fanout"), true)
					sent++
				},
				"reply": func(t *rapid.T) {
					size, now := rapid.IntRange(0, 300).Draw(t, "size"), rapid.Bool().Draw(t, "now")
					for range rapid.IntRange(1, 80).Draw(t, "replies") {
						b.Reply(text(0, sent, size), now)
						sent++
					}
					largest = max(largest, maxMergedBytes)
					b.Schedule()
				},
				"flush":  func(*rapid.T) { flush(b) },
				"settle": func(*rapid.T) { settle() },
				"ping":   func(*rapid.T) { b.PushIfIdle(control("ping")) },
				"pong":   func(*rapid.T) { b.PushPong(pong("?")) },
				"ack of ours": func(*rapid.T) {
					b.PushAck(control("ack"))
				},
				"acknowledge": func(t *rapid.T) {
					receive()
					b.Acknowledge(rapid.Int64Range(-1, peer.latest).Draw(t, "number"))
				},
				"acknowledge all": func(*rapid.T) {
					receive()
					b.Acknowledge(peer.latest)
				},
				"room":   func(t *rapid.T) { s.Drain(room.Draw(t, "room")) },
				"lose":   func(*rapid.T) { lose() },
				"resume": func(*rapid.T) { resume() },
				"churn":  func(*rapid.T) { e.churn(10) },
			})
			resume()
			for range sent + 2 { // each acknowledgement brings a message at least
				s.Drain(-1)
				receive()
				if peer.latest == int64(sent) {
					break
				}
				b.Acknowledge(peer.latest)
			}
			require.EqualValues(t, sent, peer.latest)
			require.Equal(t, upTo(sent), append([]int{}, numbers(t, peer.got)[0]...))
			b.Acknowledge(peer.latest)
			packets, bytes, first := b.keptNow()
			require.Equal(t, [3]int64{0, 0, int64(sent) + 1}, [3]int64{int64(packets), int64(bytes), first})
			for _, s := range e.sockets {
				s.Cut()
			}
			settle()
			for _, s := range e.sockets {
				require.Empty(t, s.Faults())
			}
			e.sockets = nil
			pending, _ := b.Pending()
			require.Zero(t, pending)
		})
	})
}

// Many small replies that are kept one by one need about as much memory as they are counted with, and a header each.
func TestKeptRepliesAreSmall(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, _ := e.keeping(1<<20, 1<<20)
		w := &Writer{}
		for range 100 {
			b.Reply([]byte("reply\x1e"), false)
			w.Flush(&b.Box)
		}
		memory := 0
		b.locked(func() {
			for _, p := range b.kept.packets {
				memory += cap(p.b)
			}
		})
		packets, bytes, _ := b.keptNow()
		assert.Equal(t, [2]int{100, 600}, [2]int{packets, bytes})
		assert.LessOrEqual(t, memory, 100*32)
	})
}
