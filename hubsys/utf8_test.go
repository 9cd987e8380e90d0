package hubsys_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// invalidTexts are no UTF-8.
var invalidTexts = map[string]string{
	"a stray byte": "\xff", "a continuation alone": "\x80", "half a character": "\xe2\x82", "an overlong form": "\xc0\xaf", "a surrogate": "\xed\xa0\x80",
	"beyond Unicode": "\xf4\x90\x80\x80",
}

// placesOfText are messages with a text at each place where a client can put one.
var placesOfText = map[string]string{
	"an argument":            `{"type":1,"invocationId":"1","target":"Do","arguments":["take",["%"]]}`,
	"a name in an argument":  `{"type":1,"invocationId":"1","target":"Do","arguments":["take",[{"%":1}]]}`,
	"a target":               `{"type":1,"invocationId":"1","target":"%","arguments":[]}`,
	"an invocation ID":       `{"type":1,"invocationId":"%","target":"Do","arguments":["take",[]]}`,
	"a stream ID":            `{"type":1,"invocationId":"1","target":"Do","arguments":["take",[]],"streamIds":["%"]}`,
	"a header":               `{"type":1,"invocationId":"1","target":"Do","arguments":["take",[]],"headers":{"a":"%"}}`,
	"a name of a header":     `{"type":1,"invocationId":"1","target":"Do","arguments":["take",[]],"headers":{"%":"a"}}`,
	"an error":               `{"type":7,"error":"%"}`,
	"a name in the envelope": `{"type":1,"invocationId":"1","target":"Do","arguments":["take",[]],"%":1}`,
}

// newTextServer returns a server whose action "take" must not get invalid text.
func newTextServer(t *testing.T) *testServer {
	srv := newTestServer(t, testConfig{})
	srv.handle("take", func(_ context.Context, _ *testHub, args []json.RawMessage) (any, error) {
		for _, arg := range args {
			if !utf8.Valid(arg) {
				t.Errorf("the hub got %q", arg)
			}
		}
		return "taken", nil
	})
	return srv
}

// waysToSend are the ways on which a client can send JSON.
var waysToSend = []string{"text frame", "binary frame", "POST of an event stream", "POST of polling"}

// lastCall is behind what a test sends, and lastAnswer is its answer.
const lastAnswer = `{"type":3,"invocationId":"last","result":"last"}`

var lastCall = invocation("last", "Echo", "last") + separator

// sendAndReceive opens a connection, sends records and lastCall, and returns what is received: up to lastAnswer, or until the connection ends.
func sendAndReceive(t *testing.T, srv *testServer, way, records string) (received string) {
	t.Helper()
	records += lastCall
	switch way {
	case "text frame", "binary frame":
		kind := websocket.MessageText
		if way == "binary frame" {
			kind = websocket.MessageBinary
		}
		c := dialHandshake(t, srv.url, dialOptions{})
		require.NoError(t, c.ws.Write(t.Context(), kind, []byte(records)))
		for !strings.Contains(received, lastAnswer) {
			text, err := c.read()
			if received += text; err != nil {
				return received + err.Error()
			}
		}
		c.close()
	case "POST of polling":
		query := startPolling(t, srv.url, "json")
		status, _ := doRequest(t, http.MethodPost, srv.url+query, records, nil)
		require.Contains(t, []int{http.StatusOK, http.StatusNotFound}, status)
		for status = http.StatusOK; status == http.StatusOK && !strings.Contains(received, lastAnswer); {
			var body string
			status, body = doRequest(t, http.MethodGet, srv.url+query, "", nil)
			received += body
		}
		_, _ = doRequest(t, http.MethodDelete, srv.url+query, "", nil)
	default:
		query := negotiateQuery(t, srv.url)
		p := dialTCP(t, srv.url)
		p.mustWrite(p.request(http.MethodGet, query, events))
		stream := p.response().Body
		require.NoError(t, p.conn.SetReadDeadline(time.Now().Add(testTimeout)))
		status, _ := doRequest(t, http.MethodPost, srv.url+query, handshakeJSON+separator+records, nil)
		require.Contains(t, []int{http.StatusOK, http.StatusNotFound}, status)
		buffer := make([]byte, 4096)
		for !strings.Contains(received, lastAnswer) {
			n, err := stream.Read(buffer)
			if received += string(buffer[:n]); err != nil {
				require.ErrorIs(t, err, io.EOF)
				return received
			}
		}
		require.NoError(t, p.conn.Close())
	}
	return received
}

