package transport

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/troupe-go/troupe/internal/link"
	"github.com/troupe-go/troupe/internal/logs"
	"github.com/troupe-go/troupe/internal/metric"
)

// Identity is who makes a request.
type Identity struct {
	UserID   string    // empty: none
	Expires  time.Time // when the credentials do; zero: never
	Value    any       // of the Acceptor
	Relayed  bool      // another node has told who it is, and no more: it can open nothing
	Believed bool      // nothing but that is known
}

// Opening is a request that opens a connection.
type Opening struct {
	ID        string // of the connection
	Identity  Identity
	Request   *http.Request // not valid after Accept
	Transport Transports
	Resumable bool // the connection may go on over another WebSocket
}

// Acceptor is what an endpoint asks of the owner of its connections.
type Acceptor interface {
	// Authenticate tells who makes a request. An error refuses the request, see [Refusal].
	Authenticate(r *http.Request) (Identity, error)
	// AcceptSocket opens a connection over a WebSocket.
	AcceptSocket(o Opening, socket link.Socket) (link.SocketSession, error)
	// AcceptFetcher opens a connection whose output is fetched by requests.
	AcceptFetcher(o Opening, fetcher link.Fetcher) (link.FetchSession, error)
	// Reserve makes room for a connection, which Release or the end of the connection gives up. It fails with a *[LimitError].
	Reserve(r *http.Request, who Identity) error
	// Release gives up the room for a connection that was not opened.
	Release(r *http.Request, who Identity)
	// Refresh gives an open connection the credentials of who. It fails with ErrNotOpen, ErrUserChanged, ErrRefreshRejected, or a [Refusal].
	Refresh(r *http.Request, connectionID string, who Identity) (Refreshed, error)
	// Resumed says that who has opened a connection again over another WebSocket.
	Resumed(o Opening, session link.SocketSession)
	// IsClosing reports whether new connections are refused.
	IsClosing() bool
}

// Refusal is an error of Authenticate with a status of its own; other errors are answered with 401.
type Refusal struct {
	Status int // 401, 403, or 500
	Err    error
}

func (e *Refusal) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *Refusal) Unwrap() error { return e.Err }

// LimitError refuses a connection because there are too many.
type LimitError struct {
	Limit  metric.Limit
	Status int // 429 or 503
	Text   string
}

func (e *LimitError) Error() string { return e.Text }

// Endpoint serves the requests of one hub endpoint.
type Endpoint struct {
	Acceptor   Acceptor
	Transports Transports
	Origins    *Origins
	Tokens     *Tokens
	Log        *slog.Logger
	// PollTimeout is how long a poll waits for something to send.
	PollTimeout time.Duration
	// RequestLimit is how many bytes of headers and query a request may have, because that is kept for as long as its connection lives.
	// 0: no limit.
	RequestLimit int
	// Hosts are the hosts that requests may be for. Empty: any.
	Hosts []string

	// Resumes says that connections may survive the loss of their WebSockets.
	Resumes bool
	// Refreshes says that clients can refresh their credentials.
	Refreshes bool
	// Subprotocol chooses among the subprotocols that a WebSocket is asked for with. Nil: none is chosen.
	Subprotocol func(requested []string) string

	// Limits count what has been refused.
	Limits *metric.Limits

	refusals logs.Limiter // that are logged
}

// Negotiate answers POST {endpoint}/negotiate.
func (e *Endpoint) Negotiate(w http.ResponseWriter, r *http.Request) {
	e.guard(w, r, e.answerNegotiate)
}

func (e *Endpoint) answerNegotiate(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Method, http.MethodPost) {
		plain(w, http.StatusMethodNotAllowed, "")
		return
	}
	if who, ok := e.admit(w, r); ok {
		e.negotiate(w, r, who)
	}
}

// Connect answers what comes to the endpoint itself (docs/protocol.md, 1.6, 2.1).
func (e *Endpoint) Connect(w http.ResponseWriter, r *http.Request) {
	e.guard(w, r, e.connect)
}

// guard refuses requests that are too large or for another host. It logs those of pages whose origins are not allowed, and hides their
// credentials; WebSockets of such pages are refused later.
func (e *Endpoint) guard(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	LimitBody(w, r) // code that reads the body sets other deadlines
	switch {
	case e.RequestLimit > 0 && RequestSize(r) > e.RequestLimit:
		e.Limits.Reach(metric.RequestHeaders)
		plain(w, http.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("Headers and query may have %d bytes together.", e.RequestLimit))
	case !e.isOurs(r.Host):
		e.logOnce("a request was refused: it asks for a host that is not in AllowedHosts", r.Host, r)
		plain(w, http.StatusMisdirectedRequest, "The host is not one of this server's.")
	default:
		if e.Origins.cors != nil && !e.Origins.Allows(r) {
			e.logOrigin(r)
		}
		e.Origins.Guard(w, r, next)
	}
}

