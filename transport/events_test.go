package transport_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/internal/link"
	"github.com/troupe-go/troupe/transport"
)

// show is the hub behind event streams and polls.
type show struct {
	hubsys.Hub
	s *stage
}

func (h *show) Echo(v any) any    { return v }
func (h *show) Long(n int) string { return strings.Repeat("x", n) }
func (h *show) Abort()            { h.Call().Abort() }
func (h *show) Note(text string)  { h.s.notes <- text }

// Wait returns when the test opens the gate, whatever becomes of its context.
func (h *show) Wait() string {
	h.s.entered <- struct{}{}
	<-h.s.gate
	return "passed"
}

func (h *show) Flood(ctx context.Context, n, size int) error {
	text := strings.Repeat("x", size)
	for i := range n {
		if err := h.Clients().Caller().Send(ctx, "n", i, text); err != nil {
			return err
		}
	}
	return nil
}

func (h *show) Ask(ctx context.Context, question string) (string, error) {
	return hubsys.Invoke[string](ctx, h.Clients().Caller(), "answer", question)
}

func (h *show) Sum(items iter.Seq2[int, error]) (sum int, err error) {
	for item, err := range items {
		if err != nil {
			return 0, err
		}
		sum += item
	}
	return sum, nil
}

func (h *show) Count(n int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		for i := range n {
			if !yield(i, nil) {
				return
			}
		}
	}
}

// Tick counts as well, ten times a second.
func (h *show) Tick(ctx context.Context, n int) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for i := range n {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
			if !yield(i, nil) {
				return
			}
		}
	}
}

func (h *show) Who() string   { return h.Call().UserID() }
func (h *show) Query() string { return h.Call().Request().Query("q") }

func (h *show) OnDisconnected(_ context.Context, cause error) error {
	h.s.gone <- cause
	return nil
}

// stage is a server with the hub show on /show, and on /other.
type stage struct {
	t       testing.TB
	sys     *hubsys.System
	hub     *hubsys.HubContext
	server  *httptest.Server
	client  *http.Client
	gone    chan error // what OnDisconnected was told
	notes   chan string
	entered chan struct{} // calls of Wait
	gate    chan struct{}
	open    func()       // lets them return
	began   atomic.Int64 // requests that have begun to fetch
	stopped bool         // the test has shut down the system
}

type scene struct {
	hubsys.HubOptions
	hubsys.EndpointOptions
	server func(*httptest.Server)
	wrap   func(http.Handler) http.Handler
	http2  bool // over TLS
	small  bool // the server's connections have small sending buffers
	left   int  // connections that nobody has opened
}

// watch sees when a request begins to fetch: then it gets rid of its deadlines.
type watch struct {
	http.ResponseWriter
	s *stage
}

func (w *watch) Unwrap() http.ResponseWriter { return w.ResponseWriter }
func (w *watch) SetReadDeadline(t time.Time) error {
	err := http.NewResponseController(w.ResponseWriter).SetReadDeadline(t)
	w.s.began.Add(1)
	return err
}

func noLeaks(t testing.TB) {
	t.Cleanup(func() {
		goleak.VerifyNone(t,
			// Protoactor counts dead letters in a goroutine that lives for a second.
			goleak.IgnoreAnyFunction("github.com/asynkron/protoactor-go/actor.NewDeadLetter.NewThrottle.func4.1"),
			goleak.IgnoreAnyFunction("github.com/asynkron/protoactor-go/actor.NewThrottle.func1.1"))
	})
}

