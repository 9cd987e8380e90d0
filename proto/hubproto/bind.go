package hubproto

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

const bindText = "Error binding arguments. Make sure that the types of the provided values match the types of the hub method being invoked."

func (jsonProtocol) CountArguments(arguments []byte) int { return splitElements(arguments, nil) }

func (p jsonProtocol) BindArguments(arguments []byte, params []reflect.Value) error {
	var few [8][]byte
	raw := few[:]
	if len(params) > len(raw) {
		raw = make([][]byte, len(params))
	}
	n := splitElements(arguments, raw)
	for i, param := range params[:min(n, len(params))] { // an argument that does not fit is reported before one that is missing
		if err := p.bind(raw[i], param); err != nil {
			return argumentError(i, param, err)
		}
	}
	if n != len(params) {
		return countError(n, len(params))
	}
	return nil
}

func (p jsonProtocol) BindValue(value []byte, v reflect.Value) error {
	if value == nil {
		value = []byte("null")
	}
	return valueError(v, p.bind(value, v))
}

func valueError(v reflect.Value, err error) error {
	if err == nil {
		return nil
	}
	return &BindError{Text: fmt.Sprintf("the value does not fit %s: %v", v.Type(), err), Cause: err}
}

// argumentError is the error of an argument, counted from 0, that cannot be decoded into p.
func argumentError(i int, p reflect.Value, err error) error {
	return &BindError{Text: bindText, Cause: fmt.Errorf("argument %d does not fit %s: %w", i+1, p.Type(), err)}
}

func countError(provided, expected int) error {
	return &BindError{Text: fmt.Sprintf("Invocation provides %d argument(s) but target expects %d.", provided, expected)}
}

// bind decodes checked JSON into v, which is settable and holds its zero value.
func (p jsonProtocol) bind(raw []byte, v reflect.Value) error {
	switch to := v.Addr().Interface().(type) { // the common types; named types may decode themselves
	case *string:
		if raw[0] == '"' {
			text, ok := unescape(raw[1 : len(raw)-1])
			if !ok {
				return errSurrogate
			}
			*to = string(text)
			return nil
		}
	case *int, *int64, *int32:
		if n, ok := parseInt(raw); ok && !v.OverflowInt(n) {
			v.SetInt(n)
			return nil
		}
	}
	if done, err := bindProto(raw, v); done {
		return err
	}
	if bytes.Contains(raw, []byte("null")) {
		if err := checkNulls(raw, v.Type()); err != nil {
			return err
		}
	}
	if holdsTime(v.Type()) {
		var err error
		if raw, err = withPlainTimes(raw, v.Type()); err != nil {
			return err
		}
	}
	if bytes.Contains(raw, []byte(`\u`)) {
		if err := checkSurrogates(raw); err != nil {
			return err
		}
	}
	if p.integers && holdsInterface(v.Type()) {
		return bindIntegers(raw, v)
	}
	return json.Unmarshal(raw, v.Addr().Interface())
}

var errSurrogate = fmt.Errorf("a string holds half of a surrogate pair")

// checkSurrogates refuses half surrogate pairs, which encoding/json would replace.
func checkSurrogates(raw []byte) error {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '"' {
			continue
		}
		end := skipString(raw, i)
		if _, ok := unescape(raw[i+1 : end-1]); !ok {
			return errSurrogate
		}
		i = end - 1
	}
	return nil
}

var (
	unmarshalerType     = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// checkNulls refuses null where t has no value for it, even if an unmarshaler of the type would accept it. encoding/json would leave the zero
// value. A value that may be missing is a pointer.
func checkNulls(raw []byte, t reflect.Type) error {
	if raw[0] == 'n' {
		if takesNull(t) {
			return nil
		}
		return fmt.Errorf("null does not fit %s", t)
	}
	if p := reflect.PointerTo(t); p.Implements(unmarshalerType) || p.Implements(textUnmarshalerType) && raw[0] == '"' {
		return nil
	}
	switch t.Kind() {
	case reflect.Pointer:
		return checkNulls(raw, t.Elem())
	case reflect.Slice, reflect.Array:
		if raw[0] != '[' {
			return nil
		}
		elements := make([][]byte, splitElements(raw, nil))
		splitElements(raw, elements)
		for _, element := range elements {
			if err := checkNulls(element, t.Elem()); err != nil {
				return err
			}
		}
	case reflect.Map, reflect.Struct:
		return EachProperty(raw, t, func(value []byte, of reflect.Type, _ bool) error { return checkNulls(value, of) })
	}
	return nil
}

// takesNull reports whether null has a meaning for a type.
func takesNull(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface, reflect.String:
		return true
	}
	return false
}

// fieldNamed returns the field that a property is decoded into, or nil: the one with exactly this name, or the first whose name differs only
// in case.
func fieldNamed(t reflect.Type, name string) *field {
	fields := fieldsOf(t)
	for i := range fields {
		if fields[i].name == name {
			return &fields[i]
		}
	}
	for i := range fields {
		if strings.EqualFold(fields[i].name, name) {
			return &fields[i]
		}
	}
	return nil
}
