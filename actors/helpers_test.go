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
type env struct {
	t           *testing.T
	bubble      bool
	sys         *System
	hub         *Hub
	handler     *handler
	settings    Settings
	log         *errorLog
	done        chan struct{} // closed at the end of the test: whatever it has blocked goes on
	clients     []*client
	wasShutDown atomic.Bool // the test has shut the system down itself
	busy        atomic.Bool // the program does not seem to be at rest

	mu               sync.Mutex
	deadLetterEvents []*actor.DeadLetterEvent
}

// inBubble runs a test in a bubble.
func inBubble(t *testing.T, f func(t *testing.T, e *env)) {
	inBubbleWith(t, second, f, hubproto.JSON)
}

func inBubbleWith(t *testing.T, period time.Duration, f func(t *testing.T, e *env), protocols ...hubproto.Protocol) {
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, nil, period, protocols...)
		e.bubble = true
		f(t, e)
	})
}

const (
	second = time.Second
	never  = 1000 * time.Hour

	lateTickTime = time.Millisecond // until a late tick
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

func newEnv(t *testing.T, foreign *actor.ActorSystem, period time.Duration, protocols ...hubproto.Protocol) *env {
	e := &env{t: t, handler: newHandler(), log: &errorLog{}, done: make(chan struct{})}
	e.settings = Settings{
		MaxMessage: 32 << 10, Parallel: 1, OutboxLimit: 64 << 10, InboundLimit: 1 << 20,
		HandshakeTimeout: 15 * second, KeepAlive: 15 * second, ClientTimeout: 30 * second, CloseTimeout: 5 * second, SendTimeout: 10 * second,
		DisconnectGrace: 30 * second, PendingResults: 100, StreamBuffer: 10,
	}
	start := time.Now()
	var err error
	e.sys, err = newSystem(foreign, slog.New(e.log), clock{
		now: func() time.Duration { return time.Since(start) }, period: period, isQuiet: func() bool { return !e.busy.Load() },
	})
	require.NoError(t, err)
	e.sys.actors.EventStream.Subscribe(func(event any) {
		if letter, ok := event.(*actor.DeadLetterEvent); ok {
			e.mu.Lock()
			e.deadLetterEvents = append(e.deadLetterEvents, letter)
			e.mu.Unlock()
		}
	})
	e.hub, err = e.sys.NewHub("chat", e.handler, protocols)
	require.NoError(t, err)
	e.handler.done = e.done
	t.Cleanup(e.cleanUp)
	return e
}

func (e *env) cleanUp() {
	close(e.done)
	for _, c := range e.clients {
		c.socket.Cut()
	}
	if !e.wasShutDown.Load() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*second)
		defer cancel()
		if err := e.sys.Shutdown(ctx); err != nil {
			e.t.Error(err)
		}
	}
	if e.bubble {
		e.sleep(5 * second) // protoactor counts dead letters in a goroutine that lives for a second
	}
	for _, c := range e.clients {
		if faults := c.socket.Faults(); len(faults) > 0 {
			e.t.Error(c.conn.id, faults)
		}
	}
}

// shutdown is Shutdown with five seconds' time.
func (e *env) shutdown() error {
	e.wasShutDown.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), 5*second)
	defer cancel()
	return e.sys.Shutdown(ctx)
}

// settle returns when nothing happens any more unless the clock moves.
func (e *env) settle() { synctest.Wait() }

// pass lets time pass.
func (e *env) sleep(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (e *env) deadLetters() (messages []any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, letter := range e.deadLetterEvents {
		messages = append(messages, letter.Message)
	}
	return messages
}

// lost is the number of dead letters.
func (e *env) deadLetterCount() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.deadLetterEvents)
}

// send sends a message to an audience, and must not wait for it.
func (e *env) send(to *Audience, target string, args ...any) {
	e.t.Helper()
	require.NoError(e.t, e.hub.Send(context.Background(), to, target, args))
}

// property checks a property in the bubble that the caller is in.
func (e *env) checkProperty(f func(t *rapid.T)) {
	rapid.Check(struct{ rapid.TB }{e.t}, f) // hidden, so that rapid does not ask for the test's deadline
}

// book keeps what is logged as errors.
type errorLog struct {
	mu     sync.Mutex
	errors []string
}

func (b *errorLog) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelError }
func (b *errorLog) WithAttrs([]slog.Attr) slog.Handler               { return b }
func (b *errorLog) WithGroup(string) slog.Handler                    { return b }
func (b *errorLog) Handle(_ context.Context, r slog.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.errors = append(b.errors, r.Message)
	return nil
}

// probe is an actor that keeps what it gets.
type actorRecorder struct {
	pid      *actor.PID
	mu       sync.Mutex
	received []any
}

func (e *env) newRecorder(name string) *actorRecorder {
	r := &actorRecorder{}
	r.pid, _ = e.sys.actors.ProcessRegistry.Add(r, name)
	return r
}

func (r *actorRecorder) SendUserMessage(_ *actor.PID, message any) {
	r.record(actor.UnwrapEnvelopeMessage(message))
}
func (r *actorRecorder) SendSystemMessage(_ *actor.PID, message any) { r.record(message) }
func (r *actorRecorder) Stop(*actor.PID)                             {}

func (r *actorRecorder) record(message any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.received = append(r.received, message)
}

func (r *actorRecorder) messages() []any {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]any(nil), r.received...)
}

func (e *env) tell(pid *actor.PID, message any) { e.sys.actors.Root.Send(pid, message) }

func (e *env) tellSystem(pid *actor.PID, message any) {
	process, _ := e.sys.actors.ProcessRegistry.Get(pid)
	process.SendSystemMessage(pid, message)
}
