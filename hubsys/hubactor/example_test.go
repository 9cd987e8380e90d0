package hubactor_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"log/slog"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/coder/websocket"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/hubactor"
)

// What clients can call.
type (
	Deposit struct{ Amount int } // deposit(amount) returns the balance
	Balance struct{}             // balance() returns it
)

// Account is an actor: calls come one after the other, so its balance needs no lock.
type Account struct{ balance int }

func (a *Account) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *hubactor.Call[Deposit]:
		if m.Args.Amount <= 0 {
			c.Respond(hubsys.Errorf("The amount must be positive."))
			return
		}
		a.balance += m.Args.Amount
		c.Respond(a.balance)
	case *hubactor.Call[Balance]:
		c.Respond(a.balance)
	}
}

// One actor is the hub for all clients.
func ExampleRegister() {
	sys := startSystem()
	account, err := hubactor.Register(sys, hubactor.Hub{
		Scope:   hubactor.Shared,
		Methods: []hubactor.Method{hubactor.Receive[Deposit]("deposit"), hubactor.Receive[Balance]("balance")},
		Props: func(*hubsys.HubContext) *actor.Props {
			return actor.PropsFromProducer(func() actor.Actor { return &Account{} })
		},
	}, hubsys.HubOptions{Name: "account"})
	check(err)
	check(account.Map("/account", hubsys.EndpointOptions{}))
	server := httptest.NewServer(sys) // http.ListenAndServe("127.0.0.1:8080", sys)
	defer server.Close()

	ada, bob := connect(server.URL+"/account"), connect(server.URL+"/account")
	fmt.Println(ada.invoke("deposit", 10))
	fmt.Println(bob.invoke("deposit", 5))
	fmt.Println(bob.invoke("deposit", -1))
	fmt.Println(ada.invoke("balance"))
	ada.close()
	bob.close()
	check(sys.Shutdown(context.Background()))
	// Output:
	// 10
	// 15
	// An unexpected error occurred invoking 'deposit' on the server. HubException: The amount must be positive.
	// 15
}

// Party is a hub. Clients that enter a room are members of a group, and each room has an actor.
type Party struct {
	hubsys.Hub
	rooms *hubactor.Groups
}

func (p *Party) Enter(ctx context.Context, room string) error { return p.Groups().Join(ctx, room) }

// Guests asks the actor of a room how many are in.
func (p *Party) Guests(ctx context.Context, room string) (int, error) {
	to, ok := p.rooms.Of(room)
	if !ok {
		return 0, nil
	}
	return hubactor.Ask[int](ctx, to, howMany{})
}

type howMany struct{}

// Room is the actor of one room. It is there while somebody is in.
type Room struct{ guests int }

func (r *Room) Receive(c actor.Context) {
	switch c.Message().(type) {
	case *hubactor.Joined:
		r.guests++
	case *hubactor.Left:
		r.guests--
	case howMany:
		c.Respond(r.guests)
	}
}

// Each group has an actor, while it has members.
func ExamplePerGroup() {
	sys := startSystem()
	var rooms *hubactor.Groups // set before Map
	party, err := hubsys.Register(sys, func(context.Context) (*Party, error) { return &Party{rooms: rooms}, nil }, hubsys.HubOptions{})
	check(err)
	rooms, err = hubactor.PerGroup(party, func(string) *actor.Props {
		return actor.PropsFromProducer(func() actor.Actor { return &Room{} })
	})
	check(err)
	check(party.Map("/party", hubsys.EndpointOptions{}))
	server := httptest.NewServer(sys)
	defer server.Close()

	ada, bob := connect(server.URL+"/party"), connect(server.URL+"/party")
	ada.invoke("Enter", "kitchen")
	bob.invoke("Enter", "kitchen")
	fmt.Println(ada.invoke("Guests", "kitchen"), ada.invoke("Guests", "cellar"))
	ada.close()
	bob.close()
	check(sys.Shutdown(context.Background()))
	// Output: 2 0
}

// Ask waits for the response of any actor.
func ExampleAsk() {
	sys := startSystem()
	pid := sys.ActorSystem().Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		if name, ok := c.Message().(string); ok {
			c.Respond(len(name))
		}
	}))
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	fmt.Println(hubactor.Ask[int](ctx, hubactor.RefTo(sys.ActorSystem(), pid), "kitchen"))
	fmt.Println(hubactor.Ask[int](ctx, hubactor.RefTo(sys.ActorSystem(), actor.NewPID("nonhost", "nobody")), "kitchen"))
	check(sys.ActorSystem().Root.StopFuture(pid).Wait())
	check(sys.Shutdown(context.Background()))
	// Output:
	// 7 <nil>
	// 0 hubactor: there is no such actor
}

func startSystem() *hubsys.System {
	sys, err := hubsys.New(hubsys.Config{Logger: slog.New(slog.DiscardHandler)})
	check(err)
	return sys
}

// exampleClient is a minimal client. Programs use a SignalR client library instead.
type exampleClient struct{ ws *websocket.Conn }

func connect(url string) *exampleClient {
	ws, _, err := websocket.Dial(context.Background(), url, nil)
	check(err)
	c := &exampleClient{ws}
	c.write(`{"protocol":"json","version":1}`)
	c.read()
	return c
}

// invoke makes a call, and returns its result or its error.
func (c *exampleClient) invoke(method string, args ...any) string {
	c.write(invocation("1", method, args...))
	for {
		var m serverMessage
		check(json.Unmarshal([]byte(c.read()), &m))
		if m.Type == 3 && m.Error != nil {
			return *m.Error
		} else if m.Type == 3 {
			return string(m.Result)
		}
	}
}

func (c *exampleClient) write(record string) {
	check(c.ws.Write(context.Background(), websocket.MessageText, []byte(record+separator)))
}

func (c *exampleClient) read() string {
	_, b, err := c.ws.Read(context.Background())
	check(err)
	return strings.TrimSuffix(string(b), separator)
}

func (c *exampleClient) close() { _ = c.ws.Close(websocket.StatusNormalClosure, "") }

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
