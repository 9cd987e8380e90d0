package hubsys_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/backplane"
)

// A connection lives where its socket arrives, whichever node has issued its token, and is reached by its id from everywhere. Its token opens it once.
func TestAConnectionLivesWhereItIsOpened(t *testing.T) {
	overNodes(t, 3, func(t *testing.T, servers []*nodeServer) {
		id, token := negotiate(t, servers[0].url, nil)
		c := dialWith(t, servers[1].url+"?id="+token, dialOptions{})
		for i, s := range servers {
			require.NoError(t, s.hub.Clients().Client(id).Send(t.Context(), "called", i))
			c.requireInvocation("called", i)
		}
		for i, s := range servers {
			status := openStatus(t, s.url, token)
			require.Equal(t, http.StatusConflict, status, "node %d", i)
		}
		c.close()
		eventually(t, func() bool { return openStatus(t, servers[2].url, token) == http.StatusNotFound }, "its token is not valid any more")
	})
}

// Tokens of connections of other nodes are checked as those of this one are.
func TestTokensOfOtherNodes(t *testing.T) {
	overNodes(t, 2, func(t *testing.T, servers []*nodeServer) {
		_, token := negotiate(t, servers[0].url, userHeader("ada"))
		other, _ := negotiate(t, servers[0].url, nil)
		for name, test := range map[string]struct {
			token string
			want  int
		}{
			"another user": {token, http.StatusForbidden},
			"an id":        {other, http.StatusNotFound},
			"a part of it": {token[:len(token)-4], http.StatusNotFound},
			"another one":  {token[:24] + strings.Repeat("A", len(token)-24), http.StatusNotFound},
			"no base64":    {"!" + token[1:], http.StatusNotFound},
		} {
			require.Equal(t, test.want, openStatus(t, servers[1].url, test.token), name)
		}
	})
}

// Polls, POSTs and DELETEs reach the connection through whatever node they arrive at.
func TestRequestsAreRelayed(t *testing.T) {
	overNodes(t, 3, func(t *testing.T, servers []*nodeServer) {
		turn := 0
		next := func() *nodeServer { turn++; return servers[turn%len(servers)] }
		ended := make(chan struct{})
		for _, s := range servers {
			s.onDisconnected = func(context.Context, *testHub, error) error { close(ended); return nil }
		}
		id, token := negotiate(t, next().url, userHeader("ada"))
		request := func(method, body string) (status int, text string) {
			t.Helper()
			r, err := http.NewRequestWithContext(t.Context(), method, next().url+"?id="+url.QueryEscape(token), strings.NewReader(body))
			require.NoError(t, err)
			r.Header = userHeader("ada")
			response, err := http.DefaultClient.Do(r)
			require.NoError(t, err)
			defer response.Body.Close()
			var b bytes.Buffer
			_, err = b.ReadFrom(response.Body)
			require.NoError(t, err)
			return response.StatusCode, b.String()
		}
		status, _ := request(http.MethodGet, "")
		require.Equal(t, http.StatusOK, status, "the first poll opens")
		status, _ = request(http.MethodPost, handshakeJSON+separator)
		require.Equal(t, http.StatusOK, status)
		status, text := request(http.MethodGet, "")
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "{}"+separator, text)
		for i := range 20 {
			status, _ = request(http.MethodPost, fmt.Sprintf(`{"type":1,"invocationId":"%d","target":"Echo","arguments":[%d]}`, i, i)+separator)
			require.Equal(t, http.StatusOK, status)
			status, text = request(http.MethodGet, "")
			require.Equal(t, http.StatusOK, status)
			require.Equal(t, fmt.Sprintf(`{"type":3,"invocationId":"%d","result":%d}`, i, i)+separator, text)
		}
		members, err := servers[0].hub.Clients().All().Members(t.Context())
		require.NoError(t, err)
		require.Equal(t, []hubsys.Member{{ConnectionID: id, UserID: "ada"}}, members)
		status, _ = request(http.MethodDelete, "")
		require.Equal(t, http.StatusAccepted, status)
		receive(t, ended)
		eventually(t, func() bool { status, _ := request(http.MethodPost, "{}"); return status == http.StatusNotFound }, "the connection is gone")
	})
}

