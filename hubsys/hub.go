package hubsys

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/actors/outbox"
	"github.com/troupe-go/troupe/internal/logs"
	classicproto "github.com/troupe-go/troupe/proto/classic"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// Hub makes the struct that embeds it a hub. Besides methods for clients, a hub can have these:
//
//	OnConnected(ctx context.Context) error                     // before the first call; an error refuses the connection
//	OnReconnected(ctx context.Context) error                   // a client of SignalR 2 has lost its connection, and has come back
//	OnDisconnected(ctx context.Context, cause error) error     // once, if OnConnected succeeded; cause is nil after a normal end
//	OnAuthenticationRefreshed(ctx context.Context) error       // the client has refreshed its credentials; in order with its calls
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

// Call returns the call that this hub value was made for. Like Clients and Groups, it panics for a hub value that was made otherwise.
func (h *Hub) Call() *Call {
	if h.call == nil {
		panic("hubsys: this hub value serves no call: hub values are made by the constructor that was passed to Register, for one call each")
	}
	return h.call
}

// Clients chooses who a message goes to.
func (h *Hub) Clients() CallerClients { return h.Call().Clients() }

// Groups changes who is in which group.
func (h *Hub) Groups() CallerGroups { return h.Call().Groups() }

// HubContext is a registered hub, seen from outside of its calls. Its methods can be used concurrently.
type HubContext struct {
	sys     *System
	hub     *hub
	options HubOptions
}

// Register makes a hub known. For each call, create makes a hub value. It runs with the context of the call (see [CallFrom]) and may fail,
// which fails the call as if the method had returned the error; a connection whose OnConnected cannot be run for that reason is closed. If
// create is nil, hub values are zero values.
//
// Clients can call the exported methods of H. They may take a context.Context first, and then any parameters that the protocols can
// decode. They return nothing, an error, a value, or a value and an error. A value that is an iter.Seq2[T, error] or a <-chan T is streamed
// to the client, and a parameter of such a type is a stream from the client. Names are compared without regard to case.
//
// Register reports every method that cannot be called, two that clients would call the same, lifetime methods with a wrong signature,
// methods such as String that are rarely meant for clients, and methods of embedded types that are no hubs: [HubOptions.Methods] publishes
// or hides these.
func Register[H Instance](sys *System, create func(ctx context.Context) (H, error), options HubOptions) (*HubContext, error) {
	t := reflect.TypeFor[H]()
	if sys == nil {
		return nil, errNoSystem
	}
	options, err := withDefaults(sys.hubDefaults, options)
	if err != nil {
		return nil, err
	}
	if t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("hubsys: %s is no hub: a hub is a pointer to a struct that embeds hubsys.Hub", t)
	}
	if embedsPointer(t.Elem()) {
		return nil, fmt.Errorf("hubsys: %s embeds *hubsys.Hub: it embeds hubsys.Hub, without the star", t)
	}
	if second := secondHubOf(t.Elem()); second != nil {
		return nil, fmt.Errorf("hubsys: %s embeds hubsys.Hub twice, the second time in %s, whose methods would have a Hub that serves no call", t, second)
	}
	if create == nil && hasNilHub(t.Elem()) {
		return nil, fmt.Errorf("hubsys: %s has its hubsys.Hub behind an embedded pointer, which is nil in a zero value: it needs a constructor", t)
	}
	methods, err := findMethods[H](&options)
	if err != nil {
		return nil, err
	}
	hasOwnName := options.Name != ""
	options.Name = cmp.Or(options.Name, t.Elem().Name())
	if options.Name == "" {
		return nil, fmt.Errorf("hubsys: %s has no name, and HubOptions.Name is empty", t)
	}
	h := newHub(sys, options)
	h.methods, h.filtered, h.hasOwnName = methods, len(options.Filters) > 0, hasOwnName
	h.create = func(ctx context.Context) (Instance, error) {
		if create == nil {
			return reflect.New(t.Elem()).Interface().(Instance), nil
		}
		value, err := create(ctx)
		if err != nil {
			return nil, err
		}
		if reflect.ValueOf(value).IsNil() {
			return nil, errors.New("hubsys: the constructor has returned nil")
		}
		return value, nil
	}
	return h.register(sys, h.methodHandler(), options)
}

// RegisterHandler makes a hub known that is made of functions. handler.Invoke must be there, and options.Name. Elements of options.Methods are for
// methods by their Name, as clients call them, and say in which spelling errors and metrics have it; options.Services have no meaning.
func RegisterHandler(sys *System, handler Handler, options HubOptions) (*HubContext, error) {
	if sys == nil {
		return nil, errNoSystem
	}
	options, err := withDefaults(sys.hubDefaults, options)
	if err != nil {
		return nil, err
	}
	h := newHub(sys, options)
	h.policies, h.hidden, h.named = map[string]Policy{}, map[string]bool{}, map[string]string{}
	var f faults
	f.check(handler.Invoke != nil, "Handler.Invoke is nil")
	f.check(options.Name != "", "HubOptions.Name is empty")
	for i, m := range options.Methods {
		key := foldName(m.Name)
		_, again := h.policies[key]
		f.check(m.Name != "" && m.Func == nil, "HubOptions.Methods[%d]: a method of RegisterHandler has a Name and no Func", i)
		f.check(!again, "HubOptions.Methods[%d]: there is an element for method %s already", i, m.Name)
		f.check(!m.Hidden || m.Policy == nil, "HubOptions.Methods[%d]: method %s has a policy for clients, and is hidden from them", i, m.Name)
		h.policies[key], h.hidden[key], h.named[key] = m.Policy, m.Hidden, m.Name
	}
	if err := f.join("RegisterHandler"); err != nil {
		return nil, err
	}
	return h.register(sys, handler.complete(), options)
}

