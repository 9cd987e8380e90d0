package hubsys

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/actors/outbox"
	"github.com/troupe-go/troupe/hubsys/backplane"
	"github.com/troupe-go/troupe/internal/link"
	"github.com/troupe-go/troupe/internal/logs"
	classicproto "github.com/troupe-go/troupe/proto/classic"
	nodev1 "github.com/troupe-go/troupe/proto/troupe/node/v1"
	"github.com/troupe-go/troupe/transport"
	"github.com/troupe-go/troupe/transport/classic"
)

// ClassicOptions are the options of a path for clients of ASP.NET SignalR 2. The zero value is ready for use, and has the defaults of SignalR 2.
// Where they are zero, Authenticate, AllowedOrigins, AllowCredentials, TransportSendTimeout and RequestHeaderLimit are those of
// Config.EndpointDefaults, whose other options have no meaning here.
type ClassicOptions struct {
	// Hubs are those that clients can connect to. Default: all hubs of the System, also those that are registered later. Hubs whose names have a
	// dot are left out.
	Hubs []*HubContext
	// Authenticate tells who makes a request, as [EndpointOptions].Authenticate does. It is called for each request.
	Authenticate func(*http.Request) (*Principal, error)

	// AllowedOrigins and AllowCredentials are those of [EndpointOptions]. The client of SignalR 2 sends credentials to other origins unless it was
	// started with withCredentials: false.
	AllowedOrigins   []string
	AllowCredentials bool

	// EnableDetailedErrors tells clients of this path the texts of all errors, as [HubOptions].EnableDetailedErrors does for those of a hub.
	EnableDetailedErrors bool
	// EnableJSONP lets pages of every origin connect by scripts, whatever AllowedOrigins says. Default: false.
	EnableJSONP bool
	// DisableProxies serves no script with proxies at {path}/hubs. Default: false.
	DisableProxies bool

	// KeepAlive is the time between two messages that tell a client that it is connected: at least 2 s, and at most a third of DisconnectTimeout.
	// Default: a third of DisconnectTimeout, 10 s. Unlimited: none are sent.
	KeepAlive time.Duration
	// DisconnectTimeout is how long a client that has lost its connection tries to reconnect. 5 s later it is taken to have gone. At least 6 s.
	// Default: 30 s.
	DisconnectTimeout time.Duration
	// ConnectionTimeout is how long a poll waits for something to send. Default: 110 s.
	ConnectionTimeout time.Duration
	// TransportConnectTimeout is how long a client waits for a transport to connect. Default: 5 s.
	TransportConnectTimeout time.Duration
	// LongPollDelay is how long a client waits between two polls. Default: 0.
	LongPollDelay time.Duration
	// TransportSendTimeout is how long a client may take nothing of what is sent to it, before it has to connect again. Default: 10 s.
	TransportSendTimeout time.Duration

	// MaximumMessageSize is the number of bytes that a message of a client may have. Default: 64 KiB.
	MaximumMessageSize int
	// ReplayLimit is how many of its last messages are kept for a client, so that it gets them when it reconnects; they have at most
	// 1 MiB. Default: 1,000.
	ReplayLimit int
	// RequestHeaderLimit is that of [EndpointOptions].
	RequestHeaderLimit int
}

