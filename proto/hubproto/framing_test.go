package hubproto_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/hubproto"
)

func TestNext(t *testing.T) {
	tests := []struct {
		name  string
		buf   string
		limit int
		want  int
		large bool
	}{
		{name: "nothing"},
		{name: "nothing, with a limit", limit: 1},
		{name: "half a record", buf: `{"type":6`},
		{name: "a record", buf: "{}\x1e", want: 3},
		{name: "an empty record", buf: "\x1e", want: 1},
		{name: "empty records", buf: "\x1e\x1e", want: 1},
		{name: "a record and more", buf: "{}\x1e{\"type\":6}\x1e", want: 3},
		{name: "a separator within a string", buf: "\"a\x1eb\"\x1e", want: 3},
		{name: "the limit counts the separator", buf: "1234\x1e", limit: 5, want: 5},
		{name: "one above the limit with its separator", buf: "12345\x1e", limit: 5, large: true},
		{name: "far above the limit", buf: strings.Repeat("x", 100) + "\x1e", limit: 5, large: true},
		{name: "below the limit without an end", buf: "1234", limit: 5},
		// With its separator the record exceeds the limit in any case.
		{name: "at the limit without an end", buf: "12345", limit: 5, large: true},
		{name: "above the limit without an end", buf: "123456", limit: 5, large: true},
		{name: "following bytes do not count", buf: "1234\x1e56789", limit: 5, want: 5},
		{name: "an empty record at the lowest limit", buf: "\x1e", limit: 1, want: 1},
		{name: "no limit", buf: strings.Repeat("x", 1<<20) + "\x1e", limit: 0, want: 1<<20 + 1},
		{name: "no limit, negative", buf: "12345\x1e", limit: -1, want: 6},
		{name: "the default limit is kept", buf: strings.Repeat("x", 32767) + "\x1e", limit: 32768, want: 32768},
		{name: "the default limit is exceeded", buf: strings.Repeat("x", 32768) + "\x1e", limit: 32768, large: true},
	}
	for which, next := range nextFuncs {
		for _, test := range tests {
			t.Run(which+"/"+test.name, func(t *testing.T) {
				n, err := next([]byte(test.buf), 0, test.limit)
				if test.large {
					var large *hubproto.TooLargeError
					require.ErrorAs(t, err, &large)
					assert.Equal(t, test.limit, large.Limit)
					assert.Zero(t, n)
					return
				}
				require.NoError(t, err)
				assert.Equal(t, test.want, n)
			})
		}
	}
}

func TestNextDoesNotChangeBuffer(t *testing.T) {
	buf := []byte("{}\x1e{")
	_, err := hubproto.JSON.Next(buf[:3], 0, 0)
	require.NoError(t, err)
	assert.Equal(t, "{}\x1e{", string(buf))
}

// messageStream contains messages of each form that clients send, including empty and unknown ones.
var messageStream = strings.Join([]string{
	`{"type":1,"target":"Send","arguments":[1,"a\u001eb"]}`,
	`{"arguments":[{"x":[1,2,{"y":null}]}],"target":"Grüße","invocationId":"😀","streamIds":["1","2"],"type":4}`,
	`{"type":2,"invocationId":"1","item":"汉字"}`,
	`{"error":"e","invocationId":"2","type":3}`,
	`{"type":5,"invocationId":"1"}`,
	`{"type":6}`,
	` {"type":6} `,
	`{"type":99}`,
	`{"type":8,"sequenceId":3}`,
	`{"type":9,"sequenceId":4}`,
	`{"type":7,"error":"","allowReconnect":true}`,
}, "\x1e") + "\x1e"

func parseAll(t *testing.T, records []string) []view {
	var views []view
	for _, record := range records {
		views = append(views, parse(t, record))
	}
	return views
}

func TestSeveralMessagesInOneChunk(t *testing.T) {
	records, rest, err := splitAll(hubproto.JSON.Next, 0, []byte(messageStream))
	require.NoError(t, err)
	assert.Empty(t, rest)
	assert.Equal(t, []view{
		{Type: hubproto.Invocation, Target: "Send", Arguments: `[1,"a\u001eb"]`},
		{Type: hubproto.StreamInvocation, ID: "😀", Target: "Grüße", Arguments: `[{"x":[1,2,{"y":null}]}]`, StreamIDs: []string{"1", "2"}},
		{Type: hubproto.StreamItem, ID: "1", Value: `"汉字"`},
		{Type: hubproto.Completion, ID: "2", Error: "e", HasError: true},
		{Type: hubproto.CancelInvocation, ID: "1"},
		{Type: hubproto.Ping},
		{Type: hubproto.Ping},
		{Type: 99},
		{Type: hubproto.Ack, SequenceID: 3},
		{Type: hubproto.Sequence, SequenceID: 4},
		{Type: hubproto.Close, HasError: true, AllowReconnect: true},
	}, parseAll(t, records))
}

func TestStreamSplitAtEveryByte(t *testing.T) {
	whole, _, err := splitAll(hubproto.JSON.Next, 0, []byte(messageStream))
	require.NoError(t, err)
	want := parseAll(t, whole)
	for at := range len(messageStream) + 1 {
		records, rest, err := splitAll(hubproto.JSON.Next, 0, []byte(messageStream[:at]), []byte(messageStream[at:]))
		require.NoError(t, err)
		require.Empty(t, rest)
		require.Equal(t, want, parseAll(t, records), "split at %d", at)
	}
	// Each byte in a chunk of its own.
	var bytes [][]byte
	for i := range len(messageStream) {
		bytes = append(bytes, []byte{messageStream[i]})
	}
	records, rest, err := splitAll(hubproto.JSON.Next, 0, bytes...)
	require.NoError(t, err)
	require.Empty(t, rest)
	require.Equal(t, want, parseAll(t, records))
}

func TestLimitDoesNotDependOnChunks(t *testing.T) {
	// The result depends on the length of the longest record, not on the ends of the chunks.
	longest := 0
	for _, record := range strings.SplitAfter(messageStream, "\x1e") {
		longest = max(longest, len(record))
	}
	for at := range len(messageStream) + 1 {
		_, _, err := splitAll(hubproto.JSON.Next, longest, []byte(messageStream[:at]), []byte(messageStream[at:]))
		require.NoError(t, err, "split at %d", at)
		records, _, err := splitAll(hubproto.JSON.Next, longest-1, []byte(messageStream[:at]), []byte(messageStream[at:]))
		var large *hubproto.TooLargeError
		require.ErrorAs(t, err, &large, "split at %d", at)
		require.Len(t, records, 1, "split at %d", at) // complete records before it remain valid
	}
}
