package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/typed"
	troupev1 "github.com/troupe-go/troupe/proto/troupe/v1"
)

// authenticateByQuery takes the user from the query.
func authenticateByQuery(r *http.Request) (*hubsys.Principal, error) {
	return &hubsys.Principal{UserID: r.URL.Query().Get("user"), Claims: map[string]any{"role": r.URL.Query().Get("role")}}, nil
}

// audienceFixture has five clients of one hub: two of the user ada, two of the user bob, and one without a user. Clients 0, 1 and 2 are
// in the group "red", 2 and 3 in the group "blue", and 4 in the group "".
type audienceFixture struct {
	*testServer
	clients []*testClient
	ids     []string
}

func newAudienceFixture(t *testing.T) *audienceFixture {
	return newAudienceFixtureWith(t, testConfig{})
}

func newAudienceFixtureWith(t *testing.T, config testConfig) *audienceFixture {
	config.EndpointOptions.Authenticate = authenticateByQuery
	p := &audienceFixture{testServer: newTestServer(t, config)}
	p.handle("id", func(_ context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		return h.Call().ConnectionID(), nil
	})
	for _, user := range []string{"ada", "ada", "bob", "bob", ""} {
		c := dial(t, p.url+"?user="+user)
		var id string
		require.NoError(t, json.Unmarshal([]byte(c.do("id")), &id))
		p.clients, p.ids = append(p.clients, c), append(p.ids, id)
	}
	for group, members := range map[string][]int{"red": {0, 1, 2}, "blue": {2, 3}, "": {4}} {
		for _, i := range members {
			require.NoError(t, p.hub.Groups().Add(t.Context(), p.ids[i], group))
		}
	}
	return p
}

// runInCall runs a function within a call of client 0.
func (p *audienceFixture) runInCall(f func(ctx context.Context, h *testHub) error) {
	p.t.Helper()
	p.handle("send", func(ctx context.Context, h *testHub, _ []json.RawMessage) (any, error) { return nil, f(ctx, h) })
	require.Equal(p.t, "null", p.clients[0].do("send"))
}

// receivedCounts returns how often each client has received a message.
func (p *audienceFixture) receivedCounts(target string) (counts [5]int) {
	p.t.Helper()
	for i, c := range p.clients {
		c.invoke("Echo", 1)
		for _, r := range c.skipped {
			require.Equal(p.t, serverInvocation(target, "argument"), r.raw)
			counts[i]++
		}
		c.skipped = nil
	}
	return counts
}

