package hubproto_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/hubproto"
)

func TestMessagePackIsBinary(t *testing.T) {
	assert.Equal(t, "messagepack", hubproto.MessagePack.Name())
	assert.True(t, hubproto.MessagePack.Binary())
}

// frame puts its length in front of a message.
func frame(message string) []byte {
	return append(binary.AppendUvarint(nil, uint64(len(message))), message...)
}

func parsePacked(t require.TestingT, message string) view {
	var m hubproto.Message
	require.NoError(t, hubproto.MessagePack.Parse(frame(message), &m))
	return viewOf(&m)
}

// requireNoPacked checks that message is refused, and gives the text of its error.
func requireNoPacked(t require.TestingT, message string) string {
	var m hubproto.Message
	var data *hubproto.DataError
	require.ErrorAs(t, hubproto.MessagePack.Parse(frame(message), &m), &data, "%x", message)
	require.NotEmpty(t, data.Text)
	return data.Text
}

// messageOf is the opposite of viewOf.
func messageOf(v view) *hubproto.Message {
	part := func(text string) []byte {
		if text == "" {
			return nil
		}
		return []byte(text)
	}
	return &hubproto.Message{
		Type: v.Type, ID: part(v.ID), Target: part(v.Target), Arguments: part(v.Arguments), StreamIDs: ids(v.StreamIDs...), Value: part(v.Value),
		Error: part(v.Error), HasError: v.HasError, AllowReconnect: v.AllowReconnect, SequenceID: v.SequenceID, Headers: part(v.Headers),
	}
}

const packedHeaders = "\x83\xa3Foo\xa3Bar\xb2KeyWith\nNew\r\nLines\xabStill Works\xb1ValueWithNewLines\xb0Also\nWorks\r\nFine"

// packedWritten has the bytes that the original writes and reads for each shape of a message.
var packedWritten = []struct {
	name, message string
	want          view
}{
	{"call with an id", "\x96\x01\x80\xa3xyz\xa6method\x90\x90", view{Type: 1, ID: "xyz", Target: "method", Arguments: "\x90"}},
	{"call", "\x96\x01\x80\xc0\xa6method\x90\x90", view{Type: 1, Target: "method", Arguments: "\x90"}},
	{"call with a number", "\x96\x01\x80\xc0\xa6method\x91\x2a\x90", view{Type: 1, Target: "method", Arguments: "\x91\x2a"}},
	{"call with null", "\x96\x01\x80\xc0\xa6method\x91\xc0\x90", view{Type: 1, Target: "method", Arguments: "\x91\xc0"}},
	{"call with two arguments", "\x96\x01\x80\xc0\xa6method\x92\x2a\xa6string\x90", view{Type: 1, Target: "method", Arguments: "\x92\x2a\xa6string"}},
	{"call with a stream", "\x96\x01\x80\xc0\xa6Target\x90\x91\xab__test_id__", view{Type: 1, Target: "Target", Arguments: "\x90", StreamIDs: []string{"__test_id__"}}},
	{"call with streams and an argument", "\x96\x01\x80\xc0\xa6Target\x91\x2a\x92\xab__test_id__\xac__test_id2__",
		view{Type: 1, Target: "Target", Arguments: "\x91\x2a", StreamIDs: []string{"__test_id__", "__test_id2__"}}},
	{"call with headers", "\x96\x01" + packedHeaders + "\xc0\xa6method\x91\xc0\x90", view{Type: 1, Target: "method", Arguments: "\x91\xc0", Headers: packedHeaders}},
	{"item", "\x94\x02\x80\xa3xyz\x2a", view{Type: 2, ID: "xyz", Value: "\x2a"}},
	{"item float", "\x94\x02\x80\xa3xyz\xca\x42\x28\x00\x00", view{Type: 2, ID: "xyz", Value: "\xca\x42\x28\x00\x00"}},
	{"item string", "\x94\x02\x80\xa3xyz\xa6string", view{Type: 2, ID: "xyz", Value: "\xa6string"}},
	{"item true", "\x94\x02\x80\xa3xyz\xc3", view{Type: 2, ID: "xyz", Value: "\xc3"}},
	{"item null", "\x94\x02\x80\xa3xyz\xc0", view{Type: 2, ID: "xyz", Value: "\xc0"}},
	{"item with headers", "\x94\x02" + packedHeaders + "\xa3xyz\x92\x01\x02", view{Type: 2, ID: "xyz", Value: "\x92\x01\x02", Headers: packedHeaders}},
	{"completion with an error", "\x95\x03\x80\xa3xyz\x01\xb0Error not found!", view{Type: 3, ID: "xyz", Error: "Error not found!", HasError: true}},
	{"completion with an error and headers", "\x95\x03" + packedHeaders + "\xa3xyz\x01\xb0Error not found!", view{Type: 3, ID: "xyz", Error: "Error not found!", HasError: true, Headers: packedHeaders}},
	{"completion with an empty error", "\x95\x03\x80\xa3xyz\x01\xa0", view{Type: 3, ID: "xyz", HasError: true}},
	{"completion alone", "\x94\x03\x80\xa3xyz\x02", view{Type: 3, ID: "xyz"}},
	{"completion alone with headers", "\x94\x03" + packedHeaders + "\xa3xyz\x02", view{Type: 3, ID: "xyz", Headers: packedHeaders}},
	{"completion with a number", "\x95\x03\x80\xa3xyz\x03\x2a", view{Type: 3, ID: "xyz", Value: "\x2a"}},
	{"completion with a float", "\x95\x03\x80\xa3xyz\x03\xca\x42\x28\x00\x00", view{Type: 3, ID: "xyz", Value: "\xca\x42\x28\x00\x00"}},
	{"completion with a string", "\x95\x03\x80\xa3xyz\x03\xa6string", view{Type: 3, ID: "xyz", Value: "\xa6string"}},
	{"completion with true", "\x95\x03\x80\xa3xyz\x03\xc3", view{Type: 3, ID: "xyz", Value: "\xc3"}},
	{"completion with null", "\x95\x03\x80\xa3xyz\x03\xc0", view{Type: 3, ID: "xyz", Value: "\xc0"}},
	{"stream call", "\x96\x04\x80\xa3xyz\xa6method\x90\x90", view{Type: 4, ID: "xyz", Target: "method", Arguments: "\x90"}},
	{"stream call with everything", "\x96\x04" + packedHeaders + "\xa3xyz\xa6method\x92\x2a\xa6string\x91\xab__test_id__",
		view{Type: 4, ID: "xyz", Target: "method", Arguments: "\x92\x2a\xa6string", StreamIDs: []string{"__test_id__"}, Headers: packedHeaders}},
	{"cancel", "\x93\x05\x80\xa3xyz", view{Type: 5, ID: "xyz"}},
	{"cancel with headers", "\x93\x05" + packedHeaders + "\xa3xyz", view{Type: 5, ID: "xyz", Headers: packedHeaders}},
	{"ping", "\x91\x06", view{Type: 6}},
	{"close", "\x93\x07\xc0\xc2", view{Type: 7}},
	{"close with an error", "\x93\x07\xa6Error!\xc2", view{Type: 7, Error: "Error!", HasError: true}},
	{"close to reconnect", "\x93\x07\xc0\xc3", view{Type: 7, AllowReconnect: true}},
	{"close with both", "\x93\x07\xa6Error!\xc3", view{Type: 7, Error: "Error!", HasError: true, AllowReconnect: true}},
	{"ack", "\x92\x08\x2a", view{Type: 8, SequenceID: 42}},
	{"ack 0", "\x92\x08\x00", view{Type: 8}},
	{"sequence", "\x92\x09\xcc\x92", view{Type: 9, SequenceID: 146}},
	{"sequence of two bytes", "\x92\x09\xcd\xea\x60", view{Type: 9, SequenceID: 60000}},
	{"sequence of four bytes", "\x92\x09\xce\xee\x6b\x28\x00", view{Type: 9, SequenceID: 4e9}},
	{"sequence negative", "\x92\x09\xff", view{Type: 9, SequenceID: -1}},
	{"lowest sequence", "\x92\x09\xd3\x80\x00\x00\x00\x00\x00\x00\x00", view{Type: 9, SequenceID: math.MinInt64}},
}

func TestAppendPacked(t *testing.T) {
	for _, test := range packedWritten {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, append([]byte("before"), frame(test.message)...), hubproto.MessagePack.Append([]byte("before"), messageOf(test.want)))
		})
	}
}

