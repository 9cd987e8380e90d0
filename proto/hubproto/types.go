package hubproto

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
)

// CheckEncodable returns an error if no value of a type can be encoded. The values in interfaces are only checked when they are encoded.
func CheckEncodable(t reflect.Type) error {
	return typeCheck{
		own:   func(t reflect.Type) bool { return marshals(t) || marshals(reflect.PointerTo(t)) },
		key:   func(t reflect.Type) bool { return t.Implements(textType) },
		holds: func(reflect.Type) bool { return true },
		seen:  map[reflect.Type]bool{},
	}.outermost(t)
}

// CheckBindable returns an error if no argument can be bound to a type.
func CheckBindable(t reflect.Type) error {
	key := func(t reflect.Type) bool {
		return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
	}
	return typeCheck{
		own: func(t reflect.Type) bool {
			return key(t) || reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]())
		},
		key:   key,
		holds: func(t reflect.Type) bool { return t.NumMethod() == 0 },
		seen:  map[reflect.Type]bool{},
		reads: true,
	}.outermost(t)
}

// typeCheck checks types, for one direction.
type typeCheck struct {
	own   func(reflect.Type) bool // it has an encoding of its own
	key   func(reflect.Type) bool // it has a text marshaler
	holds func(reflect.Type) bool // an interface can be used
	seen  map[reflect.Type]bool   // types may contain themselves
	reads bool
}

// outermost checks the type of a parameter, an item or a result.
func (c typeCheck) outermost(t reflect.Type) error {
	if isProto(t) || t.Kind() == reflect.Slice && isProto(t.Elem()) {
		return nil
	}
	return c.of(t)
}

func (c typeCheck) of(t reflect.Type) error {
	if t == durationType {
		return errDuration
	}
	if err := checkProto(t, c.reads); err != nil {
		return err
	}
	if c.seen[t] || c.own(t) {
		return nil
	}
	c.seen[t] = true
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.UnsafePointer, reflect.Complex64, reflect.Complex128:
		if t.Kind() == reflect.Chan || t.Kind() == reflect.Func {
			return fmt.Errorf("%s has no encoding; a stream is a <-chan T or an iter.Seq2[T, error]", t)
		}
		return fmt.Errorf("%s has no encoding", t)
	case reflect.Interface:
		if !c.holds(t) {
			return fmt.Errorf("nothing can be bound to the interface %s", t)
		}
	case reflect.Map:
		if t.Key() == durationType {
			return fmt.Errorf("in %s: %w", t, errDuration)
		}
		switch key := t.Key(); key.Kind() {
		case reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
			reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		default:
			if !c.key(key) {
				return fmt.Errorf("in %s: keys of type %s have no encoding", t, key)
			}
		}
		fallthrough
	case reflect.Pointer, reflect.Slice, reflect.Array:
		if err := c.of(t.Elem()); err != nil {
			return fmt.Errorf("in %s: %w", t, err)
		}
	case reflect.Struct:
		return c.fields(t)
	}
	return nil
}

func (c typeCheck) fields(t reflect.Type) error {
	fields := fieldsOf(t)
	for i, f := range fields {
		if err := c.of(f.typ); err != nil {
			return fmt.Errorf("in %s, field %s: %w", t, t.FieldByIndex(f.index).Name, err)
		}
		for _, other := range fields[:i] { // of names that differ in JSON
			if !f.unpacked && !other.unpacked && (f.declared == other.declared || f.camel == other.camel) {
				return fmt.Errorf("in %s: the fields %s and %s have one name in MessagePack; give one of them another by the tag \"msgpack\"", t,
					t.FieldByIndex(other.index).Name, t.FieldByIndex(f.index).Name)
			}
		}
	}
	// Fields with one name cancel each other, as in encoding/json. If they have it because of camel case, that is an error.
	var all []field
	collectFields(t, nil, map[reflect.Type]bool{}, &all)
	for i, f := range all {
		outer := f.index[:len(f.index)-1]
		for _, other := range all[:i] {
			if f.name == other.name && !f.tagged && !other.tagged && slices.Equal(outer, other.index[:len(other.index)-1]) {
				return fmt.Errorf("in %s: the fields %s and %s are both called %q; give one of them a name by a tag", t,
					t.FieldByIndex(other.index).Name, t.FieldByIndex(f.index).Name, f.name)
			}
		}
	}
	return nil
}
