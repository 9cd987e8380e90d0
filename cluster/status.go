package cluster

import (
	"cmp"
	"maps"
	"slices"

	"github.com/troupe-go/troupe/hubsys/backplane"
)

// Status is what a node knows of the cluster.
type Status struct {
	backplane.Node        // this one, which is up when it has joined
	Address        string // at which other nodes find it, as in Config.Seeds

	Members    int    // other nodes
	MembersUp  int    // of them
	Subscribed int    // topics that this node wants
	Interest   int    // topics that other nodes want
	Ignored    uint64 // what has come from processes that are no members, or for another node, is of an unknown kind, or too large
	Losses            // since the start, also with nodes that are not there any more
	Peers      []PeerStatus
}

// PeerStatus is what a node knows of another one.
type PeerStatus struct {
	backplane.Node
	Member         bool   // it has not left
	Draining       bool   // it opens no connections any more
	Refused        string // why it cannot be talked to
	Queued         int    // bytes that have not been sent
	Unacknowledged int    // bytes that have been sent, and may not have been received
	Pressed        int    // topics for which it has no room
	Losses
}

// Losses are what has been lost on the way to other nodes, and what was missed of what they have sent. A batch that has been sent on a link that goes
// down is counted when it is known whether it has arrived, or when the node is forgotten. Messages that no batch was made of are only counted as
// messages.
type Losses struct{ LostBatches, LostMessages, MissedBatches, MissedMessages uint64 }

func (a *Losses) add(b Losses) {
	a.LostBatches += b.LostBatches
	a.LostMessages += b.LostMessages
	a.MissedBatches += b.MissedBatches
	a.MissedMessages += b.MissedMessages
}

func (l *link) losses() Losses {
	return Losses{l.out.lostBatches, l.out.lostMessages, l.in.missedBatches, l.in.missedMessages}
}

// Status returns what this node knows of the cluster.
func (b *Backplane) Status() (m Status) {
	n := b.node.Load()
	if n == nil {
		return m
	}
	m.Node, m.Address = backplane.Node{ID: n.id, Name: b.settings.name, Up: !b.stopped.Load()}, n.network.address()
	m.Subscribed, _ = n.subs.size()
	m.Interest = n.topics.size()
	m.Ignored = n.ignored.Load() + n.network.ignored()
	n.mu.Lock()
	m.Losses = n.former
	links := slices.Collect(maps.Values(n.links))
	n.mu.Unlock()
	for _, l := range links {
		p := l.status()
		if p.Member {
			m.Members++
		}
		if p.Up {
			m.MembersUp++
		}
		m.add(p.Losses)
		m.Peers = append(m.Peers, p)
	}
	slices.SortFunc(m.Peers, func(a, b PeerStatus) int { return cmp.Compare(a.ID, b.ID) })
	return m
}

func (l *link) status() PeerStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	return PeerStatus{
		Node:   backplane.Node{ID: l.peer, Name: l.member.name, Up: l.up},
		Member: l.isMember, Draining: l.member.draining, Refused: l.refused,
		Queued: l.out.queued, Unacknowledged: l.out.flying, Pressed: len(l.pressed), Losses: l.losses(),
	}
}
