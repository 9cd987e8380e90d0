package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/troupe-go/troupe/actors/outbox"
	"github.com/troupe-go/troupe/internal/metric"
)

// Audience is a set of connections, such as those that a Send goes to.
type Audience struct {
	Kind   Kind
	Names  []string    // of connections, groups or users
	Conn   *Connection // of Caller
	Except *Connection
	// ExceptIDs are the ids of connections that are left out.
	ExceptIDs []string
	// NoWait says that the sender cannot wait for room.
	NoWait bool
	// Policy is what happens to a message for a receiver that is at its limit, if it is not Disconnect: then that of the hub is.
	Policy outbox.Policy
	// Key, if it is not empty, has a message take the place of one of the same method and key that a receiver has not been sent yet.
	Key string
	// State is what a call of the Caller changes of the state of a client of SignalR 2.
	State map[string]any
}

// ErrTooManyNames says that an audience names more connections, groups or users than it may.
var ErrTooManyNames = errors.New("hubsys: an audience has more names than MaximumNamesPerAudience allows")

// Check returns an error if ctx has ended, or if an audience has too many names.
func (h *Hub) Check(ctx context.Context, of *Audience) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(of.Names) > h.settings.MaxNames || len(of.ExceptIDs) > h.settings.MaxNames {
		h.sys.counts.limits.Reach(metric.Names)
		return ErrTooManyNames
	}
	return nil
}

// Kind is what the names of an Audience stand for.
type Kind uint8

// The kinds of audiences.
const (
	All Kind = iota
	Caller
	Connections
	Groups
	Users
)

// String describes the audience.
func (a *Audience) String() string {
	who := [...]string{All: "all", Caller: "caller", Connections: "connections", Groups: "groups", Users: "users"}[a.Kind]
	if len(a.Names) > 0 {
		who += fmt.Sprintf(" %q", a.Names)
	}
	out := a.ExceptIDs
	if a.Except != nil {
		out = append(slices.Clone(out), a.Except.id)
	}
	if len(out) > 0 {
		who += fmt.Sprintf(" except %q", out)
	}
	return who
}

// exception is the set of connections that are left out of an audience.
type exception struct {
	conn *Connection
	ids  map[string]bool
}

func newException(to *Audience) *exception {
	if to.Except == nil && len(to.ExceptIDs) == 0 {
		return nil
	}
	e := &exception{conn: to.Except}
	if len(to.ExceptIDs) > 0 {
		e.ids = make(map[string]bool, len(to.ExceptIDs))
		for _, id := range to.ExceptIDs {
			e.ids[id] = true
		}
	}
	return e
}

func (e *exception) has(c *Connection) bool { return c == e.conn || e.ids[c.id] }

// resolve returns the connections of an audience, each once.
func (h *Hub) resolve(to *Audience) []*Connection {
	var all []*Connection
	switch to.Kind {
	case All:
		all = h.everyone.appendMembers(nil)
	case Caller:
		all = []*Connection{to.Conn}
	case Connections:
		for _, id := range to.Names {
			if c := h.Connection(id); c != nil {
				all = append(all, c)
			}
		}
	default:
		for _, name := range distinct(to.Names) { // one that is listed again would take as much memory again as it has members
			if g := h.directory(to.Kind).find(name); g != nil {
				all = g.appendMembers(all)
			}
		}
	}
	except := newException(to)
	if except == nil && len(to.Names) <= 1 {
		return all
	}
	seen := make(map[*Connection]bool, len(all))
	return slices.DeleteFunc(all, func(c *Connection) bool {
		out := seen[c] || except != nil && except.has(c)
		seen[c] = true
		return out
	})
}

// distinct returns a copy of names in which each is there once.
func distinct(names []string) []string {
	if len(names) <= 1 {
		return slices.Clone(names)
	}
	return slices.Compact(slices.Sorted(slices.Values(names)))
}

// directory returns the groups that the names of a kind stand for.
func (h *Hub) directory(kind Kind) *directory {
	if kind == Users {
		return h.users
	}
	return h.groups
}
