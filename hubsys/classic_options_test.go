package hubsys_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

func TestClassicOptionsThatAreValid(t *testing.T) {
	for _, o := range []hubsys.ClassicOptions{
		{},
		{KeepAlive: hubsys.Unlimited},
		{KeepAlive: 2 * time.Second},
		{KeepAlive: 10 * time.Second},
		{DisconnectTimeout: 6 * time.Second},
		{DisconnectTimeout: 6 * time.Second, KeepAlive: 2 * time.Second},
		{DisconnectTimeout: time.Hour, KeepAlive: 20 * time.Minute},
		{ConnectionTimeout: time.Microsecond, TransportConnectTimeout: time.Hour, LongPollDelay: time.Second, TransportSendTimeout: time.Minute},
		{MaximumMessageSize: 1, ReplayLimit: 1, RequestHeaderLimit: 1},
		{AllowedOrigins: []string{"https://app.example"}, AllowCredentials: true},
		{AllowedOrigins: []string{"*"}},
	} {
		require.NoError(t, o.Validate(), "%+v", o)
		require.NoError(t, newSystem(t, hubsys.Config{}).MapClassic("/signalr", o))
	}
}

// Everything that is wrong is reported at once, with the name of its option.
func TestClassicOptionsThatAreNotValid(t *testing.T) {
	all := hubsys.ClassicOptions{
		Hubs: []*hubsys.HubContext{nil}, AllowedOrigins: []string{"app.example"}, KeepAlive: time.Second, DisconnectTimeout: 5 * time.Second, ConnectionTimeout: -1,
		TransportConnectTimeout: 5, LongPollDelay: -time.Second, TransportSendTimeout: 10, MaximumMessageSize: -1, ReplayLimit: -1, RequestHeaderLimit: -1,
	}
	names := []string{
		"Hubs[0] is nil", "AllowedOrigins", "KeepAlive is 1s", "DisconnectTimeout is 5s", "ConnectionTimeout is -1ns: it is not negative",
		"TransportConnectTimeout is 5ns: a number alone means nanoseconds", "LongPollDelay is -1s", "TransportSendTimeout is 10ns", "MaximumMessageSize is -1", "ReplayLimit is -1",
		"RequestHeaderLimit is -1",
	}
	err := all.Validate()
	for _, name := range names {
		assert.ErrorContains(t, err, name)
	}
	require.ErrorContains(t, err, "hubsys: ClassicOptions:")
	require.Equal(t, len(names), strings.Count(err.Error(), "\n")+1, "%v", err)
	require.EqualError(t, newSystem(t, hubsys.Config{}).MapClassic("/signalr", all), err.Error())

	for want, o := range map[string]hubsys.ClassicOptions{
		"KeepAlive is 10.000000001s":                 {KeepAlive: 10*time.Second + 1},
		"KeepAlive is 1.999s":                        {KeepAlive: 1999 * time.Millisecond},
		"KeepAlive is -2ns":                          {KeepAlive: -2},
		"KeepAlive is 3s":                            {KeepAlive: 3 * time.Second, DisconnectTimeout: 8 * time.Second},
		"a third of DisconnectTimeout, 2.666666666s": {KeepAlive: 3 * time.Second, DisconnectTimeout: 8 * time.Second},
		"DisconnectTimeout is 5.999s":                {DisconnectTimeout: 5999 * time.Millisecond},
		"DisconnectTimeout is -1ns":                  {DisconnectTimeout: hubsys.Unlimited},
		"MaximumMessageSize is 4294967296":           {MaximumMessageSize: 1 << 32},
		"Hubs[1] is nil":                             {Hubs: make([]*hubsys.HubContext, 2)},
	} {
		assert.ErrorContains(t, o.Validate(), want)
	}
}

func TestKeysOfTheConfiguration(t *testing.T) {
	key := make([]byte, 32)
	require.NoError(t, hubsys.Config{Keys: [][]byte{key, key}}.Validate())
	for _, keys := range [][][]byte{{nil}, {key, key[:31]}, {make([]byte, 33)}, {make([]byte, 16), key}} {
		config := hubsys.Config{Keys: keys}
		require.ErrorContains(t, config.Validate(), "bytes, not 32")
		_, err := hubsys.New(config)
		require.ErrorContains(t, err, "bytes, not 32")
	}
	log := &logRecorder{}
	sys := newSystem(t, hubsys.Config{Logger: log.logger(), Keys: [][]byte{key}})
	require.NoError(t, sys.MapClassic("/signalr", hubsys.ClassicOptions{}))
	require.NotContains(t, log.String(), "Config.Keys")
}

