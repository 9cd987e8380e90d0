package actors

import (
	"context"
	"flag"
	"log/slog"
	"runtime"
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
	flag.Set("rapid.nofailfile", "true") // failures are printed; no file is needed
	// Protoactor's dead event throttle has a goroutine that ends after a second.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/asynkron/protoactor-go/actor.NewDeadLetter.NewThrottle.func4.1"),
		goleak.IgnoreAnyFunction("github.com/asynkron/protoactor-go/actor.NewThrottle.func1.1")) // the name if it is not inlined
}

// Most tests run in a bubble of testing/synctest, which has a fake clock: settle returns when all goroutines are blocked, and a leaked
// goroutine or a deadlock fails the test.

// env is a test environment: a System with one hub, and its clients.
type env struct {
	t           *testing.T
	bubble      bool
	sys         *System
	hub         *Hub
	handler     *handler
	settings    Settings
	log         *errorLog
	done        chan struct{} // closed at the end of the test, to release blocked methods
	clients     []*client
	wasShutDown atomic.Bool // the test itself shuts the system down
	busy        atomic.Bool // makes the clock report that the program is not quiet

	mu               sync.Mutex
	deadLetterEvents []*actor.DeadLetterEvent
}

// inBubble runs a test in a bubble with an env that has the JSON protocol.
func inBubble(t *testing.T, f func(t *testing.T, e *env)) {
	inBubbleWith(t, second, f, hubproto.JSON)
}

func inBubbleWith(t *testing.T, period time.Duration, f func(t *testing.T, e *env), protocols ...hubproto.Protocol) {
	for range 2 { // empties pools: pieces that have grown in another test are charged for what they are
		runtime.GC()
	}
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t, nil, period, protocols...)
		e.bubble = true
		f(t, e)
	})
}

const (
	second = time.Second
	never  = 1000 * time.Hour

	lateTickTime = time.Millisecond // period of the flusher's late ticks
)

// Join adds a connection to a group.
func (h *Hub) Join(ctx context.Context, id, group string) error {
	return h.ChangeMembership(ctx, &Audience{Kind: Connections, Names: []string{id}}, group, false)
}

// Leave removes a connection from a group.
func (h *Hub) Leave(ctx context.Context, id, group string) error {
	return h.ChangeMembership(ctx, &Audience{Kind: Connections, Names: []string{id}}, group, true)
}

// overflowed closes the connection as it is closed when its outbox overflows.
func (c *Connection) overflowed() { (*boxOwner)(c).Overflowed() }

func newEnv(t *testing.T, foreign *actor.ActorSystem, period time.Duration, protocols ...hubproto.Protocol) *env {
	e := &env{t: t, handler: newHandler(), log: &errorLog{}, done: make(chan struct{})}
	e.settings = Settings{
		MaxMessage: 32 << 10, Parallel: 1, OutboxLimit: 64 << 10, InboundLimit: 1 << 20,
		HandshakeTimeout: 15 * second, KeepAlive: 15 * second, ClientTimeout: 30 * second, CloseTimeout: 5 * second, SendTimeout: 10 * second,
		DisconnectGrace: 30 * second, PendingResults: 100, StreamBuffer: 10, CallRate: 1_000_000, MaxGroups: 1_000_000, MaxGroupNames: 1 << 30,
	}
	start := time.Now()
	var err error
	e.sys, err = newSystem(foreign, slog.New(e.log), nil, nil, clock{
		now: func() time.Duration { return time.Since(start) }, period: period, isQuiet: func() bool { return !e.busy.Load() },
	})
	require.NoError(t, err)
	e.sys.actorSystem.EventStream.Subscribe(func(event any) {
		if deadLetter, ok := event.(*actor.DeadLetterEvent); ok {
			e.mu.Lock()
			e.deadLetterEvents = append(e.deadLetterEvents, deadLetter)
			e.mu.Unlock()
		}
	})
	e.hub, err = e.sys.NewHub("chat", e.handler, protocols, HubSettings{MaxNames: 100})
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
		e.sleep(5 * second) // for the goroutine of the dead event throttle, which ends after a second
	}
	for _, c := range e.clients {
		if faults := c.socket.Faults(); len(faults) > 0 {
			e.t.Error(c.conn.id, faults)
		}
	}
}

// shutdown calls Shutdown with a timeout of five seconds.
func (e *env) shutdown() error {
	e.wasShutDown.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), 5*second)
	defer cancel()
	return e.sys.Shutdown(ctx)
}

// settle waits until all goroutines of the bubble are blocked.
func (e *env) settle() { synctest.Wait() }

// sleep advances the clock of the bubble by d, and settles.
func (e *env) sleep(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (e *env) deadLetters() (messages []any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, event := range e.deadLetterEvents {
		messages = append(messages, event.Message)
	}
	return messages
}

// deadLetterCount returns the number of dead letters.
func (e *env) deadLetterCount() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.deadLetterEvents)
}

// send sends a message to an audience and requires that there is no error.
func (e *env) send(to *Audience, target string, args ...any) {
	e.t.Helper()
	require.NoError(e.t, e.hub.Send(context.Background(), to, target, args))
}

// checkProperty checks a property within the caller's bubble.
func (e *env) checkProperty(f func(t *rapid.T)) {
	rapid.Check(struct{ rapid.TB }{e.t}, f) // hides the type of the test, so that rapid does not ask for its deadline
}

// errorLog is a slog.Handler that records the messages of level error.
type errorLog struct {
	before func() // called for each message, if it is not nil
	mu     sync.Mutex
	errors []string
}

func (b *errorLog) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelError }
func (b *errorLog) WithAttrs([]slog.Attr) slog.Handler               { return b }
func (b *errorLog) WithGroup(string) slog.Handler                    { return b }
func (b *errorLog) Handle(_ context.Context, r slog.Record) error {
	if b.before != nil {
		b.before()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.errors = append(b.errors, r.Message)
	return nil
}

// actorRecorder is a process that records the messages that it receives.
type actorRecorder struct {
	pid      *actor.PID
	mu       sync.Mutex
	received []any
}

func (e *env) newRecorder(name string) *actorRecorder {
	r := &actorRecorder{}
	r.pid, _ = e.sys.actorSystem.ProcessRegistry.Add(r, name)
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

func (e *env) tell(pid *actor.PID, message any) { e.sys.actorSystem.Root.Send(pid, message) }

func (e *env) tellSystem(pid *actor.PID, message any) {
	process, _ := e.sys.actorSystem.ProcessRegistry.Get(pid)
	process.SendSystemMessage(pid, message)
}
