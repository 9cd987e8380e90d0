package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/actors/outbox"
	"github.com/troupe-go/troupe/internal/link"
	"github.com/troupe-go/troupe/internal/wsframe"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// How a connection closes.
//
// Three facts decide what comes next: its reader has ended, its last output has been written, and it has left its groups. Received means
// executed: calls that have come before the end run in their order, under their limit. OnDisconnected runs behind them, in its turn, as one
// more call would; then the groups are left. The Close message goes out behind the answers, as long as the link lives and CloseTimeout allows.
// What the server ends itself (an abort, a client at its limit, a message that cannot be read) drops the calls that wait, and lets those that run
// go on.

// closeReason says what a client is told when its connection closes, and how much of the pending output it still gets.
type closeReason struct {
	message        bool   // a Close message is sent
	text           string // its error, if there is one
	allowReconnect bool
	drop           bool // calls that wait are dropped, and nothing is sent behind what is pending
	cut            bool // nothing is sent any more
}

// closingState is what is known of the end of a connection.
type closingState struct {
	cause error
	last  *outbox.Packet // the last message to the client
}

// closeRequest asks the connection to close.
type closeRequest struct {
	cause  error
	reason closeReason
}

// leaveRequest says that the client has asked its transport to end the connection.
type leaveRequest struct{ err error }

// readEnd says that the reader has ended, with an error if what the client has sent was wrong. A connection that is cut is no error.
type readEnd struct{ err error }

// outputOver says that nothing more will be written.
type outputOver struct{}

// callsIdle says that the calls that were waited for have ended.
type callsIdle struct{}

// stopCalls ends the contexts of everything that runs.
type stopCalls struct{ cause error }

// closingTick comes once a second while the connection closes.
type closingTick struct{ elapsed time.Duration } // since it began

func (*closeRequest) refuse() {}
func (*leaveRequest) refuse() {}
func (*readEnd) refuse()      {}
func (*outputOver) refuse()   {}
func (*callsIdle) refuse()    {}
func (*stopCalls) refuse()    {}
func (*closingTick) refuse()  {}

func (c *Connection) postCallsIdle() { c.post(&callsIdle{}) }

// askToClose has the server close the connection. What is received from now on is refused, because the actor may not get it before the request.
func (c *Connection) askToClose(cause error, reason closeReason) {
	c.askedToClose.Store(true)
	c.markClosing()
	c.post(&closeRequest{cause: cause, reason: reason})
}

// close begins to close the connection, or closes it faster if that has begun.
func (c *Connection) close(cause error, reason closeReason) {
	if c.state < draining {
		c.beginClose(cause, reason)
	} else if disconnect := (*DisconnectError)(nil); errors.As(cause, &disconnect) && c.state == draining && c.closing.cause == nil {
		c.closing.cause = disconnect // which the client is told; OnDisconnected has not run
	}
	if reason.drop && c.calls.drop() && c.state == draining && c.closing.cause == nil {
		c.closing.cause = cause // OnDisconnected is told why not all was executed
	}
	switch {
	case reason.cut:
		c.abandon()
	case reason.drop:
		c.out.Seal(c.closing.last)
	}
}

func (c *Connection) beginClose(cause error, reason closeReason) {
	greeted := c.state != handshaking
	if c.state == failing {
		cause = c.closing.cause // the first one
	}
	if cause != nil {
		level := slog.LevelInfo
		if !greeted { // anybody can cause that
			level = slog.LevelDebug
		}
		c.hub.sys.logClosing(level, c, cause)
	}
	c.closing = &closingState{cause: cause}
	c.enter(draining)
	switch {
	case !greeted && reason.text != "":
		c.closing.last = outbox.NewControl(hubproto.AppendHandshakeResponse(outbox.Buffer(64), reason.text), wsframe.Text)
	case greeted && reason.message:
		c.closing.last = c.closePacket(reason)
	}
	if reason.drop && !reason.cut {
		c.out.Seal(c.closing.last) // before calls notice that the connection closes, which may answer then
	}
	c.markClosing()
	c.calls.end(c.hub.sys.closeCause())
}

