package classic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/internal/link"
	"github.com/troupe-go/troupe/internal/logs"
	"github.com/troupe-go/troupe/internal/metric"
	"github.com/troupe-go/troupe/proto/classic"
	"github.com/troupe-go/troupe/transport"
)

// Transports are what a client can receive over.
type Transports uint8

// The transports.
const (
	WebSockets Transports = 1 << iota
	ServerSentEvents
	ForeverFrame
	LongPolling

	AllTransports = WebSockets | ServerSentEvents | ForeverFrame | LongPolling
)

var transportNames = map[string]Transports{
	"websockets": WebSockets, "serversentevents": ServerSentEvents, "foreverframe": ForeverFrame, "longpolling": LongPolling,
}

// Connection is the part of a session in one hub.
type Connection interface {
	link.SocketSession
	// Rejoin puts it into groups, in order with what is committed: in front of the handshake, before OnReconnected.
	Rejoin(groups []string)
	// Reconnected runs OnReconnected, in the same order.
	Reconnected()
	// Close begins to close it. It does not wait, and may be called while something is committed.
	Close(cause error)
}

// Hub is a hub, as an endpoint sees it.
type Hub interface {
	// Name is its name in Go, and what clients are told.
	Name() string
	// Authorize returns nil if a principal may connect to it.
	Authorize(ctx context.Context, who transport.Identity) error
	// Connect makes a connection for a session that was opened as snapshot says. It begins when it gets a handshake.
	Connect(id string, snapshot any, socket link.Socket, observer link.Observer, opening actors.Opening) (Connection, error)
	// Methods are what its proxy has, by name.
	Methods() []Method
	// Proxy is the name of its proxy.
	Proxy() string
}

// Method is a method of a proxy.
type Method struct{ Name, Proxy string }

// Acceptor is what an endpoint asks of the owner of the hubs.
type Acceptor interface {
	// Authenticate tells who makes a request. An error refuses the request, see transport.Refusal.
	Authenticate(r *http.Request) (transport.Identity, error)
	// IsAnonymous reports whether that is nobody in particular.
	IsAnonymous(who transport.Identity) bool
	// Snapshot returns what the connections of a session have to know of the request that has opened it.
	Snapshot(o transport.Opening) any
	// Hub returns the hub with a name, in any case, or nil.
	Hub(name string) Hub
	// Hubs are all hubs, by name.
	Hubs() []Hub
	// Reserve makes room for a session without connections, which Release gives up. It fails with a *transport.LimitError.
	Reserve(snapshot any) error
	// Release gives up what Reserve has reserved.
	Release(snapshot any)
	// Opened says that there is a session. What it returns is closed when all nodes know; nil: they do.
	Opened(id string) (known <-chan struct{})
	// Closed says that it has ended, and may be opened anywhere.
	Closed(id string)
	// Relay has the node that has a session answer a request for it. It returns false if no other node has it, and an error if that is not known.
	Relay(w http.ResponseWriter, r *http.Request, who transport.Identity, id string) (bool, error)
	// IsElsewhere reports whether another node may have a session, too.
	IsElsewhere(id string) bool
	// Claim has other nodes yield a session. It does not wait.
	Claim(id string)
	// IsClosing reports whether new sessions are refused.
	IsClosing() bool
	// Refuse returns the error of a call of a client that may not use the hub.
	Refuse(hub, method string) (text string)
}

// Options are the options of an Endpoint. All of them are set.
type Options struct {
	Transports              Transports
	Origins                 *transport.Origins
	Keys                    *Keys
	JSONP                   bool
	NoProxies               bool
	KeepAlive               time.Duration // negative: none
	DisconnectTimeout       time.Duration
	ConnectionTimeout       time.Duration
	TransportConnectTimeout time.Duration
	LongPollDelay           time.Duration
	SendTimeout             time.Duration // without a receiver taking anything
	MaximumMessageSize      int
	ReplayMessages          int
	ReplayBytes             int
	RequestLimit            int
	Raw                     Hub // the only hub, whose clients speak without calls (a PersistentConnection); nil: there are hubs
	Limits                  *metric.Limits
}

