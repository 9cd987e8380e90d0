package cluster

import (
	"log/slog"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/troupe-go/troupe/hubsys/backplane"
	clusterv1 "github.com/troupe-go/troupe/proto/troupe/cluster/v1"
)

const (
	helloEvery = 500 * time.Millisecond
	ackEvery   = 500 * time.Millisecond
	// ackDelay is how long an acknowledgement of a few messages waits for further ones: it costs as much as a message.
	ackDelay = 20 * time.Millisecond
	// deadAfter is how long a node can send no acknowledgement before it is taken to be unreachable.
	deadAfter = 1500 * time.Millisecond
	// forgetAfter is how long a node can be away before what it wanted is forgotten.
	forgetAfter = time.Minute
	// interestsAhead is how many messages with interest can be unacknowledged.
	interestsAhead = 4
)

// link is this node's end of what joins it to another one. It is up from the answer to its Hello to the first sign of a loss, and opens again
// with the next Hello. All that is sent on it is sent by its goroutine run, and all that it gives to the host by its goroutine receive.
type link struct {
	node  *node
	peer  backplane.NodeID
	place place
	wake  chan struct{} // has room for one signal to run

	mu       sync.Mutex
	arrived  sync.Cond // signaled when there is something to receive
	member   member
	isMember bool
	up       bool
	closed   bool // nothing is sent any more, but for the bye if one is due
	bye      bool
	session  uint32 // of this end, which is another one after each fall
	theirs   uint32 // the session of the other end, 0: not known
	life     uint64 // of the other process, 0: not known
	taken    uint64 // the life of a process that has the id of the other one, and must be told so
	refused  string // why the other node cannot be talked to
	reports  []report

	since     time.Time // it is up, or down
	heard     time.Time // the last acknowledgement
	nextHello time.Time
	nextAck   time.Time // at the latest
	hello     bool      // one is due
	ack       bool      // one is due

	out     outgoing
	in      incoming
	pressed map[topicHash]chan struct{} // closed when the other node has room again
	overfed bool                        // it has been reported that the queue is full
	handed  atomic.Uint64               // publications that the host has been given, but for the last one of each batch
	// transmitted and arrivals count the frames of the session, those with Hello and Ack excepted.
	transmitted, arrivals uint64

	flushed chan struct{} // made by whoever waits for all to be acknowledged

	// told is the number of the last change of this node's interest that has been sent. While all of it is sent, all is what, and sent how much of
	// it. versions are what the unacknowledged messages end with, and interests is how many have been acknowledged.
	told      uint64
	isCurrent bool // it was the last one at some time in this session
	all       *copied
	sent      int
	versions  []uint64
	interests uint64
}

// report is a record of the log that waits until no lock is held.
type report struct {
	level slog.Level
	text  string
	args  []any
}

func newLink(n *node, m member) *link {
	now := time.Now()
	l := &link{node: n, peer: m.id, wake: make(chan struct{}, 1), session: rand.Uint32() | 1, since: now, nextHello: now, member: m, isMember: true}
	l.arrived.L = &l.mu
	l.place = n.topics.add(l)
	return l
}

func (l *link) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run sends. It is a goroutine.
func (l *link) run() {
	select {
	case <-l.node.begun:
	case <-l.node.stopping:
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		s := l.next(time.Now())
		for _, r := range s.reports {
			l.node.settings.log.Log(l.node.context, r.level, r.text, append([]any{"node", l.peer.String()}, r.args...)...)
		}
		switch {
		case s.frame != nil:
			s.frame.From, s.frame.To = uint32(l.node.id), uint32(l.peer)
			l.node.network.send(l.peer, s.frame)
		case s.needsCopy:
			l.takeCopy(l.node.subs.copy()) // which takes its time, so the lock of the link is not held
		case s.ended:
			l.node.forget(l)
			return
		default:
			timer.Reset(s.wait)
			select {
			case <-l.wake:
				runtime.Gosched() // who is sending adds to the batch
			case <-timer.C:
			}
		}
	}
}

// step is what run does next.
type step struct {
	reports   []report
	frame     *clusterv1.Frame
	needsCopy bool // the other node has to be told of all of the interest
	ended     bool
	wait      time.Duration // if there is nothing else
}

// next returns the next step.
func (l *link) next(now time.Time) (s step) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.up && now.Sub(l.heard) >= deadAfter {
		l.fall(now, "it has acknowledged nothing for too long")
	}
	switch {
	case l.bye:
		l.bye = false
		s.frame = &clusterv1.Frame{Session: l.session, Kind: &clusterv1.Frame_Bye{Bye: &clusterv1.Bye{SeenBatches: l.in.seen}}}
	case l.closed:
		s.ended = true
	case l.up:
		s = l.nextUp(now)
	default:
		s = l.nextDown(now)
	}
	s.reports, l.reports = l.reports, nil
	return s
}

