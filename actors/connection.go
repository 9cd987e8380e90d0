package actors

import (
	"errors"
	"fmt"
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
// It goes through handshaking → open → draining → closing → closed, and is supervised with Resume: the struct is the session.
type Connection struct {
	sys      *System
	hub      *Hub
	settings *Settings
	id       string
	userID   string
	pid      *actor.PID
	value    any
	protocol uint8 // its index in the hub's list

	// The actor's own.
	state       state
	accepted    bool // OnConnected has succeeded: OnDisconnected is owed
	readerEnded bool
	event       *Call   // OnConnected or OnDisconnected, while it runs
	cause       error   // why it closes, or is failing
	last        *packet // what its client is told last
	groups      map[string]struct{}
	panicked    time.Duration

	mailbox mailbox
	out     outbox
	in      input
	calls   runQueue

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
	failing  // a message could not be read: what came before is still answered
	draining // nothing more comes from the client: the calls that have come run to their end
	closing  // OnDisconnected runs
	closed   // everything has been left
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

// closeRequest asks the connection to close.
type closeRequest struct {
	cause  error
	reason closeReason
}

func (*closeRequest) refuse() {}

// callsDone says that the calls that were waited for have ended.
type callsDone struct{}

func (*callsDone) refuse() {}

func (c *Connection) postCallsDone() { c.post(&callsDone{}) }

// written says that nothing more will be written.
type written struct{}

func (*written) refuse() {}

// Receive is the actor's behaviour.
func (c *Connection) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *batch:
		c.onBatch(m)
	case *membership:
		c.onMembership(m)
	case *readEnd:
		c.onReadEnd(m)
	case *hangup:
		if m.err != nil && c.state != handshaking {
			c.fail(m.err)
		} else {
			c.close(m.err, closeReason{message: true, allowReconnect: true})
		}
	case *eventEnded:
		c.onEventEnded(m)
	case *closeRequest:
		c.close(m.cause, m.reason)
	case *callsDone:
		if c.state == failing {
			c.fail(c.cause)
		}
	case *stopCalls:
		c.onStopCalls(m)
	case *closingTick:
		c.onClosingTick(m)
	case *written:
	case *resumed:
		c.onResumed()
	case *actor.Started:
		c.pid = ctx.Self()
	case *actor.Stopping:
		c.onStopping()
		return
	case *actor.Stopped:
		c.mailbox.close()
		return
	}
	if c.state >= draining {
		c.advance(ctx)
	}
}

func (c *Connection) onBatch(b *batch) {
	left := len(b.messages)
	defer func() {
		b.done(int32(left) + 1) // after a panic, what has not been handled
		c.start()
	}()
	if b.handshake != nil && c.state == handshaking {
		c.onHandshake(b.handshake)
	}
	for i := range b.messages {
		kept := c.state == open && c.onMessage(b, &b.messages[i])
		if left--; !kept {
			b.done(1)
		}
	}
	if b.err != nil && c.state == open {
		c.enter(failing)
		c.cause = b.err
		if c.calls.whenIdle(slotsFree, c.postCallsDone) {
			c.postCallsDone()
		}
	}
}

func (c *Connection) enter(s state) {
	c.state = s
	c.phase.Store(uint32(s))
}

func (c *Connection) onHandshake(h *handshake) {
	if h.failure != "" {
		c.close(errors.New(h.failure), closeReason{text: h.failure, drop: true})
		return
	}
	c.protocol = h.index
	c.out.opcode = opcodeOf(c.Protocol())
	// The answer is the first message, and is written when the client is known to the hub: what is sent from then on reaches it.
	c.out.withhold(newPacket(hubproto.AppendHandshakeResponse(packetBuffer(3), ""), c.out.opcode))
	c.enter(open) // from here on the heartbeat may send pings
	c.sys.connections.add(c)
	c.hub.everyone.join(c)
	if c.userID != "" {
		c.hub.users.join(c.userID, c)
	}
	c.out.release()
	c.run(connected)
}

func opcodeOf(p hubproto.Protocol) byte {
	if p.Binary() {
		return wsframe.Binary
	}
	return wsframe.Text
}

// onMessage handles one message. It returns true if a call has taken over its part of the batch.
func (c *Connection) onMessage(b *batch, m *hubproto.Message) (kept bool) {
	switch m.Type {
	case hubproto.Invocation, hubproto.StreamInvocation:
		k := &Call{conn: c, message: m, streaming: m.Type == hubproto.StreamInvocation, batch: b}
		k.id = append(k.idRoom[:0], m.ID...)
		return c.calls.add(k, m.StreamIDs)
	case hubproto.StreamItem:
		return c.onItem(b, m)
	case hubproto.Completion:
		kept, err := c.onCompletion(b, m)
		if err != nil {
			c.fail(err)
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
		c.close(cause, closeReason{message: true})
	}
	return false // Ack and Sequence mean nothing without stateful reconnect
}

// Pong answers a ping of the WebSocket layer with a frame, which it keeps. Only the newest answer is kept until it is written.
func (c *Connection) Pong(frame []byte) { c.out.pushPong(frame) }

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

func unsupportedVersion(version int, protocol string) string {
	return fmt.Sprintf("The server does not support version %d of the '%s' protocol.", version, protocol)
}
