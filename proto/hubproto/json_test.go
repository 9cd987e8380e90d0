package hubproto_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/proto/hubproto"
)

func TestJSONIsText(t *testing.T) {
	assert.Equal(t, "json", hubproto.JSON.Name())
	assert.False(t, hubproto.JSON.Binary())
}

func ids(names ...string) [][]byte {
	var out [][]byte
	for _, name := range names {
		out = append(out, []byte(name))
	}
	return out
}

// written has one message for each shape that Append writes, and its bytes without the separator.
var written = []struct {
	name string
	m    hubproto.Message
	want string
}{
	{"call", hubproto.Message{Type: 1, Target: []byte("Send"), Arguments: []byte(`[1,"a"]`)}, `{"type":1,"target":"Send","arguments":[1,"a"]}`},
	{"call with an id", hubproto.Message{Type: 1, ID: []byte("s1"), Target: []byte("Get"), Arguments: []byte(`[5]`)}, `{"type":1,"invocationId":"s1","target":"Get","arguments":[5]}`},
	{"call with everything", hubproto.Message{Type: 1, ID: []byte("1"), Target: []byte("T"), Arguments: []byte(`[]`), StreamIDs: ids("a", "b"), Headers: []byte(`{"h":"v"}`)},
		`{"type":1,"headers":{"h":"v"},"invocationId":"1","target":"T","arguments":[],"streamIds":["a","b"]}`},
	{"call without a name", hubproto.Message{Type: 1, Arguments: []byte(`[]`)}, `{"type":1,"target":"","arguments":[]}`},
	{"call, to escape", hubproto.Message{Type: 1, ID: []byte("\"\\\x1e"), Target: []byte("\n\r\t\x00<é😀"), Arguments: []byte(`[]`), StreamIDs: ids("\u2028", "\xff")},
		`{"type":1,"invocationId":"\"\\\u001e","target":"\n\r\t\u0000<é😀","arguments":[],"streamIds":["\u2028","\ufffd"]}`},
	{"item", hubproto.Message{Type: 2, ID: []byte("7"), Value: []byte(`42`)}, `{"type":2,"invocationId":"7","item":42}`},
	{"item null", hubproto.Message{Type: 2, ID: []byte("7"), Value: []byte(`null`)}, `{"type":2,"invocationId":"7","item":null}`},
	{"item with headers", hubproto.Message{Type: 2, ID: []byte("7"), Value: []byte(`{}`), Headers: []byte(`{}`)}, `{"type":2,"headers":{},"invocationId":"7","item":{}}`},
	{"completion with a result", hubproto.Message{Type: 3, ID: []byte("7"), Value: []byte(`42`)}, `{"type":3,"invocationId":"7","result":42}`},
	{"completion with null", hubproto.Message{Type: 3, ID: []byte("7"), Value: []byte(`null`)}, `{"type":3,"invocationId":"7","result":null}`},
	{"completion alone", hubproto.Message{Type: 3, ID: []byte("7")}, `{"type":3,"invocationId":"7"}`},
	{"completion with an error", hubproto.Message{Type: 3, ID: []byte("7"), Error: []byte("no"), HasError: true}, `{"type":3,"invocationId":"7","error":"no"}`},
	{"error wins over result", hubproto.Message{Type: 3, ID: []byte("7"), Error: []byte("no"), HasError: true, Value: []byte("1")}, `{"type":3,"invocationId":"7","error":"no"}`},
	{"completion with headers", hubproto.Message{Type: 3, ID: []byte("7"), Value: []byte(`1`), Headers: []byte(`{"a":"b"}`)}, `{"type":3,"headers":{"a":"b"},"invocationId":"7","result":1}`},
	{"stream call", hubproto.Message{Type: 4, ID: []byte("7"), Target: []byte("S"), Arguments: []byte(`[]`)}, `{"type":4,"invocationId":"7","target":"S","arguments":[]}`},
	{"stream call with everything", hubproto.Message{Type: 4, ID: []byte("7"), Target: []byte("S"), Arguments: []byte(`[1]`), StreamIDs: ids("x"), Headers: []byte(`{"a":"b"}`)},
		`{"type":4,"headers":{"a":"b"},"invocationId":"7","target":"S","arguments":[1],"streamIds":["x"]}`},
	{"cancel", hubproto.Message{Type: 5, ID: []byte("7")}, `{"type":5,"invocationId":"7"}`},
	{"cancel with headers", hubproto.Message{Type: 5, ID: []byte("7"), Headers: []byte(`{"a":"b"}`)}, `{"type":5,"headers":{"a":"b"},"invocationId":"7"}`},
	{"ping", hubproto.Message{Type: 6}, `{"type":6}`},
	{"close", hubproto.Message{Type: 7}, `{"type":7}`},
	{"close with an error", hubproto.Message{Type: 7, Error: []byte("no"), HasError: true}, `{"type":7,"error":"no"}`},
	{"close with an empty error", hubproto.Message{Type: 7, HasError: true}, `{"type":7,"error":""}`},
	{"close to reconnect", hubproto.Message{Type: 7, AllowReconnect: true}, `{"type":7,"allowReconnect":true}`},
	{"close with both", hubproto.Message{Type: 7, Error: []byte("no"), HasError: true, AllowReconnect: true}, `{"type":7,"error":"no","allowReconnect":true}`},
	{"close ignores a text that is not set", hubproto.Message{Type: 7, Error: []byte("no")}, `{"type":7}`},
	{"ack", hubproto.Message{Type: 8, SequenceID: 3}, `{"type":8,"sequenceId":3}`},
	{"ack 0", hubproto.Message{Type: 8}, `{"type":8,"sequenceId":0}`},
	{"sequence", hubproto.Message{Type: 9, SequenceID: 4}, `{"type":9,"sequenceId":4}`},
	{"highest sequence", hubproto.Message{Type: 9, SequenceID: math.MaxInt64}, `{"type":9,"sequenceId":9223372036854775807}`},
	{"lowest sequence", hubproto.Message{Type: 9, SequenceID: math.MinInt64}, `{"type":9,"sequenceId":-9223372036854775808}`},
}

