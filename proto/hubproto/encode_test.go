package hubproto_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/proto/hubproto"
)

const (
	resultHead = `{"type":3,"invocationId":"1","result":`
	resultTail = "}\x1e"
)

// encode gives v as it stands in a message.
func encode(v any) (string, error) {
	record, err := hubproto.JSON.AppendResult(nil, []byte("1"), v)
	if err != nil {
		return "", err
	}
	text, ok := strings.CutPrefix(string(record), resultHead)
	if !ok || !strings.HasSuffix(text, resultTail) {
		return "", errors.New("not a result: " + string(record))
	}
	return strings.TrimSuffix(text, resultTail), nil
}

func encoded(t require.TestingT, v any) string {
	text, err := encode(v)
	require.NoError(t, err)
	return text
}

// jsonOf parses text for comparisons. Numbers keep all their digits, but not how they are written. JSON within a string, as the
// option "string" makes it, is parsed as well.
func jsonOf(t require.TestingT, text string) any {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var v any
	require.NoError(t, decoder.Decode(&v), text)
	var plain func(v any) any
	plain = func(v any) any {
		switch v := v.(type) {
		case json.Number:
			if strings.ContainsAny(v.String(), ".eE") {
				f, err := v.Float64()
				require.NoError(t, err)
				return f
			}
		case string:
			if json.Valid([]byte(v)) && strings.ContainsAny(v[:1], `"-0123456789`) {
				return []any{"quoted", jsonOf(t, v)}
			}
		case []any:
			for i := range v {
				v[i] = plain(v[i])
			}
		case map[string]any:
			for k := range v {
				v[k] = plain(v[k])
			}
		}
		return v
	}
	return plain(v)
}

// agrees checks that v is written as encoding/json writes it. That holds where a tag names every field.
func agrees(t require.TestingT, v any) {
	want, wantErr := json.Marshal(v)
	got, err := encode(v)
	if wantErr != nil {
		require.Error(t, err, "%#v", v)
		return
	}
	require.NoError(t, err, "%#v", v)
	require.Equal(t, jsonOf(t, string(want)), jsonOf(t, got))
	require.Equal(t, keysOf(t, string(want)), keysOf(t, got)) // and in the same order
}

// keysOf gives the names of all properties in text, in their order.
func keysOf(t require.TestingT, text string) []string {
	var keys []string
	decoder := json.NewDecoder(strings.NewReader(text))
	var value func()
	value = func() {
		token, err := decoder.Token()
		require.NoError(t, err)
		delim, ok := token.(json.Delim)
		if !ok {
			return
		}
		for decoder.More() {
			if delim == '{' {
				key, err := decoder.Token()
				require.NoError(t, err)
				keys = append(keys, key.(string))
			}
			value()
		}
		_, err = decoder.Token()
		require.NoError(t, err)
	}
	value()
	return keys
}

func TestCamelCase(t *testing.T) {
	for name, want := range map[string]string{
		"Name": "name", "A": "a", "ID": "id", "IDs": "iDs", "Id": "id", "GUID": "guid", "URLPath": "urlPath", "URLValue": "urlValue", "HTTPServer": "httpServer",
		"UserID": "userID", "AB": "ab", "ABc": "aBc", "IPhone": "iPhone", "IPv4": "iPv4", "X1": "x1", "X_Y": "x_Y", "URL2": "urL2", "AB1C": "aB1C", "Xml2Json": "xml2Json",
		"IsCIA": "isCIA", "VmQ": "vmQ", "Äpfel": "äpfel", "ÄÖÜ": "äöü", "ΑΒγ": "αΒγ", "ÉCOLEName": "écoleName",
	} {
		// A struct of one field, which has this name and no tag.
		typ := reflect.StructOf([]reflect.StructField{{Name: name, Type: reflect.TypeFor[int]()}})
		assert.Equal(t, `{"`+want+`":0}`, encoded(t, reflect.Zero(typ).Interface()))
	}
}

type (
	Base   struct{ ID, Name string }
	base   struct{ Inner, URLPath string }
	Deeper struct{ Base }
	Tagged struct {
		X string `json:"id"`
	}
	Plain  struct{ ID string }
	Other  struct{ ID, More string }
	Number int
	number int
	Chain  struct {
		*Chain
		Link int
	}
	named struct {
		UserID    string
		URLPath   string `json:"path"`
		GUID      string `json:",omitempty"`
		Hidden    string `json:"-"`
		Dash      string `json:"-,"`
		Kept      int    `json:"Kept"`
		unseen    string
		Other     any `xml:"ignored"`
		LastValue *int
	}
)