// Validate reports everything that is wrong with the options.
func (o ClassicOptions) Validate() error {
	var f faults
	for i, hub := range o.Hubs {
		f.check(hub != nil, "Hubs[%d] is nil", i)
	}
	disconnect := cmp.Or(o.DisconnectTimeout, defaultDisconnect)
	f.check(disconnect >= 6*time.Second, "DisconnectTimeout is %s: it is at least 6 s, or 0 for the default", o.DisconnectTimeout)
	f.check(o.KeepAlive == 0 || o.KeepAlive == Unlimited || o.KeepAlive >= 2*time.Second && o.KeepAlive <= disconnect/3,
		"KeepAlive is %s: it is at least 2 s and at most a third of DisconnectTimeout, %s, or 0 for the default, or Unlimited", o.KeepAlive, disconnect/3)
	f.duration("ConnectionTimeout", o.ConnectionTimeout)
	f.duration("TransportConnectTimeout", o.TransportConnectTimeout)
	f.duration("LongPollDelay", o.LongPollDelay)
	f.duration("TransportSendTimeout", o.TransportSendTimeout)
	f.check(o.MaximumMessageSize >= 0 && o.MaximumMessageSize <= math.MaxInt32, "MaximumMessageSize is %d: it is at least 1 and less than 2 GiB, or 0 for the default", o.MaximumMessageSize)
	f.check(o.ReplayLimit >= 0, "ReplayLimit is %d: it is at least 1, or 0 for the default", o.ReplayLimit)
	f.check(o.RequestHeaderLimit >= 0, "RequestHeaderLimit is %d: it is a number of bytes, or 0 for the default", o.RequestHeaderLimit)
	_, err := o.endpoint().origins()
	f.add("AllowedOrigins", err)
	return f.join("ClassicOptions")
}

const defaultDisconnect = 30 * time.Second

// endpoint returns the options that endpoints of both dialects have.
func (o ClassicOptions) endpoint() EndpointOptions {
	return EndpointOptions{Authenticate: o.Authenticate, AllowedOrigins: o.AllowedOrigins, AllowCredentials: o.AllowCredentials}
}

// MapClassic serves hubs to clients of ASP.NET SignalR 2 at all paths below path, such as "/signalr". It fails if the path is in use, or if it
// is not in the form that [HubContext.Map] describes.
func (s *System) MapClassic(path string, options ClassicOptions) error {
	return s.mapSessions(path, options, nil)
}

// MapRaw serves the hub to clients of ASP.NET SignalR 2 that call no methods, as a PersistentConnection of SignalR 2 does. What such a client
// sends goes to the hub's method OnReceived(ctx context.Context, data string) error; of a call of client methods it gets the first argument,
// whatever the method. options.Hubs stay empty.
func (c *HubContext) MapRaw(path string, options ClassicOptions) error {
	if c.hub.methods != nil && c.hub.methods.find([]byte(classicproto.Received)) == nil {
		return fmt.Errorf("hubsys: hub %q has no method %s, which raw connections need", c.Name(), classicproto.Received)
	}
	options.Hubs = []*HubContext{c}
	return c.sys.mapSessions(path, options, c)
}

// WriteClassicProxies writes the script that {path}/hubs serves, for a path of MapClassic: for pages that load it from a file.
func (s *System) WriteClassicProxies(w io.Writer, path string) error {
	s.mu.RLock()
	e := s.classic[path]
	s.mu.RUnlock()
	if e == nil {
		return fmt.Errorf("hubsys: there is no path %q of MapClassic", path)
	}
	return classic.WriteProxies(w, path, e.Hubs())
}

