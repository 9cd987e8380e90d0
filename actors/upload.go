package actors

import (
	"io"
	"sync"

	"github.com/troupe-go/troupe/proto/hubproto"
)

// Upload is a stream that a client sends to one of its calls (spec §6.6). The connection actor appends items, the call's code takes
// them: both under the upload's own lock.
//
// An item stays charged to the inbound budget until it is taken. While more than StreamBuffer items wait, the reader waits as well.
type Upload struct {
	call *Call
	id   string
	more chan struct{} // holds a token when there may be something to take

	mu    sync.Mutex
	items []item
	full  bool // it keeps the reader waiting
	over  bool // nothing more is accepted
	err   error
}

type item struct {
	batch *batch
	value []byte
}

// uploads are what belongs to one call.
type uploads struct {
	list  []*Upload
	taken string // the id that was in use already, for which the call must fail
}

// ClientError is what a client says went wrong on its side: with a stream that it uploads, or with a method of its own that was called.
type ClientError struct{ Text string }

func (e *ClientError) Error() string { return e.Text }

// Uploads are the streams that the client sends to the call, in its order. taken is not empty if the call must fail because one of
// their ids is in use; then there are none.
func (k *Call) Uploads() (list []*Upload, taken string) {
	if k.uploads == nil {
		return nil, ""
	}
	return k.uploads.list, k.uploads.taken
}

// open makes the uploads of a call that has just arrived, and enters them in the table. The lock of the run queue is held.
func (q *runQueue) openUploads(k *Call, ids [][]byte) {
	k.uploads = &uploads{}
	for _, id := range ids {
		u := &Upload{call: k, id: string(id), more: make(chan struct{}, 1)}
		if q.uploads[u.id] != nil {
			q.closeUploads(k)
			k.uploads = &uploads{taken: u.id}
			return
		}
		if q.uploads == nil {
			q.uploads = map[string]*Upload{}
		}
		q.uploads[u.id] = u
		k.uploads.list = append(k.uploads.list, u)
	}
}

// closeUploads takes the uploads of a call out of the table. The lock of the run queue is held.
func (q *runQueue) closeUploads(k *Call) {
	if k.uploads == nil {
		return
	}
	for _, u := range k.uploads.list {
		if q.uploads[u.id] == u {
			delete(q.uploads, u.id)
		}
	}
}

// dropUploads lets go of what a call has not taken.
func (k *Call) dropUploads() {
	if k.uploads == nil {
		return
	}
	for _, u := range k.uploads.list {
		u.drop()
	}
}

// upload finds an upload by its id; with end it leaves the table, so that the id can be used again.
func (q *runQueue) upload(id []byte, end bool) *Upload {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := q.uploads[string(id)]
	if u != nil && end {
		delete(q.uploads, u.id)
	}
	return u
}

// add appends an item. false: nobody wants it any more.
func (u *Upload) add(b *batch, value []byte) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.over {
		return false
	}
	u.items = append(u.items, item{b, value})
	u.look()
	u.signal()
	return true
}

// look keeps the reader waiting, or lets it go.
func (u *Upload) look() {
	if full := len(u.items) > u.call.conn.settings.StreamBuffer; full != u.full {
		u.full = full
		u.call.conn.in.hold(full)
	}
}

func (u *Upload) signal() {
	select {
	case u.more <- struct{}{}:
	default:
	}
}

// end says that the client has ended the stream, or that its connection has ended.
func (u *Upload) end(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.over {
		u.over, u.err = true, err
		u.signal()
	}
}

// drop lets go of what has not been taken, and takes nothing more.
func (u *Upload) drop() {
	u.mu.Lock()
	items := u.items
	u.items, u.over = nil, true
	u.look()
	u.signal()
	u.mu.Unlock()
	for _, one := range items {
		one.batch.done(1)
	}
}

// Next waits for the next item and gives it to bind, whose error ends the stream: the client's further items are ignored. At the end
// of the stream it returns io.EOF, or a *ClientError if the client has ended it with an error; and why the call's context has ended, if
// that comes first. What is waited for is the client, so only the call's own code may call it, from any of its goroutines.
func (u *Upload) Next(bind func(value []byte) error) error {
	for {
		if u.call.Err() != nil {
			return u.call.reason()
		}
		u.mu.Lock()
		if len(u.items) > 0 {
			one := u.items[0]
			u.items[0] = item{}
			u.items = u.items[1:]
			u.look()
			u.signal() // others may wait as well
			u.mu.Unlock()
			return u.bind(one, bind)
		}
		if u.over {
			err := u.err
			u.signal()
			u.mu.Unlock()
			if err == nil {
				err = io.EOF
			}
			return err
		}
		u.mu.Unlock()
		u.call.waits()
		select {
		case <-u.more:
		case <-u.call.Done():
		}
	}
}

// bind decodes an item with the application's code, which may panic. One that cannot be decoded is the last.
func (u *Upload) bind(one item, bind func([]byte) error) (err error) {
	err = &PanicError{}
	defer func() {
		one.batch.done(1)
		if err != nil {
			u.mu.Lock()
			u.over, u.err = true, err
			u.mu.Unlock()
			u.drop()
		}
	}()
	err = bind(one.value)
	return err
}

// onItem hands an item to its upload. One for an upload that is not there, or not any more, is nobody's error.
func (c *Connection) onItem(b *batch, m *hubproto.Message) (kept bool) {
	u := c.calls.upload(m.ID, false)
	return u != nil && u.add(b, m.Value)
}

// onCompletion ends an upload, or answers a call of the client's (spec §6.6: in this order).
func (c *Connection) onCompletion(b *batch, m *hubproto.Message) (kept bool, err error) {
	u := c.calls.upload(m.ID, true)
	if u == nil {
		return c.hub.results.answer(c, b, m)
	}
	if m.HasError {
		u.end(&ClientError{Text: string(m.Error)})
	} else {
		u.end(nil)
	}
	return false, nil
}

// hold keeps the reader waiting for one more upload, or for one less.
func (in *input) hold(more bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if more {
		in.full++
		return
	}
	if in.full--; in.full == 0 {
		in.look()
	}
}
