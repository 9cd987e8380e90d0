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

// The actor loses the message that caused a panic, and continues. A second panic within a second closes the connection.
func TestConnectionActorPanics(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		other := e.open("b", "")
		c := e.open("a", "")
		control := newCallControl(e)
		c.send(call("1", "work"))
		e.sleep(second)
		for range 3 {
			c.panicActor()
			e.sleep(second)
		}
		control.end("1", "ok")
		c.send(call("2", "echo"))
		require.NoError(t, e.hub.Join(context.Background(), "a", "g"))
		e.sleep(second)
		assert.Equal(t, []string{result("1", `"ok"`), result("2", "[]")}, c.messages())
		c.panicActor()
		e.sleep(second / 2)
		c.panicActor()
		e.settle()
		assert.Equal(t, []string{
			`{"type":7,"error":"Connection closed with an error. Error: ` + errActorPanicked.Error() + `","allowReconnect":true}`,
			"close 1000",
		}, c.messages()[2:])
		assert.Contains(t, e.handler.events(), "disconnected a: "+errActorPanicked.Error())
		c.assertRemoved(t)
		other.send(call("1", "echo"))
		e.settle()
		assert.Equal(t, []string{result("1", "[]")}, other.messages(), "other connections are not affected")
		assert.Len(t, e.log.errors, 5)
	})
}

// The mailbox keeps messages that arrive before it is resumed.
func TestNothingIsLostAfterPanic(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.KeepAlive = never
		c := e.open("a", "")
		e.sleep(second)
		for i := range 20 {
			go c.panicActor()
			c.send(call(fmt.Sprint(i), "echo"))
			e.sleep(2 * second)
		}
		assert.Len(t, c.messages(), 20)
	})
}

func TestStoppedConnection(t *testing.T) {
	ways := map[string]func(e *env, pid *actor.PID){
		"stop":   func(e *env, pid *actor.PID) { e.sys.actorSystem.Root.Stop(pid) },
		"poison": func(e *env, pid *actor.PID) { e.sys.actorSystem.Root.Poison(pid) },
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				control := newCallControl(e)
				c := e.open("a", "bob")
				require.NoError(t, e.hub.Join(context.Background(), "a", "g"))
				c.send(call("1", "work"), call("2", "work"))
				e.settle()
				way(e, c.conn.PID())
				e.settle()
				assert.True(t, c.socket.IsCut())
				assert.Equal(t, []string{"connected a", "disconnected a: " + errActorStopped.Error()}, e.handler.events())
				control.end("1", "ok")
				e.settle()
				assert.Equal(t, []string{"1"}, control.started())
				assert.ErrorIs(t, control.causes["1"], ErrDisconnected)
				c.assertRemoved(t)
				require.NoError(t, e.hub.Join(context.Background(), "a", "g"))
			})
		})
	}
}

// All messages in the mailbox of a stopped connection are refused, whatever their order.
func TestStoppedConnectionRefusesQueuedMessages(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "")
		m := &c.conn.mailbox
		m.mu.Lock()
		m.running = true
		m.mu.Unlock()
		c.send(call("1", "echo"))
		joined := make(chan error, 1)
		go func() { joined <- e.hub.Join(context.Background(), "a", "g") }()
		e.tell(c.conn.PID(), "foreign")
		e.settle()
		require.NotZero(t, c.conn.in.charged)
		e.sys.actorSystem.Root.Stop(c.conn.PID())
		go m.process()
		e.settle()
		require.Len(t, joined, 1)
		assert.Equal(t, []any{"foreign"}, e.deadLetters())
		c.assertRemoved(t)
	})
}

func TestStopDuringOnConnected(t *testing.T) {
	for _, err := range []error{nil, errors.New("no")} {
		inBubble(t, func(t *testing.T, e *env) {
			e.handler.connected = func(k *Call) error { <-k.Done(); return err }
			c := e.open("a", "bob")
			e.sys.actorSystem.Root.Stop(c.conn.PID())
			e.settle()
			if err == nil {
				assert.Equal(t, []string{"connected a", "disconnected a: " + errActorStopped.Error()}, e.handler.events())
			} else {
				assert.Equal(t, []string{"connected a"}, e.handler.events())
			}
			c.assertRemoved(t)
		})
	}
}

func TestStopDuringOnDisconnected(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		gate, open := e.gate()
		e.handler.disconnected = func(k *Call, _ error) { _, _ = gate(k, "") }
		c := e.open("a", "bob")
		c.socket.Cut()
		e.settle()
		e.sys.actorSystem.Root.Stop(c.conn.PID())
		e.settle()
		assert.NotNil(t, e.hub.Connection("a"))
		open()
		e.settle()
		assert.Equal(t, []string{"connected a", "disconnected a: <nil>"}, e.handler.events())
		c.assertRemoved(t)
	})
}

// The goroutine that runs OnDisconnected for a stopped actor survives a panic and Goexit in it.
func TestPanicInOnDisconnectedOfStoppedConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		for i, how := range []func(){func() { panic("oh") }, runtime.Goexit} {
			e.handler.disconnected = func(*Call, error) { how() }
			c := e.open(fmt.Sprint(i), "bob")
			require.NoError(t, e.hub.Join(context.Background(), c.conn.id, "g"))
			e.sys.actorSystem.Root.Stop(c.conn.PID())
			e.settle()
			c.assertRemoved(t)
		}
	})
}

// The heartbeat no longer handles a closing connection that was stopped. Its descriptor is closed all the same.
func TestStopWhileClosingClosesDescriptor(t *testing.T) {
	states := map[string]func(c *client){
		"closing": func(c *client) { // OnDisconnected is running
			gate, _ := c.env.gate()
			c.env.handler.disconnected = func(k *Call, _ error) { _, _ = gate(k, "") }
		},
		"closed": func(*client) {},
	}
	for name, prepare := range states {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				c := e.open("a", "", func(s *linktest.Socket) { s.Answers = false })
				prepare(c)
				c.send(`{"type":7}`)
				e.settle()
				require.False(t, c.socket.IsCut(), "the client may answer")
				e.sys.actorSystem.Root.Stop(c.conn.PID())
				e.sleep(10 * second)
				assert.True(t, c.socket.IsCut())
			})
		})
	}
}

// A connection whose id is in use is refused, and the existing connection is not affected.
func TestDuplicateConnectionIDIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		first := e.open("a", "")
		for range e.sys.supervisors { // one of them is assigned to the same supervisor
			second, err := e.tryConnect("a", "")
			require.NoError(t, err)
			e.settle()
			if second.conn.supervisor == first.conn.supervisor {
				assert.True(t, second.socket.IsCut())
				assert.NotContains(t, second.conn.supervisor.appendAll(nil), second.conn)
				second.send("x")
				assert.Zero(t, second.conn.in.charged)
			}
		}
		first.send(call("1", "echo"))
		e.settle()
		assert.Len(t, first.messages(), 1)
	})
}

// Supervisors and the inbox ignore unknown and empty messages.
func TestSupervisorsIgnoreUnknownMessages(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.tell(e.sys.root, "x")
		e.tell(e.sys.root, &spawnRequest{})
		for _, sh := range e.sys.supervisors {
			e.tell(sh.pid, "x")
			e.tell(sh.pid, &spawnConnection{})
		}
		e.tell(e.hub.Inbox(), "x")
		e.settle()
		c := e.open("a", "")
		c.send(call("1", "echo"))
		e.settle()
		assert.Len(t, c.messages(), 1)
	})
}
