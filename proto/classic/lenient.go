package classic

import (
	"bytes"
	"encoding/json"
	"reflect"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// lenient returns arguments in which numbers and booleans in quotes are none where a parameter is a number or a boolean, and the other way round
// where it is a string: Json.NET takes both.
func lenient(arguments []byte, params []reflect.Value) []byte {
	elements := hubproto.Elements(arguments)
	out := append(make([]byte, 0, len(arguments)+8), '[')
	for i, raw := range elements {
		if i > 0 {
			out = append(out, ',')
		}
		t := params[i].Type()
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		quoted := len(raw) >= 2 && raw[0] == '"'
		switch kind := t.Kind(); {
		case quoted && kind == reflect.Bool && isBool(raw[1:len(raw)-1]), quoted && isNumeric(kind) && isNumber(raw[1:len(raw)-1]):
			out = append(out, raw[1:len(raw)-1]...)
		case !quoted && kind == reflect.String && (isNumber(raw) || isBool(raw)):
			out = append(append(append(out, '"'), raw...), '"')
		default:
			out = append(out, raw...)
		}
	}
	return append(out, ']')
}

// bindIntegers decodes the arguments of parameters that can be anything again, so that numbers without a fraction are an int64, as in Json.NET, and
// are written without one.
func bindIntegers(arguments []byte, params []reflect.Value) {
	var elements [][]byte
	for i, p := range params {
		if p.Kind() != reflect.Interface || p.NumMethod() > 0 || p.IsNil() {
			continue
		}
		if elements == nil {
			elements = hubproto.Elements(arguments)
		}
		if value := Decode(elements[i]); value != nil {
			p.Set(reflect.ValueOf(value))
		}
	}
}

// Decode returns a JSON value as encoding/json decodes it, but numbers without a fraction as an int64. It is nil if raw is not JSON.
func Decode(raw []byte) any {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil {
		return nil
	}
	return withIntegers(value)
}

// withIntegers returns a value whose numbers are an int64 or a float64.
func withIntegers(value any) any {
	switch v := value.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64()
		return f
	case []any:
		for i := range v {
			v[i] = withIntegers(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = withIntegers(v[name])
		}
	}
	return value
}

func isNumeric(kind reflect.Kind) bool {
	return kind >= reflect.Int && kind <= reflect.Uint64 || kind == reflect.Float32 || kind == reflect.Float64
}

func isNumber(raw []byte) bool {
	return len(raw) > 0 && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9') && json.Valid(raw)
}

func isBool(raw []byte) bool { return string(raw) == "true" || string(raw) == "false" }
