package hubsys_test

import (
	"context"
	"fmt"

	"github.com/troupe-go/troupe/hubsys"
)

// ScoreHub has no methods: the program sends to its clients.
type ScoreHub struct{ hubsys.Hub }

// What Register returns reaches the clients of a hub from everywhere in a program, as what GetHubContext returns in SignalR 2. It has all audiences
// but those that are made for a caller.
func ExampleClients() {
	sys := must(hubsys.New(hubsys.Config{}))
	scores := must(hubsys.Register[*ScoreHub](sys, nil, hubsys.HubOptions{}))
	check(sys.MapClassic("/signalr", hubsys.ClassicOptions{}))
	address, stop := listen(sys)
	defer stop()
	home, away := openPage(address+"/signalr", "scoreHub"), openPage(address+"/signalr", "scoreHub")

	ctx := context.Background()
	check(scores.Groups().Add(ctx, home.client.id, "home"))
	check(scores.Clients().Group("home").Send(ctx, "cheer"))
	check(scores.Clients().AllExcept(home.client.id).Send(ctx, "wait"))
	check(scores.Clients().Client(away.client.id).Send(ctx, "travel"))
	check(scores.Clients().All().Send(ctx, "score", 1, 0))

	fmt.Println(home.receive(), home.receive())
	fmt.Println(away.receive(), away.receive(), away.receive())
	// Output:
	// ScoreHub.cheer[] ScoreHub.score[1,0]
	// ScoreHub.wait[] ScoreHub.travel[] ScoreHub.score[1,0]
}
