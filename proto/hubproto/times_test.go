package hubproto

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tinylib/msgp/msgp"
	"pgregory.net/rapid"
)

// inZone returns the local time t in the zone with an offset in minutes.
func inZone(t time.Time, minutes int) time.Time {
	zone := time.FixedZone("", minutes*60)
	y, m, d := t.Date()
	return time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), zone)
}

var someTime = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

// validTimes are the forms that the reference accepts.
var validTimes = map[string]time.Time{
	"2024-05-06":                                 time.Date(2024, 5, 6, 0, 0, 0, 0, time.UTC),
	"2024-02-29":                                 time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC),
	"2000-02-29":                                 time.Date(2000, 2, 29, 0, 0, 0, 0, time.UTC),
	"0001-01-01":                                 {},
	"9999-12-31":                                 time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC),
	"2024-05-06T07:08":                           time.Date(2024, 5, 6, 7, 8, 0, 0, time.UTC),
	"2024-05-06T07:08Z":                          time.Date(2024, 5, 6, 7, 8, 0, 0, time.UTC),
	"2024-05-06T07:08+02":                        inZone(time.Date(2024, 5, 6, 7, 8, 0, 0, time.UTC), 120),
	"2024-05-06T07:08-02:30":                     inZone(time.Date(2024, 5, 6, 7, 8, 0, 0, time.UTC), -150),
	"2024-05-06T07:08:09":                        someTime,
	"2024-05-06T07:08:09Z":                       someTime,
	"2024-05-06T07:08:09+00":                     someTime,
	"2024-05-06T07:08:09+00:00":                  someTime,
	"2024-05-06T07:08:09-00:00":                  someTime,
	"2024-05-06T07:08:09+14":                     inZone(someTime, 14*60),
	"2024-05-06T07:08:09+14:00":                  inZone(someTime, 14*60),
	"2024-05-06T07:08:09-14:00":                  inZone(someTime, -14*60),
	"2024-05-06T07:08:09+13:59":                  inZone(someTime, 14*60-1),
	"2024-05-06T07:08:09-00:01":                  inZone(someTime, -1),
	"2024-05-06T00:00:00":                        time.Date(2024, 5, 6, 0, 0, 0, 0, time.UTC),
	"2024-05-06T23:59:59":                        time.Date(2024, 5, 6, 23, 59, 59, 0, time.UTC),
	"2024-05-06T07:08:09.1":                      someTime.Add(100 * time.Millisecond),
	"2024-05-06T07:08:09.0":                      someTime,
	"2024-05-06T07:08:09.1Z":                     someTime.Add(100 * time.Millisecond),
	"2024-05-06T07:08:09.1234567":                someTime.Add(123456700),
	"2024-05-06T07:08:09.1234567+01:00":          inZone(someTime.Add(123456700), 60),
	"2024-05-06T07:08:09.123456789":              someTime.Add(123456789),
	"2024-05-06T07:08:09.1234567899":             someTime.Add(123456789), // truncated, not rounded
	"2024-05-06T07:08:09.9999999999999999":       someTime.Add(999999999),
	"2024-05-06T07:08:09.0000000000000001-03":    inZone(someTime, -180),
	"2024-05-06T07:08:09.1234567890123456+01:00": inZone(someTime.Add(123456789), 60),
	"0001-01-01T00:00:00-14:00":                  inZone(time.Time{}, -14*60),
	"0001-01-01T14:00:00+14:00":                  inZone(time.Date(1, 1, 1, 14, 0, 0, 0, time.UTC), 14*60),
	"9999-12-31T23:59:59.999999999":              time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC),
	"9999-12-31T09:59:59.9999999999999999-14:00": inZone(time.Date(9999, 12, 31, 9, 59, 59, 999999999, time.UTC), -14*60),
}

