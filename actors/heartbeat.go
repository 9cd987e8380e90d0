package actors

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// tick is what the heartbeat actor gets once a second. Everything that depends on time is looked at then, so that no connection needs
// a timer: pings, timeouts, stalled sockets, idle workers. The actor owns the connections' beats and never blocks.
type tick struct{}

func (s *System) beat(heart *actor.PID) {
	ticker := time.NewTicker(s.period)
	defer ticker.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-ticker.C:
			s.actors.Root.Send(heart, &tick{})
		}
	}
}

func (s *System) tick() {
	s.workers.tick()
	for _, sh := range s.shards {
		for _, c := range sh.all() {
			c.tick(s.period)
		}
	}
}

// beat is what the heartbeat knows of a connection.
type beat struct {
	phase   state
	inPhase time.Duration
	ping    time.Duration // since the last ping
	silent  time.Duration // since the client was last heard
	stalled time.Duration // since its socket has last taken something that waits
	away    time.Duration // since a client that polls has last had a poll here
	taken   uint64
}

// answerTime is how long what came before a message that cannot be read may take to be answered.
const answerTime = time.Second

// awayLimit is how long a client may take between two polls (spec §2.5).
const awayLimit = 15 * time.Second

// tick looks at a connection; d has passed since the last time.
func (c *Connection) tick(d time.Duration) {
	b := &c.beat
	if phase := min(state(c.phase.Load()), closing); phase != b.phase {
		b.phase, b.inPhase = phase, 0
	}
	b.inPhase += d
	switch b.phase {
	case handshaking:
		if b.inPhase > c.settings.HandshakeTimeout {
			c.post(&leave{cause: ErrHandshakeTimeout, how: farewell{text: handshakeCanceled}})
		}
	case open:
		c.keepAlive(d)
	case failing:
		if b.inPhase > answerTime {
			c.post(&answered{})
		}
	default:
		if b.inPhase > c.settings.CloseTimeout {
			c.cut()
		}
	}
	c.mailbox.trim()
	c.out.mu.Lock()
	waits := c.out.state != boxIdle && c.out.bytes > 0 && (c.pull == nil || c.out.state == boxWriting)
	full := c.out.state == boxBlocked && c.out.bytes >= c.settings.OutboxLimit
	taken := c.out.taken
	c.out.mu.Unlock()
	if full && b.phase == closing { // it will not take the rest in time
		c.cut()
	}
	if b.stalled += d; !waits || taken != b.taken {
		b.stalled, b.taken = 0, taken
	}
	if b.stalled > c.settings.SendTimeout {
		c.post(&leave{cause: ErrSendTimeout, how: farewell{drop: true, cut: true}})
		c.cut()
	}
}

func (c *Connection) keepAlive(d time.Duration) {
	b := &c.beat
	if c.pull != nil && c.pull.polls {
		if b.away += d; c.pull.came.Swap(false) || c.pull.attended.Load() {
			b.away = 0
		}
		if b.away > awayLimit {
			c.post(&leave{how: farewell{drop: true, cut: true}})
		}
		return
	}
	if b.ping += d; b.ping >= c.settings.KeepAlive {
		b.ping = 0
		c.pushIfIdle(c.hub.pings[c.protocol]) // whatever else is on its way shows as well that we live
	}
	if b.silent += d; c.heard.Swap(false) || c.in.waiting.Load() || !c.pinged.Load() {
		b.silent = 0 // the clock stands while the reader waits for us, and until the client's first ping (spec §10.4)
	}
	if b.silent > c.settings.ClientTimeout {
		text := c.hub.handler.Describe(connectedText, ErrClientTimeout)
		c.post(&leave{cause: ErrClientTimeout, how: farewell{message: true, text: text, allowReconnect: true}})
	}
}
