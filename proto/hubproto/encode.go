package hubproto

import (
	"bytes"
	"cmp"
	"encoding"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
)

// writer writes values as JSON. It stands in for json.Marshal because that cannot name fields in camel case.
type writer struct {
	declared bool     // fields without a name in their tag have their declared names
	jsonNet  bool     // floats have a fraction or an exponent always, and those that are not finite are texts
	funcs    sync.Map // reflect.Type → encodeFunc
}

var camelWriter, declaredWriter, jsonNetWriter = &writer{}, &writer{declared: true}, &writer{declared: true, jsonNet: true}

// append appends v. depth counts the arrays and objects that the value is nested in.
func (w *writer) append(dst []byte, v any, depth int) ([]byte, error) {
	if b, ok, err := w.common(dst, v); ok {
		return b, err
	}
	return w.reflected(dst, v, depth)
}

func (w *writer) reflected(dst []byte, v any, depth int) ([]byte, error) {
	rv := reflect.ValueOf(v)
	return w.of(rv.Type())(dst, rv, depth)
}

// common appends v if its type is one of the common ones, without reflection. It does not keep v, so that the caller need not allocate an
// interface for it.
func (w *writer) common(dst []byte, v any) (_ []byte, ok bool, err error) {
	switch v := v.(type) {
	case nil:
		dst = append(dst, "null"...)
	case string:
		dst = appendString(dst, v)
	case bool:
		dst = strconv.AppendBool(dst, v)
	case int:
		dst = appendInt(dst, int64(v))
	case int64:
		dst = appendInt(dst, v)
	case int32:
		dst = appendInt(dst, int64(v))
	case float64:
		dst, err = w.float(dst, v, 64)
	default:
		return dst, false, nil
	}
	return dst, true, err
}

// An encodeFunc appends a value of one type.
type encodeFunc func(dst []byte, v reflect.Value, depth int) ([]byte, error)

var (
	marshalerType = reflect.TypeFor[json.Marshaler]()
	textType      = reflect.TypeFor[encoding.TextMarshaler]()
	numberType    = reflect.TypeFor[json.Number]()
)

func (w *writer) of(t reflect.Type) encodeFunc {
	if cached, ok := w.funcs.Load(t); ok {
		return cached.(encodeFunc)
	}
	cached, _ := w.funcs.LoadOrStore(t, w.make(t))
	return cached.(encodeFunc)
}

// make looks into no type except t: the encoders of the types that t holds are looked up when there is a value, so that a type may contain
// itself.
func (w *writer) make(t reflect.Type) encodeFunc {
	if t.Kind() == reflect.Interface {
		return w.kind(t)
	}
	return selfWriting(t, encodeMarshaler, w.kind)
}

// selfWriting returns the encoder of a type that has a marshaler, and otherwise that of its kind.
func selfWriting(t reflect.Type, marshaler encodeFunc, kind func(reflect.Type) encodeFunc) encodeFunc {
	p := reflect.PointerTo(t)
	byValue, byAddress := marshals(t), false
	if !t.Implements(marshalerType) { // MarshalJSON of the pointer has precedence over MarshalText of the value
		byAddress = p.Implements(marshalerType) || !byValue && p.Implements(textType)
	}
	plain := marshaler
	if !byValue {
		plain = kind(t)
	}
	if !byAddress || t.Kind() == reflect.Pointer {
		return plain
	}
	return func(dst []byte, v reflect.Value, depth int) ([]byte, error) {
		if v.CanAddr() {
			return marshaler(dst, v.Addr(), depth)
		}
		return plain(dst, v, depth)
	}
}

// marshals reports whether a type has a marshaler.
func marshals(t reflect.Type) bool {
	return t.Implements(marshalerType) || t.Implements(textType) || isProto(t)
}

