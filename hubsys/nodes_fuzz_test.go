package hubsys_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-go/troupe/hubsys"
	nodev1 "github.com/troupe-go/troupe/proto/troupe/node/v1"
)

// No message of another node causes a panic, or ends what there is, except for connections that it ends.
func FuzzMessagesOfOtherNodes(f *testing.F) {
	node := &hostedNode{Backplane: inMemory()("node")}
	srv := newTestServer(f, testConfig{Config: hubsys.Config{Backplane: node}})
	_, id := dialWithID(f, srv.url, userHeader("ada"))
	all := &nodev1.Audience{Kind: nodev1.Audience_KIND_ALL}
	encodings := []*nodev1.Encoding{{Protocol: "json", Message: []byte(`{"type":1,"target":"called","arguments":[]}` + separator)}, {Protocol: "none"}}
	request := func(r *nodev1.Request) *nodev1.Message {
		r.Number = 1
		return &nodev1.Message{Hub: "testHub", Kind: &nodev1.Message_Request{Request: r}}
	}
	for _, m := range []*nodev1.Message{
		{},
		{Hub: "none", Kind: &nodev1.Message_HubAdded{}},
		{Hub: "testHub", Kind: &nodev1.Message_HubAdded{HubAdded: &nodev1.HubAdded{}}},
		{Hub: "testHub", Kind: &nodev1.Message_Call{Call: &nodev1.Call{Encodings: encodings, Except: []string{id}, Waits: true, Limited: true, Policy: 9, Key: "k"}}},
		{Hub: "testHub", Kind: &nodev1.Message_End{End: &nodev1.End{Reason: "enough", Except: []string{id}}}},
		{Hub: "testHub", Kind: &nodev1.Message_Answer{Answer: &nodev1.Answer{}}},
		{Hub: "testHub", Kind: &nodev1.Message_Changes{Changes: &nodev1.Changes{Number: 1, Changes: []*nodev1.Changes_Change{{Group: "g", Joined: []*nodev1.Member{{}}}}}}},
		{Hub: "testHub", Kind: &nodev1.Message_Cancel{Cancel: 1}},
		request(&nodev1.Request{Kind: &nodev1.Request_Change{Change: &nodev1.Change{Of: all, Group: "g"}}}),
		request(&nodev1.Request{Kind: &nodev1.Request_List{List: &nodev1.List{Of: all}}}),
		request(&nodev1.Request{Kind: &nodev1.Request_ListGroups{}}),
		request(&nodev1.Request{Kind: &nodev1.Request_Invoke{Invoke: &nodev1.Invoke{Id: "s1", Encodings: encodings}}}),
		request(&nodev1.Request{Kind: &nodev1.Request_Watch{Watch: &nodev1.Watch{Of: all}}}),
		request(&nodev1.Request{Kind: &nodev1.Request_Locate{Locate: &nodev1.Locate{Path: "/test", Token: "x", Claim: true}}}),
		{Kind: &nodev1.Message_Request{Request: &nodev1.Request{Kind: &nodev1.Request_Locate{Locate: &nodev1.Locate{Path: "/test", Token: "x", Claim: true}}}}},
	} {
		data, err := proto.Marshal(m)
		require.NoError(f, err)
		for _, topic := range []string{"a/testHub", "c/testHub/" + id, "g/testHub/g", "u/testHub/ada", "n/x", ""} {
			f.Add(topic, data)
		}
	}
	f.Fuzz(func(t *testing.T, topic string, data []byte) {
		node.host.Receive(1, topic, data)
		require.NotContains(t, srv.log.String(), "panicked")
	})
}
