package hubproto_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// camelPack names fields as JSON does.
var camelPack = hubproto.MessagePackOptions{CamelCase: true}.Protocol()

// stage is an enumeration that has names.
type stage int

var (
	stageNames = []string{"", "open", "at work", "fertig ✔", "done"}
	errNoStage = errors.New("no such stage")
)

func (s stage) MarshalText() ([]byte, error) {
	if s < 0 || int(s) >= len(stageNames) {
		return nil, errNoStage
	}
	return []byte(stageNames[s]), nil
}

func (s *stage) UnmarshalText(text []byte) error {
	for i, name := range stageNames {
		if name == string(text) {
			*s = stage(i)
			return nil
		}
	}
	return errNoStage
}

type (
	// sample has a field of each kind that the protocols write in their own ways.
	sample struct {
		Flag    bool
		I8      int8
		I16     int16
		I32     int32
		I64     int64
		Int     int `json:"int,omitempty"`
		U8      uint8
		U16     uint16
		U32     uint32
		U64     uint64
		F32     float32
		F64     float64 `json:"ratio"`
		Text    string
		Named   text `json:"näme"`
		Bytes   []byte
		Octets  [3]byte
		Ints    []int
		Texts   []string `json:",omitempty"`
		Lists   [][]float64
		ByName  map[string]string
		ByNum   map[int8]stage
		ByStage map[stage]*person
		P       *int
		PP      **string
		Who     person
		Whom    *person
		Crowd   []person
		Inner   *sample `json:"inner,omitempty"`
		At      time.Time
		Until   *time.Time `json:"until,omitzero"`
		Times   []time.Time
		Stage   stage
		Stages  []stage
		Quoted  uint64 `json:"quoted,string"`
		QP      *int32 `json:",string"`
		Lasting time.Duration
		Any     any
		More    []any
		ByKey   map[string]any
		Base
		*Deeper2
		Last any
	}
	Deeper2 struct{ Depth uint16 }
)

// source makes values of bytes. When they are used up, all that it gives is zero.
type source struct {
	rest   []byte
	hidden int // interfaces around what is being made
}

func (s *source) byte() byte {
	if len(s.rest) == 0 {
		return 0
	}
	b := s.rest[0]
	s.rest = s.rest[1:]
	return b
}

func (s *source) below(n int) int { return int(s.byte()) % n }
func (s *source) bool() bool      { return s.byte()&1 == 1 }

func (s *source) bytes(n int) []byte {
	b := make([]byte, n)
	s.rest = s.rest[copy(b, s.rest):]
	return b
}

// number gives numbers of all sizes, and those at their borders.
func (s *source) number() uint64 {
	switch c := s.byte(); c % 8 {
	case 0, 1:
		return uint64(s.byte())
	case 2:
		return -uint64(s.byte())
	case 3:
		return uint64(1)<<(c/8) - uint64(s.byte()%3) + 1
	case 4:
		return -(uint64(1)<<(c/8+32) - uint64(s.byte()%3) + 1)
	case 5:
		return uint64(1)<<(c/8+32) - uint64(s.byte()%3) + 1
	case 6:
		return uint64(binary.BigEndian.Uint32(s.bytes(4)))
	}
	return binary.BigEndian.Uint64(s.bytes(8))
}

func (s *source) float() float64 {
	var f float64
	switch s.below(4) {
	case 0:
		f = float64(int64(s.number()))
	case 1:
		f = float64(int64(s.number())) / 1000
	case 2:
		f = []float64{0, math.Copysign(0, -1), 0.1, math.MaxFloat64, math.SmallestNonzeroFloat64, 1e21, 1e-7, math.Pi}[s.below(8)]
	case 3:
		f = math.Float64frombits(s.number())
	}
	if math.IsNaN(f) || math.IsInf(f, 0) { // not in JSON
		return 1.5
	}
	return f
}

func (s *source) text() string {
	if s.below(4) == 0 {
		return []string{"", "é", "汉字", "😀", "\x1e", "null", `\ud83d`, "<&>'\"\\", "\u2028\u0000\ufeff", strings.Repeat("x", 31), strings.Repeat("é", 16), strings.Repeat("x", 256), "true", "5", "\n\r\t\b\f"}[s.below(15)]
	}
	return strings.ToValidUTF8(string(s.bytes(s.below(40))), "?") // JSON replaces what is no UTF-8
}

