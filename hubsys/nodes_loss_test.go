package hubsys_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	troupev1 "github.com/troupe-go/troupe/proto/troupe/v1"
)

// Names that are not UTF-8 are names like others, also for other nodes.
func TestNamesThatAreNotUTF8AcrossNodes(t *testing.T) {
	const name = "caf\xc3"
	overNodes(t, 2, func(t *testing.T, servers []*nodeServer) {
		c, id := dialWithID(t, servers[0].url, userHeader(name))
		all := watchIDs(t, servers[1].hub.Clients().All())
		require.Equal(t, []string{"+" + id}, receive(t, all))
		require.NoError(t, servers[1].hub.Groups().Add(t.Context(), id, name))
		for _, of := range []hubsys.Audience{servers[1].hub.Clients().All(), servers[1].hub.Clients().User(name), servers[1].hub.Clients().Group(name)} {
			members, err := of.Members(t.Context())
			require.NoError(t, err)
			require.Equal(t, []hubsys.Member{{ConnectionID: id, UserID: name}}, members)
			answer, err := servers[1].sys.ActorSystem().Root.RequestFuture(of.PID(), &troupev1.ListMembers{}, testTimeout).Result()
			require.NoError(t, err)
			require.Equal(t, "caf\ufffd", answer.(*troupev1.Members).GetMembers()[0].GetUserId())
			require.NoError(t, of.Send(t.Context(), "called"))
			c.requireInvocation("called")
		}
		groups, err := servers[1].hub.Clients().Client(id).Groups(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{name}, groups)
		require.NoError(t, servers[1].hub.Clients().User(name).Disconnect(t.Context(), "\xff"))
		require.Equal(t, "\ufffd", *c.next().Error)
	})
}