func TestStructs(t *testing.T) {
	number5 := 5
	for _, test := range []struct {
		name string
		v    any
		want string
	}{
		{"empty", struct{}{}, `{}`},
		{"names", named{UserID: "u", URLPath: "p", Hidden: "h", Dash: "d", unseen: "x", LastValue: &number5}, `{"userID":"u","path":"p","-":"d","Kept":0,"other":null,"lastValue":5}`},
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
		{"of two equals none", struct {
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
			assert.Equal(t, test.want, encoded(t, reflectPointer(test.v))) // what is addressable is written alike
			assert.Equal(t, "["+test.want+"]", encoded(t, []any{test.v}))
		})
	}
}

type Deep struct{ Tagged }

func reflectPointer(v any) any {
	p := reflect.New(reflect.TypeOf(v))
	p.Elem().Set(reflect.ValueOf(v))
	return p.Interface()
}

type (
	text     string
	flag     bool
	small    int8
	ratio    float32
	bytesOf  []byte
	octet    byte
	valueM   struct{ S string }
	pointerM struct{ S string }
	valueT   struct{ S string }
	pointerT struct{ S string }
	bothMT   struct{ S string } // its MarshalJSON has a pointer receiver and its MarshalText a value receiver
	intM     int
	intPM    int
	intT     int
	mapM     map[string]int
	sliceM   []int
	octetM   byte
	keyT     struct{ A, B int }
	keyInt   int
	dirty    struct{}
	broken   struct{}
	raw      struct{}
)

func (m valueM) MarshalJSON() ([]byte, error)    { return json.Marshal("value " + m.S) }
func (m *pointerM) MarshalJSON() ([]byte, error) { return json.Marshal("pointer " + m.S) }
func (m valueT) MarshalText() ([]byte, error)    { return []byte("value text " + m.S), nil }
func (m *pointerT) MarshalText() ([]byte, error) { return []byte("pointer text " + m.S), nil }
func (m *bothMT) MarshalJSON() ([]byte, error)   { return json.Marshal("json " + m.S) }
func (m bothMT) MarshalText() ([]byte, error)    { return []byte("text " + m.S), nil }
func (m intM) MarshalJSON() ([]byte, error)      { return fmt.Appendf(nil, "[%d]", int(m)), nil }
func (m *intPM) MarshalJSON() ([]byte, error)    { return fmt.Appendf(nil, "[%d]", int(*m)), nil }
func (m intT) MarshalText() ([]byte, error)      { return fmt.Appendf(nil, "#%d", int(m)), nil }
func (m mapM) MarshalJSON() ([]byte, error)      { return fmt.Appendf(nil, "%d", len(m)), nil }
func (m sliceM) MarshalJSON() ([]byte, error)    { return fmt.Appendf(nil, "%d", len(m)), nil }
func (m octetM) MarshalJSON() ([]byte, error)    { return fmt.Appendf(nil, `"%d"`, byte(m)), nil }
func (k keyT) MarshalText() ([]byte, error)      { return fmt.Appendf(nil, "%d/%d", k.A, k.B), nil }
func (k keyInt) MarshalText() ([]byte, error)    { return fmt.Appendf(nil, "key %d", int(k)), nil }
func (dirty) MarshalJSON() ([]byte, error)       { return []byte(" {\n\"a\" : \"<\u2028>\" }\n"), nil }
func (broken) MarshalJSON() ([]byte, error)      { return []byte(`{"a":`), nil }
func (raw) MarshalJSON() ([]byte, error)         { return []byte("\"a\x1eb\""), nil }

func pointer[T any](v T) *T { return &v }

