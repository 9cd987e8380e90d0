package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
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
	inside, goOn := make(chan struct{}), make(chan struct{})
	w := newWorld(t, setup{connected: func(ctx context.Context, h *lab) error {
		close(inside)
		<-goOn
		id := h.Call().ConnectionID()
		return errors.Join(h.Groups().Add(ctx, id, "group"), h.Clients().Group("group").Send(ctx, "grouped"), h.Clients().Caller().Send(ctx, "welcome"))
	}})
	c := open(t, w.url, dialing{})
	c.send(greeting, invocation("1", "Echo", 1)) // in one message
	require.Equal(t, "{}", c.next().raw, "before OnConnected has returned")
	wait(t, inside)
	require.NoError(t, w.hub.Clients().All().Send(t.Context(), "already there"))
	close(goOn)
	c.got("already there")
	c.got("grouped")
	c.got("welcome")
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
			w := newWorld(t, setup{
				connected: func(_ context.Context, h *lab) error {
					if h.Call().Request().Query("refuse") != "" {
						return test.fail()
					}
					return nil
				},
				disconnected: func(_ context.Context, _ *lab, cause error) error { disconnected <- cause; return nil },
			})
			neighbour := dial(t, w.url)
			c := open(t, w.url+"?refuse=1", dialing{})
			c.send(greeting, invocation("1", "Echo", 1))
			require.Equal(t, "{}", c.next().raw)
			require.Equal(t, `{"type":7,"error":"`+test.text+`"}`, c.next().raw, "and no allowReconnect")
			require.EqualValues(t, 1000, c.ended())
			neighbour.quiet()
			neighbour.leave()
			require.NoError(t, wait(t, disconnected))
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
		end   func(c *client)
		cause any    // what errors.As finds; nil: no error
		text  string // of the cause
		close string // the Close message, if there is one
		code  int    // of the close frame
	}{
		"the client closes the socket":        {func(c *client) { c.leave() }, nil, "", "", -1},
		"the client closes, going away":       {func(c *client) { _ = c.ws.Close(websocket.StatusGoingAway, "") }, nil, "", "", -1},
		"the client vanishes":                 {func(c *client) { _ = c.ws.CloseNow() }, nil, "", "", -1},
		"half a message and a close":          {func(c *client) { c.sendRaw(`{"type":1`); c.leave() }, new(error), "Connection terminated while reading a message.", "", -1},
		"the client says goodbye":             {func(c *client) { c.send(goodbye) }, nil, "", goodbye, 1000},
		"the client says goodbye, error":      {func(c *client) { c.send(`{"type":7,"error":"my fault"}`) }, &fromClient, "my fault", goodbye, 1000},
		"the client says goodbye, \"\"":       {func(c *client) { c.send(`{"type":7,"error":""}`) }, &fromClient, "", goodbye, 1000},
		"the connection is aborted":           {func(c *client) { c.send(invocation("", "Do", "abort", []any{})) }, nil, "", goodbye, 1000},
		"a message is too large":              {func(c *client) { c.send(strings.Repeat("x", 32768)) }, &tooLarge, "The maximum message size of 32768B was exceeded. The message size can be configured in AddHubOptions.", `{"type":7,"error":"Connection closed with an error.","allowReconnect":true}`, 1000},
		"a message is not of the protocol":    {func(c *client) { c.send(`{"type":3}`) }, &data, "Missing required property 'invocationId'.", `{"type":7,"error":"Connection closed with an error.","allowReconnect":true}`, 1000},
		"a WebSocket message that is no text": {func(c *client) { c.sendRaw("\xff") }, new(error), "a WebSocket text message is not UTF-8", "", 1007},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			type event struct {
				cause    error
				id, item any
			}
			events := make(chan event, 2)
			w := newWorld(t, setup{
				connected: func(_ context.Context, h *lab) error {
					h.Call().Items().Store("item", "kept")
					return nil
				},
				disconnected: func(ctx context.Context, h *lab, cause error) error {
					item, _ := h.Call().Items().Load("item")
					// Whatever is sent to the caller now goes nowhere, and is no error.
					err := h.Clients().Caller().Send(ctx, "too late")
					events <- event{errors.Join(cause, err), h.Call().ConnectionID(), item}
					return errors.New("is logged")
				},
			})
			w.on("abort", func(_ context.Context, h *lab, _ []json.RawMessage) (any, error) { h.Call().Abort(); return nil, nil })
			c, id := dialID(t, w.url, nil)
			c.quiet() // OnConnected is over
			test.end(c)
			if test.close != "" {
				require.Equal(t, test.close, c.next().raw)
			}
			if test.code > 0 {
				require.EqualValues(t, test.code, c.ended())
			}
			e := wait(t, events)
			if test.cause == nil {
				require.NoError(t, e.cause)
			} else {
				require.ErrorAs(t, e.cause, test.cause)
				require.Equal(t, test.text, e.cause.Error())
			}
			require.Equal(t, id, e.id)
			require.Equal(t, "kept", e.item)
			require.NoError(t, w.sys.Shutdown(t.Context()))
			require.Empty(t, events, "once")
		})
	}
}

