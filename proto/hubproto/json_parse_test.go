package hubproto_test

import (
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/proto/hubproto"
)

func TestParse(t *testing.T) {
	for _, test := range validRecords {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, parse(t, test.record))
			assert.Equal(t, test.want, parse(t, test.record+"\x1e"))
		})
	}
}

func TestParseErrors(t *testing.T) {
	for _, test := range invalidRecords {
		t.Run(test.name, func(t *testing.T) {
			var m hubproto.Message
			requireDataError(t, hubproto.JSON.Parse([]byte(test.record), &m), test.text)
			requireDataError(t, hubproto.JSON.Parse([]byte(test.record+"\x1e"), &m), test.text)
		})
	}
}

func TestParseAppendedMessages(t *testing.T) {
	for _, test := range appendCases {
		if strings.Contains(test.name, "wins") || strings.Contains(test.name, "ignores") || strings.Contains(test.name, "escape") {
			continue // parsing does not yield the original message
		}
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, viewOf(&test.m), parse(t, test.want))
		})
	}
}

func TestParseTruncated(t *testing.T) {
	// Truncated messages are invalid.
	for _, test := range appendCases {
		for end := range len(test.want) {
			var m hubproto.Message
			requireDataError(t, hubproto.JSON.Parse([]byte(test.want[:end]), &m), errorReading)
		}
	}
}

func TestParseAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		properties := []string{
			`"type":4`, `"headers":{"a":"b"}`, `"invocationId":"1"`, `"target":"T"`, `"arguments":[1,[2]]`, `"streamIds":["x","y"]`,
			`"error":"e"`, `"sequenceId":3`, `"unknown":{"type":1}`, `"allowReconnect":true`, `"item":1`, `"result":2`,
		}
		record := "{" + strings.Join(rapid.Permutation(properties).Draw(t, "order"), ",") + "}"
		require.Equal(t, view{
			Type: 4, ID: "1", Target: "T", Arguments: `[1,[2]]`, StreamIDs: []string{"x", "y"}, Headers: `{"a":"b"}`,
			Error: "e", HasError: true, SequenceID: 3, AllowReconnect: true,
		}, parse(t, record))
	})
}

func TestParseDepth(t *testing.T) {
	arrays := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	objects := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	mixed := func(n int) string {
		return strings.Repeat(`[1,{"a":`, n/2) + []string{"1", "{}"}[n%2] + strings.Repeat("},2]", n/2)
	}
	empty := func(n int) string { return strings.Repeat(`{"a":`, n-1) + "{}" + strings.Repeat("}", n-1) }
	for name, nest := range map[string]func(int) string{"arrays": arrays, "objects": objects, "mixed": mixed, "empty": empty} {
		for _, shape := range []struct {
			before, after string
			deepest       int
		}{
			{`{"type":6,"x":`, `}`, hubproto.MaxDepth - 1},
			{`{"type":2,"invocationId":"1","item":`, `}`, hubproto.MaxDepth - 1},
			{`{"type":1,"target":"T","arguments":[`, `]}`, hubproto.MaxDepth - 2},
			{`{"type":1,"target":"T","arguments":[0,`, `,0]}`, hubproto.MaxDepth - 2},
		} {
			for depth := 2; depth < 140; depth++ {
				var m hubproto.Message
				err := hubproto.JSON.Parse([]byte(shape.before+nest(depth)+shape.after), &m)
				if depth > shape.deepest {
					requireDataError(t, err, errorReading)
				} else {
					require.NoError(t, err, "%s%d %s", shape.before, depth, name)
				}
			}
		}
	}
	// Depths that were measured with the reference.
	for depth, good := range map[int]bool{61: true, 62: true, 63: false, 64: false, 65: false, 1000: false, 1 << 20: false} {
		var m hubproto.Message
		err := hubproto.JSON.Parse([]byte(`{"type":1,"target":"Echo","arguments":[`+arrays(depth)+`]}`), &m)
		assert.Equal(t, good, err == nil, "%d arrays as an argument", depth)
	}
	for depth, good := range map[int]bool{61: true, 62: true, 63: true, 64: false, 65: false, 1000: false} {
		var m hubproto.Message
		err := hubproto.JSON.Parse([]byte(`{"type":6,"x":`+objects(depth)+`}`), &m)
		assert.Equal(t, good, err == nil, "%d objects in an unknown property", depth)
	}
}

