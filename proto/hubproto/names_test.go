package hubproto

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tinylib/msgp/msgp"
)

type (
	labelled struct {
		Plain    int
		URLPath  int
		Tagged   int `json:"tagged"`
		Packed   int `msgpack:"pk"`
		Both     int `json:"inJSON" msgpack:"inPack"`
		Unpacked int `msgpack:"-"`
		Hidden   int `json:"-"`
		Optional int `json:",omitempty"`
		Options  int `json:"options" msgpack:",omitempty"`
		Empty    int `msgpack:""`
		Promoted
		Named Promoted `msgpack:"in"`
	}
	Promoted struct{ InnerValue int }
)

// namesOf returns the field names of a struct in MessagePack.
func namesOf(t *testing.T, p *packer, v any) []string {
	b, err := p.append(nil, v, 1)
	require.NoError(t, err)
	n, rest, err := msgp.ReadMapHeaderBytes(b)
	require.NoError(t, err)
	var names []string
	for range n {
		var name string
		name, rest, err = msgp.ReadStringBytes(rest)
		require.NoError(t, err)
		rest, err = msgp.Skip(rest)
		require.NoError(t, err)
		names = append(names, name)
	}
	require.Empty(t, rest, "the length of the map is its number of fields")
	return names
}

func TestEncodedFieldNames(t *testing.T) {
	assert.Equal(t, []string{
		"Plain", "URLPath", "tagged", "pk", "inPack", "options", "Empty", "InnerValue", "in",
	}, namesOf(t, declaredPacker, labelled{}))
	assert.Equal(t, []string{
		"plain", "urlPath", "tagged", "pk", "inPack", "options", "empty", "innerValue", "in",
	}, namesOf(t, camelPacker, &labelled{}))
	text, err := camelWriter.append(nil, labelled{}, 1)
	require.NoError(t, err)
	assert.Equal(
		t,
		`{"plain":0,"urlPath":0,"tagged":0,"packed":0,"inJSON":0,"unpacked":0,"options":0,"empty":0,"innerValue":0,"named":{"innerValue":0}}`,
		string(text), "JSON ignores the msgpack tag",
	)
	assert.Contains(t, namesOf(t, declaredPacker, labelled{Optional: 1}), "Optional")
	assert.Contains(t, namesOf(t, camelPacker, labelled{Optional: 1}), "optional")
	assert.Empty(t, namesOf(t, declaredPacker, struct {
		A int `msgpack:"-"`
		B int `msgpack:"-,"`
	}{1, 2}))

	// Each packer uses its own names for types at any depth.
	for p, want := range map[*packer]string{declaredPacker: "InnerValue", camelPacker: "innerValue"} {
		b, err := p.append(nil, map[string]any{"Key": []any{&Promoted{1}, []Promoted{{2}}, struct{ P *Promoted }{&Promoted{3}}}}, 1)
		require.NoError(t, err)
		assert.Equal(t, 3, strings.Count(string(b), want))
		assert.Contains(t, string(b), "Key", "map keys are not field names")
	}
}

func TestMessagePackOptions(t *testing.T) {
	assert.Equal(t, MessagePack, MessagePackOptions{}.Protocol())
	camel := MessagePackOptions{CamelCase: true}.Protocol()
	assert.NotEqual(t, MessagePack, camel)
	assert.Equal(t, MessagePack.Name(), camel.Name())
	assert.True(t, camel.Binary())
	in := []any{Promoted{5}}
	for p, want := range map[Protocol]string{MessagePack: "InnerValue", camel: "innerValue"} {
		call, err := p.AppendInvocation(nil, nil, "T", in)
		require.NoError(t, err)
		result, err := p.AppendResult(nil, []byte("1"), in[0])
		require.NoError(t, err)
		item, err := p.AppendItem(nil, []byte("1"), in[0])
		require.NoError(t, err)
		for _, record := range [][]byte{call, result, item} {
			assert.Contains(t, string(record), want)
			assert.NotContains(t, strings.ToLower(strings.Replace(string(record), want, "", 1)), "innervalue")
		}
	}
}

