package hubsys_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// loggedHub is a hub whose methods fail.
type loggedHub struct{ hubsys.Hub }

func (*loggedHub) Boom(string)    { panic("boom") }
func (*loggedHub) Bang()          { panic("bang") }
func (*loggedHub) When(time.Time) {}
func (h *loggedHub) Ask(ctx context.Context) (int, error) {
	return hubsys.Invoke[int](ctx, h.Clients().Caller(), "ask")
}

const maxLoggedBytes = 256 // of a text from a client

// newLoggedServer serves a loggedHub, and records the log.
func newLoggedServer(t *testing.T) (sys *hubsys.System, url string, log *logRecorder) {
	log = &logRecorder{}
	sys = newSystem(t, hubsys.Config{Logger: log.logger()})
	return sys, serve(t, sys, register(t, sys, func(context.Context) (*loggedHub, error) { return &loggedHub{}, nil }, hubsys.HubOptions{})), log
}

// longestRun returns the length in bytes of the longest part of a text that consists of certain characters only.
func longestRun(text, characters string) (n int) {
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return !strings.ContainsRune(characters, r) }) {
		n = max(n, len(part))
	}
	return n
}

// Texts that come from clients are truncated in the log.
func TestTextsOfClientsAreTruncatedInTheLog(t *testing.T) {
	t.Parallel()
	for character, name := range map[string]string{"x": "ASCII", "é": "two bytes", "€": "three bytes"} {
		long := strings.Repeat(character, 9999)
		message := func(v map[string]any) string {
			b, err := json.Marshal(v)
			require.NoError(t, err)
			return string(b)
		}
		for what, say := range map[string]func(c *testClient){
			"an unknown method":   func(c *testClient) { c.invokeError(long) },
			"an invalid argument": func(c *testClient) { c.invokeError("When", long) },
			"an error in a Close": func(c *testClient) {
				c.send(message(map[string]any{"type": 7, "error": long}))
				requireDisconnected(t, c)
			},
			"an error in a completion": func(c *testClient) {
				id := c.call("Ask")
				r := c.next()
				c.send(message(map[string]any{"type": 3, "invocationId": r.InvocationID, "error": long}))
				c.awaitCompletion(id)
			},
			"a result of another type": func(c *testClient) {
				id := c.call("Ask")
				r := c.next()
				c.send(message(map[string]any{"type": 3, "invocationId": r.InvocationID, "result": long}))
				c.awaitCompletion(id)
			},
			"a completion of an unknown invocation": func(c *testClient) {
				c.send(message(map[string]any{"type": 3, "invocationId": long[:3000], "result": 1}))
				c.invokeError("none")
			},
			"an invalid message": func(c *testClient) {
				c.send(`{"type":"` + long + `"}`)
				requireDisconnected(t, c)
			},
		} {
			t.Run(what+" in "+name, func(t *testing.T) {
				t.Parallel()
				sys, url, log := newLoggedServer(t)
				c := dialHandshake(t, url, dialOptions{})
				say(c)
				_ = c.ws.CloseNow()
				require.NoError(t, shutdown(sys))
				text := log.String()
				require.NotEmpty(t, text)
				require.LessOrEqual(t, longestRun(text, character), maxLoggedBytes, "bytes of it in a row")
				require.LessOrEqual(t, strings.Count(text, character)*len(character), 8*maxLoggedBytes, "bytes of it in all")
				require.True(t, utf8.ValidString(text), "no character is cut")
				require.NotContains(t, text, "\ufffd")
			})
		}
		t.Run("a handshake in "+name, func(t *testing.T) {
			sys, url, log := newLoggedServer(t)
			c := dialSocket(t, url, dialOptions{})
			c.send(`{"protocol":"` + long + `","version":1}`)
			requireDisconnected(t, c)
			require.NoError(t, shutdown(sys))
			require.LessOrEqual(t, longestRun(log.String(), character), maxLoggedBytes, "bytes of it in a row")
		})
	}
}

// Texts of up to maxLoggedBytes are logged as they are.
func TestShortTextsOfClientsAreLogged(t *testing.T) {
	sys, url, log := newLoggedServer(t)
	text := strings.Repeat("m", maxLoggedBytes)
	c := dialHandshake(t, url, dialOptions{})
	c.invokeError(text)
	_ = c.ws.CloseNow()
	require.NoError(t, shutdown(sys))
	require.Equal(t, maxLoggedBytes, longestRun(log.String(), "m"))
}

// A method that panics again and again logs its stack only once.
func TestAMethodThatAlwaysPanicsLogsOneStack(t *testing.T) {
	const calls = 1000
	sys, url, log := newLoggedServer(t)
	for range 4 { // from several clients
		c := dialHandshake(t, url, dialOptions{})
		var sent []string
		for range calls / 4 {
			sent = append(sent, invocation("", "Boom", "x"))
		}
		c.send(append(sent, invocation("last", "Boom", "x"))...)
		c.awaitCompletion("last")
		_ = c.ws.CloseNow()
	}
	boom := log.String()
	require.Equal(t, 1, strings.Count(boom, "stack="), "stacks")
	require.Equal(t, 1, strings.Count(boom, ".Boom("), "stacks that name the method")
	require.Less(t, len(boom), 64<<10, "bytes of log")

	c := dialHandshake(t, url, dialOptions{})
	c.invokeError("Bang")
	_ = c.ws.CloseNow()
	require.Equal(t, 2, strings.Count(log.String(), "stack="), "another method has one of its own")
	require.Contains(t, log.String(), ".Bang(")
	require.NoError(t, shutdown(sys))
}
