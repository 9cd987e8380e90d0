package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	troupev1 "github.com/troupe-go/troupe/proto/troupe/v1"
)

// findLogLine shuts down the System, and returns the line of its log that contains all the parts.
func (srv *testServer) findLogLine(parts ...string) string {
	srv.t.Helper()
	require.NoError(srv.t, srv.sys.Shutdown(srv.t.Context()))
lines:
	for line := range strings.Lines(srv.log.String()) {
		for _, part := range parts {
			if !strings.Contains(line, part) {
				continue lines
			}
		}
		return line
	}
	require.Fail(srv.t, "no such line in the log", "%q in\n%s", parts, srv.log)
	return ""
}

// sendAndReadAll sends a text, and reads until the server closes the connection.
func sendAndReadAll(c *testClient, text string) {
	c.sendRaw(text)
	for {
		if _, err := c.read(); err != nil {
			return
		}
	}
}

func TestErrorfWraps(t *testing.T) {
	err := hubsys.Errorf("no %s: %w, %w", "room", io.EOF, hubsys.ErrForbidden)
	require.EqualError(t, err, "no room: EOF, hubsys: forbidden")
	require.ErrorIs(t, err, io.EOF)
	require.ErrorIs(t, err, hubsys.ErrForbidden)
	require.ErrorIs(t, hubsys.Errorf("no more: %w", io.EOF), io.EOF)
	require.Equal(t, &hubsys.HubError{Message: "5 are too many"}, hubsys.Errorf("%d are too many", 5))
}

func TestTheCauseOfARefusedConnectionIsLogged(t *testing.T) {
	for level, refusal := range map[string]error{"level=ERROR": errors.New("no database"), "level=DEBUG": hubsys.Errorf("no room")} {
		srv := newTestServer(t, testConfig{onConnected: func(context.Context, *testHub) error { return refusal }})
		sendAndReadAll(dialSocket(t, srv.url, dialOptions{}), handshakeJSON+separator)
		srv.findLogLine(level, `"a connection is refused"`, "method=OnConnected", refusal.Error())
	}
}

func TestTheCauseOfAClosedConnectionIsLogged(t *testing.T) {
	srv := newTestServer(t, testConfig{HubOptions: hubsys.HubOptions{MaximumReceiveMessageSize: 100}})
	sendAndReadAll(dialSocket(t, srv.url, dialOptions{}), handshakeJSON+separator+strings.Repeat("x", 200))
	srv.findLogLine("level=INFO", `"a connection is closed"`, "hub=testHub", "maximum message size of 100B")

	srv = newTestServer(t, testConfig{})
	sendAndReadAll(dialSocket(t, srv.url, dialOptions{}), `{"protocol":"none","version":1}`+separator)
	srv.findLogLine("level=DEBUG", `"a connection is closed"`, "'none' is not supported")
}

func TestHubErrorsAreLoggedAtDebugLevel(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	srv.handle("refuse", func(context.Context, *testHub, []json.RawMessage) (any, error) { return nil, hubsys.Errorf("not now") })
	srv.handle("fail", func(context.Context, *testHub, []json.RawMessage) (any, error) { return nil, errors.New("no disk") })
	c := dial(t, srv.url)
	c.invokeError("Do", "refuse", []any{})
	c.invokeError("Do", "fail", []any{})
	c.invokeError("Missing")
	c.close()
	srv.findLogLine("level=DEBUG", "a hub method failed", "method=Do", "not now")
	srv.findLogLine("level=ERROR", "a hub method failed", "method=Do", "no disk")
	srv.findLogLine("level=DEBUG", "an unknown method was called", "method=Missing")
}

func TestAPanicInAuthenticateIsLogged(t *testing.T) {
	srv := newTestServer(t, testConfig{
		EndpointOptions: hubsys.EndpointOptions{Authenticate: func(*http.Request) (*hubsys.Principal, error) { panic("no keys") }},
	})
	status, _ := post(t, srv.url+"/negotiate?negotiateVersion=1", nil)
	require.Equal(t, http.StatusInternalServerError, status)
	srv.findLogLine("level=ERROR", "Authenticate panicked", "no keys", "stack=")
}

