package hubproto

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Types whose own methods accept null.
type (
	lenient       struct{ Raw string }
	lenientNumber int
	lenientFlag   bool
	lenientArray  [2]int
	lenientSlice  []string
	lenientMap    map[string]int
	lenientText   string
	byText        struct{ text string }
	textNumber    int
	embedsTime    struct{ time.Time }
)

var errOwn = errors.New("own")

func (l *lenient) UnmarshalJSON(raw []byte) error     { l.Raw = string(raw); return nil }
func (*lenientNumber) UnmarshalJSON([]byte) error     { return nil }
func (*lenientFlag) UnmarshalJSON([]byte) error       { return nil }
func (*lenientArray) UnmarshalJSON([]byte) error      { return nil }
func (l *lenientSlice) UnmarshalJSON(b []byte) error  { *l = lenientSlice{string(b)}; return nil }
func (l *lenientMap) UnmarshalJSON(b []byte) error    { *l = lenientMap{string(b): 1}; return nil }
func (l *lenientText) UnmarshalJSON(b []byte) error   { *l = lenientText(b); return nil }
func (b *byText) UnmarshalText(text []byte) error     { b.text = string(text); return nil }
func (n *textNumber) UnmarshalText(text []byte) error { *n = textNumber(len(text)); return errOwn }

// bindBoth binds a value from JSON, and the same value from MessagePack.
func bindBoth(t *testing.T, text string, typ reflect.Type) (values [2]any, errs [2]error) {
	packed, err := appendTranscoded(nil, []byte(text))
	require.NoError(t, err)
	for i, p := range []Protocol{JSON, MessagePack} {
		v := reflect.New(typ).Elem()
		errs[i] = p.BindValue([][]byte{[]byte(text), packed}[i], v)
		values[i] = v.Interface()
	}
	return values, errs
}

// null does not bind to a type that cannot be null, at any depth, even if its own methods accept it.
func TestNullIsRefusedByTypesThatCannotBeNull(t *testing.T) {
	for _, typ := range []reflect.Type{
		reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[uint64](),
		reflect.TypeFor[float32](), reflect.TypeFor[float64](), reflect.TypeFor[struct{}](), reflect.TypeFor[[0]int](),
		reflect.TypeFor[[2]string](),
		reflect.TypeFor[time.Time](), reflect.TypeFor[TimeSpan](), reflect.TypeFor[big.Int](), reflect.TypeFor[big.Float](),
		reflect.TypeFor[netip.Addr](), reflect.TypeFor[url.URL](), reflect.TypeFor[embedsTime](),
		reflect.TypeFor[lenient](), reflect.TypeFor[lenientNumber](), reflect.TypeFor[lenientFlag](),
		reflect.TypeFor[lenientArray](), reflect.TypeFor[byText](), reflect.TypeFor[textNumber](),
	} {
		field := reflect.StructOf([]reflect.StructField{{Name: "Field", Type: typ}})
		for text, in := range map[string]reflect.Type{
			`null`: typ, `[null]`: reflect.SliceOf(typ), `[[],[null]]`: reflect.SliceOf(reflect.SliceOf(typ)),
			`[null, null]`: reflect.ArrayOf(2, typ), `{"a":null}`: reflect.MapOf(reflect.TypeFor[string](), typ),
			`{"1":[null]}`:   reflect.MapOf(reflect.TypeFor[int](), reflect.SliceOf(typ)),
			`{"field":null}`: field, `{"FIELD" : null}`: reflect.PointerTo(field),
			`{"a":{"Field":null}}`:       reflect.MapOf(reflect.TypeFor[string](), reflect.PointerTo(field)),
			`[[{"a":[{"field":null}]}]]`: reflect.SliceOf(reflect.SliceOf(reflect.MapOf(reflect.TypeFor[string](), reflect.SliceOf(field)))),
			`[null,{"field":null}]`:      reflect.SliceOf(reflect.PointerTo(field)),
		} {
			_, errs := bindBoth(t, text, in)
			for i, err := range errs {
				var bind *BindError
				assert.ErrorAs(t, err, &bind, "%d: %s from %s", i, in, text)
			}
		}
		// Pointers to these types can be null, also as elements of lists.
		for text, in := range map[string]reflect.Type{
			`null`: reflect.PointerTo(typ), `[null]`: reflect.SliceOf(reflect.PointerTo(typ)),
			`{"a":null}`:                  reflect.MapOf(reflect.TypeFor[string](), reflect.PointerTo(typ)),
			`{"field":null,"other":null}`: reflect.StructOf([]reflect.StructField{{Name: "Field", Type: reflect.PointerTo(typ)}}),
		} {
			values, errs := bindBoth(t, text, in)
			require.NoError(t, errors.Join(errs[:]...), "%s from %s", in, text)
			assert.Equal(t, values[0], values[1])
			inner := reflect.ValueOf(values[0])
			switch inner.Kind() {
			case reflect.Slice:
				inner = inner.Index(0)
			case reflect.Map:
				inner = inner.MapIndex(reflect.ValueOf("a"))
			case reflect.Struct:
				inner = inner.Field(0)
			}
			assert.True(t, inner.IsNil(), "%s from %s", in, text)
		}
	}
}

