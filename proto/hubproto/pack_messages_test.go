package hubproto_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/hubproto"
)

func TestMessagePackIsBinary(t *testing.T) {
	assert.Equal(t, "messagepack", hubproto.MessagePack.Name())
	assert.True(t, hubproto.MessagePack.Binary())
}

const packedHeaders = "\x83\xa3Foo\xa3Bar\xb2KeyWith\nNew\r\nLines\xabStill Works\xb1ValueWithNewLines\xb0Also\nWorks\r\nFine"

// packedAppendCases has the bytes that the reference encodes and decodes for each form of a message.
var packedAppendCases = []struct {
	name, message string
	want          view
}{
	{"call with an id", "\x96\x01\x80\xa3xyz\xa6method\x90\x90", view{Type: 1, ID: "xyz", Target: "method", Arguments: "\x90"}},
	{"call", "\x96\x01\x80\xc0\xa6method\x90\x90", view{Type: 1, Target: "method", Arguments: "\x90"}},
	{"call with a number", "\x96\x01\x80\xc0\xa6method\x91\x2a\x90", view{Type: 1, Target: "method", Arguments: "\x91\x2a"}},
	{"call with null", "\x96\x01\x80\xc0\xa6method\x91\xc0\x90", view{Type: 1, Target: "method", Arguments: "\x91\xc0"}},
	{"call with two arguments", "\x96\x01\x80\xc0\xa6method\x92\x2a\xa6string\x90", view{
		Type: 1, Target: "method", Arguments: "\x92\x2a\xa6string",
	}},
	{"call with a stream", "\x96\x01\x80\xc0\xa6Target\x90\x91\xab__test_id__", view{
		Type: 1, Target: "Target", Arguments: "\x90", StreamIDs: []string{"__test_id__"},
	}},
	{"call with streams and an argument", "\x96\x01\x80\xc0\xa6Target\x91\x2a\x92\xab__test_id__\xac__test_id2__",
		view{Type: 1, Target: "Target", Arguments: "\x91\x2a", StreamIDs: []string{"__test_id__", "__test_id2__"}}},
	{"call with headers", "\x96\x01" + packedHeaders + "\xc0\xa6method\x91\xc0\x90", view{
		Type: 1, Target: "method", Arguments: "\x91\xc0", Headers: packedHeaders,
	}},
	{"item", "\x94\x02\x80\xa3xyz\x2a", view{Type: 2, ID: "xyz", Value: "\x2a"}},
	{"item float", "\x94\x02\x80\xa3xyz\xca\x42\x28\x00\x00", view{Type: 2, ID: "xyz", Value: "\xca\x42\x28\x00\x00"}},
	{"item string", "\x94\x02\x80\xa3xyz\xa6string", view{Type: 2, ID: "xyz", Value: "\xa6string"}},
	{"item true", "\x94\x02\x80\xa3xyz\xc3", view{Type: 2, ID: "xyz", Value: "\xc3"}},
	{"item null", "\x94\x02\x80\xa3xyz\xc0", view{Type: 2, ID: "xyz", Value: "\xc0"}},
	{"item with headers", "\x94\x02" + packedHeaders + "\xa3xyz\x92\x01\x02", view{
		Type: 2, ID: "xyz", Value: "\x92\x01\x02", Headers: packedHeaders,
	}},
	{"completion with an error", "\x95\x03\x80\xa3xyz\x01\xb0Error not found!", view{
		Type: 3, ID: "xyz", Error: "Error not found!", HasError: true,
	}},
	{"completion with an error and headers", "\x95\x03" + packedHeaders + "\xa3xyz\x01\xb0Error not found!", view{
		Type: 3, ID: "xyz", Error: "Error not found!", HasError: true, Headers: packedHeaders,
	}},
	{"completion with an empty error", "\x95\x03\x80\xa3xyz\x01\xa0", view{Type: 3, ID: "xyz", HasError: true}},
	{"completion without a result", "\x94\x03\x80\xa3xyz\x02", view{Type: 3, ID: "xyz"}},
	{"completion without a result, with headers", "\x94\x03" + packedHeaders + "\xa3xyz\x02", view{Type: 3, ID: "xyz", Headers: packedHeaders}},
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
	for _, test := range packedAppendCases {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, append([]byte("before"), frame(test.message)...), hubproto.MessagePack.Append([]byte("before"), messageOf(test.want)))
		})
	}
}

