package hubproto_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// validHandshakes are also seeds of the fuzz test.
var validHandshakes = []struct {
	name   string
	record string
	want   hubproto.HandshakeRequest
}{
	{"version 0", `{"protocol":"json","version":0}`, hubproto.HandshakeRequest{Protocol: "json"}},
	{"version 1", `{"protocol":"json","version":1}`, hubproto.HandshakeRequest{Protocol: "json", Version: 1}},
	{"version 2", `{"protocol":"json","version":2}`, hubproto.HandshakeRequest{Protocol: "json", Version: 2}},
	{"version -1", `{"protocol":"json","version":-1}`, hubproto.HandshakeRequest{Protocol: "json", Version: -1}},
	{"version -0", `{"protocol":"json","version":-0}`, hubproto.HandshakeRequest{Protocol: "json"}},
	{"version 9001", `{"protocol":"json","version":9001}`, hubproto.HandshakeRequest{Protocol: "json", Version: 9001}},
	{"highest version", `{"protocol":"json","version":2147483647}`, hubproto.HandshakeRequest{Protocol: "json", Version: 2147483647}},
	{"lowest version", `{"protocol":"json","version":-2147483648}`, hubproto.HandshakeRequest{Protocol: "json", Version: -2147483648}},
	{"version first", `{"version":1,"protocol":"json"}`, hubproto.HandshakeRequest{Protocol: "json", Version: 1}},
	{"extra properties", `{"a":{"protocol":"x","version":[9]},"protocol":"json","b":null,"version":1,"type":1}`,
		hubproto.HandshakeRequest{Protocol: "json", Version: 1}},
	{"minorVersion", `{"protocol":"json","version":1,"minorVersion":1}`, hubproto.HandshakeRequest{Protocol: "json", Version: 1}},
	{"protocol in capitals", `{"protocol":"JSON","version":1}`, hubproto.HandshakeRequest{Protocol: "JSON", Version: 1}},
	{"protocol with spaces", `{"protocol":" json ","version":1}`, hubproto.HandshakeRequest{Protocol: " json ", Version: 1}},
	{"protocol empty", `{"protocol":"","version":1}`, hubproto.HandshakeRequest{Version: 1}},
	{"protocol to escape", "{\"protocol\":\"<b>\\\"é\\u2028😀'&\",\"version\":1}",
		hubproto.HandshakeRequest{Protocol: "<b>\"é\u2028😀'&", Version: 1}},
	{"NUL escaped", `{"protocol":"js\u0000on","version":1}`, hubproto.HandshakeRequest{Protocol: "js\x00on", Version: 1}},
	{"white space", " \r\n\t{ \"protocol\" : \"json\" , \"version\" : 1 } \n", hubproto.HandshakeRequest{Protocol: "json", Version: 1}},
	{"escaped names", `{"\u0070rotocol":"\u006ason","version":1}`, hubproto.HandshakeRequest{Protocol: "json", Version: 1}},
	{"protocol twice", `{"protocol":"x","protocol":"json","version":1}`, hubproto.HandshakeRequest{Protocol: "json", Version: 1}},
	{"version twice", `{"protocol":"json","version":9001,"version":1}`, hubproto.HandshakeRequest{Protocol: "json", Version: 1}},
	{"version null, then a number", `{"protocol":"json","version":null,"version":1}`, hubproto.HandshakeRequest{Protocol: "json", Version: 1}},
	{"two objects", `{"protocol":"json","version":1}{}`, hubproto.HandshakeRequest{Protocol: "json", Version: 1}},
	{"trailing garbage", `{"protocol":"json","version":1}} x`, hubproto.HandshakeRequest{Protocol: "json", Version: 1}},
}