// No two endpoints can be asked for the same path.
func TestPathsOfMapClassic(t *testing.T) {
	for _, test := range []struct {
		classic, core []string // that are mapped before
		path          string   // for a classic endpoint
		fault         string   // part of the error; empty: none
	}{
		{nil, nil, "/signalr", ""},
		{nil, nil, "/a/b/c", ""},
		{nil, nil, "/", ""},
		{nil, nil, "", "is not the path of an endpoint"},
		{nil, nil, "signalr", "is not the path of an endpoint"},
		{nil, nil, "/signalr/", "is not the path of an endpoint"},
		{nil, nil, "/a//b", "is not the path of an endpoint"},
		{nil, nil, "/a/../b", "is not the path of an endpoint"},
		{nil, nil, "/a b", "is not the path of an endpoint"},
		{nil, nil, "/a%20b", "is not the path of an endpoint"},
		{nil, nil, "/{a}", "is not the path of an endpoint"},
		{[]string{"/signalr"}, nil, "/signalr", `there is one for SignalR 2 at "/signalr"`},
		{[]string{"/signalr"}, nil, "/signalr/below", `there is one for SignalR 2 at "/signalr"`},
		{[]string{"/a/b"}, nil, "/a", `there is one for SignalR 2 at "/a/b"`},
		{[]string{"/signalr"}, nil, "/", `there is one for SignalR 2 at "/signalr"`},
		{[]string{"/"}, nil, "/signalr", `there is one for SignalR 2 at "/"`},
		{[]string{"/signalr", "/x"}, nil, "/signalr2", ""},
		{[]string{"/signalr"}, nil, "/signal", ""},
		{[]string{"/signalr"}, nil, "/SignalR", ""},
		{nil, []string{"/signalr"}, "/signalr", `there is one at "/signalr"`},
		{nil, []string{"/signalr/chat"}, "/signalr", `there is one at "/signalr/chat"`},
		{nil, []string{"/chat"}, "/", `there is one at "/chat"`},
		{nil, []string{"/chat"}, "/signalr", ""},
		{nil, []string{"/chat"}, "/chat/signalr", ""},
		{nil, []string{"/signalr2"}, "/signalr", ""},
	} {
		sys := newSystem(t, hubsys.Config{})
		hub := register[*base](t, sys, nil, hubsys.HubOptions{})
		for _, path := range test.classic {
			require.NoError(t, sys.MapClassic(path, hubsys.ClassicOptions{}))
		}
		for _, path := range test.core {
			require.NoError(t, hub.Map(path, hubsys.EndpointOptions{}))
		}
		err := sys.MapClassic(test.path, hubsys.ClassicOptions{})
		if test.fault == "" {
			assert.NoError(t, err, "%+v", test)
		} else {
			assert.ErrorContains(t, err, test.fault, "%+v", test)
		}
	}
}

func TestPathsOfHubsBesideMapClassic(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	hub := register[*base](t, sys, nil, hubsys.HubOptions{})
	require.NoError(t, sys.MapClassic("/signalr", hubsys.ClassicOptions{}))
	require.NoError(t, sys.MapClassic("/a/b", hubsys.ClassicOptions{}))
	for path, free := range map[string]bool{"/signalr": false, "/signalr/chat": false, "/a/b": false, "/a/b/c": false, "/a": true, "/signalr2": true, "/": true} {
		err := hub.Map(path, hubsys.EndpointOptions{})
		if free {
			assert.NoError(t, err, path)
		} else {
			assert.ErrorContains(t, err, "it is below a path of MapClassic", path)
		}
	}
	require.Equal(t, []string{"/a", "/a/b/", "/a/negotiate", "/negotiate", "/signalr/", "/signalr2", "/signalr2/negotiate", "/{$}"}, sys.Patterns())
}

// The patterns are all that a mux needs.
func TestClassicClientsBehindAMux(t *testing.T) {
	srv := newClassicServer(t, classicConfig{})
	mux := http.NewServeMux()
	for _, pattern := range srv.sys.Patterns() {
		mux.Handle(pattern, srv.sys)
	}
	srv.http.Config.Handler = mux
	overClassicTransports(t, func(t *testing.T, transport string) {
		c := dialClassic(t, srv, transport)
		c.invoke("CallMe", 1)
		c.requireCall("called", 1)
	})
	require.Equal(t, `"x"`, string(dial(t, srv.http.URL+"/test").invoke("Echo", "x").Result))
}