func TestParsePacked(t *testing.T) {
	for _, test := range append(packedAppendCases, packedParseCases...) {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, parsePacked(t, test.message))
		})
	}
}

const argumentsOfEveryKind = "\x9d\xc0\xc2\xc3\x7f\xe0\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00\xa1x\xc4\x01\xff\x91\xc0\x81\x01\x90" +
	"\xd4\x05\x00\xd6\xff\x00\x00\x00\x01\xc7\x00\x07"

// packedParseCases has forms that are parsed, but never encoded.
var packedParseCases = append(packedAppendCases[:0:0], []struct {
	name, message string
	want          view
}{
	{"call without streams", "\x95\x01\x80\xc0\xa1T\x90", view{Type: 1, Target: "T", Arguments: "\x90"}},
	{"call with an empty id", "\x96\x01\x80\xa0\xa1T\x90\x90", view{Type: 1, Target: "T", Arguments: "\x90"}},
	{"call with extra items", "\x98\x01\x80\xa3xyz\xa6method\x90\x90\xc3\xa2ex", view{
		Type: 1, ID: "xyz", Target: "method", Arguments: "\x90",
	}},
	{"call with extra items of all kinds",
		"\x9a\x01\x80\xa3xyz\xa6method\x90\x90\xc0\x81\x01\x02\xd4\x05\x00\xcb\x00\x00\x00\x00\x00\x00\x00\x00",
		view{Type: 1, ID: "xyz", Target: "method", Arguments: "\x90"}},
	{"wide lengths", "\xdc\x00\x06\x01\xde\x00\x00\xd9\x01i\xda\x00\x01T\xdd\x00\x00\x00\x00\xdd\x00\x00\x00\x01\xdb\x00\x00\x00\x01s",
		view{Type: 1, ID: "i", Target: "T", Arguments: "\xdd\x00\x00\x00\x00", StreamIDs: []string{"s"}}},
	{"widest lengths", "\xdd\x00\x00\x00\x03\x05\xdf\x00\x00\x00\x00\xdb\x00\x00\x00\x01i", view{Type: 5, ID: "i"}},
	{"type of one byte", "\x91\xcc\x06", view{Type: 6}},
	{"type of two bytes", "\x91\xd1\x00\x06", view{Type: 6}},
	{"type of four bytes", "\x91\xce\x00\x00\x00\x06", view{Type: 6}},
	{"type of eight bytes", "\x91\xcf\x00\x00\x00\x00\x00\x00\x00\x06", view{Type: 6}},
	{"arguments of every kind", "\x95\x01\x80\xc0\xa1T" + argumentsOfEveryKind, view{Type: 1, Target: "T", Arguments: argumentsOfEveryKind}},
	{"item with extra items", "\x96\x02\x80\xa1i\x01\x02\x03", view{Type: 2, ID: "i", Value: "\x01"}},
	{"completion of kind 2 with a result", "\x95\x03\x80\xa1i\x02\x2a", view{Type: 3, ID: "i"}},
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
	{"unknown type with content that is invalid in other types", "\x93\x63\xc1\xdd", view{Type: 99}},
	{"highest type", "\x91\xce\x7f\xff\xff\xff", view{Type: math.MaxInt32}},
	{"lowest type", "\x91\xd2\x80\x00\x00\x00", view{Type: math.MinInt32}},
}...)

