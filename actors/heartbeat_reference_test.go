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
		for range 4 {
			w.pass(8 * second)
			pings.say(ping)
		}
		assert.True(t, stops.socket.isFinished())
		assert.Contains(t, w.handler.noted(), "disconnected stops: "+ErrClientTimeout.Error())
		assert.False(t, pings.socket.isFinished())
		pings.say(cancel("1"))
		w.settle()
		got := pings.got()
		assert.Equal(t, failure("1", ErrCanceled.Error()), got[len(got)-1])
	})
}
