package hubproto_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestCamelCase(t *testing.T) {
	for name, want := range map[string]string{
		"Name": "name", "A": "a", "ID": "id", "IDs": "iDs", "Id": "id", "GUID": "guid", "URLPath": "urlPath",
		"URLValue": "urlValue", "HTTPServer": "httpServer",
		"UserID": "userID", "AB": "ab", "ABc": "aBc", "IPhone": "iPhone", "IPv4": "iPv4", "X1": "x1", "X_Y": "x_Y",
		"URL2": "urL2", "AB1C": "aB1C", "Xml2Json": "xml2Json",
		"IsCIA": "isCIA", "VmQ": "vmQ", "Äpfel": "äpfel", "ÄÖÜ": "äöü", "ΑΒγ": "αΒγ", "ÉCOLEName": "écoleName",
	} {
		// A struct with one field that has this name and no tag.
		typ := reflect.StructOf([]reflect.StructField{{Name: name, Type: reflect.TypeFor[int]()}})
		assert.Equal(t, `{"`+want+`":0}`, encoded(t, reflect.Zero(typ).Interface()))
	}
}

func TestEncodeStructs(t *testing.T) {
	number5 := 5
	for _, test := range []struct {
		name string
		v    any
		want string
	}{
		{"empty", struct{}{}, `{}`},
		{"names", named{
			UserID: "u", URLPath: "p", Hidden: "h", Dash: "d", unseen: "x", LastValue: &number5,
		}, `{"userID":"u","path":"p","-":"d","Kept":0,"other":null,"lastValue":5}`},
		{"omitempty with a value", named{GUID: "g"}, `{"userID":"","path":"","guid":"g","-":"","Kept":0,"other":null,"lastValue":null}`},
		{"nested", struct {
			OuterValue struct{ InnerValue []struct{ X int } }
		}{}, `{"outerValue":{"innerValue":null}}`},
		{"unexported alone", struct{ a, b int }{1, 2}, `{}`},
		{"blank", struct {
			_ int
			A int
		}{}, `{"a":0}`},

		{"embedded", struct {
			Base
			OwnValue int
		}{Base{"i", "n"}, 1}, `{"id":"i","name":"n","ownValue":1}`},
		{"embedded pointer", struct {
			*Base
			OwnValue int
		}{&Base{"i", "n"}, 1}, `{"id":"i","name":"n","ownValue":1}`},
		{"embedded nil pointer", struct {
			*Base
			OwnValue int
		}{nil, 1}, `{"ownValue":1}`},
		{"embedded, not exported", struct{ base }{base{"i", "p"}}, `{"inner":"i","urlPath":"p"}`},
		{"embedded with a name", struct {
			Base `json:"Base"`
		}{Base{"i", "n"}}, `{"Base":{"id":"i","name":"n"}}`},
		{"embedded with an option alone", struct {
			Base `json:",omitempty"`
		}{}, `{"id":"","name":""}`},
		{"embedded twice over", struct{ Deeper }{Deeper{Base{"i", "n"}}}, `{"id":"i","name":"n"}`},
		{"embedded and left out", struct {
			Base `json:"-"`
			A    int
		}{}, `{"a":0}`},
		{"embedded number", struct{ Number }{5}, `{"number":5}`},
		{"embedded number, not exported", struct {
			number
			A int
		}{5, 1}, `{"a":1}`},
		{"embedded interface", struct{ fmt.Stringer }{nil}, `{"stringer":null}`},
		{"embedded in itself", Chain{&Chain{nil, 1}, 2}, `{"link":2}`},

		{"outer field wins", struct {
			Base
			ID int
		}{Base{"i", "n"}, 1}, `{"name":"n","id":1}`},
		{"outer field wins by its name on the wire", struct {
			Base
			Key int `json:"id"`
		}{Base{"i", "n"}, 1}, `{"name":"n","id":1}`},
		{"less nested wins", struct {
			Deeper
			Plain
		}{Deeper{Base{"deep", "n"}}, Plain{"near"}}, `{"name":"n","id":"near"}`},
		{"tag wins", struct {
			Plain
			Tagged
		}{Plain{"plain"}, Tagged{"tagged"}}, `{"id":"tagged"}`},
		{"neither of two equal names", struct {
			Base
			Other
		}{Base{"i", "n"}, Other{"i", "m"}}, `{"name":"n","more":"m"}`},
		{"less nested wins over a tag", struct {
			Plain
			Inner struct{} `json:"-"`
			*Deep
		}{Plain{"plain"}, struct{}{}, &Deep{Tagged{"deep"}}}, `{"id":"plain"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, encoded(t, test.v))
			assert.Equal(t, test.want, encoded(t, pointerTo(test.v))) // an addressable value is encoded in the same way
			assert.Equal(t, "["+test.want+"]", encoded(t, []any{test.v}))
		})
	}
}

func TestEncodeValues(t *testing.T) {
	var noError error
	for _, test := range []struct {
		name string
		v    any
		want string
	}{
		{"nil", nil, `null`},
		{"true", true, `true`}, {"named bool", flag(true), `true`},
		{"int", 42, `42`}, {"negative", -42, `-42`}, {"int8", int8(-128), `-128`}, {"int16", int16(1), `1`},
		{"int32", int32(math.MinInt32), `-2147483648`},
		{"int64", int64(math.MinInt64), `-9223372036854775808`}, {"uint8", uint8(255), `255`},
		{"uint64", uint64(math.MaxUint64), `18446744073709551615`},
		{"uintptr", uintptr(1), `1`}, {"named int", small(-5), `-5`}, {"rune", 'a', `97`}, {"duration", time.Second, `1000000000`},
		{"float", 0.1, `0.1`}, {"whole float", 1.0, `1`}, {"float32 has its own shortest form", float32(0.1), `0.1`},
		{"named float", ratio(0.3), `0.3`},
		{"minus zero", math.Copysign(0, -1), `-0`}, {"large float", 1e20, `100000000000000000000`},
		{"larger float", 1e21, `1e+21`}, {"small float", 1e-6, `0.000001`},
		{"highest float", math.MaxFloat64, `1.7976931348623157e+308`}, {"lowest float", math.SmallestNonzeroFloat64, `5e-324`},
		{"string", "x", `"x"`}, {"named string", text("x"), `"x"`}, {"empty string", "", `""`},
		{"quotes", `a"b\c/d`, `"a\"b\\c/d"`}, {"HTML is not escaped", `<script>&'</script>`, `"<script>&'</script>"`},
		{"line ends", "a\r\n\tb", `"a\r\n\tb"`}, {"control characters", "\x00\x01\x1e\x1f", `"\u0000\u0001\u001e\u001f"`},
		{"line ends of JavaScript", "\u2028\u2029", `"\u2028\u2029"`},
		{"characters of every length", "aé€😀\U0010ffff\ufffd\u007f", "\"aé€😀\U0010ffff\ufffd\u007f\""},
		{"not UTF-8", "a\xffb\xc3", `"a\ufffdb\ufffd"`}, {"surrogate in UTF-8", "\xed\xa0\x80", `"\ufffd\ufffd\ufffd"`},
		{"not UTF-8 before a quote", "\xe2\x82\"", `"\ufffd\ufffd\""`},

		{"bytes", []byte{1, 2, 3}, `"AQID"`}, {"bytes to pad", []byte{1}, `"AQ=="`},
		{"bytes of the alphabet's end", []byte{0xfb, 0xff, 0xbf}, `"+/+/"`},
		{"no bytes", []byte{}, `""`}, {"nil bytes", []byte(nil), `null`}, {"named bytes", bytesOf{1}, `"AQ=="`},
		{"bytes of a named type", []octet{1}, `"AQ=="`},
		{"array of bytes", [3]byte{1, 2, 3}, `[1,2,3]`}, {"bytes with MarshalJSON", []octetM{1, 2}, `["1","2"]`},
		{"slice", []int{1, 2}, `[1,2]`}, {"empty slice", []int{}, `[]`}, {"nil slice", []int(nil), `null`},
		{"slice of slices", [][]int{{1}, nil, {}}, `[[1],null,[]]`},
		{"array", [2]string{"a", "b"}, `["a","b"]`}, {"empty array", [0]int{}, `[]`},
		{"slice of any", []any{1, "a", nil, []any{}}, `[1,"a",null,[]]`},

		{"map", map[string]int{"b": 2, "a": 1, "C": 3, "": 4}, `{"":4,"C":3,"a":1,"b":2}`},
		{"map keys are not changed", map[string]int{"UserID": 1}, `{"UserID":1}`},
		{"empty map", map[string]int{}, `{}`}, {"nil map", map[string]int(nil), `null`},
		{"int keys are sorted as text", map[int]int{10: 1, 9: 2, -1: 3}, `{"-1":3,"10":1,"9":2}`},
		{"uint keys", map[uint8]bool{200: true}, `{"200":true}`}, {"named string keys", map[text]int{"x": 1}, `{"x":1}`},
		{"keys to escape", map[string]int{"\"\x1e": 1}, `{"\"\u001e":1}`},
		{"text keys", map[keyT]int{{2, 1}: 1, {1, 2}: 2}, `{"1/2":2,"2/1":1}`}, {"text of an int key", map[keyInt]int{1: 1}, `{"key 1":1}`},
		{"map of maps", map[string]map[string]any{"a": {"b": nil}, "c": nil}, `{"a":{"b":null},"c":null}`},

		{"pointer", pointer(5), `5`}, {"nil pointer", (*int)(nil), `null`},
		{"pointer to a pointer", pointer(pointer("x")), `"x"`}, {"pointer to a nil pointer", pointer((*int)(nil)), `null`},
		{"pointer to any", pointer[any](5), `5`}, {"pointer to nil any", pointer[any](nil), `null`},
		{"nil error", noError, `null`}, {"pointer to a struct", &Plain{"x"}, `{"id":"x"}`},

		{"value receiver", valueM{"x"}, `"value x"`}, {"value receiver of a pointer", &valueM{"x"}, `"value x"`},
		{"nil pointer, value receiver", (*valueM)(nil), `null`},
		{"pointer receiver", &pointerM{"x"}, `"pointer x"`}, {"nil pointer, pointer receiver", (*pointerM)(nil), `null`},
		// As in encoding/json, methods with pointer receivers are not called for values that are not addressable.
		{"pointer receiver of a value", pointerM{"x"}, `{"s":"x"}`},
		{"pointer receivers in a slice", []pointerM{{"x"}}, `["pointer x"]`},
		{"pointer receivers in a map", map[string]pointerM{"a": {"x"}}, `{"a":{"s":"x"}}`},
		{"pointer receivers in a map of pointers", map[string]*pointerM{"a": {"x"}, "b": nil}, `{"a":"pointer x","b":null}`},
		{"pointer receiver in a struct", struct{ P pointerM }{pointerM{"x"}}, `{"p":{"s":"x"}}`},
		{"pointer receiver in a pointer to a struct", &struct{ P pointerM }{pointerM{"x"}}, `{"p":"pointer x"}`},
		{"text of a value", valueT{"x"}, `"value text x"`}, {"text of a pointer to a value", &valueT{"x"}, `"value text x"`},
		{"text of a pointer", &pointerT{"x"}, `"pointer text x"`},
		{"text of a pointer, of a value", pointerT{"x"}, `{"s":"x"}`},
		{"texts of pointers in a slice", []pointerT{{"x"}}, `["pointer text x"]`},
		{"text to escape", valueT{"\"\x1e\xff"}, `"value text \"\u001e\ufffd"`},
		{"JSON before text", []bothMT{{"x"}}, `["json x"]`}, {"text without an address for JSON", bothMT{"x"}, `"text x"`},
		{"int with MarshalJSON", intM(5), `[5]`}, {"map with MarshalJSON", mapM{"a": 1}, `1`},
		{"nil map with MarshalJSON", mapM(nil), `0`}, {"nil slice with MarshalJSON", sliceM(nil), `0`},
		{"in any", []any{valueM{"x"}, &pointerM{"y"}, valueT{"z"}}, `["value x","pointer y","value text z"]`},
		{"compacted JSON of a marshaler", spacedJSON{}, `{"a":"\u003c\u2028\u003e"}`},
		{"raw message", json.RawMessage(`{"a" : 1}`), `{"a":1}`}, {"nil raw message", json.RawMessage(nil), `null`},
		{"number", json.Number("1.50"), `1.50`}, {"empty number", json.Number(""), `0`},
		{"time", time.Date(2000, 1, 2, 3, 4, 5, 0, time.UTC), `"2000-01-02T03:04:05Z"`},
		{"address", netip.MustParseAddr("::1"), `"::1"`}, {"zero address", netip.Addr{}, `""`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := encoded(t, test.v)
			if test.name == "compacted JSON of a marshaler" { // the escaping may differ
				assert.Equal(t, jsonOf(t, test.want), jsonOf(t, got))
				assert.NotContains(t, got, " ")
				return
			}
			assert.Equal(t, test.want, got)
		})
	}
}