// invalidPacked has the error texts of the reference.
var invalidPacked = []struct{ name, message, text string }{
	{"nothing", "", "Reading array length for 'elementCount' failed."},
	{"nil", "\xc0", "Reading array length for 'elementCount' failed."},
	{"number", "\x06", "Reading array length for 'elementCount' failed."},
	{"string", "\xa1x", "Reading array length for 'elementCount' failed."},
	{"map", "\x81\x01\x06", "Reading array length for 'elementCount' failed."},
	{"bytes", "\xc4\x02\x91\x06", "Reading array length for 'elementCount' failed."},
	{"byte that is not MessagePack", "\xc1", "Reading array length for 'elementCount' failed."},
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
	{"call with streams missing", "\x96\x01\x80\xa3abc\xa3xyz\x90", "Reading array length for 'streamIds' failed."},
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
	{"close with the error missing", "\x92\x07", "Reading 'error' as String failed."},
	{"close with allowReconnect null", "\x93\x07\xc0\xc0", "Reading 'allowReconnect' as Boolean failed."},
	{"close with allowReconnect a number", "\x93\x07\xc0\x01", "Reading 'allowReconnect' as Boolean failed."},
	{"close with allowReconnect missing", "\x93\x07\xc0", "Reading 'allowReconnect' as Boolean failed."},
	{"ack without a number", "\x91\x08", "Reading 'sequenceId' as Int64 failed."},
	{"ack with null", "\x92\x08\xc0", "Reading 'sequenceId' as Int64 failed."},
	{"ack with a string", "\x92\x08\xa11", "Reading 'sequenceId' as Int64 failed."},
	{"ack with a float", "\x92\x08\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", "Reading 'sequenceId' as Int64 failed."},
	{"ack beyond int64", "\x92\x08\xcf\x80\x00\x00\x00\x00\x00\x00\x00", "Reading 'sequenceId' as Int64 failed."},
	{"sequence without a number", "\x91\x09", "Reading 'sequenceId' as Int64 failed."},
	{"sequence with null", "\x92\x09\xc0", "Reading 'sequenceId' as Int64 failed."},
}

func TestParsePackedErrors(t *testing.T) {
	for _, test := range invalidPacked {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.text, requirePackedError(t, test.message))
		})
	}
}

func TestParsePackedWithoutLength(t *testing.T) {
	for _, record := range []string{"", "\x80", "\xff\xff\xff\xff\x08"} {
		var m hubproto.Message
		var data *hubproto.DataError
		require.ErrorAs(t, hubproto.MessagePack.Parse([]byte(record), &m), &data, "%x", record)
	}
}

func TestParsePackedEmptyIDs(t *testing.T) {
	// An empty id is treated as null. What follows it is not looked at.
	for typ, message := range map[hubproto.Type]string{
		hubproto.StreamItem: "\x94\x02\x80%s\x2a", hubproto.Completion: "\x94\x03\x80%s\x02",
		hubproto.StreamInvocation: "\x96\x04\x80%s\xa1T\x90\x90", hubproto.CancelInvocation: "\x93\x05\x80%s",
	} {
		for _, none := range []string{"\xa0", "\xc0"} {
			text := fmt.Sprintf("Null or empty invocation ID for %s message.", typ)
			assert.Equal(t, text, requirePackedError(t, fmt.Sprintf(message, none)))
			start, _, _ := strings.Cut(message, "%s")
			assert.Equal(t, text, requirePackedError(t, start+none))
		}
	}
}

// packedElement is an element of the array of a message, and the kinds of values that it can have.
type packedElement struct{ name, valid, kinds string }

// packedShapes has the elements after the type that each message must have.
var packedShapes = map[hubproto.Type][]packedElement{
	1: {
		{"headers", "\x80", "map"}, {"invocationId", "\xa1i", "str nil"}, {"target", "\xa1T", "str"},
		{"arguments", "\x90", "array"}, {"streamIds", "\x90", "array"},
	},
	2: {{"headers", "\x80", "map"}, {"invocationId", "\xa1i", "str nil"}, {"item", "\x01", "all"}},
	3: {{"headers", "\x80", "map"}, {"invocationId", "\xa1i", "str nil"}, {"resultKind", "\x01", "int"}, {"error", "\xa1e", "str"}},
	4: {
		{"headers", "\x80", "map"}, {"invocationId", "\xa1i", "str nil"}, {"target", "\xa1T", "str"},
		{"arguments", "\x90", "array"}, {"streamIds", "\x90", "array"},
	},
	5: {{"headers", "\x80", "map"}, {"invocationId", "\xa1i", "str nil"}},
	7: {{"error", "\xa1e", "str nil"}, {"allowReconnect", "\xc3", "bool"}},
	8: {{"sequenceId", "\x01", "int"}},
	9: {{"sequenceId", "\x01", "int"}},
}

