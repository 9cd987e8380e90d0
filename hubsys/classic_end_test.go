package hubsys_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// The server takes leave of its clients: what was sent arrives, calls are executed, transports end, and polls are answered with the request to
// connect again.
func TestShutdownWithClassicClients(t *testing.T) {
	for name, end := range map[string]func(ctx context.Context, sys *hubsys.System) error{
		"Shutdown":       func(ctx context.Context, sys *hubsys.System) error { return sys.Shutdown(ctx) },
		"Drain":          func(ctx context.Context, sys *hubsys.System) error { return sys.Drain(ctx, 50*time.Millisecond) },
		"Drain at once":  func(ctx context.Context, sys *hubsys.System) error { return sys.Drain(ctx, 0) },
		"Drain, in time": func(ctx context.Context, sys *hubsys.System) error { return sys.Drain(ctx, time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			requireNoLeaks(t)
			srv := newClassicServer(t, classicConfig{})
			started := make(chan struct{})
			srv.handle("work", func(ctx context.Context, h *classicHub, _ []json.RawMessage) (any, error) {
				close(started)
				<-h.Call().Aborted()
				return "done", nil
			})
			var all []*classicClient
			for _, transport := range classicTransports {
				for _, hubs := range []string{`[{"name":"chat"}]`, bothHubs} {
					c := newClassicClient(t, srv.address, transport)
					c.hubs = hubs
					c.negotiate()
					c.connect()
					c.start()
					all = append(all, c)
				}
			}
			never := newClassicClient(t, srv.address, "serverSentEvents") // starts
			never.negotiate()
			never.connect()
			between := dialClassic(t, srv, "longPolling") // two polls
			away := dialClassic(t, srv, "serverSentEvents")
			away.drop()
			require.NoError(t, srv.chat.Clients().All().Send(t.Context(), "called", "last words"))
			for _, c := range all {
				c.requireCall("called", "last words")
				if c.transport == "longPolling" {
					c.poll()
				}
			}
			worker := dialClassic(t, srv, "serverSentEvents")
			answer := make(chan string, 1)
			go func() {
				_, body := worker.send(`{"H":"chat","M":"Do","A":["work",[]],"I":7}`)
				answer <- body
			}()
			receive(t, started)

			ctx, cancel := context.WithTimeout(t.Context(), map[bool]time.Duration{true: 4 * time.Second, false: testTimeout}[name == "Drain, in time"])
			defer cancel()
			require.NoError(t, end(ctx, srv.sys))
			require.Equal(t, `{"R":"done","I":"7"}`, receive(t, answer))
			for _, c := range append(all, never, worker) {
				last := c.awaitEnd()
				switch c.transport {
				case "longPolling":
					require.Equal(t, "1", string(last.T), last.raw)
					require.Equal(t, c.cursor, *last.C)
					require.Empty(t, last.M)
				case "webSockets":
					require.Equal(t, websocket.StatusNormalClosure, receive(t, c.stream.code))
				}
			}
			for _, c := range append(all, between, away, worker) {
				connected, disconnected := 0, 0
				for _, event := range srv.eventsOf(c.id) { // all of them have come when the system has ended
					if strings.HasSuffix(event, " connected") {
						connected++
					} else {
						require.True(t, strings.HasSuffix(event, " disconnected"), event)
						disconnected++
					}
				}
				require.Equal(t, connected, disconnected)
				require.Positive(t, connected)
			}
			require.Empty(t, srv.eventsOf(never.id))

			for _, what := range []string{"/negotiate", "/connect", "/reconnect", "/start", "/send", "/poll"} {
				status, body := between.request(http.MethodPost, what, nil, url.Values{"data": {`{"H":"chat","M":"Echo","A":[1],"I":7}`}})
				assert.Equal(t, http.StatusServiceUnavailable, status, what)
				assert.Empty(t, body)
			}
			status, _ := between.request(http.MethodPost, "/abort", nil, nil)
			require.Equal(t, http.StatusOK, status)
			require.Error(t, srv.sys.MapClassic("/later", hubsys.ClassicOptions{}))
		})
	}
}

