package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/internal/link"
	"github.com/troupe-go/troupe/internal/wsframe"
)

// collector is a session that keeps what is read.
type collector struct {
	link.SocketSession
	buffer  [512]byte
	bytes   []byte
	commits int
	pongs   [][]byte
}

func (c *collector) Buffer() []byte { return c.buffer[:] }

func (c *collector) Commit(n int) bool {
	c.bytes = append(c.bytes, c.buffer[:n]...)
	clear(c.buffer[:]) // it may be used for something else
	c.commits++
	return true
}

func (c *collector) Pong(frame []byte) { c.pongs = append(c.pongs, frame) }

// pieces is a source that yields what it holds, piece by piece, and spoils a piece when the next one is asked for.
type pieces struct {
	rest [][]byte
	last []byte
}

func (p *pieces) receive() ([]byte, error) {
	clear(p.last)
	if len(p.rest) == 0 {
		return nil, io.EOF
	}
	p.last, p.rest = p.rest[0], p.rest[1:]
	return p.last, nil
}

// maskedFrame returns a frame of a client.
func maskedFrame(first byte, mask uint32, payload []byte) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, maskBit|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, maskBit|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, maskBit|127), uint64(n))
	}
	b = binary.LittleEndian.AppendUint32(b, mask)
	for i, c := range payload {
		b = append(b, c^byte(mask>>(i%4*8)))
	}
	return b
}

func readFrames(source source) (*collector, *WebSocket, error) {
	session := &collector{}
	socket := &WebSocket{session: session, source: source}
	return session, socket, (&frameReader{socket: socket, sink: session}).run()
}

// Whatever the frames, and wherever the reads cut them: the payloads of data frames arrive as one stream, and each ping is answered.
func TestFramesAreReadInPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var wire, want []byte
		var pongs [][]byte
		mask := rapid.Uint32()
		var message byte
		for range rapid.IntRange(0, 8).Draw(t, "frames") {
			if rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
				payload := rapid.SliceOfN(rapid.Byte(), 0, maxControl).Draw(t, "ping")
				wire = append(wire, maskedFrame(finBit|wsframe.Ping, mask.Draw(t, "mask"), payload)...)
				pongs = append(pongs, wsframe.Control(wsframe.Pong, payload))
				continue
			}
			first := byte(continuation)
			if message == 0 {
				message = rapid.SampledFrom([]byte{wsframe.Text, wsframe.Binary}).Draw(t, "message")
				first = message
			}
			length := rapid.SampledFrom([]int{0, 1, 7, 8, 125, 126, 511, 512, 513, 5000, 1 << 16}).Draw(t, "length")
			payload := bytes.Repeat([]byte("ab0~"), length/4+1)[:length]
			if message == wsframe.Binary {
				payload = bytes.Repeat([]byte{0xff, 0, 0x80}, length/3+1)[:length]
			}
			if rapid.Bool().Draw(t, "last") {
				first |= finBit
				message = 0
			}
			wire = append(wire, maskedFrame(first, mask.Draw(t, "mask"), payload)...)
			want = append(want, payload...)
		}
		wire = append(wire, maskedFrame(finBit|wsframe.Close, mask.Draw(t, "mask"), []byte{0x03, 0xe8})...)
		source := &pieces{}
		for rest := wire; len(rest) > 0; {
			n := min(len(rest), rapid.SampledFrom([]int{1, 2, 3, 5, 64, 600, 4096}).Draw(t, "piece"))
			source.rest = append(source.rest, bytes.Clone(rest[:n]))
			rest = rest[n:]
		}
		session, socket, err := readFrames(source)
		if !errors.Is(err, errClosedByClient) || socket.closeCode.Load() != 0 {
			t.Fatalf("reading ended with %v, and code %d", err, socket.closeCode.Load())
		}
		if !bytes.Equal(session.bytes, want) {
			t.Fatalf("%d bytes arrived as %d others", len(want), len(session.bytes))
		}
		if len(session.pongs) != len(pongs) {
			t.Fatalf("%d pings were answered %d times", len(pongs), len(session.pongs))
		}
		for i, pong := range pongs {
			if !bytes.Equal(session.pongs[i], pong) {
				t.Fatalf("a ping was answered with %q instead of %q", session.pongs[i], pong)
			}
		}
	})
}

