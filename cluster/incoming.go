package cluster

import (
	"time"

	"github.com/troupe-go/troupe/hubsys/backplane"
	clusterv1 "github.com/troupe-go/troupe/proto/troupe/cluster/v1"
)

// maxPressed is for how many topics a node can hold back the senders of another one.
const maxPressed = 1024

// incoming is what another node has sent, on its way to the host.
type incoming struct {
	inbox    []arrival
	bytes    int    // in batches that the host has not been given
	batches  uint64 // number of the last one that has arrived, or been lost in a former session
	seen     uint64 // number of the last one that has arrived
	messages uint64 // up to the last one that has arrived, those included that were lost
	given    uint64 // number of the last batch that the host has been given
	unacked  int    // bytes given since the last acknowledgement

	missedBatches, missedMessages uint64

	// version is the number of the last change of the other node's interest that has taken effect. partial says that a part of it is there, and all
	// that the node is taken to want everything.
	version   uint64
	partial   bool
	all       bool
	interests uint64 // messages with interest in this session

	// pressing are the rooms that the host has returned and not closed, presses what the other node must be told of it. ended is closed with the
	// session.
	pressing map[topicHash]<-chan struct{}
	presses  []uint64
	ended    chan struct{}
}

// arrival is a batch, or news of the node that it comes from.
type arrival struct {
	batch   *clusterv1.Batch
	changed *backplane.Node
	missed  uint64 // messages, in the place of those
}

// add takes a batch. It returns false if it does not follow on the one before, or exceeds the window.
func (in *incoming) add(b *clusterv1.Batch) bool {
	size := sizeOfBatch(b)
	if b.GetNumber() != in.batches+1 || in.bytes+size > window {
		return false
	}
	in.settle(in.batches, b.GetBefore())
	in.batches++
	in.seen = in.batches
	in.messages += uint64(messagesIn(b.GetPublications()))
	in.bytes += size
	in.inbox = append(in.inbox, arrival{batch: b})
	return true
}

// settle takes how much the other node has sent, and counts what has not arrived as missed.
func (in *incoming) settle(batches, messages uint64) {
	in.missedBatches += max(batches, in.batches) - in.batches
	if missed := max(messages, in.messages) - in.messages; missed > 0 {
		in.missedMessages += missed
		in.inbox = append(in.inbox, arrival{missed: missed})
	}
	in.batches, in.messages = batches, messages
}

// receive gives what arrives to the host. It is a goroutine.
func (l *link) receive() {
	select {
	case <-l.node.serving:
	case <-l.node.stopping:
		return
	}
	host := l.node.host
	var m message
	for {
		a, ok := l.take()
		if !ok {
			return
		}
		if a.changed != nil {
			host.Changed(*a.changed)
			m = message{} // the rest of it is lost
			continue
		}
		if a.missed > 0 {
			host.Missed(l.peer, a.missed)
			continue
		}
		for i, p := range a.batch.GetPublications() {
			if i > 0 {
				l.handed.Add(1)
			}
			if !m.add(p, l.node.settings.maxMessage) {
				continue
			}
			if m.isTooLarge { // for this node, which takes less than the other one: an answer may be waited for
				l.node.ignored.Add(1)
				host.Missed(l.peer, 1)
			} else if room := host.Receive(l.peer, m.topic, m.text); room != nil {
				for _, key := range l.node.settings.topicKeys {
					l.press(hashTopic(key, m.topic), room)
				}
			}
			m = message{}
		}
		l.given(a.batch)
	}
}

// message is put together from its pieces.
type message struct {
	topic      string
	text       []byte
	isBegun    bool
	isTooLarge bool
}

// add adds a piece. It returns true with the last one.
func (m *message) add(p *clusterv1.Publication, limit int) bool {
	if m.isTooLarge = m.isTooLarge || len(m.text)+len(p.GetMessage()) > limit; m.isTooLarge {
		m.text = nil
	} else if m.isBegun {
		m.text = append(m.text, p.GetMessage()...)
	} else {
		m.topic, m.text, m.isBegun = string(p.GetTopic()), p.GetMessage(), true
	}
	return !p.GetContinues()
}

// take waits for the next arrival. It returns false when there are no more.
func (l *link) take() (arrival, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.in.inbox) == 0 {
		if l.closed {
			return arrival{}, false
		}
		l.arrived.Wait()
	}
	a := l.in.inbox[0]
	l.in.inbox[0] = arrival{}
	if l.in.inbox = l.in.inbox[1:]; len(l.in.inbox) == 0 {
		l.in.inbox = nil
	}
	return a, true
}

// given says that the host has been given a batch.
func (l *link) given(b *clusterv1.Batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	size := sizeOfBatch(b)
	l.in.bytes -= size
	l.in.given = b.GetNumber()
	l.in.unacked += size
	if soon := time.Now().Add(ackDelay); soon.Before(l.nextAck) {
		l.nextAck = soon
		l.signal()
	}
	if l.in.unacked >= window/4 {
		l.ack = true
		l.signal()
	}
	if !l.up && l.in.bytes == 0 {
		l.signal() // so that Hello can be said
	}
}

// press tells the other node to hold back its senders until the host has room. Messages that were under way may make the host return another
// room for the topic: the last one counts.
func (l *link) press(h topicHash, room <-chan struct{}) {
	select {
	case <-room:
		return
	default:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, isPressed := l.in.pressing[h]
	if !l.up || !isPressed && len(l.in.pressing) == maxPressed {
		return
	}
	l.in.pressing[h] = room
	if isPressed {
		return
	}
	l.in.presses = append(l.in.presses, uint64(h))
	l.signal()
	ended := l.in.ended
	l.node.goroutines.Go(func() { l.awaitRoom(h, room, ended) })
}

// awaitRoom tells the other node that its senders may go on, when they may.
func (l *link) awaitRoom(h topicHash, room <-chan struct{}, ended <-chan struct{}) {
	for {
		select {
		case <-room:
		case <-ended:
			return
		}
		l.mu.Lock()
		if l.in.ended != ended {
			l.mu.Unlock()
			return
		}
		last := l.in.pressing[h]
		if last == room {
			delete(l.in.pressing, h)
			l.in.presses = append(l.in.presses, uint64(h)&^1)
			l.signal()
			l.mu.Unlock()
			return
		}
		room = last
		l.mu.Unlock()
	}
}
