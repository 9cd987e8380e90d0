package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	troupev1 "github.com/troupe-go/troupe/proto/troupe/v1"
)

// members returns the clients with these numbers as they are listed.
func (p *audienceFixture) members(numbers ...int) []hubsys.Member {
	users := []string{"ada", "ada", "bob", "bob", ""}
	list := []hubsys.Member{}
	for _, i := range numbers {
		list = append(list, hubsys.Member{ConnectionID: p.ids[i], UserID: users[i]})
	}
	slices.SortFunc(list, func(a, b hubsys.Member) int {
		if a.ConnectionID < b.ConnectionID {
			return -1
		}
		return 1
	})
	return list
}

func TestMembersOfEveryAudience(t *testing.T) {
	p := newAudienceFixture(t)
	ids := p.ids
	check := func(name string, a hubsys.Audience, want ...int) {
		t.Helper()
		for _, one := range []hubsys.Audience{a, a.NoWait()} {
			list, err := one.Members(t.Context())
			assert.NoError(t, err, name)
			assert.Equal(t, p.members(want...), list, name)
			count, err := one.Count(t.Context())
			assert.NoError(t, err, name)
			assert.Equal(t, len(want), count, name)
		}
	}
	both := func(c interface {
		All() hubsys.Audience
		AllExcept(ids ...string) hubsys.Audience
		Client(id string) hubsys.Client
		Clients(ids ...string) hubsys.Audience
		Group(name string) hubsys.Audience
		GroupExcept(name string, ids ...string) hubsys.Audience
		Groups(names ...string) hubsys.Audience
		User(id string) hubsys.Audience
		Users(ids ...string) hubsys.Audience
	}) {
		check("All", c.All(), 0, 1, 2, 3, 4)
		check("AllExcept", c.AllExcept(ids[1], "no such", ids[4]), 0, 2, 3)
		check("All except everybody", c.All().Except(ids[0], ids[1]).Except(ids[2:]...))
		check("Client", hubsys.Audience(c.Client(ids[3])), 3)
		check("Client that is not there", hubsys.Audience(c.Client("no such")))
		check("Clients", c.Clients(ids[4], "no such", ids[0], ids[4], ""), 0, 4)
		check("Clients, none", c.Clients())
		check("Group", c.Group("red"), 0, 1, 2)
		check("Group that is not there", c.Group("Red"))
		check("Group without a name", c.Group(""), 4)
		check("GroupExcept", c.GroupExcept("red", ids[0], ids[3]), 1, 2)
		check("overlapping Groups", c.Groups("blue", "red", "green", "blue"), 0, 1, 2, 3)
		check("overlapping Groups except", c.Groups("blue", "red").Except(ids[2]), 0, 1, 3)
		check("Groups, none", c.Groups())
		check("User", c.User("ada"), 0, 1)
		check("User without a name", c.User(""))
		check("Users", c.Users("bob", "unknown", "ada", "bob", ""), 0, 1, 2, 3)
	}
	both(p.hub.Clients())
	var caller hubsys.Client
	var others, inGroup hubsys.Audience
	p.runInCall(func(_ context.Context, h *testHub) error {
		c := h.Clients()
		both(c)
		caller, others, inGroup = c.Caller(), c.Others(), c.OthersInGroup("red")
		check("Caller", hubsys.Audience(caller), 0)
		check("Others", others, 1, 2, 3, 4)
		check("Others except", others.Except(ids[1]), 2, 3, 4)
		check("OthersInGroup", inGroup, 1, 2)
		check("OthersInGroup of others", c.OthersInGroup("blue"), 2, 3)
		return nil
	})
	p.clients[0].close()
	require.Eventually(t, func() bool { n, _ := p.hub.Clients().All().Count(t.Context()); return n == 4 }, testTimeout, time.Millisecond)
	require.Eventually(t, func() bool { _, err := caller.Groups(t.Context()); return errors.Is(err, hubsys.ErrGone) }, testTimeout, time.Millisecond)
	check("Caller after its end", hubsys.Audience(caller))
	check("Others after the end of the caller", others, 1, 2, 3, 4)
	check("OthersInGroup after the end of the caller", inGroup, 1, 2)
}

