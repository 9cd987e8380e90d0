package cluster

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// A node whose host takes its time for each message, such as one for very many clients, has not stalled in a batch of them: senders wait for it, and
// nothing is lost.
func TestSendersWaitForNodesThatTakeTheirTime(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.pair(t)
		next, done := make(chan struct{}), make(chan struct{})
		b.setBlock(next)
		go func() {
			for {
				select {
				case <-time.After(10 * time.Millisecond):
				case <-done:
				}
				select {
				case next <- struct{}{}:
				case <-done:
					close(next)
					return
				}
			}
		}()
		const messages = 60_000 // more than the queue has room for
		for range messages {
			if room := a.publish("x", kilobyte[:100]); room != nil {
				<-room
			}
		}
		assert.Zero(t, a.Status().LostMessages)
		close(done)
		settle()
		assert.Equal(t, messages, len(b.all()))
	})
}