func (s *source) time() time.Time {
	seconds := int64(s.number())
	if seconds < -62135596800 || seconds > 253402300799 { // JSON has the years 1 to 9999
		seconds %= 1 << 35
	}
	if seconds < -62135596800 || s.below(8) == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, int64(binary.BigEndian.Uint32(s.bytes(4))%1e9)*int64(s.below(2))).UTC()
}

// any gives what a sender can put into an interface.
func (s *source) any(depth int) any {
	s.hidden++
	defer func() { s.hidden-- }()
	n := 12
	if depth <= 0 {
		n = 9
	}
	switch s.below(n) {
	case 0:
		return nil
	case 1:
		return s.bool()
	case 2:
		return s.text()
	case 3:
		return s.float()
	case 4:
		return int64(s.number())
	case 5:
		return s.number()
	case 6:
		return int(s.number())
	case 7:
		return s.time()
	case 8:
		return s.bytes(s.below(6))
	case 9:
		list := make([]any, s.below(4))
		for i := range list {
			list[i] = s.any(depth - 1)
		}
		return list
	case 10:
		m := map[string]any{}
		for range s.below(4) {
			m[s.text()] = s.any(depth - 1)
		}
		return m
	}
	v := reflect.New(differentialTypes[s.below(len(differentialTypes))]).Elem()
	s.fill(v, depth-1)
	return v.Interface()
}

// fill gives v, which is settable, a value.
func (s *source) fill(v reflect.Value, depth int) {
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(s.time()))
		return
	case stage:
		v.SetInt(int64(s.below(len(stageNames))))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(s.bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(s.number()) << (64 - v.Type().Bits()) >> (64 - v.Type().Bits()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(s.number() << (64 - v.Type().Bits()) >> (64 - v.Type().Bits()))
	case reflect.Float32:
		if s.hidden > 0 { // who does not know its type reads the 32 bits, or the few digits that stand for them
			v.SetFloat(float64(int8(s.byte())) / 4)
		} else if f := float32(s.float()); !math.IsInf(float64(f), 0) {
			v.SetFloat(float64(f))
		}
	case reflect.Float64:
		v.SetFloat(s.float())
	case reflect.String:
		v.SetString(s.text())
	case reflect.Pointer:
		if depth > 0 && s.bool() {
			v.Set(reflect.New(v.Type().Elem()))
			s.fill(v.Elem(), depth-1)
			if k := v.Elem().Kind(); (k == reflect.Pointer || k == reflect.Interface) && v.Elem().IsNil() {
				v.SetZero() // null means the outer one
			}
		}
	case reflect.Interface:
		if value := s.any(depth - 1); value != nil {
			v.Set(reflect.ValueOf(value))
		}
	case reflect.Slice:
		if depth > 0 && s.bool() {
			n := s.below(4)
			v.Set(reflect.MakeSlice(v.Type(), n, n))
		}
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			s.fill(v.Index(i), depth-1)
		}
	case reflect.Map:
		if depth <= 0 || !s.bool() {
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		for range s.below(4) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			s.fill(key, depth-1)
			s.fill(value, depth-1)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if len(s.rest) == 0 {
				return
			}
			s.fill(v.Field(i), depth-1)
		}
	}
}

var differentialTypes = []reflect.Type{
	reflect.TypeFor[sample](), reflect.TypeFor[*sample](), reflect.TypeFor[[]sample](), reflect.TypeFor[map[string]sample](), reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[int16](), reflect.TypeFor[int32](), reflect.TypeFor[int64](),
	reflect.TypeFor[uint](), reflect.TypeFor[uint8](), reflect.TypeFor[uint16](), reflect.TypeFor[uint32](), reflect.TypeFor[uint64](), reflect.TypeFor[float32](), reflect.TypeFor[float64](), reflect.TypeFor[string](), reflect.TypeFor[text](), reflect.TypeFor[[]byte](), reflect.TypeFor[bytesOf](),
	reflect.TypeFor[[3]byte](), reflect.TypeFor[[][]byte](), reflect.TypeFor[[]int](), reflect.TypeFor[[]string](), reflect.TypeFor[[2][]bool](), reflect.TypeFor[map[string]int](), reflect.TypeFor[map[uint16]string](), reflect.TypeFor[map[string][]map[string]*int](),
	reflect.TypeFor[*int](), reflect.TypeFor[***string](), reflect.TypeFor[[]*bool](), reflect.TypeFor[time.Time](), reflect.TypeFor[*time.Time](), reflect.TypeFor[[]time.Time](), reflect.TypeFor[map[string]time.Time](), reflect.TypeFor[time.Duration](), reflect.TypeFor[stage](),
	reflect.TypeFor[*stage](), reflect.TypeFor[[]stage](), reflect.TypeFor[map[stage]stage](), reflect.TypeFor[person](), reflect.TypeFor[outer2](), reflect.TypeFor[contacts](), reflect.TypeFor[renamed2](), reflect.TypeFor[Chain](), reflect.TypeFor[struct{}](), reflect.TypeFor[any](), reflect.TypeFor[[]any](), reflect.TypeFor[map[string]any](),
}

