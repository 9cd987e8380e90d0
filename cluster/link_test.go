package cluster

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys/backplane"
	clusterv1 "github.com/troupe-go/troupe/proto/troupe/cluster/v1"
)

// pair starts two nodes. The second one wants x.
func (m *mesh) pair(t *testing.T) (a, b *meshNode) {
	a, b = m.start(t, "a"), m.start(t, "b")
	b.subscribe("x")
	return a, b
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// waitFor returns how long a channel stays open.
func waitFor(c <-chan struct{}) time.Duration {
	began := time.Now()
	if c != nil {
		<-c
	}
	return time.Since(began)
}

func TestLinkGoesDownWhenNothingIsAcknowledged(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.pair(t)
		time.Sleep(10 * time.Second)
		assert.Len(t, a.changed(), 1, "a link that is idle stays up")
		m.hold(b.id, a.id)
		time.Sleep(deadAfter - ackEvery - time.Millisecond)
		synctest.Wait()
		assert.True(t, a.link(b).isUp())
		time.Sleep(ackEvery + time.Millisecond)
		synctest.Wait()
		assert.False(t, a.link(b).isUp())
		assert.False(t, a.Wanted("x"))
		assert.False(t, b.link(a).isUp(), "the Hello has told it")
		m.release(b.id, a.id)
		settle()
		assert.True(t, a.link(b).isUp())
		assert.True(t, b.link(a).isUp())
	})
}

// A cut in one direction takes both ends down.
func TestAsymmetricCutsTakeBothEndsDown(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.pair(t)
		m.cut(a.id, b.id)
		a.publish("x", "lost")
		time.Sleep(deadAfter)
		synctest.Wait()
		assert.False(t, a.link(b).isUp())
		assert.False(t, b.link(a).isUp())
		time.Sleep(20 * time.Second)
		assert.Len(t, a.changed(), 2)
		assert.Len(t, b.changed(), 2)
		m.heal(a.id, b.id)
		time.Sleep(helloEvery)
		settle()
		assert.True(t, a.link(b).isUp())
		assert.Equal(t, uint64(1), a.metricsOf(b).LostMessages)
		assert.Equal(t, uint64(1), b.metricsOf(a).MissedMessages)
		assert.Equal(t, uint64(1), a.metricsOf(b).LostBatches)
		assert.Equal(t, uint64(1), b.metricsOf(a).MissedBatches)
	})
}

func TestBrokenNetworksTakeLinksDownAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.pair(t)
		time.Sleep(time.Second)
		a.node.Load().broken(b.id)
		assert.False(t, a.link(b).isUp())
		settle()
		assert.True(t, a.link(b).isUp())
		assert.Len(t, a.changed(), 3)
		assert.Len(t, b.changed(), 3)
		a.publish("x", "1")
		settle()
		assert.Equal(t, []received{{a.id, "x", "1"}}, b.all())
	})
}

// A link that breaks again and again says Hello no more often than usual.
func TestHellosAreLimited(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.pair(t)
		for range 1000 {
			a.node.Load().broken(b.id)
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		assert.Less(t, len(a.changed()), 100)
	})
}

// What is lost is counted at both ends alike: what was under way, what was queued, and what was published while the other node was away.
func TestLossIsCountedAtBothEnds(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.pair(t)
		a.publish("x", "arrives")
		settle()
		m.cut(a.id, b.id)
		for range 100 { // the first ones in the window
			a.publish("x", strings.Repeat("x", 10_000))
		}
		time.Sleep(deadAfter)
		synctest.Wait()
		sent := a.link(b).out.batches
		assert.Greater(t, sent, uint64(5))
		for range 10 {
			a.publish("x", "away")
		}
		m.heal(a.id, b.id)
		time.Sleep(helloEvery)
		settle()
		assert.Equal(t, uint64(110), a.metricsOf(b).LostMessages)
		assert.Equal(t, uint64(110), b.metricsOf(a).MissedMessages)
		assert.Equal(t, sent-1, a.metricsOf(b).LostBatches)
		assert.Equal(t, sent-1, b.metricsOf(a).MissedBatches)
		a.publish("x", "arrives, too")
		settle()
		assert.Len(t, b.all(), 2)
		assert.Zero(t, b.metricsOf(a).LostMessages)
	})
}

