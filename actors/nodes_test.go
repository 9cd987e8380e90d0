package actors

import (
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-go/troupe/hubsys/backplane/memory"
	"github.com/troupe-go/troupe/proto/hubproto"
	nodev1 "github.com/troupe-go/troupe/proto/troupe/node/v1"
)

// What a node of a newer version sends and this one does not know is counted and ignored. A request is answered.
func TestMessagesOfNewerNodesAreIgnored(t *testing.T) {
	cluster := &memory.Cluster{}
	var hubs []*Hub
	for _, name := range []string{"old", "new"} {
		sys, err := NewSystem(nil, slog.New(slog.DiscardHandler), cluster.Node(name), nil)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, sys.Shutdown(context.Background())) })
		hub, err := sys.NewHub("chat", newHandler(), []hubproto.Protocol{hubproto.JSON}, HubSettings{})
		require.NoError(t, err)
		hubs = append(hubs, hub)
	}
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
		answers, missing, err := newer.gather(t.Context(), r, 0)
		require.NoError(t, err)
		require.Empty(t, missing)
		require.Len(t, answers, 1)
		assert.Equal(t, want, answers[0].GetKind())
	}
	assert.Equal(t, int64(4), older.nodes.ignored.Load())
}
