package outbox

import (
	"fmt"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/troupe-go/troupe/internal/link"
	"github.com/troupe-go/troupe/internal/wsframe"
)

// At most this much is merged into one WebSocket message, which is a writer's turn with one box.
const (
	maxMerged      = 64
	maxMergedBytes = 64 << 10
)

// Writer writes for boxes, one after the other. It holds what it has taken from the box that it writes for, and the last merge, whose
// bytes serve all boxes that hold the same packets.
type Writer struct {
	blocking bool // it may wait for its socket: a drainer
	fanout   bool // a box whose turn is over goes back to the list of fan-outs

	// What has been taken from a box, and the link that it is for.
	taken
	socket link.Socket
	pong   []byte
	last   bool // the link's last frame
	keeps  bool // the box keeps the packets

	// control says that nothing but acknowledgements has been taken, which are no progress of a peer that acknowledges nothing itself.
	control bool

	message []byte // what is left of the merged message, of its part that is being written, or of the last frame
	part    int    // index of the packet that follows, if they are written one by one

	merged []byte
	key    []*Packet // what merged was made of
	opcode byte      // and for
}

// Flush writes on the caller's goroutine what is pending, unless another one owns the box.
func (w *Writer) Flush(b *Box) {
	b.mu.Lock()
	if b.link.socket == nil {
		c := b.claimPending()
		b.mu.Unlock()
		b.wake(c, false)
		return
	}
	taken := b.state <= queued && (b.hasOutput() || b.link.pong != nil) && w.take(b)
	b.mu.Unlock()
	if taken {
		w.write(b)
	}
}

// take takes a turn's output. If nothing is pending, it gives the box back and returns false. The lock is held.
func (w *Writer) take(b *Box) bool {
	l := &b.link
	if w.pong = nil; l.pong != nil {
		w.pong, l.pong = *l.pong, nil
	}
	clear(w.packets)
	w.taken = b.take(w.packets[:0], false)
	if len(w.packets) == 0 && w.pong == nil {
		if b.phase != sealed {
			b.state = idle
			b.setPeerTurn(!b.queue.isEmpty() && b.awaitsAck())
			return false
		}
		b.phase, w.last = finishing, true
	}
	w.socket, w.keeps = l.socket, b.kept != nil
	w.control = w.keeps && b.awaitsAck() && !slices.ContainsFunc(w.packets, func(p *Packet) bool { return p.tracked })
	b.state = writing
	return true
}

// write writes what has been taken, and, if it may wait for the socket, everything that follows. Afterwards the writer does not own the box
// any more.
func (w *Writer) write(b *Box) { w.resume(b, -1) }

// resume is write for a first message of which only the last unwritten bytes are left, unless unwritten is negative.
func (w *Writer) resume(b *Box, unwritten int) {
	defer w.release()
	defer w.recoverFor(b)
	if !w.blocking && w.socket.Blocks() {
		w.handOver(b, -1)
		return
	}
	for {
		w.prepare(b)
		if unwritten >= 0 {
			w.skip(unwritten)
			unwritten = -1
		}
		if !w.send(b) {
			return
		}
		w.free()
		if !w.giveBack(b) {
			return
		}
	}
}

// free returns own packets that have been written to their pool, unless the box keeps them.
func (w *Writer) free() {
	if w.keeps {
		return
	}
	for _, p := range w.packets {
		p.free()
	}
}

// prepare begins the message that has been taken. A drainer writes it part by part, unless each write costs more than that saves: what
// waits for a full socket is not copied.
func (w *Writer) prepare(b *Box) {
	w.message, w.part = nil, len(w.packets)
	switch {
	case w.last:
		w.message = w.socket.LastFrame()
	case len(w.packets) == 0:
	case len(w.packets) > 1 && w.blocking && !w.socket.Blocks():
		w.message, w.part = wsframe.Header(b.opcode, w.size-len(w.packets)*wsframe.Room), 0
	default:
		w.message = w.merge(b.opcode)
	}
}

// skip leaves only the last unwritten bytes of a message that has been prepared.
func (w *Writer) skip(unwritten int) {
	written := w.left() - unwritten
	for written > len(w.message) {
		written -= len(w.message)
		w.next()
	}
	w.message = w.message[written:]
}

// left is how much of the message has not been written.
func (w *Writer) left() int {
	n := len(w.message)
	for _, p := range w.packets[w.part:] {
		n += len(p.b) - wsframe.Room
	}
	return n
}

// next goes on with the next packet of a message that is written part by part.
func (w *Writer) next() {
	w.message = w.packets[w.part].b[wsframe.Room:]
	w.part++
}

// merge returns the packets as one message with its header.
func (w *Writer) merge(opcode byte) []byte {
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
		if slices.ContainsFunc(w.packets, func(p *Packet) bool { return p.own }) {
			w.forgetMerge() // an own packet can come back with other bytes
		}
		wsframe.Put(w.merged, opcode)
	}
	return wsframe.Wire(w.merged)
}

