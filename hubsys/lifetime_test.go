package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/proto/hubproto"
)

func TestCallsWaitForOnConnected(t *testing.T) {
	inside, proceed := make(chan struct{}), make(chan struct{})
	srv := newTestServer(t, testConfig{onConnected: func(ctx context.Context, h *testHub) error {
		close(inside)
		<-proceed
		id := h.Call().ConnectionID()
		return errors.Join(h.Groups().Add(ctx, id, "group"), h.Clients().Group("group").Send(ctx, "grouped"), h.Clients().Caller().Send(ctx, "welcome"))
	}})
	c := dialSocket(t, srv.url, dialOptions{})
	c.send(handshakeJSON, invocation("1", "Echo", 1)) // in one message
	require.Equal(t, "{}", c.next().raw, "before OnConnected has returned")
	receive(t, inside)
	require.NoError(t, srv.hub.Clients().All().Send(t.Context(), "already there"))
	close(proceed)
	c.requireInvocation("already there")
	c.requireInvocation("grouped")
	c.requireInvocation("welcome")
	require.Equal(t, `{"type":3,"invocationId":"1","result":1}`, c.next().raw)
}

func TestAConnectionIsRefusedByOnConnected(t *testing.T) {
	for name, test := range map[string]struct {
		fail func() error
		text string
	}{
		"error":           {func() error { return errors.New("secret") }, "Connection closed with an error."},
		"HubError":        {func() error { return hubsys.Errorf("go away") }, "Connection closed with an error. HubException: go away"},
		"wrapped":         {func() error { return fmt.Errorf("secret: %w", hubsys.Errorf("go away")) }, "Connection closed with an error. HubException: go away"},
		"panic":           {func() error { panic("secret") }, "Connection closed with an error."},
		"Goexit":          {func() error { runtime.Goexit(); return nil }, "Connection closed with an error."},
		"panic, HubError": {func() error { panic(hubsys.Errorf("go away")) }, "Connection closed with an error. HubException: go away"},
	} {
		t.Run(name, func(t *testing.T) {
			disconnected := make(chan error, 10)
			srv := newTestServer(t, testConfig{
				onConnected: func(_ context.Context, h *testHub) error {
					if h.Call().Request().Query("refuse") != "" {
						return test.fail()
					}
					return nil
				},
				onDisconnected: func(_ context.Context, _ *testHub, cause error) error { disconnected <- cause; return nil },
			})
			bystander := dial(t, srv.url)
			c := dialSocket(t, srv.url+"?refuse=1", dialOptions{})
			c.send(handshakeJSON, invocation("1", "Echo", 1))
			require.Equal(t, "{}", c.next().raw)
			require.Equal(t, `{"type":7,"error":"`+test.text+`"}`, c.next().raw, "and no allowReconnect")
			require.EqualValues(t, 1000, c.requireClosed())
			bystander.requireNoMessages()
			bystander.close()
			require.NoError(t, receive(t, disconnected))
			require.Empty(t, disconnected, "OnDisconnected is for those that were connected")
		})
	}
}

