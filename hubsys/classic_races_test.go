package hubsys_test

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// However connects, starts and aborts come, each life of a client has one beginning and one end.
func TestEachLifeOfAClassicClientHasOneEnd(t *testing.T) {
	srv := newClassicServer(t, classicConfig{})
	count := func(id string) (connected, disconnected int) {
		for _, event := range srv.eventsOf(id) {
			switch event {
			case "Chat connected":
				connected++
			case "Chat disconnected":
				disconnected++
			default:
				require.Fail(t, event)
			}
			require.GreaterOrEqual(t, connected, disconnected)
		}
		return connected, disconnected
	}
	for round := range 20 {
		c := newClassicClient(t, srv.address, []string{"serverSentEvents", "longPolling"}[round%2])
		c.negotiate()
		var all sync.WaitGroup
		for i := range 12 {
			all.Go(func() {
				other := c.again(srv.address)
				switch i % 4 {
				case 0:
					other.tryOpen("/connect", nil)
				case 1, 2:
					status, _ := other.request(http.MethodGet, "/start", nil, nil)
					assert.Contains(t, []int{http.StatusOK, http.StatusInternalServerError}, status)
				case 3:
					other.abort()
				}
			})
		}
		all.Wait()
		c.abort()
		eventually(t, func() bool { connected, disconnected := count(c.id); return connected == disconnected }, "each life has ended")
	}
}

// The token of a client that has ended is good for another life, also while the end of the former one is still under way.
func TestAnotherLifeOfAClassicClient(t *testing.T) {
	for name, hold := range map[string]string{"while OnDisconnected runs": "event", "while a call runs": "call", "behind the end": ""} {
		t.Run(name, func(t *testing.T) {
			release, started := make(chan struct{}), make(chan struct{}, 1)
			var once sync.Once
			srv := newClassicServer(t, classicConfig{disconnected: func(context.Context, *classicHub) error {
				if hold == "event" {
					once.Do(func() { close(started); <-release })
				}
				return nil
			}})
			srv.handle("wait", func(context.Context, *classicHub, []json.RawMessage) (any, error) {
				close(started)
				<-release
				return nil, nil
			})
			for range 4 { // the actors of connections have several supervisors
				dialClassic(t, srv, "longPolling")
				c := dialClassic(t, srv, "serverSentEvents")
				if hold == "call" {
					started, release = make(chan struct{}), make(chan struct{})
					go c.send(`{"H":"chat","M":"Do","A":["wait",[]],"I":7}`)
					receive(t, started)
				}
				c.abort()
				if hold == "event" {
					receive(t, started)
				}
				c.reconnect()
				require.Equal(t, `{"R":1,"I":"1"}`, c.invoke("Echo", 1).raw)
				if hold != "" {
					close(release)
				}
				c.invoke("Join", "g")
				c.awaitGroups()
				require.NoError(t, srv.chat.Clients().Group("g").Send(t.Context(), "called"))
				c.requireCall("called")
				require.NoError(t, srv.chat.Clients().Client(c.id).Send(t.Context(), "called"))
				c.requireCall("called")
				if hold == "event" {
					return
				}
				c.abort()
				eventually(t, func() bool { return len(srv.eventsOf(c.id)) == 4 }, "both lives have ended")
			}
		})
	}
}
