package hubproto_test

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/hubproto"
)

func TestNextPacked(t *testing.T) {
	long := strings.Repeat("x", 200)
	for _, test := range []struct {
		name  string
		buf   string
		limit int
		want  int
		large bool
		text  string
	}{
		{name: "nothing"},
		{name: "nothing, with a limit", limit: 1},
		{name: "a length", buf: "\x05"},
		{name: "half a record", buf: "\x05\x01"},
		{name: "one byte is missing", buf: "\x02\x91"},
		{name: "a record", buf: "\x02\x91\x06", want: 3},
		{name: "a record and more", buf: "\x02\x91\x06\x02\x91", want: 3},
		{name: "an empty record", buf: "\x00", want: 1},
		{name: "empty records", buf: "\x00\x00", want: 1},
		{name: "half a length of two bytes", buf: "\xc8"},
		{name: "a length of two bytes", buf: "\xc8\x01"},
		{name: "a record with a length of two bytes", buf: "\xc8\x01" + long, want: 202},
		{name: "a length with leading zeros", buf: "\x82\x80\x80\x80\x00\x91\x06", want: 7},
		{name: "an empty record of two bytes", buf: "\x80\x00", want: 2},
		{name: "four bytes of a length", buf: "\xff\xff\xff\xff"},
		{name: "the highest length", buf: "\xff\xff\xff\xff\x07"},
		{name: "the highest length, with a limit", buf: "\xff\xff\xff\xff\x07", limit: 32768, large: true},
		{name: "almost the highest length, with a limit", buf: "\xfb\xff\xff\xff\x07", limit: 32768, large: true},
		{name: "the highest length, with the highest limit", buf: "\xff\xff\xff\xff\x07", limit: math.MaxInt32, large: true},
		{name: "above 2 GB", buf: "\x80\x80\x80\x80\x08", text: "Messages over 2GB in size are not supported."},
		{name: "above 2 GB, with a limit", buf: "\x80\x80\x80\x80\x08", limit: 5, text: "Messages over 2GB in size are not supported."},
		{name: "high bits", buf: "\xff\xff\xff\xff\xff", text: "Messages over 2GB in size are not supported."},
		{name: "sign bit", buf: "\x80\x80\x80\x80\x40", text: "Messages over 2GB in size are not supported."},
		{name: "a sixth byte", buf: "\x80\x80\x80\x80\x80\x00", text: "Messages over 2GB in size are not supported."},
		{name: "a sixth byte that was not received", buf: "\x81\x80\x80\x80\x87", text: "Messages over 2GB in size are not supported."},
		{name: "the limit counts the length", buf: "\x04abcd", limit: 5, want: 5},
		{name: "one above the limit with its length", buf: "\x05abcde", limit: 5, large: true},
		{name: "above the limit, not received", buf: "\x05", limit: 5, large: true},
		{name: "at the limit, not received", buf: "\x04", limit: 5},
		{name: "following bytes do not count", buf: "\x04abcd\x05abcde", limit: 5, want: 5},
		{name: "an empty record at the lowest limit", buf: "\x00", limit: 1, want: 1},
		{name: "a record at the lowest limit", buf: "\x01", limit: 1, large: true},
		{name: "no limit, negative", buf: "\x02\x91\x06", limit: -1, want: 3},
		{name: "the default limit is kept", buf: "\xfd\xff\x01" + strings.Repeat("x", 32765), limit: 32768, want: 32768},
		{name: "the default limit is exceeded", buf: "\xfe\xff\x01", limit: 32768, large: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			for searched := range min(len(test.buf), 6) + 1 { // the length is always parsed again
				n, err := hubproto.MessagePack.Next([]byte(test.buf), searched, test.limit)
				switch {
				case test.text != "":
					requireDataError(t, err, test.text)
				case test.large:
					var large *hubproto.TooLargeError
					require.ErrorAs(t, err, &large)
					assert.Equal(t, test.limit, large.Limit)
				default:
					require.NoError(t, err)
				}
				assert.Equal(t, test.want, n)
			}
		})
	}
}

func TestNextPackedDoesNotAllocateForLength(t *testing.T) {
	// No memory is allocated for the length that is declared.
	for _, text := range []string{"\xff\xff\xff\xff\x07", "\xff\xff\xff\x07", "\x02\x91\x06"} {
		buf := []byte(text)
		assert.Less(t, allocatedBy(func() { _, _ = hubproto.MessagePack.Next(buf, 0, 0) }), uint64(4<<10))
	}
}

// packedStream contains messages of each form that clients send.
var packedStream = func() string {
	stream := ""
	for _, test := range append(packedAppendCases, packedParseCases...) {
		stream += string(frame(test.message))
	}
	return stream + string(frame("\x96\x01\x80\xc0\xa1T\x91\xda\x01\x00"+strings.Repeat("x", 256)+"\x90")) + "\x00"
}()

func TestPackedStreamSplitAtEveryByte(t *testing.T) {
	whole, rest, err := splitAll(hubproto.MessagePack.Next, 0, []byte(packedStream))
	require.NoError(t, err)
	require.Empty(t, rest)
	require.Equal(t, packedStream, strings.Join(whole, ""))
	require.Len(t, whole, len(packedAppendCases)+len(packedParseCases)+2)
	for at := range len(packedStream) + 1 {
		records, rest, err := splitAll(hubproto.MessagePack.Next, 0, []byte(packedStream[:at]), []byte(packedStream[at:]))
		require.NoError(t, err)
		require.Empty(t, rest)
		require.Equal(t, whole, records, "split at %d", at)
	}
	var bytes [][]byte
	for i := range len(packedStream) {
		bytes = append(bytes, []byte{packedStream[i]})
	}
	records, rest, err := splitAll(hubproto.MessagePack.Next, 0, bytes...)
	require.NoError(t, err)
	require.Empty(t, rest)
	require.Equal(t, whole, records)
}