func TestAudiencesWithAnEndedContext(t *testing.T) {
	p := newAudienceFixture(t)
	ended, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	all, client := p.hub.Clients().All(), p.hub.Clients().Client(p.ids[0])
	_, err := all.Members(ended)
	require.ErrorIs(t, err, enough)
	_, err = all.Count(ended)
	require.ErrorIs(t, err, enough)
	_, err = client.Groups(ended)
	require.ErrorIs(t, err, enough)
	for _, err := range []error{
		all.Disconnect(ended, "x"), all.Reconnect(ended), client.Disconnect(ended, "x"), client.Reconnect(ended), all.Join(ended, "x"), client.Leave(ended, "red"),
	} {
		require.ErrorIs(t, err, enough)
	}
	for change := range all.Watch(ended) {
		require.Fail(t, "a change", change)
	}
	for change := range p.hub.Groups().Watch(ended) {
		require.Fail(t, "a change", change)
	}
	for _, c := range p.clients {
		c.requireNoMessages()
	}
}

func TestGroupsOfAClient(t *testing.T) {
	p := newAudienceFixture(t)
	for i, want := range [][]string{{"red"}, {"red"}, {"blue", "red"}, {"blue"}, {""}} {
		groups, err := p.hub.Clients().Client(p.ids[i]).Groups(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, groups)
	}
	_, err := p.hub.Clients().Client("no such").Groups(t.Context())
	require.ErrorIs(t, err, hubsys.ErrGone)
	p.runInCall(func(ctx context.Context, h *testHub) error {
		err := errors.Join(h.Groups().Leave(ctx, "red"), h.Groups().Join(ctx, "z"), h.Groups().Join(ctx, "a"))
		groups, err2 := h.Clients().Caller().Groups(ctx)
		assert.Equal(t, []string{"a", "z"}, groups)
		return errors.Join(err, err2)
	})
}

// newDisconnectFixture returns a fixture, and a function that returns the cause that OnDisconnected has got for a client.
func newDisconnectFixture(t *testing.T) (p *audienceFixture, cause func(i int) error) {
	causes := map[string]chan error{}
	var mu sync.Mutex
	of := func(id string) chan error {
		mu.Lock()
		defer mu.Unlock()
		if causes[id] == nil {
			causes[id] = make(chan error, 2)
		}
		return causes[id]
	}
	p = newAudienceFixtureWith(t, testConfig{onDisconnected: func(_ context.Context, h *testHub, cause error) error {
		of(h.Call().ConnectionID()) <- cause
		return nil
	}})
	return p, func(i int) error { return receive(t, of(p.ids[i])) }
}

func TestDisconnectOfEveryAudience(t *testing.T) {
	for name, test := range map[string]struct {
		choose func(p *audienceFixture, c hubsys.Clients) hubsys.Audience
		reason string
		gone   []int
	}{
		"client": {func(p *audienceFixture, c hubsys.Clients) hubsys.Audience { return hubsys.Audience(c.Client(p.ids[4])) }, `not "you"`, []int{4}},
		"group":  {func(_ *audienceFixture, c hubsys.Clients) hubsys.Audience { return c.Group("red") }, "", []int{0, 1, 2}},
		"groups": {func(_ *audienceFixture, c hubsys.Clients) hubsys.Audience { return c.Groups("red", "blue", "none") }, "x", []int{0, 1, 2, 3}},
		"user with two connections": {
			func(_ *audienceFixture, c hubsys.Clients) hubsys.Audience { return c.User("bob") }, "banned", []int{2, 3},
		},
		"all except": {func(p *audienceFixture, c hubsys.Clients) hubsys.Audience { return c.All().Except(p.ids[1], p.ids[3]) }, "x", []int{0, 2, 4}},
		"nobody":     {func(_ *audienceFixture, c hubsys.Clients) hubsys.Audience { return c.Group("none") }, "x", nil},
	} {
		t.Run(name, func(t *testing.T) {
			p, cause := newDisconnectFixture(t)
			all := p.hub.Clients().All()
			require.NoError(t, all.Send(t.Context(), "before"))
			require.NoError(t, test.choose(p, p.hub.Clients()).Disconnect(t.Context(), test.reason))
			require.NoError(t, all.Send(t.Context(), "after"))
			for i, c := range p.clients {
				c.requireInvocation("before")
				if !slices.Contains(test.gone, i) {
					c.requireInvocation("after")
					c.requireNoMessages()
					continue
				}
				last := c.next()
				require.Equal(t, 7, last.Type, last.raw)
				require.NotContains(t, last.raw, "allowReconnect")
				c.requireClosed()
				if test.reason == "" {
					require.Equal(t, closeJSON, last.raw)
					require.NoError(t, cause(i))
					continue
				}
				require.Equal(t, test.reason, *last.Error)
				var hubError *hubsys.HubError
				require.ErrorAs(t, cause(i), &hubError)
				require.Equal(t, test.reason, hubError.Message)
			}
		})
	}
}

