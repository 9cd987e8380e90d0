package hubproto

import (
	"encoding/hex"
	"encoding/json"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tinylib/msgp/msgp"
	"pgregory.net/rapid"
)

const hms = 1*time.Hour + 2*time.Minute + 3*time.Second

// writtenSpans are the canonical forms, which are both encoded and decoded.
var writtenSpans = map[string]time.Duration{
	"00:00:00":                 0,
	"00:00:00.0000001":         tick,
	"-00:00:00.0000001":        -tick,
	"00:00:00.1000000":         100 * time.Millisecond,
	"00:00:01":                 time.Second,
	"01:02:03":                 hms,
	"-01:02:03":                -hms,
	"23:59:59.9999999":         day - tick,
	"1.00:00:00":               day,
	"-1.00:00:00":              -day,
	"1.01:02:04.5000000":       day + hms + 1500*time.Millisecond,
	"-10.23:59:59.0000001":     -11*day + time.Second - tick,
	"106751.23:47:16.8547758":  math.MaxInt64 / tick * tick,
	"-106751.23:47:16.8547758": math.MinInt64 / tick * tick,
	"106751.00:00:00":          106751 * day,
	"-00:59:59.1234567":        -(59*time.Minute + 59*time.Second + 123456700),
}

// parsedSpans are further forms that are decoded.
var parsedSpans = map[string]time.Duration{
	"0": 0, "-0": 0, "1": day, "-7": -7 * day, "007": 7 * day, "106751": 106751 * day, "01:02": hms - 3*time.Second,
	"1:2": hms - 3*time.Second, "1:2:3": hms, "1.1:2": day + hms - 3*time.Second, "-1.1:2": -(day + hms - 3*time.Second),
	"0001.0001:0002:0003": day + hms,
	"00:00:00.1":          100 * time.Millisecond, "00:00:00.12": 120 * time.Millisecond, "00:00:00.0000000": 0, "0.00:00:00": 0,
	"-00:00:00": 0, "1:2:3.4": hms + 400*time.Millisecond, "0.23:59:59.9999999": day - tick,
}

var invalidSpans = []string{
	"", "-", "--1", "+1", " 1", "1 ", "1:", ":1", "1::2", "1:2:", "1:2:3:", "1:2:3:4", "1.2", "1.", ".1", "1.2:", ".2:3",
	".1:2:3", "1.2:3:4.", "1:2:3.", "1:2.3", "1.2:3.4", "1:2:3.12345678", "1:2:3.x", "1:2:3.-1", "1:-2", "1:+2", "-1:-2:3",
	"1.2.3:4:5", "1:2:3.4.5",
	"24:00", "24:00:00", "00:60", "00:60:00", "00:00:60", "1.24:00:00", "106752", "-106752", "106751.23:47:16.8547759",
	"-106751.23:47:16.8547759", "10675199.02:48:05.4775807", "99999999999999999999", "1e3", "1h2m3s", "PT1H", "x", "null",
	"true", "1:2:3Z", "0x1", "१:2:3", "1:2:3,4",
	"4294967296:0:0", "0:4294967296", "1\x00", "1_0",
}

func bindSpan(p Protocol, value []byte) (TimeSpan, error) {
	var s TimeSpan
	err := p.BindValue(value, reflect.ValueOf(&s).Elem())
	return s, err
}

func TestTimeSpans(t *testing.T) {
	for text, d := range writtenSpans {
		s := TimeSpan(d)
		assert.Equal(t, text, s.String())
		got, err := camelWriter.append(nil, s, 1)
		require.NoError(t, err)
		assert.Equal(t, `"`+text+`"`, string(got))
		got, err = camelWriter.append(nil, []any{&s, map[TimeSpan]TimeSpan{s: s}}, 1)
		require.NoError(t, err)
		assert.Equal(t, `["`+text+`",{"`+text+`":"`+text+`"}]`, string(got))
		packed, err := declaredPacker.append(nil, s, 1)
		require.NoError(t, err)
		assert.Equal(t, appendPackedInt(nil, int64(d/100)), packed, text)
		back, err := bindSpan(MessagePack, packed)
		require.NoError(t, err)
		assert.Equal(t, s, back)
	}
	for _, spans := range []map[string]time.Duration{writtenSpans, parsedSpans} {
		for text, d := range spans {
			for p, value := range map[Protocol][]byte{JSON: quotedJSON(text), MessagePack: packedString(text)} {
				got, err := bindSpan(p, value)
				require.NoError(t, err, "%s %s", p.Name(), text)
				assert.Equal(t, TimeSpan(d), got, "%s %s", p.Name(), text)
			}
		}
	}
	for _, text := range invalidSpans {
		for p, value := range map[Protocol][]byte{JSON: quotedJSON(text), MessagePack: packedString(text)} {
			var bind *BindError
			got, err := bindSpan(p, value)
			assert.ErrorAs(t, err, &bind, "%s %q is %s", p.Name(), text, got)
		}
	}
	for _, value := range []string{"1", "0", "1.5", "null", "true", "{}", "[]", `"\ud83d"`} { // the unit of a number would be unknown
		_, err := bindSpan(JSON, []byte(value))
		assert.Error(t, err, value)
	}
}

