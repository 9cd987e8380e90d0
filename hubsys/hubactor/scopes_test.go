package hubactor_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/hubactor"
)

// diary is what actors have received: each writes under its own number.
type diary struct {
	mu      sync.Mutex
	actors  int
	entries map[int][]string
}

// diarist is an actor that answers calls with their arguments and keeps a diary.
type diarist struct {
	d  *diary
	me int
}

func (d *diary) props(*hubsys.HubContext) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.actors++
		return &diarist{d, d.actors}
	})
}

func (a *diarist) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *hubactor.Call[oneInt]:
		a.write(fmt.Sprint("call ", m.Args.N))
		c.Respond(m.Args.N)
	case *hubactor.Disconnected:
		a.write(fmt.Sprintf("*hubactor.Disconnected %v", m.Cause))
	default:
		a.write(fmt.Sprintf("%T", m))
	}
}

func (a *diarist) write(entry string) {
	a.d.mu.Lock()
	defer a.d.mu.Unlock()
	if a.d.entries == nil {
		a.d.entries = map[int][]string{}
	}
	a.d.entries[a.me] = append(a.d.entries[a.me], entry)
}

// of returns the diary of an actor.
func (d *diary) of(number int) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.entries[number], ", ")
}

func (d *diary) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.actors
}

func (d *diary) hub(scope hubactor.Scope) hubactor.Hub {
	return hubactor.Hub{Scope: scope, Props: d.props, Methods: []hubactor.Method{hubactor.Receive[oneInt]("do")}}
}

func TestPerCallIsAnActorForEachCallAndNothingElse(t *testing.T) {
	d := &diary{}
	c := dial(t, serveHub(t, d.hub(hubactor.PerCall), hubsys.HubOptions{}))
	assert.Equal(t, "1", c.result("do", 1))
	assert.Equal(t, "2", c.result("do", 2))
	c.close()
	for n := 1; n <= 2; n++ {
		eventually(t, func() bool {
			return d.of(n) == fmt.Sprintf("*actor.Started, call %d, *actor.Stopping, *actor.Stopped", n)
		}, "the actor is stopped behind its call")
	}
	assert.Equal(t, 2, d.count())
}

func TestPerConnectionIsAnActorForEachConnection(t *testing.T) {
	d := &diary{}
	url := serveHub(t, d.hub(hubactor.PerConnection), hubsys.HubOptions{})
	first := dial(t, url)
	second := dial(t, url)
	for n := range 3 {
		assert.Equal(t, fmt.Sprint(n), first.result("do", n))
	}
	assert.Equal(t, "7", second.result("do", 7))
	first.close()
	eventually(t, func() bool {
		return d.of(1) == "*actor.Started, *hubactor.Connected, call 0, call 1, call 2, *hubactor.Disconnected <nil>, *actor.Stopping, *actor.Stopped"
	}, "the first ends")
	assert.Equal(t, "8", second.result("do", 8), "the other connection goes on")
	assert.Equal(t, "*actor.Started, *hubactor.Connected, call 7, call 8", d.of(2))
	second.send(`{"type":7,"error":"I am tired."}`)
	eventually(t, func() bool {
		return strings.HasSuffix(d.of(2), "call 8, *hubactor.Disconnected I am tired., *actor.Stopping, *actor.Stopped")
	}, "the second ends, with a cause")
	assert.Equal(t, 2, d.count())
}

func TestSharedIsOneActorForEverything(t *testing.T) {
	d := &diary{}
	sys := newSystem(t, hubsys.Config{})
	url := serveIn(t, sys, d.hub(hubactor.Shared), hubsys.HubOptions{})
	eventually(t, func() bool { return d.of(1) == "*actor.Started" }, "it is there before any client")
	first := dial(t, url)
	first.result("do", 1)
	second := dial(t, url)
	second.result("do", 2)
	first.close()
	eventually(t, func() bool { return strings.Count(d.of(1), "Disconnected") == 1 }, "it is told of the end")
	second.result("do", 3)
	second.close()
	eventually(t, func() bool { return strings.Count(d.of(1), "Disconnected") == 2 }, "and of the other end")
	require.NoError(t, shutdown(sys))
	assert.Equal(t, "*actor.Started, *hubactor.Connected, call 1, *hubactor.Connected, call 2, *hubactor.Disconnected <nil>, call 3, "+
		"*hubactor.Disconnected <nil>, *actor.Stopping, *actor.Stopped", d.of(1))
	assert.Equal(t, 1, d.count())
}

