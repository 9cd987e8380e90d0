package transport

import (
	"bytes"
	"net/http"
)

// events serves an event stream (spec §2.4): one event for each batch of messages.
func (e *Endpoint) events(w http.ResponseWriter, r *http.Request) {
	if !supports[http.Flusher](w) && !supports[interface{ FlushError() error }](w) {
		e.Log.Error("events cannot be streamed: the http.ResponseWriter is no http.Flusher, and does not unwrap to one", "path", r.URL.Path)
		plain(w, http.StatusInternalServerError, "")
		return
	}
	q, first := e.enter(w, r, ServerSentEvents)
	if !first {
		return
	}
	ctx, f, ok := q.begin(w, r)
	if !ok { // cut as soon as it was there
		plain(w, http.StatusNotFound, "")
		return
	}
	defer q.done(f)
	defer q.end()
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache,no-store")
	h.Set("Pragma", "no-cache")
	// Some proxies would wait for more to compress, and nginx for more to send.
	if h.Get("Content-Encoding") == "" { // middleware that compresses flushes as well, and has named its encoding
		h.Set("Content-Encoding", "identity")
	}
	h.Set("X-Accel-Buffering", "no")
	err := f.deliver(ctx, func() error { // the client's open event
		_, _ = w.Write([]byte(":\r\n"))
		return f.control.Flush()
	})
	if err != nil {
		return
	}
	for {
		more, err := q.session.Fetch(ctx, func(messages [][]byte, taken func(int)) error {
			return f.deliver(ctx, func() error { return sendEvent(w, f.control, messages, taken) })
		})
		if !more || err != nil {
			return
		}
	}
}

var (
	dataField = []byte("data: ")
	nextLine  = []byte("\r\ndata: ")
	endEvent  = []byte("\r\n\r\n")
)

// sendEvent writes messages as one event, and flushes it.
func sendEvent(w http.ResponseWriter, control *http.ResponseController, messages [][]byte, taken func(int)) error {
	if _, err := w.Write(dataField); err != nil {
		return err
	}
	for _, m := range messages {
		for {
			i := bytes.IndexByte(m, '\n')
			if i < 0 {
				break
			}
			if err := write(w, bytes.TrimSuffix(m[:i], []byte("\r")), taken); err != nil {
				return err
			}
			if _, err := w.Write(nextLine); err != nil {
				return err
			}
			m = m[i+1:]
		}
		if err := write(w, m, taken); err != nil {
			return err
		}
	}
	if _, err := w.Write(endEvent); err != nil {
		return err
	}
	return control.Flush()
}
