package cluster

import (
	"cmp"
	"maps"
	"slices"

	"github.com/troupe-go/troupe/hubsys/backplane"
)

// Metrics is what a node knows of the cluster.
type Metrics struct {
	Members    int    // other nodes
	Up         int    // of them
	Subscribed int    // topics that this node wants
	Interest   int    // topics that other nodes want
	Ignored    uint64 // frames of an unknown kind or for another node, and messages that are larger than this node takes
	// Lost is what has been lost since the start, also of nodes that are not there any more.
	LostBatches, LostMessages     uint64
	MissedBatches, MissedMessages uint64
	Peers                         []PeerMetrics
}

// PeerMetrics is what a node knows of another one.
type PeerMetrics struct {
	backplane.Node
	Member         bool   // it has not left
	Draining       bool   // it opens no connections any more
	Refused        string // why it cannot be talked to
	Queued         int    // bytes that have not been sent
	Unacknowledged int    // bytes that have been sent, and may not have been received
	Pressed        int    // topics for which it has no room
	// Lost is what has not reached it, and Missed what has not come from it. A batch that has been sent on a link that goes down is counted when it
	// is known whether it has arrived, or when the node is forgotten. Messages that no batch was made of are only counted as messages.
	LostBatches, LostMessages     uint64
	MissedBatches, MissedMessages uint64
}

// lost is what a link has lost.
type lost struct{ lostBatches, lostMessages, missedBatches, missedMessages uint64 }

func (a *lost) add(b lost) {
	a.lostBatches += b.lostBatches
	a.lostMessages += b.lostMessages
	a.missedBatches += b.missedBatches
	a.missedMessages += b.missedMessages
}

func (l *link) lost() lost {
	return lost{l.out.lostBatches, l.out.lostMessages, l.in.missedBatches, l.in.missedMessages}
}

// Metrics returns what this node knows of the cluster.
func (b *Backplane) Metrics() (m Metrics) {
	n := b.node.Load()
	if n == nil {
		return m
	}
	m.Subscribed, _ = n.subs.size()
	m.Interest = n.topics.size()
	m.Ignored = n.ignored.Load()
	n.mu.Lock()
	total := n.former
	links := slices.Collect(maps.Values(n.links))
	n.mu.Unlock()
	for _, l := range links {
		p := l.metrics()
		if p.Member {
			m.Members++
		}
		if p.Up {
			m.Up++
		}
		total.add(lost{p.LostBatches, p.LostMessages, p.MissedBatches, p.MissedMessages})
		m.Peers = append(m.Peers, p)
	}
	slices.SortFunc(m.Peers, func(a, b PeerMetrics) int { return cmp.Compare(a.ID, b.ID) })
	m.LostBatches, m.LostMessages, m.MissedBatches, m.MissedMessages = total.lostBatches, total.lostMessages, total.missedBatches, total.missedMessages
	return m
}

func (l *link) metrics() PeerMetrics {
	l.mu.Lock()
	defer l.mu.Unlock()
	lost := l.lost()
	return PeerMetrics{
		Node:   backplane.Node{ID: l.peer, Name: l.member.name, Up: l.up},
		Member: l.isMember, Draining: l.member.draining, Refused: l.refused,
		Queued: l.out.queued, Unacknowledged: l.out.flying, Pressed: len(l.pressed),
		LostBatches: lost.lostBatches, LostMessages: lost.lostMessages, MissedBatches: lost.missedBatches, MissedMessages: lost.missedMessages,
	}
}
