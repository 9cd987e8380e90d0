package hubsys_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A client whose session ends between two polls is told with the next one, and reconnects, also to another server.
func TestASessionThatEndsBetweenTwoPolls(t *testing.T) {
	before, after := twoServers(t, classicConfig{})
	for name, srv := range map[string]*classicServer{"the same server": before, "another one": after} {
		t.Run(name, func(t *testing.T) {
			c := dialClassic(t, before, "longPolling")
			require.NoError(t, before.chat.Clients().Client(c.id).Reconnect(t.Context()))
			before.awaitEvents(c.id, "Chat connected", "Chat disconnected")
			c.address = srv.address
			c.poll()
			require.Equal(t, "1", string(c.awaitEnd().T))
			c.reconnect()
			events := srv.eventsOf(c.id)
			eventually(t, func() bool {
				events = srv.eventsOf(c.id)
				return len(events) > 0 && events[len(events)-1] == "Chat reconnected"
			}, "it is back: %v", events)
		})
	}
}
