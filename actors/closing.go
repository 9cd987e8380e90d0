package actors

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/internal/wsframe"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// How a connection closes.
//
// Three facts decide what comes next: its reader has ended, its last output has been written, and it has left everything that it was a
// member of. Received means executed: calls that have come before the end run in their order, under their limit. OnDisconnected runs
// behind them, in its turn, as one more call would; then the groups are left. The Close message goes out behind the answers, as long as
// the link is there and CloseTimeout allows. What the server ends itself (an abort, a client at its limit, a message that cannot be read)
// drops the calls that wait, and lets those that run go on.

// closeReason is what a client is told when its connection closes, and how much of what is pending it still gets.
type closeReason struct {
	message        bool   // a Close message is sent
	text           string // its error, if there is one
	allowReconnect bool
	drop           bool // calls that wait are dropped, and what is pending is the last that the client gets
	cut            bool // it gets nothing any more
}

// stopCalls ends the contexts of everything that runs.
type stopCalls struct{ cause error }

func (*stopCalls) refuse() {}

// closingTick comes once a second while the connection closes.
type closingTick struct{ elapsed time.Duration } // since it began

func (*closingTick) refuse() {}

// close begins to close the connection, or ends faster what has begun.
func (c *Connection) close(cause error, how closeReason) {
	if c.state < draining {
		c.beginClose(cause, how)
	}
	if how.drop {
		c.calls.drop()
	}
	switch {
	case how.cut:
		c.abandon()
	case how.drop:
		c.out.seal(c.last, false)
	}
}

func (c *Connection) beginClose(cause error, how closeReason) {
	greeted := c.state != handshaking
	if c.state == failing {
		cause = c.cause // what came first
	}
	if cause != nil {
		level := slog.LevelInfo
		if !greeted { // nobody yet
			level = slog.LevelDebug
		}
		c.sys.logClosing(level, c, cause)
	}
	switch {
	case !greeted && how.text != "":
		c.last = newPacket(hubproto.AppendHandshakeResponse(packetBuffer(64), how.text), wsframe.Text)
	case greeted && how.message:
		c.last = c.closePacket(how)
	}
	c.cause = cause
	c.enter(draining)
	c.markClosed()
	c.calls.end(c.sys.reason())
}

// advance takes the next steps of closing.
func (c *Connection) advance(ctx actor.Context) {
	if c.event != nil { // OnConnected or OnDisconnected runs
		return
	}
	if c.calls.whenIdle(allReturned, c.postCallsDone) {
		c.out.seal(c.last, false)
	}
	if c.state == draining {
		if !c.calls.whenIdle(allBegun, c.postCallsDone) {
			c.start() // what has the turn is looked after
			return
		}
		c.enter(closing)
		if c.accepted {
			c.accepted = false
			c.run(disconnected)
			return
		}
	}
	if c.state == closing {
		c.leaveAll()
	}
	if c.isDone() && c.calls.whenIdle(allReturned, c.postCallsDone) {
		ctx.Stop(ctx.Self())
	}
}

// isDone reports whether nothing is left to do for the connection but to wait for calls.
func (c *Connection) isDone() bool { return c.state == closed && c.readerEnded && c.out.isOver() }

func (c *Connection) onReadEnd(m *readEnd) {
	c.readerEnded = true
	c.close(m.err, closeReason{})
	c.out.seal(c.last, false) // the client waits for its close to be answered
}

func (c *Connection) onEventEnded(m *eventEnded) {
	c.event = nil
	switch {
	case m.event == disconnected:
	case m.err != nil:
		c.close(m.err, closeReason{message: true, text: m.text, drop: true})
	default:
		c.accepted = true
		c.calls.setOpen()
		c.start()
		c.calls.settled() // if there were but streams
	}
}

