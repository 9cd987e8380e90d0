package actors

import (
	"fmt"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/troupe-go/troupe/internal/wsframe"
)

// At most this much is merged into one WebSocket message, which is a writer's turn with one connection.
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

// writer is what an owner of outboxes works with, one outbox after the other: what it has taken from the one that it writes for, and the
// last merge, whose bytes serve all connections that were sent the same packets.
type writer struct {
	blocking bool // a drainer, which may wait for its socket
	fanout   bool // it writes fan-outs: an outbox whose turn is over goes back to their list

	// What has been taken from an outbox and is not written yet.
	pong    []byte
	packets []*packet
	message []byte // what is left of the packets' message, of its part that is being written, or of the last frame
	part    int    // the packet that follows, if they are written one by one
	size    int    // of the packets
	charge  int    // bytes on the count for them
	limited int
	last    bool // the link's last frame

	merged []byte
	key    []*packet // what merged was made of
	opcode byte      // and for
}

// flush writes on the caller's goroutine what is pending, unless somebody else owns the outbox.
func (w *writer) flush(o *outbox) {
	if o.pull != nil {
		o.schedule()
		return
	}
	o.mu.Lock()
	taken := o.state <= boxQueued && (len(o.queue) > 0 || o.pong != nil) && w.take(o)
	o.mu.Unlock()
	if taken {
		w.write(o)
	}
}

// take takes a turn's output. If nothing is pending, it gives the outbox back and returns false. The lock is held.
func (w *writer) take(o *outbox) bool {
	if w.pong = nil; o.pong != nil {
		w.pong, o.pong = *o.pong, nil
	}
	w.packets, w.size, w.charge, w.limited = o.take(w.packets[:0], false)
	if len(w.packets) == 0 && w.pong == nil {
		if o.phase != boxSealed {
			o.state = boxIdle
			return false
		}
		o.phase, w.last = boxFinishing, true
	}
	o.state = boxWriting
	return true
}

// write writes what has been taken, and, if it may wait for the socket, everything that follows. Afterwards the outbox is somebody else's
// or nobody's.
func (w *writer) write(o *outbox) { w.resume(o, -1) }

// resume is write for a first message of which only the last unwritten bytes are left, unless unwritten is negative.
func (w *writer) resume(o *outbox, unwritten int) {
	defer w.release()
	defer w.recoverFor(o)
	if !w.blocking && o.socket.Blocks() {
		w.handOver(o, -1)
		return
	}
	for {
		w.prepare(o)
		if unwritten >= 0 {
			w.skip(unwritten)
			unwritten = -1
		}
		if !w.send(o) {
			return
		}
		for _, p := range w.packets {
			p.free()
		}
		if !w.giveBack(o) {
			return
		}
	}
}

// prepare begins the message that has been taken. A drainer writes it part by part, unless each write costs more than that saves: what
// waits for a full socket is not copied.
func (w *writer) prepare(o *outbox) {
	w.message, w.part = nil, len(w.packets)
	switch {
	case w.last:
		w.message = o.socket.LastFrame()
	case len(w.packets) == 0:
	case len(w.packets) > 1 && w.blocking && !o.socket.Blocks():
		w.message, w.part = wsframe.Header(o.opcode, w.payload()), 0
	default:
		w.message = w.merge(o.opcode)
	}
}

// payload is the length of the message of all packets.
func (w *writer) payload() int { return w.size - len(w.packets)*wsframe.Room }

// skip leaves only the last unwritten bytes of a message that has been prepared.
func (w *writer) skip(unwritten int) {
	written := w.left() - unwritten
	for written > len(w.message) {
		written -= len(w.message)
		w.next()
	}
	w.message = w.message[written:]
}

// left is how much of the message has not been written.
func (w *writer) left() int {
	n := len(w.message)
	for _, p := range w.packets[w.part:] {
		n += len(p.b) - wsframe.Room
	}
	return n
}

// next goes on with the next packet of a message that is written part by part.
func (w *writer) next() {
	w.message = w.packets[w.part].b[wsframe.Room:]
	w.part++
}

// recoverFor ends the output of a connection whose socket, which may be the application's, has panicked.
func (w *writer) recoverFor(o *outbox) {
	if reason := recover(); reason != nil {
		o.flusher.log.Error("writing to a client panicked; it is disconnected", "reason", fmt.Sprint(reason), "stack", string(debug.Stack()))
		w.broken(o, fmt.Errorf("troupe: writing to the client panicked: %v", reason))
	}
}

