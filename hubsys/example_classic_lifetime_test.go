package hubsys_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/troupe-go/troupe/hubsys"
)

// PresenceHub notes when clients come and go.
type PresenceHub struct {
	hubsys.Hub
	events chan<- string
}

// OnConnected runs before the first call of a client. An error would refuse it.
func (h *PresenceHub) OnConnected(context.Context) error {
	h.events <- "connected"
	return nil
}

// OnReconnected runs when a client of SignalR 2 has lost its connection and has come back.
func (h *PresenceHub) OnReconnected(context.Context) error {
	h.events <- "reconnected"
	return nil
}

// OnDisconnected runs once, behind the calls of the client. A cause of nil is what stopCalled is in SignalR 2.
func (h *PresenceHub) OnDisconnected(_ context.Context, cause error) error {
	switch {
	case cause == nil:
		h.events <- "stopped"
	case errors.Is(cause, hubsys.ErrClientTimeout):
		h.events <- "gone for longer than DisconnectTimeout"
	default:
		h.events <- "disconnected: " + cause.Error()
	}
	return nil
}

// A client that is lost for a short time is connected all the time for others. OnReconnected tells of it.
func ExampleHub_lifetime() {
	events := make(chan string, 10)
	create := func(context.Context) (*PresenceHub, error) { return &PresenceHub{events: events}, nil }
	sys := must(hubsys.New(hubsys.Config{}))
	presence := must(hubsys.Register(sys, create, hubsys.HubOptions{}))
	check(sys.MapClassic("/signalr", hubsys.ClassicOptions{}))
	address, stop := listen(sys)
	defer stop()

	page := openPage(address+"/signalr", "presenceHub")
	fmt.Println(<-events)
	page.moveTo(address + "/signalr")
	fmt.Println(<-events)
	page.client.abort() // $.connection.hub.stop()
	fmt.Println(<-events)

	page = openPage(address+"/signalr", "presenceHub")
	fmt.Println(<-events)
	check(presence.Clients().Client(page.client.id).Disconnect(context.Background(), "too many messages"))
	fmt.Println(<-events)
	// Output:
	// connected
	// reconnected
	// stopped
	// connected
	// disconnected: too many messages
}
