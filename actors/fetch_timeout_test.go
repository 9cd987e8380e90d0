package actors

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestClientThatStopsPollingIsDisconnected(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		f := e.openFetcher("a", true)
		e.sleep(15 * second)
		require.Len(t, e.handler.events(), 1)
		e.sleep(2 * second)
		require.Equal(t, lifetimeEvents("a", nil), e.handler.events())
		more, err := f.fetch(context.Background(), f.collect)
		require.False(t, more)
		require.NoError(t, err)
	})
}

func TestClientThatStopsPollingWithPendingOutputIsDisconnected(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.openFetcher("a", true)
		e.send(&Audience{}, "n", 1)
		e.sleep(15 * second)
		require.Len(t, e.handler.events(), 1, "SendTimeout does not apply between polls")
		e.sleep(2 * second)
		require.Equal(t, lifetimeEvents("a", nil), e.handler.events())
	})
}

// A client whose polls always find output is not disconnected, though no poll is waiting when the heartbeat ticks.
func TestClientWhosePollsReturnAtOnceIsNotDisconnected(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		f := e.openFetcher("a", true)
		e.sleep(50 * time.Millisecond) // between two ticks of the heartbeat
		for i := range 600 {
			e.send(&Audience{}, "n", i)
			require.Equal(t, []string{invocationRecord("n", i)}, f.poll(), "after %d ms", i*100)
			e.sleep(100 * time.Millisecond)
		}
		require.Len(t, e.handler.events(), 1)
	})
}

func TestWaitingPollKeepsConnectionAlive(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		f := e.openFetcher("a", true)
		ended := f.fetchAll()
		e.sleep(10 * 60 * second)
		require.Len(t, e.handler.events(), 1)
		require.Len(t, f.records(), 1, "no pings")
		f.conn.Abort()
		require.NoError(t, <-ended)
	})
}

// A polling client is not subject to ClientTimeout, even if it has sent a ping.
func TestPollingClientNeedNotPing(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		f := e.openFetcher("a", true)
		f.send(ping)
		ended := f.fetchAll()
		e.sleep(120 * second)
		require.Len(t, e.handler.events(), 1)
		f.conn.Abort()
		require.NoError(t, <-ended)
	})
}

func TestPingsOfEventStream(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		f := e.openFetcher("a", false)
		ended := f.fetchAll()
		e.sleep(46 * second)
		require.Equal(t, []string{"{}", ping, ping, ping}, f.records())
		f.send(ping)
		e.sleep(40 * second)
		require.Equal(t, lifetimeEvents("a", ErrClientTimeout), e.handler.events())
		require.NoError(t, <-ended)
		records := f.records()
		require.Equal(
			t, `{"type":7,"error":"`+connectedText+" Error: "+ErrClientTimeout.Error()+`","allowReconnect":true}`,
			records[len(records)-1],
		)
	})
}

func TestSendTimeoutOfFetch(t *testing.T) {
	for _, polls := range []bool{true, false} {
		inBubble(t, func(t *testing.T, e *env) {
			f := e.openFetcher("a", polls)
			e.send(&Audience{}, "n", 1)
			ended := make(chan error, 1)
			go func() {
				_, err := f.fetch(context.Background(), func([]byte, func(int)) error {
					<-f.conn.Done()
					return errCut
				})
				ended <- err
			}()
			e.sleep(10 * second)
			require.Len(t, e.handler.events(), 1)
			e.sleep(2 * second)
			require.Equal(t, lifetimeEvents("a", ErrSendTimeout), e.handler.events())
			require.Equal(t, errCut, <-ended)
		})
	}
}

func TestSlowFetchIsNotTimedOut(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		f := e.openFetcher("a", false)
		e.send(&Audience{}, "n", 1)
		ended := make(chan error, 1)
		go func() {
			_, err := f.fetch(context.Background(), func(_ []byte, taken func(int)) error {
				for range 10 {
					<-time.After(8 * second)
					taken(1)
				}
				return nil
			})
			ended <- err
		}()
		e.sleep(81 * second)
		require.NoError(t, <-ended)
		require.Len(t, e.handler.events(), 1)
	})
}

func TestHandshakeTimeoutOfPollingClient(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		f := e.connectFetcher("a", true)
		ended := f.fetchAll()
		e.sleep(17 * second)
		require.NoError(t, <-ended)
		require.Equal(t, []string{`{"error":"Handshake was canceled."}`}, f.records())
		require.Zero(t, e.sys.alive.Get())
	})
}
