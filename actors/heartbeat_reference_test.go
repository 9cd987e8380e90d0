package actors

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// A client is heard while all calls that it may run are running: one that pings is not timed out, and one that has stopped is.
func TestTheClientTimeoutDuringACall(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.ClientTimeout = 10 * second
		pings, stops := w.open("pings", ""), w.open("stops", "")
		for _, c := range []*client{pings, stops} {
			c.say(ping, call("1", "wait"))
		}
		for i := range 7 { // 56 s, and calls go on for 30 s
			w.pass(8 * second)
			pings.say(ping)
			assert.Equal(t, i > 0, stops.conn.ending.Load())
		}
		assert.False(t, pings.conn.ending.Load())
		assert.True(t, stops.socket.IsFinished())
		assert.Contains(t, w.handler.noted(), "disconnected stops: "+ErrClientTimeout.Error())
		pings.say(cancel("1"))
		w.settle()
		assert.Contains(t, pings.got(), failure("1", ErrCanceled.Error()))
	})
}