type (
	outer2 struct {
		*Base
		Extra int
	}
	renamed2 struct {
		UserID  int `json:"uid"`
		URLPath string
		Quoted  int     `json:",string"`
		Ratio   float64 `json:",omitempty,string"`
	}
)

// alike gives a value in the form in which both protocols have it: in an interface, JSON has float64 for all numbers, and strings for
// bytes and times.
func alike(v any) any {
	rv := reflect.New(reflect.TypeOf(&v).Elem()).Elem()
	if v != nil {
		rv.Set(reflect.ValueOf(v))
	}
	return alikeValue(rv).Interface()
}

func alikeValue(v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.Interface:
		switch x := v.Interface().(type) {
		case nil:
		case int64:
			out.Set(reflect.ValueOf(float64(x)))
		case uint64:
			out.Set(reflect.ValueOf(float64(x)))
		case []byte:
			out.Set(reflect.ValueOf(base64.StdEncoding.EncodeToString(x)))
		case time.Time:
			out.Set(reflect.ValueOf(x.Format(time.RFC3339Nano)))
		default:
			out.Set(alikeValue(reflect.ValueOf(x)))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			out.Set(reflect.New(v.Type().Elem()))
			out.Elem().Set(alikeValue(v.Elem()))
		}
	case reflect.Slice:
		if !v.IsNil() {
			out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
		}
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			out.Index(i).Set(alikeValue(v.Index(i)))
		}
	case reflect.Map:
		if !v.IsNil() {
			out.Set(reflect.MakeMap(v.Type()))
			for iter := v.MapRange(); iter.Next(); {
				out.SetMapIndex(iter.Key(), alikeValue(iter.Value()))
			}
		}
	case reflect.Struct:
		out.Set(v)
		for i := range v.NumField() {
			if out.Field(i).CanSet() {
				out.Field(i).Set(alikeValue(v.Field(i)))
			}
		}
	default:
		out.Set(v)
	}
	return out
}

// requireAlike sends args in both protocols, and checks that the same call with the same values arrives.
func requireAlike(t require.TestingT, id []byte, target string, args []any) {
	bound := map[hubproto.Protocol][]any{}
	views := map[hubproto.Protocol]view{}
	for _, p := range []hubproto.Protocol{hubproto.JSON, camelPack} {
		record, err := p.AppendInvocation(nil, id, target, args)
		require.NoError(t, err, p.Name())
		n, err := p.Next(record, 0, 0)
		require.NoError(t, err)
		require.Equal(t, len(record), n)
		var m hubproto.Message
		require.NoError(t, p.Parse(record, &m), "%s %x", p.Name(), record)
		v := viewOf(&m)
		v.Arguments = ""
		views[p] = v
		params := make([]reflect.Value, len(args))
		for i, arg := range args {
			typ := reflect.TypeFor[any]()
			if arg != nil {
				typ = reflect.TypeOf(arg)
			}
			params[i] = reflect.New(typ).Elem()
		}
		require.NoError(t, causeOf(p.BindArguments(m.Arguments, params)), "%s %T %+v", p.Name(), args[0], args)
		for _, param := range params {
			bound[p] = append(bound[p], alike(param.Interface()))
		}
	}
	require.Equal(t, view{Type: hubproto.Invocation, ID: string(id), Target: target}, views[hubproto.JSON])
	require.Equal(t, views[hubproto.JSON], views[camelPack])
	require.Equal(t, bound[hubproto.JSON], bound[camelPack])
}

func causeOf(err error) error {
	if cause := errors.Unwrap(err); cause != nil {
		return cause
	}
	return err
}