func TestValues(t *testing.T) {
	var noError error
	for _, test := range []struct {
		name string
		v    any
		want string
	}{
		{"nil", nil, `null`},
		{"true", true, `true`}, {"named bool", flag(true), `true`},
		{"int", 42, `42`}, {"negative", -42, `-42`}, {"int8", int8(-128), `-128`}, {"int16", int16(1), `1`}, {"int32", int32(math.MinInt32), `-2147483648`},
		{"int64", int64(math.MinInt64), `-9223372036854775808`}, {"uint8", uint8(255), `255`}, {"uint64", uint64(math.MaxUint64), `18446744073709551615`},
		{"uintptr", uintptr(1), `1`}, {"named int", small(-5), `-5`}, {"rune", 'a', `97`}, {"duration", time.Second, `1000000000`},
		{"float", 0.1, `0.1`}, {"whole float", 1.0, `1`}, {"float32 keeps its own digits", float32(0.1), `0.1`}, {"named float", ratio(0.3), `0.3`},
		{"minus zero", math.Copysign(0, -1), `-0`}, {"large float", 1e20, `100000000000000000000`}, {"larger float", 1e21, `1e+21`}, {"small float", 1e-6, `0.000001`},
		{"highest float", math.MaxFloat64, `1.7976931348623157e+308`}, {"lowest float", math.SmallestNonzeroFloat64, `5e-324`},
		{"string", "x", `"x"`}, {"named string", text("x"), `"x"`}, {"empty string", "", `""`},
		{"quotes", `a"b\c/d`, `"a\"b\\c/d"`}, {"HTML is left alone", `<script>&'</script>`, `"<script>&'</script>"`},
		{"line ends", "a\r\n\tb", `"a\r\n\tb"`}, {"control characters", "\x00\x01\x1e\x1f", `"\u0000\u0001\u001e\u001f"`}, {"line ends of JavaScript", "\u2028\u2029", `"\u2028\u2029"`},
		{"characters of every length", "aé€😀\U0010ffff\ufffd\u007f", "\"aé€😀\U0010ffff\ufffd\u007f\""},
		{"not UTF-8", "a\xffb\xc3", `"a\ufffdb\ufffd"`}, {"surrogate in UTF-8", "\xed\xa0\x80", `"\ufffd\ufffd\ufffd"`}, {"not UTF-8 before a quote", "\xe2\x82\"", `"\ufffd\ufffd\""`},

		{"bytes", []byte{1, 2, 3}, `"AQID"`}, {"bytes to pad", []byte{1}, `"AQ=="`}, {"bytes of the alphabet's end", []byte{0xfb, 0xff, 0xbf}, `"+/+/"`},
		{"no bytes", []byte{}, `""`}, {"nil bytes", []byte(nil), `null`}, {"named bytes", bytesOf{1}, `"AQ=="`}, {"bytes of a named type", []octet{1}, `"AQ=="`},
		{"array of bytes", [3]byte{1, 2, 3}, `[1,2,3]`}, {"bytes that write themselves", []octetM{1, 2}, `["1","2"]`},
		{"slice", []int{1, 2}, `[1,2]`}, {"empty slice", []int{}, `[]`}, {"nil slice", []int(nil), `null`}, {"slice of slices", [][]int{{1}, nil, {}}, `[[1],null,[]]`},
		{"array", [2]string{"a", "b"}, `["a","b"]`}, {"empty array", [0]int{}, `[]`}, {"slice of any", []any{1, "a", nil, []any{}}, `[1,"a",null,[]]`},

		{"map", map[string]int{"b": 2, "a": 1, "C": 3, "": 4}, `{"":4,"C":3,"a":1,"b":2}`}, {"keys are left as they are", map[string]int{"UserID": 1}, `{"UserID":1}`},
		{"empty map", map[string]int{}, `{}`}, {"nil map", map[string]int(nil), `null`}, {"int keys are sorted as text", map[int]int{10: 1, 9: 2, -1: 3}, `{"-1":3,"10":1,"9":2}`},
		{"uint keys", map[uint8]bool{200: true}, `{"200":true}`}, {"named string keys", map[text]int{"x": 1}, `{"x":1}`}, {"keys to escape", map[string]int{"\"\x1e": 1}, `{"\"\u001e":1}`},
		{"text keys", map[keyT]int{{2, 1}: 1, {1, 2}: 2}, `{"1/2":2,"2/1":1}`}, {"text of an int key", map[keyInt]int{1: 1}, `{"key 1":1}`},
		{"map of maps", map[string]map[string]any{"a": {"b": nil}, "c": nil}, `{"a":{"b":null},"c":null}`},

		{"pointer", pointer(5), `5`}, {"nil pointer", (*int)(nil), `null`}, {"pointer to a pointer", pointer(pointer("x")), `"x"`}, {"pointer to a nil pointer", pointer((*int)(nil)), `null`},
		{"pointer to any", pointer[any](5), `5`}, {"pointer to nil any", pointer[any](nil), `null`}, {"nil error", noError, `null`}, {"pointer to a struct", &Plain{"x"}, `{"id":"x"}`},

		{"value receiver", valueM{"x"}, `"value x"`}, {"value receiver of a pointer", &valueM{"x"}, `"value x"`}, {"nil pointer, value receiver", (*valueM)(nil), `null`},
		{"pointer receiver", &pointerM{"x"}, `"pointer x"`}, {"nil pointer, pointer receiver", (*pointerM)(nil), `null`},
		// As in encoding/json: without an address there is no pointer receiver.
		{"pointer receiver of a value", pointerM{"x"}, `{"s":"x"}`}, {"pointer receivers in a slice", []pointerM{{"x"}}, `["pointer x"]`}, {"pointer receivers in a map", map[string]pointerM{"a": {"x"}}, `{"a":{"s":"x"}}`},
		{"pointer receivers in a map of pointers", map[string]*pointerM{"a": {"x"}, "b": nil}, `{"a":"pointer x","b":null}`}, {"pointer receiver in a struct", struct{ P pointerM }{pointerM{"x"}}, `{"p":{"s":"x"}}`},
		{"pointer receiver in a pointer to a struct", &struct{ P pointerM }{pointerM{"x"}}, `{"p":"pointer x"}`},
		{"text of a value", valueT{"x"}, `"value text x"`}, {"text of a pointer to a value", &valueT{"x"}, `"value text x"`}, {"text of a pointer", &pointerT{"x"}, `"pointer text x"`},
		{"text of a pointer, of a value", pointerT{"x"}, `{"s":"x"}`}, {"texts of pointers in a slice", []pointerT{{"x"}}, `["pointer text x"]`}, {"text to escape", valueT{"\"\x1e\xff"}, `"value text \"\u001e\ufffd"`},
		{"JSON before text", []bothMT{{"x"}}, `["json x"]`}, {"text without an address for JSON", bothMT{"x"}, `"text x"`},
		{"int that writes itself", intM(5), `[5]`}, {"map that writes itself", mapM{"a": 1}, `1`}, {"nil map that writes itself", mapM(nil), `0`}, {"nil slice that writes itself", sliceM(nil), `0`},
		{"in any", []any{valueM{"x"}, &pointerM{"y"}, valueT{"z"}}, `["value x","pointer y","value text z"]`},
		{"made compact", dirty{}, `{"a":"\u003c\u2028\u003e"}`},
		{"raw message", json.RawMessage(`{"a" : 1}`), `{"a":1}`}, {"nil raw message", json.RawMessage(nil), `null`}, {"number", json.Number("1.50"), `1.50`}, {"empty number", json.Number(""), `0`},
		{"time", time.Date(2000, 1, 2, 3, 4, 5, 0, time.UTC), `"2000-01-02T03:04:05Z"`}, {"address", netip.MustParseAddr("::1"), `"::1"`}, {"zero address", netip.Addr{}, `""`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := encoded(t, test.v)
			if test.name == "made compact" { // whichever way it is escaped
				assert.Equal(t, jsonOf(t, test.want), jsonOf(t, got))
				assert.NotContains(t, got, " ")
				return
			}
			assert.Equal(t, test.want, got)
		})
	}
}

