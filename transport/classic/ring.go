package classic

import "github.com/troupe-go/troupe/proto/classic"

// ring holds the last messages of a session, numbered from 1, so that a client that comes back gets what it has missed. When there are too many,
// the oldest go.
type ring struct {
	entries   []entry
	first     uint64 // number of entries[0]
	bytes     int
	delivered uint64 // number of the last message that was written to the client
	waiting   int    // bytes of those behind it
	messages  int    // at most
	size      int    // bytes at most
	dropped   int64  // messages that the client has not been given
}

// entry is a message, or the answer to a call over a WebSocket, which only that WebSocket gets.
type entry struct {
	data   []byte
	answer *receiver
}

// push adds an entry. If keep is set, what the client has not been given yet is not dropped for it.
func (r *ring) push(e entry, keep bool) {
	r.entries = append(r.entries, e)
	r.bytes += len(e.data)
	r.waiting += len(e.data)
	for len(r.entries) > 1 && (len(r.entries) > r.messages || r.bytes > r.size) {
		if r.first > r.delivered {
			if keep {
				return
			}
			if r.entries[0].answer == nil {
				r.dropped++
			}
			r.waiting -= len(r.entries[0].data)
			r.delivered = r.first
		}
		r.bytes -= len(r.entries[0].data)
		r.entries[0] = entry{}
		r.entries = r.entries[1:]
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
			r.waiting -= len(r.entries[r.delivered-r.first].data)
		}
	}
}

// last is the number of the newest message.
func (r *ring) last() uint64 { return r.first + uint64(len(r.entries)) - 1 }

// Limits of one envelope.
const (
	mostMessages = 64
	mostBytes    = 64 << 10
)

// after returns what follows a number, as far as it fits into one frame, and the number of the last of it: messages, or one answer for a receiver.
func (r *ring) after(number uint64, to *receiver) (messages [][]byte, answer []byte, last uint64) {
	last = max(number, r.first-1)
	size := 0
	for last < r.last() {
		e := r.entries[last+1-r.first]
		if e.answer != nil {
			if e.answer == to {
				if len(messages) > 0 {
					return messages, nil, last
				}
				return nil, e.data, last + 1
			}
			last++
			continue
		}
		if len(messages) == mostMessages || size > 0 && size+len(e.data) > mostBytes {
			break
		}
		messages, size = append(messages, e.data), size+len(e.data)
		last++
	}
	return messages, nil, last
}

// position returns the number behind which a client goes on.
func (r *ring) position(c classic.Cursor, epoch uint32, ok bool) uint64 {
	if !ok || c.Epoch != epoch || c.Number > r.last() {
		return r.last()
	}
	return c.Number
}