func TestCallsOfAConnectionArriveInTheirOrder(t *testing.T) {
	const calls = 200
	for _, scope := range []hubactor.Scope{hubactor.PerCall, hubactor.PerConnection, hubactor.Shared} {
		var mu sync.Mutex
		got := map[string][]int{}
		hub := hubactor.Hub{Scope: scope, Methods: []hubactor.Method{hubactor.Receive[oneInt]("do")}, Props: receiver(func(c actor.Context) {
			if m, ok := c.Message().(*hubactor.Call[oneInt]); ok {
				mu.Lock()
				got[m.ConnectionID()] = append(got[m.ConnectionID()], m.Args.N)
				mu.Unlock()
				c.Respond(m.Args.N)
			}
		})}
		url := serveHub(t, hub, hubsys.HubOptions{})
		clients := []*client{dial(t, url), dial(t, url), dial(t, url)}
		for _, c := range clients {
			var all []string
			for n := range calls {
				all = append(all, invocation(fmt.Sprint(n), "do", n))
			}
			c.send(all...)
		}
		for _, c := range clients {
			for n := range calls {
				m := c.next()
				require.Equal(t, fmt.Sprint(n), m.InvocationID)
				require.Equal(t, fmt.Sprint(n), string(m.Result))
			}
		}
		mu.Lock()
		require.Len(t, got, len(clients))
		for _, list := range got {
			require.Len(t, list, calls)
			require.IsIncreasing(t, list)
		}
		mu.Unlock()
	}
}

func TestAConnectionThatEndsBehindItsCallsIsDisconnectedBehindThem(t *testing.T) {
	for _, scope := range []hubactor.Scope{hubactor.PerConnection, hubactor.Shared} {
		d := &diary{}
		c := dialHandshake(t, serveHub(t, d.hub(scope), hubsys.HubOptions{}))
		var all []string
		for n := range 50 {
			all = append(all, invocation("", "do", n))
		}
		c.send(all...)
		c.close()
		eventually(t, func() bool { return strings.Contains(d.of(1), "Disconnected") }, "the connection ends")
		assert.Regexp(t, `^\*actor\.Started, \*hubactor\.Connected, call 0, .*, call 49, \*hubactor\.Disconnected`, d.of(1))
		assert.Equal(t, 50, strings.Count(d.of(1), "call "))
	}
}

func TestConnectedActorsCanUseTheirConnection(t *testing.T) {
	hub := plain(func(c actor.Context) {
		if m, ok := c.Message().(*hubactor.Connected); ok {
			_ = m.Clients().Caller().NoWait().Send(t.Context(), "welcome", m.Method())
			_ = m.Clients().Caller().Disconnect(t.Context(), "This server is full.")
		}
	})
	hub.Scope = hubactor.PerConnection
	c := dialHandshake(t, serveHub(t, hub, hubsys.HubOptions{}))
	assert.Equal(t, `{"type":1,"target":"welcome","arguments":["OnConnected"]}`, c.next().raw)
	assert.Equal(t, `{"type":7,"error":"This server is full."}`, c.next().raw)
}

func TestActorsOfAHubStandUnderTheirSystem(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	hub := plain(func(c actor.Context) {
		if _, ok := c.Message().(*hubactor.Call[none]); ok {
			c.Respond(c.Self().Id)
		}
	})
	for scope, name := range map[hubactor.Scope]string{hubactor.PerCall: "calls/", hubactor.PerConnection: "connections/", hubactor.Shared: "shared"} {
		hub.Scope = scope
		c := dial(t, serveIn(t, sys, hub, hubsys.HubOptions{Name: strings.Trim(name, "/")}))
		assert.Regexp(t, `^"hubsys-[0-9a-f]{8}/hubs/`+strings.Trim(name, "/")+"/actors/"+name, c.result("do"))
	}
}
