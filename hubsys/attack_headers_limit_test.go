package hubsys_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

func TestTheLimitOfRequestsCanBeSet(t *testing.T) {
	t.Parallel()
	for limit, bytes := range map[int]struct{ below, above int }{1000: {300, 1000}, 100_000: {90_000, 100_000}} {
		w := newWorld(t, setup{EndpointOptions: hubsys.EndpointOptions{RequestHeaderLimit: limit, CloseTimeout: quickClose}})
		for name, open := range openings(t, w.url) {
			require.True(t, success(open(large(bytes.below), "")), "%s with a limit of %d", name, limit)
			require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, open(large(bytes.above), ""), "%s with a limit of %d", name, limit)
		}
	}
}

func TestALimitOfRequestsThatIsNone(t *testing.T) {
	require.ErrorContains(t, hubsys.EndpointOptions{RequestHeaderLimit: -1}.Validate(), "RequestHeaderLimit")
}