func TestParsePacked(t *testing.T) {
	for _, test := range append(packedWritten, packedRead...) {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, parsePacked(t, test.message))
		})
	}
}

// packedRead has forms that are read, but not written.
var packedRead = append(packedWritten[:0:0], []struct {
	name, message string
	want          view
}{
	{"call without streams", "\x95\x01\x80\xc0\xa1T\x90", view{Type: 1, Target: "T", Arguments: "\x90"}},
	{"call with an empty id", "\x96\x01\x80\xa0\xa1T\x90\x90", view{Type: 1, Target: "T", Arguments: "\x90"}},
	{"call with extra items", "\x98\x01\x80\xa3xyz\xa6method\x90\x90\xc3\xa2ex", view{Type: 1, ID: "xyz", Target: "method", Arguments: "\x90"}},
	{"call with extra items of all kinds", "\x9a\x01\x80\xa3xyz\xa6method\x90\x90\xc0\x81\x01\x02\xd4\x05\x00\xcb\x00\x00\x00\x00\x00\x00\x00\x00", view{Type: 1, ID: "xyz", Target: "method", Arguments: "\x90"}},
	{"wide lengths", "\xdc\x00\x06\x01\xde\x00\x00\xd9\x01i\xda\x00\x01T\xdd\x00\x00\x00\x00\xdd\x00\x00\x00\x01\xdb\x00\x00\x00\x01s",
		view{Type: 1, ID: "i", Target: "T", Arguments: "\xdd\x00\x00\x00\x00", StreamIDs: []string{"s"}}},
	{"widest lengths", "\xdd\x00\x00\x00\x03\x05\xdf\x00\x00\x00\x00\xdb\x00\x00\x00\x01i", view{Type: 5, ID: "i"}},
	{"type of one byte", "\x91\xcc\x06", view{Type: 6}},
	{"type of two bytes", "\x91\xd1\x00\x06", view{Type: 6}},
	{"type of four bytes", "\x91\xce\x00\x00\x00\x06", view{Type: 6}},
	{"type of eight bytes", "\x91\xcf\x00\x00\x00\x00\x00\x00\x00\x06", view{Type: 6}},
	{"arguments of every kind", "\x95\x01\x80\xc0\xa1T\x9d\xc0\xc2\xc3\x7f\xe0\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00\xa1x\xc4\x01\xff\x91\xc0\x81\x01\x90\xd4\x05\x00\xd6\xff\x00\x00\x00\x01\xc7\x00\x07",
		view{Type: 1, Target: "T", Arguments: "\x9d\xc0\xc2\xc3\x7f\xe0\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00\xa1x\xc4\x01\xff\x91\xc0\x81\x01\x90\xd4\x05\x00\xd6\xff\x00\x00\x00\x01\xc7\x00\x07"}},
	{"item with extra items", "\x96\x02\x80\xa1i\x01\x02\x03", view{Type: 2, ID: "i", Value: "\x01"}},
	{"completion alone with a result", "\x95\x03\x80\xa1i\x02\x2a", view{Type: 3, ID: "i"}},
	{"completion kind of eight bytes", "\x95\x03\x80\xa1i\xd3\x00\x00\x00\x00\x00\x00\x00\x03\x2a", view{Type: 3, ID: "i", Value: "\x2a"}},
	{"cancel with extra items", "\x94\x05\x80\xa1i\xc0", view{Type: 5, ID: "i"}},
	{"ping with headers", "\x92\x06\x80", view{Type: 6}},
	{"close, as the JavaScript client writes it", "\x92\x07\xc0", view{Type: 7}},
	{"close with an error alone", "\x92\x07\xa1e", view{Type: 7, Error: "e", HasError: true}},
	{"close with an empty error", "\x92\x07\xa0", view{Type: 7, HasError: true}},
	{"close with extra items", "\x94\x07\xc0\xc3\xa1x", view{Type: 7, AllowReconnect: true}},
	{"ack of one byte", "\x92\x08\xcc\x01", view{Type: 8, SequenceID: 1}},
	{"ack of eight bytes", "\x92\x08\xcf\x00\x00\x00\x00\x00\x00\x00\x01", view{Type: 8, SequenceID: 1}},
	{"ack of the highest", "\x92\x08\xcf\x7f\xff\xff\xff\xff\xff\xff\xff", view{Type: 8, SequenceID: math.MaxInt64}},
	{"ack with extra items", "\x93\x08\x01\xc0", view{Type: 8, SequenceID: 1}},
	{"type 0", "\x91\x00", view{Type: 0}},
	{"type -1", "\x91\xff", view{Type: -1}},
	{"type 10", "\x91\x0a", view{Type: 10}},
	{"unknown type", "\x94\x63\x01\xc0\xa1x", view{Type: 99}},
	{"unknown type with what would be wrong in others", "\x93\x63\xc1\xdd", view{Type: 99}},
	{"highest type", "\x91\xce\x7f\xff\xff\xff", view{Type: math.MaxInt32}},
	{"lowest type", "\x91\xd2\x80\x00\x00\x00", view{Type: math.MinInt32}},
}...)