func TestWhatOnDisconnectedIsTold(t *testing.T) {
	t.Parallel()
	var fromClient *hubsys.HubError
	var tooLarge *hubproto.TooLargeError
	var data *hubproto.DataError
	for name, test := range map[string]struct {
		end   func(c *testClient)
		cause any    // what errors.As finds; nil: no error
		text  string // of the cause
		close string // the Close message, if there is one
		code  int    // of the close frame
	}{
		"the client closes the socket":            {func(c *testClient) { c.close() }, nil, "", "", -1},
		"the client closes, going away":           {func(c *testClient) { _ = c.ws.Close(websocket.StatusGoingAway, "") }, nil, "", "", -1},
		"the client vanishes":                     {func(c *testClient) { _ = c.ws.CloseNow() }, nil, "", "", -1},
		"half a message and a close":              {func(c *testClient) { c.sendRaw(`{"type":1`); c.close() }, new(error), "Connection terminated while reading a message.", "", -1},
		"the client sends a close message":        {func(c *testClient) { c.send(closeJSON) }, nil, "", closeJSON, 1000},
		"the client sends a close message, error": {func(c *testClient) { c.send(`{"type":7,"error":"my fault"}`) }, &fromClient, "my fault", closeJSON, 1000},
		"the client sends a close message, \"\"":  {func(c *testClient) { c.send(`{"type":7,"error":""}`) }, &fromClient, "", closeJSON, 1000},
		"the connection is aborted":               {func(c *testClient) { c.send(invocation("", "Do", "abort", []any{})) }, nil, "", closeJSON, 1000},
		"a message is too large":                  {func(c *testClient) { c.send(strings.Repeat("x", 32768)) }, &tooLarge, "The maximum message size of 32768B was exceeded. The message size can be configured in AddHubOptions.", `{"type":7,"error":"Connection closed with an error.","allowReconnect":true}`, 1000},
		"a message is not of the protocol":        {func(c *testClient) { c.send(`{"type":3}`) }, &data, "Missing required property 'invocationId'.", `{"type":7,"error":"Connection closed with an error.","allowReconnect":true}`, 1000},
		"a WebSocket message that is no text":     {func(c *testClient) { c.sendRaw("\xff") }, new(error), "a WebSocket text message is not UTF-8", "", 1007},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			type event struct {
				cause    error
				id, item any
			}
			events := make(chan event, 2)
			srv := newTestServer(t, testConfig{
				onConnected: func(_ context.Context, h *testHub) error {
					h.Call().Items().Store("item", "kept")
					return nil
				},
				onDisconnected: func(ctx context.Context, h *testHub, cause error) error {
					item, _ := h.Call().Items().Load("item")
					// A send to the caller is discarded now, without an error.
					err := h.Clients().Caller().Send(ctx, "too late")
					events <- event{errors.Join(cause, err), h.Call().ConnectionID(), item}
					return errors.New("is logged")
				},
			})
			srv.handle("abort", func(_ context.Context, h *testHub, _ []json.RawMessage) (any, error) {
				h.Call().Abort()
				return nil, nil
			})
			c, id := dialWithID(t, srv.url, nil)
			c.requireNoMessages() // OnConnected has returned
			test.end(c)
			if test.close != "" {
				require.Equal(t, test.close, c.next().raw)
			}
			if test.code > 0 {
				require.EqualValues(t, test.code, c.requireClosed())
			}
			e := receive(t, events)
			if test.cause == nil {
				require.NoError(t, e.cause)
			} else {
				found := reflect.New(reflect.TypeOf(test.cause).Elem()).Interface() // not the same variable in tests that run at once
				require.ErrorAs(t, e.cause, found)
				require.Equal(t, test.text, e.cause.Error())
			}
			require.Equal(t, id, e.id)
			require.Equal(t, "kept", e.item)
			require.NoError(t, srv.sys.Shutdown(t.Context()))
			require.Empty(t, events, "once")
		})
	}
}

func TestAClientThatDisconnectsDuringOnConnected(t *testing.T) {
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprint("fails=", fails), func(t *testing.T) {
			inside, proceed, disconnected := make(chan struct{}), make(chan struct{}), make(chan error, 2)
			srv := newTestServer(t, testConfig{
				onConnected: func(ctx context.Context, _ *testHub) error {
					close(inside)
					<-proceed
					if fails {
						return errors.New("no")
					}
					return ctx.Err() // the context has not ended
				},
				onDisconnected: func(_ context.Context, _ *testHub, cause error) error { disconnected <- cause; return nil },
			})
			c := dialHandshake(t, srv.url, dialOptions{})
			receive(t, inside)
			c.close()
			close(proceed)
			if !fails {
				require.NoError(t, receive(t, disconnected))
			}
			require.NoError(t, srv.sys.Shutdown(t.Context()))
			require.Empty(t, disconnected)
		})
	}
}

// Abort delivers what was sent before it, and nothing that is sent after it.
func TestAbort(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	srv.handle("abort", func(ctx context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		var err error
		for i := range 100 {
			err = errors.Join(err, h.Clients().Caller().Send(ctx, "before", i))
		}
		h.Call().Abort()
		<-h.Call().Aborted()
		return "never seen", errors.Join(err, h.Clients().Caller().Send(context.Background(), "after"), h.Clients().All().Send(context.Background(), "after, all"))
	})
	c, bystander := dial(t, srv.url), dial(t, srv.url)
	c.send(invocation("0", "Echo", "first"), invocation("1", "Do", "abort", []any{}), invocation("2", "Echo", "never run"))
	require.Equal(t, `{"type":3,"invocationId":"0","result":"first"}`, c.next().raw)
	for i := range 100 {
		c.requireInvocation("before", i)
	}
	require.Equal(t, closeJSON, c.next().raw)
	require.EqualValues(t, 1000, c.requireClosed())
	bystander.requireInvocation("after, all")
	bystander.requireNoMessages()
}