var invalidTimes = []string{
	"", "2", "2024", "2024-05", "2024-5-6", "24-05-06", "2024-05-6", "2024-05-066", "02024-05-06", "2024/05/06", "20240506",
	"2024-05-06T", "2024-05-06Z", "2024-05-06+01:00", "2024-05-06T07", "2024-05-06T07:", "2024-05-06T07:8",
	"2024-05-06T7:08",
	"2024-05-06T07Z", "2024-05-06 07:08:09", "2024-05-06t07:08:09", "2024-05-06T07:08:09z", "2024-05-06T07:08:",
	"2024-05-06T07:08:9", "2024-05-06T07:08:090", "2024-05-06T07:08.5", "2024-05-06T07:08:09.", "2024-05-06T07:08:09.Z",
	"2024-05-06T07:08:09,5",
	"2024-05-06T07:08:09.12345678901234567", "2024-05-06T07:08:09.12345678901234567Z", "2024-05-06T07:08:09.1x",
	"2024-05-06T07:08:09 Z", "2024-05-06T07:08:09ZZ", "2024-05-06T07:08:09Z+01:00", "2024-05-06T07:08:09+",
	"2024-05-06T07:08:09+1", "2024-05-06T07:08:09+1:00",
	"2024-05-06T07:08:09+0100", "2024-05-06T07:08:09+01:", "2024-05-06T07:08:09+01:0", "2024-05-06T07:08:09+01:000",
	"2024-05-06T07:08:09+01:60", "2024-05-06T07:08:09+14:01", "2024-05-06T07:08:09-14:01", "2024-05-06T07:08:09+15",
	"2024-05-06T07:08:09+24:00", "2024-05-06T07:08:09\u221201:00",
	"0000-01-01", "2024-00-06", "2024-13-06", "2024-05-00", "2024-05-32", "2024-04-31", "2023-02-29", "2024-02-30",
	"1900-02-29", "10000-01-01", "-001-01-01", "+2024-05-06", "2024-05-06T24:00", "2024-05-06T24:00:00", "2024-05-06T07:60",
	"2024-05-06T07:08:60", "2024-05-06T-1:08",
	"0001-01-01T00:00:00+00:01", "0001-01-01T13:59:59+14:00", "9999-12-31T23:59:59-00:01", " 2024-05-06", "2024-05-06 ",
	"2024-05-06\n", "\x002024-05-06", "٢٠٢٤-05-06", "2024-05-06T07:08:0９", "null", "today", "Mon, 06 May 2024 07:08:09 GMT",
	"1714979289",
	"2024-05-06T07:08:09.+1", "2024-05-06T+7:08", "2024-+5-06", "2024--5-06", "+024-05-06",
}

// quotedJSON and packedString return text encoded as a string.
func quotedJSON(text string) []byte {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return b
}

func packedString(text string) []byte { return msgp.AppendString(nil, text) }

func TestBindTimes(t *testing.T) {
	for text, want := range validTimes {
		for p, value := range map[Protocol][]byte{JSON: quotedJSON(text), MessagePack: packedString(text)} {
			var got time.Time
			require.NoError(t, p.BindValue(value, reflect.ValueOf(&got).Elem()), "%s %s", p.Name(), text)
			assert.True(t, want.Equal(got), "%s %s: %s", p.Name(), text, got)
			assert.Equal(t, want.Format(time.RFC3339Nano), got.Format(time.RFC3339Nano), "%s %s", p.Name(), text)
			if want.Location() == time.UTC {
				assert.Equal(t, want, got, "%s %s", p.Name(), text)
			}
		}
	}
	for _, text := range invalidTimes {
		for p, value := range map[Protocol][]byte{JSON: quotedJSON(text), MessagePack: packedString(text)} {
			var got time.Time
			var bind *BindError
			assert.ErrorAs(t, p.BindValue(value, reflect.ValueOf(&got).Elem()), &bind, "%s %q is %s", p.Name(), text, got)
		}
	}
}

type (
	// Dated has times in all places where they can occur.
	Dated struct {
		At      time.Time
		Until   *time.Time
		Chain   **time.Time
		List    []time.Time
		Pair    [2]time.Time
		ByName  map[string]time.Time
		ByNum   map[int][]*time.Time
		Renamed time.Time `json:"when"`
		Inner   struct{ Deep []map[string]Within }
		Self    *Dated
		More    []Dated
		Other   string
		Any     any
		Raw     json.RawMessage
		Within
		*Pointed
	}
	Within  struct{ Started time.Time }
	Pointed struct{ Ended *time.Time }
)

