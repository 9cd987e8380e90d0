package hubproto_test

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// requireSameCall encodes args with both protocols, and checks that decoding yields the same call with the same values.
func requireSameCall(t require.TestingT, id []byte, target string, args []any) {
	bound := map[hubproto.Protocol][]any{}
	views := map[hubproto.Protocol]view{}
	for _, p := range []hubproto.Protocol{hubproto.JSON, camelCasePack} {
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
			bound[p] = append(bound[p], normalize(param.Interface()))
		}
	}
	require.Equal(t, view{Type: hubproto.Invocation, ID: string(id), Target: target}, views[hubproto.JSON])
	require.Equal(t, views[hubproto.JSON], views[camelCasePack])
	require.Equal(t, bound[hubproto.JSON], bound[camelCasePack])
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
		s := &valueSource{rest: data}
		if kind := s.byte(); kind >= 200 {
			requireSameMessage(t, s, hubproto.Type(kind-200)%9+1)
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
		requireSameCall(t, id, s.text(), args)
	})
}

// requireSameMessage encodes a message with both protocols, and checks that decoding yields the same message.
func requireSameMessage(t *testing.T, s *valueSource, typ hubproto.Type) {
	v := view{Type: typ}
	if typ <= hubproto.CancelInvocation {
		v.ID = s.text()
		if v.ID == "" && typ != hubproto.Invocation {
			v.ID = "1"
		}
	}
	values := map[hubproto.Protocol]string{hubproto.JSON: "5", camelCasePack: "\x05"}
	lists := map[hubproto.Protocol]string{hubproto.JSON: "[]", camelCasePack: "\x90"}
	headers := map[hubproto.Protocol]string{hubproto.JSON: `{"a":"b"}`, camelCasePack: "\x81\xa1a\xa1b"}
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
	for _, p := range []hubproto.Protocol{hubproto.JSON, camelCasePack} {
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
	for _, p := range []hubproto.Protocol{hubproto.JSON, camelCasePack} {
		var m hubproto.Message
		require.NoError(t, p.Parse(p.AppendError(nil, []byte(v.ID), v.Error), &m))
		require.Equal(t, view{Type: typ, ID: v.ID, Error: v.Error, HasError: true}, viewOf(&m), p.Name())
	}
}

func TestProtocolsAgree(t *testing.T) {
	full := sample{
		Flag: true, I8: -128, I16: math.MinInt16, I32: math.MinInt32, I64: math.MinInt64, Int: 200, U8: 255, U16: 65535,
		U32: math.MaxUint32, U64: math.MaxUint64, F32: 0.1, F64: 1e300, Text: "汉字😀", Named: "é", Bytes: []byte{0, 255},
		Octets: [3]byte{1, 2, 3},
		Ints:   []int{1, -70000}, Texts: []string{"", "x"}, Lists: [][]float64{nil, {}, {0.5}},
		ByName: map[string]string{"": "x", "ü": ""}, ByNum: map[int8]stage{-1: 3},
		ByStage: map[stage]*person{3: {"n", 1}, 4: nil}, P: pointer(0), PP: pointer(pointer("x")), Who: person{"n", 1},
		Crowd: []person{{}, {"m", 2}}, Inner: &sample{Any: 1.5}, At: time.Unix(5, 6).UTC(),
		Until: pointer(time.Unix(-5, 6).UTC()), Times: []time.Time{{}, time.Unix(1<<33, 0).UTC()}, Stage: 2,
		Stages: []stage{1, 2, 3}, Quoted: math.MaxUint64, QP: pointer(int32(-5)), Lasting: time.Hour,
		Any:  map[string]any{"a": []any{nil, true, int64(-1), uint64(math.MaxUint64), 0.1, "x", []byte{1}, time.Unix(5, 0).UTC(), 1}},
		More: []any{[]any{}, map[string]any{}}, ByKey: map[string]any{"": nil}, Base: Base{"i", "n"}, Deeper2: &Deeper2{7},
	}
	for name, v := range map[string]any{
		"nothing": sample{}, "everything": full, "pointer": &full, "list": []sample{full, {}},
		"map": map[string]sample{"a": full}, "nil": nil, "time": time.Unix(5, 0).UTC(),
		"time with nanoseconds": time.Unix(5, 6).UTC(), "time before 1970": time.Unix(-5, 6).UTC(),
		"first time": time.Time{}, "last time": time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC),
		"times": []time.Time{
			time.Unix(0, 0).UTC(), time.Unix(1<<34, 0).UTC(), time.Unix(1<<34-1, 1).UTC(), time.Unix(1<<32, 0).UTC(),
			time.Unix(1<<32-1, 0).UTC(),
		},
		"time in a list": []any{time.Unix(5, 0).UTC()}, "time in a map": map[string]any{"t": time.Unix(5, 6).UTC()},
		"time last of a struct": sample{Last: time.Unix(5, 0).UTC()}, "bytes in a list": []any{[]byte{1, 2}},
		"stage": stage(3), "pointer to a stage": pointer(stage(1)),
		"highest": uint64(math.MaxUint64), "lowest": int64(math.MinInt64), "-0": math.Copysign(0, -1),
		"smallest": math.SmallestNonzeroFloat64, "nil pointer": (*sample)(nil), "nil bytes": []byte(nil),
		"no bytes": []byte{}, "names in another case": map[string]int{"a": 1, "A": 2},
	} {
		t.Run(name, func(t *testing.T) {
			requireSameCall(t, nil, "T", []any{v})
			requireSameCall(t, []byte("😀"), "", []any{v, 1, v, "x"})
		})
	}
}