// onClosingTick ends contexts when DisconnectGrace is over, and a while later no longer waits for calls that do not heed them.
func (c *Connection) onClosingTick(m *closingTick) {
	if m.elapsed > c.settings.CloseTimeout {
		c.out.seal(c.last, false) // answers that take longer are not waited for
	}
	grace := c.settings.DisconnectGrace
	if grace < 0 || m.elapsed <= grace {
		return
	}
	c.calls.stop(c.sys.reason())
	if c.event != nil && c.event.event == connected {
		c.event.stop(c.sys.reason())
	}
	if m.elapsed > grace+c.settings.CloseTimeout {
		c.calls.giveUp()
	}
}

func (c *Connection) onStopCalls(m *stopCalls) {
	c.calls.stop(m.cause)
	if c.event != nil {
		c.event.stop(m.cause)
	}
}

// fail closes the connection because of what its client has sent.
func (c *Connection) fail(err error) {
	c.close(err, closeReason{message: true, text: c.hub.handler.Describe(connectedText, err), allowReconnect: true, drop: true})
}

// onResumed follows a panic: the message is lost, the connection goes on, unless it happens again at once.
func (c *Connection) onResumed() {
	now := c.sys.now()
	again := c.panicked > 0 && now-c.panicked < time.Second
	c.panicked = now
	if again {
		c.fail(errActorPanicked)
	}
}

func (c *Connection) closePacket(how closeReason) *packet {
	m := hubproto.Message{Type: hubproto.Close, Error: []byte(how.text), HasError: how.text != "", AllowReconnect: how.allowReconnect}
	return newPacket(c.Protocol().Append(packetBuffer(64), &m), c.out.opcode)
}

// markClosed says that the connection has begun to close.
func (c *Connection) markClosed() {
	c.closed.Store(true)
	c.closeDone()
}

// abandon gives up the link: nothing is written any more.
func (c *Connection) abandon() {
	c.out.abandon()
	c.cut()
	c.post(&written{})
}

// Abort closes the connection without an error. Nothing that is sent to it later is delivered.
func (c *Connection) Abort() {
	how := closeReason{message: true, drop: true}
	c.out.seal(c.closePacket(how), false)
	c.markClosed()
	c.calls.abort(c.sys.reason())
	c.post(&closeRequest{reason: how})
}

// End says that nothing more will come from the client. An err tells what the transport found wrong; OnDisconnected gets it.
func (c *Connection) End(err error) {
	c.out.mu.Lock()
	if c.out.overflowed && err == nil {
		err = c.tooSlow()
	}
	c.out.mu.Unlock()
	if c.out.pull != nil {
		c.abandon() // nobody fetches any more
	}
	c.post(&readEnd{err: err})
}

func (c *Connection) tooSlow() error {
	return fmt.Errorf("%w of %d bytes", ErrSlowClient, c.settings.OutboxLimit)
}

// ---- boxOwner

func (c *Connection) boxOverflowed() {
	c.markClosed()
	c.calls.abort(c.sys.reason())
	c.post(&closeRequest{cause: c.tooSlow(), reason: closeReason{drop: true, cut: true}})
}

// boxBroken leaves it to the reader to find the end: what the client has sent before it is still received. If it does not, the heartbeat cuts
// the link.
func (c *Connection) boxBroken(err error) {
	if err != nil {
		c.post(&closeRequest{cause: err, reason: closeReason{drop: true, cut: true}})
	} else {
		c.post(&written{})
	}
}

func (c *Connection) boxOver() { c.post(&written{}) }

// run starts a lifetime event.
func (c *Connection) run(e event) {
	c.event = c.newEvent(e)
	c.sys.workers.do(c.event)
}

func (c *Connection) newEvent(e event) *Call {
	return &Call{conn: c, event: e, returned: make(chan error, 1)}
}

// leaveAll leaves everything that the connection is a member of.
func (c *Connection) leaveAll() {
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
	event, owed, left := c.event, c.accepted, c.state == closed
	if c.state < draining {
		c.beginClose(errActorStopped, closeReason{})
	}
	c.calls.drop()
	c.calls.stop(ErrDisconnected)
	c.abandon()
	if left {
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
		c.leaveAll()
	}()
}
