package transport

import (
	"fmt"
	"net/http"
	"time"

	"github.com/troupe-go/troupe/internal/metric"
)

// maxPosts is how many POSTs of one connection can be open. They are read one after the other; the official clients have one.
const maxPosts = 100

// post takes what a client sends over an event stream or polling (docs/protocol.md, 2.7). It is answered when all of it has been taken in:
// a client waits for as long as its connection has enough to do.
//
// What comes behind the end of the connection is refused. The JavaScript client's start() waits for the answer to a ping, and would take a
// connection that was closed meanwhile for started.
func (e *Endpoint) post(w http.ResponseWriter, r *http.Request) {
	reserved, ok := e.findConnection(w, r)
	if !ok {
		return
	}
	if e.Tokens.transportOf(reserved) == WebSockets {
		notForWebSockets(w)
		return
	}
	if !e.checkUser(w, r, reserved) {
		return
	}
	e.Tokens.fetcherOf(reserved).take(w, r)
}

func notForWebSockets(w http.ResponseWriter) {
	plain(w, http.StatusMethodNotAllowed, "POST requests are not allowed for WebSocket connections.")
}

// take reads the body of a POST.
func (q *fetcher) take(w http.ResponseWriter, r *http.Request) {
	if q.posts.Add(1) > maxPosts {
		q.posts.Add(-1)
		q.endpoint.Limits.Reach(metric.OpenPosts)
		w.Header().Set("Retry-After", retryAfter)
		plain(w, http.StatusTooManyRequests, fmt.Sprintf("At most %d POSTs of a connection can be open.", maxPosts))
		return
	}
	defer q.posts.Add(-1)
	control := http.NewResponseController(w)
	whole := false // the body has been read to its end
	defer func() {
		if !whole { // net/http reads what is left of it, but not for ever
			_ = control.SetReadDeadline(time.Now().Add(restPause))
		}
	}()
	head, err := q.readEarly(control, r)
	if err != nil {
		plain(w, http.StatusBadRequest, "")
		return
	}
	// The body may have to wait for its turn, and the answer for the hub, for longer than the server allows requests in general.
	_ = control.SetReadDeadline(time.Time{})
	_ = control.SetWriteDeadline(time.Time{})
	q.reading <- struct{}{}
	defer q.unlockReading()
	answered, kept := q.keepEarly(w, head)
	if answered {
		whole = kept
		return
	}
	defer q.setBody(nil)
	if q.setBody(control) || isClosed(q.session.Done()) {
		q.answerPost(w, r, http.StatusNotFound)
		return
	}
	feed(q.session, head)
	var status int
	status, whole = q.readBody(control, r)
	q.answerPost(w, r, status)
}
