package main

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"time"
)

// Each message that is counted contains a marker once, and nothing else that servers send contains it: the texts of messages have a "^". In MessagePack,
// times can have any byte, so there it is looked for together with what stands before it.
var (
	plainMarker  = []byte("^")
	packedMarker = []byte("o^")
	recordMarker = []byte{0x1e} // for orders whose texts have no "^"; pings are counted as well
)

// counter counts the messages in what a socket returns, wherever one read ends and the next begins.
type counter struct {
	marker []byte
	header []byte // of a frame, as far as it has come
	rest   int    // bytes of the frame that are still to come
	last   byte   // of what has been counted
}

// next returns the next piece of payload in b, which may be empty, and what stands behind it. Servers do not mask.
func (c *counter) next(b []byte) (payload, rest []byte) {
	for len(b) > 0 && c.rest == 0 {
		c.header = append(c.header, b[0])
		b = b[1:]
		switch h := c.header; {
		case len(h) == 2 && h[1] < 126:
			c.rest = int(h[1])
		case len(h) == 4 && h[1] == 126:
			c.rest = int(binary.BigEndian.Uint16(h[2:]))
		case len(h) == 10:
			c.rest = int(binary.BigEndian.Uint64(h[2:]))
		default:
			continue
		}
		c.header = c.header[:0]
	}
	n := min(len(b), c.rest)
	c.rest -= n
	return b[:n], b[n:]
}

// count returns how many markers end in the next piece of payload.
func (c *counter) count(payload []byte) int {
	if len(payload) == 0 {
		return 0
	}
	n := bytes.Count(payload, c.marker)
	if len(c.marker) == 2 && c.last == c.marker[0] && payload[0] == c.marker[1] {
		n++
	}
	c.last = payload[len(payload)-1]
	return n
}

// appendAges appends how old the messages in a piece of payload are, in ms, as far as it contains the times of their Sends.
func appendAges(dst []float64, payload []byte, now time.Time) []float64 {
	for rest := payload; ; { // of a MessagePack time: the name, the type, eight bytes
		_, after, ok := bytes.Cut(rest, []byte("\xa1t\xcf"))
		if !ok || len(after) < 8 {
			break
		}
		dst = append(dst, float64(now.UnixNano()-int64(binary.BigEndian.Uint64(after)))/1e6)
		rest = after[8:]
	}
	for rest := payload; ; {
		_, after, ok := bytes.Cut(rest, []byte(`"t":`))
		if !ok || len(after) < 19 {
			return dst
		}
		if t, err := strconv.ParseInt(string(after[:19]), 10, 64); err == nil {
			dst = append(dst, float64(now.UnixNano()-t)/1e6)
		}
		rest = after
	}
}
