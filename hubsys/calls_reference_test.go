package hubsys_test

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// These tests cover cases of the original's tests that no other test covers. conformance/README.md lists them.

func TestTheLimitIsForTheHandshake(t *testing.T) {
	srv := newTestServer(t, testConfig{HubOptions: hubsys.HubOptions{MaximumReceiveMessageSize: 1}})
	c := dialSocket(t, srv.url, dialOptions{})
	c.send(handshakeJSON)
	require.Equal(t, `{"error":"Handshake was canceled."}`, c.next().raw)
	require.EqualValues(t, 1000, c.requireClosed())
}

// unnamedProtocol is a protocol without a name.
type unnamedProtocol struct{ hubproto.Protocol }

func (unnamedProtocol) Name() string { return "" }

func TestProtocolsThatAreNone(t *testing.T) {
	text, pack := hubproto.JSON, hubproto.MessagePack
	require.NoError(t, hubsys.HubOptions{Protocols: []hubproto.Protocol{}}.Validate(), "none means all")
	for fault, protocols := range map[string][]hubproto.Protocol{
		"Protocols[1] is nil or has no name":                           {text, nil},
		"Protocols[0] is nil or has no name":                           {unnamedProtocol{text}},
		"Protocols has two that clients would call the same: number 2": {text, pack, text},
		"Protocols has two that clients would call the same: number 1": {RenamedJSON{text}, RenamedJSON{pack}},
		"Protocols has 9 elements, more than 7":                        {text, text, text, text, text, text, text, text, text},
	} {
		require.ErrorContains(t, hubsys.HubOptions{Protocols: protocols}.Validate(), fault)
	}
}

// A method of an embedded hub can be renamed like the hub's own methods.
func TestAnInheritedMethodIsRenamed(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*derived, error) { return &derived{}, nil },
		hubsys.HubOptions{Methods: []hubsys.Method{{Func: (*derived).Inherited, Name: "another"}, {Func: (*derived).Overridden, Hidden: true}}})
	c := dial(t, serve(t, sys, hub))
	require.Equal(t, `"base"`, string(c.invoke("Another").Result))
	require.Contains(t, c.invokeError("Inherited"), "Method does not exist.")
	require.Contains(t, c.invokeError("Overridden"), "Method does not exist.")
}

// streamLifetimeHub reports its Close, and how many of its streams had ended by then.
type streamLifetimeHub struct {
	hubsys.Hub
	feed   chan int
	ended  int
	closed chan<- int
}

func (h *streamLifetimeHub) Close() error { h.closed <- h.ended; return nil }

