package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// A client may connect again and start again, as it does when a transport fails, or a proxy repeats a request.
func TestAClassicClientIsConnectedOnce(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		srv := newClassicServer(t, classicConfig{})
		c := newClassicClient(t, srv.address, transport)
		c.negotiate()
		require.Empty(t, srv.eventsOf(c.id))
		for range 3 {
			c.connect()
		}
		require.Empty(t, srv.eventsOf(c.id), "it has not started")
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				status, body := c.request(http.MethodGet, "/start", nil, nil)
				assert.Equal(t, http.StatusOK, status)
				assert.Equal(t, `{ "Response": "started" }`, body)
			})
		}
		all.Wait()
		require.Equal(t, []string{"Chat connected"}, srv.eventsOf(c.id))
		c.connect()
		c.start()
		require.Equal(t, `{"R":1,"I":"1"}`, c.invoke("Echo", 1).raw)
		require.Equal(t, []string{"Chat connected"}, srv.eventsOf(c.id))
	})
}

// Clients of old versions do not start: they are connected when the transport is.
func TestClassicClientsThatDoNotStart(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		srv := newClassicServer(t, classicConfig{connected: func(ctx context.Context, h *classicHub) error {
			return h.Clients().Caller().Send(ctx, "called", "connected")
		}})
		for _, version := range []string{"1.3", "1.2", "", "0.9"} {
			c := newClassicClient(t, srv.address, transport)
			c.version = version
			c.negotiate()
			c.connect()
			require.Equal(t, []string{"Chat connected"}, srv.eventsOf(c.id))
			c.requireCall("called", "connected")
			c.connect()
			require.Equal(t, `{"R":1,"I":"1"}`, c.invoke("Echo", 1).raw)
			require.Equal(t, []string{"Chat connected"}, srv.eventsOf(c.id))
			c.abort()
			srv.awaitEvents(c.id, "Chat connected", "Chat disconnected")
		}
	})
}

// The transport is initialized before OnConnected runs, and the answer to start comes when that has returned. What it has sent arrives in order.
func TestOnConnectedOfClassicClients(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		begun, release := make(chan struct{}), make(chan struct{})
		srv := newClassicServer(t, classicConfig{connected: func(ctx context.Context, h *classicHub) error {
			for i := range 3 {
				if err := h.Clients().Caller().Send(ctx, "called", i); err != nil {
					return err
				}
			}
			close(begun)
			<-release
			return h.Clients().All().Send(ctx, "called", 3)
		}})
		c := newClassicClient(t, srv.address, transport)
		c.negotiate()
		c.connect()
		started := make(chan string, 1)
		go func() {
			_, body := c.request(http.MethodGet, "/start", nil, nil)
			started <- body
		}()
		receive(t, begun)
		for i := range 3 {
			c.requireCall("called", i)
		}
		require.Empty(t, started)
		close(release)
		require.Equal(t, `{ "Response": "started" }`, receive(t, started))
		c.requireCall("called", 3)
	})
}

func TestOnConnectedThatFailsRefusesTheClassicClient(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		for _, fail := range []func() error{func() error { return errors.New("no") }, func() error { panic("no") }} {
			srv := newClassicServer(t, classicConfig{})
			srv.connected = func(_ context.Context, h *classicHub) error {
				if h.Call().HubName() == "Other" {
					return fail()
				}
				return nil
			}
			c := newClassicClient(t, srv.address, transport)
			c.hubs = bothHubs
			c.negotiate()
			c.connect()
			if transport == "longPolling" {
				c.poll()
			}
			status, body := c.request(http.MethodGet, "/start", nil, nil)
			require.Equal(t, http.StatusInternalServerError, status)
			require.Empty(t, body)
			c.awaitEnd()
			eventually(t, func() bool { // the other hub may have been connected, and is then disconnected
				connected, disconnected := 0, 0
				for _, event := range srv.eventsOf(c.id) {
					switch event {
					case "Chat connected":
						connected++
					case "Chat disconnected":
						disconnected++
					case "Other disconnected":
						require.Fail(t, "OnDisconnected runs though OnConnected has failed")
					}
				}
				return connected == disconnected
			}, "who was connected is disconnected")

			old := newClassicClient(t, srv.address, transport)
			old.hubs, old.version = bothHubs, "1.3"
			old.negotiate()
			status, body = old.tryOpen("/connect", nil)
			require.Equal(t, http.StatusInternalServerError, status)
			require.Empty(t, body)
		}
	})
}

