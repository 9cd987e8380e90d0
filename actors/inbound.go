package actors

import (
	"cmp"
	"math"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// input is the receiving half of a connection. Everything in it except the budget belongs to the goroutine that reads the transport.
//
// It borrows a piece of memory when bytes arrive, and passes the envelopes of the whole messages in it to the connection actor, in batches of at
// most batchMessages. An idle connection has no piece. What has been read is charged to the budget until it is handled, and no further batch is
// parsed before the budget has room for it. When the budget is spent, the reader waits, and TCP slows the client down.
type input struct {
	piece    *piece // borrowed, with what has been read so far
	partial  []byte // of a message that has not arrived whole, while no piece is borrowed
	searched int32  // bytes of it that have been searched for its end
	greeted  bool   // the handshake has been read
	protocol uint8  // that the handshake has asked for
	failed   bool   // nothing that still comes is read
	dropping bool   // nothing that still comes from this socket is taken: the client sends it again over the next one

	waiting     atomic.Bool // the reader waits for the budget
	mu          sync.Mutex
	charged     int
	ahead       bool            // if more than the budget is charged: because the outbox awaited the client
	replaced    bool            // another socket is to take the place of the one that is read
	fullUploads int             // that the reader waits for
	answers     *pendingAnswers // nil: nobody waits for an answer of the client
	room        chan struct{}   // made by a reader that waits
}

const (
	pieceSize     = 4 << 10
	largePiece    = 16 << 10 // larger pieces are not used again
	leastRead     = 512      // minimum room for a read
	messageCharge = 256
	batchMessages = 64
	keptPartial   = 512      // parts of messages up to this size are always copied
	maxHandshake  = 32 << 10 // for a hub whose messages have no limit
)

// Buffer is part of link.Session.
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

// Commit is part of link.Session.
func (c *Connection) Commit(n int) (taken bool) { return c.commit(n, true) }

// CommitLast is part of link.Session.
func (c *Connection) CommitLast(n int) (taken bool) { return c.commit(n, false) }

func (c *Connection) commit(n int, inline bool) (taken bool) {
	in := &c.in
	p := in.piece
	in.piece = nil
	p.buf = p.buf[:len(p.buf)+n]
	if in.failed || in.dropping || c.isClosing.Load() {
		in.partial = nil
		p.recycle()
		return in.failed // input behind an error is taken and ignored; input behind the end is not taken
	}
	taken = true
	for used, charged := 0, 0; ; {
		b := batches.Get().(*batch)
		length, more := c.parse(b, p.buf[used:])
		used += length
		if !more {
			in.keep(p, used, b.err != nil)
		}
		if b.handshake == nil && len(b.messages) == 0 && b.err == nil { // only at the end
			b.recycle()
			if charged > 0 {
				p.release(0)
			} else if in.piece == nil {
				p.recycle()
			}
			return taken && !c.askedToClose.Load()
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
		taken = in.debit(charge, charged, c.settings.InboundLimit, c.Done, c.out.AwaitsPeer) && taken
		charged = cap(p.buf)
		if !more { // the reader's reference becomes the batch's
			p.refs.Add(-1)
		}
		if in.dropping {
			if b.refuse(); more {
				p.release(0)
			}
			in.failed = false // what was wrong comes again
			return false
		}
		if inline {
			c.mailbox.postInline(b)
		} else {
			c.mailbox.PostUserMessage(b)
		}
		if !more {
			return taken && !c.askedToClose.Load()
		}
	}
}

// Partial is part of link.Session.
func (c *Connection) Partial() bool {
	return !c.in.failed && (len(c.in.partial) > 0 || c.in.piece != nil && len(c.in.piece.buf) > 0)
}

// keep keeps the part of a message that has not arrived whole: in its piece if it is long and the piece contains nothing else.
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

// parse parses whole messages in buf, at most batchMessages. It returns how many bytes they have, and whether more may follow.
func (c *Connection) parse(b *batch, buf []byte) (used int, more bool) {
	in := &c.in
	defer func() {
		if reason := recover(); reason != nil { // a protocol of the application
			err := &PanicError{Value: reason, Stack: debug.Stack()}
			c.hub.sys.logPanic("reading messages panicked", c, nil, err)
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
