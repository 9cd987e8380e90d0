package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/troupe-go/troupe/internal/wsframe"
)

// frameReader reads the frames of a client (RFC 6455, section 5). The session gets the payloads of data frames as one stream of bytes: where
// frames and WebSocket messages end does not matter to it. What one read of the socket has brought is committed together, before the next
// read, so that an idle connection has neither a buffer here nor one of the session.
type frameReader struct {
	socket *WebSocket
	sink   frameSink
	unread []byte // from the socket

	buffer []byte // of the session; nil: none has been asked for
	n      int    // bytes in buffer that are not committed

	message byte // opcode of the message that has begun; 0: none
	text    utf8Check
	ended   func(binary bool) // nil: where messages end does not matter
}

// frameSink is the part of a session that reading needs.
type frameSink interface {
	Buffer() []byte
	Commit(n int) bool
	Pong(frame []byte)
}

const (
	continuation = 0
	maxControl   = 125 // bytes of payload in a control frame

	finBit   = 0x80
	reserved = 0x70
	maskBit  = 0x80
)

// errClosedByClient ends reading after a close frame.
var errClosedByClient = errors.New("the client has closed the WebSocket")

var errUTF8 = errors.New("a WebSocket text message is not UTF-8")

// run reads until the client has sent a close frame, which is errClosedByClient, or something that the protocol forbids, which sets the close
// code of the socket, or until the TCP connection ends.
func (r *frameReader) run() error {
	for {
		if err := r.frame(); err != nil {
			r.commit()
			return err
		}
	}
}

func (r *frameReader) frame() error {
	first, err := r.take(2)
	if err != nil {
		return err
	}
	fin, opcode, masked, length := first[0]&finBit != 0, first[0]&0x0f, first[1]&maskBit != 0, int64(first[1]&^maskBit)
	switch {
	case first[0]&reserved != 0:
		return r.violation("a WebSocket frame has reserved bits set")
	case !masked:
		return r.violation("a WebSocket frame is not masked")
	case opcode >= wsframe.Close && (!fin || length > maxControl):
		return r.violation("a WebSocket control frame is fragmented, or longer than 125 bytes")
	}
	switch length {
	case 126:
		b, err := r.take(2)
		if err != nil {
			return err
		}
		length = int64(binary.BigEndian.Uint16(b))
	case 127:
		b, err := r.take(8)
		if err != nil {
			return err
		}
		if length = int64(binary.BigEndian.Uint64(b)); length < 0 {
			return r.violation("the length of a WebSocket frame is negative")
		}
	}
	b, err := r.take(4)
	if err != nil {
		return err
	}
	mask := binary.LittleEndian.Uint32(b)
	switch opcode {
	case wsframe.Text, wsframe.Binary:
		if r.message != 0 {
			return r.violation("a WebSocket message begins within another")
		}
		r.message = opcode
	case continuation:
		if r.message == 0 {
			return r.violation("a WebSocket message begins with a continuation")
		}
	case wsframe.Close, wsframe.Ping, wsframe.Pong:
		return r.control(opcode, int(length), mask)
	default:
		return r.violation(fmt.Sprintf("a WebSocket frame has the opcode %d, which has no meaning", opcode))
	}
	if err := r.data(length, mask); err != nil {
		return err
	}
	if fin {
		if r.text.n > 0 {
			return r.fail(websocket.StatusInvalidFramePayloadData, errUTF8)
		}
		if r.ended != nil {
			r.commit()
			r.ended(r.message == wsframe.Binary)
		}
		r.message = 0
	}
	return nil
}

// data passes the payload of a data frame on, as it arrives.
func (r *frameReader) data(length int64, mask uint32) error {
	for length > 0 {
		if len(r.unread) == 0 {
			if err := r.receive(); err != nil {
				return err
			}
		}
		if r.buffer == nil {
			r.buffer = r.sink.Buffer()
		}
		k := int(min(length, int64(min(len(r.unread), len(r.buffer)-r.n))))
		payload := r.buffer[r.n : r.n+k]
		mask = unmask(payload, r.unread[:k], mask)
		if r.message == wsframe.Text && !r.text.add(payload) {
			return r.fail(websocket.StatusInvalidFramePayloadData, errUTF8)
		}
		r.unread = r.unread[k:]
		length -= int64(k)
		if r.n += k; r.n == len(r.buffer) {
			r.commit()
		}
	}
	return nil
}

func (r *frameReader) control(opcode byte, length int, mask uint32) error {
	b, err := r.take(length)
	if err != nil {
		return err
	}
	payload := make([]byte, length)
	unmask(payload, b, mask)
	switch opcode {
	case wsframe.Ping:
		r.sink.Pong(wsframe.Control(wsframe.Pong, payload))
	case wsframe.Close:
		if length == 0 {
			return errClosedByClient
		}
		if length == 1 || !mayBeSent(websocket.StatusCode(binary.BigEndian.Uint16(payload))) {
			return r.violation("the code of a WebSocket close frame must not be sent")
		}
		if !utf8.Valid(payload[2:]) {
			return r.violation("the reason of a WebSocket close frame is not UTF-8")
		}
		return errClosedByClient
	}
	return nil
}

// mayBeSent reports whether a close frame may have a code (RFC 6455, section 7.4, and the registry of IANA).
func mayBeSent(code websocket.StatusCode) bool {
	switch code {
	case 1004, websocket.StatusNoStatusRcvd, websocket.StatusAbnormalClosure:
		return false
	}
	return code >= websocket.StatusNormalClosure && code <= websocket.StatusBadGateway || code >= 3000 && code <= 4999
}

// take returns the next n bytes. They are valid until more is read.
func (r *frameReader) take(n int) ([]byte, error) {
	if len(r.unread) == 0 && n > 0 {
		if err := r.receive(); err != nil {
			return nil, err
		}
	}
	if len(r.unread) >= n {
		b := r.unread[:n]
		r.unread = r.unread[n:]
		return b, nil
	}
	b := make([]byte, 0, n) // they arrive in pieces
	for {
		k := min(n-len(b), len(r.unread))
		b, r.unread = append(b, r.unread[:k]...), r.unread[k:]
		if len(b) == n {
			return b, nil
		}
		if err := r.receive(); err != nil {
			return nil, err
		}
	}
}

// receive waits for bytes from the socket. There are none unread.
func (r *frameReader) receive() (err error) {
	r.commit()
	r.unread, err = r.socket.source.receive()
	return err
}

// commit gives the session what has been read.
func (r *frameReader) commit() {
	if n := r.n; n > 0 {
		r.buffer, r.n = nil, 0
		r.sink.Commit(n)
	}
}

// violation ends the connection of a client that does not keep to the protocol.
func (r *frameReader) violation(what string) error {
	return r.fail(websocket.StatusProtocolError, errors.New(what))
}

func (r *frameReader) fail(code websocket.StatusCode, err error) error {
	r.socket.closeCode.Store(uint32(code))
	return err
}

// unmask writes to dst what src is without its mask, and returns the mask of the byte behind it. Both have the same length.
func unmask(dst, src []byte, mask uint32) uint32 {
	long := uint64(mask)<<32 | uint64(mask)
	for len(src) >= 8 {
		binary.LittleEndian.PutUint64(dst, binary.LittleEndian.Uint64(src)^long)
		dst, src = dst[8:], src[8:]
	}
	for i, b := range src {
		dst[i] = b ^ byte(mask)
		mask = mask>>8 | mask<<24
	}
	return mask
}
