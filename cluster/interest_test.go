package cluster

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The table of interest finds what a plain map of sets finds.
func TestInterestFindsWhoWantsATopic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type model struct {
			link  *link
			place place
			wants map[topicHash]bool
			all   bool
			up    bool
		}
		var table interest
		var models []*model
		pick := func(t *rapid.T) *model {
			if len(models) == 0 {
				t.Skip("there are no links")
			}
			return models[rapid.IntRange(0, len(models)-1).Draw(t, "link")]
		}
		topic := rapid.Custom(func(t *rapid.T) topicHash {
			return hashTopic(nil, fmt.Sprint(rapid.IntRange(0, 20).Draw(t, "topic")))
		})
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				for range rapid.IntRange(1, 20).Draw(t, "links") {
					l := &link{}
					models = append(models, &model{link: l, place: table.add(l), wants: map[topicHash]bool{}})
				}
			},
			"remove": func(t *rapid.T) {
				m := pick(t)
				table.remove(m.place)
				models = slices.DeleteFunc(models, func(o *model) bool { return o == m })
			},
			"change": func(t *rapid.T) {
				m := pick(t)
				for range rapid.IntRange(1, 20).Draw(t, "changes") {
					h := topic.Draw(t, "hash")
					if rapid.Bool().Draw(t, "wanted") {
						m.wants[h] = true
						table.apply(m.place, []uint64{uint64(h)})
					} else {
						delete(m.wants, h)
						table.apply(m.place, []uint64{uint64(h) &^ 1})
					}
				}
			},
			"clear": func(t *rapid.T) {
				m := pick(t)
				table.sweeps.Wait() // while a sweep is under way, another one may leave something
				table.clear(m.place)
				m.wants = map[topicHash]bool{}
			},
			"all": func(t *rapid.T) {
				m := pick(t)
				m.all = rapid.Bool().Draw(t, "all")
				table.setAll(m.place, m.all)
			},
			"up": func(t *rapid.T) {
				m := pick(t)
				m.up = rapid.Bool().Draw(t, "up")
				table.setUp(m.place, m.up)
			},
			"": func(t *rapid.T) {
				h := topic.Draw(t, "hash")
				var want []*link
				wanted := false
				for _, m := range models {
					if m.all || m.wants[h] {
						want = append(want, m.link)
						wanted = wanted || m.up
					}
				}
				assert.ElementsMatch(t, want, table.find(h, nil))
				assert.Equal(t, wanted, table.wanted(h))
			},
		})
		for _, m := range models {
			table.remove(m.place)
		}
		table.sweeps.Wait()
		assert.Zero(t, table.size())
		for _, b := range table.all() {
			assert.Zero(t, b.current|b.all|b.up)
			assert.Zero(t, b.sweeps)
		}
	})
}

func TestPlacesAreUsedAgain(t *testing.T) {
	var table interest
	for range 1000 {
		l := &link{}
		p := table.add(l)
		table.apply(p, []uint64{1, 3, 5})
		table.remove(p)
		table.sweeps.Wait()
	}
	assert.Len(t, table.all(), 1)
}

// A link that takes the place of another one loses nothing to the goroutines that remove what that has wanted.
func TestAPlaceIsFreeWhenItIsSwept(t *testing.T) {
	var table interest
	for range 20_000 {
		table.remove(table.add(&link{}))
		l := &link{}
		p := table.add(l)
		for i := range uint64(8) {
			table.apply(p, []uint64{i<<61 | 1})
		}
		table.sweeps.Wait()
		for i := range uint64(8) {
			require.Equal(t, []*link{l}, table.find(topicHash(i<<61|1), nil))
		}
		table.remove(p)
	}
}

// The memory of topics that nobody wants any more is given back.
func TestInterestShrinks(t *testing.T) {
	var table interest
	table.add(&link{})
	p := table.add(&link{})
	before := heap()
	for i := range uint64(100_000) {
		table.apply(p, []uint64{i*0x9E3779B97F4A7C15 | 1})
	}
	assert.Greater(t, heap()-before, uint64(1_000_000))
	table.clear(p)
	table.sweeps.Wait()
	assert.Zero(t, table.size())
	assert.Less(t, heap(), before+200_000)
	runtime.KeepAlive(&table)
}