// Fractions of a tick are truncated, as in .NET.
func TestTimeSpansAreTruncatedToTicks(t *testing.T) {
	for d, want := range map[time.Duration]string{
		1: "00:00:00", -1: "00:00:00", 99: "00:00:00", -99: "00:00:00", 199: "00:00:00.0000001",
		-199: "-00:00:00.0000001", math.MaxInt64: "106751.23:47:16.8547758", math.MinInt64: "-106751.23:47:16.8547758",
		time.Second - 1: "00:00:00.9999999",
	} {
		assert.Equal(t, want, TimeSpan(d).String(), int64(d))
		packed, err := declaredPacker.append(nil, TimeSpan(d), 1)
		require.NoError(t, err)
		assert.Equal(t, appendPackedInt(nil, int64(d)/100), packed)
	}
}

func TestPackedTimeSpans(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"\x00": 0, "\x01": tick, "\xff": -tick, "\xce\x00\x98\x96\x80": time.Second,
		"\xd3\xff\xff\xff\xff\xff\x67\x69\x80": -time.Second, "\xcf\x00\x00\x00\x00\x00\x98\x96\x80": time.Second,
		"\xa200": 0,
		string(msgp.AppendInt64(nil, math.MaxInt64/100)): math.MaxInt64 / 100 * 100,
		string(msgp.AppendInt64(nil, math.MinInt64/100)): math.MinInt64 / 100 * 100,
	} {
		got, err := bindSpan(MessagePack, []byte(value))
		require.NoError(t, err, "%x", value)
		assert.Equal(t, TimeSpan(want), got, "%x", value)
	}
	for _, value := range []string{
		"\xc0", "\xc3", "\x90", "\x80", "\xc4\x0101", "\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", "\xd6\xff\x00\x00\x00\x05",
		"\xa0", "\xd4\x05\x00", "\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "\xcf\x7f\xff\xff\xff\xff\xff\xff\xff",
		"\xd3\x80\x00\x00\x00\x00\x00\x00\x00",
		string(msgp.AppendInt64(nil, math.MaxInt64/100+1)), string(msgp.AppendInt64(nil, math.MinInt64/100-1)),
	} {
		_, err := bindSpan(MessagePack, []byte(value))
		var bind *BindError
		assert.ErrorAs(t, err, &bind, "%x", value)
	}
}

type spans struct {
	For    TimeSpan
	Maybe  *TimeSpan
	List   []TimeSpan
	ByName map[string]TimeSpan
	ByKey  map[TimeSpan]int
	Pair   [2]TimeSpan
	Opt    TimeSpan `json:"opt,omitempty"`
	Zero   TimeSpan `json:",omitzero"`
}

func TestTimeSpansAtAnyDepth(t *testing.T) {
	s := TimeSpan(hms)
	in := spans{s, &s, []TimeSpan{s, -s}, map[string]TimeSpan{"a": s}, map[TimeSpan]int{s: 1, 0: 2}, [2]TimeSpan{s}, 0, 0}
	got, err := camelWriter.append(nil, in, 1)
	require.NoError(t, err)
	assert.Equal(
		t,
		`{"for":"01:02:03","maybe":"01:02:03","list":["01:02:03","-01:02:03"],"byName":{"a":"01:02:03"},"byKey":{"00:00:00":2,"01:02:03":1},"pair":["01:02:03","00:00:00"]}`,
		string(got),
	)
	var out spans
	require.NoError(t, JSON.BindValue(got, reflect.ValueOf(&out).Elem()))
	assert.Equal(t, in, out)
	packed, err := declaredPacker.append(nil, in, 1)
	require.NoError(t, err)
	out = spans{}
	require.NoError(t, MessagePack.BindValue(packed, reflect.ValueOf(&out).Elem()))
	assert.Equal(t, in, out)
	assert.Equal(t, "86"+"a3466f72"+"cf00000008ab14b780", hex.EncodeToString(packed[:14]), "six fields, the first of which has ticks")
	for _, bad := range []string{
		`{"for":null}`, `{"list":[null]}`, `{"byName":{"a":null}}`, `{"pair":[null]}`, `{"for":1}`, `{"byKey":{"x":1}}`,
	} {
		var v spans
		require.Error(t, JSON.BindValue([]byte(bad), reflect.ValueOf(&v).Elem()), bad)
	}
}

