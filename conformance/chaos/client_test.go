package chaos

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// client is one client. It comes back whenever a session has ended.
type client struct {
	w         *world
	index     int
	transport transport
	line      *line
	session   *session // nil: there is none
	opened    int      // sessions so far
	woken     chan struct{}
	ticker    *time.Ticker
	paused    atomic.Int64 // until then, in time since the beginning, nothing is read
	all       sync.WaitGroup
}

const (
	retryPause  = 50 * time.Millisecond
	pingPause   = 5 * time.Second
	surelyKept  = 10 * time.Second // for which the server surely keeps a session that has lost its WebSocket, or that does not poll
	closeWait   = time.Minute      // for the answer to a Close
	finishLimit = 3 * time.Minute
)

func newClient(w *world, index int) *client {
	return &client{
		w: w, index: index, transport: w.plan.transports[index], line: w.proxy.lines[index],
		woken: make(chan struct{}, 1), ticker: time.NewTicker(time.Second),
	}
}

func (c *client) user() string { return fmt.Sprint("user ", c.index/users) }

func (c *client) wake() {
	select {
	case c.woken <- struct{}{}:
	default:
	}
}

// pauseReading waits while nothing is to be read.
func (c *client) pauseReading() {
	for {
		left := time.Duration(c.paused.Load()) - c.w.since()
		if left <= 0 {
			return
		}
		time.Sleep(min(left, 100*time.Millisecond))
	}
}

// run does the steps of the client.
func (c *client) run() {
	inTime := func() bool { return c.w.since() < c.w.plan.duration }
	steps := c.w.plan.steps[c.index]
	for i, one := range steps {
		if !c.until(one.at, inTime) || !c.ensure(inTime) {
			c.w.report.skipped.Add(int64(len(steps) - i))
			return
		}
		c.perform(one)
	}
}

// until looks after the session until a time.
func (c *client) until(at time.Duration, inTime func() bool) bool {
	timer := time.NewTimer(at - c.w.since())
	defer timer.Stop()
	for inTime() {
		if c.session != nil && !c.ensure(inTime) {
			return false
		}
		select {
		case <-timer.C:
			return inTime()
		case <-c.woken:
		case <-c.ticker.C:
		}
		c.tend()
	}
	return false
}

// tend sends what is to be sent besides calls.
func (c *client) tend() {
	s := c.session
	if s == nil {
		return
	}
	s.mu.Lock()
	replies := s.replies
	s.replies = nil
	ack, alive := s.numbering.last, !s.over && s.lost.IsZero()
	s.mu.Unlock()
	for _, reply := range replies {
		s.send(reply, 0, true)
	}
	if s.transport == resuming && alive && ack > s.lastAck {
		s.lastAck = ack
		s.send(fmt.Sprintf(`{"type":8,"sequenceId":%d}`, ack), 0, false)
	}
	if alive && time.Since(s.lastPing) > pingPause {
		s.lastPing = time.Now()
		s.send(`{"type":6}`, 0, false)
	}
}

// ensure returns with a session that has a link, unless the time is over.
func (c *client) ensure(inTime func() bool) bool {
	for inTime() {
		if c.session == nil {
			if err := c.connect(inTime); err != nil {
				c.w.report.retries.add()
				time.Sleep(retryPause)
			}
			continue
		}
		c.session.mu.Lock()
		over, lost := c.session.over, !c.session.lost.IsZero()
		c.session.mu.Unlock()
		switch {
		case over:
			c.endSession(false)
		case lost:
			c.resume()
		default:
			return true
		}
	}
	return false
}

// connect opens a session, and waits for its greeting.
func (c *client) connect(inTime func() bool) error {
	s := newSession(c, c.transport)
	s.forced = s.transport != resuming && c.line.cutsNext()
	c.opened++
	switch { // how OnDisconnected ends
	case c.opened%5 == 3:
		s.query.Set(endQuery, "panic")
	case c.opened%7 == 5:
		s.query.Set(endQuery, "goexit")
	}
	if err := c.open(s); err != nil {
		if s.transport == polls && s.id != "" {
			c.remove(s)
		}
		return err
	}
	c.w.report.connected[s.transport].add()
	c.session = s
	s.happened("connected")
	s.sendCall(&call{method: "Hello"})
	known := func() bool { return s.known || s.over || !s.lost.IsZero() }
	if !c.await(known, inTime) {
		return nil // the time is over
	}
	s.mu.Lock()
	s.forced = s.forced || !s.known // it ended before it was established
	s.over = s.over || !s.known
	s.mu.Unlock()
	return nil
}