func TestSiblingsDoNotAddToDepth(t *testing.T) {
	// Siblings do not add to the depth.
	record := `{"type":6,"x":[` + strings.TrimSuffix(strings.Repeat(`{"a":[[],[]]},`, 500), ",") + `],"y":` +
		strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`
	assert.Equal(t, view{Type: 6}, parse(t, record))
}

func TestParseLimits(t *testing.T) {
	long := strings.Repeat("i", hubproto.MaxIDLength)
	escaped := strings.Repeat(`\u0069`, hubproto.MaxIDLength)
	many := func(n int) string { return `"1"` + strings.Repeat(`,"1"`, n-1) }

	assert.Equal(t, long, parse(t, `{"type":5,"invocationId":"`+long+`"}`).ID)
	assert.Equal(t, long, parse(t, `{"type":5,"invocationId":"`+escaped+`"}`).ID) // the length after unescaping counts
	assert.Equal(t, []string{long}, parse(t, `{"type":1,"target":"T","arguments":[],"streamIds":["`+escaped+`"]}`).StreamIDs)
	assert.Len(
		t, parse(t, `{"type":1,"target":"T","arguments":[],"streamIds":[`+many(hubproto.MaxStreamIDs)+`]}`).StreamIDs,
		hubproto.MaxStreamIDs,
	)
	// Only ids are stored, so only ids are limited.
	assert.Len(t, parse(t, `{"type":1,"target":"`+long+long+`","arguments":[]}`).Target, 2*hubproto.MaxIDLength)
	assert.Len(t, parse(t, `{"type":7,"error":"`+long+long+`"}`).Error, 2*hubproto.MaxIDLength)

	for record, text := range map[string]string{
		`{"type":5,"invocationId":"` + long + `i"}`:                                                       "'invocationId' has 4097 bytes, more than the limit of 4096.",
		`{"type":5,"invocationId":"` + strings.Repeat("é", hubproto.MaxIDLength/2) + `i"}`:                "'invocationId' has 4097 bytes, more than the limit of 4096.",
		`{"type":6,"invocationId":"` + long + `i"}`:                                                       "'invocationId' has 4097 bytes, more than the limit of 4096.",
		`{"type":1,"target":"T","arguments":[],"streamIds":["1","` + long + `i"]}`:                        "'streamIds' has an id of 4097 bytes, more than the limit of 4096.",
		`{"type":1,"target":"T","arguments":[],"streamIds":[` + many(hubproto.MaxStreamIDs+1) + `]}`:      "'streamIds' has 257 elements, more than the limit of 256.",
		`{"type":1,"target":"T","arguments":[],"streamIds":[` + many(100000) + `]}`:                       "'streamIds' has 100000 elements, more than the limit of 256.",
		`{"type":1,"target":"T","arguments":[],"streamIds":[` + many(hubproto.MaxStreamIDs) + `,[[],1]]}`: "'streamIds' has 257 elements, more than the limit of 256.",
	} {
		var m hubproto.Message
		requireDataError(t, hubproto.JSON.Parse([]byte(record), &m), text)
	}
}

func TestParseUTF8(t *testing.T) {
	for name, bad := range map[string]string{
		"stray byte": "\xff", "continuation alone": "\x80", "cut short": "\xc3", "cut short, three bytes": "\xe2\x82", "overlong": "\xc0\xaf",
		"surrogate": "\xed\xa0\x80", "surrogate pair": "\xed\xa0\xbd\xed\xb8\x80", "beyond the last code point": "\xf4\x90\x80\x80",
	} {
		for _, shape := range []string{
			`{"type":1,"target":"%s","arguments":[]}`, `{"type":1,"target":"T","arguments":["%s"]}`,
			`{"type":1,"target":"T","arguments":[{"%s":1}]}`,
			`{"type":5,"invocationId":"%s"}`, `{"type":6,"x":"%s"}`, `{"type":6,"%s":1}`, `{"type":6,"headers":{"%s":""}}`,
			`{"type":6,"streamIds":["%s"]}`,
			`%s{"type":6}`, `{"type":6,%s"x":1}`,
		} {
			t.Run(name+" in "+shape, func(t *testing.T) {
				var m hubproto.Message
				requireDataError(t, hubproto.JSON.Parse([]byte(fmt.Sprintf(shape, bad)), &m), errorReading)
			})
		}
	}
}

func TestParseResetsMessage(t *testing.T) {
	var m hubproto.Message
	full := `{"type":1,"target":"A","arguments":[1],"target":"B","invocationId":"1","streamIds":["x","y"],` +
		`"headers":{"a":"b"},"error":"e","allowReconnect":true,"sequenceId":9}`
	for range 2 {
		require.NoError(t, hubproto.JSON.Parse([]byte(full), &m))
		assert.Equal(t, view{
			Type: 1, ID: "1", Target: "B", Retargeted: true, Arguments: `[1]`, StreamIDs: []string{"x", "y"}, Headers: `{"a":"b"}`,
			Error: "e", HasError: true, AllowReconnect: true, SequenceID: 9,
		}, viewOf(&m))
		require.NoError(t, hubproto.JSON.Parse([]byte(`{"type":3,"invocationId":"2","result":5}`), &m))
		assert.Equal(t, view{Type: 3, ID: "2", Value: "5"}, viewOf(&m))
		require.NoError(t, hubproto.JSON.Parse([]byte(`{"type":6}`), &m))
		assert.Equal(t, view{Type: 6}, viewOf(&m))
	}
}

func TestParseDoesNotChangeRecord(t *testing.T) {
	for _, test := range validRecords {
		record := []byte(test.record)
		var m hubproto.Message
		require.NoError(t, hubproto.JSON.Parse(record, &m))
		require.Equal(t, test.record, string(record))
	}
}

func TestMessageSharesRecord(t *testing.T) {
	// This makes parsing free of allocations. Callers copy what they store.
	record := []byte(`{"type":1,"invocationId":"1","target":"T","arguments":[1],"streamIds":["s"],"headers":{}}`)
	var m hubproto.Message
	require.NoError(t, hubproto.JSON.Parse(record, &m))
	from := uintptr(unsafe.Pointer(&record[0]))
	for _, part := range [][]byte{m.ID, m.Target, m.Arguments, m.StreamIDs[0], m.Headers} {
		at := uintptr(unsafe.Pointer(&part[0]))
		assert.True(t, at >= from && at < from+uintptr(len(record)), "%s", part)
	}
}
