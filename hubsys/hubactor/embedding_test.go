package hubactor_test

import (
	"fmt"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/hubactor"
)

func TestSystemsWithHubsOfActorsShareAForeignActorSystem(t *testing.T) {
	foreign := newActorSystem(t)
	theirs := spawn(t, foreign, respondent)
	before := processes(foreign)

	type part struct {
		sys     *hubsys.System
		clients []*client
		rooms   *client
		groups  *hubactor.Groups
	}
	parts := []*part{{}, {}}
	for _, p := range parts {
		p.sys = newSystem(t, hubsys.Config{ActorSystem: foreign})
		for _, scope := range allScopes {
			p.clients = append(p.clients, dial(t, serveIn(t, p.sys, counting(scope), hubsys.HubOptions{Name: fmt.Sprint("hub", scope)})))
		}
		var url string
		p.groups, url = newRooms(t, p.sys, writing(&journal{}))
		p.rooms = dial(t, url)
	}
	use := func(p *part) {
		for _, c := range p.clients {
			c.result("next")
		}
		join(p.rooms, "a")
		to, ok := p.groups.Of("a")
		require.True(t, ok)
		_, err := ask[answer](t, to, question{1})
		require.NoError(t, err)
	}
	for _, p := range parts {
		use(p)
	}
	to, _ := parts[0].groups.Of("a")
	root := to.PID().Id[:len("hubsys-01234567")] // of the first System
	require.NotEmpty(t, names(foreign, root))
	for _, c := range append(parts[0].clients, parts[0].rooms) {
		c.close()
	}
	require.NoError(t, shutdown(parts[0].sys))
	assert.Empty(t, names(foreign, root))
	use(parts[1])

	for _, c := range append(parts[1].clients, parts[1].rooms) {
		c.close()
	}
	require.NoError(t, shutdown(parts[1].sys))
	assert.Equal(t, before, processes(foreign))
	got, err := ask[answer](t, theirs, question{1})
	require.NoError(t, err, "the actors of the application go on")
	assert.Equal(t, answer{2}, got)
}

func TestActorsOfAHubCanAskActorsOfTheApplication(t *testing.T) {
	foreign := newActorSystem(t)
	theirs := spawn(t, foreign, respondent)
	sys := newSystem(t, hubsys.Config{ActorSystem: foreign})
	hub := answering(hubactor.PerConnection, func(_ actor.Context, m *hubactor.Call[none]) {
		got, err := hubactor.Ask[answer](m.Context(), theirs, question{41})
		m.Return(got.n, err)
	})
	c := dial(t, serveIn(t, sys, hub, hubsys.HubOptions{}))
	assert.Equal(t, "42", c.result("do"))
	require.NoError(t, foreign.Root.StopFuture(theirs.PID()).Wait())
	assert.Equal(t, unexpected("do"), c.failure("do"))
}
