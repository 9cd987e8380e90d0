package hubproto_test

import (
	"encoding/json"
	"errors"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/hubproto"
)

func FuzzPackedSplit(f *testing.F) {
	f.Add([]byte(packedStream), []byte{1}, 0)
	f.Add([]byte(packedStream), []byte{5, 200, 0, 1}, 60)
	f.Add([]byte("\x04abcd\x05abcde"), []byte{4, 1}, 5)
	f.Add([]byte("\x05abcde"), []byte{1}, 5)
	f.Add([]byte("\x00\x00\x80\x00"), []byte{2}, 1)
	f.Add([]byte("\xff\xff\xff\xff\x07"), []byte{1}, 32768)
	f.Add([]byte("\x02\x91\x06\x80\x80\x80\x80\x08"), []byte{3}, 0)
	f.Add([]byte{}, []byte{}, -1)
	f.Fuzz(func(t *testing.T, data, sizes []byte, limit int) {
		var chunks [][]byte
		rest := data
		for i := 0; len(rest) > 0 && len(sizes) > 0; i++ {
			n := min(int(sizes[i%len(sizes)]), len(rest))
			if i >= len(data)+len(sizes) { // all sizes may be zero
				break
			}
			chunks, rest = append(chunks, rest[:n]), rest[n:]
		}
		chunks = append(chunks, rest)

		next := hubproto.MessagePack.Next
		whole, wholeRest, wholeErr := splitAll(next, limit, data)
		split, splitRest, splitErr := splitAll(next, limit, chunks...)
		require.Equal(t, wholeErr, splitErr)
		require.Equal(t, whole, split)
		at := 0
		for _, record := range whole {
			require.True(t, limit <= 0 || len(record) <= limit)
			require.Equal(t, string(data[at:at+len(record)]), record)
			at += len(record)
			for end := range len(record) { // a truncated record is not a record
				n, err := next([]byte(record[:end]), 0, limit)
				require.NoError(t, err)
				require.Zero(t, n)
			}
		}
		broken := data[at:]
		if wholeErr == nil {
			require.Equal(t, string(broken), wholeRest)
			require.Equal(t, wholeRest, splitRest)
			return
		}
		length, shift := uint64(0), 0
		for i, c := range broken {
			length |= uint64(c&0x7f) << shift
			shift += 7
			if c&0x80 == 0 {
				length += uint64(i) + 1
				break
			}
		}
		var large *hubproto.TooLargeError
		if errors.As(wholeErr, &large) {
			require.Equal(t, limit, large.Limit)
			require.Greater(t, length, uint64(limit))
			return
		}
		var bad *hubproto.DataError
		require.ErrorAs(t, wholeErr, &bad)
		require.True(t, len(broken) >= 5 && broken[4] > 7, "%x", broken)
	})
}

func FuzzPackedParse(f *testing.F) {
	for _, test := range append(packedAppendCases, packedParseCases...) {
		f.Add([]byte(test.message))
	}
	for _, test := range invalidPacked {
		f.Add([]byte(test.message))
	}
	for _, bomb := range packedBombs {
		f.Add([]byte("\x96\x01\x80\xc0\xa1T" + bomb))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		record := frame(string(message))
		before := string(record)
		m := hubproto.Message{StreamIDs: ids("left", "over")}
		var err error
		spent := allocatedBy(func() { err = hubproto.MessagePack.Parse(record, &m) })
		require.Equal(t, before, string(record))
		require.LessOrEqual(t, spent, uint64(32<<10+2*len(message)))
		if err != nil {
			var data *hubproto.DataError
			require.ErrorAs(t, err, &data)
			require.NotEmpty(t, data.Text)
			return
		}
		require.LessOrEqual(t, len(m.ID), hubproto.MaxIDLength)
		require.LessOrEqual(t, len(m.StreamIDs), hubproto.MaxStreamIDs)
		for _, id := range m.StreamIDs {
			require.LessOrEqual(t, len(id), hubproto.MaxIDLength)
		}
		require.False(t, m.Retargeted)
		if m.Type < hubproto.Invocation || m.Type > hubproto.Sequence {
			require.Equal(t, view{Type: m.Type}, viewOf(&m))
			return
		}
		switch m.Type {
		case hubproto.Invocation, hubproto.StreamInvocation:
			require.NotNil(t, m.Arguments)
		case hubproto.StreamItem:
			require.NotNil(t, m.Value)
		}
		again := hubproto.MessagePack.Append(nil, &m)
		n, err := hubproto.MessagePack.Next(again, 0, 0)
		require.NoError(t, err)
		require.Equal(t, len(again), n, "%x", again)
		var second hubproto.Message
		require.NoError(t, hubproto.MessagePack.Parse(again, &second), "%x", again)
		require.Equal(t, viewOf(&m), viewOf(&second))
		require.Equal(t, again, hubproto.MessagePack.Append(nil, &second))
	})
}

