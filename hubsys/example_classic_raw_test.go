package hubsys_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/troupe-go/troupe/hubsys"
)

// Shouter is a hub for raw connections. It has groups, users, lifetime events and filters, as every hub has.
type Shouter struct{ hubsys.Hub }

// OnReceived gets what a client sends by connection.send(data).
func (s *Shouter) OnReceived(ctx context.Context, data string) error {
	return s.Clients().All().Send(ctx, "", strings.ToUpper(data))
}

// A hub with a method OnReceived does what a PersistentConnection of SignalR 2 does.
func ExampleHubContext_MapRaw() {
	sys := must(hubsys.New(hubsys.Config{}))
	shouter := must(hubsys.Register[*Shouter](sys, nil, hubsys.HubOptions{}))
	check(shouter.MapRaw("/shout", hubsys.ClassicOptions{}))
	address, stop := listen(sys)
	defer stop()

	page := openPage(address + "/shout") // $.connection("/shout").start()
	page.client.send("hello")
	fmt.Println(page.client.next())
	check(shouter.Clients().All().Send(context.Background(), "", map[string]int{"shouts": 1}))
	fmt.Println(page.client.next())
	// Output:
	// "HELLO"
	// {"shouts":1}
}
