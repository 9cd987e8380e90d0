package hubproto_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/hubproto"
)

type (
	inner        struct{ A int }
	embedsTagged struct {
		inner `json:"inner"`
		B     int
	}
)

func TestBindPacked(t *testing.T) {
	five := 5
	for _, test := range []struct {
		argument string
		want     any // its type is the type of the parameter
	}{
		{"\xa1x", "x"}, {"\xa0", ""}, {"\xd9\x01x", "x"}, {"\xda\x00\x01x", "x"}, {"\xdb\x00\x00\x00\x01x", "x"},
		{"\xa2\xc3\xa9", "é"}, {"\xa4\xf0\x9f\x98\x80", text("😀")}, {"\xa1\x00", "\x00"},
		{"\xc3", true}, {"\xc2", flag(false)},
		{"\x05", 5}, {"\xff", -1}, {"\xcc\xff", 255}, {"\xcd\xff\xff", 65535},
		{"\xce\xff\xff\xff\xff", int64(math.MaxUint32)}, {"\xcf\x7f\xff\xff\xff\xff\xff\xff\xff", int64(math.MaxInt64)},
		{"\xd0\x80", -128}, {"\xd1\x80\x00", -32768}, {"\xd2\x80\x00\x00\x00", int32(math.MinInt32)},
		{"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", int64(math.MinInt64)}, {"\xcf\x00\x00\x00\x00\x00\x00\x00\x7f", int8(127)},
		{"\xd3\xff\xff\xff\xff\xff\xff\xff\x80", small(-128)},
		{"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", uint64(math.MaxUint64)},
		{"\xd3\x00\x00\x00\x00\x00\x00\x00\x01", uint64(1)}, {"\xd1\x00\xff", uint8(255)}, {"\x00", uint(0)},
		{"\xd1\x03\xe8", time.Duration(1000)},
		{"\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00", 1.5}, {"\xca\x3f\xc0\x00\x00", 1.5}, {"\xca\x3f\xc0\x00\x00", float32(1.5)},
		{"\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00", ratio(1.5)}, {"\x05", 5.0}, {"\xff", float32(-1)},
		{"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", float64(math.MaxUint64)},
		{"\xc4\x02\x00\xff", []byte{0, 255}}, {"\xc4\x00", []byte{}}, {"\xc0", []byte(nil)}, {"\xc5\x00\x01x", bytesOf("x")},
		{"\xc6\x00\x00\x00\x01x", []byte("x")}, {"\xc4\x01x", []octet{'x'}}, {"\x92\x01\x02", [2]byte{1, 2}},
		{"\x92\x01\x02", []int{1, 2}}, {"\x90", []int{}}, {"\x92\x91\x01\x90", [][]int{{1}, {}}},
		{"\x92\xa1a\xa1b", [2]string{"a", "b"}}, {"\x91\x01", [2]int{1, 0}}, {"\x93\x01\x02\x91\x03", [2]int{1, 2}},
		{"\x90", [0]int{}},
		{"\x82\xa1a\x01\xa1B\x02", map[string]int{"a": 1, "B": 2}}, {"\x80", map[string]int{}},
		{"\x81\xa11\xa1x", map[int]string{1: "x"}}, {"\x81\x01\xa1x", map[int]string{1: "x"}},
		{"\x81\xa1a\x01", map[text]int{"a": 1}}, {"\x81\xa1x\x01", map[textOnly]int{{"<x>"}: 1}},
		{"\x05", &five}, {"\xd6\xff\x00\x00\x00\x05", time.Unix(5, 0).UTC()},
		{"\xd7\xff\x00\x00\x00\x18\x00\x00\x00\x05", time.Unix(5, 6).UTC()},
		{"\xc7\x0c\xff\x00\x00\x00\x06\xff\xff\xff\xff\xff\xff\xff\xff", time.Unix(-1, 6).UTC()},
		{"\xb42000-01-02T03:04:05Z", time.Date(2000, 1, 2, 3, 4, 5, 0, time.UTC)},
		{"\xa3::1", netip.MustParseAddr("::1")}, {"\x05", json.Number("5")},
		{"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", json.Number("18446744073709551615")},
		{"\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00", json.Number("1.5")}, {"\x81\xa1a\x91\xc0", json.RawMessage(`{"a":[null]}`)},

		// nil binds to types that have a value for it.
		{"\xc0", ""}, {"\xc0", text("")}, {"\xc0", (*int)(nil)}, {"\xc0", (**int)(nil)}, {"\xc0", []int(nil)},
		{"\xc0", map[string]int(nil)}, {"\xc0", (*person)(nil)}, {"\xc0", json.Number("")}, {"\x91\xc0", []string{""}},
		{"\x92\x05\xc0", []*int{&five, nil}}, {"\x91\xc0", []any{nil}},
		{"\x81\xa1a\xc0", map[string]any{"a": nil}}, {"\x81\xa1a\xc0", map[string]string{"a": ""}},
		{"\x82\xa4name\xc0\xa5value\x01", person{Value: 1}}, {"\x91\xc0", [1]*int{nil}}, {"\x91\xc0", rawRecorder{"[null]"}},
		{"\xc0", json.RawMessage(`null`)}, {"\xc0", (*rawRecorder)(nil)}, {"\x91\x91\xc0", []rawRecorder{{"[null]"}}},
		{"\xc0", (*time.Time)(nil)}, {"\x91\xc0", []*time.Time{nil}},

		{"\x82\xa4name\xa1n\xa5value\x01", person{"n", 1}}, {"\x82\xa4Name\xa1n\xa5Value\x01", person{"n", 1}},
		{"\x82\xa4nAME\xa1n\xa5VALUE\x01", person{"n", 1}}, {"\x80", person{}},
		{"\x83\xa4name\xa1n\xa5other\x92\x81\x01\xd4\x05\x00\xc0\xa5value\x01", person{"n", 1}},
		{"\x82\xa4name\xa1a\xa4Name\xa1b", person{Name: "b"}},
		{"\x83\xa3uid\x01\xa7urlPath\xa1p\xa6quoted\xa17", renamed{UserID: 1, URLPath: "p", Quoted: 7}},
		{"\x83\xa5value\x02\xa2id\xa1i\xa5extra\x01", outer{person{Value: 2}, &Base{ID: "i"}, 1}},
		{"\x81\xa5value\x02", outer{person: person{Value: 2}}},
		{"\x81\xa4home\x81\xa4name\xa1h", contacts{Home: &person{Name: "h"}}},
		{"\xc4\x03\x01\x02\x03", rawRecorder{`"AQID"`}},
		{"\xd7\xff\x00\x00\x00\x00\x00\x00\x00\x05", rawRecorder{`"1970-01-01T00:00:05Z"`}}, {"\x05", &rawRecorder{"5"}},
		{"\x82\xa5inner\x81\xa1A\x01\xa1B\x02", embedsTagged{inner{1}, 2}},
		{"\xc7\x0c\xff\x00\x00\x00\x00\x00\x00\x00\x3a\xff\xf4\x41\x7f", time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)},
		{"\xa2a\xff", textOnly{"<a\ufffd>"}}, {"\xa1x", textOnly{"<x>"}}, {"\x91\xa1x", []*textOnly{{"<x>"}}},
	} {
		t.Run(fmt.Sprintf("%T from %x", test.want, test.argument), func(t *testing.T) {
			got, err := bindPacked(test.argument, reflect.TypeOf(test.want))
			require.NoError(t, err, "%v", errors.Unwrap(err))
			assert.Equal(t, test.want, got)
		})
	}
}

