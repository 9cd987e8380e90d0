package actors

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/linktest"
	"github.com/troupe-go/troupe/proto/hubproto"
	troupev1 "github.com/troupe-go/troupe/proto/troupe/v1"
)

// panicCase is an injection, and the life of the connection that it meets.
type panicCase struct {
	injection *injection
	end       string // how the connection ends: see life.end; empty: the client cuts its socket
	panics    bool   // the actor of the connection panics for another reason as well
	resumable bool
	blocks    bool   // the socket has blocking writes only
	handshake string // what the client sends first, if it is not a handshake

	untold bool // the client may not be told that the connection closes, or that it may reconnect
	unsent bool // sending to a group may fail
	unseen bool // the connection may have ended before it gets the message
}

// life is that of a connection that opens, has a user, joins groups, calls, uploads, answers, gets broadcasts, and ends, beside a neighbour.
type life struct {
	*panicCase
	t       *testing.T
	e       *env
	c       *client
	n       *client // the neighbour
	control *callControl
	uploads *uploadRecorder
	watch   *Watch

	outcomes []*outcome
	calls    []string // ids of calls that were sent while the connection was not closing
	expected []string // broadcasts that were sent without an error
	early    bool     // the connection has begun to close before its end
}

// TestPanicMatrix injects one panic before and one behind each kind of message of each actor, and at each point where code of the application
// runs. The connection either goes on or ends whole, and nobody else notices.
func TestPanicMatrix(t *testing.T) {
	messages, points := messagePanics(), pointPanics()
	for _, name := range slices.Sorted(maps.Keys(messages)) {
		for _, behind := range []bool{false, true} {
			one := *messages[name]
			one.injection = &injection{actor: one.injection.actor, message: one.injection.message, behind: behind}
			t.Run(name+map[bool]string{false: "/before", true: "/behind"}[behind], func(t *testing.T) { one.run(t) })
		}
	}
	for _, name := range slices.Sorted(maps.Keys(points)) {
		t.Run(name, func(t *testing.T) { points[name].run(t) })
	}
}

func (p *panicCase) run(t *testing.T) {
	inPanicBubble(t, p.injection, func(t *testing.T, e *env) {
		l := &life{panicCase: p, t: t, e: e, control: newCallControl(e)}
		l.uploads, _ = e.addTakeMethods()
		e.handler.methods["address"] = func(k *Call, _ string) (any, error) { return k.PID().Id != "", nil }
		e.settings.DisconnectGrace = 5 * second
		e.settings.KeptLimit = 100_000
		l.n = e.connectOver(&injection{}, "n", "neighbour", false)
		l.n.sendHandshake("json")
		e.settle()
		require.NoError(t, e.hub.Join(context.Background(), "n", "g"))
		l.watch = e.hub.Watch(&Audience{Kind: Groups, Names: []string{"g"}})
		defer l.watch.Stop()
		l.live()
		l.checkLife()
		l.endLife()
		if p.end != "shutdown" {
			l.checkNeighbour()
		}
		l.checkEnd()
		l.checkShutdown()
		if slices.ContainsFunc(l.outcomes, func(o *outcome) bool { return !o.isOver() }) {
			e.sleep(callerTime) // they do not outlive the bubble
		}
		assert.True(t, p.unseen || p.injection.message == nil || p.injection.hits.Load() == 1, "the message was not received")
		assert.True(t, p.injection.point == "" || p.injection.points.Load() == 1, "the point was not reached")
	})
}

const stepTime = 2 * second

// do runs a step of a stage, and gives it time.
func (l *life) do(stage string, f func()) {
	l.injection.enter(stage)
	f()
	l.e.sleep(stepTime)
}

// async runs a function that may have to wait on another goroutine.
func (l *life) async(name string, f func(ctx context.Context) error) *outcome {
	o := l.e.start(name, f)
	l.outcomes = append(l.outcomes, o)
	l.e.settle()
	return o
}

// isOpen reports whether the connection has said nothing of an end.
func (l *life) isOpen() bool { return !l.c.conn.isClosing.Load() }

// send has the client send invocations with their ids, and other records behind them.
func (l *life) send(ids []string, records ...string) {
	if l.isOpen() {
		l.calls = append(l.calls, ids...)
	}
	l.c.send(records...)
}

