package hubactor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/internal/logs"
)

// Scope says how many actors a hub has.
type Scope uint8

const (
	// PerCall is one actor for each call. It is stopped when the call has been answered, and gets nothing but the call and its items.
	PerCall Scope = iota
	// PerConnection is one actor for each connection. It gets *Connected first, and is stopped behind *Disconnected.
	PerConnection
	// Shared is one actor for everything, which gets *Connected and *Disconnected as well.
	Shared
)

const (
	defaultPending = 1024
	defaultTimeout = 30 * time.Second
)

// Hub is a hub of actors. Props and Methods are required.
type Hub struct {
	// Props returns the props of the actors. It is called once, by Register, with the hub that they belong to.
	Props func(hub *hubsys.HubContext) *actor.Props
	// Methods are what clients can call. Calls of anything else fail, and no actor sees them.
	Methods []Method
	// Scope says how many actors there are. Default: PerCall.
	Scope Scope
	// Pending is how many calls may wait for one actor, in its mailbox or for its answer. A further one fails at once. Default: 1024.
	Pending int
	// Timeout is how long a call waits for its answer. It then fails, and the actor gets *Canceled. Default: 30 s. hubsys.Unlimited: as long as
	// somebody waits for the answer.
	Timeout time.Duration
	// Supervisor decides what becomes of an actor that panics. The call at which it has panicked fails in any case; others that wait for an actor that
	// is restarted go on waiting. Default: the actors of calls
	// are stopped, those of connections as well, together with the connection, whose client may connect again, and a shared one is restarted.
	Supervisor actor.SupervisorStrategy
}

// Validate reports everything that is wrong with the hub.
func (h Hub) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	check(h.Props != nil, "Props is nil")
	check(len(h.Methods) > 0, "Methods is empty")
	check(h.Scope <= Shared, "Scope is unknown: %d", h.Scope)
	check(h.Pending >= 0, "Pending is %d: it is at least 1, or 0 for the default", h.Pending)
	check(h.Timeout >= hubsys.Unlimited, "Timeout is %s: it is a time, 0 for the default, or hubsys.Unlimited", h.Timeout)
	check(h.Timeout <= 0 || h.Timeout >= time.Microsecond, "Timeout is %s: a number alone means nanoseconds; write 15*time.Second", h.Timeout)
	names := map[string]bool{}
	for i, m := range h.Methods {
		check(m.name != "", "Methods[%d] has no name: hubactor.Receive makes methods", i)
		check(m.fault == nil, "Methods[%d], %q: %w", i, m.name, m.fault)
		check(!names[strings.ToLower(m.name)], "Methods[%d]: there is a method %q already", i, m.name)
		names[strings.ToLower(m.name)] = true
	}
	if len(faults) > 0 {
		return fmt.Errorf("hubactor: Hub: %w", errors.Join(faults...))
	}
	return nil
}

// Register makes a hub of actors known. options.Name is required. Elements of options.Methods are for methods by their Name.
func Register(sys *hubsys.System, hub Hub, options hubsys.HubOptions) (*hubsys.HubContext, error) {
	if err := hub.Validate(); err != nil {
		return nil, err
	}
	hub.Pending, hub.Timeout = cmp.Or(hub.Pending, defaultPending), cmp.Or(hub.Timeout, defaultTimeout)
	d := &dispatcher{hub: hub, methods: map[string]Method{}}
	for _, m := range hub.Methods {
		d.methods[strings.ToLower(m.name)] = m
	}
	handler := hubsys.Handler{Invoke: d.invoke}
	if hub.Scope != PerCall {
		handler.Connected, handler.Reconnected, handler.Disconnected = d.connected, d.connected, d.disconnected
	}
	options.Methods = slices.Clone(options.Methods)
	for i, m := range options.Methods {
		if _, ok := d.methods[strings.ToLower(m.Name)]; !ok {
			return nil, fmt.Errorf("hubactor: HubOptions.Methods[%d]: the hub has no method %q", i, m.Name)
		}
	}
	for _, m := range hub.Methods {
		if !slices.ContainsFunc(options.Methods, func(o hubsys.Method) bool { return strings.EqualFold(o.Name, m.name) }) {
			options.Methods = append(options.Methods, hubsys.Method{Name: m.name})
		}
	}
	c, err := hubsys.RegisterHandler(sys, handler, options)
	if err != nil {
		return nil, err
	}
	if err := d.start(c); err != nil {
		return nil, err
	}
	return c, nil
}

