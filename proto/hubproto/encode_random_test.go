package hubproto_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// drawType generates a type. If tagged is set, tags name the fields of its structs.
func drawType(t *rapid.T, depth int, tagged bool) reflect.Type {
	leaves := []reflect.Type{
		reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[int64](),
		reflect.TypeFor[uint](), reflect.TypeFor[uint8](), reflect.TypeFor[uint64](),
		reflect.TypeFor[float32](), reflect.TypeFor[float64](), reflect.TypeFor[string](), reflect.TypeFor[[]byte](),
		reflect.TypeFor[any](), reflect.TypeFor[text](), reflect.TypeFor[small](),
		reflect.TypeFor[json.Number](), reflect.TypeFor[time.Time](),
	}
	if tagged { // these types cannot decode what they encode
		leaves = append(leaves, reflect.TypeFor[valueM](), reflect.TypeFor[*pointerM](), reflect.TypeFor[valueT](),
			reflect.TypeFor[*pointerT](), reflect.TypeFor[intM](), reflect.TypeFor[intT](),
			reflect.TypeFor[valueZero](), reflect.TypeFor[mapM](), reflect.TypeFor[[]octetM](), reflect.TypeFor[json.RawMessage]())
	}
	inner := func() reflect.Type { return drawType(t, depth-1, tagged) }
	kinds := []string{"leaf"}
	if depth > 0 {
		kinds = []string{"leaf", "pointer", "slice", "array", "map", "struct", "struct"}
	}
	switch rapid.SampledFrom(kinds).Draw(t, "kind") {
	case "pointer":
		to := inner()
		switch to.Kind() {
		case reflect.Pointer, reflect.Interface, reflect.Slice, reflect.Map:
			if !tagged { // null decodes to a nil outer pointer, so a pointer to nil cannot be restored
				return to
			}
		}
		return reflect.PointerTo(to)
	case "slice":
		return reflect.SliceOf(inner())
	case "array":
		return reflect.ArrayOf(rapid.IntRange(0, 3).Draw(t, "length"), inner())
	case "map":
		keys := []reflect.Type{reflect.TypeFor[string](), reflect.TypeFor[int](), reflect.TypeFor[uint8](), reflect.TypeFor[text]()}
		if tagged {
			keys = append(keys, reflect.TypeFor[keyT](), reflect.TypeFor[keyInt]())
		}
		return reflect.MapOf(rapid.SampledFrom(keys).Draw(t, "key"), inner())
	case "struct":
		return drawStruct(t, depth, tagged)
	}
	return rapid.SampledFrom(leaves).Draw(t, "leaf")
}

func drawStruct(t *rapid.T, depth int, tagged bool) reflect.Type {
	var fields []reflect.StructField
	for i := range rapid.IntRange(0, 5).Draw(t, "fields") {
		name := ""
		if tagged {
			name = rapid.SampledFrom([]string{"name", "Name", "na me", "näme", "n<>&"}).Draw(t, "name") + strconv.Itoa(i)
		}
		choice := []string{"", ",omitempty", ",string", ",omitempty,string"}
		if tagged { // a value that omitzero omits may be restored as one that is encoded as {}
			choice = append(choice, ",omitzero", ",omitzero,string")
		}
		options := rapid.SampledFrom(choice).Draw(t, "options")
		fields = append(fields, reflect.StructField{
			Name: rapid.SampledFrom([]string{"Field", "URL", "ID"}).Draw(t, "field") + strconv.Itoa(i), Type: drawType(t, depth-1, tagged),
			Tag: reflect.StructTag(fmt.Sprintf("json:%q", name+options)),
		})
	}
	return reflect.StructOf(fields)
}

func drawText(t *rapid.T, valid bool) string {
	if valid || rapid.Bool().Draw(t, "valid") {
		return rapid.String().Draw(t, "text")
	}
	return string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
}

// fill sets v to a random value. v must be settable. If plain is set, encoding and binding restore the value.
func fill(t *rapid.T, v reflect.Value, depth int, plain bool) {
	switch v.Interface().(type) {
	case json.Number:
		v.SetString(rapid.SampledFrom([]string{"0", "-1.5", "1e3", "12345678901234567890"}).Draw(t, "number"))
		return
	case json.RawMessage:
		v.SetBytes([]byte(rapid.SampledFrom([]string{"null", "1", ` {"a" : [1, "x"]} `, `"<"`}).Draw(t, "raw")))
		return
	case time.Time:
		v.Set(reflect.ValueOf(rapid.SampledFrom([]time.Time{{}, time.Unix(1e9, 5).UTC()}).Draw(t, "time")))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, "int") >> (64 - v.Type().Bits()))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(rapid.Uint64().Draw(t, "uint") >> (64 - v.Type().Bits()))
	case reflect.Float32:
		v.SetFloat(float64(rapid.Float32().Draw(t, "float")))
	case reflect.Float64:
		v.SetFloat(rapid.Float64().Draw(t, "float"))
	case reflect.String:
		v.SetString(drawText(t, plain))
	case reflect.Pointer:
		if rapid.Bool().Draw(t, "set") {
			v.Set(reflect.New(v.Type().Elem()))
			fill(t, v.Elem(), depth-1, plain)
		}
	case reflect.Interface:
		inner := rapid.SampledFrom([]reflect.Type{
			nil, reflect.TypeFor[string](), reflect.TypeFor[float64](), reflect.TypeFor[bool](), reflect.TypeFor[[]any](),
			reflect.TypeFor[map[string]any](),
		}).Draw(t, "dynamic type")
		if inner != nil && depth > -3 {
			value := reflect.New(inner).Elem()
			fill(t, value, depth-1, plain)
			if plain && (inner.Kind() == reflect.Slice || inner.Kind() == reflect.Map) && value.IsNil() {
				return // null decodes to an untyped nil
			}
			v.Set(value)
		}
	case reflect.Slice:
		if rapid.Bool().Draw(t, "set") {
			v.Set(reflect.MakeSlice(v.Type(), rapid.IntRange(0, 3).Draw(t, "length"), 3))
		}
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i), depth-1, plain)
		}
	case reflect.Map:
		if !rapid.Bool().Draw(t, "set") {
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		for range rapid.IntRange(0, 3).Draw(t, "length") {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			fill(t, key, depth-1, true) // keys that are invalid UTF-8 may become equal
			fill(t, value, depth-1, plain)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), depth-1, plain)
		}
	}
}

func TestEncodeAgreesWithEncodingJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := reflect.New(drawType(t, 3, true)).Elem()
		fill(t, v, 3, false)
		requireLikeEncodingJSON(t, v.Interface())
		requireLikeEncodingJSON(t, v.Addr().Interface())
	})
}

func TestEncodedValuesBindBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := reflect.New(drawStruct(t, 3, false)).Elem()
		fill(t, v, 3, true)
		text := encoded(t, v.Interface())
		back := reflect.New(v.Type()).Elem()
		require.NoError(t, hubproto.JSON.BindArguments([]byte("["+text+"]"), []reflect.Value{back}), text)
		require.Equal(t, text, encoded(t, back.Interface()))
	})
}
