package cluster

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"math/bits"
	"sync"
	"sync/atomic"
)

// topicHash stands for a topic. Its lowest bit is 1; the same hash with 0 stands for the end of the wish for it.
type topicHash uint64

// hashTopic hashes a topic with a key that nodes alone have, so that nobody else can find two topics with one hash. Two topics that have one by
// chance cost messages that their receiver ignores.
func hashTopic(key []byte, topic string) topicHash {
	var buf [192]byte
	sum := sha256.Sum256(append(append(buf[:0], key...), topic...))
	return topicHash(binary.LittleEndian.Uint64(sum[:]) | 1)
}

// interest is what the other nodes want: for each topic the links to those that want it. It has room for linksPerBank links in a bank, and as
// many banks as it needs.
type interest struct {
	mu    sync.Mutex // held while a bank or a link is added
	banks atomic.Pointer[[]*bank]
	// sweeps are goroutines that remove what a link wanted.
	sweeps sync.WaitGroup
}

const (
	linksPerBank = 32
	shards       = 256
)

// bank holds two bits for each of its links. One of them is current: what a node says that it wants sets this one. When the node says all of it
// anew, the other one becomes current, and the former is removed behind the node's back.
type bank struct {
	mu      sync.RWMutex
	links   [linksPerBank]*link
	current uint64              // the current bits of the links that are there
	all     uint64              // both bits of those that are taken to want everything
	up      uint64              // both bits of those that are up
	sweeps  [linksPerBank]uint8 // for each place, how many are removing bits of it from topics

	shards [shards]shard
}

type shard struct {
	mu     sync.RWMutex
	topics map[topicHash]uint64 // the bits of the links that want it
	most   int                  // topics that the map has had
}

// place is where a link stands.
type place struct {
	bank  *bank
	index int
}

func (p place) both() uint64 { return 3 << (2 * p.index) }

// add gives a link a place. It wants nothing, and is not up.
func (t *interest) add(l *link) place {
	t.mu.Lock()
	defer t.mu.Unlock()
	banks := t.all()
	for _, b := range banks {
		b.mu.Lock()
		for i := range b.links {
			if p := (place{b, i}); b.links[i] == nil && b.sweeps[i] == 0 {
				b.take(p, l)
				b.mu.Unlock()
				return p
			}
		}
		b.mu.Unlock()
	}
	b := &bank{}
	b.take(place{b, 0}, l)
	banks = append(banks[:len(banks):len(banks)], b)
	t.banks.Store(&banks)
	return place{b, 0}
}

func (b *bank) take(p place, l *link) {
	b.links[p.index] = l
	b.current |= 1 << (2 * p.index)
}

// remove takes a link out. Its place is free when all sweeps have ended, one of clear included: until then, they would take bits from its successor.
func (t *interest) remove(p place) {
	b := p.bank
	b.mu.Lock()
	defer b.mu.Unlock()
	b.links[p.index] = nil
	b.current &^= p.both()
	b.all &^= p.both()
	b.up &^= p.both()
	t.sweep(p, p.both())
}

// clear forgets what a link wanted. If it does so again while the sweep of the first time is under way, topics stay that it does not want any
// more: it ignores their messages.
func (t *interest) clear(p place) {
	b := p.bank
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sweeps[p.index] > 0 {
		return
	}
	old := b.current & p.both()
	b.current ^= p.both()
	t.sweep(p, old)
}

// sweep removes bits of a place from all topics. The lock of the bank is held.
func (t *interest) sweep(p place, bits uint64) {
	b := p.bank
	b.sweeps[p.index]++
	t.sweeps.Go(func() {
		for i := range b.shards {
			b.shards[i].remove(bits)
		}
		b.mu.Lock()
		b.sweeps[p.index]--
		b.mu.Unlock()
	})
}

// remove removes bits from all topics of a shard.
func (s *shard) remove(bits uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for h, wants := range s.topics {
		if wants&bits != 0 {
			s.set(h, wants&^bits)
		}
	}
	if n := len(s.topics); n < s.most/2 { // a map does not shrink
		topics := make(map[topicHash]uint64, n)
		maps.Copy(topics, s.topics)
		s.topics, s.most = topics, n
	}
}

func (s *shard) set(h topicHash, wants uint64) {
	if wants == 0 {
		delete(s.topics, h)
		return
	}
	if s.topics == nil {
		s.topics = map[topicHash]uint64{}
	}
	s.topics[h] = wants
	s.most = max(s.most, len(s.topics))
}

// apply takes changes of what a link wants.
func (t *interest) apply(p place, changes []uint64) {
	b := p.bank
	b.mu.RLock()
	bit := b.current & p.both()
	b.mu.RUnlock()
	for _, c := range changes {
		h := topicHash(c | 1)
		s := &b.shards[h>>56]
		s.mu.Lock()
		if c&1 == 1 {
			s.set(h, s.topics[h]|bit)
		} else {
			s.set(h, s.topics[h]&^bit)
		}
		s.mu.Unlock()
	}
}

// setAll says whether a link is taken to want everything.
func (t *interest) setAll(p place, all bool) { p.bank.set(&p.bank.all, p.both(), all) }

// setUp says whether a link is up.
func (t *interest) setUp(p place, up bool) { p.bank.set(&p.bank.up, p.both(), up) }

func (b *bank) set(word *uint64, mask uint64, on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if on {
		*word |= mask
	} else {
		*word &^= mask
	}
}

func (t *interest) all() []*bank {
	if banks := t.banks.Load(); banks != nil {
		return *banks
	}
	return nil
}

// wanting returns the bits of the links that may want a topic.
func (b *bank) wanting(h topicHash) uint64 {
	s := &b.shards[h>>56]
	s.mu.RLock()
	defer s.mu.RUnlock()
	return (s.topics[h] | b.all) & b.current
}

// wanted reports whether a link that is up may want a topic.
func (t *interest) wanted(h topicHash) bool {
	for _, b := range t.all() {
		b.mu.RLock()
		wanting := b.wanting(h) & b.up
		b.mu.RUnlock()
		if wanting != 0 {
			return true
		}
	}
	return false
}

// find appends the links that may want a topic, whether they are up or not.
func (t *interest) find(h topicHash, links []*link) []*link {
	for _, b := range t.all() {
		b.mu.RLock()
		for wanting := b.wanting(h); wanting != 0; wanting &= wanting - 1 {
			links = append(links, b.links[bits.TrailingZeros64(wanting)/2])
		}
		b.mu.RUnlock()
	}
	return links
}

// size returns the number of topics that other nodes want.
func (t *interest) size() (n int) {
	for _, b := range t.all() {
		for i := range b.shards {
			s := &b.shards[i]
			s.mu.RLock()
			n += len(s.topics)
			s.mu.RUnlock()
		}
	}
	return n
}
