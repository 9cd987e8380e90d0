package hubsys_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// These tests run on the clock of a synctest bubble, so they can tell how long the server waits.

// trickle writes a text again and again, one byte a second, until the connection is closed, and returns for how long the server has held it.
func trickle(t testing.TB, conn net.Conn, text string) time.Duration {
	t.Helper()
	const most = time.Hour
	start := time.Now()
	for i := 0; time.Since(start) < most; i++ {
		if _, err := conn.Write([]byte{text[i%len(text)]}); err != nil {
			return time.Since(start)
		}
		time.Sleep(time.Second)
	}
	assert.Fail(t, "the server holds the connection for ever")
	return most
}

// discardInput reads what the server sends.
func discardInput(p *rawConn) { go func() { _, _ = io.Copy(io.Discard, p.r) }() }

// A body that nobody needs is waited for in all, and not from byte to byte.
func TestTrickledBodiesThatNobodyNeeds(t *testing.T) {
	const most = 7 * time.Second // five, and the time that net/http takes to close
	testBodies(t, 0, testConfig{EndpointOptions: hubsys.EndpointOptions{
		CloseTimeout: time.Second, TransportSendTimeout: time.Minute, PollTimeout: time.Second, Refresh: &hubsys.RefreshOptions{},
		Authenticate: func(*http.Request) (*hubsys.Principal, error) { return nil, nil },
	}}, func(t *testing.T, b *bodyServer) {
		polls, socket := b.startPolling(t), b.negotiate(t)
		ws := newRawConn(t, b.listener.dial(t), "/test")
		require.Equal(t, http.StatusSwitchingProtocols, ws.upgrade(socket, ""))
		discardInput(ws)
		for name, request := range map[string]struct{ method, path, query, header string }{
			"a negotiation":                     {http.MethodPost, "/negotiate", "", ""},
			"a refresh":                         {http.MethodPost, "/refresh", socket, ""},
			"a refresh of nothing":              {http.MethodPost, "/refresh", "", ""},
			"another path":                      {http.MethodPost, "/other", "", ""},
			"another method":                    {http.MethodPut, "", "", ""},
			"a POST to an unknown connection":   {http.MethodPost, "", "?id=none", ""},
			"a POST to a WebSocket":             {http.MethodPost, "", socket, ""},
			"a DELETE of an unknown connection": {http.MethodDelete, "", "?id=none", ""},
			"a poll":                            {http.MethodGet, "", polls, ""},
			"an event stream":                   {http.MethodGet, "", b.negotiate(t), events},
		} {
			p := b.begin(t, request.method, request.path, request.query, request.header, "")
			discardInput(p)
			assert.LessOrEqual(t, trickle(t, p.conn, "x"), most, name)
		}
		require.NoError(t, ws.conn.Close())
	})
}

// The body of a POST to a connection without a transport is waited for in all, too.
func TestATrickledBodyBeforeTheTransport(t *testing.T) {
	testBodies(t, 0, testConfig{}, func(t *testing.T, b *bodyServer) {
		p := b.begin(t, http.MethodPost, "", b.negotiate(t), "", "")
		discardInput(p)
		require.LessOrEqual(t, trickle(t, p.conn, handshakeJSON), 36*time.Second)
	})
}

