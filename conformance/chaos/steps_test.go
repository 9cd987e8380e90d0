package chaos

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// sendCall sends a call that is answered.
func (s *session) sendCall(k *call, args ...any) {
	s.lastID++
	k.id = strconv.Itoa(s.lastID)
	kind := typeInvocation
	s.mu.Lock()
	switch {
	case k.items > 0:
		kind = typeStreamInvocation
		fallthrough
	case k.method == "Ask":
		s.open[k.id] = k
	default:
		s.waiting = append(s.waiting, k)
	}
	s.mu.Unlock()
	s.send(fmt.Sprintf(`{"type":%d,"invocationId":%q,"target":%q,"arguments":[%s]}`, kind, k.id, k.method, list(args)), k.number, true)
}

// execute sends a call that is executed: its first argument is its number.
func (s *session) execute(k *call, args ...any) {
	s.mu.Lock()
	s.sent++
	k.number = s.sent
	s.mu.Unlock()
	s.sendCall(k, append([]any{k.number}, args...)...)
}

// executeUnanswered sends a call without an id.
func (s *session) executeUnanswered(method string, args ...any) {
	s.mu.Lock()
	s.sent++
	number := s.sent
	s.mu.Unlock()
	s.send(fmt.Sprintf(`{"type":1,"target":%q,"arguments":[%s]}`, method, list(append([]any{number}, args...))), number, true)
}

func list(args []any) string {
	var parts []string
	for _, arg := range args {
		if text, ok := arg.(string); ok {
			parts = append(parts, strconv.Quote(text))
		} else {
			parts = append(parts, fmt.Sprint(arg))
		}
	}
	return strings.Join(parts, ",")
}

// force says that what is done to the session may end it.
func (s *session) force() {
	s.mu.Lock()
	s.forced = true
	s.mu.Unlock()
}

// forceUnlessResumed says that what is done to the link may end the session, unless it can go on over another link.
func (s *session) forceUnlessResumed() {
	if s.transport != resuming {
		s.force()
	}
}

const (
	failed       = "An unexpected error occurred invoking 'Misbehave' on the server."
	gone         = "An unexpected error occurred invoking 'Ask' on the server."
	cutShort     = "An error occurred on the server while streaming results."
	unknown      = "Failed to invoke 'Nonsense' due to an error on the server. HubException: Method does not exist."
	misfit       = "Failed to invoke 'Do' due to an error on the server."
	kicked       = "kicked by the test"
	mostGroups   = 6
	floodPackets = 24
	floodSize    = 16 << 10
)

// perform does a step.
func (c *client) perform(one step) {
	s := c.session
	s.happened(actionNames[one.action])
	performed := true
	switch one.action {
	case doJoin, doLeaveGroup, doTell:
		performed = c.performGroup(one)
	case doCut, doCutLater, doCutNext, doStall, doThrottle, doDelay, doHalfClose:
		c.performFault(one)
	case doBadJSON, doBadText, doBadFrame, doHugeMessage, doUnknownMessage, doJunk:
		c.performGarbage(one)
	case doStopReading, doFlood:
		c.paused.Store(int64(c.w.since() + one.length))
		if one.action == doFlood {
			c.all.Go(c.flood)
		}
	case doKick, doKickUser, doReconnect, doClose, doCloseFrame, doVanish, doRefused:
		c.performEnd(one)
	default:
		c.performCall(one)
	}
	if performed {
		c.w.report.done[one.action].add()
	} else {
		c.w.report.skipped.add()
	}
}

