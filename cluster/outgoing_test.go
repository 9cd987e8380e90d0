package cluster

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	clusterv1 "github.com/troupe-go/troupe/proto/troupe/cluster/v1"
)

// The queue of a link keeps to its limits, gives batches in order, counts each message once, and holds senders up only as long as there is progress
// and no room.
func TestOutgoingKeepsItsRules(t *testing.T) {
	checkIn(t, func(t *rapid.T) {
		var o outgoing
		var added, delivered, numbered uint64 // messages
		var next, acknowledged uint64         // batches
		var flights []*clusterv1.Batch
		var waiting []<-chan struct{}
		progress := time.Now()
		var last uint64 // the message that was in the last batch
		lastMessage := func(b *clusterv1.Batch) {
			for _, p := range b.GetPublications() {
				if !p.GetContinues() {
					n := binary.BigEndian.Uint64(p.GetTopic())
					require.Greater(t, n, last)
					last = n
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				for range rapid.IntRange(1, 100).Draw(t, "messages") {
					added++
					topic := binary.BigEndian.AppendUint64(nil, added)
					size := rapid.SampledFrom([]int{0, 100, 5000, 60_000, batchSize}).Draw(t, "size")
					room, _ := o.add(split(topic, make([]byte, size), nil))
					require.Equal(t, o.backlog() > window && !o.isStalled(time.Now()), room != nil)
					if room != nil {
						waiting = append(waiting, room)
					}
				}
			},
			"next": func(t *rapid.T) {
				for b := o.next(time.Now()); b != nil; b = o.next(time.Now()) {
					next++
					require.Equal(t, next, b.GetNumber())
					require.LessOrEqual(t, sizeOfBatch(b), batchSize+100)
					require.GreaterOrEqual(t, b.GetBefore(), numbered)
					numbered = b.GetBefore() + uint64(messagesIn(b.GetPublications()))
					lastMessage(b)
					if len(flights) == 0 {
						progress = time.Now()
					}
					flights = append(flights, b)
				}
			},
			"acknowledge": func(t *rapid.T) {
				n := rapid.IntRange(0, len(flights)).Draw(t, "batches")
				for _, b := range flights[:n] {
					delivered += uint64(messagesIn(b.GetPublications()))
					acknowledged++
					progress = time.Now()
				}
				flights = flights[n:]
				require.True(t, o.acknowledge(acknowledged, time.Now()))
				require.False(t, o.acknowledge(next+1, time.Now()))
			},
			"fall": func(t *rapid.T) {
				o.clear()
				n := rapid.IntRange(0, len(flights)).Draw(t, "arrived")
				for _, b := range flights[:n] {
					delivered += uint64(messagesIn(b.GetPublications()))
				}
				acknowledged += uint64(n)
				o.settle(acknowledged)
				require.Equal(t, added, delivered+o.lostMessages)
				acknowledged, flights = next, nil
				for _, room := range waiting {
					require.True(t, isClosed(room))
				}
			},
			"wait": func(t *rapid.T) { time.Sleep(time.Duration(rapid.IntRange(1, 700).Draw(t, "ms")) * time.Millisecond) },
			"": func(t *rapid.T) {
				require.LessOrEqual(t, o.flying, window)
				require.LessOrEqual(t, o.queued, queueLimit+batchSize+100)
				require.Equal(t, o.isStalled(time.Now()), len(flights) > 0 && time.Since(progress) >= stallAfter)
				if o.isStalled(time.Now()) {
					o.release() // as the link does
				}
				for _, room := range waiting {
					require.Equal(t, o.backlog() <= window || o.room == nil, isClosed(room))
				}
				if o.room == nil {
					waiting = nil
				}
			},
		})
	})
}

func TestLargeMessagesArePutTogether(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := make([]byte, rapid.IntRange(0, 5*batchSize).Draw(t, "size"))
		seed := [32]byte{rapid.Byte().Draw(t, "seed")}
		_, _ = rand.NewChaCha8(seed).Read(text)
		pieces := split([]byte("topic"), text, nil)
		require.Equal(t, 1, messagesIn(pieces))
		var m message
		for i, p := range pieces {
			require.LessOrEqual(t, len(p.GetMessage()), batchSize)
			require.Equal(t, i == len(pieces)-1, m.add(p, len(text)))
		}
		require.Equal(t, "topic", m.topic)
		require.Equal(t, string(text), string(m.text))
		require.False(t, m.isTooLarge)
	})
}
