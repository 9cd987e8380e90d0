package actors

import (
	"io"
	"sync"
)

// Upload is a stream that a client sends to one of its calls (docs/protocol.md, 6.6). The connection actor appends items, the call's code takes
// them: both under the upload's own lock.
//
// An item stays charged to the inbound budget until it is taken. While more than StreamBuffer items wait, the reader waits as well.
type Upload struct {
	call *Call
	id   string
	more chan struct{} // holds a token when there may be something to take

	mu    sync.Mutex
	items []item
	full  bool // the reader waits for it
	ended bool // nothing more is accepted
	err   error
}

type item struct {
	batch *batch
	value []byte
}

// uploads are those of one call.
type uploads struct {
	list      []*Upload
	duplicate string // the id that was in use already, for which the call must fail

	// Under the lock of the call:
	cause  error         // why they are not read any more
	done   chan struct{} // closed then; made when somebody needs it
	failed bool          // see Call.Fail
}

// stop ends the reading.
func (us *uploads) stop(cause error) {
	if us.cause == nil {
		us.cause = cause
		if us.done != nil {
			close(us.done)
		}
		for _, u := range us.list {
			u.signal()
		}
	}
}

// ClientError is what a client says went wrong on its side: with a stream that it uploads, with a method of its own that was called, or with
// the connection that it closes.
type ClientError struct{ Text string }

func (e *ClientError) Error() string { return e.Text }

// Uploads returns the streams that the client sends to the call, in its order. If duplicate is not empty, the call must fail, because that
// id is in use by another stream.
func (k *Call) Uploads() (list []*Upload, duplicate string) {
	if k.uploads == nil {
		return nil, ""
	}
	return k.uploads.list, k.uploads.duplicate
}

// openUploads makes the uploads of a call that has just arrived, and enters them in the table. The lock of the run queue is held.
func (q *runQueue) openUploads(k *Call, ids [][]byte) {
	k.uploads = &uploads{}
	for _, id := range ids {
		u := &Upload{call: k, id: string(id), more: make(chan struct{}, 1)}
		if q.uploads[u.id] != nil {
			q.closeUploads(k)
			k.uploads = &uploads{duplicate: u.id}
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

// dropUploads drops what a call has not taken.
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

// add appends an item. It returns false if nobody wants it any more.
func (u *Upload) add(b *batch, value []byte) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended {
		return false
	}
	u.items = append(u.items, item{b, value})
	u.updateFull()
	u.signal()
	return true
}

// updateFull stops the reader, or lets it go on.
func (u *Upload) updateFull() {
	if full := len(u.items) > u.call.conn.settings.StreamBuffer; full != u.full {
		u.full = full
		u.call.conn.in.setUploadFull(full)
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
	if !u.ended {
		u.ended, u.err = true, err
		u.signal()
	}
}

// drop drops what has not been taken, and accepts nothing more. To whoever still waits, the stream has not come to its end.
func (u *Upload) drop() {
	u.mu.Lock()
	items := u.items
	if u.err == nil && (!u.ended || len(items) > 0) {
		u.err = ErrReturned
	}
	u.items, u.ended = nil, true
	u.updateFull()
	u.signal()
	u.mu.Unlock()
	for _, one := range items {
		one.batch.done(1)
	}
}

// Next waits for the next item, and passes it to bind, whose error ends the stream: the client's further items are ignored. At the end of
// the stream it returns io.EOF, or a *ClientError if the client has ended it with an error, or the cause of the call's context if that has
// ended. What is waited for is the client, so only the call's own code may call it, from any of its goroutines.
func (u *Upload) Next(bind func(value []byte) error) error { return u.next(bind, u.call.beforeWait) }

// NextBeside is Next for a goroutine beside the call's code, whose wait does not say that this waits as well: the turn is not passed.
func (u *Upload) NextBeside(bind func(value []byte) error) error {
	return u.next(bind, u.call.conn.out.Schedule)
}

func (u *Upload) next(bind func(value []byte) error, beforeWait func()) error {
	for {
		if cause := u.call.uploadCause(); cause != nil {
			u.signal() // others may wait as well
			return cause
		}
		u.mu.Lock()
		if len(u.items) > 0 {
			one := u.items[0]
			u.items[0] = item{}
			u.items = u.items[1:]
			u.updateFull()
			u.signal() // others may wait as well
			u.mu.Unlock()
			return u.bind(one, bind)
		}
		if u.ended {
			err := u.err
			u.signal()
			u.mu.Unlock()
			if err == nil {
				err = io.EOF
			}
			return err
		}
		u.mu.Unlock()
		beforeWait()
		<-u.more
	}
}

// UploadsDone returns a channel that is closed when the call's uploads are not read any more. It is for calls that have some, and only called
// behind IgnoreCancel.
func (k *Call) UploadsDone() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.uploads.done == nil {
		k.uploads.done = make(chan struct{})
		if k.uploads.cause != nil {
			close(k.uploads.done)
		}
	}
	return k.uploads.done
}

// uploadCause returns why the call's uploads are not read any more, or nil.
func (k *Call) uploadCause() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.uploads.cause
}

// bind decodes an item with the application's code, which may panic. One that cannot be decoded is the last.
func (u *Upload) bind(one item, bind func([]byte) error) (err error) {
	err = &PanicError{}
	defer func() {
		one.batch.done(1)
		if err != nil {
			u.mu.Lock()
			u.ended, u.err = true, err
			u.mu.Unlock()
			u.drop()
		}
	}()
	err = bind(one.value)
	return err
}
