package actors

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/linktest"
)

// The actor loses the message that made it panic, and goes on. Twice within a second is too much.
func TestAConnectionActorPanics(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		neighbour := w.open("b", "")
		c := w.open("a", "")
		crew := newCrew(w)
		c.say(call("1", "work"))
		w.pass(second)
		for range 3 {
			c.upset()
			w.pass(second)
		}
		crew.end("1", "ok")
		c.say(call("2", "echo"))
		require.NoError(t, w.hub.Join(context.Background(), "a", "g"))
		w.pass(second)
		assert.Equal(t, []string{result("1", `"ok"`), result("2", "[]")}, c.got())
		c.upset()
		w.pass(second / 2)
		c.upset()
		w.settle()
		assert.Equal(t, []string{`{"type":7,"error":"Connection closed with an error. Error: ` + errActorPanicked.Error() + `","allowReconnect":true}`, "close 1000"}, c.got()[2:])
		assert.Contains(t, w.handler.noted(), "disconnected a: "+errActorPanicked.Error())
		c.gone(t)
		neighbour.say(call("1", "echo"))
		w.settle()
		assert.Equal(t, []string{result("1", "[]")}, neighbour.got(), "a neighbour notices nothing")
		assert.Len(t, w.log.errors, 5)
	})
}

// Its mailbox keeps what comes while it waits to be resumed.
func TestNothingIsLostBehindAPanic(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.settings.KeepAlive = never
		c := w.open("a", "")
		w.pass(second)
		for i := range 20 {
			go c.upset()
			c.say(call(fmt.Sprint(i), "echo"))
			w.pass(2 * second)
		}
		assert.Len(t, c.got(), 20)
	})
}

func TestSomebodyStopsAConnection(t *testing.T) {
	ways := map[string]func(w *world, pid *actor.PID){
		"stop":   func(w *world, pid *actor.PID) { w.sys.actors.Root.Stop(pid) },
		"poison": func(w *world, pid *actor.PID) { w.sys.actors.Root.Poison(pid) },
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				crew := newCrew(w)
				c := w.open("a", "bob")
				require.NoError(t, w.hub.Join(context.Background(), "a", "g"))
				c.say(call("1", "work"), call("2", "work"))
				w.settle()
				way(w, c.conn.PID())
				w.settle()
				assert.True(t, c.socket.IsCut())
				assert.Equal(t, []string{"connected a", "disconnected a: " + errActorStopped.Error()}, w.handler.noted())
				crew.end("1", "ok")
				w.settle()
				assert.Equal(t, []string{"1"}, crew.starts())
				assert.ErrorIs(t, crew.causes["1"], ErrDisconnected)
				c.gone(t)
				require.NoError(t, w.hub.Join(context.Background(), "a", "g"))
			})
		})
	}
}

// The order of the messages that a stopped connection has had in its mailbox does not matter: all are refused.
func TestWhatAStoppedConnectionHadQueued(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		c := w.open("a", "")
		m := &c.conn.mailbox
		m.mu.Lock()
		m.running = true
		m.mu.Unlock()
		c.say(call("1", "echo"))
		joined := make(chan error, 1)
		go func() { joined <- w.hub.Join(context.Background(), "a", "g") }()
		w.tell(c.conn.PID(), "foreign")
		w.settle()
		require.NotZero(t, c.conn.in.charged)
		w.sys.actors.Root.Stop(c.conn.PID())
		go m.process()
		w.settle()
		require.Len(t, joined, 1)
		assert.Equal(t, []any{"foreign"}, w.letters())
		c.gone(t)
	})
}

func TestSomebodyStopsAConnectionDuringOnConnected(t *testing.T) {
	for _, err := range []error{nil, errors.New("no")} {
		inBubble(t, func(t *testing.T, w *world) {
			w.handler.connected = func(k *Call) error { <-k.Done(); return err }
			c := w.open("a", "bob")
			w.sys.actors.Root.Stop(c.conn.PID())
			w.settle()
			if err == nil {
				assert.Equal(t, []string{"connected a", "disconnected a: " + errActorStopped.Error()}, w.handler.noted())
			} else {
				assert.Equal(t, []string{"connected a"}, w.handler.noted())
			}
			c.gone(t)
		})
	}
}

func TestSomebodyStopsAConnectionDuringOnDisconnected(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		gate, open := w.gate()
		w.handler.disconnected = func(k *Call, _ error) { _, _ = gate(k, "") }
		c := w.open("a", "bob")
		c.socket.Cut()
		w.settle()
		w.sys.actors.Root.Stop(c.conn.PID())
		w.settle()
		assert.NotNil(t, w.sys.connections.find("a"))
		open()
		w.settle()
		assert.Equal(t, []string{"connected a", "disconnected a: <nil>"}, w.handler.noted())
		c.gone(t)
	})
}

// The goroutine that finishes for a stopped actor survives what user code does to it.
func TestTheFinisherOfAStoppedConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		for i, how := range []func(){func() { panic("oh") }, runtime.Goexit} {
			w.handler.disconnected = func(*Call, error) { how() }
			c := w.open(fmt.Sprint(i), "bob")
			require.NoError(t, w.hub.Join(context.Background(), c.conn.id, "g"))
			w.sys.actors.Root.Stop(c.conn.PID())
			w.settle()
			c.gone(t)
		}
	})
}

// A connection that takes leave, and is stopped meanwhile, is no longer looked after by the heartbeat: its descriptor is closed.
func TestSomebodyStopsAConnectionThatCloses(t *testing.T) {
	states := map[string]func(c *client){
		"closing": func(c *client) { // OnDisconnected runs
			gate, _ := c.w.gate()
			c.w.handler.disconnected = func(k *Call, _ error) { _, _ = gate(k, "") }
		},
		"closed": func(*client) {},
	}
	for name, prepare := range states {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				c := w.open("a", "", func(s *linktest.Socket) { s.Answers = false })
				prepare(c)
				c.say(`{"type":7}`)
				w.settle()
				require.False(t, c.socket.IsCut(), "the client may answer")
				w.sys.actors.Root.Stop(c.conn.PID())
				w.pass(10 * second)
				assert.True(t, c.socket.IsCut())
			})
		})
	}
}

// Who asks for a name that is taken is told so, and the connection that has it notices nothing.
func TestAConnectionWithAnIDThatIsTaken(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		first := w.open("a", "")
		for range w.sys.supervisors { // one of them comes to the same supervisor
			second, err := w.tryConnect("a", "")
			require.NoError(t, err)
			w.settle()
			if second.conn.supervisor == first.conn.supervisor {
				assert.True(t, second.socket.IsCut())
				assert.NotContains(t, second.conn.supervisor.appendAll(nil), second.conn)
				second.say("x")
				assert.Zero(t, second.conn.in.charged)
			}
		}
		first.say(call("1", "echo"))
		w.settle()
		assert.Len(t, first.got(), 1)
	})
}

// The supervisors above do not fail either.
func TestSupervisorsIgnoreWhatTheyDoNotKnow(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.tell(w.sys.root, "x")
		w.tell(w.sys.root, &spawnRequest{})
		for _, sh := range w.sys.supervisors {
			w.tell(sh.pid, "x")
			w.tell(sh.pid, &spawnConnection{})
		}
		w.tell(w.hub.Inbox(), "x")
		w.settle()
		c := w.open("a", "")
		c.say(call("1", "echo"))
		w.settle()
		assert.Len(t, c.got(), 1)
	})
}
