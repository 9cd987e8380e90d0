package hubproto_test

import (
	"encoding/binary"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/hubproto"
)

func TestPackedDepth(t *testing.T) {
	arrays := func(n int) string { return strings.Repeat("\x91", n) + "\xc0" }
	empty := func(n int) string { return strings.Repeat("\x91", n-1) + "\x90" }
	maps := func(n int) string { return strings.Repeat("\x81\xa1a", n) + "\xc0" }
	keys := func(n int) string { return strings.Repeat("\x81", n) + strings.Repeat("\x01", n+1) }
	wide := func(n int) string { return strings.Repeat("\xdd\x00\x00\x00\x01", n) + "\xc0" }
	second := func(n int) string { return strings.Repeat("\x92\x01", n) + "\xc0" }
	for name, nest := range map[string]func(int) string{
		"arrays": arrays, "empty": empty, "maps": maps, "in names": keys, "wide": wide, "second": second,
	} {
		for _, shape := range []struct {
			before, names string
			deepest       int
		}{
			{"\x95\x01\x80\xc0\xa1T\x91", "'arguments'", hubproto.MaxDepth - 2},
			{"\x94\x02\x80\xa1i", "'item'", hubproto.MaxDepth - 1},
			{"\x95\x03\x80\xa1i\x03", "'argument'", hubproto.MaxDepth - 1},
		} {
			for depth := 1; depth < 140; depth++ {
				message := shape.before + nest(depth)
				if depth > shape.deepest {
					require.Contains(t, requirePackedError(t, message), shape.names)
					continue
				}
				var m hubproto.Message
				require.NoError(t, hubproto.MessagePack.Parse(frame(message), &m), "%d %s", depth, name)
			}
			for _, depth := range []int{1000, 1 << 20} {
				require.Contains(t, requirePackedError(t, shape.before+nest(depth)), "64", name)
			}
		}
		requirePackedError(t, "\x92\x01\x81\xa1a"+nest(1<<20))
		assert.Equal(t, view{Type: 99}, parsePacked(t, "\x92\x63"+nest(1<<20))) // not checked
	}
	// Siblings do not add to the depth.
	assert.NotEmpty(t, parsePacked(t, "\x95\x01\x80\xc0\xa1T\xdc\x01\x00"+strings.Repeat("\x92\x90\x91\x80", 256)).Arguments)
}

// packedBombs declare more elements than they contain.
var packedBombs = map[string]string{
	"array": "\xdd\xff\xff\xff\xff", "array without elements": "\xdd\x7f\xff\xff\xff\xc0", "short array": "\xdc\xff\xff\xc0",
	"map": "\xdf\xff\xff\xff\xff", "map without elements": "\xdf\x7f\xff\xff\xff\xa0\xc0",
	"half of the maps": "\xdf\x80\x00\x00\x00\xa0\xc0",
	"short map":        "\xde\xff\xff\xa0\xc0", "string": "\xdb\xff\xff\xff\xff", "bytes": "\xc6\xff\xff\xff\xff",
	"extension": "\xc9\xff\xff\xff\xff\xff", "arrays": strings.Repeat("\xdd\x00\x00\xff\xff", 50),
	"maps":                strings.Repeat("\xdf\x00\x00\xff\xff\xa0", 50),
	"array behind arrays": strings.Repeat("\x91", 40) + "\xdd\xff\xff\xff\xff",
}

func TestPackedBombs(t *testing.T) {
	for name, bomb := range packedBombs {
		for _, before := range []string{
			"", "\x92", "\x96\x01", "\x96\x01\x81\xa1a", "\x96\x01\x80", "\x96\x01\x80\xc0", "\x96\x01\x80\xc0\xa1T",
			"\x96\x01\x80\xc0\xa1T\x91", "\x96\x01\x80\xc0\xa1T\x90", "\x96\x01\x80\xc0\xa1T\x90\x91",
			"\x94\x02\x80\xa1i", "\x95\x03\x80\xa1i", "\x95\x03\x80\xa1i\x01", "\x95\x03\x80\xa1i\x03", "\x93\x05\x80",
			"\x93\x07", "\x93\x07\xc0", "\x92\x08",
		} {
			record := frame(before + bomb)
			var m hubproto.Message
			var err error
			spent := allocatedBy(func() { err = hubproto.MessagePack.Parse(record, &m) })
			require.Error(t, err, "%s behind %x", name, before)
			require.Less(t, spent, uint64(16<<10), "%s behind %x", name, before)
		}
		// Binding does not allocate more either, in case a parser accepts it.
		for _, typ := range packedTypes {
			v := reflect.New(typ).Elem()
			spent := allocatedBy(func() { _ = hubproto.MessagePack.BindArguments([]byte("\x91"+bomb), []reflect.Value{v}) })
			require.Less(t, spent, uint64(512<<10), "%s into %s", name, typ)
		}
	}
}

func TestPackedMemoryIsProportionalToMessage(t *testing.T) {
	// Values that do have many elements take memory for these, but not more.
	for name, element := range map[string]string{
		"nulls": "\xc0", "numbers": "\x7f", "lists": "\x90", "maps": "\x80", "small maps": "\x81\xa0\xc0",
		"lists in lists": "\x91\x91\x91\x91\x90", "maps of one name": "\xde\x00\x40" + strings.Repeat("\xa0\xc0", 64),
		"deep lists": strings.Repeat("\x91", 60) + "\xc0", "deep maps": strings.Repeat("\x81\xa0", 60) + "\xc0",
		"bytes": "\xc4\x00", "texts": "\xa1x",
	} {
		n := 32000 / len(element)
		list := "\xdd" + string(binary.BigEndian.AppendUint32(nil, uint32(n))) + strings.Repeat(element, n)
		var m hubproto.Message
		require.NoError(t, hubproto.MessagePack.Parse(frame("\x95\x01\x80\xc0\xa1T\x91"+list), &m), name)
		var v any
		var err error
		spent := allocatedBy(func() {
			err = hubproto.MessagePack.BindArguments(m.Arguments, []reflect.Value{reflect.ValueOf(&v).Elem()})
		})
		require.NoError(t, err, name)
		assert.Less(t, spent/uint64(len(list)), uint64(256), name)
	}
}