// Text that is no UTF-8 is refused at every place of a message and on every way on which it can come: the connection is closed, and neither the hub
// nor another client gets it.
func TestTextThatIsNoUTF8IsRefused(t *testing.T) {
	srv := newTextServer(t)
	bystander := dial(t, srv.url)
	for name, bad := range invalidTexts {
		for place, message := range placesOfText {
			for _, way := range waysToSend {
				t.Run(name+" in "+place+" by "+way, func(t *testing.T) {
					received := sendAndReceive(t, srv, way, strings.ReplaceAll(message, "%", "x"+bad+"y")+separator)
					require.True(t, utf8.ValidString(received), "%q", received)
					require.NotContains(t, received, "taken")
					require.NotContains(t, received, lastAnswer, "the connection is closed")
					if way == "text frame" {
						require.Contains(t, received, "StatusInvalidFramePayloadData")
					} else {
						require.Contains(t, received, `{"type":7,"error":"Connection closed with an error.","allowReconnect":true}`)
					}
				})
			}
		}
	}
	bystander.requireNoMessages()
}

// Half of an escaped surrogate pair, which is JSON but no text, does not reach the hub: what would be replaced could make two texts equal.
func TestHalfSurrogatePairsAreRefused(t *testing.T) {
	srv := newTextServer(t)
	for name, bad := range map[string]string{"first half": `\ud800`, "second half": `\udc00`, "two first halves": `\ud800\ud800`, "before another escape": `\ud800\n`} {
		for place, message := range placesOfText {
			t.Run(name+" in "+place, func(t *testing.T) {
				received := sendAndReceive(t, srv, "text frame", strings.ReplaceAll(message, "%", "x"+bad+"y")+separator)
				require.True(t, utf8.ValidString(received), "%q", received)
				require.NotContains(t, received, "taken")
				require.Contains(t, received, `"error":`)
			})
		}
	}
}

// Text in MessagePack that is no UTF-8 is replaced, as it is for clients that speak JSON, before the hub and other clients get it.
func TestInvalidTextInMessagePackIsReplaced(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	url := serve(t, sys, register[*textHub](t, sys, nil, hubsys.HubOptions{}))
	for name, bad := range invalidTexts {
		t.Run(name, func(t *testing.T) {
			sender, packed, c := dialPacked(t, url), dialPacked(t, url), dial(t, url)
			want := "x" + string([]rune(bad)) + "y"
			for method, args := range map[string][]any{
				"Text": {"x" + bad + "y"}, "Any": {"x" + bad + "y"}, "List": {[]string{"x" + bad + "y"}}, "Map": {map[string]string{"x" + bad + "y": ""}}, "Named": {"x" + bad + "y"},
			} {
				require.Equal(t, want, sender.invoke(method, args...), method)
				_, b, err := packed.ws.Read(t.Context())
				require.NoError(t, err)
				var m hubproto.Message
				require.NoError(t, hubproto.MessagePack.Parse(b, &m))
				var text string
				require.NoError(t, hubproto.MessagePack.BindArguments(m.Arguments, []reflect.Value{reflect.ValueOf(&text).Elem()}))
				require.Contains(t, string(m.Arguments), want, "as it is on the wire")
				c.requireInvocation("said", want)
			}
		})
	}
}

// textHub sends all clients the texts that it gets, and returns them.
type textHub struct{ hubsys.Hub }

type namedText string

func (h *textHub) Text(ctx context.Context, text string) (string, error) {
	return text, h.Clients().All().Send(ctx, "said", text)
}
func (h *textHub) Any(ctx context.Context, text any) (string, error) {
	return h.Text(ctx, text.(string))
}
func (h *textHub) Named(ctx context.Context, text namedText) (string, error) {
	return h.Text(ctx, string(text))
}
func (h *textHub) List(ctx context.Context, texts []string) (string, error) {
	return h.Text(ctx, texts[0])
}
func (h *textHub) Map(ctx context.Context, texts map[string]string) (string, error) {
	for text := range texts {
		return h.Text(ctx, text)
	}
	return "", nil
}
