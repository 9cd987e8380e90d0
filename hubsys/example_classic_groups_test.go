package hubsys_test

import (
	"context"
	"fmt"

	"github.com/troupe-go/troupe/hubsys"
)

// RoomHub is a hub with groups.
type RoomHub struct{ hubsys.Hub }

// Enter puts the caller into a group, which exists as long as it has members.
func (h *RoomHub) Enter(ctx context.Context, room string) error {
	if err := h.Groups().Join(ctx, room); err != nil {
		return err
	}
	return h.Clients().Group(room).Send(ctx, "entered", room)
}

// Exit takes the caller out of a group.
func (h *RoomHub) Exit(ctx context.Context, room string) error {
	if err := h.Clients().OthersInGroup(room).Send(ctx, "left", room); err != nil {
		return err
	}
	return h.Groups().Leave(ctx, room)
}

// A client is a member when Join returns. Who is in a group can be asked from everywhere.
func ExampleCallerGroups_Join() {
	sys := must(hubsys.New(hubsys.Config{}))
	rooms := must(hubsys.Register[*RoomHub](sys, nil, hubsys.HubOptions{}))
	check(sys.MapClassic("/signalr", hubsys.ClassicOptions{}))
	address, stop := listen(sys)
	defer stop()

	ada, bob := openPage(address+"/signalr", "roomHub"), openPage(address+"/signalr", "roomHub")
	ada.invoke("roomHub.enter", "lobby")
	bob.invoke("roomHub.enter", "lobby")
	bob.invoke("roomHub.exit", "lobby")
	fmt.Println(ada.receive())
	fmt.Println(ada.receive())
	fmt.Println(ada.receive())
	fmt.Println(rooms.Clients().Group("lobby").Count(context.Background()))
	// Output:
	// RoomHub.entered["lobby"]
	// RoomHub.entered["lobby"]
	// RoomHub.left["lobby"]
	// 1 <nil>
}
