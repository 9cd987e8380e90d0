package transport

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// poll serves a long poll (spec §2.5). The first one begins the connection and is answered at once; the others wait for something to
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

func (q *requests) poll(w http.ResponseWriter, r *http.Request) {
	ctx, f, ok := q.begin(w, r)
	if !ok {
		plain(w, http.StatusNoContent, "")
		return
	}
	defer q.done(f)
	timer := time.AfterFunc(q.endpoint.PollTimeout, func() { f.cancel(errPollTime) })
	defer timer.Stop()
	delivered := false
	more, err := q.session.Fetch(ctx, func(messages [][]byte, taken func(int)) error {
		return f.deliver(ctx, func() error {
			delivered = true
			return sendBody(w, f.control, messages, taken)
		})
	})
	switch cause := context.Cause(ctx); {
	case !more: // the client sees that the connection has ended
		plain(w, http.StatusNoContent, "")
		q.end()
	case err == nil || delivered:
	case cause == errPollTime:
		plain(w, http.StatusOK, "")
	case cause == errSuperseded || cause == errCut:
		plain(w, http.StatusNoContent, "")
	}
}

// sendBody writes messages as one body of known length.
func sendBody(w http.ResponseWriter, control *http.ResponseController, messages [][]byte, taken func(int)) error {
	length := 0
	for _, m := range messages {
		length += len(m)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(length))
	for _, m := range messages {
		if err := write(w, m, taken); err != nil {
			return err
		}
	}
	if err := control.Flush(); !errors.Is(err, errors.ErrUnsupported) { // what cannot flush does so when the request ends
		return err
	}
	return nil
}
