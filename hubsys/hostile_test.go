package hubsys_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

const closeErrorJSON = `{"type":7,"error":"Connection closed with an error.","allowReconnect":true}`

// Invalid input of a client is handled as the specification says, and does not affect other clients.
func TestWhatClientsDoWrong(t *testing.T) {
	var connected, ticks atomic.Int32
	srv := newTestServer(t, testConfig{onConnected: func(context.Context, *testHub) error { connected.Add(1); return nil }})
	srv.handle("tick", func(context.Context, *testHub, []json.RawMessage) (any, error) { return ticks.Add(1), nil })
	bystander := dial(t, srv.url)
	long := strings.Repeat("x", 33<<10)
	many := func(record string) string { return strings.Repeat(record+separator, 10000) }
	staysOpen := []string{"open"}
	for name, test := range map[string]struct {
		silent bool // no handshake is sent first
		send   string
		want   []string // messages, after which the connection is closed with 1000; "open": it is not closed
	}{
		"handshake: garbage":              {true, "hello" + separator, []string{`{"error":"An unexpected error occurred during connection handshake."}`}},
		"handshake: nothing in it":        {true, separator, []string{`{"error":"An unexpected error occurred during connection handshake."}`}},
		"handshake: no version":           {true, `{"protocol":"json"}` + separator, []string{`{"error":"An unexpected error occurred during connection handshake."}`}},
		"handshake: a call instead":       {true, invocation("1", "Echo", 1) + separator, []string{`{"error":"An unexpected error occurred during connection handshake."}`}},
		"handshake: another protocol":     {true, `{"protocol":"msgpackish","version":1}` + separator, []string{`{"error":"The protocol 'msgpackish' is not supported."}`}},
		"handshake: a later version":      {true, `{"protocol":"JSON","version":3}` + separator, []string{`{"error":"The server does not support version 3 of the 'json' protocol."}`}},
		"handshake: too large":            {true, long, []string{`{"error":"Handshake was canceled."}`}},
		"handshake: too large, whole":     {true, `{"protocol":"json","version":1,"x":"` + long + `"}` + separator, []string{`{"error":"Handshake was canceled."}`}},
		"handshake: unusual but valid":    {true, `{"x":[{}],"version":0,"protocol":"JSON"}` + separator, []string{"{}", "open"}},
		"handshake and calls in one":      {true, handshakeJSON + separator + invocation("1", "Echo", 1) + separator, []string{"{}", `{"type":3,"invocationId":"1","result":1}`, "open"}},
		"garbage":                         {false, "garbage" + separator, []string{closeErrorJSON}},
		"nothing":                         {false, separator, []string{closeErrorJSON}},
		"an array":                        {false, "[]" + separator, []string{closeErrorJSON}},
		"no type":                         {false, "{}" + separator, []string{closeErrorJSON}},
		"a type that is no number":        {false, `{"type":"1"}` + separator, []string{closeErrorJSON}},
		"a call, then garbage":            {false, invocation("1", "Echo", 1) + separator + "garbage" + separator + invocation("2", "Echo", 1) + separator, []string{`{"type":3,"invocationId":"1","result":1}`, closeErrorJSON}},
		"a call without arguments":        {false, `{"type":1,"invocationId":"1","target":"Echo"}` + separator, []string{closeErrorJSON}},
		"a message too large":             {false, long + separator, []string{closeErrorJSON}},
		"a message too large without end": {false, long, []string{closeErrorJSON}},
		"a call, then one too large":      {false, invocation("1", "Echo", 1) + separator + invocation("2", "Echo", long) + separator, []string{`{"type":3,"invocationId":"1","result":1}`, closeErrorJSON}},
		"10,000 pings in one message":     {false, many(`{"type":6}`), staysOpen},
		"10,000 calls in one message":     {false, many(invocation("", "Do", "tick", []any{})), staysOpen},
		"10,000 unknown calls":            {false, many(invocation("", "NoSuch")), staysOpen},
		"10,000 empty messages":           {false, strings.Repeat(separator, 10000), []string{closeErrorJSON}},
		"unknown types":                   {false, `{"type":0}` + separator + `{"type":-1}` + separator + `{"type":10}` + separator + `{"type":99,"x":{}}` + separator, staysOpen},
		"an unknown method":               {false, invocation("1", "NoSuch", 1) + separator, []string{`{"type":3,"invocationId":"1","error":"Failed to invoke 'NoSuch' due to an error on the server. HubException: Method does not exist."}`, "open"}},
		"too few arguments":               {false, invocation("1", "Echo") + separator, []string{`{"type":3,"invocationId":"1","error":"Failed to invoke 'Echo' due to an error on the server."}`, "open"}},
		"too many arguments":              {false, invocation("1", "Echo", 1, 2) + separator, []string{`{"type":3,"invocationId":"1","error":"Failed to invoke 'Echo' due to an error on the server."}`, "open"}},
		"arguments of wrong types":        {false, invocation("1", "Do", 1, "2") + separator, []string{`{"type":3,"invocationId":"1","error":"Failed to invoke 'Do' due to an error on the server."}`, "open"}},
		"a completion of nothing":         {false, `{"type":3,"invocationId":"none","result":1}` + separator, staysOpen},
		"a completion with both":          {false, `{"type":3,"invocationId":"none","result":1,"error":"e"}` + separator, []string{closeErrorJSON}},
		"an item and a cancel of nothing": {false, `{"type":2,"invocationId":"none","item":1}` + separator + `{"type":5,"invocationId":"none"}` + separator, staysOpen},
		"acknowledgements of nothing":     {false, `{"type":8,"sequenceId":7}` + separator + `{"type":9,"sequenceId":1}` + separator, staysOpen},
		"one id for two calls at once":    {false, invocation("1", "Echo", 1) + separator + invocation("1", "Echo", 2) + separator, []string{`{"type":3,"invocationId":"1","result":1}`, `{"type":3,"invocationId":"1","result":2}`, "open"}},
		"half a message, then the other":  {false, `{"type":1,"invocationId":"1","target":"Ec`, staysOpen},
		"a name that looks like JSON":     {false, `{"type":1,"invocationId":"1","target":"\"}\u001e","arguments":[]}` + separator, []string{`{"type":3,"invocationId":"1","error":"Failed to invoke '\"}\u001e' due to an error on the server. HubException: Method does not exist."}`, "open"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := dialSocket(t, srv.url, dialOptions{})
			if !test.silent {
				c.send(handshakeJSON)
				require.Equal(t, "{}", c.next().raw)
			}
			before := connected.Load()
			c.sendRaw(test.send)
			if strings.HasPrefix(name, "half a message") {
				c.sendRaw(`ho","arguments":[1]}` + separator)
				require.Equal(t, `{"type":3,"invocationId":"1","result":1}`, c.next().raw)
			}
			for _, want := range test.want {
				if want == "open" {
					c.requireNoMessages()
					c.close()
				} else {
					require.Equal(t, want, c.next().raw)
				}
			}
			if test.want[len(test.want)-1] != "open" {
				require.EqualValues(t, 1000, c.requireClosed())
				if test.silent {
					require.Equal(t, before, connected.Load(), "OnConnected")
				}
			}
			bystander.requireNoMessages()
		})
	}
	require.EqualValues(t, 10000, ticks.Load())
}

