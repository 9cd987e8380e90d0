package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// panickingLogHandler is a slog.Handler whose Handle panics.
type panickingLogHandler struct{ records *atomic.Int64 }

func (panickingLogHandler) Enabled(context.Context, slog.Level) bool { return true }
func (b panickingLogHandler) Handle(context.Context, slog.Record) error {
	b.records.Add(1)
	panic("the log is broken")
}
func (b panickingLogHandler) WithAttrs([]slog.Attr) slog.Handler { return b }
func (b panickingLogHandler) WithGroup(string) slog.Handler      { return b }

// A log handler that panics does not affect connections.
func TestALogHandlerThatPanicsAffectsNoConnection(t *testing.T) {
	t.Parallel()
	runInProcess(t, func(t *testing.T) {
		var records atomic.Int64
		left := make(chan error, 100)
		srv := newTestServer(t, testConfig{
			Config:          hubsys.Config{Logger: slog.New(panickingLogHandler{&records})},
			HubOptions:      hubsys.HubOptions{HandshakeTimeout: 4 * time.Second, KeepAliveInterval: 100 * time.Millisecond, MaximumReceiveMessageSize: 1000},
			EndpointOptions: hubsys.EndpointOptions{Authenticate: authenticateOrFail, CloseTimeout: time.Second},
			onConnected: func(_ context.Context, h *testHub) error {
				switch h.Call().Request().Query("do") {
				case "fail":
					return errors.New("no room")
				case "panic":
					panic("no room")
				}
				return nil
			},
			onDisconnected: func(_ context.Context, _ *testHub, cause error) error {
				left <- cause
				if cause != nil {
					panic("OnDisconnected")
				}
				return errors.New("OnDisconnected")
			},
		})
		srv.handle("fail", func(context.Context, *testHub, []json.RawMessage) (any, error) { return nil, errors.New("no disk") })
		srv.handle("panic", func(context.Context, *testHub, []json.RawMessage) (any, error) { panic("no disk") })
		others := newClientSet(srv, 3)

		c := dial(t, srv.url)
		for _, name := range []string{"fail", "panic"} {
			c.invokeError("Do", name, []any{})
		}
		c.invokeError("NoSuch")
		c.invokeError("Do", 1, 2)
		c.requireNoMessages()
		others.requireWorking()
		c.close()
		receive(t, left)

		for _, bytes := range []string{"garbage" + separator, string(make([]byte, 2000)), `{"type":7,"error":"bye"}` + separator} {
			c := dialHandshake(t, srv.url, dialOptions{})
			c.send(invocation("ready", "Echo", 1))
			for c.next().Type != 3 {
			}
			c.sendRaw(bytes)
			requireDisconnected(t, c)
			receive(t, left)
			others.requireWorking()
		}
		for _, do := range []string{"fail", "panic"} { // the connection is refused
			c := dialSocket(t, srv.url+"?do="+do, dialOptions{})
			c.send(handshakeJSON)
			requireDisconnected(t, c)
			others.requireWorking()
		}
		for _, bytes := range []string{"garbage" + separator, `{"protocol":"none","version":1}` + separator, ""} { // "": no handshake in time
			c := dialSocket(t, srv.url, dialOptions{})
			if bytes != "" {
				c.sendRaw(bytes)
			}
			requireDisconnected(t, c)
			others.requireWorking()
		}
		for do, want := range map[string]int{"deny": http.StatusUnauthorized, "forbid": http.StatusForbidden, "panic": http.StatusInternalServerError} {
			status, _ := post(t, srv.url+"/negotiate?negotiateVersion=1&auth="+do, nil)
			require.Equal(t, want, status, do)
		}
		others.awaitPings(2)
		others.requireWorking()
		require.Empty(t, left)
		require.Greater(t, records.Load(), int64(10), "messages were logged")
		require.NoError(t, shutdown(srv.sys))
	})
}

// requireDisconnected requires that the server closes a connection.
func requireDisconnected(t *testing.T, c *testClient) {
	t.Helper()
	for {
		if _, err := c.read(); err != nil {
			require.NotErrorIs(t, err, context.DeadlineExceeded, "the connection is still open")
			return
		}
	}
}

// authenticateOrFail fails as the query parameter auth says.
func authenticateOrFail(r *http.Request) (*hubsys.Principal, error) {
	switch r.URL.Query().Get("auth") {
	case "deny":
		return nil, errors.New("denied")
	case "forbid":
		return nil, hubsys.ErrForbidden
	case "panic":
		panic("no keys")
	}
	return nil, nil
}