func TestAClientThatLeavesDuringOnConnected(t *testing.T) {
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprint("fails=", fails), func(t *testing.T) {
			inside, goOn, disconnected := make(chan struct{}), make(chan struct{}), make(chan error, 2)
			w := newWorld(t, setup{
				connected: func(ctx context.Context, _ *lab) error {
					close(inside)
					<-goOn
					if fails {
						return errors.New("no")
					}
					return ctx.Err() // it has not ended
				},
				disconnected: func(_ context.Context, _ *lab, cause error) error { disconnected <- cause; return nil },
			})
			c := shake(t, w.url, dialing{})
			wait(t, inside)
			c.leave()
			close(goOn)
			if !fails {
				require.NoError(t, wait(t, disconnected))
			}
			require.NoError(t, w.sys.Shutdown(t.Context()))
			require.Empty(t, disconnected)
		})
	}
}

// Abort lets through what was sent before, and nothing after.
func TestAbort(t *testing.T) {
	w := newWorld(t, setup{})
	w.on("abort", func(ctx context.Context, h *lab, _ []json.RawMessage) (any, error) {
		var err error
		for i := range 100 {
			err = errors.Join(err, h.Clients().Caller().Send(ctx, "before", i))
		}
		h.Call().Abort()
		<-h.Call().Aborted()
		return "never seen", errors.Join(err, h.Clients().Caller().Send(context.Background(), "after"), h.Clients().All().Send(context.Background(), "after, all"))
	})
	c, neighbour := dial(t, w.url), dial(t, w.url)
	c.send(invocation("0", "Echo", "first"), invocation("1", "Do", "abort", []any{}), invocation("2", "Echo", "never run"))
	require.Equal(t, `{"type":3,"invocationId":"0","result":"first"}`, c.next().raw)
	for i := range 100 {
		c.got("before", i)
	}
	require.Equal(t, goodbye, c.next().raw)
	require.EqualValues(t, 1000, c.ended())
	neighbour.got("after, all")
	neighbour.quiet()
}

func TestItemsBelongToTheConnection(t *testing.T) {
	w := newWorld(t, setup{})
	w.on("count", func(_ context.Context, h *lab, _ []json.RawMessage) (any, error) {
		n, _ := h.Call().Items().LoadOrStore("n", new(int))
		*n.(*int)++
		return n, nil
	})
	a, b := dial(t, w.url), dial(t, w.url)
	require.Equal(t, "1", a.do("count"))
	require.Equal(t, "2", a.do("count"))
	require.Equal(t, "1", b.do("count"))
	require.Equal(t, "3", a.do("count"))
}

func TestTheRequestOfAConnection(t *testing.T) {
	w := newWorld(t, setup{})
	w.on("request", func(_ context.Context, h *lab, _ []json.RawMessage) (any, error) {
		r := h.Call().Request()
		cookie, err := r.Cookie("taste")
		if err != nil {
			return nil, err
		}
		_, none := r.Cookie("none")
		return []any{r.Path(), "http://" + r.Host(), r.Secure(), r.Query("Key"), r.Query("none"), r.QueryValues()["key"], r.Header("X-One"), r.HeaderValues("x-two"), r.Header("X-None"), cookie.Value, errors.Is(none, http.ErrNoCookie), strings.HasPrefix(r.RemoteAddr(), "127.0.0.1:")}, nil
	})
	header := http.Header{"X-One": {"1"}, "X-Two": {"2", "3: 4"}, "X-None": {""}, "Cookie": {"taste=sweet; other=1"}}
	c := dialWith(t, w.url+"?key=a%26b&key=c", dialing{header: header})
	require.Equal(t, `["/lab","`+strings.TrimSuffix(w.url, "/lab")+`",false,"a\u0026b","",["a\u0026b","c"],"1",["2","3: 4"],"","sweet",true,true]`, strings.ReplaceAll(c.do("request"), `"a&b"`, `"a\u0026b"`))
}

// ---- who has opened it

func TestThePrincipalOfAConnection(t *testing.T) {
	who := func(_ context.Context, h *lab, _ []json.RawMessage) (any, error) {
		return fmt.Sprintf("%s %s %v", h.Call().UserID(), h.Call().Principal().UserID, h.Call().Principal().Claims), nil
	}
	w := newWorld(t, setup{EndpointOptions: hubsys.EndpointOptions{Authenticate: func(r *http.Request) (*hubsys.Principal, error) {
		if r.URL.Query().Get("user") == "" {
			return nil, nil
		}
		return byQuery(r)
	}}})
	w.on("who", who)
	require.Equal(t, `"ada ada map[role:admin]"`, dial(t, w.url+"?user=ada&role=admin").do("who"))
	require.Equal(t, `"  map[]"`, dial(t, w.url).do("who"), "nobody is somebody, too")
	anonymous := newWorld(t, setup{})
	anonymous.on("who", who)
	require.Equal(t, `"  map[]"`, dial(t, anonymous.url+"?user=ada").do("who"))
}