// packedBad have the texts of the reference.
var packedBad = []struct{ name, message, text string }{
	{"nothing", "", "Reading array length for 'elementCount' failed."},
	{"nil", "\xc0", "Reading array length for 'elementCount' failed."},
	{"number", "\x06", "Reading array length for 'elementCount' failed."},
	{"string", "\xa1x", "Reading array length for 'elementCount' failed."},
	{"map", "\x81\x01\x06", "Reading array length for 'elementCount' failed."},
	{"bytes", "\xc4\x02\x91\x06", "Reading array length for 'elementCount' failed."},
	{"byte that is no MessagePack", "\xc1", "Reading array length for 'elementCount' failed."},
	{"JSON", `{"type":6}`, "Reading array length for 'elementCount' failed."},
	{"half a length", "\xdd\x00\x00", "Reading array length for 'elementCount' failed."},
	{"no items", "\x90", "Reading 'messageType' as Int32 failed."},
	{"type missing", "\x91", "Reading 'messageType' as Int32 failed."},
	{"type string", "\x91\xa3foo", "Reading 'messageType' as Int32 failed."},
	{"type float", "\x91\xcb\x40\x18\x00\x00\x00\x00\x00\x00", "Reading 'messageType' as Int32 failed."},
	{"type null", "\x91\xc0", "Reading 'messageType' as Int32 failed."},
	{"type beyond int32", "\x91\xce\x80\x00\x00\x00", "Reading 'messageType' as Int32 failed."},
	{"type below int32", "\x91\xd3\xff\xff\xff\xff\x7f\xff\xff\xff", "Reading 'messageType' as Int32 failed."},
	{"type beyond int64", "\x91\xcf\x80\x00\x00\x00\x00\x00\x00\x00", "Reading 'messageType' as Int32 failed."},
	{"headers missing", "\x91\x01", "Reading map length for 'headers' failed."},
	{"headers null", "\x96\x01\xc0\xc0\xa1T\x90\x90", "Reading map length for 'headers' failed."},
	{"headers string", "\x92\x01\xa3foo", "Reading map length for 'headers' failed."},
	{"headers array", "\x93\x05\x90\xa1i", "Reading map length for 'headers' failed."},
	{"header name number", "\x92\x01\x81\x2a\xa3foo", "Reading 'headers[0].Key' as String failed."},
	{"header value number", "\x92\x01\x81\xa3foo\x2a", "Reading 'headers[0].Value' as String failed."},
	{"header name null", "\x92\x01\x81\xc0\xa3foo", "Reading 'headers[0].Key' as String failed."},
	{"second header name array", "\x92\x01\x82\xa3foo\xa3foo\x90\xa3foo", "Reading 'headers[1].Key' as String failed."},
	{"second header value array", "\x92\x01\x82\xa3foo\xa3foo\xa3foo\x90", "Reading 'headers[1].Value' as String failed."},
	{"call without an id", "\x92\x01\x80", "Reading 'invocationId' as String failed."},
	{"call with the id false", "\x93\x01\x80\xc2", "Reading 'invocationId' as String failed."},
	{"call without a target", "\x93\x01\x80\xa3abc", "Reading 'target' as String failed."},
	{"call with the target a number", "\x94\x01\x80\xa3abc\x2a", "Reading 'target' as String failed."},
	{"call with the target null", "\x96\x01\x80\xa3abc\xc0\x90\x90", "Reading 'target' as String failed."},
	{"call without arguments", "\x94\x01\x80\xa3abc\xa3xyz", "Reading array length for 'arguments' failed."},
	{"call with arguments a number", "\x95\x01\x80\xa3abc\xa3xyz\x2a", "Reading array length for 'arguments' failed."},
	{"call with arguments null", "\x95\x01\x80\xa3abc\xa3xyz\xc0", "Reading array length for 'arguments' failed."},
	{"call with streams null", "\x96\x01\x80\xa3abc\xa3xyz\x90\xc0", "Reading array length for 'streamIds' failed."},
	{"call with streams that are not there", "\x96\x01\x80\xa3abc\xa3xyz\x90", "Reading array length for 'streamIds' failed."},
	{"stream call without an id", "\x92\x04\x80", "Reading 'invocationId' as String failed."},
	{"stream call with the id false", "\x93\x04\x80\xc2", "Reading 'invocationId' as String failed."},
	{"stream call without a target", "\x93\x04\x80\xa3abc", "Reading 'target' as String failed."},
	{"stream call with the target a number", "\x94\x04\x80\xa3abc\x2a", "Reading 'target' as String failed."},
	{"stream call without arguments", "\x94\x04\x80\xa3abc\xa3xyz", "Reading array length for 'arguments' failed."},
	{"stream call with arguments a number", "\x95\x04\x80\xa3abc\xa3xyz\x2a", "Reading array length for 'arguments' failed."},
	{"item without an id", "\x92\x02\x80", "Reading 'invocationId' as String failed."},
	{"item with the id false", "\x93\x02\x80\xc2", "Reading 'invocationId' as String failed."},
	{"completion without an id", "\x92\x03\x80", "Reading 'invocationId' as String failed."},
	{"completion with the id false", "\x93\x03\x80\xc2", "Reading 'invocationId' as String failed."},
	{"completion without a kind", "\x93\x03\x80\xa3xyz", "Reading 'resultKind' as Int32 failed."},
	{"completion with the kind a string", "\x94\x03\x80\xa3xyz\xa3xyz", "Reading 'resultKind' as Int32 failed."},
	{"completion with the kind null", "\x94\x03\x80\xa3xyz\xc0", "Reading 'resultKind' as Int32 failed."},
	{"completion of kind 42", "\x94\x03\x80\xa3xyz\x2a", "Invalid invocation result kind."},
	{"completion of kind 0", "\x94\x03\x80\xa3xyz\x00", "Invalid invocation result kind."},
	{"completion of kind -1", "\x94\x03\x80\xa3xyz\xff", "Invalid invocation result kind."},
	{"completion with the kind beyond int32", "\x94\x03\x80\xa3xyz\xce\xff\xff\xff\xff", "Reading 'resultKind' as Int32 failed."},
	{"completion without its error", "\x94\x03\x80\xa3xyz\x01", "Reading 'error' as String failed."},
	{"completion with the error a number", "\x95\x03\x80\xa3xyz\x01\x2a", "Reading 'error' as String failed."},
	{"cancel without an id", "\x92\x05\x80", "Reading 'invocationId' as String failed."},
	{"cancel with a number", "\x93\x05\x80\x01", "Reading 'invocationId' as String failed."},
	{"close with a number", "\x92\x07\x01", "Reading 'error' as String failed."},
	{"close with the error not there", "\x92\x07", "Reading 'error' as String failed."},
	{"close with allowReconnect null", "\x93\x07\xc0\xc0", "Reading 'allowReconnect' as Boolean failed."},
	{"close with allowReconnect a number", "\x93\x07\xc0\x01", "Reading 'allowReconnect' as Boolean failed."},
	{"close with allowReconnect not there", "\x93\x07\xc0", "Reading 'allowReconnect' as Boolean failed."},
	{"ack without a number", "\x91\x08", "Reading 'sequenceId' as Int64 failed."},
	{"ack with null", "\x92\x08\xc0", "Reading 'sequenceId' as Int64 failed."},
	{"ack with a string", "\x92\x08\xa11", "Reading 'sequenceId' as Int64 failed."},
	{"ack with a float", "\x92\x08\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", "Reading 'sequenceId' as Int64 failed."},
	{"ack beyond int64", "\x92\x08\xcf\x80\x00\x00\x00\x00\x00\x00\x00", "Reading 'sequenceId' as Int64 failed."},
	{"sequence without a number", "\x91\x09", "Reading 'sequenceId' as Int64 failed."},
	{"sequence with null", "\x92\x09\xc0", "Reading 'sequenceId' as Int64 failed."},
}

func TestParsePackedErrors(t *testing.T) {
	for _, test := range packedBad {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.text, requireNoPacked(t, test.message))
		})
	}
}

func TestParsePackedWithoutALength(t *testing.T) {
	for _, record := range []string{"", "\x80", "\xff\xff\xff\xff\x08"} {
		var m hubproto.Message
		var data *hubproto.DataError
		require.ErrorAs(t, hubproto.MessagePack.Parse([]byte(record), &m), &data, "%x", record)
	}
}

func TestParsePackedEmptyIDs(t *testing.T) {
	// An empty id counts as missing, as in JSON.
	for name, message := range map[string]string{
		"item": "\x94\x02\x80\xa0\x2a", "completion": "\x94\x03\x80\xa0\x02", "stream call": "\x96\x04\x80\xa0\xa1T\x90\x90", "cancel": "\x93\x05\x80\xa0",
		"item null": "\x94\x02\x80\xc0\x2a", "completion null": "\x94\x03\x80\xc0\x02", "stream call null": "\x96\x04\x80\xc0\xa1T\x90\x90", "cancel null": "\x93\x05\x80\xc0",
	} {
		t.Run(name, func(t *testing.T) {
			assert.Contains(t, requireNoPacked(t, message), "'invocationId'")
		})
	}
}

// packedItem is an item of a message's array, and what may stand there.
type packedItem struct{ name, good, kinds string }

// packedShapes has the items behind the type that each message must have.
var packedShapes = map[hubproto.Type][]packedItem{
	1: {{"headers", "\x80", "map"}, {"invocationId", "\xa1i", "str nil"}, {"target", "\xa1T", "str"}, {"arguments", "\x90", "array"}, {"streamIds", "\x90", "array"}},
	2: {{"headers", "\x80", "map"}, {"invocationId", "\xa1i", "str"}, {"item", "\x01", "all"}},
	3: {{"headers", "\x80", "map"}, {"invocationId", "\xa1i", "str"}, {"resultKind", "\x01", "int"}, {"error", "\xa1e", "str"}},
	4: {{"headers", "\x80", "map"}, {"invocationId", "\xa1i", "str nil"}, {"target", "\xa1T", "str"}, {"arguments", "\x90", "array"}, {"streamIds", "\x90", "array"}},
	5: {{"headers", "\x80", "map"}, {"invocationId", "\xa1i", "str"}},
	7: {{"error", "\xa1e", "str nil"}, {"allowReconnect", "\xc3", "bool"}},
	8: {{"sequenceId", "\x01", "int"}},
	9: {{"sequenceId", "\x01", "int"}},
}

// packedKinds has a value of each kind.
var packedKinds = map[string]string{
	"nil": "\xc0", "bool": "\xc2", "int": "\x03", "float": "\xca\x3f\x80\x00\x00", "str": "\xa1x", "bin": "\xc4\x01x", "array": "\x90", "map": "\x80", "ext": "\xd4\x05\x00",
	"timestamp": "\xd6\xff\x00\x00\x00\x01", "unused byte": "\xc1", "half a string": "\xa5x", "long string": "\xdb\xff\xff\xff\xffx", "long bytes": "\xc6\xff\xff\xff\xffx",
	"long array": "\xdd\xff\xff\xff\xff\x01", "long map": "\xdf\xff\xff\xff\xff\xa1a\xa1b", "map that overflows": "\xdf\x80\x00\x00\x00\xa1a\xa1b", "long ext": "\xc9\xff\xff\xff\xff\x01x", "negative int": "\xd3\xff\xff\xff\xff\x00\x00\x00\x00",
	"array of an unused byte": "\x91\xc1", "map of an unused byte": "\x81\xa1a\xc1", "half an array": "\x92\x01", "half a map": "\x82\xa1a\xa1b", "map without its value": "\x81\xa1a",
}