// The server of the tests ends its requests when their clients have gone, whatever these have left behind.
func TestClassicClientsLeaveNothingBehind(t *testing.T) {
	requireNoLeaks(t)
	srv := newClassicServer(t, classicConfig{})
	for range 5 {
		for _, transport := range classicTransports {
			c := dialClassic(t, srv, transport)
			c.invoke("CallMe", 1)
			c.requireCall("called", 1)
			d := c.again(srv.address)
			d.reconnect()
			d.drop()
			c.drop()
		}
	}
}

// readUntil reads from a response until it has read a text.
func readUntil(t *testing.T, body io.Reader, text string) string {
	t.Helper()
	var all strings.Builder
	buffer := make([]byte, 1024)
	for !strings.Contains(all.String(), text) {
		n, err := body.Read(buffer)
		all.Write(buffer[:n])
		require.NoError(t, err, all.String())
	}
	return all.String()
}

// Clients are told that they are connected, by what each transport has for that.
func TestKeepAlivesOfClassicClients(t *testing.T) {
	t.Parallel()
	srv := newClassicServer(t, classicConfig{ClassicOptions: hubsys.ClassicOptions{KeepAlive: 2 * time.Second, ConnectionTimeout: 5 * time.Second, EnableJSONP: true, LongPollDelay: 1500 * time.Millisecond}})
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	open := func(transport, what string, values url.Values) (*classicClient, *http.Response) {
		c := newClassicClient(t, srv.address, transport)
		c.negotiate()
		if transport == "longPolling" {
			c.connect()
			values.Set("messageId", c.cursor)
		}
		response := c.do(ctx, http.MethodPost, what, values, nil)
		t.Cleanup(func() { response.Body.Close() })
		require.Equal(t, http.StatusOK, response.StatusCode)
		return c, response
	}
	events, eventsResponse := open("serverSentEvents", "/connect", url.Values{})
	require.Equal(t, "text/event-stream", eventsResponse.Header.Get("Content-Type"))
	_, frame := open("foreverFrame", "/connect", url.Values{"frameId": {"42"}})
	require.Equal(t, "text/html; charset=UTF-8", frame.Header.Get("Content-Type"))
	poll, pollResponse := open("longPolling", "/poll", url.Values{})
	require.Equal(t, "application/json; charset=UTF-8", pollResponse.Header.Get("Content-Type"))
	script, scriptResponse := open("longPolling", "/poll", url.Values{"callback": {"f"}})
	require.Equal(t, "application/javascript; charset=UTF-8", scriptResponse.Header.Get("Content-Type"))
	socket := newClassicClient(t, srv.address, "webSockets")
	socket.negotiate()
	ws, _, err := websocket.Dial(ctx, srv.address+"/connect?transport=webSockets&connectionToken="+escaped(socket.token), nil)
	require.NoError(t, err)
	defer func() { _ = ws.CloseNow() }()

	text := readUntil(t, eventsResponse.Body, "data: {}\n\n")
	require.Regexp(t, `^data: initialized\n\ndata: {"C":"d-[0-9A-F]{8}-0","S":1,"M":\[\]}\n\n(data: {}\n\n)+`, text)
	text = readUntil(t, frame.Body, "<script>r(c, {});</script>\n\n")
	require.Regexp(t, `^<!DOCTYPE html><html><head><title>SignalR Forever Frame Transport Stream</title>\r\n<script>\r\n`, text)
	require.Contains(t, text, "getConnection('42')")
	require.Regexp(t, `</script></head><body>\r\n<script>r\(c, {"C":"d-[0-9A-F]{8}-0","S":1,"M":\[\]}\);</script>\r\n`, text)
	for want := `"S":1`; ; want = "{}" {
		kind, b, err := ws.Read(ctx)
		require.NoError(t, err)
		require.Equal(t, websocket.MessageText, kind)
		require.Contains(t, string(b), want)
		if want == "{}" {
			require.Equal(t, "{}", string(b))
			break
		}
	}
	b, err := io.ReadAll(pollResponse.Body) // it ends when ConnectionTimeout is over
	require.NoError(t, err)
	require.Regexp(t, `^ +{"C":"`+poll.cursor+`","L":1500,"M":\[\]}$`, string(b))
	b, err = io.ReadAll(scriptResponse.Body)
	require.NoError(t, err)
	require.Equal(t, `f({"C":"`+script.cursor+`","L":1500,"M":[]});`, string(b), "a script has no blanks before it")
	require.Empty(t, srv.eventsOf(events.id))
}

