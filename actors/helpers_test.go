package actors

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/internal/linktest"
	"github.com/troupe-go/troupe/internal/wsframe"
	"github.com/troupe-go/troupe/proto/hubproto"
)

func TestMain(m *testing.M) {
	flag.Set("rapid.nofailfile", "true") // what failed is printed; a file would only lie about
	// Protoactor counts dead letters in a goroutine that lives for a second.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/asynkron/protoactor-go/actor.NewDeadLetter.NewThrottle.func4.1"),
		goleak.IgnoreAnyFunction("github.com/asynkron/protoactor-go/actor.NewThrottle.func1.1")) // without inlining
}

// Most tests run in a bubble of testing/synctest: there the clock is the bubble's own, settle returns when everything is at rest, and
// a goroutine that is left over, or a deadlock, ends the test.

// world is a system with one hub.
type world struct {
	t        *testing.T
	bubble   bool
	sys      *System
	hub      *Hub
	handler  *handler
	settings Settings
	log      *book
	over     chan struct{} // closed at the end of the test: whatever it has blocked goes on
	clients  []*client
	stopped  atomic.Bool // the test has shut the system down itself
	busy     atomic.Bool // the program does not seem to be at rest

	mu   sync.Mutex
	dead []*actor.DeadLetterEvent
}

// inBubble runs a test in a bubble.
func inBubble(t *testing.T, f func(t *testing.T, w *world)) {
	inBubbleOf(t, second, f, hubproto.JSON)
}

func inBubbleOf(t *testing.T, period time.Duration, f func(t *testing.T, w *world), protocols ...hubproto.Protocol) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, period, protocols...)
		w.bubble = true
		f(t, w)
	})
}

const (
	second = time.Second
	never  = 1000 * time.Hour

	lateTime = time.Millisecond // until a late tick
)

// Join adds one connection to a group.
func (h *Hub) Join(ctx context.Context, id, group string) error {
	return h.ChangeMembership(ctx, &Audience{Kind: Connections, Names: []string{id}}, group, false)
}

// Leave removes one connection from a group.
func (h *Hub) Leave(ctx context.Context, id, group string) error {
	return h.ChangeMembership(ctx, &Audience{Kind: Connections, Names: []string{id}}, group, true)
}

// overflowed is what happens when the outbox was full.
func (c *Connection) overflowed() { (*boxOwner)(c).Overflowed() }

func newWorld(t *testing.T, foreign *actor.ActorSystem, period time.Duration, protocols ...hubproto.Protocol) *world {
	w := &world{t: t, handler: newHandler(), log: &book{}, over: make(chan struct{})}
	w.settings = Settings{
		MaxMessage: 32 << 10, Parallel: 1, OutboxLimit: 64 << 10, InboundLimit: 1 << 20,
		HandshakeTimeout: 15 * second, KeepAlive: 15 * second, ClientTimeout: 30 * second, CloseTimeout: 5 * second, SendTimeout: 10 * second,
		DisconnectGrace: 30 * second, PendingResults: 100, StreamBuffer: 10,
	}
	start := time.Now()
	var err error
	w.sys, err = newSystem(foreign, slog.New(w.log), clock{
		now: func() time.Duration { return time.Since(start) }, period: period, isQuiet: func() bool { return !w.busy.Load() },
	})
	require.NoError(t, err)
	w.sys.actors.EventStream.Subscribe(func(event any) {
		if letter, ok := event.(*actor.DeadLetterEvent); ok {
			w.mu.Lock()
			w.dead = append(w.dead, letter)
			w.mu.Unlock()
		}
	})
	w.hub, err = w.sys.NewHub("chat", w.handler, protocols)
	require.NoError(t, err)
	w.handler.over = w.over
	t.Cleanup(w.end)
	return w
}

func (w *world) end() {
	close(w.over)
	for _, c := range w.clients {
		c.socket.Cut()
	}
	if !w.stopped.Load() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*second)
		defer cancel()
		if err := w.sys.Shutdown(ctx); err != nil {
			w.t.Error(err)
		}
	}
	if w.bubble {
		w.pass(5 * second) // protoactor counts dead letters in a goroutine that lives for a second
	}
	for _, c := range w.clients {
		if faults := c.socket.Faults(); len(faults) > 0 {
			w.t.Error(c.conn.id, faults)
		}
	}
}

// shutdown is Shutdown with five seconds' time.
func (w *world) shutdown() error {
	w.stopped.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), 5*second)
	defer cancel()
	return w.sys.Shutdown(ctx)
}

// settle returns when nothing happens any more unless the clock moves.
func (w *world) settle() { synctest.Wait() }

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (w *world) letters() (messages []any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, letter := range w.dead {
		messages = append(messages, letter.Message)
	}
	return messages
}

