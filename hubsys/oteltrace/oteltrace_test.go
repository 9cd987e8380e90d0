package oteltrace_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/oteltrace"
)

type Chat struct{ hubsys.Hub }

func (*Chat) TraceID(ctx context.Context) string {
	return trace.SpanContextFromContext(ctx).TraceID().String()
}
func (*Chat) Fail() error { return errors.New("no") }
func (*Chat) Panic()      { panic("no") }
func (*Chat) Count(n int) <-chan int {
	items := make(chan int, n)
	for i := range n {
		items <- i
	}
	close(items)
	return items
}

const (
	ofMessage = "4bf92f3577b34da6a3ce929d0e0e4736"
	ofRequest = "0af7651916cd43dd8448eb211c80319c"
)

func traceparent(id string) string { return "00-" + id + "-b7ad6b7169203331-01" }

// Each call has a span, whose parent is that of its message, with a link to that of the request.
func TestCallsHaveSpans(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(recorder))
	sys, err := hubsys.New(hubsys.Config{HubDefaults: hubsys.HubOptions{Filters: []hubsys.Filter{oteltrace.Filter(provider)}}})
	require.NoError(t, err)
	hub, err := hubsys.Register[*Chat](sys, nil, hubsys.HubOptions{})
	require.NoError(t, err)
	require.NoError(t, hub.Map("/chat", hubsys.EndpointOptions{}))
	server := httptest.NewServer(sys)
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(server.URL, "http")+"/chat", &websocket.DialOptions{HTTPHeader: http.Header{"Traceparent": {traceparent(ofRequest)}}})
	require.NoError(t, err)
	send := func(record string) { require.NoError(t, ws.Write(ctx, websocket.MessageText, []byte(record+"\x1e"))) }
	completions := map[string]string{}
	send(`{"protocol":"json","version":1}`)
	header := `"headers":{"traceparent":"` + traceparent(ofMessage) + `"},`
	send(`{"type":1,` + header + `"invocationId":"1","target":"TraceID","arguments":[]}`)
	send(`{"type":1,"invocationId":"2","target":"Fail","arguments":[]}`)
	send(`{"type":1,"invocationId":"3","target":"Panic","arguments":[]}`)
	send(`{"type":4,"invocationId":"4","target":"Count","arguments":[3]}`)
	for len(completions) < 4 {
		_, message, err := ws.Read(ctx)
		require.NoError(t, err)
		for record := range strings.SplitSeq(strings.TrimSuffix(string(message), "\x1e"), "\x1e") {
			var m struct {
				Type         int
				InvocationID string
				Result       string
			}
			require.NoError(t, json.Unmarshal([]byte(record), &m))
			if m.Type == 3 {
				completions[m.InvocationID] = m.Result
			}
		}
	}
	assert.Equal(t, ofMessage, completions["1"])
	require.NoError(t, ws.Close(websocket.StatusNormalClosure, ""))
	require.NoError(t, sys.Shutdown(ctx))

	spans := map[string]sdk.ReadOnlySpan{}
	for _, s := range recorder.Ended() {
		spans[s.Name()] = s
		assert.Contains(t, s.Attributes(), attribute.String("rpc.system", "signalr"))
		assert.Contains(t, s.Attributes(), attribute.String("rpc.service", "Chat"))
		require.Len(t, s.Links(), 1, s.Name())
		assert.Equal(t, ofRequest, s.Links()[0].SpanContext.TraceID().String())
	}
	require.Len(t, spans, 6, "of four calls, OnConnected and OnDisconnected")
	assert.Equal(t, ofMessage, spans["Chat/TraceID"].Parent().TraceID().String())
	assert.Equal(t, trace.SpanKindServer, spans["Chat/TraceID"].SpanKind())
	assert.Equal(t, codes.Unset, spans["Chat/TraceID"].Status().Code)
	assert.False(t, spans["Chat/Fail"].Parent().IsValid())
	assert.Contains(t, spans["Chat/Fail"].Attributes(), attribute.String("error.type", "*errors.errorString"))
	assert.Equal(t, codes.Error, spans["Chat/Fail"].Status().Code)
	assert.Contains(t, spans["Chat/Panic"].Attributes(), attribute.String("error.type", "panic"))
	assert.Equal(t, codes.Unset, spans["Chat/Count"].Status().Code)
	assert.Equal(t, trace.SpanKindInternal, spans["Chat/OnConnected"].SpanKind())
	assert.Contains(t, spans, "Chat/OnDisconnected")
}

// Every function of the hub is called.
func TestTheFilterPassesAllEventsOn(t *testing.T) {
	called := map[string]bool{}
	note := func(name string) func(context.Context) error {
		return func(context.Context) error { called[name] = true; return nil }
	}
	h := oteltrace.Filter(sdk.NewTracerProvider())(hubsys.Handler{
		Connected: note("Connected"), Reconnected: note("Reconnected"), Refreshed: note("Refreshed"),
		Disconnected: func(ctx context.Context, _ error) error { return note("Disconnected")(ctx) },
	})
	for _, event := range []func(context.Context) error{h.Connected, h.Reconnected, h.Refreshed, func(ctx context.Context) error { return h.Disconnected(ctx, nil) }} {
		require.NoError(t, event(t.Context()))
	}
	require.Len(t, called, 4)
}
