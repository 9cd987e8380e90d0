package hubsys_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

func TestHubOptionsReportAllFaults(t *testing.T) {
	require.NoError(t, hubsys.HubOptions{}.Validate())
	require.NoError(t, hubsys.HubOptions{
		HandshakeTimeout: time.Millisecond, KeepAliveInterval: time.Millisecond, ClientTimeoutInterval: time.Second, DisconnectGrace: hubsys.Unlimited, MaximumReceiveMessageSize: hubsys.Unlimited,
		MaximumParallelInvocationsPerClient: 1, OutboxLimit: 64 << 10, InboundLimit: 64 << 10,
	}.Validate())
	faulty := hubsys.HubOptions{
		HandshakeTimeout: -1, KeepAliveInterval: -time.Second, ClientTimeoutInterval: -time.Hour, MaximumReceiveMessageSize: -2,
		MaximumParallelInvocationsPerClient: -1, OutboxLimit: 65535, InboundLimit: -1,
	}
	want := `hubsys: HubOptions: HandshakeTimeout is -1ns: it is not negative
KeepAliveInterval is -1s: it is not negative
ClientTimeoutInterval is -1h0m0s: it is not negative
MaximumReceiveMessageSize is -2: it is a number of bytes, 0 for the default, or Unlimited
MaximumParallelInvocationsPerClient is -1: it is at least 1, or 0 for the default
OutboxLimit is 65535: it is at least 65536 bytes and at most 2 GiB, or 0 for the default
InboundLimit is -1: it is at least 65536 bytes, or 0 for the default`
	require.EqualError(t, faulty.Validate(), want)
	_, err := hubsys.Register(newSystem(t, hubsys.Config{}), func(context.Context) (*base, error) { return &base{}, nil }, faulty)
	require.EqualError(t, err, want)
}

func TestTimesThatMayBeUnlimitedHaveAUnit(t *testing.T) {
	unlimited := time.Duration(hubsys.Unlimited)
	require.NoError(t, hubsys.HubOptions{IdleTimeout: unlimited, InvokeTimeout: unlimited, DisconnectGrace: unlimited}.Validate())
	require.EqualError(t, hubsys.HubOptions{IdleTimeout: 30, InvokeTimeout: 5, DisconnectGrace: -2}.Validate(),
		`hubsys: HubOptions: IdleTimeout is 30ns: a number alone means nanoseconds; write 15*time.Second
InvokeTimeout is 5ns: a number alone means nanoseconds; write 15*time.Second
DisconnectGrace is -2ns: it is a time, 0 for the default, or Unlimited`)
}

func TestEndpointOptionsReportAllFaults(t *testing.T) {
	require.NoError(t, hubsys.EndpointOptions{}.Validate())
	require.NoError(t, hubsys.EndpointOptions{AllowedOrigins: []string{"*"}}.Validate())
	require.NoError(t, hubsys.EndpointOptions{AllowedOrigins: []string{"https://app.example", "http://localhost:3000"}, AllowCredentials: true}.Validate())
	faulty := hubsys.EndpointOptions{
		TransportSendTimeout: -1, CloseTimeout: -time.Second, AllowCredentials: true,
		AllowedOrigins: []string{"*", "app.example", "https://app.example/", "https://*.example", "https://fine.example", ""},
	}
	want := `hubsys: EndpointOptions: TransportSendTimeout is -1ns: it is not negative
CloseTimeout is -1s: it is not negative
AllowedOrigins: origin "app.example" is not of the form scheme://host or scheme://host:port
origin "https://app.example/" is not of the form scheme://host or scheme://host:port
origin "https://*.example": a wildcard stands for all subdomains of a domain, as in "https://*.example.com"
origin "" is not of the form scheme://host or scheme://host:port
origin "*" cannot be allowed together with credentials: every web page could act as its visitor`
	require.EqualError(t, faulty.Validate(), want)
	hub := register(t, newSystem(t, hubsys.Config{}), func(context.Context) (*base, error) { return &base{}, nil }, hubsys.HubOptions{})
	require.EqualError(t, hub.Map("/hub", faulty), want)
	require.NoError(t, hub.Map("/hub", hubsys.EndpointOptions{}), "the path has not been taken")
}

func TestInvalidPathsAreRefused(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*base, error) { return &base{}, nil }, hubsys.HubOptions{})
	for _, path := range []string{"", "hub", "/hub/", "//", "//hub", "/a//b", "/a/../b", "/.", "/a/."} {
		require.ErrorContains(t, hub.Map(path, hubsys.EndpointOptions{}), "is not the path of an endpoint: it begins with a slash", path)
	}
	for _, path := range []string{"/", "/Hub", "/hub", "/a/b", "/x/negotiate", "/negotiate/x"} {
		require.NoError(t, hub.Map(path, hubsys.EndpointOptions{}), path)
	}
	for _, path := range []string{"/", "/Hub", "/a/b"} {
		require.ErrorContains(t, hub.Map(path, hubsys.EndpointOptions{}), "already", path)
	}
	for _, path := range []string{"/negotiate", "/Hub/negotiate", "/x/negotiate/negotiate", "/x"} {
		require.ErrorContains(t, hub.Map(path, hubsys.EndpointOptions{}), "negotiate", path)
	}
	require.NoError(t, sys.Shutdown(t.Context()))
	require.Error(t, hub.Map("/late", hubsys.EndpointOptions{}))
}