func FuzzProtocolsAgree(f *testing.F) {
	for i := range differentialTypes {
		f.Add([]byte{0, byte(i), 3, 'a', 'b', 'c', 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16})
	}
	f.Add(bytes.Repeat([]byte{1, 3, 5, 7, 11, 13, 255, 129, 17, 33, 0, 8}, 80))
	f.Add(bytes.Repeat([]byte{0, 0, 1, 251, 37, 1, 99}, 200))
	for i := range 9 {
		f.Add([]byte{byte(200 + i), 5, 'h', 'e', 'l', 'l', 'o', 1, 1, 3, 3, 7, 1, 2, 3, 4, 5, 6, 7, 8})
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &source{rest: data}
		if kind := s.byte(); kind >= 200 {
			requireEnvelopesAlike(t, s, hubproto.Type(kind-200)%9+1)
			return
		}
		n := 1 + s.below(len(differentialTypes))
		args := make([]any, 1+s.below(3))
		for i := range args {
			v := reflect.New(differentialTypes[(n+i*7)%len(differentialTypes)]).Elem()
			s.fill(v, 4)
			args[i] = v.Interface()
		}
		id := []byte(s.text())
		requireAlike(t, id, s.text(), args)
	})
}

// requireEnvelopesAlike writes a message in both protocols, and checks that the same comes back.
func requireEnvelopesAlike(t *testing.T, s *source, typ hubproto.Type) {
	v := view{Type: typ}
	if typ <= hubproto.CancelInvocation {
		v.ID = s.text()
		if v.ID == "" && typ != hubproto.Invocation {
			v.ID = "1"
		}
	}
	values := map[hubproto.Protocol]string{hubproto.JSON: "5", camelPack: "\x05"}
	lists := map[hubproto.Protocol]string{hubproto.JSON: "[]", camelPack: "\x90"}
	headers := map[hubproto.Protocol]string{hubproto.JSON: `{"a":"b"}`, camelPack: "\x81\xa1a\xa1b"}
	hasValue, hasHeaders := false, typ <= hubproto.CancelInvocation && s.bool()
	switch typ {
	case hubproto.Invocation, hubproto.StreamInvocation:
		v.Target = s.text()
		for range s.below(4) {
			v.StreamIDs = append(v.StreamIDs, s.text())
		}
	case hubproto.StreamItem:
		hasValue = true
	case hubproto.Completion:
		if v.HasError = s.bool(); v.HasError {
			v.Error = s.text()
		} else {
			hasValue = s.bool()
		}
	case hubproto.Close:
		if v.HasError = s.bool(); v.HasError {
			v.Error = s.text()
		}
		v.AllowReconnect = s.bool()
	case hubproto.Ack, hubproto.Sequence:
		v.SequenceID = int64(s.number())
	}
	for _, p := range []hubproto.Protocol{hubproto.JSON, camelPack} {
		in := v
		if hasValue {
			in.Value = values[p]
		}
		if hasHeaders {
			in.Headers = headers[p]
		}
		if typ == hubproto.Invocation || typ == hubproto.StreamInvocation {
			in.Arguments = lists[p]
		}
		record := p.Append(nil, messageOf(in))
		n, err := p.Next(record, 0, 0)
		require.NoError(t, err)
		require.Equal(t, len(record), n)
		var m hubproto.Message
		require.NoError(t, p.Parse(record, &m), p.Name())
		require.Equal(t, in, viewOf(&m), p.Name())
	}
	if typ != hubproto.Completion {
		return
	}
	for _, p := range []hubproto.Protocol{hubproto.JSON, camelPack} {
		var m hubproto.Message
		require.NoError(t, p.Parse(p.AppendError(nil, []byte(v.ID), v.Error), &m))
		require.Equal(t, view{Type: typ, ID: v.ID, Error: v.Error, HasError: true}, viewOf(&m), p.Name())
	}
}

