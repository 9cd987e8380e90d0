package main

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/typed"
)

// Line is something that was said.
type Line struct {
	From string
	Text string
	At   time.Time
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
type Chat struct {
	hubsys.Hub
	rooms *rooms
}

// Enter puts the caller into a room, out of the one they were in, and returns who is there.
func (c *Chat) Enter(ctx context.Context, room string) ([]string, error) {
	if room == "" || len(room) > longestRoom {
		return nil, hubsys.Errorf("A room's name has 1 to %d bytes.", longestRoom)
	}
	id := c.Call().ConnectionID()
	if err := c.leave(ctx); err != nil {
		return nil, err
	}
	if err := c.Groups().Add(ctx, id, room); err != nil {
		return nil, err
	}
	names := c.rooms.enter(room, id, c.Call().UserID())
	c.Call().Items().Store("room", room)
	return names, present.Send(ctx, c.Clients().OthersInGroup(room), room, names)
}

// Say says something to everybody in the caller's room.
func (c *Chat) Say(ctx context.Context, text string) error {
	room, ok := c.room()
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

// OnDisconnected tells the room.
func (c *Chat) OnDisconnected(ctx context.Context, _ error) error { return c.leave(ctx) }

func (c *Chat) line(text string) (Line, error) {
	if text == "" || len(text) > longestText {
		return Line{}, hubsys.Errorf("A message has 1 to %d bytes.", longestText)
	}
	return Line{From: c.Call().UserID(), Text: text, At: time.Now()}, nil
}

func (c *Chat) room() (string, bool) {
	room, ok := c.Call().Items().Load("room")
	if !ok {
		return "", false
	}
	return room.(string), true
}

// leave takes the caller out of their room, if they are in one.
func (c *Chat) leave(ctx context.Context) error {
	room, ok := c.room()
	if !ok {
		return nil
	}
	c.Call().Items().Delete("room")
	id := c.Call().ConnectionID()
	if err := c.Groups().Remove(ctx, id, room); err != nil {
		return err
	}
	return present.Send(ctx, c.Clients().Group(room), room, c.rooms.leave(room, id))
}

// rooms knows who is where.
type rooms struct {
	mu    sync.Mutex
	names map[string]map[string]string // room → connection id → name
}

func newRooms() *rooms { return &rooms{names: map[string]map[string]string{}} }

func (r *rooms) enter(room, id, name string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.names[room] == nil {
		r.names[room] = map[string]string{}
	}
	r.names[room][id] = name
	return r.present(room)
}

func (r *rooms) leave(room, id string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.names[room], id)
	if len(r.names[room]) == 0 {
		delete(r.names, room)
	}
	return r.present(room)
}

// present lists everybody in a room once.
func (r *rooms) present(room string) []string {
	return slices.Compact(slices.Sorted(maps.Values(r.names[room])))
}