// loggedPanics is how many panics of actors are logged in a minute, of each type of message.
const loggedPanics = 10

// dispatcher passes calls to the actors of a hub, and waits for their answers.
type dispatcher struct {
	hub     Hub
	methods map[string]Method // by name in lower case
	props   *actor.Props
	log     *slog.Logger
	panics  logs.Limiter // of the actors, that are logged
	family  *family
	shared  *instance
	context *hubsys.HubContext
}

// start spawns what lives as long as the hub.
func (d *dispatcher) start(c *hubsys.HubContext) error {
	props := d.hub.Props(c)
	if props == nil {
		return errors.New("hubactor: Hub.Props has returned nil")
	}
	d.context, d.log, d.panics.Most = c, c.Runtime().Log(), loggedPanics
	d.props = props.Clone(actor.WithReceiverMiddleware(d.receive))
	var err error
	if d.family, err = newFamily(c.Runtime(), "actors", d.supervisor(c)); err != nil || d.hub.Scope != Shared {
		return err
	}
	d.shared, err = d.spawn(context.Background(), "shared")
	return err
}

// supervisor returns the strategy for the actors of the hub.
func (d *dispatcher) supervisor(c *hubsys.HubContext) actor.SupervisorStrategy {
	switch {
	case d.hub.Supervisor != nil:
		return answering{d.hub.Supervisor}
	case d.hub.Scope == Shared:
		return answering{restart{}}
	case d.hub.Scope == PerConnection:
		return answering{stopWithConnection{c}}
	}
	return answering{stop{}}
}

// instance is an actor of the hub.
type instance struct {
	Ref
	pending chan struct{} // holds an element for each call that waits for an answer
}

func (d *dispatcher) spawn(ctx context.Context, name string) (*instance, error) {
	pid, err := d.family.spawn(ctx, d.props, name)
	if err != nil {
		return nil, err
	}
	return &instance{RefTo(d.family.system, pid), make(chan struct{}, d.hub.Pending)}, nil
}

// spawnFor is spawn for a call or a connection, which waits for the producer no longer than for an answer.
func (d *dispatcher) spawnFor(ctx context.Context, name string) (*instance, error) {
	if d.hub.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, d.hub.Timeout, hubsys.Errorf("The call was not answered within %s.", d.hub.Timeout))
		defer cancel()
	}
	return d.spawn(ctx, name)
}

// introduction is what a hub of actors knows of a connection.
type introduction struct {
	once sync.Once
	to   *instance // nil: none has been told of it
	err  error
}

const ofConnection = hubsys.Item[*introduction]("github.com/troupe-go/troupe/hubsys/hubactor.introduction")

// introduce returns the actor of a connection, or the shared one. Once for each connection it spawns the former, and tells the actor of the
// connection: at its first event, or at its first call, because a client of SignalR 2 can call a hub that has not had OnConnected.
func (d *dispatcher) introduce(call *hubsys.Call) (*instance, error) {
	one := ofConnection.LoadOrMake(call, func() *introduction { return &introduction{} })
	one.once.Do(func() {
		to := d.shared
		if d.hub.Scope == PerConnection {
			if to, one.err = d.spawnFor(context.Background(), "connections/"+call.ConnectionID()); one.err != nil {
				return
			}
			d.stopWith(to, d.context.Clients().Client(call.ConnectionID()).PID())
		}
		one.to = to
		to.Tell(&Connected{call})
	})
	if one.to == nil && one.err == nil { // the connection has ended
		return nil, ErrNoActor
	}
	return one.to, one.err
}

