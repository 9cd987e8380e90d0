package hubproto

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// scanWhole scans the object at the beginning of record, and returns its text.
func scanWhole(record []byte) ([]byte, bool) {
	s, err := scanObject(record)
	if err != nil {
		return nil, false
	}
	for s.next() {
	}
	if s.err != nil {
		return nil, false
	}
	return record[:s.i+1], true
}

// depthOf returns the nesting depth of JSON.
func depthOf(text []byte) int {
	depth, deepest := 0, 0
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	for {
		token, err := decoder.Token()
		if err != nil {
			return deepest
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
			deepest = max(deepest, depth)
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
}

// checkScan compares the scanner with encoding/json, for records that contain an object.
func checkScan(t require.TestingT, record []byte) {
	trimmed := bytes.TrimLeft(record, " \t\r\n")
	if len(trimmed) == 0 || trimmed[0] != '{' {
		return
	}
	object, ok := scanWhole(record)
	// A Decoder stops after the object, as the scanner does.
	var raw json.RawMessage
	err := json.NewDecoder(bytes.NewReader(record)).Decode(&raw)
	if ok {
		require.NoError(t, err, "%q", record)
		require.True(t, json.Valid(object), "%q", record)
		require.True(t, utf8.Valid(object), "%q", record)
		require.Equal(t, string(raw), string(bytes.TrimLeft(object, " \t\r\n")))
		require.LessOrEqual(t, depthOf(raw), MaxDepth, "%q", record)
	} else if err == nil && utf8.Valid(record) {
		require.Greater(t, depthOf(raw), MaxDepth, "%q", record)
	}
}

var scanSeeds = []string{
	`{}`, ` { } x`, `{"a":1,"a":2}`, `{"":{"":[]}}`, `{"a":[1,-0,0.5,1e5,1E-5,"\u12aF\n",true,false,null,{},[]]}`, `{"a":"\ud800"}`,
	`{"a":1,}`, `{"a":[1,]}`, `{"a" 1}`, `{"a":01}`, `{"a":1.}`, `{"a":.1}`, `{"a":1e}`, `{"a":-}`, `{"a":+1}`, `{"a":tru}`,
	`{"a":truee}`, `{"a":nulL}`,
	`{"a":"\x"}`, `{"a":"\u123"}`, "{\"a\":\"\n\"}", "{\"a\":\"\x7f\xc2\x80\"}", "{\"a\":\"\xff\"}", `{"a":[}`, `{"a":{]}`,
	`{"a":[1}`, `{,}`, `{"a":1,,"b":2}`, `{"a":1 "b":2}`,
	`{"a":[[[[]]],{"b":{"c":[{}]}}]}`, `{"a`, `{"a":`, `{"a":"`, `{"a":"\`, `{"a":[`, `{"a":[1`, `{"a":{"b"`, `{1:2}`,
	`{"a":{1:2}}`, `{"a":1}{`,
	`{"a":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`, `{"a":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`,
	`{"a":` + strings.Repeat(`{"a":`, 62) + `{}` + strings.Repeat("}", 62) + `}`,
	`{"a":` + strings.Repeat(`[{"a":`, 32) + `1` + strings.Repeat("}]", 32) + `}`,
}

func FuzzScan(f *testing.F) {
	for _, seed := range scanSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, record []byte) { checkScan(t, record) })
}

func TestScanAgreesOnMutations(t *testing.T) {
	// Each seed with each of its bytes removed, doubled, or replaced by a character that has a meaning in JSON.
	const meaning = "\"\\{}[],:-+.eE019tfnu \n\x00\x1e\x80"
	for _, seed := range scanSeeds {
		for i := range len(seed) {
			checkScan(t, []byte(seed[:i]+seed[i+1:]))
			checkScan(t, []byte(seed[:i]+seed[i:i+1]+seed[i:]))
			for _, c := range []byte(meaning) {
				checkScan(t, []byte(seed[:i]+string([]byte{c})+seed[i+1:]))
			}
		}
	}
}

func TestScanAgreesOnRandomTokens(t *testing.T) {
	// Random sequences of tokens are much more often almost valid JSON than random bytes are.
	tokens := []string{"{", "}", "[", "]", ",", ":", `"a"`, `""`, `"\n"`, "1", "-0", "1.5e3", "true", "false", "null", " "}
	rapid.Check(t, func(t *rapid.T) {
		checkScan(t, []byte("{"+strings.Join(rapid.SliceOf(rapid.SampledFrom(tokens)).Draw(t, "tokens"), "")))
	})
}

func TestScanAgreesOnNumbers(t *testing.T) {
	// All strings of up to five characters that occur in numbers.
	var try func(text string)
	try = func(text string) {
		checkScan(t, []byte(`{"a":`+text+`}`))
		checkScan(t, []byte(`{"a":[`+text+`,1]}`))
		if len(text) < 5 {
			for _, c := range "-+.e01" {
				try(text + string(c))
			}
		}
	}
	try("")
}

func TestSplitElements(t *testing.T) {
	for array, want := range map[string][]string{
		`[]`: nil, "[ \t\r\n]": nil, `[1]`: {"1"}, `[1,2]`: {"1", "2"},
		"[ 1 , \"a\" ,\n[ 2 , 3 ] ]":            {"1", `"a"`, "[ 2 , 3 ]"},
		`["],[","\"]","\\",""]`:                 {`"],["`, `"\"]"`, `"\\"`, `""`},
		`[{"a":[1,{"b":"}"}],"]":2},[[],[[]]]]`: {`{"a":[1,{"b":"}"}],"]":2}`, `[[],[[]]]`},
		`[true,false,null,-1.5e+3,0]`:           {"true", "false", "null", "-1.5e+3", "0"},
		`[{},[],"",{"":""}]`:                    {"{}", "[]", `""`, `{"":""}`},
		"[\n-1\n,\n{\n}\n,\n[\n]\n,\ntrue\n]":   {"-1", "{\n}", "[\n]", "true"},
		`["\u005d","é€😀",{"\"":"\\\""},"\\\""]`: {`"\u005d"`, `"é€😀"`, `{"\"":"\\\""}`, `"\\\""`},
	} {
		for room := range len(want) + 2 { // elements beyond the capacity are counted as well
			into := make([][]byte, room)
			require.Equal(t, len(want), splitElements([]byte(array), into), array)
			for i := range min(room, len(want)) {
				assert.Equal(t, want[i], string(into[i]))
			}
		}
	}
}

func TestSplitElementsAgrees(t *testing.T) {
	element := rapid.Deferred(func() *rapid.Generator[any] { return anyJSON(3) })
	rapid.Check(t, func(t *rapid.T) {
		array := rapid.SliceOf(element).Draw(t, "array")
		var text []byte
		var err error
		if rapid.Bool().Draw(t, "indented") {
			text, err = json.MarshalIndent(array, "", " ")
		} else {
			text, err = json.Marshal(array)
		}
		require.NoError(t, err)
		var want []json.RawMessage
		require.NoError(t, json.Unmarshal(text, &want))
		into := make([][]byte, len(want))
		require.Equal(t, len(want), splitElements(text, into), "%s", text)
		for i := range want {
			require.Equal(t, string(want[i]), string(into[i]))
		}
	})
}

// anyJSON generates values as JSON is decoded into a variable of type any.
func anyJSON(depth int) *rapid.Generator[any] {
	scalars := []*rapid.Generator[any]{
		rapid.Just[any](nil), rapid.Bool().AsAny(), rapid.Float64().AsAny(), rapid.Float64Range(-10, 10).AsAny(), rapid.String().AsAny(),
		rapid.SampledFrom([]any{0.0, "\"", `\`, "\x00\x1e", "]", "}", "\u2028", "null", 1e21, 1e-7, -1.5}),
	}
	if depth > 0 {
		inner := rapid.Deferred(func() *rapid.Generator[any] { return anyJSON(depth - 1) })
		scalars = append(scalars, rapid.SliceOfN(inner, 0, 4).AsAny(), rapid.MapOfN(rapid.String(), inner, 0, 4).AsAny())
	}
	return rapid.OneOf(scalars...)
}

func TestParseInt(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "-0": 0, "1": 1, "-1": -1, "9223372036854775807": 1<<63 - 1, "-9223372036854775808": -1 << 63, "1000000000000000000": 1e18,
	} {
		n, ok := parseInt([]byte(text))
		assert.True(t, ok, text)
		assert.Equal(t, want, n, text)
	}
	for _, text := range []string{
		"", "-", "1.0", "1e0", "true", `"1"`, "null", "9223372036854775808", "-9223372036854775809", "18446744073709551616",
		"9999999999999999999",
		"10000000000000000000", "92233720368547758080", strings.Repeat("9", 100),
	} {
		_, ok := parseInt([]byte(text))
		assert.False(t, ok, text)
	}
}

func TestStringsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "text")
		quoted := appendString(nil, text)
		require.Equal(t, string(quoted), string(appendString(nil, []byte(text))))
		require.NotContains(t, string(quoted), "\x1e")
		require.Equal(t, len(quoted), skipString(quoted, 0))
		back, ok := unescape(quoted[1 : len(quoted)-1])
		require.True(t, ok)
		if utf8.ValidString(text) {
			require.Equal(t, text, string(back))
		}
		var decoded string
		require.NoError(t, json.Unmarshal(quoted, &decoded))
		require.Equal(t, decoded, string(back))
		// encoding/json decodes its own encoding to the same string.
		std, err := json.Marshal(text)
		require.NoError(t, err)
		var stdDecoded string
		require.NoError(t, json.Unmarshal(std, &stdDecoded))
		require.Equal(t, stdDecoded, decoded)
	})
}

func TestUnescapeAgrees(t *testing.T) {
	pieces := []string{
		"a", "é", "😀", `\"`, `\\`, `\/`, `\b`, `\f`, `\n`, `\r`, `\t`, `\u0041`, `\u00e9`, `\u20AC`, `\uFFFD`,
		`\ud83d\ude00`, `\uD83D\uDE00`, `\u0000`, `\uffff`, `\ue000`, `\ud7ff`,
	}
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOf(rapid.SampledFrom(pieces)).Draw(t, "pieces"), "")
		var want string
		require.NoError(t, json.Unmarshal([]byte(`"`+text+`"`), &want))
		got, ok := unescape([]byte(text))
		require.True(t, ok)
		require.Equal(t, want, string(got))
		for _, half := range []string{`\ud83d`, `\ude00`, `\udbff`, `\udc00`, `\ud800`, `\udfff`} {
			_, ok := unescape([]byte(text + half))
			// A low surrogate would complete a text that ends with a high one, but no piece does.
			require.False(t, ok, "%s%s", text, half)
			_, ok = unescape([]byte(half + "x" + text))
			require.False(t, ok)
		}
	})
}

func TestPlainPrefixHoldsNothingToEscape(t *testing.T) {
	for b := range 256 {
		plain := b >= ' ' && b != '"' && b != '\\' && b < utf8.RuneSelf
		for size := range 26 {
			for at := range size {
				text := bytes.Repeat([]byte("x"), size)
				text[at] = byte(b)
				n := plainPrefix(text)
				if plain || at >= size/8*8 {
					require.Equal(t, size/8*8, n, "%q", text)
				} else {
					require.Equal(t, at, n, "%q", text)
				}
				require.Equal(t, n, plainPrefix(string(text)))
				if text[size-1] = '"'; n == at {
					require.Equal(t, at, plainPrefix(text), "%q", text)
				}
			}
		}
	}
}
