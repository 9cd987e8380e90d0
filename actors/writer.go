package actors

import (
	"slices"

	"github.com/troupe-go/troupe/internal/wsframe"
)

// At most this much is merged into one WebSocket message.
const (
	maxMerged      = 64
	maxMergedBytes = 64 << 10
	keptQueue      = 16 // packets that an empty outbox keeps room for
)

// Transport carries a connection. It is a [Socket] or [Requests].
type Transport interface {
	// Cut ends it at once, from any goroutine; reading and writing end with an error. It does not block.
	Cut()
}

// Socket is the sending half of a transport that is written to. Its methods are called by one owner of the outbox at a time, but for Cut.
type Socket interface {
	Transport
	// Blocks says that TryWrite cannot be had (TLS, a net.Conn of somebody else's): everything goes through Write.
	Blocks() bool
	// TryWrite gives the kernel as much of b as it takes at once. Less than all without an error: the socket is full.
	TryWrite(b []byte) (int, error)
	// Write waits until the kernel has taken some of b.
	Write(b []byte) (int, error)
	// LastFrame is what ends the transport politely, behind all other output. It may be empty.
	LastFrame() []byte
	// Finished is called when the last frame has been taken. The transport may then wait for the peer, and closes.
	Finished()
}

// writer is what an owner of outboxes works with, one outbox after the other: buffers that are used again, and the last merge, whose
// bytes serve all connections that were sent the same packets.
type writer struct {
	blocking bool // a drainer, which may wait for its socket
	taken    []*packet
	merged   []byte
	key      []*packet // what merged was made of
	opcode   byte      // and for
}

// flush writes on the caller's goroutine what is pending for c, unless somebody else owns the outbox.
func (w *writer) flush(c *Connection) {
	if c.pull != nil {
		c.schedule()
		return
	}
	c.out.mu.Lock()
	own := c.out.state <= boxQueued && (len(c.out.queue) > 0 || c.out.pong != nil)
	if own {
		c.out.state = boxWriting
	}
	c.out.mu.Unlock()
	if own {
		w.own(c)
	}
}

// own writes everything that is pending for c and gives the outbox back. Its state is writing.
func (w *writer) own(c *Connection) {
	o := &c.out
	if !w.blocking && c.socket.Blocks() {
		w.handOver(c, nil, 0, nil)
		return
	}
	for {
		o.mu.Lock()
		if len(o.queue) == 0 && o.pong == nil {
			if !o.sealed || o.finished {
				if o.state = boxIdle; cap(o.queue) > keptQueue {
					o.queue = nil
				}
				o.mu.Unlock()
				return
			}
			o.finished = true
			o.mu.Unlock()
			if !w.send(c, c.socket.LastFrame(), 0, nil) {
				return
			}
			c.lastFrameWritten()
			continue
		}
		pong := o.pong
		o.pong = nil
		w.taken, o.queue = o.queue, w.taken[:0]
		o.mu.Unlock()
		if pong != nil && !w.send(c, pong, 0, w.taken) || !w.sendAll(c, w.taken) {
			w.taken = nil
			return
		}
		if clear(w.taken); cap(w.taken) > 4*maxMerged {
			w.taken = nil
		}
	}
}

// sendAll writes packets in messages as large as may be. false: the outbox is not the caller's any more.
func (w *writer) sendAll(c *Connection, packets []*packet) bool {
	for len(packets) > 0 {
		n, messages, charge, size := 0, 0, 0, 0
		for n < len(packets) && (n == 0 || messages+packets[n].messages <= maxMerged && size+len(packets[n].b) <= maxMergedBytes) {
			size += len(packets[n].b)
			messages += packets[n].messages
			charge += packets[n].charge()
			n++
		}
		b := w.merge(packets[:n], c.opcode, size)
		rest := packets[n:]
		if !w.send(c, b, charge, rest) {
			return false
		}
		for _, p := range packets[:n] {
			p.free()
		}
		packets = rest
	}
	return true
}

// merge returns packets as one message with its header.
func (w *writer) merge(packets []*packet, opcode byte, size int) []byte {
	if len(packets) == 1 {
		// A shared packet has its header already; writing the same bytes again would be a race.
		if packets[0].own {
			return wsframe.Put(packets[0].b, opcode)
		}
		return wsframe.Wire(packets[0].b)
	}
	if w.opcode != opcode || !slices.Equal(packets, w.key) {
		w.key, w.opcode = append(w.key[:0], packets...), opcode
		w.merged = slices.Grow(w.merged[:0], size)[:wsframe.Room]
		for _, p := range packets {
			w.merged = append(w.merged, p.b[wsframe.Room:]...)
		}
		if slices.ContainsFunc(packets, func(p *packet) bool { return p.own }) {
			w.forget() // an own packet can come back with other bytes
		}
		wsframe.Put(w.merged, opcode)
	}
	return wsframe.Wire(w.merged)
}

// forget drops what the last merge was made of.
func (w *writer) forget() {
	clear(w.key)
	w.key = w.key[:0]
}

// send writes one message, for which charge bytes are on the count. When the socket is full, a drainer takes over the outbox, what is
// left of b, and rest; when it is broken, the connection is cut. In both cases it returns false.
func (w *writer) send(c *Connection, b []byte, charge int, rest []*packet) bool {
	for len(b) > 0 {
		var n int
		var err error
		if w.blocking {
			n, err = c.socket.Write(b)
		} else {
			n, err = c.socket.TryWrite(b)
		}
		if err != nil {
			w.broken(c)
			return false
		}
		b = b[n:]
		off := min(n, charge)
		if len(b) == 0 {
			off = charge
		}
		charge -= off
		if off > 0 {
			c.out.mu.Lock()
			c.out.release(off, c.settings.OutboxLimit, c.sys.now)
			c.out.mu.Unlock()
		}
		if len(b) > 0 && !w.blocking {
			w.handOver(c, slices.Clone(b), charge, slices.Clone(rest))
			return false
		}
	}
	return true
}

// handOver starts a drainer, which owns the outbox until the socket has taken everything.
func (w *writer) handOver(c *Connection, b []byte, charge int, rest []*packet) {
	c.out.mu.Lock()
	c.out.state = boxBlocked
	finishing := c.out.finished
	c.out.mu.Unlock()
	c.sys.drainers.add(1)
	go func() {
		defer c.sys.drainers.add(-1)
		d := &writer{blocking: true}
		if !d.send(c, b, charge, rest) || !d.sendAll(c, rest) {
			return
		}
		if finishing && b != nil {
			c.lastFrameWritten()
		}
		d.own(c)
	}()
}

// broken ends the writing half of a connection. The reading half sees the same, and tells the actor.
func (w *writer) broken(c *Connection) {
	c.abandon()
	c.out.mu.Lock()
	c.out.state = boxIdle
	c.out.mu.Unlock()
}