var errNoSystem = errors.New("hubsys: the System is nil: New was not called, or has failed")

// embedsPointer reports whether a hub embeds a pointer to Hub, which would be nil.
func embedsPointer(t reflect.Type) bool {
	f, ok := t.FieldByName("Hub")
	return ok && f.Anonymous && f.Type == reflect.PointerTo(hubType)
}

// secondHubOf returns an embedded type whose Hub is another one than the least deep of t, which alone is told which call it serves.
func secondHubOf(t reflect.Type) reflect.Type {
	type place struct {
		in    reflect.Type
		depth int
	}
	var hubs []place
	seen := map[reflect.Type]bool{} // types can embed pointers to themselves
	var find func(t reflect.Type, depth int)
	find = func(t reflect.Type, depth int) {
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct || seen[t] {
			return
		}
		seen[t] = true
		for i := range t.NumField() {
			switch f := t.Field(i); {
			case f.Anonymous && f.Type == hubType:
				hubs = append(hubs, place{t, depth})
			case f.Anonymous:
				find(f.Type, depth+1)
			}
		}
	}
	find(t, 0)
	if len(hubs) < 2 {
		return nil
	}
	return slices.MaxFunc(hubs, func(a, b place) int { return cmp.Compare(a.depth, b.depth) }).in
}

// hasNilHub reports whether the Hub of a zero value lies behind a pointer, which is nil.
func hasNilHub(t reflect.Type) bool {
	f, ok := t.FieldByName("Hub")
	if !ok || f.Type != hubType {
		return false
	}
	_, err := reflect.Zero(t).FieldByIndexErr(f.Index)
	return err != nil
}

func newHub(sys *System, options HubOptions) *hub {
	return &hub{
		detailed: options.EnableDetailedErrors, explain: options.ExplainArguments, limits: sys.limits, callRate: options.MaximumCallsPerSecond,
		userCallRate: options.MaximumCallsPerSecondOfUser, log: sys.log.With("hub", options.Name), failures: logs.Limiter{Most: mostFailures},
	}
}

// register puts the filters around the hub, and makes it known.
func (h *hub) register(sys *System, handler Handler, options HubOptions) (*HubContext, error) {
	for _, filter := range slices.Backward(options.Filters) {
		if handler = filter(handler).complete(); handler.Invoke == nil {
			return nil, errors.New("hubsys: HubOptions.Filters has a filter that returns a Handler without Invoke")
		}
	}
	h.handler = handler
	if len(options.SendFilters) > 0 {
		h.sender = h.sendOut
		for _, filter := range slices.Backward(options.SendFilters) {
			if h.sender = filter(h.sender); h.sender == nil {
				return nil, errors.New("hubsys: HubOptions.SendFilters has a filter that returns nil")
			}
		}
	}
	if err := sys.claimName(options.Name); err != nil {
		return nil, err
	}
	protocols := options.Protocols
	if len(protocols) == 0 {
		protocols = []hubproto.Protocol{hubproto.JSON, hubproto.MessagePack}
	}
	var err error
	if h.runtime, err = sys.runtime.NewHub(options.Name, h, protocols, actors.HubSettings{
		Policy: outbox.Policy(options.SlowClients), MaxNames: cmp.Or(options.MaximumNamesPerAudience, defaultMaxNames), ReconnectOnGap: options.ReconnectOnGap,
		Members: classicproto.NewProtocol(options.Name),
	}); err != nil {
		sys.releaseName(options.Name)
		return nil, err
	}
	if h.methods != nil {
		for name, m := range h.methods.exact {
			m.times = h.runtime.CallTimes(name)
			for _, one := range m.overloads {
				one.times = m.times
			}
		}
	}
	c := &HubContext{sys: sys, hub: h, options: options}
	sys.mu.Lock()
	sys.hubs[options.Name] = c
	sys.mu.Unlock()
	return c, nil
}

// Name returns the name of the hub.
func (c *HubContext) Name() string { return c.options.Name }

// Map serves the hub at a path, such as "/chat", in addition to the paths that it is mapped to already: they share all groups and users. It fails
// if the path is in use, or if it is not in the form in which requests are compared: it begins with a slash, ends without one, is clean, and
// contains no encoding, query, wildcard or space.
func (c *HubContext) Map(path string, options EndpointOptions) error {
	options, err := withDefaults(c.sys.endpointDefaults, options)
	if err != nil {
		return err
	}
	e, err := newEndpoint(c, options)
	if err != nil {
		return err
	}
	return c.sys.mapEndpoint(path, e)
}

// Clients chooses who a message goes to.
func (c *HubContext) Clients() Clients { return Clients{clients{hub: c.hub}} }

// Groups changes who is in which group.
func (c *HubContext) Groups() Groups { return Groups{groups{hub: c.hub}} }

// PID returns the address of the hub for other actors, on this node or on another, see [Audience.PID].
func (c *HubContext) PID() *actor.PID { return c.hub.runtime.Inbox() }

// Runtime returns the runtime of the hub, for packages that extend this one, such as hubactor.
func (c *HubContext) Runtime() *actors.Hub { return c.hub.runtime }