func (l *life) broadcast(target string, to *Audience) {
	var err error
	o := l.async(target, func(ctx context.Context) error { err = l.e.hub.Send(ctx, to, target, nil); return nil })
	if !o.isOver() || o.err != nil || err != nil {
		assert.True(l.t, l.unsent, "%s: %v", target, err)
	} else {
		l.expected = append(l.expected, target)
	}
}

// isMember reports whether the connection is in a group.
func (l *life) isMember(group string) bool {
	g := l.e.hub.groups.find(group)
	if g == nil {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.find(l.c.conn) >= 0
}

func (l *life) live() {
	e := l.e
	l.do("open", func() {
		l.c = e.connectOver(l.injection, "a", "bob", l.resumable, func(s *linktest.Socket) { s.BlocksOnly = l.blocks })
		if l.handshake != "" {
			l.c.write([]byte(l.handshake))
			return
		}
		version := 1
		if l.resumable {
			version = 2
		}
		l.c.write(hubproto.AppendHandshakeRequest(nil, hubproto.HandshakeRequest{Protocol: "json", Version: version}))
	})
	joined := false // the caller has been told so
	l.do("join", func() {
		known := e.hub.Connection("a") != nil
		l.async("join h", func(ctx context.Context) error { return e.hub.Join(ctx, "a", "h") })
		o := l.async("join g", func(ctx context.Context) error { return e.hub.Join(ctx, "a", "g") })
		joined = known && o.isOver() && o.err == nil
	})
	if joined && l.isOpen() {
		assert.True(l.t, l.isMember("g"), "the connection is no member")
	}
	l.do("groups", func() {
		l.async("groups", func(ctx context.Context) error {
			groups, err := e.hub.GroupsOf(ctx, toConnection("a"))
			if err == nil && joined && !slices.Contains(groups, "g") {
				return fmt.Errorf("the connection does not know its group: %q", groups)
			}
			return nil
		})
	})
	l.do("refresh", func() {
		l.async("refresh", func(ctx context.Context) error {
			_ = l.c.conn.Refresh(ctx, &Identity{UserID: "carol"}) // ErrGone is as good
			return ctx.Err()
		})
	})
	l.do("call", func() { l.send([]string{"1", "2"}, call("1", "echo"), call("2", "address")) })
	l.do("upload", func() { l.send([]string{"3"}, uploadCall("3", "take", "u")) })
	l.do("item", func() { l.send(nil, uploadItem("u", "x")) })
	l.do("end of upload", func() { l.send(nil, uploadEnd("u")) })
	l.do("question", func() { l.ask("a") })
	l.do("answer", func() { l.send(nil, result(l.questionID(l.c), "7")) })
	l.do("ping", func() { l.send(nil, ping) })
	l.do("broadcast", func() {
		l.broadcast("all", &Audience{})
		l.broadcast("group", &Audience{Kind: Groups, Names: []string{"g"}})
		l.broadcast("one", toConnection("a"))
	})
	l.do("leave group", func() { l.async("leave h", func(ctx context.Context) error { return e.hub.Leave(ctx, "a", "h") }) })
	if l.panics {
		l.do("panic", func() { l.c.panicActor() })
	}
	l.do("foreign", func() {
		if l.c.conn.PID() != nil {
			e.tell(l.c.conn.PID(), &troupev1.Join{})
		}
	})
	l.do("inbox", func() { e.tell(e.hub.Inbox(), &troupev1.Send{To: &troupev1.Send_All{}, Target: "inbox"}) })
	l.do("spawn", func() {
		l.async("spawn", func(context.Context) error {
			_, _ = e.hub.Spawn("x", actor.PropsFromProducer(func() actor.Actor {
				l.injection.at("Producer")
				return actor.ReceiveFunc(func(actor.Context) {})
			}))
			return nil
		})
	})
	l.do("hold", func() { l.c.send(call("hold", "work")) })
}

// ask asks the client of a connection.
func (l *life) ask(id string) {
	l.async("ask "+id, func(ctx context.Context) error {
		value, err := l.e.ask(ctx, toConnection(id))
		if err == nil && value != "7" {
			return errors.New("answer: " + value)
		}
		return ctx.Err()
	})
}

// questionID returns the id of the question that a client has been asked last.
func (l *life) questionID(c *client) (id string) {
	for _, record := range c.records() {
		var one string
		if _, err := fmt.Sscanf(record, `{"type":1,"invocationId":%q`, &one); err == nil {
			id = one
		}
	}
	return id
}

// checkLife checks what has happened before the connection is to end.
func (l *life) checkLife() {
	records := l.c.records()
	l.early = !l.isOpen()
	for _, id := range l.calls {
		assert.True(l.t, l.early || l.c.isAnswered(id), "call %s is not answered, and the connection is open", id)
	}
	if items, err := l.uploads.get("3/u"); l.c.isAnswered("3") && errors.Is(err, io.EOF) {
		assert.Equal(l.t, quotedItems("x"), items, "the call has not seen that an item is missing")
	}
	for _, o := range l.outcomes {
		assert.True(l.t, o.isOver(), "%s: the caller still waits", o.name)
	}
	for _, target := range l.expected {
		assert.True(l.t, l.early || target == "group" && !l.isMember("g") || slices.Contains(records, invocationRecord(target)), "%s has not reached the connection", target)
		if target != "one" {
			assert.Contains(l.t, l.n.messages(), invocationRecord(target))
		}
	}
	if l.early && !l.untold && len(records) > 0 && records[0] == "{}" {
		assert.True(l.t, slices.ContainsFunc(records, func(record string) bool {
			return strings.HasPrefix(record, `{"type":7`) && strings.Contains(record, `"allowReconnect":true`)
		}), "the client is not told to reconnect: %q", records)
	}
}

// endLife ends the connection, and everything that it runs a while later.
func (l *life) endLife() {
	e, c := l.e, l.c
	l.do("end", func() {
		switch l.end {
		case "":
			c.socket.Cut()
		case "close":
			c.send(`{"type":7}`)
		case "garbage":
			c.send("garbage")
		case "answer of another":
			l.ask("n")
			c.send(call("5", "echo"), result(l.questionID(l.n), "7"), call("6", "echo"))
			l.n.send(result(l.questionID(l.n), "7"))
		case "leave":
			c.conn.Leave(nil)
		case "leave with error":
			c.conn.Leave(ErrSendTimeout)
		case "reconnect":
			e.hub.Reconnect(toConnection("a"))
		case "disconnect":
			e.hub.Disconnect(toConnection("a"), "why")
		case "overflow":
			c.conn.overflowed()
		case "silence":
			e.sleep(60 * second)
		case "stop":
			e.sys.actorSystem.Root.Stop(c.conn.PID())
		case "stop of calls":
			c.socket.Cut()
			e.settle()
			e.sys.stopCalls()
		case "shutdown":
			l.shutdown()
		}
	})
	if l.end == "answer of another" {
		assert.True(l.t, !l.isOpen() || c.isAnswered("6"), "a call is not answered, and the connection is open")
	}
	if slices.Contains(l.control.started(), "hold") {
		l.control.end("hold", "ok")
	}
	e.sleep(stepTime)
	c.socket.Cut()
	e.sleep(120 * second)
}

func (l *life) shutdown() {
	l.e.wasShutDown.Store(true)
	l.async("shutdown", func(context.Context) error {
		start := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 60*second)
		defer cancel()
		err := l.e.sys.Shutdown(ctx)
		if took := time.Since(start); took > 20*second {
			return fmt.Errorf("Shutdown has taken %v", took)
		}
		return err
	})
}