func TestARequestOfAnotherUserIsLogged(t *testing.T) {
	srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{Authenticate: func(r *http.Request) (*hubsys.Principal, error) {
		return &hubsys.Principal{UserID: r.Header.Get("User")}, nil
	}}})
	_, token := negotiate(t, srv.url, http.Header{"User": {"alice"}})
	_, status, err := tryDialSocket(t, srv.url+"?id="+token, dialOptions{header: http.Header{"User": {"bob"}}})
	require.Error(t, err)
	require.Equal(t, http.StatusForbidden, status)
	srv.findLogLine("level=DEBUG", "a request was refused", "status=403", "negotiated by another user")
}

// A second Shutdown returns at the deadline of its own context.
func TestASecondShutdownHasItsOwnDeadline(t *testing.T) {
	requireNoLeaks(t)
	inside, proceed := make(chan struct{}), make(chan struct{})
	srv := newTestServer(t, testConfig{
		onDisconnected: func(context.Context, *testHub, error) error { close(inside); <-proceed; return nil },
	})
	c := dial(t, srv.url)
	c.requireNoMessages()
	go func() { _, _ = c.read(); _, _ = c.read() }()
	first := make(chan error, 1)
	go func() { first <- srv.sys.Shutdown(t.Context()) }()
	receive(t, inside)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	require.ErrorIs(t, srv.sys.Shutdown(ctx), context.DeadlineExceeded)
	close(proceed)
	require.NoError(t, receive(t, first))
}

func TestAHubsInboxRefusesOtherMessages(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*base, error) { return &base{}, nil }, hubsys.HubOptions{})
	result, err := sys.ActorSystem().Root.RequestFuture(hub.PID(), "a string", testTimeout).Result()
	require.NoError(t, err)
	require.Equal(t, "hubsys: this PID takes messages of troupe.v1, not a string", result.(*troupev1.SendResult).GetError())
}

type misspelled struct{ hubsys.Hub }

func (*misspelled) Onconnected(context.Context) error { return nil }
func (*misspelled) OnDisconnectedAsync()              {}
func (*misspelled) Take(*hubsys.Call)                 {}

func TestMisspelledLifetimeMethodsAreRefused(t *testing.T) {
	require.Equal(t, []string{
		`method OnDisconnectedAsync: it would be a method for clients: the lifetime method is called OnDisconnected; HubOptions.Methods publishes or hides it`,
		`method Onconnected: it would be a method for clients: the lifetime method is called OnConnected; HubOptions.Methods publishes or hides it`,
		`method Take: parameter 1: the call is no parameter: Hub.Call gives it`,
	}, registrationFaults[misspelled](t))
	require.Equal(t, []string{`method Take: parameter 1: the call is no parameter: Hub.Call gives it`},
		registrationFaults[misspelled](t, hubsys.Method{Func: (*misspelled).Onconnected}, hubsys.Method{Func: (*misspelled).OnDisconnectedAsync, Hidden: true}))
}

func TestPathsWithQueryOrFragmentAreRefused(t *testing.T) {
	hub := register(t, newSystem(t, hubsys.Config{}), func(context.Context) (*base, error) { return &base{}, nil }, hubsys.HubOptions{})
	for _, path := range []string{"/chat?room=1", "/chat#top", "/my chat"} {
		require.ErrorContains(t, hub.Map(path, hubsys.EndpointOptions{}), "it is not encoded, and has no query, fragment, wildcard or space")
	}
}

// What the client is not told of an error is logged as its cause.
func TestTheCauseOfAHubErrorIsLoggedAtErrorLevel(t *testing.T) {
	srv := newTestServer(t, testConfig{HubOptions: hubsys.HubOptions{EnableDetailedErrors: true}})
	srv.handle("hidden", func(context.Context, *testHub, []json.RawMessage) (any, error) {
		return nil, &hubsys.HubError{Message: "not now", Err: errors.New("no disk")}
	})
	srv.handle("told", func(context.Context, *testHub, []json.RawMessage) (any, error) {
		return nil, hubsys.Errorf("go away: %w", errors.New("no room"))
	})
	c := dial(t, srv.url)
	require.Equal(t, "An unexpected error occurred invoking 'Do' on the server. HubException: not now", c.invokeError("Do", "hidden", []any{}))
	require.Equal(t, "An unexpected error occurred invoking 'Do' on the server. HubException: go away: no room", c.invokeError("Do", "told", []any{}))
	c.close()
	srv.findLogLine("level=ERROR", "a hub method failed", "method=Do", "not now", `cause="no disk"`)
	srv.findLogLine("level=DEBUG", "a hub method failed", "method=Do", "go away: no room")
}
