package transport

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// post takes what a client sends over an event stream or polling (spec §2.7). It is answered when all of it has been taken in; the
// client waits, as long as it has to, while the connection has enough to do.
//
// What comes behind the end is refused. The JavaScript client's start() waits for the answer to a ping, and would take a connection that
// was closed meanwhile for started.
func (e *Endpoint) post(w http.ResponseWriter, r *http.Request) {
	reserved, ok := e.known(w, r)
	if !ok {
		return
	}
	if e.Tokens.transportOf(reserved) == WebSockets {
		notForWebSockets(w)
		return
	}
	if !e.isUser(w, r, reserved) {
		return
	}
	e.Tokens.requestsOf(reserved).take(w, r)
}

// take reads the body of a POST.
func (q *requests) take(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	whole := false // the body has been read to its end
	defer func() {
		if !whole { // net/http reads what is left of it, and not for ever
			_ = control.SetReadDeadline(time.Now().Add(restPause))
		}
	}()
	var head []byte
	if !isClosed(q.opened) { // it is read before it has its turn, because nothing may keep the session from being opened
		_ = control.SetReadDeadline(time.Now().Add(bodyPause))
		var err error
		if head, err = io.ReadAll(io.LimitReader(r.Body, maxEarly+1)); err != nil {
			plain(w, http.StatusBadRequest, "")
			return
		}
	}
	// The body may have to wait for its turn, and the answer for the hub, for longer than the server allows requests in general.
	_ = control.SetReadDeadline(time.Time{})
	_ = control.SetWriteDeadline(time.Time{})
	q.reading <- struct{}{}
	defer q.read()
	switch tokens := q.endpoint.Tokens; {
	case isClosed(q.opened):
	case tokens.isGone(q.reserved):
		plain(w, http.StatusNotFound, "")
		return
	case tokens.transportOf(q.reserved) == WebSockets: // since it was asked
		notForWebSockets(w)
		return
	case len(q.early)+len(head) > maxEarly:
		plain(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("At most %d bytes can be sent before the connection has its transport.", maxEarly))
		return
	default:
		whole = true
		q.early = append(q.early, head...)
		plain(w, http.StatusOK, "")
		return
	}
	answer := func(status int) {
		if q.reads(nil) && r.ProtoMajor == 1 { // net/http may have met the deadline of the end, and have ended the context of all later requests
			w.Header().Set("Connection", "close")
		}
		plain(w, status, "")
	}
	defer q.reads(nil)
	if q.reads(control) || isClosed(q.session.Done()) {
		answer(http.StatusNotFound)
		return
	}
	feed(q.session, head)
	late := 0 // what came after the end, which this body itself may have brought about
	for {
		q.expect(control, time.Now().Add(bodyPause)) // what the client had to wait for is not its fault
		n, err := r.Body.Read(q.session.Buffer())
		if err == nil || err == io.EOF { // net/http may read on, to see whether the client goes away, and must not meet this deadline
			q.expect(control, time.Time{})
		}
		whole = err == io.EOF
		ended := isClosed(q.session.Done())
		if ended {
			late += n
		}
		if whole && !ended {
			if !q.session.CommitLast(n) {
				answer(http.StatusNotFound)
				return
			}
			w.Header().Set("Content-Length", "0")
			answer(http.StatusOK)
			return
		}
		taken := q.session.Commit(n)
		switch {
		case !taken || late > maxLate || ended && err != nil && !whole:
			answer(http.StatusNotFound)
		case whole:
			answer(http.StatusOK)
		case err != nil:
			answer(http.StatusBadRequest)
		default:
			continue
		}
		return
	}
}

// reads says which POST is being read, so that it ends with the connection, and tells whether that is over already.
func (q *requests) reads(control *http.ResponseController) (over bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.body = control
	return q.over
}

// expect says until when a body must go on. The deadline of the connection's end stays.
func (q *requests) expect(control *http.ResponseController, until time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.over {
		_ = control.SetReadDeadline(until)
	}
}

const (
	maxLate   = 64 << 10         // of a body that is still taken in, for nothing, when the connection has ended
	bodyPause = 30 * time.Second // that a client may make within a body
	restPause = 5 * time.Second  // for what is left of a body that nobody reads
	maxRest   = 64 << 10         // of a body that nobody needs
)

func notForWebSockets(w http.ResponseWriter) {
	plain(w, http.StatusMethodNotAllowed, "POST requests are not allowed for WebSocket connections.")
}

// remove ends a connection at the request of its client, which polls.
func (e *Endpoint) remove(w http.ResponseWriter, r *http.Request) {
	reserved, ok := e.known(w, r)
	if !ok {
		return
	}
	if e.Tokens.transportOf(reserved) != LongPolling {
		plain(w, http.StatusBadRequest, "Cannot terminate this connection using the DELETE endpoint.")
		return
	}
	if !e.isUser(w, r, reserved) {
		return
	}
	q := e.Tokens.requestsOf(reserved)
	if !q.isOpen(r.Context()) {
		plain(w, http.StatusNotFound, "")
		return
	}
	q.leave()
	plain(w, http.StatusAccepted, "")
}

// isOpen waits until it is decided whether there is a session.
func (q *requests) isOpen(ctx context.Context) bool {
	if !isClosed(q.opened) {
		select {
		case <-q.opened:
		case <-ctx.Done():
			return false
		}
	}
	return q.session != nil
}
