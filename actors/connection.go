package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/internal/wsframe"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// Connection is the connection actor: it lives as long as the logical connection, not as its socket.
//
// It owns the handshake, the run queue, the list of its groups and the way a connection ends. It runs no user code and waits for
// nothing, so that pings, cancels and closing are handled while hub methods run. Its mailbox never blocks a sender: what the client
// sends is bounded by the inbound budget, what others send by maxForeign. The outbox and the reading half lie in the same struct but
// are not the actor's: whoever pushes, writes or reads uses them under their own locks.
//
// It goes through handshaking → open → closing → closed, and is supervised with Resume: the struct is the session.
type Connection struct {
	sys      *System
	hub      *Hub
	settings *Settings
	id       string
	userID   string
	socket   Socket // nil: its output is fetched
	pull     *pull
	flusher  *flusher
	pid      *actor.PID
	value    any
	opcode   byte  // of the messages that are sent
	protocol uint8 // its index in the hub's list

	mailbox mailbox
	out     outbox
	in      input
	calls   runQueue

	// The actor's own.
	state       state
	accepted    bool // OnConnected has succeeded: OnDisconnected is owed
	readerEnded bool
	event       *Call // OnConnected or OnDisconnected, while it runs
	cause       error // why it closes, or is failing
	groups      map[string]struct{}
	panicked    time.Duration

	closed atomic.Bool                   // the connection has begun to close
	done   atomic.Pointer[chan struct{}] // the same as a channel, made when somebody needs it

	// What the heartbeat looks at.
	shard  *shard
	slot   int32         // in the shard's list
	place  int32         // in the hub's list of everyone
	phase  atomic.Uint32 // the state
	heard  atomic.Bool
	pinged atomic.Bool
	beat   beat
}

type state uint8

const (
	handshaking state = iota
	open
	failing // a message could not be read: what came before is still answered
	closing
	closed
)

// Errors that OnDisconnected gets as its cause.
var (
	ErrClientTimeout    = errors.New("Client hasn't sent a message/ping within the configured ClientTimeoutInterval.")
	ErrHandshakeTimeout = errors.New("troupe: the client sent no handshake within HandshakeTimeout")
	ErrSlowClient       = errors.New("troupe: the client is too slow: its outbox has reached OutboxLimit")
	ErrSendTimeout      = errors.New("troupe: the client has taken nothing for TransportSendTimeout")
	errActorPanicked    = errors.New("troupe: the connection's actor panicked twice within a second")
	errActorStopped     = errors.New("troupe: the connection's actor was stopped")
)

// ClosedByClientError is the cause of a connection that its client has closed with an error.
type ClosedByClientError struct{ Text string }

func (e *ClosedByClientError) Error() string { return e.Text }

// ID is the connection's public id.
func (c *Connection) ID() string { return c.id }

// UserID is the user identifier, empty if there is none.
func (c *Connection) UserID() string { return c.userID }

// Value is what came with the connection from whoever has made it.
func (c *Connection) Value() any { return c.value }

// Hub is the hub that the connection belongs to.
func (c *Connection) Hub() *Hub { return c.hub }

// Protocol is the protocol that the client has asked for.
func (c *Connection) Protocol() hubproto.Protocol { return c.hub.protocols[c.protocol] }

// PID is the address of the connection actor. It is known when the handshake is over.
func (c *Connection) PID() *actor.PID { return c.pid }

// Done is closed when the connection begins to close.
func (c *Connection) Done() <-chan struct{} {
	if done := c.done.Load(); done != nil {
		return *done
	}
	done := make(chan struct{})
	if !c.done.CompareAndSwap(nil, &done) {
		return *c.done.Load()
	}
	if c.closed.Load() { // while it was made
		c.closeDone()
	}
	return done
}

// closeDone closes the channel, if there is one, once.
func (c *Connection) closeDone() {
	if done := c.done.Load(); done != nil && done != &closedChannel && c.done.CompareAndSwap(done, &closedChannel) {
		close(*done)
	}
}

var closedChannel = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// ---- messages