func TestBindPackedAny(t *testing.T) {
	for argument, want := range map[string]any{
		"\xc0": nil, "\xc3": true, "\x01": int64(1), "\xff": int64(-1), "\xcc\xff": int64(255),
		"\xcf\x7f\xff\xff\xff\xff\xff\xff\xff": int64(math.MaxInt64),
		"\xcf\x80\x00\x00\x00\x00\x00\x00\x00": uint64(1 << 63), "\xca\x3f\xc0\x00\x00": 1.5,
		"\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00": 1.5,
		"\xa1x":                                "x", "\xc4\x01x": []byte("x"), "\x90": []any{}, "\x80": map[string]any{},
		"\x94\x01\xa1a\xc0\x91\x80": []any{int64(1), "a", nil, []any{map[string]any{}}},
		"\x81\xa1A\x81\xa1b\xc0":    map[string]any{"A": map[string]any{"b": nil}},
		"\xd6\xff\x00\x00\x00\x05":  time.Unix(5, 0).UTC(), "\xd7\xff\x00\x00\x00\x18\x00\x00\x00\x05": time.Unix(5, 6).UTC(),
		"\xc7\x0c\xff\x00\x00\x00\x06\xff\xff\xff\xff\xff\xff\xff\xff": time.Unix(-1, 6).UTC(),
		"\x92\xd6\xff\x00\x00\x00\x05\x01":                             []any{time.Unix(5, 0).UTC(), int64(1)},
		"\x81\xa1t\xd6\xff\x00\x00\x00\x05":                            map[string]any{"t": time.Unix(5, 0).UTC()},
	} {
		t.Run(fmt.Sprintf("%x", argument), func(t *testing.T) {
			got, err := bindPacked(argument, reflect.TypeFor[any]())
			require.NoError(t, err, "%v", errors.Unwrap(err))
			assert.Equal(t, want, got)
		})
	}
}