// The call goes on with its context, but its answer is not sent any more.
func TestDisconnectOfTheCallerFromItsCall(t *testing.T) {
	p, cause := newDisconnectFixture(t)
	alive := make(chan error, 1)
	p.handle("leave", func(ctx context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		err := errors.Join(
			h.Clients().Caller().Send(ctx, "bye"), h.Clients().Caller().Disconnect(ctx, "enough"),
			h.Clients().Caller().Send(ctx, "too late"), h.Clients().Caller().Disconnect(ctx, "another reason"),
		)
		alive <- errors.Join(err, ctx.Err())
		return "result", nil
	})
	p.clients[0].call("Do", "leave", []any{})
	p.clients[0].requireInvocation("bye")
	require.Equal(t, `{"type":7,"error":"enough"}`, p.clients[0].next().raw)
	p.clients[0].requireClosed()
	require.NoError(t, receive(t, alive))
	require.EqualError(t, cause(0), "enough")
}

func TestReconnectIsBehindTheAnswers(t *testing.T) {
	p, cause := newDisconnectFixture(t)
	started, proceed := make(chan struct{}), make(chan struct{})
	p.handle("slow", func(context.Context, *testHub, []json.RawMessage) (any, error) {
		close(started)
		<-proceed
		return "slow", nil
	})
	c := p.clients[0]
	c.send(invocation("x", "Do", "slow", []any{}), invocation("y", "Echo", 1))
	receive(t, started)
	require.NoError(t, p.hub.Clients().User("ada").Except(p.ids[1]).Reconnect(t.Context()))
	close(proceed)
	require.Equal(t, `{"type":3,"invocationId":"x","result":"slow"}`, c.next().raw)
	require.Equal(t, `{"type":3,"invocationId":"y","result":1}`, c.next().raw)
	require.Equal(t, reconnectJSON, c.next().raw)
	c.requireClosed()
	require.NoError(t, cause(0))
	p.clients[1].requireNoMessages()
}

// A call can ask its own client to reconnect. It is still answered.
func TestReconnectOfTheCallerFromItsCall(t *testing.T) {
	p, cause := newDisconnectFixture(t)
	p.handle("again", func(ctx context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		return "result", h.Clients().Caller().Reconnect(ctx)
	})
	c := p.clients[0]
	require.Equal(t, `"result"`, c.do("again"))
	require.Equal(t, reconnectJSON, c.next().raw)
	c.requireClosed()
	require.NoError(t, cause(0))
}

