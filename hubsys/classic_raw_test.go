package hubsys_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// rawHub is a hub of clients that call no methods.
type rawHub struct {
	hubsys.Hub
	events *noted
}

func (h *rawHub) OnReceived(ctx context.Context, data string) error {
	what, rest, _ := strings.Cut(data, " ")
	switch what {
	case "fail":
		return errors.New("no")
	case "panic":
		panic("no")
	case "join":
		return h.Groups().Join(ctx, rest)
	case "group":
		return h.Clients().Group("g").Send(ctx, "", rest)
	case "several":
		return h.Clients().Caller().Send(ctx, "a method", map[string]any{"first": rest}, 2, 3)
	case "wait":
		h.events.add("waiting")
		<-h.Call().Aborted()
		return nil
	case "nothing":
		return h.Clients().Caller().Send(ctx, "a method")
	}
	return h.Clients().Caller().Send(ctx, "", data)
}

func (h *rawHub) OnConnected(context.Context) error   { h.events.add("connected"); return nil }
func (h *rawHub) OnReconnected(context.Context) error { h.events.add("reconnected"); return nil }
func (h *rawHub) OnDisconnected(context.Context, error) error {
	h.events.add("disconnected")
	return nil
}
func (h *rawHub) Other() string { return "never" }

// serveRaw serves a rawHub at /raw, and returns a client that has started.
func serveRaw(t *testing.T, keys [][]byte, transport string) (c *classicClient, hub *hubsys.HubContext, events *noted) {
	t.Helper()
	events = &noted{}
	sys := newSystem(t, hubsys.Config{Keys: keys})
	hub = register(t, sys, func(context.Context) (*rawHub, error) { return &rawHub{events: events}, nil }, hubsys.HubOptions{})
	require.NoError(t, hub.MapRaw("/raw", hubsys.ClassicOptions{}))
	c = newClassicClient(t, serveSystem(t, sys)+"/raw", transport)
	c.hubs = ""
	return c, hub, events
}

// sendRaw sends a text, and returns the status of the answer, which has nothing else.
func (c *classicClient) sendRaw(text string) (status int) {
	c.t.Helper()
	if c.transport == "webSockets" {
		c.write(text)
		return http.StatusOK
	}
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	response := c.do(ctx, http.MethodPost, "/send", nil, url.Values{"data": {text}})
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(c.t, err)
	require.Empty(c.t, body)
	require.Empty(c.t, response.Header["Content-Type"])
	return response.StatusCode
}

// What a client sends is a text, whatever that holds, and what it gets is a value, without a hub and a method.
func TestRawConnections(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		c, hub, events := serveRaw(t, nil, transport)
		c.negotiate()
		c.connect()
		c.start()
		require.Equal(t, "connected", events.String())
		for text, want := range map[string]string{
			"hello": `"hello"`, `{"H":"rawHub","M":"Other","A":[],"I":1}`: `"{\"H\":\"rawHub\",\"M\":\"Other\",\"A\":[],\"I\":1}"`, "a+b&c=d\u2028\x00\x1e\x1f": `"a+b&c=d\u2028\u0000\u001e\u001f"`,
			"several é": `{"first":"é"}`, "nothing": "null", `say ,"A":[1]`: `"say ,\"A\":[1]"`,
		} {
			require.Equal(t, http.StatusOK, c.sendRaw(text))
			require.JSONEq(t, want, c.next())
		}
		require.NoError(t, hub.Clients().All().Send(t.Context(), "", []int{1, 2}))
		require.Equal(t, "[1,2]", c.next())
		for _, text := range []string{"fail", "panic"} {
			status := c.sendRaw(text)
			require.Contains(t, []int{http.StatusInternalServerError, map[bool]int{true: http.StatusOK}[transport == "webSockets"]}, status)
		}
		require.Equal(t, http.StatusOK, c.sendRaw("still here"))
		require.Equal(t, `"still here"`, c.next())
		require.Empty(t, c.answers)
		c.reconnect()
		eventually(t, func() bool { return events.String() == "connected reconnected" }, "it has reconnected")
		answered := make(chan int, 1)
		go func() { answered <- c.sendRaw("wait") }()
		eventually(t, func() bool { return events.String() == "connected reconnected waiting" }, "it waits")
		c.abort()
		require.Equal(t, http.StatusOK, receive(t, answered))
		eventually(t, func() bool { return events.String() == "connected reconnected waiting disconnected" }, "it has ended")
	})
}

func TestGroupsOfRawConnections(t *testing.T) {
	keys := [][]byte{[]byte("a key of thirty-two random bytes")}
	overClassicTransports(t, func(t *testing.T, transport string) {
		c, _, _ := serveRaw(t, keys, transport)
		c.negotiate()
		c.connect()
		c.start()
		c.sendRaw("join g")
		c.awaitGroups()
		c.sendRaw("group 1")
		require.Equal(t, `"1"`, c.next())
		c.drop()
		other, hub, events := serveRaw(t, keys, transport)
		d := c.again(other.address)
		d.reconnect()
		eventually(t, func() bool {
			groups, err := hub.Clients().Client(d.id).Groups(t.Context())
			return err == nil && len(groups) == 1
		}, "it is in its group")
		d.sendRaw("group 2")
		require.Equal(t, `"2"`, d.next())
		eventually(t, func() bool { return events.String() == "reconnected" }, "it has reconnected")
	})
}

func TestWhatARawConnectionNeeds(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	require.ErrorContains(t, register[*base](t, sys, nil, hubsys.HubOptions{}).MapRaw("/raw", hubsys.ClassicOptions{}), "has no method OnReceived")
	require.NoError(t, sys.MapClassic("/signalr", hubsys.ClassicOptions{}))
	raw := register(t, sys, func(context.Context) (*rawHub, error) { return &rawHub{events: &noted{}}, nil }, hubsys.HubOptions{Policy: hubsys.RequireUser})
	require.ErrorContains(t, raw.MapRaw("/signalr/raw", hubsys.ClassicOptions{}), "there is one for SignalR 2")
	require.NoError(t, raw.MapRaw("/signalr2", hubsys.ClassicOptions{}))
	address := serveSystem(t, sys)
	status, body := newClassicClient(t, address+"/signalr2", "longPolling").request(http.MethodGet, "/negotiate", nil, nil)
	require.Equal(t, http.StatusUnauthorized, status)
	require.Empty(t, body)
	require.NoError(t, sys.WriteClassicProxies(io.Discard, "/signalr"))
	require.ErrorContains(t, sys.WriteClassicProxies(io.Discard, "/none"), `there is no path "/none" of MapClassic`)
	var script strings.Builder
	require.NoError(t, sys.WriteClassicProxies(&script, "/signalr"))
	_, served := classicGet(t, http.MethodGet, address+"/signalr/hubs", nil)
	require.Equal(t, served, script.String(), "it is what pages are served")
}
