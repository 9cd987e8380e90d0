package transport

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/troupe-go/troupe/internal/link"
)

// fetcher carries a connection by the requests of its client: an event stream, or polls, for what is sent to the client, and POSTs for what
// the client sends. It exists from the first of them on, which may be a POST.
type fetcher struct {
	endpoint *Endpoint
	reserved *reservation
	polls    bool

	reading chan struct{}     // a lock, held by the POST whose body is being read: one after the other
	early   []byte            // what was sent before there was a session; under reading
	session link.FetchSession // set when opened is closed; nil if the connection was refused
	opened  chan struct{}
	posts   atomic.Int32 // that are open

	mu      sync.Mutex
	ended   bool // nothing is fetched any more
	leaving bool // the client has asked for the end
	newest  int  // number of the newest request that fetches
	current *fetch
	body    *http.ResponseController // of the POST that is being read
}

var _ link.Fetcher = (*fetcher)(nil)

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

// past makes reading and writing fail.
var past = time.Unix(1, 0)

// setDeadline sets a deadline, and survives a panic, because a net.Conn and an http.ResponseWriter may be of types of the application.
func setDeadline(set func(time.Time) error, t time.Time) {
	defer func() { _ = recover() }()
	_ = set(t)
}

// Polls is part of link.Fetcher.
func (q *fetcher) Polls() bool { return q.polls }

// Cut is part of link.Fetcher. It ends the request that fetches, and the connection.
func (q *fetcher) Cut() {
	q.mu.Lock()
	if f := q.current; f != nil && !q.ended {
		f.cancel(errCut)
		if f.writing.Load() {
			setDeadline(f.control.SetWriteDeadline, past)
		}
	}
	q.mu.Unlock()
	q.end()
}

// end ends the connection: everything has been fetched, or nothing can be any more.
func (q *fetcher) end() {
	q.mu.Lock()
	first := !q.ended
	q.ended = true
	opened := isClosed(q.opened)
	if q.body != nil {
		setDeadline(q.body.SetReadDeadline, time.Now().Add(lastBody))
	}
	q.mu.Unlock()
	if !first {
		return
	}
	q.endpoint.Tokens.release(q.reserved)
	if !opened {
		return // whoever opens the session will see
	}
	select {
	case q.reading <- struct{}{}:
		defer q.unlockReading()
		q.session.End(checkWhole(q.session))
	default:
		go func() { q.session.End(q.waitForBody()) }()
	}
}

// lastBody is how long a POST may take that is being read when its client ends the connection: it has come before the end.
const lastBody = 500 * time.Millisecond

// waitForBody waits for the POST that is being read, and returns the error of a client that ends in the middle of a message.
func (q *fetcher) waitForBody() error {
	timer := time.NewTimer(lastBody)
	defer timer.Stop()
	select {
	case q.reading <- struct{}{}:
		defer q.unlockReading()
		return checkWhole(q.session)
	case <-timer.C:
		return nil
	}
}

func (q *fetcher) unlockReading() { <-q.reading }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// open begins the connection, with what the client has sent already.
func (q *fetcher) open(o Opening) error {
	q.reading <- struct{}{}
	defer q.unlockReading()
	session, err := q.endpoint.Acceptor.AcceptFetcher(o, q)
	if err == nil {
		q.session = session
		feed(session, q.early)
	}
	q.early = nil
	q.mu.Lock()
	cut := q.ended
	q.ended = cut || err != nil
	close(q.opened)
	q.mu.Unlock()
	switch {
	case err != nil: // the system has begun to shut down since the request was admitted
		q.endpoint.Tokens.release(q.reserved)
	case cut:
		session.End(nil)
	}
	return err
}

// isOpen waits until it is decided whether there is a session.
func (q *fetcher) isOpen(ctx context.Context) bool {
	if !isClosed(q.opened) {
		select {
		case <-q.opened:
		case <-ctx.Done():
			return false
		}
	}
	return q.session != nil
}

// begin makes a request the one that fetches, instead of one that does so already. It returns false if nothing is fetched any more, or if a
// newer request has come.
func (q *fetcher) begin(w http.ResponseWriter, r *http.Request) (context.Context, *fetch, bool) {
	ctx, cancel := context.WithCancelCause(r.Context())
	f := &fetch{cancel: cancel, control: http.NewResponseController(w), ended: make(chan struct{})}
	q.mu.Lock()
	q.newest++
	number := q.newest
	q.mu.Unlock()
	for {
		q.mu.Lock()
		if q.ended || q.leaving || q.newest != number {
			q.mu.Unlock()
			cancel(nil)
			return nil, nil, false
		}
		before := q.current
		if before == nil {
			q.current = f
			q.mu.Unlock()
			// The server's own timeouts are for requests that end by themselves.
			setDeadline(f.control.SetReadDeadline, time.Time{})
			setDeadline(f.control.SetWriteDeadline, time.Time{})
			return ctx, f, true
		}
		q.mu.Unlock()
		before.cancel(errSuperseded)
		<-before.ended
	}
}

// done ends what begin has begun.
func (q *fetcher) done(f *fetch) {
	q.mu.Lock()
	q.current = nil
	leaving := q.leaving
	setDeadline(f.control.SetWriteDeadline, time.Time{}) // Cut may have come when all was written, and the TCP connection lives on
	q.mu.Unlock()
	f.cancel(nil)
	close(f.ended)
	if leaving {
		q.end()
	}
}

// deliver takes output, and writes it with write. It returns io.EOF when all output has been delivered, and reports whether write was
// called.
func (q *fetcher) deliver(ctx context.Context, f *fetch, write func(link.Output) error) (called bool, err error) {
	out, err := q.session.Take(ctx)
	if err != nil {
		return false, err
	}
	delivered := false
	defer func() { out.Done(delivered) }() // also if a http.ResponseWriter of the application's panics
	f.writing.Store(true)
	defer f.writing.Store(false)
	if err := ctx.Err(); err != nil {
		return false, err
	}
	err = write(out)
	delivered = err == nil
	return true, err
}

// leave ends the connection at the wish of its client. A poll that waits takes the last messages with it.
func (q *fetcher) leave() {
	q.endpoint.Tokens.release(q.reserved)
	q.session.Leave(q.waitForBody())
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

// checkWhole returns an error if half a message has been read.
func checkWhole(session link.Session) error {
	if session.Partial() {
		return errPartial
	}
	return nil
}

// writeChunk bounds what is written at once, so that a slow client is seen to move.
const writeChunk = 4 << 10

// write writes b in chunks.
func write(w http.ResponseWriter, b []byte, out link.Output) error {
	for len(b) > 0 {
		n, err := w.Write(b[:min(len(b), writeChunk)])
		if err != nil {
			return err
		}
		out.Advance(n)
		b = b[n:]
	}
	return nil
}
