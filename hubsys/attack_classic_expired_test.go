package hubsys_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// A session that has listed no hub has no connection that ends with the credentials of its user. It ends with them all the same: a WebSocket would go on
// calling hubs.
func TestAClassicClientOfNoHubGoesWithItsCredentials(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		expires := time.Now().Add(time.Second)
		srv := newClassicServer(t, classicConfig{ClassicOptions: hubsys.ClassicOptions{
			Authenticate: func(*http.Request) (*hubsys.Principal, error) {
				return &hubsys.Principal{UserID: "ada", Expires: expires}, nil
			},
		}})
		c := newClassicClient(t, srv.address, transport)
		c.hubs = "[]"
		c.begin()
		if transport == "longPolling" {
			c.poll()
		}
		c.awaitEnd()
		require.False(t, time.Now().Before(expires), "it ends before its time")
	})
}