// Endpoint serves the paths below a prefix.
type Endpoint struct {
	Options
	acceptor Acceptor

	// What the trace sources of the original are:
	log       *slog.Logger // of requests
	heartbeat *slog.Logger
	hubs      *slog.Logger
	refusals  logs.Limiter // of WebSockets, that are logged

	mu        sync.Mutex
	epoch     uint32 // of the newest session
	sessions  map[string]*session
	sends     map[string]int       // open requests with calls, by the ids of their sessions
	dismissed map[string]time.Time // ids of those that a hub has closed for good, and until when
	janitor   *time.Timer
}

// NewEndpoint returns an endpoint.
func NewEndpoint(acceptor Acceptor, options Options, log *slog.Logger) *Endpoint {
	return &Endpoint{
		Options: options, acceptor: acceptor, epoch: newEpoch(), sessions: map[string]*session{}, sends: map[string]int{}, dismissed: map[string]time.Time{},
		log: log.WithGroup("transport"), heartbeat: log.WithGroup("heartbeat"), hubs: log.WithGroup("hubs"),
	}
}

// request is a request whose sender is known.
type request struct {
	*http.Request
	params    map[string]string // of the query, by name in lower case
	who       transport.Identity
	hubs      []Hub // that the client has listed and may connect to
	transport Transports
	id        string // of the session
	version   classic.Version
	callback  string // of JSONP; empty: none
}

// failure is a request that is refused.
type failure struct {
	status int
	text   string
	err    error // for the log
}

func (f *failure) Error() string { return f.text }

func fail(status int, text string, err error) *failure { return &failure{status, text, err} }

// ServeHTTP serves a request. The path is looked at from its end, as in the original.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	transport.LimitBody(w, r)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if e.RequestLimit > 0 && transport.RequestSize(r)-groupsTokenSize(r) > e.RequestLimit {
		w.WriteHeader(http.StatusRequestHeaderFieldsTooLarge)
		return
	}
	e.Origins.Guard(w, r, e.serve)
}

const mostGroupsToken = 256 << 10

// cutGroupsToken cuts the groups token out of a query.
func cutGroupsToken(query string) (token, rest string) {
	before, behind, _ := strings.Cut(query, "groupsToken=")
	token, after, _ := strings.Cut(behind, "&")
	return token, before + after
}

// groupsTokenSize is how many bytes of a request are its groups token, which grows with the groups and has a limit of its own.
func groupsTokenSize(r *http.Request) int {
	token, _ := cutGroupsToken(r.URL.RawQuery)
	return min(len(token), mostGroupsToken)
}

// withoutGroupsToken returns a request without its groups token, which is not kept for as long as the session lives.
func withoutGroupsToken(r *http.Request) *http.Request {
	_, rest := cutGroupsToken(r.URL.RawQuery)
	if rest == r.URL.RawQuery {
		return r
	}
	u := *r.URL
	u.RawQuery = rest
	r = r.WithContext(r.Context())
	r.URL = &u
	return r
}

func (e *Endpoint) serve(w http.ResponseWriter, r *http.Request) {
	var refused *failure
	if err := e.route(w, r); errors.As(err, &refused) {
		if refused.err != nil {
			e.log.Debug("a request of a SignalR 2 client was refused", "path", logs.Clip(r.URL.Path), "status", refused.status, "error", logs.Error(refused.err))
		}
		w.Header()["Content-Type"] = nil
		if refused.status == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "1")
		}
		w.WriteHeader(refused.status)
		_, _ = w.Write([]byte(refused.text))
	}
}

