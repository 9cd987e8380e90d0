package hubsys_test

import (
	"sync/atomic"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/hubactor"
)

// A client of SignalR 2 that has not listed a hub, which has no OnConnected then, or that comes back to another server, has an actor of its own as
// well. It ends with the client.
func TestActorsOfClientsOfSignalR2(t *testing.T) {
	type double struct{ N int }
	var connected, live atomic.Int64
	props := func(*hubsys.HubContext) *actor.Props {
		return actor.PropsFromFunc(func(c actor.Context) {
			switch m := c.Message().(type) {
			case *actor.Started:
				live.Add(1)
			case *actor.Stopped:
				live.Add(-1)
			case *hubactor.Connected:
				connected.Add(1)
			case *hubactor.Call[double]:
				c.Respond(2 * m.Args.N)
			}
		})
	}
	before, after := twoServers(t, classicConfig{})
	for _, srv := range []*classicServer{before, after} {
		_, err := hubactor.Register(srv.sys, hubactor.Hub{Scope: hubactor.PerConnection, Props: props, Methods: []hubactor.Method{hubactor.Receive[double]("double")}}, hubsys.HubOptions{Name: "Actors"})
		require.NoError(t, err)
	}
	requireDouble := func(c *classicClient, id string) {
		t.Helper()
		require.Equal(t, `{"R":8,"I":"`+id+`"}`, c.invokeText(id, `{"H":"actors","M":"Double","A":[4],"I":`+id+`}`).raw)
	}

	unlisted := dialClassic(t, before, "webSockets")
	for _, id := range []string{"7", "8"} {
		requireDouble(unlisted, id)
	}
	require.EqualValues(t, 1, connected.Load())
	unlisted.abort()
	eventually(t, func() bool { return live.Load() == 0 }, "the actor ends with its client")

	c := newClassicClient(t, before.address, "webSockets")
	c.hubs = `[{"name":"actors"}]`
	c.begin()
	requireDouble(c, "1")
	c.drop()
	d := c.again(after.address)
	d.reconnect()
	requireDouble(d, "2")
	d.abort()
	require.EqualValues(t, 3, connected.Load())
}
