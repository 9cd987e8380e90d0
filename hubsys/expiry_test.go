package hubsys_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

const expiredClose = `{"type":7,"allowReconnect":true}`

// newExpiryServer serves a hub whose users come from principalOf. The causes of OnDisconnected go to the channel.
func newExpiryServer(t *testing.T, options hubsys.EndpointOptions) (srv *testServer, causes chan error) {
	t.Helper()
	causes = make(chan error, 10)
	options.Authenticate = principalOf
	return newTestServer(t, testConfig{
		EndpointOptions: options,
		onDisconnected:  func(_ context.Context, _ *testHub, cause error) error { causes <- cause; return nil },
	}), causes
}

func expiringHeader(user, lifetime string) http.Header {
	return with(userHeader(user), "Lifetime", lifetime)
}

func TestAnExpiredWebSocketIsClosed(t *testing.T) {
	t.Parallel()
	srv, causes := newExpiryServer(t, hubsys.EndpointOptions{})
	lasting := dialWith(t, srv.url, dialOptions{header: expiringHeader("bob", "1h")})
	c := dialHandshake(t, srv.url, dialOptions{header: expiringHeader("ada", "1ms")})
	require.Equal(t, expiredClose, c.next().raw)
	require.EqualValues(t, 1000, c.requireClosed())
	require.ErrorIs(t, receive(t, causes), hubsys.ErrExpired)
	lasting.requireNoMessages()
	lasting.close()
}

func TestAnExpiredEventStreamIsClosed(t *testing.T) {
	t.Parallel()
	srv, causes := newExpiryServer(t, hubsys.EndpointOptions{})
	header := expiringHeader("ada", "1ms")
	_, token := negotiate(t, srv.url, header)
	p := dialTCP(t, srv.url)
	p.mustWrite(p.request(http.MethodGet, "?id="+token, events+"User: ada\r\nLifetime: 1ms\r\n"))
	response := p.response()
	require.Equal(t, http.StatusOK, response.StatusCode)
	status, _ := doRequest(t, http.MethodPost, srv.url+"?id="+token, handshakeJSON+separator, header)
	require.Equal(t, http.StatusOK, status)
	require.NoError(t, p.conn.SetReadDeadline(time.Now().Add(testTimeout)))
	all, err := io.ReadAll(response.Body)
	require.NoError(t, err, "the stream ends")
	require.Equal(t, "{}"+separator+expiredClose+separator, eventData(string(all)))
	require.ErrorIs(t, receive(t, causes), hubsys.ErrExpired)
}

func TestAnExpiredPollIsClosed(t *testing.T) {
	t.Parallel()
	srv, causes := newExpiryServer(t, hubsys.EndpointOptions{})
	header := expiringHeader("ada", "1ms")
	_, token := negotiate(t, srv.url, header)
	query := "?id=" + token
	status, _ := doRequest(t, http.MethodGet, srv.url+query, "", header)
	require.Equal(t, http.StatusOK, status)
	status, _ = doRequest(t, http.MethodPost, srv.url+query, handshakeJSON+separator, header)
	require.Equal(t, http.StatusOK, status)
	all := ""
	for {
		status, body := doRequest(t, http.MethodGet, srv.url+query, "", header)
		if status == http.StatusNoContent {
			break
		}
		require.Equal(t, http.StatusOK, status)
		all += body
	}
	require.Equal(t, "{}"+separator+expiredClose+separator, all)
	require.ErrorIs(t, receive(t, causes), hubsys.ErrExpired)
}

// Calls that were received before the expiration are executed and answered, and OnDisconnected runs behind them.
func TestCallsBeforeTheExpirationAreExecuted(t *testing.T) {
	t.Parallel()
	srv, causes := newExpiryServer(t, hubsys.EndpointOptions{})
	srv.handle("aborted", func(_ context.Context, h *testHub, _ []json.RawMessage) (any, error) {
		<-h.Call().Aborted() // the connection has begun to close
		return len(causes), nil
	})
	c := dialSocket(t, srv.url, dialOptions{header: expiringHeader("ada", "-1h")})
	c.send(handshakeJSON, invocation("1", "Do", "aborted", []any{}), invocation("2", "Echo", "later"))
	require.Equal(t, "{}", c.next().raw)
	require.Equal(t, `{"type":3,"invocationId":"1","result":0}`, c.next().raw)
	require.Equal(t, `{"type":3,"invocationId":"2","result":"later"}`, c.next().raw)
	require.Equal(t, expiredClose, c.next().raw)
	require.EqualValues(t, 1000, c.requireClosed())
	require.ErrorIs(t, receive(t, causes), hubsys.ErrExpired)
	require.Empty(t, causes)
}

// With IgnoreExpiration, connections of which others of the same server would have been closed stay open.
func TestExpirationIsIgnored(t *testing.T) {
	t.Parallel()
	srv, causes := newExpiryServer(t, hubsys.EndpointOptions{})
	require.NoError(t, srv.hub.Map("/ignoring", hubsys.EndpointOptions{Authenticate: principalOf, IgnoreExpiration: true}))
	header := expiringHeader("ada", "-1h")
	ignoring := dialWith(t, strings.TrimSuffix(srv.url, "/test")+"/ignoring", dialOptions{header: header})
	for range 2 { // one tick of the heartbeat each
		c := dialHandshake(t, srv.url, dialOptions{header: header})
		require.Equal(t, expiredClose, c.next().raw)
		c.requireClosed()
		require.ErrorIs(t, receive(t, causes), hubsys.ErrExpired)
	}
	ignoring.requireNoMessages()
	ignoring.close()
}

// The handshake of a connection whose credentials have expired is answered before the connection is closed.
func TestExpirationBeforeTheHandshake(t *testing.T) {
	t.Parallel()
	srv, causes := newExpiryServer(t, hubsys.EndpointOptions{})
	c := dialSocket(t, srv.url, dialOptions{header: expiringHeader("ada", "-1h")})
	other := dialHandshake(t, srv.url, dialOptions{header: expiringHeader("ada", "-1h")})
	require.Equal(t, expiredClose, other.next().raw) // a tick has passed, which leaves c alone
	other.requireClosed()
	c.send(handshakeJSON)
	require.Equal(t, "{}", c.next().raw)
	require.Equal(t, expiredClose, c.next().raw)
	c.requireClosed()
	for range 2 {
		require.ErrorIs(t, receive(t, causes), hubsys.ErrExpired)
	}
}

// eventData returns the data of an event stream.
func eventData(stream string) (data string) {
	for line := range strings.Lines(stream) {
		if text, ok := strings.CutPrefix(line, "data: "); ok {
			data += strings.TrimSuffix(text, "\r\n")
		}
	}
	return data
}
