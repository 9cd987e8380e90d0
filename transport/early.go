package transport

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/troupe-go/troupe/internal/link"
	"github.com/troupe-go/troupe/internal/metric"
)

// maxEarly is how many bytes a client may send before it has its transport.
const maxEarly = 4 << 10

// readEarly reads the beginning of a POST's body while there is no session. It does so before the POST has its turn, because nothing may
// delay the opening of the session.
func (q *fetcher) readEarly(control *http.ResponseController, r *http.Request) (head []byte, err error) {
	if isClosed(q.opened) {
		return nil, nil
	}
	_ = control.SetReadDeadline(time.Now().Add(bodyPause))
	return io.ReadAll(io.LimitReader(r.Body, maxEarly+1))
}

// keepEarly keeps the body of a POST until there is a session. It returns false if there is one already; otherwise the request has been
// answered, and kept reports whether its body was read to its end. The caller holds reading.
func (q *fetcher) keepEarly(w http.ResponseWriter, head []byte) (answered, kept bool) {
	switch tokens := q.endpoint.Tokens; {
	case isClosed(q.opened):
		return false, false
	case tokens.isGone(q.reserved):
		plain(w, http.StatusNotFound, "")
	case tokens.transportOf(q.reserved) == WebSockets: // since it was looked at
		notForWebSockets(w)
	case len(q.early)+len(head) > maxEarly:
		q.endpoint.Limits.Reach(metric.EarlyBytes)
		plain(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("At most %d bytes can be sent before the connection has its transport.", maxEarly))
	default:
		q.early = append(q.early, head...)
		plain(w, http.StatusOK, "")
		return true, true
	}
	return true, false
}

// feedEarly passes what POSTs have brought to a session over a WebSocket.
func (q *fetcher) feedEarly(session link.Session) {
	q.reading <- struct{}{}
	defer q.unlockReading()
	feed(session, q.early)
	q.early = nil
}

// feed passes bytes of a client to its session.
func feed(session link.Session, b []byte) {
	for len(b) > 0 {
		n := copy(session.Buffer(), b)
		session.Commit(n)
		b = b[n:]
	}
}
