package hubproto

import (
	"bytes"
	"cmp"
	"encoding/json"
	"reflect"
	"sync"
)

// DecodeIntegers returns a JSON value as encoding/json decodes it into an interface, but numbers without a fraction as an int64 if they fit. It is nil
// if raw is not JSON.
func DecodeIntegers(raw []byte) any {
	var value any
	if bindIntegers(raw, reflect.ValueOf(&value).Elem()) != nil {
		return nil
	}
	return value
}

var holdsInterfaceCache sync.Map // reflect.Type → bool

// holdsInterface reports whether a value that encoding/json decodes can contain anything, except in types with unmarshalers.
func holdsInterface(t reflect.Type) bool {
	return holds(t, &holdsInterfaceCache, func(t reflect.Type) bool { return t.Kind() == reflect.Interface })
}

// bindIntegers decodes JSON into v, whose type holds interfaces.
func bindIntegers(raw []byte, v reflect.Value) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(v.Addr().Interface()); err != nil {
		return err
	}
	var n numbers
	n.replace(v)
	return n.err
}

// numbers replaces each json.Number that is in an interface.
type numbers struct {
	err error // of one that does not fit a float64
}

func (n *numbers) replace(v reflect.Value) {
	if t := v.Type(); !holdsInterface(t) || readsItself(t) {
		return
	}
	switch v.Kind() {
	case reflect.Interface:
		if !v.IsNil() {
			v.Set(reflect.ValueOf(n.of(v.Interface())))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			n.replace(v.Elem())
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			n.replace(v.Index(i))
		}
	case reflect.Map:
		value := reflect.New(v.Type().Elem()).Elem()
		for _, key := range v.MapKeys() {
			value.Set(v.MapIndex(key))
			n.replace(value)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() || f.Anonymous && f.Type.Kind() == reflect.Struct {
				n.replace(v.Field(i))
			}
		}
	}
}

// of returns a value whose numbers are an int64 or a float64.
func (n *numbers) of(value any) any {
	switch v := value.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, err := v.Float64()
		n.err = cmp.Or(n.err, err)
		return f
	case []any:
		for i := range v {
			v[i] = n.of(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = n.of(v[name])
		}
	}
	return value
}
