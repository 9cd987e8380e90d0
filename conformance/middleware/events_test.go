// Package middleware tests hubs under middleware and muxes of other modules. It is a module of its own, so that Troupe does not depend on
// those modules.
package middleware

import (
	"bufio"
	"cmp"
	"compress/flate"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/gorilla/handlers"
	"github.com/klauspost/compress/gzhttp"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// testTimeout limits every wait. It is long enough for a busy machine.
const testTimeout = time.Minute

type Chat struct{ hubsys.Hub }

func (c *Chat) Echo(text string) string { return text }

func newChat(context.Context) (*Chat, error) { return &Chat{}, nil }

// newSystem returns a System with a hub at each of these paths.
func newSystem(paths ...string) (*hubsys.System, error) {
	sys, err := hubsys.New(hubsys.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	chat, err := hubsys.Register(sys, newChat, hubsys.HubOptions{})
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		if err := chat.Map(path, hubsys.EndpointOptions{}); err != nil {
			return nil, err
		}
	}
	return sys, nil
}

// compressing lists middleware that compresses, what a client accepts, and the encoding of an event stream if the middleware chooses it
// by the request alone. If it is empty, the middleware also looks at the response, and both choices are correct as long as
// Content-Encoding is.
var compressing = []struct {
	name    string
	wrap    func(http.Handler) http.Handler
	accepts string
	encoded string
}{
	{"gorilla", handlers.CompressHandler, "gzip", "gzip"},
	{"gorilla, deflate", handlers.CompressHandler, "deflate", "deflate"},
	{"gorilla, nothing accepted", handlers.CompressHandler, "br", "identity"},
	{"gzhttp", wrapGzhttp, "gzip", ""},
	{"gzhttp, as browsers ask for it", wrapGzhttp, "gzip, deflate, br, zstd", ""},
	{"gzhttp, nothing accepted", wrapGzhttp, "br", "identity"},
	{"chi", middleware.Compress(5, "text/event-stream", "application/json", "text/plain"), "gzip", ""},
	{"chi, deflate", middleware.Compress(5, "text/*", "application/*"), "deflate", ""},
	{"chi, not for event streams", middleware.Compress(5), "gzip", "identity"},
	{"gorilla under chi", func(next http.Handler) http.Handler {
		return middleware.Compress(5, "text/event-stream")(handlers.CompressHandler(next))
	}, "gzip", "gzip"},
}

func wrapGzhttp(next http.Handler) http.Handler { return gzhttp.GzipHandler(next) }

// underEach runs a test under each compressing middleware.
func underEach(t *testing.T, test func(t *testing.T, c *client, encoded string)) {
	for _, m := range compressing {
		t.Run(m.name, func(t *testing.T) {
			sys, err := newSystem("/chat")
			require.NoError(t, err)
			server := httptest.NewServer(m.wrap(sys))
			ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
			t.Cleanup(func() {
				cancel()
				end, cancel := context.WithTimeout(context.Background(), testTimeout)
				defer cancel()
				_ = sys.Shutdown(end)
				server.Close()
			})
			test(t, &client{t, ctx, server.URL + "/chat", m.accepts}, m.encoded)
		})
	}
}

// client decodes responses by their Content-Encoding, as browsers do.
type client struct {
	t       *testing.T
	ctx     context.Context
	url     string
	accepts string
}

func (c *client) do(method, query, body string, header ...string) *http.Response {
	r, err := http.NewRequestWithContext(c.ctx, method, c.url+query, strings.NewReader(body))
	require.NoError(c.t, err)
	r.Header.Set("Accept-Encoding", c.accepts) // net/http then leaves the body as it is
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = answer.Body.Close() })
	return answer
}

// encodingOf returns the Content-Encoding of a response, or "identity".
func encodingOf(answer *http.Response) string {
	return cmp.Or(answer.Header.Get("Content-Encoding"), "identity")
}

func (c *client) decoded(answer *http.Response) io.Reader {
	require.LessOrEqual(c.t, len(answer.Header.Values("Content-Encoding")), 1)
	switch encodingOf(answer) {
	case "identity":
		return answer.Body
	case "gzip":
		body, err := gzip.NewReader(answer.Body)
		require.NoError(c.t, err, "the body is not what Content-Encoding says")
		return body
	case "deflate":
		return flate.NewReader(answer.Body)
	case "zstd":
		body, err := zstd.NewReader(answer.Body, zstd.WithDecoderConcurrency(1))
		require.NoError(c.t, err)
		c.t.Cleanup(body.Close)
		return body
	default:
		require.Fail(c.t, "an encoding that was not asked for", encodingOf(answer))
		return nil
	}
}