// mapSessions maps hubs, or one hub for raw connections.
func (s *System) mapSessions(path string, options ClassicOptions, raw *HubContext) error {
	// What is zero is taken from the defaults of all endpoints.
	defaults := s.endpointDefaults
	if options.Authenticate == nil {
		options.Authenticate = defaults.Authenticate
	}
	if options.AllowedOrigins == nil {
		options.AllowedOrigins, options.AllowCredentials = defaults.AllowedOrigins, options.AllowCredentials || defaults.AllowCredentials
	}
	options.TransportSendTimeout = cmp.Or(options.TransportSendTimeout, defaults.TransportSendTimeout)
	options.RequestHeaderLimit = cmp.Or(options.RequestHeaderLimit, defaults.RequestHeaderLimit)
	if err := options.Validate(); err != nil {
		return err
	}
	for i, hub := range options.Hubs {
		if hub.sys != s {
			return fmt.Errorf("hubsys: ClassicOptions: Hubs[%d], %q, is a hub of another System", i, hub.Name())
		}
	}
	origins, err := options.endpoint().origins()
	if err != nil {
		return err
	}
	keys, err := s.classicKeys()
	if err != nil {
		return err
	}
	e := &classicEndpoint{sys: s, path: path, options: options, failures: logs.Limiter{Most: mostFailures}}
	var rawHub classic.Hub
	if raw != nil {
		rawHub = classicHub{raw, e}
	}
	disconnect := cmp.Or(options.DisconnectTimeout, defaultDisconnect)
	e.http = classic.NewEndpoint(e, classic.Options{
		Transports: classic.AllTransports, Origins: origins, Keys: keys, JSONP: options.EnableJSONP, NoProxies: options.DisableProxies,
		KeepAlive: cmp.Or(options.KeepAlive, disconnect/3), DisconnectTimeout: disconnect,
		ConnectionTimeout:       cmp.Or(options.ConnectionTimeout, 110*time.Second),
		TransportConnectTimeout: cmp.Or(options.TransportConnectTimeout, 5*time.Second),
		LongPollDelay:           options.LongPollDelay,
		SendTimeout:             cmp.Or(options.TransportSendTimeout, 10*time.Second),
		MaximumMessageSize:      cmp.Or(options.MaximumMessageSize, 64<<10),
		ReplayMessages:          cmp.Or(options.ReplayLimit, 1000), ReplayBytes: defaultBytes,
		RequestLimit: cmp.Or(options.RequestHeaderLimit, defaultRequestLimit), Raw: rawHub, Limits: s.runtime.Limits(),
	}, s.log)
	return s.mapClassic(path, e)
}

// classicKeys returns the keys of tokens. Without Config.Keys they are random, which ends the sessions of a server that is started again.
func (s *System) classicKeys() (*classic.Keys, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		s.log.Warn("there are no Config.Keys: clients of SignalR 2 cannot reconnect to a server that is started again, nor to another one")
		secret := make([]byte, classic.KeySize)
		_, _ = rand.Read(secret) // does not fail
		var err error
		if s.keys, err = classic.NewKeys(secret); err != nil {
			return nil, err
		}
	}
	return s.keys, nil
}

// mapClassic adds an endpoint for all paths below a path.
func (s *System) mapClassic(path string, e *classicEndpoint) error {
	if err := checkPath(path); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return errClosing
	}
	for other := range s.classic {
		if isBelow(path, other) || isBelow(other, path) {
			return fmt.Errorf("hubsys: %q cannot be the path of an endpoint: there is one for SignalR 2 at %q", path, other)
		}
	}
	for other := range s.endpoints {
		if isBelow(other, path) {
			return fmt.Errorf("hubsys: %q cannot be the path of an endpoint for SignalR 2: there is one at %q", path, other)
		}
	}
	s.classic[path] = e
	return nil
}

// isBelow reports whether a path is a prefix, or below it.
func isBelow(path, prefix string) bool {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(prefix, "/"))
	return ok && (rest == "" || rest[0] == '/')
}

// findClassic returns the endpoint that a path is below, or nil. The lock is held.
func (s *System) findClassic(path string) *classicEndpoint {
	for prefix, e := range s.classic {
		if isBelow(path, prefix) {
			return e
		}
	}
	return nil
}

// classicEndpoint joins the HTTP side of a path for SignalR 2 with the hubs.
type classicEndpoint struct {
	sys      *System
	path     string
	options  ClassicOptions
	http     *classic.Endpoint
	failures logs.Limiter // of Authenticate, that are logged
	found    sync.Map     // hubs by name in lower case
	made     sync.Map     // settings by hub
}

var _ classic.Acceptor = (*classicEndpoint)(nil)

// Authenticate is part of classic.Acceptor.
func (e *classicEndpoint) Authenticate(r *http.Request) (transport.Identity, error) {
	who, err := authenticate(r, e.options.Authenticate, nil, e.sys.log, &e.failures) // once more, if it was relayed: policies of hubs are asked here
	relayed, isRelayed := relayedIdentity(r)
	if isRelayed && (err != nil || who.UserID != relayed.UserID) { // middleware, which it has not passed here, may have been asked there
		relayed.Believed = true
		return relayed, nil
	}
	who.Relayed = isRelayed
	return who, err
}