func TestBindPackedErrors(t *testing.T) {
	for _, test := range []struct {
		typ       reflect.Type
		arguments []string
	}{
		{reflect.TypeFor[int](), []string{
			"\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", "\xca\x3f\x80\x00\x00", "\xcf\x80\x00\x00\x00\x00\x00\x00\x00",
			"\xa11", "\xc3", "\xc0", "\x90", "\x91\x01", "\x80", "\xc4\x01\x01", "\xd4\x05\x01",
			"\xd6\xff\x00\x00\x00\x01",
		}},
		{reflect.TypeFor[int32](), []string{"\xce\x80\x00\x00\x00", "\xd3\xff\xff\xff\xff\x7f\xff\xff\xff", "\xc0"}},
		{reflect.TypeFor[int8](), []string{"\xcc\x80", "\xd1\xff\x7f", "\xc0"}},
		{reflect.TypeFor[uint8](), []string{"\xcd\x01\x00", "\xff", "\xd0\x80", "\xc0"}},
		{reflect.TypeFor[uint64](), []string{"\xff", "\xd3\x80\x00\x00\x00\x00\x00\x00\x00", "\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", "\xa11"}},
		{reflect.TypeFor[float64](), []string{"\xa11", "\xc0", "\xc3", "\x90"}},
		{reflect.TypeFor[float32](), []string{"\xcb\x48\x0f\x0f\x0f\x0f\x0f\x0f\x0f", "\xc0"}},
		{reflect.TypeFor[bool](), []string{"\xc0", "\x01", "\xa4true"}},
		{reflect.TypeFor[string](), []string{"\x01", "\xc3", "\xc4\x01x", "\x91\xa1x", "\x80", "\xd4\x05\x00"}},
		{reflect.TypeFor[text](), []string{"\x01", "\xc4\x01x"}},
		{reflect.TypeFor[any](), []string{
			"\xd4\x05\x00", "\xc7\x00\x05", "\x91\xd4\x05\x00", "\xd4\xff\x00",
			"\xd7\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\xc7\x05\xff\x00\x00\x00\x00\x00",
			"\xc7\x0c\xff\x00\x00\x00\x00\x00\x00\x00\x3a\xff\xf4\x41\x80", // of the year 10000
		}},
		{reflect.TypeFor[time.Time](), []string{
			"\xc7\x0c\xff\x00\x00\x00\x00\x00\x00\x00\x3a\xff\xf4\x41\x80", "\xc7\x0c\xff\x00\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff",
		}},
		{reflect.TypeFor[embedsTagged](), []string{"\x81\xa5inner\xc0", "\x81\xa5inner\x01"}},
		{reflect.TypeFor[[]string](), []string{"\xa1x", "\x80", "\x91\x01", "\xc4\x01x"}},
		{reflect.TypeFor[[]int](), []string{"\x91\xc0", "\x91\xa11", "\x91\x91\x01", "\xc4\x01\x01", "\x81\x01\x02"}},
		{reflect.TypeFor[[2]int](), []string{"\x92\xc0\x01", "\x80", "\xc0"}},
		{reflect.TypeFor[map[string]int](), []string{"\x90", "\x81\xa1a\xc0", "\x81\x01\x02", "\x81\xa1a\xa11", "\x81\x90\x01", "\x81\x80\x01"}},
		{reflect.TypeFor[map[int]int](), []string{
			"\x81\xa1a\x01", "\x81\xa0\x01", "\x81\xa31.5\x01", "\x81\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00\x01",
			"\x81\xc0\x01", "\x81\xa4null\x01", "\x81\xa2 1\x01",
		}},
		{reflect.TypeFor[map[uint8]int](), []string{"\x81\xa3256\x01", "\x81\xcd\x01\x00\x01", "\x81\xff\x01", "\x81\xa2-1\x01"}},
		{reflect.TypeFor[*int](), []string{"\xa11", "\x91\xc0"}},
		{reflect.TypeFor[person](), []string{
			"\xc0", "\x90", "\x92\xa1n\x01", "\xa1x", "\x81\xa5value\xc0", "\x81\xa5value\xa11", "\x81\x01\x01",
			"\x81\xa4name\x01",
		}},
		{reflect.TypeFor[contacts](), []string{
			"\x81\xa4home\x81\xa5value\xc0", "\x81\xa4work\xc0", "\x81\xa4many\x91\xc0", "\x81\xa6byName\x81\xa1x\xc0",
			"\x81\xa3any\xd4\x05\x00",
		}},
		{reflect.TypeFor[renamed](), []string{"\x81\xa3uid\xc0", "\x81\xa6quoted\x07", "\x81\xa6quoted\xc0", "\x81\xa6quoted\xa1x"}},
		{reflect.TypeFor[textOnly](), []string{"\xc0", "\x01", "\x80", "\xc4\x01x"}},
		{reflect.TypeFor[netip.Addr](), []string{"\xc0", "\xa1x", "\xc4\x04\x7f\x00\x00\x01"}},
		{reflect.TypeFor[rawRecorder](), []string{"\xc0"}},
		{reflect.TypeFor[[]rawRecorder](), []string{"\x91\xc0"}},
		{reflect.TypeFor[[]time.Time](), []string{"\x91\xc0"}},
		{reflect.TypeFor[time.Time](), []string{
			"\xc0", "\xa1x", "\x01", "\xd4\xff\x01", "\xd6\x05\x00\x00\x00\x01",
			"\xd7\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\xc7\x0c\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00",
			"\xc7\x00\xff", "\x90", "\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00",
		}},
		{reflect.TypeFor[json.Number](), []string{
			"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "\xca\x7f\x80\x00\x00", "\xca\xff\x80\x00\x00", "\xa1x", "\xc3",
			"\x90",
		}},
		{reflect.TypeFor[failingUnmarshaler](), []string{"\xc0", "\x01", "\x80"}},
		{reflect.TypeFor[func()](), []string{"\x01", "\xc0"}},
		{reflect.TypeFor[chan int](), []string{"\x01", "\xc0"}},
		{reflect.TypeFor[error](), []string{"\xa1x", "\x80"}},
	} {
		for _, argument := range test.arguments {
			t.Run(fmt.Sprintf("%s from %x", test.typ, argument), func(t *testing.T) {
				_, err := bindPacked(argument, test.typ)
				assert.Error(t, requireBindError(t, err, errorBinding).Cause)
			})
		}
	}
}

