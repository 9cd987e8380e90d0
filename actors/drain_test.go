package actors

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Connections are closed one after the other, over the time that pace allows, and their clients may reconnect.
func TestDrainSpreadsReconnects(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		const n = 20
		for i := range n {
			e.open(fmt.Sprint(i), "")
		}
		open := func() (open int) {
			for _, c := range e.clients {
				if !c.conn.isClosing.Load() {
					open++
				}
			}
			return open
		}
		done := make(chan error)
		begin := time.Now()
		go func() { done <- e.sys.Drain(context.Background(), 10*time.Second) }()
		for _, seconds := range []int{2, 5, 8} {
			time.Sleep(time.Duration(seconds)*time.Second - time.Since(begin))
			e.settle()
			assert.InDelta(t, n-n*seconds/10, open(), 1, "after %d s", seconds)
		}
		_, err := e.hub.ConnectSocket("late", &Identity{}, nil, &e.settings, false)
		require.ErrorIs(t, err, ErrShutdown)
		require.NoError(t, <-done)
		assert.Less(t, time.Since(begin), 13*time.Second)
		for _, c := range e.clients {
			assert.Equal(t, []string{`{"type":7,"allowReconnect":true}`, "close 1000"}, c.messages())
		}
	})
}

// Pacing leaves time for calls that run, and a deadline ends it.
func TestDrainKeepsTheDeadline(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.open("a", "")
		e.open("b", "")
		ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
		defer cancel()
		begin := time.Now()
		require.NoError(t, e.sys.Drain(ctx, time.Hour))
		assert.LessOrEqual(t, time.Since(begin), 4*time.Second)
	})
}

func TestLiveWhileTheHeartbeatBeats(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		time.Sleep(time.Minute)
		assert.True(t, e.sys.IsLive())
		e.settle()                // no tick is under way
		e.sys.ticking.Store(true) // no further tick is begun
		time.Sleep(2 * liveTime)
		assert.False(t, e.sys.IsLive())
		e.sys.ticking.Store(false)
	})
}

// What ends a connection that is closing already gives OnDisconnected the reason if the client gets it, and only then.
func TestDisconnectOfAClosingConnectionTellsBothSidesTheSame(t *testing.T) {
	for name, test := range map[string]struct {
		begin  func(e *env, c *client)
		reason string
	}{
		"it is open":               {func(*env, *client) {}, "enough"},
		"it reconnects":            {func(e *env, _ *client) { e.hub.Reconnect(&Audience{}) }, "enough"},
		"it was disconnected":      {func(e *env, _ *client) { e.hub.Disconnect(&Audience{}, "first") }, "first"},
		"it was aborted":           {func(_ *env, c *client) { c.conn.Abort() }, ""},
		"the client has closed it": {func(_ *env, c *client) { c.send(`{"type":7}`) }, "enough"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				gate, open := e.gate()
				e.handler.methods["gate"] = gate
				c := e.open("a", "")
				c.send(call("1", "gate"), call("2", "echo"))
				e.settle()
				test.begin(e, c)
				e.settle()
				e.hub.Disconnect(&Audience{}, "enough")
				open()
				e.sleep(second)
				told, cause := `{"type":7}`, "disconnected a: <nil>"
				if test.reason != "" {
					told, cause = `{"type":7,"error":"`+test.reason+`"}`, "disconnected a: "+test.reason
				}
				assert.Contains(t, c.messages(), told)
				assert.Equal(t, []string{"connected a", cause}, e.handler.events())
			})
		})
	}
}

// A call may drain the system that it runs in, with its own context, which goes on when its client has gone.
func TestDrainFromWithinACall(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.DisconnectGrace, e.settings.ClientTimeout = 3*second, never
		e.wasShutDown.Store(true)
		var result error
		var took time.Duration
		e.handler.methods["drain"] = func(k *Call, _ string) (any, error) {
			begin := time.Now()
			result = e.sys.Drain(k, time.Minute)
			took = time.Since(begin)
			return nil, nil
		}
		for i := range 20 {
			e.open(fmt.Sprint(i), "")
		}
		c := e.open("a", "")
		c.send(call("1", "drain"))
		e.settle()
		c.send(`{"type":7}`)
		e.sleep(70 * second)
		require.NoError(t, result)
		assert.Greater(t, took, 45*second)
		for _, one := range e.clients[:20] {
			got := one.messages()
			assert.Equal(t, []string{closeAllowingReconnect, "close 1000"}, got[len(got)-2:])
		}
	})
}

// Nobody is waited for when somebody else has shut the system down.
func TestShutdownEndsDrain(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		for i := range 20 {
			e.open(fmt.Sprint(i), "")
		}
		done := make(chan error, 1)
		go func() { done <- e.sys.Drain(context.Background(), time.Hour) }()
		e.settle()
		require.NoError(t, e.shutdown())
		e.settle()
		require.Len(t, done, 1)
		assert.NoError(t, <-done)
	})
}
