package hubsys_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"strings"
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

// Whatever clients do, in whatever order, the server ends, each of their lives has an end, and nothing is left.
func TestRandomLivesOfClassicClients(t *testing.T) {
	requireNoLeaks(t)
	srv := newClassicServer(t, classicConfig{})
	var clients sync.WaitGroup
	ids := make([]string, 12)
	for i := range ids {
		transport := classicTransports[i%len(classicTransports)]
		first := newClassicClient(t, srv.address, transport)
		first.hubs = []string{bothHubs, `[{"name":"chat"}]`, `[]`}[i%3]
		first.negotiate()
		ids[i] = first.id
		random := rand.New(rand.NewPCG(1, uint64(i)))
		for range 2 { // of the same id
			seed := random.Uint64()
			clients.Go(func() {
				c, random := first.again(srv.address), rand.New(rand.NewPCG(2, seed))
				for range 40 {
					switch random.IntN(10) {
					case 0:
						c.tryOpen("/connect", nil)
					case 1:
						c.request(http.MethodGet, "/start", nil, nil)
					case 2, 3:
						c.tryOpen("/reconnect", c.position())
					case 4:
						c.drop()
					case 5:
						c.abort()
					case 6:
						c.send(`{"H":"other","M":"Join","A":["g"],"I":1}`)
					case 7:
						c.send(`{"H":"chat","M":"CallAll","A":[1],"I":1}`)
					case 8:
						_ = srv.other.Clients().Group("g").Send(context.Background(), "called")
					case 9:
						_ = srv.chat.Clients().Client(c.id).Disconnect(context.Background(), "random")
					}
				}
			})
		}
	}
	clients.Wait()
	require.NoError(t, shutdown(srv.sys))
	for _, id := range ids {
		for _, hub := range []string{"Chat", "Other"} {
			begins, connects, ends := 0, 0, 0
			for _, event := range srv.eventsOf(id) {
				switch rest, ok := strings.CutPrefix(event, hub+" "); {
				case !ok:
				case rest == "connected":
					connects++
					begins++
				case rest == "reconnected":
					begins++
				default:
					ends++
				}
			}
			require.True(t, connects <= ends && ends <= begins, "%d connects and %d other begins, %d ends: %v", connects, begins-connects, ends, srv.eventsOf(id))
			require.Equal(t, begins > 0, ends > 0)
		}
	}
}
