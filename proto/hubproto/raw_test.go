package hubproto

import (
	"encoding/json"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// roundTrip encodes v as an argument of a call, and binds it to into.
func roundTrip(t require.TestingT, p Protocol, v any, into reflect.Value) {
	record, err := p.AppendInvocation(nil, nil, "T", []any{v})
	require.NoError(t, err, "%s %s", p.Name(), v)
	n, err := p.Next(record, 0, 0)
	require.NoError(t, err)
	require.Equal(t, len(record), n)
	var m Message
	require.NoError(t, p.Parse(record, &m), "%x", record)
	require.NoError(t, p.BindArguments(m.Arguments, []reflect.Value{into}), "%s %s", p.Name(), v)
}

// Values of type json.RawMessage are not changed.
func TestRawMessageIsUnchanged(t *testing.T) {
	for _, text := range []string{
		`null`, `true`, `0`, `-1`, `9007199254740993`, `-9007199254740993`, `9223372036854775807`, `-9223372036854775808`,
		`9223372036854775808`, `18446744073709551615`, `1.5`, `0.1`, `-1e-7`, `"x"`, `""`, `"null"`, `"2024-05-06"`, `[]`,
		`{}`,
		`[null,[9007199254740993,{"a":[]}]]`, `{"A":1,"Name":{"b":[9007199254740993,"é😀"]},"a":2}`, `"\"\\\u0000\u001e"`,
	} {
		for _, p := range []Protocol{JSON, MessagePack, MessagePackOptions{CamelCase: true}.Protocol()} {
			var raw json.RawMessage
			roundTrip(t, p, json.RawMessage(text), reflect.ValueOf(&raw).Elem())
			assert.JSONEq(t, text, string(raw), p.Name())
			if !strings.ContainsAny(text, `.e\`) {
				assert.Equal(t, text, string(raw), p.Name())
			}
			var again json.RawMessage // forwarded
			roundTrip(t, p, raw, reflect.ValueOf(&again).Elem())
			assert.Equal(t, string(raw), string(again), p.Name())
		}
	}
	for _, text := range []string{ // JSON does not limit numbers
		`1e400`, `-1E+400`, `1e-400`, `18446744073709551616`, `123456789012345678901234567890`,
		`0.1000000000000000055511151231257827`, `[1.0,{"a":1e400}]`, strings.Repeat("9", 400),
	} {
		var raw json.RawMessage
		roundTrip(t, JSON, json.RawMessage(text), reflect.ValueOf(&raw).Elem())
		assert.Equal(t, text, string(raw))
	}
}

// selfMade writes itself.
type selfMade string

func (s selfMade) MarshalJSON() ([]byte, error) { return []byte(s), nil }

// What a marshaler writes may be no UTF-8. Clients would end the connection.
func TestMarshalersWriteUTF8(t *testing.T) {
	const text = "{\"a\xff\":[\"\xe2\x82\",\"é\"]}"
	camel := func(dst []byte, v any) ([]byte, error) { return JSON.AppendItem(dst, []byte("1"), v) }
	for _, v := range []any{json.RawMessage(text), selfMade(text), struct{ V json.RawMessage }{json.RawMessage(text)}, []any{selfMade(text)}} {
		for name, write := range map[string]func([]byte, any) ([]byte, error){"json": camel, "json.net": AppendJSONNet} {
			written, err := write(nil, v)
			require.NoError(t, err)
			assert.True(t, utf8.Valid(written), name)
			assert.Contains(t, string(written), "{\"a\ufffd\":[\"\ufffd\ufffd\",\"é\"]}", name)
		}
		written, err := MessagePack.AppendItem(nil, []byte("1"), v)
		require.NoError(t, err)
		assert.Contains(t, string(written), "\x81\xa4a\ufffd\x92\xa6\ufffd\ufffd\xa2é")
	}
}

func TestRawMessageKeepsWhiteSpace(t *testing.T) {
	const text = `{ "a" : [ 1e400 , 9007199254740993 , null ] , "a" : "\u0078" }`
	var in struct {
		Raw  json.RawMessage
		More []json.RawMessage
		By   map[string]json.RawMessage
		P    *json.RawMessage
	}
	require.NoError(
		t,
		JSON.BindValue(
			[]byte(`{"raw":`+text+`,"more":[1e400,null,`+text+`],"by":{"k":`+text+`},"p":9007199254740993}`),
			reflect.ValueOf(&in).Elem(),
		),
	)
	assert.Equal(t, text, string(in.Raw))
	assert.Equal(t, []json.RawMessage{[]byte(`1e400`), []byte(`null`), []byte(text)}, in.More)
	assert.Equal(t, map[string]json.RawMessage{"k": []byte(text)}, in.By)
	assert.Equal(t, "9007199254740993", string(*in.P))
}

// Numbers in JSON are decoded into any as float64.
func TestNumbersInAnyAreFloats(t *testing.T) {
	var v any
	require.NoError(t, JSON.BindValue([]byte(`9007199254740993`), reflect.ValueOf(&v).Elem()))
	assert.Equal(t, 9007199254740992.0, v)
	require.Error(t, JSON.BindValue([]byte(`1e400`), reflect.ValueOf(&v).Elem()))
	require.NoError(t, MessagePack.BindValue(appendPackedInt(nil, 9007199254740993), reflect.ValueOf(&v).Elem()))
	assert.Equal(t, int64(9007199254740993), v)
}

func TestPackedRawMessageIsJSONOfValue(t *testing.T) {
	for value, want := range map[string]string{
		"\xc0": `null`, "\xc3": `true`, "\xcf\x00\x20\x00\x00\x00\x00\x00\x01": `9007199254740993`,
		"\xcf\xff\xff\xff\xff\xff\xff\xff\xff": `18446744073709551615`,
		"\xd3\x80\x00\x00\x00\x00\x00\x00\x00": `-9223372036854775808`, "\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00": `1.5`,
		"\xa3a\"b": `"a\"b"`, "\xc4\x02\x00\xff": `"AP8="`, "\xd6\xff\x66\x38\x81\xd9": `"2024-05-06T07:08:09Z"`,
		"\x92\x01\xc0": `[1,null]`, "\x82\xa1b\x90\xa1A\x81\xa1x\x01": `{"A":{"x":1},"b":[]}`,
	} {
		var raw json.RawMessage
		require.NoError(t, MessagePack.BindValue([]byte(value), reflect.ValueOf(&raw).Elem()), "%x", value)
		assert.Equal(t, want, string(raw), "%x", value)
	}
	for _, value := range []string{ // not representable in JSON
		"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "\xca\x7f\x80\x00\x00", "\x91\xcb\xff\xf0\x00\x00\x00\x00\x00\x00",
		"\xd4\x05\x00", "\x81\x90\x01",
	} {
		var raw json.RawMessage
		var bind *BindError
		assert.ErrorAs(t, MessagePack.BindValue([]byte(value), reflect.ValueOf(&raw).Elem()), &bind, "%x is %s", value, raw)
	}
}

// Encoding fails for numbers that MessagePack cannot represent, and the error contains the number.
func TestPackedRawMessageOutOfRangeFails(t *testing.T) {
	long, _ := new(big.Int).SetString("123456789012345678901234567890", 10)
	for number, v := range map[string]any{
		"1e400": json.RawMessage(`1e400`), "-1e400": json.RawMessage(` [ {"a": -1e400 } ] `),
		"18446744073709551617":   json.RawMessage(`18446744073709551617`),
		"-9223372036854775809":   json.RawMessage(`{"a":[-9223372036854775809]}`),
		strings.Repeat("9", 400): json.RawMessage(strings.Repeat("9", 400)),
		"36893488147419103233":   json.Number("36893488147419103233"), "123456789012345678901234567890": long,
		"1e309": map[string]json.Number{"a": "1e309"},
	} {
		for _, p := range []Protocol{MessagePack, MessagePackOptions{CamelCase: true}.Protocol()} {
			call, err := p.AppendInvocation([]byte("before"), nil, "T", []any{1, v})
			require.ErrorContains(t, err, number)
			require.Equal(t, "before", string(call))
			result, err := p.AppendResult([]byte("before"), []byte("1"), v)
			require.ErrorContains(t, err, number)
			require.Equal(t, "before", string(result))
			item, err := p.AppendItem([]byte("before"), []byte("1"), []any{v})
			require.ErrorContains(t, err, number)
			require.Equal(t, "before", string(item))
		}
		_, err := JSON.AppendResult(nil, []byte("1"), v)
		require.NoError(t, err)
	}
	for _, text := range []string{ // representable as floats
		`18446744073709551616`, `100000000000000000000`, `-36893488147419103232`, `1e308`, `1e-400`, `0.1`,
	} {
		_, err := MessagePack.AppendResult(nil, []byte("1"), json.RawMessage(text))
		require.NoError(t, err, text)
	}
	_, err := MessagePack.AppendResult(nil, nil, json.RawMessage(`{`)) // invalid JSON fails as well
	require.Error(t, err)
	_, err = MessagePack.AppendResult(nil, nil, json.RawMessage(`"\ud83d"`))
	require.Error(t, err)
	_, err = MessagePack.AppendResult(nil, nil, json.RawMessage(strings.Repeat("[", MaxDepth)+strings.Repeat("]", MaxDepth)))
	require.ErrorIs(t, err, errTooDeep)
}

// Integers are restored exactly, or encoding fails.
func TestPackedRawIntegersAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`-?(0|[1-9][0-9]{0,24})`).Draw(t, "number")
		record, err := MessagePack.AppendResult(nil, []byte("1"), json.RawMessage(text))
		want, _ := new(big.Int).SetString(text, 10)
		if err != nil {
			require.ErrorContains(t, err, text)
			require.False(t, want.IsInt64() || want.IsUint64(), text)
			return
		}
		var m Message
		require.NoError(t, MessagePack.Parse(record, &m))
		var raw json.RawMessage
		require.NoError(t, MessagePack.BindValue(m.Value, reflect.ValueOf(&raw).Elem()))
		got, ok := new(big.Rat).SetString(string(raw))
		require.True(t, ok, "%s", raw)
		if want.IsInt64() || want.IsUint64() {
			require.Zero(t, got.Cmp(new(big.Rat).SetInt(want)), "%s: %s", text, raw)
			return
		}
		f, _ := got.Float64() // the shortest decimal form of the float
		back, accuracy := new(big.Float).SetInt(want).Float64()
		require.Equal(t, big.Exact, accuracy, text)
		require.Equal(t, back, f, text)
	})
}
