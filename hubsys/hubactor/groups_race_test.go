package hubactor_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/hubactor"
)

// roster is a group actor that answers whether a connection is a member.
type roster struct {
	members  map[string]bool
	occupied *atomic.Int32 // actors of this group that have members
	faults   *journal
}

func (r *roster) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *hubactor.Joined:
		if r.members[m.ConnectionID] {
			r.faults.write("joined twice")
		}
		if r.members[m.ConnectionID] = true; len(r.members) == 1 && r.occupied.Add(1) > 1 {
			r.faults.write("two actors have members")
		}
	case *hubactor.Left:
		if !r.members[m.ConnectionID] {
			r.faults.write("left without having joined")
		}
		if delete(r.members, m.ConnectionID); len(r.members) == 0 {
			r.occupied.Add(-1)
		}
	case *actor.Stopped:
		if len(r.members) > 0 {
			r.faults.write("stopped with members")
		}
	case string:
		c.Respond(r.members[m])
	}
}

func TestAGroupThatIsLeftAndJoinedAtOnceHasOneActorThatKnowsItsMembers(t *testing.T) {
	const clients, rounds = 6, 100
	for _, disconnect := range []bool{false, true} {
		var occupied atomic.Int32
		faults := &journal{}
		sys := newSystem(t, hubsys.Config{})
		groups, url := newRooms(t, sys, func(string) *actor.Props {
			return actor.PropsFromProducer(func() actor.Actor {
				return &roster{members: map[string]bool{}, occupied: &occupied, faults: faults}
			})
		})
		var all []*client
		for range clients {
			all = append(all, dial(t, url))
		}
		var wg sync.WaitGroup
		for _, c := range all {
			wg.Go(func() {
				n := rounds
				if disconnect {
					n = rounds / 5
				}
				for range n {
					if t.Failed() {
						return
					}
					id := join(c, "g")
					to, ok := groups.Of("g")
					if !assert.True(t, ok, "a group with a member has an actor") {
						return
					}
					if known, err := ask[bool](t, to, id); !assert.NoError(t, err) || !assert.True(t, known, "the actor knows the member") {
						return
					}
					if disconnect {
						c.close()
						c = dial(t, url)
					} else {
						c.result("Leave", "g")
					}
				}
			})
		}
		wg.Wait()
		requireNoGroupActors(t, sys)
		assert.Empty(t, faults.read())
		assert.Zero(t, occupied.Load())
	}
}

func TestSomebodyWhoJoinsBeforeTheActorHasHandledTheLastLeaveKeepsIt(t *testing.T) {
	release := make(chan struct{})
	j := &journal{}
	inner := writing(j)
	groups, url := newRooms(t, newSystem(t, hubsys.Config{}), func(group string) *actor.Props {
		return inner(group).Clone(actor.WithReceiverMiddleware(func(next actor.ReceiverFunc) actor.ReceiverFunc {
			return func(c actor.ReceiverContext, e *actor.MessageEnvelope) {
				if e.Message == "wait" {
					<-release
				}
				next(c, e)
			}
		}))
	})
	first, second := dial(t, url), dial(t, url)
	one := join(first, "a")
	require.NoError(t, groups.Tell("a", "wait"))
	before, _ := groups.Of("a")
	first.result("Leave", "a")
	two := join(second, "a")
	after, _ := groups.Of("a")
	assert.Equal(t, before.PID(), after.PID())
	close(release)
	require.NoError(t, groups.Tell("a", "hello"))
	eventually(t, func() bool { return len(j.read()) == 6 }, "all are handled")
	assert.Equal(t, []string{"a *actor.Started", "a joined " + one, "a wait", "a left " + one, "a joined " + two, "a hello"}, j.read())
}

func TestManyGroupsComeAndGo(t *testing.T) {
	const count = 9_000
	var started, stopped, joined, left atomic.Int32
	sys := newSystem(t, hubsys.Config{})
	groups, url := newRooms(t, sys, func(string) *actor.Props {
		return actor.PropsFromFunc(func(c actor.Context) {
			switch c.Message().(type) {
			case *actor.Started:
				started.Add(1)
			case *actor.Stopped:
				stopped.Add(1)
			case *hubactor.Joined:
				joined.Add(1)
			case *hubactor.Left:
				left.Add(1)
			}
		})
	})
	keeper := dial(t, url)
	join(keeper, "kept")
	before := processes(sys.ActorSystem())
	c := dial(t, url)
	for n := 0; n < count; n += 100 {
		var batch []string
		for i := range 100 {
			batch = append(batch, invocation("", "Join", fmt.Sprint("group ", n+i)))
		}
		c.send(batch...)
		join(c, "kept")
	}
	assert.GreaterOrEqual(t, processes(sys.ActorSystem()), before+count)
	for n := range count {
		if _, ok := groups.Of(fmt.Sprint("group ", n)); !ok {
			require.Fail(t, "no actor", "group %d", n)
		}
	}
	c.close()
	eventually(t, func() bool { return stopped.Load() == count }, "all actors stop")
	eventually(t, func() bool { return processes(sys.ActorSystem()) <= before }, "nothing stays registered")
	assert.EqualValues(t, count+1, started.Load())
	assert.EqualValues(t, count+2, joined.Load())
	assert.EqualValues(t, count+1, left.Load())
	_, ok := groups.Of("kept")
	assert.True(t, ok)
}

func TestShutdownStopsTheActorsOfGroups(t *testing.T) {
	var started, stopped atomic.Int32
	system := newActorSystem(t)
	before := processes(system)
	sys := newSystem(t, hubsys.Config{ActorSystem: system})
	groups, url := newRooms(t, sys, func(string) *actor.Props {
		return actor.PropsFromFunc(func(c actor.Context) {
			switch c.Message().(type) {
			case *actor.Started:
				started.Add(1)
			case *actor.Stopped:
				stopped.Add(1)
			}
		})
	})
	c := dial(t, url)
	for n := range 50 {
		join(c, fmt.Sprint(n))
	}
	go func() {
		for _, err := c.read(); err == nil; _, err = c.read() {
		}
	}()
	require.NoError(t, shutdown(sys))
	assert.EqualValues(t, 50, started.Load())
	assert.EqualValues(t, 50, stopped.Load())
	_, ok := groups.Of("1")
	assert.False(t, ok)
	require.ErrorIs(t, groups.Tell("1", "nobody"), hubactor.ErrNoActor)
	assert.Equal(t, before, processes(system))
}

func TestJoiningDuringAShutdownDoesNotHang(t *testing.T) {
	for range 3 {
		system := newActorSystem(t)
		before := processes(system)
		sys := newSystem(t, hubsys.Config{ActorSystem: system})
		_, url := newRooms(t, sys, writing(&journal{}))
		var wg sync.WaitGroup
		joined := make(chan struct{}, 4)
		for i := range 4 {
			c := dial(t, url)
			join(c, "ready")
			wg.Go(func() {
				for n := range 500 {
					if c.ws.Write(t.Context(), 1, []byte(invocation("", "Join", fmt.Sprint(i, "/", n))+separator)) != nil {
						return
					}
					if n == 10 {
						joined <- struct{}{}
					}
				}
			})
			wg.Go(func() {
				for m, err := c.tryNext(); err == nil && m.Type != 7; m, err = c.tryNext() {
				}
				_ = c.ws.CloseNow()
			})
		}
		for range 4 {
			receive(t, joined)
		}
		require.NoError(t, shutdown(sys))
		wg.Wait()
		assert.Equal(t, before, processes(system))
	}
}