func TestPackedCountsBeyondInputAreRefused(t *testing.T) {
	var n int
	for _, arguments := range []string{
		"\xdd\xff\xff\xff\xff", "\xdd\xff\xff\xff\xff\x01", "\xdd\x80\x00\x00\x00\x01", "\x92\x01", "\x91", "", "\xc1",
		"\xc0", "\xdd\xff",
	} {
		var bind *hubproto.BindError
		require.ErrorAs(
			t,
			hubproto.MessagePack.BindArguments([]byte(arguments), []reflect.Value{reflect.ValueOf(&n).Elem(), reflect.ValueOf(&n).Elem()}),
			&bind, "%x", arguments,
		)
	}
}

func TestPackedLimits(t *testing.T) {
	text := func(n int) string {
		return "\xdb" + string(binary.BigEndian.AppendUint32(nil, uint32(n))) + strings.Repeat("i", n)
	}
	many := func(n int) string {
		return "\xdd" + string(binary.BigEndian.AppendUint32(nil, uint32(n))) + strings.Repeat("\xa1s", n)
	}
	assert.Len(t, parsePacked(t, "\x93\x05\x80"+text(hubproto.MaxIDLength)).ID, hubproto.MaxIDLength)
	assert.Len(
		t, parsePacked(t, "\x96\x01\x80\xc0"+text(2*hubproto.MaxIDLength)+"\x90"+many(hubproto.MaxStreamIDs)).StreamIDs,
		hubproto.MaxStreamIDs,
	)
	assert.Len(t, parsePacked(t, "\x92\x07"+text(2*hubproto.MaxIDLength)).Error, 2*hubproto.MaxIDLength)
	for message, want := range map[string]string{
		"\x93\x05\x80" + text(hubproto.MaxIDLength+1):                        "'invocationId' has 4097 bytes, more than the limit of 4096.",
		"\x94\x02\x80" + text(hubproto.MaxIDLength+1) + "\x01":               "'invocationId' has 4097 bytes, more than the limit of 4096.",
		"\x96\x01\x80\xc0\xa1T\x90" + many(hubproto.MaxStreamIDs+1):          "'streamIds' has 257 elements, more than the limit of 256.",
		"\x96\x01\x80\xc0\xa1T\x90" + many(100000):                           "'streamIds' has 100000 elements, more than the limit of 256.",
		"\x96\x04\x80\xa1i\xa1T\x90\x92\xa1s" + text(hubproto.MaxIDLength+1): "'streamIds' has an id of 4097 bytes, more than the limit of 4096.",
		"\x96\x01\x80\xc0\xa1T\x90\x92\xa1s\x01":                             "Reading 'streamIds' as String failed.",
		"\x96\x01\x80\xc0\xa1T\x90\x91\xc0":                                  "Reading 'streamIds' as String failed.",
		"\x96\x01\x80\xc0\xa1T\x90\x91\x91\xa1s":                             "Reading 'streamIds' as String failed.",
	} {
		assert.Equal(t, want, requirePackedError(t, message))
	}
}

func TestPackedInvalidUTF8(t *testing.T) {
	// Invalid UTF-8 may be refused. If it is accepted, the output that contains it must be valid.
	for name, bad := range map[string]string{
		"stray byte": "\xff", "cut short": "\xe2\x82", "overlong": "\xc0\xaf", "surrogate": "\xed\xa0\x80",
	} {
		text := string([]byte{0xa0 + byte(len(bad))}) + bad
		for _, message := range []string{
			"\x96\x01\x80" + text + "\xa1T\x90\x90", "\x96\x01\x80\xc0" + text + "\x90\x90",
			"\x96\x01\x80\xc0\xa1T\x91" + text + "\x91" + text, "\x96\x01\x81" + text + text + "\xc0\xa1T\x90\x90",
			"\x94\x02\x80" + text + text,
			"\x95\x03\x80\xa1i\x01" + text, "\x95\x03\x80\xa1i\x03\x81" + text + text, "\x93\x05\x80" + text, "\x92\x07" + text,
		} {
			var m hubproto.Message
			var data *hubproto.DataError
			if err := hubproto.MessagePack.Parse(frame(message), &m); err != nil {
				require.ErrorAs(t, err, &data)
				continue
			}
			answer := hubproto.JSON.AppendError(nil, append([]byte("x"), m.ID...), string(m.Target)+string(m.Error))
			require.True(t, json.Valid(answer[:len(answer)-1]), name)
			for _, value := range []string{string(m.Value), text, "\x81" + text + "\x01"} {
				for _, typ := range packedTypes {
					if value == "" {
						continue
					}
					v := reflect.New(typ).Elem()
					if err := hubproto.MessagePack.BindArguments([]byte("\x91"+value), []reflect.Value{v}); err != nil {
						requireBindError(t, err, errorBinding)
						continue
					}
					result, err := hubproto.JSON.AppendResult(nil, []byte("1"), v.Interface())
					require.True(t, err != nil || json.Valid(result[:len(result)-1]), "%q", result)
				}
			}
		}
	}
}
