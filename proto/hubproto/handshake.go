package hubproto

import (
	"bytes"
	"math"
)

// separator ends every record of the handshake and of the JSON protocol.
const separator = 0x1e

// HandshakeRequest is the first message of every client, whatever protocol it asks for.
type HandshakeRequest struct {
	Protocol string
	Version  int
}

// NextHandshake returns the size of the handshake request that buf begins with, its separator included, or 0 if it has not arrived
// whole; searched bytes of it have been looked at before. One that exceeds limit (if that is above 0) is a [TooLargeError].
func NextHandshake(buf []byte, searched, limit int) (int, error) {
	return nextSeparated(buf, searched, limit)
}

// ParseHandshake reads a handshake request. Its errors are a [DataError].
func ParseHandshake(record []byte) (HandshakeRequest, error) {
	record = bytes.TrimSuffix(record, []byte{separator})
	var h HandshakeRequest
	var protocol, version bool
	s, err := scanObject(record)
	if err != nil {
		return h, err
	}
	for s.next() {
		switch string(s.name()) {
		case "protocol":
			text, ok := s.text()
			if !ok {
				return h, dataErrorf("Expected 'protocol' to be of type String.")
			}
			h.Protocol, protocol = string(text), true
		case "version":
			if s.isNull() {
				version = false
				break
			}
			n, err := s.integer("version", math.MinInt32, math.MaxInt32)
			if err != nil {
				return h, err
			}
			h.Version, version = int(n), true
		}
	}
	if s.err != nil {
		return h, s.err
	}
	if !protocol {
		return h, dataErrorf("Missing required property 'protocol'. Message content: %s", record)
	}
	if !version {
		return h, dataErrorf("Missing required property 'version'. Message content: %s", record)
	}
	return h, nil
}

// AppendHandshakeRequest appends the first message of a client.
func AppendHandshakeRequest(dst []byte, h HandshakeRequest) []byte {
	dst = append(dst, `{"protocol":`...)
	dst = appendString(dst, h.Protocol)
	dst = append(dst, `,"version":`...)
	dst = appendInt(dst, int64(h.Version))
	return append(dst, '}', separator)
}

// AppendHandshakeResponse appends the server's answer to a handshake request. An empty text means that it succeeded.
func AppendHandshakeResponse(dst []byte, errorText string) []byte {
	if errorText == "" {
		return append(dst, '{', '}', separator)
	}
	dst = append(dst, `{"error":`...)
	dst = appendString(dst, errorText)
	return append(dst, '}', separator)
}
