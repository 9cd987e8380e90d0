package hubsys_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/backplane"
	"github.com/troupe-go/troupe/hubsys/typed"
)

// lonely is a Backplane of a node that thinks it has another one, which wants everything in JSON.
type lonely struct {
	backplane.Backplane
	host      backplane.Host
	topic     string // of the last message
	published []byte
}

func (l *lonely) Start(_ context.Context, host backplane.Host) (backplane.NodeID, error) {
	l.host = host
	return 1, nil
}

func (l *lonely) Wanted(topic string) bool {
	return topic[0] != 'p' || strings.HasSuffix(topic, "/json")
}
func (l *lonely) Subscribe(string) <-chan struct{} { return nil }
func (l *lonely) Unsubscribe(string)               {}
func (l *lonely) Nodes() []backplane.Node          { return nil }
func (l *lonely) Secret(string) []byte             { return make([]byte, 32) }
func (l *lonely) Stop(context.Context) error       { return nil }
func (l *lonely) Publish(topic string, m []byte) (<-chan struct{}, error) {
	l.topic, l.published = topic, m
	return nil, nil
}

// BenchmarkNodes measures what a message for a connection of another node costs above the Backplane: at the node that sends it, and at the one that
// gets it, where the connection has just gone.
func BenchmarkNodes(b *testing.B) {
	plane := &lonely{}
	sys, err := hubsys.New(hubsys.Config{Backplane: plane})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, shutdown(sys)) })
	hub, err := hubsys.Register(sys, func(context.Context) (*Echoing, error) { return &Echoing{}, nil }, hubsys.HubOptions{})
	require.NoError(b, err)
	called := typed.Message2[int, string]("called")
	text := strings.Repeat("x", 100)
	to := hub.Clients().Client("an id of a connection")
	b.Run("Send", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := called.Send(b.Context(), to, 1, text); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Receive", func(b *testing.B) {
		require.NoError(b, called.Send(b.Context(), to, 1, text))
		b.ReportAllocs()
		for b.Loop() {
			plane.host.Receive(2, plane.topic, plane.published)
		}
	})
}