func TestBindPackedCounts(t *testing.T) {
	for arguments, text := range map[string]string{
		"\x92\xa1x\xa1y":           errorBinding,
		"\x91\xa1x":                "Invocation provides 1 argument(s) but target expects 2.",
		"\x91\x01":                 "Invocation provides 1 argument(s) but target expects 2.",
		"\x90":                     "Invocation provides 0 argument(s) but target expects 2.",
		"\x93\x01\x02\xa1x":        "Invocation provides 3 argument(s) but target expects 2.",
		"\x93\x01\x02\xd4\x05x":    "Invocation provides 3 argument(s) but target expects 2.",
		"\x93\x01\xa1x\xa1y":       "Invocation provides 3 argument(s) but target expects 2.",
		"\xdc\x00\x01\x01":         "Invocation provides 1 argument(s) but target expects 2.",
		"\xdd\x00\x00\x00\x01\x01": "Invocation provides 1 argument(s) but target expects 2.",
	} {
		var n [2]int
		err := hubproto.MessagePack.BindArguments(
			[]byte(arguments), []reflect.Value{reflect.ValueOf(&n[0]).Elem(), reflect.ValueOf(&n[1]).Elem()},
		)
		requireBindError(t, err, text)
	}
	require.NoError(t, hubproto.MessagePack.BindArguments([]byte("\x90"), nil))
	requireBindError(t, hubproto.MessagePack.BindArguments([]byte("\x91\x01"), nil), "Invocation provides 1 argument(s) but target expects 0.")
}