func TestValuesWithoutAForm(t *testing.T) {
	var zero keyT
	for name, v := range map[string]any{
		"NaN": math.NaN(), "infinity": math.Inf(1), "minus infinity": math.Inf(-1), "float32 infinity": float32(math.Inf(1)), "NaN in a slice": []float64{1, math.NaN()},
		"NaN in any": []any{math.NaN()}, "NaN in a struct": struct{ F float32 }{float32(math.NaN())}, "NaN behind a pointer": pointer(math.NaN()), "NaN in a map": map[string]any{"a": math.NaN()},
		"function": func() {}, "channel": make(chan int), "complex": 1i, "function in a struct": struct{ F func() }{}, "key that is a float": map[float64]int{1: 1}, "key that is a bool": map[bool]int{true: 1},
		"key that is any": map[any]int{"a": 1}, "key that is a struct": map[struct{ keyT int }]int{{1}: 1}, "broken JSON": broken{}, "raw separator in JSON": raw{}, "bad number": json.Number("x"),
		"bad raw message": json.RawMessage("{"), "separator in a raw message": json.RawMessage("\"\x1e\""), "separator within a raw message": json.RawMessage("[1,\x1e2]"), "zero key": map[*keyT]any{&zero: math.NaN()},
	} {
		_, err := encode(v)
		assert.Error(t, err, name)
	}
}

type (
	valueZero struct {
		V int `json:"v"`
	}
	pointerZero struct {
		V int `json:"v"`
	}
	hidden struct {
		V int `json:"v"`
	}
	zeroer interface{ IsZero() bool }
)

func (z valueZero) IsZero() bool    { return z.V == 1 }
func (z *pointerZero) IsZero() bool { return z.V == 1 }

