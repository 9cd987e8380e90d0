package hubproto

import (
	"cmp"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// field is a struct field that is part of the encoding.
type field struct {
	name      string // in JSON
	plain     string // in JSON with declared names
	declared  string // in MessagePack: from the tag "msgpack" or "json", or as declared
	camel     string // in MessagePack in camel case
	unpacked  bool   // it is no part of MessagePack
	index     []int
	omitEmpty bool
	omitZero  bool
	isZero    func(reflect.Value) bool
	quoted    bool // written as a string, by the option "string"
	tagged    bool
	typ       reflect.Type
}

var fieldCache sync.Map // fieldKey → []field

type fieldKey struct {
	t        reflect.Type
	declared bool
}

// fieldsOf returns the fields of a struct type with their names on the wire. The rules are those of encoding/json, including the
// promotion of embedded fields, except that a field without a name in its tag has its name in camel case.
func fieldsOf(t reflect.Type) []field { return fieldsNamed(t, false) }

// fieldsNamed is fieldsOf, with names in camel case or as declared.
func fieldsNamed(t reflect.Type, declared bool) []field {
	key := fieldKey{t, declared}
	if cached, ok := fieldCache.Load(key); ok {
		return cached.([]field)
	}
	var all []field
	collectFields(t, nil, map[reflect.Type]bool{}, &all)
	if declared {
		for i := range all {
			all[i].name = all[i].plain
		}
	}
	fields := slices.DeleteFunc(slices.Clone(all), func(f field) bool { return !dominates(f, all) })
	cached, _ := fieldCache.LoadOrStore(key, fields)
	return cached.([]field)
}

func collectFields(t reflect.Type, index []int, visiting map[reflect.Type]bool, all *[]field) {
	if visiting[t] {
		return
	}
	visiting[t] = true
	defer delete(visiting, t)
	for i := range t.NumField() {
		sf := t.Field(i)
		inner := sf.Type
		if inner.Kind() == reflect.Pointer && inner.Name() == "" {
			inner = inner.Elem()
		}
		if sf.Anonymous && !sf.IsExported() && inner.Kind() != reflect.Struct || !sf.Anonymous && !sf.IsExported() {
			continue
		}
		tag := sf.Tag.Get("json")
		if tag == "-" {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if strings.ContainsFunc(name, isNoNameRune) {
			name = "" // as encoding/json has it
		}
		at := append(slices.Clone(index), i)
		if sf.Anonymous && name == "" && inner.Kind() == reflect.Struct {
			collectFields(inner, at, visiting, all)
			continue
		}
		f := field{name: name, index: at, tagged: name != "", typ: sf.Type}
		if name == "" {
			f.name = camelCase(sf.Name)
		}
		f.plain = cmp.Or(name, sf.Name)
		f.declared = f.plain
		f.camel = f.name
		if packed, _, _ := strings.Cut(sf.Tag.Get("msgpack"), ","); packed == "-" {
			f.unpacked = true
		} else if packed != "" {
			f.declared, f.camel = packed, packed
		}
		for option := range strings.SplitSeq(options, ",") {
			switch option {
			case "omitempty":
				f.omitEmpty = true
			case "omitzero":
				f.omitZero = true
				f.isZero = zeroTest(sf.Type)
			case "string":
				switch inner.Kind() {
				case reflect.Bool, reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
					reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr, reflect.Float32, reflect.Float64:
					f.quoted = inner == reflect.TypeFor[json.Number]() || !marshals(reflect.PointerTo(inner))
				}
			}
		}
		*all = append(*all, f)
	}
}

func isNoNameRune(c rune) bool {
	return !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", c) && !unicode.IsLetter(c) && !unicode.IsDigit(c)
}

// dominates reports whether f is the field that its name refers to: the least nested one, and among several of those the only one with a tag.
func dominates(f field, all []field) bool {
	for _, other := range all {
		if other.name != f.name || slices.Equal(other.index, f.index) {
			continue
		}
		switch {
		case len(other.index) != len(f.index):
			if len(other.index) < len(f.index) {
				return false
			}
		case other.tagged == f.tagged, other.tagged:
			return false
		}
	}
	return true
}

// camelCase converts the capitals at the beginning of a name to lower case, except one that begins the next word, as System.Text.Json does:
// URLPath becomes urlPath.
func camelCase(name string) string {
	runes := []rune(name)
	for i, r := range runes {
		if !unicode.IsUpper(r) || i > 0 && i+1 < len(runes) && !unicode.IsUpper(runes[i+1]) {
			break
		}
		runes[i] = unicode.ToLower(r)
	}
	return string(runes)
}

// of returns the field's value in a struct, and false if it is not written.
func (f *field) of(v reflect.Value) (reflect.Value, bool) {
	value, ok := fieldByIndex(v, f.index)
	if !ok || f.omitEmpty && isEmpty(value) || f.omitZero && f.isZero(value) {
		return reflect.Value{}, false
	}
	return value, true
}

// fieldByIndex is reflect.Value.FieldByIndex that stops at a nil pointer.
func fieldByIndex(v reflect.Value, index []int) (reflect.Value, bool) {
	for i, x := range index {
		if i > 0 && v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return reflect.Value{}, false
			}
			v = v.Elem()
		}
		v = v.Field(x)
	}
	return v, true
}
