package hubsys_test

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// Echoing is the hub of BenchmarkInvoke.
type Echoing struct{ hubsys.Hub }

func (*Echoing) Echo(s string) string { return s }

// EchoNamed has a signature that package reflect calls.
func (*Echoing) EchoNamed(s named) named { return s }

type named string

// BenchmarkInvoke makes calls over one WebSocket, in batches so that the network does not cover what the server does.
func BenchmarkInvoke(b *testing.B) {
	pass := func(next hubsys.Handler) hubsys.Handler {
		h := next
		h.Invoke = func(ctx context.Context, in *hubsys.Invocation) (any, error) { return next.Invoke(ctx, in) }
		return h
	}
	allow := func(context.Context, *hubsys.Principal) error { return nil }
	b.Run("Plain", func(b *testing.B) { benchmarkInvoke(b, "Echo", hubsys.HubOptions{}) })
	b.Run("Reflected", func(b *testing.B) { benchmarkInvoke(b, "EchoNamed", hubsys.HubOptions{}) })
	b.Run("Filtered", func(b *testing.B) {
		benchmarkInvoke(b, "Echo", hubsys.HubOptions{Filters: []hubsys.Filter{pass}, Methods: []hubsys.Method{{Func: (*Echoing).Echo, Policy: allow}}})
	})
}

func benchmarkInvoke(b *testing.B, method string, options hubsys.HubOptions) {
	const most = 60
	sys, err := hubsys.New(hubsys.Config{})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, shutdown(sys)) })
	hub, err := hubsys.Register(sys, func(context.Context) (*Echoing, error) { return &Echoing{}, nil }, options)
	require.NoError(b, err)
	require.NoError(b, hub.Map("/", hubsys.EndpointOptions{}))
	ws, conn := dialPlain(b, sys)
	one := []byte(`{"type":1,"invocationId":"1","target":"` + method + `","arguments":["hello, world"]}` + "\x1e")
	batch := bytes.Repeat(one, most)
	buffer := make([]byte, 64<<10)
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; {
		n := min(left, most)
		left -= n
		if err := ws.Write(b.Context(), websocket.MessageText, batch[:n*len(one)]); err != nil {
			b.Fatal(err)
		}
		for n > 0 {
			k, err := conn.Read(buffer)
			if err != nil {
				b.Fatal(err)
			}
			n -= bytes.Count(buffer[:k], []byte{0x1e})
		}
	}
	b.StopTimer()
	require.NoError(b, conn.Close())
}

// dialPlain connects to what a System has mapped to "/". What comes can be read from the socket, because the time of coder/websocket would be
// measured as well.
func dialPlain(b *testing.B, sys *hubsys.System) (*websocket.Conn, net.Conn) {
	server := httptest.NewServer(sys)
	b.Cleanup(server.Close)
	var conn net.Conn
	dialer := &http.Transport{DialContext: func(ctx context.Context, network, address string) (_ net.Conn, err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return conn, err
	}}
	ws, _, err := websocket.Dial(b.Context(), "ws"+strings.TrimPrefix(server.URL, "http"), &websocket.DialOptions{HTTPClient: &http.Client{Transport: dialer}})
	require.NoError(b, err)
	require.NoError(b, ws.Write(b.Context(), websocket.MessageText, []byte("{\"protocol\":\"json\",\"version\":1}\x1e")))
	_, _, err = ws.Read(b.Context())
	require.NoError(b, err)
	return ws, conn
}
