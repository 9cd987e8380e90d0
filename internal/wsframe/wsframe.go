// Package wsframe writes the headers of a server's WebSocket frames (RFC 6455 §5.2). They are not masked and the same for every
// receiver, so a message that goes to many connections can carry its header in front of it.
package wsframe

import "encoding/binary"

// Room is what the longest header needs in front of a payload.
const Room = 10

// Opcodes of frames.
const (
	Text   = 1
	Binary = 2
	Close  = 8
	Ping   = 9
	Pong   = 10
)

// Put writes the header of a whole message whose payload is b[Room:], right in front of it, and returns header and payload.
func Put(b []byte, opcode byte) []byte {
	first := 0x80 | opcode
	switch n := len(b) - Room; {
	case n < 126:
		b[Room-2], b[Room-1] = first, byte(n)
		return b[Room-2:]
	case n < 1<<16:
		b[Room-4], b[Room-3] = first, 126
		binary.BigEndian.PutUint16(b[Room-2:], uint16(n))
		return b[Room-4:]
	default:
		b[0], b[1] = first, 127
		binary.BigEndian.PutUint64(b[2:], uint64(n))
		return b
	}
}

// Header returns the header of a whole message with a payload of n bytes.
func Header(opcode byte, n int) []byte {
	switch first := 0x80 | opcode; {
	case n < 126:
		return []byte{first, byte(n)}
	case n < 1<<16:
		return binary.BigEndian.AppendUint16([]byte{first, 126}, uint16(n))
	default:
		return binary.BigEndian.AppendUint64([]byte{first, 127}, uint64(n))
	}
}

// Cut cuts the first frame off b, which a server has written. It returns false if the frame is not whole.
func Cut(b []byte) (payload, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, b, false
	}
	header, n := 2, uint64(b[1]&0x7f)
	switch n {
	case 126:
		header = 4
	case 127:
		header = Room
	}
	if len(b) < header {
		return nil, b, false
	}
	switch n {
	case 126:
		n = uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		n = binary.BigEndian.Uint64(b[2:])
	}
	if uint64(len(b)-header) < n {
		return nil, b, false
	}
	return b[header : uint64(header)+n], b[uint64(header)+n:], true
}

// Control returns a control frame. Its payload has at most 125 bytes.
func Control(opcode byte, payload []byte) []byte {
	return append([]byte{0x80 | opcode, byte(len(payload))}, payload...)
}

// CloseFrame returns a close frame with a status code and no reason.
func CloseFrame(code uint16) []byte {
	return Control(Close, binary.BigEndian.AppendUint16(nil, code))
}

// Wire returns the header that Put has written in front of b[Room:], and the payload.
func Wire(b []byte) []byte {
	switch n := len(b) - Room; {
	case n < 126:
		return b[Room-2:]
	case n < 1<<16:
		return b[Room-4:]
	}
	return b
}