// All time spans are restored with a precision of ticks.
func TestTimeSpansRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := TimeSpan(rapid.Int64().Draw(t, "nanoseconds") >> rapid.IntRange(0, 62).Draw(t, "less"))
		want := s - s%TimeSpan(tick)
		var back TimeSpan
		require.NoError(t, back.UnmarshalText([]byte(s.String())), s.String())
		require.Equal(t, want, back, s.String())
		for _, p := range []Protocol{JSON, MessagePack} {
			record, err := p.AppendResult(nil, []byte("1"), s)
			require.NoError(t, err)
			var m Message
			require.NoError(t, p.Parse(record, &m))
			back, err := bindSpan(p, m.Value)
			require.NoError(t, err)
			require.Equal(t, want, back)
		}
		text, err := json.Marshal(s) // encoding/json can decode it again
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &back))
		require.Equal(t, want, back)
	})
}

func FuzzTimeSpan(f *testing.F) {
	for _, spans := range []map[string]time.Duration{writtenSpans, parsedSpans} {
		for text := range spans {
			f.Add(text)
		}
	}
	for _, text := range invalidSpans {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := TimeSpan(5)
		if err := s.UnmarshalText([]byte(text)); err != nil {
			require.Equal(t, TimeSpan(5), s)
			_, err = bindSpan(MessagePack, packedString(text))
			require.Error(t, err)
			return
		}
		require.Zero(t, s%TimeSpan(tick))
		require.Regexp(t, `^-?([0-9]+|([0-9]+\.)?[0-9]+:[0-9]+(:[0-9]+(\.[0-9]{1,7})?)?)$`, text)
		again := TimeSpan(5)
		require.NoError(t, again.UnmarshalText([]byte(s.String())), s.String())
		require.Equal(t, s, again)
		require.Equal(t, s.String(), again.String())
		for p, value := range map[Protocol][]byte{JSON: quotedJSON(text), MessagePack: packedString(text)} {
			bound, err := bindSpan(p, value)
			require.NoError(t, err)
			require.Equal(t, s, bound, p.Name())
		}
	})
}

// time.Duration is refused at any depth, and the error names the type to use instead.
func TestDurationsAreRefused(t *testing.T) {
	type named struct{ D time.Duration }
	type embeds struct{ named }
	type recursive struct {
		Next *recursive
		D    map[string][]time.Duration
	}
	for _, typ := range []reflect.Type{
		reflect.TypeFor[time.Duration](), reflect.TypeFor[*time.Duration](), reflect.TypeFor[**time.Duration](),
		reflect.TypeFor[[]time.Duration](), reflect.TypeFor[[2]time.Duration](), reflect.TypeFor[map[string]time.Duration](),
		reflect.TypeFor[map[time.Duration]string](),
		reflect.TypeFor[named](), reflect.TypeFor[*named](), reflect.TypeFor[[]map[string]*named](),
		reflect.TypeFor[embeds](), reflect.TypeFor[recursive](), reflect.TypeFor[map[string]map[time.Duration]int](),
	} {
		for name, check := range map[string]func(reflect.Type) error{"encodable": CheckEncodable, "bindable": CheckBindable} {
			err := check(typ)
			if assert.ErrorIs(t, err, errDuration, "%s %s", name, typ) {
				assert.ErrorContains(t, err, "hubproto.TimeSpan")
			}
		}
	}
	type own time.Duration
	type apart struct {
		S    TimeSpan
		O    own
		Left time.Duration `json:"-"`
		Own  selfCoding
		hid  time.Duration
	}
	for _, typ := range []reflect.Type{
		reflect.TypeFor[TimeSpan](), reflect.TypeFor[*TimeSpan](), reflect.TypeFor[map[TimeSpan]TimeSpan](),
		reflect.TypeFor[own](), reflect.TypeFor[apart](),
	} {
		assert.NoError(t, CheckBindable(typ), "%s", typ)
		assert.NoError(t, CheckEncodable(typ), "%s", typ)
	}
	_ = apart{hid: 1}
}

// selfCoding encodes and decodes itself, so the types of its fields do not matter.
type selfCoding struct{ D time.Duration }

func (selfCoding) MarshalJSON() ([]byte, error)  { return []byte("1"), nil }
func (*selfCoding) UnmarshalJSON(_ []byte) error { return nil }