// However a Disconnect races with other ends, a client gets one Close message at most, and OnDisconnected gets the reason or nothing.
func TestDisconnectRacesWithAbortAndShutdown(t *testing.T) {
	for range 10 {
		p, cause := newDisconnectFixture(t)
		p.handle("abort", func(_ context.Context, h *testHub, _ []json.RawMessage) (any, error) {
			h.Call().Abort()
			return nil, nil
		})
		var all sync.WaitGroup
		p.clients[0].call("Do", "abort", []any{})
		p.clients[1].send(closeJSON)
		all.Go(func() {
			assert.NoError(t, p.hub.Clients().AllExcept(p.ids[4]).Disconnect(context.Background(), "enough"))
		})
		all.Go(func() { _ = p.clients[2].ws.CloseNow() })
		all.Go(func() { assert.NoError(t, shutdown(p.sys)) })
		for i := range p.clients {
			if i == 2 {
				continue
			}
			all.Go(func() {
				closes := 0
				for {
					raw, err := p.clients[i].read()
					if err != nil {
						break
					}
					assert.Contains(t, raw, `{"type":`)
					if raw[:9] == `{"type":7` {
						closes++
					}
				}
				assert.LessOrEqual(t, closes, 1)
			})
		}
		all.Wait()
		for i := range p.clients {
			if err := cause(i); err != nil {
				var hubError *hubsys.HubError
				assert.ErrorAs(t, err, &hubError)
			}
		}
	}
}

// follow returns a channel with the changes of a watch, which is closed when the watch ends.
func follow(ctx context.Context, watch func(context.Context) iter.Seq[hubsys.Change]) <-chan hubsys.Change {
	changes := make(chan hubsys.Change)
	go func() {
		defer close(changes)
		for change := range watch(ctx) {
			select {
			case changes <- change:
			case <-ctx.Done():
			}
		}
	}()
	return changes
}

// requireEnded requires that a watch ends, perhaps behind a change that had been made.
func requireEnded(t *testing.T, changes <-chan hubsys.Change) {
	t.Helper()
	for range 3 {
		select {
		case _, more := <-changes:
			if !more {
				return
			}
		case <-time.After(testTimeout):
		}
	}
	require.Fail(t, "the watch goes on")
}

func TestWatchYieldsWhoIsThereAndThenChanges(t *testing.T) {
	p := newAudienceFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c, groups := p.hub.Clients(), p.hub.Groups()
	none, red := follow(ctx, c.Group("new").Watch), follow(ctx, c.GroupExcept("red", p.ids[0]).Watch)
	byGroup := follow(ctx, groups.Watch)
	require.Equal(t, hubsys.Change{Joined: []hubsys.Member{}, Left: []hubsys.Member{}}, receive(t, none), "nobody")
	require.Equal(t, hubsys.Change{Joined: p.members(1, 2), Left: []hubsys.Member{}}, receive(t, red))
	for _, want := range []hubsys.Change{
		{Group: "", Joined: p.members(4)}, {Group: "blue", Joined: p.members(2, 3)}, {Group: "red", Joined: p.members(0, 1, 2)},
	} {
		want.Left = []hubsys.Member{}
		require.Equal(t, want, receive(t, byGroup))
	}
	require.NoError(t, groups.Remove(ctx, p.ids[0], "red"))
	require.Equal(t, hubsys.Change{Group: "red", Joined: []hubsys.Member{}, Left: p.members(0)}, receive(t, byGroup))
	require.NoError(t, c.Client(p.ids[3]).Join(ctx, "new"))
	require.Equal(t, hubsys.Change{Joined: p.members(3), Left: []hubsys.Member{}}, receive(t, none))
	require.Equal(t, hubsys.Change{Group: "new", Joined: p.members(3), Left: []hubsys.Member{}}, receive(t, byGroup))
	require.NoError(t, c.Client(p.ids[2]).Disconnect(ctx, ""))
	require.Equal(t, hubsys.Change{Joined: []hubsys.Member{}, Left: p.members(2)}, receive(t, red))
}