func TestPackedItemsOfAnotherType(t *testing.T) {
	for typ, shape := range packedShapes {
		for at, item := range shape {
			for kind, value := range packedKinds {
				broken := strings.ContainsAny(kind, " ") && kind != "negative int"
				if item.kinds == "all" && !broken || strings.Contains(" "+item.kinds+" ", " "+kind+" ") || item.name == "sequenceId" && kind == "negative int" || item.name == "resultKind" && kind == "int" {
					continue
				}
				message := string([]byte{0x91 + byte(len(shape)), byte(typ)})
				for i, other := range shape {
					if i == at {
						message += value
						if broken {
							break // what came behind would be taken for its rest
						}
						continue
					}
					message += other.good
				}
				assert.Contains(t, requireNoPacked(t, message), "'"+item.name, "%s as the %s of a %s", kind, item.name, typ)
			}
		}
	}
}

func TestPackedItemsMissing(t *testing.T) {
	optional := map[string]bool{"streamIds": true, "allowReconnect": true}
	for typ, shape := range packedShapes {
		for n, missing := range shape {
			if optional[missing.name] {
				continue
			}
			items := ""
			for _, item := range shape[:n] {
				items += item.good
			}
			counted := string([]byte{0x91 + byte(n), byte(typ)}) + items
			promised := string([]byte{0x91 + byte(len(shape)), byte(typ)}) + items
			if typ != hubproto.Close || n > 0 { // a Close of no items may be one without an error
				assert.Contains(t, requireNoPacked(t, counted), "'"+missing.name+"'", "%s", typ)
			}
			assert.Contains(t, requireNoPacked(t, promised), "'"+missing.name+"'", "%s", typ)
			// Nor is it taken from what the array does not count.
			if typ != hubproto.Close || n > 0 {
				requireNoPacked(t, counted+missing.good+"\x90\x90")
			}
		}
	}
}

func TestParsePackedCutShort(t *testing.T) {
	// Whatever is missing at the end of a message, it is no message.
	for _, test := range packedWritten {
		for end := range len(test.message) {
			requireNoPacked(t, test.message[:end])
		}
	}
}

func TestPackedRestOfTheRecordIsIgnored(t *testing.T) {
	for _, test := range packedWritten {
		assert.Equal(t, test.want, parsePacked(t, test.message+"\xc1\xdd\xff\xff\xff\xff"), test.name)
	}
}

func TestPackedDepth(t *testing.T) {
	arrays := func(n int) string { return strings.Repeat("\x91", n) + "\xc0" }
	empty := func(n int) string { return strings.Repeat("\x91", n-1) + "\x90" }
	maps := func(n int) string { return strings.Repeat("\x81\xa1a", n) + "\xc0" }
	keys := func(n int) string { return strings.Repeat("\x81", n) + strings.Repeat("\x01", n+1) }
	wide := func(n int) string { return strings.Repeat("\xdd\x00\x00\x00\x01", n) + "\xc0" }
	second := func(n int) string { return strings.Repeat("\x92\x01", n) + "\xc0" }
	for name, nest := range map[string]func(int) string{"arrays": arrays, "empty": empty, "maps": maps, "in names": keys, "wide": wide, "second": second} {
		for _, shape := range []struct {
			before, names string
			deepest       int
		}{
			{"\x95\x01\x80\xc0\xa1T\x91", "'arguments'", hubproto.MaxDepth - 2},
			{"\x94\x02\x80\xa1i", "'item'", hubproto.MaxDepth - 1},
			{"\x95\x03\x80\xa1i\x03", "'argument'", hubproto.MaxDepth - 1},
		} {
			for depth := 1; depth < 140; depth++ {
				message := shape.before + nest(depth)
				if depth > shape.deepest {
					require.Contains(t, requireNoPacked(t, message), shape.names)
					continue
				}
				var m hubproto.Message
				require.NoError(t, hubproto.MessagePack.Parse(frame(message), &m), "%d %s", depth, name)
			}
			for _, depth := range []int{1000, 1 << 20} {
				require.Contains(t, requireNoPacked(t, shape.before+nest(depth)), "64", name)
			}
		}
		requireNoPacked(t, "\x92\x01\x81\xa1a"+nest(1<<20))
		assert.Equal(t, view{Type: 99}, parsePacked(t, "\x92\x63"+nest(1<<20))) // nobody looks
	}
	// What stands side by side is not nested.
	assert.NotEmpty(t, parsePacked(t, "\x95\x01\x80\xc0\xa1T\xdc\x01\x00"+strings.Repeat("\x92\x90\x91\x80", 256)).Arguments)
}

// allocated tells how much memory f takes.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// packedBombs promise more than they hold.
var packedBombs = map[string]string{
	"array": "\xdd\xff\xff\xff\xff", "array of nothing": "\xdd\x7f\xff\xff\xff\xc0", "short array": "\xdc\xff\xff\xc0", "map": "\xdf\xff\xff\xff\xff", "map of nothing": "\xdf\x7f\xff\xff\xff\xa0\xc0", "half of the maps": "\xdf\x80\x00\x00\x00\xa0\xc0",
	"short map": "\xde\xff\xff\xa0\xc0", "string": "\xdb\xff\xff\xff\xff", "bytes": "\xc6\xff\xff\xff\xff", "extension": "\xc9\xff\xff\xff\xff\xff", "arrays": strings.Repeat("\xdd\x00\x00\xff\xff", 50), "maps": strings.Repeat("\xdf\x00\x00\xff\xff\xa0", 50),
	"array behind arrays": strings.Repeat("\x91", 40) + "\xdd\xff\xff\xff\xff",
}

func TestPackedBombs(t *testing.T) {
	for name, bomb := range packedBombs {
		for _, before := range []string{
			"", "\x92", "\x96\x01", "\x96\x01\x81\xa1a", "\x96\x01\x80", "\x96\x01\x80\xc0", "\x96\x01\x80\xc0\xa1T", "\x96\x01\x80\xc0\xa1T\x91", "\x96\x01\x80\xc0\xa1T\x90", "\x96\x01\x80\xc0\xa1T\x90\x91",
			"\x94\x02\x80\xa1i", "\x95\x03\x80\xa1i", "\x95\x03\x80\xa1i\x01", "\x95\x03\x80\xa1i\x03", "\x93\x05\x80", "\x93\x07", "\x93\x07\xc0", "\x92\x08",
		} {
			record := frame(before + bomb)
			var m hubproto.Message
			var err error
			spent := allocated(func() { err = hubproto.MessagePack.Parse(record, &m) })
			require.Error(t, err, "%s behind %x", name, before)
			require.Less(t, spent, uint64(16<<10), "%s behind %x", name, before)
		}
		// Nor is more taken when a parser has let it pass.
		for _, typ := range packedTypes {
			v := reflect.New(typ).Elem()
			spent := allocated(func() { _ = hubproto.MessagePack.BindArguments([]byte("\x91"+bomb), []reflect.Value{v}) })
			require.Less(t, spent, uint64(512<<10), "%s into %s", name, typ)
		}
	}
}

func TestPackedMemoryIsAMultipleOfTheMessage(t *testing.T) {
	// What really has that many elements takes memory for them, but no more.
	for name, element := range map[string]string{
		"nulls": "\xc0", "numbers": "\x7f", "lists": "\x90", "maps": "\x80", "small maps": "\x81\xa0\xc0", "lists in lists": "\x91\x91\x91\x91\x90", "maps of one name": "\xde\x00\x40" + strings.Repeat("\xa0\xc0", 64),
		"deep lists": strings.Repeat("\x91", 60) + "\xc0", "deep maps": strings.Repeat("\x81\xa0", 60) + "\xc0", "bytes": "\xc4\x00", "texts": "\xa1x",
	} {
		n := 32000 / len(element)
		list := "\xdd" + string(binary.BigEndian.AppendUint32(nil, uint32(n))) + strings.Repeat(element, n)
		var m hubproto.Message
		require.NoError(t, hubproto.MessagePack.Parse(frame("\x95\x01\x80\xc0\xa1T\x91"+list), &m), name)
		var v any
		var err error
		spent := allocated(func() {
			err = hubproto.MessagePack.BindArguments(m.Arguments, []reflect.Value{reflect.ValueOf(&v).Elem()})
		})
		require.NoError(t, err, name)
		assert.Less(t, spent/uint64(len(list)), uint64(256), name)
	}
}

