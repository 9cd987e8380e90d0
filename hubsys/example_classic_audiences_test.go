package hubsys_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/troupe-go/troupe/hubsys"
)

// NewsHub sends to everyone whom a hub can address.
type NewsHub struct{ hubsys.Hub }

// Follow puts the caller into the group of a topic.
func (h *NewsHub) Follow(ctx context.Context, topic string) error { return h.Groups().Join(ctx, topic) }

// Publish sends to each audience that there is. friend is the id of another connection.
func (h *NewsHub) Publish(ctx context.Context, friend string) error {
	clients, self := h.Clients(), h.Call().ConnectionID()
	return errors.Join(
		clients.All().Send(ctx, "news", "All"),
		clients.AllExcept(friend).Send(ctx, "news", "AllExcept"),
		clients.Caller().Send(ctx, "news", "Caller"),
		clients.Others().Send(ctx, "news", "Others"),
		clients.Client(friend).Send(ctx, "news", "Client"),
		clients.Clients(self, friend).Send(ctx, "news", "Clients"),
		clients.Group("sports").Send(ctx, "news", "Group"),
		clients.Groups("sports", "weather").Send(ctx, "news", "Groups"),
		clients.GroupExcept("sports", friend).Send(ctx, "news", "GroupExcept"),
		clients.OthersInGroup("sports").Send(ctx, "news", "OthersInGroup"),
		clients.User("eve").Send(ctx, "news", "User"),
		clients.Users("ada", "eve").Send(ctx, "news", "Users"),
		clients.All().Send(ctx, "news", "end"),
	)
}

// What a method sends arrives in its order, whoever it is sent to. A member of two groups gets what is sent to both of them twice.
func ExampleCallerClients() {
	sys := must(hubsys.New(hubsys.Config{}))
	must(hubsys.Register[*NewsHub](sys, nil, hubsys.HubOptions{}))
	check(sys.MapClassic("/signalr", hubsys.ClassicOptions{
		Authenticate: func(r *http.Request) (*hubsys.Principal, error) {
			return &hubsys.Principal{UserID: r.Header.Get("User")}, nil // which a proxy in front has set
		},
	}))
	address, stop := listen(sys)
	defer stop()

	pages := map[string]*examplePage{}
	for user, topics := range map[string][]string{"ada": {"sports"}, "bob": {"sports", "weather"}, "eve": {"weather"}} {
		page := newPage(address+"/signalr", "newsHub")
		page.client.header.Set("User", user)
		page.start()
		for _, topic := range topics {
			page.invoke("newsHub.follow", topic)
		}
		pages[user] = page
	}
	pages["ada"].invoke("newsHub.publish", pages["bob"].client.id)
	for _, user := range []string{"ada", "bob", "eve"} {
		fmt.Print(user, ":")
		for news := ""; news != "end"; fmt.Print(" ", news) {
			news = strings.Split(pages[user].receive(), `"`)[1]
		}
		fmt.Println()
	}
	// Output:
	// ada: All AllExcept Caller Clients Group Groups GroupExcept Users end
	// bob: All Others Client Clients Group Groups Groups OthersInGroup end
	// eve: All AllExcept Others Groups User Users end
}