func TestEveryAudienceOfACall(t *testing.T) {
	p := newAudienceFixture(t)
	for name, test := range map[string]struct {
		to   func(c hubsys.CallerClients) hubsys.Receiver
		want [5]int
	}{
		"All":                       {func(c hubsys.CallerClients) hubsys.Receiver { return c.All() }, [5]int{1, 1, 1, 1, 1}},
		"AllExcept":                 {func(c hubsys.CallerClients) hubsys.Receiver { return c.AllExcept(p.ids[0], p.ids[3], "no such") }, [5]int{0, 1, 1, 0, 1}},
		"AllExcept without IDs":     {func(c hubsys.CallerClients) hubsys.Receiver { return c.AllExcept() }, [5]int{1, 1, 1, 1, 1}},
		"Caller":                    {func(c hubsys.CallerClients) hubsys.Receiver { return c.Caller() }, [5]int{1}},
		"Others":                    {func(c hubsys.CallerClients) hubsys.Receiver { return c.Others() }, [5]int{0, 1, 1, 1, 1}},
		"Client":                    {func(c hubsys.CallerClients) hubsys.Receiver { return c.Client(p.ids[4]) }, [5]int{4: 1}},
		"Client that is the caller": {func(c hubsys.CallerClients) hubsys.Receiver { return c.Client(p.ids[0]) }, [5]int{1}},
		"Client that is not there":  {func(c hubsys.CallerClients) hubsys.Receiver { return c.Client("no such") }, [5]int{}},
		"Clients": {func(c hubsys.CallerClients) hubsys.Receiver {
			return c.Clients(p.ids[1], "no such", p.ids[4], p.ids[1])
		}, [5]int{1: 1, 4: 1}},
		"Clients, none":           {func(c hubsys.CallerClients) hubsys.Receiver { return c.Clients() }, [5]int{}},
		"Group":                   {func(c hubsys.CallerClients) hubsys.Receiver { return c.Group("red") }, [5]int{1, 1, 1}},
		"Group in another case":   {func(c hubsys.CallerClients) hubsys.Receiver { return c.Group("Red") }, [5]int{}},
		"Group without a name":    {func(c hubsys.CallerClients) hubsys.Receiver { return c.Group("") }, [5]int{4: 1}},
		"Group that is not there": {func(c hubsys.CallerClients) hubsys.Receiver { return c.Group("green") }, [5]int{}},
		"GroupExcept":             {func(c hubsys.CallerClients) hubsys.Receiver { return c.GroupExcept("red", p.ids[1], p.ids[3]) }, [5]int{1, 0, 1}},
		"Groups":                  {func(c hubsys.CallerClients) hubsys.Receiver { return c.Groups("red", "green", "blue") }, [5]int{1, 1, 2, 1}},
		"Groups, none":            {func(c hubsys.CallerClients) hubsys.Receiver { return c.Groups() }, [5]int{}},
		"OthersInGroup":           {func(c hubsys.CallerClients) hubsys.Receiver { return c.OthersInGroup("red") }, [5]int{0, 1, 1}},
		"OthersInGroup of others": {func(c hubsys.CallerClients) hubsys.Receiver { return c.OthersInGroup("blue") }, [5]int{2: 1, 3: 1}},
		"User":                    {func(c hubsys.CallerClients) hubsys.Receiver { return c.User("ada") }, [5]int{1, 1}},
		"User in another case":    {func(c hubsys.CallerClients) hubsys.Receiver { return c.User("Ada") }, [5]int{}},
		"User without a name":     {func(c hubsys.CallerClients) hubsys.Receiver { return c.User("") }, [5]int{}},
		"Users":                   {func(c hubsys.CallerClients) hubsys.Receiver { return c.Users("ada", "unknown", "bob") }, [5]int{1, 1, 1, 1}},
	} {
		p.runInCall(func(ctx context.Context, h *testHub) error {
			return test.to(h.Clients()).Send(ctx, "Receive", "argument")
		})
		require.Equal(t, test.want, p.receivedCounts("Receive"), name)
	}
}

func TestEveryAudienceFromOutside(t *testing.T) {
	p := newAudienceFixture(t)
	c := p.hub.Clients()
	for name, test := range map[string]struct {
		to   hubsys.Receiver
		want [5]int
	}{
		"All":         {c.All(), [5]int{1, 1, 1, 1, 1}},
		"AllExcept":   {c.AllExcept(p.ids[0]), [5]int{0, 1, 1, 1, 1}},
		"Client":      {c.Client(p.ids[3]), [5]int{3: 1}},
		"Clients":     {c.Clients(p.ids[3], p.ids[0]), [5]int{0: 1, 3: 1}},
		"Group":       {c.Group("blue"), [5]int{2: 1, 3: 1}},
		"GroupExcept": {c.GroupExcept("blue", p.ids[2]), [5]int{3: 1}},
		"Groups":      {c.Groups("blue", "red", "blue"), [5]int{1, 1, 3, 2}},
		"User":        {c.User("bob"), [5]int{2: 1, 3: 1}},
		"Users":       {c.Users("bob", ""), [5]int{2: 1, 3: 1}},
	} {
		require.NoError(t, test.to.Send(t.Context(), "Receive", "argument"), name)
		require.Equal(t, test.want, p.receivedCounts("Receive"), name)
	}
}

