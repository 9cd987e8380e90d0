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

// guest is a client.
type guest struct {
	*stage
	id, token string
	header    http.Header // of all its requests
	polls     bool
}

func (s *stage) negotiate(header http.Header) *guest {
	s.t.Helper()
	a := s.do(http.MethodPost, "/show/negotiate?negotiateVersion=1", "", header)
	require.Equal(s.t, http.StatusOK, a.status)
	var n struct{ ConnectionID, ConnectionToken string }
	require.NoError(s.t, json.Unmarshal([]byte(a.body), &n))
	g := &guest{stage: s, id: n.ConnectionID, token: n.ConnectionToken, header: header}
	s.t.Cleanup(func() {
		if g.polls {
			ctx, cancel := context.WithTimeout(context.Background(), within)
			defer cancel()
			s.try(ctx, http.MethodDelete, g.path(), nil, header)
		}
	})
	return g
}

func (g *guest) path() string { return "/show?id=" + g.token }

func (g *guest) with(name, value string) http.Header {
	h := g.header.Clone()
	if h == nil {
		h = http.Header{}
	}
	h.Set(name, value)
	return h
}

func (g *guest) post(body string) answer {
	g.t.Helper()
	return g.do(http.MethodPost, g.path(), body, g.with("Content-Type", "text/plain;charset=UTF-8"))
}

// posting posts in the background.
func (g *guest) posting(body io.Reader) (done chan answer) {
	done = make(chan answer, 1)
	ctx, cancel := context.WithTimeout(context.Background(), within)
	go func() {
		defer cancel()
		done <- g.try(ctx, http.MethodPost, g.path(), body, g.header)
	}()
	return done
}

// say posts what is then taken.
func (g *guest) say(text string) {
	g.t.Helper()
	g.post(text).is(g.t, http.StatusOK, "")
}

func (g *guest) poll() answer {
	g.t.Helper()
	return g.do(http.MethodGet, g.path(), "", g.header)
}

func (g *guest) remove() answer {
	g.t.Helper()
	return g.do(http.MethodDelete, g.path(), "", g.header)
}

// polling polls in the background, and returns when that poll waits.
func (g *guest) polling() (done chan answer, abort context.CancelFunc) {
	g.t.Helper()
	done = make(chan answer, 1)
	ctx, cancel := context.WithTimeout(context.Background(), within)
	g.t.Cleanup(cancel)
	before := g.began.Load()
	go func() {
		defer cancel()
		done <- g.try(ctx, http.MethodGet, g.path(), nil, g.header)
	}()
	g.until("the poll has begun", func() bool { return g.began.Load() > before })
	return done, cancel
}

// begin opens a connection that polls.
func (g *guest) begin() {
	g.t.Helper()
	a := g.poll()
	require.Equal(g.t, http.StatusOK, a.status, a.body)
	require.Empty(g.t, a.body)
	g.polls = true
}

// visit opens a connection that polls, handshake included.
func (s *stage) visit(header http.Header) *guest {
	s.t.Helper()
	g := s.negotiate(header)
	g.begin()
	g.say(greeting)
	g.got("{}")
	return g
}

// got polls until records have come, and nothing else.
func (g *guest) got(records ...string) {
	g.t.Helper()
	var all string
	for strings.Count(all, separator) < len(records) {
		a := g.poll()
		require.Equal(g.t, http.StatusOK, a.status, "%q", all)
		all += a.body
	}
	require.Equal(g.t, strings.Join(records, separator)+separator, all)
}

// events is an event stream.
type events struct {
	t        testing.TB
	response *http.Response
	r        *bufio.Reader
	cancel   context.CancelFunc
}

// stream opens an event stream.
func (g *guest) stream() *events {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*within)
	g.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, g.server.URL+g.path(), nil)
	require.NoError(g.t, err)
	r.Header = g.with("Accept", "text/event-stream")
	response, err := g.client.Do(r)
	require.NoError(g.t, err)
	g.t.Cleanup(func() { response.Body.Close() })
	require.Equal(g.t, http.StatusOK, response.StatusCode)
	e := &events{g.t, response, bufio.NewReader(response.Body), cancel}
	require.Equal(g.t, ":\r\n", e.line())
	return e
}

// attend opens a connection with an event stream, handshake included.
func (s *stage) attend(header http.Header) (*guest, *events) {
	s.t.Helper()
	g := s.negotiate(header)
	e := g.stream()
	g.say(greeting)
	require.Equal(s.t, "{}"+separator, e.next())
	return g, e
}

func (e *events) line() string {
	e.t.Helper()
	line, err := e.r.ReadString('\n')
	require.NoError(e.t, err, "%q", line)
	return line
}

