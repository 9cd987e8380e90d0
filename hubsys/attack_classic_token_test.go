package hubsys_test

import (
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A groups token may be larger than RequestHeaderLimit, but is not kept for as long as the session lives.
func TestTheGroupsTokenOfAClassicClientIsNotKept(t *testing.T) {
	const sessions, most = 50, 32 << 10
	srv := newClassicServer(t, classicConfig{})
	token := strings.Repeat("A", 250<<10)
	before := heapInUse()
	for range sessions {
		c := newClassicClient(t, srv.address, "serverSentEvents")
		c.negotiate()
		status, _ := c.request(http.MethodGet, "/start", url.Values{"groupsToken": {token}, "other": {"x"}}, nil)
		require.Equal(t, http.StatusOK, status)
	}
	requireHeapSettles(t, before, sessions*most, "with the sessions")
	runtime.KeepAlive(srv)
}