// A client that does not finish its handshake is disconnected after HandshakeTimeout over every transport, whether it sends nothing or a byte a
// second, and whether it reads or not.
func TestTrickledHandshakesTimeOut(t *testing.T) {
	const timeout = 15 * time.Second // the default
	const most = timeout + 8*time.Second
	half := strings.TrimSuffix(handshakeJSON, "}") + "," + strings.Repeat(" ", 4000)
	testBodies(t, 0, testConfig{
		onConnected: func(context.Context, *testHub) error { t.Error("OnConnected"); return nil },
	}, func(t *testing.T, b *bodyServer) {
		p := newRawConn(t, b.listener.dial(t), "/test")
		require.Equal(t, http.StatusSwitchingProtocols, p.upgrade("", ""))
		start := time.Now()
		requireAllClosed(t, map[string]*rawConn{"silent": p}, most)
		require.GreaterOrEqual(t, time.Since(start), timeout)

		p = newRawConn(t, b.listener.dial(t), "/test")
		require.Equal(t, http.StatusSwitchingProtocols, p.upgrade("", ""))
		discardInput(p)
		held := trickle(t, p.conn, clientFrame(textFrame, half))
		require.GreaterOrEqual(t, held, timeout)
		require.LessOrEqual(t, held, most)

		query := b.negotiate(t)
		stream := newRawConn(t, b.listener.dial(t), "/test")
		stream.mustWrite(stream.request(http.MethodGet, query, events)) // it never reads
		time.Sleep(time.Second)
		body := b.begin(t, http.MethodPost, "", query, "", "")
		discardInput(body)
		held = trickle(t, body.conn, half)
		require.GreaterOrEqual(t, held, timeout-time.Second)
		require.LessOrEqual(t, held, most)
		_ = stream.conn.SetReadDeadline(time.Now().Add(most)) // fails if the server has closed already
		if response, err := http.ReadResponse(stream.r, nil); err == nil {
			_, err = io.Copy(io.Discard, response.Body)
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the event stream has ended")
		} else {
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the event stream has ended")
		}
		require.NoError(t, stream.conn.Close())

		query = b.negotiate(t)
		require.Equal(t, http.StatusOK, serveRequest(b.srv.sys, http.MethodGet, "/test"+query, "", nil).Code)
		poll := b.begin(t, http.MethodGet, "", query, "", "")
		discardInput(poll)
		body = b.begin(t, http.MethodPost, "", query, "", "")
		discardInput(body)
		require.LessOrEqual(t, trickle(t, body.conn, half), most)
		require.Equal(t, http.StatusNotFound, serveRequest(b.srv.sys, http.MethodPost, "/test"+query, "", nil).Code)
	})
}

// Bytes of a message that does not become whole are no sign of life.
func TestATrickledMessageIsNoSignOfLife(t *testing.T) {
	var causes chan error
	testBodies(t, 0, testConfig{
		onDisconnected: func(_ context.Context, _ *testHub, cause error) error { causes <- cause; return nil },
	}, func(t *testing.T, b *bodyServer) {
		causes = make(chan error, 1) // of the bubble
		p := newRawConn(t, b.listener.dial(t), "/test")
		require.Equal(t, http.StatusSwitchingProtocols, p.upgrade("", ""))
		discardInput(p)
		p.mustWrite(clientFrame(textFrame, handshakeJSON+separator+`{"type":6}`+separator))
		held := trickle(t, p.conn, clientFragment(textFrame, false, `{"type":1,"target":"`+strings.Repeat("x", 10000)))
		require.Less(t, held, 45*time.Second)
		require.ErrorIs(t, <-causes, hubsys.ErrClientTimeout)
	})
}

// A client that never reads what is sent to it is disconnected, over each transport, TransportSendTimeout after it should have taken something.
func TestClientsThatNeverReadAreDisconnected(t *testing.T) {
	const most = 10*time.Second + 15*time.Second + 8*time.Second // TransportSendTimeout, KeepAliveInterval, and what a close takes
	var causes chan error
	testBodies(t, 0, testConfig{
		onDisconnected: func(_ context.Context, _ *testHub, cause error) error { causes <- cause; return nil },
	}, func(t *testing.T, b *bodyServer) {
		causes = make(chan error, 1) // of the bubble
		requireSendTimeout := func(what string) {
			t.Helper()
			start := time.Now()
			require.ErrorIs(t, <-causes, hubsys.ErrSendTimeout, what)
			require.LessOrEqual(t, time.Since(start), most, what)
		}
		p := newRawConn(t, b.listener.dial(t), "/test")
		require.Equal(t, http.StatusSwitchingProtocols, p.upgrade("", ""))
		p.mustWrite(clientFrame(textFrame, handshakeJSON+separator))
		_, answer, err := p.read()
		require.NoError(t, err)
		require.Equal(t, "{}"+separator, answer)
		requireSendTimeout("WebSocket")

		query := b.negotiate(t)
		stream := newRawConn(t, b.listener.dial(t), "/test")
		stream.mustWrite(stream.request(http.MethodGet, query, events))
		require.Equal(t, http.StatusOK, stream.response().StatusCode)
		require.Equal(t, http.StatusOK, serveRequest(b.srv.sys, http.MethodPost, "/test"+query, handshakeJSON+separator, nil).Code)
		requireSendTimeout("event stream")

		query = b.startPolling(t)
		b.begin(t, http.MethodGet, "", query, "", strings.Repeat("x", 1000))
		require.NoError(t, b.srv.hub.Clients().All().Send(t.Context(), "large", strings.Repeat("x", 100_000)))
		requireSendTimeout("poll")
	})
}
