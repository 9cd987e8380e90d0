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

func TestAClientThatDoesNotReadItsEvents(t *testing.T) {
	s := newStage(t, scene{small: true, EndpointOptions: hubsys.EndpointOptions{TransportSendTimeout: time.Second}})
	g := s.negotiate(nil)
	p := g.deaf()
	g.say(call("1", "Long", 4<<20))
	require.ErrorIs(t, s.disconnected(), hubsys.ErrSendTimeout)
	s.until("it is forgotten", func() bool { return g.post("x").status == http.StatusNotFound })
	_, err := io.Copy(io.Discard, p.r)
	if err == nil {
		err = io.EOF // cut in a chunk or not, it is over
	}
	require.NotErrorIs(t, err, context.DeadlineExceeded)
}

func TestTheOutboxOfAClientThatDoesNotReadItsEvents(t *testing.T) {
	s := newStage(t, scene{small: true, HubOptions: hubsys.HubOptions{OutboxLimit: 64 << 10}})
	g := s.negotiate(nil)
	g.deaf()
	for range 2 { // so that it is slower than most
		s.negotiate(nil).reads()
	}
	text := strings.Repeat("x", 30000)
	for len(s.gone) == 0 {
		require.NoError(t, s.hub.Clients().All().Send(context.Background(), "n", text))
	}
	require.ErrorIs(t, s.disconnected(), hubsys.ErrSlowClient)
}

func TestADeafClientOverHTTP2(t *testing.T) {
	s := newStage(t, scene{http2: true, EndpointOptions: hubsys.EndpointOptions{TransportSendTimeout: time.Second}})
	g, _ := s.attend(nil)
	g.say(call("1", "Long", 16<<20)) // more than the windows of a stream
	require.ErrorIs(t, s.disconnected(), hubsys.ErrSendTimeout)
}

func TestEventsOutliveTheTimeoutsOfTheServer(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		s := newStage(t, scene{http2: h2, server: hurried})
		g, e := s.attend(nil)
		g.say(call("1", "Echo", 1))
		e.got(strings.TrimSuffix(result("1", "1"), separator))
		g.say(strings.Replace(call("2", "Tick", 8), `"type":1`, `"type":4`, 1))
		e.got(items("2", 8)...)
		require.Empty(t, s.gone)
	})
}

func TestEventsBehindAMiddlewareThatUnwraps(t *testing.T) {
	s := newStage(t, scene{server: hurried, wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(&unwrapper{wrapper{&unwrapper{wrapper{w}}}}, r)
		})
	}})
	g, e := s.attend(nil)
	g.say(strings.Replace(call("2", "Tick", 4), `"type":1`, `"type":4`, 1))
	e.got(items("2", 4)...)
}

func TestEventsBehindAMiddlewareThatCannotFlush(t *testing.T) {
	s := newStage(t, scene{wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(&wrapper{w}, r) })
	}})
	g := s.negotiate(nil)
	s.do(http.MethodGet, g.path(), "", accept).is(t, http.StatusInternalServerError, "")
	g.begin() // the connection is still free
	g.say(greeting)
	g.got("{}")
}
