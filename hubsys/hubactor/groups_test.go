package hubactor_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/hubactor"
)

// Rooms is a hub whose clients join and leave groups.
type Rooms struct{ hubsys.Hub }

func (r *Rooms) Join(ctx context.Context, group string) (string, error) {
	return r.Call().ConnectionID(), r.Groups().Join(ctx, group)
}

func (r *Rooms) Leave(ctx context.Context, group string) error { return r.Groups().Leave(ctx, group) }

// newRooms registers a hub with an actor beside each group.
func newRooms(t testing.TB, sys *hubsys.System, props func(group string) *actor.Props) (*hubactor.Groups, string) {
	t.Helper()
	hub, err := hubsys.Register[*Rooms](sys, nil, hubsys.HubOptions{})
	require.NoError(t, err)
	groups, err := hubactor.PerGroup(hub, props)
	require.NoError(t, err)
	return groups, serve(t, sys, hub)
}

// writing returns props of actors that write down what they get.
func writing(j *journal) func(group string) *actor.Props {
	return func(group string) *actor.Props {
		return actor.PropsFromFunc(func(c actor.Context) {
			switch m := c.Message().(type) {
			case *hubactor.Joined:
				j.write(group + " joined " + m.ConnectionID)
			case *hubactor.Left:
				j.write(group + " left " + m.ConnectionID)
			case *actor.Started, *actor.Stopped:
				j.write(fmt.Sprintf("%s %T", group, m))
			case string:
				if m == "panic" {
					panic("the test panics")
				}
				if m == "stop" {
					c.Stop(c.Self())
				}
				j.write(group + " " + m)
			case question:
				c.Respond(answer{m.n + 1})
			}
		})
	}
}

// join joins a group, and returns the connection's ID.
func join(c *client, group string) string {
	id := c.result("Join", group)
	return id[1 : len(id)-1]
}

func requireNoGroupActors(t *testing.T, sys *hubsys.System) {
	t.Helper()
	eventually(t, func() bool { return len(names(sys.ActorSystem(), "/groups/")) == 0 }, "actors of groups")
}

func TestAGroupHasAnActorWhileItHasMembers(t *testing.T) {
	j := &journal{}
	sys := newSystem(t, hubsys.Config{})
	groups, url := newRooms(t, sys, writing(j))
	_, ok := groups.Of("a")
	assert.False(t, ok)
	require.ErrorIs(t, groups.Tell("a", "nobody"), hubactor.ErrNoActor)

	first, second := dial(t, url), dial(t, url)
	one, two := join(first, "a"), join(second, "a")
	require.Equal(t, one, join(first, "a"), "joining twice is joining once")
	require.NoError(t, groups.Tell("a", "hello"))
	first.result("Leave", "a")
	first.result("Leave", "a")
	second.close()
	want := []string{"a *actor.Started", "a joined " + one, "a joined " + two, "a hello", "a left " + one, "a left " + two, "a *actor.Stopped"}
	eventually(t, func() bool { return len(j.read()) == len(want) }, "the actor stops")
	assert.Equal(t, want, j.read())
	_, ok = groups.Of("a")
	assert.False(t, ok)
	requireNoGroupActors(t, sys)
}

func TestJoinedIsInTheMailboxBeforeJoinReturns(t *testing.T) {
	release := make(chan struct{})
	j := &journal{}
	inner := writing(j)
	groups, url := newRooms(t, newSystem(t, hubsys.Config{}), func(group string) *actor.Props {
		return inner(group).Clone(actor.WithReceiverMiddleware(func(next actor.ReceiverFunc) actor.ReceiverFunc {
			return func(c actor.ReceiverContext, e *actor.MessageEnvelope) {
				<-release
				next(c, e)
			}
		}))
	})
	c := dial(t, url)
	id := join(c, "a") // though the actor has not begun
	require.NoError(t, groups.Tell("a", "behind"))
	close(release)
	eventually(t, func() bool { return len(j.read()) == 3 }, "all are handled")
	assert.Equal(t, []string{"a *actor.Started", "a joined " + id, "a behind"}, j.read())
}