func (h *streamLifetimeHub) Stream(ctx context.Context, how string) (iter.Seq2[int, error], error) {
	switch how {
	case "error":
		return nil, hubsys.Errorf("no")
	case "nil":
		return nil, nil
	case "panic":
		panic("no")
	}
	return func(yield func(int, error) bool) {
		defer func() { h.ended++ }()
		for {
			select {
			case n := <-h.feed:
				switch {
				case n < 0:
					return
				case n == 0:
					panic("no")
				case !yield(n, nil):
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}, nil
}

func (h *streamLifetimeHub) Take(items iter.Seq2[int, error]) error {
	defer func() { h.ended++ }()
	_, err := collect(items)
	return err
}

func (h *streamLifetimeHub) Optional(n *int) iter.Seq2[*int, error] {
	return func(yield func(*int, error) bool) { yield(n, nil) }
}

func (h *streamLifetimeHub) OptionalInContext(ctx context.Context, n *int) iter.Seq2[*int, error] {
	return func(yield func(*int, error) bool) { yield(n, ctx.Err()) }
}

func newStreamLifetimeClient(t *testing.T) (c *testClient, feed chan int, closed chan int) {
	feed, closed = make(chan int), make(chan int, 100)
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*streamLifetimeHub, error) {
		return &streamLifetimeHub{feed: feed, closed: closed}, nil
	}, hubsys.HubOptions{})
	c = dial(t, serve(t, sys, hub))
	receive(t, closed) // OnConnected
	return c, feed, closed
}

// The hub value of a call with streams is closed once, after all streams have ended.
func TestHubValuesOfCallsWithStreams(t *testing.T) {
	c, feed, closed := newStreamLifetimeClient(t)
	for _, how := range []string{"error", "nil", "panic"} {
		c.send(streamInvocation("1", "Stream", nil, how))
		require.Equal(t, 3, c.next().Type, how)
		require.Zero(t, receive(t, closed), how)
	}
	for _, last := range []int{-1, 0} { // -1: it ends; 0: it panics
		c.send(streamInvocation("1", "Stream", nil, ""))
		feed <- 5
		c.requireMessages(streamItem("1", 5))
		require.Empty(t, closed)
		feed <- last
		require.Equal(t, 3, c.next().Type)
		require.Equal(t, 1, receive(t, closed))
	}
	c.send(streamInvocation("1", "Stream", nil, ""))
	feed <- 5
	c.requireMessages(streamItem("1", 5))
	c.send(cancelInvocation("1"))
	c.requireMessages(completion("1"))
	require.Equal(t, 1, receive(t, closed))
	for _, id := range []string{"1", ""} {
		for _, end := range []string{completion("s"), errorCompletion("s", "no")} {
			c.send(uploadInvocation(id, "Take", []string{"s"}), streamItem("s", 1))
			require.Empty(t, closed)
			c.send(end)
			require.Equal(t, 1, receive(t, closed), "%q", id)
			if id != "" {
				require.Equal(t, 3, c.next().Type)
			}
		}
	}
	require.Empty(t, closed)
}

func TestNullForAParameterOfAStream(t *testing.T) {
	c, _, _ := newStreamLifetimeClient(t)
	for _, method := range []string{"Optional", "OptionalInContext"} {
		for _, n := range []any{nil, 5} {
			c.send(streamInvocation("1", method, nil, n))
			c.requireMessages(streamItem("1", n), completion("1"))
		}
	}
}

// A slice is sent as one argument.
func TestASliceIsOneArgument(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	c := dial(t, srv.url)
	for _, slice := range []any{[]int{1, 2}, []any{"a", nil}, []string{}} {
		require.NoError(t, srv.hub.Clients().All().Send(t.Context(), "x", slice))
		c.requireInvocation("x", slice)
	}
}

func TestOnConnectedSendsToOthers(t *testing.T) {
	srv := newTestServer(t, testConfig{onConnected: func(ctx context.Context, h *testHub) error {
		return h.Clients().Client(h.Call().Request().Query("to")).Send(ctx, "hello", "first")
	}})
	first, id := dialWithID(t, srv.url, nil)
	second := dial(t, srv.url+"?to="+id)
	first.requireInvocation("hello", "first")
	second.requireNoMessages()
}

// The default of PollTimeout is 90 seconds.
func TestTheDefaultOfPollTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys, err := hubsys.New(hubsys.Config{Logger: (&logRecorder{}).logger()})
		require.NoError(t, err)
		hub := register(t, sys, func(context.Context) (*base, error) { return &base{}, nil }, hubsys.HubOptions{})
		require.NoError(t, hub.Map("/hub", hubsys.EndpointOptions{}))
		ask := func(method, path, body string) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			sys.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
			require.Equal(t, http.StatusOK, w.Code)
			return w
		}
		var n struct{ ConnectionToken string }
		require.NoError(t, json.Unmarshal(ask(http.MethodPost, "/hub/negotiate?negotiateVersion=1", "").Body.Bytes(), &n))
		path := fmt.Sprint("/hub?id=", n.ConnectionToken)
		ask(http.MethodGet, path, "")
		ask(http.MethodPost, path, handshakeJSON+separator)
		require.Equal(t, "{}"+separator, ask(http.MethodGet, path, "").Body.String())
		start := time.Now()
		require.Empty(t, ask(http.MethodGet, path, "").Body.String())
		require.Equal(t, 90*time.Second, time.Since(start))
		require.NoError(t, shutdown(sys))
		<-time.After(5 * time.Second) // of the bubble's time: protoactor counts dead letters in a goroutine that runs for a second
	})
}
