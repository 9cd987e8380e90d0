package memory_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys/backplane"
	"github.com/troupe-go/troupe/hubsys/backplane/memory"
)

// counter is a host that counts messages by topic.
type counter struct {
	mu    sync.Mutex
	heard map[string]int
}

func (*counter) ActorSystem() *actor.ActorSystem              { return nil }
func (*counter) Changed(backplane.Node)                       {}
func (*counter) Missed(backplane.NodeID, uint64)              {}
func (*counter) Serve(w http.ResponseWriter, _ *http.Request) {}
func (c *counter) Receive(_ backplane.NodeID, topic string, _ []byte) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard[topic]++
	return nil
}

// What a node subscribes while another one starts, it gets once.
func TestTopicsThatAreSubscribedDuringAStart(t *testing.T) {
	for range 300 {
		var cluster memory.Cluster
		a, b := cluster.Node("a"), cluster.Node("b")
		host := &counter{heard: map[string]int{}}
		_, err := a.Start(t.Context(), host)
		require.NoError(t, err)
		var subscribing sync.WaitGroup
		begun := make(chan struct{})
		const each = 100
		for i := range 4 {
			subscribing.Go(func() {
				for k := range each {
					if known := a.Subscribe(fmt.Sprint(i, " ", k)); known != nil {
						<-known
					}
					if i+k == 0 {
						close(begun)
					}
				}
			})
		}
		<-begun
		_, err = b.Start(t.Context(), &counter{heard: map[string]int{}})
		require.NoError(t, err)
		subscribing.Wait()
		for i := range 4 {
			for k := range each {
				_, err := b.Publish(fmt.Sprint(i, " ", k), nil)
				require.NoError(t, err)
			}
		}
		require.NoError(t, b.Stop(context.Background()))
		require.NoError(t, a.Stop(context.Background()))
		for topic, times := range host.heard {
			require.Equal(t, 1, times, topic)
		}
		require.Len(t, host.heard, 4*each)
	}
}
