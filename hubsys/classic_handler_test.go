package hubsys_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// noted notes what happens, in order.
type noted struct {
	mu   sync.Mutex
	list []string
}

func (n *noted) add(what string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, what)
}

func (n *noted) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.list, " ")
}

// dialClassicHub serves a hub named Chat for clients of SignalR 2 alone, and returns a client of it that has started.
func dialClassicHub(t *testing.T, sys *hubsys.System, transport string) *classicClient {
	t.Helper()
	require.NoError(t, sys.MapClassic("/signalr", hubsys.ClassicOptions{EnableDetailedErrors: true}))
	c := newClassicClient(t, serveSystem(t, sys)+"/signalr", transport)
	c.negotiate()
	c.connect()
	c.start()
	return c
}

// A hub of functions serves clients of SignalR 2 as one with methods does.
func TestAHandlerForClassicClients(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		var events noted
		sys := newSystem(t, hubsys.Config{})
		event := func(name string) func(context.Context) error {
			return func(context.Context) error { events.add(name); return nil }
		}
		_, err := hubsys.RegisterHandler(sys, hubsys.Handler{
			Invoke: func(ctx context.Context, in *hubsys.Invocation) (any, error) {
				switch in.Method() {
				case "Add":
					var a, b int
					if err := in.Bind(&a, &b); err != nil {
						return nil, err
					}
					in.Call().State().Set("sum", a+b)
					return a + b, in.Call().Clients().Caller().Send(ctx, "called", a)
				case "Fail":
					return nil, &hubsys.HubError{Message: "no", Data: 1}
				case "Guarded", "Hidden":
					return "reached", nil
				}
				return nil, hubsys.ErrNoMethod
			},
			Connected: event("connected"), Reconnected: event("reconnected"), Disconnected: func(context.Context, error) error { events.add("disconnected"); return nil },
		}, hubsys.HubOptions{Name: "Chat", Methods: []hubsys.Method{{Name: "Add"}, {Name: "Guarded", Policy: hubsys.RequireUser}, {Name: "Hidden", Hidden: true}}})
		require.NoError(t, err)
		c := dialClassicHub(t, sys, transport)
		require.Equal(t, `{"S":{"sum":3},"R":3,"I":"1"}`, c.invoke("ADD", "1", 2).raw)
		require.JSONEq(t, `{"H":"Chat","M":"called","A":[1],"S":{"sum":3}}`, c.next())
		require.NotNil(t, c.invoke("Add", "x").E)
		require.Equal(t, `{"I":"3","H":true,"E":"no","D":1}`, c.invoke("Fail").raw)
		require.Equal(t, `{"I":"4","E":"'None' method could not be resolved. No method found with that name."}`, c.invoke("None").raw)
		require.Equal(t, `{"I":"5","E":"'Hidden' method could not be resolved. No method found with that name."}`, c.invoke("hidden").raw)
		require.Equal(t, `{"I":"6","E":"Caller is not authorized to invoke the Guarded method on Chat."}`, c.invoke("Guarded").raw)
		c.reconnect()
		eventually(t, func() bool { return events.String() == "connected reconnected" }, "the events of a reconnect")
		c.abort()
		eventually(t, func() bool { return events.String() == "connected reconnected disconnected" }, "the events of the end")
	})
}

// Filters are around calls and events, also around a reconnect, and those of sends see messages to clients of SignalR 2.
func TestFiltersAndClassicClients(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		var events noted
		srv := newClassicServer(t, classicConfig{hub: hubsys.HubOptions{
			Filters: []hubsys.Filter{func(next hubsys.Handler) hubsys.Handler {
				wrap := func(name string, f func(context.Context) error) func(context.Context) error {
					return func(ctx context.Context) error { events.add(name); return f(ctx) }
				}
				inner := next
				next.Connected, next.Reconnected = wrap("connected", inner.Connected), wrap("reconnected", inner.Reconnected)
				next.Invoke = func(ctx context.Context, in *hubsys.Invocation) (any, error) {
					if in.Method() == "Nothing" {
						return nil, errors.New("swallowed by a filter")
					}
					if args := in.Args(); in.Method() == "Add" {
						args[0] = args[0].(int) * 10
					}
					return inner.Invoke(ctx, in)
				}
				return next
			}},
			SendFilters: []func(hubsys.SendFunc) hubsys.SendFunc{func(next hubsys.SendFunc) hubsys.SendFunc {
				return func(ctx context.Context, out *hubsys.Outgoing) error {
					out.Args = append([]any{"filtered"}, out.Args...)
					return next(ctx, out)
				}
			}},
		}})
		c := dialClassic(t, srv, transport)
		require.Equal(t, `{"R":12,"I":"1"}`, c.invoke("Add", 1, 2).raw)
		require.NotNil(t, c.invoke("Nothing").E)
		c.invoke("CallMe", 1)
		c.requireCall("called", "filtered", 1)
		c.reconnect()
		srv.awaitEvents(c.id, "Chat connected", "Chat reconnected")
		require.Equal(t, "connected reconnected", events.String())
	})
}

type classicStreams struct{ hubsys.Hub }

func (*classicStreams) Count() <-chan int           { return make(chan int) }
func (*classicStreams) Sum(<-chan int) (int, error) { return 0, nil }

// Streams are of the other dialect: a call of such a method fails, and is answered.
func TestClassicClientsHaveNoStreams(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	register[*classicStreams](t, sys, nil, hubsys.HubOptions{Name: "Chat"})
	c := dialClassicHub(t, sys, "webSockets")
	for _, method := range []string{"Count", "Sum"} {
		a := c.invoke(method)
		require.NotNil(t, a.E, a.raw)
		require.Contains(t, *a.E, "stream")
		require.Empty(t, a.R)
	}
}

// Whatever encodings a hub has for the other dialect, it has that of SignalR 2.
func TestAHubWithMessagePackAloneServesClassicClients(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	register[*policyHub](t, sys, nil, hubsys.HubOptions{Name: "Chat", Protocols: []hubproto.Protocol{hubproto.MessagePack}})
	c := dialClassicHub(t, sys, "longPolling")
	require.Equal(t, `{"R":"open","I":"1"}`, c.invoke("Open").raw)
	require.Equal(t, `{"R":3,"I":"2"}`, c.invoke("Guarded", "3").raw)
}

// The encoding of SignalR 2 is none that a client of the other dialect can ask for.
func TestTheClassicProtocolCannotBeAskedFor(t *testing.T) {
	srv := newClassicServer(t, classicConfig{})
	c := dialSocket(t, srv.http.URL+"/test", dialOptions{})
	c.send(`{"protocol":"signalr2","version":1}`)
	require.Contains(t, c.next().raw, "The protocol 'signalr2' is not supported.")
}