func TestAppend(t *testing.T) {
	for _, test := range written {
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
		{"7", nil, `{"type":3,"invocationId":"7","result":null}`}, // a method without a result has null (spec §15.2)
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
	assert.Equal(t, "before{\"type\":3,\"invocationId\":\"7\",\"error\":\"no\"}\x1e", string(hubproto.JSON.AppendError([]byte("before"), []byte("7"), "no")))
	assert.Equal(t, `{"type":3,"invocationId":"7","error":"\"\\\u001e\u2029\ufffd"}`+"\x1e", string(hubproto.JSON.AppendError(nil, []byte("7"), "\"\\\x1e\u2029\xff")))
}

func TestFailedAppendLeavesTheBuffer(t *testing.T) {
	for _, room := range []int{0, 1000} { // with and without the buffer being moved
		dst := append(make([]byte, 0, 6+room), "before"...)
		got, err := hubproto.JSON.AppendInvocation(dst, []byte("1"), "T", []any{"good", 1, math.NaN(), "good"})
		require.Error(t, err)
		assert.Equal(t, "before", string(got))
		for _, bad := range []any{func() {}, math.Inf(1), []any{1, make(chan int)}, map[string]any{"a": 1i}, struct{ A, B any }{1, func() {}}, failing{}} {
			got, err = hubproto.JSON.AppendResult(dst, []byte("1"), bad)
			require.Error(t, err)
			assert.Equal(t, "before", string(got))
		}
	}
}

var errFailing = errors.New("will not be written")

type failing struct{}

func (failing) MarshalJSON() ([]byte, error) { return nil, errFailing }

func TestMarshalersOwnErrorIsKept(t *testing.T) {
	_, err := hubproto.JSON.AppendResult(nil, []byte("1"), []any{failing{}})
	assert.ErrorIs(t, err, errFailing)
	var unsupported *json.UnsupportedTypeError
	_, err = hubproto.JSON.AppendResult(nil, []byte("1"), func() {})
	require.ErrorAs(t, err, &unsupported)
	assert.Equal(t, reflect.TypeFor[func()](), unsupported.Type)
}

// call is the message that most of the good records hold.
var call = view{Type: 1, ID: "1", Target: "Echo", Arguments: `["x"]`}

func with(change func(v *view)) view {
	v := call
	change(&v)
	return v
}

// goodRecords also seed the fuzz tests.
var goodRecords = []struct {
	name   string
	record string
	want   view
}{
	{"call", `{"type":1,"invocationId":"1","target":"Echo","arguments":["x"]}`, call},
	{"call without an id", `{"type":1,"target":"Echo","arguments":["x"]}`, with(func(v *view) { v.ID = "" })},
	{"call with an empty id", `{"type":1,"invocationId":"","target":"Echo","arguments":["x"]}`, with(func(v *view) { v.ID = "" })},
	{"type last", `{"target":"Echo","arguments":["x"],"invocationId":"1","type":1}`, call},
	{"arguments before the rest", `{"arguments":["x"],"target":"Echo","invocationId":"1","type":1}`, call},
	{"escaped names", `{"\u0074ype":1,"invocation\u0049d":"1","t\u0061rget":"Echo","argument\u0073":["x"]}`, call},
	{"escaped target", `{"type":1,"invocationId":"1","target":"\u0045cho","arguments":["x"]}`, call},
	{"every escape", `{"type":1,"invocationId":"\"\\\/\b\f\n\r\t\u00e9\u20ac\uD83d\uDe00","target":"Echo","arguments":["x"]}`, with(func(v *view) { v.ID = "\"\\/\b\f\n\r\té€😀" })},
	{"white space", " \t\r\n{ \"type\" : 1 ,\n\"invocationId\" : \"1\" , \"target\" : \"Echo\" , \"arguments\" : [ \"x\" ] }\r\n", with(func(v *view) { v.Arguments = `[ "x" ]` })},
	{"unknown properties", `{"type":1,"x":{"type":2,"a":[[]]},"invocationId":"1","y":null,"target":"Echo","z":[1,"2"],"arguments":["x"],"":0}`, call},
	{"names in another case are unknown", `{"Type":6,"type":1,"InvocationId":5,"invocationId":"1","target":"Echo","arguments":["x"],"ARGUMENTS":5}`, call},
	{"target empty", `{"type":1,"invocationId":"1","target":"","arguments":["x"]}`, with(func(v *view) { v.Target = "" })},
	{"id of white space", `{"type":1,"invocationId":" ","target":"Echo","arguments":["x"]}`, with(func(v *view) { v.ID = " " })},
	{"id to escape", `{"type":1,"invocationId":"<&>'\"\u0000é😀\u2028","target":"Echo","arguments":["x"]}`, with(func(v *view) { v.ID = "<&>'\"\x00é😀\u2028" })},
	{"escaped separator", `{"type":1,"invocationId":"1","target":"a\u001eb","arguments":["a\u001eb"]}`, with(func(v *view) { v.Target, v.Arguments = "a\x1eb", `["a\u001eb"]` })},
	{"no arguments", `{"type":1,"invocationId":"1","target":"Echo","arguments":[]}`, with(func(v *view) { v.Arguments = `[]` })},
	{"arguments are not decoded", `{"type":1,"invocationId":"1","target":"Echo","arguments":["\ud800",1e999]}`, with(func(v *view) { v.Arguments = `["\ud800",1e999]` })},
	{"lone surrogate where nobody looks", `{"type":6,"x":"\ud83d","y":{"\ud83d":1}}`, view{Type: 6}},

	{"type twice, last a call", `{"type":6,"target":"Echo","invocationId":"1","arguments":["x"],"type":1}`, call},
	{"type twice, first a call", `{"type":1,"target":"Echo","invocationId":"1","arguments":["x"],"type":6}`, with(func(v *view) { v.Type = 6 })},
	{"arguments twice", `{"type":1,"invocationId":"1","target":"Echo","arguments":["a"],"arguments":["x"]}`, call},
	{"arguments twice, before the target", `{"type":1,"invocationId":"1","arguments":["a"],"arguments":["x"],"target":"Echo"}`, call},
	{"invocationId twice", `{"type":1,"invocationId":"2","invocationId":"1","target":"Echo","arguments":["x"]}`, call},
	{"invocationId twice, last empty", `{"type":1,"invocationId":"2","invocationId":"","target":"Echo","arguments":["x"]}`, with(func(v *view) { v.ID = "" })},
	{"headers twice", `{"type":1,"headers":{"a":"1"},"headers":{"a":"2"},"invocationId":"1","target":"Echo","arguments":["x"]}`, with(func(v *view) { v.Headers = `{"a":"2"}` })},
	{"streamIds twice", `{"type":1,"streamIds":["1","2"],"streamIds":["3"],"invocationId":"1","target":"Echo","arguments":["x"]}`, with(func(v *view) { v.StreamIDs = []string{"3"} })},
	{"streamIds twice, last empty", `{"type":1,"streamIds":["1","2"],"streamIds":[],"invocationId":"1","target":"Echo","arguments":["x"]}`, call},
	{"error twice", `{"type":3,"invocationId":"1","error":"a","error":"b"}`, view{Type: 3, ID: "1", Error: "b", HasError: true}},
	{"allowReconnect twice", `{"type":7,"allowReconnect":true,"allowReconnect":false}`, view{Type: 7}},
	{"sequenceId twice", `{"type":8,"sequenceId":1,"sequenceId":2}`, view{Type: 8, SequenceID: 2}},
	{"result twice", `{"type":3,"invocationId":"1","result":1,"result":2}`, view{Type: 3, ID: "1", Value: "2"}},

	// The reference binds arguments to the target that stands before them, or else to the last one.
	{"target twice", `{"type":1,"invocationId":"1","target":"NoSuch","target":"Echo","arguments":["x"]}`, call},
	{"target twice around the arguments", `{"type":1,"invocationId":"1","target":"Echo","arguments":["x"],"target":"NoSuch"}`, with(func(v *view) { v.Target, v.Retargeted = "NoSuch", true })},
	{"same target twice around the arguments", `{"type":1,"invocationId":"1","target":"Echo","arguments":["x"],"target":"Echo"}`, call},
	{"another target behind the arguments, twice", `{"type":1,"invocationId":"1","target":"Echo","arguments":["x"],"target":"NoSuch","target":"NoSuch"}`, with(func(v *view) { v.Target, v.Retargeted = "NoSuch", true })},
	{"back to the first target", `{"type":1,"invocationId":"1","target":"Echo","arguments":["x"],"target":"NoSuch","target":"Echo"}`, call},
	{"no target before the arguments, two behind", `{"type":1,"invocationId":"1","arguments":["x"],"target":"NoSuch","target":"Echo"}`, call},

	{"headers", `{"type":1,"headers":{"a":"b","c":""},"invocationId":"1","target":"Echo","arguments":["x"]}`, with(func(v *view) { v.Headers = `{"a":"b","c":""}` })},
	{"headers empty", `{"type":1,"headers":{},"invocationId":"1","target":"Echo","arguments":["x"]}`, with(func(v *view) { v.Headers = `{}` })},
	{"streamIds", `{"type":1,"invocationId":"1","target":"Echo","arguments":["x"],"streamIds":["a", "\u0062" ]}`, with(func(v *view) { v.StreamIDs = []string{"a", "b"} })},
	{"streamIds empty", `{"type":1,"invocationId":"1","target":"Echo","arguments":["x"],"streamIds":[]}`, call},
	{"streamIds with an empty one", `{"type":1,"invocationId":"1","target":"Echo","arguments":["x"],"streamIds":["",""]}`, with(func(v *view) { v.StreamIDs = []string{"", ""} })},
	{"item in a call", `{"type":1,"invocationId":"1","target":"Echo","arguments":["x"],"item":5}`, call},
	{"result in a call", `{"type":1,"invocationId":"1","target":"Echo","arguments":["x"],"result":5}`, call},

	{"stream call", `{"type":4,"invocationId":"1","target":"Stream","arguments":[],"streamIds":["2"]}`, view{Type: 4, ID: "1", Target: "Stream", Arguments: `[]`, StreamIDs: []string{"2"}}},
	{"stream call without a name", `{"type":4,"invocationId":"1","target":"","arguments":[]}`, view{Type: 4, ID: "1", Arguments: `[]`}},
	{"item", `{"type":2,"invocationId":"x","item":1}`, view{Type: 2, ID: "x", Value: `1`}},
	{"item null", `{"type":2,"invocationId":"x","item":null}`, view{Type: 2, ID: "x", Value: `null`}},
	{"item first of all", `{"item":{"a":[1]},"invocationId":"x","type":2}`, view{Type: 2, ID: "x", Value: `{"a":[1]}`}},
	{"item and result", `{"type":2,"invocationId":"x","item":1,"result":2}`, view{Type: 2, ID: "x", Value: `1`}},
	{"completion", `{"type":3,"invocationId":"x"}`, view{Type: 3, ID: "x"}},
	{"completion with a result", `{"type":3,"invocationId":"x","result":{"a":1}}`, view{Type: 3, ID: "x", Value: `{"a":1}`}},
	{"completion with null", `{"type":3,"invocationId":"x","result":null}`, view{Type: 3, ID: "x", Value: `null`}},
	{"completion with an error", `{"type":3,"invocationId":"x","error":"e"}`, view{Type: 3, ID: "x", Error: "e", HasError: true}},
	{"completion with an empty error", `{"type":3,"invocationId":"x","error":""}`, view{Type: 3, ID: "x", HasError: true}},
	{"completion result first", `{"result":[1],"invocationId":"x","type":3}`, view{Type: 3, ID: "x", Value: `[1]`}},
	{"completion error first, as the JavaScript client writes it", `{"error":"e","invocationId":"x","type":3}`, view{Type: 3, ID: "x", Error: "e", HasError: true}},
	{"completion and item", `{"type":3,"invocationId":"x","item":1}`, view{Type: 3, ID: "x"}},
	{"cancel", `{"type":5,"invocationId":"x"}`, view{Type: 5, ID: "x"}},
	{"ping", `{"type":6}`, view{Type: 6}},
	{"ping twice", `{"type":6,"type":6}`, view{Type: 6}},
	{"ping with more", `{"type":6,"invocationId":"1","x":[]}`, view{Type: 6, ID: "1"}},
	{"close", `{"type":7}`, view{Type: 7}},
	{"close with all", `{"type":7,"error":"e","allowReconnect":true}`, view{Type: 7, Error: "e", HasError: true, AllowReconnect: true}},
	{"close with an empty error", `{"type":7,"error":""}`, view{Type: 7, HasError: true}},
	{"ack", `{"type":8,"sequenceId":1}`, view{Type: 8, SequenceID: 1}},
	{"ack negative", `{"type":8,"sequenceId":-1}`, view{Type: 8, SequenceID: -1}},
	{"ack of the highest", `{"type":8,"sequenceId":9223372036854775807}`, view{Type: 8, SequenceID: math.MaxInt64}},
	{"ack of the lowest", `{"type":8,"sequenceId":-9223372036854775808}`, view{Type: 8, SequenceID: math.MinInt64}},
	{"sequence", `{"type":9,"sequenceId":1000}`, view{Type: 9, SequenceID: 1000}},
	{"sequenceId null where it is not needed", `{"type":6,"sequenceId":null}`, view{Type: 6}},

	{"unknown type", `{"type":99,"x":[1,{"y":2}]}`, view{Type: 99}},
	{"type 0", `{"type":0}`, view{Type: 0}},
	{"type -0", `{"type":-0}`, view{Type: 0}},
	{"type -1", `{"type":-1}`, view{Type: -1}},
	{"type 10", `{"type":10}`, view{Type: 10}},
	{"highest type", `{"type":2147483647}`, view{Type: math.MaxInt32}},
	{"lowest type", `{"type":-2147483648}`, view{Type: math.MinInt32}},

	{"too many brackets", `{"type":6}}`, view{Type: 6}},
	{"two objects", `{"type":6}{"type":1}`, view{Type: 6}},
	{"garbage behind", `{"type":6} x`, view{Type: 6}},
	{"quote behind", `{"type":6}"`, view{Type: 6}},
	{"comma behind", `{"type":6},`, view{Type: 6}},
	{"raw NUL behind", "{\"type\":6}\x00", view{Type: 6}},
	{"deep garbage behind", `{"type":6}` + strings.Repeat("[", 100), view{Type: 6}},

	{"numbers of every form", `{"type":6,"x":[0,-0,1,-1,10,0.5,-0.5,1.25e3,1E+2,1e-2,0e0,123456789012345678901234567890,1e999]}`, view{Type: 6}},
	{"values of every kind", `{"type":6,"a":true,"b":false,"c":null,"d":"","e":[],"f":{},"g":[[],{}],"h":{"":{}}}`, view{Type: 6}},
	{"characters of every length", `{"type":6,"x":"a` + "\x7f" + `é€😀\u0000` + "\u2028\ufeff\uffff" + `"}`, view{Type: 6}},
}

// badRecords have the texts of the reference.
var badRecords = []struct{ name, record, text string }{
	{"nothing", "", errorReading},
	{"white space", " ", errorReading},
	{"array", "[]", "Unexpected JSON Token Type 'Array'. Expected a JSON Object."},
	{"array around", `[{"type":6}]`, "Unexpected JSON Token Type 'Array'. Expected a JSON Object."},
	{"half an array", "[", "Unexpected JSON Token Type 'Array'. Expected a JSON Object."},
	{"number", "6", "Unexpected JSON Token Type 'Number'. Expected a JSON Object."},
	{"negative number", " -6.5e3", "Unexpected JSON Token Type 'Number'. Expected a JSON Object."},
	{"string", `"x"`, "Unexpected JSON Token Type 'String'. Expected a JSON Object."},
	{"null", "null", "Unexpected JSON Token Type 'Null'. Expected a JSON Object."},
	{"true", "true", "Unexpected JSON Token Type 'True'. Expected a JSON Object."},
	{"false", "false", "Unexpected JSON Token Type 'False'. Expected a JSON Object."},
	{"word", "hello", errorReading},
	{"half a word", "tru", errorReading},
	{"minus alone", "-", errorReading},
	{"half a string alone", `"x`, errorReading},
	{"half an object", `{"type":6`, errorReading},
	{"bracket alone", `{`, errorReading},
	{"closing bracket alone", `}`, errorReading},
	{"wrong closing bracket", `{"type":6]`, errorReading},
	{"wrong closing bracket within", `{"type":6,"x":[1}}`, errorReading},
	{"wrong closing bracket of an empty array", `{"type":6,"x":[}}`, errorReading},
	{"wrong closing bracket of an empty object", `{"type":6,"x":{]}`, errorReading},
	{"half a string", `{"type":1,"target":"Ec`, errorReading},
	{"half an escape", `{"type":1,"target":"Ec\`, errorReading},
	{"half a name", `{"ty`, errorReading},
	{"name alone", `{"type"`, errorReading},
	{"name and colon alone", `{"type":`, errorReading},
	{"name without a value", `{"type":}`, errorReading},
	{"value without a name", `{6}`, errorReading},
	{"comma alone", `{,}`, errorReading},
	{"comma first", `{,"type":6}`, errorReading},
	{"two commas", `{"type":6,,"x":1}`, errorReading},
	{"trailing comma", `{"type":6,}`, errorReading},
	{"trailing comma, then nothing", `{"type":6,`, errorReading},
	{"trailing comma in an array", `{"type":6,"x":[1,]}`, errorReading},
	{"trailing comma in an object", `{"type":6,"x":{"a":1,}}`, errorReading},
	{"comma first in an array", `{"type":6,"x":[,1]}`, errorReading},
	{"comma first in an object", `{"type":6,"x":{,"a":1}}`, errorReading},
	{"comma missing in an array", `{"type":6,"x":[1 2]}`, errorReading},
	{"colon missing", `{"type" 6}`, errorReading},
	{"colon missing within", `{"type":6,"x":{"a" 1}}`, errorReading},
	{"comma for a colon", `{"type",6}`, errorReading},
	{"comma missing", `{"type":6 "a":1}`, errorReading},
	{"comma missing within", `{"type":6,"x":{"a":1 "b":2}}`, errorReading},
	{"comment before", `/* c */{"type":6}`, errorReading},
	{"comment inside", `{"type":6/* c */}`, errorReading},
	{"single quotes", `{'type':6}`, errorReading},
	{"name without quotes", `{type:6}`, errorReading},
	{"name is a number", `{"type":6,1:1}`, errorReading},
	{"name is a number within", `{"type":6,"x":{1:1}}`, errorReading},
	{"byte order mark", "\ufeff" + `{"type":6}`, errorReading},
	{"raw NUL before", "\x00" + `{"type":6}`, errorReading},
	{"form feed is no white space", "\f" + `{"type":6}`, errorReading},
	{"no-break space is no white space", "\u00a0" + `{"type":6}`, errorReading},
	{"raw NUL in a string", "{\"type\":1,\"target\":\"Ec\x00ho\",\"arguments\":[\"x\"]}", errorReading},
	{"raw newline in a string", "{\"type\":1,\"target\":\"Echo\",\"arguments\":[\"a\nb\"]}", errorReading},
	{"raw tab in a string", "{\"type\":1,\"target\":\"Echo\",\"arguments\":[\"a\tb\"]}", errorReading},
	{"raw separator in a string", "{\"type\":1,\"target\":\"Echo\",\"arguments\":[\"a\x1eb\"]}", errorReading},
	{"bad escape", `{"type":1,"target":"Echo","arguments":["\x41"]}`, errorReading},
	{"capital escape", `{"type":1,"target":"Echo","arguments":["\N"]}`, errorReading},
	{"escaped single quote", `{"type":1,"target":"Echo","arguments":["\'"]}`, errorReading},
	{"short unicode escape", `{"type":1,"target":"Echo","arguments":["\u12"]}`, errorReading},
	{"unicode escape at the end", `{"type":1,"target":"\u123`, errorReading},
	{"bad unicode escape", `{"type":1,"target":"Echo","arguments":["\u12g4"]}`, errorReading},
	{"capital unicode escape", `{"type":1,"target":"Echo","arguments":["\U0041"]}`, errorReading},
	{"NaN", `{"type":NaN}`, errorReading},
	{"Infinity", `{"type":1,"target":"Add","arguments":[Infinity,1]}`, errorReading},
	{"undefined", `{"type":6,"x":undefined}`, errorReading},
	{"word in capitals", `{"type":6,"x":TRUE}`, errorReading},
	{"word too long", `{"type":6,"x":truex}`, errorReading},
	{"word too short", `{"type":6,"x":nul}`, errorReading},
	{"leading zero", `{"type":06}`, errorReading},
	{"negative leading zero", `{"type":-06}`, errorReading},
	{"plus sign", `{"type":+6}`, errorReading},
	{"dot behind", `{"type":6.}`, errorReading},
	{"dot before", `{"type":.6}`, errorReading},
	{"dot before the exponent", `{"type":6.e1}`, errorReading},
	{"exponent without digits", `{"type":6e}`, errorReading},
	{"exponent with a sign alone", `{"type":6e+}`, errorReading},
	{"minus without digits", `{"type":-}`, errorReading},
	{"two minus signs", `{"type":--6}`, errorReading},
	{"hexadecimal", `{"type":0x6}`, errorReading},
	{"two dots", `{"type":6,"x":1.2.3}`, errorReading},

	{"lone surrogate in the target", `{"type":1,"target":"\ud83d","arguments":[]}`, errorReading},
	{"lone surrogate in the id", `{"type":1,"invocationId":"\ud83d","target":"Echo","arguments":["x"]}`, errorReading},
	{"lone surrogate in a stream id", `{"type":1,"target":"Echo","arguments":["x"],"streamIds":["\ud83d"]}`, errorReading},
	{"lone surrogate in an error", `{"type":3,"invocationId":"1","error":"\ud83d"}`, errorReading},
	{"lone surrogate in an unknown name", `{"type":6,"\ud83d":1}`, errorReading},
	{"low surrogate", `{"type":1,"target":"a\ude00z","arguments":[]}`, errorReading},
	{"swapped surrogates", `{"type":1,"target":"\ude00\ud83d","arguments":[]}`, errorReading},
	{"two high surrogates", `{"type":1,"target":"\ud83d\ud83d","arguments":[]}`, errorReading},
	{"high surrogate and a character", `{"type":1,"target":"\ud83d\u0041","arguments":[]}`, errorReading},
	{"high surrogate and another escape", `{"type":1,"target":"\ud83d\n12345","arguments":[]}`, errorReading},
	{"high surrogate and text", `{"type":1,"target":"\ud83dxxxxxx","arguments":[]}`, errorReading},

	{"type missing", `{}`, "Missing required property 'type'."},
	{"type missing with others", `{"invocationId":"1","target":"Echo","arguments":["x"]}`, "Missing required property 'type'."},
	{"handshake", `{"protocol":"json","version":1}`, "Missing required property 'type'."},
	{"type in another case", `{"Type":6}`, "Missing required property 'type'."},
	{"type null", `{"type":null}`, "Expected 'type' to be of type Number."},
	{"type string", `{"type":"6"}`, "Expected 'type' to be of type Number."},
	{"type true", `{"type":true}`, "Expected 'type' to be of type Number."},
	{"type array", `{"type":[6]}`, "Expected 'type' to be of type Number."},
	{"type object", `{"type":{}}`, "Expected 'type' to be of type Number."},
	{"type twice, last null", `{"type":6,"type":null}`, "Expected 'type' to be of type Number."},
	{"type float", `{"type":6.0}`, "Either the JSON value is not in a supported format, or is out of bounds for an Int32."},
	{"type half", `{"type":6.5}`, "Either the JSON value is not in a supported format, or is out of bounds for an Int32."},
	{"type exponent", `{"type":6e0}`, "Either the JSON value is not in a supported format, or is out of bounds for an Int32."},
	{"type beyond int32", `{"type":2147483648}`, "Either the JSON value is not in a supported format, or is out of bounds for an Int32."},
	{"type below int32", `{"type":-2147483649}`, "Either the JSON value is not in a supported format, or is out of bounds for an Int32."},
	{"type beyond int64", `{"type":18446744073709551622}`, "Either the JSON value is not in a supported format, or is out of bounds for an Int32."},

	{"call without a target", `{"type":1,"invocationId":"1","arguments":["x"]}`, "Missing required property 'target'."},
	{"call without arguments", `{"type":1,"invocationId":"1","target":"Echo"}`, "Missing required property 'arguments'."},
	{"call without both", `{"type":1,"invocationId":"1"}`, "Missing required property 'target'."},
	{"target null", `{"type":1,"invocationId":"1","target":null,"arguments":["x"]}`, "Expected 'target' to be of type String."},
	{"target number", `{"type":1,"invocationId":"1","target":1,"arguments":["x"]}`, "Expected 'target' to be of type String."},
	{"target object", `{"type":1,"invocationId":"1","target":{},"arguments":["x"]}`, "Expected 'target' to be of type String."},
	{"target in another case", `{"type":1,"invocationId":"1","Target":"Echo","arguments":["x"]}`, "Missing required property 'target'."},
	{"arguments null", `{"type":1,"invocationId":"1","target":"Echo","arguments":null}`, "Expected 'arguments' to be of type Array."},
	{"arguments object", `{"type":1,"invocationId":"1","target":"Echo","arguments":{"0":"x"}}`, "Expected 'arguments' to be of type Array."},
	{"arguments string", `{"type":1,"invocationId":"1","target":"Echo","arguments":"x"}`, "Expected 'arguments' to be of type Array."},
	{"arguments object before the target", `{"type":1,"invocationId":"1","arguments":{},"target":"Echo"}`, "Expected 'arguments' to be of type Array."},
	{"arguments without a target", `{"type":1,"arguments":["x"],"invocationId":"1"}`, "Missing required property 'target'."},
	{"invocationId null", `{"type":1,"invocationId":null,"target":"Echo","arguments":["x"]}`, "Expected 'invocationId' to be of type String."},
	{"invocationId number", `{"type":1,"invocationId":1,"target":"Echo","arguments":["x"]}`, "Expected 'invocationId' to be of type String."},
	{"invocationId object", `{"type":1,"invocationId":{},"target":"Echo","arguments":["x"]}`, "Expected 'invocationId' to be of type String."},
	{"headers null", `{"type":1,"headers":null,"invocationId":"1","target":"Echo","arguments":["x"]}`, "Expected 'headers' to be of type StartObject."},
	{"headers array", `{"type":1,"headers":[],"invocationId":"1","target":"Echo","arguments":["x"]}`, "Expected 'headers' to be of type StartObject."},
	{"header number", `{"type":1,"headers":{"a":1},"invocationId":"1","target":"Echo","arguments":["x"]}`, "Expected header 'a' to be of type String."},
	{"header null", `{"type":1,"headers":{"a":null},"invocationId":"1","target":"Echo","arguments":["x"]}`, "Expected header 'a' to be of type String."},
	{"second header number", `{"type":1,"headers":{"a":"x","\u0062":1},"invocationId":"1","target":"Echo","arguments":["x"]}`, "Expected header 'b' to be of type String."},
	{"streamIds null", `{"type":1,"invocationId":"1","target":"Echo","arguments":["x"],"streamIds":null}`, "Expected 'streamIds' to be of type Array."},
	{"streamIds string", `{"type":1,"invocationId":"1","target":"Echo","arguments":["x"],"streamIds":"1"}`, "Expected 'streamIds' to be of type Array."},
	{"streamIds object", `{"type":1,"invocationId":"1","target":"Echo","arguments":["x"],"streamIds":{}}`, "Expected 'streamIds' to be of type Array."},
	{"streamIds with null", `{"type":1,"invocationId":"1","target":"Echo","arguments":["x"],"streamIds":[null]}`, "Null value for 'streamIds' is not valid."},
	{"streamIds with null behind", `{"type":1,"invocationId":"1","target":"Echo","arguments":["x"],"streamIds":["1",null]}`, "Null value for 'streamIds' is not valid."},
	{"stream call without an id", `{"type":4,"target":"Stream","arguments":[]}`, "Missing required property 'invocationId'."},
	{"stream call with an empty id", `{"type":4,"invocationId":"","target":"Stream","arguments":[]}`, "Missing required property 'invocationId'."},
	{"stream call without a target", `{"type":4,"invocationId":"1","arguments":[]}`, "Missing required property 'target'."},
	{"stream call without arguments", `{"type":4,"invocationId":"1","target":"Stream"}`, "Missing required property 'arguments'."},
	{"item without an id", `{"type":2,"item":1}`, "Missing required property 'invocationId'."},
	{"item with an empty id", `{"type":2,"invocationId":"","item":1}`, "Missing required property 'invocationId'."},
	{"item with the id null", `{"type":2,"invocationId":null,"item":1}`, "Expected 'invocationId' to be of type String."},
	{"item without an item", `{"type":2,"invocationId":"x"}`, "Missing required property 'item'."},
	{"result for an item", `{"type":2,"invocationId":"x","result":1}`, "Missing required property 'item'."},
	{"completion without an id", `{"type":3,"result":1}`, "Missing required property 'invocationId'."},
	{"completion alone", `{"type":3}`, "Missing required property 'invocationId'."},
	{"completion with an empty id", `{"type":3,"invocationId":"","result":1}`, "Missing required property 'invocationId'."},
	{"completion with error and result", `{"type":3,"invocationId":"x","error":"e","result":1}`, "The 'error' and 'result' properties are mutually exclusive."},
	{"completion with result and error", `{"type":3,"invocationId":"x","result":1,"error":"e"}`, "The 'error' and 'result' properties are mutually exclusive."},
	{"completion with error and null", `{"type":3,"invocationId":"x","error":"e","result":null}`, "The 'error' and 'result' properties are mutually exclusive."},
	{"completion with an empty error and result", `{"type":3,"invocationId":"x","error":"","result":1}`, "The 'error' and 'result' properties are mutually exclusive."},
	{"completion with the error null", `{"type":3,"invocationId":"x","error":null,"result":1}`, "Expected 'error' to be of type String."},
	{"completion with an error of another type", `{"type":3,"invocationId":"x","error":5}`, "Expected 'error' to be of type String."},
	{"cancel without an id", `{"type":5}`, "Missing required property 'invocationId'."},
	{"cancel with an empty id", `{"type":5,"invocationId":""}`, "Missing required property 'invocationId'."},
	{"cancel with a number", `{"type":5,"invocationId":1}`, "Expected 'invocationId' to be of type String."},
	{"ack without a sequenceId", `{"type":8}`, "Missing required property 'sequenceId'."},
	{"ack with null", `{"type":8,"sequenceId":null}`, "Missing required property 'sequenceId'."},
	{"ack with a number, then null", `{"type":8,"sequenceId":1,"sequenceId":null}`, "Missing required property 'sequenceId'."},
	{"ack with a string", `{"type":8,"sequenceId":"1"}`, "Expected 'sequenceId' to be of type Number."},
	{"ack with a float", `{"type":8,"sequenceId":1.5}`, "Either the JSON value is not in a supported format, or is out of bounds for an Int64."},
	{"ack beyond int64", `{"type":8,"sequenceId":9223372036854775808}`, "Either the JSON value is not in a supported format, or is out of bounds for an Int64."},
	{"ack below int64", `{"type":8,"sequenceId":-9223372036854775809}`, "Either the JSON value is not in a supported format, or is out of bounds for an Int64."},
	{"ack beyond uint64", `{"type":8,"sequenceId":18446744073709551617}`, "Either the JSON value is not in a supported format, or is out of bounds for an Int64."},
	{"sequence without a sequenceId", `{"type":9}`, "Missing required property 'sequenceId'."},
	{"close with the error null", `{"type":7,"error":null}`, "Expected 'error' to be of type String."},
	{"close with allowReconnect null", `{"type":7,"allowReconnect":null}`, "Expected 'allowReconnect' to be true or false."},
	{"close with allowReconnect a string", `{"type":7,"allowReconnect":"true"}`, "Expected 'allowReconnect' to be true or false."},

	// Every known property is checked, whatever the type.
	{"header number on a ping", `{"type":6,"headers":{"a":1}}`, "Expected header 'a' to be of type String."},
	{"invocationId number on a ping", `{"type":6,"invocationId":1}`, "Expected 'invocationId' to be of type String."},
	{"target number on a ping", `{"type":6,"target":1}`, "Expected 'target' to be of type String."},
	{"arguments object on a ping", `{"type":6,"arguments":{}}`, "Expected 'arguments' to be of type Array."},
	{"streamIds with null on a ping", `{"type":6,"streamIds":[null]}`, "Null value for 'streamIds' is not valid."},
	{"error number in a call", `{"type":1,"invocationId":"1","target":"Echo","arguments":["x"],"error":5}`, "Expected 'error' to be of type String."},
	{"allowReconnect number in a call", `{"type":1,"invocationId":"1","target":"Echo","arguments":["x"],"allowReconnect":1}`, "Expected 'allowReconnect' to be true or false."},
	{"sequenceId string in a call", `{"type":1,"invocationId":"1","target":"Echo","arguments":["x"],"sequenceId":"1"}`, "Expected 'sequenceId' to be of type Number."},
	{"invocationId number in an unknown message", `{"type":99,"invocationId":1}`, "Expected 'invocationId' to be of type String."},
}

func TestParse(t *testing.T) {
	for _, test := range goodRecords {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, parse(t, test.record))
			assert.Equal(t, test.want, parse(t, test.record+"\x1e"))
		})
	}
}

