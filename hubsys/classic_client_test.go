package hubsys_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// classicClient is a client of SignalR 2 that can send anything. It does nothing by itself: the test says when it connects, polls and goes.
type classicClient struct {
	t         classicT
	address   string // of the endpoint
	transport string
	version   string
	hubs      string // connectionData
	header    http.Header
	query     url.Values // of the application's own

	id, token string
	cursor    string         // the last one
	groups    string         // the last token
	tokens    int            // how many tokens of groups have come, and
	expected  int            // how many of them the test has waited for
	stream    *classicStream // nil: it receives nothing
	messages  []string       // those that were received and not yet read
	answers   map[string]classicAnswer
	lastID    int
}

// classicFrame is what a client is sent at once.
type classicFrame struct {
	C       *string
	S, T, L json.RawMessage
	G       *string
	M       []json.RawMessage
	I       json.RawMessage // of an answer
	raw     string
}

// classicAnswer is the answer to a call.
type classicAnswer struct {
	S, R, D json.RawMessage
	I, E    *string
	H       bool
	raw     string
}

// classicT is what a client needs of a testing.TB, which tests of package rapid have as well.
type classicT interface {
	require.TestingT
	Helper()
	Cleanup(func())
}

// newClassicClient returns a client of the hub Chat that has not negotiated.
func newClassicClient(t classicT, address, transport string) *classicClient {
	return &classicClient{
		t: t, address: address, transport: transport, version: "2.1", hubs: `[{"name":"chat"}]`, header: http.Header{}, query: url.Values{}, answers: map[string]classicAnswer{},
	}
}

// dialClassic returns a client of the hub Chat that has started.
func dialClassic(t classicT, srv *classicServer, transport string) *classicClient {
	t.Helper()
	return newClassicClient(t, srv.address, transport).begin()
}

// dialBothHubs returns a client of the hubs Chat and Other that has started.
func dialBothHubs(t classicT, srv *classicServer, transport string) *classicClient {
	t.Helper()
	c := newClassicClient(t, srv.address, transport)
	c.hubs = bothHubs
	return c.begin()
}

// begin negotiates, connects and starts.
func (c *classicClient) begin() *classicClient {
	c.t.Helper()
	c.negotiate()
	c.connect()
	c.start()
	return c
}

// again returns a client that goes on with the connection of c, as a page does that has lost it.
func (c *classicClient) again(address string) *classicClient {
	other := *c
	other.address, other.stream, other.messages, other.answers = address, nil, nil, map[string]classicAnswer{}
	return &other
}

// request makes a request, and returns the response. The query has what every request has, and what values say.
func (c *classicClient) do(ctx context.Context, method, what string, values url.Values, form url.Values) *http.Response {
	c.t.Helper()
	query := url.Values{"clientProtocol": {c.version}, "connectionData": {c.hubs}}
	if what != "/negotiate" && what != "/ping" {
		query.Set("transport", c.transport)
		query.Set("connectionToken", c.token)
	}
	maps.Copy(query, c.query)
	maps.Copy(query, values)
	r, err := http.NewRequestWithContext(ctx, method, c.address+what+"?"+query.Encode(), strings.NewReader(form.Encode()))
	require.NoError(c.t, err)
	maps.Copy(r.Header, c.header)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8")
	}
	response, err := http.DefaultClient.Do(r)
	require.NoError(c.t, err)
	return response
}

// request makes a request that is answered at once.
func (c *classicClient) request(method, what string, values, form url.Values) (status int, body string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	response := c.do(ctx, method, what, values, form)
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	require.NoError(c.t, err)
	return response.StatusCode, string(b)
}

// negotiate gets an id and a token.
func (c *classicClient) negotiate() {
	c.t.Helper()
	status, body := c.request(http.MethodGet, "/negotiate", nil, nil)
	require.Equal(c.t, http.StatusOK, status)
	var n struct{ ConnectionID, ConnectionToken string }
	require.NoError(c.t, json.Unmarshal([]byte(body), &n))
	c.id, c.token = n.ConnectionID, n.ConnectionToken
}

// connect opens the transport, and waits until it is initialized.
func (c *classicClient) connect() {
	c.t.Helper()
	c.open("/connect", nil)
	frame, ok := c.tryFrame()
	require.True(c.t, ok, "the connection has ended")
	require.Equal(c.t, "1", string(frame.S), frame.raw)
}

// start has OnConnected run.
func (c *classicClient) start() {
	c.t.Helper()
	status, body := c.request(http.MethodGet, "/start", nil, nil)
	require.Equal(c.t, http.StatusOK, status)
	require.Equal(c.t, `{ "Response": "started" }`, body)
}

// reconnect opens the transport again, with what the client has seen last.
func (c *classicClient) reconnect() {
	c.t.Helper()
	c.open("/reconnect", c.position())
}

// position says what a client has seen last.
func (c *classicClient) position() url.Values {
	values := url.Values{}
	if c.cursor != "" {
		values.Set("messageId", c.cursor)
	}
	if c.groups != "" {
		values.Set("groupsToken", c.groups)
	}
	return values
}

// poll begins a poll.
func (c *classicClient) poll() {
	c.t.Helper()
	c.open("/poll", nil)
}

// abort ends the session.
func (c *classicClient) abort() {
	c.t.Helper()
	status, body := c.request(http.MethodPost, "/abort", nil, nil)
	require.Equal(c.t, http.StatusOK, status)
	require.Empty(c.t, body)
}

// drop closes the transport, as a network does.
func (c *classicClient) drop() {
	if c.stream != nil {
		c.stream.cut()
		c.stream = nil
	}
}