// membership asks the connection to enter or leave a group.
type membership struct {
	group string
	leave bool
	done  chan struct{}
}

func (m *membership) refuse() { close(m.done) }

// readEnd says that the reader has ended. Whether the client took leave or vanished makes no difference to OnDisconnected, but for
// what the transport found wrong.
type readEnd struct {
	err error
}

func (*readEnd) refuse() {}

// eventEnded says that OnConnected or OnDisconnected has returned.
type eventEnded struct {
	event event
	err   error
	text  string // of the error, for the client
}

func (*eventEnded) refuse() {}

// leave asks the connection to close.
type leave struct {
	cause error
	how   farewell
}

func (*leave) refuse() {}

// answered follows a message that could not be read, when all that came before has been answered, or has had its time.
type answered struct{}

func (*answered) refuse() {}

// written says that nothing more will be written.
type written struct{}

func (*written) refuse() {}

// farewell is how a connection takes leave of its client.
type farewell struct {
	message        bool   // a Close message is sent
	text           string // its error, if there is one
	allowReconnect bool
	drop           bool // what is pending is not sent any more
	cut            bool // nor is anything else
}

// Receive is the actor's behaviour.
func (c *Connection) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *batch:
		c.onBatch(ctx, m)
	case *membership:
		c.onMembership(m)
	case *readEnd:
		c.onReadEnd(ctx, m)
	case *hangup:
		if m.err != nil && c.state != handshaking {
			c.fail(ctx, m.err)
		} else {
			c.close(ctx, m.err, farewell{message: true, allowReconnect: true})
		}
	case *eventEnded:
		c.onEventEnded(ctx, m)
	case *leave:
		c.close(ctx, m.cause, m.how)
	case *answered:
		if c.state == failing {
			c.fail(ctx, c.cause)
		}
	case *written:
		c.settle(ctx)
	case *resumed:
		c.onResumed(ctx)
	case *actor.Started:
		c.pid = ctx.Self()
	case *actor.Stopping:
		c.onStopping()
	case *actor.Stopped:
		c.mailbox.close()
	}
}

func (c *Connection) onBatch(ctx actor.Context, b *batch) {
	left := len(b.messages)
	defer func() { b.done(int32(left) + 1) }() // after a panic, what has not been handled
	if b.handshake != nil && c.state == handshaking {
		c.onHandshake(ctx, b.handshake)
	}
	for i := range b.messages {
		kept := c.state == open && c.onMessage(ctx, b, &b.messages[i])
		if left--; !kept {
			b.done(1)
		}
	}
	c.start(false)
	if b.err != nil && c.state == open {
		c.enter(failing)
		c.cause = b.err
		c.calls.whenIdle(func() { c.post(&answered{}) })
	}
}

func (c *Connection) enter(s state) {
	c.state = s
	c.phase.Store(uint32(s))
}

func (c *Connection) onHandshake(ctx actor.Context, h *handshake) {
	if h.failure != "" {
		c.close(ctx, errors.New(h.failure), farewell{text: h.failure})
		return
	}
	c.protocol = h.index
	c.opcode = opcodeOf(c.Protocol())
	// The answer is the first message, and is written when the client is known to the hub: what is sent from then on reaches it.
	held := c.hold(newPacket(hubproto.AppendHandshakeResponse(packetBuffer(3), ""), c.opcode))
	c.enter(open) // from here on the heartbeat may send pings
	c.sys.connections.add(c)
	c.hub.everyone.join(c)
	if c.userID != "" {
		c.hub.users.join(c.userID, c)
	}
	if held {
		c.tell(false)
	}
	c.run(connected)
}

func opcodeOf(p hubproto.Protocol) byte {
	if p.Binary() {
		return wsframe.Binary
	}
	return wsframe.Text
}

