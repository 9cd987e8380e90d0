//go:build !race

// The race detector changes which values the compiler keeps on the stack.

package hubproto_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/troupe-go/troupe/proto/hubproto"
)

func assertNoAllocs(t *testing.T, what string, f func()) {
	t.Helper()
	assert.Zero(t, testing.AllocsPerRun(100, f), what)
}

func TestParseDoesNotAllocate(t *testing.T) {
	var m hubproto.Message
	for what, text := range map[string]string{
		"call":      `{"type":1,"invocationId":"12","target":"Send","arguments":["text",{"a":[1,null,-1.5e3]},"\u00e9"]}`,
		"type last": `{"arguments":["text"],"target":"Send","invocationId":"12","type":1}`,
		"headers":   `{"type":1,"headers":{"a":"b"},"target":"Grüße","arguments":[]}`,
		"unknown":   `{"type":1,"x":{"y":[1,{"z":"é"}]},"target":"Send","arguments":[]}`,
		// The slice of the previous message is reused for the stream ids.
		"streams":    `{"type":4,"invocationId":"12","target":"Send","arguments":[],"streamIds":["1","2","3"]}`,
		"item":       `{"type":2,"invocationId":"12","item":{"a":1}}`,
		"completion": `{"type":3,"invocationId":"12","result":"text"}`,
		"error":      `{"error":"text","invocationId":"12","type":3}`,
		"cancel":     `{"type":5,"invocationId":"12"}`,
		"ping":       `{"type":6}`,
		"close":      `{"type":7,"error":"text","allowReconnect":true}`,
		"ack":        `{"type":8,"sequenceId":1234567}`,
	} {
		record := []byte(text + "\x1e")
		assertNoAllocs(t, what, func() {
			n, err := hubproto.JSON.Next(record, 0, 32768)
			if err != nil || n != len(record) {
				t.Fatal(n, err)
			}
			if err := hubproto.JSON.Parse(record, &m); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	buf := make([]byte, 0, 4096)
	id := []byte("12")
	for what, result := range map[string]any{
		"string": "some text", "string to escape": "é😀\n\"\u2028\xff", "nil": nil, "bool": true, "int": 1234567,
		"int32": int32(5), "int64": int64(5), "float": 1.5,
	} {
		assertNoAllocs(t, what, func() {
			if _, err := hubproto.JSON.AppendResult(buf, id, result); err != nil {
				t.Fatal(err)
			}
		})
	}
	args := []any{"text", 5, true, nil}
	assertNoAllocs(t, "call", func() {
		if _, err := hubproto.JSON.AppendInvocation(buf, id, "Send", args); err != nil {
			t.Fatal(err)
		}
	})
	assertNoAllocs(t, "error", func() { hubproto.JSON.AppendError(buf, id, "It did not work: \"é\".") })
	for _, test := range appendCases {
		assertNoAllocs(t, test.name, func() { hubproto.JSON.Append(buf, &test.m) })
	}
	h := hubproto.HandshakeRequest{Protocol: "json", Version: 2}
	assertNoAllocs(t, "handshake", func() {
		hubproto.AppendHandshakeRequest(buf, h)
		hubproto.AppendHandshakeResponse(buf, "")
		hubproto.AppendHandshakeResponse(buf, "It did not work.")
	})
}

func TestItemsOfCommonTypesDoNotAllocate(t *testing.T) {
	for _, p := range []hubproto.Protocol{hubproto.JSON, hubproto.MessagePack} {
		assertItemDoesNotAllocate(t, p, t.Name())
		assertItemDoesNotAllocate(t, p, len(t.Name())*1000)
		assertItemDoesNotAllocate(t, p, int32(len(t.Name())*1000))
		assertItemDoesNotAllocate(t, p, int64(len(t.Name())*1000))
		assertItemDoesNotAllocate(t, p, float64(len(t.Name()))/3)
		assertItemDoesNotAllocate(t, p, t.Failed())
	}
}

func assertItemDoesNotAllocate[T any](t *testing.T, p hubproto.Protocol, item T) {
	t.Helper()
	buf, id := make([]byte, 0, 4096), []byte("12")
	assertNoAllocs(t, p.Name(), func() {
		if _, err := hubproto.AppendItem(p, buf, id, item); err != nil {
			t.Fatal(err)
		}
	})
}
