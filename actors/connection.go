package actors

import (
	"bytes"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/actors/outbox"
	"github.com/troupe-go/troupe/internal/link"
	"github.com/troupe-go/troupe/internal/metric"
	"github.com/troupe-go/troupe/internal/wsframe"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// Connection is the connection actor. It ends when its transport does.
//
// It owns the handshake, the run queue, the list of its groups and the way a connection ends. It runs no user code and waits for
// nothing, so that pings, cancels and closing are handled while hub methods run. Its mailbox never blocks a sender: what the client
// sends is bounded by the inbound budget, what others send by maxForeign. The outbox, the input and the run queue are in the same
// struct, but have locks of their own, because other goroutines use them.
//
// It goes through handshaking → open (→ failing) → draining → closing → closed, and is supervised with Resume: the struct is the session.
type Connection struct {
	hub      *Hub
	settings *Settings
	id       string
	pid      *actor.PID
	who      atomic.Pointer[Identity]
	protocol uint8 // index in the hub's list

	// Used by the actor only.
	state      state
	accepted   bool // OnConnected has succeeded: OnDisconnected is still to be run
	readEnded  bool
	kind       outbox.Kind // of the first link
	resumable  bool        // it was negotiated that it may go on over another socket
	subscriber bool        // it is one of ConnectSubscriber
	begun      bool        // the actor has seen the message that it is invoked with
	cutShort   bool        // a panic has cut a batch short
	panickedAt millis      // plus 1; 0: never
	rate       rateLimit
	groupNames int32         // bytes of the names of its groups
	openedAt   uint32        // in seconds since the system was started
	lifetime   *Call         // OnConnected or OnDisconnected, while it runs
	closing    *closingState // set when it fails or begins to close
	groups     map[string]struct{}

	mailbox mailbox
	out     outbox.Box
	in      input
	calls   runQueue

	expires      atomic.Uint32                 // when the credentials do, in seconds since the system was started; 0: never
	isClosing    atomic.Bool                   // the connection has begun to close, or is about to
	askedToClose atomic.Bool                   // by the server: what is committed from now on may not be executed
	done         atomic.Pointer[chan struct{}] // the same as a channel, made when somebody needs it

	// What the heartbeat looks at.
	supervisor      *connectionSupervisor
	supervisorIndex int32         // in the supervisor's list
	everyoneIndex   int32         // in the hub's list of everyone
	stateSeen       atomic.Uint32 // the state, for other goroutines
	heard           atomic.Bool   // the client has sent something since the last tick
	pinged          atomic.Bool   // the client has sent a ping
	beat            beat

	resumption *resumption  // nil: it cannot go on over another socket
	part       *sessionPart // nil: it is no part of a session of SignalR 2
}

var (
	_ link.SocketSession = (*Connection)(nil)
	_ link.FetchSession  = (*Connection)(nil)
)

type state uint8

const (
	handshaking state = iota
	open
	failing  // a message could not be read: what came before it is still answered
	draining // nothing more comes from the client: the calls that have been received are run
	closing  // OnDisconnected runs
	closed   // all groups have been left
)

// Errors that OnDisconnected gets as its cause.
var (
	ErrClientTimeout    = errors.New("Client hasn't sent a message/ping within the configured ClientTimeoutInterval.")
	ErrHandshakeTimeout = errors.New("hubsys: the client sent no handshake within HandshakeTimeout")
	ErrSlowClient       = errors.New("hubsys: the client is too slow: its outbox has reached OutboxLimit")
	ErrSendTimeout      = errors.New("hubsys: the client has taken nothing for TransportSendTimeout")
	ErrExpired          = errors.New("hubsys: the credentials of the user have expired")
	errActorPanicked    = errors.New("hubsys: the actor of the connection panicked twice within a second")
	errActorStopped     = errors.New("hubsys: the actor of the connection was stopped")
)

// ID returns the public id of the connection.
func (c *Connection) ID() string { return c.id }

// Identity returns who has opened the connection, with the credentials that it has now.
func (c *Connection) Identity() *Identity { return c.who.Load() }

// Hub returns the hub that the connection belongs to.
func (c *Connection) Hub() *Hub { return c.hub }

// Protocol returns the protocol that the client has asked for.
func (c *Connection) Protocol() hubproto.Protocol { return c.hub.protocols[c.protocol] }

// PID returns the address of the connection actor. It is known when the handshake is over.
func (c *Connection) PID() *actor.PID { return c.pid }

// Done is part of link.Session.
func (c *Connection) Done() <-chan struct{} {
	if done := c.done.Load(); done != nil {
		return *done
	}
	done := make(chan struct{})
	if !c.done.CompareAndSwap(nil, &done) {
		return *c.done.Load()
	}
	if c.isClosing.Load() { // it may have begun after done was loaded
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

// messagesDropped says, once, that messages to the client were dropped because it is slow.
type messagesDropped struct{}

func (*messagesDropped) refuse() {}

// Pong is part of link.SocketSession.
func (c *Connection) Pong(frame []byte) { c.out.PushPong(frame) }

// post sends the actor a message of this package.
func (c *Connection) post(m internalMessage) { c.mailbox.PostUserMessage(m) }

// Receive is the actor's behaviour.
func (c *Connection) Receive(ctx actor.Context) {
	c.begun = true
	c.handle(ctx, ctx.Message())
}

func (c *Connection) handle(ctx actor.Context, message any) {
	switch m := message.(type) {
	case *batch:
		c.onBatch(m)
	case *membershipChange:
		c.onMembership(m)
	case *groupsRequest:
		c.onGroupsRequest(m)
	case *refresh:
		known, err := c.onRefresh(m.who)
		c.hub.sys.nodes.whenKnown(known, func() { m.done <- err })
	case *identified:
		c.onIdentified(m.who)
	case *readEnd:
		c.onReadEnd(m)
	case *leaveRequest:
		c.onLeaveRequest(m)
	case *lifetimeEnded:
		c.onLifetimeEnded(m)
	case *closeRequest:
		c.close(m.cause, m.reason)
	case *callsIdle:
		if c.state == failing {
			c.fail(c.closing.cause)
		}
	case *stopCalls:
		c.onStopCalls(m)
	case *closingTick:
		c.onClosingTick(m)
	case *outputOver:
	case *messagesDropped:
		c.hub.sys.logDropped(c)
	case *resumed:
		c.onResumed(ctx, m)
	case *reconnection:
		c.onReconnection()
	case *rejoining:
		c.onRejoining(m)
	case *actor.Started:
		c.pid = ctx.Self()
	case *actor.Stopping:
		c.onStopping()
		return
	case *actor.Stopped:
		c.mailbox.close()
		return
	case *actor.Terminated:
		if c.mailbox.stops > 0 { // it may not have seen that it stops
			c.onStopping()
			return
		}
	case actor.SystemMessage, actor.AutoReceiveMessage:
	default:
		c.onForeign(ctx)
	}
	if c.state >= draining {
		c.advance(ctx)
	}
}

func (c *Connection) onBatch(b *batch) {
	left := len(b.messages)
	c.hub.sys.counts.received.Add(int64(left))
	c.cutShort = true
	defer func() {
		b.done(int32(left) + 1) // after a panic, what has not been handled
		c.start()
	}()
	if b.handshake != nil && c.state == handshaking {
		c.onHandshake(b.handshake)
	}
	for i := range b.messages {
		kept := c.state == open && !c.resumption.isDuplicate(b.messages[i].Type) && c.onMessage(b, &b.messages[i])
		if left--; !kept {
			b.done(1)
		}
	}
	if b.err != nil && c.state == open {
		if tooLarge := (*hubproto.TooLargeError)(nil); errors.As(b.err, &tooLarge) {
			c.hub.sys.counts.limits.Reach(metric.MessageSize)
		}
		c.enter(failing)
		c.closing = &closingState{cause: b.err}
		if c.calls.whenIdle(slotsFree, c.postCallsIdle) {
			c.postCallsIdle()
		}
	}
	c.cutShort = false
}

func (c *Connection) enter(s state) {
	c.state = s
	c.stateSeen.Store(uint32(s))
}

func (c *Connection) onHandshake(h *handshake) {
	if h.failure != "" {
		c.close(errors.New(h.failure), closeReason{text: h.failure, drop: true})
		return
	}
	c.protocol = h.index
	c.out.SetOpcode(opcodeOf(c.Protocol()))
	if h.resumes {
		c.resumption = &resumption{next: 1}
		c.out.Keep(c.settings.KeptLimit)
	}
	// The answer is the first message. It is written when the client has joined everyone, so that it gets all that is sent from then on.
	answer := hubproto.AppendHandshakeResponse(outbox.Buffer(3), "")
	c.out.Withhold(outbox.NewControl(answer, opcodeOf(c.Protocol())))
	c.enter(open) // from here on the heartbeat may send pings
	known := c.announce()
	c.hub.everyone.join(c)
	if user := c.joinUser(); user != nil {
		known = append(known, user)
	}
	c.releaseWhenKnown(append(known, c.rejoin()...))
	c.runLifetime(connected)
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
		k := &Call{conn: c, message: m, wantsStream: m.Type == hubproto.StreamInvocation, batch: b}
		k.id = append(k.idRoom[:0], m.ID...)
		if m.Headers != nil {
			k.extra.Store(&callExtra{headers: bytes.Clone(m.Headers)})
		}
		k.overRate = c.overRate()
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
			cause = &ClientError{Text: string(m.Error)}
		}
		c.close(cause, closeReason{message: true})
	case hubproto.Ack:
		c.out.Acknowledge(m.SequenceID)
	case hubproto.Sequence:
		if err := c.onSequence(m.SequenceID); err != nil {
			c.fail(err)
		}
	}
	return false
}

// onItem passes an item to its upload. One for an upload that does not exist any more is ignored.
func (c *Connection) onItem(b *batch, m *hubproto.Message) (kept bool) {
	u := c.calls.upload(m.ID, false)
	return u != nil && u.add(b, m.Value)
}

// onCompletion ends an upload, or answers a call of the client's (docs/protocol.md, 6.6: in this order).
func (c *Connection) onCompletion(b *batch, m *hubproto.Message) (kept bool, err error) {
	u := c.calls.upload(m.ID, true)
	if u == nil {
		return c.hub.results.answer(c, b, m)
	}
	if m.HasError {
		u.end(&ClientError{Text: string(m.Error)})
	} else {
		u.end(nil)
	}
	return false, nil
}

// onResumed follows a panic. The connection goes on, unless it happens again at once, or a part of a batch is lost.
func (c *Connection) onResumed(ctx actor.Context, m *resumed) {
	lost := m.lost
	m.lost = nil      // in case of another panic
	if c.pid == nil { // Started is lost
		c.pid = ctx.Self()
	}
	c.hub.sys.counts.panics.Add(1)
	now := millis(c.hub.sys.now().Milliseconds()) + 1
	again := c.panickedAt > 0 && (now-c.panickedAt).duration() < time.Second
	c.panickedAt = now
	if again || c.cutShort || c.resumption != nil { // whose numbers would not fit any more
		c.fail(errActorPanicked)
	}
	if lost != nil {
		c.handle(ctx, lost)
	}
}

func unsupportedVersion(version int, protocol string) string {
	return fmt.Sprintf("The server does not support version %d of the '%s' protocol.", version, protocol)
}