func (w *writer) kind(t reflect.Type) encodeFunc {
	switch t.Kind() {
	case reflect.Bool:
		return func(dst []byte, v reflect.Value, _ int) ([]byte, error) {
			return strconv.AppendBool(dst, v.Bool()), nil
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return func(dst []byte, v reflect.Value, _ int) ([]byte, error) { return appendInt(dst, v.Int()), nil }
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return func(dst []byte, v reflect.Value, _ int) ([]byte, error) {
			return strconv.AppendUint(dst, v.Uint(), 10), nil
		}
	case reflect.Float32, reflect.Float64:
		return func(dst []byte, v reflect.Value, _ int) ([]byte, error) { return w.float(dst, v.Float(), t.Bits()) }
	case reflect.String:
		if t == numberType {
			return encodeMarshaler
		}
		return func(dst []byte, v reflect.Value, _ int) ([]byte, error) { return appendString(dst, v.String()), nil }
	case reflect.Pointer, reflect.Interface:
		return w.pointer
	case reflect.Slice:
		if isBytes(t) {
			return func(dst []byte, v reflect.Value, _ int) ([]byte, error) {
				if v.IsNil() {
					return append(dst, "null"...), nil
				}
				dst = append(dst, '"')
				dst = base64.StdEncoding.AppendEncode(dst, v.Bytes())
				return append(dst, '"'), nil
			}
		}
		return nested(w.list(t), true)
	case reflect.Array:
		return nested(w.list(t), false)
	case reflect.Map:
		return nested(w.mapping(t), true)
	case reflect.Struct:
		return nested(w.structure(t), false)
	}
	return func(dst []byte, _ reflect.Value, _ int) ([]byte, error) {
		return dst, &json.UnsupportedTypeError{Type: t}
	}
}

// isBytes reports whether a slice is bytes, and not a list of numbers with marshalers.
func isBytes(t reflect.Type) bool {
	return t.Elem().Kind() == reflect.Uint8 && !marshals(reflect.PointerTo(t.Elem()))
}

func (w *writer) pointer(dst []byte, v reflect.Value, depth int) ([]byte, error) {
	v, err := pointedTo(v)
	if err != nil || !v.IsValid() {
		return append(dst, "null"...), err
	}
	return w.of(v.Type())(dst, v, depth)
}

// pointedTo follows a chain of pointers and interfaces to its end, which is not valid if it is nil. The chain does not count as nesting, but
// its length is limited.
func pointedTo(v reflect.Value) (reflect.Value, error) {
	for range MaxDepth {
		if v.IsNil() {
			return reflect.Value{}, nil
		}
		v = v.Elem()
		if k := v.Kind(); k != reflect.Pointer && k != reflect.Interface || marshals(v.Type()) {
			return v, nil
		}
	}
	return reflect.Value{}, errTooDeep
}

var errTooDeep = fmt.Errorf("a value nests deeper than the limit of %d", MaxDepth)

// nested writes null for nil, and limits the depth.
func nested(f encodeFunc, nilable bool) encodeFunc {
	return func(dst []byte, v reflect.Value, depth int) ([]byte, error) {
		if nilable && v.IsNil() {
			return append(dst, "null"...), nil
		}
		if depth >= MaxDepth {
			return dst, errTooDeep
		}
		return f(dst, v, depth+1)
	}
}

func encodeMarshaler(dst []byte, v reflect.Value, _ int) ([]byte, error) {
	if k := v.Kind(); (k == reflect.Pointer || k == reflect.Interface) && v.IsNil() {
		return append(dst, "null"...), nil
	}
	text, err := marshal(v)
	return append(dst, text...), err
}

// marshal returns the JSON of a value with a marshaler.
func marshal(v reflect.Value) ([]byte, error) {
	if isProto(v.Type()) {
		return marshalProto(v.Interface().(proto.Message))
	}
	text, err := json.Marshal(v.Interface())
	if !utf8.Valid(text) { // encoding/json does not look at what a json.RawMessage or another marshaler has written
		text = []byte(string([]rune(string(text))))
	}
	return text, err
}

func (w *writer) list(t reflect.Type) encodeFunc {
	return func(dst []byte, v reflect.Value, depth int) ([]byte, error) {
		element := w.of(t.Elem())
		dst = append(dst, '[')
		for i := range v.Len() {
			if i > 0 {
				dst = append(dst, ',')
			}
			var err error
			if dst, err = element(dst, v.Index(i), depth); err != nil {
				return dst, err
			}
		}
		return append(dst, ']'), nil
	}
}

func (w *writer) mapping(t reflect.Type) encodeFunc {
	return func(dst []byte, v reflect.Value, depth int) ([]byte, error) {
		entries, err := sortedEntries(v)
		if err != nil {
			return dst, err
		}
		element := w.of(t.Elem())
		dst = append(dst, '{')
		for i, e := range entries {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendString(dst, e.key), ':')
			if dst, err = element(dst, e.value, depth); err != nil {
				return dst, err
			}
		}
		return append(dst, '}'), nil
	}
}

