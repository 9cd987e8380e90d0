package actors

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/actors/outbox"
	"github.com/troupe-go/troupe/internal/linktest"
)

// What is pending again behind a poll that has failed counts as before: a client that breaks off each poll at its end gets no second,
// third and fourth outbox.
func TestPollsThatBreakOffMakeNoRoom(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := w.greet("a", true)
		limit := w.settings.OutboxLimit
		sent, most := 0, 0
		send := func() (full bool) { // a loop of sends, until it has to wait or is in vain
			for {
				result := p.conn.out.Push(note(0, sent, 1000), true, true)
				if sent++; result != outbox.Queued {
					return result != outbox.AboveMark
				}
			}
		}
		ended := send()
		for i := 0; i < 50 && !ended; i++ {
			_, err := p.fetch(context.Background(), func(b []byte, taken func(int)) error {
				taken(len(b))
				ended = send()
				return errCut
			})
			require.ErrorIs(t, err, errCut)
			bytes, _ := p.conn.out.Pending()
			most = max(most, bytes)
		}
		require.LessOrEqual(t, most, 2*limit, "after %d messages", sent)
	})
}

// A client that takes more than half a limit's worth a second is not too slow, whatever carries its messages.
func TestALoopOfLargeSendsToAClientThatMoves(t *testing.T) {
	const rate = 640 << 10
	for name, open := range map[string]func(w *world){
		"socket": func(w *world) {
			c := w.open("a", "", linktest.Full)
			go func() {
				for !c.socket.IsCut() && !c.socket.IsFinished() {
					<-time.After(second / 100)
					c.socket.Drain(rate / 100)
				}
			}()
		},
		"polls":  func(w *world) { go w.greet("a", true).take(rate) },
		"events": func(w *world) { go w.greet("a", false).take(rate) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.settings.OutboxLimit = 1 << 20
				open(w)
				text := strings.Repeat("x", 700<<10)
				for i := range 10 {
					require.NoError(t, w.hub.Send(context.Background(), &Audience{}, "n", []any{i, text}))
					w.settle()
					require.Empty(t, w.handler.noted()[1:], "message %d", i)
				}
				w.pass(5 * second)
				w.sys.connections.find("a").Abort()
				w.pass(second)
				require.Equal(t, lived("a", nil), w.handler.noted())
			})
		})
	}
}

func TestNobodyPollsAndTheOutboxIsFull(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := w.greet("a", true)
		w.open("b", "")
		w.open("c", "")
		start := time.Now()
		text := strings.Repeat("x", 1000)
		for range 100 {
			w.send(&Audience{}, "n", text)
		}
		w.settle()
		require.Contains(t, w.handler.noted(), lived("a", w.slow())[1])
		require.LessOrEqual(t, time.Since(start), 2*second, "senders do not wait for long")
		more, err := p.fetch(context.Background(), p.keep)
		require.False(t, more)
		require.NoError(t, err)
		require.Len(t, p.records(), 1)
	})
}

// A poll may come while the message that was too much is still being sent to others.
func TestAPollBehindAFullOutbox(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := w.greet("a", true)
		for i := 0; ; i++ {
			if p.conn.out.Push(note(0, i, 1000), true, false) == outbox.Overflow {
				break
			}
		}
		more, err := p.fetch(context.Background(), p.keep)
		require.NoError(t, err)
		if !more {
			p.Cut() // as a poll does that is answered with 204
		}
		p.conn.overflowed()
		w.settle()
		require.Equal(t, lived("a", w.slow()), w.handler.noted())
	})
}