func TestParseErrors(t *testing.T) {
	for _, test := range badRecords {
		t.Run(test.name, func(t *testing.T) {
			var m hubproto.Message
			requireDataError(t, hubproto.JSON.Parse([]byte(test.record), &m), test.text)
			requireDataError(t, hubproto.JSON.Parse([]byte(test.record+"\x1e"), &m), test.text)
		})
	}
}

func TestParseWhatAppendWrites(t *testing.T) {
	for _, test := range written {
		if strings.Contains(test.name, "wins") || strings.Contains(test.name, "ignores") || strings.Contains(test.name, "escape") {
			continue // not what was put in
		}
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, viewOf(&test.m), parse(t, test.want))
		})
	}
}

func TestParseCutShort(t *testing.T) {
	// Whatever is missing at the end of a message, it is no message.
	for _, test := range written {
		for end := range len(test.want) {
			var m hubproto.Message
			requireDataError(t, hubproto.JSON.Parse([]byte(test.want[:end]), &m), errorReading)
		}
	}
}

func TestParseAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		properties := []string{
			`"type":4`, `"headers":{"a":"b"}`, `"invocationId":"1"`, `"target":"T"`, `"arguments":[1,[2]]`, `"streamIds":["x","y"]`,
			`"error":"e"`, `"sequenceId":3`, `"unknown":{"type":1}`, `"allowReconnect":true`, `"item":1`, `"result":2`,
		}
		record := "{" + strings.Join(rapid.Permutation(properties).Draw(t, "order"), ",") + "}"
		require.Equal(t, view{
			Type: 4, ID: "1", Target: "T", Arguments: `[1,[2]]`, StreamIDs: []string{"x", "y"}, Headers: `{"a":"b"}`,
			Error: "e", HasError: true, SequenceID: 3, AllowReconnect: true,
		}, parse(t, record))
	})
}