// A client may start before its transport connects.
func TestAClassicClientThatStartsFirst(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		srv := newClassicServer(t, classicConfig{connected: func(ctx context.Context, h *classicHub) error {
			return h.Clients().Caller().Send(ctx, "called", "connected")
		}})
		c := newClassicClient(t, srv.address, transport)
		c.negotiate()
		c.start()
		require.Equal(t, []string{"Chat connected"}, srv.eventsOf(c.id))
		c.connect()
		c.requireCall("called", "connected")
	})
}

func TestReconnectsOfClassicClients(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		srv := newClassicServer(t, classicConfig{})
		c := dialBothHubs(t, srv, transport)
		for range 3 {
			c.drop()
			c.reconnect()
			require.Equal(t, `{"R":1,"I":"7"}`, c.invokeText("7", `{"H":"chat","M":"Echo","A":[1],"I":7}`).raw)
		}
		eventually(t, func() bool { return len(srv.eventsOf(c.id)) == 8 }, "two connects and three reconnects of both hubs")
		for _, hub := range []string{"Chat ", "Other "} { // each in an order of its own
			own := slices.DeleteFunc(srv.eventsOf(c.id), func(event string) bool { return !strings.HasPrefix(event, hub) })
			require.Equal(t, []string{hub + "connected", hub + "reconnected", hub + "reconnected", hub + "reconnected"}, own)
		}
		require.NoError(t, srv.chat.Clients().All().Send(t.Context(), "called"))
		frame, ok := c.tryFrame()
		require.True(t, ok)
		require.Nil(t, frame.S, "only a transport that connects initializes")
		require.Equal(t, `[{"H":"Chat","M":"called","A":[]}]`, messagesOf(frame))
	})
}

// Polls are no reconnects.
func TestPollsAreNoEvents(t *testing.T) {
	srv := newClassicServer(t, classicConfig{})
	c := dialClassic(t, srv, "longPolling")
	for i := range 5 {
		require.NoError(t, srv.chat.Clients().All().Send(t.Context(), "called", i))
		c.requireCall("called", i)
	}
	require.Equal(t, []string{"Chat connected"}, srv.eventsOf(c.id))
}

// An abort ends the session at once, whatever the client has open, and once.
func TestAbortsOfClassicClients(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		srv := newClassicServer(t, classicConfig{})
		for name, before := range map[string]func(c *classicClient){
			"with the transport open": func(c *classicClient) {
				if transport == "longPolling" {
					c.poll()
				}
			},
			"without a transport": func(c *classicClient) { c.drop() },
			"behind a reconnect":  func(c *classicClient) { c.reconnect(); srv.awaitEvents(c.id, "Chat connected", "Chat reconnected") },
		} {
			t.Run(name, func(t *testing.T) {
				c := dialClassic(t, srv, transport)
				before(c)
				var all sync.WaitGroup
				for range 8 {
					all.Go(c.abort)
				}
				all.Wait()
				if c.stream != nil {
					last := c.awaitEnd()
					if transport == "longPolling" {
						require.Regexp(t, `^{"C":"d-[0-9A-F]{8}-0","M":\[\]}$`, last.raw)
					}
				}
				eventually(t, func() bool { events := srv.eventsOf(c.id); return events[len(events)-1] == "Chat disconnected" }, "it is disconnected")
				c.abort()
				require.Len(t, srv.eventsOf(c.id), map[bool]int{true: 3, false: 2}[name == "behind a reconnect"])
			})
		}
	})
}

func TestTheCloseOfAWebSocketThatIsAborted(t *testing.T) {
	srv := newClassicServer(t, classicConfig{})
	c := dialClassic(t, srv, "webSockets")
	c.abort()
	require.Equal(t, websocket.StatusNormalClosure, receive(t, c.stream.code))
}

