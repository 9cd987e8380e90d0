package hubsys_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A message to many clients is in memory once, even if none of them reads it.
func TestAMessageToManyClientsIsInMemoryOnce(t *testing.T) {
	const clients, size = 250 / raceFactor, 900 << 10
	var connected atomic.Int64
	srv := newTestServer(t, testConfig{
		configure: useSmallWriteBuffers, onConnected: func(context.Context, *testHub) error { connected.Add(1); return nil },
	})
	var all []*rawConn
	for range clients {
		p := dialTCP(t, srv.url)
		require.NoError(t, p.conn.(*net.TCPConn).SetReadBuffer(4096))
		require.Equal(t, http.StatusSwitchingProtocols, p.upgrade("", ""))
		p.mustWrite(clientFrame(textFrame, handshakeJSON+separator))
		_, _, err := p.read()
		require.NoError(t, err)
		all = append(all, p)
	}
	eventually(t, func() bool { return connected.Load() == clients }, "all are connected")
	payload := strings.Repeat("x", size)
	before := heapInUse()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sent := make(chan error, 1)
	go func() { sent <- srv.hub.Clients().All().Send(ctx, "x", payload) }()
	for _, p := range all { // a message that is being written to a full socket is kept until the write ends
		require.NoError(t, p.conn.SetReadDeadline(time.Now().Add(testTimeout)))
		b, err := p.r.Peek(2)
		require.NoError(t, err)
		require.Equal(t, "\x81\x7f", string(b))
	}
	grown := peakHeap(func() int64 { return 0 }) - before
	require.LessOrEqual(t, grown, 16*mib, "%d MB for one message of %d KB to %d clients", grown/mib, size>>10, clients)
	cancel()
	require.NoError(t, receive(t, sent))
}