func TestProtocolsAgree(t *testing.T) {
	full := sample{
		Flag: true, I8: -128, I16: math.MinInt16, I32: math.MinInt32, I64: math.MinInt64, Int: 200, U8: 255, U16: 65535, U32: math.MaxUint32, U64: math.MaxUint64, F32: 0.1, F64: 1e300, Text: "汉字😀", Named: "é", Bytes: []byte{0, 255}, Octets: [3]byte{1, 2, 3},
		Ints: []int{1, -70000}, Texts: []string{"", "x"}, Lists: [][]float64{nil, {}, {0.5}}, ByName: map[string]string{"": "x", "ü": ""}, ByNum: map[int8]stage{-1: 3}, ByStage: map[stage]*person{3: {"n", 1}, 4: nil}, P: pointer(0), PP: pointer(pointer("x")), Who: person{"n", 1},
		Crowd: []person{{}, {"m", 2}}, Inner: &sample{Any: 1.5}, At: time.Unix(5, 6).UTC(), Until: pointer(time.Unix(-5, 6).UTC()), Times: []time.Time{{}, time.Unix(1<<33, 0).UTC()}, Stage: 2, Stages: []stage{1, 2, 3}, Quoted: math.MaxUint64, QP: pointer(int32(-5)), Lasting: time.Hour,
		Any: map[string]any{"a": []any{nil, true, int64(-1), uint64(math.MaxUint64), 0.1, "x", []byte{1}, time.Unix(5, 0).UTC(), 1}}, More: []any{[]any{}, map[string]any{}}, ByKey: map[string]any{"": nil}, Base: Base{"i", "n"}, Deeper2: &Deeper2{7},
	}
	for name, v := range map[string]any{
		"nothing": sample{}, "everything": full, "pointer": &full, "list": []sample{full, {}}, "map": map[string]sample{"a": full}, "nil": nil, "time": time.Unix(5, 0).UTC(), "time with nanoseconds": time.Unix(5, 6).UTC(), "time before 1970": time.Unix(-5, 6).UTC(),
		"first time": time.Time{}, "last time": time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), "times": []time.Time{time.Unix(0, 0).UTC(), time.Unix(1<<34, 0).UTC(), time.Unix(1<<34-1, 1).UTC(), time.Unix(1<<32, 0).UTC(), time.Unix(1<<32-1, 0).UTC()},
		"time in a list": []any{time.Unix(5, 0).UTC()}, "time in a map": map[string]any{"t": time.Unix(5, 6).UTC()}, "time last of a struct": sample{Last: time.Unix(5, 0).UTC()}, "bytes in a list": []any{[]byte{1, 2}}, "stage": stage(3), "pointer to a stage": pointer(stage(1)),
		"highest": uint64(math.MaxUint64), "lowest": int64(math.MinInt64), "-0": math.Copysign(0, -1), "smallest": math.SmallestNonzeroFloat64, "nil pointer": (*sample)(nil), "nil bytes": []byte(nil), "no bytes": []byte{}, "names in another case": map[string]int{"a": 1, "A": 2},
	} {
		t.Run(name, func(t *testing.T) {
			requireAlike(t, nil, "T", []any{v})
			requireAlike(t, []byte("😀"), "", []any{v, 1, v, "x"})
		})
	}
}

func TestProtocolsAgreeOnTimes(t *testing.T) {
	// A time of any zone is the same moment in both, but it is UTC in MessagePack.
	at := time.Date(2018, 4, 9, 12, 0, 0, 5, time.FixedZone("", 10*3600))
	for _, p := range []hubproto.Protocol{hubproto.JSON, hubproto.MessagePack, camelPack} {
		record, err := p.AppendInvocation(nil, nil, "T", []any{at, &at, struct{ At time.Time }{at}})
		require.NoError(t, err)
		var m hubproto.Message
		require.NoError(t, p.Parse(record, &m))
		var got [2]time.Time
		var in struct{ At time.Time }
		require.NoError(t, p.BindArguments(m.Arguments, []reflect.Value{reflect.ValueOf(&got[0]).Elem(), reflect.ValueOf(&got[1]).Elem(), reflect.ValueOf(&in).Elem()}))
		for _, back := range []time.Time{got[0], got[1], in.At} {
			assert.True(t, at.Equal(back), "%s: %s", p.Name(), back)
			assert.True(t, p == hubproto.JSON || back.Location() == time.UTC, p.Name())
		}
	}
}