func newStage(t testing.TB, c scene) *stage {
	t.Helper()
	noLeaks(t)
	sys, err := hubsys.New(hubsys.Config{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	s := &stage{t: t, sys: sys, gone: make(chan error, 1000), notes: make(chan string, 10000), entered: make(chan struct{}, 100), gate: make(chan struct{})}
	s.open = sync.OnceFunc(func() { close(s.gate) })
	s.hub, err = hubsys.Register(sys, func(context.Context) (*show, error) { return &show{s: s}, nil }, c.HubOptions)
	require.NoError(t, err)
	require.NoError(t, s.hub.Map("/show", c.EndpointOptions))
	require.NoError(t, s.hub.Map("/other", c.EndpointOptions))
	var handler http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { sys.ServeHTTP(&watch{w, s}, r) })
	if c.wrap != nil {
		handler = c.wrap(handler)
	}
	s.server = httptest.NewUnstartedServer(handler)
	if c.small {
		s.server.Listener = smallBuffers{s.server.Listener}
	}
	s.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	if c.server != nil {
		c.server(s.server)
	}
	if c.http2 {
		s.server.EnableHTTP2 = true
		s.server.StartTLS()
		s.client = s.server.Client()
	} else {
		s.server.Start()
		s.client = &http.Client{Transport: &http.Transport{}}
	}
	t.Cleanup(func() {
		s.open()
		if !s.stopped {
			ctx, cancel := context.WithTimeout(context.Background(), within)
			defer cancel()
			if err := sys.Shutdown(ctx); err != nil {
				t.Error(err)
			}
		}
		s.client.CloseIdleConnections()
		s.server.Close()
		if n := s.reservations(); n != c.left {
			t.Errorf("%d connections are left in the table, not %d", n, c.left)
		}
	})
	return s
}

// overBoth runs a test over HTTP/1.1 and over HTTP/2.
func overBoth(t *testing.T, f func(t *testing.T, h2 bool)) {
	t.Run("HTTP/1.1", func(t *testing.T) { f(t, false) })
	t.Run("HTTP/2", func(t *testing.T) { f(t, true) })
}

// reservations is the number of connections that can be named. It is for the end, when nobody changes it.
func (s *stage) reservations() int {
	return reflect.ValueOf(s.sys).Elem().FieldByName("tokens").Elem().FieldByName("byToken").Len()
}

func (s *stage) until(what string, f func() bool) {
	s.t.Helper()
	require.Eventually(s.t, f, within, time.Millisecond, what)
}

func (s *stage) disconnected() error {
	s.t.Helper()
	return get(s.t, s.gone)
}

// get waits for a value.
func get[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(within):
		require.FailNow(t, "nothing came")
	}
	return v
}

// answer is a response that has come whole.
type answer struct {
	status int
	header http.Header
	body   string
	length int64
	proto  int
	err    error
}

// try makes a request of the whole answer.
func (s *stage) try(ctx context.Context, method, path string, body io.Reader, header http.Header) (a answer) {
	r, err := http.NewRequestWithContext(ctx, method, s.server.URL+path, body)
	if err != nil {
		return answer{err: err}
	}
	for name, values := range header {
		r.Header[name] = values
	}
	response, err := s.client.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(text), response.ContentLength, response.ProtoMajor, err}
}

func (s *stage) do(method, path, body string, header http.Header) answer {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	a := s.try(ctx, method, path, strings.NewReader(body), header)
	require.NoError(s.t, a.err)
	return a
}

// is checks an answer that is a status and a text.
func (a answer) is(t testing.TB, status int, text string) {
	t.Helper()
	require.NoError(t, a.err)
	require.Equal(t, status, a.status, a.body)
	require.Equal(t, text, a.body)
	require.Equal(t, []string{"text/plain"}, a.header["Content-Type"])
}

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

// ---- without a hub

// door is an endpoint whose connections the test makes.
type door struct {
	*transport.Endpoint
	authenticate func(*http.Request) (transport.Identity, error)
	accept       func(link.Transport) (anySession, error)
}

// anySession is one over either kind of link.
type anySession interface {
	link.SocketSession
	link.FetchSession
}

func newDoor(t testing.TB) *door {
	origins, err := transport.NewOrigins(nil, false)
	require.NoError(t, err)
	d := &door{}
	d.Endpoint = &transport.Endpoint{
		Acceptor: d, Transports: transport.AllTransports, Origins: origins, Tokens: transport.NewTokens([4]byte{}),
		Log: slog.New(slog.DiscardHandler), PollTimeout: within,
	}
	return d
}

func (d *door) Authenticate(r *http.Request) (transport.Identity, error) {
	if d.authenticate != nil {
		return d.authenticate(r)
	}
	return transport.Identity{}, nil
}

func (d *door) AcceptSocket(_ transport.Opening, s link.Socket) (link.SocketSession, error) {
	return d.open(s)
}

func (d *door) AcceptFetcher(_ transport.Opening, f link.Fetcher) (link.FetchSession, error) {
	return d.open(f)
}

func (d *door) open(t link.Transport) (anySession, error) {
	if d.accept != nil {
		return d.accept(t)
	}
	return newScript(), nil
}

func (d *door) IsClosing() bool { return false }

