package hubsys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	pathpkg "path"
	"slices"
	"strings"
	"sync"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/hubsys/backplane"
	"github.com/troupe-go/troupe/internal/logs"
	"github.com/troupe-go/troupe/transport"
	"github.com/troupe-go/troupe/transport/classic"
)

// Config is the configuration of a [System]. The zero value is ready for use.
type Config struct {
	// ActorSystem is an actor system of the application. All actors of the System run in it, under one whose name is "hubsys" where there is a
	// Backplane, and begins with "hubsys-" otherwise. Nothing else in it is touched, and it is not shut down. Nil: the System has one of its own.
	ActorSystem *actor.ActorSystem
	// Backplane joins the System with others, so that each reaches the clients of all of them, and no client needs to come back to the same one:
	// cluster.New returns one. Nil: the System is alone.
	Backplane backplane.Backplane
	// Logger gets errors of user code, and why connections are refused or closed. Secrets are never logged, texts that clients have chosen are cut
	// to 256 bytes, and each kind of event that clients can cause at will is logged at most 100 times a minute above the level Debug, and counted.
	// Nil: slog.Default().
	Logger *slog.Logger

	// PendingConnections is how many negotiated connections may wait for their transport, each for at most 15 s. When there are more, the oldest is
	// dropped. Default: 10,000.
	PendingConnections int
	// PendingConnectionsPerAddress is how many of them may have been negotiated from one remote address (of IPv6, from one /64 network). More are
	// refused with status 429. Behind a proxy, middleware must put the client's address into http.Request.RemoteAddr. Default: 1,000. Unlimited: no
	// limit.
	PendingConnectionsPerAddress int

	// MaximumConnections is how many connections the System can have. More are refused with status 503 and Retry-After. Default: 100,000.
	// Unlimited: no limit.
	MaximumConnections int
	// MaximumConnectionsPerUser is how many a user can have, over all hubs. More are refused with status 429. Default: 1,000. Unlimited: no limit.
	MaximumConnectionsPerUser int
	// MaximumConnectionsPerAddress is how many can come from one remote address (of IPv6, from one /64 network). More are refused with status 429. Behind
	// a proxy, middleware must put the client's address into http.Request.RemoteAddr. Default: 10,000. Unlimited: no limit.
	MaximumConnectionsPerAddress int

	// Keys protect the tokens of clients of SignalR 2, see [System.MapClassic]: the first one protects, all of them are believed, so that keys can be
	// changed. Each has 32 random bytes. All nodes have the same, and so has a server that is started again: otherwise its clients cannot reconnect.
	// Nil: one that is derived from the key of the Backplane, or else a random one.
	Keys [][]byte

	// HubDefaults are options of all hubs. What is zero in the options of a hub is taken from here, field by field: a bool that is true here is
	// true for all. Filters of both apply, these around those of the hub; policies of both must allow. Name and Methods stay empty.
	HubDefaults HubOptions
	// EndpointDefaults are options of all endpoints, in the same way.
	EndpointDefaults EndpointOptions
}

// Validate reports everything that is wrong with the configuration.
func (c Config) Validate() error {
	var f faults
	f.check(c.PendingConnections >= 0, "PendingConnections is %d: it is at least 1, or 0 for the default", c.PendingConnections)
	f.check(c.PendingConnectionsPerAddress >= Unlimited, "PendingConnectionsPerAddress is %d: it is at least 1, 0 for the default, or Unlimited", c.PendingConnectionsPerAddress)
	for name, n := range map[string]int{
		"MaximumConnections": c.MaximumConnections, "MaximumConnectionsPerUser": c.MaximumConnectionsPerUser, "MaximumConnectionsPerAddress": c.MaximumConnectionsPerAddress,
	} {
		f.check(n >= Unlimited, "%s is %d: it is at least 1, 0 for the default, or Unlimited", name, n)
	}
	for i, key := range c.Keys {
		f.check(len(key) == classic.KeySize, "Keys[%d] has %d bytes, not %d", i, len(key), classic.KeySize)
	}
	f.check(c.HubDefaults.Name == "" && len(c.HubDefaults.Methods) == 0, "HubDefaults has a Name or Methods, which are options of one hub")
	f.add("HubDefaults", c.HubDefaults.Validate())
	f.add("EndpointDefaults", c.EndpointDefaults.Validate())
	return f.join("Config")
}

