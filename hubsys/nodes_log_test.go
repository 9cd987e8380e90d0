package hubsys_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/backplane"
	troupev1 "github.com/troupe-go/troupe/proto/troupe/v1"
)

// A node that sends more than arrives loses some of it with each batch: thousands of times a minute.
func TestLostMessagesOfNodesDoNotFillTheLog(t *testing.T) {
	node := &hostedNode{Backplane: inMemory()("node")}
	srv := newTestServer(t, testConfig{Config: hubsys.Config{Backplane: node}})
	for range 1000 {
		for _, from := range []backplane.NodeID{1, 2} {
			node.host.Missed(from, 1)
		}
	}
	require.Equal(t, 20, strings.Count(srv.log.String(), "messages of another node were lost"))
}

// An actor that sends what an audience does not take, again and again, does not fill the log.
func TestRefusedMessagesToPIDsDoNotFillTheLog(t *testing.T) {
	srv := newTestServer(t, testConfig{})
	group := srv.hub.Clients().Group("g").PID()
	for range 1000 {
		srv.sys.ActorSystem().Root.Send(group, &troupev1.Send{})
	}
	require.Equal(t, 100, strings.Count(srv.log.String(), "a message to a PID was refused"))
}
