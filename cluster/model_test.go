package cluster

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/hubsys/backplane"
)

// checkIn runs a property in a bubble. The test is hidden, so that rapid does not ask for its deadline.
func checkIn(t *testing.T, f func(*rapid.T)) {
	synctest.Test(t, func(t *testing.T) { rapid.Check(struct{ rapid.TB }{t}, f) })
}

// delays draws delays of frames, on average a few milliseconds.
func delays(t *rapid.T) func() time.Duration {
	steps := rapid.SliceOfN(rapid.IntRange(0, 20), 1, 8).Draw(t, "delays")
	i := 0
	lock := make(chan struct{}, 1)
	return func() time.Duration {
		lock <- struct{}{}
		defer func() { <-lock }()
		i++
		return time.Duration(steps[i%len(steps)]) * time.Millisecond
	}
}

// Whatever happens to the nodes and to what is between them, in the end each knows what the others want. known is closed only when all that are up
// send what has been subscribed.
func TestInterestConverges(t *testing.T) {
	checkIn(t, func(t *rapid.T) {
		m := newMesh()
		m.delay = delays(t)
		topics := []string{"t0", "t1", "t2", "t3", "t4", "t5"}
		type modelNode struct {
			*meshNode
			wants map[string]bool
		}
		var nodes []*modelNode
		var apart [][2]backplane.NodeID
		ended := make(chan struct{})
		defer func() {
			close(ended)
			for _, n := range nodes {
				_ = n.Stop(context.Background())
			}
		}()
		draw := func(t *rapid.T, name string) *modelNode {
			if len(nodes) == 0 {
				t.Skip("there are no nodes")
			}
			return nodes[rapid.IntRange(0, len(nodes)-1).Draw(t, name)]
		}
		two := func(t *rapid.T) (*modelNode, *modelNode) {
			if len(nodes) < 2 {
				t.Skip("there are no two nodes")
			}
			i := rapid.IntRange(0, len(nodes)-1).Draw(t, "one")
			return nodes[i], nodes[(i+rapid.IntRange(1, len(nodes)-1).Draw(t, "other"))%len(nodes)]
		}
		leave := func(n *modelNode) {
			nodes = slices.DeleteFunc(nodes, func(o *modelNode) bool { return o == n })
			apart = slices.DeleteFunc(apart, func(p [2]backplane.NodeID) bool { return p[0] == n.id || p[1] == n.id })
		}
		isReached := func(from *modelNode, to *modelNode, topic string) bool {
			l := from.link(to.meshNode)
			return l != nil && slices.Contains(from.node.Load().topics.find(hashTopic(from.settings.topicKeys[0], topic), nil), l)
		}
		var failure string
		await := func(n *modelNode, topic string, known <-chan struct{}, others []*modelNode) {
			select {
			case <-known:
			case <-ended:
				return
			}
			for _, o := range others {
				here, there := n.link(o.meshNode), o.link(n.meshNode)
				if here == nil || there == nil || !here.isUp() || !there.isUp() || here.theirsNow() != there.sessionNow() || there.theirsNow() != here.sessionNow() {
					continue
				}
				if !isReached(o, n, topic) && n.isSubscribed(topic) {
					failure = fmt.Sprintf("%s is known to be wanted by %s, but %s does not send it", topic, n.id, o.id)
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"start": func(t *rapid.T) {
				if len(nodes) == 5 {
					t.Skip("there are enough")
				}
				n := &modelNode{&meshNode{Backplane: m.open("n"), mesh: m}, map[string]bool{}}
				id, err := n.Start(context.Background(), n)
				require.NoError(t, err)
				n.id = id
				nodes = append(nodes, n)
			},
			"stop": func(t *rapid.T) {
				n := draw(t, "node")
				require.NoError(t, n.Stop(context.Background()))
				leave(n)
			},
			"kill": func(t *rapid.T) {
				n := draw(t, "node")
				m.kill(n.id)
				_ = n.Stop(context.Background())
				leave(n)
			},
			"subscribe": func(t *rapid.T) {
				n := draw(t, "node")
				topic := rapid.SampledFrom(topics).Draw(t, "topic")
				if n.wants[topic] {
					n.wants[topic] = false
					n.Unsubscribe(topic)
					return
				}
				n.wants[topic] = true
				if known := n.Subscribe(topic); known != nil {
					go await(n, topic, known, slices.Clone(nodes))
				}
			},
			"cut":  func(t *rapid.T) { a, b := two(t); m.cut(a.id, b.id) },
			"heal": func(t *rapid.T) { a, b := two(t); m.heal(a.id, b.id) },
			"hold": func(t *rapid.T) { a, b := two(t); m.hold(a.id, b.id) },
			"stall": func(t *rapid.T) {
				a := draw(t, "node")
				for _, b := range nodes {
					m.hold(a.id, b.id)
					m.hold(b.id, a.id)
				}
				time.Sleep(time.Duration(rapid.IntRange(1, 5000).Draw(t, "ms")) * time.Millisecond)
				for _, b := range nodes {
					m.release(a.id, b.id)
					m.release(b.id, a.id)
				}
			},
			"release": func(t *rapid.T) { a, b := two(t); m.release(a.id, b.id) },
			"broken":  func(t *rapid.T) { a, b := two(t); a.node.Load().broken(b.id) },
			"part": func(t *rapid.T) {
				a, b := two(t)
				m.part(a.id, b.id)
				apart = append(apart, [2]backplane.NodeID{a.id, b.id})
			},
			"meet": func(t *rapid.T) {
				for _, p := range apart {
					m.meet(p[0], p[1])
				}
				apart = nil
			},
			"wait": func(t *rapid.T) { time.Sleep(time.Duration(rapid.IntRange(1, 3000).Draw(t, "ms")) * time.Millisecond) },
			"long": func(t *rapid.T) { time.Sleep(forgetAfter + 2*time.Second) },
		})
		for _, a := range nodes {
			for _, b := range nodes {
				m.heal(a.id, b.id)
				m.release(a.id, b.id)
			}
		}
		for _, p := range apart {
			m.meet(p[0], p[1])
		}
		time.Sleep(deadAfter + 2*helloEvery + time.Second)
		synctest.Wait()
		require.Empty(t, failure)
		for _, a := range nodes {
			a.check(t)
			require.Equal(t, len(nodes)-1, a.Status().MembersUp)
			for _, b := range nodes {
				for _, topic := range topics {
					if a != b {
						require.Equal(t, b.wants[topic], isReached(a, b, topic), "%s of %s at %s", topic, b.id, a.id)
					}
				}
			}
		}
	})
}

func (l *link) theirsNow() uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.theirs
}

