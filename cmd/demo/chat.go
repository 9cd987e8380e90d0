package main

import (
	"context"
	"slices"
	"time"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/typed"
)

// Line is something that was said.
type Line struct {
	From string    `json:"from"` // the same for clients of both dialects
	Text string    `json:"text"`
	At   time.Time `json:"at"`
}

// What the page can be told.
var (
	said      = typed.Message2[string, Line]("said")        // room, line
	whispered = typed.Message2[string, Line]("whispered")   // with whom, line
	present   = typed.Message2[string, []Person]("present") // room, who is there
)

const (
	longestText = 2000
	longestRoom = 60 // the page allows 20 characters of up to 3 bytes
	longestName = longestRoom
)

// Chat is the hub of the chat. A user is in one room at a time, with each of their connections.
type Chat struct {
	hubsys.Hub
	reception *reception
}

var roomOf = hubsys.Item[string]("room")

// Enter puts the caller into a room, out of the one they were in, and returns the name of the node that they are connected to. Who is there is told
// by the message present.
func (c *Chat) Enter(ctx context.Context, room string) (string, error) {
	if room == "" || len(room) > longestRoom {
		return "", hubsys.Errorf("A room's name has 1 to %d bytes.", longestRoom)
	}
	if err := moveTo(ctx, c.Call(), groupsOf(room)...); err != nil {
		return "", err
	}
	roomOf.Store(c.Call(), room)
	return *node, c.reception.tell(ctx, room)
}

// Say says something to everybody in the caller's room.
func (c *Chat) Say(ctx context.Context, text string) error {
	room, ok := roomOf.Load(c.Call())
	if !ok {
		return hubsys.Errorf("Enter a room first.")
	}
	line, err := c.line(text)
	if err != nil {
		return err
	}
	return said.Send(ctx, c.Clients().Group(groupOf(everyNode, room)), room, line)
}

// Whisper says something to one user, and shows it on all devices of both.
func (c *Chat) Whisper(ctx context.Context, to, text string) error {
	line, err := c.line(text)
	if err != nil {
		return err
	}
	me := c.Call().UserID()
	if to != me {
		if count, err := c.Clients().User(to).Count(ctx); err == nil && count == 0 {
			return hubsys.Errorf("%s is not here.", to)
		}
		if err := whispered.Send(ctx, c.Clients().User(to), me, line); err != nil {
			return err
		}
	}
	return whispered.Send(ctx, c.Clients().User(me), to, line)
}

func (c *Chat) line(text string) (Line, error) {
	if text == "" || len(text) > longestText {
		return Line{}, hubsys.Errorf("A message has 1 to %d bytes.", longestText)
	}
	return Line{From: c.Call().UserID(), Text: text, At: time.Now()}, nil
}

// moveTo puts the caller into groups, and out of all others: a client of SignalR 2 that has lost its node brings those of that one.
func moveTo(ctx context.Context, call *hubsys.Call, groups ...string) error {
	before, err := call.Clients().Client(call.ConnectionID()).Groups(ctx)
	if err != nil {
		return err
	}
	for _, group := range before {
		if !slices.Contains(groups, group) {
			if err := call.Groups().Leave(ctx, group); err != nil {
				return err
			}
		}
	}
	for _, group := range groups {
		if err := call.Groups().Join(ctx, group); err != nil {
			return err
		}
	}
	return nil
}
