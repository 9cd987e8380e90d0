package hubsys_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// testTimeout limits every wait. A test that passes does not wait that long.
const testTimeout = 20 * time.Second

// testHub is the hub of a testServer. Its method Do runs an action that a test has registered with testServer.handle.
type testHub struct {
	hubsys.Hub
	srv *testServer
}

type hubAction func(ctx context.Context, h *testHub, args []json.RawMessage) (any, error)

func (h *testHub) Do(ctx context.Context, name string, args []json.RawMessage) (any, error) {
	h.srv.mu.Lock()
	do := h.srv.actions[name]
	h.srv.mu.Unlock()
	return do(ctx, h, args)
}

func (h *testHub) Echo(v any) any { return v }

func (h *testHub) OnConnected(ctx context.Context) error {
	if h.srv.onConnected != nil {
		return h.srv.onConnected(ctx, h)
	}
	return nil
}

func (h *testHub) OnDisconnected(ctx context.Context, cause error) error {
	if h.srv.onDisconnected != nil {
		return h.srv.onDisconnected(ctx, h, cause)
	}
	return nil
}

// testServer is an HTTP server of a System, with a testHub at /test.
type testServer struct {
	t   testing.TB
	sys *hubsys.System
	hub *hubsys.HubContext
	url string // URL of the test hub
	log *logRecorder

	shutdownMayFail bool // the cleanup ignores errors of Shutdown

	onConnected    func(ctx context.Context, h *testHub) error
	onDisconnected func(ctx context.Context, h *testHub, cause error) error

	mu      sync.Mutex
	actions map[string]hubAction
}

type testConfig struct {
	hubsys.HubOptions
	hubsys.EndpointOptions
	hubsys.Config
	configure      func(*httptest.Server) // called before the server starts
	tls            bool
	onConnected    func(ctx context.Context, h *testHub) error
	onDisconnected func(ctx context.Context, h *testHub, cause error) error
}

// quickClose is a CloseTimeout for tests whose clients do not answer the close message, so that Shutdown does not wait for them long.
const quickClose = 500 * time.Millisecond

func newTestServer(t testing.TB, s testConfig) *testServer {
	t.Helper()
	srv := &testServer{t: t, log: &logRecorder{}, actions: map[string]hubAction{}, onConnected: s.onConnected, onDisconnected: s.onDisconnected}
	if s.Logger == nil {
		s.Logger = srv.log.logger()
	}
	var err error
	srv.sys, err = hubsys.New(s.Config)
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := shutdown(srv.sys); err != nil && !srv.shutdownMayFail {
			t.Error("shutdown:", err)
		}
	})
	srv.hub = register(t, srv.sys, func(context.Context) (*testHub, error) { return &testHub{srv: srv}, nil }, s.HubOptions)
	require.NoError(t, srv.hub.Map("/test", s.EndpointOptions))
	server := httptest.NewUnstartedServer(noteSecrets(srv.sys))
	server.Config.ErrorLog = newSuiteErrorLog()
	if s.configure != nil {
		s.configure(server)
	}
	if s.tls {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	srv.url = server.URL + "/test"
	return srv
}

// handle registers an action for testHub.Do.
func (srv *testServer) handle(name string, do hubAction) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	srv.actions[name] = do
}

func newSystem(t testing.TB, config hubsys.Config) *hubsys.System {
	t.Helper()
	if config.Logger == nil {
		config.Logger = newSuiteLogger()
	}
	sys, err := hubsys.New(config)
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := shutdown(sys); err != nil {
			t.Error("shutdown:", err)
		}
	})
	return sys
}

func shutdown(sys *hubsys.System) error {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	return sys.Shutdown(ctx)
}

func register[H hubsys.Instance](t testing.TB, sys *hubsys.System, create func(context.Context) (H, error), options hubsys.HubOptions) *hubsys.HubContext {
	t.Helper()
	hub, err := hubsys.Register(sys, create, options)
	require.NoError(t, err)
	return hub
}

// serve serves a hub at /hub, and returns its URL.
func serve(t testing.TB, sys *hubsys.System, hub *hubsys.HubContext) (url string) {
	t.Helper()
	require.NoError(t, hub.Map("/hub", hubsys.EndpointOptions{}))
	server := httptest.NewServer(noteSecrets(sys))
	t.Cleanup(server.Close)
	return server.URL + "/hub"
}