// lost is the number of dead letters.
func (w *world) lost() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.dead)
}

// send sends a message to an audience, and must not wait for it.
func (w *world) send(to *Audience, target string, args ...any) {
	w.t.Helper()
	require.NoError(w.t, w.hub.Send(context.Background(), to, target, args))
}

// property checks a property in the bubble that the caller is in.
func (w *world) property(f func(t *rapid.T)) {
	rapid.Check(struct{ rapid.TB }{w.t}, f) // hidden, so that rapid does not ask for the test's deadline
}

// ---- handler

type method func(k *Call, args string) (any, error)

// handler runs the functions that a test gives it.
type handler struct {
	methods      map[string]method
	bind         func(k *Call) // runs before the arguments are bound
	connected    func(k *Call) error
	disconnected func(k *Call, cause error)
	describe     func(generic string, err error) string
	panicked     func(k *Call, err error)
	over         chan struct{}

	mu     sync.Mutex
	events []string
}

func newHandler() *handler {
	h := &handler{}
	h.methods = map[string]method{
		"echo": func(_ *Call, args string) (any, error) { return json.RawMessage(args), nil },
		"fail": func(*Call, string) (any, error) { return nil, errors.New("no") },
		"wait": func(k *Call, _ string) (any, error) { // until its context ends
			select {
			case <-k.Done():
				return nil, context.Cause(k)
			case <-h.over:
				return nil, nil
			}
		},
	}
	return h
}

func (h *handler) note(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, fmt.Sprintf(format, args...))
}

func (h *handler) noted() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string{}, h.events...)
}

func (h *handler) Invoke(k *Call, dst []byte) []byte {
	target, _ := k.Target()
	name, args := string(target), string(k.Arguments())
	if h.bind != nil {
		h.bind(k)
	}
	k.SetMethod(name)
	k.Bound()
	m := h.methods[name]
	if m == nil {
		m = func(*Call, string) (any, error) { return nil, errors.New("no method") }
	}
	result, err := m(k, args)
	if len(k.ID()) == 0 {
		return dst
	}
	protocol := k.Connection().Protocol()
	if err != nil {
		return protocol.AppendError(dst, k.ID(), err.Error())
	}
	dst, err = protocol.AppendResult(dst, k.ID(), result)
	if err != nil {
		return protocol.AppendError(dst, k.ID(), err.Error())
	}
	return dst
}

func (h *handler) Panicked(k *Call, dst []byte, err error) []byte {
	if h.panicked != nil {
		h.panicked(k, err)
	}
	if len(k.ID()) == 0 {
		return dst
	}
	return k.Connection().Protocol().AppendError(dst, k.ID(), err.Error())
}

func (h *handler) Connected(k *Call) error {
	h.note("connected %s", k.Connection().ID())
	if h.connected != nil {
		return h.connected(k)
	}
	return nil
}

func (h *handler) Disconnected(k *Call, cause error) {
	h.note("disconnected %s: %v", k.Connection().ID(), cause)
	if h.disconnected != nil {
		h.disconnected(k, cause)
	}
}

func (h *handler) Describe(generic string, err error) string {
	if h.describe != nil {
		return h.describe(generic, err)
	}
	return generic + " Error: " + err.Error()
}

// gate is a method that waits until it is let go, whatever becomes of its context.
func (w *world) gate() (m method, open func()) {
	gate := make(chan struct{})
	m = func(*Call, string) (any, error) {
		select {
		case <-gate:
		case <-w.over:
		}
		return "passed", nil
	}
	return m, sync.OnceFunc(func() { close(gate) })
}

// ---- client

// client is the peer of a connection, and the transport's reading goroutine.
type client struct {
	w      *world
	conn   *Connection
	socket *linktest.Socket
	turn   chan struct{} // a lock that a bubble sees through: the reading half is for one goroutine at a time
	ended  atomic.Bool
}

// connect opens a connection that has not said anything yet.
func (w *world) connect(id, user string, change ...func(*linktest.Socket)) *client {
	w.t.Helper()
	c, err := w.tryConnect(id, user, change...)
	require.NoError(w.t, err)
	return c
}

func (w *world) tryConnect(id, user string, change ...func(*linktest.Socket)) (*client, error) {
	s := linktest.NewSocket()
	s.Answers = true
	for _, f := range change {
		f(s)
	}
	settings := w.settings
	conn, err := w.hub.ConnectSocket(id, user, s, &settings, nil)
	c := &client{w: w, conn: conn, socket: s, turn: make(chan struct{}, 1)}
	if err != nil {
		return nil, err
	}
	w.clients = append(w.clients, c)
	go func() {
		<-s.Gone
		c.end(nil)
	}()
	return c, nil
}