func (l *link) sessionNow() uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.session
}

func (b *Backplane) isSubscribed(topic string) bool {
	s := b.node.Load().subs
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.wanted[b.hashes.of(topic)]
	return ok
}

// A link delivers once and in order. It loses nothing while it is up, and what it loses otherwise both ends count alike. Senders that wait for room
// wait no longer than the rules say.
func TestLinksCountWhatTheyLose(t *testing.T) {
	checkIn(t, func(t *rapid.T) {
		m := newMesh()
		m.delay = delays(t)
		peers := [2]*meshNode{{mesh: m}, {mesh: m}}
		for i, p := range peers {
			p.Backplane = m.open(fmt.Sprint(i))
			id, err := p.Start(context.Background(), p)
			require.NoError(t, err)
			p.id = id
			defer p.Stop(context.Background())
			for known := p.Subscribe("x"); known != nil; known = nil {
				<-known
			}
		}
		var published [2]int
		blocks := [2]chan struct{}{}
		side := func(t *rapid.T) int { return rapid.IntRange(0, 1).Draw(t, "side") }
		unblock := func(i int) {
			if blocks[i] != nil {
				peers[i].setBlock(nil)
				close(blocks[i])
				blocks[i] = nil
			}
		}
		defer func() { unblock(0); unblock(1) }()
		disturbed := false
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) {
				i := side(t)
				size := rapid.SampledFrom([]int{10, 1000, 50_000, 300_000}).Draw(t, "size")
				for range rapid.IntRange(1, max(2, min(60, 2*queueLimit/size))).Draw(t, "messages") {
					published[i]++
					room, err := peers[i].Publish("x", []byte(fmt.Sprint(published[i])+strings.Repeat(" ", size)))
					require.NoError(t, err)
					require.LessOrEqual(t, waitFor(room), stallAfter+100*time.Millisecond, "acknowledgements were under way at first")
				}
			},
			"block": func(t *rapid.T) {
				if i := side(t); blocks[i] == nil {
					blocks[i] = make(chan struct{})
					peers[i].setBlock(blocks[i])
				}
			},
			"unblock": func(t *rapid.T) { unblock(side(t)) },
			"hold": func(t *rapid.T) {
				disturbed = true
				i := side(t)
				m.hold(peers[i].id, peers[1-i].id)
			},
			"release": func(t *rapid.T) { i := side(t); m.release(peers[i].id, peers[1-i].id) },
			"cut": func(t *rapid.T) {
				disturbed = true
				i := side(t)
				m.cut(peers[i].id, peers[1-i].id)
			},
			"heal": func(t *rapid.T) { i := side(t); m.heal(peers[i].id, peers[1-i].id) },
			"broken": func(t *rapid.T) {
				disturbed = true
				i := side(t)
				peers[i].node.Load().broken(peers[1-i].id)
			},
			"part": func(t *rapid.T) {
				disturbed = true
				m.part(peers[0].id, peers[1].id)
				time.Sleep(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
				m.meet(peers[0].id, peers[1].id)
			},
			"wait": func(t *rapid.T) { time.Sleep(time.Duration(rapid.IntRange(1, 2500).Draw(t, "ms")) * time.Millisecond) },
		})
		for i, p := range peers {
			unblock(i)
			m.heal(p.id, peers[1-i].id)
			m.release(p.id, peers[1-i].id)
		}
		time.Sleep(deadAfter + 2*helloEvery + time.Second)
		for i, p := range peers {
			require.Equal(t, 1, p.Status().MembersUp)
			published[i]++
			_, err := p.Publish("x", []byte(fmt.Sprint(published[i])))
			require.NoError(t, err)
		}
		settle()
		for i, p := range peers {
			here, there := p.metricsOf(peers[1-i]), peers[1-i].metricsOf(p)
			last := 0
			got := peers[1-i].all()
			for _, d := range got {
				n, err := strconv.Atoi(strings.TrimSpace(d.text))
				require.NoError(t, err)
				require.Greater(t, n, last, "in order, and once")
				last = n
			}
			require.Equal(t, published[i]-len(got), int(here.LostMessages))
			require.Equal(t, here.LostMessages, there.MissedMessages)
			require.Equal(t, here.LostBatches, there.MissedBatches)
			require.Equal(t, there.MissedMessages, peers[1-i].hasMissed())
			if changes := p.changed(); !disturbed {
				assert.Len(t, changes, 1)
				require.Zero(t, here.LostBatches)
			}
			p.check(t)
		}
	})
}