func (d *door) negotiate(t testing.TB) (token string) {
	w := httptest.NewRecorder()
	d.Negotiate(w, httptest.NewRequest(http.MethodPost, "/door/negotiate?negotiateVersion=1", nil))
	var n struct{ ConnectionToken string }
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &n))
	return n.ConnectionToken
}

// knock makes a request of a door in the background.
func (d *door) knock(ctx context.Context, w http.ResponseWriter, method, token string, header http.Header, body io.Reader) (done chan struct{}) {
	done = make(chan struct{})
	r := httptest.NewRequestWithContext(ctx, method, "/door?id="+token, body)
	for name, values := range header {
		r.Header[name] = values
	}
	go func() {
		defer close(done)
		d.Connect(w, r)
	}()
	return done
}

var accept = http.Header{"Accept": {"text/event-stream"}}

// script is a session that the test plays.
type script struct {
	output chan [][]byte // closed at the end
	done   chan struct{}
	ended  chan error
	commit func(b []byte)

	mu     sync.Mutex
	buffer [4096]byte
	read   []byte
}

func newScript() *script {
	return &script{output: make(chan [][]byte), done: make(chan struct{}), ended: make(chan error, 10)}
}

func (s *script) Buffer() []byte { return s.buffer[:] }
func (s *script) Commit(n int) bool {
	if s.commit != nil && n > 0 {
		s.commit(s.buffer[:n])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read = append(s.read, s.buffer[:n]...)
	return true
}
func (s *script) CommitLast(n int) bool { return s.Commit(n) }
func (s *script) Partial() bool         { return false }
func (s *script) End(err error)         { s.ended <- err }
func (s *script) Pong([]byte)           {}
func (s *script) Leave(error)           {}
func (s *script) Done() <-chan struct{} { return s.done }
func (s *script) Take(ctx context.Context) (link.Output, error) {
	select {
	case messages, more := <-s.output:
		if !more {
			return nil, io.EOF
		}
		return scripted(messages), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// scripted is output that is lost if it is not delivered.
type scripted [][]byte

func (o scripted) Messages() [][]byte { return o }
func (scripted) Advance(int)          {}
func (scripted) Done(bool)            {}

// ---- framing

func TestTheHeadOfAnEventStream(t *testing.T) {
	s := newStage(t, scene{})
	g := s.negotiate(nil)
	e := g.stream()
	h := e.response.Header
	require.Equal(t, []string{"text/event-stream"}, h["Content-Type"])
	require.Equal(t, []string{"no-cache,no-store"}, h["Cache-Control"])
	require.Equal(t, []string{"no-cache"}, h["Pragma"])
	require.Equal(t, []string{"identity"}, h["Content-Encoding"])
	require.Equal(t, []string{"no"}, h["X-Accel-Buffering"])
	require.Equal(t, []string{"chunked"}, e.response.TransferEncoding)
	g.say(greeting)
	require.Equal(t, "data: {}"+separator+"\r\n", e.line())
	require.Equal(t, "\r\n", e.line())
}

func TestLinesOfAnEvent(t *testing.T) {
	for _, test := range []struct{ messages, want string }{
		{"a\x1e", "data: a\x1e\r\n\r\n"},
		{"", "data: \r\n\r\n"},
		{"a\x1e|b\x1e", "data: a\x1eb\x1e\r\n\r\n"},
		{"a\nb\x1e", "data: a\r\ndata: b\x1e\r\n\r\n"},
		{"a\r\nb\x1e", "data: a\r\ndata: b\x1e\r\n\r\n"},
		{"a\r\r\nb\x1e", "data: a\r\r\ndata: b\x1e\r\n\r\n"},
		{"\n\r\n\n", "data: \r\ndata: \r\ndata: \r\ndata: \r\n\r\n"},
		{"a\n|\nb", "data: a\r\ndata: \r\ndata: b\r\n\r\n"},
		{strings.Repeat("x", 5000) + "\n" + strings.Repeat("y", 5000), "data: " + strings.Repeat("x", 5000) + "\r\ndata: " + strings.Repeat("y", 5000) + "\r\n\r\n"},
	} {
		d := newDoor(t)
		session := newScript()
		d.accept = func(link.Transport) (anySession, error) { return session, nil }
		w := httptest.NewRecorder()
		done := d.knock(context.Background(), w, http.MethodGet, d.negotiate(t), accept, nil)
		var messages [][]byte
		for part := range strings.SplitSeq(test.messages, "|") {
			messages = append(messages, []byte(part))
		}
		session.output <- messages
		close(session.output)
		get(t, done)
		require.Equal(t, ":\r\n"+test.want, w.Body.String(), "%.100q", test.messages)
		require.True(t, w.Flushed)
	}
}

// broken is written in several lines.
type broken struct{}

func (broken) MarshalJSON() ([]byte, error) {
	return []byte("{\r\n\"a\":\n[\r1,\r\n\r\n\"\\n\"]}"), nil
}

func TestAValueInSeveralLines(t *testing.T) {
	s := newStage(t, scene{})
	_, e := s.attend(nil)
	require.NoError(t, s.hub.Clients().All().Send(context.Background(), "n", broken{}))
	e.got(`{"type":1,"target":"n","arguments":[{"a":[1,"\n"]}]}`)
}

func TestLargeEventsAndManyOfThem(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		s := newStage(t, scene{http2: h2})
		g, e := s.attend(nil)
		if h2 {
			require.Equal(t, 2, e.response.ProtoMajor)
		}
		g.say(call("1", "Long", 5<<20))
		e.got(strings.TrimSuffix(result("1", `"`+strings.Repeat("x", 5<<20)+`"`), separator))
		text := strings.Repeat("y", 300)
		var want []string
		for i := range 10000 {
			want = append(want, told("n", i, text))
		}
		sent := make(chan error, 1)
		go func() {
			for i := range 10000 {
				if err := s.hub.Clients().All().Send(context.Background(), "n", i, text); err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
		e.got(want...)
		require.NoError(t, get(t, sent))
	})
}

// Each event is there before the next one is asked for.
func TestEventsAreNotHeldBack(t *testing.T) {
	s := newStage(t, scene{})
	g, e := s.attend(nil)
	for i := range 100 {
		g.say(call(fmt.Sprint(i), "Echo", i))
		require.Equal(t, result(fmt.Sprint(i), fmt.Sprint(i)), e.next())
	}
}

// ---- statuses

func TestOneEventStreamForAConnection(t *testing.T) {
	s := newStage(t, scene{})
	g, e := s.attend(nil)
	s.do(http.MethodGet, g.path(), "", accept).is(t, http.StatusConflict, "")
	s.do(http.MethodGet, g.path(), "", nil).is(t, http.StatusBadRequest, "Cannot change transports mid-connection")
	s.do(http.MethodGet, g.path(), "", http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}).is(t, http.StatusBadRequest, "Cannot change transports mid-connection")
	g.remove().is(t, http.StatusBadRequest, "Cannot terminate this connection using the DELETE endpoint.")
	s.do(http.MethodPut, g.path(), "", nil).is(t, http.StatusMethodNotAllowed, "")
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		s.do(method, "/other?id="+g.token, "", nil).is(t, http.StatusNotFound, "No Connection with that ID")
		s.do(method, "/show?id="+g.id, "", nil).is(t, http.StatusNotFound, "No Connection with that ID")
		s.do(method, g.path()+"&id="+g.token, "", nil).is(t, http.StatusNotFound, "No Connection with that ID")
	}
	g.say(call("1", "Echo", 1)) // it has not suffered
	e.got(strings.TrimSuffix(result("1", "1"), separator))
}

func TestTransportsOfAnEndpoint(t *testing.T) {
	offers := map[hubsys.Transports]string{
		hubsys.WebSockets:       `{"transport":"WebSockets","transferFormats":["Text","Binary"]}`,
		hubsys.ServerSentEvents: `{"transport":"ServerSentEvents","transferFormats":["Text"]}`,
		hubsys.LongPolling:      `{"transport":"LongPolling","transferFormats":["Text","Binary"]}`,
	}
	upgrade := http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
	for mask := hubsys.Transports(0); mask <= hubsys.WebSockets|hubsys.ServerSentEvents|hubsys.LongPolling; mask++ {
		t.Run(fmt.Sprint(uint8(mask)), func(t *testing.T) {
			has := mask
			if mask == 0 {
				has = hubsys.WebSockets | hubsys.ServerSentEvents | hubsys.LongPolling
			}
			var asked atomic.Int64
			s := newStage(t, scene{left: 1, EndpointOptions: hubsys.EndpointOptions{
				Transports: mask,
				Authenticate: func(*http.Request) (*hubsys.Principal, error) {
					asked.Add(1)
					return nil, nil
				},
			}})
			var list []string
			for _, one := range []hubsys.Transports{hubsys.WebSockets, hubsys.ServerSentEvents, hubsys.LongPolling} {
				if has&one != 0 {
					list = append(list, offers[one])
				}
			}
			a := s.do(http.MethodPost, "/show/negotiate?negotiateVersion=1", "", nil)
			require.Contains(t, a.body, `"availableTransports":[`+strings.Join(list, ",")+`]}`)
			var n struct{ ConnectionToken string }
			require.NoError(t, json.Unmarshal([]byte(a.body), &n))
			require.EqualValues(t, 1, asked.Load())
			if has&hubsys.WebSockets == 0 {
				s.do(http.MethodGet, "/show?id="+n.ConnectionToken, "", upgrade).is(t, http.StatusNotFound, "WebSockets transport not supported by this end point type")
				s.do(http.MethodGet, "/show", "", upgrade).is(t, http.StatusNotFound, "WebSockets transport not supported by this end point type")
			}
			if has&hubsys.ServerSentEvents == 0 {
				s.do(http.MethodGet, "/show?id="+n.ConnectionToken, "", accept).is(t, http.StatusNotFound, "ServerSentEvents transport not supported by this end point type")
				s.do(http.MethodGet, "/show", "", accept).is(t, http.StatusBadRequest, "Connection ID required")
				s.do(http.MethodGet, "/show?id=x", "", accept).is(t, http.StatusNotFound, "No Connection with that ID")
			} else {
				s.attend(nil)
			}
			if has&hubsys.LongPolling == 0 {
				s.do(http.MethodGet, "/show?id="+n.ConnectionToken, "", nil).is(t, http.StatusNotFound, "LongPolling transport not supported by this end point type")
			} else {
				s.visit(nil)
			}
		})
	}
}

func TestBinaryOverAnEventStream(t *testing.T) {
	s := newStage(t, scene{})
	g := s.negotiate(nil)
	e := g.stream()
	g.say(`{"protocol":"messagepack","version":1}` + separator)
	e.got(`{"error":"Cannot use the 'messagepack' protocol on the current transport. The transport does not support 'Binary' transfer format."}`)
	e.eof()
	require.Empty(t, s.gone)
}

// user is who the header User says, unless Refuse says that this request is refused.
func user(r *http.Request) (*hubsys.Principal, error) {
	switch r.Header.Get("Refuse") {
	case "":
		return &hubsys.Principal{UserID: r.Header.Get("User")}, nil
	case "403":
		return nil, fmt.Errorf("%w: for a test", hubsys.ErrForbidden)
	default:
		return nil, errors.New("who are you?")
	}
}

func named(name string) http.Header { return http.Header{"User": {name}} }

func TestRequestsOfAnotherUserAndAnEventStream(t *testing.T) {
	s := newStage(t, scene{EndpointOptions: hubsys.EndpointOptions{Authenticate: user}})
	g := s.negotiate(named("ann"))
	both := func(name string) http.Header { return http.Header{"User": {name}, "Accept": accept["Accept"]} }
	for header, status := range map[*http.Header]int{
		{"User": {"bob"}, "Accept": accept["Accept"]}:                    http.StatusForbidden,
		{"Accept": accept["Accept"]}:                                     http.StatusForbidden,
		{"User": {"ann"}, "Accept": accept["Accept"], "Refuse": {"401"}}: http.StatusUnauthorized,
		{"User": {"ann"}, "Accept": accept["Accept"], "Refuse": {"403"}}: http.StatusForbidden,
	} {
		s.do(http.MethodGet, g.path(), "", *header).is(t, status, "")
	}
	e := g.stream()
	s.do(http.MethodPost, g.path(), greeting, named("bob")).is(t, http.StatusForbidden, "")
	s.do(http.MethodPost, g.path(), greeting, g.with("Refuse", "401")).is(t, http.StatusUnauthorized, "")
	s.do(http.MethodGet, g.path(), "", both("bob")).is(t, http.StatusConflict, "")                                                                  // the transport is looked at first
	s.do(http.MethodDelete, g.path(), "", named("bob")).is(t, http.StatusBadRequest, "Cannot terminate this connection using the DELETE endpoint.") // here, too
	g.say(greeting)
	e.got("{}")
	g.say(call("1", "Who"))
	e.got(strings.TrimSuffix(result("1", `"ann"`), separator))
	require.Empty(t, s.gone)
}

// ---- the end

func TestAnEventStreamThatVanishes(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		s := newStage(t, scene{http2: h2})
		g, e := s.attend(nil)
		e.cancel()
		require.NoError(t, s.disconnected())
		s.until("it is forgotten", func() bool { return g.post("x").status == http.StatusNotFound })
	})
}

