package classic

import "github.com/troupe-go/troupe/proto/classic"

// ring holds the last messages of a session, numbered from 1, so that a client that comes back gets what it has missed. When there are too many,
// the oldest go.
type ring struct {
	kept      [][]byte
	first     uint64 // number of kept[0]
	bytes     int
	delivered uint64 // number of the last message that was written to the client
	waiting   int    // bytes of those behind it
	messages  int    // at most
	size      int    // bytes at most
	dropped   int64  // messages that the client has not been given
}

// push adds a message. If keep is set, what the client has not been given yet is not dropped for it.
func (r *ring) push(message []byte, keep bool) {
	r.kept = append(r.kept, message)
	r.bytes += len(message)
	r.waiting += len(message)
	for len(r.kept) > 1 && (len(r.kept) > r.messages || r.bytes > r.size) {
		if r.first > r.delivered {
			if keep {
				return
			}
			r.dropped++
			r.waiting -= len(r.kept[0])
			r.delivered = r.first
		}
		r.bytes -= len(r.kept[0])
		r.kept[0] = nil
		r.kept = r.kept[1:]
		r.first++
	}
}

// isFull reports whether as much waits for the client as is kept for it.
func (r *ring) isFull() bool {
	return r.last()-r.delivered >= uint64(r.messages) && r.last() > r.delivered || r.waiting >= r.size
}

// deliver says that the client was written everything up to a number.
func (r *ring) deliver(number uint64) {
	for r.delivered < min(number, r.last()) {
		r.delivered++
		if r.delivered >= r.first {
			r.waiting -= len(r.kept[r.delivered-r.first])
		}
	}
}

// rewind says that the client has not been given what follows a number, though it was written.
func (r *ring) rewind(number uint64) {
	for r.delivered > max(number, r.first-1) {
		r.waiting += len(r.kept[r.delivered-r.first])
		r.delivered--
	}
}

// last is the number of the newest message.
func (r *ring) last() uint64 { return r.first + uint64(len(r.kept)) - 1 }

// Limits of one envelope.
const (
	mostMessages = 64
	mostBytes    = 64 << 10
)

// after returns the messages that follow a number, up to another one, as far as they fit into one frame, and the number of the last of them.
func (r *ring) after(number, end uint64) (messages [][]byte, last uint64) {
	last = max(number, r.first-1)
	size := 0
	for last < min(end, r.last()) {
		message := r.kept[last+1-r.first]
		if len(messages) == mostMessages || size > 0 && size+len(message) > mostBytes {
			break
		}
		messages, size = append(messages, message), size+len(message)
		last++
	}
	return messages, last
}

// position returns the number behind which a client goes on.
func (r *ring) position(c classic.Cursor, epoch uint32, ok bool) uint64 {
	if !ok || c.Epoch != epoch || c.Number > r.last() {
		return r.last()
	}
	return c.Number
}
