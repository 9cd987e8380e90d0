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

// within bounds everything that a test waits for; a test that passes never waits for so long.
const testTimeout = 20 * time.Second

// lab is a hub that does what its test wants: Do runs an action of the world by its name.
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

// world is a System with the lab on /lab, behind an HTTP server.
type testServer struct {
	t   testing.TB
	sys *hubsys.System
	hub *hubsys.HubContext
	url string // of the hub
	log *logRecorder

	shutdownMayFail bool // its shutdown does not succeed

	onConnected    func(ctx context.Context, h *testHub) error
	onDisconnected func(ctx context.Context, h *testHub, cause error) error

	mu      sync.Mutex
	actions map[string]hubAction
}

type testConfig struct {
	hubsys.HubOptions
	hubsys.EndpointOptions
	hubsys.Config
	configure      func(*httptest.Server) // before it is started
	tls            bool
	onConnected    func(ctx context.Context, h *testHub) error
	onDisconnected func(ctx context.Context, h *testHub, cause error) error
}

// quickClose is for tests that shut down with clients that do not answer the close message: Shutdown waits for them that long.
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
	server := httptest.NewUnstartedServer(srv.sys)
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

// on gives an action its name.
func (srv *testServer) handle(name string, do hubAction) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	srv.actions[name] = do
}

func newSystem(t testing.TB, config hubsys.Config) *hubsys.System {
	t.Helper()
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
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

// serve maps a hub to /hub of a server of its own.
func serve(t testing.TB, sys *hubsys.System, hub *hubsys.HubContext) (url string) {
	t.Helper()
	require.NoError(t, hub.Map("/hub", hubsys.EndpointOptions{}))
	server := httptest.NewServer(sys)
	t.Cleanup(server.Close)
	return server.URL + "/hub"
}

// smallSends gives the server's connections small sending buffers, so that a client that stops reading is soon felt.
func useSmallWriteBuffers(s *httptest.Server) { s.Listener = smallBufferListener{s.Listener} }

type smallBufferListener struct{ net.Listener }

func (l smallBufferListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		err = conn.(*net.TCPConn).SetWriteBuffer(4096)
	}
	return conn, err
}

// journal is a log that can be searched.
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

// client is a SignalR client with its hands untied.
type testClient struct {
	t       testing.TB
	ws      *websocket.Conn
	unread  string          // read from the socket and not cut into records
	skipped []serverMessage // met while something else was waited for
	lastID  int
}

// record is one message of the server's.
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

// deaf is an HTTP client whose sockets have small receiving buffers.
var smallBufferClient = &http.Client{Transport: &http.Transport{
	DialContext: (&net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		return errors.Join(c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) }), err)
	}}).DialContext,
}}

// open opens a socket and says nothing.
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

// dial opens a connection; it is open when dial returns.
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

// shake opens a socket and shakes hands. Others may not see the connection yet, and OnConnected may be running.
func dialHandshake(t testing.TB, url string, d dialOptions) *testClient {
	t.Helper()
	c := dialSocket(t, url, d)
	c.send(handshakeJSON)
	require.Equal(t, "{}", c.next().raw)
	return c
}

// send writes records as one WebSocket message.
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

// read gives the next record as it is, and can be used by any goroutine.
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

// next gives the next record but for pings.
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

// invocation is the text of a call.
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

// call sends a call and gives its id.
func (c *testClient) call(method string, args ...any) (id string) {
	c.t.Helper()
	c.lastID++
	id = strconv.Itoa(c.lastID)
	c.send(invocation(id, method, args...))
	return id
}

// await waits for the completion of a call and puts everything before it aside.
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

// do runs an action, which succeeds, and gives its result.
func (c *testClient) do(name string, args ...any) string {
	c.t.Helper()
	if args == nil {
		args = []any{}
	}
	r := c.invoke("Do", name, args)
	require.Nil(c.t, r.Error, r.raw)
	return string(r.Result)
}

// fails runs an action and gives the text of its error.
func (c *testClient) invokeError(method string, args ...any) string {
	c.t.Helper()
	r := c.invoke(method, args...)
	require.NotNil(c.t, r.Error, r.raw)
	return *r.Error
}

// quiet makes sure that nothing else has been sent to this client: all that was sent comes before the answer.
func (c *testClient) requireNoMessages() {
	c.t.Helper()
	r := c.invoke("Echo", "quiet")
	require.Equal(c.t, `"quiet"`, string(r.Result))
	require.Empty(c.t, c.skipped)
}

// got makes sure that the next record is a call of a client method.
func (c *testClient) requireInvocation(target string, args ...any) {
	c.t.Helper()
	require.Equal(c.t, serverInvocation(target, args...), c.next().raw)
}

// invocationText is how the server writes a call.
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

// ended makes sure that the socket ends, with nothing more before it, and gives the code of the close frame, or -1.
func (c *testClient) requireClosed() websocket.StatusCode {
	c.t.Helper()
	raw, err := c.read()
	require.Error(c.t, err, raw)
	require.NotErrorIs(c.t, err, context.DeadlineExceeded)
	return websocket.CloseStatus(err)
}

// leave closes the socket as a client does.
func (c *testClient) close() {
	c.t.Helper()
	_ = c.ws.Close(websocket.StatusNormalClosure, "")
}

// wait waits for a channel.
func receive[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(testTimeout):
		require.FailNow(t, "nothing came")
		panic("unreachable")
	}
}

// post posts to a path, and gives status and body.
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

// negotiate gets ids for a connection.
func negotiate(t testing.TB, url string, header http.Header) (id, token string) {
	t.Helper()
	status, body := post(t, url+"/negotiate?negotiateVersion=1", header)
	require.Equal(t, http.StatusOK, status)
	var n struct{ ConnectionID, ConnectionToken string }
	require.NoError(t, json.Unmarshal([]byte(body), &n))
	return n.ConnectionID, n.ConnectionToken
}

// dialID opens a connection whose id is known.
func dialWithID(t testing.TB, url string, header http.Header) (c *testClient, id string) {
	t.Helper()
	id, token := negotiate(t, url, header)
	return dialWith(t, url+"?id="+token, dialOptions{header: header}), id
}