func (e *Endpoint) route(w http.ResponseWriter, r *http.Request) error {
	in := &request{Request: r, params: map[string]string{}}
	for name, values := range r.URL.Query() { // names are compared without regard to case
		in.params[strings.ToLower(name)] = values[0]
	}
	in.callback = in.params["callback"]
	path := strings.ToLower(strings.TrimRight(r.URL.Path, "/"))
	switch {
	case in.callback != "" && !e.JSONP:
		return fail(http.StatusForbidden, "", errors.New("JSONP is disabled"))
	case in.callback != "" && !isCallback(in.callback):
		return fail(http.StatusInternalServerError, "", errors.New("the callback of JSONP is no name"))
	}
	if err := e.admit(in); err != nil {
		return err
	}
	switch {
	case e.Raw == nil && (strings.HasSuffix(path, "/hubs") || strings.HasSuffix(path, "/js")):
		return e.proxies(w, in)
	case strings.HasSuffix(path, "/negotiate"):
		return e.negotiate(w, in)
	case strings.HasSuffix(path, "/ping"):
		return e.answer(w, in, []byte(`{ "Response": "pong" }`))
	}
	in.transport = transportNames[strings.ToLower(in.params["transport"])]
	if in.transport&e.Transports == 0 {
		return fail(http.StatusBadRequest, "Protocol error: Unknown transport.", nil)
	}
	if err := e.identify(in); err != nil {
		return err
	}
	if relayed, err := e.relay(w, in, path); relayed || err != nil {
		return err
	}
	switch {
	case strings.HasSuffix(path, "/start"):
		return e.start(w, in)
	case strings.HasSuffix(path, "/send") && in.transport != WebSockets:
		return e.send(w, in)
	case strings.HasSuffix(path, "/abort"):
		return e.abort(w, in)
	}
	return e.receive(w, in, path)
}

// admit finds out who makes a request, and to which hubs.
func (e *Endpoint) admit(in *request) error {
	who, err := e.acceptor.Authenticate(in.Request)
	var refusal *transport.Refusal
	switch {
	case errors.As(err, &refusal):
		return fail(refusal.Status, "", err)
	case err != nil:
		return fail(http.StatusUnauthorized, "", err)
	}
	if s := e.ofBelieved(in, who); s != nil {
		who.Value = s.who.Value
	}
	in.who = who
	in.version = classic.ParseVersion(in.params["clientprotocol"])
	if e.Raw != nil {
		if err := e.Raw.Authorize(in.Context(), who); err != nil {
			return e.unauthorized(who, err)
		}
		in.hubs = []Hub{e.Raw}
		return nil
	}
	names, err := classic.Names(in.params["connectiondata"])
	if err != nil {
		return fail(http.StatusInternalServerError, "", err)
	}
	for _, name := range names {
		hub := e.acceptor.Hub(name)
		if hub == nil {
			return fail(http.StatusInternalServerError, "", fmt.Errorf("there is no hub %q", name))
		}
		if err = hub.Authorize(in.Context(), who); err == nil {
			in.hubs = append(in.hubs, hub)
		}
	}
	if len(names) > 0 && len(in.hubs) == 0 {
		return e.unauthorized(who, err)
	}
	return nil
}

// ofBelieved returns the session of a user of whom no more is known than the id: policies are asked about who has opened it.
func (e *Endpoint) ofBelieved(in *request, who transport.Identity) *session {
	if !who.Believed {
		return nil
	}
	id, _, _ := e.openToken(in)
	if s := e.session(id); s != nil && s.who.UserID == who.UserID {
		return s
	}
	return nil
}

func (e *Endpoint) unauthorized(who transport.Identity, err error) error {
	if e.acceptor.IsAnonymous(who) {
		return fail(http.StatusUnauthorized, "", err)
	}
	return fail(http.StatusForbidden, "", err)
}

// openToken returns what the token of a request says: the id of the connection, which is empty if there is none, and its user.
func (e *Endpoint) openToken(in *request) (id, user string, err error) {
	text, err := e.Keys.unprotect(connectionPurpose, in.params["connectiontoken"])
	id, user, ok := strings.Cut(text, ":")
	if err != nil || !ok {
		return "", "", err
	}
	return id, user, nil
}

