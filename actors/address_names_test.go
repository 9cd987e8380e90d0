package actors

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/proto/hubproto"
	troupev1 "github.com/troupe-go/troupe/proto/troupe/v1"
)

func TestPIDsAfterShutdownRegisterNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, own *env) {
		system := own.sys.actorSystem
		before := processNames(system, "")
		e := newEnv(t, system, second, hubproto.JSON)
		e.bubble = true
		known := e.hub.PID(groupAudience("known"))
		require.NoError(t, e.shutdown())
		e.settle()
		for _, to := range []*Audience{groupAudience("known"), groupAudience("new"), userAudience("ann"), clientAudience("a"), {}} {
			require.NotNil(t, e.hub.PID(to), to)
		}
		assert.Equal(t, known.Id, e.hub.PID(groupAudience("known")).Id)
		assert.ElementsMatch(t, before, processNames(system, ""))
		watcher := own.newRecorder("watcher")
		watcher.watch(own, e.hub.PID(groupAudience("new")))
		assert.Equal(t, []string{e.hub.PID(groupAudience("new")).Id}, watcher.terminated(), "at once")
	})
}

// The names of actors of hubs do not depend on what is in the name of a hub.
func TestHubNamesWithSlashesDoNotCollide(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		audiences := []*Audience{{}, groupAudience("inbox"), groupAudience("g"), groupAudience("groups/g"), userAudience("inbox"), userAudience("g")}
		hubs, seen := []*Hub{e.hub}, map[string]bool{}
		for _, name := range []string{"chat/groups", "chat/users", "chat/groups/g", "chat%2Fgroups", "/chat", "chat/", "../chat"} {
			h, err := e.sys.NewHub(name, e.handler, []hubproto.Protocol{hubproto.JSON}, HubSettings{MaxNames: 100})
			require.NoError(t, err, name)
			hubs = append(hubs, h)
		}
		for _, h := range hubs {
			for _, to := range audiences {
				id := h.PID(to).Id
				assert.False(t, seen[id], "%s: %s", h.name, id)
				seen[id] = true
			}
		}
		c := e.open("a", "")
		require.NoError(t, e.hub.Join(context.Background(), "a", "inbox"))
		sender := e.newRecorder("sender")
		for _, h := range hubs {
			assert.Empty(t, sender.askResult(e, h.PID(groupAudience("inbox")), &troupev1.Send{Target: "x"}), h.name)
		}
		assert.Equal(t, []string{invocationRecord("x")}, c.messages(), "that of its own hub")
	})
}

// A group that has been filled again is another one: those who watch it are not told of the end of the former one.
func TestWatchedPIDIsNotTerminatedAfterItsGroupWasFilledAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		ctx, pid := context.Background(), e.hub.PID(groupAudience("g"))
		e.open("a", "")
		b := e.open("b", "")
		early, late := e.newRecorder("early"), e.newRecorder("late")
		require.NoError(t, e.hub.Join(ctx, "a", "g"))
		early.watch(e, pid)
		g := e.hub.groups.find("g")
		require.True(t, g.leave(e.clients[0].conn)) // what directory.leave does, with a pause in the middle
		require.NoError(t, e.hub.Join(ctx, "b", "g"))
		late.watch(e, pid)
		e.hub.groups.remove("g", g)
		e.hub.groups.onEmpty(g)
		e.settle()
		assert.Equal(t, []string{pid.Id}, early.terminated())
		assert.Empty(t, late.terminated())
		assert.NotNil(t, e.hub.groups.find("g"))
		b.socket.Cut()
		e.settle()
		assert.Equal(t, []string{pid.Id}, late.terminated())
		assert.Len(t, early.terminated(), 1)
	})
}
