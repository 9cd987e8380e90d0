package hubsys_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	troupev1 "github.com/troupe-go/troupe/proto/troupe/v1"
)

// Clients of both dialects, over each transport, see the messages to their group in one order.
func TestClientsOfBothDialectsSeeOneOrder(t *testing.T) {
	const senders, each = 5, 50
	srv := newClassicServer(t, classicConfig{})
	var classics []*classicClient
	for _, transport := range classicTransports {
		c := dialClassic(t, srv, transport)
		c.invoke("Join", "g")
		classics = append(classics, c)
	}
	var cores []*testClient
	for range 2 {
		c := dial(t, srv.http.URL+"/test")
		require.Nil(t, c.invoke("Join", "g").Error)
		cores = append(cores, c)
	}
	var all sync.WaitGroup
	for sender := range senders {
		all.Go(func() { // from outside, by an actor, and by a call of each kind of client
			for i := range each {
				text := fmt.Sprint(sender, ":", i)
				switch sender {
				case 0:
					assert.Nil(t, cores[0].invoke("ToGroup", "g", text).Error)
				case 1:
					srv.sys.ActorSystem().Root.Send(srv.chat.Clients().Group("g").PID(), &troupev1.Send{Target: "called", Arguments: []byte(`["` + text + `"]`)})
				case 2:
					status, _ := classics[1].send(`{"H":"chat","M":"ToGroup","A":["g","` + text + `"],"I":1}`)
					assert.Equal(t, 200, status)
				default:
					assert.NoError(t, srv.chat.Clients().Group("g").Send(context.Background(), "called", text))
				}
			}
		})
	}
	all.Wait()
	orders := make([][]string, len(classics)+len(cores))
	for i := range senders * each {
		for j, c := range cores {
			m := c.next()
			require.Equal(t, "called", m.Target)
			orders[j] = append(orders[j], m.Arguments[0].(string))
		}
		for j, c := range classics {
			j += len(cores)
			orders[j] = append(orders[j], textOf(t, c.next()))
			require.Equal(t, orders[0][i], orders[j][i], "message %d", i)
		}
		require.Equal(t, orders[0][i], orders[1][i], "message %d", i)
	}
	for sender := range senders {
		for i := range each {
			want := fmt.Sprint(sender, ":", i)
			require.True(t, slices.Contains(orders[0], want), want)
		}
	}
}

// textOf returns the only argument of a call of the method called.
func textOf(t *testing.T, message string) (text string) {
	t.Helper()
	_, err := fmt.Sscanf(message, `{"H":"Chat","M":"called","A":[%q]}`, &text)
	require.NoError(t, err, message)
	return text
}

// Whoever sends, and whomever it is for: the dialect of a client does not matter.
func TestAudiencesOfBothDialects(t *testing.T) {
	srv := newClassicServer(t, classicConfig{ClassicOptions: hubsys.ClassicOptions{Authenticate: principalOf}})
	c := newClassicClient(t, srv.address, "serverSentEvents")
	c.header = userHeader("ada")
	c.negotiate()
	c.connect()
	c.start()
	core, coreID := dialWithID(t, srv.http.URL+"/test", userHeader("ada"))
	require.Nil(t, core.invoke("Join", "g").Error)
	c.invoke("Join", "g")
	clients := srv.chat.Clients()
	none, both := []string{}, []string{"core", "classic"}
	for name, test := range map[string]struct {
		to   hubsys.Receiver
		want []string
	}{
		"all":                          {clients.All(), both},
		"all except the one":           {clients.AllExcept(c.id), []string{"core"}},
		"all except the other":         {clients.AllExcept(coreID), []string{"classic"}},
		"one":                          {clients.Client(c.id), []string{"classic"}},
		"the other":                    {clients.Client(coreID), []string{"core"}},
		"both":                         {clients.Clients(c.id, coreID), both},
		"none":                         {clients.Clients(), none},
		"a group":                      {clients.Group("g"), both},
		"a group except the one":       {clients.GroupExcept("g", c.id), []string{"core"}},
		"another group":                {clients.Group("G"), none},
		"several groups":               {clients.Groups("g", "x"), both},
		"a user":                       {clients.User("ada"), both},
		"another user":                 {clients.User("Ada"), none},
		"users, but not the other one": {clients.Users("ada", "bob").Except(coreID), []string{"classic"}},
		"without waiting":              {clients.All().NoWait(), both},
	} {
		require.NoError(t, test.to.Send(t.Context(), "called", name))
		require.NoError(t, clients.All().Send(t.Context(), "end"))
		got := none
		if m := core.next(); m.Target == "called" {
			require.Equal(t, []any{name}, m.Arguments)
			got, m = append(got, "core"), core.next()
			require.Equal(t, "end", m.Target)
		}
		if m := c.next(); m != classicCall("Chat", "end") {
			require.Equal(t, name, textOf(t, m))
			got, m = append(got, "classic"), c.next()
			require.Equal(t, classicCall("Chat", "end"), m)
		}
		require.Equal(t, test.want, got, name)
	}

	require.Nil(t, core.invoke("Others", "from the one").Error)
	c.requireCall("called", "from the one")
	c.invoke("Others", "from the other")
	core.requireInvocation("called", "from the other")
	core.requireNoMessages()

	members, err := clients.All().Members(t.Context())
	require.NoError(t, err)
	require.ElementsMatch(t, []hubsys.Member{{ConnectionID: c.id, UserID: "ada"}, {ConnectionID: coreID, UserID: "ada"}}, members)
	c.abort()
	eventually(t, func() bool { n, err := clients.Group("g").Count(t.Context()); return err == nil && n == 1 }, "who has gone is in no group")
}

// The hubs of one client have different groups, and its events.
func TestTheHubsOfOneClassicClient(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		srv := newClassicServer(t, classicConfig{})
		c := dialBothHubs(t, srv, transport)
		require.ElementsMatch(t, []string{"Chat connected", "Other connected"}, srv.eventsOf(c.id))
		c.invoke("Join", "g")
		require.NoError(t, srv.other.Clients().Group("g").Send(t.Context(), "called", "of the other hub"))
		require.NoError(t, srv.chat.Clients().Group("g").Send(t.Context(), "called", 1))
		c.requireCall("called", 1)
		require.Equal(t, `{"I":"7"}`, c.invokeText("7", `{"H":"oTHER","M":"cALLmE","A":[2],"I":7}`).raw)
		require.Equal(t, classicCall("Other", "called", 2), c.next())
		require.NoError(t, srv.other.Clients().Client(c.id).Send(t.Context(), "called", 3))
		require.Equal(t, classicCall("Other", "called", 3), c.next())
		c.abort()
		eventually(t, func() bool { return len(srv.eventsOf(c.id)) == 4 }, "both hubs see the end")
		require.ElementsMatch(t, []string{"Chat disconnected", "Other disconnected"}, srv.eventsOf(c.id)[2:])
	})
}