func TestAnEventStreamThatVanishesInACall(t *testing.T) {
	s := newStage(t, scene{})
	g, e := s.attend(nil)
	g.say(call("1", "Tick", 1000000))
	e.next()
	e.cancel()
	require.NoError(t, s.disconnected())
}

func TestTheServerEndsAnEventStream(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		s := newStage(t, scene{http2: h2})
		g, e := s.attend(nil)
		g.say(call("", "Note", "a") + call("", "Abort"))
		e.got(`{"type":7}`)
		e.eof()
		require.NoError(t, s.disconnected())
		s.until("it is forgotten", func() bool { return g.post("x").status == http.StatusNotFound })
		s.do(http.MethodGet, g.path(), "", accept).is(t, http.StatusNotFound, "No Connection with that ID")
	})
}

func TestShutdownEndsEventStreams(t *testing.T) {
	s := newStage(t, scene{left: 1})
	waits := s.negotiate(nil)
	_, e := s.attend(nil)
	s.stopped = true
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	require.NoError(t, s.sys.Shutdown(ctx))
	e.got(`{"type":7,"allowReconnect":true}`)
	e.eof()
	require.NoError(t, s.disconnected())
	s.do(http.MethodGet, waits.path(), "", accept).is(t, http.StatusServiceUnavailable, "The server is shutting down.")
	s.do(http.MethodPost, "/show/negotiate", "", nil).is(t, http.StatusServiceUnavailable, "The server is shutting down.")
}

