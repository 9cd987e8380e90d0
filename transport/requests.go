package transport

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// requests carries a connection by the requests of its client: an event stream, or polls, for what is sent to it, and POSTs for what it
// sends. It is there from the first of them, which may be a POST.
type requests struct {
	endpoint *Endpoint
	reserved *reservation
	polls    bool

	reading chan struct{} // a lock, held by the POST whose body is being read: one after the other
	early   []byte        // what was sent before there was a session; belongs to reading
	session Session       // set when opened is closed; nil if it was refused
	opened  chan struct{}

	mu      sync.Mutex
	over    bool // nothing is fetched any more
	leaving bool // the client has asked for the end
	turn    int  // of the newest request that fetches
	current *fetch
	body    *http.ResponseController // of the POST that is being read
}

// fetch is a request that fetches output.
type fetch struct {
	cancel  context.CancelCauseFunc
	control *http.ResponseController
	writing atomic.Bool
	ended   chan struct{}
}

var (
	errCut        = errors.New("the connection was cut")
	errSuperseded = errors.New("another poll has come")
	errPollTime   = errors.New("nothing was sent for PollTimeout")
)

// maxEarly is how many bytes a client may send before it has its transport.
const maxEarly = 4 << 10

// Polls is part of the session's view of its transport, as is Cut.
func (q *requests) Polls() bool { return q.polls }

// Cut ends the request that fetches, and the connection.
func (q *requests) Cut() {
	q.mu.Lock()
	if f := q.current; f != nil && !q.over {
		f.cancel(errCut)
		if f.writing.Load() {
			_ = f.control.SetWriteDeadline(past)
		}
	}
	q.mu.Unlock()
	q.end()
}

// past makes reading and writing fail.
var past = time.Unix(1, 0)

// end ends the connection: everything has been fetched, or nothing can be any more.
func (q *requests) end() {
	q.mu.Lock()
	first := !q.over
	q.over = true
	opened := isClosed(q.opened)
	if q.body != nil {
		_ = q.body.SetReadDeadline(time.Now().Add(lastBody))
	}
	q.mu.Unlock()
	if !first {
		return
	}
	q.endpoint.Tokens.release(q.reserved)
	if !opened {
		return // whoever opens it will see
	}
	select {
	case q.reading <- struct{}{}:
		<-q.reading
		q.session.End(q.left())
	default:
		go func() { q.session.End(q.left()) }()
	}
}

// lastBody is how long a POST that is being read when its client ends the connection may take: it has come before the end.
const lastBody = 500 * time.Millisecond

// left waits for the POST that is being read, and returns the error of a client that ends in the middle of a message.
func (q *requests) left() error {
	timer := time.NewTimer(lastBody)
	defer timer.Stop()
	select {
	case q.reading <- struct{}{}:
		defer q.read()
		return left(q.session)
	case <-timer.C:
		return nil
	}
}

// read gives the lock back.
func (q *requests) read() { <-q.reading }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// open begins the connection that the requests carry, with what the client has sent already.
func (q *requests) open(r *http.Request, who Identity, kind Transports) error {
	q.reading <- struct{}{}
	defer q.read()
	session, err := q.endpoint.Acceptor.Accept(q.reserved.id, who, snapshot(r, kind), q)
	if err == nil {
		q.session = session
		feed(session, q.early)
	}
	q.early = nil
	q.mu.Lock()
	cut := q.over
	q.over = cut || err != nil
	close(q.opened)
	q.mu.Unlock()
	switch {
	case err != nil: // shutting down since the request was admitted
		q.endpoint.Tokens.release(q.reserved)
	case cut:
		session.End(nil)
	}
	return err
}

// feedEarly gives a session that needs no requests what they have brought.
func (q *requests) feedEarly(session Session) {
	q.reading <- struct{}{}
	defer q.read()
	feed(session, q.early)
	q.early = nil
}

// feed gives a session bytes of its client.
func feed(session Session, b []byte) {
	for len(b) > 0 {
		n := copy(session.Buffer(), b)
		session.Commit(n)
		b = b[n:]
	}
}

// begin makes a request the one that fetches, instead of one that does so already. false: nothing is fetched any more, or a newer one has
// come.
func (q *requests) begin(w http.ResponseWriter, r *http.Request) (context.Context, *fetch, bool) {
	ctx, cancel := context.WithCancelCause(r.Context())
	f := &fetch{cancel: cancel, control: http.NewResponseController(w), ended: make(chan struct{})}
	q.mu.Lock()
	q.turn++
	turn := q.turn
	q.mu.Unlock()
	for {
		q.mu.Lock()
		if q.over || q.leaving || q.turn != turn {
			q.mu.Unlock()
			cancel(nil)
			return nil, nil, false
		}
		before := q.current
		if before == nil {
			q.current = f
			q.mu.Unlock()
			// The server's own timeouts are for requests that end by themselves.
			_ = f.control.SetReadDeadline(time.Time{})
			_ = f.control.SetWriteDeadline(time.Time{})
			return ctx, f, true
		}
		q.mu.Unlock()
		before.cancel(errSuperseded)
		<-before.ended
	}
}

// done ends what begin has begun.
func (q *requests) done(f *fetch) {
	q.mu.Lock()
	q.current = nil
	leaving := q.leaving
	_ = f.control.SetWriteDeadline(time.Time{}) // Cut may have come when all was written, and the TCP connection lives on
	q.mu.Unlock()
	f.cancel(nil)
	close(f.ended)
	if leaving {
		q.end()
	}
}

// deliver runs what writes output, unless nobody is there to take it.
func (f *fetch) deliver(ctx context.Context, write func() error) error {
	f.writing.Store(true)
	defer f.writing.Store(false)
	if err := ctx.Err(); err != nil {
		return err
	}
	return write()
}

// leave is the client's wish to end the connection. A poll that waits takes the last messages with it.
func (q *requests) leave() {
	q.endpoint.Tokens.release(q.reserved)
	q.session.Leave(q.left())
	q.mu.Lock()
	q.leaving = true
	waits := q.current != nil
	q.mu.Unlock()
	if !waits {
		q.end()
	}
}

// errPartial is worded as by the reference.
var errPartial = errors.New("Connection terminated while reading a message.")

func left(session Session) error {
	if session.Partial() {
		return errPartial
	}
	return nil
}

// slice bounds what is written at once, so that a slow client is seen to move.
const slice = 4 << 10

// write writes b in pieces.
func write(w http.ResponseWriter, b []byte, taken func(n int)) error {
	for len(b) > 0 {
		n, err := w.Write(b[:min(len(b), slice)])
		if err != nil {
			return err
		}
		taken(n)
		b = b[n:]
	}
	return nil
}
