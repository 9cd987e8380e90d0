package actors

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/actors/outbox"
	"github.com/troupe-go/troupe/internal/linktest"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// Many push at once, and the flushers come to rest in between: nothing is left lying.
func TestNoWakeUpIsLost(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		const rounds, senders = 50, 4
		var clients []*client
		for i := range 3 {
			clients = append(clients, w.open(fmt.Sprint(i), ""))
		}
		for n := range rounds {
			var all sync.WaitGroup
			for sender := range senders {
				all.Go(func() {
					for i, c := range clients {
						assert.Equal(t, outbox.Queued, c.conn.out.Push(note(sender, n, 0), (i+sender+n)%2 == 0, false))
					}
				})
			}
			all.Wait()
			w.settle()
			for _, c := range clients {
				require.Len(t, c.got(), (n+1)*senders)
			}
		}
	})
}

// The same beside a clock that runs, where flushers rest behind a pass.
func TestNoWakeUpIsLostWhileFlushersRest(t *testing.T) {
	w := newWorld(t, nil, never, hubproto.JSON)
	slow := func(s *linktest.Socket) { s.Before = func() { <-time.After(500 * time.Microsecond) } }
	c := w.open("a", "", slow)
	require.Eventually(t, func() bool { return len(w.handler.noted()) == 1 }, 10*second, time.Millisecond)
	var all sync.WaitGroup
	for sender := range 4 {
		all.Go(func() {
			for i := range 50 {
				c.conn.out.Push(note(sender, i, 0), i%2 == 0, false)
				if i%10 == 0 {
					<-time.After(time.Millisecond)
				}
			}
		})
	}
	all.Wait()
	require.Eventually(t, func() bool {
		_, rest := linktest.ParseFrames(c.socket.Wire())
		return len(rest) == 0 && len(c.everything()) == 201
	}, 10*second, time.Millisecond)
	for _, numbers := range noted(t, c.got()) {
		assert.True(t, slices.IsSorted(numbers))
	}
}

// A completion does not wait for a call that runs behind it.
func TestLateList(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		gate, open := w.gate()
		w.handler.methods["gate"] = gate
		c := w.open("a", "")
		c.say(call("1", "echo"), call("2", "echo"), call("3", "gate"), call("4", "echo"))
		w.settle()
		require.Empty(t, c.got(), "the worker has calls to run first")
		w.pass(lateTime)
		assert.Equal(t, []string{result("1", "[]"), result("2", "[]")}, c.got())
		open()
		w.settle()
		assert.Equal(t, []string{result("3", `"passed"`), result("4", "[]")}, c.got()[2:])
		w.pass(lateTime)
	})
}

// Whoever is about to wait for room first sees to it that completions do not wait, too.
func TestASendThatWaitsSchedulesItsOwnCompletions(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		slow := w.open("slow", "", linktest.Full)
		w.handler.methods["send"] = func(k *Call, _ string) (any, error) {
			return nil, w.hub.Send(k, &Audience{Kind: Connections, Names: []string{"slow"}}, "x", []any{strings.Repeat("x", w.settings.OutboxLimit*2/3)})
		}
		c := w.open("a", "")
		c.say(call("1", "echo"), call("2", "send"))
		w.settle()
		assert.Equal(t, []string{result("1", "[]")}, c.got())
		slow.socket.Drain(-1)
		w.settle()
		assert.Len(t, c.got(), 2)
	})
}

// An event that is encoded once is written to each from the same memory.
func TestAFanOutToMany(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var clients []*client
		for i := range 3 * smallGroup {
			clients = append(clients, w.open(fmt.Sprint(i), ""))
		}
		for i := range 100 {
			require.NoError(t, w.hub.Send(context.Background(), &Audience{}, "note", []any{0, i, ""}))
		}
		w.settle()
		for _, c := range clients {
			numbers := noted(t, c.got())[0]
			assert.Len(t, numbers, 100)
			assert.True(t, slices.IsSorted(numbers))
		}
	})
}