// tagged has a field for each option and kind.
type tagged struct {
	S   string            `json:"s,omitempty"`
	I   int               `json:"i,omitempty"`
	F   float64           `json:"f,omitempty"`
	B   bool              `json:"b,omitempty"`
	P   *int              `json:"p,omitempty"`
	A   any               `json:"a,omitempty"`
	L   []int             `json:"l,omitempty"`
	M   map[string]int    `json:"m,omitempty"`
	Arr [0]int            `json:"arr,omitempty"`
	Ar2 [2]int            `json:"ar2,omitempty"`
	St  struct{}          `json:"st,omitempty"`
	T   time.Time         `json:"t,omitempty"`
	ZS  string            `json:"zs,omitzero"`
	ZL  []int             `json:"zl,omitzero"`
	ZM  map[string]string `json:"zm,omitzero"`
	ZA  [2]int            `json:"za,omitzero"`
	ZSt hidden            `json:"zst,omitzero"`
	ZT  time.Time         `json:"zt,omitzero"`
	ZP  *time.Time        `json:"zp,omitzero"`
	ZB  valueZero         `json:"zb,omitzero"`
	ZBP *valueZero        `json:"zbp,omitzero"`
	QI  int               `json:"qi,string"`
	QS  string            `json:"qs,string"`
	QB  bool              `json:"qb,string"`
	QF  float32           `json:"qf,string"`
	QP  *int64            `json:"qp,string"`
	QN  json.Number       `json:"qn,string"`
	QL  []int             `json:"ql,string"`
	QA  any               `json:"qa,string"`
	QO  uint8             `json:"qo,omitempty,string"`
	QPP **int             `json:"qpp,string"`
}

func TestOptionsAgree(t *testing.T) {
	five, now := 5, time.Now()
	for name, v := range map[string]any{
		"all zero": tagged{},
		"all set": tagged{
			S: "s", I: 1, F: 0.5, B: true, P: new(int), A: 0, L: []int{0}, M: map[string]int{"": 0}, Ar2: [2]int{1, 2}, T: now,
			ZS: "s", ZL: []int{1}, ZM: map[string]string{"a": ""}, ZA: [2]int{0, 1}, ZSt: hidden{1}, ZT: now, ZP: &now, ZB: valueZero{2}, ZBP: &valueZero{2},
			QI: -1, QS: "\"q\"", QB: true, QF: 0.1, QP: pointer(int64(math.MaxInt64)), QN: "12", QL: []int{1}, QA: 1, QO: 1, QPP: pointer(&five),
		},
		"empty but not zero":   tagged{A: "", L: []int{}, M: map[string]int{}, ZL: []int{}, ZM: map[string]string{}, ZP: &time.Time{}, QA: "x", QPP: new(*int)},
		"zero by its own word": tagged{ZB: valueZero{1}, ZBP: &valueZero{1}, QN: "1.5"},
		"minus zero":           tagged{F: math.Copysign(0, -1), QF: float32(math.Copysign(0, -1))},
		"bad number":           tagged{QN: "x"},

		"pointer receiver of IsZero": struct {
			Z pointerZero `json:"z,omitzero"`
		}{pointerZero{1}},
		"pointer receiver of IsZero, with an address": &struct {
			Z pointerZero `json:"z,omitzero"`
		}{pointerZero{1}},
		"pointer receiver of IsZero, not zero by its word": struct {
			Z pointerZero `json:"z,omitzero"`
		}{},
		"the zero of an interface is nil": struct {
			Z any `json:"z,omitzero"`
		}{time.Time{}},
		"interface with IsZero": struct {
			Z zeroer `json:"z,omitzero"`
		}{time.Time{}},
		"interface with IsZero, nil": struct {
			Z zeroer `json:"z,omitzero"`
		}{},
		"interface with IsZero, nil within": struct {
			Z zeroer `json:"z,omitzero"`
		}{(*pointerZero)(nil)},
		"embedded, not exported, omitzero": struct {
			hidden `json:"h,omitzero"`
		}{},
		"embedded, not exported, omitzero, with a value": struct {
			hidden `json:"h,omitzero"`
		}{hidden{1}},
		"string option of an int that writes itself": struct {
			M intM  `json:"m,string"`
			N *intM `json:"n,string"`
		}{5, pointer(intM(6))},
		"string option of an int that writes itself by its address": &struct {
			M intPM `json:"m,string"`
		}{5},
		"string option of an int with a text": struct {
			T intT `json:"t,string"`
		}{5},
		"string option of any": struct {
			A any `json:"a,string"`
		}{true},
		"unknown options": struct {
			A int `json:"a,omitnothing,string,omitempty"`
		}{1},
		"odd names": struct {
			A int `json:"a b"`
			B int `json:"ä/.#$%&*+-:;<=>?@[]^_{|}~"`
			C int `json:"1"`
		}{},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() { // a panic here would keep the other tests from running
				if p := recover(); p != nil {
					t.Errorf("panic: %v", p)
				}
			}()
			agrees(t, v)
			agrees(t, reflectPointer(v))
			agrees(t, []any{v, map[string]any{"x": v}})
		})
	}
}

