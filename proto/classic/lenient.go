package classic

import (
	"encoding"
	"encoding/json"
	"reflect"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// lenient returns arguments in which numbers and booleans in quotes are none where they are for a number or a boolean, the other way round where they
// are for a string, and "" is null where it is for a pointer to a number or a boolean: Json.NET takes all that, at any depth.
func lenient(arguments []byte, params []reflect.Value) []byte {
	out := append(make([]byte, 0, len(arguments)+8), '[')
	for i, raw := range hubproto.Elements(arguments) {
		if i > 0 {
			out = append(out, ',')
		}
		out = appendLenient(out, raw, params[i].Type())
	}
	return append(out, ']')
}

func appendLenient(dst, raw []byte, t reflect.Type) []byte {
	nullable := t.Kind() == reflect.Pointer
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reads := reflect.PointerTo(t); reads.Implements(jsonReader) || reads.Implements(textReader) || len(raw) == 0 {
		return append(dst, raw...)
	}
	kind := t.Kind()
	if len(raw) >= 2 && raw[0] == '"' {
		text := raw[1 : len(raw)-1]
		switch {
		case kind == reflect.Bool && isBool(text), isNumeric(kind) && isNumber(text):
			return append(dst, text...)
		case nullable && len(text) == 0 && (kind == reflect.Bool || isNumeric(kind)):
			return append(dst, "null"...)
		}
		return append(dst, raw...)
	}
	switch {
	case kind == reflect.String && (isNumber(raw) || isBool(raw)):
		return append(append(append(dst, '"'), raw...), '"')
	case raw[0] == '[' && (kind == reflect.Slice || kind == reflect.Array):
		dst = append(dst, '[')
		for i, element := range hubproto.Elements(raw) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendLenient(dst, element, t.Elem())
		}
		return append(dst, ']')
	case raw[0] == '{' && (kind == reflect.Struct || kind == reflect.Map):
		return appendLenientObject(dst, raw, t)
	}
	return append(dst, raw...)
}

func appendLenientObject(dst, raw []byte, t reflect.Type) []byte {
	_ = hubproto.EachProperty(raw, t, func(value []byte, of reflect.Type, quoted bool) error {
		start := cap(raw) - cap(value) // both are cut from the same array
		if quoted {                    // a number or boolean in quotes, and so in Json.NET as well without
			of = reflect.TypeFor[string]()
		}
		dst = appendLenient(append(dst, raw[:start]...), value, of)
		raw = raw[start+len(value):]
		return nil
	})
	return append(dst, raw...)
}

var (
	jsonReader = reflect.TypeFor[json.Unmarshaler]()
	textReader = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func isNumeric(kind reflect.Kind) bool {
	return kind >= reflect.Int && kind <= reflect.Uint64 || kind == reflect.Float32 || kind == reflect.Float64
}

func isNumber(raw []byte) bool {
	return len(raw) > 0 && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9') && json.Valid(raw)
}

func isBool(raw []byte) bool { return string(raw) == "true" || string(raw) == "false" }