// ---- clients that are slow, servers that are in a hurry

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

func TestAClientThatDoesNotReadItsEvents(t *testing.T) {
	s := newStage(t, scene{small: true, EndpointOptions: hubsys.EndpointOptions{TransportSendTimeout: time.Second}})
	g := s.negotiate(nil)
	p := g.deaf()
	g.say(call("1", "Long", 4<<20))
	require.ErrorIs(t, s.disconnected(), hubsys.ErrSendTimeout)
	s.until("it is forgotten", func() bool { return g.post("x").status == http.StatusNotFound })
	_, err := io.Copy(io.Discard, p.r)
	if err == nil {
		err = io.EOF // cut in a chunk or not, it is over
	}
	require.NotErrorIs(t, err, context.DeadlineExceeded)
}

func TestTheOutboxOfAClientThatDoesNotReadItsEvents(t *testing.T) {
	s := newStage(t, scene{small: true, HubOptions: hubsys.HubOptions{OutboxLimit: 64 << 10}})
	g := s.negotiate(nil)
	g.deaf()
	for range 2 { // so that it is slower than most
		s.negotiate(nil).reads()
	}
	text := strings.Repeat("x", 30000)
	for len(s.gone) == 0 {
		require.NoError(t, s.hub.Clients().All().Send(context.Background(), "n", text))
	}
	require.ErrorIs(t, s.disconnected(), hubsys.ErrSlowClient)
}

