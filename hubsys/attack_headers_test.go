package hubsys_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

const defaultHeaderLimit = 16 << 10

// largeHeader returns a header line of more bytes than browsers send.
func largeHeader(bytes int) string { return "X-Large: " + strings.Repeat("h", bytes) + "\r\n" }

// initialRequests returns, for each request that starts a connection, a function that sends it with more headers and a longer query and
// returns the status.
func initialRequests(t *testing.T, address string) map[string]func(header, query string) int {
	head := func(method, path string, token bool, header string) func(string, string) int {
		return func(more, query string) int {
			p := dialTCP(t, address)
			p.path += path
			q := "?negotiateVersion=1"
			if token {
				q = negotiateQuery(t, address)
			}
			p.mustWrite(p.request(method, q+query, header+more))
			status := p.response().StatusCode
			require.NoError(t, p.conn.Close())
			return status
		}
	}
	return map[string]func(header, query string) int{
		"negotiation":                     head(http.MethodPost, "/negotiate", false, "Content-Length: 0\r\n"),
		"WebSocket":                       head(http.MethodGet, "", true, upgradeHeader),
		"WebSocket without a negotiation": head(http.MethodGet, "", false, upgradeHeader),
		"event stream":                    head(http.MethodGet, "", true, "Accept: text/event-stream\r\n"),
		"first poll":                      head(http.MethodGet, "", true, ""),
	}
}

func isSuccess(status int) bool {
	return status == http.StatusOK || status == http.StatusSwitchingProtocols
}

// A request whose headers and query exceed RequestHeaderLimit is rejected.
func TestTooLargeRequestsAreRejected(t *testing.T) {
	t.Parallel()
	srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{CloseTimeout: quickClose}})
	for name, open := range initialRequests(t, srv.url) {
		t.Run(name, func(t *testing.T) {
			query := "&x=" + strings.Repeat("q", 8000)
			require.True(t, isSuccess(open("", "")))
			require.True(t, isSuccess(open(largeHeader(defaultHeaderLimit-2000), "")), "below the limit")
			require.True(t, isSuccess(open(largeHeader(defaultHeaderLimit/4), "&x="+strings.Repeat("q", defaultHeaderLimit/2))), "below the limit together")
			require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, open(largeHeader(defaultHeaderLimit+500), ""), "a long header")
			require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, open(largeHeader(800_000), ""), "a longer header")
			require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, open(strings.Repeat("X-Small: h\r\n", 5000), ""), "many headers")
			require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, open("", "&x="+strings.Repeat("q", defaultHeaderLimit+500)), "a long query")
			require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, open(largeHeader(defaultHeaderLimit-4000), query), "both together")
		})
	}
}

// The limit holds for later requests of a connection as well. They do not affect it.
func TestTooLargeRequestsToAConnectionAreRejected(t *testing.T) {
	srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{
		Authenticate: principalOf, Refresh: &hubsys.RefreshOptions{}, AllowStatefulReconnects: true, CloseTimeout: quickClose,
	}})
	query := startPolling(t, srv.url, "json")
	for name, request := range requestsByID {
		for what, large := range map[string][2]string{
			"header": {largeHeader(defaultHeaderLimit + 500), ""}, "query": {"", "&x=" + strings.Repeat("q", defaultHeaderLimit+500)},
			"cookies": {strings.Repeat("Cookie: a=b\r\n", 2000), ""},
		} {
			p := dialTCP(t, srv.url)
			p.path += request.path
			p.mustWrite(p.request(request.method, query+large[1], request.header+large[0]+"Content-Length: 0\r\n"))
			require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, p.response().StatusCode, "%s of %s", what, name)
			require.NoError(t, p.conn.Close())
		}
	}
	_, body := doRequest(t, http.MethodGet, srv.url+query, "", nil)
	require.Equal(t, "{}"+separator, body, "the connection goes on")
}

// A rejected request does not use up its connection token.
func TestARejectedRequestDoesNotUseUpItsToken(t *testing.T) {
	srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{CloseTimeout: quickClose}})
	query := negotiateQuery(t, srv.url)
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, dialTCP(t, srv.url).upgrade(query, largeHeader(100_000)))
	require.Equal(t, http.StatusSwitchingProtocols, dialTCP(t, srv.url).upgrade(query, ""))
}

// dialWithHeader opens idle connections with a large header. It returns those that the server has accepted.
func dialWithHeader(t *testing.T, srv *testServer, connections, bytes int) (in []*rawConn) {
	header := largeHeader(bytes)
	for range connections {
		p := dialTCP(t, srv.url)
		if p.upgrade("", header) != http.StatusSwitchingProtocols {
			require.NoError(t, p.conn.Close())
			continue
		}
		p.mustWrite(clientFrame(textFrame, handshakeJSON+separator))
		_, _, err := p.read()
		require.NoError(t, err)
		in = append(in, p)
	}
	return in
}

func TestIdleConnectionsUseLittleMemory(t *testing.T) {
	const connections = 250 / raceFactor
	srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{CloseTimeout: quickClose}})
	newClientSet(srv, 1).requireWorking()
	for _, bytes := range []int{defaultHeaderLimit - 2000, 800_000} {
		before := heapInUse()
		dialWithHeader(t, srv, connections, bytes)
		// Each connection keeps its request and needs some memory at both ends of its socket.
		requireHeapSettles(t, before, connections*(defaultHeaderLimit+24<<10), "%d connections with headers of %d bytes", connections, bytes)
	}
}

// The memory of a connection is released after it has ended.
func TestClosedConnectionsReleaseTheirMemory(t *testing.T) {
	const connections = 500 / raceFactor
	var gone atomic.Int64
	srv := newTestServer(t, testConfig{onDisconnected: func(context.Context, *testHub, error) error { gone.Add(1); return nil }})
	dialWithHeader(t, srv, 20, 1000) // allocates what is shared by all connections
	before := heapInUse()
	all := dialWithHeader(t, srv, connections, defaultHeaderLimit-2000)
	require.Len(t, all, connections)
	for i, p := range all {
		if i%2 == 0 {
			p.mustWrite(clientFrame(8, "\x03\xe8"))
		}
		require.NoError(t, p.conn.Close())
		p.r = nil // the client's buffer
	}
	eventually(t, func() bool { return gone.Load() >= connections }, "all connections are closed")
	requireHeapSettles(t, before, connections*2<<10, "%d connections have gone", connections)
}
