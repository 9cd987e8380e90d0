package hubsys_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Texts that clients choose are cut in the log, and what is wrong with a call or a request can be read there.
func TestWhatIsLoggedOfClassicRequests(t *testing.T) {
	srv := newClassicServer(t, classicConfig{})
	long := strings.Repeat("x", 5000)
	c := newClassicClient(t, srv.address, "webSockets")
	c.hubs = `[{"name":"` + long + `"}]`
	status, _ := c.request(http.MethodGet, "/"+long+"/negotiate", nil, nil)
	require.Equal(t, http.StatusInternalServerError, status)
	c = dialClassic(t, srv, "webSockets")
	c.open("/"+long+"/reconnect", nil)
	c.write(`{"H":"` + long + `","M":"Echo","A":[],"I":1}`)
	require.NotNil(t, c.invoke("Add", 1).E)
	log := srv.log.String()
	for line := range strings.Lines(log) {
		assert.Less(t, len(line), 1000, "%.1000s", line)
	}
	for _, text := range []string{`there is no hub \"xxx`, "a call of a SignalR 2 client was not understood", `method=Add error="no Add takes 1 arguments"`} {
		assert.Contains(t, log, text)
	}
}
