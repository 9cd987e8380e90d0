package main

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/presence"
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
	present   = typed.Message2[string, []string]("present") // room, names
)

const (
	longestText = 2000
	longestRoom = 40
)

// Chat is the hub of the chat. A user is in one room at a time, with each of their connections.
type Chat struct{ hubsys.Hub }

var roomOf = hubsys.Item[string]("room")

// Enter puts the caller into a room, out of the one they were in, and returns who is there.
func (c *Chat) Enter(ctx context.Context, room string) ([]string, error) {
	if room == "" || len(room) > longestRoom {
		return nil, hubsys.Errorf("A room's name has 1 to %d bytes.", longestRoom)
	}
	if err := c.leave(ctx); err != nil {
		return nil, err
	}
	if err := c.Groups().Join(ctx, room); err != nil {
		return nil, err
	}
	roomOf.Store(c.Call(), room)
	members, err := c.Clients().Group(room).Members(ctx)
	names := make([]string, 0, len(members))
	for _, m := range members {
		names = append(names, m.UserID)
	}
	slices.Sort(names)
	return slices.Compact(names), err
}

// tellPresent tells each room who is there, whenever that changes.
func tellPresent(ctx context.Context, chat *hubsys.HubContext) {
	here := presence.Track(ctx, chat, presence.Options{Grace: time.Second})
	for change := range here.Watch(ctx) {
		if err := present.Send(ctx, chat.Clients().Group(change.Group).NoWait(), change.Group, here.Users(change.Group)); err != nil {
			slog.Error("telling who is present", "error", err)
		}
	}
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
	return said.Send(ctx, c.Clients().Group(room), room, line)
}

// Whisper says something to one user, and shows it on all devices of both.
func (c *Chat) Whisper(ctx context.Context, to, text string) error {
	line, err := c.line(text)
	if err != nil {
		return err
	}
	me := c.Call().UserID()
	if to != me {
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

// leave takes the caller out of their room, if they are in one.
func (c *Chat) leave(ctx context.Context) error {
	room, ok := roomOf.Load(c.Call())
	if !ok {
		return nil
	}
	roomOf.Delete(c.Call())
	return c.Groups().Leave(ctx, room)
}