func TestAnAbortOfNobodyIsNoEvent(t *testing.T) {
	srv := newClassicServer(t, classicConfig{})
	c := newClassicClient(t, srv.address, "serverSentEvents")
	c.negotiate()
	response, body := classicGet(t, http.MethodPost, srv.address+"/abort?transport=serverSentEvents&connectionToken="+escaped(c.token), nil)
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, "text/plain", response.Header.Get("Content-Type"))
	require.Empty(t, body)
	c.connect()
	c.abort()
	c.awaitEnd()
	require.Empty(t, srv.eventsOf(c.id), "who has not started is not disconnected")
}

// What a client has called before it aborts is executed, and its end comes behind that.
func TestAnAbortWhileACallRuns(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		srv := newClassicServer(t, classicConfig{})
		started, release, aborted := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		srv.handle("wait", func(ctx context.Context, h *classicHub, _ []json.RawMessage) (any, error) {
			close(started)
			<-h.Call().Aborted()
			aborted <- h.Clients().Caller().Send(ctx, "called")
			<-release
			return nil, ctx.Err()
		})
		c := dialClassic(t, srv, transport)
		answered := make(chan string, 1)
		if transport == "webSockets" {
			c.write(`{"H":"chat","M":"Do","A":["wait",[]],"I":7}`)
		} else {
			go func() {
				status, body := c.send(`{"H":"chat","M":"Do","A":["wait",[]],"I":7}`)
				answered <- fmt.Sprint(status, " ", body)
			}()
		}
		receive(t, started)
		c.abort()
		receive(t, aborted)
		if transport != "webSockets" {
			require.Equal(t, `200 {"I":"7","E":"The connection ended before the call returned."}`, receive(t, answered))
		}
		close(release)
		srv.awaitEvents(c.id, "Chat connected", "Chat disconnected")
	})
}

func TestAnAbortWhileOnConnectedRuns(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	srv := newClassicServer(t, classicConfig{connected: func(context.Context, *classicHub) error {
		close(begun)
		<-release
		return nil
	}})
	c := newClassicClient(t, srv.address, "serverSentEvents")
	c.negotiate()
	c.connect()
	started := make(chan int, 1)
	go func() {
		status, _ := c.request(http.MethodGet, "/start", nil, nil)
		started <- status
	}()
	receive(t, begun)
	c.abort()
	c.awaitEnd()
	require.Empty(t, srv.eventsOf(c.id))
	close(release)
	srv.awaitEvents(c.id, "Chat connected", "Chat disconnected")
	receive(t, started) // it may have been started, and may have been aborted
}

// A client is away for DisconnectTimeout and a grace of 5 s before it is taken to have gone. One that has a transport open, or comes back, is not.
func TestClassicClientsThatHaveGone(t *testing.T) {
	t.Parallel()
	srv := newClassicServer(t, classicConfig{ClassicOptions: hubsys.ClassicOptions{DisconnectTimeout: 6 * time.Second}})
	var gone, there []*classicClient
	for _, transport := range classicTransports {
		c := dialClassic(t, srv, transport)
		c.drop()
		gone = append(gone, c)
		there = append(there, dialClassic(t, srv, transport))
	}
	there[3].poll()
	never := newClassicClient(t, srv.address, "serverSentEvents") // starts
	never.negotiate()
	never.connect()
	never.drop()
	returns := dialClassic(t, srv, "serverSentEvents")
	returns.drop()
	time.Sleep(3 * time.Second)
	returns.reconnect()

	for _, c := range gone {
		srv.awaitEvents(c.id, "Chat connected", "Chat timed out")
	}
	returns.drop() // its time begins anew
	returns.reconnect()
	for _, c := range append(there, returns) {
		require.NotContains(t, srv.eventsOf(c.id), "Chat timed out")
		require.NoError(t, srv.chat.Clients().Client(c.id).Send(t.Context(), "called"))
		c.requireCall("called")
	}
	require.Empty(t, srv.eventsOf(never.id))
}
