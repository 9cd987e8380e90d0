package cluster

import clusterv1 "github.com/troupe-go/troupe/proto/troupe/cluster/v1"

// nextInterest returns what the other node has not been told of this one's interest. It returns false if it has to be told of all, and a copy is
// needed for that.
func (l *link) nextInterest() (*clusterv1.Interest, bool) {
	if len(l.versions) == interestsAhead {
		return nil, true
	}
	var i *clusterv1.Interest
	if c := l.all; c != nil {
		i = &clusterv1.Interest{First: l.sent == 0}
		i.Changes = c.hashes[l.sent:min(l.sent+pieceOfInterest, len(c.hashes))]
		if l.sent += len(i.Changes); l.sent == len(c.hashes) {
			l.told, i.Version = c.version, c.version
			l.takeNoCopy()
		}
	} else {
		changes, last, ok := l.node.subs.since(l.told)
		if !ok || len(changes) == 0 && l.isCurrent {
			return nil, ok
		}
		l.told += uint64(len(changes))
		l.isCurrent = last
		i = &clusterv1.Interest{Version: l.told, Changes: changes, Current: last}
	}
	l.versions = append(l.versions, i.GetVersion())
	return i, true
}

// takeCopy takes all of the interest, to be sent.
func (l *link) takeCopy(c *copied) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.takeNoCopy()
	if l.up {
		l.all, l.sent, l.isCurrent = c, 0, false
	} else {
		l.node.subs.done(c)
	}
}

func (l *link) takeNoCopy() {
	if l.all != nil {
		l.node.subs.done(l.all)
		l.all = nil
	}
}

// takeInterest takes changes of what the other node wants. It returns false if they do not follow on those before.
func (l *link) takeInterest(i *clusterv1.Interest) bool {
	topics, in := &l.node.topics, &l.in
	if i.GetFirst() {
		l.setAll(true)
		topics.clear(l.place)
		in.version, in.partial = 0, true
	} else if !in.partial && i.GetVersion() != in.version+uint64(len(i.GetChanges())) {
		return false
	}
	topics.apply(l.place, i.GetChanges())
	in.interests++
	if i.GetCurrent() {
		l.setAll(false)
	}
	if !in.partial || i.GetVersion() > 0 { // it is whole
		in.version, in.partial = i.GetVersion(), false
	}
	return true
}

// forgetInterest forgets what the other node wants.
func (l *link) forgetInterest() {
	l.node.topics.clear(l.place)
	l.setAll(false)
	l.in.version, l.in.partial = 0, false
}

func (l *link) setAll(all bool) {
	l.in.all = all
	l.node.topics.setAll(l.place, all)
}