// Opened is part of classic.Acceptor.
func (e *classicEndpoint) Opened(id string) (known <-chan struct{}) {
	if e.sys.plane == nil {
		return nil
	}
	return e.sys.plane.Subscribe(e.topic(id))
}

// Closed is part of classic.Acceptor.
func (e *classicEndpoint) Closed(id string) {
	if e.sys.plane != nil {
		e.sys.plane.Unsubscribe(e.topic(id))
	}
}

// topic is wanted by the node that has a session.
func (e *classicEndpoint) topic(id string) string { return "s" + e.path + "/" + id }

// Relay is part of classic.Acceptor.
func (e *classicEndpoint) Relay(w http.ResponseWriter, r *http.Request, who transport.Identity, id string) (bool, error) {
	if who.Relayed || e.sys.plane == nil {
		return false, nil
	}
	node, err := e.sys.runtime.FindOwner(r.Context(), e.topic(id), &nodev1.Locate{Path: e.path, Token: id})
	if err != nil || node == 0 {
		return false, err
	}
	e.http.Yield(id)
	e.sys.relayTo(node, w, r.WithContext(backplane.WithUser(r.Context(), who.UserID)))
	return true, nil
}

// IsElsewhere is part of classic.Acceptor.
func (e *classicEndpoint) IsElsewhere(id string) bool {
	return e.sys.plane != nil && e.sys.plane.Wanted(e.topic(id))
}

// Claim is part of classic.Acceptor.
func (e *classicEndpoint) Claim(id string) {
	if e.sys.isClosing() { // the other node may keep it
		return
	}
	e.sys.runtime.Claim(e.topic(id), &nodev1.Locate{Path: e.path, Token: id, Claim: true})
}

// IsAnonymous is part of classic.Acceptor.
func (e *classicEndpoint) IsAnonymous(who transport.Identity) bool {
	return !who.Value.(*Principal).Authenticated()
}

// Hub is part of classic.Acceptor.
func (e *classicEndpoint) Hub(name string) classic.Hub {
	key := strings.ToLower(name)
	if hub, ok := e.found.Load(key); ok {
		return hub.(classic.Hub)
	}
	for _, hub := range e.Hubs() {
		if strings.EqualFold(hub.Name(), name) {
			e.found.Store(strings.ToLower(hub.Name()), hub)
			return hub
		}
	}
	return nil
}

// Refuse is part of classic.Acceptor.
func (e *classicEndpoint) Refuse(hub, method string) string {
	if !e.options.EnableDetailedErrors {
		return genericText(hub, method)
	}
	return classicUnauthorized(hub, method)
}

// Hubs is part of classic.Acceptor.
func (e *classicEndpoint) Hubs() []classic.Hub {
	contexts := e.options.Hubs
	if contexts == nil {
		e.sys.mu.RLock()
		contexts = slices.Collect(maps.Values(e.sys.hubs))
		e.sys.mu.RUnlock()
	}
	hubs := make([]classic.Hub, 0, len(contexts))
	for _, c := range contexts {
		if c != nil && !strings.Contains(c.Name(), ".") { // nil is being registered; a dot separates names of hubs and groups
			hubs = append(hubs, classicHub{c, e})
		}
	}
	slices.SortFunc(hubs, func(a, b classic.Hub) int { return strings.Compare(a.Name(), b.Name()) })
	return hubs
}

// IsClosing is part of classic.Acceptor.
func (e *classicEndpoint) IsClosing() bool { return e.sys.isClosing() }

// classicHub is a hub at an endpoint. It is comparable, and the same hub at the same endpoint is equal.
type classicHub struct {
	*HubContext
	endpoint *classicEndpoint
}

