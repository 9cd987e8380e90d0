package actors

import (
	"sync"

	"github.com/troupe-go/troupe/internal/metric"
)

// buffer is memory to encode one message in, before an outbox copies it, and where the calls that use it are counted: pools belong to processors,
// which so do not wait for each other.
type buffer struct {
	bytes []byte
	shard metric.Shard
}

var buffers = sync.Pool{New: func() any { return &buffer{make([]byte, 0, 512), metric.NewShard()} }}

const maxPooled = 64 << 10 // larger buffers are left to the garbage collector

// borrowBuffer returns an empty buffer.
func borrowBuffer() *buffer { return buffers.Get().(*buffer) }

func (b *buffer) giveBack() {
	if cap(b.bytes) <= maxPooled {
		b.bytes = b.bytes[:0]
		buffers.Put(b)
	}
}
