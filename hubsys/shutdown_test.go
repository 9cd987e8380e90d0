package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/hubsys"
)

const reconnectJSON = `{"type":7,"allowReconnect":true}`

// requireNoLeaks requires that the test leaks no goroutine. It has to be called first, so that it checks after all other cleanups. It
// retries for some seconds, because protoactor keeps a goroutine for a second after a dead letter.
func requireNoLeaks(t *testing.T) {
	t.Helper()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		err := goleak.Find(before)
		for start := time.Now(); err != nil && time.Since(start) < 3*time.Second; {
			err = goleak.Find(before)
		}
		assert.NoError(t, err)
	})
}

func TestShutdownTakesLeaveOfEverybodyAndLeavesNothing(t *testing.T) {
	requireNoLeaks(t)
	const clients, pending = 20, 50
	causes := make(chan error, 2*clients)
	srv := newTestServer(t, testConfig{
		onDisconnected: func(_ context.Context, _ *testHub, cause error) error { causes <- cause; return nil },
	})
	ended := make(chan error, 1)
	started := make(chan struct{})
	srv.handle("run", func(ctx context.Context, _ *testHub, _ []json.RawMessage) (any, error) {
		close(started)
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return nil, nil
	})
	var cs []*testClient
	for range clients {
		c := dial(t, srv.url)
		c.requireNoMessages()
		cs = append(cs, c)
	}
	silent := dialSocket(t, srv.url, dialOptions{}) // without a handshake
	cs[0].call("Do", "run", []any{})
	receive(t, started)
	for i := range pending {
		require.NoError(t, srv.hub.Clients().All().Send(t.Context(), "pending", i))
	}
	var all sync.WaitGroup
	for _, c := range cs {
		all.Go(func() {
			for i := range pending {
				raw, err := c.read()
				assert.NoError(t, err)
				assert.Equal(t, serverInvocation("pending", i), raw)
			}
			if c == cs[0] { // its call is completed first
				raw, err := c.read()
				assert.NoError(t, err)
				assert.Contains(t, raw, `"type":3`)
			}
			raw, err := c.read()
			assert.NoError(t, err)
			assert.Equal(t, reconnectJSON, raw)
			_, err = c.read()
			assert.ErrorContains(t, err, "StatusNormalClosure")
		})
	}
	all.Go(func() {
		_, err := silent.read()
		assert.ErrorContains(t, err, "StatusNormalClosure")
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	require.NoError(t, srv.sys.Shutdown(ctx))
	all.Wait()
	require.Equal(t, hubsys.ErrShutdown, receive(t, ended))
	require.Len(t, causes, clients, "OnDisconnected has run for everybody when Shutdown returns")
	for range clients {
		require.NoError(t, <-causes)
	}
}

func TestRequestsAreRefusedAfterShutdown(t *testing.T) {
	requireNoLeaks(t)
	srv := newTestServer(t, testConfig{})
	_, token := negotiate(t, srv.url, nil)
	require.NoError(t, srv.sys.Shutdown(t.Context()))
	status, _ := post(t, srv.url+"/negotiate", nil)
	require.Equal(t, http.StatusServiceUnavailable, status)
	for _, query := range []string{"", "?id=" + token} {
		_, status, err := tryDialSocket(t, srv.url+query, dialOptions{})
		require.Error(t, err)
		require.Equal(t, http.StatusServiceUnavailable, status)
	}
	_, err := hubsys.Register(srv.sys, func(context.Context) (*base, error) { return &base{}, nil }, hubsys.HubOptions{})
	require.ErrorContains(t, err, "shutting down")
	require.ErrorIs(t, srv.hub.Clients().All().Send(t.Context(), "x"), hubsys.ErrShutdown)
	require.NoError(t, srv.hub.Groups().Add(t.Context(), "no such", "group"))
	require.NoError(t, srv.sys.Shutdown(t.Context()), "later calls return the same result")
}

func TestRequestsAreRefusedWhileShutdownWaits(t *testing.T) {
	requireNoLeaks(t)
	inside, proceed := make(chan struct{}), make(chan struct{})
	srv := newTestServer(t, testConfig{
		onDisconnected: func(context.Context, *testHub, error) error { close(inside); <-proceed; return nil },
	})
	c := dial(t, srv.url)
	c.requireNoMessages()
	results := make(chan error, 2)
	go func() { results <- srv.sys.Shutdown(t.Context()) }()
	receive(t, inside)
	go func() { results <- srv.sys.Shutdown(t.Context()) }()
	status, _ := post(t, srv.url+"/negotiate", nil)
	require.Equal(t, http.StatusServiceUnavailable, status)
	_, status, err := tryDialSocket(t, srv.url, dialOptions{})
	require.Error(t, err)
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Empty(t, results)
	close(proceed)
	require.Equal(t, reconnectJSON, c.next().raw)
	require.EqualValues(t, 1000, c.requireClosed())
	require.NoError(t, receive(t, results))
	require.NoError(t, receive(t, results))
}

func TestShutdownDoesNotAffectTheApplicationsActorSystem(t *testing.T) {
	requireNoLeaks(t)
	foreign := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
	t.Cleanup(foreign.Shutdown)
	echo := foreign.Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		if text, ok := ctx.Message().(string); ok {
			ctx.Respond(text)
		}
	}))
	before := registeredPIDs(foreign)
	srv := newTestServer(t, testConfig{Config: hubsys.Config{ActorSystem: foreign}})
	require.Same(t, foreign, srv.sys.ActorSystem())
	second := newTestServer(t, testConfig{Config: hubsys.Config{ActorSystem: foreign}}) // two Systems in one actor system
	srv.handle("pid", func(_ context.Context, h *testHub, _ []json.RawMessage) (any, error) { return h.Call().PID().Id, nil })
	c, other := dial(t, srv.url), dial(t, second.url)
	require.Contains(t, c.do("pid"), "/call/")
	for id := range registeredPIDs(foreign) {
		require.True(t, before[id] || strings.HasPrefix(id, "hubsys-"), id)
	}
	go func() { _, _ = c.read(); _, _ = c.read() }()
	require.NoError(t, srv.sys.Shutdown(t.Context()))
	other.requireNoMessages()
	go func() { _, _ = other.read(); _, _ = other.read() }()
	require.NoError(t, second.sys.Shutdown(t.Context()))
	require.Equal(t, before, registeredPIDs(foreign))
	answer, err := foreign.Root.RequestFuture(echo, "still here", testTimeout).Result()
	require.NoError(t, err)
	require.Equal(t, "still here", answer)
}