func TestPackedCountAboveTheInput(t *testing.T) {
	var n int
	for _, arguments := range []string{"\xdd\xff\xff\xff\xff", "\xdd\xff\xff\xff\xff\x01", "\xdd\x80\x00\x00\x00\x01", "\x92\x01", "\x91", "", "\xc1", "\xc0", "\xdd\xff"} {
		var bind *hubproto.BindError
		require.ErrorAs(t, hubproto.MessagePack.BindArguments([]byte(arguments), []reflect.Value{reflect.ValueOf(&n).Elem(), reflect.ValueOf(&n).Elem()}), &bind, "%x", arguments)
	}
}

func TestPackedLimits(t *testing.T) {
	text := func(n int) string {
		return "\xdb" + string(binary.BigEndian.AppendUint32(nil, uint32(n))) + strings.Repeat("i", n)
	}
	many := func(n int) string {
		return "\xdd" + string(binary.BigEndian.AppendUint32(nil, uint32(n))) + strings.Repeat("\xa1s", n)
	}
	assert.Len(t, parsePacked(t, "\x93\x05\x80"+text(hubproto.MaxIDLength)).ID, hubproto.MaxIDLength)
	assert.Len(t, parsePacked(t, "\x96\x01\x80\xc0"+text(2*hubproto.MaxIDLength)+"\x90"+many(hubproto.MaxStreamIDs)).StreamIDs, hubproto.MaxStreamIDs)
	assert.Len(t, parsePacked(t, "\x92\x07"+text(2*hubproto.MaxIDLength)).Error, 2*hubproto.MaxIDLength)
	for message, want := range map[string]string{
		"\x93\x05\x80" + text(hubproto.MaxIDLength+1):                        "'invocationId' has 4097 bytes, more than the limit of 4096.",
		"\x94\x02\x80" + text(hubproto.MaxIDLength+1) + "\x01":               "'invocationId' has 4097 bytes, more than the limit of 4096.",
		"\x96\x01\x80\xc0\xa1T\x90" + many(hubproto.MaxStreamIDs+1):          "'streamIds' has 257 elements, more than the limit of 256.",
		"\x96\x01\x80\xc0\xa1T\x90" + many(100000):                           "'streamIds' has 100000 elements, more than the limit of 256.",
		"\x96\x04\x80\xa1i\xa1T\x90\x92\xa1s" + text(hubproto.MaxIDLength+1): "'streamIds' has an id of 4097 bytes, more than the limit of 4096.",
		"\x96\x01\x80\xc0\xa1T\x90\x92\xa1s\x01":                             "Reading 'streamIds' as String failed.",
		"\x96\x01\x80\xc0\xa1T\x90\x91\xc0":                                  "Reading 'streamIds' as String failed.",
		"\x96\x01\x80\xc0\xa1T\x90\x91\x91\xa1s":                             "Reading 'streamIds' as String failed.",
	} {
		assert.Equal(t, want, requireNoPacked(t, message))
	}
}

func TestPackedTextThatIsNoUTF8(t *testing.T) {
	// It may be refused. If it is not, it must not break what is written because of it.
	for name, bad := range map[string]string{"stray byte": "\xff", "cut short": "\xe2\x82", "overlong": "\xc0\xaf", "surrogate": "\xed\xa0\x80"} {
		text := string([]byte{0xa0 + byte(len(bad))}) + bad
		for _, message := range []string{
			"\x96\x01\x80" + text + "\xa1T\x90\x90", "\x96\x01\x80\xc0" + text + "\x90\x90", "\x96\x01\x80\xc0\xa1T\x91" + text + "\x91" + text, "\x96\x01\x81" + text + text + "\xc0\xa1T\x90\x90", "\x94\x02\x80" + text + text,
			"\x95\x03\x80\xa1i\x01" + text, "\x95\x03\x80\xa1i\x03\x81" + text + text, "\x93\x05\x80" + text, "\x92\x07" + text,
		} {
			var m hubproto.Message
			var data *hubproto.DataError
			if err := hubproto.MessagePack.Parse(frame(message), &m); err != nil {
				require.ErrorAs(t, err, &data)
				continue
			}
			answer := hubproto.JSON.AppendError(nil, append([]byte("x"), m.ID...), string(m.Target)+string(m.Error))
			require.True(t, json.Valid(answer[:len(answer)-1]), name)
			for _, value := range []string{string(m.Value), text, "\x81" + text + "\x01"} {
				for _, typ := range packedTypes {
					if value == "" {
						continue
					}
					v := reflect.New(typ).Elem()
					if err := hubproto.MessagePack.BindArguments([]byte("\x91"+value), []reflect.Value{v}); err != nil {
						requireBindError(t, err, errorBinding)
						continue
					}
					result, err := hubproto.JSON.AppendResult(nil, []byte("1"), v.Interface())
					require.True(t, err != nil || json.Valid(result[:len(result)-1]), "%q", result)
				}
			}
		}
	}
}

func TestNextPacked(t *testing.T) {
	long := strings.Repeat("x", 200)
	for _, test := range []struct {
		name  string
		buf   string
		limit int
		want  int
		large bool
		text  string
	}{
		{name: "nothing"},
		{name: "nothing, with a limit", limit: 1},
		{name: "a length", buf: "\x05"},
		{name: "half a record", buf: "\x05\x01"},
		{name: "one byte is missing", buf: "\x02\x91"},
		{name: "a record", buf: "\x02\x91\x06", want: 3},
		{name: "a record and more", buf: "\x02\x91\x06\x02\x91", want: 3},
		{name: "an empty record", buf: "\x00", want: 1},
		{name: "empty records", buf: "\x00\x00", want: 1},
		{name: "half a length of two bytes", buf: "\xc8"},
		{name: "a length of two bytes", buf: "\xc8\x01"},
		{name: "a record with a length of two bytes", buf: "\xc8\x01" + long, want: 202},
		{name: "a length with leading zeros", buf: "\x82\x80\x80\x80\x00\x91\x06", want: 7},
		{name: "an empty record of two bytes", buf: "\x80\x00", want: 2},
		{name: "four bytes of a length", buf: "\xff\xff\xff\xff"},
		{name: "the highest length", buf: "\xff\xff\xff\xff\x07"},
		{name: "the highest length, with a limit", buf: "\xff\xff\xff\xff\x07", limit: 32768, large: true},
		{name: "almost the highest length, with a limit", buf: "\xfb\xff\xff\xff\x07", limit: 32768, large: true},
		{name: "the highest length, with the highest limit", buf: "\xff\xff\xff\xff\x07", limit: math.MaxInt32, large: true},
		{name: "above 2 GB", buf: "\x80\x80\x80\x80\x08", text: "Messages over 2GB in size are not supported."},
		{name: "above 2 GB, with a limit", buf: "\x80\x80\x80\x80\x08", limit: 5, text: "Messages over 2GB in size are not supported."},
		{name: "high bits", buf: "\xff\xff\xff\xff\xff", text: "Messages over 2GB in size are not supported."},
		{name: "sign bit", buf: "\x80\x80\x80\x80\x40", text: "Messages over 2GB in size are not supported."},
		{name: "a sixth byte", buf: "\x80\x80\x80\x80\x80\x00", text: "Messages over 2GB in size are not supported."},
		{name: "a sixth byte that has not come", buf: "\x81\x80\x80\x80\x87", text: "Messages over 2GB in size are not supported."},
		{name: "the limit counts the length", buf: "\x04abcd", limit: 5, want: 5},
		{name: "one above the limit with its length", buf: "\x05abcde", limit: 5, large: true},
		{name: "above the limit, and not there", buf: "\x05", limit: 5, large: true},
		{name: "at the limit, and not there", buf: "\x04", limit: 5},
		{name: "what comes behind does not count", buf: "\x04abcd\x05abcde", limit: 5, want: 5},
		{name: "an empty record at the lowest limit", buf: "\x00", limit: 1, want: 1},
		{name: "a record at the lowest limit", buf: "\x01", limit: 1, large: true},
		{name: "no limit, negative", buf: "\x02\x91\x06", limit: -1, want: 3},
		{name: "the default limit is kept", buf: "\xfd\xff\x01" + strings.Repeat("x", 32765), limit: 32768, want: 32768},
		{name: "the default limit is exceeded", buf: "\xfe\xff\x01", limit: 32768, large: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			for searched := range min(len(test.buf), 6) + 1 { // the length is looked at again in any case
				n, err := hubproto.MessagePack.Next([]byte(test.buf), searched, test.limit)
				switch {
				case test.text != "":
					requireDataError(t, err, test.text)
				case test.large:
					var large *hubproto.TooLargeError
					require.ErrorAs(t, err, &large)
					assert.Equal(t, test.limit, large.Limit)
				default:
					require.NoError(t, err)
				}
				assert.Equal(t, test.want, n)
			}
		})
	}
}