// packedTypes are types of parameters for tests of binding.
var packedTypes = []reflect.Type{
	reflect.TypeFor[any](), reflect.TypeFor[allKinds](), reflect.TypeFor[*allKinds](), reflect.TypeFor[[]allKinds](),
	reflect.TypeFor[map[string]allKinds](), reflect.TypeFor[[]any](), reflect.TypeFor[map[string]any](),
	reflect.TypeFor[map[int8]any](),
	reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[uint64](),
	reflect.TypeFor[uint16](), reflect.TypeFor[float32](), reflect.TypeFor[float64](), reflect.TypeFor[string](),
	reflect.TypeFor[text](), reflect.TypeFor[[]byte](),
	reflect.TypeFor[[4]byte](), reflect.TypeFor[time.Time](), reflect.TypeFor[*time.Time](), reflect.TypeFor[[]time.Time](),
	reflect.TypeFor[time.Duration](), reflect.TypeFor[json.Number](), reflect.TypeFor[json.RawMessage](),
	reflect.TypeFor[rawRecorder](), reflect.TypeFor[textOnly](),
	reflect.TypeFor[netip.Addr](), reflect.TypeFor[map[netip.Addr]stage](), reflect.TypeFor[stage](),
	reflect.TypeFor[[]stage](), reflect.TypeFor[map[stage][]stage](), reflect.TypeFor[***int](),
	reflect.TypeFor[[][][]string](), reflect.TypeFor[[2][2]*person](),
	reflect.TypeFor[map[string]map[string]map[int]bool](), reflect.TypeFor[contacts](), reflect.TypeFor[renamed](),
	reflect.TypeFor[outer](), reflect.TypeFor[Chain](), reflect.TypeFor[node](), reflect.TypeFor[sample](),
	reflect.TypeFor[[]struct{}](), reflect.TypeFor[struct{}](),
	reflect.TypeFor[error](), reflect.TypeFor[func()](), reflect.TypeFor[behindPointer](), reflect.TypeFor[map[any]int](),
	reflect.TypeFor[map[keyed]int](),
}

// isWritable reports whether values of type typ can be encoded and decoded again. Some types can only be decoded.
func isWritable(typ reflect.Type) bool {
	switch typ {
	case reflect.TypeFor[rawRecorder](), reflect.TypeFor[textOnly](), reflect.TypeFor[allKinds](), reflect.TypeFor[*allKinds](),
		reflect.TypeFor[[]allKinds](), reflect.TypeFor[map[string]allKinds](), reflect.TypeFor[map[any]int](), reflect.TypeFor[map[keyed]int](),
		reflect.TypeFor[json.Number](), reflect.TypeFor[json.RawMessage](), reflect.TypeFor[renamed]():
		return false
	}
	return true
}

