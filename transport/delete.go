package transport

import "net/http"

// remove ends a connection at the request of its client, which polls.
func (e *Endpoint) remove(w http.ResponseWriter, r *http.Request) {
	reserved, ok := e.findConnection(w, r)
	if !ok {
		return
	}
	if e.Tokens.transportOf(reserved) != LongPolling {
		plain(w, http.StatusBadRequest, "Cannot terminate this connection using the DELETE endpoint.")
		return
	}
	if !e.checkUser(w, r, reserved) {
		return
	}
	q := e.Tokens.fetcherOf(reserved)
	if !q.isOpen(r.Context()) {
		plain(w, http.StatusNotFound, "")
		return
	}
	q.leave()
	plain(w, http.StatusAccepted, "")
}
