package cluster

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys/backplane"
)

// counting is a host that counts what it is given.
type counting struct {
	peer
	n    atomic.Int64
	want int64
	all  chan struct{}
}

func (c *counting) Receive(backplane.NodeID, string, []byte) <-chan struct{} {
	if c.n.Add(1) == c.want {
		close(c.all)
	}
	return nil
}

// BenchmarkPublish is the way of a message of 100 bytes from one node to another, in batches, with encoding and decoding, but without a network.
func BenchmarkPublish(b *testing.B) {
	for _, size := range []int{100, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			m := newMesh()
			from, to := m.open("a"), m.open("b")
			host := &counting{want: int64(b.N), all: make(chan struct{})}
			_, err := from.Start(context.Background(), &counting{})
			require.NoError(b, err)
			_, err = to.Start(context.Background(), host)
			require.NoError(b, err)
			if known := to.Subscribe("g/Chat/lobby"); known != nil {
				<-known
			}
			message := make([]byte, size)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				room, err := from.Publish("g/Chat/lobby", message)
				if err != nil {
					b.Fatal(err)
				}
				if room != nil {
					<-room
				}
			}
			<-host.all
			b.StopTimer()
			_ = from.Stop(context.Background())
			_ = to.Stop(context.Background())
		})
	}
}

func BenchmarkHashTopic(b *testing.B) {
	key := make([]byte, 32)
	for b.Loop() {
		hashTopic(key, "g/Chat/a group with a name of usual length")
	}
}

func BenchmarkWanted(b *testing.B) {
	m := newMesh()
	node := m.open("a")
	_, err := node.Start(context.Background(), &counting{})
	require.NoError(b, err)
	defer node.Stop(context.Background())
	for b.Loop() {
		node.Wanted("g/Chat/a group that nobody wants")
	}
}

// BenchmarkInterest measures what a topic that another node wants costs: its memory, and the time that a change takes.
func BenchmarkInterest(b *testing.B) {
	for _, topics := range []int{100_000, 1_000_000} {
		for _, nodes := range []int{1, 4} {
			b.Run(fmt.Sprintf("%d topics of each of %d nodes", topics, nodes), func(b *testing.B) {
				changes := make([]uint64, topics)
				for b.Loop() {
					var table interest
					before := heap()
					for n := range nodes {
						for i := range changes {
							changes[i] = uint64(hashTopic([]byte{byte(n)}, fmt.Sprint(i)))
						}
						p := table.add(&link{})
						for i := 0; i < topics; i += pieceOfInterest {
							table.apply(p, changes[i:min(i+pieceOfInterest, topics)])
						}
					}
					b.ReportMetric(float64(heap()-before)/float64(topics*nodes), "B/topic")
					runtime.KeepAlive(&table)
				}
			})
		}
	}
}

// BenchmarkSubscriptions measures what a topic costs that this node wants.
func BenchmarkSubscriptions(b *testing.B) {
	const topics = 1_000_000
	for b.Loop() {
		before := heap()
		s := newSubscriptions()
		for i := range topics {
			s.add(hashTopic(nil, fmt.Sprint(i)))
		}
		b.ReportMetric(float64(heap()-before)/topics, "B/topic")
		runtime.KeepAlive(s)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