// packedValues has a value of each kind.
var packedValues = map[string]string{
	"nil": "\xc0", "bool": "\xc2", "int": "\x03", "float": "\xca\x3f\x80\x00\x00", "str": "\xa1x", "bin": "\xc4\x01x",
	"array": "\x90", "map": "\x80", "ext": "\xd4\x05\x00",
	"timestamp": "\xd6\xff\x00\x00\x00\x01", "unused byte": "\xc1", "half a string": "\xa5x",
	"long string": "\xdb\xff\xff\xff\xffx", "long bytes": "\xc6\xff\xff\xff\xffx",
	"long array": "\xdd\xff\xff\xff\xff\x01", "long map": "\xdf\xff\xff\xff\xff\xa1a\xa1b",
	"map that overflows": "\xdf\x80\x00\x00\x00\xa1a\xa1b", "long ext": "\xc9\xff\xff\xff\xff\x01x",
	"negative int":            "\xd3\xff\xff\xff\xff\x00\x00\x00\x00",
	"array of an unused byte": "\x91\xc1", "map of an unused byte": "\x81\xa1a\xc1", "half an array": "\x92\x01",
	"half a map": "\x82\xa1a\xa1b", "map without its value": "\x81\xa1a",
}

func TestPackedElementsOfWrongType(t *testing.T) {
	for typ, shape := range packedShapes {
		for at, item := range shape {
			for kind, value := range packedValues {
				broken := strings.ContainsAny(kind, " ") && kind != "negative int"
				if item.kinds == "all" && !broken || strings.Contains(" "+item.kinds+" ", " "+kind+" ") ||
					item.name == "sequenceId" && kind == "negative int" || item.name == "resultKind" && kind == "int" {
					continue
				}
				message := string([]byte{0x91 + byte(len(shape)), byte(typ)})
				for i, other := range shape {
					if i == at {
						message += value
						if broken {
							break // the following bytes would be part of the element
						}
						continue
					}
					message += other.valid
				}
				assert.Contains(t, requirePackedError(t, message), "'"+item.name, "%s as the %s of a %s", kind, item.name, typ)
			}
		}
	}
}

func TestPackedElementsMissing(t *testing.T) {
	optional := map[string]bool{"streamIds": true, "allowReconnect": true}
	for typ, shape := range packedShapes {
		for n, missing := range shape {
			if optional[missing.name] {
				continue
			}
			items := ""
			for _, item := range shape[:n] {
				items += item.valid
			}
			counted := string([]byte{0x91 + byte(n), byte(typ)}) + items
			promised := string([]byte{0x91 + byte(len(shape)), byte(typ)}) + items
			if typ != hubproto.Close || n > 0 { // a Close without elements may be one without an error
				assert.Contains(t, requirePackedError(t, counted), "'"+missing.name+"'", "%s", typ)
			}
			assert.Contains(t, requirePackedError(t, promised), "'"+missing.name+"'", "%s", typ)
			// Bytes after the end of the array are not used instead.
			if typ != hubproto.Close || n > 0 {
				requirePackedError(t, counted+missing.valid+"\x90\x90")
			}
		}
	}
}

func TestParsePackedTruncated(t *testing.T) {
	// Truncated messages are invalid.
	for _, test := range packedAppendCases {
		for end := range len(test.message) {
			requirePackedError(t, test.message[:end])
		}
	}
}

func TestPackedRestOfTheRecordIsIgnored(t *testing.T) {
	for _, test := range packedAppendCases {
		assert.Equal(t, test.want, parsePacked(t, test.message+"\xc1\xdd\xff\xff\xff\xff"), test.name)
	}
}

func TestParsePackedResetsMessage(t *testing.T) {
	var m hubproto.Message
	for range 2 {
		for _, test := range append(packedAppendCases, packedParseCases...) {
			require.NoError(t, hubproto.MessagePack.Parse(frame(test.message), &m))
			require.Equal(t, test.want, viewOf(&m), test.name)
		}
	}
}

func TestPackedMessageSharesRecord(t *testing.T) {
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