// checkNeighbour checks that the other connection, and those that come later, live on.
func (l *life) checkNeighbour() {
	e, n := l.e, l.n
	before := n.countPings()
	e.sleep(60 * second)
	assert.GreaterOrEqual(l.t, n.countPings(), before+3, "the heartbeat has ended")
	n.send(call("later", "echo"))
	l.unsent = false
	l.broadcast("all later", &Audience{})
	l.broadcast("group later", &Audience{Kind: Groups, Names: []string{"g"}})
	l.broadcast("user later", &Audience{Kind: Users, Names: []string{"neighbour"}})
	e.tell(e.hub.Inbox(), &troupev1.Send{To: &troupev1.Send_All{}, Target: "inbox later"})
	o := l.async("join later", func(ctx context.Context) error { return e.hub.Join(ctx, "n", "h") })
	assert.NoError(l.t, o.err)
	l.async("spawn later", func(context.Context) error {
		_, err := e.hub.Spawn("later", actor.PropsFromFunc(func(actor.Context) {}))
		return err
	})
	e.settle()
	assert.Subset(l.t, n.messages(), []string{
		result("later", "[]"), invocationRecord("all later"), invocationRecord("group later"), invocationRecord("user later"), invocationRecord("inbox later"),
	})
	assert.True(l.t, slices.Equal(e.hub.membersHere(&Audience{}), []Member{n.conn.member()}), "ghosts in everyone")
	assert.True(l.t, slices.Equal(e.hub.membersHere(&Audience{Kind: Groups, Names: []string{"g", "h"}}), []Member{n.conn.member()}), "ghosts in groups")
	assert.Equal(l.t, 1, len(l.watch.inside), "watched")
	assert.Equal(l.t, 1, e.sys.alive.Get())
	assert.EqualValues(l.t, 1, l.active())
	again := e.open("again", "bob")
	again.send(call("1", "echo"))
	e.settle()
	assert.Contains(l.t, again.messages(), result("1", "[]"))
	again.socket.Cut()
	n.socket.Cut()
	e.sleep(stepTime)
}

