package hubactor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/hubactor"
)

func TestMain(m *testing.M) {
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	// Protoactor's throttle of dead letters has a goroutine that ends after a second.
	err := goleak.Find(
		goleak.IgnoreAnyFunction("github.com/asynkron/protoactor-go/actor.NewDeadLetter.NewThrottle.func4.1"),
		goleak.IgnoreAnyFunction("github.com/asynkron/protoactor-go/actor.NewThrottle.func1.1"))
	if code == 0 && err != nil {
		println(err.Error())
		code = 1
	}
	os.Exit(code)
}

const (
	// testTimeout limits every wait. A test that passes does not wait that long.
	testTimeout = 20 * time.Second
	poll        = 2 * time.Millisecond
)

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

// newActorSystem makes an actor system that logs nothing.
func newActorSystem(t testing.TB) *actor.ActorSystem {
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
	t.Cleanup(system.Shutdown)
	return system
}

func shutdown(sys *hubsys.System) error {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	return sys.Shutdown(ctx)
}

// receiver returns props of actors that all run one function.
func receiver(receive func(c actor.Context)) func(*hubsys.HubContext) *actor.Props {
	return func(*hubsys.HubContext) *actor.Props { return actor.PropsFromFunc(receive) }
}

// serveHub registers a hub, and returns its URL.
func serveHub(t testing.TB, hub hubactor.Hub, options hubsys.HubOptions) (url string) {
	t.Helper()
	return serveIn(t, newSystem(t, hubsys.Config{}), hub, options)
}

func serveIn(t testing.TB, sys *hubsys.System, hub hubactor.Hub, options hubsys.HubOptions) (url string) {
	t.Helper()
	if options.Name == "" {
		options.Name = "test"
	}
	c, err := hubactor.Register(sys, hub, options)
	require.NoError(t, err)
	return serve(t, sys, c)
}

// serve serves a registered hub, and returns its URL.
func serve(t testing.TB, sys *hubsys.System, hub *hubsys.HubContext) (url string) {
	t.Helper()
	path := "/" + hub.Name()
	require.NoError(t, hub.Map(path, hubsys.EndpointOptions{}))
	server := httptest.NewServer(sys)
	t.Cleanup(server.Close)
	return server.URL + path
}

const separator = "\x1e"

// client is a client that can send any message, valid or not.
type client struct {
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
	Item           json.RawMessage
	Result         json.RawMessage
	Error          *string
	AllowReconnect bool
	raw            string
}

// dial opens a connection, and returns after the hub has been told of it.
func dial(t testing.TB, url string) *client {
	t.Helper()
	c := dialHandshake(t, url)
	c.invoke("no such method: is the connection open?")
	return c
}

// dialHandshake opens a connection. The hub may not have been told of it yet.
func dialHandshake(t testing.TB, url string) *client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, url, nil)
	require.NoError(t, err)
	ws.SetReadLimit(-1)
	t.Cleanup(func() { _ = ws.CloseNow() })
	c := &client{t: t, ws: ws}
	c.send(`{"protocol":"json","version":1}`)
	require.Equal(t, "{}", c.next().raw)
	return c
}

// send sends records as one WebSocket message.
func (c *client) send(records ...string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	require.NoError(c.t, c.ws.Write(ctx, websocket.MessageText, []byte(strings.Join(records, separator)+separator)))
}

// read returns the next record that is not a ping. It may be called from any goroutine.
func (c *client) read() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	for {
		raw, rest, whole := strings.Cut(c.unread, separator)
		if whole {
			if c.unread = rest; raw != `{"type":6}` {
				return raw, nil
			}
			continue
		}
		_, b, err := c.ws.Read(ctx)
		if err != nil {
			return "", err
		}
		c.unread += string(b)
	}
}

func (c *client) tryNext() (serverMessage, error) {
	raw, err := c.read()
	if err != nil {
		return serverMessage{}, err
	}
	m := serverMessage{raw: raw}
	return m, json.Unmarshal([]byte(raw), &m)
}

// next returns the next message that is not a ping.
func (c *client) next() serverMessage {
	c.t.Helper()
	if len(c.skipped) > 0 {
		m := c.skipped[0]
		c.skipped = c.skipped[1:]
		return m
	}
	m, err := c.tryNext()
	require.NoError(c.t, err)
	return m
}

// invocation returns a call as JSON.
func invocation(id, method string, args ...any) string { return record(1, id, method, args, nil) }

// streamInvocation returns a call of a method that streams.
func streamInvocation(id, method string, args ...any) string { return record(4, id, method, args, nil) }

