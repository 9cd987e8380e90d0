package transport

import (
	"log/slog"
	"net/http"

	"github.com/troupe-go/troupe/internal/logs"
)

// MessageSink takes the messages of a WebSocket of another dialect. Its methods are called by one goroutine.
type MessageSink interface {
	// Buffer returns memory to read into.
	Buffer() []byte
	// Commit says that n bytes of a message have been read into it.
	Commit(n int) bool
	// EndMessage says that a message has been committed.
	EndMessage(binary bool)
	// Pong takes the frame that answers a ping.
	Pong(frame []byte)
}

// OpenWebSocket upgrades a request of another dialect, whose origin has been checked. It returns nil if that failed; the request has been answered
// then.
func OpenWebSocket(w http.ResponseWriter, r *http.Request, log *slog.Logger, refusals *logs.Limiter) *WebSocket {
	return openWebSocket(w, r, nil, log, refusals)
}

// ReadMessages reads until the connection ends, and reports whether the client has closed it. What the client has done wrong is in LastFrame then.
func (s *WebSocket) ReadMessages(sink MessageSink) (closed bool) {
	return s.readSafely(sink, sink.EndMessage) == errClosedByClient
}

// Close closes the descriptor. It may block.
func (s *WebSocket) Close() {
	if !s.cut.Swap(true) {
		closeQuietly(s.conn)
	}
}