// open opens the first link of a session, with the handshake.
func (c *client) open(s *session) error {
	if s.transport != direct {
		n, err := c.w.negotiate(c.index, s.transport == resuming, s.query)
		if err != nil {
			return err
		}
		s.id = n.ConnectionID
		s.query.Set("id", n.ConnectionToken)
		if n.UseStatefulReconnect != (s.transport == resuming) {
			s.violation("stateful reconnect was negotiated: %t", n.UseStatefulReconnect)
		}
	}
	var l link
	var err error
	version := 1
	switch s.transport {
	case resuming:
		version = 2
		l, err = c.w.openSocket(c.index, s.query)
	case negotiated, direct:
		l, err = c.w.openSocket(c.index, s.query)
	default:
		l, err = c.w.openFetched(c.index, s.transport == polls, s.query)
	}
	if err != nil {
		return err
	}
	s.attach(l)
	s.send(fmt.Sprintf(`{"protocol":"json","version":%d}`, version), 0, false)
	return nil
}

// await waits for a condition, which is asked under the lock of the session.
func (c *client) await(condition func() bool, inTime func() bool) bool {
	for {
		c.session.mu.Lock()
		met := condition()
		c.session.mu.Unlock()
		if met || !inTime() {
			return met
		}
		select {
		case <-c.woken:
		case <-c.ticker.C:
		}
		c.tend()
	}
}

// endSession lets go of a session, and says what is known of it. A client that abandons it does not tell the server.
func (c *client) endSession(abandons bool) {
	s := c.session
	c.session = nil
	s.link.close()
	<-s.readEnds
	if s.transport == polls && !abandons {
		c.remove(s)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.id == "" {
		return
	}
	e := &ending{client: c.index, transport: s.transport, sent: s.sent, received: s.received, answered: s.answered, forced: s.forced || abandons, trace: s.history()}
	if s.byFrame {
		e.graceful = s.closed == nil && s.ended == errClosed && !s.forced
	} else {
		e.graceful = s.closing && s.closed != nil && s.closed.Error == nil && !s.closed.AllowReconnect && !s.forced
	}
	if e.graceful && !s.byFrame && len(s.waiting) > 0 { // streams end when their client closes; that this is said before the Close is not promised
		s.violation("the Close of the client was answered, and %d calls were not", len(s.waiting))
	}
	e.forced = e.forced || s.closing
	e.toldKick = len(s.open) == 0 && s.closed != nil && s.closed.Error != nil && *s.closed.Error == kicked
	r := c.w.record(s.id)
	r.mu.Lock()
	r.client = e
	r.mu.Unlock()
}

// remove ends a session over polls.
func (c *client) remove(s *session) {
	for range 20 {
		err := c.w.remove(c.index, s.query)
		if err == nil || statusOf(err) != 0 {
			return
		}
		time.Sleep(retryPause)
	}
}

func isCloseFrame(err error) bool {
	var e websocket.CloseError
	return errors.As(err, &e)
}

// leave closes the session, by a Close or, over a WebSocket, by a close frame.
func (c *client) leave(byFrame bool) {
	s := c.session
	s.mu.Lock()
	_, isSocket := s.link.(*socket)
	s.closing, s.byFrame = true, byFrame && isSocket
	l := s.link
	s.mu.Unlock()
	var err error
	if s.byFrame {
		err = l.write([]byte{0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8}) // masked, code 1000
	} else {
		err = l.send([]byte(`{"type":7}` + separator))
	}
	if err != nil {
		l.close()
	}
	late := time.Now().Add(closeWait)
	c.await(func() bool { return s.over || !s.lost.IsZero() }, func() bool { return time.Now().Before(late) })
	s.mu.Lock()
	if !s.over {
		s.note("the close was not answered in time")
		s.forced = true
	}
	s.over = true
	s.mu.Unlock()
	c.endSession(false)
}

// finish shows that the client is served, after everything that was done to it, and closes its session.
func (c *client) finish() {
	defer c.ticker.Stop()
	defer c.all.Wait()
	late := time.Now().Add(finishLimit)
	inTime := func() bool { return time.Now().Before(late) }
	c.line.heal()
	c.paused.Store(0)
	for {
		if !c.ensure(inTime) {
			c.w.report.violation("client %d (%s) is not served at the end", c.index, transportNames[c.transport])
			if c.session != nil {
				c.endSession(true)
			}
			return
		}
		s := c.session
		s.execute(&call{method: "Sync"})
		answered := func() bool { return s.over || !s.lost.IsZero() || len(s.waiting)+len(s.open) == 0 }
		if !c.await(answered, inTime) {
			s.mu.Lock()
			s.violation("%d calls and %d streams are not answered at the end", len(s.waiting), len(s.open))
			s.mu.Unlock()
			c.endSession(false)
			return
		}
		s.mu.Lock()
		done := !s.over && s.lost.IsZero()
		s.mu.Unlock()
		if !done {
			continue
		}
		c.leave(false)
		if c.w.record(s.id).client.graceful {
			return
		}
	}
}