// tryFrame returns the next frame, and false if the transport has ended. A client that polls begins a poll if none is under way.
func (c *classicClient) tryFrame() (frame classicFrame, ok bool) {
	c.t.Helper()
	for {
		if c.stream == nil {
			require.Equal(c.t, "longPolling", c.transport, "the client receives nothing")
			c.poll()
		}
		select {
		case text, ok := <-c.stream.frames:
			if ok {
				return c.read(text), true
			}
			if c.transport != "longPolling" {
				return classicFrame{}, false
			}
			c.stream = nil
		case <-time.After(testTimeout):
			require.FailNow(c.t, "nothing was received")
		}
	}
}

// read takes a frame apart.
func (c *classicClient) read(text string) classicFrame {
	c.t.Helper()
	f := classicFrame{raw: text}
	require.NoError(c.t, json.Unmarshal([]byte(text), &f), "%s", text)
	if f.I != nil {
		var a classicAnswer
		require.NoError(c.t, json.Unmarshal([]byte(text), &a), "%s", text)
		a.raw = text
		require.NotNil(c.t, a.I, text)
		require.NotContains(c.t, c.answers, *a.I, "a call is answered once")
		c.answers[*a.I] = a
		return f
	}
	require.True(c.t, f.C != nil && *f.C != "" && f.M != nil, text)
	c.cursor = *f.C
	if f.G != nil {
		c.groups = *f.G
		c.tokens++
	}
	for _, m := range f.M {
		c.messages = append(c.messages, string(m))
	}
	return f
}

// next returns the next message: a call of a method, or progress.
func (c *classicClient) next() string {
	c.t.Helper()
	for len(c.messages) == 0 {
		_, ok := c.tryFrame()
		require.True(c.t, ok, "the transport has ended")
	}
	m := c.messages[0]
	c.messages = c.messages[1:]
	return m
}

// requireCall requires that the next message is this call of a method of the hub Chat.
func (c *classicClient) requireCall(method string, args ...any) {
	c.t.Helper()
	require.Equal(c.t, classicCall("Chat", method, args...), c.next())
}

// classicCall returns a call of a client as the server encodes it.
func classicCall(hub, method string, args ...any) string {
	if args == nil {
		args = []any{}
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(args); err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"H":%q,"M":%q,"A":%s}`, hub, method, strings.TrimSpace(b.String()))
}

// awaitGroups waits until the client has been given another token than those that were waited for.
func (c *classicClient) awaitGroups() {
	c.t.Helper()
	for c.tokens == c.expected {
		_, ok := c.tryFrame()
		require.True(c.t, ok, "the transport has ended")
	}
	c.expected = c.tokens
}

// awaitEnd waits until the server has ended the transport, and returns the last frame.
func (c *classicClient) awaitEnd() (last classicFrame) {
	c.t.Helper()
	for {
		select {
		case text, ok := <-c.stream.frames:
			if !ok {
				return last
			}
			last = c.read(text)
		case <-time.After(testTimeout):
			require.FailNow(c.t, "the transport does not end")
		}
	}
}

// callText returns a call of the hub Chat as a client writes it.
func (c *classicClient) callText(method string, args ...any) (id, text string) {
	c.lastID++
	if args == nil {
		args = []any{}
	}
	b, err := json.Marshal(map[string]any{"H": "chat", "M": method, "A": args, "I": c.lastID})
	require.NoError(c.t, err)
	return strconv.Itoa(c.lastID), string(b)
}

// invoke calls a method of the hub Chat, and returns the answer.
func (c *classicClient) invoke(method string, args ...any) classicAnswer {
	c.t.Helper()
	id, text := c.callText(method, args...)
	return c.invokeText(id, text)
}

// invokeText sends a call, and returns the answer.
func (c *classicClient) invokeText(id, text string) classicAnswer {
	c.t.Helper()
	if c.transport == "webSockets" {
		c.write(text)
		return c.awaitAnswer(id)
	}
	status, body := c.send(text)
	require.Equal(c.t, http.StatusOK, status, body)
	a := classicAnswer{raw: body}
	require.NoError(c.t, json.Unmarshal([]byte(body), &a), "%s", body)
	require.NotNil(c.t, a.I)
	require.Equal(c.t, id, *a.I)
	return a
}

// send sends a message by a request of its own.
func (c *classicClient) send(text string) (status int, body string) {
	c.t.Helper()
	return c.request(http.MethodPost, "/send", nil, url.Values{"data": {text}})
}

// write sends a message over the WebSocket.
func (c *classicClient) write(text string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	require.NoError(c.t, c.stream.ws.Write(ctx, websocket.MessageText, []byte(text)))
}

func (c *classicClient) awaitAnswer(id string) classicAnswer {
	c.t.Helper()
	for {
		if a, ok := c.answers[id]; ok {
			delete(c.answers, id)
			return a
		}
		_, ok := c.tryFrame()
		require.True(c.t, ok, "the WebSocket has ended")
	}
}

// run has the server run an action, and returns the result.
func (c *classicClient) run(name string, args ...any) string {
	c.t.Helper()
	if args == nil {
		args = []any{}
	}
	a := c.invoke("Do", name, args)
	require.Nil(c.t, a.E, a.raw)
	return string(a.R)
}

// escaped returns a text as it stands in a query.
func escaped(text string) string { return url.QueryEscape(text) }

// messagesOf returns the messages of a frame as they were sent.
func messagesOf(f classicFrame) string {
	b, err := json.Marshal(f.M)
	if err != nil {
		panic(err)
	}
	return string(b)
}
