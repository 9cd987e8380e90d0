package transport

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/troupe-go/troupe/internal/metric"
)

const (
	bodyPause = 30 * time.Second // for which a client may be waited for within a body, besides the time that bodyRate allows
	bodyRate  = 240              // bytes per second
	restPause = 5 * time.Second  // for what is left of a body that nobody reads
	maxLate   = 64 << 10         // of a body that is still taken in, for nothing, when the connection has ended
	maxRest   = 64 << 10         // of a body that nobody needs
)

// readBody reads the body of a POST into the session. It returns the status of the answer, and whether the body was read to its end.
func (q *fetcher) readBody(control *http.ResponseController, r *http.Request) (status int, whole bool) {
	late := 0 // what came after the end of the connection, which this body itself may have brought about
	left := bodyPause
	for {
		start := time.Now()
		q.setBodyDeadline(control, start.Add(left)) // time in which the client had to wait does not count
		n, err := r.Body.Read(q.session.Buffer())
		left = min(bodyPause, left-time.Since(start)+time.Duration(n)*time.Second/bodyRate)
		if err == nil || err == io.EOF { // net/http may read on, to see whether the client goes away, and must not meet this deadline
			q.setBodyDeadline(control, time.Time{})
		}
		whole = err == io.EOF
		ended := isClosed(q.session.Done())
		if ended {
			late += n
		}
		if whole && !ended {
			if !q.session.CommitLast(n) {
				return http.StatusNotFound, whole
			}
			return http.StatusOK, whole
		}
		taken := q.session.Commit(n)
		switch {
		case !taken || late > maxLate || ended && err != nil && !whole:
			return http.StatusNotFound, whole
		case whole:
			return http.StatusOK, whole
		case errors.Is(err, os.ErrDeadlineExceeded):
			q.endpoint.Limits.Reach(metric.BodyRate)
			return http.StatusRequestTimeout, whole
		case err != nil:
			return http.StatusBadRequest, whole
		}
	}
}

// setBody says which POST is being read, so that it ends with the connection. It reports whether that has ended already.
func (q *fetcher) setBody(control *http.ResponseController) (ended bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.body = control
	return q.ended
}

// setBodyDeadline says until when a body must go on, unless the deadline of the connection's end holds.
func (q *fetcher) setBodyDeadline(control *http.ResponseController, until time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.ended {
		setDeadline(control.SetReadDeadline, until)
	}
}

// LimitBody sets a read deadline for the body of a request, which net/http reads if nobody else does.
func LimitBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(restPause))
	}
}

// discardBody reads the body of a request that needs none. It returns false if the body is large, or does not come.
func discardBody(w http.ResponseWriter, r *http.Request) bool {
	if r.ContentLength == 0 {
		return true
	}
	n, err := io.Copy(io.Discard, io.LimitReader(r.Body, maxRest+1))
	if err != nil || n > maxRest {
		return false
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // as in readBody
	return true
}