// Types that can be null bind to null. Those of them that decode themselves receive null.
func TestNullBinds(t *testing.T) {
	for _, want := range []any{
		"", []int(nil), []byte(nil), map[string]int(nil), (*int)(nil), (*time.Time)(nil), (*TimeSpan)(nil), (**lenient)(nil),
		(*big.Int)(nil), json.Number(""), json.RawMessage("null"), net.IP(nil),
		lenientSlice{"null"}, lenientMap{"null": 1}, lenientText("null"), (*lenientSlice)(nil), []time.Time(nil), map[string]TimeSpan(nil),
	} {
		typ := reflect.TypeOf(want)
		values, errs := bindBoth(t, `null`, typ)
		require.NoError(t, errors.Join(errs[:]...), "%s", typ)
		assert.Equal(t, [2]any{want, want}, values, "%s", typ)

		list := reflect.MakeSlice(reflect.SliceOf(typ), 0, 1)
		values, errs = bindBoth(t, `[null]`, list.Type())
		require.NoError(t, errors.Join(errs[:]...), "%s", typ)
		wanted := reflect.Append(list, reflect.ValueOf(want)).Interface()
		assert.Equal(t, [2]any{wanted, wanted}, values, "%s", typ)
	}
	values, errs := bindBoth(t, `{"a":[null,{"b":null}]}`, reflect.TypeFor[any]())
	require.NoError(t, errors.Join(errs[:]...))
	want := map[string]any{"a": []any{nil, map[string]any{"b": nil}}}
	assert.Equal(t, [2]any{want, want}, values)
}

func TestNullErrorNamesPropertyAndType(t *testing.T) {
	_, errs := bindBoth(t, `{"last":{"at":null}}`, reflect.TypeFor[struct{ Last struct{ At time.Time } }]())
	for _, err := range errs {
		require.ErrorContains(t, err, "does not fit time.Time")
		require.Regexp(t, "(?i)last: at: ", err.Error())
	}
	_, errs = bindBoth(t, `[null]`, reflect.TypeFor[[]TimeSpan]())
	for _, err := range errs {
		require.ErrorContains(t, err, "does not fit hubproto.TimeSpan")
	}
}

// "null" as a string or as a name is an ordinary text.
func TestNullAsText(t *testing.T) {
	values, errs := bindBoth(t, `{"null":["null"]}`, reflect.TypeFor[map[string][]byText]())
	require.NoError(t, errors.Join(errs[:]...))
	want := map[string][]byText{"null": {{"null"}}}
	assert.Equal(t, [2]any{want, want}, values)
	values, errs = bindBoth(t, `[{"raw":null},[null]]`, reflect.TypeFor[[]lenient]()) // it decodes its content itself
	require.NoError(t, errors.Join(errs[:]...))
	both := []lenient{{`{"raw":null}`}, {"[null]"}}
	assert.Equal(t, [2]any{both, both}, values)
}

// A missing field is not null: it keeps its value.
func TestMissingFieldIsNotNull(t *testing.T) {
	values, errs := bindBoth(t, `{}`, reflect.TypeFor[Dated]())
	require.NoError(t, errors.Join(errs[:]...))
	assert.Equal(t, [2]any{Dated{}, Dated{}}, values)
}

func TestNullAmongArguments(t *testing.T) {
	at, s := time.Time{}, ""
	params := []reflect.Value{reflect.ValueOf(&s).Elem(), reflect.ValueOf(&at).Elem()}
	for name, c := range map[string]struct {
		p         Protocol
		arguments string
	}{"JSON": {JSON, `["x",null]`}, "MessagePack": {MessagePack, "\x92\xa1x\xc0"}} {
		var bind *BindError
		require.ErrorAs(t, c.p.BindArguments([]byte(c.arguments), params), &bind, name)
		assert.Equal(t, bindText, bind.Text)
		require.ErrorContains(t, bind.Cause, "does not fit time.Time")
	}
	deep := strings.Repeat("[", 30) + "null" + strings.Repeat("]", 30)
	typ := reflect.TypeFor[time.Time]()
	for range 30 {
		typ = reflect.SliceOf(typ)
	}
	_, errs := bindBoth(t, deep, typ)
	for i, err := range errs {
		require.Error(t, err, fmt.Sprint(i))
	}
}
