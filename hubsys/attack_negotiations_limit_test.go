package hubsys_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

func TestTheLimitOfNegotiationsCanBeSet(t *testing.T) {
	srv := newTestServer(t, testConfig{Config: hubsys.Config{PendingConnectionsPerAddress: 2}})
	for _, want := range []int{http.StatusOK, http.StatusOK, http.StatusTooManyRequests} {
		require.Equal(t, want, serveRequest(srv.sys, http.MethodPost, negotiatePath, "", fromAddress("192.0.2.1:9")).Code)
	}
	require.Equal(t, http.StatusOK, serveRequest(srv.sys, http.MethodPost, negotiatePath, "", fromAddress("192.0.2.2:9")).Code)
}

func TestAnInvalidLimitOfNegotiationsIsRefused(t *testing.T) {
	sys, err := hubsys.New(hubsys.Config{PendingConnectionsPerAddress: -2})
	if err == nil {
		require.NoError(t, shutdown(sys))
	}
	require.ErrorContains(t, err, "PendingConnectionsPerAddress")
}