// A large message is lost as a whole, wherever it is cut off.
func TestPiecesOfLargeMessagesAreLostTogether(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		m.delay = func() time.Duration { return 10 * time.Millisecond }
		a, b := m.pair(t)
		m.hold(b.id, a.id) // no more than the window passes
		a.publish("x", "1")
		a.publish("x", strings.Repeat("2", 2*window))
		settle()
		m.cut(a.id, b.id)
		m.release(b.id, a.id)
		a.node.Load().broken(b.id)
		m.heal(a.id, b.id)
		time.Sleep(helloEvery)
		settle()
		a.publish("x", "3")
		a.publish("x", strings.Repeat("4", window))
		time.Sleep(time.Second)
		synctest.Wait()
		var got []string
		for _, d := range b.all() {
			got = append(got, d.text[:1])
		}
		assert.Equal(t, []string{"1", "3", "4"}, got)
		assert.Equal(t, uint64(1), a.metricsOf(b).LostMessages)
		assert.Equal(t, uint64(1), b.metricsOf(a).MissedMessages)
		assert.Equal(t, uint64(1), b.hasMissed())
	})
}

// Batches whose acknowledgement is lost have arrived, and are not counted.
func TestLostAcknowledgementsAreNoLoss(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.pair(t)
		m.cut(b.id, a.id)
		a.publish("x", "1")
		time.Sleep(deadAfter)
		synctest.Wait()
		assert.False(t, a.link(b).isUp())
		assert.Len(t, b.all(), 1)
		m.heal(b.id, a.id)
		time.Sleep(helloEvery)
		settle()
		assert.Zero(t, a.metricsOf(b).LostMessages)
		assert.Zero(t, a.metricsOf(b).LostBatches)
		assert.Zero(t, b.metricsOf(a).MissedMessages)
	})
}

// What is not even published, because the one node that wants it is down, is counted as well.
func TestWhatIsNotPublishedIsCounted(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.pair(t)
		m.cut(a.id, b.id)
		time.Sleep(deadAfter + helloEvery)
		synctest.Wait()
		require.False(t, a.Wanted("x"))
		a.Lose("x")
		a.Lose("nobody's")
		assert.Equal(t, uint64(1), a.Status().LostMessages)
		m.heal(a.id, b.id)
		time.Sleep(helloEvery)
		settle()
		assert.Equal(t, uint64(1), b.hasMissed())
	})
}

func TestNodesThatDoNotComeBackAreForgotten(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.pair(t)
		m.cut(a.id, b.id)
		a.publish("x", "1")
		settle()
		m.kill(b.id)
		time.Sleep(2 * time.Second)
		assert.Empty(t, a.Nodes())
		assert.Equal(t, 1, a.Status().Interest)
		assert.Zero(t, a.Status().LostBatches, "it may have arrived")
		time.Sleep(forgetAfter)
		synctest.Wait()
		assert.Nil(t, a.link(b))
		assert.Zero(t, a.Status().Interest)
		assert.Equal(t, uint64(1), a.Status().LostBatches)
		assert.Equal(t, uint64(1), a.Status().LostMessages)
	})
}

// A node that comes back when it has been forgotten here, while it remembers this one, has sent nothing that this one misses.
func TestNothingIsMissedOfNodesThatWereForgotten(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.pair(t)
		a.publish("x", "1")
		settle()
		b.node.Load().left(a.id)
		time.Sleep(forgetAfter + time.Second)
		synctest.Wait()
		assert.Nil(t, b.link(a))
		b.node.Load().joined(member{id: a.id, name: "a"})
		time.Sleep(helloEvery)
		settle()
		a.publish("x", "2")
		settle()
		assert.Equal(t, []received{{a.id, "x", "1"}, {a.id, "x", "2"}}, b.all())
		assert.Zero(t, b.Status().Losses)
		assert.Zero(t, a.Status().Losses)
	})
}

// A node that stays a member, but cannot be reached, is not kept in memory for long, either.
func TestInterestOfUnreachableMembersIsForgotten(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.pair(t)
		m.cut(a.id, b.id)
		time.Sleep(forgetAfter + 3*time.Second)
		synctest.Wait()
		assert.Zero(t, a.Status().Interest)
		m.heal(a.id, b.id)
		time.Sleep(helloEvery)
		settle()
		assert.True(t, a.Wanted("x"))
		assert.False(t, a.Wanted("y"))
	})
}

// A Hello that says what a node has known of another one's interest does not count when the node has forgotten it meanwhile.
func TestLateHellosDoNotCount(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.pair(t)
		m.hold(a.id, b.id)
		time.Sleep(forgetAfter + 3*time.Second)
		synctest.Wait()
		assert.Zero(t, a.Status().Interest)
		m.release(a.id, b.id)
		time.Sleep(helloEvery)
		settle()
		assert.True(t, a.link(b).isUp())
		assert.Len(t, a.changed(), 3)
		assert.True(t, a.Wanted("x"))
		assert.False(t, a.Wanted("anything"))
	})
}

