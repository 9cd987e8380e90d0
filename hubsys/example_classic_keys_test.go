package hubsys_test

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/troupe-go/troupe/hubsys"
)

// LobbyHub is a hub with groups, on two servers.
type LobbyHub struct{ hubsys.Hub }

// Enter puts the caller into a group.
func (h *LobbyHub) Enter(ctx context.Context, lobby string) error { return h.Groups().Join(ctx, lobby) }

// OnReconnected runs when the client is in its groups again.
func (h *LobbyHub) OnReconnected(ctx context.Context) error {
	return h.Clients().Group("green").Send(ctx, "welcomeBack")
}

// A client that loses its connection comes back with its id and its groups: to the same server, to one that was started again, and to another
// one, if all have the same keys.
func ExampleConfig_keys() {
	key := must(hex.DecodeString("4f8a1c02d7e95b3360ae71f4c28d9b5566e0137fa94c82bd1e57d3069af4b8c1")) // from a safe place, as openssl rand -hex 32 makes it
	startServer := func() (address string, stop func()) {
		sys := must(hubsys.New(hubsys.Config{Keys: [][]byte{key}}))
		must(hubsys.Register[*LobbyHub](sys, nil, hubsys.HubOptions{}))
		check(sys.MapClassic("/signalr", hubsys.ClassicOptions{}))
		return listen(sys)
	}
	one, stop := startServer()
	page := openPage(one+"/signalr", "lobbyHub")
	page.invoke("lobbyHub.enter", "green")
	page.moveTo(one + "/signalr")
	fmt.Println("one:", page.receive())
	stop()

	two, stop := startServer()
	defer stop()
	page.moveTo(two + "/signalr")
	fmt.Println("two:", page.receive())
	// Output:
	// one: LobbyHub.welcomeBack[]
	// two: LobbyHub.welcomeBack[]
}
