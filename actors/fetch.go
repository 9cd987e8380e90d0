package actors

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/troupe-go/troupe/internal/wsframe"
)

// Requests is the transport of a connection whose output is fetched, by the request of an event stream or by one poll after the other.
type Requests interface {
	Transport
	// Polls says that there is one request after the other. Between two of them the client is away, for at most awayLimit; it gets no
	// pings and owes none. What does not poll carries text alone.
	Polls() bool
}

// pull is what a connection has instead of a socket.
type pull struct {
	requests Requests
	polls    bool
	ready    chan struct{} // holds a token when the outbox has become queued
	attended atomic.Bool   // a request is there
	came     atomic.Bool   // or was, since the last beat
}

// Fetch waits for output and gives it to deliver: whole hub messages, in slices that it must not keep. deliver says how much has been
// taken as it goes on, so that a client is seen to move; when it fails, everything is pending again. Fetch returns false when the last
// output has been fetched before, and an error if ctx ends or deliver fails. It is for one request at a time.
func (c *Connection) Fetch(ctx context.Context, deliver func(messages [][]byte, taken func(n int)) error) (more bool, err error) {
	c.out.pull.attended.Store(true)
	c.out.pull.came.Store(true)
	defer c.out.pull.attended.Store(false)
	o := &c.out
	packets, charge, limited, err := o.fetch(ctx)
	if packets == nil {
		return err != nil, err
	}
	delivered := false
	defer func() { o.fetched(packets, charge, limited, delivered) }() // if deliver panics, too
	messages := make([][]byte, len(packets))
	for i, p := range packets {
		messages[i] = p.b[wsframe.Room:]
	}
	// What has been taken makes no room before all of it is: if that fails, all is pending again.
	err = deliver(messages, func(n int) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.taken += uint32(n)
	})
	delivered = err == nil
	return true, err
}

// fetch takes output for a request, when there is some: for an event stream a turn's worth, for a poll everything. At the end it returns
// nothing.
func (o *outbox) fetch(ctx context.Context) (packets []*packet, charge, limited int, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer o.setPeerTurn(true) // a client that polls is away, or its output is being delivered
	o.setPeerTurn(false)
	for {
		packets, _, charge, limited = o.take(nil, o.pull.polls)
		if len(packets) > 0 {
			o.state = boxWriting
			return packets, charge, limited, nil
		}
		if o.phase >= boxSealed {
			last := o.phase != boxOver
			o.phase = boxOver
			if last {
				o.mu.Unlock()
				o.owner.boxOver()
				o.mu.Lock()
			}
			return nil, 0, 0, nil
		}
		o.state = boxIdle
		o.mu.Unlock()
		select {
		case <-o.pull.ready:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		o.mu.Lock()
		if err != nil {
			return nil, 0, 0, err
		}
	}
}

// fetched ends a delivery. What has not been delivered is pending again.
func (o *outbox) fetched(packets []*packet, charge, limited int, delivered bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.setPeerTurn(o.pull.polls)
	o.state = boxQueued // whoever fetches next looks
	if !delivered && o.phase != boxOver {
		o.queue = slices.Concat(packets, o.queue)
		return
	}
	o.uncount(charge, limited)
	for _, p := range packets {
		p.free()
	}
}

// hangup says that the client wants to leave.
type hangup struct{ err error }

func (*hangup) refuse() {}

// Partial reports whether half a message has been read. It is for the goroutine that reads.
func (c *Connection) Partial() bool {
	return !c.in.failed && (len(c.in.partial) > 0 || c.in.piece != nil && len(c.in.piece.buf) > 0)
}

// Leave says that the client has asked its transport to end the connection. It gets a Close; an err tells what the transport found
// wrong.
func (c *Connection) Leave(err error) { c.post(&hangup{err}) }

func (c *Connection) cut() {
	if c.out.pull != nil {
		c.out.pull.requests.Cut()
		return
	}
	c.out.socket.Cut()
}