// byHeader authenticates by the header User.
func byHeader(r *http.Request) (*hubsys.Principal, error) {
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
	w := newWorld(t, setup{EndpointOptions: hubsys.EndpointOptions{Authenticate: byHeader}})
	for user, want := range map[string]int{"": http.StatusUnauthorized, "banned": http.StatusForbidden} {
		header := http.Header{"User": {user}}
		status, body := post(t, w.url+"/negotiate?negotiateVersion=1", header)
		require.Equal(t, want, status)
		require.Empty(t, body)
		_, status, err := tryOpen(t, w.url, dialing{header: header})
		require.Error(t, err)
		require.Equal(t, want, status)
	}
	dialWith(t, w.url, dialing{header: http.Header{"User": {"ada"}}})
}

func TestAConnectionBelongsToWhoHasNegotiatedIt(t *testing.T) {
	w := newWorld(t, setup{EndpointOptions: hubsys.EndpointOptions{Authenticate: byHeader}})
	ada, bob := http.Header{"User": {"ada"}}, http.Header{"User": {"bob"}}
	_, token := negotiate(t, w.url, ada)
	_, status, err := tryOpen(t, w.url+"?id="+token, dialing{header: bob})
	require.Error(t, err)
	require.Equal(t, http.StatusForbidden, status)
	_, status, err = tryOpen(t, w.url+"?id="+token, dialing{})
	require.Error(t, err)
	require.Equal(t, http.StatusUnauthorized, status)
	// It is still there for the one it belongs to.
	c := dialWith(t, w.url+"?id="+token, dialing{header: ada})
	c.quiet()
}

func TestAPanicOfAuthenticateHurtsOnlyItsRequest(t *testing.T) {
	w := newWorld(t, setup{EndpointOptions: hubsys.EndpointOptions{Authenticate: func(r *http.Request) (*hubsys.Principal, error) {
		if r.Header.Get("Panic") != "" {
			panic(http.ErrAbortHandler)
		}
		return nil, nil
	}}})
	_, token := negotiate(t, w.url, nil)
	_, _, err := tryOpen(t, w.url+"?id="+token, dialing{header: http.Header{"Panic": {"1"}}})
	require.Error(t, err)
	dial(t, w.url+"?id="+token).quiet()
}

func TestAbortInOnConnected(t *testing.T) {
	disconnected := make(chan error, 2)
	w := newWorld(t, setup{
		connected:    func(_ context.Context, h *lab) error { h.Call().Abort(); return nil },
		disconnected: func(_ context.Context, _ *lab, cause error) error { disconnected <- cause; return nil },
	})
	c := open(t, w.url, dialing{})
	c.send(greeting, invocation("1", "Echo", "never run"))
	require.Equal(t, "{}", c.next().raw)
	require.Equal(t, goodbye, c.next().raw)
	require.EqualValues(t, 1000, c.ended())
	require.NoError(t, wait(t, disconnected), "OnConnected has succeeded")
	require.NoError(t, w.sys.Shutdown(t.Context()))
	require.Empty(t, disconnected)
}

// Whatever OnDisconnected does, the connection leaves its groups and its user, and the system can end.
func TestOnDisconnectedThatDoesNotReturn(t *testing.T) {
	for name, end := range map[string]func() error{
		"panic":  func() error { panic("in OnDisconnected") },
		"Goexit": func() error { runtime.Goexit(); return nil },
		"error":  func() error { return errors.New("in OnDisconnected") },
	} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int32
			w := newWorld(t, setup{disconnected: func(context.Context, *lab, error) error { calls.Add(1); return end() }})
			for range 3 {
				c, id := dialID(t, w.url, nil)
				require.NoError(t, w.hub.Groups().Add(t.Context(), id, "group"))
				c.leave()
			}
			require.NoError(t, w.sys.Shutdown(t.Context()))
			require.EqualValues(t, 3, calls.Load())
		})
	}
}

func TestAClientThatTakesNothing(t *testing.T) {
	t.Parallel()
	for _, tls := range []bool{false, true} {
		t.Run(fmt.Sprint("tls=", tls), func(t *testing.T) {
			t.Parallel()
			causes := make(chan error, 2)
			w := newWorld(t, setup{
				tls: tls, server: smallSends,
				EndpointOptions: hubsys.EndpointOptions{TransportSendTimeout: time.Millisecond},
				disconnected:    func(_ context.Context, _ *lab, cause error) error { causes <- cause; return nil },
			})
			dialWith(t, w.url, dialing{http: insecure(deaf)})
			healthy := dialWith(t, w.url, dialing{http: insecure(&http.Client{Transport: &http.Transport{}})})
			require.NoError(t, w.hub.Clients().All().Send(t.Context(), "n", strings.Repeat("x", 500_000)))
			require.Equal(t, "n", healthy.next().Target)
			require.ErrorIs(t, wait(t, causes), hubsys.ErrSendTimeout)
			healthy.quiet()
			require.Empty(t, causes)
		})
	}
}
