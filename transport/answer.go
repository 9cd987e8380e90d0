package transport

import "net/http"

// plain answers with a status and a text, as the reference does for all its errors.
func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}

// answerPost answers a POST whose body was read.
func (q *fetcher) answerPost(w http.ResponseWriter, r *http.Request, status int) {
	if q.setBody(nil) && r.ProtoMajor == 1 { // net/http may have met the deadline of the end, and have ended the contexts of all later requests
		w.Header().Set("Connection", "close")
	}
	w.Header().Set("Content-Length", "0")
	plain(w, status, "")
}

// answerClosing refuses a connection to a server that shuts down. Where there are others, the next attempt reaches one of them.
func answerClosing(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	plain(w, http.StatusServiceUnavailable, "The server is shutting down.")
}
