package transport

import (
	"io"
	"net/http"
	"time"
)

// post takes what a client sends over an event stream or polling (spec §2.7). It is answered when all of it has been taken in; the
// client waits, as long as it has to, while the connection has enough to do.
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
	q := e.Tokens.requestsOf(reserved)
	if !q.isOpen() && !q.hold(w, r) {
		return
	}
	// The answer may have to wait for longer than the server allows requests in general.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
	q.reading.Lock()
	defer q.reading.Unlock()
	if isClosed(q.session.Done()) {
		plain(w, http.StatusNotFound, "")
		return
	}
	late := 0 // what came after the end, which this body itself may have brought about
	for {
		n, err := r.Body.Read(q.session.Buffer())
		if isClosed(q.session.Done()) {
			late += n
		}
		taken := q.session.Commit(n)
		switch {
		case !taken || late > maxLate:
			plain(w, http.StatusNotFound, "")
		case err == io.EOF:
			plain(w, http.StatusOK, "")
		case err != nil:
			plain(w, http.StatusBadRequest, "")
		default:
			continue
		}
		return
	}
}

func notForWebSockets(w http.ResponseWriter) {
	plain(w, http.StatusMethodNotAllowed, "POST requests are not allowed for WebSocket connections.")
}

// maxLate is how much of a body is still taken in, for nothing, when the connection has ended.
const maxLate = 64 << 10

// hold keeps what is sent before there is a session. It returns true if there is one in the meantime, which has got what was read here.
func (q *requests) hold(w http.ResponseWriter, r *http.Request) (open bool) {
	head, err := io.ReadAll(io.LimitReader(r.Body, maxEarly+1)) // not under the lock: it would keep the session from being opened
	if err != nil {
		plain(w, http.StatusBadRequest, "")
		return false
	}
	q.reading.Lock()
	defer q.reading.Unlock()
	if q.isOpen() {
		feed(q.session, head)
		return true
	}
	if q.endpoint.Tokens.transportOf(q.reserved) == WebSockets { // since it was asked
		notForWebSockets(w)
		return false
	}
	if len(q.early)+len(head) > maxEarly {
		plain(w, http.StatusRequestEntityTooLarge, "At most 4096 bytes can be sent before the connection has its transport.")
		return false
	}
	q.early = append(q.early, head...)
	plain(w, http.StatusOK, "")
	return false
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
	select {
	case <-q.opened:
		q.leave()
	case <-r.Context().Done():
		return
	}
	plain(w, http.StatusAccepted, "")
}
