package hubsys_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// Metrics name the transport of a client of SignalR 2, as far as those of ASP.NET Core SignalR have a name for it.
func TestMetricsOfClassicTransports(t *testing.T) {
	names := map[string]string{
		"webSockets": "web_sockets", "serverSentEvents": "server_sent_events", "foreverFrame": "server_sent_events", "longPolling": "long_polling",
	}
	overClassicTransports(t, func(t *testing.T, transport string) {
		srv := newClassicServer(t, classicConfig{})
		active := func() map[string]float64 { return valuesOf(srv.sys, "signalr.server.active_connections") }
		c := dialClassic(t, srv, transport)
		require.Equal(t, map[string]float64{names[transport]: 1}, active())
		c.abort()
		eventually(t, func() bool { return len(active()) == 0 }, "the connection has ended")
	})
}

// Records about clients of SignalR 2 are in groups, which stand for the trace sources of the original.
func TestTheLogOfClassicClients(t *testing.T) {
	srv := newClassicServer(t, classicConfig{ClassicOptions: hubsys.ClassicOptions{DisableProxies: true}})
	c := dialClassic(t, srv, "longPolling")
	require.Contains(t, srv.log.String(), `level=DEBUG msg="a client of SignalR 2 receives" transport.session=`+c.id+` transport.transport=longPolling transport.path=/signalr/connect`)
	c.invoke("Missing")
	require.Contains(t, srv.log.String(), `msg="an unknown method was called" hub=Chat connection=`+c.id+` method=Missing`)
	c.hubs = `[{"name":"missing"}]`
	c.send(`{"H":"missing","M":"Do","I":1}`)
	require.Contains(t, srv.log.String(), `msg="a request of a SignalR 2 client was refused" transport.path=/signalr/send transport.status=500`)
}
