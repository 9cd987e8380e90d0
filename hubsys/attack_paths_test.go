package hubsys_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// A path is served exactly as it was mapped, so that a middleware in front of the System sees the same path.
func TestPathsAreServedAsTheyAreMapped(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*base, error) { return &base{}, nil }, hubsys.HubOptions{})
	for _, path := range []string{"/chat", "/admin/talk", "/Upper"} {
		require.NoError(t, hub.Map(path, hubsys.EndpointOptions{}))
	}
	for path, want := range map[string]int{
		"/chat":       http.StatusBadRequest, // a poll needs a connection ID
		"/admin/talk": http.StatusBadRequest,
		"/Upper":      http.StatusBadRequest,

		"/": 404, "/chats": 404, "/cha": 404, "/admin": 404, "/chat/other": 404,
		"/Chat": 404, "/CHAT": 404, "/upper": 404, "/admin/Talk": 404,
		"/chat/": 404, "//chat": 404, "/chat//": 404, "/admin//talk": 404,
		"/x/../chat": 404, "/chat/.": 404, "/./chat": 404, "/chat/x/..": 404, "/../chat": 404, "/admin/./talk": 404, "/admin/x/../talk": 404,
		"/tal%E2%84%AA": 404, "/admin/tal%E2%84%AA": 404, // the Kelvin sign, whose lower case is k
		"/admin%2ftalk": 404, "/admin%2Ftalk": 404, "/x%2f..%2fchat": 404, "/chat%2f": 404, "/chat%00": 404, "/chat%20": 404,
	} {
		require.Equal(t, want, serveRequest(sys, http.MethodGet, path, "", nil).Code, "GET %s", path)
		if want != 404 {
			want = http.StatusOK
		}
		require.Equal(t, want, serveRequest(sys, http.MethodPost, path+"/negotiate", "", nil).Code, "POST %s/negotiate", path)
	}
	for _, path := range []string{
		"/chat/Negotiate", "/chat/NEGOTIATE", "/chat/negotiate/", "/chat//negotiate", "/chat/./negotiate", "/chat/x/../negotiate", "/chat/negotiate/.",
		"/chat%2fnegotiate", "/chat%2Fnegotiate", "/chat/negotiate%2f", "/negotiate", "/chat/negotiate/negotiate", "/chat/nego\u0442iate",
	} {
		require.Equal(t, http.StatusNotFound, serveRequest(sys, http.MethodPost, path, "", nil).Code, "POST %s", path)
	}
}

// The paths of two endpoints may differ in case only, and the root may be an endpoint.
func TestEndpointsWithPathsThatDifferInCase(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*base, error) { return &base{}, nil }, hubsys.HubOptions{})
	require.NoError(t, hub.Map("/chat", hubsys.EndpointOptions{}))
	require.NoError(t, hub.Map("/Chat", hubsys.EndpointOptions{}))
	require.NoError(t, hub.Map("/", hubsys.EndpointOptions{}))
	require.Error(t, hub.Map("/chat", hubsys.EndpointOptions{}), "the path is mapped already")
	for _, path := range []string{"/chat", "/Chat", ""} {
		require.Equal(t, http.StatusOK, serveRequest(sys, http.MethodPost, path+"/negotiate", "", nil).Code, "POST %s/negotiate", path)
	}
	require.Equal(t, http.StatusNotFound, serveRequest(sys, http.MethodPost, "/cHat/negotiate", "", nil).Code)
	require.Equal(t, http.StatusBadRequest, serveRequest(sys, http.MethodGet, "/", "", nil).Code)
}

// A middleware in front of a path cannot be bypassed by another spelling of the path.
func TestMiddlewareForAPathCannotBeBypassed(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*base, error) { return &base{}, nil }, hubsys.HubOptions{})
	require.NoError(t, hub.Map("/admin/hub", hubsys.EndpointOptions{}))
	mux := http.NewServeMux()
	mux.Handle("/", sys)
	mux.HandleFunc("/admin/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	for _, path := range []string{
		"/admin/hub/negotiate", "/Admin/hub/negotiate", "/ADMIN/HUB/negotiate", "//admin/hub/negotiate", "/x/../admin/hub/negotiate", "/x/..%2fadmin/hub/negotiate",
		"/%61dmin/hub/negotiate", "/admin%2fhub/negotiate", "/./admin/hub/negotiate", "/x%2f../admin/hub/negotiate", "/admin\u212A/../admin/hub/negotiate", "/ad\u004Din/hub/negotiate",
	} {
		p := dialTCP(t, server.URL+path)
		p.path = path
		p.mustWrite(p.request(http.MethodPost, "", "Content-Length: 0\r\n"))
		require.NotEqual(t, http.StatusOK, p.response().StatusCode, path)
	}
}
