package hubsys_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// mounted gives the address of the lab's endpoint on a server of its own.
func mounted(t *testing.T, w *world, prefix string, h http.Handler) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL + prefix + "/lab"
}

// The patterns of a System put it under a mux, with everything that a client asks for, and nothing else.
func TestAMuxWithThePatternsOfASystem(t *testing.T) {
	w := newWorld(t, setup{})
	require.NoError(t, w.hub.Map("/other/lab", hubsys.EndpointOptions{}))
	mux := http.NewServeMux()
	for _, pattern := range w.sys.Patterns() {
		mux.Handle(pattern, w.sys)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	prefixed := http.NewServeMux()
	prefixed.Handle("/app/v1/", http.StripPrefix("/app/v1", mux))
	for prefix, h := range map[string]http.Handler{"": mux, "/other": mux, "/app/v1": prefixed, "/app/v1/other": prefixed} {
		t.Run(prefix, func(t *testing.T) { everyTransport(t, w, mounted(t, w, prefix, h)) })
	}
	for _, path := range []string{"/", "/lab/x", "/labs", "/Lab", "/other", "/other/lab/x", "/lab/negotiate/x"} {
		require.Equal(t, http.StatusTeapot, ask(mux, http.MethodGet, path, "", nil).Code, path)
	}
}

func TestASystemUnderAPrefix(t *testing.T) {
	w := newWorld(t, setup{})
	mux := http.NewServeMux()
	mux.Handle("/app/v1/", http.StripPrefix("/app/v1", w.sys))
	everyTransport(t, w, mounted(t, w, "/app/v1", mux))
	require.Equal(t, http.StatusNotFound, ask(mux, http.MethodPost, "/lab/negotiate", "", nil).Code)
	require.Equal(t, http.StatusNotFound, ask(mux, http.MethodPost, "/app/v1/Lab/negotiate", "", nil).Code)
}

// everyTransport makes a call over each.
func everyTransport(t *testing.T, w *world, address string) {
	t.Helper()
	echo := invocation("e", "Echo", 1) + separator
	answer := `{"type":3,"invocationId":"e","result":1}` + separator

	c, _ := dialID(t, address, nil)
	c.quiet()
	dial(t, address).quiet() // without a negotiation
	c.leave()

	query := poller(t, address, "json")
	status, _ := roundTrip(t, http.MethodPost, address+query, echo, nil)
	require.Equal(t, http.StatusOK, status)
	for got := ""; !strings.Contains(got, answer); {
		status, more := roundTrip(t, http.MethodGet, address+query, "", nil)
		require.Equal(t, http.StatusOK, status)
		got += more
	}
	status, _ = roundTrip(t, http.MethodDelete, address+query, "", nil)
	require.Equal(t, http.StatusAccepted, status)

	query = opening(t, address)
	p := connect(t, address)
	p.mustWrite(p.request(http.MethodGet, query, events))
	response := p.response()
	require.Equal(t, http.StatusOK, response.StatusCode)
	status, _ = roundTrip(t, http.MethodPost, address+query, greeting+separator+echo, nil)
	require.Equal(t, http.StatusOK, status)
	for got := ""; !strings.Contains(got, answer); {
		b := make([]byte, 1000)
		n, err := response.Body.Read(b)
		require.NoError(t, err)
		got += string(b[:n])
	}
	require.NoError(t, p.conn.Close())
}