func TestNextPackedTakesNoMemory(t *testing.T) {
	// Whatever a length promises, nothing is set aside for it.
	for _, text := range []string{"\xff\xff\xff\xff\x07", "\xff\xff\xff\x07", "\x02\x91\x06"} {
		buf := []byte(text)
		assert.Less(t, allocated(func() { _, _ = hubproto.MessagePack.Next(buf, 0, 0) }), uint64(4<<10))
	}
}

// packedStream holds every shape that a client sends.
var packedStream = func() string {
	stream := ""
	for _, test := range append(packedWritten, packedRead...) {
		stream += string(frame(test.message))
	}
	return stream + string(frame("\x96\x01\x80\xc0\xa1T\x91\xda\x01\x00"+strings.Repeat("x", 256)+"\x90")) + "\x00"
}()

func TestPackedStreamSplitAtEveryByte(t *testing.T) {
	whole, rest, err := cutAll(hubproto.MessagePack.Next, 0, []byte(packedStream))
	require.NoError(t, err)
	require.Empty(t, rest)
	require.Equal(t, packedStream, strings.Join(whole, ""))
	require.Len(t, whole, len(packedWritten)+len(packedRead)+2)
	for at := range len(packedStream) + 1 {
		records, rest, err := cutAll(hubproto.MessagePack.Next, 0, []byte(packedStream[:at]), []byte(packedStream[at:]))
		require.NoError(t, err)
		require.Empty(t, rest)
		require.Equal(t, whole, records, "split at %d", at)
	}
	var bytes [][]byte
	for i := range len(packedStream) {
		bytes = append(bytes, []byte{packedStream[i]})
	}
	records, rest, err := cutAll(hubproto.MessagePack.Next, 0, bytes...)
	require.NoError(t, err)
	require.Empty(t, rest)
	require.Equal(t, whole, records)
}

func TestParsePackedForgetsTheMessageBefore(t *testing.T) {
	var m hubproto.Message
	for range 2 {
		for _, test := range append(packedWritten, packedRead...) {
			require.NoError(t, hubproto.MessagePack.Parse(frame(test.message), &m))
			require.Equal(t, test.want, viewOf(&m), test.name)
		}
	}
}

func TestPackedMessageSharesItsRecord(t *testing.T) {
	record := frame("\x96\x04\x81\xa1a\xa1b\xa1i\xa1T\x91\x01\x91\xa1s")
	before := string(record)
	var m hubproto.Message
	require.NoError(t, hubproto.MessagePack.Parse(record, &m))
	from := uintptr(unsafe.Pointer(&record[0]))
	for _, part := range [][]byte{m.ID, m.Target, m.Arguments, m.StreamIDs[0], m.Headers} {
		at := uintptr(unsafe.Pointer(&part[0]))
		assert.True(t, at >= from && at < from+uintptr(len(record)), "%s", part)
	}
	assert.Equal(t, before, string(record))
}

// bindPacked binds one argument to a parameter of a type.
func bindPacked(argument string, typ reflect.Type) (any, error) {
	v := reflect.New(typ).Elem()
	err := hubproto.MessagePack.BindArguments([]byte("\x91"+argument), []reflect.Value{v})
	return v.Interface(), err
}

func TestBindPacked(t *testing.T) {
	five := 5
	for _, test := range []struct {
		argument string
		want     any // its type is the parameter's
	}{
		{"\xa1x", "x"}, {"\xa0", ""}, {"\xd9\x01x", "x"}, {"\xda\x00\x01x", "x"}, {"\xdb\x00\x00\x00\x01x", "x"}, {"\xa2\xc3\xa9", "é"}, {"\xa4\xf0\x9f\x98\x80", text("😀")}, {"\xa1\x00", "\x00"},
		{"\xc3", true}, {"\xc2", flag(false)},
		{"\x05", 5}, {"\xff", -1}, {"\xcc\xff", 255}, {"\xcd\xff\xff", 65535}, {"\xce\xff\xff\xff\xff", int64(math.MaxUint32)}, {"\xcf\x7f\xff\xff\xff\xff\xff\xff\xff", int64(math.MaxInt64)}, {"\xd0\x80", -128}, {"\xd1\x80\x00", -32768}, {"\xd2\x80\x00\x00\x00", int32(math.MinInt32)},
		{"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", int64(math.MinInt64)}, {"\xcf\x00\x00\x00\x00\x00\x00\x00\x7f", int8(127)}, {"\xd3\xff\xff\xff\xff\xff\xff\xff\x80", small(-128)},
		{"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", uint64(math.MaxUint64)}, {"\xd3\x00\x00\x00\x00\x00\x00\x00\x01", uint64(1)}, {"\xd1\x00\xff", uint8(255)}, {"\x00", uint(0)}, {"\xd1\x03\xe8", time.Duration(1000)},
		{"\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00", 1.5}, {"\xca\x3f\xc0\x00\x00", 1.5}, {"\xca\x3f\xc0\x00\x00", float32(1.5)}, {"\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00", ratio(1.5)}, {"\x05", 5.0}, {"\xff", float32(-1)}, {"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", float64(math.MaxUint64)},
		{"\xc4\x02\x00\xff", []byte{0, 255}}, {"\xc4\x00", []byte{}}, {"\xc0", []byte(nil)}, {"\xc5\x00\x01x", bytesOf("x")}, {"\xc6\x00\x00\x00\x01x", []byte("x")}, {"\xc4\x01x", []octet{'x'}}, {"\x92\x01\x02", [2]byte{1, 2}},
		{"\x92\x01\x02", []int{1, 2}}, {"\x90", []int{}}, {"\x92\x91\x01\x90", [][]int{{1}, {}}}, {"\x92\xa1a\xa1b", [2]string{"a", "b"}}, {"\x91\x01", [2]int{1, 0}}, {"\x93\x01\x02\x91\x03", [2]int{1, 2}}, {"\x90", [0]int{}},
		{"\x82\xa1a\x01\xa1B\x02", map[string]int{"a": 1, "B": 2}}, {"\x80", map[string]int{}}, {"\x81\xa11\xa1x", map[int]string{1: "x"}}, {"\x81\x01\xa1x", map[int]string{1: "x"}}, {"\x81\xa1a\x01", map[text]int{"a": 1}}, {"\x81\xa1x\x01", map[lettered]int{{"<x>"}: 1}},
		{"\x05", &five}, {"\xd6\xff\x00\x00\x00\x05", time.Unix(5, 0).UTC()}, {"\xd7\xff\x00\x00\x00\x18\x00\x00\x00\x05", time.Unix(5, 6).UTC()}, {"\xc7\x0c\xff\x00\x00\x00\x06\xff\xff\xff\xff\xff\xff\xff\xff", time.Unix(-1, 6).UTC()}, {"\xb42000-01-02T03:04:05Z", time.Date(2000, 1, 2, 3, 4, 5, 0, time.UTC)},
		{"\xa3::1", netip.MustParseAddr("::1")}, {"\x05", json.Number("5")}, {"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", json.Number("18446744073709551615")}, {"\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00", json.Number("1.5")}, {"\x81\xa1a\x91\xc0", json.RawMessage(`{"a":[null]}`)},

		// nil binds where there is a value for it.
		{"\xc0", ""}, {"\xc0", text("")}, {"\xc0", (*int)(nil)}, {"\xc0", (**int)(nil)}, {"\xc0", []int(nil)}, {"\xc0", map[string]int(nil)}, {"\xc0", (*person)(nil)}, {"\xc0", json.Number("")}, {"\x91\xc0", []string{""}}, {"\x92\x05\xc0", []*int{&five, nil}}, {"\x91\xc0", []any{nil}},
		{"\x81\xa1a\xc0", map[string]any{"a": nil}}, {"\x81\xa1a\xc0", map[string]string{"a": ""}}, {"\x82\xa4name\xc0\xa5value\x01", person{Value: 1}}, {"\x91\xc0", [1]*int{nil}}, {"\x91\xc0", seen{"[null]"}}, {"\xc0", json.RawMessage(`null`)}, {"\xc0", (*seen)(nil)}, {"\x91\x91\xc0", []seen{{"[null]"}}},
		{"\xc0", (*time.Time)(nil)}, {"\x91\xc0", []*time.Time{nil}},

		{"\x82\xa4name\xa1n\xa5value\x01", person{"n", 1}}, {"\x82\xa4Name\xa1n\xa5Value\x01", person{"n", 1}}, {"\x82\xa4nAME\xa1n\xa5VALUE\x01", person{"n", 1}}, {"\x80", person{}}, {"\x83\xa4name\xa1n\xa5other\x92\x81\x01\xd4\x05\x00\xc0\xa5value\x01", person{"n", 1}},
		{"\x82\xa4name\xa1a\xa4Name\xa1b", person{Name: "b"}}, {"\x83\xa3uid\x01\xa7urlPath\xa1p\xa6quoted\xa17", renamed{UserID: 1, URLPath: "p", Quoted: 7}}, {"\x83\xa5value\x02\xa2id\xa1i\xa5extra\x01", outer{person{Value: 2}, &Base{ID: "i"}, 1}}, {"\x81\xa5value\x02", outer{person: person{Value: 2}}},
		{"\x81\xa4home\x81\xa4name\xa1h", contacts{Home: &person{Name: "h"}}}, {"\xc4\x03\x01\x02\x03", seen{`"AQID"`}}, {"\xd7\xff\x00\x00\x00\x00\x00\x00\x00\x05", seen{`"1970-01-01T00:00:05Z"`}}, {"\x05", &seen{"5"}}, {"\xa1x", lettered{"<x>"}}, {"\x91\xa1x", []*lettered{{"<x>"}}},
	} {
		t.Run(fmt.Sprintf("%T from %x", test.want, test.argument), func(t *testing.T) {
			got, err := bindPacked(test.argument, reflect.TypeOf(test.want))
			require.NoError(t, err, "%v", errors.Unwrap(err))
			assert.Equal(t, test.want, got)
		})
	}
}

