package hubproto

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// withTimes and withoutTimes have the same fields, but those that are times in withTimes have type any in withoutTimes.
type (
	withTimes struct {
		At     time.Time
		P      *time.Time
		L      []time.Time
		M      map[string]time.Time
		R      [2]*time.Time
		In     *withTimes
		All    []withTimes
		S      string
		Any    any
		Raw    json.RawMessage
		Nested `json:"nested"`
		Nested2
	}
	withoutTimes struct {
		At     any
		P      any
		L      []any
		M      map[string]any
		R      [2]any
		In     *withoutTimes
		All    []withoutTimes
		S      string
		Any    any
		Raw    json.RawMessage
		Nested struct{ T any } `json:"nested"`
		Nested2any
	}
	Nested     struct{ T time.Time }
	Nested2    struct{ U time.Time }
	Nested2any struct{ U any }
)

var timelessTypes = []reflect.Type{
	reflect.TypeFor[any](), reflect.TypeFor[[]any](), reflect.TypeFor[map[string]any](), reflect.TypeFor[withoutTimes](),
	reflect.TypeFor[[]string](), reflect.TypeFor[map[string]string](), reflect.TypeFor[string](),
	reflect.TypeFor[*withoutTimes](), reflect.TypeFor[json.RawMessage](),
	reflect.TypeFor[embedsTime](), reflect.TypeFor[map[string]lenient](), reflect.TypeFor[TimeSpan](), reflect.TypeFor[byText](),
}

// requireSameExceptTimes checks that a rewritten value equals the original one, except for strings that are times.
func requireSameExceptTimes(t require.TestingT, before, after any) {
	switch b := before.(type) {
	case map[string]any:
		a, ok := after.(map[string]any)
		require.True(t, ok && len(a) == len(b))
		for name, value := range b {
			require.Contains(t, a, name)
			requireSameExceptTimes(t, value, a[name])
		}
	case []any:
		a, ok := after.([]any)
		require.True(t, ok && len(a) == len(b))
		for i := range b {
			requireSameExceptTimes(t, b[i], a[i])
		}
	case string:
		if b == after {
			return
		}
		want, err := parseTime(b)
		require.NoError(t, err, "%v became %v", before, after)
		require.Equal(t, want.Format(time.RFC3339Nano), after)
	default:
		require.Equal(t, before, after)
	}
}

// decoded returns decoded JSON whose numbers keep their digits.
func decoded(t require.TestingT, raw []byte) any {
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	var v any
	require.NoError(t, d.Decode(&v), "%s", raw)
	return v
}

// checkPlainTimes checks withPlainTimes with raw, for types with and without times.
func checkPlainTimes(t require.TestingT, raw []byte) {
	before := string(raw)
	for _, typ := range timelessTypes {
		require.False(t, holdsTime(typ), "%s", typ)
		got, err := withPlainTimes(raw, typ)
		require.NoError(t, err)
		require.Equal(t, before, string(got), "%s", typ)
	}
	for _, typ := range []reflect.Type{
		reflect.TypeFor[withTimes](), reflect.TypeFor[*withTimes](), reflect.TypeFor[[]withTimes](),
		reflect.TypeFor[map[string]*withTimes](), reflect.TypeFor[time.Time](), reflect.TypeFor[[]time.Time](),
		reflect.TypeFor[map[string]map[string]time.Time](),
	} {
		require.True(t, holdsTime(typ), "%s", typ)
		got, err := withPlainTimes(raw, typ)
		require.Equal(t, before, string(raw), "the input is not changed")
		if err != nil {
			continue
		}
		require.True(t, json.Valid(got), "%s from %s", got, raw)
		requireSameExceptTimes(t, decoded(t, raw), decoded(t, got))
		again, err := withPlainTimes(got, typ)
		require.NoError(t, err)
		require.Equal(t, string(got), string(again))
	}

	// Binding to the types with and without times yields the same values.
	var with withTimes
	var without withoutTimes
	if JSON.BindValue(raw, reflect.ValueOf(&with).Elem()) != nil {
		return
	}
	require.NoError(t, JSON.BindValue(raw, reflect.ValueOf(&without).Elem()), "%s", raw)
	requireSameBound(t, &without, &with)
}

func requireSameBound(t require.TestingT, without *withoutTimes, with *withTimes) {
	require.Equal(t, without.S, with.S)
	require.Equal(t, without.Any, with.Any)
	require.Equal(t, string(without.Raw), string(with.Raw))
	require.Equal(t, len(without.L), len(with.L))
	require.Equal(t, len(without.M), len(with.M))
	require.Equal(t, len(without.All), len(with.All))
	same := func(text any, at *time.Time) {
		if text == nil {
			require.True(t, at == nil || at.IsZero())
			return
		}
		want, err := parseTime(text.(string))
		require.NoError(t, err)
		require.True(t, want.Equal(*at), "%s: %s", text, at)
	}
	same(without.At, &with.At)
	same(without.P, with.P)
	same(without.Nested.T, &with.Nested.T)
	same(without.U, &with.U)
	for i := range with.L {
		same(without.L[i], &with.L[i])
	}
	for name, at := range with.M {
		same(without.M[name], &at)
	}
	for i := range with.R {
		same(without.R[i], with.R[i])
	}
	for i := range with.All {
		requireSameBound(t, &without.All[i], &with.All[i])
	}
	require.Equal(t, without.In == nil, with.In == nil)
	if with.In != nil {
		requireSameBound(t, without.In, with.In)
	}
}