func TestADeafClientOverHTTP2(t *testing.T) {
	s := newStage(t, scene{http2: true, EndpointOptions: hubsys.EndpointOptions{TransportSendTimeout: time.Second}})
	g, _ := s.attend(nil)
	g.say(call("1", "Long", 16<<20)) // more than the windows of a stream
	require.ErrorIs(t, s.disconnected(), hubsys.ErrSendTimeout)
}

func hurried(server *httptest.Server) {
	server.Config.ReadTimeout, server.Config.WriteTimeout, server.Config.IdleTimeout = 200*time.Millisecond, 200*time.Millisecond, within
}

func TestEventsOutliveTheTimeoutsOfTheServer(t *testing.T) {
	overBoth(t, func(t *testing.T, h2 bool) {
		s := newStage(t, scene{http2: h2, server: hurried})
		g, e := s.attend(nil)
		g.say(call("1", "Echo", 1))
		e.got(strings.TrimSuffix(result("1", "1"), separator))
		g.say(strings.Replace(call("2", "Tick", 8), `"type":1`, `"type":4`, 1))
		e.got(items("2", 8)...)
		require.Empty(t, s.gone)
	})
}

// ---- what lies between

// wrapper is what a middleware hands on.
type wrapper struct{ inner http.ResponseWriter }