func TestWatchEnds(t *testing.T) {
	requireNoLeaks(t)
	p := newAudienceFixture(t)
	all, groups := p.hub.Clients().All(), p.hub.Groups()
	for range all.Watch(t.Context()) {
		break
	}
	for range groups.Watch(t.Context()) {
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	a, b := follow(ctx, all.Watch), follow(ctx, groups.Watch)
	receive(t, a)
	receive(t, b)
	cancel()
	requireEnded(t, a)
	requireEnded(t, b)
	a = follow(t.Context(), all.Watch)
	receive(t, a)
	for i := range p.clients {
		require.NoError(t, p.hub.Clients().Client(p.ids[i]).Disconnect(t.Context(), ""))
	}
	for _, c := range p.clients {
		require.Equal(t, closeJSON, c.next().raw)
		c.requireClosed()
	}
	there := 5
	for there > 0 {
		there -= len(receive(t, a).Left)
	}
	require.NoError(t, p.sys.Shutdown(t.Context()))
	requireEnded(t, a)
	n := 0
	for range all.Watch(t.Context()) {
		n++
	}
	require.Equal(t, 1, n, "after Shutdown there is nobody, and nobody comes")
	members, err := all.Members(t.Context())
	require.NoError(t, err)
	require.Empty(t, members)
}

func TestPIDsOfHubAndAudiences(t *testing.T) {
	p := newAudienceFixture(t)
	c, id := p.hub.Clients(), p.ids[0]
	require.Equal(t, p.hub.PID(), c.All().PID())
	require.Equal(t, c.Group("red").PID(), c.Group("red").NoWait().PID())
	for i, a := range []hubsys.Audience{c.AllExcept(id), c.Clients(id, p.ids[1]), c.GroupExcept("red", id), c.Groups("red", "blue"), c.Users("ada", "bob"), c.User("ada").Except(id)} {
		require.Nil(t, a.PID(), i)
	}
	p.runInCall(func(_ context.Context, h *testHub) error {
		assert.Equal(t, c.Client(id).PID(), h.Clients().Caller().PID())
		assert.Nil(t, h.Clients().Others().PID())
		assert.Nil(t, h.Clients().OthersInGroup("red").PID())
		assert.Equal(t, c.Group("red").PID(), h.Clients().Group("red").PID())
		return nil
	})
	root := p.sys.ActorSystem().Root
	for _, pid := range []*actor.PID{c.Client(id).PID(), c.Group("red").PID(), c.User("ada").PID()} {
		answer, err := root.RequestFuture(pid, &troupev1.Send{Target: "hello"}, testTimeout).Result()
		require.NoError(t, err)
		require.Empty(t, answer.(*troupev1.SendResult).GetError())
		p.clients[0].requireInvocation("hello")
		answer, err = root.RequestFuture(pid, "text", testTimeout).Result()
		require.NoError(t, err)
		require.NotEmpty(t, answer.(*troupev1.SendResult).GetError())
	}
	for want, a := range map[int]hubsys.Audience{5: c.All(), 3: c.Group("red"), 2: c.User("bob"), 0: c.Group("none")} {
		answer, err := root.RequestFuture(a.PID(), &troupev1.ListMembers{}, testTimeout).Result()
		require.NoError(t, err)
		require.Len(t, answer.(*troupev1.Members).GetMembers(), want, fmt.Sprint(a.PID()))
	}
}

func TestPartialErrorNamesTheNodes(t *testing.T) {
	require.EqualError(t, &hubsys.PartialError{Missing: []string{"a", "b"}}, "hubsys: 2 nodes have not answered: a, b")
}

func TestAudiencesWithoutNamesHaveNoPID(t *testing.T) {
	c := newAudienceFixture(t).hub.Clients()
	for i, a := range []hubsys.Audience{c.Clients(), c.Groups(), c.Users()} {
		require.Nil(t, a.PID(), i)
	}
}

func TestAWatchEndsWithItsContextInsideTheLoop(t *testing.T) {
	p := newAudienceFixture(t) // with three groups
	for name, watch := range map[string]func(context.Context) iter.Seq[hubsys.Change]{"groups": p.hub.Groups().Watch, "all": p.hub.Clients().All().Watch} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n := 0
		for range watch(ctx) {
			n++
			cancel()
			require.NoError(t, p.hub.Groups().Add(t.Context(), p.ids[0], "of "+name))
		}
		require.Equal(t, 1, n, name)
	}
}
