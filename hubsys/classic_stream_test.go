package hubsys_test

import (
	"bufio"
	"context"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// classicStream is a request that receives.
type classicStream struct {
	frames chan string // closed at its end
	code   chan websocket.StatusCode
	cut    func()
	ws     *websocket.Conn
}

func (c *classicClient) open(what string, values url.Values) {
	c.t.Helper()
	status, body := c.tryOpen(what, values)
	require.Equal(c.t, http.StatusOK, status, body)
}

// tryOpen opens the transport. If it is refused, the body says why.
func (c *classicClient) tryOpen(what string, values url.Values) (status int, body string) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c.t.Cleanup(cancel)
	s := &classicStream{frames: make(chan string, 1<<16), code: make(chan websocket.StatusCode, 1), cut: cancel}
	if values == nil {
		values = url.Values{}
	}
	if c.transport == "webSockets" {
		return c.openSocket(ctx, s, what, values)
	}
	method, form := http.MethodGet, url.Values(nil)
	switch c.transport {
	case "foreverFrame":
		values.Set("frameId", "7")
	case "longPolling":
		method, form = http.MethodPost, c.position()
	}
	response := c.do(ctx, method, what, values, form)
	if response.StatusCode != http.StatusOK {
		defer response.Body.Close()
		b, err := io.ReadAll(response.Body)
		require.NoError(c.t, err)
		return response.StatusCode, string(b)
	}
	c.stream = s
	transport := c.transport
	go func() {
		defer close(s.frames)
		defer response.Body.Close()
		switch transport {
		case "longPolling":
			if b, err := io.ReadAll(response.Body); err == nil {
				s.frames <- string(b)
			}
		case "serverSentEvents":
			readEvents(c.t, response.Body, s.frames)
		default:
			readFrames(c.t, response.Body, s.frames)
		}
	}()
	return http.StatusOK, ""
}

func (c *classicClient) openSocket(ctx context.Context, s *classicStream, what string, values url.Values) (status int, body string) {
	query := url.Values{"clientProtocol": {c.version}, "connectionData": {c.hubs}, "transport": {c.transport}, "connectionToken": {c.token}}
	maps.Copy(query, c.query)
	maps.Copy(query, values)
	dialing, done := context.WithTimeout(ctx, testTimeout)
	defer done()
	ws, response, err := websocket.Dial(dialing, c.address+what+"?"+query.Encode(), &websocket.DialOptions{HTTPHeader: c.header})
	if err != nil {
		require.NotNil(c.t, response, "%v", err)
		b, _ := io.ReadAll(response.Body)
		return response.StatusCode, string(b)
	}
	ws.SetReadLimit(-1)
	s.ws = ws
	s.cut = func() { _ = ws.CloseNow() }
	c.t.Cleanup(s.cut)
	c.stream = s
	go func() {
		defer close(s.frames)
		for {
			kind, b, err := ws.Read(ctx)
			if err != nil {
				s.code <- websocket.CloseStatus(err)
				return
			}
			assert.Equal(c.t, websocket.MessageText, kind)
			if string(b) != "{}" {
				s.frames <- string(b)
			}
		}
	}()
	return http.StatusOK, ""
}

// readEvents reads an event stream. Keep-alives are left out.
func readEvents(t classicT, body io.Reader, frames chan<- string) {
	lines := bufio.NewReader(body)
	first := true
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		data, ok := strings.CutPrefix(line, "data: ")
		blank, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		assert.True(t, ok && blank == "\n", "%q", line+blank)
		data = strings.TrimSuffix(data, "\n")
		assert.Equal(t, first, data == "initialized")
		if !first && data != "{}" {
			frames <- data
		}
		first = false
	}
}

var foreverFrame = regexp.MustCompile(`^<script>r\(c, (.*)\);</script>\r?$`)

// readFrames reads the document of a forever frame. Keep-alives are left out.
func readFrames(t classicT, body io.Reader, frames chan<- string) {
	lines := bufio.NewReader(body)
	for prologue := true; ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\n")
		switch match := foreverFrame.FindStringSubmatch(line); {
		case match != nil:
			prologue = false
			assert.NotContains(t, match[1], "<")
			assert.NotContains(t, match[1], ">")
			if match[1] != "{}" {
				frames <- match[1]
			}
		default:
			assert.True(t, prologue || line == "", "%q", line)
		}
	}
}