// giveBack ends a turn. It returns true if the writer goes on with the same outbox: when it may wait, or when only the last frame is left.
func (w *writer) giveBack(o *outbox) (again bool) {
	last := w.last
	o.mu.Lock()
	o.taken += uint32(w.charge)
	o.uncount(w.charge, w.limited)
	w.charge, w.limited, w.last = 0, 0, false
	if last {
		o.phase, o.state = boxOver, boxIdle
		o.mu.Unlock()
		o.socket.Finished()
		o.owner.boxOver()
		return false
	}
	if pending := len(o.queue) > 0 && !o.withheld || o.pong != nil; pending && !w.blocking { // it is others' turn now
		o.state = boxQueued
		o.mu.Unlock()
		o.wake(w.fanout)
		return false
	}
	again = w.take(o)
	o.mu.Unlock()
	return again
}

// merge returns the packets as one message with its header.
func (w *writer) merge(opcode byte) []byte {
	if len(w.packets) == 1 {
		// A shared packet has its header already; writing the same bytes again would be a race.
		if w.packets[0].own {
			return wsframe.Put(w.packets[0].b, opcode)
		}
		return wsframe.Wire(w.packets[0].b)
	}
	if w.opcode != opcode || !slices.Equal(w.packets, w.key) {
		w.key, w.opcode = append(w.key[:0], w.packets...), opcode
		w.merged = slices.Grow(w.merged[:0], w.size)[:wsframe.Room]
		for _, p := range w.packets {
			w.merged = append(w.merged, p.b[wsframe.Room:]...)
		}
		if slices.ContainsFunc(w.packets, func(p *packet) bool { return p.own }) {
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

// release lets go of what has been taken.
func (w *writer) release() {
	clear(w.packets)
	w.packets = w.packets[:0]
	w.pong, w.message, w.part, w.charge, w.limited, w.last = nil, nil, 0, 0, 0, false
}

// send writes what has been taken. When the socket is full, a drainer takes over the outbox and what is left; when it is broken, its owner
// is told. In both cases it returns false.
func (w *writer) send(o *outbox) bool {
	for {
		rest := &w.pong
		if len(w.pong) == 0 {
			rest = &w.message
		}
		if len(*rest) == 0 {
			if w.part == len(w.packets) {
				return true
			}
			w.next()
			continue
		}
		n, err := w.give(o, *rest)
		if err != nil {
			w.broken(o, nil)
			return false
		}
		if *rest = (*rest)[n:]; len(*rest) > 0 && !w.blocking {
			w.handOver(o, w.left())
			return false
		}
	}
}

// give gives the socket some of b.
func (w *writer) give(o *outbox, b []byte) (n int, err error) {
	if !w.blocking {
		return o.socket.TryWrite(b)
	}
	if !o.socket.Blocks() {
		n, err = o.socket.TryWrite(b)
	}
	if n == 0 && err == nil {
		o.mu.Lock()
		o.setPeerTurn(true)
		o.mu.Unlock()
		n, err = o.socket.Write(b)
	}
	o.mu.Lock()
	o.setPeerTurn(false)
	if n < len(b) { // of a long message: what is complete is counted when it is given back
		off := min(n, w.charge)
		limited := 0
		if w.limited == w.charge {
			limited = off
		}
		o.taken += uint32(off)
		o.uncount(off, limited)
		w.charge -= off
		w.limited -= limited
	}
	o.mu.Unlock()
	return n, err
}

// handOver starts a drainer, which owns the outbox until the socket has taken everything. The packets are not copied: many clients may
// stall with the same ones.
func (w *writer) handOver(o *outbox, unwritten int) {
	d := &writer{blocking: true, pong: w.pong, packets: slices.Clone(w.packets), size: w.size, charge: w.charge, limited: w.limited, last: w.last}
	o.mu.Lock()
	o.state = boxBlocked
	o.mu.Unlock()
	o.flusher.drainers.add(1)
	go func() {
		defer o.flusher.drainers.add(-1)
		d.resume(o, unwritten)
	}()
}

// broken ends the writing half of a connection. The reading half sees the same, and tells the actor.
func (w *writer) broken(o *outbox, err error) {
	o.abandon()
	o.mu.Lock()
	o.setPeerTurn(false)
	o.state = boxIdle
	o.mu.Unlock()
	o.owner.boxBroken(err)
}

var writers = sync.Pool{New: func() any { return new(writer) }}

func borrowWriter() *writer { return writers.Get().(*writer) }

func returnWriter(w *writer) {
	w.forget()
	writers.Put(w)
}
