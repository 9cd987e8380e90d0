package transport

import (
	"net/http"
	"sync"
	"time"
)

// How a connection goes on over another WebSocket (docs/protocol.md, 9). Its token stays valid while it waits. The reader of the socket that was lost
// waits with it, so that something releases the token if nobody comes.

// resumeTime is how long the reader of the former socket may take to end.
const resumeTime = 5 * time.Second

// carry remembers the socket of a connection that may be resumed.
func (t *Tokens) carry(r *reservation, s *WebSocket) {
	if r == nil || !r.resumable {
		return
	}
	s.detached, s.replaced = make(chan struct{}), make(chan struct{})
	t.mu.Lock()
	r.socket = s
	t.mu.Unlock()
}

// canBeResumed reports whether a connection has been opened that may be resumed.
func (t *Tokens) canBeResumed(r *reservation) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return r.socket != nil
}

// beginResume returns the socket of a connection, for one request at a time.
func (t *Tokens) beginResume(r *reservation) *WebSocket {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.resuming || r.gone {
		return nil
	}
	r.resuming = true
	return r.socket
}

func (t *Tokens) endResume(r *reservation) {
	t.mu.Lock()
	r.resuming = false
	t.mu.Unlock()
}

// resume has a connection go on over the WebSocket that r asks for. A connection that has begun to close is refused before the upgrade, because its
// client would wait for a Sequence for ever.
func (e *Endpoint) resume(w http.ResponseWriter, r *http.Request, reserved *reservation) {
	who, ok := e.admitWebSocket(w, r, reserved, true)
	if !ok {
		return
	}
	former := e.Tokens.beginResume(reserved)
	if former == nil {
		plain(w, http.StatusConflict, "")
		return
	}
	endResume := sync.OnceFunc(func() { e.Tokens.endResume(reserved) })
	defer endResume()
	if !e.replace(w, r, former) {
		return
	}
	socket := openWebSocket(w, r, e.Subprotocol, e.Log, &e.refusals)
	if socket == nil {
		return
	}
	socket.session = former.session
	e.Tokens.carry(reserved, socket)
	endResume() // before the client can lose the new socket
	if !former.session.Resume(socket) {
		socket.Cut()
		return
	}
	e.Acceptor.Resumed(Opening{ID: reserved.id, Identity: who, Request: r, Transport: WebSockets, Resumable: true}, former.session)
	close(former.replaced)
	go socket.serve(e.Tokens, reserved)
}

// replace ends the former socket of a connection. If it returns false, the connection does not go on, and the request has been answered.
func (e *Endpoint) replace(w http.ResponseWriter, r *http.Request, former *WebSocket) bool {
	if !former.session.CanResume() {
		plain(w, http.StatusNoContent, "")
		return false
	}
	former.Cut()
	former.session.Replaced()
	timer := time.NewTimer(resumeTime)
	defer timer.Stop()
	select {
	case <-former.detached:
	case <-former.session.Done():
	case <-timer.C: // it waits for the hub
	case <-r.Context().Done():
	}
	if !isClosed(former.detached) || !former.session.CanResume() {
		plain(w, http.StatusNoContent, "")
		return false
	}
	return true
}

// awaitSuccessor waits while the connection goes on without its socket: until another one replaces it, or until it ends.
func (s *WebSocket) awaitSuccessor() {
	close(s.detached)
	s.close(closeQuietly)
	select {
	case <-s.replaced:
	case <-s.session.Done():
	}
}
