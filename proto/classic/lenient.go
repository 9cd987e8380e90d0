package classic

import (
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

func isNumeric(kind reflect.Kind) bool {
	return kind >= reflect.Int && kind <= reflect.Uint64 || kind == reflect.Float32 || kind == reflect.Float64
}

func isNumber(raw []byte) bool {
	return len(raw) > 0 && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9') && json.Valid(raw)
}

func isBool(raw []byte) bool { return string(raw) == "true" || string(raw) == "false" }
