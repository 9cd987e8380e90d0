package hubsys_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// zeroHub needs no constructor.
type zeroHub struct {
	hubsys.Hub
	calls int
}

func (h *zeroHub) Count() int { h.calls++; return h.calls }

func TestAHubWithoutAConstructor(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	hub, err := hubsys.Register[*zeroHub](sys, nil, hubsys.HubOptions{})
	require.NoError(t, err)
	c := dial(t, serve(t, sys, hub))
	for range 3 {
		require.Equal(t, "1", string(c.invoke("Count").Result), "each call has a zero value")
	}
}

func TestCallFrom(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	srv.handle("which", func(ctx context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		child, cancel := context.WithCancel(ctx)
		defer cancel()
		call, ok := hubsys.CallFrom(child)
		require.True(t, ok)
		require.Same(t, h.Call(), call)
		return call.Method(), nil
	})
	require.Equal(t, `"Do"`, dial(t, srv.url).do("which"))
	_, ok := hubsys.CallFrom(context.Background())
	require.False(t, ok)
}

func TestAudiencesJoinAndLeave(t *testing.T) {
	srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{
		Authenticate: func(r *http.Request) (*hubsys.Principal, error) {
			return &hubsys.Principal{UserID: r.Header.Get("User")}, nil
		},
	}})
	ada := http.Header{"User": {"ada"}}
	first, firstID := dialWithID(t, srv.url, ada)
	second, _ := dialWithID(t, srv.url, ada)
	other, otherID := dialWithID(t, srv.url, http.Header{"User": {"bob"}})
	all := []*testClient{first, second, other}
	requireReceivers := func(to hubsys.Receiver, want ...*testClient) {
		t.Helper()
		require.NoError(t, to.Send(t.Context(), "m"))
		for _, c := range want {
			c.requireInvocation("m")
		}
		for _, c := range all {
			c.requireNoMessages()
		}
	}
	clients := srv.hub.Clients()

	require.NoError(t, clients.User("ada").Join(t.Context(), "g"))
	requireReceivers(clients.Group("g"), first, second)
	require.NoError(t, clients.Client(otherID).Join(t.Context(), "g"))
	requireReceivers(clients.Group("g"), first, second, other)
	require.NoError(t, clients.All().Except(firstID).Leave(t.Context(), "g"))
	requireReceivers(clients.Group("g"), first)
	require.NoError(t, clients.Group("g").Join(t.Context(), "h"))
	require.NoError(t, clients.Client(firstID).Leave(t.Context(), "g"))
	requireReceivers(clients.Group("g"))
	requireReceivers(clients.Group("h"), first)
	require.NoError(t, clients.Users("ada", "ada", "nobody").Join(t.Context(), "twice"), "each connection once")
	requireReceivers(clients.Group("twice"), first, second)

	requireReceivers(clients.Users("ada", "nobody", "ada", "bob", "ada"), first, second, other)
	requireReceivers(clients.Users("ada", "ada").Except(firstID), second)
	requireReceivers(clients.User("ada").Except(firstID), second)
	requireReceivers(clients.Group("h").Except("nobody").NoWait(), first)
	requireReceivers(clients.Client(otherID).NoWait(), other)
	require.NoError(t, clients.Group("nobody").Join(t.Context(), "x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, clients.All().Join(ctx, "x"), context.Canceled)
}

func TestTheCallerJoinsAndLeaves(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	srv.handle("join", func(ctx context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		return nil, h.Groups().Join(ctx, "g")
	})
	srv.handle("leave", func(ctx context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		return nil, h.Call().Groups().Leave(ctx, "g")
	})
	c := dial(t, srv.url)
	c.do("join")
	require.NoError(t, srv.hub.Clients().Group("g").Send(t.Context(), "m"))
	c.requireInvocation("m")
	c.do("leave")
	require.NoError(t, srv.hub.Clients().Group("g").Send(t.Context(), "m"))
	c.requireNoMessages()
}

// The ids that an audience was made with can be changed afterwards.
func TestAnAudienceKeepsItsIDs(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	c, id := dialWithID(t, srv.url, nil)
	ids := []string{id}
	to := srv.hub.Clients().Clients(ids...)
	ids[0] = "nobody"
	require.NoError(t, to.Send(t.Context(), "m"))
	c.requireInvocation("m")
}

func TestRegisterFailsWhenTheRootActorWasStopped(t *testing.T) {
	sys, err := hubsys.New(hubsys.Config{})
	require.NoError(t, err)
	hub, err := hubsys.Register[*zeroHub](sys, nil, hubsys.HubOptions{Name: "a"})
	require.NoError(t, err)
	root, _, _ := strings.Cut(hub.PID().Id, "/")
	require.NoError(t, sys.ActorSystem().Root.StopFuture(actor.NewPID(hub.PID().Address, root)).Wait())
	_, err = hubsys.Register[*zeroHub](sys, nil, hubsys.HubOptions{Name: "b"})
	require.ErrorIs(t, err, hubsys.ErrShutdown)
	require.NoError(t, shutdown(sys))
}

// Headers that middleware has set contain no others.
func TestAHeaderWithALineBreak(t *testing.T) {
	headers := make(chan [2]string, 1)
	srv := newTestServer(t, testConfig{
		configure: func(s *httptest.Server) {
			next := s.Config.Handler
			s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.Header.Set("X-Name", "ada\nX-Role: admin")
				next.ServeHTTP(w, r)
			})
		},
		onConnected: func(_ context.Context, h *testHub) error {
			headers <- [2]string{h.Call().Request().Header("X-Name"), h.Call().Request().Header("X-Role")}
			return nil
		},
	})
	dial(t, srv.url)
	require.Equal(t, [2]string{"ada X-Role: admin", ""}, receive(t, headers))
}
