package actors

import (
	"slices"
	"strings"

	"github.com/troupe-go/troupe/actors/outbox"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// handshake is the outcome of a client's first message.
type handshake struct {
	index   uint8  // of the protocol
	failure string // the answer, if it is not accepted
	resumes bool   // the connection may go on over another socket
}

// handshake checks a client's first message (docs/protocol.md, 3.4).
func (c *Connection) handshake(record []byte, err error) *handshake {
	h := c.hub
	if err != nil {
		return &handshake{failure: handshakeCanceled}
	}
	if c.part != nil {
		return &handshake{index: uint8(h.offered)}
	}
	request, err := hubproto.ParseHandshake(record)
	if err != nil {
		return &handshake{failure: h.handler.Describe("An unexpected error occurred during connection handshake.", err)}
	}
	spoken := h.protocols[:h.offered]
	if c.subscriber {
		spoken = h.protocols
	}
	index := slices.IndexFunc(spoken, func(p hubproto.Protocol) bool { return strings.EqualFold(p.Name(), request.Protocol) })
	if index < 0 {
		return &handshake{failure: "The protocol '" + request.Protocol + "' is not supported."}
	}
	if request.Version > hubproto.MaxVersion {
		return &handshake{failure: unsupportedVersion(request.Version, h.protocols[index].Name())}
	}
	if p := h.protocols[index]; p.Binary() && c.out.Kind() == outbox.Stream {
		return &handshake{failure: "Cannot use the '" + p.Name() + "' protocol on the current transport. The transport does not support 'Binary' transfer format."}
	}
	return &handshake{index: uint8(index), resumes: c.resumable && request.Version >= resumeVersion && c.out.Kind() == outbox.Socket}
}

// resumeVersion is the first version of the hub protocols that has Ack and Sequence.
const resumeVersion = 2

const handshakeCanceled = "Handshake was canceled."
