package actors

import (
	"errors"
	"sync/atomic"

	"github.com/troupe-go/troupe/actors/outbox"
	"github.com/troupe-go/troupe/internal/link"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// resumption is what a connection needs to go on over another socket when it has lost one (docs/protocol.md, 9). Each side numbers the messages
// that it sends, from 1 on, and keeps them until the other side acknowledges them; after a loss it sends again what it keeps. The outbox does so
// for what is sent. For what is received, next and received tell what has come twice.
type resumption struct {
	next     int64        // number of the next message of the client; used by the actor only
	received atomic.Int64 // number of the last one that was not a duplicate
	acked    int64        // number that was last acknowledged; used by the heartbeat only
	again    atomic.Bool  // it has to be acknowledged again, over another socket
	withheld bool         // nothing is acknowledged now; used by the heartbeat only
	lost     atomic.Bool  // there is no socket
	losses   atomic.Uint32

	unnoticed millis // since there is no socket, which the reader has not found yet; used by the heartbeat only
}

var errSequence = errors.New("Sequence ID greater than amount of messages we've received.")

// isTracked reports whether messages of a type are numbered.
func isTracked(t hubproto.Type) bool {
	return t >= hubproto.Invocation && t <= hubproto.CancelInvocation
}

// isDuplicate numbers a message of the client, and reports whether it has been received before.
func (r *resumption) isDuplicate(t hubproto.Type) bool {
	if r == nil || !isTracked(t) {
		return false
	}
	number := r.next
	r.next++
	if number <= r.received.Load() {
		return true
	}
	r.received.Store(number)
	return false
}

// onSequence continues the numbers of the client behind a loss.
func (c *Connection) onSequence(number int64) error {
	r := c.resumption
	if r == nil {
		return nil // means nothing
	}
	// After two losses in a row, the numbers may not have come back to what was received and acknowledged before the first one. (The reference
	// closes the connection then.)
	if number > max(r.next, r.received.Load()+1) {
		return errSequence
	}
	r.next = max(1, number)
	return nil
}

// CanResume is part of link.SocketSession.
func (c *Connection) CanResume() bool {
	return state(c.stateSeen.Load()) == open && c.resumption != nil && !c.isClosing.Load()
}

// Replaced is part of link.SocketSession.
func (c *Connection) Replaced() { c.in.setReplaced(true) }

// Lost is part of link.SocketSession. What has been read of a message that has not arrived whole is dropped: the client sends it again.
func (c *Connection) Lost() bool {
	if !c.CanResume() || !c.out.Detach() {
		c.out.Abandon()
		return false
	}
	if p := c.in.piece; p != nil {
		c.in.piece = nil
		p.recycle()
	}
	c.in.partial, c.in.searched, c.in.dropping = nil, 0, false
	c.resumption.losses.Add(1)
	c.resumption.lost.Store(true)
	return true
}

// Resume is part of link.SocketSession.
func (c *Connection) Resume(socket link.Socket) bool {
	if !c.CanResume() {
		return false
	}
	c.heard.Store(true)
	c.in.setReplaced(false)
	attached := c.out.Reattach(socket, c.sequence)
	if attached {
		c.hub.sys.counts.resumed.Add(1)
		c.resumption.again.Store(true)
		c.resumption.lost.Store(false)
	}
	return attached
}

// isLost reports whether the connection waits for another socket.
func (c *Connection) isLost() bool { return c.resumption != nil && c.resumption.lost.Load() }

// sequence returns the Sequence that says with which message the server goes on, or nil if the protocol, which may be the application's, panics.
func (c *Connection) sequence(first int64) *outbox.Packet {
	defer c.recoverPanic("writing a Sequence panicked")
	return c.control(&hubproto.Message{Type: hubproto.Sequence, SequenceID: first})
}

// control makes a packet of a message that is not numbered.
func (c *Connection) control(m *hubproto.Message) *outbox.Packet {
	p := c.Protocol()
	return outbox.NewControl(p.Append(outbox.Buffer(32), m), opcodeOf(p))
}

// acknowledge tells the client once a second what has been received, unless that is more than the budget because the client is awaited to acknowledge
// something: if it keeps what it has sent, it then stops. That must not hold up an answer that it is asked for. A reader that waits looks again
// whether it is awaited itself.
func (c *Connection) acknowledge() {
	r := c.resumption
	if c.in.waiting.Load() {
		c.in.credit(0)
	}
	ahead, answers := c.in.isAhead(c.settings.InboundLimit)
	if r.withheld = ahead && (!answers || c.out.AwaitsPeer()); r.withheld {
		return
	}
	if r.again.Swap(false) {
		r.acked = 0
	}
	if received := r.received.Load(); received > r.acked && !r.lost.Load() {
		r.acked = received
		c.out.PushAck(c.control(&hubproto.Message{Type: hubproto.Ack, SequenceID: received}))
	}
}
