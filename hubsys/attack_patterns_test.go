package hubsys_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// serveMounted serves a handler, and returns the URL of the test hub's endpoint.
func serveMounted(t *testing.T, srv *testServer, prefix string, h http.Handler) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL + prefix + "/test"
}

// Registering the patterns of a System with a mux routes all requests of clients to the System, and no others.
func TestPatternsRouteAllRequestsOfClients(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	require.NoError(t, srv.hub.Map("/other/test", hubsys.EndpointOptions{}))
	mux := http.NewServeMux()
	for _, pattern := range srv.sys.Patterns() {
		mux.Handle(pattern, srv.sys)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	prefixed := http.NewServeMux()
	prefixed.Handle("/app/v1/", http.StripPrefix("/app/v1", mux))
	for prefix, h := range map[string]http.Handler{"": mux, "/other": mux, "/app/v1": prefixed, "/app/v1/other": prefixed} {
		t.Run(prefix, func(t *testing.T) { requireAllTransports(t, srv, serveMounted(t, srv, prefix, h)) })
	}
	for _, path := range []string{"/", "/test/x", "/tests", "/Test", "/other", "/other/test/x", "/test/negotiate/x"} {
		require.Equal(t, http.StatusTeapot, serveRequest(mux, http.MethodGet, path, "", nil).Code, path)
	}
}

func TestASystemUnderAPrefix(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	mux := http.NewServeMux()
	mux.Handle("/app/v1/", http.StripPrefix("/app/v1", srv.sys))
	requireAllTransports(t, srv, serveMounted(t, srv, "/app/v1", mux))
	require.Equal(t, http.StatusNotFound, serveRequest(mux, http.MethodPost, "/test/negotiate", "", nil).Code)
	require.Equal(t, http.StatusNotFound, serveRequest(mux, http.MethodPost, "/app/v1/Test/negotiate", "", nil).Code)
}

// requireAllTransports makes a call over each transport.
func requireAllTransports(t *testing.T, srv *testServer, address string) {
	t.Helper()
	echo := invocation("e", "Echo", 1) + separator
	answer := `{"type":3,"invocationId":"e","result":1}` + separator

	c, _ := dialWithID(t, address, nil)
	c.requireNoMessages()
	dial(t, address).requireNoMessages() // without a negotiation
	c.close()

	query := startPolling(t, address, "json")
	status, _ := doRequest(t, http.MethodPost, address+query, echo, nil)
	require.Equal(t, http.StatusOK, status)
	for got := ""; !strings.Contains(got, answer); {
		status, more := doRequest(t, http.MethodGet, address+query, "", nil)
		require.Equal(t, http.StatusOK, status)
		got += more
	}
	status, _ = doRequest(t, http.MethodDelete, address+query, "", nil)
	require.Equal(t, http.StatusAccepted, status)

	query = negotiateQuery(t, address)
	p := dialTCP(t, address)
	p.mustWrite(p.request(http.MethodGet, query, events))
	response := p.response()
	require.Equal(t, http.StatusOK, response.StatusCode)
	status, _ = doRequest(t, http.MethodPost, address+query, handshakeJSON+separator+echo, nil)
	require.Equal(t, http.StatusOK, status)
	for got := ""; !strings.Contains(got, answer); {
		b := make([]byte, 1000)
		n, err := response.Body.Read(b)
		require.NoError(t, err)
		got += string(b[:n])
	}
	require.NoError(t, p.conn.Close())
}
