package hubproto

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"
)

// packer writes values as MessagePack, with the structure that writer writes as JSON, except for the names of fields.
type packer struct {
	camel bool     // names are in camel case
	funcs sync.Map // reflect.Type → encodeFunc
}

var declaredPacker, camelPacker = &packer{}, &packer{camel: true}

// append appends v.
func (p *packer) append(dst []byte, v any, depth int) ([]byte, error) {
	if b, ok := p.common(dst, v); ok {
		return b, nil
	}
	return p.reflected(dst, v, depth)
}

func (p *packer) reflected(dst []byte, v any, depth int) ([]byte, error) {
	rv := reflect.ValueOf(v)
	return p.of(rv.Type())(dst, rv, depth)
}

// common is that of writer.
func (p *packer) common(dst []byte, v any) (_ []byte, ok bool) {
	switch v := v.(type) {
	case nil:
		dst = msgp.AppendNil(dst)
	case string:
		dst = appendPackedText(dst, v)
	case bool:
		dst = msgp.AppendBool(dst, v)
	case int:
		dst = appendPackedInt(dst, int64(v))
	case int64:
		dst = appendPackedInt(dst, v)
	case int32:
		dst = appendPackedInt(dst, int64(v))
	case float64:
		dst = msgp.AppendFloat64(dst, v)
	default:
		return dst, false
	}
	return dst, true
}

// appendPackedText appends text. What is not UTF-8 is replaced, as in JSON: clients may refuse to read it.
func appendPackedText(dst []byte, text string) []byte {
	if !utf8.ValidString(text) {
		text = string([]rune(text))
	}
	return msgp.AppendString(dst, text)
}

func (p *packer) of(t reflect.Type) encodeFunc {
	if cached, ok := p.funcs.Load(t); ok {
		return cached.(encodeFunc)
	}
	cached, _ := p.funcs.LoadOrStore(t, p.make(t))
	return cached.(encodeFunc)
}

func (p *packer) make(t reflect.Type) encodeFunc {
	switch {
	case t == timeType:
		return func(dst []byte, v reflect.Value, _ int) ([]byte, error) {
			return msgp.AppendTimeExt(dst, v.Interface().(time.Time)), nil
		}
	case t == timeSpanType:
		return func(dst []byte, v reflect.Value, _ int) ([]byte, error) {
			return appendPackedSpan(dst, TimeSpan(v.Int())), nil
		}
	case t.Kind() == reflect.Interface, t.Kind() == reflect.Pointer && (t.Elem() == timeType || t.Elem() == timeSpanType):
		return p.pointer
	}
	return selfWriting(t, packMarshaler, p.kind)
}

func (p *packer) kind(t reflect.Type) encodeFunc {
	switch t.Kind() {
	case reflect.Bool:
		return func(dst []byte, v reflect.Value, _ int) ([]byte, error) { return msgp.AppendBool(dst, v.Bool()), nil }
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return func(dst []byte, v reflect.Value, _ int) ([]byte, error) { return appendPackedInt(dst, v.Int()), nil }
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return func(dst []byte, v reflect.Value, _ int) ([]byte, error) { return msgp.AppendUint64(dst, v.Uint()), nil }
	case reflect.Float32:
		return func(dst []byte, v reflect.Value, _ int) ([]byte, error) {
			return msgp.AppendFloat32(dst, float32(v.Float())), nil
		}
	case reflect.Float64:
		return func(dst []byte, v reflect.Value, _ int) ([]byte, error) {
			return msgp.AppendFloat64(dst, v.Float()), nil
		}
	case reflect.String:
		if t == numberType {
			return packMarshaler
		}
		return func(dst []byte, v reflect.Value, _ int) ([]byte, error) {
			return appendPackedText(dst, v.String()), nil
		}
	case reflect.Pointer:
		return p.pointer
	case reflect.Slice:
		if isBytes(t) {
			return func(dst []byte, v reflect.Value, _ int) ([]byte, error) {
				if v.IsNil() {
					return msgp.AppendNil(dst), nil
				}
				return msgp.AppendBytes(dst, v.Bytes()), nil
			}
		}
		return nestedPacked(p.list(t), true)
	case reflect.Array:
		return nestedPacked(p.list(t), false)
	case reflect.Map:
		return nestedPacked(p.mapping(t), true)
	case reflect.Struct:
		return nestedPacked(p.structure(t), false)
	}
	return func(dst []byte, _ reflect.Value, _ int) ([]byte, error) {
		return dst, &json.UnsupportedTypeError{Type: t}
	}
}

func nestedPacked(f encodeFunc, nilable bool) encodeFunc {
	return func(dst []byte, v reflect.Value, depth int) ([]byte, error) {
		if nilable && v.IsNil() {
			return msgp.AppendNil(dst), nil
		}
		if depth >= MaxDepth {
			return dst, errTooDeep
		}
		return f(dst, v, depth+1)
	}
}

func (p *packer) pointer(dst []byte, v reflect.Value, depth int) ([]byte, error) {
	v, err := pointedTo(v)
	if err != nil || !v.IsValid() {
		return msgp.AppendNil(dst), err
	}
	return p.of(v.Type())(dst, v, depth)
}

