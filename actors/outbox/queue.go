package outbox

import "slices"

// queue is what waits in a box, in its order. Packets can be taken out of its middle.
type queue struct {
	packets []*Packet        // nil: taken out; neither the first nor the last one is
	holes   int32            // that are nil
	oldest  int32            // packets that make room for others, see Packet.makesRoom
	passed  int32            // packets at the front among which none of these is, so that they are not searched again
	first   int32            // number of the first one; each has a number, which is one more than that of the one before, and may wrap
	keyed   map[string]int32 // numbers of those that have a key
}

const keptQueue = 16 // packets that an empty queue keeps room for

func (q *queue) isEmpty() bool { return len(q.packets) == 0 }

// last returns the last packet, or nil.
func (q *queue) last() *Packet {
	if q.isEmpty() {
		return nil
	}
	return q.packets[len(q.packets)-1]
}

func (q *queue) push(p *Packet) {
	if int(q.holes) > max(keptQueue, len(q.packets)/2) {
		q.compact()
	}
	if p.key != "" {
		if q.keyed == nil {
			q.keyed = map[string]int32{}
		}
		q.keyed[p.key] = q.first + int32(len(q.packets))
	}
	if p.makesRoom() {
		q.oldest++
	}
	q.packets = append(q.packets, p)
}

// putBack puts packets in front that have been taken before. What has a key does not replace them.
func (q *queue) putBack(packets []*Packet) {
	for _, p := range packets {
		if p.makesRoom() {
			q.oldest++
		}
	}
	q.packets, q.passed = slices.Concat(packets, q.packets), 0
	q.first -= int32(len(packets))
}

// find returns the index of the packet with a key, or -1.
func (q *queue) find(key string) int {
	if number, ok := q.keyed[key]; ok {
		return int(number - q.first)
	}
	return -1
}

// findOldest returns the index of the first packet that makes room for others. There is one.
func (q *queue) findOldest() int {
	for ; ; q.passed++ {
		if p := q.packets[q.passed]; p != nil && p.makesRoom() {
			return int(q.passed)
		}
	}
}

// forget removes a packet that leaves from the keys and the counts.
func (q *queue) forget(i int) {
	p := q.packets[i]
	if p == nil {
		q.holes--
		return
	}
	if p.key != "" && q.find(p.key) == i {
		delete(q.keyed, p.key)
	}
	if p.makesRoom() {
		q.oldest--
	}
}

// dropFirst removes the first n packets, which may be holes, and the holes behind them.
func (q *queue) dropFirst(n int) {
	for n < len(q.packets) && q.packets[n] == nil {
		n++
	}
	for i := range n {
		q.forget(i)
	}
	rest := copy(q.packets, q.packets[n:])
	clear(q.packets[rest:])
	q.packets = q.packets[:rest]
	q.first += int32(n)
	q.passed = max(0, q.passed-int32(n))
	if rest == 0 {
		q.keyed = nil
		if cap(q.packets) > keptQueue {
			q.packets = nil
		}
	}
}

// remove takes a packet out. Its index remains that of a hole, unless it was at one of the ends.
func (q *queue) remove(i int) {
	q.forget(i)
	q.packets[i] = nil
	q.holes++
	first, end := 0, len(q.packets)
	for first < end && q.packets[first] == nil {
		first++
	}
	for end > first && q.packets[end-1] == nil {
		end--
	}
	q.holes -= int32(first + len(q.packets) - end)
	q.packets, q.first = q.packets[first:end], q.first+int32(first)
	q.passed = min(max(0, q.passed-int32(first)), int32(end-first))
}

// compact removes the holes.
func (q *queue) compact() {
	packets := q.packets
	q.packets, q.holes, q.passed = make([]*Packet, 0, len(packets)-int(q.holes)), 0, 0
	for i, p := range packets {
		if p == nil {
			continue
		}
		if p.key != "" && q.find(p.key) == i {
			q.keyed[p.key] = q.first + int32(len(q.packets))
		}
		q.packets = append(q.packets, p)
	}
}
