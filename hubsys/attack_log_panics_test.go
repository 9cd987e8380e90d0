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

// brokenLog is a handler for logs that panics.
type brokenLog struct{ records *atomic.Int64 }

func (brokenLog) Enabled(context.Context, slog.Level) bool { return true }
func (b brokenLog) Handle(context.Context, slog.Record) error {
	b.records.Add(1)
	panic("the log is broken")
}
func (b brokenLog) WithAttrs([]slog.Attr) slog.Handler { return b }
func (b brokenLog) WithGroup(string) slog.Handler      { return b }

// With a log that panics, everything goes on as if there were none.
func TestALogThatPanics(t *testing.T) {
	t.Parallel()
	apart(t, func(t *testing.T) {
		var records atomic.Int64
		left := make(chan error, 100)
		w := newWorld(t, setup{
			Config:          hubsys.Config{Logger: slog.New(brokenLog{&records})},
			HubOptions:      hubsys.HubOptions{HandshakeTimeout: time.Second, KeepAliveInterval: 100 * time.Millisecond, MaximumReceiveMessageSize: 1000},
			EndpointOptions: hubsys.EndpointOptions{Authenticate: byQueryOrNot, CloseTimeout: time.Second},
			connected: func(_ context.Context, h *lab) error {
				switch h.Call().Request().Query("do") {
				case "fail":
					return errors.New("no room")
				case "panic":
					panic("no room")
				}
				return nil
			},
			disconnected: func(_ context.Context, _ *lab, cause error) error {
				left <- cause
				if cause != nil {
					panic("OnDisconnected")
				}
				return errors.New("OnDisconnected")
			},
		})
		w.on("fail", func(context.Context, *lab, []json.RawMessage) (any, error) { return nil, errors.New("no disk") })
		w.on("panic", func(context.Context, *lab, []json.RawMessage) (any, error) { panic("no disk") })
		others := newNeighbours(w, 3)

		c := dial(t, w.url)
		for _, name := range []string{"fail", "panic"} {
			c.fails("Do", name, []any{})
		}
		c.fails("NoSuch")
		c.fails("Do", 1, 2)
		c.quiet()
		others.fine()
		c.leave()
		wait(t, left)

		for _, bytes := range []string{"garbage" + separator, string(make([]byte, 2000)), `{"type":7,"error":"bye"}` + separator} {
			c := shake(t, w.url, dialing{})
			c.send(invocation("ready", "Echo", 1))
			for c.next().Type != 3 {
			}
			c.sendRaw(bytes)
			closes(t, c)
			wait(t, left)
			others.fine()
		}
		for _, do := range []string{"fail", "panic"} { // the connection is refused
			c := open(t, w.url+"?do="+do, dialing{})
			c.send(greeting)
			closes(t, c)
			others.fine()
		}
		for _, bytes := range []string{"garbage" + separator, `{"protocol":"none","version":1}` + separator, ""} { // "": no handshake in time
			c := open(t, w.url, dialing{})
			if bytes != "" {
				c.sendRaw(bytes)
			}
			closes(t, c)
			others.fine()
		}
		for do, want := range map[string]int{"deny": http.StatusUnauthorized, "forbid": http.StatusForbidden, "panic": http.StatusInternalServerError} {
			status, _ := post(t, w.url+"/negotiate?negotiateVersion=1&auth="+do, nil)
			require.Equal(t, want, status, do)
		}
		others.pinged(2)
		others.fine()
		require.Empty(t, left)
		require.Greater(t, records.Load(), int64(10), "the test itself: it was logged")
		require.NoError(t, shutdown(w.sys))
	})
}

// closes makes sure that the server ends a connection.
func closes(t *testing.T, c *client) {
	t.Helper()
	for {
		if _, err := c.read(); err != nil {
			require.NotErrorIs(t, err, context.DeadlineExceeded, "the connection goes on")
			return
		}
	}
}

// byQueryOrNot does what the query says.
func byQueryOrNot(r *http.Request) (*hubsys.Principal, error) {
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
