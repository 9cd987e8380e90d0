package actors

import (
	"sync"
	"sync/atomic"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// piece is memory that a read of the transport has filled. It is charged to the inbound budget at its capacity until the last batch in it has
// been handled.
type piece struct {
	conn *Connection // set when it is charged
	buf  []byte
	refs atomic.Int32 // batches, and the reader while it has not parsed all
}

var pieces = sync.Pool{New: func() any { return &piece{buf: make([]byte, 0, pieceSize)} }}

// release gives up a reference, and credits its charge; with the last one, the charge of the piece as well.
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

// batch is a part of what has been read: the handshake, whole messages, or the reason why nothing more can be read.
type batch struct {
	piece     *piece
	messages  []hubproto.Message
	handshake *handshake
	err       error
	charge    int // for the messages
	left      atomic.Int32
}

var batches = sync.Pool{New: func() any { return new(batch) }}

func (b *batch) refuse() { b.done(int32(len(b.messages)) + 1) }

// done says that n messages of the batch have been handled. The batch itself counts as one message, until the actor has received it.
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