// A time without a zone binds to times at any depth. Strings that look like times are not changed.
func TestBindTimesAtAnyDepth(t *testing.T) {
	const text = "2024-05-06T07:08"
	at := time.Date(2024, 5, 6, 7, 8, 0, 0, time.UTC)
	p := &at
	want := Dated{
		At: at, Until: p, Chain: &p, List: []time.Time{at, at}, Pair: [2]time.Time{at, at},
		ByName: map[string]time.Time{"a": at, text: at}, ByNum: map[int][]*time.Time{1: {p, nil}}, Renamed: at,
		Self: &Dated{At: at, Self: &Dated{List: []time.Time{at}}}, More: []Dated{{Renamed: at}}, Other: text,
		Any: []any{text, map[string]any{"at": text}}, Raw: json.RawMessage(`{"at":"` + text + `"}`), Within: Within{at},
		Pointed: &Pointed{p},
	}
	want.Inner.Deep = []map[string]Within{{"x": {at}}, nil}
	const raw = ` {"at" : "@", "until":"@","chain":"@", "list": ["@" , "@"],"pair":["@","@"],"byName":{"a":"@","@":"@"},"byNum":{"1":["@",null]},"WHEN":"@","inner":{"deep":[{"x":{"Started":"@"}},null]},
		"self":{"at":"@","self":{"list":["@"]}},"more":[{"when":"@"}],"other":"@","any":["@",{"at":"@"}],"raw":{"at":"@"},"started":"@","ended":"@","unknown":"@","nested":{"at":"@"}}`
	value := []byte(strings.ReplaceAll(raw, "@", text))
	before := string(value)
	var got Dated
	require.NoError(t, JSON.BindValue(value[1:], reflect.ValueOf(&got).Elem()))
	assert.Equal(t, want, got)
	assert.Equal(t, before, string(value), "the input is not changed")

	packed, err := appendTranscoded(nil, value[1:])
	require.NoError(t, err)
	got = Dated{}
	require.NoError(t, MessagePack.BindValue(packed, reflect.ValueOf(&got).Elem()))
	assert.Equal(t, want, got)

	// An invalid time is refused at any place.
	n := strings.Count(raw, `"@"`)
	const others = 7 // one is a name, the others do not bind to times
	refused := 0
	for i := range n {
		parts := strings.Split(raw, `"@"`)
		one := strings.Join(parts[:i+1], `"`+text+`"`) + `"2024-05-06T"` + strings.Join(parts[i+1:], `"`+text+`"`)
		bad := []byte(strings.ReplaceAll(one, "@", text))[1:]
		var in, out Dated
		err := JSON.BindValue(bad, reflect.ValueOf(&in).Elem())
		packed, packErr := appendTranscoded(nil, bad)
		require.NoError(t, packErr)
		packErr = MessagePack.BindValue(packed, reflect.ValueOf(&out).Elem())
		require.Equal(t, err == nil, packErr == nil, "%s: %v, %v", bad, err, packErr)
		if err != nil {
			refused++
		}
	}
	assert.Equal(t, n-others, refused)
}

func TestBindTimesInArguments(t *testing.T) {
	var a, b time.Time
	var s string
	params := []reflect.Value{reflect.ValueOf(&a).Elem(), reflect.ValueOf(&s).Elem(), reflect.ValueOf(&b).Elem()}
	require.NoError(t, JSON.BindArguments([]byte(`[ "2024\u002d05-06" , "2024-05-06","\u0032024-05-06T07:08:09\u002b01" ]`), params))
	assert.Equal(t, time.Date(2024, 5, 6, 0, 0, 0, 0, time.UTC), a)
	assert.Equal(t, "2024-05-06", s)
	assert.True(t, time.Date(2024, 5, 6, 6, 8, 9, 0, time.UTC).Equal(b))
	for _, bad := range []string{`["\ud83d","",""]`, `["2024-05-06","x","2024-05-06\u0000"]`, `["2024-05-06\"","x","2024-05-06"]`} {
		require.Error(t, JSON.BindArguments([]byte(bad), params), bad)
	}
}

// selfDecoding decodes itself, so its JSON is not rewritten.
type selfDecoding struct{ text string }

func (z *selfDecoding) UnmarshalJSON(raw []byte) error { z.text = string(raw); return nil }

func TestTimesInSelfDecodingTypesAreNotRewritten(t *testing.T) {
	var got struct {
		Z  selfDecoding
		At time.Time
	}
	require.NoError(t, JSON.BindValue([]byte(`{"z":{"at":"2024-05-06"},"at":"2024-05-06"}`), reflect.ValueOf(&got).Elem()))
	assert.Equal(t, `{"at":"2024-05-06"}`, got.Z.text)
	assert.Equal(t, time.Date(2024, 5, 6, 0, 0, 0, 0, time.UTC), got.At)
}