func TestGroupsAreEnteredAndLeft(t *testing.T) {
	p := newAudienceFixture(t)
	groups, ctx := p.hub.Groups(), t.Context()
	in := func(want ...int) {
		t.Helper()
		require.NoError(t, p.hub.Clients().Group("new").Send(ctx, "Receive", "argument"))
		var counts [5]int
		for _, i := range want {
			counts[i] = 1
		}
		require.Equal(t, counts, p.receivedCounts("Receive"))
	}
	in()
	require.NoError(t, groups.Add(ctx, p.ids[0], "new"))
	require.NoError(t, groups.Add(ctx, p.ids[0], "new")) // adding it again has no effect
	require.NoError(t, groups.Add(ctx, p.ids[1], "new"))
	require.NoError(t, groups.Add(ctx, "no such", "new"))
	in(0, 1)
	require.NoError(t, groups.Remove(ctx, p.ids[1], "new"))
	require.NoError(t, groups.Remove(ctx, p.ids[1], "new"))
	require.NoError(t, groups.Remove(ctx, p.ids[2], "new"))
	require.NoError(t, groups.Remove(ctx, "no such", "new"))
	in(0)
	// Within a call, the connection is a member as soon as Add has returned.
	p.runInCall(func(ctx context.Context, h *testHub) error {
		err := h.Groups().Remove(ctx, h.Call().ConnectionID(), "new")
		err = errors.Join(err, h.Clients().Group("new").Send(ctx, "Receive", "none"))
		err = errors.Join(err, h.Groups().Add(ctx, h.Call().ConnectionID(), "new"))
		return errors.Join(err, h.Clients().Group("new").Send(ctx, "Receive", "argument"))
	})
	require.Equal(t, [5]int{1}, p.receivedCounts("Receive"))
	// A connection leaves its groups when it closes.
	p.clients[0].send(closeJSON)
	require.Equal(t, closeJSON, p.clients[0].next().raw)
	require.EqualValues(t, 1000, p.clients[0].requireClosed())
	require.NoError(t, groups.Add(ctx, p.ids[0], "new"))
	require.NoError(t, p.hub.Clients().Group("new").Send(ctx, "Receive", "argument"))
}

func TestTypedMessages(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	c := dial(t, srv.url)
	all, ctx := srv.hub.Clients().All(), t.Context()
	require.NoError(t, typed.Message0("zero").Send(ctx, all))
	require.NoError(t, typed.Message1[int]("one").Send(ctx, all, 1))
	require.NoError(t, typed.Message2[int, string]("two").Send(ctx, all, 1, "2"))
	require.NoError(t, typed.Message3[int, string, []byte]("three").Send(ctx, all, 1, "2", []byte("3")))
	require.NoError(t, typed.Message4[int, string, *point, any]("Four").Send(ctx, all, 1, "2", &point{3, 4}, nil))
	c.requireInvocation("zero")
	c.requireInvocation("one", 1)
	c.requireInvocation("two", 1, "2")
	c.requireInvocation("three", 1, "2", []byte("3"))
	require.Equal(t, `{"type":1,"target":"Four","arguments":[1,"2",{"x":3,"y":4},null]}`, c.next().raw, "the name as it was given")
}

func TestErrorsOfSend(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	c := dial(t, srv.url)
	all := srv.hub.Clients().All()
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	require.EqualError(t, all.Send(ended, "x"), "enough")
	require.ErrorContains(t, all.Send(t.Context(), "x", make(chan int)), `the arguments of "x" cannot be encoded`)
	err := all.Send(t.Context(), "x", panickingJSON{})
	var panicked *hubsys.PanicError
	require.ErrorAs(t, err, &panicked)
	require.Equal(t, "marshal", panicked.Value)
	c.requireNoMessages()
	c.close()
	require.NoError(t, srv.sys.Shutdown(t.Context()))
	require.ErrorIs(t, all.Send(t.Context(), "x"), hubsys.ErrShutdown)
	require.ErrorIs(t, srv.hub.Clients().User("x").Send(t.Context(), "x"), hubsys.ErrShutdown)
}

