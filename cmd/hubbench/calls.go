package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// protocol is what a client speaks.
type protocol int

const (
	jsonText protocol = iota
	packed            // MessagePack
	classic           // that of SignalR 2
)

// The types of messages that are calls.
const (
	invocation       = 1
	streamInvocation = 4
)

// noID is the id of calls that have no answer.
const noID = ""

// call returns a call of a hub method, in a message of the protocol. Arguments are strings of less than 32 bytes, and numbers below 2³².
func (p protocol) call(what int, id, method string, args ...any) []byte {
	switch p {
	case packed:
		b := append([]byte{0x96, byte(what), 0x80}, packedID(id)...)
		b = append(append(b, packedValue(method)...), 0x90|byte(len(args)))
		for _, arg := range args {
			b = append(b, packedValue(arg)...)
		}
		b = append(b, 0x90) // no streams
		return append(binary.AppendUvarint(nil, uint64(len(b))), b...)
	case classic:
		return fmt.Appendf(nil, `{"H":"BenchHub","M":"%s","A":%s,"I":"%s"}`, method, jsonArray(args), id)
	}
	if id != noID {
		id = `"invocationId":"` + id + `",`
	}
	return fmt.Appendf(nil, `{"type":%d,%s"target":"%s","arguments":%s}`+"\x1e", what, id, method, jsonArray(args))
}

func jsonArray(args []any) []byte {
	if args == nil {
		return []byte("[]")
	}
	b, _ := json.Marshal(args) // strings and numbers
	return b
}

func packedID(id string) []byte {
	if id == noID {
		return []byte{0xc0}
	}
	return packedValue(id)
}

func packedValue(v any) []byte {
	switch v := v.(type) {
	case int:
		return binary.BigEndian.AppendUint32([]byte{0xce}, uint32(v))
	default:
		text := v.(string)
		return append([]byte{0xa0 | byte(len(text))}, text...)
	}
}

// opcode is that of WebSocket messages.
func (p protocol) opcode() byte {
	if p == packed {
		return 2
	}
	return 1
}

// maskedFrame is a WebSocket frame of a client.
func maskedFrame(opcode byte, payload []byte) []byte {
	b := []byte{0x80 | opcode}
	if n := len(payload); n < 126 {
		b = append(b, 0x80|byte(n))
	} else {
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	}
	mask := [4]byte{0x12, 0x34, 0x56, 0x78}
	b = append(b, mask[:]...)
	for i, c := range payload {
		b = append(b, c^mask[i&3])
	}
	return b
}
