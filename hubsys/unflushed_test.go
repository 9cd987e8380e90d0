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

// unflushed is an http.ResponseWriter of middleware that neither flushes nor unwraps.
type unflushed struct{ http.ResponseWriter }

// Clients do not flood the log where middleware of the application lets no event stream through. (Those in Node try again once a second.)
func TestEventStreamsThatCannotBeOpenedDoNotFloodTheLog(t *testing.T) {
	log := &logRecorder{}
	sys := newSystem(t, hubsys.Config{Logger: log.logger()})
	hub := register(t, sys, func(context.Context) (*base, error) { return &base{}, nil }, hubsys.HubOptions{})
	require.NoError(t, hub.Map("/hub", hubsys.EndpointOptions{}))
	for range 200 {
		r := httptest.NewRequest(http.MethodGet, "/hub?id=x", nil)
		r.Header.Set("Accept", "text/event-stream")
		w := httptest.NewRecorder()
		sys.ServeHTTP(unflushed{w}, r)
		require.Equal(t, http.StatusInternalServerError, w.Code)
	}
	lines := strings.Count(log.String(), "events cannot be streamed")
	require.Positive(t, lines)
	require.LessOrEqual(t, lines, 100)
}
