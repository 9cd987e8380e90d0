package prommetrics_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/prommetrics"
)

type Chat struct{ hubsys.Hub }

func (*Chat) Echo(s string) string { return s }
func (*Chat) Fail() error          { return hubsys.Errorf("no") }

// What the official exporter writes is what Prometheus reads, and counts what has happened.
func TestMetricsAreExported(t *testing.T) {
	sys, err := hubsys.New(hubsys.Config{})
	require.NoError(t, err)
	defer sys.Shutdown(context.Background())
	chat, err := hubsys.Register[*Chat](sys, nil, hubsys.HubOptions{})
	require.NoError(t, err)
	require.NoError(t, chat.Map("/chat", hubsys.EndpointOptions{}))
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(prommetrics.Collector(sys)))
	server := httptest.NewServer(sys)
	defer server.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, server.URL+"/chat", nil)
	require.NoError(t, err)
	defer ws.CloseNow()
	send := func(message string) {
		require.NoError(t, ws.Write(ctx, websocket.MessageText, []byte(message+"\x1e")))
	}
	send(`{"protocol":"json","version":1}`)
	for i, target := range []string{"Echo", "Fail", "Nonsense-" + strings.Repeat("x", 100)} {
		send(fmt.Sprintf(`{"type":1,"invocationId":"%d","target":"%s","arguments":[%s]}`, i, target, map[string]string{"Echo": `"a"`}[target]))
	}
	for answered := ""; strings.Count(answered, `"type":3`) < 3; {
		_, b, err := ws.Read(ctx)
		require.NoError(t, err)
		answered += string(b)
	}

	text := func() string {
		w := httptest.NewRecorder()
		promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		require.Equal(t, 200, w.Code, w.Body.String())
		return w.Body.String()
	}
	has := func(line string) {
		t.Helper()
		assert.Eventually(t, func() bool { return strings.Contains(text(), line+"\n") }, 10*time.Second, 10*time.Millisecond, line)
	}
	has(`signalr_server_active_connections{signalr_transport="web_sockets"} 1`)
	has(`troupe_invocation_duration_seconds_count{error="false",hub="Chat",method="Echo"} 1`)
	has(`troupe_invocation_duration_seconds_count{error="true",hub="Chat",method="Fail"} 1`)
	has(`troupe_invocation_duration_seconds_count{error="true",hub="Chat",method=""} 1`)
	assert.NotContains(t, text(), "Nonsense", "labels do not come from clients")
	require.NoError(t, ws.Close(websocket.StatusNormalClosure, ""))
	has(`signalr_server_active_connections{signalr_transport="web_sockets"} 0`)
	has(`signalr_server_connection_duration_seconds_count{signalr_connection_status="normal_closure",signalr_transport="web_sockets"} 1`)
	has(`troupe_connections_closed_total{cause="normal"} 1`)
	has(`troupe_messages_received_total 3`)
}