func TestProtocolsAgreeOnTimes(t *testing.T) {
	// A time in any zone is the same instant in both protocols, but is decoded as UTC from MessagePack.
	at := time.Date(2018, 4, 9, 12, 0, 0, 5, time.FixedZone("", 10*3600))
	for _, p := range []hubproto.Protocol{hubproto.JSON, hubproto.MessagePack, camelCasePack} {
		record, err := p.AppendInvocation(nil, nil, "T", []any{at, &at, struct{ At time.Time }{at}})
		require.NoError(t, err)
		var m hubproto.Message
		require.NoError(t, p.Parse(record, &m))
		var got [2]time.Time
		var in struct{ At time.Time }
		require.NoError(t, p.BindArguments(m.Arguments, []reflect.Value{
			reflect.ValueOf(&got[0]).Elem(), reflect.ValueOf(&got[1]).Elem(), reflect.ValueOf(&in).Elem(),
		}))
		for _, back := range []time.Time{got[0], got[1], in.At} {
			assert.True(t, at.Equal(back), "%s: %s", p.Name(), back)
			assert.True(t, p == hubproto.JSON || back.Location() == time.UTC, p.Name())
		}
	}
}

// Items and results are encoded and decoded like arguments.
func TestProtocolsAgreeOnItemsAndResults(t *testing.T) {
	for i, typ := range differentialTypes {
		s := &valueSource{rest: bytes.Repeat([]byte{1, 3, 5, 7, 11, 13, byte(i), 129, 17, 33, 8}, 40)}
		in := reflect.New(typ).Elem()
		s.fill(in, 4)
		var got []any
		for _, p := range []hubproto.Protocol{hubproto.JSON, camelCasePack} {
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
			got = append(got, normalize(out.Interface()))
		}
		require.Equal(t, got[0], got[1], "%s", typ)
	}
	for _, p := range []hubproto.Protocol{hubproto.JSON, camelCasePack} {
		for _, bad := range []any{func() {}, []any{1, make(chan int)}, failingMarshaler{}, nestedSlices(hubproto.MaxDepth)} {
			got, err := p.AppendItem([]byte("before"), []byte("1"), bad)
			require.Error(t, err)
			assert.Equal(t, "before", string(got), p.Name())
		}
		// A missing value is null.
		n, l := 0, []int{1}
		var bind *hubproto.BindError
		require.ErrorAs(t, p.BindValue(nil, reflect.ValueOf(&n).Elem()), &bind, p.Name())
		require.NoError(t, p.BindValue(nil, reflect.ValueOf(&l).Elem()), p.Name())
	}
}

