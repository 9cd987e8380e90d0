package hubsys_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A server that takes leave of a client with several hubs executes and answers the calls of all of them, though some connections end at once.
func TestShutdownAnswersTheCallsOfAllHubsOfAClassicClient(t *testing.T) {
	for name, leave := range map[string]func(ctx context.Context, srv *classicServer, id string) error{
		"Shutdown": func(ctx context.Context, srv *classicServer, _ string) error { return srv.sys.Shutdown(ctx) },
		"Drain": func(ctx context.Context, srv *classicServer, _ string) error {
			return srv.sys.Drain(ctx, 10*time.Millisecond)
		},
		"Reconnect": func(ctx context.Context, srv *classicServer, id string) error {
			return srv.chat.Clients().Client(id).Reconnect(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			overClassicTransports(t, func(t *testing.T, transport string) {
				srv := newClassicServer(t, classicConfig{})
				started := make(chan struct{})
				srv.handle("work", func(ctx context.Context, h *classicHub, _ []json.RawMessage) (any, error) {
					close(started)
					<-h.Call().Aborted()
					time.Sleep(200 * time.Millisecond) // the connection of the other hub has ended
					return "done", nil
				})
				c := dialBothHubs(t, srv, transport)
				const call = `{"H":"other","M":"Do","A":["work",[]],"I":7}`
				answer := make(chan string, 1)
				if transport == "webSockets" {
					c.write(call)
				} else {
					go func() {
						_, body := c.send(call)
						answer <- body
					}()
				}
				receive(t, started)
				ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
				defer cancel()
				require.NoError(t, leave(ctx, srv, c.id))
				if transport == "webSockets" {
					require.Equal(t, `{"R":"done","I":"7"}`, c.awaitAnswer("7").raw)
				} else {
					require.Equal(t, `{"R":"done","I":"7"}`, receive(t, answer))
				}
			})
		})
	}
}