// The changes after a version lead to the same set as all of the interest, whenever it was copied.
func TestSubscriptionsLeadToOneSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSubscriptions()
		model := map[int]int{}
		follower := map[uint64]bool{}
		var at uint64
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				i := rapid.IntRange(0, 5).Draw(t, "topic")
				model[i]++
				assert.Nil(t, s.add(topicHash(2*i+1)), "there is nobody to know")
			},
			"remove": func(t *rapid.T) {
				i := rapid.IntRange(0, 5).Draw(t, "topic")
				if model[i] > 0 {
					model[i]--
					s.remove(topicHash(2*i + 1))
				}
			},
			"follow": func(t *rapid.T) {
				changes, last, ok := s.since(at)
				assert.True(t, ok)
				for _, c := range changes {
					follower[c|1] = c&1 == 1
				}
				at += uint64(len(changes))
				assert.Equal(t, at == s.version, last)
			},
			"copy": func(*rapid.T) {
				c := s.copy()
				follower = map[uint64]bool{}
				for _, h := range c.hashes {
					follower[h] = true
				}
				at = c.version
				s.done(c)
			},
			"": func(t *rapid.T) {
				_, version := s.size()
				if at != version {
					return
				}
				for i := range 6 {
					assert.Equal(t, model[i] > 0, follower[uint64(2*i+1)])
				}
			},
		})
	})
}

func TestOldChangesAreNotKept(t *testing.T) {
	s := newSubscriptions()
	for i := range 3 * keptChanges {
		s.add(topicHash(2*i + 1))
	}
	assert.LessOrEqual(t, len(s.changes), keptChanges)
	_, _, ok := s.since(0)
	assert.False(t, ok)
	_, _, ok = s.since(s.version + 1)
	assert.False(t, ok)
	c := s.copy()
	assert.Len(t, c.hashes, 3*keptChanges)
	assert.Same(t, c, s.copy())
	s.done(c)
	s.done(c)
	assert.Nil(t, s.copied)
}

// What changes while all is copied is in the changes that follow on the copy.
func TestCopiesAreRightWhileOthersSubscribe(t *testing.T) {
	s := newSubscriptions()
	for i := range 50_000 {
		s.add(topicHash(2*i + 1))
	}
	_, before := s.size()
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range keptChanges / 8 {
			s.add(topicHash(2*(50_000+i) + 1))
			s.remove(topicHash(2*(i*3%50_000) + 1))
		}
	})
	c := s.copy()
	wg.Wait()
	assert.GreaterOrEqual(t, c.version, before)
	set := map[topicHash]struct{}{}
	for _, h := range c.hashes {
		set[topicHash(h)] = struct{}{}
	}
	for _, change := range s.changes[len(s.changes)-int(s.version-c.version):] {
		if change&1 == 1 {
			set[topicHash(change)] = struct{}{}
		} else {
			delete(set, topicHash(change|1))
		}
	}
	assert.True(t, maps.Equal(set, s.wanted))
}

// A node that was away for long is sent all of the interest in pieces, and wants everything until the last one is there.
func TestInterestIsSentInPieces(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.start(t, "a"), m.start(t, "b")
		b.subscribe("old")
		m.cut(a.id, b.id)
		time.Sleep(deadAfter)
		settle()
		b.Unsubscribe("old")
		const topics = 10 * pieceOfInterest
		for i := range topics {
			assert.Nil(t, b.Subscribe(fmt.Sprint(i)))
		}
		m.delay = func() time.Duration { return 20 * time.Millisecond }
		m.heal(a.id, b.id)
		time.Sleep(helloEvery)
		for !a.link(b).isUp() {
			time.Sleep(time.Millisecond)
		}
		assert.True(t, a.Wanted("anything"))
		c := m.start(t, "c")
		assert.False(t, c.Wanted("anything"))
		assert.True(t, c.Wanted("1"))
		settle()
		assert.False(t, a.Wanted("anything"))
		assert.False(t, a.Wanted("old"))
		for i := range topics {
			assert.True(t, a.Wanted(fmt.Sprint(i)))
		}
		assert.Equal(t, topics, a.Status().Interest)
		assert.Equal(t, topics, b.Status().Subscribed)
		assert.Nil(t, b.node.Load().subs.copied)
	})
}

