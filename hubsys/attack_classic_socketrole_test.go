package hubsys_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// The policy of a hub that a client has not listed is asked about who has made the request for its WebSocket, not about who opened the session.
func TestTheRolesOfAClassicClientThatComesBackWithoutThem(t *testing.T) {
	srv := newClassicServer(t, classicConfig{
		ClassicOptions: hubsys.ClassicOptions{Authenticate: principalOf}, other: hubsys.HubOptions{Policy: hubsys.RequireRole("member")},
	})
	srv.handle("run", func(context.Context, *classicHub, []json.RawMessage) (any, error) { return "secret", nil })
	c := newClassicClient(t, srv.address, "webSockets")
	c.header = userHeader("ada", "member")
	c.begin()
	c.drop()
	c.header = userHeader("ada")
	c.reconnect()
	c.write(`{"H":"other","M":"Do","A":["run",[]],"I":"7"}`)
	require.NotContains(t, c.awaitAnswer("7").raw, "secret")
}
