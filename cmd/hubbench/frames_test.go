package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// serverFrame is a frame as servers send it.
func serverFrame(opcode byte, payload string) []byte {
	b := []byte{0x80 | opcode}
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, payload...)
}

// messages are frames of all sizes of headers, with 13 messages, an empty frame, and a ping.
func messages(text string) []byte {
	var b []byte
	b = append(b, serverFrame(1, text)...)
	b = append(b, serverFrame(1, "")...)
	b = append(b, serverFrame(1, text+strings.Repeat("x", 200)+text)...)
	b = append(b, serverFrame(9, "ping")...)
	return append(b, serverFrame(1, strings.Repeat(text+strings.Repeat("o", 7000), 10))...)
}

func TestMessagesAreCountedWhereverReadsEnd(t *testing.T) {
	for _, marker := range [][]byte{plainMarker, packedMarker} {
		all := messages("hello^")
		for size := 1; size <= len(all); size += 1 + size*size/100 {
			c, n := counter{marker: marker}, 0
			for rest := all; len(rest) > 0; {
				part := rest[:min(size, len(rest))]
				rest = rest[len(part):]
				for len(part) > 0 {
					var payload []byte
					payload, part = c.next(part)
					n += c.count(payload)
				}
			}
			require.Equal(t, 13, n, "marker %q, reads of %d bytes", marker, size)
		}
	}
}

func TestHalfAMarkerIsNone(t *testing.T) {
	c := counter{marker: packedMarker}
	require.Zero(t, c.count([]byte("xo")))
	require.Zero(t, c.count(nil))
	require.Equal(t, 1, c.count([]byte("^^o")), "the second ^ stands behind no o")
	require.Zero(t, c.count([]byte("x^")))
}

func TestAgesOfMessages(t *testing.T) {
	now := time.Unix(1700000000, 0)
	sent := now.Add(-3 * time.Millisecond).UnixNano()
	text := fmt.Sprintf(`{"type":1,"target":"Receive","arguments":[{"t":%d,"text":"hello^"}]}`+"\x1e", sent)
	packed := string(binary.BigEndian.AppendUint64([]byte("\x83\xa1t\xcf"), uint64(sent))) + "\xa4text\xa6hello^"
	require.Equal(t, []float64{3, 3}, appendAges(nil, []byte(text+text), now))
	require.Equal(t, []float64{3, 3, 3}, appendAges(nil, []byte(packed+packed+packed), now))
	require.Empty(t, appendAges(nil, []byte(text[:60]), now), "a time that is cut off is not one")
	require.Empty(t, appendAges(nil, []byte(packed[:10]), now))
}

func TestCalls(t *testing.T) {
	require.Equal(t, `{"type":1,"invocationId":"7","target":"Echo","arguments":["hello^"]}`+"\x1e", string(jsonText.call(invocation, "7", "Echo", "hello^")))
	require.Equal(t, `{"type":4,"invocationId":"7","target":"Stream","arguments":[10000]}`+"\x1e", string(jsonText.call(streamInvocation, "7", "Stream", 10000)))
	require.Equal(t, `{"type":1,"target":"Id","arguments":[]}`+"\x1e", string(jsonText.call(invocation, noID, "Id")))
	require.Equal(t, `{"H":"BenchHub","M":"Echo","A":["hello^"],"I":"7"}`, string(classic.call(invocation, "7", "Echo", "hello^")))
	require.Equal(t, "\x13\x96\x01\x80\xa17\xa4Echo\x91\xa6hello^\x90", string(packed.call(invocation, "7", "Echo", "hello^")))
	require.Equal(t, "\x12\x96\x04\x80\xc0\xa6Stream\x91\xce\x00\x00\x27\x10\x90", string(packed.call(streamInvocation, noID, "Stream", 10000)))
}

func TestMaskedFrames(t *testing.T) {
	for _, size := range []int{0, 125, 126, 60000} {
		text := bytes.Repeat([]byte("abcde"), size/5+1)[:size]
		frame := maskedFrame(packed.opcode(), text)
		require.Equal(t, byte(0x82), frame[0])
		require.NotZero(t, frame[1]&0x80, "it is masked")
		header := map[bool]int{true: 2, false: 4}[size < 126]
		mask, payload := frame[header:header+4], frame[header+4:]
		for i := range payload {
			payload[i] ^= mask[i%4]
		}
		require.Equal(t, text, append([]byte{}, payload...))
	}
}