func (c *client) performCall(one step) {
	s, n := c.session, int(one.draw%60)
	switch one.action {
	case doCall:
		s.execute(&call{method: "Do"}, strings.Repeat("a", n))
	case doSend:
		s.executeUnanswered("Do", strings.Repeat("b", n))
	case doBurst:
		s.batch(func() {
			for i := range 5 + n {
				s.execute(&call{method: "Do"}, strings.Repeat("c", i))
			}
		})
	case doSlowCall:
		s.execute(&call{method: "Slow"}, n)
	case doUnknownMethod:
		s.sendCall(&call{method: "Nonsense", failure: unknown})
	case doBadArguments:
		s.sendCall(&call{method: "Do", failure: misfit}, "no number", "")
	case doPanic:
		s.execute(&call{method: "Misbehave", failure: failed}, "panic")
	case doGoexit:
		s.execute(&call{method: "Misbehave", failure: failed}, "goexit")
	case doStream:
		s.execute(&call{method: "Count", items: 1 + n}, 1+n)
	case doCanceledStream:
		k := &call{method: "Count", items: 5000, canceled: true}
		s.execute(k, k.items)
		s.send(fmt.Sprintf(`{"type":5,"invocationId":%q}`, k.id), 0, true)
	case doAsk:
		s.execute(&call{method: "Ask"})
	case doListGroups:
		s.execute(&call{method: "List"})
	case doSync:
		s.execute(&call{method: "Sync"})
	}
}

// performGroup returns false if there is no group for the step.
func (c *client) performGroup(one step) bool {
	s := c.session
	s.mu.Lock()
	in := s.view.groups(false)
	k := &call{series: 1 + int(one.draw)%c.w.plan.groups}
	switch {
	case one.action == doJoin:
		if s.view.in[k.series] != nil || len(in) >= mostGroups {
			s.mu.Unlock()
			return false
		}
		k.method = "Join"
		s.view.join(k.series)
	case len(in) == 0:
		s.mu.Unlock()
		return false
	default:
		k.series = in[int(one.draw)%len(in)]
		if k.method = "Tell"; one.action == doLeaveGroup {
			k.method = "Leave"
			s.view.in[k.series].leaving = true
		}
	}
	s.mu.Unlock()
	if one.action == doTell {
		s.execute(k, k.series, one.draw%300)
	} else {
		s.execute(k, k.series)
	}
	return true
}

// keepBusy makes calls that still wait for their turn when the next thing happens to the session.
func (c *client) keepBusy(one step) {
	if one.draw&8 == 0 {
		return
	}
	s := c.session
	s.batch(func() {
		s.execute(&call{method: "Slow"}, 30+one.draw%50)
		for range 1 + one.draw%10 {
			s.execute(&call{method: "Do"}, "")
		}
	})
}

func (c *client) performFault(one step) {
	s, n := c.session, int(one.draw/16)
	d := direction(one.draw % 2)
	both := []direction{d}
	if one.draw&2 == 0 {
		both = append(both, 1-d)
	}
	switch one.action {
	case doCut:
		c.keepBusy(one)
		s.forceUnlessResumed()
		c.line.cut()
	case doCutLater:
		s.forceUnlessResumed()
		c.line.cutLater(d, 1+n%3000)
	case doCutNext:
		s.forceUnlessResumed()
		c.line.cutNext(d, 1+n%800)
		c.line.cut()
	case doHalfClose:
		c.keepBusy(one)
		s.forceUnlessResumed()
		c.line.halfClose(d)
	case doStall:
		for _, d := range both {
			c.line.stall(d, one.length)
		}
	case doThrottle:
		for _, d := range both {
			c.line.throttle(d, 2000+n%20000, one.length)
		}
	case doDelay:
		for _, d := range both {
			c.line.delay(d, time.Duration(1+n%50)*time.Millisecond, one.length)
		}
	}
}

// badRecords are records that nobody can read.
var badRecords = []string{`{"type":1,"target":`, `[]`, `{}`, `{"type":"x"}`, `{"type":3,"invocationId":"1","result":1,"error":"x"}`, "\x00", `{"type":1,"target":"Do","arguments":{}}`}