// registeredPIDs returns the IDs of all processes of an actor system.
func registeredPIDs(system *actor.ActorSystem) map[string]bool {
	ids := map[string]bool{}
	for _, bucket := range system.ProcessRegistry.LocalPIDs.LocalPIDs {
		for _, id := range bucket.Keys() {
			ids[id] = true
		}
	}
	return ids
}

func TestShutdownReturnsAtTheEndOfItsContext(t *testing.T) {
	requireNoLeaks(t)
	srv := newTestServer(t, testConfig{HubOptions: hubsys.HubOptions{MaximumParallelInvocationsPerClient: 2}})
	var started sync.WaitGroup
	proceed := make(chan struct{})
	srv.handle("blocking", func(context.Context, *testHub, []json.RawMessage) (any, error) {
		started.Done()
		<-proceed
		return nil, nil
	})
	c := dial(t, srv.url)
	started.Add(2)
	c.call("Do", "blocking", []any{})
	c.call("Do", "blocking", []any{})
	started.Wait()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errors.New("enough"))
	defer cancel()
	go func() { _, _ = c.read(); _, _ = c.read() }()
	err := srv.sys.Shutdown(ctx)
	require.EqualError(t, err, "hubsys: shutdown was cut short: 1 connections cut off, 2 calls abandoned: enough")
	close(proceed)
	srv.shutdownMayFail = true
}

// A client that does not answer the close message is disconnected when the context of Shutdown ends.
func TestShutdownCutsOffClientsThatDoNotAnswer(t *testing.T) {
	requireNoLeaks(t)
	srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{CloseTimeout: time.Hour}})
	c := dial(t, srv.url)
	c.requireNoMessages()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := srv.sys.Shutdown(ctx)
	require.EqualError(t, err, "hubsys: shutdown was cut short: 1 connections cut off, 0 calls abandoned: context deadline exceeded")
	require.Equal(t, reconnectJSON, c.next().raw)
	srv.shutdownMayFail = true
}

