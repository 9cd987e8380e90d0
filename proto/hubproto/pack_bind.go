package hubproto

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"
)

func (packProtocol) CountArguments(arguments []byte) int {
	n, _, _ := msgp.ReadArrayHeaderBytes(arguments)
	return int(n)
}

func (packProtocol) BindArguments(arguments []byte, params []reflect.Value) error {
	n, rest, err := msgp.ReadArrayHeaderBytes(arguments)
	if err != nil {
		return &BindError{Text: bindText, Cause: err}
	}
	if uint64(n) != uint64(len(params)) { // before the arguments are looked at, other than in JSON
		return countError(int(n), len(params))
	}
	for i, p := range params {
		if rest, err = unpack(rest, p); err != nil {
			return argumentError(i, p, err)
		}
	}
	return nil
}

func (packProtocol) BindValue(value []byte, v reflect.Value) error {
	if value == nil {
		value = []byte{nilByte}
	}
	_, err := unpack(value, v)
	return valueError(v, err)
}

// typeOf returns the type of the value that b begins with. msgp recognizes short timestamps only if something follows them.
func typeOf(b []byte) msgp.Type {
	const fixExt1, fixExt16, timestamp = 0xd4, 0xd8, 0xff
	if len(b) > 1 && b[0] >= fixExt1 && b[0] <= fixExt16 && b[1] == timestamp {
		return msgp.TimeType
	}
	return msgp.NextType(b)
}

// nilByte is the encoding of nil.
const nilByte = 0xc0

// unpack decodes the value that checked MessagePack begins with into v, which is settable and holds its zero value, and returns what
// follows it. Values are decoded into the same types as in JSON, and also bytes into []byte, and timestamps into time.Time.
func unpack(b []byte, v reflect.Value) (rest []byte, err error) {
	t := v.Type()
	kind := typeOf(b)
	if kind == msgp.NilType {
		return unpackNil(b, v)
	}
	switch {
	case t == timeType:
		return unpackTime(b, v)
	case t == timeSpanType:
		return unpackSpan(b, v)
	case isProto(t):
		return unpackJSON(b, func(text []byte) error {
			m, err := unmarshalProto(text, t)
			v.Set(m)
			return err
		})
	}
	switch u := v.Addr().Interface().(type) {
	case *string:
		*u, rest, err = unpackText(b)
		return rest, err
	case json.Unmarshaler:
		return unpackJSON(b, u.UnmarshalJSON)
	case encoding.TextUnmarshaler:
		text, rest, err := unpackText(b)
		if err != nil {
			return b, err
		}
		return rest, u.UnmarshalText([]byte(text))
	}
	switch t.Kind() {
	case reflect.Bool:
		x, rest, err := msgp.ReadBoolBytes(b)
		v.SetBool(x)
		return rest, err
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		x, rest, err := msgp.ReadInt64Bytes(b)
		if err == nil && v.OverflowInt(x) {
			err = misfit(b, t)
		}
		v.SetInt(x)
		return rest, err
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		x, rest, err := msgp.ReadUint64Bytes(b)
		if err == nil && v.OverflowUint(x) {
			err = misfit(b, t)
		}
		v.SetUint(x)
		return rest, err
	case reflect.Float32, reflect.Float64:
		x, rest, err := unpackFloat(b)
		if err == nil && v.OverflowFloat(x) {
			err = misfit(b, t)
		}
		v.SetFloat(x)
		return rest, err
	case reflect.String:
		if t == numberType {
			return unpackNumber(b, v)
		}
		x, rest, err := unpackText(b)
		v.SetString(x)
		return rest, err
	case reflect.Pointer:
		inner := reflect.New(t.Elem())
		rest, err := unpack(b, inner.Elem())
		v.Set(inner)
		return rest, err
	case reflect.Interface:
		if t.NumMethod() > 0 {
			return b, misfit(b, t)
		}
		x, rest, err := unpackAny(b)
		if x != nil {
			v.Set(reflect.ValueOf(x))
		}
		return rest, err
	case reflect.Slice:
		if isBytes(t) {
			x, rest, err := msgp.ReadBytesBytes(b, []byte{}) // not nil when empty
			v.SetBytes(x)
			return rest, err
		}
		return unpackSlice(b, v)
	case reflect.Array:
		return unpackArray(b, v)
	case reflect.Map:
		return unpackMap(b, v)
	case reflect.Struct:
		return unpackStruct(b, v)
	}
	return b, misfit(b, t)
}