// advance takes the next steps of closing. It is called after every message.
func (c *Connection) advance(ctx actor.Context) {
	if c.isLost() && !c.readEnded { // there is nothing to write to, nor to read from
		c.readEnded = true
		c.abandon()
	}
	if c.lifetime != nil { // OnConnected or OnDisconnected runs
		return
	}
	if c.calls.whenIdle(allReturned, c.postCallsIdle) {
		c.out.Seal(c.closing.last)
	}
	if c.state == draining {
		if !c.calls.whenIdle(allBegun, c.postCallsIdle) {
			c.start() // late ticks for the call that has the turn
			return
		}
		if c.closing.cause == nil && c.out.IsSealedFor() {
			return // the request that brings the reason is on its way
		}
		c.enter(closing)
		if c.accepted {
			c.accepted = false
			if c.closing.cause == nil && c.out.HasOverflowed() { // while the client was leaving
				c.closing.cause = c.tooSlow()
			}
			c.runLifetime(disconnected)
			return
		}
	}
	if c.state == closing {
		c.leaveAll()
	}
	if c.isDone() && c.calls.whenIdle(allReturned, c.postCallsIdle) {
		ctx.Stop(ctx.Self())
	}
}

// isDone reports whether nothing is left to do for the connection except to wait for calls.
func (c *Connection) isDone() bool { return c.state == closed && c.readEnded && c.out.IsOver() }

func (c *Connection) onReadEnd(m *readEnd) {
	c.readEnded = true
	c.close(m.err, closeReason{})
	c.out.Seal(c.closing.last)       // the client waits for its close to be answered
	if c.out.Kind() == outbox.None { // a write has failed meanwhile, and the client might have come back
		c.abandon()
	}
}

func (c *Connection) onLeaveRequest(m *leaveRequest) {
	if m.err != nil && c.state != handshaking {
		c.fail(m.err)
		return
	}
	c.close(m.err, closeReason{message: true, allowReconnect: true})
}

// onClosingTick ends contexts when DisconnectGrace is over, and a while later stops waiting for calls that ignore that.
func (c *Connection) onClosingTick(m *closingTick) {
	if m.elapsed > c.settings.CloseTimeout {
		c.out.Seal(c.closing.last) // without the answers that are still due
	}
	grace := c.settings.DisconnectGrace
	if grace < 0 || m.elapsed <= grace {
		return
	}
	c.calls.stop(c.hub.sys.closeCause())
	if c.lifetime != nil && c.lifetime.event == connected {
		c.lifetime.stop(c.hub.sys.closeCause())
	}
	if m.elapsed > grace+c.settings.CloseTimeout {
		c.calls.giveUp()
	}
}

func (c *Connection) onStopCalls(m *stopCalls) {
	c.calls.stop(m.cause)
	if c.lifetime != nil {
		c.lifetime.stop(m.cause)
	}
}

// fail closes the connection because of what its client has sent.
func (c *Connection) fail(err error) {
	c.close(err, closeReason{message: true, text: c.describe(err), allowReconnect: true, drop: true})
}

// describe returns the text of a Close that is due to an error that the actor or the heartbeat has found.
func (c *Connection) describe(err error) (text string) {
	text = connectedText // if it panics
	defer c.recoverPanic("describing an error panicked")
	return c.hub.handler.Describe(connectedText, err)
}

// closePacket returns the Close message, or nil if the protocol, which may be the application's, panics.
func (c *Connection) closePacket(reason closeReason) (p *outbox.Packet) {
	defer c.recoverPanic("writing a Close message panicked")
	m := hubproto.Message{Type: hubproto.Close, Error: []byte(reason.text), HasError: reason.text != "", AllowReconnect: reason.allowReconnect}
	return outbox.NewControl(c.Protocol().Append(outbox.Buffer(64), &m), opcodeOf(c.Protocol()))
}

// markClosing says that the connection has begun to close.
func (c *Connection) markClosing() {
	c.isClosing.Store(true)
	c.closeDone()
}

// abandon gives up the link: nothing is written any more.
func (c *Connection) abandon() {
	c.out.Abandon()
	c.out.Cut()
	c.post(&outputOver{})
}