func TestBindPackedDoesNotPanic(t *testing.T) {
	for _, test := range []struct {
		name, argument string
		typ            reflect.Type
	}{
		{"field behind a pointer that cannot be set", "\x81\xa5inner\xa1x", reflect.TypeFor[behindPointer]()},
		{"null behind a pointer that cannot be set", "\x81\xa5inner\xc0", reflect.TypeFor[behindPointer]()},
		{"array as a name", "\x81\x90\x01", reflect.TypeFor[map[any]int]()},
		{"map as a name", "\x81\x80\x01", reflect.TypeFor[map[any]int]()},
		{"bytes as a name", "\x81\xc4\x01x\x01", reflect.TypeFor[map[any]int]()},
		{"text of JSON as a name", "\x81\xa7{\"a\":1}\x01", reflect.TypeFor[map[any]int]()},
		{"array within a name", "\x81\x81\xa3any\x90\x01", reflect.TypeFor[map[keyed]int]()},
		{"array within an array as a name", "\x81\x91\x90\x01", reflect.TypeFor[map[[1]any]int]()},
	} {
		t.Run(test.name, func(t *testing.T) {
			var err error
			require.NotPanics(t, func() { _, err = bindPacked(test.argument, test.typ) })
			if !strings.HasPrefix(test.name, "text") { // this one is a valid name
				requireBindError(t, err, errorBinding)
			}
		})
	}
}

func TestBindPackedLastOfRepeatedNamesWins(t *testing.T) {
	// The last value wins, even if it is null.
	type fields struct {
		P *int
		L []int
		M map[string]int
		A any
		R [2]int
	}
	got, err := bindPacked(
		"\x8a\xa1p\x05\xa1l\x91\x01\xa1m\x81\xa1a\x01\xa1a\x01\xa1r\x92\x01\x02\xa1p\xc0\xa1l\xc0\xa1m\xc0\xa1a\xc0\xa1r\x91\x03",
		reflect.TypeFor[fields](),
	)
	require.NoError(t, err)
	want, err := bind(`{"p":5,"l":[1],"m":{"a":1},"a":1,"r":[1,2],"p":null,"l":null,"m":null,"a":null,"r":[3]}`, reflect.TypeFor[fields]())
	require.NoError(t, err)
	assert.Equal(t, want, got)
}