// useSmallWriteBuffers gives the server's connections small send buffers, so that a client that stops reading soon blocks writes.
func useSmallWriteBuffers(s *httptest.Server) { s.Listener = smallBufferListener{s.Listener} }

type smallBufferListener struct{ net.Listener }

func (l smallBufferListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		err = conn.(*net.TCPConn).SetWriteBuffer(4096)
	}
	return conn, err
}

// logRecorder records a log as text, which is part of that of the suite.
type logRecorder struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (r *logRecorder) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (r *logRecorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, _ = suite.text.Write(p)
	return r.buf.Write(p)
}

func (r *logRecorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.String()
}

const (
	separator     = "\x1e"
	handshakeJSON = `{"protocol":"json","version":1}`
	closeJSON     = `{"type":7}`
)

// testClient is a client that can send any message, valid or not.
type testClient struct {
	t       testing.TB
	ws      *websocket.Conn
	unread  string          // received, but not yet split into records
	skipped []serverMessage // received while waiting for another message
	lastID  int
}

// serverMessage is a message from the server.
type serverMessage struct {
	Type           int
	InvocationID   string
	Target         string
	Arguments      []any
	Result         json.RawMessage
	Error          *string
	AllowReconnect bool
	raw            string
}

type dialOptions struct {
	header http.Header
	client *http.Client
}

// smallBufferClient is an HTTP client whose sockets have small receive buffers.
var smallBufferClient = &http.Client{Transport: &http.Transport{
	DialContext: (&net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		return errors.Join(c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) }), err)
	}}).DialContext,
}}

// dialSocket opens a WebSocket without a handshake of the hub protocol.
func dialSocket(t testing.TB, url string, d dialOptions) *testClient {
	t.Helper()
	c, status, err := tryDialSocket(t, url, d)
	require.NoError(t, err, "status %d", status)
	return c
}

func tryDialSocket(t testing.TB, url string, d dialOptions) (c *testClient, status int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	ws, response, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPHeader: d.header, HTTPClient: d.client})
	if response != nil {
		status = response.StatusCode
	}
	if err != nil {
		return nil, status, err
	}
	ws.SetReadLimit(-1)
	t.Cleanup(func() { _ = ws.CloseNow() })
	return &testClient{t: t, ws: ws}, status, nil
}

// dial opens a connection, and returns after OnConnected.
func dial(t testing.TB, url string) *testClient {
	t.Helper()
	return dialWith(t, url, dialOptions{})
}

func dialWith(t testing.TB, url string, d dialOptions) *testClient {
	t.Helper()
	c := dialHandshake(t, url, d)
	c.send(invocation("ready", "is OnConnected over?"))
	c.awaitCompletion("ready")
	return c
}

// dialHandshake opens a WebSocket and completes the handshake. OnConnected may still be running.
func dialHandshake(t testing.TB, url string, d dialOptions) *testClient {
	t.Helper()
	c := dialSocket(t, url, d)
	c.send(handshakeJSON)
	require.Equal(t, "{}", c.next().raw)
	return c
}

// send sends records as one WebSocket message.
func (c *testClient) send(records ...string) {
	c.t.Helper()
	c.sendRaw(strings.Join(records, separator) + separator)
}

func (c *testClient) sendRaw(text string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	require.NoError(c.t, c.ws.Write(ctx, websocket.MessageText, []byte(text)))
}

// read returns the next record that is not a ping. It may be called from any goroutine.
func (c *testClient) read() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	for {
		raw, rest, whole := strings.Cut(c.unread, separator)
		if whole {
			c.unread = rest
			if raw == `{"type":6}` {
				continue
			}
			return raw, nil
		}
		_, b, err := c.ws.Read(ctx)
		if err != nil {
			return "", err
		}
		if c.unread += string(b); !strings.HasSuffix(c.unread, separator) {
			return "", errors.New("a WebSocket message does not hold whole records: " + c.unread)
		}
	}
}

// next returns the next message that is not a ping.
func (c *testClient) next() serverMessage {
	c.t.Helper()
	if len(c.skipped) > 0 {
		r := c.skipped[0]
		c.skipped = c.skipped[1:]
		return r
	}
	r, err := c.tryNext()
	require.NoError(c.t, err)
	return r
}

func (c *testClient) tryNext() (serverMessage, error) {
	raw, err := c.read()
	if err != nil {
		return serverMessage{}, err
	}
	r := serverMessage{raw: raw}
	return r, json.Unmarshal([]byte(raw), &r)
}

