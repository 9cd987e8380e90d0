package actors

import (
	"context"
	"flag"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

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
