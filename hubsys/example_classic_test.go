package hubsys_test

import (
	"context"
	"fmt"
	"log"

	"github.com/troupe-go/troupe/hubsys"
)

// ChatHub is a hub for clients of SignalR 2 and of ASP.NET Core SignalR.
type ChatHub struct{ hubsys.Hub }

// Send is called by $.connection.chatHub.server.send(name, message).
func (h *ChatHub) Send(ctx context.Context, name, message string) error {
	return h.Clients().All().Send(ctx, "addMessage", name, message)
}

// SumHub is another hub.
type SumHub struct{ hubsys.Hub }

// Add is called by $.connection.sumHub.server.add(1, 2).
func (h *SumHub) Add(a, b int) int { return a + b }

// One path serves all hubs to clients of SignalR 2, which use several over one connection. The same clients are reached by those of ASP.NET Core
// SignalR, for which each hub has a path of its own.
func ExampleSystem_MapClassic() {
	sys, err := hubsys.New(hubsys.Config{})
	if err != nil {
		log.Fatal(err)
	}
	chat, err := hubsys.Register[*ChatHub](sys, nil, hubsys.HubOptions{})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := hubsys.Register[*SumHub](sys, nil, hubsys.HubOptions{}); err != nil {
		log.Fatal(err)
	}
	if err := sys.MapClassic("/signalr", hubsys.ClassicOptions{}); err != nil {
		log.Fatal(err)
	}
	if err := chat.Map("/chat", hubsys.EndpointOptions{}); err != nil {
		log.Fatal(err)
	}
	address, stop := listen(sys) // http.ListenAndServe("127.0.0.1:8080", sys)
	defer stop()

	page := openPage(address+"/signalr", "chatHub", "sumHub")
	other := connectClient(address+"/chat", "")
	defer other.close()
	fmt.Println("1 + 2 =", page.invoke("sumHub.add", 1, 2))
	page.invoke("chatHub.send", "ada", "hello")
	fmt.Println("SignalR 2:", page.receive())
	fmt.Println("ASP.NET Core SignalR:", other.receiveInvocation())
	// Output:
	// 1 + 2 = 3
	// SignalR 2: ChatHub.addMessage["ada","hello"]
	// ASP.NET Core SignalR: addMessage[ada hello]
}