// invalidHandshakes have the error texts of the reference, except for errors of its JSON reader.
var invalidHandshakes = []struct{ name, record, text string }{
	{"nothing", "", errorReading},
	{"white space", " \n", errorReading},
	{"no object", "1", "Unexpected JSON Token Type 'Number'. Expected a JSON Object."},
	{"negative number", "-1", "Unexpected JSON Token Type 'Number'. Expected a JSON Object."},
	{"array", "[]", "Unexpected JSON Token Type 'Array'. Expected a JSON Object."},
	{"null", "null", "Unexpected JSON Token Type 'Null'. Expected a JSON Object."},
	{"true", "true", "Unexpected JSON Token Type 'True'. Expected a JSON Object."},
	{"false", "false", "Unexpected JSON Token Type 'False'. Expected a JSON Object."},
	{"string", `"json"`, "Unexpected JSON Token Type 'String'. Expected a JSON Object."},
	{"not JSON", "hello", errorReading},
	{"half an object", `{"protocol":"json"`, errorReading},
	{"empty object", "{}", "Missing required property 'protocol'. Message content: {}"},
	{"version missing", `{"protocol":"json"}`, `Missing required property 'version'. Message content: {"protocol":"json"}`},
	{"protocol missing", `{"version":1}`, `Missing required property 'protocol'. Message content: {"version":1}`},
	{"protocol null", `{"protocol":null,"version":1}`, "Expected 'protocol' to be of type String."},
	{"protocol number", `{"protocol":1,"version":1}`, "Expected 'protocol' to be of type String."},
	{"protocol object", `{"protocol":{},"version":1}`, "Expected 'protocol' to be of type String."},
	{"version null", `{"protocol":"json","version":null}`,
		`Missing required property 'version'. Message content: {"protocol":"json","version":null}`},
	{"version a number, then null", `{"protocol":"json","version":1,"version":null}`,
		`Missing required property 'version'. Message content: {"protocol":"json","version":1,"version":null}`},
	{"version string", `{"protocol":"json","version":"1"}`, "Expected 'version' to be of type Number."},
	{"version true", `{"protocol":"json","version":true}`, "Expected 'version' to be of type Number."},
	{"version float", `{"protocol":"json","version":1.5}`,
		"Either the JSON value is not in a supported format, or is out of bounds for an Int32."},
	{"version 1.0", `{"protocol":"json","version":1.0}`,
		"Either the JSON value is not in a supported format, or is out of bounds for an Int32."},
	{"version 1e0", `{"protocol":"json","version":1e0}`,
		"Either the JSON value is not in a supported format, or is out of bounds for an Int32."},
	{"version beyond int32", `{"protocol":"json","version":2147483648}`,
		"Either the JSON value is not in a supported format, or is out of bounds for an Int32."},
	{"version below int32", `{"protocol":"json","version":-2147483649}`,
		"Either the JSON value is not in a supported format, or is out of bounds for an Int32."},
	{"version of a hundred digits", `{"protocol":"json","version":` + strings.Repeat("9", 100) + `}`,
		"Either the JSON value is not in a supported format, or is out of bounds for an Int32."},
	{"other case", `{"Protocol":"json","Version":1}`,
		`Missing required property 'protocol'. Message content: {"Protocol":"json","Version":1}`},
	{"hub message", `{"type":6}`, `Missing required property 'protocol'. Message content: {"type":6}`},
	{"trailing comma", `{"protocol":"json","version":1,}`, errorReading},
	{"comment", `/*x*/{"protocol":"json","version":1}`, errorReading},
	{"single quotes", `{'protocol':'json','version':1}`, errorReading},
	{"byte order mark", "\ufeff" + `{"protocol":"json","version":1}`, errorReading},
	{"raw NUL", "{\"protocol\":\"js\x00on\",\"version\":1}", errorReading},
	{"raw newline in a string", "{\"protocol\":\"js\non\",\"version\":1}", errorReading},
	{"lone surrogate", `{"protocol":"\ud800","version":1}`, errorReading},
	{"lone surrogate in a name", `{"protocol":"json","version":1,"\ud800":1}`, errorReading},
	{"invalid UTF-8", "{\"protocol\":\"\xff\",\"version\":1}", errorReading},
	{"too deep", `{"protocol":"json","version":1,"x":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`, errorReading},
	// An error after a valid property is reported.
	{"bad end", `{"protocol":"json","version":1`, errorReading},
}

func TestParseHandshake(t *testing.T) {
	for _, test := range validHandshakes {
		t.Run(test.name, func(t *testing.T) {
			for _, end := range []string{"", "\x1e"} {
				h, err := hubproto.ParseHandshake([]byte(test.record + end))
				require.NoError(t, err)
				assert.Equal(t, test.want, h)
			}
		})
	}
}

func TestParseHandshakeErrors(t *testing.T) {
	for _, test := range invalidHandshakes {
		t.Run(test.name, func(t *testing.T) {
			for _, end := range []string{"", "\x1e"} { // the error text does not include the separator
				_, err := hubproto.ParseHandshake([]byte(test.record + end))
				requireDataError(t, err, test.text)
			}
		})
	}
}

func TestHandshakeFollowedByMessages(t *testing.T) {
	// The bytes after the separator belong to the hub protocol.
	buf := []byte("{\"protocol\":\"json\",\"version\":1}\x1e{\"type\":6}\x1e")
	n, err := hubproto.NextHandshake(buf, 0, 0)
	require.NoError(t, err)
	h, err := hubproto.ParseHandshake(buf[:n])
	require.NoError(t, err)
	assert.Equal(t, hubproto.HandshakeRequest{Protocol: "json", Version: 1}, h)
	assert.Equal(t, "{\"type\":6}\x1e", string(buf[n:]))
}

func TestHandshakeDoesNotShareRecord(t *testing.T) {
	record := []byte(`{"protocol":"json","version":1}`)
	h, err := hubproto.ParseHandshake(record)
	require.NoError(t, err)
	clear(record)
	assert.Equal(t, "json", h.Protocol)
}

func TestAppendHandshakeRequest(t *testing.T) {
	for want, h := range map[string]hubproto.HandshakeRequest{
		`{"protocol":"json","version":1}`:        {Protocol: "json", Version: 1},
		`{"protocol":"messagepack","version":2}`: {Protocol: "messagepack", Version: 2},
		`{"protocol":"","version":-1}`:           {Version: -1},
		`{"protocol":"\"\\\u001e","version":0}`:  {Protocol: "\"\\\x1e"},
	} {
		assert.Equal(t, "before"+want+"\x1e", string(hubproto.AppendHandshakeRequest([]byte("before"), h)))
	}
}

func TestAppendHandshakeResponse(t *testing.T) {
	assert.Equal(t, "before{}\x1e", string(hubproto.AppendHandshakeResponse([]byte("before"), "")))
	for text, want := range map[string]string{
		"Handshake was canceled.":                 `{"error":"Handshake was canceled."}`,
		"The protocol 'x' is not supported.":      `{"error":"The protocol 'x' is not supported."}`,
		"The protocol '\"\\' is not supported.":   `{"error":"The protocol '\"\\' is not supported."}`,
		"The protocol '\x1e' is not supported.":   `{"error":"The protocol '\u001e' is not supported."}`,
		"The protocol '<é😀>' is not supported.":   `{"error":"The protocol '<é😀>' is not supported."}`,
		"The protocol '\x00\n' is not supported.": `{"error":"The protocol '\u0000\n' is not supported."}`,
	} {
		assert.Equal(t, "before"+want+"\x1e", string(hubproto.AppendHandshakeResponse([]byte("before"), text)))
	}
}
