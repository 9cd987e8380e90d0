package actors

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-go/troupe/hubsys/backplane"
	"github.com/troupe-go/troupe/hubsys/backplane/memory"
	"github.com/troupe-go/troupe/proto/hubproto"
	nodev1 "github.com/troupe-go/troupe/proto/troupe/node/v1"
)

// joinedHubs returns a hub of several nodes.
func joinedHubs(t *testing.T, nodes ...string) (hubs []*Hub) {
	t.Helper()
	cluster := &memory.Cluster{}
	for _, name := range nodes {
		sys, err := NewSystem(nil, slog.New(slog.DiscardHandler), cluster.Node(name), nil)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, sys.Shutdown(context.Background())) })
		hub, err := sys.NewHub("chat", newHandler(), []hubproto.Protocol{hubproto.JSON}, HubSettings{})
		require.NoError(t, err)
		hubs = append(hubs, hub)
	}
	return hubs
}

// What a node of a newer version sends and this one does not know is counted and ignored. A request is answered.
func TestMessagesOfNewerNodesAreIgnored(t *testing.T) {
	hubs := joinedHubs(t, "old", "new")
	older, newer := hubs[0].sys, hubs[1]

	ofHub := func(name string, rest ...byte) []byte {
		b, err := proto.Marshal(&nodev1.Message{Hub: name})
		require.NoError(t, err)
		return append(b, rest...)
	}
	unknown := protowire.AppendBytes(protowire.AppendTag(nil, 1000, protowire.BytesType), []byte("news"))
	for _, m := range [][]byte{ofHub("chat", unknown...), ofHub("another hub"), ofHub("chat", 0xff)} {
		_, err := newer.sys.nodes.plane.Publish(nodeTopic(older.node), m)
		require.NoError(t, err)
	}
	for want, r := range map[nodev1.Answer_Kind]*nodev1.Request{
		nodev1.Answer_KIND_NOT_SUPPORTED: {},
		nodev1.Answer_KIND_DONE:          {Kind: &nodev1.Request_List{List: &nodev1.List{Of: (&Audience{}).toNode()}}},
	} {
		answers, missing, err := newer.gather(t.Context(), r, gatherTime)
		require.NoError(t, err)
		require.Empty(t, missing)
		require.Len(t, answers, 1)
		assert.Equal(t, want, answers[0].GetKind())
	}
	assert.Equal(t, int64(4), older.nodes.ignored.Load())
}

// A node that tells of changes nobody wants to know any more, because that was lost, is told once more.
func TestWatchesWhoseEndIsLost(t *testing.T) {
	hubs := joinedHubs(t, "here", "there")
	here, there := hubs[0], hubs[1]
	w := here.WatchEverywhere(t.Context(), nil)
	served := func() int {
		there.sys.nodes.mu.Lock()
		defer there.sys.nodes.mu.Unlock()
		return len(there.sys.nodes.served)
	}
	require.Equal(t, 1, served())
	here.sys.nodes.mu.Lock()
	delete(here.sys.nodes.watches, w.elsewhere.number)
	here.sys.nodes.mu.Unlock()
	c := bareConnection("id")
	there.groups.join("g", c)
	require.Eventually(t, func() bool { return served() == 0 }, 20*time.Second, time.Millisecond)
	there.groups.leave("g", c)
	w.Stop()
}

// A connection of SignalR 2 can be taken to another node with its id before the former node has noticed.
func TestAWatchOfAConnectionThatMoves(t *testing.T) {
	here := joinedHubs(t, "here")[0]
	w := here.WatchEverywhere(t.Context(), &Audience{})
	defer w.Stop()
	one := []*nodev1.Changes_Change{{Joined: []*nodev1.Member{{ConnectionId: "id"}}}}
	w.hear(1, &nodev1.Changes{First: true, Changes: one})
	w.hear(2, &nodev1.Changes{First: true, Changes: one})
	require.Len(t, w.Take(), 1)
	w.hear(1, &nodev1.Changes{Changes: []*nodev1.Changes_Change{{Left: one[0].Joined}}})
	require.Empty(t, w.Take())
	w.nodeChanged(backplane.Node{ID: 2})
	require.Equal(t, []Change{{Left: []Member{{Elsewhere: "id"}}}}, w.Take())
}

// A node lists its members anew: of those that are listed again, nothing is told.
func TestAListOfSeveralParts(t *testing.T) {
	here := joinedHubs(t, "here")[0]
	w := here.WatchEverywhere(t.Context(), &Audience{})
	defer w.Stop()
	changes := func(ids ...string) []*nodev1.Changes_Change {
		var joined []*nodev1.Member
		for _, id := range ids {
			joined = append(joined, &nodev1.Member{ConnectionId: id})
		}
		return []*nodev1.Changes_Change{{Joined: joined}}
	}
	w.hear(1, &nodev1.Changes{First: true, Changes: changes("a", "b", "c")})
	require.Len(t, w.Take(), 1)
	w.hear(1, &nodev1.Changes{First: true, More: true, Changes: changes("a")})
	w.hear(1, &nodev1.Changes{First: true, More: true, Changes: changes("a")}) // and again, before the list was complete
	require.Empty(t, w.Take())
	w.hear(1, &nodev1.Changes{Changes: changes("b")})
	require.Equal(t, []Change{{Left: []Member{{Elsewhere: "c"}}}}, w.Take())
}