// Proxy is part of classic.Hub.
func (c classicHub) Proxy() string {
	if c.hub.named == nil && c.hub.methods != nil && !c.hub.hasOwnName {
		return classic.CamelCase(c.Name())
	}
	return c.Name()
}

// Methods is part of classic.Hub.
func (c classicHub) Methods() []classic.Method {
	var methods []classic.Method
	for _, name := range c.hub.Methods() {
		if c.hub.hidden[foldName(name)] {
			continue
		}
		proxy := name
		if m := c.hub.methods; m == nil || !m.exact[name].hasOwnName {
			proxy = classic.CamelCase(name)
		}
		methods = append(methods, classic.Method{Name: name, Proxy: proxy})
	}
	return methods
}

// Authorize is part of classic.Hub.
func (c classicHub) Authorize(ctx context.Context, who transport.Identity) error {
	if c.options.Policy == nil {
		return nil
	}
	return c.options.Policy.ask(ctx, who.Value.(*Principal))
}

// Connect is part of classic.Hub.
func (c classicHub) Connect(id string, snapshot any, socket link.Socket, observer link.Observer, opening actors.Opening) (classic.Connection, error) {
	if err := c.endpoint.Reserve(snapshot); err != nil {
		return nil, err
	}
	opened := snapshot.(*classicOpening)
	session := newSession(opened.principal, opened.request, nil)
	session.detailed = c.endpoint.options.EnableDetailedErrors
	conn, err := c.hub.runtime.ConnectMember(id, &session.identity, socket, kindOf(opened.request.Transport()), c.endpoint.settingsOf(c.HubContext), observer, opening)
	if err != nil {
		c.endpoint.Release(snapshot)
		return nil, err
	}
	return conn, nil
}

func kindOf(t Transports) outbox.Kind {
	switch t {
	case WebSockets:
		return outbox.Socket
	case LongPolling:
		return outbox.Polls
	}
	return outbox.Stream
}

// classicOpening is who has opened a session, and the request.
type classicOpening struct {
	principal *Principal
	request   *Request
}

// Reserve is part of classic.Acceptor.
func (e *classicEndpoint) Reserve(snapshot any) error {
	opened := snapshot.(*classicOpening)
	return e.sys.limits.reserve(opened.principal.UserID, transport.AddressOf(opened.request.remoteAddr))
}

// Release is part of classic.Acceptor.
func (e *classicEndpoint) Release(snapshot any) {
	opened := snapshot.(*classicOpening)
	e.sys.limits.release(opened.principal.UserID, transport.AddressOf(opened.request.remoteAddr))
}

// Snapshot is part of classic.Acceptor.
func (e *classicEndpoint) Snapshot(o transport.Opening) any {
	return &classicOpening{o.Identity.Value.(*Principal), newRequest(o.Request, Transports(o.Transport))}
}

// settingsOf returns the settings of the connections of a hub, which are made once.
func (e *classicEndpoint) settingsOf(c *HubContext) *actors.Settings {
	if made, ok := e.made.Load(c); ok {
		return made.(*actors.Settings)
	}
	made, _ := e.made.LoadOrStore(c, e.settings(c))
	return made.(*actors.Settings)
}

// settings are those of the connections of a hub. The session sees to keep-alives and timeouts, and bounds what waits for its client.
func (e *classicEndpoint) settings(c *HubContext) *actors.Settings {
	s := settings(c.options, EndpointOptions{})
	s.HandshakeTimeout = cmp.Or(e.options.DisconnectTimeout, defaultDisconnect) + time.Minute
	s.KeepAlive, s.ClientTimeout, s.IdleTimeout = math.MaxInt64/4, math.MaxInt64/4, 0
	s.MaxMessage = 0          // the session has checked it
	s.SendTimeout = time.Hour // the session knows a client that takes nothing
	s.Parallel = cmp.Or(c.options.MaximumParallelInvocationsPerClient, classicParallel)
	return s
}

// classicParallel is how many calls of a client of SignalR 2 run at once by default. The original has no limit.
const classicParallel = 100
