package hubproto_test

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/hubproto"
)

func TestJSONIsText(t *testing.T) {
	assert.Equal(t, "json", hubproto.JSON.Name())
	assert.False(t, hubproto.JSON.Binary())
}

// appendCases has a message of each form that Append encodes, and its encoding without the separator.
var appendCases = []struct {
	name string
	m    hubproto.Message
	want string
}{
	{"call", hubproto.Message{
		Type: 1, Target: []byte("Send"), Arguments: []byte(`[1,"a"]`),
	}, `{"type":1,"target":"Send","arguments":[1,"a"]}`},
	{"call with an id", hubproto.Message{
		Type: 1, ID: []byte("s1"), Target: []byte("Get"), Arguments: []byte(`[5]`),
	}, `{"type":1,"invocationId":"s1","target":"Get","arguments":[5]}`},
	{"call with everything", hubproto.Message{
		Type: 1, ID: []byte("1"), Target: []byte("T"), Arguments: []byte(`[]`), StreamIDs: ids("a", "b"),
		Headers: []byte(`{"h":"v"}`),
	},
		`{"type":1,"headers":{"h":"v"},"invocationId":"1","target":"T","arguments":[],"streamIds":["a","b"]}`},
	{"call without a name", hubproto.Message{Type: 1, Arguments: []byte(`[]`)}, `{"type":1,"target":"","arguments":[]}`},
	{"call, to escape", hubproto.Message{
		Type: 1, ID: []byte("\"\\\x1e"), Target: []byte("\n\r\t\x00<é😀"), Arguments: []byte(`[]`),
		StreamIDs: ids("\u2028", "\xff"),
	},
		`{"type":1,"invocationId":"\"\\\u001e","target":"\n\r\t\u0000<é😀","arguments":[],"streamIds":["\u2028","\ufffd"]}`},
	{"item", hubproto.Message{Type: 2, ID: []byte("7"), Value: []byte(`42`)}, `{"type":2,"invocationId":"7","item":42}`},
	{"item null", hubproto.Message{Type: 2, ID: []byte("7"), Value: []byte(`null`)}, `{"type":2,"invocationId":"7","item":null}`},
	{"item with headers", hubproto.Message{
		Type: 2, ID: []byte("7"), Value: []byte(`{}`), Headers: []byte(`{}`),
	}, `{"type":2,"headers":{},"invocationId":"7","item":{}}`},
	{"completion with a result", hubproto.Message{Type: 3, ID: []byte("7"), Value: []byte(`42`)}, `{"type":3,"invocationId":"7","result":42}`},
	{"completion with null", hubproto.Message{Type: 3, ID: []byte("7"), Value: []byte(`null`)}, `{"type":3,"invocationId":"7","result":null}`},
	{"completion without a result", hubproto.Message{Type: 3, ID: []byte("7")}, `{"type":3,"invocationId":"7"}`},
	{"completion with an error", hubproto.Message{
		Type: 3, ID: []byte("7"), Error: []byte("no"), HasError: true,
	}, `{"type":3,"invocationId":"7","error":"no"}`},
	{"error wins over result", hubproto.Message{
		Type: 3, ID: []byte("7"), Error: []byte("no"), HasError: true, Value: []byte("1"),
	}, `{"type":3,"invocationId":"7","error":"no"}`},
	{"completion with headers", hubproto.Message{
		Type: 3, ID: []byte("7"), Value: []byte(`1`), Headers: []byte(`{"a":"b"}`),
	}, `{"type":3,"headers":{"a":"b"},"invocationId":"7","result":1}`},
	{"stream call", hubproto.Message{
		Type: 4, ID: []byte("7"), Target: []byte("S"), Arguments: []byte(`[]`),
	}, `{"type":4,"invocationId":"7","target":"S","arguments":[]}`},
	{"stream call with everything", hubproto.Message{
		Type: 4, ID: []byte("7"), Target: []byte("S"), Arguments: []byte(`[1]`), StreamIDs: ids("x"),
		Headers: []byte(`{"a":"b"}`),
	},
		`{"type":4,"headers":{"a":"b"},"invocationId":"7","target":"S","arguments":[1],"streamIds":["x"]}`},
	{"cancel", hubproto.Message{Type: 5, ID: []byte("7")}, `{"type":5,"invocationId":"7"}`},
	{"cancel with headers", hubproto.Message{
		Type: 5, ID: []byte("7"), Headers: []byte(`{"a":"b"}`),
	}, `{"type":5,"headers":{"a":"b"},"invocationId":"7"}`},
	{"ping", hubproto.Message{Type: 6}, `{"type":6}`},
	{"close", hubproto.Message{Type: 7}, `{"type":7}`},
	{"close with an error", hubproto.Message{Type: 7, Error: []byte("no"), HasError: true}, `{"type":7,"error":"no"}`},
	{"close with an empty error", hubproto.Message{Type: 7, HasError: true}, `{"type":7,"error":""}`},
	{"close to reconnect", hubproto.Message{Type: 7, AllowReconnect: true}, `{"type":7,"allowReconnect":true}`},
	{"close with both", hubproto.Message{
		Type: 7, Error: []byte("no"), HasError: true, AllowReconnect: true,
	}, `{"type":7,"error":"no","allowReconnect":true}`},
	{"close ignores a text that is not set", hubproto.Message{Type: 7, Error: []byte("no")}, `{"type":7}`},
	{"ack", hubproto.Message{Type: 8, SequenceID: 3}, `{"type":8,"sequenceId":3}`},
	{"ack 0", hubproto.Message{Type: 8}, `{"type":8,"sequenceId":0}`},
	{"sequence", hubproto.Message{Type: 9, SequenceID: 4}, `{"type":9,"sequenceId":4}`},
	{"highest sequence", hubproto.Message{Type: 9, SequenceID: math.MaxInt64}, `{"type":9,"sequenceId":9223372036854775807}`},
	{"lowest sequence", hubproto.Message{Type: 9, SequenceID: math.MinInt64}, `{"type":9,"sequenceId":-9223372036854775808}`},
}

