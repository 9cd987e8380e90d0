package hubsys_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// Clients do not flood the log where middleware of the application lets no WebSocket through.
func TestWebSocketsThatCannotBeOpenedDoNotFloodTheLog(t *testing.T) {
	log := &logRecorder{}
	sys := newSystem(t, hubsys.Config{Logger: log.logger()})
	hub := register(t, sys, func(context.Context) (*base, error) { return &base{}, nil }, hubsys.HubOptions{})
	require.NoError(t, hub.Map("/hub", hubsys.EndpointOptions{}))
	for range 200 {
		r := httptest.NewRequest(http.MethodGet, "/hub", nil)
		r.Header = http.Header{
			"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
		}
		w := httptest.NewRecorder()
		sys.ServeHTTP(w, r)
		require.Equal(t, http.StatusInternalServerError, w.Code)
	}
	lines := strings.Count(log.String(), "a WebSocket cannot be opened")
	require.Positive(t, lines)
	require.LessOrEqual(t, lines, 100)
}