func TestBindPackedAny(t *testing.T) {
	for argument, want := range map[string]any{
		"\xc0": nil, "\xc3": true, "\x01": int64(1), "\xff": int64(-1), "\xcc\xff": int64(255), "\xcf\x7f\xff\xff\xff\xff\xff\xff\xff": int64(math.MaxInt64), "\xcf\x80\x00\x00\x00\x00\x00\x00\x00": uint64(1 << 63), "\xca\x3f\xc0\x00\x00": 1.5, "\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00": 1.5,
		"\xa1x": "x", "\xc4\x01x": []byte("x"), "\x90": []any{}, "\x80": map[string]any{}, "\x94\x01\xa1a\xc0\x91\x80": []any{int64(1), "a", nil, []any{map[string]any{}}}, "\x81\xa1A\x81\xa1b\xc0": map[string]any{"A": map[string]any{"b": nil}},
		"\xd6\xff\x00\x00\x00\x05": time.Unix(5, 0).UTC(), "\xd7\xff\x00\x00\x00\x18\x00\x00\x00\x05": time.Unix(5, 6).UTC(), "\xc7\x0c\xff\x00\x00\x00\x06\xff\xff\xff\xff\xff\xff\xff\xff": time.Unix(-1, 6).UTC(), "\x92\xd6\xff\x00\x00\x00\x05\x01": []any{time.Unix(5, 0).UTC(), int64(1)},
		"\x81\xa1t\xd6\xff\x00\x00\x00\x05": map[string]any{"t": time.Unix(5, 0).UTC()},
	} {
		t.Run(fmt.Sprintf("%x", argument), func(t *testing.T) {
			got, err := bindPacked(argument, reflect.TypeFor[any]())
			require.NoError(t, err, "%v", errors.Unwrap(err))
			assert.Equal(t, want, got)
		})
	}
}