// forgetMerge releases what the last merge was made of.
func (w *Writer) forgetMerge() {
	clear(w.key)
	w.key = w.key[:0]
}

// release releases what has been taken.
func (w *Writer) release() {
	clear(w.packets)
	w.taken = taken{packets: w.packets[:0]}
	w.socket, w.pong, w.message, w.part, w.last, w.keeps, w.control = nil, nil, nil, 0, false, false, false
}

// send writes what has been taken. When the socket is full, a drainer takes over the box and what is left; when it is broken, the owner is
// told. In both cases send returns false.
func (w *Writer) send(b *Box) bool {
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
		n, err := w.writeSome(b, *rest)
		if err != nil {
			w.fail(b, nil)
			return false
		}
		if *rest = (*rest)[n:]; len(*rest) > 0 && !w.blocking {
			w.handOver(b, w.left())
			return false
		}
	}
}

// writeSome writes some of p to the socket. A drainer waits until that can be done.
func (w *Writer) writeSome(b *Box, p []byte) (n int, err error) {
	if !w.blocking {
		return w.socket.TryWrite(p)
	}
	if !w.socket.Blocks() {
		n, err = w.socket.TryWrite(p)
	}
	if n == 0 && err == nil {
		b.mu.Lock()
		if w.owns(b) {
			b.setPeerTurn(true)
		}
		b.mu.Unlock()
		n, err = w.socket.Write(p)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if w.owns(b) {
		b.setPeerTurn(false)
	}
	off, limited := min(n, w.charge), 0
	if w.limited == w.charge {
		limited = off
	}
	w.count(b, off, limited)
	return n, err
}

// count takes bytes that the peer has taken off the counts. The lock is held.
func (w *Writer) count(b *Box, charge, limited int) {
	if w.owns(b) && !w.control {
		b.taken += uint32(charge)
	}
	b.uncount(charge, limited)
	w.charge -= charge
	w.limited -= limited
}

// owns reports whether the link that the writer writes to is still the box's. The lock is held.
func (w *Writer) owns(b *Box) bool { return w.socket == b.link.socket }

// handOver starts a drainer, which owns the box until the socket has taken everything. The packets are not copied: many sockets may be full
// with the same ones.
func (w *Writer) handOver(b *Box, unwritten int) {
	d := &Writer{blocking: true, taken: w.taken, socket: w.socket, pong: w.pong, last: w.last, keeps: w.keeps, control: w.control}
	d.packets = slices.Clone(w.packets)
	b.mu.Lock()
	if w.owns(b) {
		b.state = blocked
	}
	b.mu.Unlock()
	b.flusher.drainers.Add(1)
	go func() {
		defer b.flusher.drainers.Add(-1)
		d.resume(b, unwritten)
	}()
}

// giveBack ends a turn. It returns true if the writer goes on with the same box: when it may wait, or when only the last frame is left.
func (w *Writer) giveBack(b *Box) (again bool) {
	b.mu.Lock()
	w.count(b, w.charge, w.limited)
	switch {
	case !w.owns(b):
		b.mu.Unlock()
		return false
	case w.last:
		b.phase, b.state = over, idle
		b.mu.Unlock()
		w.socket.Finished()
		b.owner.Over()
		return false
	case !w.blocking && (b.hasOutput() || b.link.pong != nil): // other boxes have their turn now
		b.state = queued
		b.mu.Unlock()
		b.flusher.add(b, w.fanout)
		return false
	}
	again = w.take(b)
	b.mu.Unlock()
	return again
}

// recoverFor ends the output of a box whose socket, which may be the application's, has panicked.
func (w *Writer) recoverFor(b *Box) {
	if reason := recover(); reason != nil {
		b.flusher.log.Error("writing to a client panicked; it is disconnected", "reason", fmt.Sprint(reason), "stack", string(debug.Stack()))
		w.fail(b, fmt.Errorf("hubsys: writing to the client panicked: %v", reason))
	}
}

// fail ends the output of a box whose link is broken. Whoever reads from the link sees the same.
func (w *Writer) fail(b *Box, err error) {
	b.mu.Lock()
	current := w.owns(b)
	b.uncount(w.charge, w.limited)
	switch {
	case !current:
	case b.kept != nil && b.phase == open && err == nil:
		b.detach() // the reader finds the end of the link as well, when it is cut
		current = false
		defer w.socket.Cut()
	default:
		b.abandon()
		b.setPeerTurn(false)
		b.state = idle
	}
	b.mu.Unlock()
	if current {
		w.socket.Finished()
		b.owner.Broken(err)
	}
}

var writers = sync.Pool{New: func() any { return new(Writer) }}

// BorrowWriter returns a writer, for as long as ReturnWriter is not called.
func BorrowWriter() *Writer { return writers.Get().(*Writer) }

// ReturnWriter ends the use of a writer.
func ReturnWriter(w *Writer) {
	w.forgetMerge()
	writers.Put(w)
}