func FuzzPackedBind(f *testing.F) {
	for i, typ := range packedTypes {
		v := reflect.New(typ).Elem()
		if record, err := hubproto.MessagePack.AppendResult(nil, []byte("1"), v.Interface()); err == nil {
			f.Add(record[7:], uint8(i))
		}
	}
	for i, seed := range []string{
		"\x01", "\xa1x", "\xc4\x01x", "\xd7\xff\x00\x00\x00\x18\x00\x00\x00\x05", "\x92\xd6\xff\x00\x00\x00\x05\xc0",
		"\x84\xa1a\x01\xa1b\xa1x\xa1c\x90\xa1d\x80", "\x93\xc0\xc3\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00",
		"\x82\xa4name\xa1n\xa5value\x01",
		"\x86\xa1s\xa1x\xa1i\xff\xa2i8\x7f\xa1u\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xa1f\xca\x3f\x00\x00\x00\xa2pp\x81\xa1s\xa1y",
		"\x84\xa2mi\x81\xa11\x81\xa1i\x02\xa1m\x81\xa1a\x01\xa1q\xa15\xa3any\x91\xc0", "\x81\xa4next\x81\xa4next\xc0",
		"\x82\xa2at\xd6\xff\x00\x00\x00\x05\xa5stage\xa4done", strings.Repeat("\x91", 62) + "\xc0",
	} {
		f.Add([]byte(seed), uint8(i%5))
	}
	for _, bomb := range packedBombs {
		f.Add([]byte(bomb), uint8(0))
	}
	f.Fuzz(func(t *testing.T, value []byte, which uint8) {
		typ := packedTypes[int(which)%len(packedTypes)]
		bindInto := func(arguments []byte) (reflect.Value, error) {
			v := reflect.New(typ).Elem()
			var err error
			spent := allocatedBy(func() { err = hubproto.MessagePack.BindArguments(arguments, []reflect.Value{v}) })
			// Each byte can be at most one element. Some memory for lists and maps is allocated in advance.
			require.LessOrEqual(
				t, spent,
				uint64(256<<10+len(arguments)*(512+8*int(typ.Size())+4*int(reflect.TypeFor[allKinds]().Size()))), "%s",
				typ,
			)
			if err != nil {
				var bind *hubproto.BindError
				require.ErrorAs(t, err, &bind)
				require.NotEmpty(t, bind.Text)
			}
			return v, err
		}
		_, _ = bindInto(value) // input that was not parsed before is harmless
		_, _ = bindInto(append([]byte{0x91}, value...))

		var call, item, result hubproto.Message
		record := frame("\x95\x01\x80\xc0\xa1T\x91" + string(value))
		before := string(record)
		if hubproto.MessagePack.Parse(record, &call) != nil {
			return
		}
		// A valid argument is also a valid item and a valid result.
		require.NoError(t, hubproto.MessagePack.Parse(frame("\x94\x02\x80\xa1i"+string(value)), &item))
		require.NoError(t, hubproto.MessagePack.Parse(frame("\x95\x03\x80\xa1i\x03"+string(value)), &result))
		require.Equal(t, call.Arguments, append([]byte{0x91}, item.Value...))
		require.Equal(t, item.Value, result.Value)
		v, err := bindInto(call.Arguments)
		require.Equal(t, before, string(record))
		// The result does not depend on what follows.
		two := []reflect.Value{reflect.New(typ).Elem(), reflect.New(reflect.TypeFor[any]()).Elem()}
		behindErr := hubproto.MessagePack.BindArguments([]byte("\x92"+string(item.Value)+"\xc0"), two)
		require.Equal(t, err == nil, behindErr == nil, "%s: alone %v, before another %v", typ, err, behindErr)
		for _, p := range [][]byte{item.Value, result.Value} {
			alone := reflect.New(typ).Elem()
			valueErr := hubproto.MessagePack.BindValue(p, alone)
			require.Equal(t, err == nil, valueErr == nil)
			if err != nil {
				var bind *hubproto.BindError
				require.ErrorAs(t, valueErr, &bind)
			}
		}
		if err != nil {
			requireBindError(t, err, errorBinding)
			return
		}
		// The value can also be encoded as JSON, or there is an error.
		written, err := hubproto.JSON.AppendResult(nil, []byte("1"), v.Interface())
		if err == nil {
			require.True(t, json.Valid(written[:len(written)-1]), "%q", written)
		}
		if !isWritable(typ) {
			return
		}
		// The decoded value can be encoded, and decodes to the same value again.
		packed, err := hubproto.MessagePack.AppendResult(nil, []byte("1"), v.Interface())
		require.NoError(t, err, "%s", typ)
		require.NoError(t, hubproto.MessagePack.Parse(packed, &result), "%x", packed)
		again, err := bindInto(append([]byte{0x91}, result.Value...))
		require.NoError(t, err, "%s from %x", typ, result.Value)
		second, err := hubproto.MessagePack.AppendResult(nil, []byte("1"), again.Interface())
		require.NoError(t, err)
		require.Equal(t, packed, second, "%s", typ)
	})
}

