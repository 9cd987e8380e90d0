package hubsys_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// ProxyHub is a hub without a name of its own.
type ProxyHub struct{ hubsys.Hub }

func (*ProxyHub) SendAll(string)                              {}
func (*ProxyHub) Plain()                                      {}
func (*ProxyHub) Renamed()                                    {}
func (*ProxyHub) Secret()                                     {}
func (*ProxyHub) OnConnected(context.Context) error           { return nil }
func (*ProxyHub) OnReconnected(context.Context) error         { return nil }
func (*ProxyHub) OnDisconnected(context.Context, error) error { return nil }

func TestTheScriptOfProxiesOfAnEndpoint(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	register[*ProxyHub](t, sys, nil, hubsys.HubOptions{Methods: []hubsys.Method{{Func: (*ProxyHub).Renamed, Name: "SayIt"}, {Func: (*ProxyHub).Secret, Hidden: true}}})
	named := register[*ProxyHub](t, sys, nil, hubsys.HubOptions{Name: "StrangeName"})
	_, err := hubsys.RegisterHandler(sys, hubsys.Handler{Invoke: func(context.Context, *hubsys.Invocation) (any, error) { return nil, nil }},
		hubsys.HubOptions{Name: "Scripted", Methods: []hubsys.Method{{Name: "RunIt"}}})
	require.NoError(t, err)
	require.NoError(t, sys.MapClassic("/signalr", hubsys.ClassicOptions{}))
	require.NoError(t, sys.MapClassic("/one/hub", hubsys.ClassicOptions{Hubs: []*hubsys.HubContext{named}}))
	require.NoError(t, sys.MapClassic("/none", hubsys.ClassicOptions{DisableProxies: true}))
	register[*ProxyHub](t, sys, nil, hubsys.HubOptions{Name: "Later"})
	mux := http.NewServeMux()
	mux.Handle("/app/", http.StripPrefix("/app", sys))
	mux.Handle("/", sys)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	script := func(path string) string {
		response, body := classicGet(t, http.MethodGet, server.URL+path, nil)
		require.Equal(t, http.StatusOK, response.StatusCode, path)
		require.Equal(t, "application/javascript; charset=UTF-8", response.Header.Get("Content-Type"))
		return body
	}

	all := script("/signalr/hubs")
	require.Contains(t, all, `"proxyHub": {"SayIt": "SayIt", "plain": "Plain", "sendAll": "SendAll"}`)
	require.Contains(t, all, `"StrangeName": {"plain": "Plain", "renamed": "Renamed", "secret": "Secret", "sendAll": "SendAll"}`)
	require.Contains(t, all, `"Later": {`)
	require.Contains(t, all, `"Scripted": {"runIt": "RunIt"}`)
	require.Contains(t, all, `$.hubConnection("/signalr", { useDefaultPath: false })`)
	for _, path := range []string{"/signalr/js", "/signalr/hubs/", "/signalr/HUBS", "/signalr/hubs?connectionData=[]"} {
		require.Equal(t, all, script(path), path)
	}
	require.Contains(t, script("/app/signalr/hubs"), `$.hubConnection("/app/signalr", {`)
	require.Contains(t, script("/signalr/js/hubs"), `$.hubConnection("/signalr/js", {`)
	one := script("/one/hub/hubs")
	require.Contains(t, one, `$.hubConnection("/one/hub", {`)
	require.Contains(t, one, `"StrangeName": {`)
	require.NotContains(t, one, "proxyHub")
	require.Equal(t, `throw new Error('SignalR: JavaScript Hub proxy generation has been disabled.');`, script("/none/hubs"))
}

func TestHiddenMethodsOfAHandlerHaveNoProxies(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	_, err := hubsys.RegisterHandler(sys, hubsys.Handler{Invoke: func(context.Context, *hubsys.Invocation) (any, error) { return nil, nil }},
		hubsys.HubOptions{Name: "Scripted", Methods: []hubsys.Method{{Name: "RunIt"}, {Name: "Hide", Hidden: true}}})
	require.NoError(t, err)
	require.NoError(t, sys.MapClassic("/signalr", hubsys.ClassicOptions{}))
	_, body := classicGet(t, http.MethodGet, serveSystem(t, sys)+"/signalr/hubs", nil)
	require.Contains(t, body, `"Scripted": {"runIt": "RunIt"}`)
}
