// Package presence tells which users are in the groups of a hub: users, not connections, however many tabs they have open, and without a flicker
// when they reload.
//
//	here := presence.Track(ctx, chat, presence.Options{})
//	for change := range here.Watch(ctx) {
//		err := present.Send(ctx, chat.Clients().Group(change.Group).NoWait(), change.Group, here.Users(change.Group))
//	}
//
// A second tab of a user, and one that comes back after a reload, is no change. It is told who is there by the method that lets it into the group.
// Connections without a user identifier are not counted.
package presence

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/troupe-go/troupe/hubsys"
)

// None is an [Options].Grace of no time.
const None = -1

const defaultGrace = 5 * time.Second

// Options are the options of a [Tracker].
type Options struct {
	// Grace is how long a user whose last connection has gone still counts as present. Default: 5 s. None: not at all.
	Grace time.Duration
	// Everyone tracks all connections of the hub as well, as the group "". A group of the hub that has no name is not tracked. Default: false.
	Everyone bool
}

// Tracker knows who is present. It is kept up to date in the background; its methods read memory, and can be used concurrently.
type Tracker struct {
	grace    time.Duration
	everyone bool
	ended    chan struct{}

	mu       sync.Mutex
	groups   map[string]map[string]*user
	leaving  []departure // by time
	timer    *time.Timer // for the first of them
	watchers map[*watcher]struct{}
}

// user is a user in a group.
type user struct {
	connections int
	departures  int // that are pending
}

// departure says when a user who has no connection any more stops being present.
type departure struct {
	at          time.Time
	group, user string
}

// Track begins to track the users of a hub. It ends with ctx, or when the System is shut down. Who is there when it begins is known a moment after
// it has returned.
func Track(ctx context.Context, hub *hubsys.HubContext, options Options) *Tracker {
	t := &Tracker{
		grace: max(0, cmp.Or(options.Grace, defaultGrace)), everyone: options.Everyone,
		groups: map[string]map[string]*user{}, watchers: map[*watcher]struct{}{}, ended: make(chan struct{}),
	}
	go func() {
		defer close(t.ended)
		t.follow(hub.Groups().Watch(ctx), false)
	}()
	if options.Everyone {
		go t.follow(hub.Clients().All().Watch(ctx), true)
	}
	return t
}

// follow takes changes of everyone, or of groups. A group without a name is not tracked, because that stands for everyone.
func (t *Tracker) follow(changes iter.Seq[hubsys.Change], everyone bool) {
	for change := range changes {
		if change.Group != "" || everyone {
			t.apply(change)
		}
	}
}

func (t *Tracker) apply(change hubsys.Change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, m := range change.Joined {
		if m.UserID != "" {
			t.join(change.Group, m.UserID)
		}
		t.giveWay(i)
	}
	now := time.Now()
	for i, m := range change.Left {
		if m.UserID != "" {
			t.leave(now, change.Group, m.UserID)
		}
		t.giveWay(i)
	}
}

// atOnce is how many users are dealt with before others can have the lock.
const atOnce = 512

// giveWay is called with the lock held, when what comes at index i of many has been dealt with. What is known may have changed when it returns.
func (t *Tracker) giveWay(i int) {
	if i%atOnce == atOnce-1 {
		t.mu.Unlock()
		t.mu.Lock()
	}
}

func (t *Tracker) join(group, name string) {
	users := t.groups[group]
	if users == nil {
		users = map[string]*user{}
		t.groups[group] = users
	}
	u := users[name]
	if u == nil {
		u = &user{}
		users[name] = u
		t.notify(group, name, true)
	}
	u.connections++
}

func (t *Tracker) leave(now time.Time, group, name string) {
	u := t.groups[group][name]
	if u == nil {
		return
	}
	if u.connections--; u.connections > 0 {
		return
	}
	u.departures++
	t.leaving = append(t.leaving, departure{now.Add(t.grace), group, name})
	if len(t.leaving) == 1 {
		t.expire(now)
	}
}

// expire ends the presence of those whose time has come, and sets the timer for the next one. The lock is held.
func (t *Tracker) expire(now time.Time) {
	for i := 0; len(t.leaving) > 0 && !t.leaving[0].at.After(now); i++ {
		d := t.leaving[0]
		t.leaving = t.leaving[1:]
		users := t.groups[d.group]
		u := users[d.user]
		if u.departures--; u.departures > 0 || u.connections > 0 {
			continue // the user has come back meanwhile
		}
		if delete(users, d.user); len(users) == 0 {
			delete(t.groups, d.group)
		}
		t.notify(d.group, d.user, false)
		t.giveWay(i)
	}
	if len(t.leaving) == 0 {
		t.leaving = nil
		return
	}
	wait := t.leaving[0].at.Sub(now)
	if t.timer == nil {
		t.timer = time.AfterFunc(wait, func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.expire(time.Now())
		})
	} else {
		t.timer.Reset(wait)
	}
}

// Users returns the users who are present in a group, sorted.
func (t *Tracker) Users(group string) []string {
	t.mu.Lock()
	users := t.groups[group]
	names := make([]string, 0, len(users)) // never nil, which clients would get as null
	i := 0
	for name := range users {
		names = append(names, name)
		t.giveWay(i)
		i++
	}
	t.mu.Unlock()
	slices.Sort(names)
	return names
}

// Online reports whether a user has a connection. It panics without Options.Everyone.
func (t *Tracker) Online(userID string) bool {
	if !t.everyone {
		panic("presence: Tracker.Online needs Options.Everyone")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.groups[""][userID] != nil
}
