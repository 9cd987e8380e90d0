package hubsys_test

import (
	"context"
	"encoding/json"
	"iter"
	"reflect"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/proto/hubproto"
)

type valuesHub struct{ hubsys.Hub }

func (*valuesHub) When(at time.Time) time.Time                { return at }
func (*valuesHub) Last(d hubproto.TimeSpan) hubproto.TimeSpan { return 2 * d }
func (*valuesHub) Raw(v json.RawMessage) json.RawMessage      { return v }
func (*valuesHub) Any(v any) any                              { return v }
func (*valuesHub) Huge(number string) json.RawMessage         { return json.RawMessage(number) }

func TestValuesOfMethods(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*valuesHub, error) { return &valuesHub{}, nil }, hubsys.HubOptions{})
	c := dial(t, serve(t, sys, hub))
	for _, call := range []struct{ method, argument, result string }{
		{"When", `"2024-05-06"`, `"2024-05-06T00:00:00Z"`}, {"When", `"2024-05-06T07:08"`, `"2024-05-06T07:08:00Z"`}, {"When", `"2024-05-06T07:08:09.1234567"`, `"2024-05-06T07:08:09.1234567Z"`}, {"When", `"2024-05-06T07:08:09+02"`, `"2024-05-06T07:08:09+02:00"`},
		{"Last", `"1.02:03:04.5"`, `"2.04:06:09"`}, {"Last", `"-00:30"`, `"-01:00:00"`},
		{"Raw", `9007199254740993`, `9007199254740993`}, {"Raw", `1e400`, `1e400`}, {"Raw", `{"A":[1.0,null]}`, `{"A":[1.0,null]}`}, {"Raw", `null`, `null`}, {"Any", `9007199254740993`, `9007199254740992`},
	} {
		r := c.invoke(call.method, json.RawMessage(call.argument))
		require.Nil(t, r.Error, "%s %s", call.method, call.argument)
		require.Equal(t, call.result, string(r.Result), call.method)
	}
	for _, call := range [][2]string{{"When", `null`}, {"When", `"2024-05-06T24:00"`}, {"When", `"today"`}, {"When", `5`}, {"Last", `null`}, {"Last", `5`}, {"Last", `"1h"`}, {"Any", `1e400`}} {
		require.NotNil(t, c.invoke(call[0], json.RawMessage(call[1])).Error, "%v", call)
	}
}

// A number that MessagePack cannot represent fails only the call or the Send that contains it.
func TestNumbersThatMessagePackCannotHold(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	hub := register(t, sys, func(context.Context) (*valuesHub, error) { return &valuesHub{}, nil },
		hubsys.HubOptions{EnableDetailedErrors: true})
	url := serve(t, sys, hub)
	c := dialSocket(t, url, dialOptions{})
	c.send(`{"protocol":"messagepack","version":1}`)
	ctx, stop := context.WithTimeout(t.Context(), testTimeout)
	defer stop()
	_, answer, err := c.ws.Read(ctx)
	require.NoError(t, err)
	require.Equal(t, "{}\x1e", string(answer))
	p := hubproto.MessagePack
	invoke := func(target string, arg any) hubproto.Message {
		call, err := p.AppendInvocation(nil, []byte("1"), target, []any{arg})
		require.NoError(t, err)
		require.NoError(t, c.ws.Write(ctx, websocket.MessageBinary, call))
		for {
			_, b, err := c.ws.Read(ctx)
			require.NoError(t, err)
			var m hubproto.Message
			require.NoError(t, p.Parse(b, &m))
			if m.Type == hubproto.Completion {
				return m
			}
		}
	}
	exact := invoke("Raw", json.RawMessage(`{"a":[9007199254740993,18446744073709551615]}`))
	require.False(t, exact.HasError, "%s", exact.Error)
	var raw json.RawMessage
	require.NoError(t, p.BindValue(exact.Value, reflect.ValueOf(&raw).Elem()))
	require.Equal(t, `{"a":[9007199254740993,18446744073709551615]}`, string(raw))

	for _, number := range []string{"1e400", "18446744073709551617"} {
		failed := invoke("Huge", number)
		require.True(t, failed.HasError)
		require.Contains(t, string(failed.Error), number)
		require.ErrorContains(t, hub.Clients().All().Send(ctx, "receive", json.RawMessage(`[`+number+`]`)), number)
	}
	after := invoke("Last", hubproto.TimeSpan(time.Second))
	require.False(t, after.HasError, "%s", after.Error)
	var d hubproto.TimeSpan
	require.NoError(t, p.BindValue(after.Value, reflect.ValueOf(&d).Elem()))
	require.Equal(t, hubproto.TimeSpan(2*time.Second), d)
}

type durationHub struct{ hubsys.Hub }

func (*durationHub) Argument(time.Duration)                     {}
func (*durationHub) InFields(struct{ D []*time.Duration })      {}
func (*durationHub) Keys(map[time.Duration]int)                 {}
func (*durationHub) Result() (time.Duration, error)             { return 0, nil }
func (*durationHub) Stream() iter.Seq2[time.Duration, error]    { return nil }
func (*durationHub) Uploads(<-chan map[string]time.Duration)    {}
func (*durationHub) Fine(hubproto.TimeSpan) []hubproto.TimeSpan { return nil }

func TestDurationsAreRefusedWithAHint(t *testing.T) {
	reasons := registrationFaults[durationHub](t)
	require.Len(t, reasons, 6)
	for i, method := range []string{"Argument", "InFields", "Keys", "Result", "Stream", "Uploads"} {
		require.Contains(t, reasons[i], "method "+method+": ")
		require.Contains(t, reasons[i], "take hubproto.TimeSpan")
	}
}