// upload returns a call with streams.
func upload(id, method string, streamIDs ...string) string {
	return record(1, id, method, nil, streamIDs)
}

func record(kind int, id, method string, args []any, streamIDs []string) string {
	if args == nil {
		args = []any{}
	}
	m := map[string]any{"type": kind, "target": method, "arguments": args}
	if id != "" {
		m["invocationId"] = id
	}
	if streamIDs != nil {
		m["streamIds"] = streamIDs
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func cancelInvocation(id string) string { return `{"type":5,"invocationId":"` + id + `"}` }

func item(streamID, value string) string {
	return `{"type":2,"invocationId":"` + streamID + `","item":` + value + `}`
}

func endOfStream(streamID string) string { return `{"type":3,"invocationId":"` + streamID + `"}` }

// call sends a call, and returns its ID.
func (c *client) call(method string, args ...any) (id string) {
	c.t.Helper()
	c.lastID++
	id = strconv.Itoa(c.lastID)
	c.send(invocation(id, method, args...))
	return id
}

// completion waits for the completion of a call, and keeps the messages before it for next.
func (c *client) completion(id string) serverMessage {
	c.t.Helper()
	for i, m := range c.skipped {
		if m.Type == 3 && m.InvocationID == id {
			c.skipped = append(c.skipped[:i:i], c.skipped[i+1:]...)
			return m
		}
	}
	for {
		m, err := c.tryNext()
		require.NoError(c.t, err)
		if m.Type == 3 && m.InvocationID == id {
			return m
		}
		c.skipped = append(c.skipped, m)
	}
}

func (c *client) invoke(method string, args ...any) serverMessage {
	c.t.Helper()
	return c.completion(c.call(method, args...))
}

// result makes a call that succeeds, and returns its result as JSON.
func (c *client) result(method string, args ...any) string {
	c.t.Helper()
	return c.resultOf(c.call(method, args...))
}

func (c *client) resultOf(id string) string {
	c.t.Helper()
	m := c.completion(id)
	require.Nil(c.t, m.Error, m.raw)
	return string(m.Result)
}

// failure makes a call that fails, and returns the error.
func (c *client) failure(method string, args ...any) string {
	c.t.Helper()
	return c.failureOf(c.call(method, args...))
}

func (c *client) failureOf(id string) string {
	c.t.Helper()
	m := c.completion(id)
	require.NotNil(c.t, m.Error, m.raw)
	return *m.Error
}

// requireClose requires that the connection is closed by the server, and reports whether the client may reconnect.
func (c *client) requireClose() (allowReconnect bool) {
	c.t.Helper()
	for {
		if m := c.next(); m.Type == 7 {
			return m.AllowReconnect
		}
	}
}

// close closes the connection.
func (c *client) close() { _ = c.ws.Close(websocket.StatusNormalClosure, "") }

func unexpected(method string) string {
	return "An unexpected error occurred invoking '" + method + "' on the server."
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

// eventually waits for a condition.
func eventually(t testing.TB, condition func() bool, why string, args ...any) {
	t.Helper()
	require.Eventually(t, condition, testTimeout, poll, append([]any{why}, args...)...)
}

// processes returns how many processes are registered.
func processes(system *actor.ActorSystem) (n int) {
	for _, bucket := range system.ProcessRegistry.LocalPIDs.LocalPIDs {
		n += bucket.Count()
	}
	return n
}

// names returns the names of all processes that contain a text.
func names(system *actor.ActorSystem, containing string) (list []string) {
	for _, bucket := range system.ProcessRegistry.LocalPIDs.LocalPIDs {
		for _, name := range bucket.Keys() {
			if strings.Contains(name, containing) {
				list = append(list, name)
			}
		}
	}
	return list
}

// goroutines returns how many goroutines have a text in their stack.
func goroutines(containing string) int {
	b := make([]byte, 4<<20)
	return strings.Count(string(b[:runtime.Stack(b, true)]), containing)
}

// logRecorder records a log as text.
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

var errTest = errors.New("the test says so")

// journal is a list of texts that several goroutines write.
type journal struct {
	mu   sync.Mutex
	list []string
}

func (j *journal) write(entry string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.list = append(j.list, entry)
}

func (j *journal) read() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]string(nil), j.list...)
}

func (j *journal) clear() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.list = nil
}

// requireNothing requires that nothing is received for a while. On a busy machine it may pass by mistake, but never fail by mistake.
func requireNothing[T any](t testing.TB, c <-chan T) {
	t.Helper()
	select {
	case v := <-c:
		require.FailNow(t, "something was received", "%v", v)
	case <-time.After(50 * time.Millisecond):
	}
}