// connected is called at the first event of a connection, and when a client of SignalR 2 comes back.
func (d *dispatcher) connected(ctx context.Context) error {
	call, _ := hubsys.CallFrom(ctx)
	_, err := d.introduce(call)
	return err
}

func (d *dispatcher) disconnected(ctx context.Context, cause error) error {
	call, _ := hubsys.CallFrom(ctx)
	one, ok := ofConnection.Load(call)
	if !ok {
		return nil // a filter has not passed Connected on
	}
	one.once.Do(func() {}) // a call may be introducing it
	to := one.to
	if to == nil {
		return nil
	}
	stopped := newReply()
	defer stopped.watch(to.Ref)()
	m, handled := &Disconnected{call, cause, new(progress)}, make(chan struct{})
	m.then(func() { close(handled) })
	to.Tell(m)
	if d.hub.Scope == PerConnection {
		to.system.Root.Poison(to.pid)
	}
	select {
	case <-handled:
	case <-stopped.answer:
	case <-ctx.Done():
	}
	return nil
}

// instanceFor returns the actor that gets a call, and how its use ends.
func (d *dispatcher) instanceFor(ctx context.Context, call *hubsys.Call) (to *instance, done func(), err error) {
	switch d.hub.Scope {
	case PerConnection:
		to, err = d.introduce(call)
		return to, func() {}, err
	case Shared:
		return d.shared, func() {}, nil
	}
	if to, err = d.spawnFor(ctx, "calls/"+number()); err != nil {
		return nil, nil, err
	}
	return to, func() { to.system.Root.Stop(to.pid) }, nil
}

// invoke passes a call to its actor, and waits for the answer.
func (d *dispatcher) invoke(ctx context.Context, in *hubsys.Invocation) (any, error) {
	m, ok := d.methods[strings.ToLower(in.Method())]
	if !ok {
		return nil, hubsys.ErrNoMethod
	}
	waiting := newReply()
	in.Call().Cleanup(func() { waiting.over.Store(true) })
	message, items, err := m.bind(ctx, in, waiting)
	if err != nil {
		return nil, err
	}
	to, done, err := d.instanceFor(ctx, in.Call())
	if err != nil {
		return nil, err
	}
	defer done()
	select {
	case to.pending <- struct{}{}:
	default:
		return nil, hubsys.Errorf("Too many calls are waiting.")
	}
	stop := waiting.watch(to.Ref)
	defer stop()
	to.request(message, waiting.pid)
	for _, one := range items {
		go one.pump(ctx, in.Call(), to.Ref, waiting)
	}
	answer, err := d.await(ctx, in, to, waiting, message)
	message.then(func() { <-to.pending })
	return answer, err
}

// await waits for the answer to a call.
func (d *dispatcher) await(ctx context.Context, in *hubsys.Invocation, to *instance, waiting *reply, message callMessage) (any, error) {
	var timeout <-chan time.Time
	if d.hub.Timeout > 0 {
		timer := time.NewTimer(d.hub.Timeout)
		defer timer.Stop()
		timeout = timer.C
	}
	cancel := func(cause error) {
		if !message.abandon() && d.hub.Scope != PerCall {
			to.Tell(&Canceled{in.Call(), cause})
		}
	}
	select {
	case answer := <-waiting.answer:
		if err, ok := answer.(error); ok {
			return nil, err
		}
		return answer, nil
	case <-ctx.Done():
		cancel(context.Cause(ctx))
		return nil, context.Cause(ctx)
	case <-timeout:
		err := hubsys.Errorf("The call was not answered within %s.", d.hub.Timeout)
		cancel(err)
		return nil, err
	}
}