func TestBindPackedErrors(t *testing.T) {
	for _, test := range []struct {
		typ       reflect.Type
		arguments []string
	}{
		{reflect.TypeFor[int](), []string{"\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", "\xca\x3f\x80\x00\x00", "\xcf\x80\x00\x00\x00\x00\x00\x00\x00", "\xa11", "\xc3", "\xc0", "\x90", "\x91\x01", "\x80", "\xc4\x01\x01", "\xd4\x05\x01", "\xd6\xff\x00\x00\x00\x01"}},
		{reflect.TypeFor[int32](), []string{"\xce\x80\x00\x00\x00", "\xd3\xff\xff\xff\xff\x7f\xff\xff\xff", "\xc0"}},
		{reflect.TypeFor[int8](), []string{"\xcc\x80", "\xd1\xff\x7f", "\xc0"}},
		{reflect.TypeFor[uint8](), []string{"\xcd\x01\x00", "\xff", "\xd0\x80", "\xc0"}},
		{reflect.TypeFor[uint64](), []string{"\xff", "\xd3\x80\x00\x00\x00\x00\x00\x00\x00", "\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", "\xa11"}},
		{reflect.TypeFor[float64](), []string{"\xa11", "\xc0", "\xc3", "\x90"}},
		{reflect.TypeFor[float32](), []string{"\xcb\x48\x0f\x0f\x0f\x0f\x0f\x0f\x0f", "\xc0"}},
		{reflect.TypeFor[bool](), []string{"\xc0", "\x01", "\xa4true"}},
		{reflect.TypeFor[string](), []string{"\x01", "\xc3", "\xc4\x01x", "\x91\xa1x", "\x80", "\xd4\x05\x00"}},
		{reflect.TypeFor[text](), []string{"\x01", "\xc4\x01x"}},
		{reflect.TypeFor[any](), []string{"\xd4\x05\x00", "\xc7\x00\x05", "\x91\xd4\x05\x00", "\xd4\xff\x00", "\xd7\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\xc7\x05\xff\x00\x00\x00\x00\x00"}},
		{reflect.TypeFor[[]string](), []string{"\xa1x", "\x80", "\x91\x01", "\xc4\x01x"}},
		{reflect.TypeFor[[]int](), []string{"\x91\xc0", "\x91\xa11", "\x91\x91\x01", "\xc4\x01\x01", "\x81\x01\x02"}},
		{reflect.TypeFor[[2]int](), []string{"\x92\xc0\x01", "\x80", "\xc0"}},
		{reflect.TypeFor[map[string]int](), []string{"\x90", "\x81\xa1a\xc0", "\x81\x01\x02", "\x81\xa1a\xa11", "\x81\x90\x01", "\x81\x80\x01"}},
		{reflect.TypeFor[map[int]int](), []string{"\x81\xa1a\x01", "\x81\xa0\x01", "\x81\xa31.5\x01", "\x81\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00\x01", "\x81\xc0\x01", "\x81\xa4null\x01", "\x81\xa2 1\x01"}},
		{reflect.TypeFor[map[uint8]int](), []string{"\x81\xa3256\x01", "\x81\xcd\x01\x00\x01", "\x81\xff\x01", "\x81\xa2-1\x01"}},
		{reflect.TypeFor[*int](), []string{"\xa11", "\x91\xc0"}},
		{reflect.TypeFor[person](), []string{"\xc0", "\x90", "\x92\xa1n\x01", "\xa1x", "\x81\xa5value\xc0", "\x81\xa5value\xa11", "\x81\x01\x01", "\x81\xa4name\x01"}},
		{reflect.TypeFor[contacts](), []string{"\x81\xa4home\x81\xa5value\xc0", "\x81\xa4work\xc0", "\x81\xa4many\x91\xc0", "\x81\xa6byName\x81\xa1x\xc0", "\x81\xa3any\xd4\x05\x00"}},
		{reflect.TypeFor[renamed](), []string{"\x81\xa3uid\xc0", "\x81\xa6quoted\x07", "\x81\xa6quoted\xc0", "\x81\xa6quoted\xa1x"}},
		{reflect.TypeFor[lettered](), []string{"\xc0", "\x01", "\x80", "\xc4\x01x"}},
		{reflect.TypeFor[netip.Addr](), []string{"\xc0", "\xa1x", "\xc4\x04\x7f\x00\x00\x01"}},
		{reflect.TypeFor[seen](), []string{"\xc0"}},
		{reflect.TypeFor[[]seen](), []string{"\x91\xc0"}},
		{reflect.TypeFor[[]time.Time](), []string{"\x91\xc0"}},
		{reflect.TypeFor[time.Time](), []string{"\xc0", "\xa1x", "\x01", "\xd4\xff\x01", "\xd6\x05\x00\x00\x00\x01", "\xd7\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\xc7\x0c\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00", "\xc7\x00\xff", "\x90", "\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"}},
		{reflect.TypeFor[json.Number](), []string{"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "\xca\x7f\x80\x00\x00", "\xca\xff\x80\x00\x00", "\xa1x", "\xc3", "\x90"}},
		{reflect.TypeFor[refusing](), []string{"\xc0", "\x01", "\x80"}},
		{reflect.TypeFor[func()](), []string{"\x01", "\xc0"}},
		{reflect.TypeFor[chan int](), []string{"\x01", "\xc0"}},
		{reflect.TypeFor[error](), []string{"\xa1x", "\x80"}},
	} {
		for _, argument := range test.arguments {
			t.Run(fmt.Sprintf("%s from %x", test.typ, argument), func(t *testing.T) {
				_, err := bindPacked(argument, test.typ)
				assert.Error(t, requireBindError(t, err, errorBinding).Cause)
			})
		}
	}
}

func TestBindPackedCounts(t *testing.T) {
	for arguments, text := range map[string]string{
		"\x92\xa1x\xa1y":           errorBinding,
		"\x91\xa1x":                errorBinding,
		"\x91\x01":                 "Invocation provides 1 argument(s) but target expects 2.",
		"\x90":                     "Invocation provides 0 argument(s) but target expects 2.",
		"\x93\x01\x02\xa1x":        "Invocation provides 3 argument(s) but target expects 2.",
		"\x93\x01\x02\xd4\x05x":    "Invocation provides 3 argument(s) but target expects 2.",
		"\x93\x01\xa1x\xa1y":       errorBinding,
		"\xdc\x00\x01\x01":         "Invocation provides 1 argument(s) but target expects 2.",
		"\xdd\x00\x00\x00\x01\x01": "Invocation provides 1 argument(s) but target expects 2.",
	} {
		var n [2]int
		err := hubproto.MessagePack.BindArguments([]byte(arguments), []reflect.Value{reflect.ValueOf(&n[0]).Elem(), reflect.ValueOf(&n[1]).Elem()})
		requireBindError(t, err, text)
	}
	require.NoError(t, hubproto.MessagePack.BindArguments([]byte("\x90"), nil))
	requireBindError(t, hubproto.MessagePack.BindArguments([]byte("\x91\x01"), nil), "Invocation provides 1 argument(s) but target expects 0.")
}

type (
	concealed struct{ Inner string }
	// behindPointer has fields that no decoder can reach.
	behindPointer struct {
		*concealed
		Extra int
	}
	keyed struct{ Any any }
)

func TestBindPackedDoesNotPanic(t *testing.T) {
	for _, test := range []struct {
		name, argument string
		typ            reflect.Type
	}{
		{"field behind a pointer that cannot be set", "\x81\xa5inner\xa1x", reflect.TypeFor[behindPointer]()},
		{"null behind a pointer that cannot be set", "\x81\xa5inner\xc0", reflect.TypeFor[behindPointer]()},
		{"array as a name", "\x81\x90\x01", reflect.TypeFor[map[any]int]()},
		{"map as a name", "\x81\x80\x01", reflect.TypeFor[map[any]int]()},
		{"bytes as a name", "\x81\xc4\x01x\x01", reflect.TypeFor[map[any]int]()},
		{"text of JSON as a name", "\x81\xa7{\"a\":1}\x01", reflect.TypeFor[map[any]int]()},
		{"array within a name", "\x81\x81\xa3any\x90\x01", reflect.TypeFor[map[keyed]int]()},
		{"array within an array as a name", "\x81\x91\x90\x01", reflect.TypeFor[map[[1]any]int]()},
	} {
		t.Run(test.name, func(t *testing.T) {
			var err error
			require.NotPanics(t, func() { _, err = bindPacked(test.argument, test.typ) })
			if !strings.HasPrefix(test.name, "text") { // that may be a name
				requireBindError(t, err, errorBinding)
			}
		})
	}
}

func TestBindPackedLastOfRepeatedNames(t *testing.T) {
	// The last one wins, null as well.
	type fields struct {
		P *int
		L []int
		M map[string]int
		A any
		R [2]int
	}
	got, err := bindPacked("\x8a\xa1p\x05\xa1l\x91\x01\xa1m\x81\xa1a\x01\xa1a\x01\xa1r\x92\x01\x02\xa1p\xc0\xa1l\xc0\xa1m\xc0\xa1a\xc0\xa1r\x91\x03", reflect.TypeFor[fields]())
	require.NoError(t, err)
	want, err := bind(`{"p":5,"l":[1],"m":{"a":1},"a":1,"r":[1,2],"p":null,"l":null,"m":null,"a":null,"r":[3]}`, reflect.TypeFor[fields]())
	require.NoError(t, err)
	assert.Equal(t, want, got)
}

func TestPackedBoundValuesOutliveTheRecord(t *testing.T) {
	type all struct {
		S string
		R json.RawMessage
		N json.Number
		B []byte
		M map[string]string
		A any
		T lettered
	}
	in := all{"s", json.RawMessage(`["x"]`), "12", []byte{1, 2, 3}, map[string]string{"k": "v"}, []any{"x", []byte("y")}, lettered{}}
	record, err := hubproto.MessagePack.AppendInvocation(nil, nil, "T", []any{"text", in, "named", "t"})
	require.NoError(t, err)
	var m hubproto.Message
	require.NoError(t, hubproto.MessagePack.Parse(record, &m))
	var s string
	var v struct {
		S string
		R json.RawMessage
		N json.Number
		B []byte
		M map[string]string
		A any
	}
	var n text
	var l lettered
	require.NoError(t, hubproto.MessagePack.BindArguments(m.Arguments, []reflect.Value{reflect.ValueOf(&s).Elem(), reflect.ValueOf(&v).Elem(), reflect.ValueOf(&n).Elem(), reflect.ValueOf(&l).Elem()}))
	for i := range record {
		record[i] = '#'
	}
	assert.Equal(t, "text", s)
	assert.Equal(t, text("named"), n)
	assert.Equal(t, lettered{"<t>"}, l)
	assert.Equal(t, in.S, v.S)
	assert.Equal(t, string(in.R), string(v.R))
	assert.Equal(t, in.N, v.N)
	assert.Equal(t, in.B, v.B)
	assert.Equal(t, in.M, v.M)
	assert.Equal(t, in.A, v.A)
}

func TestPackedWholeNumbersAreTheShortest(t *testing.T) {
	for n, want := range map[int64]string{
		0: "\x00", 127: "\x7f", 128: "\xcc\x80", 255: "\xcc\xff", 256: "\xcd\x01\x00", 65535: "\xcd\xff\xff", 65536: "\xce\x00\x01\x00\x00", math.MaxUint32: "\xce\xff\xff\xff\xff", math.MaxUint32 + 1: "\xcf\x00\x00\x00\x01\x00\x00\x00\x00",
		-1: "\xff", -32: "\xe0", -33: "\xd0\xdf", -128: "\xd0\x80", -129: "\xd1\xff\x7f", -32768: "\xd1\x80\x00", -32769: "\xd2\xff\xff\x7f\xff", math.MinInt32: "\xd2\x80\x00\x00\x00", math.MinInt32 - 1: "\xd3\xff\xff\xff\xff\x7f\xff\xff\xff",
	} {
		for _, v := range []any{n, int(n), uint64(n), json.Number(fmt.Sprint(n)), []int64{n}} {
			if _, unsigned := v.(uint64); unsigned && n < 0 {
				continue
			}
			got, err := hubproto.MessagePack.AppendResult(nil, nil, v)
			require.NoError(t, err)
			assert.Len(t, strings.TrimPrefix(string(got[6:]), "\x91"), len(want), "%T %d", v, n)
		}
	}
}

func TestPackedWholeNumbersStayWhole(t *testing.T) {
	// What a type's own JSON says keeps its digits as well.
	for _, v := range []any{uint64(math.MaxUint64), json.Number("18446744073709551615"), json.RawMessage("18446744073709551615"), json.RawMessage("9223372036854775809"), []any{json.Number("9223372036854775808")}} {
		record, err := hubproto.MessagePack.AppendResult(nil, []byte("1"), v)
		require.NoError(t, err)
		var m hubproto.Message
		require.NoError(t, hubproto.MessagePack.Parse(record, &m))
		back, err := bindPacked(string(m.Value), reflect.TypeFor[json.RawMessage]())
		require.NoError(t, err)
		want, err := json.Marshal(v)
		require.NoError(t, err)
		assert.Equal(t, string(want), string(back.(json.RawMessage)), "%T", v)
	}
}
