package hubactor_test

import (
	"fmt"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/hubactor"
)

func TestAnActorWhoseConnectionIsStoppedGetsDisconnected(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	pids, got := make(chan *actor.PID, 1), make(chan string, 10)
	hub := plain(func(c actor.Context) {
		switch m := c.Message().(type) {
		case *hubactor.Connected:
			pids <- m.Clients().Client(m.ConnectionID()).PID()
		case *hubactor.Disconnected:
			got <- fmt.Sprint("disconnected: ", m.Cause)
		case *actor.Stopped:
			got <- "stopped"
		}
	})
	hub.Scope = hubactor.PerConnection
	url := serveIn(t, sys, hub, hubsys.HubOptions{})
	for range 10 {
		dial(t, url)
		sys.ActorSystem().Root.Stop(receive(t, pids))
		assert.Equal(t, "disconnected: hubsys: the actor of the connection was stopped", receive(t, got))
		assert.Equal(t, "stopped", receive(t, got))
	}
	eventually(t, func() bool { return len(names(sys.ActorSystem(), "hubactor-end-")) == 0 }, "nothing is left")
}