func TestItemsBelongToTheConnection(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	srv.handle("count", func(_ context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		n, _ := h.Call().Items().LoadOrStore("n", new(int))
		*n.(*int)++
		return n, nil
	})
	a, b := dial(t, srv.url), dial(t, srv.url)
	require.Equal(t, "1", a.do("count"))
	require.Equal(t, "2", a.do("count"))
	require.Equal(t, "1", b.do("count"))
	require.Equal(t, "3", a.do("count"))
}

func TestTheRequestOfAConnection(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	srv.handle("request", func(_ context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		r := h.Call().Request()
		cookie, err := r.Cookie("taste")
		if err != nil {
			return nil, err
		}
		_, none := r.Cookie("none")
		return []any{r.Path(), "http://" + r.Host(), r.Secure(), r.Query("Key"), r.Query("none"), r.QueryValues()["key"], r.Header("X-One"), r.HeaderValues("x-two"), r.Header("X-None"), cookie.Value, errors.Is(none, http.ErrNoCookie), strings.HasPrefix(r.RemoteAddr(), "127.0.0.1:")}, nil
	})
	header := http.Header{"X-One": {"1"}, "X-Two": {"2", "3: 4"}, "X-None": {""}, "Cookie": {"taste=sweet; other=1"}}
	c := dialWith(t, srv.url+"?key=a%26b&key=c", dialOptions{header: header})
	require.Equal(t, `["/test","`+strings.TrimSuffix(srv.url, "/test")+`",false,"a\u0026b","",["a\u0026b","c"],"1",["2","3: 4"],"","sweet",true,true]`, strings.ReplaceAll(c.do("request"), `"a&b"`, `"a\u0026b"`))
}

func TestThePrincipalOfAConnection(t *testing.T) {
	who := func(_ context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		return fmt.Sprintf("%s %s %v", h.Call().UserID(), h.Call().Principal().UserID, h.Call().Principal().Claims), nil
	}
	srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{Authenticate: func(r *http.Request) (*hubsys.Principal, error) {
		if r.URL.Query().Get("user") == "" {
			return nil, nil
		}
		return authenticateByQuery(r)
	}}})
	srv.handle("who", who)
	require.Equal(t, `"ada ada map[role:admin]"`, dial(t, srv.url+"?user=ada&role=admin").do("who"))
	require.Equal(t, `"  map[]"`, dial(t, srv.url).do("who"), "an anonymous principal is not nil")
	anonymous := newTestServer(t, testConfig{})
	anonymous.handle("who", who)
	require.Equal(t, `"  map[]"`, dial(t, anonymous.url+"?user=ada").do("who"))
}

// authenticateByHeader takes the user from the header User.
func authenticateByHeader(r *http.Request) (*hubsys.Principal, error) {
	switch user := r.Header.Get("User"); user {
	case "":
		return nil, errors.New("no user")
	case "banned":
		return nil, fmt.Errorf("%s: %w", user, hubsys.ErrForbidden)
	default:
		return &hubsys.Principal{UserID: user}, nil
	}
}

func TestWhoIsRefused(t *testing.T) {
	srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{Authenticate: authenticateByHeader}})
	for user, want := range map[string]int{"": http.StatusUnauthorized, "banned": http.StatusForbidden} {
		header := http.Header{"User": {user}}
		status, body := post(t, srv.url+"/negotiate?negotiateVersion=1", header)
		require.Equal(t, want, status)
		require.Empty(t, body)
		_, status, err := tryDialSocket(t, srv.url, dialOptions{header: header})
		require.Error(t, err)
		require.Equal(t, want, status)
	}
	dialWith(t, srv.url, dialOptions{header: http.Header{"User": {"ada"}}})
}