func TestACallMayShutDownItsSystem(t *testing.T) {
	requireNoLeaks(t)
	srv := newTestServer(t, testConfig{})
	results := make(chan error, 1)
	srv.handle("shutdown", func(ctx context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		results <- h.srv.sys.Shutdown(context.WithoutCancel(ctx))
		return nil, nil
	})
	c := dial(t, srv.url)
	c.call("Do", "shutdown", []any{})
	require.Equal(t, reconnectJSON, c.next().raw)
	require.EqualValues(t, 1000, c.requireClosed())
	require.NoError(t, receive(t, results))
}

// The context of the call, which ends when its connection is closed, does not abort the shutdown.
func TestACallMayShutDownItsSystemWithItsOwnContext(t *testing.T) {
	requireNoLeaks(t)
	disconnected := make(chan error, 2)
	srv := newTestServer(t, testConfig{
		onDisconnected: func(_ context.Context, _ *testHub, cause error) error { disconnected <- cause; return nil },
	})
	results := make(chan error, 1)
	srv.handle("shutdown", func(ctx context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		results <- h.srv.sys.Shutdown(ctx)
		return nil, nil
	})
	c, bystander := dial(t, srv.url), dial(t, srv.url)
	bystander.requireNoMessages()
	go c.call("Do", "shutdown", []any{})
	require.Equal(t, reconnectJSON, bystander.next().raw)
	require.EqualValues(t, 1000, bystander.requireClosed())
	require.Equal(t, reconnectJSON, c.next().raw)
	require.EqualValues(t, 1000, c.requireClosed())
	require.NoError(t, receive(t, results))
	require.Len(t, disconnected, 2)
}

// http.Server.Shutdown does not wait for WebSockets, so the System is shut down first.
func TestShutdownOfSystemAndServer(t *testing.T) {
	requireNoLeaks(t)
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*base, error) { return &base{}, nil }, hubsys.HubOptions{})
	require.NoError(t, hub.Map("/hub", hubsys.EndpointOptions{}))
	server := httptest.NewServer(sys)
	t.Cleanup(server.Close)
	for range 10 {
		c := dial(t, server.URL+"/hub")
		go func() {
			for raw, err := c.read(); err == nil; raw, err = c.read() {
				assert.Equal(t, reconnectJSON, raw)
			}
		}()
	}
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	require.NoError(t, errors.Join(sys.Shutdown(ctx), server.Config.Shutdown(ctx)))
}

// A System that was never used leaks nothing.
func TestShutdownOfAnIdleSystemLeaksNothing(t *testing.T) {
	requireNoLeaks(t)
	for range 10 {
		sys, err := hubsys.New(hubsys.Config{Logger: (&logRecorder{}).logger()})
		require.NoError(t, err)
		require.NoError(t, sys.Shutdown(t.Context()))
	}
}

// A client that connects during Shutdown is either closed with OnDisconnected, or refused.
func TestShutdownWhileClientsConnect(t *testing.T) {
	requireNoLeaks(t)
	var connected, disconnected atomic.Int32
	srv := newTestServer(t, testConfig{
		onConnected:    func(context.Context, *testHub) error { connected.Add(1); return nil },
		onDisconnected: func(context.Context, *testHub, error) error { disconnected.Add(1); return nil },
	})
	enough := make(chan struct{})
	var come atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for {
				c, _, err := tryDialSocket(t, srv.url, dialOptions{})
				if err != nil {
					return // shutting down
				}
				_ = c.ws.Write(context.Background(), websocket.MessageText, []byte(handshakeJSON+separator))
				if come.Add(1) == 100 {
					close(enough)
				}
				all.Go(func() {
					for _, err := c.read(); err == nil; {
						_, err = c.read()
					}
				})
			}
		})
	}
	receive(t, enough)
	require.NoError(t, srv.sys.Shutdown(t.Context()))
	all.Wait()
	require.Equal(t, connected.Load(), disconnected.Load())
}
