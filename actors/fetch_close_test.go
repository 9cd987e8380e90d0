package actors

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLeaveClosesConnection(t *testing.T) {
	for _, test := range []struct {
		name  string
		cause error
		last  string
	}{
		{"between messages", nil, `{"type":7,"allowReconnect":true}`},
		{"in a message", errCut, `{"type":7,"error":"` + connectedText + " Error: " + errCut.Error() + `","allowReconnect":true}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				f := e.openFetcher("a", true)
				ended := f.fetchAll()
				e.settle()
				f.conn.Leave(test.cause)
				e.settle()
				require.NoError(t, <-ended)
				require.Equal(t, []string{"{}", test.last}, f.records())
				require.Equal(t, lifetimeEvents("a", test.cause), e.handler.events())
			})
		})
	}
}

// Before the handshake no Close is sent (spec §3.4).
func TestLeaveBeforeHandshakeSendsNothing(t *testing.T) {
	for _, err := range []error{nil, errCut} {
		inBubble(t, func(t *testing.T, e *env) {
			f := e.connectFetcher("a", true)
			ended := f.fetchAll()
			e.settle()
			f.conn.Leave(err)
			e.settle()
			require.NoError(t, <-ended)
			require.Empty(t, f.records(), "%v", err)
			require.Empty(t, e.handler.events())
		})
	}
}

// The last output of a closed connection can be fetched for awayLimit.
func TestCloseIsKeptForPollingClient(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		f := e.openFetcher("a", true)
		f.conn.Abort()
		e.settle()
		require.Equal(t, lifetimeEvents("a", nil), e.handler.events())
		e.sleep(awayLimit - 2*second)
		over := func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.isCut }
		require.False(t, over())
		e.sleep(4 * second)
		require.True(t, over())
		require.Zero(t, e.sys.alive.Get())
	})
}

// End releases a waiting Take, and no output can be fetched after it.
func TestEndReleasesFetch(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		f := e.openFetcher("a", true)
		f.ignoresCut = true
		ctx, cancel := context.WithTimeout(context.Background(), 60*second)
		defer cancel()
		ended := make(chan error, 1)
		go func() {
			_, err := f.fetch(ctx, f.collect)
			ended <- err
		}()
		e.settle()
		f.conn.End(nil)
		require.NotErrorIs(t, <-ended, context.DeadlineExceeded)
	})
}

func TestStoppedActorOfPollingClient(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		f := e.openFetcher("a", true)
		ended := f.fetchAll()
		e.settle()
		e.sys.actorSystem.Root.Stop(f.conn.PID())
		e.settle()
		require.Equal(t, errCut, <-ended)
		require.Equal(t, lifetimeEvents("a", errActorStopped), e.handler.events())
		require.Zero(t, e.sys.alive.Get())
	})
}

func TestShutdownWithFetchClients(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		waiting, stream, away := e.openFetcher("a", true), e.openFetcher("b", false), e.openFetcher("c", true)
		ended, streamed := waiting.fetchAll(), stream.fetchAll()
		e.settle()
		start := time.Now()
		require.ErrorContains(t, e.shutdown(), "1 connections cut off")
		require.LessOrEqual(t, time.Since(start), 5*second)
		require.NoError(t, <-ended)
		require.NoError(t, <-streamed)
		for _, f := range []*fetchClient{waiting, stream} {
			require.Equal(t, []string{"{}", `{"type":7,"allowReconnect":true}`}, f.records())
		}
		require.True(t, away.isCut)
	})
}