func TestOnlyTheUserWhoNegotiatedAConnectionCanOpenIt(t *testing.T) {
	srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{Authenticate: authenticateByHeader}})
	ada, bob := http.Header{"User": {"ada"}}, http.Header{"User": {"bob"}}
	_, token := negotiate(t, srv.url, ada)
	_, status, err := tryDialSocket(t, srv.url+"?id="+token, dialOptions{header: bob})
	require.Error(t, err)
	require.Equal(t, http.StatusForbidden, status)
	_, status, err = tryDialSocket(t, srv.url+"?id="+token, dialOptions{})
	require.Error(t, err)
	require.Equal(t, http.StatusUnauthorized, status)
	// The user who has negotiated the connection can still open it.
	c := dialWith(t, srv.url+"?id="+token, dialOptions{header: ada})
	c.requireNoMessages()
}

func TestAPanicInAuthenticateFailsOnlyItsRequest(t *testing.T) {
	srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{Authenticate: func(r *http.Request) (*hubsys.Principal, error) {
		if r.Header.Get("Panic") != "" {
			panic(http.ErrAbortHandler)
		}
		return nil, nil
	}}})
	_, token := negotiate(t, srv.url, nil)
	_, _, err := tryDialSocket(t, srv.url+"?id="+token, dialOptions{header: http.Header{"Panic": {"1"}}})
	require.Error(t, err)
	dial(t, srv.url+"?id="+token).requireNoMessages()
}

func TestAbortInOnConnected(t *testing.T) {
	disconnected := make(chan error, 2)
	srv := newTestServer(t, testConfig{
		onConnected:    func(_ context.Context, h *testHub) error { h.Call().Abort(); return nil },
		onDisconnected: func(_ context.Context, _ *testHub, cause error) error { disconnected <- cause; return nil },
	})
	c := dialSocket(t, srv.url, dialOptions{})
	c.send(handshakeJSON, invocation("1", "Echo", "never run"))
	require.Equal(t, "{}", c.next().raw)
	require.Equal(t, closeJSON, c.next().raw)
	require.EqualValues(t, 1000, c.requireClosed())
	require.NoError(t, receive(t, disconnected), "OnConnected has succeeded")
	require.NoError(t, srv.sys.Shutdown(t.Context()))
	require.Empty(t, disconnected)
}

// A connection leaves its groups and its user, and Shutdown succeeds, even if OnDisconnected does not return normally.
func TestOnDisconnectedThatDoesNotReturn(t *testing.T) {
	for name, end := range map[string]func() error{
		"panic":  func() error { panic("in OnDisconnected") },
		"Goexit": func() error { runtime.Goexit(); return nil },
		"error":  func() error { return errors.New("in OnDisconnected") },
	} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int32
			srv := newTestServer(t, testConfig{onDisconnected: func(context.Context, *testHub, error) error { calls.Add(1); return end() }})
			for range 3 {
				c, id := dialWithID(t, srv.url, nil)
				require.NoError(t, srv.hub.Groups().Add(t.Context(), id, "group"))
				c.close()
			}
			require.NoError(t, srv.sys.Shutdown(t.Context()))
			require.EqualValues(t, 3, calls.Load())
		})
	}
}

func TestTransportSendTimeoutDisconnectsAClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	for _, tls := range []bool{false, true} {
		t.Run(fmt.Sprint("tls=", tls), func(t *testing.T) {
			t.Parallel()
			causes := make(chan error, 2)
			srv := newTestServer(t, testConfig{
				tls: tls, configure: useSmallWriteBuffers,
				EndpointOptions: hubsys.EndpointOptions{TransportSendTimeout: time.Millisecond},
				onDisconnected:  func(_ context.Context, _ *testHub, cause error) error { causes <- cause; return nil },
			})
			dialWith(t, srv.url, dialOptions{client: insecureClient(smallBufferClient)})
			healthy := dialWith(t, srv.url, dialOptions{client: insecureClient(&http.Client{Transport: &http.Transport{}})})
			require.NoError(t, srv.hub.Clients().All().Send(t.Context(), "n", strings.Repeat("x", 500_000)))
			require.Equal(t, "n", healthy.next().Target)
			require.ErrorIs(t, receive(t, causes), hubsys.ErrSendTimeout)
			healthy.requireNoMessages()
			require.Empty(t, causes)
		})
	}
}
