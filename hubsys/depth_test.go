package hubsys_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// deepMessages are messages with a value that is nested as deep as wanted, and how deep it may be: the message itself counts, and the list of
// arguments.
var deepMessages = map[string]struct {
	message string
	deepest int
}{
	"an argument":         {`{"type":1,"invocationId":"1","target":"Echo","arguments":[%s]}`, hubproto.MaxDepth - 2},
	"an unknown property": {`{"type":1,"invocationId":"1","target":"Echo","arguments":["x"],"x":%s}`, hubproto.MaxDepth - 1},
	"an item":             {`{"type":2,"invocationId":"none","item":%s}`, hubproto.MaxDepth - 1},
	"a result":            {`{"type":3,"invocationId":"none","result":%s}`, hubproto.MaxDepth - 1},
}

// Messages that are nested too deep close their connection before anything is decoded, whatever their size, on every way on which they can come.
func TestDeepMessagesAreRefused(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	bystander := dial(t, srv.url)
	const most = 15_000 // as many as fit into a message
	shapes := map[string]func(n int) string{
		"arrays":  func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) },
		"objects": func(n int) string { return strings.Repeat(`{"":`, n-1) + "{}" + strings.Repeat("}", n-1) },
		"open":    func(n int) string { return strings.Repeat("[", n) },
	}
	for name, message := range deepMessages {
		for shape, nest := range shapes {
			for _, way := range waysToSend {
				t.Run(fmt.Sprintf("%s of %s by %s", name, shape, way), func(t *testing.T) {
					depths := []int{message.deepest + 1, most}
					if shape == "objects" {
						depths[1] = most / 3
					}
					for _, depth := range depths {
						received := sendAndReceive(t, srv, way, fmt.Sprintf(message.message, nest(depth))+separator)
						require.Contains(t, received, `{"type":7,"error":"Connection closed with an error.","allowReconnect":true}`)
						require.NotContains(t, received, lastAnswer)
					}
					if shape != "open" {
						require.Contains(t, sendAndReceive(t, srv, way, fmt.Sprintf(message.message, nest(message.deepest))+separator), lastAnswer)
					}
				})
			}
		}
	}
	bystander.requireNoMessages()
}

func TestDeepMessagesInMessagePackAreRefused(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	bystander := dial(t, srv.url)
	for name, message := range map[string]struct {
		before  string
		deepest int
	}{
		"an argument": {"\x96\x01\x80\xa11\xa4Echo\x91", hubproto.MaxDepth - 2},
		"an item":     {"\x94\x02\x80\xa4none", hubproto.MaxDepth - 1},
		"a result":    {"\x95\x03\x80\xa4none\x03", hubproto.MaxDepth - 1},
	} {
		for shape, nest := range map[string]func(n int) string{
			"arrays": func(n int) string { return strings.Repeat("\x91", n-1) + "\x90" },
			"maps":   func(n int) string { return strings.Repeat("\x81\xa0", n-1) + "\x80" },
		} {
			t.Run(name+" of "+shape, func(t *testing.T) {
				end := ""
				if name == "an argument" {
					end = "\x90" // no streams
				}
				c := dialPacked(t, srv.url)
				c.write([]byte(msgpackRecord(message.before + nest(message.deepest) + end)))
				if name == "an argument" {
					require.False(t, c.answer("1").HasError, "the deepest value is encoded again")
				}
				require.Equal(t, "still here", c.invoke("Echo", "still here"))
				for _, depth := range []int{message.deepest + 1, 16_000} {
					c = dialPacked(t, srv.url)
					c.write([]byte(msgpackRecord(message.before + nest(depth) + end)))
					_, b, err := c.ws.Read(t.Context())
					require.NoError(t, err)
					require.Contains(t, string(b), "Connection closed with an error.")
					_, _, err = c.ws.Read(t.Context())
					require.Error(t, err)
				}
			})
		}
	}
	bystander.requireNoMessages()
}

// A handshake is no deeper than other messages.
func TestDeepHandshakesAreRefused(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	for _, depth := range []int{hubproto.MaxDepth, 15_000} {
		c := dialSocket(t, srv.url, dialOptions{})
		c.send(`{"protocol":"json","version":1,"x":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + `}`)
		require.Equal(t, `{"error":"An unexpected error occurred during connection handshake."}`, c.next().raw)
		require.EqualValues(t, 1000, c.requireClosed())
	}
}