// What one read has brought is committed once, so that the calls in it run as one batch.
func TestFramesOfOneReadAreCommittedTogether(t *testing.T) {
	var wire []byte
	for range 8 {
		wire = append(wire, maskedFrame(finBit|wsframe.Text, 0x01020304, []byte("message"))...)
	}
	session, _, err := readFrames(&pieces{rest: [][]byte{wire, bytes.Clone(wire)}})
	require.Equal(t, io.EOF, err)
	require.Equal(t, bytes.Repeat([]byte("message"), 16), session.bytes)
	require.Equal(t, 2, session.commits)
}

// What came before an error is handled.
func TestFramesBeforeAnErrorAreCommitted(t *testing.T) {
	good := maskedFrame(finBit|wsframe.Text, 0x01020304, []byte("good"))
	for name, bad := range map[string]struct {
		frame []byte
		code  uint32
		says  string
	}{
		"a frame without a mask":   {[]byte{finBit | wsframe.Text, 1, 'x'}, 1002, "a WebSocket frame is not masked"},
		"an opcode":                {maskedFrame(finBit|3, 0, nil), 1002, "a WebSocket frame has the opcode 3, which has no meaning"},
		"a length that is too big": {[]byte{finBit | wsframe.Text, maskBit | 127, 0xff, 0, 0, 0, 0, 0, 0, 0}, 1002, "the length of a WebSocket frame is negative"},
		"text":                     {maskedFrame(finBit|wsframe.Text, 0, []byte("\xff")), 1007, "a WebSocket text message is not UTF-8"},
		"half a character":         {maskedFrame(finBit|wsframe.Text, 0, []byte("\xc3")), 1007, "a WebSocket text message is not UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			session, socket, err := readFrames(&pieces{rest: [][]byte{append(bytes.Clone(good), bad.frame...)}})
			require.EqualError(t, err, bad.says)
			require.Equal(t, bad.code, socket.closeCode.Load())
			require.Equal(t, "good", string(session.bytes[:4]))
		})
	}
}

// A connection that can only block has a large buffer only while there is much to read.
func TestABlockingSourceGrowsItsBufferWhenMuchArrives(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	message := randomBytes(10000)
	go func() {
		far.Write(message)
		far.Write([]byte("x"))
		far.Write([]byte("y"))
		far.Close()
	}()
	source := &blockingSource{conn: near}
	var got []byte
	for len(got) < len(message) {
		b, err := source.receive()
		require.NoError(t, err)
		got = append(got, b...)
	}
	require.True(t, bytes.Equal(message, got))
	require.NotNil(t, source.large)
	for _, want := range []string{"x", "y"} {
		b, err := source.receive()
		require.NoError(t, err)
		require.Equal(t, want, string(b))
	}
	require.Nil(t, source.large)
	_, err := source.receive()
	require.Equal(t, io.EOF, err)
}

func FuzzFrames(f *testing.F) {
	f.Add(maskedFrame(finBit|wsframe.Text, 0x01020304, []byte("text")), 3)
	f.Add(append(maskedFrame(wsframe.Binary, 5, []byte("bin")), maskedFrame(finBit|continuation, 6, []byte("ary"))...), 1)
	f.Add(append(maskedFrame(finBit|wsframe.Ping, 7, []byte("ping")), maskedFrame(finBit|wsframe.Close, 8, []byte{0x03, 0xe8, 'b'})...), 2)
	f.Add(maskedFrame(finBit|wsframe.Text, 9, bytes.Repeat([]byte("x"), 700)), 300)
	f.Fuzz(func(t *testing.T, wire []byte, size int) {
		// However the bytes are cut, they are read alike.
		whole, wholeSocket, wholeErr := readFrames(&pieces{rest: [][]byte{bytes.Clone(wire)}})
		cut := &pieces{}
		for rest := wire; len(rest) > 0; {
			n := min(len(rest), 1+int(uint(size)%5000))
			cut.rest = append(cut.rest, bytes.Clone(rest[:n]))
			rest = rest[n:]
		}
		parts, partsSocket, partsErr := readFrames(cut)
		if wholeErr.Error() != partsErr.Error() || wholeSocket.closeCode.Load() != partsSocket.closeCode.Load() {
			t.Fatalf("whole: %v, in pieces: %v", wholeErr, partsErr)
		}
		// Of a frame of text that is wrong, the part that arrived before the error is read.
		if !bytes.HasPrefix(parts.bytes, whole.bytes) && !bytes.HasPrefix(whole.bytes, parts.bytes) || len(whole.pongs) != len(parts.pongs) {
			t.Fatalf("whole: %q, in pieces: %q", whole.bytes, parts.bytes)
		}
	})
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}