// Items and results are written and read as arguments are.
func TestProtocolsAgreeOnItemsAndResults(t *testing.T) {
	for i, typ := range differentialTypes {
		s := &source{rest: bytes.Repeat([]byte{1, 3, 5, 7, 11, 13, byte(i), 129, 17, 33, 8}, 40)}
		in := reflect.New(typ).Elem()
		s.fill(in, 4)
		var got []any
		for _, p := range []hubproto.Protocol{hubproto.JSON, camelPack} {
			call, err := p.AppendInvocation(nil, nil, "T", []any{in.Interface()})
			require.NoError(t, err)
			item, err := p.AppendItem([]byte("before"), []byte("1"), in.Interface())
			require.NoError(t, err)
			result, err := p.AppendResult([]byte("before"), []byte("1"), in.Interface())
			require.NoError(t, err)
			var c, m, r hubproto.Message
			require.NoError(t, p.Parse(call, &c))
			require.NoError(t, p.Parse(bytes.TrimPrefix(item, []byte("before")), &m))
			require.NoError(t, p.Parse(bytes.TrimPrefix(result, []byte("before")), &r))
			require.Equal(t, view{Type: hubproto.StreamItem, ID: "1", Value: string(m.Value)}, viewOf(&m))
			require.Equal(t, view{Type: hubproto.Completion, ID: "1", Value: string(m.Value)}, viewOf(&r))
			require.Contains(t, string(c.Arguments), string(m.Value))
			out := reflect.New(typ).Elem()
			require.NoError(t, causeOf(p.BindValue(m.Value, out)), "%s %s", p.Name(), typ)
			got = append(got, alike(out.Interface()))
		}
		require.Equal(t, got[0], got[1], "%s", typ)
	}
	for _, p := range []hubproto.Protocol{hubproto.JSON, camelPack} {
		for _, bad := range []any{func() {}, []any{1, make(chan int)}, failing{}, nestedSlices(hubproto.MaxDepth)} {
			got, err := p.AppendItem([]byte("before"), []byte("1"), bad)
			require.Error(t, err)
			assert.Equal(t, "before", string(got), p.Name())
		}
		// A value that is not there is null.
		n, l := 0, []int{1}
		var bind *hubproto.BindError
		require.ErrorAs(t, p.BindValue(nil, reflect.ValueOf(&n).Elem()), &bind, p.Name())
		require.NoError(t, p.BindValue(nil, reflect.ValueOf(&l).Elem()), p.Name())
	}
}

// What fits a type in one protocol fits it in the other.
func TestProtocolsFitAlike(t *testing.T) {
	values := map[string]any{
		"nil": nil, "true": true, "0": 0, "-1": -1, "200": 200, "70000": 70000, "highest": uint64(math.MaxUint64), "lowest": int64(math.MinInt64), "1.5": 1.5, "1e39": 1e39, "empty text": "", "text": "text", "number as text": "5", "stage as text": "done", "time as text": "2000-01-02T03:04:05Z",
		"empty list": []int{}, "list": []int{1, 2}, "long list": []int{1, 2, 3, 4, 5}, "texts": []string{"a"}, "nulls": []any{nil}, "mixed": []any{1, "x", nil}, "empty map": map[string]int{}, "map": map[string]int{"a": 1}, "numbered map": map[int]int{5: 1}, "null in a map": map[string]any{"a": nil},
		"person": person{"n", 1}, "person with null": map[string]any{"name": nil, "value": nil}, "person with a text": map[string]any{"VALUE": "x"}, "deep": map[string]any{"home": map[string]any{"value": nil}}, "more": map[string]any{"many": []any{map[string]any{}, nil}}, "quoted": map[string]any{"quoted": "5"}, "not quoted": map[string]any{"quoted": 5}, "quoted null": map[string]any{"quoted": nil},
		"quoted with spaces": map[string]any{"quoted": " 5 "}, "quoted word": map[string]any{"quoted": "null"}, "quoted float": map[string]any{"quoted": "5.0"}, "quoted twice": map[string]any{"quoted": `"5"`}, "quoted nothing": map[string]any{"quoted": ""},
		"name +5": map[string]int{"+5": 1}, "name 05": map[string]int{"05": 1}, "name with a space": map[string]int{" 5": 1}, "name null": map[string]int{"null": 1}, "name 5e0": map[string]int{"5e0": 1}, "name -0": map[string]int{"-0": 1}, "name 300": map[string]int{"300": 1},
		"people": []person{{}, {"n", 1}}, "lists": [][]int{{1}, nil}, "ids": map[string]any{"id": "i", "extra": 1, "value": 2}, "a stage": stage(4), "stages": map[stage]int{4: 1},
	}
	types := []reflect.Type{reflect.TypeFor[behindPointer](), reflect.TypeFor[outer](), reflect.TypeFor[renamed](), reflect.TypeFor[seen](), reflect.TypeFor[error](), reflect.TypeFor[func()]()}
	for _, typ := range differentialTypes {
		if typ.String() != "[]uint8" && typ.String() != "[][]uint8" && typ != reflect.TypeFor[bytesOf]() { // bytes are a list and a text in JSON as well
			types = append(types, typ)
		}
	}
	for name, value := range values {
		for _, typ := range types {
			fits := func(p hubproto.Protocol) (v any, err error) {
				record, err := p.AppendInvocation(nil, nil, "T", []any{value})
				require.NoError(t, err)
				var m hubproto.Message
				require.NoError(t, p.Parse(record, &m))
				param := reflect.New(typ).Elem()
				defer func() {
					if e := recover(); e != nil {
						err = fmt.Errorf("panic: %v", e)
						t.Errorf("%s, %s into %s: %v", p.Name(), name, typ, err)
					}
				}()
				err = p.BindArguments(m.Arguments, []reflect.Value{param})
				return param.Interface(), causeOf(err)
			}
			want, wantErr := fits(hubproto.JSON)
			_, declaredErr := fits(hubproto.MessagePack)
			assert.Equal(t, wantErr == nil, declaredErr == nil, "%s into %s: JSON says %v, MessagePack with declared names %v", name, typ, wantErr, declaredErr)
			got, err := fits(camelPack)
			if !assert.Equal(t, wantErr == nil, err == nil, "%s into %s: JSON says %v, MessagePack %v", name, typ, wantErr, err) || err != nil {
				continue
			}
			if typ == reflect.TypeFor[seen]() { // texts of floats differ
				assert.JSONEq(t, want.(seen).Raw, got.(seen).Raw)
				continue
			}
			assert.Equal(t, alike(want), alike(got), "%s into %s", name, typ)
		}
	}
}

