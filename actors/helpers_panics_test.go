package actors

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/link"
	"github.com/troupe-go/troupe/internal/linktest"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// injection is one panic in the runtime. A panic before or behind the handling of a message is raised by a receiver middleware, one at a
// point by the code of the application that the runtime calls there.
type injection struct {
	actor   string // end of the id of the actor, or anyActor; empty: the connection "a"
	message func(m any) bool
	behind  bool

	point  string // name of a method of the application
	always bool   // it panics each time
	stage  string // of the life of the connection in which the point is reached; empty: any

	hits   atomic.Int32 // panics at a message
	points atomic.Int32 // panics at the point
	now    atomic.Pointer[string]
}

const (
	injectedPanic = "injected panic"
	anyActor      = "*"
)

// enter begins a stage of the life of the connection.
func (i *injection) enter(stage string) { i.now.Store(&stage) }

// at is called at each point where code of the application runs.
func (i *injection) at(point string) {
	if now := i.now.Load(); point != i.point || now == nil || i.stage != "" && i.stage != *now {
		return
	}
	if i.points.CompareAndSwap(0, 1) || i.always {
		panic(injectedPanic)
	}
}

func (i *injection) receive(next actor.ReceiverFunc) actor.ReceiverFunc {
	return func(ctx actor.ReceiverContext, envelope *actor.MessageEnvelope) {
		end := i.actor
		switch end {
		case "":
			end = "/a"
		case anyActor:
			end = ""
		}
		// The message is looked at first, because memory of a batch is used again when it has been handled.
		hit := i.now.Load() != nil && i.message != nil && strings.HasSuffix(ctx.Self().Id, end) && i.message(envelope.Message) && i.hits.CompareAndSwap(0, 1)
		if hit && !i.behind {
			panic(injectedPanic)
		}
		next(ctx, envelope)
		if hit {
			panic(injectedPanic)
		}
	}
}

// spawn has all actors that are spawned receive their messages through the injection, and so do their children.
func (i *injection) spawn(actor.SpawnFunc) actor.SpawnFunc {
	return func(system *actor.ActorSystem, id string, props *actor.Props, parent actor.SpawnerContext) (*actor.PID, error) {
		return actor.DefaultSpawner(system, id, props.Clone(actor.WithReceiverMiddleware(i.receive), actor.WithSpawnMiddleware(i.spawn)), parent)
	}
}

// inPanicBubble runs a test in a bubble with an env whose application panics where the injection says.
func inPanicBubble(t *testing.T, i *injection, f func(t *testing.T, e *env)) {
	synctest.Test(t, func(t *testing.T) {
		system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
		system.Root.WithSpawnMiddleware(i.spawn)
		t.Cleanup(system.Shutdown) // behind the cleanup of env
		protocol := panickyProtocol{hubproto.JSON, i}
		e := newEnv(t, system, second, protocol)
		e.bubble = true
		e.log.before = func() { i.at("slog.Handler.Handle") }
		var err error
		e.hub, err = e.sys.NewHub("panics", panickyHandler{e.handler, i}, []hubproto.Protocol{protocol}, HubSettings{MaxNames: 100})
		require.NoError(t, err)
		e.hub.ObserveGroups(panickyObserver{i})
		f(t, e)
	})
}

// connectOver is connect over a socket that panics where the injection says.
func (e *env) connectOver(i *injection, id, user string, resumable bool, change ...func(*linktest.Socket)) *client {
	e.t.Helper()
	s := linktest.NewSocket()
	s.Answers = true
	for _, f := range change {
		f(s)
	}
	settings := e.settings
	conn, err := e.hub.ConnectSocket(id, &Identity{UserID: user}, panickySocket{s, i}, &settings, resumable)
	require.NoError(e.t, err)
	c := &client{env: e, conn: conn, socket: s, readLock: make(chan struct{}, 1)}
	e.clients = append(e.clients, c)
	go func() {
		<-s.Gone
		c.end(nil)
	}()
	return c
}

type panickySocket struct {
	*linktest.Socket
	*injection
}

var _ link.Socket = panickySocket{}

func (s panickySocket) Blocks() bool { s.at("Socket.Blocks"); return s.Socket.Blocks() }
func (s panickySocket) TryWrite(b []byte) (int, error) {
	s.at("Socket.TryWrite")
	return s.Socket.TryWrite(b)
}
func (s panickySocket) Write(b []byte) (int, error) { s.at("Socket.Write"); return s.Socket.Write(b) }
func (s panickySocket) LastFrame() []byte           { s.at("Socket.LastFrame"); return s.Socket.LastFrame() }
func (s panickySocket) Finished()                   { s.at("Socket.Finished"); s.Socket.Finished() }
func (s panickySocket) Cut()                        { s.Socket.Cut(); s.at("Socket.Cut") }

