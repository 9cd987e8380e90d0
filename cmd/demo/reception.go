package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/troupe-go/troupe/cluster"
	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/presence"
)

// everyNode stands for all nodes in the name of a group. No node is called that.
const everyNode = "*"

// groupOf returns the group of those who are in a room, and connected to a node.
func groupOf(node, room string) string { return node + "/" + room }

// groupsOf returns the groups of who is in a room, and connected to this node.
func groupsOf(room string) []string { return []string{groupOf(everyNode, room), groupOf(*node, room)} }

// Person is somebody in a room.
type Person struct {
	Name  string   `json:"name"`
	Nodes []string `json:"nodes"` // that they are connected to
}

// reception tells those who are in a room who is there. That of each node tells those who are connected to it, so nobody is told by several.
type reception struct {
	plane *cluster.Backplane // nil: there is one node
	rooms chan string        // whose people are to be told
}

// tell has the people of a room be told. They are told in any case when somebody comes or goes.
func (r *reception) tell(ctx context.Context, room string) error {
	select {
	case r.rooms <- room:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run tells, until ctx ends or the System is shut down.
func (r *reception) run(ctx context.Context, chat *hubsys.HubContext) {
	here := presence.Track(ctx, chat, presence.Options{Grace: time.Second})
	go func() {
		for change := range here.Watch(ctx) {
			if node, room, _ := strings.Cut(change.Group, "/"); node != everyNode {
				_ = r.tell(ctx, room)
			}
		}
	}()
	for {
		select {
		case room := <-r.rooms:
			if err := present.Send(ctx, chat.Clients().Group(groupOf(*node, room)).NoWait(), room, r.people(here, room)); err != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// people returns who is in a room.
func (r *reception) people(here *presence.Tracker, room string) []Person {
	nodes := []string{*node}
	if r.plane != nil {
		for _, other := range r.plane.Nodes() {
			nodes = append(nodes, other.Name)
		}
	}
	slices.Sort(nodes)
	on := map[string][]string{} // nodes by user
	for _, name := range slices.Compact(nodes) {
		for _, user := range here.Users(groupOf(name, room)) {
			on[user] = append(on[user], name)
		}
	}
	people := make([]Person, 0, len(on))
	for user, nodes := range on {
		people = append(people, Person{user, nodes})
	}
	slices.SortFunc(people, func(a, b Person) int { return strings.Compare(a.Name, b.Name) })
	return people
}