// A path may serve some of the hubs. The others are unknown there.
func TestAPathWithSomeOfTheHubs(t *testing.T) {
	srv := newClassicServer(t, classicConfig{})
	require.NoError(t, srv.sys.MapClassic("/some", hubsys.ClassicOptions{Hubs: []*hubsys.HubContext{srv.other}}))
	c := newClassicClient(t, srv.http.URL+"/some", "serverSentEvents")
	status, _ := c.request(http.MethodGet, "/negotiate", nil, nil)
	require.Equal(t, http.StatusInternalServerError, status)
	c.hubs = `[{"name":"other"}]`
	c.negotiate()
	c.connect()
	c.start()
	status, body := c.send(`{"H":"chat","M":"Echo","A":[1],"I":1}`)
	require.Equal(t, http.StatusInternalServerError, status)
	require.Empty(t, body)
	status, body = c.send(`{"H":"other","M":"Echo","A":[1],"I":1}`)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, `{"R":1,"I":"1"}`, body)

	both := newClassicClient(t, srv.address, "serverSentEvents") // a client of another path is among the same clients
	both.hubs = bothHubs
	both.negotiate()
	both.connect()
	both.start()
	require.NoError(t, srv.other.Clients().All().Send(t.Context(), "called"))
	require.Equal(t, classicCall("Other", "called"), c.next())
	require.Equal(t, classicCall("Other", "called"), both.next())

	c.abort()
	srv.awaitEvents(c.id, "Other connected", "Other disconnected")
}

func TestHeadersOfClassicRequestsAreLimited(t *testing.T) {
	srv := newClassicServer(t, classicConfig{ClassicOptions: hubsys.ClassicOptions{RequestHeaderLimit: 2000}})
	c := newClassicClient(t, srv.address, "longPolling")
	for what, want := range map[string]int{"/negotiate": http.StatusOK, "/ping": http.StatusOK} {
		status, _ := c.request(http.MethodGet, what, nil, nil)
		require.Equal(t, want, status)
		c.query.Set("x", strings.Repeat("x", 2000))
		status, body := c.request(http.MethodGet, what, nil, nil)
		require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, status)
		require.Empty(t, body)
		c.query.Del("x")
	}
}

// The defaults of endpoints are those of paths for SignalR 2 as well, so that nobody is let in who is not let in elsewhere.
func TestDefaultsOfEndpointsOfClassicClients(t *testing.T) {
	srv := newClassicServer(t, classicConfig{Config: hubsys.Config{EndpointDefaults: hubsys.EndpointOptions{
		Authenticate: func(r *http.Request) (*hubsys.Principal, error) {
			if p, err := principalOf(r); p != nil || err != nil {
				return p, err
			}
			return nil, hubsys.ErrForbidden
		},
		AllowedOrigins: []string{"https://app.example"}, AllowCredentials: true, RequestHeaderLimit: 2000,
	}}})
	require.NoError(t, srv.sys.MapClassic("/own", hubsys.ClassicOptions{
		Authenticate:   func(*http.Request) (*hubsys.Principal, error) { return nil, nil },
		AllowedOrigins: []string{"https://other.example"}, RequestHeaderLimit: 4000,
	}))
	negotiate := func(path, origin string, size int, header http.Header) (status int, allowed http.Header) {
		header = with(header, "Origin", origin)
		response, _ := classicGet(t, http.MethodGet, srv.http.URL+path+"/negotiate?x="+strings.Repeat("x", size), header)
		return response.StatusCode, response.Header
	}
	const app, other = "https://app.example", "https://other.example"
	for _, test := range []struct {
		path, origin string
		size         int
		header       http.Header
		status       int
		allowed      string
		credentials  string
	}{
		{"/signalr", app, 0, userHeader("ada"), http.StatusOK, app, "true"},
		{"/signalr", app, 0, nil, http.StatusForbidden, app, "true"},
		{"/signalr", other, 0, userHeader("ada"), http.StatusOK, "", ""},
		{"/signalr", app, 2000, userHeader("ada"), http.StatusRequestHeaderFieldsTooLarge, "", ""},
		{"/own", other, 0, nil, http.StatusOK, other, ""},
		{"/own", other, 2000, nil, http.StatusOK, other, ""},
		{"/own", app, 0, nil, http.StatusOK, "", ""},
	} {
		status, header := negotiate(test.path, test.origin, test.size, test.header)
		assert.Equal(t, test.status, status, "%+v", test)
		assert.Equal(t, test.allowed, header.Get("Access-Control-Allow-Origin"), "%+v", test)
		assert.Equal(t, test.credentials, header.Get("Access-Control-Allow-Credentials"), "%+v", test)
	}
}

// Proxies must neither compress what is streamed nor keep it.
func TestStreamsOfClassicClientsPassProxies(t *testing.T) {
	srv := newClassicServer(t, classicConfig{})
	for _, transport := range []string{"serverSentEvents", "foreverFrame", "longPolling"} {
		c := newClassicClient(t, srv.address, transport)
		c.negotiate()
		response := c.do(t.Context(), http.MethodPost, "/connect", map[string][]string{"frameId": {"1"}}, nil)
		require.Equal(t, http.StatusOK, response.StatusCode)
		assert.Equal(t, "no", response.Header.Get("X-Accel-Buffering"), transport)
		assert.Contains(t, response.Header.Get("Cache-Control"), "no-cache", transport)
		if transport != "longPolling" {
			assert.Equal(t, "identity", response.Header.Get("Content-Encoding"), transport)
		}
		response.Body.Close()
	}
}
