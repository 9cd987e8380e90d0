package transport_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// testClient is a client of a testServer over event streams or long polling.
type testClient struct {
	*testServer
	id, token string
	header    http.Header // of all its requests
	isPolling bool
}

func (s *testServer) negotiate(header http.Header) *testClient {
	s.t.Helper()
	a := s.do(http.MethodPost, "/test/negotiate?negotiateVersion=1", "", header)
	require.Equal(s.t, http.StatusOK, a.status)
	var n struct{ ConnectionID, ConnectionToken string }
	require.NoError(s.t, json.Unmarshal([]byte(a.body), &n))
	c := &testClient{testServer: s, id: n.ConnectionID, token: n.ConnectionToken, header: header}
	s.t.Cleanup(func() {
		if c.isPolling {
			ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
			defer cancel()
			s.doContext(ctx, http.MethodDelete, c.path(), nil, header)
		}
	})
	return c
}

func (c *testClient) path() string { return "/test?id=" + c.token }

func (c *testClient) withHeader(name, value string) http.Header {
	h := c.header.Clone()
	if h == nil {
		h = http.Header{}
	}
	h.Set(name, value)
	return h
}

func (c *testClient) post(body string) httpResult {
	c.t.Helper()
	return c.do(http.MethodPost, c.path(), body, c.withHeader("Content-Type", "text/plain;charset=UTF-8"))
}

// postInBackground sends a POST in a goroutine.
func (c *testClient) postInBackground(body io.Reader) (done chan httpResult) {
	done = make(chan httpResult, 1)
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	go func() {
		defer cancel()
		done <- c.doContext(ctx, http.MethodPost, c.path(), body, c.header)
	}()
	return done
}

// mustPost sends a POST that succeeds.
func (c *testClient) mustPost(text string) {
	c.t.Helper()
	c.post(text).requireText(c.t, http.StatusOK, "")
}

func (c *testClient) poll() httpResult {
	c.t.Helper()
	return c.do(http.MethodGet, c.path(), "", c.header)
}

func (c *testClient) delete() httpResult {
	c.t.Helper()
	return c.do(http.MethodDelete, c.path(), "", c.header)
}

// pollInBackground sends a poll in a goroutine, and returns when the server has begun to wait for messages.
func (c *testClient) pollInBackground() (done chan httpResult, abort context.CancelFunc) {
	c.t.Helper()
	done = make(chan httpResult, 1)
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	c.t.Cleanup(cancel)
	before := c.fetches.Load()
	go func() {
		defer cancel()
		done <- c.doContext(ctx, http.MethodGet, c.path(), nil, c.header)
	}()
	c.eventually("the poll has begun", func() bool { return c.fetches.Load() > before })
	return done, cancel
}

// startPolling sends the first poll, which opens the connection.
func (c *testClient) startPolling() {
	c.t.Helper()
	a := c.poll()
	require.Equal(c.t, http.StatusOK, a.status, a.body)
	require.Empty(c.t, a.body)
	c.isPolling = true
}

// connectPolling opens a long polling connection and completes its handshake.
func (s *testServer) connectPolling(header http.Header) *testClient {
	s.t.Helper()
	c := s.negotiate(header)
	c.startPolling()
	c.mustPost(handshakeJSON)
	c.requireMessages("{}")
	return c
}

// requireMessages polls until it has received these messages, and nothing else.
func (c *testClient) requireMessages(records ...string) {
	c.t.Helper()
	var all string
	for strings.Count(all, separator) < len(records) {
		a := c.poll()
		require.Equal(c.t, http.StatusOK, a.status, "%q", all)
		all += a.body
	}
	require.Equal(c.t, strings.Join(records, separator)+separator, all)
}

// eventStream is the client's end of an event stream.
type eventStream struct {
	t        testing.TB
	response *http.Response
	r        *bufio.Reader
	cancel   context.CancelFunc
}

// openEvents opens an event stream.
func (c *testClient) openEvents() *eventStream {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*testTimeout)
	c.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.server.URL+c.path(), nil)
	require.NoError(c.t, err)
	r.Header = c.withHeader("Accept", "text/event-stream")
	response, err := c.client.Do(r)
	require.NoError(c.t, err)
	c.t.Cleanup(func() { response.Body.Close() })
	require.Equal(c.t, http.StatusOK, response.StatusCode)
	e := &eventStream{c.t, response, bufio.NewReader(response.Body), cancel}
	require.Equal(c.t, ":\r\n", e.line())
	return e
}

// connectEvents opens a connection with an event stream and completes its handshake.
func (s *testServer) connectEvents(header http.Header) (*testClient, *eventStream) {
	s.t.Helper()
	c := s.negotiate(header)
	e := c.openEvents()
	c.mustPost(handshakeJSON)
	require.Equal(s.t, "{}"+separator, e.next())
	return c, e
}

func (e *eventStream) line() string {
	e.t.Helper()
	line, err := e.r.ReadString('\n')
	require.NoError(e.t, err, "%q", line)
	return line
}

// next reads an event of one line.
func (e *eventStream) next() string {
	e.t.Helper()
	line := e.line()
	require.Equal(e.t, "\r\n", e.line())
	require.True(e.t, strings.HasPrefix(line, "data: ") && strings.HasSuffix(line, "\r\n"), "%q", line)
	return line[6 : len(line)-2]
}

// requireMessages reads events until it has received these messages, and nothing else.
func (e *eventStream) requireMessages(records ...string) {
	e.t.Helper()
	var all strings.Builder
	for n := 0; n < len(records); {
		event := e.next()
		require.True(e.t, strings.HasSuffix(event, separator), "half a message: %.100q", event)
		n += strings.Count(event, separator)
		all.WriteString(event)
	}
	require.Equal(e.t, strings.Join(records, separator)+separator, all.String())
}