// FuzzPackedValue decodes values of unknown types, as a hub with parameters of type any does, and encodes them with both protocols.
func FuzzPackedValue(f *testing.F) {
	for _, seed := range []string{
		"\xc0", "\xc3", "\x00", "\xff", "\xcc\x80", "\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
		"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", "\xca\x7f\x80\x00\x00", "\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "\xa0",
		"\xa1x", "\xa1\xff", "\xc4\x01x", "\x90", "\x80", "\x92\x01\xa1x",
		"\x81\xa1a\x91\x80", "\x82\xa1a\x01\xa1a\x02", "\x81\x01\x02", "\xd6\xff\x00\x00\x00\x05\xc0",
		"\x92\xd7\xff\x00\x00\x00\x18\x00\x00\x00\x05\xc0",
		"\x91\xc7\x0c\xff\x00\x00\x00\x06\xff\xff\xff\xff\xff\xff\xff\xff", "\xd4\x05\x00", "\xc7\x00\xff",
		strings.Repeat("\x91", 62) + "\xc0",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		var m hubproto.Message
		if hubproto.MessagePack.Parse(frame("\x95\x01\x80\xc0\xa1T\x91"+string(value)), &m) != nil {
			return
		}
		v, err := bindPacked(string(m.Arguments[1:]), reflect.TypeFor[any]())
		if err != nil {
			requireBindError(t, err, errorBinding)
			return
		}
		require.LessOrEqual(t, nestingDepth(v), hubproto.MaxDepth-2)
		requireDecodedTypes(t, v)
		call, err := hubproto.MessagePack.AppendInvocation(nil, nil, "T", []any{v})
		require.NoError(t, err)
		require.NoError(t, hubproto.MessagePack.Parse(call, &m))
		again, err := bindPacked(string(m.Arguments[1:]), reflect.TypeFor[any]())
		require.NoError(t, err, "%x", m.Arguments)
		second, err := hubproto.MessagePack.AppendInvocation(nil, nil, "T", []any{again})
		require.NoError(t, err)
		require.Equal(t, call, second)

		record, err := hubproto.JSON.AppendInvocation(nil, nil, "T", []any{v})
		if err == nil {
			require.NoError(t, hubproto.JSON.Parse(record, &m))
		}
	})
}

// requireDecodedTypes checks that v consists of types that are decoded into an interface.
func requireDecodedTypes(t *testing.T, v any) {
	switch v := v.(type) {
	case nil, bool, int64, float64, string, time.Time:
	case []byte:
		require.NotNil(t, v)
	case uint64:
		require.Greater(t, v, uint64(math.MaxInt64))
	case []any:
		require.NotNil(t, v)
		for _, element := range v {
			requireDecodedTypes(t, element)
		}
	case map[string]any:
		require.NotNil(t, v)
		for _, element := range v {
			requireDecodedTypes(t, element)
		}
	default:
		require.Fail(t, "unexpected type", "%T", v)
	}
}