// RequestSize is about how many bytes of headers and query a request has.
func RequestSize(r *http.Request) int {
	n := len(r.URL.RawQuery) + len(r.URL.Path) + len(r.Host)
	for name, values := range r.Header {
		for _, value := range values {
			n += len(name) + len(value) + len(": \n")
		}
	}
	return n
}

// isOurs reports whether a host is one of this server. A listed host without a port stands for every port.
func (e *Endpoint) isOurs(host string) bool {
	if len(e.Hosts) == 0 {
		return true
	}
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.Trim(name, "[]")
	return slices.ContainsFunc(e.Hosts, func(listed string) bool {
		return strings.EqualFold(listed, host) || strings.EqualFold(strings.Trim(listed, "[]"), name)
	})
}

// logOrigin logs why the page that makes a request may not connect, and what to do about it.
func (e *Endpoint) logOrigin(r *http.Request) {
	e.logOnce("a request was refused: its origin is not allowed", r.Header.Get("Origin"), r,
		"hint", "list the origin in EndpointOptions.AllowedOrigins; if the page is this server's own, let the proxy in front of it pass the Host header on")
}

// logOnce logs a refusal once a minute for each cause.
func (e *Endpoint) logOnce(what, why string, r *http.Request, args ...any) {
	args = append([]any{"origin", logs.Clip(r.Header.Get("Origin")), "host", logs.Clip(r.Host), "path", r.URL.Path, "remote", r.RemoteAddr}, args...)
	e.refusals.Log(r.Context(), e.Log, slog.LevelWarn, what+logs.Clip(why), what, args...)
}

func (e *Endpoint) connect(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.EqualFold(r.Method, http.MethodGet):
		e.get(w, r)
	case strings.EqualFold(r.Method, http.MethodPost):
		e.post(w, r)
	case strings.EqualFold(r.Method, http.MethodDelete):
		e.remove(w, r)
	default:
		plain(w, http.StatusMethodNotAllowed, "")
	}
}

func (e *Endpoint) get(w http.ResponseWriter, r *http.Request) {
	switch {
	case !IsUpgrade(r) && !discardBody(w, r):
		w.Header().Set("Connection", "close")
		plain(w, http.StatusBadRequest, "")
	case acceptsEvents(r):
		e.events(w, r)
	case IsUpgrade(r):
		e.webSocket(w, r)
	default:
		h := w.Header()
		h.Set("Cache-Control", "no-cache, no-store")
		h.Set("Pragma", "no-cache")
		h.Set("Expires", "Thu, 01 Jan 1970 00:00:00 GMT")
		e.poll(w, r)
	}
}

// enter returns the connection that a request names, and whether the request has just opened it. If it returns nil, the request has been
// answered.
func (e *Endpoint) enter(w http.ResponseWriter, r *http.Request, transport Transports) (q *fetcher, first bool) {
	reserved, ok := e.findConnection(w, r)
	if !ok || !e.checkOffered(w, transport) {
		return nil, false
	}
	has := e.Tokens.transportOf(reserved)
	if !checkFree(w, has, transport) {
		return nil, false
	}
	if has != 0 { // it polls
		if !e.checkUser(w, r, reserved) {
			return nil, false
		}
		return e.Tokens.fetcherOf(reserved), false
	}
	who, ok := e.admit(w, r)
	if !ok || !e.checkOwner(w, r, reserved, who) {
		return nil, false
	}
	if !e.reserve(w, r, who) {
		return nil, false
	}
	q = e.Tokens.fetcherOf(reserved)
	has, ok = e.Tokens.activate(reserved, transport)
	if !ok { // another request was faster, or too much time has passed
		e.Acceptor.Release(r, who)
		if has == transport && transport == LongPolling {
			return q, false
		}
		refuseTransport(w, has, transport)
		return nil, false
	}
	q.polls = transport == LongPolling
	if err := q.open(Opening{ID: reserved.id, Identity: who, Request: r, Transport: transport}); err != nil {
		e.Acceptor.Release(r, who)
		answerClosing(w)
		return nil, false
	}
	return q, true
}

// checkOffered refuses a transport that the endpoint does not offer.
func (e *Endpoint) checkOffered(w http.ResponseWriter, transport Transports) bool {
	if e.Transports&transport == 0 {
		plain(w, http.StatusNotFound, transport.String()+" transport not supported by this end point type")
		return false
	}
	return true
}

// checkFree refuses a request for a second transport. Only polls follow one another.
func checkFree(w http.ResponseWriter, has, wanted Transports) bool {
	if has == 0 || has == wanted && wanted == LongPolling {
		return true
	}
	refuseTransport(w, has, wanted)
	return false
}

// refuseTransport answers a request for a connection that has a transport already, or that has been removed.
func refuseTransport(w http.ResponseWriter, has, wanted Transports) {
	switch has {
	case 0:
		plain(w, http.StatusNotFound, "")
	case wanted:
		plain(w, http.StatusConflict, "")
	default:
		plain(w, http.StatusBadRequest, "Cannot change transports mid-connection")
	}
}

