package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/hubsys"
)

// An actor gets what the clients of a group get, in the same order.
func ExampleHubContext_Subscribe() {
	sys, err := hubsys.New(hubsys.Config{})
	if err != nil {
		log.Fatal(err)
	}
	chat, err := hubsys.Register(sys, newChat, hubsys.HubOptions{})
	if err != nil {
		log.Fatal(err)
	}
	type message struct{ user, text string }
	type end struct{ done chan struct{} }
	root := sys.ActorSystem().Root
	archive := root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		switch m := c.Message().(type) {
		case message:
			fmt.Println(m.user, "has said", m.text)
		case end:
			close(m.done)
		}
	}))

	ctx, cancel := context.WithCancel(context.Background())
	id, ended, err := chat.Subscribe(ctx, nil, func(method string, args []json.RawMessage) {
		var m message
		if method == "receive" && errors.Join(json.Unmarshal(args[0], &m.user), json.Unmarshal(args[1], &m.text)) == nil {
			root.Send(archive, m)
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := chat.Groups().Add(ctx, id, "lobby"); err != nil {
		log.Fatal(err)
	}
	for _, text := range []string{"hello", "is anybody here?"} {
		if err := Receive.Send(ctx, chat.Clients().Group("lobby"), "ada", text); err != nil {
			log.Fatal(err)
		}
	}

	if err := chat.Clients().Client(id).Disconnect(ctx, "archived"); err != nil { // behind what was sent
		log.Fatal(err)
	}
	cause := <-ended
	cancel()
	done := make(chan struct{})
	root.Send(archive, end{done}) // behind what was received
	<-done
	fmt.Println("the end:", cause)
	fmt.Println(sys.Shutdown(context.Background()))
	// Output:
	// ada has said hello
	// ada has said is anybody here?
	// the end: archived
	// <nil>
}
