package hubsys_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// A client that calls a hub that it may not use, and takes no answers, is held back.
func TestRefusalsThatAClassicClientDoesNotTakeAreBounded(t *testing.T) {
	const calls, most = 2000, 24 << 20
	srv := newClassicServer(t, classicConfig{ClassicOptions: hubsys.ClassicOptions{Authenticate: principalOf}, other: hubsys.HubOptions{Policy: hubsys.RequireUser}})
	c := newClassicClient(t, srv.address, "webSockets")
	c.negotiate()
	u, err := url.Parse(c.address)
	require.NoError(t, err)
	conn, err := net.Dial("tcp", u.Host)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	query := url.Values{"clientProtocol": {c.version}, "connectionData": {c.hubs}, "transport": {c.transport}, "connectionToken": {c.token}}
	_, err = fmt.Fprintf(conn, "GET %s/connect?%s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", u.Path, query.Encode(), u.Host)
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, response.StatusCode)

	text := `{"H":"other","M":"` + strings.Repeat("x", 60000) + `","A":[],"I":1}`
	frame := append([]byte{0x81, 0x80 | 126, byte(len(text) >> 8), byte(len(text) & 0xff), 0, 0, 0, 0}, text...)
	before := heapInUse()
	for range calls {
		require.NoError(t, conn.SetWriteDeadline(time.Now().Add(2*time.Second)))
		if _, err := conn.Write(frame); err != nil { // it has to wait
			break
		}
	}
	require.Less(t, heapInUse()-before, most)
	runtime.KeepAlive(srv)
}
