package hubproto_test

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/hubproto"
)

func FuzzParse(f *testing.F) {
	for _, test := range validRecords {
		f.Add([]byte(test.record))
	}
	for _, test := range invalidRecords {
		f.Add([]byte(test.record))
	}
	for _, test := range appendCases {
		f.Add([]byte(test.want))
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		before := string(record)
		m := hubproto.Message{StreamIDs: ids("left", "over")}
		err := hubproto.JSON.Parse(record, &m)
		require.Equal(t, before, string(record))
		if err != nil {
			var data *hubproto.DataError
			require.ErrorAs(t, err, &data)
			require.NotEmpty(t, data.Text)
			return
		}
		require.LessOrEqual(t, len(m.ID), hubproto.MaxIDLength)
		require.LessOrEqual(t, len(m.StreamIDs), hubproto.MaxStreamIDs)
		for _, text := range append([][]byte{m.ID, m.Target, m.Error, m.Arguments, m.Value, m.Headers}, m.StreamIDs...) {
			require.True(t, utf8.Valid(text))
		}
		for _, encoded := range [][]byte{m.Arguments, m.Value, m.Headers} {
			require.True(t, encoded == nil || json.Valid(encoded), "%s", encoded)
		}
		if m.Type < hubproto.Invocation || m.Type > hubproto.Sequence {
			return
		}
		again := hubproto.JSON.Append(nil, &m)
		n, err := hubproto.JSON.Next(again, 0, 0)
		require.NoError(t, err)
		require.Equal(t, len(again), n, "%q", again) // a single record
		require.True(t, json.Valid(again[:n-1]), "%q", again)
		require.Equal(t, meaningful(viewOf(&m)), meaningful(parse(t, string(again))))
	})
}

func FuzzHandshake(f *testing.F) {
	for _, test := range validHandshakes {
		f.Add([]byte(test.record))
	}
	for _, test := range invalidHandshakes {
		f.Add([]byte(test.record))
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		h, err := hubproto.ParseHandshake(record)
		if err != nil {
			var data *hubproto.DataError
			require.ErrorAs(t, err, &data)
			require.NotEmpty(t, data.Text)
			// The text is sent to the client.
			response := hubproto.AppendHandshakeResponse(nil, data.Text)
			require.True(t, json.Valid(response[:len(response)-1]), "%q", response)
			require.Equal(t, 1, strings.Count(string(response), "\x1e"))
			return
		}
		require.True(t, h.Version >= math.MinInt32 && h.Version <= math.MaxInt32)
		require.True(t, utf8.ValidString(h.Protocol))
		request := hubproto.AppendHandshakeRequest(nil, h)
		n, err := hubproto.NextHandshake(request, 0, 0)
		require.NoError(t, err)
		require.Equal(t, len(request), n, "%q", request)
		again, err := hubproto.ParseHandshake(request)
		require.NoError(t, err)
		require.Equal(t, h, again)
	})
}

func FuzzSplit(f *testing.F) {
	f.Add([]byte(messageStream), []byte{1}, 0)
	f.Add([]byte(messageStream), []byte{5, 200, 0, 1}, 60)
	f.Add([]byte("1234\x1e12345\x1e"), []byte{4, 1}, 5)
	f.Add([]byte("12345"), []byte{1}, 5)
	f.Add([]byte("\x1e\x1e\x1e"), []byte{2}, 1)
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

		for which, next := range nextFuncs {
			whole, wholeRest, wholeErr := splitAll(next, limit, data)
			split, splitRest, splitErr := splitAll(next, limit, chunks...)
			require.Equal(t, wholeErr, splitErr, which)
			require.Equal(t, whole, split, which)
			for _, record := range whole {
				require.Equal(t, len(record)-1, strings.IndexByte(record, 0x1e))
				require.True(t, limit <= 0 || len(record) <= limit)
			}
			if wholeErr == nil {
				require.Equal(t, wholeRest, splitRest, which)
				require.Equal(t, string(data), strings.Join(whole, "")+wholeRest)
				require.NotContains(t, wholeRest, "\x1e")
				require.True(t, limit <= 0 || len(wholeRest) < limit) // the separator counts toward the limit
				continue
			}
			var large *hubproto.TooLargeError
			require.ErrorAs(t, wholeErr, &large)
			require.Equal(t, limit, large.Limit)
			// The record after the last complete one exceeds the limit.
			broken := string(data)[len(strings.Join(whole, "")):]
			end := strings.IndexByte(broken, 0x1e)
			require.True(t, end >= limit || end < 0 && len(broken) >= limit)
		}
	})
}

