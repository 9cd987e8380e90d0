package cluster

import "sync"

const (
	pieceOfInterest = 8192    // changes in one message: 64 KB
	keptChanges     = 1 << 16 // that a node which was away for a moment can be told of, without all of the interest
)

// subscriptions is what this node wants, and which nodes know of it. Each change has a number.
type subscriptions struct {
	mu     sync.Mutex
	wanted map[topicHash]struct{}
	again  map[topicHash]int // further topics with a hash that is wanted
	// version is the number of the last change. changes are the last ones. Their memory is shared with messages, and never written again.
	version uint64
	changes []uint64
	copied  *copied

	known   map[*link]uint64 // the last change that has taken effect at nodes that are up
	waiting []waiter         // in the order of their versions
}

type waiter struct {
	version uint64
	known   chan struct{}
}

// copied is all interest, as it was at some time after version, and before now: with the changes since then it is what it is now. Nodes that
// need all at the same time share it.
type copied struct {
	version uint64
	hashes  []uint64
	users   int
}

func newSubscriptions() *subscriptions {
	return &subscriptions{wanted: map[topicHash]struct{}{}, again: map[topicHash]int{}, known: map[*link]uint64{}}
}

// add says that a topic is wanted. The channel is closed when all nodes that are up know it; nil: they do.
func (s *subscriptions) add(h topicHash) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.wanted[h]; ok {
		s.again[h]++
	} else {
		s.wanted[h] = struct{}{}
		s.change(uint64(h))
	}
	if s.least() >= s.version {
		return nil
	}
	if n := len(s.waiting); n > 0 && s.waiting[n-1].version == s.version {
		return s.waiting[n-1].known
	}
	known := make(chan struct{})
	s.waiting = append(s.waiting, waiter{s.version, known})
	return known
}

// remove says that a topic is not wanted any more.
func (s *subscriptions) remove(h topicHash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.again[h]; n > 1 {
		s.again[h]--
	} else if n == 1 {
		delete(s.again, h)
	} else if _, ok := s.wanted[h]; ok {
		delete(s.wanted, h)
		s.change(uint64(h) &^ 1)
	}
}

func (s *subscriptions) change(c uint64) {
	if len(s.changes) == keptChanges {
		s.changes = append(make([]uint64, 0, keptChanges), s.changes[keptChanges/2:]...)
	}
	s.changes = append(s.changes, c)
	s.version++
}

// least returns the last change that is known to all nodes that are up.
func (s *subscriptions) least() uint64 {
	least := s.version
	for _, v := range s.known {
		least = min(least, v)
	}
	return least
}

// setKnown says which change has taken effect at a node that is up.
func (s *subscriptions) setKnown(l *link, version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[l] = version
	s.release()
}

// setDown says that nobody need wait for a node.
func (s *subscriptions) setDown(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, l)
	s.release()
}

func (s *subscriptions) release() {
	if len(s.waiting) == 0 {
		return
	}
	least, n := s.least(), 0
	for n < len(s.waiting) && s.waiting[n].version <= least {
		close(s.waiting[n].known)
		n++
	}
	if s.waiting = s.waiting[n:]; len(s.waiting) == 0 {
		s.waiting = nil
	}
}

// isKnown reports whether a change has taken effect at a node that is up.
func (s *subscriptions) isKnown(l *link, version uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.known[l]
	return ok && v >= version
}

// size returns the number of topics, and of the last change.
func (s *subscriptions) size() (topics int, version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.wanted), s.version
}

// since returns the changes after a version, at most a piece, and whether they are the last. ok reports whether that is possible, and shorter than
// all of the interest.
func (s *subscriptions) since(version uint64) (changes []uint64, last, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.version - version
	if version > s.version || n > uint64(len(s.changes)) || n > max(pieceOfInterest, uint64(len(s.wanted))) {
		return nil, false, false
	}
	changes = s.changes[len(s.changes)-int(n):]
	most := min(len(changes), pieceOfInterest)
	return changes[:most:most], most == len(changes), true
}

// copy returns all of the interest, as it was after what a node that needs it knows: since returns more than a piece to those alone. Subscribe waits
// for the lock, so that it is given back now and then.
func (s *subscriptions) copy() *copied {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.copied; c != nil && s.version-c.version <= pieceOfInterest {
		c.users++
		return c
	}
	c := &copied{version: s.version, hashes: make([]uint64, 0, len(s.wanted)), users: 1}
	for h := range s.wanted {
		if c.hashes = append(c.hashes, uint64(h)); len(c.hashes)%4096 == 0 {
			s.mu.Unlock()
			s.mu.Lock()
		}
	}
	s.copied = c
	return c
}

// done gives a copy back.
func (s *subscriptions) done(c *copied) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.users--; c.users == 0 && s.copied == c {
		s.copied = nil
	}
}
