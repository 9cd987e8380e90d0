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
const within = 20 * time.Second

// ---- the server

// lab is a hub that does what its test wants: Do runs an action of the world by its name.
type lab struct {
	hubsys.Hub
	w *world
}

type action func(ctx context.Context, h *lab, args []json.RawMessage) (any, error)

func (h *lab) Do(ctx context.Context, name string, args []json.RawMessage) (any, error) {
	h.w.mu.Lock()
	do := h.w.actions[name]
	h.w.mu.Unlock()
	return do(ctx, h, args)
}

func (h *lab) Echo(v any) any { return v }

func (h *lab) OnConnected(ctx context.Context) error {
	if h.w.connected != nil {
		return h.w.connected(ctx, h)
	}
	return nil
}

func (h *lab) OnDisconnected(ctx context.Context, cause error) error {
	if h.w.disconnected != nil {
		return h.w.disconnected(ctx, h, cause)
	}
	return nil
}

// world is a System with the lab on /lab, behind an HTTP server.
type world struct {
	t   testing.TB
	sys *hubsys.System
	hub *hubsys.HubContext
	url string // of the hub
	log *journal

	abandoned bool // its shutdown does not succeed

	connected    func(ctx context.Context, h *lab) error
	disconnected func(ctx context.Context, h *lab, cause error) error

	mu      sync.Mutex
	actions map[string]action
}

type setup struct {
	hubsys.HubOptions
	hubsys.EndpointOptions
	hubsys.Config
	server       func(*httptest.Server) // before it is started
	tls          bool
	connected    func(ctx context.Context, h *lab) error
	disconnected func(ctx context.Context, h *lab, cause error) error
}

// quickClose is for tests that shut down with clients that do not answer the close message: Shutdown waits for them that long.
const quickClose = 500 * time.Millisecond

func newWorld(t testing.TB, s setup) *world {
	t.Helper()
	w := &world{t: t, log: &journal{}, actions: map[string]action{}, connected: s.connected, disconnected: s.disconnected}
	if s.Logger == nil {
		s.Logger = w.log.logger()
	}
	var err error
	w.sys, err = hubsys.New(s.Config)
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := shutdown(w.sys); err != nil && !w.abandoned {
			t.Error("shutdown:", err)
		}
	})
	w.hub = register(t, w.sys, func(context.Context) (*lab, error) { return &lab{w: w}, nil }, s.HubOptions)
	require.NoError(t, w.hub.Map("/lab", s.EndpointOptions))
	server := httptest.NewUnstartedServer(w.sys)
	if s.server != nil {
		s.server(server)
	}
	if s.tls {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	w.url = server.URL + "/lab"
	return w
}

// on gives an action its name.
func (w *world) on(name string, do action) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.actions[name] = do
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
	ctx, cancel := context.WithTimeout(context.Background(), within)
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
func smallSends(s *httptest.Server) { s.Listener = smallBuffers{s.Listener} }

type smallBuffers struct{ net.Listener }

func (l smallBuffers) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		err = conn.(*net.TCPConn).SetWriteBuffer(4096)
	}
	return conn, err
}

// journal is a log that can be searched.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

// ---- the client

const (
	separator = "\x1e"
	greeting  = `{"protocol":"json","version":1}`
	goodbye   = `{"type":7}`
)

// client is a SignalR client with its hands untied.
type client struct {
	t      testing.TB
	ws     *websocket.Conn
	unread string   // read from the socket and not cut into records
	aside  []record // met while something else was waited for
	calls  int
}

// record is one message of the server's.
type record struct {
	Type           int
	InvocationID   string
	Target         string
	Arguments      []any
	Result         json.RawMessage
	Error          *string
	AllowReconnect bool
	raw            string
}

type dialing struct {
	header http.Header
	http   *http.Client
}

// deaf is an HTTP client whose sockets have small receiving buffers.
var deaf = &http.Client{Transport: &http.Transport{
	DialContext: (&net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		return errors.Join(c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) }), err)
	}}).DialContext,
}}

// open opens a socket and says nothing.
func open(t testing.TB, url string, d dialing) *client {
	t.Helper()
	c, status, err := tryOpen(t, url, d)
	require.NoError(t, err, "status %d", status)
	return c
}