// entry is an entry of a map.
type entry struct {
	key   string
	value reflect.Value
}

// sortedEntries lists the entries of a map by their keys.
func sortedEntries(v reflect.Value) ([]entry, error) {
	entries := make([]entry, 0, v.Len())
	for iter := v.MapRange(); iter.Next(); {
		key, err := keyOf(iter.Key())
		if err != nil {
			return nil, err
		}
		entries = append(entries, entry{key, iter.Value()})
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.key, b.key) })
	return entries, nil
}

func keyOf(k reflect.Value) (string, error) {
	if k.Kind() == reflect.String {
		return k.String(), nil
	}
	if m, ok := k.Interface().(encoding.TextMarshaler); ok {
		if k.Kind() == reflect.Pointer && k.IsNil() {
			return "", nil
		}
		text, err := m.MarshalText()
		return string(text), err
	}
	switch {
	case k.CanInt():
		return strconv.FormatInt(k.Int(), 10), nil
	case k.CanUint():
		return strconv.FormatUint(k.Uint(), 10), nil
	}
	return "", &json.UnsupportedTypeError{Type: k.Type()}
}

func (w *writer) structure(t reflect.Type) encodeFunc {
	fields := fieldsNamed(t, w.declared)
	names := make([][]byte, len(fields)) // `,"name":`
	for i, f := range fields {
		names[i] = append(appendString([]byte{','}, f.name), ':')
	}
	return func(dst []byte, v reflect.Value, depth int) ([]byte, error) {
		dst = append(dst, '{')
		first := true
		for i := range fields {
			f := &fields[i]
			value, ok := f.of(v)
			if !ok {
				continue
			}
			name := names[i]
			if first {
				name, first = name[1:], false
			}
			dst = append(dst, name...)
			start := len(dst)
			var err error
			if dst, err = w.of(f.typ)(dst, value, depth); err != nil {
				return dst, err
			}
			if f.quoted && string(dst[start:]) != "null" {
				text := string(dst[start:])
				dst = appendString(dst[:start], text)
			}
		}
		return append(dst, '}'), nil
	}
}

func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	case reflect.Struct:
		return false
	}
	return v.IsZero()
}

// zeroer is a type with a method that reports whether a value is zero.
type zeroer interface{ IsZero() bool }

var zeroerType = reflect.TypeFor[zeroer]()

// zeroTest returns how the option "omitzero" is decided for a type.
func zeroTest(t reflect.Type) func(reflect.Value) bool {
	switch {
	case t.Kind() == reflect.Interface && t.Implements(zeroerType):
		return func(v reflect.Value) bool {
			return v.IsNil() || v.Elem().Kind() == reflect.Pointer && v.Elem().IsNil() || v.Interface().(zeroer).IsZero()
		}
	case t.Kind() == reflect.Pointer && t.Implements(zeroerType):
		return func(v reflect.Value) bool { return v.IsNil() || v.Interface().(zeroer).IsZero() }
	case t.Implements(zeroerType):
		return func(v reflect.Value) bool { return v.Interface().(zeroer).IsZero() }
	case reflect.PointerTo(t).Implements(zeroerType):
		return func(v reflect.Value) bool {
			if !v.CanAddr() {
				c := reflect.New(t).Elem()
				c.Set(v)
				v = c
			}
			return v.Addr().Interface().(zeroer).IsZero()
		}
	}
	return reflect.Value.IsZero
}

var errNotFinite = errors.New("NaN and infinities have no form in JSON")

// float writes a float.
func (w *writer) float(dst []byte, f float64, bits int) ([]byte, error) {
	if !w.jsonNet {
		return appendFloat(dst, f, bits)
	}
	switch {
	case math.IsNaN(f):
		return append(dst, `"NaN"`...), nil
	case math.IsInf(f, 1):
		return append(dst, `"Infinity"`...), nil
	case math.IsInf(f, -1):
		return append(dst, `"-Infinity"`...), nil
	}
	start := len(dst)
	dst, _ = appendFloat(dst, f, bits) // it is finite
	if !bytes.ContainsAny(dst[start:], ".e") {
		dst = append(dst, ".0"...)
	}
	return dst, nil
}

// appendFloat writes the shortest form that reads back as f, with an exponent where that form is long.
func appendFloat(dst []byte, f float64, bits int) ([]byte, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return dst, errNotFinite
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, f, format, -1, bits), nil
}