func (w *wrapper) Header() http.Header         { return w.inner.Header() }
func (w *wrapper) Write(b []byte) (int, error) { return w.inner.Write(b) }
func (w *wrapper) WriteHeader(status int)      { w.inner.WriteHeader(status) }

// unwrapper can do nothing itself.
type unwrapper struct{ wrapper }

func (w *unwrapper) Unwrap() http.ResponseWriter { return w.inner }

func TestEventsBehindAMiddlewareThatUnwraps(t *testing.T) {
	s := newStage(t, scene{server: hurried, wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(&unwrapper{wrapper{&unwrapper{wrapper{w}}}}, r)
		})
	}})
	g, e := s.attend(nil)
	g.say(strings.Replace(call("2", "Tick", 4), `"type":1`, `"type":4`, 1))
	e.got(items("2", 4)...)
}

func TestEventsBehindAMiddlewareThatCannotFlush(t *testing.T) {
	s := newStage(t, scene{wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(&wrapper{w}, r) })
	}})
	g := s.negotiate(nil)
	s.do(http.MethodGet, g.path(), "", accept).is(t, http.StatusInternalServerError, "")
	g.begin() // the connection is still free
	g.say(greeting)
	g.got("{}")
}

// ---- a client in a nutshell

func TestCallsOverAnEventStream(t *testing.T) {
	s := newStage(t, scene{})
	g, e := s.attend(nil)
	converse(g, func() string { return e.next() })
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

// ---- races

// Of several requests that come at once, one gets the connection; the others are refused, and do not disturb it.
func TestManyFirstRequestsAtOnce(t *testing.T) {
	noLeaks(t)
	d := newDoor(t)
	for range 500 {
		const n = 8
		token := d.negotiate(t)
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		refused := make(chan struct{}, n)
		var recorders []*httptest.ResponseRecorder
		var all []chan struct{}
		for i := range n {
			w, header := httptest.NewRecorder(), accept
			if i%2 == 1 {
				header = nil
			}
			recorders = append(recorders, w)
			done := d.knock(ctx, w, http.MethodGet, token, header, nil)
			all = append(all, done)
			go func() {
				<-done
				refused <- struct{}{}
			}()
		}
		for range n - 1 { // the stream stays, or one of the polls waits
			get(t, refused)
		}
		cancel()
		streams, statuses := 0, map[int]int{}
		for i, done := range all {
			get(t, done)
			w := recorders[i]
			statuses[w.Code]++
			if i%2 == 0 && w.Code == http.StatusOK {
				require.Equal(t, "text/event-stream", w.Result().Header.Get("Content-Type"), "a stream that is none")
				streams++
			}
		}
		// With a stream, the other streams are 409 and the polls 400. With polls, the first is 200, the last one waits, and the others are 204.
		want := map[int]int{http.StatusOK: 2, http.StatusNoContent: n/2 - 2, http.StatusBadRequest: n / 2}
		if streams > 0 {
			want = map[int]int{http.StatusOK: 1, http.StatusConflict: n/2 - 1, http.StatusBadRequest: n / 2}
		}
		require.Equal(t, want, statuses)
	}
}

// The connection may be forgotten while its first request is looked at.
func TestAConnectionThatExpiresMeanwhile(t *testing.T) {
	for name, header := range map[string]http.Header{"events": accept, "poll": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDoor(t)
				d.Tokens.Limit = 1
				token := d.negotiate(t)
				d.authenticate = func(*http.Request) (transport.Identity, error) {
					d.authenticate = nil
					d.negotiate(t) // by somebody else, for whom it makes room
					return transport.Identity{}, nil
				}
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				w := httptest.NewRecorder()
				done := d.knock(ctx, w, http.MethodGet, token, header, nil)
				synctest.Wait()
				select {
				case <-done:
				default:
					require.FailNow(t, "the request is not answered")
				}
				require.Equal(t, http.StatusNotFound, w.Code)
			})
		})
	}
}

// ---- TLS

func TestAnEventStreamOverTLS(t *testing.T) {
	s := newStage(t, scene{http2: true})
	s.client.Transport.(*http.Transport).TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	s.client.Transport.(*http.Transport).ForceAttemptHTTP2 = false
	s.client.Transport.(*http.Transport).TLSClientConfig.NextProtos = []string{"http/1.1"}
	g, e := s.attend(nil)
	require.Equal(t, 1, e.response.ProtoMajor)
	converse(g, func() string { return e.next() })
}