// A client that disconnects during its handshake does not reach OnConnected and OnDisconnected.
func TestHalfAHandshake(t *testing.T) {
	srv := newTestServer(t, testConfig{
		onConnected:    func(context.Context, *testHub) error { t.Error("OnConnected"); return nil },
		onDisconnected: func(context.Context, *testHub, error) error { t.Error("OnDisconnected"); return nil },
	})
	for _, half := range []string{"", "{", `{"protocol":"json","version":1}`} {
		c := dialSocket(t, srv.url, dialOptions{})
		if half != "" {
			c.sendRaw(half)
		}
		c.close()
		c = dialSocket(t, srv.url, dialOptions{})
		c.sendRaw(half + " ")
		_ = c.ws.CloseNow()
	}
	require.NoError(t, srv.sys.Shutdown(t.Context()))
}

// statusRecorder is a ResponseWriter of a middleware.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (w *statusRecorder) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}
func (w *statusRecorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func TestASystemUnderMuxPrefixAndMiddleware(t *testing.T) {
	statuses := make(chan int, 10)
	srv := newTestServer(t, testConfig{configure: func(s *httptest.Server) {
		hubs := s.Config.Handler
		mux := http.NewServeMux()
		mux.Handle("/app/v1/", http.StripPrefix("/app/v1", hubs))
		mux.Handle("/", hubs)
		s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rw := &statusRecorder{ResponseWriter: &statusRecorder{ResponseWriter: w}}
			mux.ServeHTTP(rw, r)
			statuses <- rw.status
		})
	}})
	for _, url := range []string{srv.url, strings.Replace(srv.url, "/test", "/app/v1/test", 1)} {
		c, _ := dialWithID(t, url, nil)
		require.Zero(t, receive(t, statuses), "net/http's own 200")
		require.Equal(t, http.StatusSwitchingProtocols, receive(t, statuses))
		c.requireNoMessages()
	}
}

