package hubsys_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// newTokenServer returns a server whose clients can refresh and resume their connections.
func newTokenServer(t *testing.T) *testServer {
	return newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{
		AllowStatefulReconnects: true, CloseTimeout: quickClose,
		Authenticate: principalOf, Refresh: &hubsys.RefreshOptions{},
	}})
}

// requestsByID are all requests that name a connection.
var requestsByID = map[string]struct {
	method, path, header, body string
}{
	"WebSocket":    {http.MethodGet, "", upgradeHeader, ""},
	"event stream": {http.MethodGet, "", events, ""},
	"poll":         {http.MethodGet, "", "", ""},
	"POST":         {http.MethodPost, "", "", handshakeJSON + separator},
	"DELETE":       {http.MethodDelete, "", "", ""},
	"refresh":      {http.MethodPost, "/refresh", "", ""},
}

// requireRefusedByID requires that no request is accepted that names a connection by what is not its token.
func requireRefusedByID(t *testing.T, srv *testServer, what, id string) {
	t.Helper()
	for name, request := range requestsByID {
		p := dialTCP(t, srv.url)
		p.path += request.path
		length := fmt.Sprintf("Content-Length: %d\r\n", len(request.body))
		p.mustWrite(p.request(request.method, "?id="+url.QueryEscape(id), request.header+length) + request.body)
		require.Equal(t, http.StatusNotFound, p.response().StatusCode, "%s: %s by %q", what, name, id)
		require.NoError(t, p.conn.Close())
	}
}

// imitations are ids that resemble a token, but are not equal to it.
func imitations(id, token string) []string {
	raw, _ := base64.RawURLEncoding.DecodeString(token)
	return []string{
		id, token[:len(token)-1], token + "A", token + "=", strings.ToLower(token), strings.ToUpper(token), " " + token, token + " ", token + "\x00",
		base64.StdEncoding.EncodeToString(raw), id + token[len(id):], token[:len(id)], strings.Repeat("A", len(token)),
	}
}

// A connection is named by its secret token alone: by its public id no request reaches it, whatever its transport, before or after it has one.
func TestNoRequestIsAcceptedByThePublicID(t *testing.T) {
	srv := newTokenServer(t)
	id, token := negotiate(t, srv.url, nil)
	require.NotContains(t, token, id)
	for _, wrong := range imitations(id, token) {
		if wrong != token {
			requireRefusedByID(t, srv, "without a transport", wrong)
		}
	}

	status, _ := doRequest(t, http.MethodGet, srv.url+"?id="+token, "", nil)
	require.Equal(t, http.StatusOK, status)
	requireRefusedByID(t, srv, "polling", id)
	status, _ = doRequest(t, http.MethodPost, srv.url+"?id="+token, handshakeJSON+separator, nil)
	require.Equal(t, http.StatusOK, status)
	status, body := doRequest(t, http.MethodGet, srv.url+"?id="+token, "", nil)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "{}"+separator, body, "the connection goes on")
	requireRefusedByID(t, srv, "polling", id)

	id, token = negotiate(t, srv.url, nil)
	stream := dialTCP(t, srv.url)
	stream.mustWrite(stream.request(http.MethodGet, "?id="+token, events))
	require.Equal(t, http.StatusOK, stream.response().StatusCode)
	requireRefusedByID(t, srv, "event stream", id)
	status, _ = doRequest(t, http.MethodPost, srv.url+"?id="+token, handshakeJSON+separator, nil)
	require.Equal(t, http.StatusOK, status, "the connection goes on")

	w := serveRequest(srv.sys, http.MethodPost, negotiatePath+"&useStatefulReconnect=true", "", nil)
	var n struct{ ConnectionID string }
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &n))
	id, token = n.ConnectionID, tokenOf(t, w)
	c := dialSocket(t, srv.url+"?id="+token, dialOptions{})
	c.send(`{"protocol":"json","version":2}`)
	require.Equal(t, "{}", c.next().raw)
	requireRefusedByID(t, srv, "WebSocket", id)
	require.Equal(t, `"here"`, string(c.invoke("Echo", "here").Result), "the connection goes on")
	_ = c.ws.CloseNow()
	requireRefusedByID(t, srv, "WebSocket that was lost", id)
	c = dialSocket(t, srv.url+"?id="+token, dialOptions{})
	require.Equal(t, 9, c.next().Type, "a Sequence: the connection goes on")
	c.close()

	// The id of a connection that was not negotiated names nothing.
	c = dialHandshake(t, srv.url, dialOptions{})
	srv.handle("id", func(_ context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		return h.Call().ConnectionID(), nil
	})
	requireRefusedByID(t, srv, "WebSocket without a negotiation", strings.Trim(c.do("id"), `"`))
	c.requireNoMessages()
}