// Unknown frames, frames for others and frames of former sessions do nothing.
func TestFramesThatAreNotForThisSessionAreIgnored(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.pair(t)
		batch := func(number uint64) *clusterv1.Frame {
			return &clusterv1.Frame{
				From: uint32(a.id), To: uint32(b.id), Session: a.link(b).session,
				Kind: &clusterv1.Frame_Batch{Batch: &clusterv1.Batch{Number: number, Publications: []*clusterv1.Publication{{Topic: []byte("x"), Message: []byte("1")}}}},
			}
		}
		n := b.node.Load()
		f := batch(1)
		f.To++
		n.frame(f)
		f = batch(1)
		f.From += 1000
		n.frame(f)
		f = batch(1)
		f.Session += 2
		n.frame(f)
		f = batch(1)
		f.Kind = nil
		n.frame(f)
		settle()
		assert.Empty(t, b.all())
		assert.Equal(t, uint64(2), b.Status().Ignored)
		assert.True(t, b.link(a).isUp())
		n.frame(batch(2)) // there was none before it
		assert.False(t, b.link(a).isUp())
		time.Sleep(helloEvery)
		settle()
		assert.True(t, b.link(a).isUp())
		assert.Empty(t, b.all())
	})
}

func TestInvalidFramesTakeTheLinkDown(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.pair(t)
		large := &clusterv1.Batch{Publications: []*clusterv1.Publication{{Message: make([]byte, window-100)}}}
		for name, frames := range map[string][]*clusterv1.Frame{
			"ack of what was not sent":          {{Kind: &clusterv1.Frame_Ack{Ack: &clusterv1.Ack{Batches: 1000}}}},
			"ack of interest that was not sent": {{Kind: &clusterv1.Frame_Ack{Ack: &clusterv1.Ack{Interests: 1000}}}},
			"interest that does not follow on":  {{Kind: &clusterv1.Frame_Interest{Interest: &clusterv1.Interest{Version: 99, Changes: []uint64{3}}}}},
			"pieces without a first one":        {{Kind: &clusterv1.Frame_Interest{Interest: &clusterv1.Interest{Changes: []uint64{3}}}}},
			"ack behind lost frames":            {{Kind: &clusterv1.Frame_Press{Press: &clusterv1.Press{}}}, {Kind: &clusterv1.Frame_Ack{Ack: &clusterv1.Ack{Sent: 1 << 40}}}},
			"more than the window": {
				{Kind: &clusterv1.Frame_Batch{Batch: &clusterv1.Batch{Number: 1, Publications: large.Publications}}},
				{Kind: &clusterv1.Frame_Batch{Batch: &clusterv1.Batch{Number: 2, Before: 1, Publications: large.Publications}}},
			},
		} {
			l := b.link(a)
			require.True(t, l.isUp(), name)
			block := make(chan struct{})
			b.setBlock(block)
			for _, f := range frames {
				f.Session = a.link(b).session
				if ack := f.GetAck(); ack != nil && ack.Sent == 0 {
					ack.Sent = l.arrivals
				}
				l.frame(f)
			}
			assert.False(t, l.isUp(), name)
			b.setBlock(nil)
			close(block)
			time.Sleep(helloEvery)
			settle()
		}
		assert.Empty(t, a.all())
	})
}

// A link does not come up again before the host has been given what had arrived.
func TestLinksWaitForTheHost(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.pair(t)
		block := make(chan struct{})
		b.setBlock(block)
		fill(t, a, "x")
		synctest.Wait()
		a.node.Load().broken(b.id)
		time.Sleep(5 * time.Second)
		assert.False(t, a.link(b).isUp())
		b.setBlock(nil)
		close(block)
		settle()
		assert.True(t, a.link(b).isUp())
		assert.Len(t, a.changed(), 3)
		assert.Equal(t, a.metricsOf(b).LostMessages, b.metricsOf(a).MissedMessages)
	})
}

// Another process with the same id begins anew.
func TestAnotherLifeBeginsAnew(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a := m.start(t, "a")
		first := a.startAs(t, 77)
		first.subscribe("x", "y")
		a.publish("x", "1")
		settle()
		m.kill(77)
		settle()
		a.publish("x", "2")
		second := a.startAs(t, 77)
		second.subscribe("x")
		a.publish("x", "3")
		settle()
		assert.Equal(t, []received{{a.id, "x", "3"}}, second.all())
		assert.False(t, a.Wanted("y"))
		assert.Zero(t, second.Status().MissedMessages)
	})
}

func (p *meshNode) startAs(t *testing.T, id backplane.NodeID) *meshNode {
	b := &meshNode{Backplane: p.mesh.open(fmt.Sprint(id)), t: t, mesh: p.mesh, id: id}
	b.settings.draw = func() backplane.NodeID { return id }
	_, err := b.Start(t.Context(), b)
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Stop(t.Context()) })
	return b
}