var plainTimesSeeds = []string{
	`"2024-05-06"`, `"2024\u002d05-06"`, `["2024\u002d05-06","\u0032024-05-06T07:08"]`,
	` [ "2024-05-06" , "2024-05-06T07:08:09.5+01" ] `,
	`{"at":"2024\u002d05-06","s":"2024\u002d05-06","any":"2024-05-06","raw":"2024\u002d05-06","unknown":"2024-05-06"}`,
	`{"\u0061t":"2024-05-06","AT":"2024-05-07T01:02"}`,
	`{"l":["2024-05-06"],"m":{"2024-05-06":"2024-05-06","at":"2024-05-06"},"r":["2024-05-06",null,"no time"],"p":null}`,
	`{"in":{"in":{"at":"2024-05-06","s":"\"at\":\"2024-05-06\""}},"all":[{},{"all":[{"p":"2024-05-06"}]}]}`,
	`{"nested":{"t":"2024-05-06T07:08:09-14:00"},"U":"2024-05-06","t":"2024-05-06"}`, `{"at":1e400,"s":"2024-05-06"}`,
	`{"at":{"at":"2024-05-06"},"l":"2024-05-06","m":["2024-05-06"],"in":["2024-05-06"]}`, `{"a":{"b":"2024-05-06"}}`,
	`{"at":"2024-05-06","at":null}`, `{"at":"\ud83d"}`,
	`{"s":"\ud83d\ude00","at":"2024-05-06","any":[9007199254740993,1e400,"\u2028",{"at":"2024-05-06"}]}`,
	`{"\ud83d":1,"at":"2024-05-06"}`, `null`, `1`, `[]`, `{}`, `[[],{}]`,
	`{"at":"2024-05-06T07:08:09.1234567890123456+01:00" , "p" :"0001-01-01"}`,
}

func TestPlainTimes(t *testing.T) {
	for _, seed := range plainTimesSeeds {
		raw := []byte(strings.TrimSpace(seed))
		checkPlainTimes(t, raw)
		within := append([]byte(`["x",`), raw...)
		checkPlainTimes(t, append(within, `,"2024-05-06"]`...)[5:len(within)]) // part of a larger slice, as arguments are
	}
	got, err := withPlainTimes(
		[]byte(`{"at" : "2024\u002d05-06" , "s":"2024\u002d05-06", "L":[ "2024-05-06T07:08+01",	"2024-05-06T07:08:09Z" ],"any":"2024-05-06" }`),
		reflect.TypeFor[withTimes](),
	)
	require.NoError(t, err)
	assert.Equal(
		t,
		`{"at" : "2024-05-06T00:00:00Z" , "s":"2024\u002d05-06", "L":[ "2024-05-06T07:08:00+01:00",	"2024-05-06T07:08:09Z" ],"any":"2024-05-06" }`,
		string(got),
	)
}

// Checks random values.
func TestPlainTimesOfRandomValues(t *testing.T) {
	texts := rapid.SampledFrom([]string{
		`"2024-05-06"`, `"2024\u002d05-06T07:08"`, `"2024-05-06T07:08:09.5-02:30"`, `"x"`, `"\"2024-05-06\""`, `null`,
		`5`, `"\\"`, `true`, `1e5`,
	})
	names := rapid.SampledFrom([]string{
		"at", "AT", "p", "l", "m", "r", "in", "all", "s", "any", "raw", "nested", "t", "u", `\u0061t`, "other",
		"2024-05-06",
	})
	spaces := rapid.SampledFrom([]string{"", " ", "\n\t"})
	var draw func(t *rapid.T, depth int) string
	draw = func(t *rapid.T, depth int) string {
		kind := rapid.IntRange(0, 3).Draw(t, "kind")
		if depth == 0 || kind == 0 {
			return texts.Draw(t, "text")
		}
		var parts []string
		for range rapid.IntRange(0, 3).Draw(t, "parts") {
			part := draw(t, depth-1)
			if kind > 1 {
				part = `"` + names.Draw(t, "name") + `"` + spaces.Draw(t, "space") + ":" + spaces.Draw(t, "space") + part
			}
			parts = append(parts, spaces.Draw(t, "space")+part+spaces.Draw(t, "space"))
		}
		if kind > 1 {
			return "{" + strings.Join(parts, ",") + "}"
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	rapid.Check(t, func(t *rapid.T) { checkPlainTimes(t, []byte(draw(t, 4))) })
}

func FuzzPlainTimes(f *testing.F) {
	for _, seed := range plainTimesSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m Message // only parsed values are rewritten
		if JSON.Parse(
			[]byte(`{"type":3,"invocationId":"1","result":`+string(raw)+`}`), &m,
		) != nil || !json.Valid(m.Value) || checkSurrogates(m.Value) != nil {
			return
		}
		checkPlainTimes(t, m.Value)
	})
}
