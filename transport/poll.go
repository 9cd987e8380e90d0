package transport

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/troupe-go/troupe/internal/link"
)

// poll serves a long poll (docs/protocol.md, 2.5). The first one begins the connection and is answered at once; the others wait for something to
// send, and take all of it.
func (e *Endpoint) poll(w http.ResponseWriter, r *http.Request) {
	q, first := e.enter(w, r, LongPolling)
	switch {
	case first:
		w.Header().Set("Content-Type", "application/octet-stream")
		w.WriteHeader(http.StatusOK)
	case q != nil:
		if q.isOpen(r.Context()) {
			q.poll(w, r)
		} else {
			plain(w, http.StatusNotFound, "")
		}
	}
}

func (q *fetcher) poll(w http.ResponseWriter, r *http.Request) {
	ctx, f, ok := q.begin(w, r)
	if !ok {
		plain(w, http.StatusNoContent, "")
		return
	}
	defer q.done(f)
	timer := time.AfterFunc(q.endpoint.PollTimeout, func() { f.cancel(errPollTime) })
	defer timer.Stop()
	written, err := q.deliver(ctx, f, func(out link.Output) error { return sendBody(w, f.control, out) })
	switch cause := context.Cause(ctx); {
	case err == io.EOF: // the client sees that the connection has ended
		plain(w, http.StatusNoContent, "")
		q.end()
	case written:
	case cause == errPollTime:
		plain(w, http.StatusOK, "")
	case cause == errSuperseded || cause == errCut:
		plain(w, http.StatusNoContent, "")
	}
}

// EndPoll has the poll of a connection answered as if PollTimeout were over.
func (e *Endpoint) EndPoll(token string) {
	q := e.Tokens.earlyOf(e.Tokens.find(token, e))
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.current != nil && q.polls { // polls is known when there is a request
		q.current.cancel(errPollTime)
	}
}

// sendBody writes messages as one body of known length.
func sendBody(w http.ResponseWriter, control *http.ResponseController, out link.Output) error {
	length := 0
	for _, m := range out.Messages() {
		length += len(m)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(length))
	for _, m := range out.Messages() {
		if err := write(w, m, out); err != nil {
			return err
		}
	}
	if err := control.Flush(); !errors.Is(err, errors.ErrUnsupported) { // such a http.ResponseWriter flushes when the request ends
		return err
	}
	return nil
}
