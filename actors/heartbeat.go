package actors

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// tick is what the heartbeat actor gets once a second. Everything that depends on time is looked at then, so that no connection needs
// a timer: pings, timeouts, stalled sockets, idle workers. The actor owns the connections' beats and never blocks.
type tick struct{}

// mostTicks is how many periods count at most for one tick: a process that was stopped for a minute has not heard its clients because it did
// not listen.
const mostTicks = 2

func (s *System) beat(heart *actor.PID) {
	ticker := time.NewTicker(s.period)
	defer ticker.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-ticker.C:
			if s.ticking.CompareAndSwap(false, true) { // ticks do not queue behind one that takes long
				s.actors.Root.Send(heart, &tick{})
			}
		}
	}
}

func (s *System) tick() {
	defer s.guard("heartbeat")
	defer s.ticking.Store(false)
	now := s.now()
	passed := min(now-s.ticked, mostTicks*s.period)
	s.ticked = now
	s.workers.tick()
	for _, sh := range s.shards {
		for _, c := range sh.all() {
			s.tickOne(c, passed)
		}
	}
}

// tickOne looks at one connection. What panics there, such as a log handler, is not the end of the others' ticks.
func (s *System) tickOne(c *Connection, passed time.Duration) {
	defer s.guard("heartbeat")
	c.tick(passed)
}

// beat is what the heartbeat knows of a connection.
type beat struct {
	inPhase time.Duration
	silent  time.Duration // since the client was last heard
	stalled time.Duration // since its link has last taken something that waits
	pause   time.Duration // since the last ping, or, of a client that polls, since it has last had a poll here
	sealed  time.Duration // since nothing can be sent to it any more
	taken   uint32
	phase   state
}

// answerTime is how long what came before a message that cannot be read may take to be answered.
const answerTime = time.Second

// awayLimit is how long a client may take between two polls (spec §2.5).
const awayLimit = 15 * time.Second

// tick looks at a connection; d has passed since the last time.
func (c *Connection) tick(d time.Duration) {
	b := &c.beat
	if phase := min(state(c.phase.Load()), draining); phase != b.phase {
		b.phase, b.inPhase = phase, 0
	}
	b.inPhase += d
	polls := c.out.pull != nil && c.out.pull.polls
	if polls {
		if b.pause += d; c.out.pull.came.Swap(false) || c.out.pull.attended.Load() {
			b.pause = 0
		}
	}
	switch b.phase {
	case handshaking:
		if b.inPhase > c.settings.HandshakeTimeout {
			c.post(&closeRequest{cause: ErrHandshakeTimeout, reason: closeReason{text: handshakeCanceled, drop: true}})
		}
	case open:
		c.keepAlive(d, polls)
	case failing:
		if b.inPhase > answerTime {
			c.postCallsDone()
		}
	case draining: // or further
		c.ping(d, polls)
		c.post(&closingTick{b.inPhase})
	}
	c.mailbox.trim()
	p := c.out.progress()
	if b.sealed += d; !p.sealed {
		b.sealed = 0
	}
	late := b.sealed > c.settings.CloseTimeout
	if polls && !c.sys.leaving.Load() { // the next poll takes what was said last
		late = p.sealed && b.pause > awayLimit
	}
	if late || p.sealed && p.full { // what is left will not be taken in time
		c.markClosed() // a reader that waits sees the end
		c.cut()
		if b.sealed > 2*c.settings.CloseTimeout { // a net.Conn of the application's whose Close does not end its Read
			c.out.abandon()
			c.post(&readEnd{})
		}
	}
	if b.stalled += d; !p.waits || p.taken != b.taken {
		b.stalled, b.taken = 0, p.taken
	}
	if b.stalled > c.settings.SendTimeout {
		c.post(&closeRequest{cause: ErrSendTimeout, reason: closeReason{drop: true, cut: true}})
		c.cut()
	}
}

// ping pings a client to which nothing else is on its way: whatever is shows as well that we live.
func (c *Connection) ping(d time.Duration, polls bool) {
	if b := &c.beat; !polls {
		if b.pause += d; b.pause >= c.settings.KeepAlive {
			b.pause = 0
			c.out.pushIfIdle(c.hub.pings[c.protocol])
		}
	}
}

func (c *Connection) keepAlive(d time.Duration, polls bool) {
	b := &c.beat
	c.ping(d, polls)
	if polls {
		if b.pause > awayLimit {
			c.post(&closeRequest{reason: closeReason{cut: true}})
		}
		return
	}
	if b.silent += d; c.heard.Swap(false) || c.in.waiting.Load() || !c.pinged.Load() {
		b.silent = 0 // the clock stands while the reader waits for us, and until the client's first ping
	}
	if b.silent > c.settings.ClientTimeout {
		text := c.hub.handler.Describe(connectedText, ErrClientTimeout)
		c.post(&closeRequest{cause: ErrClientTimeout, reason: closeReason{message: true, text: text, allowReconnect: true}})
	}
}