// Types that were not thought of.
func TestProtocolsAgreeOnRandomTypes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := reflect.New(drawStruct(t, 3, false)).Elem()
		fill(t, v, 3, true)
		texts := map[hubproto.Protocol]any{}
		for _, p := range []hubproto.Protocol{hubproto.JSON, camelPack, hubproto.MessagePack} {
			record, err := p.AppendInvocation(nil, nil, "T", []any{v.Interface()})
			require.NoError(t, err)
			var m hubproto.Message
			require.NoError(t, p.Parse(record, &m))
			back := reflect.New(v.Type()).Elem()
			require.NoError(t, causeOf(p.BindArguments(m.Arguments, []reflect.Value{back})), "%s into %s", p.Name(), v.Type())
			texts[p] = numbersAsFloats(t, encoded(t, back.Interface()))
		}
		require.Equal(t, texts[hubproto.JSON], texts[camelPack])
		require.Equal(t, texts[hubproto.JSON], texts[hubproto.MessagePack])
	})
}

// numbersAsFloats parses text for comparisons of what numbers mean.
func numbersAsFloats(t require.TestingT, text string) any {
	var v any
	require.NoError(t, json.Unmarshal([]byte(text), &v))
	return v
}

func BenchmarkBroadcastEncoding(b *testing.B) {
	type reading struct {
		Sensor  int
		Count   int64
		Value   float64
		Average float64
		Alarm   bool
		Unit    string
	}
	block := make([]byte, 1024)
	for i := range block {
		block[i] = byte(i)
	}
	for _, p := range []hubproto.Protocol{hubproto.JSON, hubproto.MessagePack} {
		name := "JSON"
		if p == hubproto.MessagePack {
			name = "MessagePack"
		}
		for _, load := range []struct {
			name string
			args []any
		}{
			{"chat", []any{"alice", "Hello everybody, how are you today?"}},
			{"struct", []any{reading{17, 1234567, 21.375, 20.98125, true, "°C"}}},
			{"bytes", []any{block}},
			{"mixed", []any{5, true, nil, 1.5, []string{"a", "b"}, map[string]int{"x": 1, "y": 2}}},
		} {
			b.Run(name+"/"+load.name, func(b *testing.B) {
				b.ReportAllocs()
				var buf []byte
				var err error
				for b.Loop() {
					if buf, err = p.AppendInvocation(buf[:0], nil, "ReceiveMessage", load.args); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(len(buf)), "bytes")
			})
		}
	}
}
