package planetest

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A message reaches each node that wants its topic once, and nobody else.
func testDelivery(s *suite) {
	nodes := s.cluster("a", "b", "c")
	a, b, c := nodes[0], nodes[1], nodes[2]
	s.subscribe(a, "common")
	s.subscribe(b, "common", "b")
	s.subscribe(c, "common", "c")
	s.send(a, "common", "1")
	s.send(a, "b", "2")
	s.send(a, "c", "3")
	s.send(a, "nobody", "4")
	s.reaches(a, b, "common")
	s.reaches(a, c, "common")
	assert.Equal(s, []event{{from: a.id, topic: "common", text: "1"}, {from: a.id, topic: "b", text: "2"}}, b.wantedOf(a, "common", "b"))
	assert.Equal(s, []event{{from: a.id, topic: "common", text: "1"}, {from: a.id, topic: "c", text: "3"}}, c.wantedOf(a, "common", "c"))
	assert.Empty(s, a.messages(a.id), "a node does not hear itself")
	if s.Promises.Interest {
		assert.Len(s, b.messages(a.id), 2)
	}
	assert.NotEqual(s, a.id, b.id)
	for _, n := range a.Nodes() {
		assert.Contains(s, []string{"b", "c"}, n.Name)
	}
	assert.Len(s, a.Nodes(), 2)
}

// wantedOf returns the messages of a node for some topics. Others may be delivered, and are ignored by hosts.
func (n *node) wantedOf(from *node, topics ...string) (messages []event) {
	for _, e := range n.messages(from.id) {
		for _, topic := range topics {
			if e.topic == topic {
				messages = append(messages, e)
			}
		}
	}
	return messages
}

// Topics and messages are bytes.
func testBytes(s *suite) {
	nodes := s.cluster("a", "b")
	a, b := nodes[0], nodes[1]
	topics := []string{"", "\xff\xfe\x00", strings.Repeat("t", 3<<10), "g/Chat/a b.*>#", "ä"}
	s.subscribe(b, topics...)
	for _, topic := range topics {
		for _, text := range []string{"", "\x00", "\xff", "text"} {
			s.send(a, topic, text)
		}
		s.reaches(a, b, topic)
		var got []string
		for _, e := range b.wantedOf(a, topic) {
			got = append(got, e.text)
		}
		assert.Equal(s, []string{"", "\x00", "\xff", "text"}, got, "%q", topic)
	}
}

// What one goroutine publishes arrives in that order, whatever the topics.
func testOrder(s *suite) {
	nodes := s.cluster("a", "b", "c")
	a := nodes[0]
	topics := []string{"t0", "t1", "t2", "t3"}
	for _, n := range nodes[1:] {
		s.subscribe(n, topics...)
	}
	const messages = 2000
	for i := range messages {
		s.send(a, topics[rand.IntN(len(topics))], fmt.Sprint(i)+strings.Repeat(" ", rand.IntN(3000)))
	}
	for _, n := range nodes[1:] {
		s.await("all messages arrive", func() bool { return len(n.messages(a.id)) >= messages })
		for i, e := range n.messages(a.id) {
			require.Equal(s, fmt.Sprint(i), strings.TrimSpace(e.text))
		}
	}
}

// Goroutines publish, subscribe and ask at the same time.
func testConcurrency(s *suite) {
	nodes := s.cluster("a", "b", "c")
	for _, n := range nodes {
		s.subscribe(n, "common")
	}
	const goroutines, messages = 4, 300
	var wg sync.WaitGroup
	failed := make(chan error, len(nodes)*goroutines*messages)
	for _, n := range nodes {
		for g := range goroutines {
			wg.Go(func() {
				for i := range messages {
					topic := fmt.Sprintf("%d", i%10)
					if i%20 < 10 && g == 0 {
						n.Subscribe(topic)
					} else if g == 0 {
						n.Unsubscribe(topic)
					}
					n.Wanted(topic)
					n.Nodes()
					room, err := n.Publish("common", fmt.Appendf(nil, "%d %d", g, i))
					if err != nil {
						failed <- err
					}
					if room != nil {
						<-room
					}
				}
			})
		}
	}
	wg.Wait()
	assert.Empty(s, failed)
	for _, n := range nodes {
		for _, from := range nodes {
			if from == n {
				continue
			}
			s.await("all messages arrive", func() bool { return len(n.wantedOf(from, "common")) >= goroutines*messages })
			var next [goroutines]int
			for _, e := range n.wantedOf(from, "common") {
				g, i, _ := strings.Cut(e.text, " ")
				goroutine, err := strconv.Atoi(g)
				require.NoError(s, err)
				require.Equal(s, fmt.Sprint(next[goroutine]), i)
				next[goroutine]++
			}
		}
	}
}