// identify reads the token of a request.
func (e *Endpoint) identify(in *request) error {
	if in.params["connectiontoken"] == "" {
		return fail(http.StatusBadRequest, "Protocol error: Missing connection token.", nil)
	}
	id, user, err := e.openToken(in)
	if id == "" {
		return fail(http.StatusBadRequest, "The ConnectionId is in the incorrect format.", err)
	}
	if !strings.EqualFold(user, in.who.UserID) {
		return fail(http.StatusForbidden, "Unrecognized user identity.  The user identity cannot change during an active SignalR connection.", nil)
	}
	in.id = id
	return nil
}

// answer writes a JSON object, as JSONP if that is wanted.
func (e *Endpoint) answer(w http.ResponseWriter, in *request, object []byte) error {
	setType(w, in)
	_ = e.write(w, in.wrap(object))
	return nil
}

func setType(w http.ResponseWriter, in *request) {
	w.Header().Set("Cache-Control", "no-cache, no-store")
	if in.callback != "" {
		w.Header().Set("Content-Type", "application/javascript; charset=UTF-8")
	} else {
		w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	}
}

func (in *request) wrap(object []byte) []byte {
	if in.callback == "" {
		return object
	}
	return slices.Concat([]byte(in.callback), []byte("("), object, []byte(");"))
}

var callbackName = regexp.MustCompile(`^[\p{L}$_][\p{L}\p{Nd}$_]*(\.[\p{L}$_][\p{L}\p{Nd}$_]*)*$`)

var reservedWords = strings.Fields(`abstract boolean break byte case catch char class const continue debugger default delete do double else enum export extends
	false final finally float for function goto if implements import in instanceof int interface long native new null package private protected
	public return short static super switch synchronized this throw throws transient true try typeof var volatile void while with
	NaN Infinity undefined`)

// isCallback reports whether a name can be called in JavaScript: identifiers joined by dots.
func isCallback(name string) bool {
	if len(name) > 256 || !callbackName.MatchString(name) {
		return false
	}
	return !slices.ContainsFunc(strings.Split(name, "."), func(part string) bool { return slices.Contains(reservedWords, part) })
}

// negotiate answers with a new id and the times of the endpoint. Nothing is remembered.
func (e *Endpoint) negotiate(w http.ResponseWriter, in *request) error {
	if e.acceptor.IsClosing() {
		return errClosing
	}
	id := newID()
	token := e.Keys.protect(connectionPurpose, id+":"+in.who.UserID)
	var keepAlive *seconds
	if e.KeepAlive > 0 {
		timeout := seconds(2 * e.KeepAlive.Seconds())
		keepAlive = &timeout
	}
	object, err := json.Marshal(struct {
		URL                     string `json:"Url"`
		ConnectionToken         string
		ConnectionID            string `json:"ConnectionId"`
		KeepAliveTimeout        *seconds
		DisconnectTimeout       seconds
		ConnectionTimeout       seconds
		TryWebSockets           bool
		ProtocolVersion         string
		TransportConnectTimeout seconds
		LongPollDelay           seconds
	}{
		strings.Replace(strings.TrimRight(pathOf(in.Request), "/"), "/negotiate", "", 1), token, id, keepAlive, seconds(e.DisconnectTimeout.Seconds()),
		seconds(e.ConnectionTimeout.Seconds()), e.Transports&WebSockets != 0, in.version.String(), seconds(e.TransportConnectTimeout.Seconds()),
		seconds(e.LongPollDelay.Seconds()),
	})
	if err != nil {
		return fail(http.StatusInternalServerError, "", err)
	}
	return e.answer(w, in, object)
}

// pathOf returns the path that the client has asked for, without what a prefix that was stripped has taken away.
func pathOf(r *http.Request) string {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	if strings.HasPrefix(path, "/") {
		return path
	}
	return r.URL.Path
}

var errClosing = fail(http.StatusServiceUnavailable, "", errors.New("the server is shutting down"))
