package hubsys_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// tokensUntilNow returns how many tokens of groups the client is sent, besides those that were waited for, before or with a message that is sent
// now.
func (c *classicClient) tokensUntilNow() (n int) {
	c.t.Helper()
	c.invoke("CallMe", "now")
	c.requireCall("called", "now")
	n = c.tokens - c.expected
	c.expected = c.tokens
	return n
}

// A token comes when the groups have changed, and only then.
func TestTokensOfGroups(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		srv := newClassicServer(t, classicConfig{})
		c := dialClassic(t, srv, transport)
		require.Zero(t, c.tokensUntilNow(), "it is in no group")
		require.Empty(t, c.groups)
		c.invoke("Join", "a")
		c.awaitGroups()
		first := c.groups
		c.invoke("Join", "a")
		c.invoke("Leave", "b")
		require.Zero(t, c.tokensUntilNow(), "it was in one, and not in the other")
		require.NoError(t, srv.chat.Groups().Add(t.Context(), c.id, "c"))
		c.awaitGroups()
		require.NotEqual(t, first, c.groups)
		require.NoError(t, srv.chat.Clients().All().Leave(t.Context(), "c"))
		c.awaitGroups()
		c.invoke("Leave", "a")
		c.awaitGroups()
		require.Zero(t, c.tokensUntilNow())
	})
}

// A change that is undone before anything is sent is none. It is certain that nothing is sent between two polls.
func TestGroupsThatAreLeftBetweenTwoPolls(t *testing.T) {
	srv := newClassicServer(t, classicConfig{})
	c := dialClassic(t, srv, "longPolling")
	c.invoke("Join", "a")
	c.invoke("Leave", "a")
	require.Zero(t, c.tokensUntilNow())
	c.invoke("Join", "a")
	c.invoke("Join", "b")
	require.Equal(t, 1, c.tokensUntilNow())
	c.invoke("Leave", "a")
	c.invoke("Join", "a")
	require.Zero(t, c.tokensUntilNow())
}

// A token alone ends a poll, and is sent at once over the other transports.
func TestATokenOfGroupsIsAFrameOfItsOwn(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		srv := newClassicServer(t, classicConfig{connected: func(ctx context.Context, h *classicHub) error { return h.Groups().Join(ctx, "early") }})
		c := newClassicClient(t, srv.address, transport)
		c.negotiate()
		c.connect()
		if transport == "longPolling" {
			c.poll()
		}
		c.start()
		frame, ok := c.tryFrame()
		require.True(t, ok)
		require.NotNil(t, frame.G)
		require.Empty(t, frame.M)
		require.NoError(t, srv.chat.Clients().Group("early").Send(t.Context(), "called", "early"))
		c.requireCall("called", "early")
	})
}

// twoServers are servers with the same keys, as a server is before and after it is started again.
func twoServers(t *testing.T, config classicConfig) (before, after *classicServer) {
	t.Helper()
	config.Keys = [][]byte{[]byte("a key of thirty-two random bytes")}
	return newClassicServer(t, config), newClassicServer(t, config)
}

const oddGroup = "group$&+,/:;=?@[]1 \"'\\é\u2028."

// A client that comes back to a server that was started again is in its groups, and has reconnected.
func TestGroupsSurviveARestart(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		before, after := twoServers(t, classicConfig{})
		c := dialBothHubs(t, before, transport)
		for _, group := range []string{"a", oddGroup, "left"} {
			c.invoke("Join", group)
			c.awaitGroups()
		}
		c.invoke("Leave", "left")
		c.awaitGroups()
		c.drop()

		d := c.again(after.address)
		d.reconnect()
		for range 2 { // also when it has reconnected once more
			eventually(t, func() bool {
				groups, err := after.chat.Clients().Client(c.id).Groups(t.Context())
				return err == nil && len(groups) == 2
			}, "the client is in its groups")
			for _, group := range []string{"a", oddGroup, "left", "A", "never"} {
				require.NoError(t, after.chat.Clients().Group(group).Send(t.Context(), "called", group))
			}
			require.NoError(t, after.other.Clients().Group("a").Send(t.Context(), "called", "of the other hub"))
			d.requireCall("called", "a")
			d.requireCall("called", oddGroup)
			require.Equal(t, `{"R":1,"I":"7"}`, d.invokeText("7", `{"H":"other","M":"Echo","A":[1],"I":7}`).raw)
			d.drop()
			d.reconnect()
		}
		eventually(t, func() bool { return len(after.eventsOf(c.id)) == 6 }, "each hub has seen three reconnects")
		require.NotContains(t, after.eventsOf(c.id), "Chat connected")
		require.NotContains(t, after.eventsOf(c.id), "Other connected")
		d.abort()
		eventually(t, func() bool { return len(after.eventsOf(c.id)) == 8 }, "each hub has seen the end")
		require.Subset(t, after.eventsOf(c.id), []string{"Chat reconnected", "Other reconnected", "Chat disconnected", "Other disconnected"})
	})
}