func (c *client) performGarbage(one step) {
	s := c.session
	_, isSocket := s.link.(*socket)
	switch one.action {
	case doBadJSON:
		s.force()
		s.send(badRecords[int(one.draw)%len(badRecords)], 0, false)
	case doBadText:
		s.force()
		s.send("{\"type\":6,\"x\":\"\xff\"}", 0, false)
	case doHugeMessage:
		s.force()
		s.send(fmt.Sprintf(`{"type":1,"target":"Do","arguments":[0,"%s"]}`, strings.Repeat("h", 33_000+int(one.draw%100_000))), 0, false)
	case doBadFrame:
		s.force()
		garbage := "\xff\xff garbage \x00"
		if !isSocket {
			garbage = "GARBAGE\r\n\r\n"
		}
		if err := s.link.write([]byte(garbage)); err != nil {
			s.link.close()
		}
	case doUnknownMessage:
		s.send(fmt.Sprintf(`{"type":%d,"invocationId":"1","item":1}`, 10+one.draw%100), 0, false)
	case doJunk:
		conn, err := c.w.proxy.dial(context.Background(), c.index)
		if err != nil {
			return
		}
		requests := []string{"\x16\x03\x01", "GET /hub HTTP/1.1\r\n\r\n", "POST /hub?id=x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc", "DELETE /hub?id=%zz HTTP/1.1\r\nHost: x\r\n\r\n", "GET /hub HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"}
		_, _ = conn.Write([]byte(requests[int(one.draw)%len(requests)]))
		conn.Close()
	}
}

// flood sends much to the user of the client, from outside of the hub.
func (c *client) flood() {
	n := note{Sender: fmt.Sprint("flood ", c.w.floods.Add(1)), Announcer: -1, Series: flooding, Pad: strings.Repeat("f", floodSize)}
	for range floodPackets {
		n.Total++
		if err := c.w.hub.Clients().User(c.user()).Send(context.Background(), "note", n); err != nil {
			c.w.report.violation("%s could not send: %v", n.Sender, err)
		}
	}
}

func (c *client) performEnd(one step) {
	s, ctx := c.session, context.Background()
	switch one.action {
	case doKick:
		c.keepBusy(one)
		c.w.expectKick(func(r *record) bool { return r.id == s.id })
		_ = c.w.hub.Clients().Client(s.id).Disconnect(ctx, kicked)
	case doKickUser:
		c.keepBusy(one)
		c.w.expectKick(func(r *record) bool { return r.user == c.user() })
		_ = c.w.hub.Clients().User(c.user()).Disconnect(ctx, kicked)
	case doReconnect:
		c.keepBusy(one)
		s.force()
		_ = c.w.hub.Clients().Client(s.id).Reconnect(ctx)
	case doClose:
		c.keepBusy(one)
		c.leave(false)
	case doCloseFrame:
		c.keepBusy(one)
		c.leave(true)
	case doVanish:
		c.keepBusy(one)
		if s.transport == resuming && (one.draw%2 == 0 || !c.w.plan.mayAbandon(one.at)) {
			s.link.close() // and comes back
			return
		}
		s.force()
		s.link.close()
		c.endSession(one.draw%2 == 1 && c.w.plan.mayAbandon(one.at))
	case doRefused:
		c.beRefused(one)
	}
}

// beRefused opens another session, which OnConnected refuses.
func (c *client) beRefused(one step) {
	s := newSession(c, negotiated)
	s.query.Set(refuseQuery, []string{"panic", "goexit", "error"}[one.draw%3])
	if err := c.open(s); err != nil {
		return // because of what else happens to the client
	}
	<-s.readEnds
	s.link.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed == nil || s.closed.Error != nil && *s.closed.Error == kicked {
		return // lost, or disconnected with its user, before that
	}
	c.w.report.checked[checkRefused].add()
	if s.closed.Error == nil || *s.closed.Error != "Connection closed with an error." || s.closed.AllowReconnect {
		s.violation("a connection was refused with %+v", s.closed)
	}
}