func tryOpen(t testing.TB, url string, d dialing) (c *client, status int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	ws, response, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPHeader: d.header, HTTPClient: d.http})
	if response != nil {
		status = response.StatusCode
	}
	if err != nil {
		return nil, status, err
	}
	ws.SetReadLimit(-1)
	t.Cleanup(func() { _ = ws.CloseNow() })
	return &client{t: t, ws: ws}, status, nil
}

// dial opens a connection; it is open when dial returns.
func dial(t testing.TB, url string) *client {
	t.Helper()
	return dialWith(t, url, dialing{})
}

func dialWith(t testing.TB, url string, d dialing) *client {
	t.Helper()
	c := shake(t, url, d)
	c.send(invocation("ready", "is OnConnected over?"))
	c.await("ready")
	return c
}

// shake opens a socket and shakes hands. Others may not see the connection yet, and OnConnected may be running.
func shake(t testing.TB, url string, d dialing) *client {
	t.Helper()
	c := open(t, url, d)
	c.send(greeting)
	require.Equal(t, "{}", c.next().raw)
	return c
}

// send writes records as one WebSocket message.
func (c *client) send(records ...string) {
	c.t.Helper()
	c.sendRaw(strings.Join(records, separator) + separator)
}

func (c *client) sendRaw(text string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	require.NoError(c.t, c.ws.Write(ctx, websocket.MessageText, []byte(text)))
}

// read gives the next record as it is, and can be used by any goroutine.
func (c *client) read() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
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
func (c *client) next() record {
	c.t.Helper()
	if len(c.aside) > 0 {
		r := c.aside[0]
		c.aside = c.aside[1:]
		return r
	}
	r, err := c.tryNext()
	require.NoError(c.t, err)
	return r
}

func (c *client) tryNext() (record, error) {
	raw, err := c.read()
	if err != nil {
		return record{}, err
	}
	r := record{raw: raw}
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
func (c *client) call(method string, args ...any) (id string) {
	c.t.Helper()
	c.calls++
	id = strconv.Itoa(c.calls)
	c.send(invocation(id, method, args...))
	return id
}

// await waits for the completion of a call and puts everything before it aside.
func (c *client) await(id string) record {
	c.t.Helper()
	for {
		r, err := c.tryNext()
		require.NoError(c.t, err)
		if r.Type == 3 && r.InvocationID == id {
			return r
		}
		c.aside = append(c.aside, r)
	}
}

func (c *client) invoke(method string, args ...any) record {
	c.t.Helper()
	return c.await(c.call(method, args...))
}

// do runs an action, which succeeds, and gives its result.
func (c *client) do(name string, args ...any) string {
	c.t.Helper()
	if args == nil {
		args = []any{}
	}
	r := c.invoke("Do", name, args)
	require.Nil(c.t, r.Error, r.raw)
	return string(r.Result)
}

// fails runs an action and gives the text of its error.
func (c *client) fails(method string, args ...any) string {
	c.t.Helper()
	r := c.invoke(method, args...)
	require.NotNil(c.t, r.Error, r.raw)
	return *r.Error
}

// quiet makes sure that nothing else has been sent to this client: all that was sent comes before the answer.
func (c *client) quiet() {
	c.t.Helper()
	r := c.invoke("Echo", "quiet")
	require.Equal(c.t, `"quiet"`, string(r.Result))
	require.Empty(c.t, c.aside)
}

// got makes sure that the next record is a call of a client method.
func (c *client) got(target string, args ...any) {
	c.t.Helper()
	require.Equal(c.t, invocationText(target, args...), c.next().raw)
}

// invocationText is how the server writes a call.
func invocationText(target string, args ...any) string {
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
func (c *client) ended() websocket.StatusCode {
	c.t.Helper()
	raw, err := c.read()
	require.Error(c.t, err, raw)
	require.NotErrorIs(c.t, err, context.DeadlineExceeded)
	return websocket.CloseStatus(err)
}

// leave closes the socket as a client does.
func (c *client) leave() {
	c.t.Helper()
	_ = c.ws.Close(websocket.StatusNormalClosure, "")
}

// ---- small things

// wait waits for a channel.
func wait[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(within):
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
func dialID(t testing.TB, url string, header http.Header) (c *client, id string) {
	t.Helper()
	id, token := negotiate(t, url, header)
	return dialWith(t, url+"?id="+token, dialing{header: header}), id
}
