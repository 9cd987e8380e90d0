package cluster

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	clusterv1 "github.com/troupe-go/troupe/proto/troupe/cluster/v1"
)

// Whatever comes in the name of another node, this one neither panics nor keeps more than the window, and the link comes up again.
func TestRandomFramesDoNoHarm(t *testing.T) {
	checkIn(t, func(t *rapid.T) {
		m := newMesh()
		a, b := m.open("a"), m.open("b")
		hosts := [2]*meshNode{{Backplane: a}, {Backplane: b}}
		for _, p := range hosts {
			id, err := p.Start(t.Context(), p)
			require.NoError(t, err)
			p.id = id
			defer p.Stop(t.Context())
			p.Subscribe("x")
		}
		l := b.node.Load().link(hosts[0].id)
		number := rapid.OneOf(rapid.Uint64Range(0, 3), rapid.Uint64())
		numbers := rapid.SliceOfN(number, 0, 5)
		for range rapid.IntRange(1, 30).Draw(t, "frames") {
			f := &clusterv1.Frame{From: uint32(hosts[0].id), To: uint32(b.node.Load().id), Session: l.theirsNow()}
			switch rapid.IntRange(0, 7).Draw(t, "kind") {
			case 0:
				batch := &clusterv1.Batch{Number: number.Draw(t, "number"), Before: number.Draw(t, "before")}
				for range rapid.IntRange(0, 3).Draw(t, "publications") {
					batch.Publications = append(batch.Publications, &clusterv1.Publication{
						Topic: []byte("x"), Message: make([]byte, rapid.IntRange(0, 300_000).Draw(t, "size")), Continues: rapid.Bool().Draw(t, "continues"),
					})
				}
				f.Kind = &clusterv1.Frame_Batch{Batch: batch}
			case 1:
				f.Kind = &clusterv1.Frame_Ack{Ack: &clusterv1.Ack{Batches: number.Draw(t, "batches"), Interests: number.Draw(t, "interests"), Sent: number.Draw(t, "sent")}}
			case 2:
				f.Kind = &clusterv1.Frame_Interest{Interest: &clusterv1.Interest{
					Version: number.Draw(t, "version"), First: rapid.Bool().Draw(t, "first"), Changes: numbers.Draw(t, "changes"), Current: rapid.Bool().Draw(t, "current"),
				}}
			case 3:
				f.Kind = &clusterv1.Frame_Press{Press: &clusterv1.Press{Changes: numbers.Draw(t, "presses")}}
			case 4:
				f.Session++
				f.Kind = &clusterv1.Frame_Hello{Hello: &clusterv1.Hello{
					Cluster: "test", Network: "mesh", Version: 1, Oldest: 1, Life: a.node.Load().life, Answers: uint32(number.Draw(t, "answers")),
					Batches: number.Draw(t, "batches"), Messages: number.Draw(t, "messages"),
					SeenBatches: number.Draw(t, "seen"), SeenChanges: number.Draw(t, "seen changes"),
				}}
			case 5:
				f.Kind = nil
			case 6:
				f.Kind = &clusterv1.Frame_Batch{}
			case 7:
				time.Sleep(time.Duration(rapid.IntRange(0, 1000).Draw(t, "ms")) * time.Millisecond)
				continue
			}
			b.node.Load().frame(f)
			l.mu.Lock()
			bytes := l.in.bytes
			l.mu.Unlock()
			require.LessOrEqual(t, bytes, window)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Equal(t, 1, a.Status().MembersUp)
		require.Equal(t, 1, b.Status().MembersUp)
		_, err := a.Publish("x", []byte("end"))
		require.NoError(t, err)
		settle()
		got := hosts[1].all()
		require.NotEmpty(t, got)
		require.Equal(t, received{hosts[0].id, "x", "end"}, got[len(got)-1])
	})
}