// System serves hubs. It is an [http.Handler] for all paths that hubs are mapped to, and can be mounted under any mux, prefix or
// middleware; a mux needs two patterns for each path, see [System.Patterns]. Its methods can be used concurrently.
type System struct {
	runtime *actors.System
	plane   backplane.Backplane // nil: there is one node
	log     *slog.Logger
	tokens  *transport.Tokens
	limits  *connectionLimits
	polls   relayedPolls

	hubDefaults      HubOptions
	endpointDefaults EndpointOptions

	mu        sync.RWMutex
	closing   bool
	hubs      map[string]*HubContext // nil: the name is taken by one that is being registered
	endpoints map[string]*endpoint
	classic   map[string]*classicEndpoint
	keys      *classic.Keys // of tokens of SignalR 2; nil: none are needed yet
}

// New starts a system. It runs until [System.Shutdown].
func New(config Config) (*System, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	log := config.Logger
	if log == nil {
		log = slog.Default()
	}
	log = slog.New(logs.Safe(log.Handler())) // a handler that panics ends nobody's connection
	var keys *classic.Keys
	if len(config.Keys) > 0 {
		var err error
		if keys, err = classic.NewKeys(config.Keys...); err != nil {
			return nil, err
		}
	}
	s := &System{
		log: log,
		limits: newConnectionLimits(cmp.Or(config.MaximumConnections, 100_000), cmp.Or(config.MaximumConnectionsPerUser, 1000),
			cmp.Or(config.MaximumConnectionsPerAddress, 10_000)),
		hubDefaults: config.HubDefaults, endpointDefaults: config.EndpointDefaults,
		hubs: map[string]*HubContext{}, endpoints: map[string]*endpoint{}, classic: map[string]*classicEndpoint{}, keys: keys,
	}
	var err error
	if s.runtime, err = actors.NewSystem(config.ActorSystem, log, config.Backplane, s); err != nil {
		return nil, err
	}
	s.tokens = transport.NewTokens(s.runtime.Node().Bytes())
	if s.plane = config.Backplane; s.plane != nil {
		s.tokens.Join(s.secrets("tokens"))
		if keys := s.secrets("signalr2"); s.keys == nil && len(keys) > 0 {
			if s.keys, err = classic.NewKeys(keys...); err != nil {
				return nil, err
			}
		}
	}
	s.tokens.Limit = cmp.Or(config.PendingConnections, s.tokens.Limit)
	s.tokens.AddressLimit = cmp.Or(config.PendingConnectionsPerAddress, s.tokens.AddressLimit)
	return s, nil
}

// secrets returns what all nodes derive for a purpose, or nil if they share nothing.
func (s *System) secrets(purpose string) [][]byte {
	if shared, ok := s.plane.(backplane.Secrets); ok {
		return shared.Secrets(purpose)
	}
	return nil
}

// ActorSystem returns the actor system that everything runs in.
func (s *System) ActorSystem() *actor.ActorSystem { return s.runtime.ActorSystem() }

// Shutdown stops the system. It refuses new connections with status 503, executes the calls that were received, closes the connections so that
// their clients reconnect, runs OnDisconnected for each, writes what is pending, and stops everything that New has started. Call it before
// http.Server.Shutdown, which does not know WebSockets.
//
// Streams end at once. The contexts of other calls end with [ErrShutdown] when nine tenths of the time until the deadline of ctx are over. If ctx
// ends first, sockets are cut, calls that still run are abandoned, and the error says how many. Shutdown waits for a client that does not answer
// a close for EndpointOptions.CloseTimeout, and up to a second longer.
//
// Later callers wait for the first one, as long as their own ctx allows. A hub method may call Shutdown with its own context; Shutdown then does
// not wait for that method.
func (s *System) Shutdown(ctx context.Context) error {
	s.close()
	s.endPolls(ctx)
	return s.runtime.Shutdown(ctx)
}

// close refuses new connections.
func (s *System) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
}

// ServeHTTP serves the endpoints that hubs are mapped to, with their negotiations and refreshes. Paths are compared as they are, including case, and are not
// cleaned or decoded again, so that decisions of a mux or a proxy in front by the path hold here as well.
func (s *System) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.plane == nil || !s.relay(w, r) {
		s.serve(w, r)
	}
}

// serve serves a request of a client, or one that another node has relayed.
func (s *System) serve(w http.ResponseWriter, r *http.Request) {
	e, suffix := s.find(r.URL.Path)
	if e == nil && !hasEncodedSlash(r.URL.RawPath) {
		s.mu.RLock()
		classic := s.findClassic(r.URL.Path)
		s.mu.RUnlock()
		if classic != nil {
			classic.http.ServeHTTP(w, r)
			return
		}
	}
	switch {
	case e == nil || hasEncodedSlash(r.URL.RawPath):
		transport.LimitBody(w, r)
		w.WriteHeader(http.StatusNotFound)
	case suffix == negotiateSuffix:
		e.http.Negotiate(w, r)
	case suffix == refreshSuffix:
		e.http.RefreshCredentials(w, r)
	default:
		e.http.Connect(w, r)
	}
}