func TestParseDepth(t *testing.T) {
	arrays := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	objects := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	mixed := func(n int) string {
		return strings.Repeat(`[1,{"a":`, n/2) + []string{"1", "{}"}[n%2] + strings.Repeat("},2]", n/2)
	}
	empty := func(n int) string { return strings.Repeat(`{"a":`, n-1) + "{}" + strings.Repeat("}", n-1) }
	for name, nest := range map[string]func(int) string{"arrays": arrays, "objects": objects, "mixed": mixed, "empty": empty} {
		for _, shape := range []struct {
			before, after string
			deepest       int
		}{
			{`{"type":6,"x":`, `}`, hubproto.MaxDepth - 1},
			{`{"type":2,"invocationId":"1","item":`, `}`, hubproto.MaxDepth - 1},
			{`{"type":1,"target":"T","arguments":[`, `]}`, hubproto.MaxDepth - 2},
			{`{"type":1,"target":"T","arguments":[0,`, `,0]}`, hubproto.MaxDepth - 2},
		} {
			for depth := 2; depth < 140; depth++ {
				var m hubproto.Message
				err := hubproto.JSON.Parse([]byte(shape.before+nest(depth)+shape.after), &m)
				if depth > shape.deepest {
					requireDataError(t, err, errorReading)
				} else {
					require.NoError(t, err, "%s%d %s", shape.before, depth, name)
				}
			}
		}
	}
	// The numbers as they were measured.
	for depth, good := range map[int]bool{61: true, 62: true, 63: false, 64: false, 65: false, 1000: false, 1 << 20: false} {
		var m hubproto.Message
		err := hubproto.JSON.Parse([]byte(`{"type":1,"target":"Echo","arguments":[`+arrays(depth)+`]}`), &m)
		assert.Equal(t, good, err == nil, "%d arrays as an argument", depth)
	}
	for depth, good := range map[int]bool{61: true, 62: true, 63: true, 64: false, 65: false, 1000: false} {
		var m hubproto.Message
		err := hubproto.JSON.Parse([]byte(`{"type":6,"x":`+objects(depth)+`}`), &m)
		assert.Equal(t, good, err == nil, "%d objects in an unknown property", depth)
	}
}