// onMessage handles one message. It returns true if a call has taken over its part of the batch.
func (c *Connection) onMessage(ctx actor.Context, b *batch, m *hubproto.Message) (kept bool) {
	switch m.Type {
	case hubproto.Invocation, hubproto.StreamInvocation:
		k := &Call{conn: c, target: m.Target, args: m.Arguments, again: m.Retargeted, streaming: m.Type == hubproto.StreamInvocation, batch: b}
		k.id = append(k.idRoom[:0], m.ID...)
		return c.calls.add(k, m.StreamIDs)
	case hubproto.StreamItem:
		return c.onItem(b, m)
	case hubproto.Completion:
		kept, err := c.onCompletion(b, m)
		if err != nil {
			c.fail(ctx, err)
		}
		return kept
	case hubproto.CancelInvocation:
		c.calls.cancel(m.ID)
	case hubproto.Ping:
		c.pinged.Store(true)
	case hubproto.Close:
		var cause error
		if m.HasError {
			cause = &ClosedByClientError{Text: string(m.Error)}
		}
		c.close(ctx, cause, farewell{message: true})
	}
	return false // Ack and Sequence mean nothing without stateful reconnect
}

// post sends the actor a message of its own.
func (c *Connection) post(m own) { c.mailbox.PostUserMessage(m) }

func (c *Connection) onMembership(m *membership) {
	defer close(m.done)
	if m.leave {
		if _, ok := c.groups[m.group]; ok {
			delete(c.groups, m.group)
			c.hub.groups.leave(m.group, c)
		}
		return
	}
	if c.state >= closing {
		return
	}
	if _, ok := c.groups[m.group]; !ok {
		if c.groups == nil {
			c.groups = map[string]struct{}{}
		}
		c.groups[m.group] = struct{}{}
		c.hub.groups.join(m.group, c)
	}
}

func (c *Connection) onReadEnd(ctx actor.Context, m *readEnd) {
	c.readerEnded = true
	c.close(ctx, m.err, farewell{drop: true})
	c.settle(ctx)
}

func (c *Connection) onEventEnded(ctx actor.Context, m *eventEnded) {
	c.event = nil
	switch {
	case m.event == disconnected:
		c.retire()
	case c.state >= closing: // while OnConnected ran
		c.accepted = m.err == nil
		c.farewellEvent()
	case m.err != nil:
		c.close(ctx, m.err, farewell{message: true, text: m.text})
	default:
		c.accepted = true
		c.calls.mu.Lock()
		c.calls.open = true
		c.calls.mu.Unlock()
		c.start(false)
		c.calls.settled() // if there were but streams
	}
	c.settle(ctx)
}

// fail closes the connection because of what its client has sent (spec §10.3).
func (c *Connection) fail(ctx actor.Context, err error) {
	c.close(ctx, err, farewell{message: true, text: c.hub.handler.Describe(connectedText, err), allowReconnect: true})
}

// onResumed follows a panic: the message is lost, the connection goes on, unless it happens again at once.
func (c *Connection) onResumed(ctx actor.Context) {
	now := c.sys.now()
	again := c.panicked > 0 && now-c.panicked < time.Second
	c.panicked = now
	if again {
		c.fail(ctx, errActorPanicked)
	}
}

// close begins to close, if that has not begun yet: the calls end, the last message goes out, OnDisconnected runs, the groups are left.
func (c *Connection) close(ctx actor.Context, cause error, how farewell) {
	if c.state >= closing {
		return
	}
	greeted := c.state != handshaking
	if cause != nil {
		level := slog.LevelInfo
		if !greeted { // nobody yet
			level = slog.LevelDebug
		}
		c.sys.log.Log(context.Background(), level, "a connection is closed", "hub", c.hub.name, "connection", c.id, "cause", cause)
	}
	c.sayGoodbye(how, greeted)
	c.enter(closing)
	c.cause = cause
	c.calls.close(c.sys.reason())
	if c.event != nil {
		c.event.stop(c.sys.reason())
	} else {
		c.farewellEvent()
	}
	c.settle(ctx)
}