// named returns the connection that a request names by its token, and whether it has an id that is not empty. The connection is nil if there is
// none, or more than one: several ids are no connection's, even if they are empty.
func (e *Endpoint) named(r *http.Request) (given bool, reserved *reservation) {
	id, count := QueryValue(r.URL.RawQuery, "id")
	if count == 1 {
		reserved = e.Tokens.find(id, e)
	}
	return id != "" || count > 1, reserved
}

// findConnection is named, and answers requests that name no connection.
func (e *Endpoint) findConnection(w http.ResponseWriter, r *http.Request) (reserved *reservation, ok bool) {
	given, reserved := e.named(r)
	switch {
	case !given:
		plain(w, http.StatusBadRequest, "Connection ID required")
		return nil, false
	case reserved == nil:
		plain(w, http.StatusNotFound, unknownConnection)
	}
	return reserved, reserved != nil
}

const unknownConnection = "No Connection with that ID"

// checkUser refuses a request that is not made by the user of the connection. Only newer versions of the reference do so
// (docs/protocol.md, 2.6).
func (e *Endpoint) checkUser(w http.ResponseWriter, r *http.Request, reserved *reservation) bool {
	who, ok := e.identify(w, r)
	return ok && e.checkOwner(w, r, reserved, who)
}

// checkOwner refuses a request that is made by another user than the one of the connection.
func (e *Endpoint) checkOwner(w http.ResponseWriter, r *http.Request, reserved *reservation, who Identity) bool {
	if e.Tokens.userOf(reserved) != who.UserID {
		e.refuse(w, r, http.StatusForbidden, errOtherUser)
		return false
	}
	return true
}

var errOtherUser = errors.New("the connection was negotiated by another user than the one who makes this request")

// admit is identify for requests that open a connection.
func (e *Endpoint) admit(w http.ResponseWriter, r *http.Request) (Identity, bool) {
	if e.Acceptor.IsClosing() {
		answerClosing(w)
		return Identity{}, false
	}
	return e.identify(w, r)
}

// reserve makes room for a connection. If it returns false, the request has been answered.
func (e *Endpoint) reserve(w http.ResponseWriter, r *http.Request, who Identity) bool {
	if who.Relayed {
		plain(w, http.StatusNotFound, "")
		return false
	}
	err := e.Acceptor.Reserve(r, who)
	if err == nil {
		return true
	}
	status := http.StatusServiceUnavailable
	var limit *LimitError
	if errors.As(err, &limit) {
		status = limit.Status
		e.Limits.Reach(limit.Limit)
	}
	e.logOnce("a connection was refused: "+err.Error(), AddressOf(r.RemoteAddr), r)
	w.Header().Set("Retry-After", retryAfter)
	plain(w, status, err.Error())
	return false
}

// retryAfter is when a client that was refused by a limit may come again, in seconds.
const retryAfter = "10"

// Identify returns who makes a request that another node is going to answer. If it returns false, the request has been answered.
func (e *Endpoint) Identify(w http.ResponseWriter, r *http.Request) (who Identity, ok bool) {
	e.guard(w, r, func(w http.ResponseWriter, r *http.Request) { who, ok = e.identify(w, r) })
	return who, ok
}

// identify returns who makes a request. If it returns false, the request has been answered.
func (e *Endpoint) identify(w http.ResponseWriter, r *http.Request) (Identity, bool) {
	who, err := e.Acceptor.Authenticate(r)
	if err == nil {
		return who, true
	}
	status := http.StatusUnauthorized
	var refusal *Refusal
	if errors.As(err, &refusal) {
		status = refusal.Status
	}
	e.refuse(w, r, status, err)
	return Identity{}, false
}

func (e *Endpoint) refuse(w http.ResponseWriter, r *http.Request, status int, err error) {
	e.logRefusal(r, status, err)
	plain(w, status, "")
}

func (e *Endpoint) logRefusal(r *http.Request, status int, err error) {
	e.Log.Debug("a request was refused", "path", r.URL.Path, "remote", r.RemoteAddr, "status", status, "error", logs.Error(err))
}

// QueryValue returns the first value of a key in a query, whatever the case of the key, and how often the key is there. A value that cannot be
// unescaped is returned as it is written: if it were ignored, the key could seem to be missing, or to be there once.
func QueryValue(query, key string) (value string, count int) {
	for pair := range strings.SplitSeq(query, "&") {
		k, v, _ := strings.Cut(pair, "=")
		if k, err := url.QueryUnescape(k); err != nil || !strings.EqualFold(k, key) {
			continue
		}
		if count++; count > 1 {
			continue
		}
		if value, err := url.QueryUnescape(v); err == nil {
			v = value
		}
		value = v
	}
	return value, count
}

// acceptsEvents reports whether a request accepts exactly text/event-stream, without parameters (docs/protocol.md, 2.1).
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
