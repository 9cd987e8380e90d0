package hubsys_test

import (
	"context"
	"fmt"

	"github.com/troupe-go/troupe/hubsys"
)

// GreetHub uses what a page keeps in the state of its proxy.
type GreetHub struct{ hubsys.Hub }

// Greet reads userName, and counts in greetings. A number without a fraction is an int64.
func (h *GreetHub) Greet(ctx context.Context) error {
	state := h.Call().State()
	name, _ := state.Get("userName").(string)
	n, _ := state.Get("greetings").(int64)
	state.Set("greetings", n+1)
	return h.Clients().Caller().Send(ctx, "greeted", "hello "+name)
}

// The state of a proxy goes to the server with each call, and what a method changes goes back.
func ExampleCall_State() {
	sys := must(hubsys.New(hubsys.Config{}))
	must(hubsys.Register[*GreetHub](sys, nil, hubsys.HubOptions{}))
	check(sys.MapClassic("/signalr", hubsys.ClassicOptions{}))
	address, stop := listen(sys)
	defer stop()

	page := openPage(address+"/signalr", "greetHub")
	page.state["userName"] = "ada" // $.connection.greetHub.state.userName = "ada"
	for range 2 {
		page.invoke("greetHub.greet")
		fmt.Println(page.receive(), page.state)
	}
	// Output:
	// GreetHub.greeted["hello ada"] map[greetings:1 userName:ada]
	// GreetHub.greeted["hello ada"] map[greetings:2 userName:ada]
}