// unpackText reads a string. Bytes that are not UTF-8 become U+FFFD, as when they are written in JSON: other clients may refuse to read them.
func unpackText(b []byte) (string, []byte, error) {
	text, rest, err := msgp.ReadStringBytes(b)
	if !utf8.ValidString(text) {
		text = string([]rune(text))
	}
	return text, rest, err
}

func misfit(b []byte, t reflect.Type) error {
	return fmt.Errorf("%s does not fit %s", typeOf(b), t)
}

func unpackNil(b []byte, v reflect.Value) ([]byte, error) {
	if !takesNull(v.Type()) {
		return b, fmt.Errorf("nil does not fit %s", v.Type())
	}
	if u, ok := v.Addr().Interface().(json.Unmarshaler); ok && v.Kind() != reflect.Pointer {
		return b[1:], u.UnmarshalJSON([]byte("null"))
	}
	if v.Kind() != reflect.String {
		v.SetZero() // the last of repeated names counts
	}
	return b[1:], nil
}

// unpackSpan takes ticks, as .NET writes them, and text.
func unpackSpan(b []byte, v reflect.Value) ([]byte, error) {
	s := v.Addr().Interface().(*TimeSpan)
	if typeOf(b) == msgp.StrType {
		text, rest, err := msgp.ReadStringZC(b)
		if err == nil {
			err = s.UnmarshalText(text)
		}
		return rest, err
	}
	ticks, rest, err := msgp.ReadInt64Bytes(b)
	if err == nil {
		*s, err = spanOfTicks(ticks)
	}
	return rest, err
}

func unpackTime(b []byte, v reflect.Value) ([]byte, error) {
	var t time.Time
	var rest []byte
	var err error
	if typeOf(b) == msgp.StrType {
		var text []byte
		if text, rest, err = msgp.ReadStringZC(b); err == nil {
			t, err = parseTime(string(text))
		}
	} else {
		t, rest, err = readTimestamp(b)
	}
	v.Set(reflect.ValueOf(t))
	return rest, err
}

// readTimestamp reads a timestamp. As in text, its year has four digits: nothing could write another one as JSON.
func readTimestamp(b []byte) (time.Time, []byte, error) {
	t, rest, err := msgp.ReadTimeBytes(b)
	t = t.UTC()
	if year := t.Year(); err == nil && (year < 1 || year > 9999) {
		err = fmt.Errorf("a time of the year %d is out of range", year)
	}
	return t, rest, err
}

// unpackFloat accepts whole numbers as well, because JavaScript sends them as such.
func unpackFloat(b []byte) (float64, []byte, error) {
	switch typeOf(b) {
	case msgp.IntType:
		n, rest, err := msgp.ReadInt64Bytes(b)
		return float64(n), rest, err
	case msgp.UintType:
		n, rest, err := msgp.ReadUint64Bytes(b)
		return float64(n), rest, err
	case msgp.Float32Type:
		f, rest, err := msgp.ReadFloat32Bytes(b)
		return float64(f), rest, err
	}
	return msgp.ReadFloat64Bytes(b)
}