func TestAMemberHasItsUserID(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	hub, err := hubsys.Register[*Rooms](sys, nil, hubsys.HubOptions{})
	require.NoError(t, err)
	members := make(chan hubsys.Member, 2)
	_, err = hubactor.PerGroup(hub, func(string) *actor.Props {
		return actor.PropsFromFunc(func(c actor.Context) {
			switch m := c.Message().(type) {
			case *hubactor.Joined:
				members <- m.Member
			case *hubactor.Left:
				members <- m.Member
			}
		})
	})
	require.NoError(t, err)
	require.NoError(t, hub.Map("/ada", hubsys.EndpointOptions{Authenticate: func(*http.Request) (*hubsys.Principal, error) {
		return &hubsys.Principal{UserID: "ada"}, nil
	}}))
	c := dial(t, strings.Replace(serve(t, sys, hub), "/Rooms", "/ada", 1))
	id := join(c, "a")
	c.result("Leave", "a")
	for range 2 {
		assert.Equal(t, hubsys.Member{ConnectionID: id, UserID: "ada"}, receive(t, members))
	}
}

func TestGroupsWithoutPropsHaveNoActor(t *testing.T) {
	j := &journal{}
	sys := newSystem(t, hubsys.Config{})
	groups, url := newRooms(t, sys, func(group string) *actor.Props {
		switch group {
		case "none":
			return nil
		case "panics":
			panic("the test panics")
		case "producer":
			return actor.PropsFromProducer(func() actor.Actor { panic("the test panics") })
		}
		return writing(j)(group)
	})
	c := dial(t, url)
	for _, group := range []string{"none", "panics", "producer"} {
		for range 2 {
			join(c, group)
			_, ok := groups.Of(group)
			assert.False(t, ok, group)
			require.ErrorIs(t, groups.Tell(group, 1), hubactor.ErrNoActor)
			c.result("Leave", group)
		}
	}
	join(c, "some")
	_, ok := groups.Of("some")
	assert.True(t, ok)
	assert.Len(t, names(sys.ActorSystem(), "/groups/"), 1)
}

// An actor that stops as soon as it has started is not taken for one that is there.
func TestAGroupActorThatStopsAtOnceLeavesNothing(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	groups, url := newRooms(t, sys, func(string) *actor.Props {
		return actor.PropsFromFunc(func(c actor.Context) {
			if _, ok := c.Message().(*actor.Started); ok {
				c.Stop(c.Self())
			}
		})
	})
	c := dial(t, url)
	for i := range 100 {
		group := fmt.Sprint("g", i)
		join(c, group)
		eventually(t, func() bool { _, ok := groups.Of(group); return !ok }, "the actor of %s has stopped", group)
		c.result("Leave", group)
	}
}

// lastOf returns the last entry of a journal, or an empty string.
func lastOf(j *journal) string {
	list := j.read()
	if len(list) == 0 {
		return ""
	}
	return list[len(list)-1]
}

func TestAGroupActorThatPanicsIsReplacedAndKnowsTheMembers(t *testing.T) {
	j := &journal{}
	groups, url := newRooms(t, newSystem(t, hubsys.Config{}), writing(j))
	clients := []*client{dial(t, url), dial(t, url), dial(t, url)}
	var ids []string
	for _, c := range clients {
		ids = append(ids, join(c, "a"))
	}
	clients[1].result("Leave", "a")
	require.NoError(t, groups.Tell("a", "panic"))
	require.NoError(t, groups.Tell("a", "alive"))
	eventually(t, func() bool { return lastOf(j) == "a alive" }, "it goes on")
	list := j.read()
	require.Equal(t, "a *actor.Started", list[5])
	assert.ElementsMatch(t, []string{"a joined " + ids[0], "a joined " + ids[2]}, list[6:8])
	assert.Len(t, list, 9)

	to, ok := groups.Of("a")
	require.True(t, ok)
	got, err := ask[answer](t, to, question{1})
	require.NoError(t, err)
	assert.Equal(t, answer{2}, got)
	for _, c := range clients {
		c.close()
	}
	eventually(t, func() bool { return lastOf(j) == "a *actor.Stopped" }, "it still stops with the last member")
}