// nextUp sends what is due, interest before messages.
func (l *link) nextUp(now time.Time) (s step) {
	f := &clusterv1.Frame{Session: l.session}
	if l.hello {
		return step{frame: l.helloFrame(now)}
	}
	if l.ack || !now.Before(l.nextAck) {
		l.ack, l.nextAck, l.in.unacked = false, now.Add(ackEvery), 0
		f.Kind = &clusterv1.Frame_Ack{Ack: &clusterv1.Ack{Batches: l.in.given, Interests: l.in.interests, Sent: l.transmitted, Progress: l.handed.Load()}}
		return step{frame: f}
	}
	i, ok := l.nextInterest()
	if !ok {
		return step{needsCopy: true}
	}
	if i != nil {
		f.Kind = &clusterv1.Frame_Interest{Interest: i}
	} else if p := l.in.presses; p != nil {
		l.in.presses = nil
		f.Kind = &clusterv1.Frame_Press{Press: &clusterv1.Press{Changes: p}}
	} else if b := l.out.next(now); b != nil {
		f.Kind = &clusterv1.Frame_Batch{Batch: b}
	}
	if f.Kind != nil {
		l.transmitted++
		return step{frame: f}
	}
	until := l.heard.Add(deadAfter)
	if l.nextAck.Before(until) {
		until = l.nextAck
	}
	if l.out.room != nil {
		if l.out.isStalled(now) {
			l.out.release()
		} else if stalls := l.out.progress.Add(stallAfter); stalls.Before(until) {
			until = stalls
		}
	}
	return step{wait: until.Sub(now)}
}

// nextDown says Hello as long as the other node is a member, and forgets it some time after it has gone.
func (l *link) nextDown(now time.Time) step {
	forget := l.since.Add(forgetAfter)
	isOld := !now.Before(forget)
	switch {
	case isOld && !l.isMember:
		l.close(now)
		return step{ended: true}
	case !l.isMember:
		return step{wait: forget.Sub(now)}
	case isOld && (l.in.version > 0 || l.in.all):
		l.forgetInterest()
		l.session += 2 // a Hello that is still under way says what is known of it
	}
	if l.in.bytes > 0 { // what was received before comes first; its end is signaled
		return step{wait: forgetAfter}
	}
	if l.hello || !now.Before(l.nextHello) {
		return step{frame: l.helloFrame(now)}
	}
	return step{wait: l.nextHello.Sub(now)}
}

// frame takes a frame from the other node. Those of a session that is over are ignored.
func (l *link) frame(f *clusterv1.Frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.closed || !l.isMember {
		return
	}
	if h := f.GetHello(); h != nil {
		l.greeted(h, f.GetSession(), now)
		l.signal()
		return
	}
	if !l.up || f.GetSession() != l.theirs {
		return
	}
	if f.GetAck() == nil {
		l.arrivals++
	}
	ok := true
	switch k := f.GetKind().(type) {
	case *clusterv1.Frame_Batch:
		ok = l.in.add(k.Batch)
		l.arrived.Signal()
	case *clusterv1.Frame_Ack:
		ok = l.arrivals == k.Ack.GetSent() && l.acknowledged(k.Ack, now)
		l.signal()
	case *clusterv1.Frame_Interest:
		ok = l.takeInterest(k.Interest)
		l.ack = true
		l.signal()
	case *clusterv1.Frame_Press:
		l.takePress(k.Press.GetChanges())
	case *clusterv1.Frame_Bye:
		l.out.settle(k.Bye.GetSeenBatches())
		l.fall(now, "it has left")
		l.close(now)
	default:
		l.node.ignored.Add(1)
	}
	if !ok {
		l.fall(now, "a message has been lost, or is not valid")
	}
}

// publish queues the pieces of a message. room is nil, or closed when the sender may go on; weight says which of several rooms to wait for.
func (l *link) publish(p []*clusterv1.Publication, h topicHash) (room <-chan struct{}, weight int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.up {
		l.out.drop(1)
		return nil, 0
	}
	if l.out.queue == nil {
		l.signal()
	}
	room, ok := l.out.add(p)
	if !ok && !l.overfed {
		l.overfed = true
		l.reports = append(l.reports, report{slog.LevelWarn, "messages for a node are dropped: its queue is full", []any{"bytes", l.out.queued}})
		l.signal()
	}
	if pressed := l.pressed[h]; pressed != nil {
		return pressed, math.MaxInt
	}
	return room, l.out.backlog()
}

// lack counts a message that is not sent.
func (l *link) lack() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.out.drop(1)
}

// acknowledged takes what the other node has received. It returns false if that cannot be.
func (l *link) acknowledged(a *clusterv1.Ack, now time.Time) bool {
	n := a.GetInterests() - l.interests
	if !l.out.acknowledge(a.GetBatches(), now) || n > uint64(len(l.versions)) {
		return false
	}
	l.out.proceed(a.GetProgress(), now)
	l.heard = now
	if l.out.isEmpty() {
		l.letGo()
	}
	for _, version := range l.versions[:n] {
		if version > 0 {
			l.node.subs.setKnown(l, version)
		}
	}
	l.versions = append(l.versions[:0], l.versions[n:]...)
	l.interests = a.GetInterests()
	return true
}

// takePress takes which topics have no room at the other node.
func (l *link) takePress(changes []uint64) {
	for _, c := range changes {
		h := topicHash(c | 1)
		room := l.pressed[h]
		if c&1 == 1 && room == nil && len(l.pressed) < maxPressed {
			l.pressed[h] = make(chan struct{})
		} else if c&1 == 0 && room != nil {
			close(room)
			delete(l.pressed, h)
		}
	}
}