func TestNamesThatAreNone(t *testing.T) {
	// What encoding/json does not take for a name leaves the field with its own.
	for _, tag := range []string{`a'b`, `a\"b`, `a\\b`, `a\tb`} {
		typ := reflect.StructOf([]reflect.StructField{{Name: "SomeName", Type: reflect.TypeFor[int](), Tag: reflect.StructTag(`json:"` + tag + `"`)}})
		std, err := json.Marshal(reflect.Zero(typ).Interface())
		require.NoError(t, err)
		require.Equal(t, `{"SomeName":0}`, string(std))
		assert.Equal(t, `{"someName":0}`, encoded(t, reflect.Zero(typ).Interface()), tag)
	}
}

type (
	TA struct {
		X int `json:"x"`
		Y int `json:"y"`
	}
	TB struct {
		X int `json:"x"`
		Z int `json:"z"`
	}
	TC struct {
		TA
		Y int `json:"y"`
	}
	TD struct {
		*TA
		*TB
	}
	TE struct {
		TA `json:"ta"`
		*TE
		N int `json:"n"`
	}
	TF struct {
		*TC
		*TA
	}
	TG struct {
		*TD
		*TC
	}
)

func TestEmbeddedAgrees(t *testing.T) {
	a, b := TA{1, 2}, TB{3, 4}
	for _, v := range []any{
		a, TC{a, 5}, TD{&a, &b}, TD{&a, nil}, TD{}, TE{TA: a, N: 1}, TE{TA: a, TE: &TE{N: 2}, N: 1}, TF{&TC{a, 5}, &TA{6, 7}}, TF{&TC{a, 5}, nil}, TG{&TD{&a, &b}, &TC{a, 5}}, TG{},
		struct {
			TA
			TB `json:"tb"`
		}{a, b},
		struct {
			*TF `json:"-"`
			*TG
		}{},
	} {
		agrees(t, v)
		agrees(t, reflectPointer(v))
	}
}

// drawType generates a type. Tags name the fields of its structs if tagged is set.
func drawType(t *rapid.T, depth int, tagged bool) reflect.Type {
	leaves := []reflect.Type{
		reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[int64](), reflect.TypeFor[uint](), reflect.TypeFor[uint8](), reflect.TypeFor[uint64](),
		reflect.TypeFor[float32](), reflect.TypeFor[float64](), reflect.TypeFor[string](), reflect.TypeFor[[]byte](), reflect.TypeFor[any](), reflect.TypeFor[text](), reflect.TypeFor[small](),
		reflect.TypeFor[json.Number](), reflect.TypeFor[time.Time](),
	}
	if tagged { // these do not read back what they write
		leaves = append(leaves, reflect.TypeFor[valueM](), reflect.TypeFor[*pointerM](), reflect.TypeFor[valueT](), reflect.TypeFor[*pointerT](), reflect.TypeFor[intM](), reflect.TypeFor[intT](),
			reflect.TypeFor[valueZero](), reflect.TypeFor[mapM](), reflect.TypeFor[[]octetM](), reflect.TypeFor[json.RawMessage]())
	}
	inner := func() reflect.Type { return drawType(t, depth-1, tagged) }
	kinds := []string{"leaf"}
	if depth > 0 {
		kinds = []string{"leaf", "pointer", "slice", "array", "map", "struct", "struct"}
	}
	switch rapid.SampledFrom(kinds).Draw(t, "kind") {
	case "pointer":
		to := inner()
		switch to.Kind() {
		case reflect.Pointer, reflect.Interface, reflect.Slice, reflect.Map:
			if !tagged { // null means the outer one, so that a pointer to nil does not come back
				return to
			}
		}
		return reflect.PointerTo(to)
	case "slice":
		return reflect.SliceOf(inner())
	case "array":
		return reflect.ArrayOf(rapid.IntRange(0, 3).Draw(t, "length"), inner())
	case "map":
		keys := []reflect.Type{reflect.TypeFor[string](), reflect.TypeFor[int](), reflect.TypeFor[uint8](), reflect.TypeFor[text]()}
		if tagged {
			keys = append(keys, reflect.TypeFor[keyT](), reflect.TypeFor[keyInt]())
		}
		return reflect.MapOf(rapid.SampledFrom(keys).Draw(t, "key"), inner())
	case "struct":
		return drawStruct(t, depth, tagged)
	}
	return rapid.SampledFrom(leaves).Draw(t, "leaf")
}

