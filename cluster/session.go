package cluster

import (
	"log/slog"
	"time"

	"github.com/troupe-go/troupe/hubsys/backplane"
	clusterv1 "github.com/troupe-go/troupe/proto/troupe/cluster/v1"
)

func (l *link) helloFrame(now time.Time) *clusterv1.Frame {
	s := l.node.settings
	h := &clusterv1.Hello{
		Cluster: s.cluster, Network: s.network, Version: protocolVersion, Oldest: oldestVersion, Life: l.node.life, Answers: l.theirs, Taken: l.taken,
		Batches: l.out.batches, Messages: l.out.messages + l.out.dropped, SeenBatches: l.in.seen, SeenChanges: l.in.version,
	}
	l.hello, l.taken, l.nextHello = false, 0, now.Add(helloEvery)
	return &clusterv1.Frame{Session: l.session, Kind: &clusterv1.Frame_Hello{Hello: h}}
}

// greeted takes a Hello.
func (l *link) greeted(h *clusterv1.Hello, session uint32, now time.Time) {
	if why := l.node.settings.refuses(h); why != l.refused {
		l.refused = why
		if why != "" {
			l.fall(now, why)
			l.hello = true // the other node is to learn it, too
			l.reports = append(l.reports, report{slog.LevelError, "a node cannot be talked to", []any{"name", l.member.name, "reason", why}})
		}
	}
	if l.refused != "" {
		return
	}
	if h.GetLife() != l.life {
		if l.up {
			l.taken, l.hello = h.GetLife(), true
			return
		}
		l.out.settle(0)
		l.out.batches, l.out.messages, l.out.dropped = 0, 0, 0
		l.in.batches, l.in.seen, l.in.messages = 0, 0, 0
		if l.life == 0 { // what the node may have sent before has been forgotten here
			l.in.batches, l.in.messages = h.GetBatches(), h.GetMessages()
		}
		l.forgetInterest()
		l.life = h.GetLife()
	}
	if session != l.theirs {
		l.fall(now, "it has taken the link to be down")
		l.theirs = session
	}
	if h.GetAnswers() != l.session {
		l.hello = true
	} else if !l.up {
		l.rise(h, now)
	}
}

// rise opens a session.
func (l *link) rise(h *clusterv1.Hello, now time.Time) {
	l.out.settle(h.GetSeenBatches())
	l.in.settle(h.GetBatches(), h.GetMessages())
	l.in.given, l.in.unacked, l.in.interests = h.GetBatches(), 0, 0
	l.in.pressing, l.in.ended = map[topicHash]<-chan struct{}{}, make(chan struct{})
	l.pressed, l.overfed = map[topicHash]chan struct{}{}, false
	l.transmitted, l.arrivals = 0, 0
	l.told, l.isCurrent, l.versions, l.interests = h.GetSeenChanges(), false, nil, 0
	l.up, l.hello, l.ack, l.since, l.heard = true, true, true, now, now
	l.setAll(true)
	l.node.topics.setUp(l.place, true)
	l.node.subs.setKnown(l, h.GetSeenChanges())
	l.changed()
	l.reports = append(l.reports, report{slog.LevelInfo, "a node is up", []any{"name", l.member.name}})
}

// fall ends a session.
func (l *link) fall(now time.Time, why string) {
	if !l.up {
		return
	}
	l.up, l.hello, l.ack, l.since = false, false, false, now
	l.session, l.theirs = l.session+2, 0 // it is never 0
	l.node.topics.setUp(l.place, false)
	if l.in.partial {
		l.forgetInterest()
	}
	l.node.subs.setDown(l)
	l.takeNoCopy()
	l.out.clear()
	l.letGo()
	for _, room := range l.pressed {
		close(room)
	}
	l.in.pressing, l.in.presses, l.pressed = nil, nil, nil
	close(l.in.ended)
	l.changed()
	if why != "" {
		l.reports = append(l.reports, report{slog.LevelWarn, "a node is down", []any{"name", l.member.name, "reason", why}})
	}
	l.signal()
}

// changed has the host told whether the link is up.
func (l *link) changed() {
	l.in.inbox = append(l.in.inbox, arrival{changed: &backplane.Node{ID: l.peer, Name: l.member.name, Up: l.up}})
	l.arrived.Signal()
}

// close ends the link for good. The host is given what has arrived before.
func (l *link) close(now time.Time) {
	l.fall(now, "")
	l.closed = true
	l.out.settle(0)
	l.arrived.Signal()
	l.signal()
}

// leave says Bye, and ends the link.
func (l *link) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	session, wasUp := l.session, l.up
	l.close(time.Now())
	if wasUp {
		l.session, l.bye = session, true
	}
}

// letGo lets go of whoever waits for all to be acknowledged.
func (l *link) letGo() {
	if l.flushed != nil {
		close(l.flushed)
		l.flushed = nil
	}
}

// flush returns a channel that is closed when the other node has acknowledged everything, or is down. nil: it has.
func (l *link) flush() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.up || l.out.isEmpty() {
		return nil
	}
	if l.flushed == nil {
		l.flushed = make(chan struct{})
	}
	return l.flushed
}

// join says that the other node is a member. It returns false if the link has been closed because it was none; one that has said Bye is gone.
func (l *link) join(m member) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return l.isMember
	}
	l.member = m
	if !l.isMember {
		l.isMember, l.since, l.nextHello = true, time.Now(), time.Now()
		l.signal()
	}
	return true
}

// unjoin says that the other node is not a member any more.
func (l *link) unjoin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fall(time.Now(), "it is not a member of the cluster any more")
	l.isMember = false
	l.signal()
}

// lose says that frames to the other node may have been lost.
func (l *link) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fall(time.Now(), "messages to it may have been lost")
}

func (l *link) isUp() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up
}