// OnReconnected may fail, as on a server that knows the client.
func TestAReconnectThatFailsAfterARestart(t *testing.T) {
	for name, reconnected := range map[string]func(context.Context, *classicHub) error{
		"fails":  func(context.Context, *classicHub) error { return errors.New("there is no database") },
		"panics": func(context.Context, *classicHub) error { panic("there is no database") },
	} {
		t.Run(name, func(t *testing.T) {
			before, after := twoServers(t, classicConfig{reconnected: reconnected})
			c := dialClassic(t, before, "webSockets")
			c.drop()
			d := c.again(after.address)
			d.reconnect()
			require.Equal(t, `{"R":1,"I":"1"}`, d.invoke("Echo", 1).raw)
		})
	}
}

// A new token comes when the groups change after a restart, as before.
func TestTokensAfterARestart(t *testing.T) {
	before, after := twoServers(t, classicConfig{})
	c := dialClassic(t, before, "longPolling")
	c.invoke("Join", "a")
	c.awaitGroups()
	d := c.again(after.address)
	d.reconnect()
	eventually(t, func() bool {
		groups, err := after.chat.Clients().Client(c.id).Groups(t.Context())
		return err == nil && len(groups) == 1
	}, "the client is in its group")
	d.invoke("Join", "b")
	d.tokensUntilNow()
	old := d.groups

	third := newClassicServer(t, classicConfig{Config: hubsys.Config{Keys: [][]byte{[]byte("another key of thirty-two bytes."), []byte("a key of thirty-two random bytes")}}})
	e := d.again(third.address)
	e.reconnect()
	eventually(t, func() bool {
		groups, err := third.chat.Clients().Client(c.id).Groups(t.Context())
		return err == nil && len(groups) == 2
	}, "a server with a new key in front of the old one believes the token")
	e.invoke("Leave", "a")
	e.invoke("Leave", "b")
	for e.groups == old {
		e.tokensUntilNow()
	}

	fourth := newClassicServer(t, classicConfig{Config: hubsys.Config{Keys: [][]byte{[]byte("another key of thirty-two bytes.")}}})
	f := e.again(fourth.address)
	status, body := f.tryOpen("/reconnect", f.position())
	require.Equal(t, http.StatusBadRequest, status, "the token of the connection is still of the old key")
	require.Equal(t, "The ConnectionId is in the incorrect format.", body)
}

// Tokens that are not of this client are no error: they have no groups.
func TestForeignTokensOfGroups(t *testing.T) {
	before, after := twoServers(t, classicConfig{})
	ada, bob := dialClassic(t, before, "longPolling"), dialClassic(t, before, "longPolling")
	for _, c := range []*classicClient{ada, bob} {
		c.invoke("Join", "a")
		c.awaitGroups()
	}
	for name, token := range map[string]string{
		"none": "", "garbled": "garbled", "of another client": bob.groups, "of the connection": ada.token, "cut": ada.groups[:len(ada.groups)-4], "with more": ada.groups + "AAAA",
	} {
		t.Run(name, func(t *testing.T) {
			_, after := twoServers(t, classicConfig{})
			d := ada.again(after.address)
			d.t, d.groups = t, token
			d.reconnect()
			after.awaitEvents(d.id, "Chat reconnected")
			require.NoError(t, after.chat.Clients().Group("a").Send(t.Context(), "called", "a"))
			d.invoke("CallMe", "now")
			d.requireCall("called", "now")
			groups, err := after.chat.Clients().Client(d.id).Groups(t.Context())
			require.NoError(t, err)
			require.Empty(t, groups)
		})
	}
	d := ada.again(after.address)
	d.reconnect()
	after.awaitEvents(d.id, "Chat reconnected")
	eventually(t, func() bool {
		groups, err := after.chat.Clients().Client(d.id).Groups(t.Context())
		return err == nil && len(groups) == 1
	}, "its own token has them")
}