// A client whose credentials expire has to come back with others.
func TestCredentialsOfClassicClientsExpire(t *testing.T) {
	t.Parallel()
	srv := newClassicServer(t, classicConfig{ClassicOptions: hubsys.ClassicOptions{Authenticate: principalOf}})
	var all []*classicClient
	for _, transport := range classicTransports {
		c := newClassicClient(t, srv.address, transport)
		c.header = userHeader("ada")
		c.header.Set("Lifetime", "1.5s")
		c.negotiate()
		c.connect()
		c.start()
		if transport == "longPolling" {
			c.poll()
		}
		all = append(all, c)
	}
	for _, c := range all {
		last := c.awaitEnd()
		if c.transport == "longPolling" {
			require.Equal(t, "1", string(last.T), last.raw)
		}
		srv.awaitEvents(c.id, "Chat connected", "Chat disconnected: "+hubsys.ErrExpired.Error())
	}
}

// Neither tokens nor other secrets of clients are logged, whatever happens.
func TestLogsHoldNoSecretsOfClassicClients(t *testing.T) {
	srv := newClassicServer(t, classicConfig{ClassicOptions: hubsys.ClassicOptions{Authenticate: principalOf}})
	var secrets []string
	for _, transport := range classicTransports {
		c := newClassicClient(t, srv.address, transport)
		c.header = with(userHeader("ada"), "Cookie", "a=secret-of-a-classic-cookie")
		c.query.Set("access_token", "secret-of-a-classic-query")
		c.negotiate()
		c.connect()
		c.start()
		c.invoke("Join", "g")
		c.awaitGroups()
		c.invoke("Nope")
		secrets = append(secrets, c.token, c.groups, "secret-of-a-classic-cookie", "secret-of-a-classic-query")
		for _, what := range []string{"/send", "/connect?", "/x"} {
			for _, change := range []url.Values{{"connectionToken": {c.token + "A"}}, {"transport": {"none"}}, {"connectionData": {"["}}, {"callback": {"f"}}, {"groupsToken": {"x"}, "frameId": {c.token}}} {
				other := c.again(srv.address)
				other.header = with(userHeader("bob"), "Cookie", "a=secret-of-a-classic-cookie")
				other.request(http.MethodPost, what, change, nil)
			}
		}
		c.drop()
		c.reconnect()
		c.abort()
	}
	require.NoError(t, shutdown(srv.sys))
	for _, logged := range []string{"a request of a SignalR 2 client was refused", "an unknown method was called"} {
		require.Contains(t, srv.log.String(), logged)
	}
	require.Empty(t, findSecrets([]byte(srv.log.String()), secrets))
}

// A client without hubs is told as well that the server goes.
func TestShutdownWithClassicClientsWithoutHubs(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		requireNoLeaks(t)
		srv := newClassicServer(t, classicConfig{})
		c := newClassicClient(t, srv.address, transport)
		c.hubs = `[]`
		c.negotiate()
		c.connect()
		c.start()
		if transport == "longPolling" {
			c.poll()
		}
		defer c.drop() // so that a failure does not hold up the server of the test
		require.NoError(t, shutdown(srv.sys))
		last := c.awaitEnd()
		if transport == "longPolling" {
			require.Equal(t, "1", string(last.T), last.raw)
		}
	})
}