type panickyProtocol struct {
	hubproto.Protocol
	*injection
}

func (p panickyProtocol) Binary() bool { p.at("Protocol.Binary"); return p.Protocol.Binary() }
func (p panickyProtocol) Next(buf []byte, searched, limit int) (int, error) {
	p.at("Protocol.Next")
	return p.Protocol.Next(buf, searched, limit)
}
func (p panickyProtocol) Parse(record []byte, m *hubproto.Message) error {
	p.at("Protocol.Parse")
	return p.Protocol.Parse(record, m)
}
func (p panickyProtocol) AppendInvocation(dst, id []byte, target string, args []any) ([]byte, error) {
	p.at("Protocol.AppendInvocation")
	return p.Protocol.AppendInvocation(dst, id, target, args)
}
func (p panickyProtocol) AppendResult(dst, id []byte, result any) ([]byte, error) {
	p.at("Protocol.AppendResult")
	return p.Protocol.AppendResult(dst, id, result)
}
func (p panickyProtocol) Append(dst []byte, m *hubproto.Message) []byte {
	p.at("Protocol.Append")
	return p.Protocol.Append(dst, m)
}

// panickyHandler is a handler that panics where the injection says. It records when OnConnected has succeeded.
type panickyHandler struct {
	*handler
	*injection
}

func (h panickyHandler) Invoke(k *Call, dst []byte) []byte {
	if k.conn.id == "a" {
		h.at("Handler.Invoke")
	}
	dst = h.handler.Invoke(k, dst)
	if k.conn.id == "a" {
		h.at("Handler.Invoke behind")
	}
	return dst
}

func (h panickyHandler) Connected(k *Call) error {
	if k.conn.id == "a" {
		h.at("Handler.Connected")
	}
	err := h.handler.Connected(k)
	if err == nil {
		h.record("accepted %s", k.conn.id)
	}
	return err
}

func (h panickyHandler) Disconnected(k *Call, cause error) {
	h.handler.Disconnected(k, cause)
	if k.conn.id == "a" {
		h.at("Handler.Disconnected")
	}
}

func (h panickyHandler) Reconnected(k *Call) error {
	h.at("Handler.Reconnected")
	return h.handler.Reconnected(k)
}

func (h panickyHandler) Refreshed(k *Call) {
	h.handler.Refreshed(k)
	h.at("Handler.Refreshed")
}

func (h panickyHandler) Ended(c *Connection, cause error) {
	h.handler.Ended(c, cause)
	if c.id == "a" {
		h.at("Handler.Ended")
	}
}

func (h panickyHandler) Describe(generic string, err error) string {
	h.at("Handler.Describe")
	return h.handler.Describe(generic, err)
}

type panickyObserver struct{ *injection }

func (o panickyObserver) Joined(group string, c *Connection) {
	if c.id == "a" {
		o.at("GroupObserver.Joined " + group)
	}
}

func (o panickyObserver) Left(group string, c *Connection, _ bool) {
	if c.id == "a" {
		o.at("GroupObserver.Left " + group)
	}
}

// outcome is what a function that runs on another goroutine has returned.
type outcome struct {
	name string
	done chan struct{}
	err  error
}

// callerTime is when callers give up, long after everything else.
const callerTime = 3600 * second

// start calls f on another goroutine, with a context that ends long after everything else should have. A panic is an error.
func (e *env) start(name string, f func(ctx context.Context) error) *outcome {
	o := &outcome{name: name, done: make(chan struct{})}
	go func() {
		defer close(o.done)
		defer func() {
			if reason := recover(); reason != nil {
				o.err = fmt.Errorf("panic: %v", reason)
			}
		}()
		ctx, cancel := context.WithTimeout(context.Background(), callerTime)
		defer cancel()
		o.err = f(ctx)
	}()
	return o
}

func (o *outcome) isOver() bool {
	select {
	case <-o.done:
		return true
	default:
		return false
	}
}

// count returns how many events are equal to want or begin with it.
func (h *handler) count(want string) (n int) {
	for _, event := range h.events() {
		if event == want || strings.HasPrefix(event, want+":") {
			n++
		}
	}
	return n
}

// isAnswered reports whether the client has received a completion of a call.
func (c *client) isAnswered(id string) bool {
	return slices.ContainsFunc(c.records(), func(record string) bool {
		return strings.HasPrefix(record, fmt.Sprintf(`{"type":3,"invocationId":%q,`, id))
	})
}