// open opens a connection that has shaken hands and whose OnConnected has run.
func (w *world) open(id, user string, change ...func(*linktest.Socket)) *client {
	w.t.Helper()
	c := w.connect(id, user, change...)
	c.shake("json")
	if w.bubble {
		w.settle()
	}
	return c
}

func (c *client) shake(protocol string) {
	c.write(hubproto.AppendHandshakeRequest(nil, hubproto.HandshakeRequest{Protocol: protocol, Version: 1}))
}

// say sends records.
func (c *client) say(records ...string) {
	c.write([]byte(strings.Join(records, "\x1e") + "\x1e"))
}

// write is what a transport does with bytes that have come.
func (c *client) write(b []byte) {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	for len(b) > 0 && !c.ended.Load() {
		n := copy(c.conn.Buffer(), b)
		b = b[n:]
		c.conn.Commit(n)
	}
}

// end is what a transport does when nothing comes any more.
func (c *client) end(err error) {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	if !c.ended.Swap(true) {
		c.conn.End(err)
	}
}

func call(id, target string, args ...any) string {
	b, err := json.Marshal(args)
	if args == nil {
		b = []byte("[]")
	}
	if err != nil {
		panic(err)
	}
	if id != "" {
		id = `,"invocationId":"` + id + `"`
	}
	return fmt.Sprintf(`{"type":1%s,"target":%q,"arguments":%s}`, id, target, b)
}

func cancel(id string) string { return fmt.Sprintf(`{"type":5,"invocationId":%q}`, id) }

const ping = `{"type":6}`

func result(id, value string) string {
	return fmt.Sprintf(`{"type":3,"invocationId":%q,"result":%s}`, id, value)
}

func failure(id, text string) string {
	return fmt.Sprintf(`{"type":3,"invocationId":%q,"error":%q}`, id, text)
}

func told(target string, args ...any) string {
	b, err := hubproto.JSON.AppendInvocation(nil, nil, target, args)
	if err != nil {
		panic(err)
	}
	return string(b[:len(b)-1])
}

// got is everything that has arrived, the answer to the handshake left out.
func (c *client) got() []string {
	c.w.t.Helper()
	all := c.everything()
	require.NotEmpty(c.w.t, all, "no answer to the handshake")
	require.Equal(c.w.t, "{}", all[0])
	return all[1:]
}

// everything is the records that have arrived, and the control frames: "close 1000", "pong x".
func (c *client) everything() (records []string) {
	c.w.t.Helper()
	frames, rest := linktest.ParseFrames(c.socket.Wire())
	require.Empty(c.w.t, rest, "a frame has come in part")
	for _, f := range frames {
		switch f.Opcode {
		case wsframe.Close:
			records = append(records, fmt.Sprintf("close %d", binary.BigEndian.Uint16(f.Payload)))
		case wsframe.Pong:
			records = append(records, "pong "+string(f.Payload))
		default:
			parts, err := f.Records()
			require.NoError(c.w.t, err)
			records = append(records, parts...)
		}
	}
	return records
}

// ---- log

// book keeps what is logged as errors.
type book struct {
	mu     sync.Mutex
	errors []string
}

func (b *book) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelError }
func (b *book) WithAttrs([]slog.Attr) slog.Handler               { return b }
func (b *book) WithGroup(string) slog.Handler                    { return b }
func (b *book) Handle(_ context.Context, r slog.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.errors = append(b.errors, r.Message)
	return nil
}

// ---- actors

// probe is an actor that keeps what it gets.
type probe struct {
	pid *actor.PID
	mu  sync.Mutex
	got []any
}

func (w *world) probe(name string) *probe {
	p := &probe{}
	p.pid, _ = w.sys.actors.ProcessRegistry.Add(p, name)
	return p
}

func (p *probe) SendUserMessage(_ *actor.PID, message any) {
	p.keep(actor.UnwrapEnvelopeMessage(message))
}
func (p *probe) SendSystemMessage(_ *actor.PID, message any) { p.keep(message) }
func (p *probe) Stop(*actor.PID)                             {}

func (p *probe) keep(message any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = append(p.got, message)
}

func (p *probe) messages() []any {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]any(nil), p.got...)
}

func (w *world) tell(pid *actor.PID, message any) { w.sys.actors.Root.Send(pid, message) }

func (w *world) tellSystem(pid *actor.PID, message any) {
	process, _ := w.sys.actors.ProcessRegistry.Get(pid)
	process.SendSystemMessage(pid, message)
}