func TestAMemberAtWhoseJoinedTheActorPanicsIsForgotten(t *testing.T) {
	var panics atomic.Int32
	members := make(chan string, 10)
	groups, url := newRooms(t, newSystem(t, hubsys.Config{}), func(string) *actor.Props {
		return actor.PropsFromFunc(func(c actor.Context) {
			switch m := c.Message().(type) {
			case *hubactor.Joined:
				if panics.Add(1) == 1 {
					panic("the test panics")
				}
				members <- m.ConnectionID
			case question:
				c.Respond(answer{})
			}
		})
	})
	first, second := dial(t, url), dial(t, url)
	join(first, "a")
	id := join(second, "a")
	assert.Equal(t, id, receive(t, members))
	to, _ := groups.Of("a")
	_, err := ask[answer](t, to, question{})
	require.NoError(t, err)
	assert.Empty(t, members)
}

func TestAGroupActorThatStopsItselfIsReplacedForTheNextMember(t *testing.T) {
	j := &journal{}
	sys := newSystem(t, hubsys.Config{})
	groups, url := newRooms(t, sys, writing(j))
	old, next := dial(t, url), dial(t, url)
	join(old, "a")
	require.NoError(t, groups.Tell("a", "stop"))
	requireNoGroupActors(t, sys)
	eventually(t, func() bool { _, ok := groups.Of("a"); return !ok }, "it is off the list")
	require.ErrorIs(t, groups.Tell("a", "nobody"), hubactor.ErrNoActor)

	id := join(next, "a")
	eventually(t, func() bool { return lastOf(j) == "a joined "+id }, "there is a new one")
	old.result("Leave", "a")
	_, ok := groups.Of("a")
	assert.True(t, ok, "it stays for its member")
	next.result("Leave", "a")
	requireNoGroupActors(t, sys)
}

func TestPerGroupReportsItsFaults(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	hub, err := hubsys.Register[*Rooms](sys, nil, hubsys.HubOptions{})
	require.NoError(t, err)
	_, err = hubactor.PerGroup(hub, nil)
	require.EqualError(t, err, "hubactor: PerGroup: props is nil")
	_, err = hubactor.PerGroup(hub, writing(&journal{}))
	require.NoError(t, err)
	_, err = hubactor.PerGroup(hub, writing(&journal{}))
	require.Error(t, err, "it is called once for a hub")
}

func TestGroupsMayHaveAnyName(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	j := &journal{}
	groups, url := newRooms(t, sys, writing(j))
	c := dial(t, url)
	all := []string{" ", "a/b", "../..", "%2F", "ü", "a b", "$1", "\u0000", "a/b/1"}
	for _, group := range all {
		join(c, group)
		require.NoError(t, groups.Tell(group, "hello"), "%q", group)
	}
	assert.Len(t, names(sys.ActorSystem(), "/groups/"), len(all))
	c.close()
	requireNoGroupActors(t, sys)
}

func TestPropsMayAskForActorsOfGroups(t *testing.T) {
	j := &journal{}
	var all atomic.Pointer[hubactor.Groups]
	groups, url := newRooms(t, newSystem(t, hubsys.Config{}), func(group string) *actor.Props {
		_, own := all.Load().Of(group)
		_, other := all.Load().Of("first")
		j.write(fmt.Sprintln(group, own, other, all.Load().Tell("first", group)))
		return writing(&journal{})(group)
	})
	all.Store(groups)
	c := dial(t, url)
	join(c, "first")
	join(c, "second")
	assert.Equal(t, []string{"first false false hubactor: there is no such actor\n", "second false true <nil>\n"}, j.read())
}
