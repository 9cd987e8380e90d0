package hubsys_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

func TestRequestHeaderLimitCanBeSet(t *testing.T) {
	t.Parallel()
	for limit, bytes := range map[int]struct{ below, above int }{1000: {300, 1000}, 100_000: {90_000, 100_000}} {
		srv := newTestServer(t, testConfig{EndpointOptions: hubsys.EndpointOptions{RequestHeaderLimit: limit, CloseTimeout: quickClose}})
		for name, open := range initialRequests(t, srv.url) {
			require.True(t, isSuccess(open(largeHeader(bytes.below), "")), "%s with a limit of %d", name, limit)
			require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, open(largeHeader(bytes.above), ""), "%s with a limit of %d", name, limit)
		}
	}
}

func TestAnInvalidRequestHeaderLimitIsRefused(t *testing.T) {
	require.ErrorContains(t, hubsys.EndpointOptions{RequestHeaderLimit: -1}.Validate(), "RequestHeaderLimit")
}