// text returns the decoded body of a response with status 200.
func (c *client) text(answer *http.Response) string {
	require.Equal(c.t, http.StatusOK, answer.StatusCode)
	if answer.ContentLength == 0 {
		return ""
	}
	body, err := io.ReadAll(c.decoded(answer))
	require.NoError(c.t, err)
	return string(body)
}

// negotiate returns the query of a new connection.
func (c *client) negotiate() string {
	r, err := http.NewRequestWithContext(c.ctx, http.MethodPost, c.url+"/negotiate?negotiateVersion=1", nil)
	require.NoError(c.t, err)
	r.Header.Set("Accept-Encoding", c.accepts)
	answer, err := http.DefaultClient.Do(r)
	require.NoError(c.t, err)
	defer answer.Body.Close()
	var negotiated struct{ ConnectionToken string }
	require.NoError(c.t, json.Unmarshal([]byte(c.text(answer)), &negotiated))
	require.NotEmpty(c.t, negotiated.ConnectionToken)
	return "?id=" + negotiated.ConnectionToken
}

const (
	handshakeRequest  = `{"protocol":"json","version":1}` + "\x1e"
	handshakeResponse = "{}\x1e"
)

func call(i int, text string) string {
	return fmt.Sprintf(`{"type":1,"invocationId":"%d","target":"Echo","arguments":[%q]}`+"\x1e", i, text)
}

func completion(i int, text string) string {
	return fmt.Sprintf(`{"type":3,"invocationId":"%d","result":%q}`+"\x1e", i, text)
}

// texts has texts that are too short to be compressed by some middleware, and longer ones.
var texts = []string{"hello", strings.Repeat("hello ", 500), strings.Repeat("x", 20_000), "", "the end"}

// Each event can be decoded before the next one is sent.
func TestEventStreams(t *testing.T) {
	underEach(t, func(t *testing.T, c *client, encoded string) {
		query := c.negotiate()
		answer := c.do(http.MethodGet, query, "", "Accept", "text/event-stream")
		require.Equal(t, http.StatusOK, answer.StatusCode)
		require.Equal(t, "text/event-stream", answer.Header.Get("Content-Type"))
		if encoded != "" {
			require.Equal(t, encoded, encodingOf(answer))
		}
		require.Empty(t, answer.Header.Get("Content-Length"))

		stream := bufio.NewReader(c.decoded(answer))
		line := func() string {
			text, err := stream.ReadString('\n')
			require.NoError(t, err)
			return strings.TrimSuffix(text, "\r\n")
		}
		event := func() string {
			text := strings.TrimPrefix(line(), "data: ")
			require.Empty(t, line())
			return text
		}
		require.Equal(t, ":", line(), "the comment that opens the stream")
		c.text(c.do(http.MethodPost, query, handshakeRequest))
		require.Equal(t, handshakeResponse, event())
		for i, text := range texts {
			c.text(c.do(http.MethodPost, query, call(i, text)))
			require.Equal(t, completion(i, text), event())
		}
	})
}

func TestPolls(t *testing.T) {
	underEach(t, func(t *testing.T, c *client, _ string) {
		query := c.negotiate()
		// next polls until a response is not empty, and returns it.
		next := func() string {
			for {
				if text := c.text(c.do(http.MethodGet, query, "")); text != "" {
					return text
				}
			}
		}
		require.Empty(t, c.text(c.do(http.MethodGet, query, "")), "the first poll is answered at once")
		c.text(c.do(http.MethodPost, query, handshakeRequest))
		require.Equal(t, handshakeResponse, next())
		for i, text := range texts {
			c.text(c.do(http.MethodPost, query, call(i, text)))
			require.Equal(t, completion(i, text), next())
		}
		answer := c.do(http.MethodDelete, query, "")
		require.Equal(t, http.StatusAccepted, answer.StatusCode)
	})
}

func TestWebSockets(t *testing.T) {
	underEach(t, func(t *testing.T, c *client, _ string) {
		socket, _, err := websocket.Dial(c.ctx, c.url+c.negotiate(), &websocket.DialOptions{HTTPHeader: http.Header{"Accept-Encoding": {c.accepts}}})
		require.NoError(t, err)
		defer socket.CloseNow()
		socket.SetReadLimit(-1)
		write := func(text string) {
			require.NoError(t, socket.Write(c.ctx, websocket.MessageText, []byte(text)))
		}
		read := func() string {
			_, text, err := socket.Read(c.ctx)
			require.NoError(t, err)
			return string(text)
		}
		write(handshakeRequest)
		require.Equal(t, handshakeResponse, read())
		for i, text := range texts {
			write(call(i, text))
			require.Equal(t, completion(i, text), read())
		}
		require.NoError(t, socket.Close(websocket.StatusNormalClosure, ""))
	})
}
