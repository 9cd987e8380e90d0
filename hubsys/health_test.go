package hubsys_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

func TestReadinessEndsWithDrain(t *testing.T) {
	sys, err := hubsys.New(hubsys.Config{})
	require.NoError(t, err)
	hub, err := hubsys.Register[*base](sys, nil, hubsys.HubOptions{})
	require.NoError(t, err)
	require.NoError(t, hub.Map("/hub", hubsys.EndpointOptions{}))
	get := func(h http.Handler, method, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w
	}
	assert.Equal(t, http.StatusOK, get(sys.Livez(), http.MethodGet, "/livez").Code)
	assert.Equal(t, http.StatusOK, get(sys.Readyz(), http.MethodGet, "/readyz").Code)
	require.NoError(t, sys.Drain(context.Background(), 0))
	w := get(sys.Readyz(), http.MethodGet, "/readyz")
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.Equal(t, "the system is shutting down", w.Body.String())
	w = get(sys, http.MethodPost, "/hub/negotiate")
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.Equal(t, "1", w.Header().Get("Retry-After"))
}