func TestDepthDoesNotAddUp(t *testing.T) {
	// What stands side by side is not nested.
	record := `{"type":6,"x":[` + strings.TrimSuffix(strings.Repeat(`{"a":[[],[]]},`, 500), ",") + `],"y":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`
	assert.Equal(t, view{Type: 6}, parse(t, record))
}

func TestParseLimits(t *testing.T) {
	long := strings.Repeat("i", hubproto.MaxIDLength)
	escaped := strings.Repeat(`\u0069`, hubproto.MaxIDLength)
	many := func(n int) string { return `"1"` + strings.Repeat(`,"1"`, n-1) }

	assert.Equal(t, long, parse(t, `{"type":5,"invocationId":"`+long+`"}`).ID)
	assert.Equal(t, long, parse(t, `{"type":5,"invocationId":"`+escaped+`"}`).ID) // the text counts, not how it is written
	assert.Equal(t, []string{long}, parse(t, `{"type":1,"target":"T","arguments":[],"streamIds":["`+escaped+`"]}`).StreamIDs)
	assert.Len(t, parse(t, `{"type":1,"target":"T","arguments":[],"streamIds":[`+many(hubproto.MaxStreamIDs)+`]}`).StreamIDs, hubproto.MaxStreamIDs)
	// Only ids are kept, so only ids are limited.
	assert.Len(t, parse(t, `{"type":1,"target":"`+long+long+`","arguments":[]}`).Target, 2*hubproto.MaxIDLength)
	assert.Len(t, parse(t, `{"type":7,"error":"`+long+long+`"}`).Error, 2*hubproto.MaxIDLength)

	for record, text := range map[string]string{
		`{"type":5,"invocationId":"` + long + `i"}`:                                                       "'invocationId' has 4097 bytes, more than the limit of 4096.",
		`{"type":5,"invocationId":"` + strings.Repeat("é", hubproto.MaxIDLength/2) + `i"}`:                "'invocationId' has 4097 bytes, more than the limit of 4096.",
		`{"type":6,"invocationId":"` + long + `i"}`:                                                       "'invocationId' has 4097 bytes, more than the limit of 4096.",
		`{"type":1,"target":"T","arguments":[],"streamIds":["1","` + long + `i"]}`:                        "'streamIds' has an id of 4097 bytes, more than the limit of 4096.",
		`{"type":1,"target":"T","arguments":[],"streamIds":[` + many(hubproto.MaxStreamIDs+1) + `]}`:      "'streamIds' has 257 elements, more than the limit of 256.",
		`{"type":1,"target":"T","arguments":[],"streamIds":[` + many(100000) + `]}`:                       "'streamIds' has 100000 elements, more than the limit of 256.",
		`{"type":1,"target":"T","arguments":[],"streamIds":[` + many(hubproto.MaxStreamIDs) + `,[[],1]]}`: "'streamIds' has 257 elements, more than the limit of 256.",
	} {
		var m hubproto.Message
		requireDataError(t, hubproto.JSON.Parse([]byte(record), &m), text)
	}
}