func unpackNumber(b []byte, v reflect.Value) ([]byte, error) {
	switch typeOf(b) {
	case msgp.IntType:
		n, rest, err := msgp.ReadInt64Bytes(b)
		v.SetString(strconv.FormatInt(n, 10))
		return rest, err
	case msgp.UintType:
		n, rest, err := msgp.ReadUint64Bytes(b)
		v.SetString(strconv.FormatUint(n, 10))
		return rest, err
	}
	f, rest, err := unpackFloat(b)
	if err == nil && (math.IsNaN(f) || math.IsInf(f, 0)) {
		err = misfit(b, v.Type()) // JSON has no such number
	}
	v.SetString(strconv.FormatFloat(f, 'g', -1, 64))
	return rest, err
}

// unpackJSON decodes into a type that has only a JSON unmarshaler: it gets what the value is in JSON.
func unpackJSON(b []byte, into func([]byte) error) ([]byte, error) {
	x, rest, err := unpackAny(b)
	if err != nil {
		return rest, err
	}
	text, err := camelWriter.append(nil, x, 1)
	if err != nil {
		return rest, err
	}
	return rest, into(text)
}

// unpackAny decodes into an interface: nil, bool, int64, uint64, float64, string, []byte, time.Time, []any, map[string]any.
func unpackAny(b []byte) (any, []byte, error) {
	switch typeOf(b) {
	case msgp.NilType:
		return nil, b[1:], nil
	case msgp.BoolType:
		return boxed(msgp.ReadBoolBytes(b))
	case msgp.IntType:
		return boxed(msgp.ReadInt64Bytes(b))
	case msgp.UintType:
		n, rest, err := msgp.ReadUint64Bytes(b)
		if n <= math.MaxInt64 {
			return int64(n), rest, err
		}
		return n, rest, err
	case msgp.Float32Type, msgp.Float64Type:
		return boxed(unpackFloat(b))
	case msgp.StrType:
		return boxed(unpackText(b))
	case msgp.BinType:
		return boxed(msgp.ReadBytesBytes(b, []byte{}))
	case msgp.TimeType:
		return boxed(readTimestamp(b))
	case msgp.ArrayType:
		var list []any
		rest, err := unpackSlice(b, reflect.ValueOf(&list).Elem())
		return list, rest, err
	case msgp.MapType:
		var m map[string]any
		rest, err := unpackMap(b, reflect.ValueOf(&m).Elem())
		return m, rest, err
	}
	return nil, b, fmt.Errorf("%s has no value here", typeOf(b))
}

func boxed[T any](v T, rest []byte, err error) (any, []byte, error) { return v, rest, err }

// fewElements is how many elements are allocated because of a length alone. The parser of the envelope has checked that a length does not exceed
// the rest of the message, but elements can be much larger in memory than on the wire.
const fewElements = 64

func unpackSlice(b []byte, v reflect.Value) ([]byte, error) {
	n, rest, err := msgp.ReadArrayHeaderBytes(b)
	if err != nil {
		return b, err
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, min(int(n), fewElements)))
	for i := range int(n) {
		if i == v.Cap() {
			v.Grow(1)
		}
		v.SetLen(i + 1)
		if rest, err = unpack(rest, v.Index(i)); err != nil {
			return rest, err
		}
	}
	return rest, nil
}

// unpackArray zeroes elements that the list does not have, and skips those that the array has no room for, as encoding/json does.
func unpackArray(b []byte, v reflect.Value) ([]byte, error) {
	n, rest, err := msgp.ReadArrayHeaderBytes(b)
	for i := 0; i < int(n) && err == nil; i++ {
		if i < v.Len() {
			rest, err = unpack(rest, v.Index(i))
		} else {
			rest, err = msgp.Skip(rest)
		}
	}
	for i := int(min(n, math.MaxInt32)); i < v.Len(); i++ {
		v.Index(i).SetZero()
	}
	return rest, err
}