func TestPackedBoundValuesDoNotShareRecord(t *testing.T) {
	type all struct {
		S string
		R json.RawMessage
		N json.Number
		B []byte
		M map[string]string
		A any
		T textOnly
	}
	in := all{"s", json.RawMessage(`["x"]`), "12", []byte{1, 2, 3}, map[string]string{"k": "v"}, []any{"x", []byte("y")}, textOnly{}}
	record, err := hubproto.MessagePack.AppendInvocation(nil, nil, "T", []any{"text", in, "named", "t"})
	require.NoError(t, err)
	var m hubproto.Message
	require.NoError(t, hubproto.MessagePack.Parse(record, &m))
	var s string
	var v struct {
		S string
		R json.RawMessage
		N json.Number
		B []byte
		M map[string]string
		A any
	}
	var n text
	var l textOnly
	require.NoError(t, hubproto.MessagePack.BindArguments(m.Arguments, []reflect.Value{
		reflect.ValueOf(&s).Elem(), reflect.ValueOf(&v).Elem(), reflect.ValueOf(&n).Elem(), reflect.ValueOf(&l).Elem(),
	}))
	for i := range record {
		record[i] = '#'
	}
	assert.Equal(t, "text", s)
	assert.Equal(t, text("named"), n)
	assert.Equal(t, textOnly{"<t>"}, l)
	assert.Equal(t, in.S, v.S)
	assert.Equal(t, string(in.R), string(v.R))
	assert.Equal(t, in.N, v.N)
	assert.Equal(t, in.B, v.B)
	assert.Equal(t, in.M, v.M)
	assert.Equal(t, in.A, v.A)
}

func TestPackedIntegersHaveShortestForm(t *testing.T) {
	for n, want := range map[int64]string{
		0: "\x00", 127: "\x7f", 128: "\xcc\x80", 255: "\xcc\xff", 256: "\xcd\x01\x00", 65535: "\xcd\xff\xff",
		65536: "\xce\x00\x01\x00\x00", math.MaxUint32: "\xce\xff\xff\xff\xff",
		math.MaxUint32 + 1: "\xcf\x00\x00\x00\x01\x00\x00\x00\x00",
		-1:                 "\xff", -32: "\xe0", -33: "\xd0\xdf", -128: "\xd0\x80", -129: "\xd1\xff\x7f", -32768: "\xd1\x80\x00",
		-32769: "\xd2\xff\xff\x7f\xff", math.MinInt32: "\xd2\x80\x00\x00\x00",
		math.MinInt32 - 1: "\xd3\xff\xff\xff\xff\x7f\xff\xff\xff",
	} {
		for _, v := range []any{n, int(n), uint64(n), json.Number(fmt.Sprint(n)), []int64{n}} {
			if _, unsigned := v.(uint64); unsigned && n < 0 {
				continue
			}
			got, err := hubproto.MessagePack.AppendResult(nil, nil, v)
			require.NoError(t, err)
			assert.Len(t, strings.TrimPrefix(string(got[6:]), "\x91"), len(want), "%T %d", v, n)
		}
	}
}

func TestPackedIntegersOfMarshalersAreExact(t *testing.T) {
	// Integers in the JSON of a type's own MarshalJSON keep their digits.
	for _, v := range []any{
		uint64(math.MaxUint64), json.Number("18446744073709551615"), json.RawMessage("18446744073709551615"),
		json.RawMessage("9223372036854775809"), []any{json.Number("9223372036854775808")},
	} {
		record, err := hubproto.MessagePack.AppendResult(nil, []byte("1"), v)
		require.NoError(t, err)
		var m hubproto.Message
		require.NoError(t, hubproto.MessagePack.Parse(record, &m))
		back, err := bindPacked(string(m.Value), reflect.TypeFor[json.RawMessage]())
		require.NoError(t, err)
		want, err := json.Marshal(v)
		require.NoError(t, err)
		assert.Equal(t, string(want), string(back.(json.RawMessage)), "%T", v)
	}
}