func TestHubsOfOneSystemAreSeparate(t *testing.T) {
	srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{Authenticate: authenticateByQuery}})
	other := register(t, srv.sys, func(context.Context) (*base, error) { return &base{}, nil }, hubsys.HubOptions{})
	require.NoError(t, other.Map("/test/other", hubsys.EndpointOptions{Authenticate: authenticateByQuery}))
	mine, _ := dialWithID(t, srv.url, nil)
	theirs, theirID := dialWithID(t, srv.url+"/other", nil)
	ctx := t.Context()
	require.NoError(t, srv.hub.Groups().Add(ctx, theirID, "group"))
	require.NoError(t, other.Groups().Add(ctx, theirID, "group"))
	c := srv.hub.Clients()
	for _, to := range []hubsys.Receiver{c.All(), c.Client(theirID), c.Group("group"), c.User("")} {
		require.NoError(t, to.Send(ctx, "not for them"))
	}
	require.NoError(t, other.Clients().Group("group").Send(ctx, "for them"))
	theirs.requireInvocation("for them")
	require.Equal(t, `"base"`, string(theirs.invoke("Inherited").Result))
	require.Empty(t, theirs.skipped)
	mine.requireInvocation("not for them")
	mine.requireNoMessages()
	require.Contains(t, mine.invokeError("Inherited"), "Method does not exist.")
}

func TestTwoEndpointsOfAHubShareItsGroups(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	require.NoError(t, srv.hub.Map("/test/second", hubsys.EndpointOptions{Authenticate: authenticateByQuery}))
	first, firstID := dialWithID(t, srv.url, nil)
	second, secondID := dialWithID(t, srv.url+"/second", nil)
	ctx := t.Context()
	require.NoError(t, errors.Join(srv.hub.Groups().Add(ctx, firstID, "group"), srv.hub.Groups().Add(ctx, secondID, "group")))
	require.NoError(t, srv.hub.Clients().Group("group").Send(ctx, "group"))
	require.NoError(t, srv.hub.Clients().All().Send(ctx, "all"))
	require.NoError(t, srv.hub.Clients().Client(secondID).Send(ctx, "second"))
	for _, c := range []*testClient{first, second} {
		c.requireInvocation("group")
		c.requireInvocation("all")
	}
	second.requireInvocation("second")
	first.requireNoMessages()
}

// Messages from one sender to one client arrive in order, even if they are sent to different audiences.
func TestOrderIsKeptAcrossAudiences(t *testing.T) {
	p := newAudienceFixture(t)
	const senders, each = 8, 200
	var all sync.WaitGroup
	for s := range senders {
		all.Go(func() {
			c := p.hub.Clients()
			to := []hubsys.Receiver{c.All(), c.Client(p.ids[2]), c.Group("red"), c.Group("blue"), c.User("bob"), c.AllExcept(p.ids[0]), c.Clients(p.ids[2], p.ids[1])}
			for i := range each {
				assert.NoError(t, to[rand.IntN(len(to))].Send(context.Background(), "n", s, i))
			}
		})
	}
	all.Wait()
	for i, c := range p.clients {
		c.invoke("Echo", 1)
		last := map[float64]float64{}
		for _, r := range c.skipped {
			s, n := r.Arguments[0].(float64), r.Arguments[1].(float64)
			before, any := last[s]
			require.True(t, !any || before < n, "client %d: %v after %v", i, n, before)
			last[s] = n
		}
		if i == 2 {
			require.Len(t, c.skipped, senders*each)
		}
	}
}

// All members of a group receive its messages in the same order, even if several senders send concurrently.
func TestMembersOfAGroupReceiveMessagesInOneOrder(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	const clients, senders, each = 12, 6, 100
	var cs []*testClient
	for range clients {
		c, id := dialWithID(t, srv.url, nil)
		require.NoError(t, srv.hub.Groups().Add(t.Context(), id, "group"))
		cs = append(cs, c)
	}
	var all sync.WaitGroup
	for s := range senders {
		all.Go(func() {
			for i := range each {
				assert.NoError(t, srv.hub.Clients().Group("group").Send(context.Background(), "n", fmt.Sprint(s, ":", i)))
			}
		})
	}
	all.Wait()
	var order []string
	for i, c := range cs {
		var got []string
		for range senders * each {
			got = append(got, c.next().raw)
		}
		if i == 0 {
			order = got
		}
		require.Equal(t, order, got)
	}
}

