package classic

import (
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
		case quoted && (kind >= reflect.Int && kind <= reflect.Uint64 || kind == reflect.Float32 || kind == reflect.Float64 || kind == reflect.Bool):
			out = append(out, raw[1:len(raw)-1]...)
		case !quoted && kind == reflect.String && len(raw) > 0 && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9' || raw[0] == 't' || raw[0] == 'f'):
			out = append(append(append(out, '"'), raw...), '"')
		default:
			out = append(out, raw...)
		}
	}
	return append(out, ']')
}