// packMarshaler writes a value that has a marshaler: its text, or the structure of its JSON.
func packMarshaler(dst []byte, v reflect.Value, depth int) ([]byte, error) {
	if k := v.Kind(); (k == reflect.Pointer || k == reflect.Interface) && v.IsNil() {
		return msgp.AppendNil(dst), nil
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok && !v.Type().Implements(marshalerType) {
		text, err := m.MarshalText()
		return appendPackedText(dst, string(text)), err
	}
	text, err := marshal(v)
	if err != nil {
		return dst, err
	}
	return packJSON(dst, text, depth)
}

// packJSON turns checked JSON into MessagePack.
func packJSON(dst, text []byte, depth int) ([]byte, error) {
	if skipValue(text, 0, depth) != len(text) {
		return dst, errTooDeep
	}
	return appendTranscoded(dst, text)
}

func appendTranscoded(dst, text []byte) ([]byte, error) {
	var err error
	switch text[0] {
	case 'n':
		return msgp.AppendNil(dst), nil
	case 't', 'f':
		return msgp.AppendBool(dst, text[0] == 't'), nil
	case '"':
		s, ok := unescape(text[1 : len(text)-1])
		if !ok {
			return dst, errSurrogate
		}
		return msgp.AppendStringFromBytes(dst, s), nil
	case '[':
		elements := make([][]byte, splitElements(text, nil))
		splitElements(text, elements)
		dst = msgp.AppendArrayHeader(dst, uint32(len(elements)))
		for _, element := range elements {
			if dst, err = appendTranscoded(dst, element); err != nil {
				return dst, err
			}
		}
		return dst, nil
	case '{':
		start, n := len(dst), uint32(0)
		s := objectScanner{b: text, i: 1, first: true}
		for s.next() {
			n++
			dst = msgp.AppendStringFromBytes(dst, s.name())
			if dst, err = appendTranscoded(dst, s.value); err != nil {
				return dst, err
			}
		}
		return slices.Insert(dst, start, msgp.AppendMapHeader(nil, n)...), s.err
	}
	if n, ok := parseInt(text); ok {
		return appendPackedInt(dst, n), nil
	}
	if n, err := strconv.ParseUint(string(text), 10, 64); err == nil {
		return msgp.AppendUint64(dst, n), nil
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err == nil && !bytes.ContainsAny(text, ".eE") { // as a float it could become another number
		if n, ok := new(big.Int).SetString(string(text), 10); ok {
			if _, accuracy := new(big.Float).SetInt(n).Float64(); accuracy != big.Exact {
				err = strconv.ErrRange
			}
		}
	}
	if err != nil {
		return dst, fmt.Errorf("MessagePack cannot hold the number %s", text)
	}
	return msgp.AppendFloat64(dst, f), nil
}

func (p *packer) list(t reflect.Type) encodeFunc {
	return func(dst []byte, v reflect.Value, depth int) ([]byte, error) {
		element := p.of(t.Elem())
		dst = msgp.AppendArrayHeader(dst, uint32(v.Len()))
		for i := range v.Len() {
			var err error
			if dst, err = element(dst, v.Index(i), depth); err != nil {
				return dst, err
			}
		}
		return dst, nil
	}
}

func (p *packer) mapping(t reflect.Type) encodeFunc {
	return func(dst []byte, v reflect.Value, depth int) ([]byte, error) {
		entries, err := sortedEntries(v)
		if err != nil {
			return dst, err
		}
		element := p.of(t.Elem())
		dst = msgp.AppendMapHeader(dst, uint32(len(entries)))
		for _, e := range entries {
			if dst, err = element(appendPackedText(dst, e.key), e.value, depth); err != nil {
				return dst, err
			}
		}
		return dst, nil
	}
}

func (p *packer) structure(t reflect.Type) encodeFunc {
	fields := slices.DeleteFunc(slices.Clone(fieldsOf(t)), func(f field) bool { return f.unpacked })
	return func(dst []byte, v reflect.Value, depth int) ([]byte, error) {
		n := uint32(0)
		for i := range fields {
			if _, ok := fields[i].of(v); ok {
				n++
			}
		}
		dst = msgp.AppendMapHeader(dst, n)
		for i := range fields {
			value, ok := fields[i].of(v)
			if !ok {
				continue
			}
			name := fields[i].declared
			if p.camel {
				name = fields[i].camel
			}
			var err error
			if dst, err = p.field(msgp.AppendString(dst, name), &fields[i], value, depth); err != nil {
				return dst, err
			}
		}
		return dst, nil
	}
}

// field appends a field's value; with the option "string" it is a string here as well.
func (p *packer) field(dst []byte, f *field, v reflect.Value, depth int) ([]byte, error) {
	if !f.quoted {
		return p.of(f.typ)(dst, v, depth)
	}
	text, err := camelWriter.of(f.typ)(nil, v, depth)
	if err != nil || string(text) == "null" {
		return msgp.AppendNil(dst), err
	}
	return msgp.AppendStringFromBytes(dst, text), nil
}
