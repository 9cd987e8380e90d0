package actors

import (
	"cmp"
	"math"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// input is the receiving half of a connection. Everything in it but the budget belongs to the goroutine that reads the transport.
//
// It borrows a piece of memory when bytes arrive, and hands the envelopes of the whole messages in it to the connection actor, as batches of
// at most batchMessages: an idle connection holds no piece. What is read stays charged to the budget until it is handled, and no further
// batch is parsed before the budget has room for it. When the budget is spent the reader waits, and TCP pushes back on the client.
type input struct {
	piece    *piece // borrowed, with what has been read so far
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
	batchMessages = 64
	keptPartial   = 512      // leftovers up to this size are copied out
	maxHandshake  = 32 << 10 // of a hub whose messages have no limit
)

// piece is memory that a read of the transport has filled. It is charged at its capacity until the last batch in it has been handled.
type piece struct {
	conn *Connection // once it is charged
	buf  []byte
	refs atomic.Int32 // batches, and the reader while it has not parsed all
}

var pieces = sync.Pool{New: func() any { return &piece{buf: make([]byte, 0, pieceSize)} }}

// release gives up a reference, and credits what was charged for it; with the last one, the piece as well.
func (p *piece) release(charge int) {
	in := &p.conn.in
	if p.refs.Add(-1) > 0 {
		in.credit(charge)
		return
	}
	in.credit(charge + cap(p.buf))
	p.recycle()
}

func (p *piece) recycle() {
	if cap(p.buf) <= largePiece {
		p.conn, p.buf = nil, p.buf[:0]
		pieces.Put(p)
	}
}

// batch is a part of what a read has brought: the handshake, whole messages, or the reason why nothing more can be read.
type batch struct {
	piece     *piece
	messages  []hubproto.Message
	handshake *handshake
	err       error
	charge    int // for the messages
	left      atomic.Int32
}

// handshake is the outcome of a client's first message.
type handshake struct {
	index   uint8  // of the protocol
	failure string // the answer, if it is not accepted
}

var batches = sync.Pool{New: func() any { return new(batch) }}

func (b *batch) refuse() { b.done(int32(len(b.messages)) + 1) }

// done says that n of the batch's messages have been handled; the batch itself counts as one of them, until the actor has seen it.
func (b *batch) done(n int32) {
	if b.left.Add(-n) > 0 {
		return
	}
	p, charge := b.piece, b.charge
	b.recycle()
	p.release(charge)
}

func (b *batch) recycle() {
	clear(b.messages)
	b.piece, b.messages, b.handshake, b.err = nil, b.messages[:0], nil, nil
	batches.Put(b)
}

// Buffer returns memory to read into, at least 512 bytes. Commit says how much of it has been filled.
func (c *Connection) Buffer() []byte {
	in := &c.in
	if in.piece == nil {
		in.piece = pieces.Get().(*piece)
		in.piece.buf = append(in.piece.buf, in.partial...)
		in.partial = nil
	}
	p := in.piece
	if cap(p.buf)-len(p.buf) < leastRead {
		p.buf = slices.Grow(p.buf, max(len(p.buf), leastRead))
	}
	return p.buf[len(p.buf):cap(p.buf)]
}

// Commit takes n bytes that have been read into Buffer. It may wait until the connection has handled what came before; it returns
// false if the connection ended meanwhile.
//
// Buffer, Commit, CommitLast and End are for one goroutine at a time.
func (c *Connection) Commit(n int) (taken bool) { return c.commit(n, true) }

// CommitLast is Commit for the end of a request, which shall be answered before anything comes of it: it is not handled on the caller's
// goroutine.
func (c *Connection) CommitLast(n int) (taken bool) { return c.commit(n, false) }

func (c *Connection) commit(n int, inline bool) (taken bool) {
	in := &c.in
	p := in.piece
	in.piece = nil
	p.buf = p.buf[:len(p.buf)+n]
	if in.failed || c.closed.Load() {
		in.partial = nil
		p.recycle()
		return in.failed // what is wrong with the input has been received; what comes behind the end has not
	}
	taken = true
	for used, charged := 0, 0; ; {
		b := batches.Get().(*batch)
		length, more := c.parse(b, p.buf[used:])
		used += length
		if !more {
			in.keep(p, used, b.err != nil)
		}
		if b.handshake == nil && len(b.messages) == 0 && b.err == nil { // which is so at the end alone
			b.recycle()
			if charged > 0 {
				p.release(0)
			} else if in.piece == nil {
				p.recycle()
			}
			return taken
		}
		c.heard.Store(true)
		b.piece = p
		b.left.Store(int32(len(b.messages)) + 1)
		for i := range b.messages {
			b.charge += messageCharge * (1 + len(b.messages[i].StreamIDs))
		}
		charge := b.charge
		if charged == 0 {
			in.piece, p.conn = nil, c
			p.refs.Store(1) // the reader's
			charge += cap(p.buf)
		}
		p.refs.Add(1)
		taken = in.debit(charge, charged, c.settings.InboundLimit, c) && taken
		charged = cap(p.buf)
		if !more { // the reader's reference becomes the batch's
			p.refs.Add(-1)
		}
		if inline {
			c.mailbox.postInline(b)
		} else {
			c.mailbox.PostUserMessage(b)
		}
		if !more {
			return taken
		}
	}
}

// keep holds on to what has come of a message that is not whole: in its piece if it is long and the piece holds nothing else.
func (in *input) keep(p *piece, used int, failed bool) {
	rest := p.buf[used:]
	switch {
	case failed:
		in.partial = nil
	case used == 0 && len(rest) > keptPartial:
		in.piece = p
	case len(rest) > 0:
		in.partial = slices.Clone(rest)
	}
}

// parse finds whole messages in buf, at most batchMessages, and returns where what follows them begins, and whether more may be there.
func (c *Connection) parse(b *batch, buf []byte) (used int, more bool) {
	in := &c.in
	defer func() {
		if reason := recover(); reason != nil { // a protocol of the application's
			err := &PanicError{Value: reason, Stack: debug.Stack()}
			c.sys.logPanic("reading messages panicked", c, "", err)
			b.err, in.failed = err, true
			used, more = len(buf), false
		}
	}()
	b.charge = 0
	limit := c.settings.MaxMessage
	searched := int(in.searched)
	in.searched = 0
	if !in.greeted {
		n, err := hubproto.NextHandshake(buf, searched, cmp.Or(limit, maxHandshake))
		if n == 0 && err == nil {
			in.searched = int32(len(buf))
			return 0, false
		}
		searched = 0
		b.handshake = c.handshake(buf[:n], err)
		if in.failed = b.handshake.failure != ""; in.failed {
			return len(buf), false
		}
		in.greeted, in.protocol = true, b.handshake.index
		used = n
	}
	protocol := c.hub.protocols[in.protocol]
	for len(b.messages) < batchMessages {
		n, err := protocol.Next(buf[used:], searched, limit)
		searched = 0
		if n > 0 && err == nil {
			b.messages = append(b.messages, hubproto.Message{})
			err = protocol.Parse(buf[used:used+n], &b.messages[len(b.messages)-1])
			if err != nil {
				b.messages = b.messages[:len(b.messages)-1]
			}
		}
		if err != nil {
			b.err, in.failed = err, true
			return len(buf), false
		}
		if n == 0 {
			in.searched = int32(min(len(buf)-used, math.MaxInt32))
			return used, false
		}
		used += n
	}
	return used, used < len(buf)
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
	if p := h.protocols[index]; p.Binary() && c.out.pull != nil && !c.out.pull.polls {
		return &handshake{failure: "Cannot use the '" + p.Name() + "' protocol on the current transport. The transport does not support 'Binary' transfer format."}
	}
	return &handshake{index: uint8(index)}
}

const handshakeCanceled = "Handshake was canceled."

// debit charges n bytes. If the budget is spent, or an upload is full, it waits; one batch is always admitted when no more than held, the
// piece that it lies in, is charged.
// While an answer of the client is waited for, it may lie behind: then twice the budget is admitted before that answer is given up.
func (in *input) debit(n, held, limit int, c *Connection) (ok bool) {
	for {
		in.mu.Lock()
		if in.asking != nil && in.charged > held && in.charged+n > 2*limit {
			close(in.asking.failed)
			in.asking = nil
		}
		if in.charged <= held || in.asking != nil || in.full == 0 && in.charged+n <= limit {
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
