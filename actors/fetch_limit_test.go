package actors

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/troupe-go/troupe/actors/outbox"
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
