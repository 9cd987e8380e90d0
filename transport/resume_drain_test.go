package transport_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// A client that loses its WebSocket while the server drains comes back, as long as its connection has not been asked to close.
func TestResumingWhileTheServerDrains(t *testing.T) {
	r := newResumableEndpoint(t)
	r.closing.Store(true)
	p, status := r.resume()
	require.Equal(t, http.StatusSwitchingProtocols, status)
	r.end(p)
}
