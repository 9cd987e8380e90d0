package cluster

import (
	"slices"
	"time"

	clusterv1 "github.com/troupe-go/troupe/proto/troupe/cluster/v1"
)

const (
	batchSize  = 64 << 10
	window     = 512 << 10 // that is sent and not acknowledged
	queueLimit = 4 << 20   // that waits beyond
	// stallAfter is how long a node can acknowledge nothing before it holds up nobody.
	stallAfter = time.Second
)

// outgoing is what a node has published for another one.
type outgoing struct {
	queue  []*clusterv1.Publication
	queued int // bytes
	// flights are the batches that have been sent and not been acknowledged.
	flights []flight
	flying  int // bytes

	batches  uint64 // number of the last one
	messages uint64 // in batches, and lost before them
	dropped  uint64 // messages lost since the last batch
	progress time.Time
	room     chan struct{} // made by senders above the window

	lostBatches, lostMessages uint64

	told uint64 // the last progress of the node in a batch
}

type flight struct {
	number   uint64
	size     int
	messages uint64
}

// split appends the pieces of a message, of which each fits into a batch: what else is sent need not wait for a large message to pass.
func split(topic, message []byte, pieces []*clusterv1.Publication) []*clusterv1.Publication {
	for len(message) > batchSize {
		pieces = append(pieces, &clusterv1.Publication{Topic: topic, Message: message[:batchSize:batchSize], Continues: true})
		topic, message = nil, message[batchSize:]
	}
	return append(pieces, &clusterv1.Publication{Topic: topic, Message: message})
}

// messagesIn returns how many messages end in publications.
func messagesIn(publications []*clusterv1.Publication) (n int) {
	for _, p := range publications {
		if !p.GetContinues() {
			n++
		}
	}
	return n
}

func sizeOf(p *clusterv1.Publication) int { return len(p.GetTopic()) + len(p.GetMessage()) + 16 }

func sizeOfBatch(b *clusterv1.Batch) (size int) {
	for _, p := range b.GetPublications() {
		size += sizeOf(p)
	}
	return size
}

func (o *outgoing) isEmpty() bool { return len(o.queue)+len(o.flights) == 0 }

func (o *outgoing) backlog() int { return o.queued + o.flying }

// isStalled reports whether the node has acknowledged nothing for so long that nobody waits for it any more.
func (o *outgoing) isStalled(now time.Time) bool {
	return len(o.flights) > 0 && now.Sub(o.progress) >= stallAfter
}

// add queues the pieces of a message, or drops it if the queue is full. The channel is nil, or closed when the sender may go on.
func (o *outgoing) add(pieces []*clusterv1.Publication) (room <-chan struct{}, ok bool) {
	if ok = o.queued <= queueLimit; ok {
		o.queue = append(o.queue, pieces...)
		for _, p := range pieces {
			o.queued += sizeOf(p)
		}
	} else {
		o.drop(1)
	}
	if o.backlog() <= window || o.isStalled(time.Now()) {
		return nil, ok
	}
	if o.room == nil {
		o.room = make(chan struct{})
	}
	return o.room, ok
}

// drop counts messages that are not going to be sent.
func (o *outgoing) drop(n int) {
	o.dropped += uint64(n)
	o.lostMessages += uint64(n)
}

// next takes a batch off the queue, or nil if there is none, or no room in the window.
func (o *outgoing) next(now time.Time) *clusterv1.Batch {
	n, size := 0, 0
	for n < len(o.queue) {
		more := sizeOf(o.queue[n])
		if n > 0 && size+more > batchSize {
			break
		}
		n, size = n+1, size+more
	}
	if n == 0 || o.flying+size > window {
		return nil
	}
	o.messages += o.dropped
	o.dropped = 0
	o.batches++
	b := &clusterv1.Batch{Number: o.batches, Before: o.messages, Publications: slices.Clone(o.queue[:n])}
	clear(o.queue[:n]) // so that the array does not keep them
	if o.queue = o.queue[n:]; len(o.queue) == 0 {
		o.queue = nil
	}
	o.queued -= size
	messages := uint64(messagesIn(b.GetPublications()))
	o.messages += messages
	if len(o.flights) == 0 {
		o.progress = now
	}
	o.flights = append(o.flights, flight{o.batches, size, messages})
	o.flying += size
	return b
}

// acknowledge takes the number of the last batch that the node has given to its host. It returns false if it cannot be.
func (o *outgoing) acknowledge(number uint64, now time.Time) bool {
	if number > o.batches {
		return false
	}
	n := 0
	for n < len(o.flights) && o.flights[n].number <= number {
		o.flying -= o.flights[n].size
		n++
	}
	if n > 0 {
		o.flights = append(o.flights[:0], o.flights[n:]...)
		o.progress = now
		if o.backlog() <= window {
			o.release()
		}
	}
	return true
}

// proceed takes a number that changes while the node is given a batch that takes long.
func (o *outgoing) proceed(progress uint64, now time.Time) {
	if progress != o.told {
		o.told, o.progress = progress, now
	}
}

// release lets senders go on.
func (o *outgoing) release() {
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
}

// clear drops what waits. What has been sent may have been received.
func (o *outgoing) clear() {
	o.drop(messagesIn(o.queue))
	o.queue, o.queued = nil, 0
	o.release()
}

// settle takes the number of the last batch that has been received, and counts the others as lost.
func (o *outgoing) settle(number uint64) {
	for _, f := range o.flights {
		if f.number > number {
			o.lostBatches++
			o.lostMessages += f.messages
		}
	}
	o.flights, o.flying = nil, 0
}
