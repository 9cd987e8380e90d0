package hubproto

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"sync"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Protobuf messages travel as the protobuf JSON mapping has them: in MessagePack with the same names and the same structure. A message is always
// a pointer. It can lie anywhere in what is written; in JSON that is read it is a value of its own or an element of a list, because
// encoding/json, which decodes everything else, does not know the mapping.

var protoType = reflect.TypeFor[proto.Message]()

var protoTypes sync.Map // reflect.Type of pointers and slices → bool

// isProto reports whether t is a protobuf message that has no other JSON mapping.
func isProto(t reflect.Type) bool {
	if t.Kind() != reflect.Pointer {
		return false
	}
	if known, ok := protoTypes.Load(t); ok {
		return known.(bool)
	}
	is := t.Implements(protoType) && !t.Implements(marshalerType) && !t.Implements(unmarshalerType)
	protoTypes.Store(t, is)
	return is
}

// marshalProto returns the JSON of a message in one form: protojson varies the spaces.
func marshalProto(m proto.Message) ([]byte, error) {
	text, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	var compact bytes.Buffer
	err = json.Compact(&compact, text)
	return compact.Bytes(), err
}

// unmarshalProto decodes JSON into a new message of type t. Unknown fields are skipped, as they are for other types.
func unmarshalProto(text []byte, t reflect.Type) (reflect.Value, error) {
	m := reflect.New(t.Elem())
	return m, protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(text, m.Interface().(proto.Message))
}

// bindProto decodes checked JSON into v if that is a message or a list of them.
func bindProto(raw []byte, v reflect.Value) (done bool, err error) {
	t := v.Type()
	switch {
	case isProto(t):
		if raw[0] == 'n' {
			return true, nil
		}
		m, err := unmarshalProto(raw, t)
		v.Set(m)
		return true, err
	case t.Kind() == reflect.Slice && isProto(t.Elem()):
		if raw[0] == 'n' {
			return true, nil
		}
		if raw[0] != '[' {
			return true, fmt.Errorf("it is no list of %s", t.Elem())
		}
		elements := make([][]byte, splitElements(raw, nil))
		splitElements(raw, elements)
		list := reflect.MakeSlice(t, len(elements), len(elements))
		for i, element := range elements {
			if _, err := bindProto(element, list.Index(i)); err != nil {
				return true, err
			}
		}
		v.Set(list)
		return true, nil
	}
	return false, nil
}

// checkProto refuses messages by value, and, where they are to be read, inside of other types.
func checkProto(t reflect.Type, reads bool) error {
	switch {
	case t.Kind() == reflect.Struct && isProto(reflect.PointerTo(t)):
		return fmt.Errorf("%s is a protobuf message: use *%s", t, t)
	case reads && isProto(t):
		return fmt.Errorf("the protobuf message %s is read as a parameter or an item of its own, or in a list, but not inside of another type", t)
	}
	return nil
}
