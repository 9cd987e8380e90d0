package actors

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAClientThatDoesNotPollAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := w.greet("a", true)
		w.pass(15 * second)
		require.Len(t, w.handler.noted(), 1)
		w.pass(2 * second)
		require.Equal(t, lived("a", nil), w.handler.noted())
		more, err := p.fetch(context.Background(), p.keep)
		require.False(t, more)
		require.NoError(t, err)
	})
}

func TestAClientThatDoesNotPollAgainWhileSomethingWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.greet("a", true)
		w.send(&Audience{}, "n", 1)
		w.pass(15 * second)
		require.Len(t, w.handler.noted(), 1, "the time to send is not that of a client that is away")
		w.pass(2 * second)
		require.Equal(t, lived("a", nil), w.handler.noted())
	})
}

// A client that finds something with each poll is there all the time, though no poll waits when the heart beats.
func TestAClientWhosePollsNeverWait(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := w.greet("a", true)
		w.pass(50 * time.Millisecond) // between two beats
		for i := range 600 {
			w.send(&Audience{}, "n", i)
			require.Equal(t, []string{told("n", i)}, p.poll(), "after %d ms", i*100)
			w.pass(100 * time.Millisecond)
		}
		require.Len(t, w.handler.noted(), 1)
	})
}

func TestAPollThatWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := w.greet("a", true)
		ended := p.all()
		w.pass(10 * 60 * second)
		require.Len(t, w.handler.noted(), 1)
		require.Len(t, p.records(), 1, "no pings")
		p.conn.Abort()
		require.NoError(t, <-ended)
	})
}

// Who polls need not ping, even if it has done so once.
func TestAClientThatPollsIsNotTimedOut(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := w.greet("a", true)
		p.write(ping)
		ended := p.all()
		w.pass(120 * second)
		require.Len(t, w.handler.noted(), 1)
		p.conn.Abort()
		require.NoError(t, <-ended)
	})
}

func TestPingsOfAnEventStream(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := w.greet("a", false)
		ended := p.all()
		w.pass(46 * second)
		require.Equal(t, []string{"{}", ping, ping, ping}, p.records())
		p.write(ping)
		w.pass(40 * second)
		require.Equal(t, lived("a", ErrClientTimeout), w.handler.noted())
		require.NoError(t, <-ended)
		records := p.records()
		require.Equal(t, `{"type":7,"error":"`+connectedText+" Error: "+ErrClientTimeout.Error()+`","allowReconnect":true}`, records[len(records)-1])
	})
}

func TestOutputThatIsNotTaken(t *testing.T) {
	for _, polls := range []bool{true, false} {
		inBubble(t, func(t *testing.T, w *world) {
			p := w.greet("a", polls)
			w.send(&Audience{}, "n", 1)
			ended := make(chan error, 1)
			go func() {
				_, err := p.fetch(context.Background(), func([]byte, func(int)) error {
					<-p.conn.Done()
					return errCut
				})
				ended <- err
			}()
			w.pass(10 * second)
			require.Len(t, w.handler.noted(), 1)
			w.pass(2 * second)
			require.Equal(t, lived("a", ErrSendTimeout), w.handler.noted())
			require.Equal(t, errCut, <-ended)
		})
	}
}

func TestOutputThatIsTakenSlowly(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := w.greet("a", false)
		w.send(&Audience{}, "n", 1)
		ended := make(chan error, 1)
		go func() {
			_, err := p.fetch(context.Background(), func(_ []byte, taken func(int)) error {
				for range 10 {
					<-time.After(8 * second)
					taken(1)
				}
				return nil
			})
			ended <- err
		}()
		w.pass(81 * second)
		require.NoError(t, <-ended)
		require.Len(t, w.handler.noted(), 1)
	})
}

func TestHandshakeTimeoutOfAClientThatPolls(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := w.pull("a", true)
		ended := p.all()
		w.pass(17 * second)
		require.NoError(t, <-ended)
		require.Equal(t, []string{`{"error":"Handshake was canceled."}`}, p.records())
		require.Zero(t, w.sys.alive.Get())
	})
}