func TestEncodeErrors(t *testing.T) {
	var zero keyT
	for name, v := range map[string]any{
		"NaN": math.NaN(), "infinity": math.Inf(1), "minus infinity": math.Inf(-1), "float32 infinity": float32(math.Inf(1)),
		"NaN in a slice": []float64{1, math.NaN()},
		"NaN in any":     []any{math.NaN()}, "NaN in a struct": struct{ F float32 }{float32(math.NaN())},
		"NaN behind a pointer": pointer(math.NaN()), "NaN in a map": map[string]any{"a": math.NaN()},
		"function": func() {}, "channel": make(chan int), "complex": 1i, "function in a struct": struct{ F func() }{},
		"key that is a float": map[float64]int{1: 1}, "key that is a bool": map[bool]int{true: 1},
		"key that is any": map[any]int{"a": 1}, "key that is a struct": map[struct{ keyT int }]int{{1}: 1},
		"broken JSON": invalidJSON{}, "raw separator in JSON": rawSeparatorJSON{}, "bad number": json.Number("x"),
		"bad raw message": json.RawMessage("{"), "separator in a raw message": json.RawMessage("\"\x1e\""),
		"separator within a raw message": json.RawMessage("[1,\x1e2]"), "zero key": map[*keyT]any{&zero: math.NaN()},
	} {
		_, err := encode(v)
		assert.Error(t, err, name)
	}
}
