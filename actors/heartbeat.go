package actors

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-go/troupe/actors/outbox"
)

// tick is sent to the heartbeat actor once a second. Everything that depends on time is checked then, so that no connection needs a timer: pings,
// timeouts, stalled sockets, idle workers. The actor owns the beats of the connections, and never blocks.
type tick struct{ sys *System }

func (t *tick) lost() { t.sys.ticking.Store(false) }

// mostTicks is how many periods one tick counts at most: a process that was stopped for a minute must not time out its clients for that.
const mostTicks = 2

func (s *System) runHeartbeat(heart *actor.PID) {
	ticker := time.NewTicker(s.period)
	defer ticker.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-ticker.C:
			if s.stopped.Load() {
				return // a tick would be a dead letter
			}
			if s.ticking.CompareAndSwap(false, true) { // ticks do not queue behind one that takes long
				s.actorSystem.Root.Send(heart, &tick{s})
			}
		}
	}
}

func (s *System) tick() {
	defer s.recoverActor("heartbeat", nil)
	defer s.ticking.Store(false)
	now := s.now()
	passed := min(now-s.ticked, mostTicks*s.period)
	s.ticked = now
	s.beaten.Store(int64(now))
	s.workers.tick()
	for _, c := range s.allConnections() {
		s.tickOne(c, passed)
	}
	for _, h := range s.allHubs() {
		h.userRates.forgetFull(s.now)
	}
}

// tickOne looks at one connection. If something panics there, such as a log handler, the others get their ticks all the same.
func (s *System) tickOne(c *Connection, passed time.Duration) {
	defer s.recoverActor("heartbeat", nil)
	c.tick(millis(passed.Milliseconds()))
}

// beat is the heartbeat's state of a connection.
type beat struct {
	inState millis
	silent  millis // since the client last sent something
	stalled millis // since the link last took something, while something waits
	pause   millis // since the last ping, or since a client that polls last had a poll here
	sealed  millis // since nothing can be sent to it any more
	taken   uint32
	state   state
	losses  uint8 // of sockets, when pause was last set for one; it may wrap
	dropped bool  // it has been logged that messages were dropped
}

// millis is a time in milliseconds, of half the size of a time.Duration.
type millis uint32

func (m millis) duration() time.Duration { return time.Duration(m) * time.Millisecond }

func (m millis) exceeds(d time.Duration) bool { return m.duration() > d }

// answerTime is how long the answers may take to what was received before a message that cannot be read.
const answerTime = time.Second

// awayLimit is how long a client may take between two polls, or to come back over another socket (docs/protocol.md, 2.5, 9).
const awayLimit = 15 * time.Second

// tick checks a connection. d has passed since the last tick.
func (c *Connection) tick(d millis) {
	b := &c.beat
	if b.inState += d; min(state(c.stateSeen.Load()), draining) != b.state {
		b.state, b.inState = min(state(c.stateSeen.Load()), draining), 0
	}
	polls := c.out.Kind() == outbox.Polls
	if polls {
		if b.pause += d; c.out.Visited() {
			b.pause = 0
		}
	}
	switch b.state {
	case handshaking:
		if b.inState.exceeds(c.settings.HandshakeTimeout) {
			c.post(&closeRequest{cause: ErrHandshakeTimeout, reason: closeReason{text: handshakeCanceled, drop: true}})
		}
	case open:
		c.keepAlive(d, polls)
	case failing:
		if b.inState.exceeds(answerTime) {
			c.postCallsIdle()
		}
	case draining: // or further
		c.ping(d, polls)
		c.post(&closingTick{b.inState.duration()})
	}
	c.mailbox.trim()
	c.checkProgress(d, polls)
}

// checkProgress cuts a link that does not end, or that takes nothing.
func (c *Connection) checkProgress(d millis, polls bool) {
	b, p := &c.beat, c.out.Progress()
	if b.sealed += d; !p.Sealed {
		b.sealed = 0
	}
	if p.Dropped && !b.dropped {
		b.dropped = true
		c.post(&messagesDropped{})
	}
	late := b.sealed.exceeds(c.settings.CloseTimeout)
	if polls && !c.hub.sys.closing.Load() { // the next poll takes the last messages with it
		late = p.Sealed && b.pause.exceeds(awayLimit)
	}
	if late || p.Sealed && p.Full { // the rest will not be taken in time
		c.markClosing() // a reader that waits sees the end
		c.out.Cut()
		if b.sealed.exceeds(2 * c.settings.CloseTimeout) { // a net.Conn of the application, whose Close does not end its Read
			c.out.Abandon()
			c.post(&readEnd{})
		}
	}
	if b.stalled += d; !p.Stalled || p.Taken != b.taken {
		b.stalled, b.taken = 0, p.Taken
	}
	if b.stalled.exceeds(c.settings.SendTimeout) {
		c.post(&closeRequest{cause: ErrSendTimeout, reason: closeReason{drop: true, cut: true}})
		c.out.Cut()
	}
}

// ping pings a client to which nothing else is on its way. Any other message shows as well that the server is alive.
func (c *Connection) ping(d millis, polls bool) {
	if b := &c.beat; !polls {
		if b.pause += d; (b.pause + d/2).duration() >= c.settings.KeepAlive { // ticks that come a little early count as well
			b.pause = 0
			c.out.PushIfIdle(c.hub.pings[c.protocol])
		}
	}
}

func (c *Connection) keepAlive(d millis, polls bool) {
	b := &c.beat
	if c.resumption != nil && c.awaitSocket(d) {
		return
	}
	c.ping(d, polls)
	if c.hasExpired() {
		c.askToClose(ErrExpired, closeReason{message: true, allowReconnect: true})
		return
	}
	if age := c.hub.sys.now() - time.Duration(c.openedAt)*time.Second; c.settings.Lifetime > 0 && age > c.settings.Lifetime {
		c.askToClose(nil, closeReason{message: true, allowReconnect: true})
		return
	}
	if polls {
		if b.pause.exceeds(awayLimit) {
			c.askToClose(nil, closeReason{cut: true})
		}
		return
	}
	if b.silent += d; c.heard.Swap(false) || c.in.waiting.Load() || c.resumption != nil && c.resumption.withheld {
		b.silent = 0 // time in which the reader, or a client with a full buffer, waits for the server does not count
	}
	timeout := c.settings.ClientTimeout
	if !c.pinged.Load() {
		timeout = c.settings.IdleTimeout
	}
	if timeout > 0 && b.silent.exceeds(timeout) {
		c.askToClose(ErrClientTimeout, closeReason{message: true, text: c.describe(ErrClientTimeout), allowReconnect: true})
	}
}

// awaitSocket reports whether a connection has lost its socket, and closes it if no other one comes in time. Otherwise it acknowledges what has been
// received. A reader that waits for calls may not have found that its socket is gone, and may never find it if these wait for the client.
func (c *Connection) awaitSocket(d millis) bool {
	b, r := &c.beat, c.resumption
	if !c.isLost() {
		c.acknowledge()
		if c.out.Kind() != outbox.None {
			r.unnoticed = 0
			return false
		}
		if r.unnoticed += d; r.unnoticed.exceeds(awayLimit) {
			c.askToClose(nil, closeReason{cut: true})
		}
		return true
	}
	r.unnoticed = 0
	if losses := uint8(r.losses.Load()); losses != b.losses {
		b.losses, b.pause, b.silent = losses, 0, 0
	}
	if b.pause += d; b.pause.exceeds(awayLimit) {
		c.askToClose(nil, closeReason{cut: true})
	}
	return true
}