func TestAppend(t *testing.T) {
	for _, test := range appendCases {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, "before"+test.want+"\x1e", string(hubproto.JSON.Append([]byte("before"), &test.m)))
			assert.True(t, json.Valid([]byte(test.want)))
		})
	}
}

func TestAppendInvocation(t *testing.T) {
	type point struct{ X, Y int }
	for _, test := range []struct {
		id, target string
		args       []any
		want       string
	}{
		{"", "Send", []any{1, "a"}, `{"type":1,"target":"Send","arguments":[1,"a"]}`},
		{"s1", "Get", []any{5}, `{"type":1,"invocationId":"s1","target":"Get","arguments":[5]}`},
		{"", "Nothing", nil, `{"type":1,"target":"Nothing","arguments":[]}`},
		{"", "All", []any{nil, true, 1.5, point{1, 2}, []string{"x"}, map[string]int{"b": 2, "A": 1}},
			`{"type":1,"target":"All","arguments":[null,true,1.5,{"x":1,"y":2},["x"],{"A":1,"b":2}]}`},
		{"\"\x1e", "<\x1e>", []any{"\x1e"}, `{"type":1,"invocationId":"\"\u001e","target":"<\u001e>","arguments":["\u001e"]}`},
	} {
		got, err := hubproto.JSON.AppendInvocation([]byte("before"), []byte(test.id), test.target, test.args)
		require.NoError(t, err)
		assert.Equal(t, "before"+test.want+"\x1e", string(got))
	}
}

func TestAppendResult(t *testing.T) {
	for _, test := range []struct {
		id     string
		result any
		want   string
	}{
		{"7", 42, `{"type":3,"invocationId":"7","result":42}`},
		{"7", nil, `{"type":3,"invocationId":"7","result":null}`}, // the result of a method without a result is null (spec §15.2)
		{"7", (*int)(nil), `{"type":3,"invocationId":"7","result":null}`},
		{"7", "x\x1ey", `{"type":3,"invocationId":"7","result":"x\u001ey"}`},
		{" ", "x", `{"type":3,"invocationId":" ","result":"x"}`},
		{"<&>'\"\x00é😀", "x", `{"type":3,"invocationId":"<&>'\"\u0000é😀","result":"x"}`},
	} {
		got, err := hubproto.JSON.AppendResult([]byte("before"), []byte(test.id), test.result)
		require.NoError(t, err)
		assert.Equal(t, "before"+test.want+"\x1e", string(got))
	}
}

func TestAppendError(t *testing.T) {
	assert.Equal(
		t, "before{\"type\":3,\"invocationId\":\"7\",\"error\":\"no\"}\x1e",
		string(hubproto.JSON.AppendError([]byte("before"), []byte("7"), "no")),
	)
	assert.Equal(
		t, `{"type":3,"invocationId":"7","error":"\"\\\u001e\u2029\ufffd"}`+"\x1e",
		string(hubproto.JSON.AppendError(nil, []byte("7"), "\"\\\x1e\u2029\xff")),
	)
}

func TestFailedAppendDoesNotChangeBuffer(t *testing.T) {
	for _, room := range []int{0, 1000} { // with and without reallocation of the buffer
		dst := append(make([]byte, 0, 6+room), "before"...)
		got, err := hubproto.JSON.AppendInvocation(dst, []byte("1"), "T", []any{"good", 1, math.NaN(), "good"})
		require.Error(t, err)
		assert.Equal(t, "before", string(got))
		for _, bad := range []any{
			func() {}, math.Inf(1), []any{1, make(chan int)}, map[string]any{"a": 1i}, struct{ A, B any }{1, func() {}},
			failingMarshaler{},
		} {
			got, err = hubproto.JSON.AppendResult(dst, []byte("1"), bad)
			require.Error(t, err)
			assert.Equal(t, "before", string(got))
		}
	}
}

func TestErrorOfMarshalerIsWrapped(t *testing.T) {
	_, err := hubproto.JSON.AppendResult(nil, []byte("1"), []any{failingMarshaler{}})
	assert.ErrorIs(t, err, errFailing)
	var unsupported *json.UnsupportedTypeError
	_, err = hubproto.JSON.AppendResult(nil, []byte("1"), func() {})
	require.ErrorAs(t, err, &unsupported)
	assert.Equal(t, reflect.TypeFor[func()](), unsupported.Type)
}
