package hubsys

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/transport"
)

// Config is what a [System] is made from. Its zero value is ready for use.
type Config struct {
	// ActorSystem is an actor system of the application's to live in, under an actor whose name begins with "hubsys-". Nothing else in
	// it is touched, and it is not shut down. Nil: the System has one of its own.
	ActorSystem *actor.ActorSystem
	// Logger gets what happens inside. Secrets are never logged. Nil: slog.Default().
	Logger *slog.Logger
}

// System serves hubs. It is an [http.Handler] for all paths that hubs are mapped to, and can be mounted under any mux, prefix or
// middleware. Its methods can be used concurrently.
type System struct {
	runtime *actors.System
	log     *slog.Logger
	tokens  *transport.Tokens

	mu        sync.RWMutex
	closing   bool
	hubs      map[string]bool
	endpoints map[string]*endpoint
}

// New starts a system. It runs until [System.Shutdown].
func New(config Config) (*System, error) {
	log := config.Logger
	if log == nil {
		log = slog.Default()
	}
	runtime, err := actors.NewSystem(config.ActorSystem, log)
	if err != nil {
		return nil, err
	}
	var node [4]byte
	rand.Read(node[:])
	return &System{runtime: runtime, log: log, tokens: transport.NewTokens(node), hubs: map[string]bool{}, endpoints: map[string]*endpoint{}}, nil
}

// ActorSystem is the actor system that everything runs in.
func (s *System) ActorSystem() *actor.ActorSystem { return s.runtime.ActorSystem() }

// Shutdown refuses new connections with status 503, closes the others in a way that lets their clients reconnect, runs OnDisconnected
// for each, writes out what is pending and stops everything that New has started. If ctx ends first, sockets are cut, calls that still
// run are abandoned, and the error tells how many. A client that does not answer a close is waited for as long as
// EndpointOptions.CloseTimeout says, and up to a second more. Later callers wait for the first, as long as their own ctx allows. A hub
// method may call Shutdown with its own context; it is not waited for.
//
// Call it before http.Server.Shutdown, which knows nothing of WebSockets.
func (s *System) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	return s.runtime.Shutdown(ctx)
}

// ServeHTTP serves the endpoints that hubs are mapped to. Paths are matched without regard to case or a trailing slash.
func (s *System) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := normalPath(r.URL.Path)
	s.mu.RLock()
	e := s.endpoints[path]
	hub, negotiate := strings.CutSuffix(path, "/negotiate")
	if e == nil && negotiate {
		e = s.endpoints[hub]
	} else {
		negotiate = false
	}
	s.mu.RUnlock()
	switch {
	case e == nil:
		w.WriteHeader(http.StatusNotFound)
	case negotiate:
		e.http.Negotiate(w, r)
	default:
		e.http.Connect(w, r)
	}
}

// normalPath is a path in lower case without dot segments and without a slash at its end.
func normalPath(path string) string {
	if strings.Contains(path, "/.") {
		var kept []string
		for segment := range strings.SplitSeq(path, "/") {
			switch segment {
			case ".":
			case "..":
				kept = kept[:max(min(1, len(kept)), len(kept)-1)]
			default:
				kept = append(kept, segment)
			}
		}
		path = strings.Join(kept, "/")
	}
	return strings.ToLower(strings.TrimSuffix(path, "/"))
}

// mapEndpoint adds an endpoint.
func (s *System) mapEndpoint(path string, e *endpoint) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	normal := normalPath(path)
	if path != "/" && (!strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") || strings.Contains(path, "//")) {
		return fmt.Errorf("hubsys: %q is not the path of an endpoint: it begins with a slash, and has neither empty parts nor a slash at its end", path)
	}
	if strings.ContainsAny(path, "?#") {
		return fmt.Errorf("hubsys: %q is not the path of an endpoint: queries and fragments are no part of paths", path)
	}
	if s.endpoints[normal] != nil {
		return fmt.Errorf("hubsys: there is an endpoint at %q already (paths are compared without regard to case)", path)
	}
	s.endpoints[normal] = e
	return nil
}

var errClosing = errors.New("hubsys: the system is shutting down")

// claim reserves the name of a hub.
func (s *System) claim(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return errClosing
	}
	if s.hubs[name] {
		return fmt.Errorf("hubsys: there is a hub named %q already; HubOptions.Name gives this one another name", name)
	}
	s.hubs[name] = true
	return nil
}

func (s *System) isClosing() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.closing
}