func (l *life) active() (n int64) {
	for _, one := range l.e.sys.Stats().Active {
		n += one
	}
	return n
}

// checkEnd checks that the connection has ended, and has left nothing behind.
func (l *life) checkEnd() {
	t, e, conn := l.t, l.e, l.c.conn
	accepted := e.handler.count("accepted a")
	assert.LessOrEqual(t, e.handler.count("connected a"), 1)
	assert.Equal(t, accepted, e.handler.count("disconnected a"), "OnDisconnected: %q", e.handler.events())
	for _, o := range l.outcomes {
		if assert.True(t, o.isOver(), "%s: the caller still waits", o.name) {
			assert.NoError(t, o.err, o.name)
		}
	}
	assert.True(t, e.hub.Connection("a") == nil, "the connection is known")
	_, registered := e.sys.actorSystem.ProcessRegistry.GetLocal(conn.supervisor.pid.Id + "/a")
	assert.False(t, registered, "the actor is registered")
	assert.False(t, slices.Contains(e.sys.allConnections(), conn), "the connection is listed")
	assert.Negative(t, e.hub.everyone.find(conn))
	for _, d := range []*directory{e.hub.groups, e.hub.users} {
		for _, g := range d.list() {
			assert.Negative(t, g.find(conn), g.name)
			assert.NotZero(t, len(g.members), "%s exists without members", g.name)
		}
	}
	assert.True(t, isClosed(conn.Done()), "Done is not closed")
	assert.True(t, l.c.socket.IsCut() || l.c.socket.IsFinished())
	q := &conn.calls
	assert.Zero(t, len(q.running), "a call runs")
	assert.True(t, q.head == nil, "a call waits")
	assert.Zero(t, q.slots.taken)
	assert.Zero(t, conn.in.charged, "inbound budget")
	assert.Zero(t, len(e.hub.results.waiting), "somebody waits for an answer")
}

func (l *life) checkShutdown() {
	if l.end != "shutdown" {
		l.shutdown()
		l.e.sleep(61 * second)
	}
	o := l.outcomes[len(l.outcomes)-1]
	if assert.True(l.t, o.isOver()) {
		assert.NoError(l.t, o.err)
	}
	assert.Zero(l.t, l.active())
	assert.Zero(l.t, l.e.sys.alive.Get())
	assert.Zero(l.t, l.e.sys.Stats().Running)
	_, registered := l.e.sys.actorSystem.ProcessRegistry.GetLocal(l.e.sys.root.Id)
	assert.False(l.t, registered)
}

// A panic of a socket that Shutdown cuts, because it has no more time, goes no further.
func TestPanicWhileShutdownCutsSocket(t *testing.T) {
	i := &injection{point: "Socket.Cut"}
	inPanicBubble(t, i, func(t *testing.T, e *env) {
		e.handler.disconnected = func(*Call, error) { <-e.done }
		e.connectOver(i, "a", "bob", false).sendHandshake("json")
		e.settle()
		i.enter("shutdown")
		require.ErrorIs(t, e.shutdown(), context.DeadlineExceeded)
		assert.EqualValues(t, 1, i.points.Load())
	})
}