// A link that falls amid the pieces begins with the first one again.
func TestPiecesBeginAnewAfterAFall(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.start(t, "a"), m.start(t, "b")
		m.cut(a.id, b.id)
		time.Sleep(deadAfter)
		settle()
		for i := range 9 * pieceOfInterest {
			b.Subscribe(fmt.Sprint(i))
		}
		m.delay = func() time.Duration { return 20 * time.Millisecond }
		m.heal(a.id, b.id)
		for a.Status().Interest < pieceOfInterest {
			time.Sleep(time.Millisecond)
		}
		a.node.Load().broken(b.id)
		b.Unsubscribe("1")
		time.Sleep(2 * time.Second)
		assert.Equal(t, 9*pieceOfInterest-1, a.Status().Interest)
		assert.False(t, a.Wanted("1"))
	})
}

// A node that comes back wants everything until it has said what it wants.
func TestNodesThatComeBackWantEverything(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.pair(t)
		m.cut(b.id, a.id)
		time.Sleep(deadAfter)
		settle()
		for i := range 6 * pieceOfInterest {
			b.Subscribe(fmt.Sprint(i))
		}
		assert.Nil(t, b.Subscribe("new"), "nobody is up")
		m.delay = func() time.Duration { return 20 * time.Millisecond }
		m.heal(b.id, a.id) // a is the first to say Hello, and the first to be up
		for !a.Wanted("x") {
			time.Sleep(time.Millisecond)
		}
		assert.True(t, a.Wanted("anything"))
		for range 200 {
			assert.True(t, a.Wanted("new"))
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		assert.False(t, a.Wanted("anything"))
	})
}

// Whoever has not heard of too many changes is told of everything anew, and sends everything meanwhile.
func TestNodesThatFallBehindAreToldAnew(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.start(t, "a"), m.start(t, "b")
		wanted := []string{"v", "w", "x", "y", "z"}
		b.subscribe(wanted...)
		m.delay = func() time.Duration { return 20 * time.Millisecond }
		for i := range 2*keptChanges + 10 {
			b.Subscribe(fmt.Sprint(i))
		}
		known := b.Subscribe("last")
		for range 2000 {
			for _, topic := range wanted {
				assert.True(t, a.Wanted(topic))
			}
			time.Sleep(time.Millisecond)
			if isClosed(known) {
				break
			}
		}
		assert.True(t, isClosed(known))
		assert.True(t, a.Wanted("last"))
		assert.False(t, a.Wanted("anything"))
		assert.True(t, a.link(b).isUp())
	})
}

// known is not held up by messages that wait.
func TestInterestOvertakesMessages(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.pair(t)
		block := make(chan struct{})
		b.setBlock(block)
		fill(t, a, "x")
		known := a.Subscribe("y")
		settle()
		assert.True(t, isClosed(known))
		assert.True(t, b.Wanted("y"))
		close(block)
	})
}

func TestKnownIsClosedWhenTheLastNodeHasAnsweredOrGone(t *testing.T) {
	bubble(t, func(t *testing.T, m *mesh) {
		a, b := m.start(t, "a"), m.start(t, "b")
		c := m.start(t, "c")
		m.hold(c.id, a.id)
		known := a.Subscribe("x")
		settle()
		assert.True(t, b.Wanted("x"))
		assert.False(t, isClosed(known))
		m.kill(c.id)
		settle()
		assert.True(t, isClosed(known))
		known = a.Subscribe("y")
		assert.NotNil(t, known)
		assert.Less(t, waitFor(known), 10*time.Millisecond)
	})
}
