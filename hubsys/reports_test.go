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

// line finds the line of a log that has all the parts, when the world has come to its end.
func (w *world) line(parts ...string) string {
	w.t.Helper()
	require.NoError(w.t, w.sys.Shutdown(w.t.Context()))
lines:
	for line := range strings.Lines(w.log.String()) {
		for _, part := range parts {
			if !strings.Contains(line, part) {
				continue lines
			}
		}
		return line
	}
	require.Fail(w.t, "it is not in the log", "%q in\n%s", parts, w.log)
	return ""
}

// readAll sends text and reads until the server has closed the connection.
func readAll(c *client, text string) {
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

func TestWhyAConnectionWasRefused(t *testing.T) {
	for level, refusal := range map[string]error{"level=ERROR": errors.New("no database"), "level=DEBUG": hubsys.Errorf("no room")} {
		w := newWorld(t, setup{connected: func(context.Context, *lab) error { return refusal }})
		readAll(open(t, w.url, dialing{}), greeting+separator)
		w.line(level, `"a connection is refused"`, "method=OnConnected", refusal.Error())
	}
}

func TestWhyAConnectionWasClosed(t *testing.T) {
	w := newWorld(t, setup{HubOptions: hubsys.HubOptions{MaximumReceiveMessageSize: 100}})
	readAll(open(t, w.url, dialing{}), greeting+separator+strings.Repeat("x", 200))
	w.line("level=INFO", `"a connection is closed"`, "hub=lab", "maximum message size of 100B")

	w = newWorld(t, setup{})
	readAll(open(t, w.url, dialing{}), `{"protocol":"none","version":1}`+separator)
	w.line("level=DEBUG", `"a connection is closed"`, "'none' is not supported")
}

func TestErrorsForTheClientAreNoFaults(t *testing.T) {
	w := newWorld(t, setup{})
	w.on("refuse", func(context.Context, *lab, []json.RawMessage) (any, error) { return nil, hubsys.Errorf("not now") })
	w.on("fail", func(context.Context, *lab, []json.RawMessage) (any, error) { return nil, errors.New("no disk") })
	c := dial(t, w.url)
	c.fails("Do", "refuse", []any{})
	c.fails("Do", "fail", []any{})
	c.fails("Missing")
	c.leave()
	w.line("level=DEBUG", "a hub method failed", "method=Do", "not now")
	w.line("level=ERROR", "a hub method failed", "method=Do", "no disk")
	w.line("level=DEBUG", "an unknown method was called", "method=Missing")
}

func TestAPanicInAuthenticate(t *testing.T) {
	w := newWorld(t, setup{EndpointOptions: hubsys.EndpointOptions{Authenticate: func(*http.Request) (*hubsys.Principal, error) { panic("no keys") }}})
	status, _ := post(t, w.url+"/negotiate?negotiateVersion=1", nil)
	require.Equal(t, http.StatusInternalServerError, status)
	w.line("level=ERROR", "Authenticate panicked", "no keys", "stack=")
}

func TestARequestOfAnotherUserIsLogged(t *testing.T) {
	w := newWorld(t, setup{EndpointOptions: hubsys.EndpointOptions{Authenticate: func(r *http.Request) (*hubsys.Principal, error) {
		return &hubsys.Principal{UserID: r.Header.Get("User")}, nil
	}}})
	_, token := negotiate(t, w.url, http.Header{"User": {"alice"}})
	_, status, err := tryOpen(t, w.url+"?id="+token, dialing{header: http.Header{"User": {"bob"}}})
	require.Error(t, err)
	require.Equal(t, http.StatusForbidden, status)
	w.line("level=DEBUG", "a request was refused", "status=403", "negotiated by another user")
}

// Who calls Shutdown, too, waits no longer than it wants.
func TestAnotherShutdownHasADeadlineOfItsOwn(t *testing.T) {
	noLeaks(t)
	inside, goOn := make(chan struct{}), make(chan struct{})
	w := newWorld(t, setup{disconnected: func(context.Context, *lab, error) error { close(inside); <-goOn; return nil }})
	c := dial(t, w.url)
	c.quiet()
	go func() { _, _ = c.read(); _, _ = c.read() }()
	first := make(chan error, 1)
	go func() { first <- w.sys.Shutdown(t.Context()) }()
	wait(t, inside)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	require.ErrorIs(t, w.sys.Shutdown(ctx), context.DeadlineExceeded)
	close(goOn)
	require.NoError(t, wait(t, first))
}

func TestWhatAHubsInboxDoesNotTake(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*base, error) { return &base{}, nil }, hubsys.HubOptions{})
	result, err := sys.ActorSystem().Root.RequestFuture(hub.PID(), "a string", within).Result()
	require.NoError(t, err)
	require.Equal(t, "hubsys: a hub takes a *troupev1.Send, not a string", result.(*troupev1.SendResult).GetError())
}

type misspelled struct{ hubsys.Hub }

func (*misspelled) Onconnected(context.Context) error { return nil }
func (*misspelled) OnDisconnectedAsync()              {}
func (*misspelled) Take(*hubsys.Call)                 {}

func TestMethodsThatWereMeantOtherwise(t *testing.T) {
	require.Equal(t, []string{
		`method OnDisconnectedAsync: it would be a method for clients: the lifetime method is called OnDisconnected; HubOptions.Methods publishes or hides it`,
		`method Onconnected: it would be a method for clients: the lifetime method is called OnConnected; HubOptions.Methods publishes or hides it`,
		`method Take: parameter 1: the call is no parameter: Hub.Call gives it`,
	}, discover[misspelled](t))
	require.Equal(t, []string{`method Take: parameter 1: the call is no parameter: Hub.Call gives it`},
		discover[misspelled](t, hubsys.Method{Func: (*misspelled).Onconnected}, hubsys.Method{Func: (*misspelled).OnDisconnectedAsync, Hidden: true}))
}

func TestPathsThatNoRequestHas(t *testing.T) {
	hub := register(t, newSystem(t, hubsys.Config{}), func(context.Context) (*base, error) { return &base{}, nil }, hubsys.HubOptions{})
	for _, path := range []string{"/chat?room=1", "/chat#top"} {
		require.ErrorContains(t, hub.Map(path, hubsys.EndpointOptions{}), "it is not encoded, and has no query, fragment or wildcard")
	}
}