// A node that leaves costs no client its connection that is on another node: the poll that it relays is answered before.
func TestANodeThatLeavesEndsThePollsThatItRelays(t *testing.T) {
	overBackplanes(t, func(t *testing.T, node newNode) {
		relayed := make(chan struct{}, 100)
		servers := joinServers(t, func(name string) backplane.Backplane { return &relayingPlane{node(name), relayed} }, 3)
		id, token := negotiate(t, servers[0].url, nil)
		request := func(i int, method, body string) string {
			r, err := http.NewRequestWithContext(t.Context(), method, servers[i].url+"?id="+url.QueryEscape(token), strings.NewReader(body))
			assert.NoError(t, err)
			response, err := http.DefaultClient.Do(r)
			if !assert.NoError(t, err) {
				return ""
			}
			defer response.Body.Close()
			text, err := io.ReadAll(response.Body)
			assert.NoError(t, err)
			return fmt.Sprint(response.StatusCode, " ", string(text))
		}
		require.Equal(t, "200 ", request(0, http.MethodGet, ""))
		require.Equal(t, "200 ", request(2, http.MethodPost, handshakeJSON+separator))
		require.Equal(t, "200 {}"+separator, request(1, http.MethodGet, ""))
		answer := make(chan string, 1)
		for len(relayed) > 0 {
			<-relayed
		}
		go func() { answer <- request(1, http.MethodGet, "") }()
		receive(t, relayed)
		ended := make(chan error, 1)
		go func() { ended <- servers[1].sys.Drain(t.Context(), time.Millisecond) }()
		require.Equal(t, "200 ", receive(t, answer))
		require.NoError(t, receive(t, ended))
		require.NoError(t, servers[0].hub.Clients().Client(id).Send(t.Context(), "called"))
		require.Contains(t, request(2, http.MethodGet, ""), "called")
		require.Equal(t, "202 ", request(2, http.MethodDelete, ""))
	})
}

// relayingPlane tells when a request is relayed.
type relayingPlane struct {
	backplane.Backplane
	relayed chan struct{}
}

func (p *relayingPlane) Relay(at backplane.NodeID, w http.ResponseWriter, r *http.Request) error {
	p.relayed <- struct{}{}
	return p.Backplane.Relay(at, w, r)
}

// The owner of a connection is gone: its client is told at once.
func TestRequestsForALostNode(t *testing.T) {
	servers := joinServers(t, inMemory(), 3)
	servers[1].shutdownMayFail = true
	_, token := negotiate(t, servers[0].url, nil)
	dialWith(t, servers[1].url+"?id="+token, dialOptions{})
	servers[1].kill()
	eventually(t, func() bool { return openStatus(t, servers[2].url, token) == http.StatusNotFound }, "nobody has the connection")
}

// A client cannot say by a header who it is.
func TestHeadersOfRelayedRequestsAreNotBelieved(t *testing.T) {
	overNodes(t, 2, func(t *testing.T, servers []*nodeServer) {
		_, token := negotiate(t, servers[0].url, userHeader("ada"))
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, servers[1].url+"?id="+url.QueryEscape(token), strings.NewReader("{}"))
		require.NoError(t, err)
		r.Header.Set("Troupe-User", "ada")
		response, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		response.Body.Close()
		require.Equal(t, http.StatusForbidden, response.StatusCode)
	})
}

// openStatus returns the status with which a WebSocket for a token is refused.
func openStatus(t testing.TB, address, token string) int {
	t.Helper()
	_, status, err := tryDialSocket(t, address+"?id="+url.QueryEscape(token), dialOptions{})
	require.Error(t, err)
	return status
}
