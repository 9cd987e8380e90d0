package actors

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// input is the receiving half of a connection. Everything in it but the budget belongs to the goroutine that reads the transport.
//
// It borrows a piece of memory when bytes arrive, and hands it to the connection actor as a batch, with the envelopes of all whole
// messages in it: an idle connection holds no piece. What is read stays charged to the budget until it is handled; when the budget is
// spent the reader waits, and TCP pushes back on the client.
type input struct {
	piece    *batch // borrowed, with what has been read so far
	partial  []byte // what is left of a message that has not arrived whole, while no piece is borrowed
	searched int32  // bytes of it that have been looked through
	greeted  bool   // the handshake has been read
	protocol uint8  // that it has asked for
	failed   bool   // what still comes is not looked at

	waiting atomic.Bool
	mu      sync.Mutex
	charged int
	full    int     // uploads that the reader waits for
	asking  *asking // nil: nobody waits for an answer of the client
	room    chan struct{}
}

const (
	pieceSize     = 4 << 10
	largePiece    = 16 << 10 // as large as pieces are kept
	leastRead     = 512      // room that a read is given at least
	messageCharge = 256
	keptMessages  = 64
	keptPartial   = 512      // leftovers up to this size are copied out
	maxHandshake  = 32 << 10 // of a hub whose messages have no limit
)

// batch is what one read of the transport has brought: the handshake, whole messages, or the reason why nothing more can be read.
type batch struct {
	conn      *Connection
	buf       []byte
	messages  []hubproto.Message
	handshake *handshake
	err       error
	charge    int
	left      atomic.Int32
}

// handshake is the outcome of a client's first message.
type handshake struct {
	index   uint8  // of the protocol
	failure string // the answer, if it is not accepted
}

var batches = sync.Pool{New: func() any { return &batch{buf: make([]byte, 0, pieceSize)} }}

func (b *batch) refuse() { b.done(int32(len(b.messages)) + 1) }

// done says that n of the batch's messages have been handled; the batch itself counts as one of them, until the actor has seen it.
func (b *batch) done(n int32) {
	if b.left.Add(-n) > 0 {
		return
	}
	b.conn.in.credit(b.charge)
	b.recycle()
}

func (b *batch) recycle() {
	if cap(b.buf) > largePiece {
		return
	}
	if cap(b.messages) > keptMessages {
		b.messages = nil
	}
	clear(b.messages)
	b.conn, b.buf, b.messages, b.handshake, b.err = nil, b.buf[:0], b.messages[:0], nil, nil
	batches.Put(b)
}

// Buffer returns memory to read into, at least 512 bytes. Commit says how much of it has been filled.
func (c *Connection) Buffer() []byte {
	in := &c.in
	if in.piece == nil {
		in.piece = batches.Get().(*batch)
		in.piece.buf = append(in.piece.buf, in.partial...)
		in.partial = nil
	}
	b := in.piece
	if cap(b.buf)-len(b.buf) < leastRead {
		b.buf = slices.Grow(b.buf, max(len(b.buf), leastRead))
	}
	return b.buf[len(b.buf):cap(b.buf)]
}

// Commit takes n bytes that have been read into Buffer. It may wait until the connection has handled what came before; it returns
// false if the connection ended meanwhile.
//
// Buffer, Commit, CommitLast and End are for one goroutine at a time.
func (c *Connection) Commit(n int) (taken bool) {
	b := c.collect(n)
	if b == nil {
		return true
	}
	taken = c.in.debit(b.charge, c.settings.InboundLimit, c)
	c.mailbox.postInline(b)
	return taken
}

// CommitLast is Commit for the end of a request. The answer is given when there is nothing more to wait for, and before what was read is
// handled.
func (c *Connection) CommitLast(n int, answer func(taken bool)) {
	b := c.collect(n)
	if b == nil {
		answer(true)
		return
	}
	defer c.mailbox.postInline(b) // even if the answer panics: it is charged
	answer(c.in.debit(b.charge, c.settings.InboundLimit, c))
}