func drawStruct(t *rapid.T, depth int, tagged bool) reflect.Type {
	var fields []reflect.StructField
	for i := range rapid.IntRange(0, 5).Draw(t, "fields") {
		name := ""
		if tagged {
			name = rapid.SampledFrom([]string{"name", "Name", "na me", "näme", "n<>&"}).Draw(t, "name") + strconv.Itoa(i)
		}
		choice := []string{"", ",omitempty", ",string", ",omitempty,string"}
		if tagged { // what is omitted for being zero may come back from what is not, but is written as {}
			choice = append(choice, ",omitzero", ",omitzero,string")
		}
		options := rapid.SampledFrom(choice).Draw(t, "options")
		fields = append(fields, reflect.StructField{
			Name: rapid.SampledFrom([]string{"Field", "URL", "ID"}).Draw(t, "field") + strconv.Itoa(i), Type: drawType(t, depth-1, tagged),
			Tag: reflect.StructTag(fmt.Sprintf("json:%q", name+options)),
		})
	}
	return reflect.StructOf(fields)
}

func drawText(t *rapid.T, valid bool) string {
	if valid || rapid.Bool().Draw(t, "valid") {
		return rapid.String().Draw(t, "text")
	}
	return string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
}

// fill gives v, which is settable, a value. If plain is set, it is one that encoding and binding bring back.
func fill(t *rapid.T, v reflect.Value, depth int, plain bool) {
	switch v.Interface().(type) {
	case json.Number:
		v.SetString(rapid.SampledFrom([]string{"0", "-1.5", "1e3", "12345678901234567890"}).Draw(t, "number"))
		return
	case json.RawMessage:
		v.SetBytes([]byte(rapid.SampledFrom([]string{"null", "1", ` {"a" : [1, "x"]} `, `"<"`}).Draw(t, "raw")))
		return
	case time.Time:
		v.Set(reflect.ValueOf(rapid.SampledFrom([]time.Time{{}, time.Unix(1e9, 5).UTC()}).Draw(t, "time")))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, "int") >> (64 - v.Type().Bits()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(rapid.Uint64().Draw(t, "uint") >> (64 - v.Type().Bits()))
	case reflect.Float32:
		v.SetFloat(float64(rapid.Float32().Draw(t, "float")))
	case reflect.Float64:
		v.SetFloat(rapid.Float64().Draw(t, "float"))
	case reflect.String:
		v.SetString(drawText(t, plain))
	case reflect.Pointer:
		if rapid.Bool().Draw(t, "set") {
			v.Set(reflect.New(v.Type().Elem()))
			fill(t, v.Elem(), depth-1, plain)
		}
	case reflect.Interface:
		inner := rapid.SampledFrom([]reflect.Type{
			nil, reflect.TypeFor[string](), reflect.TypeFor[float64](), reflect.TypeFor[bool](), reflect.TypeFor[[]any](), reflect.TypeFor[map[string]any](),
		}).Draw(t, "dynamic type")
		if inner != nil && depth > -3 {
			value := reflect.New(inner).Elem()
			fill(t, value, depth-1, plain)
			if plain && (inner.Kind() == reflect.Slice || inner.Kind() == reflect.Map) && value.IsNil() {
				return // null brings back a nil without a type
			}
			v.Set(value)
		}
	case reflect.Slice:
		if rapid.Bool().Draw(t, "set") {
			v.Set(reflect.MakeSlice(v.Type(), rapid.IntRange(0, 3).Draw(t, "length"), 3))
		}
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i), depth-1, plain)
		}
	case reflect.Map:
		if !rapid.Bool().Draw(t, "set") {
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		for range rapid.IntRange(0, 3).Draw(t, "length") {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(t, key, depth-1, true) // keys that are no UTF-8 may become equal
			fill(t, value, depth-1, plain)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), depth-1, plain)
		}
	}
}

func TestAgreesWithEncodingJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := reflect.New(drawType(t, 3, true)).Elem()
		fill(t, v, 3, false)
		agrees(t, v.Interface())
		agrees(t, v.Addr().Interface())
	})
}

func TestEncodedValuesBindBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := reflect.New(drawStruct(t, 3, false)).Elem()
		fill(t, v, 3, true)
		text := encoded(t, v.Interface())
		back := reflect.New(v.Type()).Elem()
		require.NoError(t, hubproto.JSON.BindArguments([]byte("["+text+"]"), []reflect.Value{back}), text)
		require.Equal(t, text, encoded(t, back.Interface()))
	})
}

// node is a list. Each of its nodes is one object more.
type node struct {
	Next *node `json:"next"`
}

func listOf(n int) *node {
	var head *node
	for range n {
		head = &node{head}
	}
	return head
}

func nestedSlices(n int) any {
	var v any = 1
	for range n {
		v = []any{v}
	}
	return v
}

func nestedMaps(n int) any {
	var v any = "x"
	for range n {
		v = map[string]any{"a": v}
	}
	return v
}