// A value binds to a type in one protocol if and only if it does in the other.
func TestProtocolsBindSameTypes(t *testing.T) {
	values := map[string]any{
		"nil": nil, "true": true, "0": 0, "-1": -1, "200": 200, "70000": 70000, "highest": uint64(math.MaxUint64),
		"lowest": int64(math.MinInt64), "1.5": 1.5, "1e39": 1e39, "empty text": "", "text": "text", "number as text": "5",
		"stage as text": "done", "time as text": "2000-01-02T03:04:05Z",
		"empty list": []int{}, "list": []int{1, 2}, "long list": []int{1, 2, 3, 4, 5}, "texts": []string{"a"},
		"nulls": []any{nil}, "mixed": []any{1, "x", nil}, "empty map": map[string]int{}, "map": map[string]int{"a": 1},
		"numbered map": map[int]int{5: 1}, "null in a map": map[string]any{"a": nil},
		"person": person{"n", 1}, "person with null": map[string]any{"name": nil, "value": nil},
		"person with a text": map[string]any{"VALUE": "x"}, "deep": map[string]any{"home": map[string]any{"value": nil}},
		"more": map[string]any{"many": []any{map[string]any{}, nil}}, "quoted": map[string]any{"quoted": "5"},
		"not quoted": map[string]any{"quoted": 5}, "quoted null": map[string]any{"quoted": nil},
		"quoted with spaces": map[string]any{"quoted": " 5 "}, "quoted word": map[string]any{"quoted": "null"},
		"quoted float": map[string]any{"quoted": "5.0"}, "quoted twice": map[string]any{"quoted": `"5"`},
		"quoted nothing": map[string]any{"quoted": ""},
		"name +5":        map[string]int{"+5": 1}, "name 05": map[string]int{"05": 1}, "name with a space": map[string]int{" 5": 1},
		"name null": map[string]int{"null": 1}, "name 5e0": map[string]int{"5e0": 1}, "name -0": map[string]int{"-0": 1},
		"name 300": map[string]int{"300": 1},
		"people":   []person{{}, {"n", 1}}, "lists": [][]int{{1}, nil},
		"ids": map[string]any{"id": "i", "extra": 1, "value": 2}, "a stage": stage(4), "stages": map[stage]int{4: 1},
	}
	types := []reflect.Type{
		reflect.TypeFor[behindPointer](), reflect.TypeFor[outer](), reflect.TypeFor[renamed](),
		reflect.TypeFor[rawRecorder](), reflect.TypeFor[error](), reflect.TypeFor[func()](),
	}
	for _, typ := range differentialTypes {
		// In JSON, bytes can be bound from a list and from a string.
		if typ.String() != "[]uint8" && typ.String() != "[][]uint8" && typ != reflect.TypeFor[bytesOf]() {
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
			assert.Equal(
				t, wantErr == nil, declaredErr == nil, "%s into %s: JSON says %v, MessagePack with declared names %v",
				name, typ, wantErr, declaredErr,
			)
			got, err := fits(camelCasePack)
			if !assert.Equal(t, wantErr == nil, err == nil, "%s into %s: JSON says %v, MessagePack %v", name, typ, wantErr, err) || err != nil {
				continue
			}
			if typ == reflect.TypeFor[rawRecorder]() { // the formats of floats differ
				assert.JSONEq(t, want.(rawRecorder).Raw, got.(rawRecorder).Raw)
				continue
			}
			assert.Equal(t, normalize(want), normalize(got), "%s into %s", name, typ)
		}
	}
}

// Checks randomly generated types.
func TestProtocolsAgreeOnRandomTypes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := reflect.New(drawStruct(t, 3, false)).Elem()
		fill(t, v, 3, true)
		texts := map[hubproto.Protocol]any{}
		for _, p := range []hubproto.Protocol{hubproto.JSON, camelCasePack, hubproto.MessagePack} {
			record, err := p.AppendInvocation(nil, nil, "T", []any{v.Interface()})
			require.NoError(t, err)
			var m hubproto.Message
			require.NoError(t, p.Parse(record, &m))
			back := reflect.New(v.Type()).Elem()
			require.NoError(t, causeOf(p.BindArguments(m.Arguments, []reflect.Value{back})), "%s into %s", p.Name(), v.Type())
			texts[p] = numbersAsFloats(t, encoded(t, back.Interface()))
		}
		require.Equal(t, texts[hubproto.JSON], texts[camelCasePack])
		require.Equal(t, texts[hubproto.JSON], texts[hubproto.MessagePack])
	})
}