// A field is decoded under each of its names, in any case.
func TestDecodedFieldNames(t *testing.T) {
	pack := func(name string, value int) []byte {
		return msgp.AppendInt(msgp.AppendString(msgp.AppendMapHeader(nil, 1), name), value)
	}
	for want, names := range map[labelled][]string{
		{Plain: 7}:                          {"Plain", "plain", "PLAIN", "pLAIN"},
		{URLPath: 7}:                        {"URLPath", "urlPath", "UrlPath", "urlpath", "URLPATH"},
		{Tagged: 7}:                         {"tagged", "Tagged", "TAGGED"},
		{Packed: 7}:                         {"pk", "PK", "packed", "Packed", "PACKED"},
		{Both: 7}:                           {"inPack", "INPACK", "inpack", "inJSON", "InJson", "INJSON"},
		{Optional: 7}:                       {"Optional", "optional"},
		{Options: 7}:                        {"options", "Options"},
		{Promoted: Promoted{InnerValue: 7}}: {"InnerValue", "innerValue", "INNERVALUE"},
		{}: {"Unpacked", "unpacked", "Hidden", "hidden", "-", "", "both", "Both", "pk ",
			"plain\x00", "promoted"},
	} {
		for _, name := range names {
			for _, p := range []Protocol{MessagePack, MessagePackOptions{CamelCase: true}.Protocol()} {
				var got labelled
				require.NoError(t, p.BindValue(pack(name, 7), reflect.ValueOf(&got).Elem()), name)
				assert.Equal(t, want, got, name)
			}
		}
	}
	var got labelled
	require.NoError(t, MessagePack.BindValue([]byte("\x81\xa2IN\x81\xaainnerValue\x07"), reflect.ValueOf(&got).Elem()))
	assert.Equal(t, labelled{Named: Promoted{7}}, got)
	// Values of unknown fields are not checked.
	require.NoError(t, MessagePack.BindValue([]byte("\x82\xa8unpacked\xc0\xa6Hidden\xa1x"), reflect.ValueOf(&got).Elem()))
	require.NoError(t, JSON.BindValue([]byte(`{"unpacked":7,"pk":8,"packed":9,"inPack":10}`), reflect.ValueOf(&got).Elem()))
	assert.Equal(t, labelled{Named: Promoted{7}, Unpacked: 7, Packed: 9}, got)
}

// An exact match takes precedence over one that differs in case, which takes precedence over a name in JSON only.
func TestFieldNamePrecedence(t *testing.T) {
	type cases struct {
		Lower int `json:"a"`
		Upper int `json:"A"`
	}
	type crossed struct {
		First  int `json:"x" msgpack:"y"`
		Second int `json:"z" msgpack:"x"`
	}
	for _, c := range []struct {
		packed string
		want   any
	}{
		{"\x82\xa1a\x01\xa1A\x02", cases{1, 2}}, {"\x82\xa1A\x02\xa1a\x01", cases{1, 2}},
		{"\x82\xa1y\x01\xa1x\x02", crossed{1, 2}}, {"\x82\xa1Y\x01\xa1X\x02", crossed{1, 2}},
		{"\x81\xa1z\x02", crossed{0, 2}},
	} {
		v := reflect.New(reflect.TypeOf(c.want)).Elem()
		require.NoError(t, MessagePack.BindValue([]byte(c.packed), v))
		assert.Equal(t, c.want, v.Interface(), "%x", c.packed)
	}
}

// Each packer decodes the names that the other one encodes.
func TestPackersDecodeEachOthersNames(t *testing.T) {
	in := labelled{1, 2, 3, 4, 5, 0, 0, 8, 9, 10, Promoted{11}, Promoted{12}}
	for _, p := range []*packer{declaredPacker, camelPacker} {
		b, err := p.append(nil, in, 1)
		require.NoError(t, err)
		for _, reader := range []Protocol{MessagePack, MessagePackOptions{CamelCase: true}.Protocol()} {
			var out labelled
			require.NoError(t, reader.BindValue(b, reflect.ValueOf(&out).Elem()))
			assert.Equal(t, in, out)
		}
	}
}

// Two fields with the same name in MessagePack are refused, as in JSON.
func TestDuplicateFieldNamesAreRefused(t *testing.T) {
	type tags struct {
		A int `msgpack:"x"`
		B int `msgpack:"x"`
	}
	type tagAndField struct {
		Value int
		Other int `json:"Value"`
	}
	type tagAndCamel struct {
		Value int
		Other int `msgpack:"value"`
	}
	type fine struct {
		Value int
		Other int `json:"Value" msgpack:"Other"`
		Left  int `msgpack:"-"`
		Right int `json:"right" msgpack:"Left"`
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[tags](), reflect.TypeFor[[]*tagAndField](), reflect.TypeFor[tagAndCamel]()} {
		for _, err := range []error{CheckEncodable(typ), CheckBindable(typ)} {
			require.ErrorContains(t, err, "in MessagePack", "%s", typ)
		}
	}
	require.NoError(t, errors.Join(CheckEncodable(reflect.TypeFor[fine]()), CheckBindable(reflect.TypeFor[labelled]())))
	names := namesOf(t, declaredPacker, fine{})
	assert.Len(t, slices.Compact(slices.Sorted(slices.Values(names))), 3)
}