// Groups of a hub that the client does not list any more are none.
func TestGroupsOfAHubThatIsNotListed(t *testing.T) {
	before, after := twoServers(t, classicConfig{})
	c := dialBothHubs(t, before, "serverSentEvents")
	c.invoke("Join", "a")
	c.awaitGroups()
	c.invokeText("7", `{"H":"other","M":"Join","A":["a"],"I":7}`)
	c.awaitGroups()
	d := c.again(after.address)
	d.hubs = `[{"name":"Other"}]`
	d.reconnect()
	after.awaitEvents(c.id, "Other reconnected")
	eventually(t, func() bool {
		groups, err := after.other.Clients().Client(c.id).Groups(t.Context())
		return err == nil && len(groups) == 1
	}, "the client is in the group of its hub")
	_, err := after.chat.Clients().Client(c.id).Groups(t.Context())
	require.ErrorIs(t, err, hubsys.ErrGone)
}

// While the server lives, it knows the groups itself.
func TestGroupsSurviveAReconnectWithoutAToken(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		srv := newClassicServer(t, classicConfig{})
		c := dialClassic(t, srv, transport)
		c.invoke("Join", "a")
		c.awaitGroups()
		c.drop()
		require.NoError(t, srv.chat.Clients().Group("a").Send(t.Context(), "called", "while it was away"))
		c.groups = ""
		c.reconnect()
		c.requireCall("called", "while it was away")
		require.NoError(t, srv.chat.Clients().Group("a").Send(t.Context(), "called", "a"))
		c.requireCall("called", "a")
	})
}

func TestAServerWithOtherKeysDoesNotKnowTheClient(t *testing.T) {
	one, two := newClassicServer(t, classicConfig{}), newClassicServer(t, classicConfig{})
	require.Contains(t, one.log.String(), "there are no Config.Keys")
	c := dialClassic(t, one, "serverSentEvents")
	d := c.again(two.address)
	for _, what := range []string{"/reconnect", "/connect", "/start", "/send", "/abort"} {
		status, body := d.request(http.MethodGet, what, nil, nil)
		require.Equal(t, http.StatusBadRequest, status)
		require.Equal(t, "The ConnectionId is in the incorrect format.", body)
	}
	require.Empty(t, two.eventsOf(c.id))
}

// What was lost with an answer is sent again, also a token of groups.
func TestATokenOfGroupsThatWasLost(t *testing.T) {
	srv := newClassicServer(t, classicConfig{})
	c := dialClassic(t, srv, "longPolling")
	before := c.again(srv.address)
	c.invoke("Join", "g")
	c.awaitGroups()
	for _, again := range []func(){func() { before.reconnect() }, func() { before.poll() }} {
		again()
		c.invoke("CallMe", 1)
		for len(before.messages) == 0 {
			before.tryFrame()
		}
		require.NotEmpty(t, before.groups)
		before.messages, before.groups = nil, ""
	}
}

// A client that calls before it has reconnected to a server that was started again is in its groups, and in its hubs.
func TestACallBeforeAReconnect(t *testing.T) {
	for _, transport := range []string{"serverSentEvents", "foreverFrame", "longPolling"} {
		t.Run(transport, func(t *testing.T) {
			before, after := twoServers(t, classicConfig{})
			c := dialBothHubs(t, before, transport)
			c.invoke("Join", "g")
			c.awaitGroups()
			c.drop()
			d := c.again(after.address)
			require.Equal(t, `{"R":1,"I":"7"}`, d.invokeText("7", `{"H":"chat","M":"Echo","A":[1],"I":7}`).raw)
			d.reconnect()
			eventually(t, func() bool {
				groups, err := after.chat.Clients().Client(c.id).Groups(t.Context())
				return err == nil && len(groups) == 1
			}, "the client is in its group")
			eventually(t, func() bool { n, err := after.other.Clients().All().Count(t.Context()); return err == nil && n == 1 }, "the other hub has the client")
			require.NoError(t, after.chat.Clients().Group("g").Send(t.Context(), "called", 1))
			require.NoError(t, after.other.Clients().All().Send(t.Context(), "called", 2))
			require.ElementsMatch(t, []string{classicCall("Chat", "called", 1), classicCall("Other", "called", 2)}, []string{d.next(), d.next()})
			eventually(t, func() bool { // connections get messages before their events have run
				events := after.eventsOf(c.id)
				return slices.Contains(events, "Chat reconnected") && slices.Contains(events, "Other reconnected")
			}, "both hubs have their events")
			require.NotContains(t, after.eventsOf(c.id), "Chat connected")
		})
	}
}
