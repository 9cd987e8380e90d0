package transport_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// A client whose POST waits for the hub can poll, and receives messages meanwhile.
func TestAPollWhileABodyWaits(t *testing.T) {
	s := newTestServer(t, testConfig{HubOptions: hubsys.HubOptions{InboundLimit: 64 << 10}})
	c := s.connectPolling(nil)
	done := c.postInBackground(strings.NewReader(callsBeyondInboundLimit()))
	receive(t, s.waiting)
	for i := range 20 {
		s.sendAll(t, i)
		c.requireMessages(invocation("n", i))
	}
	require.Empty(t, done, "answered while the hub is busy")
	s.releaseAll()
	c.requireMessages(strings.TrimSuffix(completionJSON("1", `"passed"`), separator))
	receive(t, done).requireText(t, http.StatusOK, "")
}
