package cluster_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/cluster"
)

// At each step of a change of keys, nodes that have made it and nodes that have not hear each other, and find each other's connections.
func TestKeysAreChangedWhileNodesRun(t *testing.T) {
	t.Parallel()
	before, after := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	steps := []cluster.Config{
		{Key: before}, {Key: before, AcceptedKeys: [][]byte{after}}, {Key: after, AcceptedKeys: [][]byte{before}}, {Key: after},
	}
	for i, next := range steps[1:] {
		t.Run(fmt.Sprint("step ", i+1), func(t *testing.T) { checkTogether(t, steps[i], next) })
	}
}

// checkTogether checks that two nodes with different configurations work together.
func checkTogether(t *testing.T, configs ...cluster.Config) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var seeds []string
	var nodes []*program
	var servers []*httptest.Server
	for _, config := range configs {
		config.Bind, config.Seeds, config.Logger = "127.0.0.1:0", seeds, slog.New(slog.DiscardHandler)
		p, err := start(config)
		require.NoError(t, err)
		defer func() { assert.NoError(t, p.sys.Shutdown(ctx)) }()
		server := httptest.NewServer(p.mux)
		defer server.Close()
		seeds, nodes, servers = append(seeds, p.node.Status().Address), append(nodes, p), append(servers, server)
	}
	for here, there := range []int{1, 0} {
		answer, err := http.Post(servers[there].URL+"/chat/negotiate?negotiateVersion=1", "", nil)
		require.NoError(t, err)
		var negotiated struct{ ConnectionToken string }
		require.NoError(t, json.NewDecoder(answer.Body).Decode(&negotiated))
		require.NoError(t, answer.Body.Close())
		ada := connect(ctx, servers[here].URL+"/chat?id="+negotiated.ConnectionToken)
		require.NoError(t, Receive.Send(ctx, nodes[there].chat.Clients().All(), "hello"))
		_, message, err := ada.Read(ctx)
		require.NoError(t, err)
		assert.Contains(t, string(message), "hello")
		members, err := nodes[there].chat.Clients().All().Members(ctx)
		require.NoError(t, err)
		require.Len(t, members, 1)
		require.NoError(t, ada.CloseNow())
		for len(members) > 0 {
			members, err = nodes[there].chat.Clients().All().Members(ctx)
			require.NoError(t, err)
		}
	}
}