// collect takes n more bytes of input, and gives up the piece, with the messages in it, if there is anything to handle.
func (c *Connection) collect(n int) *batch {
	in := &c.in
	b := in.piece
	b.buf = b.buf[:len(b.buf)+n]
	if in.failed || c.closed.Load() {
		in.piece, in.partial = nil, nil
		b.recycle()
		return nil
	}
	used := c.parse(b)
	rest := b.buf[used:]
	if b.handshake == nil && len(b.messages) == 0 && b.err == nil {
		if len(rest) <= keptPartial {
			in.piece, in.partial = nil, slices.Clone(rest)
			b.recycle()
		}
		return nil
	}
	in.piece, in.partial = nil, nil
	if len(rest) > 0 && b.err == nil {
		in.partial = slices.Clone(rest)
	}
	b.conn = c
	b.left.Store(int32(len(b.messages)) + 1)
	b.charge = cap(b.buf)
	for i := range b.messages {
		b.charge += messageCharge * (1 + len(b.messages[i].StreamIDs))
	}
	c.heard.Store(true)
	return b
}

// parse finds the whole messages in b and returns where what is left begins.
func (c *Connection) parse(b *batch) (used int) {
	in := &c.in
	limit := c.settings.MaxMessage
	searched := int(in.searched)
	if !in.greeted {
		n, err := hubproto.NextHandshake(b.buf, searched, cmp.Or(limit, maxHandshake))
		if n == 0 && err == nil {
			in.searched = int32(len(b.buf))
			return 0
		}
		searched = 0
		b.handshake = c.handshake(b.buf[:n], err)
		if in.failed = b.handshake.failure != ""; in.failed {
			return len(b.buf)
		}
		in.greeted, in.protocol = true, b.handshake.index
		used = n
	}
	protocol := c.hub.protocols[in.protocol]
	for {
		n, err := protocol.Next(b.buf[used:], searched, limit)
		searched = 0
		if n > 0 && err == nil {
			b.messages = append(b.messages, hubproto.Message{})
			err = protocol.Parse(b.buf[used:used+n], &b.messages[len(b.messages)-1])
			if err != nil {
				b.messages = b.messages[:len(b.messages)-1]
			}
		}
		if err != nil {
			b.err, in.failed = err, true
			return len(b.buf)
		}
		if n == 0 {
			in.searched = int32(min(len(b.buf)-used, math.MaxInt32))
			return used
		}
		used += n
	}
}

// handshake judges a client's first message (spec §3.4).
func (c *Connection) handshake(record []byte, err error) *handshake {
	h := c.hub
	if err != nil {
		return &handshake{failure: handshakeCanceled}
	}
	request, err := hubproto.ParseHandshake(record)
	if err != nil {
		return &handshake{failure: h.handler.Describe("An unexpected error occurred during connection handshake.", err)}
	}
	index := slices.IndexFunc(h.protocols, func(p hubproto.Protocol) bool { return strings.EqualFold(p.Name(), request.Protocol) })
	if index < 0 {
		return &handshake{failure: "The protocol '" + request.Protocol + "' is not supported."}
	}
	if request.Version > hubproto.MaxVersion {
		return &handshake{failure: unsupportedVersion(request.Version, h.protocols[index].Name())}
	}
	if p := h.protocols[index]; p.Binary() && c.pull != nil && !c.pull.polls {
		return &handshake{failure: "Cannot use the '" + p.Name() + "' protocol on the current transport. The transport does not support 'Binary' transfer format."}
	}
	return &handshake{index: uint8(index)}
}

const handshakeCanceled = "Handshake was canceled."

// debit charges n bytes. If the budget is spent, or an upload is full, it waits; one piece is always admitted when nothing is charged.
// While an answer of the client is waited for, it may lie behind: then twice the budget is admitted before that answer is given up.
func (in *input) debit(n, limit int, c *Connection) (ok bool) {
	for {
		in.mu.Lock()
		if in.asking != nil && in.charged > 0 && in.charged+n > 2*limit {
			close(in.asking.failed)
			in.asking = nil
		}
		if in.charged == 0 || in.asking != nil || in.full == 0 && in.charged+n <= limit {
			in.charged += n
			in.mu.Unlock()
			return true
		}
		if in.room == nil {
			in.room = make(chan struct{})
		}
		room := in.room
		in.mu.Unlock()
		in.waiting.Store(true)
		select {
		case <-room:
		case <-c.Done():
			in.mu.Lock()
			in.charged += n // it will be credited
			in.mu.Unlock()
			in.waiting.Store(false)
			return false
		}
		in.waiting.Store(false)
	}
}

func (in *input) credit(n int) {
	in.mu.Lock()
	in.charged -= n
	in.look()
	in.mu.Unlock()
}

// look lets a reader that waits look again.
func (in *input) look() {
	if in.room != nil {
		close(in.room)
		in.room = nil
	}
}