// unhijackable is a ResponseWriter without Hijack.
type unhijackable struct{ http.ResponseWriter }

func TestAResponseWriterWithoutHijackIsRefused(t *testing.T) {
	srv := newTestServer(t, testConfig{configure: func(s *httptest.Server) {
		hubs := s.Config.Handler
		s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Has("bare") {
				hubs.ServeHTTP(w, r)
			} else {
				hubs.ServeHTTP(unhijackable{w}, r)
			}
		})
	}})
	_, status, err := tryDialSocket(t, srv.url, dialOptions{})
	require.Error(t, err, "it is not opened")
	require.GreaterOrEqual(t, status, 500)
	dial(t, srv.url+"?bare").requireNoMessages()
}

// The timeouts of the http.Server do not apply after the upgrade.
func TestTimeoutsOfTheServerDoNotApplyAfterTheUpgrade(t *testing.T) {
	const timeout = 100 * time.Millisecond
	for _, tls := range []bool{false, true} {
		t.Run(fmt.Sprint("tls=", tls), func(t *testing.T) {
			srv := newTestServer(t, testConfig{tls: tls, configure: func(s *httptest.Server) {
				s.Config.ReadTimeout, s.Config.WriteTimeout, s.Config.ReadHeaderTimeout, s.Config.IdleTimeout = timeout, timeout, timeout, timeout
			}})
			later := make(chan struct{})
			time.AfterFunc(3*timeout, func() { close(later) })
			srv.handle("later", func(context.Context, *testHub, []json.RawMessage) (any, error) { <-later; return "later", nil })
			c := dialWith(t, srv.url, dialOptions{client: insecureClient(&http.Client{Transport: &http.Transport{}})})
			require.Equal(t, `"later"`, c.do("later"))
			c.requireNoMessages()
		})
	}
}

func TestALogHoldsNoSecrets(t *testing.T) {
	srv := newTestServer(t, testConfig{
		EndpointOptions: hubsys.EndpointOptions{Authenticate: authenticateByQuery},
		onConnected: func(_ context.Context, h *testHub) error {
			h.srv.log.logger().Info("connected", "request", h.Call().Request())
			return nil
		},
	})
	srv.handle("fail", func(context.Context, *testHub, []json.RawMessage) (any, error) { panic("fails") })
	header := http.Header{"Authorization": {"Bearer SECRET"}, "Cookie": {"session=SECRET"}}
	_, token := negotiate(t, srv.url, header)
	for _, id := range []string{"", "&id=" + token} {
		c := dialWith(t, srv.url+"?access_token=SECRET"+id, dialOptions{header: header})
		c.invokeError("Do", "fail", []any{})
		c.invokeError("NoSuch")
		c.invokeError("Do", "SECRET")
		c.send("garbage SECRET")
		require.Equal(t, closeErrorJSON, c.next().raw)
		c.requireClosed()
	}
	_, _, err := tryDialSocket(t, srv.url+"?access_token=SECRET&id="+token, dialOptions{header: header})
	require.Error(t, err)
	require.NoError(t, srv.sys.Shutdown(t.Context()))
	require.Contains(t, srv.log.String(), "path=/test")
	require.NotContains(t, srv.log.String(), "SECRET")
	require.NotContains(t, srv.log.String(), token)
}

// A client may send more calls than InboundLimit allows: the server reads them later, and none is lost.
func TestAFloodOfCallsWaits(t *testing.T) {
	const calls = 5000 / raceFactor
	srv := newTestServer(t, testConfig{HubOptions: hubsys.HubOptions{InboundLimit: 64 << 10}})
	proceed := make(chan struct{})
	var ran atomic.Int32
	srv.handle("count", func(context.Context, *testHub, []json.RawMessage) (any, error) { <-proceed; return ran.Add(1), nil })
	bystander, c := dial(t, srv.url), dial(t, srv.url)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for range calls {
			c.send(invocation("", "Do", "count", []any{strings.Repeat("x", 500)}))
		}
		c.send(invocation("last", "Echo", 1))
	}()
	bystander.requireNoMessages()
	close(proceed)
	c.awaitCompletion("last")
	receive(t, sent)
	require.EqualValues(t, calls, ran.Load())
	bystander.requireNoMessages()
}