func unpackMap(b []byte, v reflect.Value) ([]byte, error) {
	n, rest, err := msgp.ReadMapHeaderBytes(b)
	if err != nil {
		return b, err
	}
	m := reflect.MakeMapWithSize(v.Type(), min(int(n), fewElements))
	for range n {
		key := reflect.New(v.Type().Key()).Elem()
		if rest, err = unpackKey(rest, key); err != nil {
			return rest, err
		}
		value := reflect.New(v.Type().Elem()).Elem()
		if rest, err = unpack(rest, value); err != nil {
			return rest, err
		}
		if !key.Comparable() {
			return rest, fmt.Errorf("a key of %s cannot be compared", v.Type())
		}
		m.SetMapIndex(key, value)
	}
	v.Set(m)
	return rest, nil
}

// unpackKey accepts a number as a string as well, because that is how keys are written.
func unpackKey(b []byte, key reflect.Value) ([]byte, error) {
	if typeOf(b) != msgp.StrType || key.Kind() == reflect.String {
		return unpack(b, key)
	}
	text, rest, err := msgp.ReadStringZC(b)
	if err != nil {
		return b, err
	}
	if u, ok := key.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return rest, u.UnmarshalText(append([]byte(nil), text...))
	}
	switch {
	case key.CanInt():
		n, err := strconv.ParseInt(string(text), 10, key.Type().Bits())
		key.SetInt(n)
		return rest, err
	case key.CanUint():
		n, err := strconv.ParseUint(string(text), 10, key.Type().Bits())
		key.SetUint(n)
		return rest, err
	}
	return unpack(b, key)
}

func unpackStruct(b []byte, v reflect.Value) ([]byte, error) {
	n, rest, err := msgp.ReadMapHeaderBytes(b)
	if err != nil {
		return b, err
	}
	for range n {
		var name []byte
		if name, rest, err = msgp.ReadStringZC(rest); err != nil {
			return rest, err
		}
		if f := packedField(v.Type(), string(name)); f == nil {
			rest, err = msgp.Skip(rest)
		} else {
			rest, err = f.unpack(rest, v)
		}
		if err != nil {
			return rest, fmt.Errorf("%s: %w", name, err)
		}
	}
	return rest, nil
}

// packedField returns the field that a name refers to, as it is spelled in MessagePack or in JSON.
func packedField(t reflect.Type, name string) *field {
	fields := fieldsOf(t)
	for _, matches := range []func(a, b string) bool{func(a, b string) bool { return a == b }, strings.EqualFold} {
		for i := range fields {
			if !fields[i].unpacked && (matches(fields[i].declared, name) || matches(fields[i].camel, name)) {
				return &fields[i]
			}
		}
	}
	if f := fieldNamed(t, name); f != nil && !f.unpacked {
		return f
	}
	return nil
}

func unpackQuoted(b []byte, v reflect.Value) ([]byte, error) {
	if msgp.IsNil(b) {
		return unpackNil(b, v)
	}
	text, rest, err := msgp.ReadStringZC(b)
	if err != nil {
		return b, err
	}
	if len(bytes.TrimSpace(text)) != len(text) { // encoding/json would skip the spaces here
		return rest, misfit(b, v.Type())
	}
	return rest, json.Unmarshal(text, v.Addr().Interface())
}

// unpack decodes a field of a struct.
func (f *field) unpack(b []byte, v reflect.Value) ([]byte, error) {
	for i, x := range f.index {
		if i > 0 && v.Kind() == reflect.Pointer {
			if v.IsNil() {
				if !v.CanSet() {
					return b, fmt.Errorf("the embedded %s cannot be made from here", v.Type())
				}
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		}
		v = v.Field(x)
	}
	switch {
	case f.quoted:
		return unpackQuoted(b, v)
	case v.CanInterface():
		return unpack(b, v)
	case v.Kind() == reflect.Struct && !msgp.IsNil(b): // embedded, under a name: its type is not exported, but its fields are
		return unpackStruct(b, v)
	}
	return b, misfit(b, v.Type())
}
