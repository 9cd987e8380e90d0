package hubsys_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// The policy of a hub is asked about who makes a request now: of a hub that the client calls without having listed it, and when the client starts.
func TestTheRolesOfAClassicClientThatHasLostThem(t *testing.T) {
	srv := newClassicServer(t, classicConfig{
		ClassicOptions: hubsys.ClassicOptions{Authenticate: principalOf}, other: hubsys.HubOptions{Policy: hubsys.RequireRole("member")},
	})
	srv.handle("run", func(context.Context, *classicHub, []json.RawMessage) (any, error) { return "secret", nil })
	c := newClassicClient(t, srv.address, "serverSentEvents")
	c.header = userHeader("ada", "member")
	c.begin()
	c.header = userHeader("ada")
	_, body := c.send(`{"H":"other","M":"Do","A":["run",[]],"I":"7"}`)
	require.NotContains(t, body, "secret")

	d := newClassicClient(t, srv.address, "serverSentEvents")
	d.header, d.hubs = userHeader("ada", "member"), bothHubs
	d.negotiate()
	d.connect()
	d.header, d.hubs = userHeader("ada"), `[{"name":"chat"}]`
	status, _ := d.request(http.MethodGet, "/start", nil, nil)
	require.Equal(t, http.StatusForbidden, status)
	require.NotContains(t, srv.eventsOf(d.id), "Other connected")
}