func TestWhichPathsReachAnEndpoint(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*base, error) { return &base{}, nil }, hubsys.HubOptions{})
	require.NoError(t, hub.Map("/hub/one", hubsys.EndpointOptions{}))
	for path, status := range map[string]int{
		"/hub/one/negotiate": 200, "/hub/%6fne/negotiate": 200, "/hub/one": 400,
		"/HUB/ONE/Negotiate": 404, "/hub/one/Negotiate": 404, "/hub/one/negotiate/": 404, "/hub/one/": 404, "/hub%2fone": 404, "/hub/one%2Fnegotiate": 404,
		"/hub/./one/negotiate": 404, "/hub/x/../one/negotiate": 404, "/../hub/one/negotiate": 404, "/hub/one/negotiate/.": 404,
		"/": 404, "/hub": 404, "/negotiate": 404, "/hub/one/two": 404, "/hub/one/negotiate/negotiate": 404, "/hub//one": 404,
		"/hub/one/../negotiate": 404, "/hub/..one": 404,
	} {
		w := httptest.NewRecorder()
		sys.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "http://host"+path, nil))
		require.Equal(t, status, w.Code, path)
	}
}

// Behind http.StripPrefix, a path may lack its leading slash.
func TestAnyPathIsServedBehindStripPrefix(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*base, error) { return &base{}, nil }, hubsys.HubOptions{})
	require.NoError(t, hub.Map("/hub", hubsys.EndpointOptions{}))
	handler := http.StripPrefix("/x/", sys)
	for _, path := range []string{"/x/", "/x/.", "/x/..", "/x/./..", "/x/../..", "/x/../../hub", "/x//.", "/x/...", "/x/%2e%2e/%2E."} {
		w := httptest.NewRecorder()
		require.NotPanics(t, func() { handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "http://host"+path, nil)) }, path)
		require.Equal(t, http.StatusNotFound, w.Code, path)
	}
}

// TestDefaults checks the defaults that need no long waits.
func TestDefaults(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	c := dial(t, srv.url)
	// The largest message has 32768 bytes, including its separator.
	fits := invocation("fits", "Echo", "")
	fits = strings.Replace(fits, `[""]`, `["`+strings.Repeat("x", 32768-1-len(fits))+`"]`, 1)
	require.Len(t, fits, 32767)
	c.send(fits)
	require.Equal(t, "fits", c.next().InvocationID)
	// MaximumParallelInvocationsPerClient is one.
	both := make(chan struct{}, 2)
	srv.handle("alone", func(context.Context, *testHub, []json.RawMessage) (any, error) {
		both <- struct{}{}
		defer func() { <-both }()
		return len(both), nil
	})
	c.send(invocation("1", "Do", "alone", []any{}), invocation("2", "Do", "alone", []any{}))
	require.Equal(t, `{"type":3,"invocationId":"1","result":1}`, c.next().raw)
	require.Equal(t, `{"type":3,"invocationId":"2","result":1}`, c.next().raw)
	c.send(strings.Replace(fits, "xx", "xxx", 1))
	require.Equal(t, `{"type":7,"error":"Connection closed with an error.","allowReconnect":true}`, c.next().raw)
}

func TestNoLimitOfMessages(t *testing.T) {
	srv := newTestServer(t, testConfig{HubOptions: hubsys.HubOptions{MaximumReceiveMessageSize: hubsys.Unlimited, InboundLimit: 64 << 10}})
	c := dial(t, srv.url)
	long := strings.Repeat("x", 1<<20)
	require.Len(t, c.invoke("Echo", long).Result, len(long)+2)
}

func TestTimesOfAConnection(t *testing.T) {
	t.Parallel()
	causes := make(chan error, 1)
	srv := newTestServer(t, testConfig{
		HubOptions:     hubsys.HubOptions{HandshakeTimeout: time.Millisecond, KeepAliveInterval: time.Millisecond, ClientTimeoutInterval: 2 * time.Millisecond},
		onDisconnected: func(_ context.Context, _ *testHub, cause error) error { causes <- cause; return nil },
	})
	silent := dialSocket(t, srv.url, dialOptions{})
	silent.sendRaw(handshakeJSON) // without a separator
	stopsPinging := dial(t, srv.url)
	stopsPinging.send(`{"type":6}`)
	pinged := dial(t, srv.url)
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	_, ping, err := pinged.ws.Read(ctx)
	require.NoError(t, err)
	require.Equal(t, `{"type":6}`+separator, string(ping))
	require.Equal(t, `{"error":"Handshake was canceled."}`, silent.next().raw)
	require.Equal(t, 1000, int(silent.requireClosed()))
	require.Equal(t, `{"type":7,"error":"Connection closed with an error.","allowReconnect":true}`, stopsPinging.next().raw)
	require.Equal(t, 1000, int(stopsPinging.requireClosed()))
	require.ErrorIs(t, receive(t, causes), hubsys.ErrClientTimeout)
	pinged.requireNoMessages() // a client need not send pings before it has sent its first one
}