func nestedTypes(n int) any {
	v := reflect.ValueOf(1)
	for range n {
		slice := reflect.MakeSlice(reflect.SliceOf(v.Type()), 1, 1)
		slice.Index(0).Set(v)
		v = slice
	}
	return v.Interface()
}

func TestEncodeDepth(t *testing.T) {
	// What is written can be read: the limit counts arrays and objects, as the parser's does, the message itself included.
	for name, nest := range map[string]func(n int) any{
		"list": func(n int) any { return listOf(n) }, "slices": nestedSlices, "maps": nestedMaps, "typed slices": nestedTypes,
	} {
		for _, depth := range []int{1, 2, 31, 32, 33, 61, 62, 63, 64, 65, 66, 200} {
			t.Run(fmt.Sprintf("%d %s", depth, name), func(t *testing.T) {
				v := nest(depth)
				result, err := hubproto.JSON.AppendResult(nil, []byte("1"), v)
				if depth > hubproto.MaxDepth-1 {
					assert.Error(t, err, "result")
				} else if assert.NoError(t, err, "result") {
					var m hubproto.Message
					assert.NoError(t, hubproto.JSON.Parse(result, &m))
				}
				call, err := hubproto.JSON.AppendInvocation(nil, nil, "T", []any{1, v})
				if depth > hubproto.MaxDepth-2 {
					assert.Error(t, err, "argument")
				} else if assert.NoError(t, err, "argument") {
					var m hubproto.Message
					assert.NoError(t, hubproto.JSON.Parse(call, &m))
				}
			})
		}
	}
}

func TestWhatWasReadCanBeWritten(t *testing.T) {
	// The deepest argument that the parser takes, sent on as it is.
	text := strings.Repeat(`[{"a":`, 31) + "1" + strings.Repeat("}]", 31)
	record := []byte(`{"type":1,"target":"T","arguments":[` + text + `]}` + "\x1e")
	var m hubproto.Message
	require.NoError(t, hubproto.JSON.Parse(record, &m))
	var v any
	require.NoError(t, hubproto.JSON.BindArguments(m.Arguments, []reflect.Value{reflect.ValueOf(&v).Elem()}))
	again, err := hubproto.JSON.AppendInvocation(nil, nil, "T", []any{v})
	require.NoError(t, err)
	assert.Equal(t, string(record), string(again))
}

type loop *loop

func TestCyclesEnd(t *testing.T) {
	self := &node{}
	self.Next = self
	slice := []any{1, nil, nil}
	slice[1], slice[2] = slice, slice
	dict := map[string]any{}
	dict["a"], dict["b"] = dict, []any{dict}
	var value any
	value = &value
	var l loop
	l = &l
	type list []list
	own := make(list, 2)
	own[0], own[1] = own, own
	for name, v := range map[string]any{"pointer": self, "slice": slice, "map": dict, "any": value, "pointer to itself": l, "slice of itself": own, "in a struct": struct{ A any }{self}} {
		for _, dst := range [][]byte{nil, []byte("before")} {
			got, err := hubproto.JSON.AppendResult(dst, []byte("1"), v)
			assert.Error(t, err, name)
			assert.Equal(t, string(dst), string(got), name)
			got, err = hubproto.JSON.AppendInvocation(dst, nil, "T", []any{v})
			assert.Error(t, err, name)
			assert.Equal(t, string(dst), string(got), name)
		}
	}
}

func TestEncodersAreMadeConcurrently(t *testing.T) {
	// Every type is new to the caches when all of them meet it.
	var all sync.WaitGroup
	for round := range 20 {
		typ := reflect.StructOf([]reflect.StructField{
			{Name: fmt.Sprintf("Round%d", round), Type: reflect.TypeFor[int]()},
			{Name: "Inner", Type: reflect.StructOf([]reflect.StructField{{Name: fmt.Sprintf("Inner%d", round), Type: reflect.TypeFor[*node]()}})},
		})
		want := fmt.Sprintf(`{"round%d":0,"inner":{"inner%d":null}}`, round, round)
		for range 4 {
			all.Go(func() {
				v := reflect.New(typ).Elem()
				assert.Equal(t, want, encoded(t, v.Interface()))
				assert.NoError(t, hubproto.JSON.BindArguments([]byte("["+want+"]"), []reflect.Value{v}))
			})
		}
	}
	all.Wait()
}

func TestNothingIsWrittenBehindTheBuffer(t *testing.T) {
	// The buffer of one message is followed by what others have written.
	memory := bytes.Repeat([]byte("x"), 100)
	dst := memory[:0:10]
	_, err := hubproto.JSON.AppendResult(dst, []byte("1"), strings.Repeat("long", 20))
	require.NoError(t, err)
	assert.Equal(t, strings.Repeat("x", 90), string(memory[10:]))
}