// sayGoodbye seals the outbox behind the last message.
func (c *Connection) sayGoodbye(how farewell, greeted bool) {
	var last *packet
	switch {
	case !greeted && how.text != "":
		last = newPacket(hubproto.AppendHandshakeResponse(packetBuffer(64), how.text), wsframe.Text)
	case greeted && how.message:
		last = c.closePacket(how)
	}
	if how.cut {
		c.abandon()
	} else {
		c.seal(last, how.drop)
	}
	c.closed.Store(true)
	c.closeDone()
}

func (c *Connection) closePacket(how farewell) *packet {
	m := hubproto.Message{Type: hubproto.Close, Error: []byte(how.text), HasError: how.text != "", AllowReconnect: how.allowReconnect}
	return newPacket(c.Protocol().Append(packetBuffer(64), &m), c.opcode)
}

// Abort closes the connection without an error. Nothing that is sent to it later is delivered.
func (c *Connection) Abort() {
	c.sayGoodbye(farewell{message: true}, true)
	c.post(&leave{how: farewell{message: true}})
}

// End says that nothing more will come from the client. An err tells what the transport found wrong; OnDisconnected gets it.
func (c *Connection) End(err error) {
	c.out.mu.Lock()
	if c.out.spilled && err == nil {
		err = c.tooSlow()
	}
	c.out.mu.Unlock()
	if c.pull != nil {
		c.abandon() // nobody fetches any more
	}
	c.post(&readEnd{err: err})
}

func (c *Connection) tooSlow() error {
	return fmt.Errorf("%w of %d bytes", ErrSlowClient, c.settings.OutboxLimit)
}

// overflow tells the actor that the outbox was full.
func (c *Connection) overflow() {
	c.post(&leave{cause: c.tooSlow(), how: farewell{drop: true, cut: true}})
}

// run starts a lifetime event.
func (c *Connection) run(e event) {
	c.event = c.newEvent(e)
	c.sys.workers.do(c.event)
}

func (c *Connection) newEvent(e event) *Call {
	return &Call{conn: c, event: e, returned: make(chan error, 1)}
}

// farewellEvent runs OnDisconnected if it is owed.
func (c *Connection) farewellEvent() {
	if c.accepted {
		c.accepted = false
		c.run(disconnected)
	} else {
		c.retire()
	}
}

// retire leaves everything that the connection is a member of.
func (c *Connection) retire() {
	for name := range c.groups {
		c.hub.groups.leave(name, c)
	}
	c.groups = nil
	if c.userID != "" {
		c.hub.users.leave(c.userID, c)
	}
	c.hub.everyone.leave(c)
	c.sys.connections.remove(c)
	c.enter(closed)
}

// settle stops the actor as the last step of closing, when nothing more is read or written. Until then the heartbeat looks after it.
func (c *Connection) settle(ctx actor.Context) {
	if c.isDone() {
		ctx.Stop(ctx.Self())
	}
}

// isDone tells whether nothing is left to do for the connection.
func (c *Connection) isDone() bool { return c.state == closed && c.readerEnded && c.isOver() }

// onStopping comes as the last step of closing, or because somebody has stopped the actor. Then the heartbeat does not look after the
// connection any more: it is cut, and a goroutine finishes what is owed.
func (c *Connection) onStopping() {
	if !c.shard.remove(c) {
		return // a second time
	}
	if c.isDone() {
		c.sys.alive.add(-1)
		return
	}
	event, owed, retired := c.event, c.accepted, c.state == closed
	if c.state < closing {
		c.enter(closing)
		c.cause = errActorStopped
		c.calls.close(ErrDisconnected)
	}
	c.sayGoodbye(farewell{cut: true}, true)
	if retired {
		c.sys.alive.add(-1)
		return
	}
	go func() {
		defer c.sys.alive.add(-1)
		if event != nil {
			event.stop(ErrDisconnected)
			err := <-event.returned
			owed = event.event == connected && err == nil
		}
		if owed {
			last := c.newEvent(disconnected)
			c.sys.workers.do(last)
			<-last.returned //nolint:errcheck // Disconnected has dealt with it
		}
		c.retire()
	}()
}

func unsupportedVersion(version int, protocol string) string {
	return fmt.Sprintf("The server does not support version %d of the '%s' protocol.", version, protocol)
}
