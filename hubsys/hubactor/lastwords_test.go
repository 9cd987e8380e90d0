package hubactor_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/hubactor"
)

func TestShutdownTellsABusyActorOfItsConnection(t *testing.T) {
	j, entered, release := &journal{}, make(chan struct{}), make(chan struct{})
	hub := plain(func(c actor.Context) {
		switch m := c.Message().(type) {
		case *hubactor.Call[none]:
			m.Return("answered", nil) // and goes on
			close(entered)
			<-release
			j.write("idle")
		case *hubactor.Disconnected, *actor.Stopping:
			j.write(fmt.Sprintf("%T", m))
		}
	})
	hub.Scope = hubactor.PerConnection
	sys := newSystem(t, hubsys.Config{})
	c := dial(t, serveIn(t, sys, hub, hubsys.HubOptions{}))
	assert.Equal(t, `"answered"`, c.result("do"))
	receive(t, entered)
	ended := make(chan error, 1)
	go func() { ended <- shutdown(sys) }()
	c.requireClose()
	c.close()
	close(release)
	require.NoError(t, receive(t, ended))
	assert.Equal(t, []string{"idle", "*hubactor.Disconnected", "*actor.Stopping"}, j.read())
}

func TestShutdownTellsABusyGroupActorOfItsMembers(t *testing.T) {
	j, entered, release := &journal{}, make(chan struct{}), make(chan struct{})
	sys := newSystem(t, hubsys.Config{})
	groups, url := newRooms(t, sys, func(group string) *actor.Props {
		return writing(j)(group).Clone(actor.WithReceiverMiddleware(func(next actor.ReceiverFunc) actor.ReceiverFunc {
			return func(c actor.ReceiverContext, e *actor.MessageEnvelope) {
				if e.Message == "busy" {
					close(entered)
					<-release
				}
				next(c, e)
			}
		}))
	})
	clients := []*client{dial(t, url), dial(t, url), dial(t, url)}
	var want []string
	for _, c := range clients {
		want = append(want, "a left "+join(c, "a"))
	}
	require.NoError(t, groups.Tell("a", "busy"))
	receive(t, entered)
	connections := func() (n int) {
		for _, name := range names(sys.ActorSystem(), "/connections/") {
			n += strings.Count(name, "/") / 3 // without their supervisors
		}
		return n
	}
	require.Equal(t, len(clients), connections())
	ended := make(chan error, 1)
	go func() { ended <- shutdown(sys) }()
	for _, c := range clients {
		c.requireClose()
		c.close()
	}
	eventually(t, func() bool { return connections() == 0 }, "connections")
	close(release)
	require.NoError(t, receive(t, ended))
	list := j.read()
	at := slices.Index(list, "a busy")
	require.Len(t, list[at:], 5, list)
	assert.ElementsMatch(t, want, list[at+1:at+4])
	assert.Equal(t, "a *actor.Stopped", list[at+4])
}
