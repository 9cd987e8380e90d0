package actors

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A client that does not come back within 15 s has gone, which is no error.
func TestALostConnectionExpires(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.openReturning("a", "bob")
		require.NoError(t, e.hub.Join(context.Background(), "a", "g"))
		c.lose()
		done := c.conn.Done()
		e.sleep(14*second + second/2)
		assert.False(t, isClosed(done))
		assert.Equal(t, []string{"connected a"}, e.handler.events())
		e.sleep(3 * second)
		assert.True(t, isClosed(done))
		assert.Equal(t, []string{"connected a", "disconnected a: <nil>"}, e.handler.events())
		c.assertRemoved(t)
		assert.False(t, c.conn.CanResume())
		assert.False(t, c.resume())
		assert.False(t, c.conn.Resume(newReturningSocket(nil)))
	})
}

// The time begins again with each loss.
func TestEachLossHasItsTime(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.openReturning("a", "")
		for range 5 {
			c.lose()
			e.sleep(12 * second)
			c.mustResume()
			e.sleep(2 * second)
		}
		assert.Equal(t, []string{"connected a"}, e.handler.events())
	})
}

// While a client is away it gets no pings, and its silence does not count.
func TestALostConnectionHasNoHeartbeat(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.KeepAlive, e.settings.ClientTimeout = 2*second, 5*second
		c := e.openReturning("a", "")
		c.send(ping)
		e.sleep(4 * second)
		c.lose()
		e.sleep(12 * second)
		c.mustResume()
		assert.Equal(t, []string{sequenceOf(1)}, c.records())
		e.sleep(4 * second)
		assert.Equal(t, []string{sequenceOf(1), ping, ping}, c.records(), "from then on it has them")
		e.sleep(4 * second)
		assert.Equal(t, "disconnected a: "+ErrClientTimeout.Error(), e.handler.events()[1])
	})
}

// What ends a connection while it has no socket ends it at once.
func TestEndsWhileLost(t *testing.T) {
	for what, test := range map[string]struct {
		end   func(e *env, c *returning)
		cause string
	}{
		"abort":      {func(_ *env, c *returning) { c.conn.Abort() }, "<nil>"},
		"disconnect": {func(_ *env, c *returning) { c.conn.disconnect("because") }, (&DisconnectError{"because"}).Error()},
		"overflow": {func(e *env, c *returning) {
			to := toConnection("a")
			to.NoWait = true
			for range 5 {
				e.send(to, "large", string(make([]byte, 5000)))
			}
		}, "hubsys: the client is too slow: its outbox has reached OutboxLimit of 65536 bytes"},
		"actor stopped":  {func(e *env, c *returning) { e.sys.actorSystem.Root.Stop(c.conn.PID()) }, errActorStopped.Error()},
		"panicked twice": {func(_ *env, c *returning) { c.panicActor(); c.panicActor() }, errActorPanicked.Error()},
	} {
		t.Run(what, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				c := e.openReturning("a", "bob")
				require.NoError(t, e.hub.Join(context.Background(), "a", "g"))
				c.lose()
				e.sleep(second)
				done := c.conn.Done()
				test.end(e, c)
				e.sleep(2 * second)
				assert.True(t, isClosed(done))
				assert.Equal(t, []string{"connected a", "disconnected a: " + test.cause}, e.handler.events())
				assert.False(t, c.resume())
				c.assertRemoved(t)
			})
		})
	}
}

// The same ends while a socket is there: the client cannot come back.
func TestNobodyComesBackBehindAnEnd(t *testing.T) {
	for what, end := range map[string]func(c *returning){
		"abort":                   func(c *returning) { c.conn.Abort() },
		"close of the client":     func(c *returning) { c.send(`{"type":7}`) },
		"close frame":             func(c *returning) { c.end(nil) },
		"what cannot be read":     func(c *returning) { c.send("{") },
		"a message that is wrong": func(c *returning) { c.end(errors.New("wrong")) },
	} {
		t.Run(what, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				gate, open := e.gate()
				e.handler.disconnected = func(*Call, error) { _, _ = gate(nil, "") }
				c := e.openReturning("a", "")
				end(c)
				e.settle()
				assert.False(t, c.conn.CanResume())
				assert.False(t, c.resume())
				assert.Len(t, e.handler.events(), 2)
				open()
				e.settle()
				c.assertRemoved(t)
			})
		})
	}
}

func TestShutdownWhileLost(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c, there := e.openReturning("a", "bob"), e.openReturning("b", "")
		c.send(call("1", "wait"))
		e.settle()
		c.lose()
		require.NoError(t, e.shutdown())
		assert.ElementsMatch(t, []string{"connected a", "connected b", "disconnected a: <nil>", "disconnected b: <nil>"}, e.handler.events())
		assert.Equal(t, []string{closeAllowingReconnect, "close 1000"}, there.messages())
		assert.False(t, c.resume())
		assert.False(t, there.resume())
		c.assertRemoved(t)
		there.assertRemoved(t)
	})
}

// A client that goes on sending is closed all the same if it acknowledges nothing.
func TestAClientThatNeverAcknowledges(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.KeptLimit = 1000
		c := e.openReturning("a", "")
		sent := make(chan error, 1)
		go func() {
			sent <- func() (err error) {
				for err == nil && !isClosed(c.conn.Done()) {
					err = e.hub.Send(context.Background(), toConnection("a"), "n", []any{string(make([]byte, 500))})
				}
				return err
			}()
		}()
		e.sleep(9 * second)
		assert.Equal(t, []string{"connected a"}, e.handler.events())
		e.sleep(4 * second)
		assert.Equal(t, []string{"connected a", "disconnected a: " + ErrSendTimeout.Error()}, e.handler.events())
		assert.True(t, c.socket.IsCut())
		require.NoError(t, <-sent)
		c.assertRemoved(t)
	})
}

// A client that acknowledges, however slowly, is not closed.
func TestAClientThatAcknowledgesSlowly(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.KeptLimit = 1000
		c := e.openReturning("a", "")
		go func() {
			for range 20 {
				_ = e.hub.Send(context.Background(), toConnection("a"), "n", []any{string(make([]byte, 2000))})
			}
		}()
		for number := range int64(19) {
			e.sleep(6 * second)
			c.send(ackOf(number + 1))
		}
		e.settle()
		assert.Len(t, without(without(c.messages(), ping), ackOf(1)), 20)
		assert.Equal(t, []string{"connected a"}, e.handler.events())
	})
}

// Who sends to a client that is away waits when its outbox is half full, and until it is back, or has gone for good.
func TestSendersWaitForAClientThatIsAway(t *testing.T) {
	for _, back := range []bool{true, false} {
		inBubble(t, func(t *testing.T, e *env) {
			c := e.openReturning("a", "")
			c.lose()
			sent := 0
			go func() {
				for range 20 {
					_ = e.hub.Send(context.Background(), toConnection("a"), "n", []any{string(make([]byte, 1000))}) // 6 KB in JSON
					sent++
				}
			}()
			e.sleep(5 * second)
			assert.Less(t, sent, 10)
			bytes, _ := c.conn.out.Pending()
			assert.LessOrEqual(t, bytes, e.settings.OutboxLimit)
			if back {
				c.mustResume()
			} else {
				e.sleep(12 * second)
			}
			assert.Equal(t, 20, sent)
			if back {
				assert.Len(t, c.records(), 1+20-3, "and the rest waits for an Ack")
			}
		})
	}
}