// Any actor can send messages through the hub's PID.
func TestSendingToTheHubsPID(t *testing.T) {
	p := newAudienceFixture(t)
	root := p.sys.ActorSystem().Root
	names := func(names ...string) *troupev1.Names { return &troupev1.Names{Names: names} }
	for name, test := range map[string]struct {
		message *troupev1.Send
		want    [5]int
	}{
		"all":         {&troupev1.Send{To: &troupev1.Send_All{All: &troupev1.All{}}, Except: []string{p.ids[3]}}, [5]int{1, 1, 1, 0, 1}},
		"connections": {&troupev1.Send{To: &troupev1.Send_Connections{Connections: names(p.ids[1], "no such")}}, [5]int{1: 1}},
		"groups":      {&troupev1.Send{To: &troupev1.Send_Groups{Groups: names("red", "blue")}}, [5]int{1, 1, 2, 1}},
		"users":       {&troupev1.Send{To: &troupev1.Send_Users{Users: names("bob")}}, [5]int{2: 1, 3: 1}},
	} {
		test.message.Target, test.message.Arguments = "Receive", []byte(`["argument"]`)
		answer, err := root.RequestFuture(p.hub.PID(), test.message, testTimeout).Result()
		require.NoError(t, err)
		require.Empty(t, answer.(*troupev1.SendResult).GetError(), name)
		require.Equal(t, test.want, p.receivedCounts("Receive"), name)
	}
	for name, message := range map[string]*troupev1.Send{
		"unknown":        {Target: "Receive"},
		"no target":      {To: &troupev1.Send_Users{Users: names("bob")}},
		"bad arguments":  {To: &troupev1.Send_Users{Users: names("bob")}, Target: "Receive", Arguments: []byte(`{"a":1}`)},
		"half arguments": {To: &troupev1.Send_Users{Users: names("bob")}, Target: "Receive", Arguments: []byte(`[1`)},
	} {
		answer, err := root.RequestFuture(p.hub.PID(), message, testTimeout).Result()
		require.NoError(t, err)
		require.NotEmpty(t, answer.(*troupev1.SendResult).GetError(), name)
	}
	require.Zero(t, p.receivedCounts("Receive"))
}

// A connection that closes while it is added to a group does not remain a member. A send of arguments that cannot be encoded fails as
// long as the audience has a member.
func TestAClosedConnectionDoesNotRemainInAGroup(t *testing.T) {
	srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{Authenticate: authenticateByQuery}})
	empty := func() bool {
		c, unsendable := srv.hub.Clients(), make(chan int)
		return errors.Join(c.Group("group").Send(t.Context(), "x", unsendable), c.User("ada").Send(t.Context(), "x", unsendable), c.All().Send(t.Context(), "x", unsendable)) == nil
	}
	srv.handle("id", func(_ context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		return h.Call().ConnectionID(), nil
	})
	for range 50 {
		c := dial(t, srv.url+"?user=ada")
		var id string
		require.NoError(t, json.Unmarshal([]byte(c.do("id")), &id))
		require.False(t, empty())
		added := make(chan error, 1)
		go func() {
			var err error
			for range 20 {
				err = errors.Join(err, srv.hub.Groups().Add(context.Background(), id, "group"))
			}
			added <- err
		}()
		_ = c.ws.CloseNow()
		require.NoError(t, receive(t, added))
	}
	require.Eventually(t, empty, testTimeout, time.Millisecond)
}

// A client that has read the handshake response receives everything that is sent from then on.
func TestAClientReceivesMessagesFromItsHandshakeOn(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	for range 200 {
		c := dial(t, srv.url)
		require.NoError(t, srv.hub.Clients().All().Send(t.Context(), "hello"))
		c.requireInvocation("hello")
		c.close()
	}
}