// find returns the endpoint of a path, and what is behind the path of the endpoint.
func (s *System) find(path string) (e *endpoint, suffix string) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e := s.endpoints[path]; e != nil {
		return e, ""
	}
	for _, suffix := range []string{negotiateSuffix, refreshSuffix} {
		hub, ok := strings.CutSuffix(path, suffix)
		if e := s.endpoints[cmp.Or(hub, "/")]; ok && e != nil && e.has(suffix) {
			return e, suffix
		}
	}
	return nil, ""
}

// What clients append to the path of an endpoint.
const (
	negotiateSuffix = "/negotiate"
	refreshSuffix   = "/refresh"
)

// has reports whether an endpoint serves what is behind its path.
func (e *endpoint) has(suffix string) bool {
	return suffix == negotiateSuffix || e.options.Refresh != nil
}

// hasEncodedSlash reports whether a path has an encoded slash, which is part of a segment.
func hasEncodedSlash(rawPath string) bool {
	return strings.Contains(rawPath, "%2f") || strings.Contains(rawPath, "%2F")
}

// Patterns returns the patterns that a mux has to route to the System, for all paths that hubs are mapped to now, in sorted order: two for each
// path, and a third one where EndpointOptions.Refresh is set. That of the path "/" is "/{$}". A path of MapClassic has one, which ends in a slash.
//
//	for _, pattern := range sys.Patterns() {
//		mux.Handle(pattern, sys)
//	}
//
// A prefix that [http.StripPrefix] removes must be put in front of them. Patterns that end in a slash do not work: http.ServeMux answers requests
// for the path without it with a redirect, which WebSockets do not follow.
func (s *System) Patterns() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var patterns []string
	for path, e := range s.endpoints {
		if path == "/" {
			patterns, path = append(patterns, "/{$}"), ""
		} else {
			patterns = append(patterns, path)
		}
		for _, suffix := range []string{negotiateSuffix, refreshSuffix} {
			if e.has(suffix) {
				patterns = append(patterns, path+suffix)
			}
		}
	}
	for path := range s.classic {
		patterns = append(patterns, strings.TrimSuffix(path, "/")+"/")
	}
	slices.Sort(patterns)
	return patterns
}

// mapEndpoint adds an endpoint.
func (s *System) mapEndpoint(path string, e *endpoint) error {
	if err := checkPath(path); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return errClosing
	}
	if s.endpoints[path] != nil {
		return fmt.Errorf("hubsys: there is an endpoint at %q already", path)
	}
	for _, suffix := range []string{negotiateSuffix, refreshSuffix} {
		hub, ok := strings.CutSuffix(path, suffix)
		taken := s.endpoints[cmp.Or(hub, "/")]
		if ok && taken != nil && taken.has(suffix) || e.has(suffix) && s.endpoints[strings.TrimSuffix(path, "/")+suffix] != nil {
			return fmt.Errorf("hubsys: %q cannot be the path of an endpoint: it is, or has, what another endpoint has at %q", path, "{path}"+suffix)
		}
	}
	if s.findClassic(path) != nil {
		return fmt.Errorf("hubsys: %q cannot be the path of an endpoint: it is below a path of MapClassic", path)
	}
	s.endpoints[path] = e
	return nil
}

// checkPath checks that a path is in the form in which requests are compared.
func checkPath(path string) error {
	if path != "/" && (!strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") || pathpkg.Clean(path) != path) {
		return fmt.Errorf("hubsys: %q is not the path of an endpoint: it begins with a slash, and has no empty parts, no dot segments, and no slash at its end", path)
	}
	if strings.ContainsAny(path, "?#{}% \t") {
		return fmt.Errorf("hubsys: %q is not the path of an endpoint: it is not encoded, and has no query, fragment, wildcard or space", path)
	}
	return nil
}

var errClosing = errors.New("hubsys: the system is shutting down")

// releaseName makes the name of a hub available again.
func (s *System) releaseName(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.hubs, name)
}

// claimName reserves the name of a hub.
func (s *System) claimName(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return errClosing
	}
	if _, taken := s.hubs[name]; taken {
		return fmt.Errorf("hubsys: there is a hub named %q already; HubOptions.Name gives this one another name", name)
	}
	for other := range s.hubs {
		if strings.EqualFold(other, name) {
			return fmt.Errorf("hubsys: there is a hub named %q already, which clients of SignalR 2 cannot tell from %q; "+
				"HubOptions.Name gives this one another name", other, name)
		}
	}
	s.hubs[name] = nil
	return nil
}

func (s *System) isClosing() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.closing
}