// A client that has called more than its methods take can be aborted, and ends.
func TestAnAbortOfAClientWithAFullInbox(t *testing.T) {
	srv := newClassicServer(t, classicConfig{hub: hubsys.HubOptions{InboundLimit: 64 << 10, MaximumParallelInvocationsPerClient: 1, DisconnectGrace: time.Second}})
	ended := make(chan struct{}, 10)
	srv.handle("wait", func(ctx context.Context, _ *classicHub, _ []json.RawMessage) (any, error) {
		<-ctx.Done()
		ended <- struct{}{}
		return nil, nil
	})
	c := dialClassic(t, srv, "serverSentEvents")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sent := make(chan struct{}, 10)
	for range 5 {
		go func() {
			defer func() { sent <- struct{}{} }()
			body := `{"H":"chat","M":"Do","A":["wait",["` + strings.Repeat("x", 50_000) + `"]],"I":"x"}`
			r, _ := http.NewRequestWithContext(ctx, http.MethodPost, c.address+"/send?transport=serverSentEvents&connectionToken="+escaped(c.token), strings.NewReader("data="+escaped(body)))
			if response, err := http.DefaultClient.Do(r); err == nil {
				response.Body.Close()
			}
		}()
	}
	time.Sleep(200 * time.Millisecond) // the inbox fills up; a test that is early passes
	c.abort()
	receive(t, ended)
	srv.awaitEvents(c.id, "Chat connected", "Chat disconnected")
	returned := 0
	eventually(t, func() bool {
		c.abort() // a POST that has come late has opened another session
		for len(sent) > 0 {
			<-sent
			returned++
		}
		return returned == 5
	}, "every POST has returned")
}

// A client that the server has disconnected cannot come back with its token; one that is to reconnect can.
func TestADisconnectedClassicClientDoesNotComeBack(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		srv := newClassicServer(t, classicConfig{})
		returns := dialClassic(t, srv, transport)
		require.NoError(t, srv.chat.Clients().Client(returns.id).Reconnect(t.Context()))
		srv.awaitEvents(returns.id, "Chat connected", "Chat disconnected")
		eventually(t, func() bool { // its session may not have ended yet
			status, _ := returns.tryOpen("/reconnect", returns.position())
			return status == http.StatusOK && slices.Contains(srv.eventsOf(returns.id), "Chat reconnected")
		}, "it has come back")

		c := dialClassic(t, srv, transport)
		require.NoError(t, srv.chat.Clients().Client(c.id).Disconnect(t.Context(), "enough"))
		srv.awaitEvents(c.id, "Chat connected", "Chat disconnected: enough")
		c.drop()
		for _, path := range []string{"/reconnect", "/connect", "/poll"} {
			eventually(t, func() bool { status, _ := c.tryOpen(path, c.position()); return status == http.StatusForbidden }, "its session has ended")
		}
		again := dialClassic(t, srv, transport)
		require.Equal(t, `{"R":1,"I":"1"}`, again.invoke("Echo", 1).raw)
	})
}

// A client that a hub has disconnected tries to reconnect, and may reach any node.
func TestAClassicClientThatWasDisconnectedIsRefusedByAllNodes(t *testing.T) {
	overBackplanes(t, func(t *testing.T, node newNode) {
		keys := [][]byte{[]byte("a key of thirty-two random bytes")}
		var servers []*classicServer
		for _, name := range []string{"one", "two"} {
			servers = append(servers, newClassicServer(t, classicConfig{Config: hubsys.Config{Keys: keys, Backplane: node(name)}}))
		}
		for _, transport := range classicTransports {
			c := newClassicClient(t, servers[0].address, transport).begin()
			if transport == "longPolling" {
				c.poll()
			}
			require.NoError(t, servers[0].chat.Clients().Client(c.id).Disconnect(t.Context(), ""))
			c.awaitEnd()
			servers[0].awaitEvents(c.id, "Chat connected", "Chat disconnected")
			for _, srv := range servers {
				c.address = srv.address
				status, _ := c.tryOpen("/reconnect", c.position())
				require.Equal(t, http.StatusForbidden, status)
				require.NotContains(t, srv.eventsOf(c.id), "Chat reconnected")
			}
		}
	})
}