func TestParseUTF8(t *testing.T) {
	for name, bad := range map[string]string{
		"stray byte": "\xff", "continuation alone": "\x80", "cut short": "\xc3", "cut short, three bytes": "\xe2\x82", "overlong": "\xc0\xaf",
		"surrogate": "\xed\xa0\x80", "surrogate pair": "\xed\xa0\xbd\xed\xb8\x80", "beyond the last code point": "\xf4\x90\x80\x80",
	} {
		for _, shape := range []string{
			`{"type":1,"target":"%s","arguments":[]}`, `{"type":1,"target":"T","arguments":["%s"]}`, `{"type":1,"target":"T","arguments":[{"%s":1}]}`,
			`{"type":5,"invocationId":"%s"}`, `{"type":6,"x":"%s"}`, `{"type":6,"%s":1}`, `{"type":6,"headers":{"%s":""}}`, `{"type":6,"streamIds":["%s"]}`,
			`%s{"type":6}`, `{"type":6,%s"x":1}`,
		} {
			t.Run(name+" in "+shape, func(t *testing.T) {
				var m hubproto.Message
				requireDataError(t, hubproto.JSON.Parse([]byte(fmt.Sprintf(shape, bad)), &m), errorReading)
			})
		}
	}
}

func TestParseForgetsTheMessageBefore(t *testing.T) {
	var m hubproto.Message
	full := `{"type":1,"target":"A","arguments":[1],"target":"B","invocationId":"1","streamIds":["x","y"],"headers":{"a":"b"},"error":"e","allowReconnect":true,"sequenceId":9}`
	for range 2 {
		require.NoError(t, hubproto.JSON.Parse([]byte(full), &m))
		assert.Equal(t, view{
			Type: 1, ID: "1", Target: "B", Retargeted: true, Arguments: `[1]`, StreamIDs: []string{"x", "y"}, Headers: `{"a":"b"}`,
			Error: "e", HasError: true, AllowReconnect: true, SequenceID: 9,
		}, viewOf(&m))
		require.NoError(t, hubproto.JSON.Parse([]byte(`{"type":3,"invocationId":"2","result":5}`), &m))
		assert.Equal(t, view{Type: 3, ID: "2", Value: "5"}, viewOf(&m))
		require.NoError(t, hubproto.JSON.Parse([]byte(`{"type":6}`), &m))
		assert.Equal(t, view{Type: 6}, viewOf(&m))
	}
}

func TestParseLeavesTheRecord(t *testing.T) {
	for _, test := range goodRecords {
		record := []byte(test.record)
		var m hubproto.Message
		require.NoError(t, hubproto.JSON.Parse(record, &m))
		require.Equal(t, test.record, string(record))
	}
}

func TestMessageSharesItsRecord(t *testing.T) {
	// That is what makes parsing free of allocations, and callers copy what they keep.
	record := []byte(`{"type":1,"invocationId":"1","target":"T","arguments":[1],"streamIds":["s"],"headers":{}}`)
	var m hubproto.Message
	require.NoError(t, hubproto.JSON.Parse(record, &m))
	from := uintptr(unsafe.Pointer(&record[0]))
	for _, part := range [][]byte{m.ID, m.Target, m.Arguments, m.StreamIDs[0], m.Headers} {
		at := uintptr(unsafe.Pointer(&part[0]))
		assert.True(t, at >= from && at < from+uintptr(len(record)), "%s", part)
	}
}
