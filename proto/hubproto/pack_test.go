package hubproto

import (
	"encoding/hex"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The bytes are those of spec §5.2.
func TestPackedMessages(t *testing.T) {
	p := MessagePack
	raw := func(b []byte, err error) []byte { require.NoError(t, err); return b }
	for name, c := range map[string]struct {
		got  []byte
		want string
	}{
		"ping":             {p.Append(nil, &Message{Type: Ping}), "029106"},
		"close":            {p.Append(nil, &Message{Type: Close}), "049307c0c2"},
		"close with error": {p.Append(nil, &Message{Type: Close, Error: []byte("e"), HasError: true, AllowReconnect: true}), "059307a165c3"},
		"call":             {raw(p.AppendInvocation(nil, nil, "T", []any{1, "a"})), "0b9601" + "80" + "c0" + "a154" + "92" + "01" + "a161" + "90"},
		"call with id":     {raw(p.AppendInvocation(nil, []byte("s1"), "T", nil)), "0a960180a27331a1549090"},
		"result":           {raw(p.AppendResult(nil, []byte("1"), 42)), "07950380a131032a"},
		"null":             {raw(p.AppendResult(nil, []byte("1"), nil)), "07950380a13103c0"},
		"failure":          {p.AppendError(nil, []byte("1"), "x"), "08950380a13101a178"},
		"stream end":       {p.Append(nil, &Message{Type: Completion, ID: []byte("1")}), "06940380a13102"},
		"item":             {p.Append(nil, &Message{Type: StreamItem, ID: []byte("1"), Value: []byte{7}}), "06940280a13107"},
		"ack":              {p.Append(nil, &Message{Type: Ack, SequenceID: 3}), "03920803"},
	} {
		assert.Equal(t, c.want, hex.EncodeToString(c.got), name)
		var m Message
		n, err := p.Next(c.got, 0, 0)
		require.NoError(t, err, name)
		require.Equal(t, len(c.got), n, name)
		require.NoError(t, p.Parse(c.got, &m), name)
		assert.Equal(t, c.got, p.Append(nil, &m), name)
	}
}

type packed struct {
	Name   string
	URL    *string `json:"url,omitempty"`
	Counts []int32
	Data   []byte
	At     time.Time
	Any    any
	Inner  map[string]packed
}

// Values are restored, with declared names and with names in camel case.
func TestPackedValuesRoundTrip(t *testing.T) {
	t.Run("declared names", func(t *testing.T) { testPackedValues(t, declaredPacker, "Name", "name") })
	t.Run("camel case", func(t *testing.T) { testPackedValues(t, camelPacker, "name", "Name") })
}

func testPackedValues(t *testing.T, p *packer, name, not string) {
	url := "u"
	in := packed{
		Name: "n", URL: &url, Counts: []int32{1, -70000}, Data: []byte{0, 255}, At: time.Unix(5, 6).UTC(),
		Any: []any{int64(1), "x", nil, 1.5, map[string]any{"k": true}}, Inner: map[string]packed{"a": {Name: "deep"}},
	}
	b, err := p.append(nil, in, 1)
	require.NoError(t, err)
	var out packed
	rest, err := unpack(b, reflect.ValueOf(&out).Elem())
	require.NoError(t, err)
	assert.Empty(t, rest)
	inner := out.Inner["a"]
	inner.At = time.Time{}
	out.Inner["a"] = inner
	assert.Equal(t, in, out)

	var shape any
	_, err = unpack(b, reflect.ValueOf(&shape).Elem())
	require.NoError(t, err)
	assert.Contains(t, shape, name)
	assert.NotContains(t, shape, not)
	assert.Contains(t, shape, "url")
}

// Text that is not UTF-8 is written as in JSON: clients may refuse to read it otherwise.
func TestPackedTextIsUTF8(t *testing.T) {
	p := MessagePack
	type textNamed string
	const bad, repaired = "a\xffb", "\xa5a\xef\xbf\xbdb"
	for _, value := range []any{bad, textNamed(bad), []string{bad}, map[string]int{bad: 1}, &struct{ V string }{bad}} {
		b, err := p.AppendResult(nil, []byte("1"), value)
		require.NoError(t, err)
		assert.Contains(t, string(b), repaired, "%T", value)
	}
	assert.Contains(t, string(p.AppendError(nil, []byte("1"), bad)), repaired)
	for _, kind := range []Type{Completion, Close} {
		assert.Contains(t, string(p.Append(nil, &Message{Type: kind, Error: []byte(bad), HasError: true})), repaired)
	}
}
