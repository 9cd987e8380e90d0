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
	c.pull.attended.Store(true)
	c.pull.came.Store(true)
	defer c.pull.attended.Store(false)
	o := &c.out
	for {
		o.mu.Lock()
		if len(o.queue) > 0 {
			break
		}
		if o.sealed {
			last := !o.over
			o.finished, o.over = true, true
			o.mu.Unlock()
			if last {
				c.post(&written{})
			}
			return false, nil
		}
		o.state = boxIdle
		o.mu.Unlock()
		select {
		case <-c.pull.ready:
		case <-ctx.Done():
			return true, context.Cause(ctx)
		}
	}
	packets := o.queue
	o.queue, o.state = nil, boxWriting
	o.mu.Unlock()

	messages, charge := make([][]byte, len(packets)), 0
	for i, p := range packets {
		messages[i] = p.b[wsframe.Room:]
		charge += p.charge()
	}
	// What has been taken makes no room before all of it is: if that fails, all is pending again.
	err = deliver(messages, func(n int) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.move(n, c.settings.OutboxLimit, c.sys.now)
	})

	o.mu.Lock()
	o.state = boxQueued
	if err == nil {
		o.release(charge, c.settings.OutboxLimit, c.sys.now)
	} else if !o.finished {
		o.queue = slices.Concat(packets, o.queue)
	}
	o.mu.Unlock()
	if err != nil {
		return true, err
	}
	for _, p := range packets {
		p.free()
	}
	return true, nil
}

// hangup says that the client wants to leave.
type hangup struct{ err error }

func (*hangup) refuse() {}

// Partial tells whether half a message has been read. It is for the goroutine that reads.
func (c *Connection) Partial() bool {
	return !c.in.failed && (len(c.in.partial) > 0 || c.in.piece != nil && len(c.in.piece.buf) > 0)
}

// Leave says that the client has asked its transport to end the connection. It gets a Close; an err tells what the transport found
// wrong.
func (c *Connection) Leave(err error) { c.post(&hangup{err}) }

func (c *Connection) cut() {
	if c.pull != nil {
		c.pull.requests.Cut()
		return
	}
	c.socket.Cut()
}
