package hubsys_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

type principalKey struct{}

// Requests of SignalR 2 that are relayed do not pass the middleware of the node that answers them, and who makes them is known all the same.
func TestClassicRequestsThatAreRelayedBehindMiddleware(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		overBackplanes(t, func(t *testing.T, node newNode) {
			var addresses []string
			for i := range 2 {
				config := classicConfig{Config: hubsys.Config{Backplane: node(fmt.Sprint("node ", i))}}
				config.Authenticate = func(r *http.Request) (*hubsys.Principal, error) {
					p, _ := r.Context().Value(principalKey{}).(*hubsys.Principal)
					return p, nil
				}
				config.hub.Policy = hubsys.RequireRole("member")
				srv := newClassicServer(t, config)
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					p, _ := principalOf(r)
					srv.sys.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), principalKey{}, p)))
				}))
				t.Cleanup(server.Close)
				addresses = append(addresses, server.URL+"/signalr")
			}
			c := newClassicClient(t, addresses[0], transport)
			c.header = userHeader("ada", "member")
			c.negotiate()
			c.connect()
			c.address = addresses[1]
			c.start()
			require.Equal(t, `{"R":1,"I":"1"}`, c.invoke("Echo", 1).raw)
			c.drop()
			c.reconnect()
			require.Equal(t, `{"R":2,"I":"2"}`, c.invoke("Echo", 2).raw)

			c.header = userHeader("bob", "member")
			status, _ := c.request(http.MethodGet, "/start", nil, nil)
			require.Equal(t, http.StatusForbidden, status)
		})
	})
}