// What is not wanted any more ceases to arrive, if the Backplane knows what is wanted.
func testUnsubscribe(s *suite) {
	nodes := s.cluster("a", "b")
	a, b := nodes[0], nodes[1]
	s.subscribe(b, "t", "other")
	b.Unsubscribe("t")
	if s.Promises.Interest {
		s.await("the topic is not wanted", func() bool { return !a.Wanted("t") })
		s.send(a, "t", "1")
		s.reaches(a, b, "other")
		assert.Empty(s, b.messages(a.id))
	}
	s.subscribe(b, "t")
	s.send(a, "t", "2")
	s.reaches(a, b, "t")
	assert.Contains(s, b.messages(a.id), event{from: a.id, topic: "t", text: "2"})
}

// Wanted is true for what another node wants, and false for what nobody wants, if that is promised.
func testInterest(s *suite) {
	nodes := s.cluster("a", "b", "c")
	a, b, c := nodes[0], nodes[1], nodes[2]
	s.subscribe(b, "t")
	s.subscribe(c, "t")
	s.subscribe(a, "own")
	assert.True(s, a.Wanted("t"))
	assert.True(s, b.Wanted("t"))
	if s.Promises.Interest {
		assert.False(s, a.Wanted("own"))
		assert.False(s, a.Wanted("nobody's"))
	}
	b.Unsubscribe("t")
	s.subscribe(b, "u")
	assert.True(s, a.Wanted("t"), "c wants it")
	c.Unsubscribe("t")
	if s.Promises.Interest {
		s.await("the topic is not wanted", func() bool { return !a.Wanted("t") && !b.Wanted("t") })
	}
}

// When a topic is known, the first message arrives.
func testKnown(s *suite) {
	if !s.Promises.Known {
		s.Skip("Known is not promised")
	}
	nodes := s.cluster("a", "b", "c")
	for i := range 200 {
		n := nodes[i%3]
		topic := fmt.Sprint(i)
		s.wait("known", n.Subscribe(topic))
		for _, o := range nodes {
			if o != n {
				assert.True(s, o.Wanted(topic))
				s.send(o, topic, topic)
			}
		}
	}
	for i := range 200 {
		n := nodes[i%3]
		for _, o := range nodes {
			if o != n {
				s.await("the message arrives", func() bool { return len(n.wantedOf(o, fmt.Sprint(i))) == 1 })
			}
		}
	}
}

// A node that has started knows what others want, and what it publishes first arrives.
func testStart(s *suite) {
	nodes := s.cluster("a", "b")
	a, b := nodes[0], nodes[1]
	s.subscribe(a, "t")
	s.subscribe(b, "t")
	c := s.start("c")
	assert.True(s, c.Wanted("t"))
	s.send(c, "t", "first")
	for _, n := range nodes {
		s.await("the first message arrives", func() bool { return len(n.messages(c.id)) == 1 })
		s.await("c is up", func() bool { return n.sees(c) && n.isUp(c) })
		history := n.history()
		assert.Equal(s, c.id, history[len(history)-2].node.ID, "news of a node come before its messages")
	}
	s.subscribe(c, "t")
	s.send(a, "t", "second")
	s.reaches(a, c, "t")
	assert.Contains(s, c.messages(a.id), event{from: a.id, topic: "t", text: "second"})
}

// Large messages arrive whole and in order, and too large ones are refused.
func testLargeMessages(s *suite) {
	nodes := s.cluster("a", "b")
	a, b := nodes[0], nodes[1]
	s.subscribe(b, "t")
	for i, size := range []int{10, 100_000, 1 << 20, 10, 3 << 20, 10} {
		if size <= s.MaxMessage || s.MaxMessage == 0 {
			s.send(a, "t", fmt.Sprint(i)+strings.Repeat("x", size))
			if !s.Promises.Room { // what is queued is limited
				s.reaches(a, b, "t")
			}
		}
	}
	if s.MaxMessage > 0 {
		_, err := a.Publish("t", make([]byte, s.MaxMessage+1))
		large := tooLarge(err)
		require.NotNil(s, large, "%v", err)
		assert.Equal(s, s.MaxMessage+1, large.Size)
	}
	s.reaches(a, b, "t")
	last := -1
	for _, e := range b.messages(a.id) {
		i, err := strconv.Atoi(strings.TrimRight(e.text, "x"))
		require.NoError(s, err)
		assert.Greater(s, i, last)
		last = i
	}
	assert.Equal(s, 5, last)
}