// invocation returns a call as JSON.
func invocation(id, method string, args ...any) string {
	if args == nil {
		args = []any{}
	}
	m := map[string]any{"type": 1, "target": method, "arguments": args}
	if id != "" {
		m["invocationId"] = id
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// call sends a call and returns its ID.
func (c *testClient) call(method string, args ...any) (id string) {
	c.t.Helper()
	c.lastID++
	id = strconv.Itoa(c.lastID)
	c.send(invocation(id, method, args...))
	return id
}

// awaitCompletion waits for the completion of a call, and keeps the messages before it for next.
func (c *testClient) awaitCompletion(id string) serverMessage {
	c.t.Helper()
	for {
		r, err := c.tryNext()
		require.NoError(c.t, err)
		if r.Type == 3 && r.InvocationID == id {
			return r
		}
		c.skipped = append(c.skipped, r)
	}
}

func (c *testClient) invoke(method string, args ...any) serverMessage {
	c.t.Helper()
	return c.awaitCompletion(c.call(method, args...))
}

// do runs an action, and returns its result.
func (c *testClient) do(name string, args ...any) string {
	c.t.Helper()
	if args == nil {
		args = []any{}
	}
	r := c.invoke("Do", name, args)
	require.Nil(c.t, r.Error, r.raw)
	return string(r.Result)
}

// invokeError makes a call that fails, and returns the error.
func (c *testClient) invokeError(method string, args ...any) string {
	c.t.Helper()
	r := c.invoke(method, args...)
	require.NotNil(c.t, r.Error, r.raw)
	return *r.Error
}

// requireNoMessages requires that nothing else was sent to the client: messages are received in order, so they would come before the
// completion of this call.
func (c *testClient) requireNoMessages() {
	c.t.Helper()
	r := c.invoke("Echo", "quiet")
	require.Equal(c.t, `"quiet"`, string(r.Result))
	require.Empty(c.t, c.skipped)
}

// requireInvocation requires that the next message is this invocation of a client method.
func (c *testClient) requireInvocation(target string, args ...any) {
	c.t.Helper()
	require.Equal(c.t, serverInvocation(target, args...), c.next().raw)
}

// serverInvocation returns an invocation as the server encodes it.
func serverInvocation(target string, args ...any) string {
	if args == nil {
		args = []any{}
	}
	b, err := json.Marshal(args)
	if err != nil {
		panic(err)
	}
	return `{"type":1,"target":"` + target + `","arguments":` + string(b) + `}`
}

// requireClosed requires that the WebSocket is closed without further messages, and returns the code of the close frame, or -1.
func (c *testClient) requireClosed() websocket.StatusCode {
	c.t.Helper()
	raw, err := c.read()
	require.Error(c.t, err, raw)
	require.NotErrorIs(c.t, err, context.DeadlineExceeded)
	return websocket.CloseStatus(err)
}

// close closes the WebSocket with a close frame.
func (c *testClient) close() {
	c.t.Helper()
	_ = c.ws.Close(websocket.StatusNormalClosure, "")
}

// receive returns the next value of a channel, and fails the test after testTimeout.
func receive[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(testTimeout):
		require.FailNow(t, "nothing was received")
		panic("unreachable")
	}
}

// post sends an empty POST, and returns status and body of the response.
func post(t testing.TB, url string, header http.Header) (status int, body string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, url, nil)
	require.NoError(t, err)
	for name, values := range header {
		r.Header[name] = values
	}
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(b)
}

// negotiate returns the ID and the token of a new connection.
func negotiate(t testing.TB, url string, header http.Header) (id, token string) {
	t.Helper()
	status, body := post(t, url+"/negotiate?negotiateVersion=1", header)
	require.Equal(t, http.StatusOK, status)
	var n struct{ ConnectionID, ConnectionToken string }
	require.NoError(t, json.Unmarshal([]byte(body), &n))
	suite.note(n.ConnectionToken)
	return n.ConnectionID, n.ConnectionToken
}

// dialWithID opens a connection, and returns its ID.
func dialWithID(t testing.TB, url string, header http.Header) (c *testClient, id string) {
	t.Helper()
	id, token := negotiate(t, url, header)
	return dialWith(t, url+"?id="+token, dialOptions{header: header}), id
}
