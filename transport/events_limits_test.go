package transport_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

func TestAClientThatDoesNotReadItsEventsIsDisconnected(t *testing.T) {
	s := newTestServer(t, testConfig{smallBuffers: true, EndpointOptions: hubsys.EndpointOptions{TransportSendTimeout: time.Second}})
	c := s.negotiate(nil)
	p := c.openUnreadEvents()
	c.mustPost(invocationJSON("1", "Long", 4<<20))
	require.ErrorIs(t, s.requireDisconnected(), hubsys.ErrSendTimeout)
	s.eventually("the connection is forgotten", func() bool { return c.post("x").status == http.StatusNotFound })
	_, err := io.Copy(io.Discard, p.r)
	if err == nil {
		err = io.EOF // the stream may end within a chunk
	}
	require.NotErrorIs(t, err, context.DeadlineExceeded)
}

func TestAClientThatDoesNotReadItsEventsFillsItsOutbox(t *testing.T) {
	s := newTestServer(t, testConfig{smallBuffers: true, HubOptions: hubsys.HubOptions{OutboxLimit: 64 << 10}})
	c := s.negotiate(nil)
	c.openUnreadEvents()
	for range 2 { // so that the other one is slower than most clients
		s.negotiate(nil).openDrainedEvents()
	}
	text := strings.Repeat("x", 30000)
	for len(s.disconnected) == 0 {
		require.NoError(t, s.hub.Clients().All().Send(context.Background(), "n", text))
	}
	require.ErrorIs(t, s.requireDisconnected(), hubsys.ErrSlowClient)
}

func TestAnHTTP2ClientThatDoesNotReadIsDisconnected(t *testing.T) {
	s := newTestServer(t, testConfig{http2: true, EndpointOptions: hubsys.EndpointOptions{TransportSendTimeout: time.Second}})
	c, _ := s.connectEvents(nil)
	c.mustPost(invocationJSON("1", "Long", 16<<20)) // more than the flow control windows
	require.ErrorIs(t, s.requireDisconnected(), hubsys.ErrSendTimeout)
}

func TestEventsOutliveTheTimeoutsOfTheServer(t *testing.T) {
	overHTTP1AndHTTP2(t, func(t *testing.T, h2 bool) {
		s := newTestServer(t, testConfig{http2: h2, configure: useShortTimeouts})
		c, e := s.connectEvents(nil)
		c.mustPost(invocationJSON("1", "Echo", 1))
		e.requireMessages(strings.TrimSuffix(completionJSON("1", "1"), separator))
		c.mustPost(strings.Replace(invocationJSON("2", "Tick", 8), `"type":1`, `"type":4`, 1))
		e.requireMessages(streamItems("2", 8)...)
		require.Empty(t, s.disconnected)
	})
}

func TestEventsBehindAMiddlewareWithUnwrap(t *testing.T) {
	s := newTestServer(t, testConfig{configure: useShortTimeouts, middleware: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(&unwrappingWriter{opaqueWriter{&unwrappingWriter{opaqueWriter{w}}}}, r)
		})
	}})
	c, e := s.connectEvents(nil)
	c.mustPost(strings.Replace(invocationJSON("2", "Tick", 8), `"type":1`, `"type":4`, 1))
	e.requireMessages(streamItems("2", 8)...)
}

func TestEventStreamsRequireFlush(t *testing.T) {
	s := newTestServer(t, testConfig{middleware: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(&opaqueWriter{w}, r) })
	}})
	c := s.negotiate(nil)
	s.do(http.MethodGet, c.path(), "", acceptEvents).requireText(t, http.StatusInternalServerError, "")
	c.startPolling() // the connection has no transport yet
	c.mustPost(handshakeJSON)
	c.requireMessages("{}")
}
