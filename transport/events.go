package transport

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"

	"github.com/troupe-go/troupe/internal/link"
	"github.com/troupe-go/troupe/internal/logs"
)

// events serves an event stream (docs/protocol.md, 2.4): one event for each batch of messages.
func (e *Endpoint) events(w http.ResponseWriter, r *http.Request) {
	if !supports[http.Flusher](w) && !supports[interface{ FlushError() error }](w) {
		const what = "events cannot be streamed: the http.ResponseWriter is no http.Flusher, and does not unwrap to one"
		e.refusals.Log(r.Context(), e.Log, slog.LevelError, what, what, "path", logs.Clip(r.URL.Path)) // anybody can make requests
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
	DoNotBuffer(h)
	if err := f.open(ctx, w); err != nil {
		return
	}
	for {
		if _, err := q.deliver(ctx, f, func(out link.Output) error { return sendEvent(w, f.control, out) }); err != nil {
			return
		}
	}
}

// DoNotBuffer asks proxies to pass on what they get: some would wait for more to compress, and nginx for more to send.
func DoNotBuffer(h http.Header) {
	if h.Get("Content-Encoding") == "" { // middleware that compresses flushes as well, and has named its encoding
		h.Set("Content-Encoding", "identity")
	}
	h.Set("X-Accel-Buffering", "no")
}

// open writes a comment, by which the client sees that the stream is open.
func (f *fetch) open(ctx context.Context, w http.ResponseWriter) error {
	f.writing.Store(true)
	defer f.writing.Store(false)
	if err := ctx.Err(); err != nil {
		return err
	}
	_, _ = w.Write([]byte(":\r\n"))
	return f.control.Flush()
}

var (
	dataField = []byte("data: ")
	nextLine  = []byte("\r\ndata: ")
	endEvent  = []byte("\r\n\r\n")
)

// sendEvent writes messages as one event, and flushes it.
func sendEvent(w http.ResponseWriter, control *http.ResponseController, out link.Output) error {
	if _, err := w.Write(dataField); err != nil {
		return err
	}
	for _, m := range out.Messages() {
		for {
			i := bytes.IndexByte(m, '\n')
			if i < 0 {
				break
			}
			if err := write(w, bytes.TrimSuffix(m[:i], []byte("\r")), out); err != nil {
				return err
			}
			if _, err := w.Write(nextLine); err != nil {
				return err
			}
			m = m[i+1:]
		}
		if err := write(w, m, out); err != nil {
			return err
		}
	}
	if _, err := w.Write(endEvent); err != nil {
		return err
	}
	return control.Flush()
}