// requireEOF requires that the stream ends without an error and without further events.
func (e *eventStream) requireEOF() {
	e.t.Helper()
	b, err := io.ReadAll(e.r)
	require.NoError(e.t, err)
	require.Empty(e.t, b)
}

func invocation(target string, args ...any) string {
	b, err := json.Marshal(map[string]any{"type": 1, "target": target, "arguments": args})
	if err != nil {
		panic(err)
	}
	var m struct {
		Arguments json.RawMessage `json:"arguments"`
	}
	_ = json.Unmarshal(b, &m)
	return fmt.Sprintf(`{"type":1,"target":%q,"arguments":%s}`, target, m.Arguments)
}

// streamItems returns the messages of a stream of n items.
func streamItems(id string, n int) (records []string) {
	for i := range n {
		records = append(records, fmt.Sprintf(`{"type":2,"invocationId":%q,"item":%d}`, id, i))
	}
	return append(records, fmt.Sprintf(`{"type":3,"invocationId":%q}`, id))
}

// openUnreadEvents opens an event stream with small buffers that the test does not read.
func (c *testClient) openUnreadEvents() *rawConn {
	c.t.Helper()
	h := &socketServer{t: c.t, addr: c.server.Listener.Addr().String()}
	p, response := h.request("GET " + c.path() + " HTTP/1.1\r\nHost: host\r\nAccept: text/event-stream\r\n\r\n")
	require.Equal(c.t, http.StatusOK, response.StatusCode)
	c.mustPost(handshakeJSON)
	return p
}

// openDrainedEvents opens an event stream whose events are read and discarded.
func (c *testClient) openDrainedEvents() {
	p := c.openUnreadEvents()
	go func() { _, _ = io.Copy(io.Discard, p.conn) }()
}

// testCalls makes calls of all kinds. The function next returns the next messages from the server.
func testCalls(c *testClient, next func() string) {
	t := c.t
	var pending []string
	record := func() string {
		for len(pending) == 0 {
			if text := next(); text != "" {
				require.True(t, strings.HasSuffix(text, separator), "%q", text)
				pending = strings.SplitAfter(strings.TrimSuffix(text, separator), separator)
				for i := range pending {
					pending[i] = strings.TrimSuffix(pending[i], separator)
				}
			}
		}
		first := pending[0]
		pending = pending[1:]
		return first
	}
	want := func(records ...string) {
		t.Helper()
		for _, one := range records {
			require.Equal(t, strings.TrimSuffix(one, separator), record())
		}
	}
	c.mustPost(invocationJSON("1", "Echo", "<é\n>"))
	want(completionJSON("1", `"<é\n>"`))
	c.mustPost(`{"type":1,"invocationId":"2","target":"Sum","arguments":[],"streamIds":["s"]}` + separator)
	for i := range 50 {
		c.mustPost(fmt.Sprintf(`{"type":2,"invocationId":"s","item":%d}`, i) + separator)
	}
	c.mustPost(`{"type":3,"invocationId":"s"}` + separator)
	want(completionJSON("2", "1225"))
	c.mustPost(`{"type":4,"invocationId":"3","target":"Count","arguments":[100]}` + separator)
	for i := range 100 {
		want(fmt.Sprintf(`{"type":2,"invocationId":"3","item":%d}`, i))
	}
	want(`{"type":3,"invocationId":"3"}`)
	c.mustPost(`{"type":4,"invocationId":"4","target":"Tick","arguments":[1000000]}` + separator)
	want(`{"type":2,"invocationId":"4","item":0}`)
	c.mustPost(`{"type":5,"invocationId":"4"}` + separator)
	for {
		if one := record(); one == `{"type":3,"invocationId":"4"}` {
			break
		}
	}
	c.mustPost(invocationJSON("5", "Ask", "?"))
	question := record()
	require.Regexp(t, `^{"type":1,"invocationId":"s\d+","target":"answer","arguments":\["\?"\]}$`, question)
	var m struct{ InvocationID string }
	require.NoError(t, json.Unmarshal([]byte(question), &m))
	c.mustPost(completionJSON(m.InvocationID, `"!"`))
	want(completionJSON("5", `"!"`))
	c.mustPost(invocationJSON("6", "Flood", 200, 10))
	for i := range 200 {
		want(invocation("n", i, "xxxxxxxxxx"))
	}
	want(completionJSON("6", "null"))
}

// requirePolled requires the response of a poll with messages, and returns them.
func (a httpResult) requirePolled(t testing.TB) string {
	t.Helper()
	require.NoError(t, a.err)
	require.Equal(t, http.StatusOK, a.status)
	require.Equal(t, []string{"application/octet-stream"}, a.header["Content-Type"])
	require.Equal(t, []string{strconv.Itoa(len(a.body))}, a.header["Content-Length"])
	a.requireUncached(t)
	return a.body
}

func (a httpResult) requireUncached(t testing.TB) {
	t.Helper()
	require.Equal(t, []string{"no-cache, no-store"}, a.header["Cache-Control"])
	require.Equal(t, []string{"no-cache"}, a.header["Pragma"])
	require.Equal(t, []string{"Thu, 01 Jan 1970 00:00:00 GMT"}, a.header["Expires"])
}

// requireClosed requires the response of a poll that says that the connection is closed.
func (a httpResult) requireClosed(t testing.TB) {
	t.Helper()
	a.requireText(t, http.StatusNoContent, "")
	a.requireUncached(t)
}

func (s *testServer) sendAll(t testing.TB, args ...any) {
	t.Helper()
	require.NoError(t, s.hub.Clients().All().Send(context.Background(), "n", args...))
}
