package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// classicTransports are the transports of SignalR 2.
var classicTransports = []string{"webSockets", "serverSentEvents", "foreverFrame", "longPolling"}

// overClassicTransports runs a test over each transport.
func overClassicTransports(t *testing.T, test func(t *testing.T, transport string)) {
	for _, transport := range classicTransports {
		t.Run(transport, func(t *testing.T) { test(t, transport) })
	}
}

// classicHub is a hub of a classicServer. It notes its events, and its method Do runs an action that a test has registered.
type classicHub struct {
	hubsys.Hub
	srv *classicServer
}

// classicOther is a second hub of the same kind.
type classicOther struct{ classicHub }

type classicAction func(ctx context.Context, h *classicHub, args []json.RawMessage) (any, error)

func (h *classicHub) Do(ctx context.Context, name string, args []json.RawMessage) (any, error) {
	h.srv.mu.Lock()
	do := h.srv.actions[name]
	h.srv.mu.Unlock()
	if do == nil {
		return nil, errors.New("there is no action " + name)
	}
	return do(ctx, h, args)
}

func (h *classicHub) Echo(v any) any              { return v }
func (h *classicHub) Add(a, b int) int            { return a + b }
func (h *classicHub) Nothing()                    {}
func (h *classicHub) Over() string                { return "0" }
func (h *classicHub) OverOne(a string) string     { return "1:" + a }
func (h *classicHub) OverTwo(a string, b int) int { return len(a) + b }
func (h *classicHub) Join(ctx context.Context, group string) error {
	return h.Groups().Join(ctx, group)
}
func (h *classicHub) Leave(ctx context.Context, group string) error {
	return h.Groups().Leave(ctx, group)
}
func (h *classicHub) CallMe(ctx context.Context, args ...any) error {
	return h.Clients().Caller().Send(ctx, "called", args...)
}
func (h *classicHub) CallAll(ctx context.Context, args ...any) error {
	return h.Clients().All().Send(ctx, "called", args...)
}
func (h *classicHub) Others(ctx context.Context, args ...any) error {
	return h.Clients().Others().Send(ctx, "called", args...)
}
func (h *classicHub) OnConnected(ctx context.Context) error {
	return h.note(ctx, "connected", h.srv.connected)
}
func (h *classicHub) OnReconnected(ctx context.Context) error {
	return h.note(ctx, "reconnected", h.srv.reconnected)
}
func (h *classicHub) OnDisconnected(ctx context.Context, e error) error {
	return h.note(ctx, classicEnd(e), h.srv.disconnected)
}

func (h *classicHub) ToGroup(ctx context.Context, group string, args ...any) error {
	return h.Clients().Group(group).Send(ctx, "called", args...)
}

// note notes an event of the connection behind what the test does at it.
func (h *classicHub) note(ctx context.Context, event string, do func(ctx context.Context, h *classicHub) error) error {
	var err error
	if do != nil {
		err = do(ctx, h)
	}
	h.srv.mu.Lock()
	defer h.srv.mu.Unlock()
	id := h.Call().ConnectionID()
	h.srv.events[id] = append(h.srv.events[id], h.Call().HubName()+" "+event)
	return err
}

// classicEnd is what the causes of OnDisconnected are noted as.
func classicEnd(cause error) string {
	switch {
	case cause == nil:
		return "disconnected"
	case errors.Is(cause, hubsys.ErrClientTimeout):
		return "timed out"
	}
	return "disconnected: " + cause.Error()
}

// classicServer is an HTTP server of a System with the hubs Chat and Other at /signalr, and Chat at /test for clients of the other dialect.
type classicServer struct {
	t       testing.TB
	sys     *hubsys.System
	chat    *hubsys.HubContext
	other   *hubsys.HubContext
	http    *httptest.Server
	address string // of the path for SignalR 2
	log     *logRecorder

	connected, reconnected, disconnected func(ctx context.Context, h *classicHub) error // by the test

	mu      sync.Mutex
	actions map[string]classicAction
	events  map[string][]string // by the id of the connection
}

type classicConfig struct {
	hubsys.Config
	hubsys.ClassicOptions
	hub   hubsys.HubOptions // of Chat
	other hubsys.HubOptions

	connected, reconnected, disconnected func(ctx context.Context, h *classicHub) error

	configure func(*httptest.Server)
}

// classicOverloads are methods of classicHub that clients call by one name.
var classicOverloads = []hubsys.Method{{Func: (*classicHub).OverOne, Name: "Over"}, {Func: (*classicHub).OverTwo, Name: "Over"}}

func newClassicServer(t testing.TB, s classicConfig) *classicServer {
	t.Helper()
	srv := &classicServer{
		t: t, log: &logRecorder{}, actions: map[string]classicAction{}, events: map[string][]string{},
		connected: s.connected, reconnected: s.reconnected, disconnected: s.disconnected,
	}
	if s.Logger == nil {
		s.Logger = srv.log.logger()
	}
	srv.sys = newSystem(t, s.Config)
	s.hub.Name, s.other.Name = "Chat", "Other"
	s.hub.Methods = slices.Concat(classicOverloads, s.hub.Methods)
	srv.chat = register(t, srv.sys, func(context.Context) (*classicHub, error) { return &classicHub{srv: srv}, nil }, s.hub)
	srv.other = register(t, srv.sys, func(context.Context) (*classicOther, error) { return &classicOther{classicHub{srv: srv}}, nil }, s.other)
	require.NoError(t, srv.sys.MapClassic("/signalr", s.ClassicOptions))
	require.NoError(t, srv.chat.Map("/test", hubsys.EndpointOptions{Authenticate: s.ClassicOptions.Authenticate}))
	srv.http = httptest.NewUnstartedServer(noteSecrets(srv.sys))
	srv.http.Config.ErrorLog = newSuiteErrorLog()
	if s.configure != nil {
		s.configure(srv.http)
	}
	srv.http.Start()
	t.Cleanup(srv.http.Close)
	srv.address = srv.http.URL + "/signalr"
	return srv
}

// handle registers an action for classicHub.Do.
func (srv *classicServer) handle(name string, do classicAction) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	srv.actions[name] = do
}

// eventsOf returns the events of a connection so far.
func (srv *classicServer) eventsOf(id string) []string {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return slices.Clone(srv.events[id])
}

// awaitEvents waits for events of a connection, which are all that there are.
func (srv *classicServer) awaitEvents(id string, want ...string) {
	srv.t.Helper()
	eventually(srv.t, func() bool { return len(srv.eventsOf(id)) >= len(want) }, "events, so far %v", srv.eventsOf(id))
	require.Equal(srv.t, want, srv.eventsOf(id))
}
