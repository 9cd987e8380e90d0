package transport

import (
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
)

// Session takes the bytes that a transport reads. Its methods but Pong are called by one goroutine at a time.
type Session interface {
	// Buffer returns memory to read into, at least 512 bytes.
	Buffer() []byte
	// Commit says that n bytes have been read into it. It may wait, and so slow the client down.
	Commit(n int)
	// End says that nothing more comes. An error tells what the transport found wrong with it.
	End(err error)
	// Pong asks for a control frame to be written when the socket is free.
	Pong(frame []byte)
}

// Identity is who makes a request.
type Identity struct {
	UserID string // empty: nobody in particular
	Value  any    // whatever Authenticate has found out
}

// Acceptor is what an endpoint asks of those who own its connections.
type Acceptor interface {
	// Authenticate tells who makes a request. An error refuses it, see [Refusal].
	Authenticate(r *http.Request) (Identity, error)
	// Accept begins a connection.
	Accept(id string, who Identity, request *Request, socket *WebSocket) (Session, error)
	// Closing says that no new connections are wanted.
	Closing() bool
}

// Refusal is an error of Authenticate with a status of its own; other errors are answered with 401.
type Refusal struct {
	Status int // 401 or 403
	Err    error
}

func (e *Refusal) Error() string { return e.Err.Error() }

// Unwrap gives the reason.
func (e *Refusal) Unwrap() error { return e.Err }

// Endpoint serves the requests of one hub endpoint.
type Endpoint struct {
	Acceptor Acceptor
	Origins  *Origins
	Tokens   *Tokens
	Log      *slog.Logger
}

// Negotiate answers POST {endpoint}/negotiate.
func (e *Endpoint) Negotiate(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Method, http.MethodPost) {
		plain(w, http.StatusMethodNotAllowed, "")
		return
	}
	r = e.Origins.stripCookies(r)
	if who, ok := e.admit(w, r); ok {
		e.negotiate(w, r, who)
	}
}

// Connect answers what comes to the endpoint itself (spec §1.6, §2.1).
func (e *Endpoint) Connect(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.EqualFold(r.Method, http.MethodGet):
		e.get(w, r)
	case strings.EqualFold(r.Method, http.MethodPost):
		if e.known(w, r) {
			plain(w, http.StatusMethodNotAllowed, "POST requests are not allowed for WebSocket connections.")
		}
	case strings.EqualFold(r.Method, http.MethodDelete):
		if e.known(w, r) {
			plain(w, http.StatusBadRequest, "Cannot terminate this connection using the DELETE endpoint.")
		}
	default:
		plain(w, http.StatusMethodNotAllowed, "")
	}
}

func (e *Endpoint) get(w http.ResponseWriter, r *http.Request) {
	if acceptsEvents(r) {
		e.absent(w, r, "ServerSentEvents")
		return
	}
	if isUpgrade(r) {
		e.webSocket(w, r)
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-cache, no-store")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "Thu, 01 Jan 1970 00:00:00 GMT")
	e.absent(w, r, "LongPolling")
}

// absent refuses a transport that the endpoint does not offer.
func (e *Endpoint) absent(w http.ResponseWriter, r *http.Request, transport string) {
	if e.known(w, r) {
		plain(w, http.StatusNotFound, transport+" transport not supported by this end point type")
	}
}

// known answers requests that name no connection by its token.
func (e *Endpoint) known(w http.ResponseWriter, r *http.Request) bool {
	id, count := queryValue(r.URL.RawQuery, "id")
	if id == "" {
		plain(w, http.StatusBadRequest, "Connection ID required")
		return false
	}
	known := count == 1 && e.Tokens.find(id, e) != nil
	if !known {
		plain(w, http.StatusNotFound, "No Connection with that ID")
	}
	return known
}

// admit lets in who may connect.
func (e *Endpoint) admit(w http.ResponseWriter, r *http.Request) (Identity, bool) {
	if e.Acceptor.Closing() {
		plain(w, http.StatusServiceUnavailable, "The server is shutting down.")
		return Identity{}, false
	}
	who, err := e.Acceptor.Authenticate(r)
	if err == nil {
		return who, true
	}
	status := http.StatusUnauthorized
	var refusal *Refusal
	if errors.As(err, &refusal) {
		status = refusal.Status
	}
	e.Log.Debug("a request was refused", "path", r.URL.Path, "remote", r.RemoteAddr, "status", status, "error", err)
	plain(w, status, "")
	return Identity{}, false
}

// plain answers with a status and a text, as the reference does for all its errors.
func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}

// queryValue is the first value of a key without regard to its case, and how often it is there.
func queryValue(query, key string) (value string, count int) {
	for pair := range strings.SplitSeq(query, "&") {
		k, v, _ := strings.Cut(pair, "=")
		if k, err := url.QueryUnescape(k); err != nil || !strings.EqualFold(k, key) {
			continue
		}
		v, err := url.QueryUnescape(v)
		if err != nil {
			continue
		}
		if count++; count == 1 {
			value = v
		}
	}
	return value, count
}

// acceptsEvents looks for exactly text/event-stream, without parameters (spec §2.1).
func acceptsEvents(r *http.Request) bool {
	for _, accept := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(accept, ",") {
			if strings.EqualFold(strings.TrimSpace(part), "text/event-stream") {
				return true
			}
		}
	}
	return false
}
