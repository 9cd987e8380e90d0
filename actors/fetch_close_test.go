package actors

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLeave(t *testing.T) {
	for _, test := range []struct {
		name  string
		cause error
		last  string
	}{
		{"between messages", nil, `{"type":7,"allowReconnect":true}`},
		{"in a message", errCut, `{"type":7,"error":"` + connectedText + " Error: " + errCut.Error() + `","allowReconnect":true}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				p := w.greet("a", true)
				ended := p.all()
				w.settle()
				p.conn.Leave(test.cause)
				w.settle()
				require.NoError(t, <-ended)
				require.Equal(t, []string{"{}", test.last}, p.records())
				require.Equal(t, lived("a", test.cause), w.handler.noted())
			})
		})
	}
}

// Before the handshake there is nothing to be said (spec §3.4).
func TestLeaveBeforeTheHandshake(t *testing.T) {
	for _, err := range []error{nil, errCut} {
		inBubble(t, func(t *testing.T, w *world) {
			p := w.pull("a", true)
			ended := p.all()
			w.settle()
			p.conn.Leave(err)
			w.settle()
			require.NoError(t, <-ended)
			require.Empty(t, p.records(), "%v", err)
			require.Empty(t, w.handler.noted())
		})
	}
}

// A client that polls may be away for awayLimit: until then it can fetch what was said last.
func TestAClientThatDoesNotFetchTheClose(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := w.greet("a", true)
		p.conn.Abort()
		w.settle()
		require.Equal(t, lived("a", nil), w.handler.noted())
		w.pass(awayLimit - 2*second)
		over := func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.over }
		require.False(t, over())
		w.pass(4 * second)
		require.True(t, over())
		require.Zero(t, w.sys.alive.Get())
	})
}

// Nothing can be fetched any more behind End, and nobody waits for it.
func TestEndReleasesAFetch(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := w.greet("a", true)
		p.deaf = true
		ctx, cancel := context.WithTimeout(context.Background(), 60*second)
		defer cancel()
		ended := make(chan error, 1)
		go func() {
			_, err := p.fetch(ctx, p.keep)
			ended <- err
		}()
		w.settle()
		p.conn.End(nil)
		require.NotErrorIs(t, <-ended, context.DeadlineExceeded)
	})
}

func TestTheActorOfAClientThatPollsIsStopped(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := w.greet("a", true)
		ended := p.all()
		w.settle()
		w.sys.actors.Root.Stop(p.conn.PID())
		w.settle()
		require.Equal(t, errCut, <-ended)
		require.Equal(t, lived("a", errActorStopped), w.handler.noted())
		require.Zero(t, w.sys.alive.Get())
	})
}

func TestShutdownAndClientsThatFetch(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		waiting, stream, away := w.greet("a", true), w.greet("b", false), w.greet("c", true)
		ended, streamed := waiting.all(), stream.all()
		w.settle()
		start := time.Now()
		require.ErrorContains(t, w.shutdown(), "1 connections cut off")
		require.LessOrEqual(t, time.Since(start), 5*second)
		require.NoError(t, <-ended)
		require.NoError(t, <-streamed)
		for _, p := range []*puller{waiting, stream} {
			require.Equal(t, []string{"{}", `{"type":7,"allowReconnect":true}`}, p.records())
		}
		require.True(t, away.over)
	})
}