func FuzzValue(f *testing.F) {
	for _, seed := range []string{
		`null`, `true`, `0`, `-0`, `1e21`, `1e-7`, `123456789012345678901234567890`, `1e400`, `""`, `"\ud83d\ude00"`,
		`"\ud83d"`, `"\u2028\u001e\\u"`, `"é😀"`, "\"\xff\"", `[]`, `{}`, ` [ 1 , "a" ] `,
		`{"b":1,"a":{"A":[null,{"":""}]},"b":2}`, `[[[[]]],{"a":[{"b":{}}]}]`, `{"\u0061":"<&>'"}`, `"\"\\\/\b\f\n\r\t"`,
		`[0.1,2.5e-308,1.7976931348623157e308,4.9e-324]`, `1,2`, `]`, `1}`,
		strings.Repeat("[", 62) + strings.Repeat("]", 62), strings.Repeat("[", 63) + strings.Repeat("]", 63),
		strings.Repeat(`{"a":`, 62) + `1` + strings.Repeat("}", 62),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) {
			return
		}
		var m hubproto.Message
		if err := hubproto.JSON.Parse([]byte(`{"type":1,"target":"T","arguments":[`+text+`]}`), &m); err != nil {
			var tree any
			require.True(t, !utf8.ValidString(text) || json.Unmarshal([]byte(text), &tree) != nil ||
				strings.Count(text, "[")+strings.Count(text, "{") > hubproto.MaxDepth-2, text)
			return
		}
		var want any
		wantErr := json.Unmarshal([]byte(text), &want)
		var v any
		if err := hubproto.JSON.BindArguments(m.Arguments, []reflect.Value{reflect.ValueOf(&v).Elem()}); err != nil {
			var bind *hubproto.BindError
			require.ErrorAs(t, err, &bind)
			require.True(t, wantErr != nil || surrogate.MatchString(text), "%s: %v", text, errors.Unwrap(err))
			return
		}
		require.NoError(t, wantErr, text)
		require.Equal(t, want, v)

		record, err := hubproto.JSON.AppendInvocation(nil, nil, "T", []any{v})
		require.NoError(t, err, text)
		n, err := hubproto.JSON.Next(record, 0, 0)
		require.NoError(t, err)
		require.Equal(t, len(record), n)
		require.NoError(t, hubproto.JSON.Parse(record, &m))
		var again []any
		require.NoError(t, json.Unmarshal(m.Arguments, &again), "%s", m.Arguments)
		require.Equal(t, []any{want}, again)

		_, err = hubproto.JSON.AppendResult(nil, []byte("1"), v)
		require.NoError(t, err)
		require.LessOrEqual(t, nestingDepth(v), hubproto.MaxDepth-2)
	})
}

func FuzzBind(f *testing.F) {
	for _, seed := range []string{
		`{"s":"x","t":"\u0041","i":-1,"i8":127,"u":18446744073709551615,"f":0.5,"b":true,"p":1,"pp":{"s":"y"},"l":[1],"ls":["a"],"lp":[true,null],"a":[1,2],"by":"AQID","m":{"a":1},"mi":{"1":{"i":2}}}`,
		`{"any":{"a":[null]},"raw":[null,1],"num":1.5,"own":null,"txt":"x","url":"u","q":"5","name":"n","value":1,"id":"i"}`,
		`{"S":null,"T":null,"P":null,"PP":null,"L":null,"LS":null,"M":null,"ANY":null,"NUM":null,"URL":null,"BY":null}`,
		`{"i":null}`, `{"a":[null]}`, `{"m":{"a":null}}`, `{"l":[1,null]}`, `{"mi":{"1":{"i":null}}}`, `{"value":null}`,
		`{"txt":null}`, `{"q":null}`, `{"unknown":[null,{"i":null}]}`, `{"s":"\ud83d"}`, `{"i":1.5}`, `{"i8":128}`, `[]`,
		`null`, `{}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var m hubproto.Message
		if !json.Valid([]byte(text)) || hubproto.JSON.Parse([]byte(`{"type":1,"target":"T","arguments":[`+text+`]}`), &m) != nil {
			return
		}
		var got, want allKinds
		err := hubproto.JSON.BindArguments(m.Arguments, []reflect.Value{reflect.ValueOf(&got).Elem()})
		wantErr := json.Unmarshal([]byte(text), &want)
		if err != nil {
			var bind *hubproto.BindError
			require.ErrorAs(t, err, &bind)
			require.Equal(t, errorBinding, bind.Text)
			// Binding is stricter than encoding/json in these two respects only.
			require.True(t, wantErr != nil || strings.Contains(text, "null") || surrogate.MatchString(text), "%s: %v", text, bind.Cause)
			return
		}
		require.NoError(t, wantErr, text)
		require.Equal(t, want, got)
	})
}