// next reads an event that has one line.
func (e *events) next() string {
	e.t.Helper()
	line := e.line()
	require.Equal(e.t, "\r\n", e.line())
	require.True(e.t, strings.HasPrefix(line, "data: ") && strings.HasSuffix(line, "\r\n"), "%q", line)
	return line[6 : len(line)-2]
}

// got reads events until records have come, and nothing else.
func (e *events) got(records ...string) {
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

// eof makes sure that the stream has ended in order.
func (e *events) eof() {
	e.t.Helper()
	b, err := io.ReadAll(e.r)
	require.NoError(e.t, err)
	require.Empty(e.t, b)
}

func told(target string, args ...any) string {
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

// items is a whole stream.
func items(id string, n int) (records []string) {
	for i := range n {
		records = append(records, fmt.Sprintf(`{"type":2,"invocationId":%q,"item":%d}`, id, i))
	}
	return append(records, fmt.Sprintf(`{"type":3,"invocationId":%q}`, id))
}

// deaf opens an event stream with small buffers that nobody reads.
func (g *guest) deaf() *peer {
	g.t.Helper()
	h := &host{t: g.t, addr: g.server.Listener.Addr().String()}
	p, response := h.request("GET " + g.path() + " HTTP/1.1\r\nHost: host\r\nAccept: text/event-stream\r\n\r\n")
	require.Equal(g.t, http.StatusOK, response.StatusCode)
	g.say(greeting)
	return p
}

// reads opens an event stream whatever comes of which is read.
func (g *guest) reads() {
	p := g.deaf()
	go func() { _, _ = io.Copy(io.Discard, p.conn) }()
}

// converse makes a call of every kind. next is what comes next from the server.
func converse(g *guest, next func() string) {
	t := g.t
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
	g.say(call("1", "Echo", "<é\n>"))
	want(result("1", `"<é\n>"`))
	g.say(`{"type":1,"invocationId":"2","target":"Sum","arguments":[],"streamIds":["s"]}` + separator)
	for i := range 50 {
		g.say(fmt.Sprintf(`{"type":2,"invocationId":"s","item":%d}`, i) + separator)
	}
	g.say(`{"type":3,"invocationId":"s"}` + separator)
	want(result("2", "1225"))
	g.say(`{"type":4,"invocationId":"3","target":"Count","arguments":[100]}` + separator)
	for i := range 100 {
		want(fmt.Sprintf(`{"type":2,"invocationId":"3","item":%d}`, i))
	}
	want(`{"type":3,"invocationId":"3"}`)
	g.say(`{"type":4,"invocationId":"4","target":"Tick","arguments":[1000000]}` + separator)
	want(`{"type":2,"invocationId":"4","item":0}`)
	g.say(`{"type":5,"invocationId":"4"}` + separator)
	for {
		if one := record(); one == `{"type":3,"invocationId":"4"}` {
			break
		}
	}
	g.say(call("5", "Ask", "?"))
	question := record()
	require.Regexp(t, `^{"type":1,"invocationId":"s\d+","target":"answer","arguments":\["\?"\]}$`, question)
	var m struct{ InvocationID string }
	require.NoError(t, json.Unmarshal([]byte(question), &m))
	g.say(result(m.InvocationID, `"!"`))
	want(result("5", `"!"`))
	g.say(call("6", "Flood", 200, 10))
	for i := range 200 {
		want(told("n", i, "xxxxxxxxxx"))
	}
	want(result("6", "null"))
}

// data checks a poll that has brought something.
func (a answer) data(t testing.TB) string {
	t.Helper()
	require.NoError(t, a.err)
	require.Equal(t, http.StatusOK, a.status)
	require.Equal(t, []string{"application/octet-stream"}, a.header["Content-Type"])
	require.Equal(t, []string{strconv.Itoa(len(a.body))}, a.header["Content-Length"])
	a.uncached(t)
	return a.body
}

func (a answer) uncached(t testing.TB) {
	t.Helper()
	require.Equal(t, []string{"no-cache, no-store"}, a.header["Cache-Control"])
	require.Equal(t, []string{"no-cache"}, a.header["Pragma"])
	require.Equal(t, []string{"Thu, 01 Jan 1970 00:00:00 GMT"}, a.header["Expires"])
}

// over checks a poll that says that the connection has ended.
func (a answer) over(t testing.TB) {
	t.Helper()
	a.is(t, http.StatusNoContent, "")
	a.uncached(t)
}

func (s *stage) send(t testing.TB, args ...any) {
	t.Helper()
	require.NoError(t, s.hub.Clients().All().Send(context.Background(), "n", args...))
}
