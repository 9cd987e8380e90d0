//go:build linux

package nodes

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

const (
	streamGroup = "stream"
	streamPause = 5 * time.Millisecond
	streamPad   = 4 << 10 // so that the window of a node that is away is soon full
)

// traffic is what one client on each node sends to a group without end, and what one client on each node gets.
type traffic struct {
	c       *cluster
	members []*member
	stopped chan struct{}
	sending sync.WaitGroup

	mu      sync.Mutex
	sent    []int // by node, the number of the last message that has been sent
	longest []time.Duration
	last    map[[2]int]int // by receiver and sender, the number of the last message that has arrived
	arrived map[[2]int]int
	faults  []string

	before map[[2]int]counts // of what was lost before it began
}

func (c *cluster) startTraffic(t *testing.T) *traffic {
	t.Helper()
	s := &traffic{
		c: c, stopped: make(chan struct{}), sent: make([]int, len(c.nodes)), longest: make([]time.Duration, len(c.nodes)),
		last: map[[2]int]int{}, arrived: map[[2]int]int{},
	}
	for i, x := range c.nodes {
		s.members = append(s.members, c.join("stream "+x.name, []*node{x}, func(text string) bool { return s.take(i, text) }, streamGroup))
	}
	c.awaitMembers(t)
	s.before = c.allCounts(t)
	for i := range c.nodes {
		s.sending.Go(func() { s.send(i) })
	}
	// It has begun when each has heard each.
	await(t, "the streams begin", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if n := len(s.last); n < len(c.nodes)*len(c.nodes) {
			return fmt.Errorf("%d of them do", n)
		}
		return nil
	})
	return s
}

func (s *traffic) send(from int) {
	client, _ := s.members[from].current()
	tick := time.NewTicker(streamPause)
	defer tick.Stop()
	pad := strings.Repeat("x", streamPad)
	for n := 1; client != nil; n++ {
		select {
		case <-s.stopped:
			return
		case <-tick.C:
		}
		began := time.Now()
		err := client.call(nil, "ToGroup", streamGroup, fmt.Sprintf("stream %d %d %s", from, n, pad))
		s.mu.Lock()
		if err != nil {
			s.mu.Unlock()
			return
		}
		s.sent[from] = n
		s.longest[from] = max(s.longest[from], time.Since(began))
		s.mu.Unlock()
	}
}

func (s *traffic) take(to int, text string) bool {
	var from, n int
	if _, err := fmt.Sscanf(text, "stream %d %d", &from, &n); err != nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	way := [2]int{to, from}
	if n <= s.last[way] {
		s.faults = append(s.faults, fmt.Sprintf("message %d of %d comes to %d behind %d", n, from, to, s.last[way]))
	}
	s.last[way] = n
	s.arrived[way]++
	return true
}

// stop stops sending.
func (s *traffic) stop() {
	close(s.stopped)
	s.sending.Wait()
}

// missing returns how many messages of a node have not arrived at another one.
func (s *traffic) missing(to, from int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent[from] - s.arrived[[2]int{to, from}]
}

// check checks, when nothing is sent any more, that what has not arrived has been counted as lost, and as missed, for pairs of nodes, both ways. It
// returns how much has not arrived, by receiver and sender.
func (s *traffic) check(t *testing.T, pairs [][2]int) map[[2]int]int {
	t.Helper()
	gone := map[[2]int]int{}
	for _, pair := range pairs {
		for _, way := range both(pair) {
			to, from := way[0], way[1]
			await(t, fmt.Sprintf("what goes from node %d to %d arrives, or is counted", from, to), func() error {
				n := s.missing(to, from)
				now, err := s.c.counts(to, from)
				lost, missed := now.lost-s.before[way].lost, now.missed-s.before[way].missed
				if err == nil && (lost != missed || uint64(n) > lost) {
					err = fmt.Errorf("%d messages have not arrived, %d are counted as lost, and %d as missed", n, lost, missed)
				}
				return err
			})
		}
	}
	for to := range s.c.nodes {
		for from := range s.c.nodes {
			gone[[2]int{to, from}] = s.missing(to, from)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	assert.Empty(t, s.faults)
	return gone
}

// counts are how many messages from one node to another one were lost, as both tell it.
type counts struct{ lost, missed uint64 }

func (c *cluster) counts(to, from int) (n counts, err error) {
	p, err := c.nodes[from].peer(c.nodes[to])
	if err != nil {
		return n, err
	}
	q, err := c.nodes[to].peer(c.nodes[from])
	return counts{p.LostMessages, q.MissedMessages}, err
}

// allCounts returns the counts of all pairs of nodes.
func (c *cluster) allCounts(t *testing.T) map[[2]int]counts {
	t.Helper()
	all := map[[2]int]counts{}
	for to := range c.nodes {
		for from := range c.nodes {
			if to != from {
				await(t, "the nodes answer", func() (err error) {
					all[[2]int{to, from}], err = c.counts(to, from)
					return err
				})
			}
		}
	}
	return all
}

// both returns both directions of a pair.
func both(pair [2]int) [2][2]int { return [2][2]int{pair, {pair[1], pair[0]}} }
