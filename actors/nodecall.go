package actors

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/troupe-go/troupe/actors/outbox"
)

// nodeCall is a Message with a Call, as proto/troupe/node/v1 defines both. Nearly all that nodes tell each other are calls, so they are encoded and
// decoded here without the objects of the generated code: that takes half of the time.
type nodeCall struct {
	hub            *Hub
	encodings      [encodings][]byte // the message in each protocol of the hub, or nil
	except         []string
	waits, limited bool
	policy         outbox.Policy
	key            string
}

// Numbers of fields: of a Message, of a Call, of an Encoding.
const (
	fieldHub  = 1
	fieldCall = 2

	fieldEncodings = 1
	fieldExcept    = 2
	fieldWaits     = 3
	fieldLimited   = 4
	fieldPolicy    = 5
	fieldKey       = 6

	fieldProtocol = 1
	fieldMessage  = 2
)

// sizeOfField returns the size of a field with so many bytes. The numbers of fields take one byte here.
func sizeOfField(n int) int { return 1 + protowire.SizeBytes(n) }

func (c *nodeCall) sizeOfEncoding(protocol int) int {
	return sizeOfField(len(c.hub.protocols[protocol].Name())) + sizeOfField(len(c.encodings[protocol]))
}

func (c *nodeCall) size() int {
	n := 2 + 2 + 1 + protowire.SizeVarint(uint64(c.policy)) + sizeOfField(len(c.key))
	for i, message := range c.encodings {
		if message != nil {
			n += sizeOfField(c.sizeOfEncoding(i))
		}
	}
	for _, id := range c.except {
		n += sizeOfField(len(id))
	}
	return n
}

// encode returns the Message.
func (c *nodeCall) encode() []byte {
	size := c.size()
	b := make([]byte, 0, sizeOfField(len(c.hub.name))+sizeOfField(size))
	b = appendField(b, fieldHub, c.hub.name)
	b = appendHead(b, fieldCall, size)
	for i, message := range c.encodings {
		if message != nil {
			b = appendHead(b, fieldEncodings, c.sizeOfEncoding(i))
			b = appendField(b, fieldProtocol, c.hub.protocols[i].Name())
			b = appendField(b, fieldMessage, message)
		}
	}
	for _, id := range c.except {
		b = appendField(b, fieldExcept, id)
	}
	b = appendInteger(b, fieldWaits, protowire.EncodeBool(c.waits))
	b = appendInteger(b, fieldLimited, protowire.EncodeBool(c.limited))
	b = appendInteger(b, fieldPolicy, uint64(c.policy))
	return appendField(b, fieldKey, c.key)
}

func appendHead(b []byte, number protowire.Number, size int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, number, protowire.BytesType), uint64(size))
}

func appendField[T string | []byte](b []byte, number protowire.Number, value T) []byte {
	return append(appendHead(b, number, len(value)), value...)
}

func appendInteger(b []byte, number protowire.Number, value uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, number, protowire.VarintType), value)
}

// findCall returns the name of the hub and the Call of a Message, or nil if it has none or is not valid.
func findCall(message []byte) (hub, call []byte) {
	valid := eachField(message, func(number protowire.Number, value []byte, _ uint64) bool {
		switch number {
		case fieldHub:
			hub = value
		case fieldCall:
			call = value
		}
		return true
	})
	if !valid {
		return nil, nil
	}
	return hub, call
}

// decode reads a Call, whose bytes it keeps. It returns false if it is not valid.
func (c *nodeCall) decode(b []byte) bool {
	return eachField(b, func(number protowire.Number, value []byte, integer uint64) bool {
		switch number {
		case fieldEncodings:
			return c.addEncoding(value)
		case fieldExcept:
			c.except = append(c.except, string(value))
		case fieldWaits:
			c.waits = protowire.DecodeBool(integer)
		case fieldLimited:
			c.limited = protowire.DecodeBool(integer)
		case fieldPolicy:
			c.policy = outbox.Policy(integer)
		case fieldKey:
			c.key = string(value)
		}
		return true
	})
}

func (c *nodeCall) addEncoding(b []byte) bool {
	protocol := -1
	var message []byte
	valid := eachField(b, func(number protowire.Number, value []byte, _ uint64) bool {
		switch number {
		case fieldProtocol:
			protocol = c.hub.protocolNamed(string(value))
		case fieldMessage:
			message = value
		}
		return true
	})
	if protocol >= 0 {
		c.encodings[protocol] = message
	}
	return valid
}

// eachField passes the fields of a message of protobuf to a function, until it returns false: the number of each, and its bytes or its integer. It
// returns false then, or if the message is not valid.
func eachField(b []byte, take func(number protowire.Number, value []byte, integer uint64) bool) bool {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		var value []byte
		var integer uint64
		switch kind {
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			integer, n = protowire.ConsumeVarint(b)
		default:
			n = protowire.ConsumeFieldValue(number, kind, b)
		}
		if n < 0 || !take(number, value, integer) {
			return false
		}
		b = b[n:]
	}
	return true
}
