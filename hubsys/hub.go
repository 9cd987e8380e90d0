package hubsys

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"runtime/debug"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/proto/hubproto"
	"github.com/troupe-go/troupe/transport"
)

// Hub makes the struct that embeds it a hub. Besides methods for clients, a hub can have these:
//
//	OnConnected(ctx context.Context) error                     // before the first call; an error refuses the connection
//	OnDisconnected(ctx context.Context, cause error) error     // once, if OnConnected succeeded; cause is nil after a normal end
//	Close() error                                              // when the call for which the hub value was made is over
type Hub struct{ call *Call }

// Instance is a hub value: a pointer to a struct that embeds [Hub].
type Instance interface {
	attach(call *Call) error
}

func (h *Hub) attach(call *Call) error {
	if h.call != nil {
		return errors.New("hubsys: the constructor has returned a hub value that serves another call")
	}
	h.call = call
	return nil
}

// Call is the call that this hub value was made for.
func (h *Hub) Call() *Call {
	if h.call == nil {
		panic("hubsys: this hub value serves no call: hub values are made by the constructor that Register was given, for one call each")
	}
	return h.call
}

// Clients chooses who a message goes to.
func (h *Hub) Clients() CallerClients {
	c := h.Call().runtime().Connection()
	return CallerClients{Clients: Clients{hub: c.Hub()}, caller: c}
}

// Groups changes who is in which group.
func (h *Hub) Groups() Groups { return Groups{hub: h.Call().runtime().Connection().Hub()} }

// HubContext is a registered hub, seen from outside of its calls. Its methods can be used concurrently.
type HubContext struct {
	sys     *System
	hub     *hub
	options HubOptions
}

// Register makes a hub known. For every call, create makes a hub value; it sees the call, and may fail, which fails the call as if
// the method had returned the error. (A connection whose OnConnected cannot be run for that reason is closed.)
//
// Clients can call the exported methods of H. They may take a context.Context first, and then any parameters that the protocols can
// decode; they return nothing, an error, a value, or a value and an error. The names are compared without regard to case. Register
// reports all methods that cannot be called, duplicates, lifetime methods with a wrong signature, and methods that come from embedded
// types other than hubs: those are published by name, in a method of the hub, or hidden with HubOptions.Methods.
func Register[H Instance](sys *System, create func(*Call) (H, error), options HubOptions) (*HubContext, error) {
	t := reflect.TypeFor[H]()
	if err := options.Validate(); err != nil {
		return nil, err
	}
	if t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("hubsys: %s is no hub: a hub is a pointer to a struct that embeds hubsys.Hub", t)
	}
	if create == nil {
		return nil, fmt.Errorf("hubsys: %s has no constructor", t)
	}
	methods, err := findMethods(t, options.Methods)
	if err != nil {
		return nil, err
	}
	name := or(options.Name, t.Elem().Name())
	if name == "" {
		return nil, fmt.Errorf("hubsys: %s has no name, and HubOptions.Name gives it none", t)
	}
	if err := sys.claim(name); err != nil {
		return nil, err
	}
	h := &hub{
		methods: methods, detailed: options.EnableDetailedErrors, log: sys.log.With("hub", name),
		create: func(c *Call) (Instance, error) {
			value, err := create(c)
			if err != nil {
				return nil, err
			}
			if reflect.ValueOf(value).IsNil() {
				return nil, errors.New("hubsys: the constructor has returned nil")
			}
			return value, nil
		},
	}
	protocols := options.Protocols
	if len(protocols) == 0 {
		protocols = []hubproto.Protocol{hubproto.JSON, hubproto.MessagePack}
	}
	if h.runtime, err = sys.runtime.NewHub(name, h, protocols); err != nil {
		return nil, err
	}
	return &HubContext{sys: sys, hub: h, options: options}, nil
}

// Map serves the hub at a path, beside others that it may have been mapped to: they share all groups and users.
func (c *HubContext) Map(path string, options EndpointOptions) error {
	if err := options.Validate(); err != nil {
		return err
	}
	origins, err := transport.NewOrigins(options.AllowedOrigins, options.AllowCredentials)
	if err != nil {
		return err
	}
	e := &endpoint{sys: c.sys, hub: c.hub, settings: settings(c.options, options), authenticate: options.Authenticate}
	e.http = &transport.Endpoint{
		Acceptor: e, Transports: or(options.Transports, transport.AllTransports), Origins: origins, Tokens: c.sys.tokens, Log: c.sys.log,
		PollTimeout: or(options.PollTimeout, defaultPollTimeout), RequestLimit: or(options.RequestHeaderLimit, defaultRequestLimit), Hosts: options.AllowedHosts,
	}
	return c.sys.mapEndpoint(path, e)
}

// Clients chooses who a message goes to.
func (c *HubContext) Clients() Clients { return Clients{hub: c.hub.runtime} }

// Groups changes who is in which group.
func (c *HubContext) Groups() Groups { return Groups{hub: c.hub.runtime} }

// PID is the hub's address for other actors, on this node or on another: it takes a troupe.v1.Send, and answers with a
// troupe.v1.SendResult if the message has a sender.
func (c *HubContext) PID() *actor.PID { return c.hub.runtime.Inbox() }

// endpoint joins the HTTP side of an endpoint with its hub.
type endpoint struct {
	sys          *System
	hub          *hub
	settings     *actors.Settings
	authenticate func(*http.Request) (*Principal, error)
	http         *transport.Endpoint
}

var _ transport.Acceptor = (*endpoint)(nil)

// Authenticate is part of transport.Acceptor.
func (e *endpoint) Authenticate(r *http.Request) (transport.Identity, error) {
	principal := &Principal{}
	if e.authenticate != nil {
		var panicked *PanicError
		switch p, err := e.callAuthenticate(r); {
		case errors.As(err, &panicked):
			e.hub.log.Error("Authenticate panicked", "path", r.URL.Path, "error", err, "stack", string(panicked.Stack))
			return transport.Identity{}, &transport.Refusal{Status: http.StatusInternalServerError, Err: err}
		case errors.Is(err, ErrForbidden):
			return transport.Identity{}, &transport.Refusal{Status: http.StatusForbidden, Err: err}
		case err != nil:
			return transport.Identity{}, &transport.Refusal{Status: http.StatusUnauthorized, Err: err}
		case p != nil:
			principal = p
		}
	}
	return transport.Identity{UserID: principal.UserID, Value: principal}, nil
}

func (e *endpoint) callAuthenticate(r *http.Request) (p *Principal, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = &PanicError{Value: reason, Stack: debug.Stack()}
		}
	}()
	return e.authenticate(r)
}

// Accept is part of transport.Acceptor.
func (e *endpoint) Accept(id string, who transport.Identity, request *Request, link transport.Link) (transport.Session, error) {
	value := &companion{principal: who.Value.(*Principal), request: request}
	return e.hub.runtime.Connect(id, who.UserID, link, e.settings, value)
}

// Closing is part of transport.Acceptor.
func (e *endpoint) Closing() bool { return e.sys.isClosing() }
