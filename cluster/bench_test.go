package cluster

import (
	"context"
	"fmt"
	"hash/maphash"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-go/troupe/hubsys/backplane"
	clusterv1 "github.com/troupe-go/troupe/proto/troupe/cluster/v1"
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

// BenchmarkBatch is what a batch of small messages costs: to be made by one node, from Publish to bytes, and to be taken by the other one, from bytes
// to the host.
func BenchmarkBatch(b *testing.B) {
	for _, size := range []int{100, 1000} {
		topic, text := []byte("g/Chat/lobby"), make([]byte, size)
		messages := batchSize / (len(topic) + size + 16)
		perMessage := func(b *testing.B) {
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*messages), "ns/message")
		}
		var sent []byte
		b.Run(fmt.Sprintf("send %d", size), func(b *testing.B) {
			b.ReportAllocs()
			l := &link{wake: make(chan struct{}, 1), up: true, nextAck: time.Now().Add(time.Hour), node: &node{subs: newSubscriptions()}, isCurrent: true}
			for b.Loop() {
				for range messages {
					var pieces [1]*clusterv1.Publication
					l.publish(split(topic, text, pieces[:0]), 0)
				}
				now := time.Now()
				l.heard = now
				f := l.next(now).frame
				if sent, _ = proto.Marshal(f); len(f.GetBatch().GetPublications()) != messages {
					b.Fatal("not all messages are in the batch")
				}
				l.out.acknowledge(f.GetBatch().GetNumber(), now)
			}
			perMessage(b)
		})
		b.Run(fmt.Sprintf("receive %d", size), func(b *testing.B) {
			b.ReportAllocs()
			host := &counting{}
			for b.Loop() {
				var f clusterv1.Frame
				if err := proto.Unmarshal(sent, &f); err != nil {
					b.Fatal(err)
				}
				in := incoming{batches: f.GetBatch().GetNumber() - 1}
				in.add(f.GetBatch())
				var m message
				for _, p := range in.inbox[0].batch.GetPublications() {
					m.add(p, defaultMaxMessage)
					host.Receive(1, m.topic, m.text)
					m = message{}
				}
			}
			perMessage(b)
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

func BenchmarkHashesOf(b *testing.B) {
	h := &hashes{key: make([]byte, 32), seed: maphash.MakeSeed()}
	for b.Loop() {
		h.of("g/Chat/a group with a name of usual length")
	}
}

// BenchmarkWanted asks whether another node wants a topic: that is looked up, because there is one, which wants some others.
func BenchmarkWanted(b *testing.B) {
	from, to := &counting{}, &counting{}
	two(b, from, to)
	var known <-chan struct{}
	for i := range 100_000 {
		known = to.Subscribe(strconv.Itoa(i))
	}
	<-known
	for b.Loop() {
		if from.Wanted("g/Chat/a group that nobody wants") {
			b.Fatal("the topic is wanted")
		}
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
