package cluster

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys/backplane"
)

// counting is a host that counts what it is given.
type counting struct {
	meshNode
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

// two starts two nodes. The hosts count what they are given.
func two(b *testing.B, from, to *counting) {
	m := newMesh()
	for _, c := range []*counting{from, to} {
		c.Backplane = m.open("node")
		_, err := c.Start(context.Background(), c)
		require.NoError(b, err)
		b.Cleanup(func() { _ = c.Stop(context.Background()) })
	}
	if known := to.Subscribe("g/Chat/lobby"); known != nil {
		<-known
	}
}

// BenchmarkPublish is the way of a message from one node to another, in batches, with encoding and decoding, but without a network.
func BenchmarkPublish(b *testing.B) {
	for _, size := range []int{100, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			from, to := &counting{}, &counting{want: int64(b.N), all: make(chan struct{})}
			two(b, from, to)
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
			<-to.all
		})
	}
}

// BenchmarkSubscribe is the way of a topic to another node and back, one after the other and all at once.
func BenchmarkSubscribe(b *testing.B) {
	b.Run("waiting", func(b *testing.B) {
		from, to := &counting{}, &counting{}
		two(b, from, to)
		for i := range b.N {
			<-from.Subscribe(strconv.Itoa(i))
		}
	})
	b.Run("at once", func(b *testing.B) {
		from, to := &counting{}, &counting{}
		two(b, from, to)
		var known <-chan struct{}
		for i := range b.N {
			known = from.Subscribe(strconv.Itoa(i))
		}
		<-known
	})
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
