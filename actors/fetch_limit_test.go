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

// A client that reads more than half of the limit per second is not treated as slow, on any transport.
func TestClientThatKeepsReadingIsNotSlow(t *testing.T) {
	const rate = 640 << 10
	for name, open := range map[string]func(e *env){
		"socket": func(e *env) {
			c := e.open("a", "", linktest.Full)
			go func() {
				for !c.socket.IsCut() && !c.socket.IsFinished() {
					<-time.After(second / 100)
					c.socket.Drain(rate / 100)
				}
			}()
		},
		"polls":  func(e *env) { go e.openFetcher("a", true).fetchAtRate(rate) },
		"events": func(e *env) { go e.openFetcher("a", false).fetchAtRate(rate) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				e.settings.OutboxLimit = 1 << 20
				open(e)
				text := strings.Repeat("x", 700<<10)
				for i := range 10 {
					require.NoError(t, e.hub.Send(context.Background(), &Audience{}, "n", []any{i, text}))
					e.settle()
					require.Empty(t, e.handler.events()[1:], "message %d", i)
				}
				e.sleep(5 * second)
				e.hub.Connection("a").Abort()
				e.sleep(second)
				require.Equal(t, lifetimeEvents("a", nil), e.handler.events())
			})
		})
	}
}

func TestClientThatDoesNotPollIsDisconnectedAtLimit(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		f := e.openFetcher("a", true)
		e.open("b", "")
		e.open("c", "")
		start := time.Now()
		text := strings.Repeat("x", 1000)
		for range 300 { // more than four times the limit
			e.send(&Audience{}, "n", text)
		}
		e.settle()
		require.Contains(t, e.handler.events(), lifetimeEvents("a", e.slowClientError())[1])
		require.LessOrEqual(t, time.Since(start), 2*second, "senders are not delayed much")
		more, err := f.fetch(context.Background(), f.collect)
		require.False(t, more)
		require.NoError(t, err)
		require.Len(t, f.records(), 1)
	})
}

// A poll may begin while the message that has overflowed the outbox is still being sent to other connections.
func TestPollAfterOverflow(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		f := e.openFetcher("a", true)
		for i := 0; ; i++ {
			if f.conn.out.Push(notePacket(0, i, 1000), true, false) == outbox.Overflow {
				break
			}
		}
		more, err := f.fetch(context.Background(), f.collect)
		require.NoError(t, err)
		if !more {
			f.Cut() // as the transport does when it answers a poll with 204
		}
		f.conn.overflowed()
		e.settle()
		require.Equal(t, lifetimeEvents("a", e.slowClientError()), e.handler.events())
	})
}
