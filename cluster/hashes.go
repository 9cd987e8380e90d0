package cluster

import (
	"hash/maphash"
	"sync/atomic"
)

const (
	keptHashes = 8192
	maxKept    = 256 // bytes of a topic whose hash is kept
)

// hashes keeps the hashes of topics that messages are sent to: a message needs that of its topic twice, and those that say which protocols others
// speak. Topics that share a slot take it from each other.
type hashes struct {
	key   []byte
	seed  maphash.Seed
	slots [keptHashes]atomic.Pointer[keptHash]
}

type keptHash struct {
	topic string
	hash  topicHash
}

func (h *hashes) of(topic string) topicHash {
	if len(topic) > maxKept {
		return hashTopic(h.key, topic)
	}
	slot := &h.slots[maphash.String(h.seed, topic)%keptHashes]
	kept := slot.Load()
	if kept == nil || kept.topic != topic {
		kept = &keptHash{topic, hashTopic(h.key, topic)}
		slot.Store(kept)
	}
	return kept.hash
}