// leaveAll leaves everything that the connection is a member of.
func (c *Connection) leaveAll() {
	for name := range c.groups {
		c.hub.groups.leave(name, c)
	}
	c.groups = nil
	c.leaveUser()
	c.hub.everyone.leave(c)
	c.hub.sys.connections.remove(c)
	c.enter(closed)
}

// Abort closes the connection without an error. Nothing that is sent to it later is delivered.
func (c *Connection) Abort() { c.disconnect("") }

// disconnect closes the connection at once, except for what has been sent to it, and drops the calls that wait.
func (c *Connection) disconnect(text string) {
	reason := closeReason{message: true, text: text, drop: true}
	var cause error
	if text == "" {
		c.out.Seal(c.closePacket(reason))
	} else if c.out.SealFor(c.closePacket(reason)) { // otherwise the client is told something else
		cause = &DisconnectError{text}
	}
	c.markClosing()
	c.calls.abort(c.hub.sys.closeCause())
	c.post(&closeRequest{cause: cause, reason: reason})
}

// End is part of link.Session. OnDisconnected gets the error.
func (c *Connection) End(err error) {
	if c.out.HasOverflowed() && err == nil {
		err = c.tooSlow()
	}
	if c.out.Kind() != outbox.Socket {
		c.abandon() // nothing is fetched any more
	} else if c.part == nil { // any goroutine may end a session
		c.mailbox.postInline(&readEnd{err: err})
		return
	}
	c.post(&readEnd{err: err})
}

// Leave is part of link.FetchSession.
func (c *Connection) Leave(err error) { c.post(&leaveRequest{err}) }

// Take is part of link.FetchSession.
func (c *Connection) Take(ctx context.Context) (link.Output, error) { return c.out.Take(ctx) }

func (c *Connection) tooSlow() error {
	return fmt.Errorf("%w of %d bytes", ErrSlowClient, c.settings.OutboxLimit)
}

// boxOwner is a connection as its outbox sees it.
type boxOwner Connection

var _ outbox.Owner = (*boxOwner)(nil)

// Overflowed is part of outbox.Owner.
func (o *boxOwner) Overflowed() {
	c := (*Connection)(o)
	c.markClosing()
	c.calls.abort(c.hub.sys.closeCause())
	c.post(&closeRequest{cause: c.tooSlow(), reason: closeReason{drop: true, cut: true}})
}

// Broken is part of outbox.Owner. The reader finds the end of the link as well, and everything that the client has sent before it is still
// received. If the reader does not find it, the heartbeat cuts the link.
func (o *boxOwner) Broken(err error) {
	c := (*Connection)(o)
	if err != nil {
		c.post(&closeRequest{cause: err, reason: closeReason{drop: true, cut: true}})
	} else {
		c.post(&outputOver{})
	}
}

// Over is part of outbox.Owner.
func (o *boxOwner) Over() { (*Connection)(o).post(&outputOver{}) }

// LateTick is part of outbox.Owner.
func (o *boxOwner) LateTick(onTime, quiet bool) { (*Connection)(o).lateTick(onTime, quiet) }

// onStopping comes as the last step of closing, or because somebody has stopped the actor. In that case the heartbeat does not look after
// the connection any more: its link is cut, and a goroutine runs OnDisconnected and leaves the groups.
func (c *Connection) onStopping() {
	if !c.supervisor.remove(c) {
		return // it has come twice
	}
	defer c.countClosed()
	if c.isDone() {
		c.hub.sys.alive.Add(-1)
		return
	}
	lifetime, accepted, left := c.lifetime, c.accepted, c.state == closed
	if c.state < draining {
		c.beginClose(errActorStopped, closeReason{})
	}
	c.calls.drop()
	c.calls.stop(ErrDisconnected)
	c.abandon()
	if left {
		c.hub.sys.alive.Add(-1)
		return
	}
	go func() {
		defer c.hub.sys.alive.Add(-1)
		if lifetime != nil {
			lifetime.stop(ErrDisconnected)
			err := <-lifetime.returned()
			accepted = lifetime.event == connected && err == nil
		}
		if accepted {
			last := c.newLifetime(disconnected)
			c.hub.sys.workers.do(last)
			<-last.returned() //nolint:errcheck // Disconnected has dealt with it
		}
		c.leaveAll()
	}()
}