func TestEncodeTimes(t *testing.T) {
	at := inZone(someTime.Add(123456789), 60)
	got, err := camelWriter.append(nil, at, 1)
	require.NoError(t, err)
	assert.Equal(t, `"2024-05-06T07:08:09.123456789+01:00"`, string(got))
	got, err = declaredPacker.append(nil, someTime, 1)
	require.NoError(t, err)
	assert.Equal(t, "d6ff663881d9", hex.EncodeToString(got))
}

// If both parseTime and time.Parse accept a text, they return the same time.
func TestParseTimeAgreesWithGo(t *testing.T) {
	digits := func(t *rapid.T, label string, low, high, width int) string {
		return fmt.Sprintf("%0*d", width, rapid.IntRange(low, high).Draw(t, label))
	}
	agreed := 0
	rapid.Check(t, func(t *rapid.T) {
		text := digits(t, "year", 0, 9999, 4) + "-" + digits(t, "month", 0, 13, 2) + "-" + digits(t, "day", 0, 32, 2) +
			"T" + digits(t, "hour", 0, 24, 2) + ":" + digits(t, "minute", 0, 60, 2) + ":" + digits(t, "second", 0, 60, 2)
		text += rapid.StringMatching(`|[.,][0-9]{0,17}`).Draw(t, "fraction")
		text += rapid.SampledFrom([]string{
			"", "Z", "z", "+00:00", "-00:00", "+01:30", "-14:00", "+14:00", "+14:01", "-23:59", "+05", "+0530", "x",
		}).Draw(t, "zone")
		got, err := parseTime(text)
		want, wantErr := time.Parse(time.RFC3339Nano, text)
		if err == nil {
			require.True(t, got.Year() >= 1 && got.UTC().Year() >= 1 && got.UTC().Year() <= 9999, text)
		}
		if err != nil || wantErr != nil {
			return
		}
		agreed++
		require.True(t, want.Equal(got), "%s: %s", text, got)
		require.Equal(t, want.Format(time.RFC3339Nano), got.Format(time.RFC3339Nano))
	})
	rapid.Check(t, func(t *rapid.T) { // accepts all times that Go formats, within the supported years
		at := time.Unix(
			rapid.Int64Range(-62135596800+86400, 253402300799-86400).Draw(t, "seconds"),
			rapid.Int64Range(0, 999999999).Draw(t, "nano"),
		)
		at = at.In(time.FixedZone("", 60*rapid.IntRange(-14*60, 14*60).Draw(t, "offset")))
		got, err := parseTime(at.Format(time.RFC3339Nano))
		require.NoError(t, err)
		require.True(t, at.Equal(got))
		require.Equal(t, at.Format(time.RFC3339Nano), got.Format(time.RFC3339Nano))
		agreed++
	})
	require.Greater(t, agreed, 100)
}

func FuzzTime(f *testing.F) {
	for text := range validTimes {
		f.Add(text)
	}
	for _, text := range invalidTimes {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at, err := parseTime(text)
		if want, wantErr := time.Parse(time.RFC3339Nano, text); err == nil && wantErr == nil {
			require.True(t, want.Equal(at), "%q: %s, %s", text, at, want)
		}
		var fromText time.Time
		packErr := MessagePack.BindValue(packedString(text), reflect.ValueOf(&fromText).Elem())
		require.Equal(t, err == nil, packErr == nil, "%q", text)
		if err != nil {
			require.Zero(t, at)
			return
		}
		require.True(t, len(text) >= len("2024-05-06") && len(text) <= len("2024-05-06T07:08:09.1234567890123456+01:00"), text)
		require.Equal(t, at, fromText)
		require.NoError(t, JSON.BindValue(quotedJSON(text), reflect.ValueOf(&fromText).Elem()))
		require.True(t, at.Equal(fromText))
		for _, p := range []Protocol{JSON, MessagePack} { // a parsed time can be encoded, and decodes to the same time
			record, err := p.AppendResult(nil, []byte("1"), at)
			require.NoError(t, err, "%s %q", p.Name(), text)
			var m Message
			require.NoError(t, p.Parse(record, &m))
			var back time.Time
			require.NoError(t, p.BindValue(m.Value, reflect.ValueOf(&back).Elem()))
			require.True(t, at.Equal(back), "%s %q: %s", p.Name(), text, back)
		}
	})
}
