package actors

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/linktest"
)

func TestAConnectionGoesOnOverAnotherSocket(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.openReturning("a", "bob")
		require.NoError(t, e.hub.Join(context.Background(), "a", "g"))
		c.send(call("1", "echo", 1))
		e.settle()
		assert.Equal(t, []string{result("1", "[1]")}, c.messages())
		c.send(ackOf(1))
		e.settle()
		c.lose()
		assert.True(t, c.conn.isLost())
		assert.Same(t, c.conn, e.hub.Connection("a"))
		for _, to := range []*Audience{{}, {Kind: Groups, Names: []string{"g"}}, {Kind: Users, Names: []string{"bob"}}, toConnection("a")} {
			e.send(to, to.Kind.text())
		}
		e.sleep(10 * second)
		c.mustResume()
		assert.False(t, c.conn.isLost())
		assert.Equal(t, []string{
			sequenceOf(2), invocationRecord("all"), invocationRecord("groups"), invocationRecord("users"), invocationRecord("connections"),
		}, c.records())
		c.send(sequenceOf(2), call("2", "echo", 2))
		e.settle()
		assert.Equal(t, result("2", "[2]"), c.records()[5])
		assert.Equal(t, []string{"connected a"}, e.handler.events())
		e.sleep(60 * second)
		assert.Equal(t, []string{"connected a"}, e.handler.events())
	})
}

// text names a kind of audience.
func (k Kind) text() string { return (&Audience{Kind: k}).String() }

func TestWhichConnectionsCanGoOn(t *testing.T) {
	for _, test := range []struct {
		what       string
		negotiated bool
		version    int
		want       bool
	}{
		{"negotiated, version 2", true, 2, true},
		{"negotiated, version 1", true, 1, false},
		{"not negotiated, version 2", false, 2, false},
		{"handshaking", true, 0, false},
	} {
		t.Run(test.what, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				c := e.connectReturning("a", "")
				c.conn.resumable = test.negotiated
				if test.version > 0 {
					c.greet(test.version)
				}
				assert.Equal(t, test.want, c.conn.CanResume())
				c.lose()
				assert.Equal(t, test.want, isClosed(c.detached))
				assert.Equal(t, test.want, c.resume())
				if !test.want {
					e.settle()
					c.assertRemoved(t)
				}
			})
		})
	}
}

// Ack and Sequence of other connections mean nothing, whatever their numbers.
func TestAcksAndSequencesOfOtherConnections(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "")
		c.send(sequenceOf(100), ackOf(100), call("1", "echo"), sequenceOf(0), call("2", "echo"), ackOf(-1), call("3", "echo"))
		e.sleep(5 * second)
		assert.Equal(t, []string{result("1", "[]"), result("2", "[]"), result("3", "[]")}, c.messages())
	})
}

// The numbers of what a client sends go on where its Sequence says.
func TestWhatTheClientSendsTwiceIsDropped(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		var got []string
		e.handler.methods["note"] = func(_ *Call, args string) (any, error) { got = append(got, args); return nil, nil }
		note := func(n int) string { return call("", "note", n) }
		c := e.openReturning("a", "")
		c.send(note(1), ping, note(2), ackOf(0), note(3))
		c.mustResume()
		c.send(sequenceOf(2), note(2), note(3), note(4))
		e.settle()
		assert.Equal(t, []string{"[1]", "[2]", "[3]", "[4]"}, got)
		c.send(sequenceOf(5), note(5)) // as it would have been without
		e.settle()
		c.send(sequenceOf(3), note(3), note(4), note(5), note(6)) // on a socket that is well
		e.settle()
		assert.Equal(t, []string{"[1]", "[2]", "[3]", "[4]", "[5]", "[6]"}, got)
		// Before its Sequence, a client that comes back goes on counting.
		c.mustResume()
		c.send(note(7))
		e.settle()
		c.send(sequenceOf(7), note(7), note(8))
		e.settle()
		assert.Equal(t, []string{"[1]", "[2]", "[3]", "[4]", "[5]", "[6]", "[7]", "[8]"}, got)
	})
}

// All types of messages that are numbered are, whether they mean something or not.
func TestWhichMessagesOfTheClientAreNumbered(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.openReturning("a", "")
		c.send(
			call("", "echo"), call("", "no method"), uploadItem("none", 1), uploadEnd("none"), streamCall("1", "no method"), cancel("none"),
			ping, ackOf(0), `{"type":77}`,
		)
		e.sleep(2 * second)
		assert.Equal(t, []string{failure("1", "no method"), ackOf(6)}, without(c.messages(), ping))
		c.mustResume()
		c.send(sequenceOf(7), call("2", "echo"))
		e.sleep(2 * second)
		assert.Equal(t, []string{sequenceOf(1), failure("1", "no method"), result("2", "[]"), ackOf(7)}, c.records())
	})
}

func TestASequenceThatLeavesAGap(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.openReturning("a", "")
		c.send(call("1", "echo"))
		e.settle()
		c.mustResume()
		c.send(sequenceOf(3), call("2", "echo"))
		e.settle()
		text := "Sequence ID greater than amount of messages we've received."
		assert.Equal(t, []string{
			sequenceOf(1), result("1", "[]"),
			fmt.Sprintf(`{"type":7,"error":"Connection closed with an error. Error: %s","allowReconnect":true}`, jsonText(text)), "close 1000",
		}, c.records())
		assert.Equal(t, "disconnected a: "+text, e.handler.events()[1])
		assert.False(t, c.resume())
		c.assertRemoved(t)
	})
}

// After two losses in a row a Sequence may be behind what was received before the first one.
func TestASequenceAfterTwoLosses(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		var got []string
		e.handler.methods["note"] = func(_ *Call, args string) (any, error) { got = append(got, args); return nil, nil }
		c := e.openReturning("a", "")
		c.send(call("", "note", 1), call("", "note", 2), call("", "note", 3))
		c.mustResume()
		c.send(sequenceOf(1), call("", "note", 1)) // the rest is lost with the socket
		c.mustResume()
		c.send(sequenceOf(4), call("", "note", 4)) // an Ack has come meanwhile
		e.settle()
		assert.Equal(t, []string{"[1]", "[2]", "[3]", "[4]"}, got)
	})
}

// What was received is acknowledged once a second, if there is something new, and again over another socket.
func TestWhatWasReceivedIsAcknowledged(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.KeepAlive = 1000 * second
		c := e.openReturning("a", "")
		e.sleep(3*second + second/2)
		assert.Empty(t, c.messages())
		c.send(call("", "echo"), call("", "echo"))
		e.settle()
		assert.Empty(t, c.messages())
		e.sleep(second)
		assert.Equal(t, []string{ackOf(2)}, c.messages())
		e.sleep(3 * second)
		assert.Len(t, c.messages(), 1)
		c.send(call("", "echo"))
		c.lose()
		e.sleep(3 * second)
		c.mustResume()
		e.sleep(3 * second)
		assert.Equal(t, []string{sequenceOf(1), ackOf(3)}, c.records())
		c.mustResume()
		e.sleep(3 * second)
		assert.Equal(t, []string{sequenceOf(1), ackOf(3)}, c.records(), "it may have been lost with the socket")
		c.send(sequenceOf(1), call("", "echo"), call("", "echo"), call("", "echo"))
		e.sleep(3 * second)
		assert.Len(t, c.records(), 2, "nothing of that is new")
	})
}

// Acks of the client that come late, twice, of too much or of nothing.
func TestAcksOfTheClient(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.openReturning("a", "")
		want := []string{}
		for i := range 6 {
			e.send(&Audience{}, "n", i)
			want = append(want, invocationRecord("n", i))
		}
		e.settle()
		for _, test := range []struct{ ack, first int64 }{{-1, 1}, {0, 1}, {2, 3}, {2, 3}, {1, 3}, {5, 6}, {1 << 60, 7}, {0, 7}} {
			c.send(ackOf(test.ack))
			c.mustResume()
			assert.Equal(t, append([]string{sequenceOf(test.first)}, want[test.first-1:]...), c.records(), "%d", test.ack)
		}
	})
}

// Of a message that has not arrived whole, nothing is left. One byte less, or more, makes no difference.
func TestHalfAMessageOfALostSocket(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		first, second := call("1", "echo", 1), call("2", "echo", "xxxxxxxxxxxxxxxxxxxx")
		both := first + "\x1e" + second + "\x1e"
		for cut := range len(both) + 1 {
			c := e.openReturning(fmt.Sprint("c", cut), "")
			c.write([]byte(both[:cut]))
			if cut%3 == 0 {
				c.conn.Buffer() // is being read into
			}
			c.lose()
			require.False(t, c.conn.Partial())
			c.mustResume()
			c.send(sequenceOf(1), first, second)
			e.settle()
			want := []string{result("1", "[1]"), result("2", `["xxxxxxxxxxxxxxxxxxxx"]`)}
			require.Equal(t, append([]string{sequenceOf(1)}, want...), c.records(), cut)
		}
	})
}

// A large half message lies in a piece of its own.
func TestHalfALargeMessageOfALostSocket(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.openReturning("a", "")
		large := call("1", "echo", string(make([]byte, 2000)))
		c.write([]byte(large[:len(large)-1]))
		require.True(t, c.conn.Partial())
		c.mustResume()
		c.send(sequenceOf(1), call("2", "echo"))
		e.settle()
		assert.Equal(t, []string{sequenceOf(1), result("2", "[]")}, c.records())
		c.requireIdle(t)
	})
}

func TestOutputIsCutAtEveryByte(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		probe := e.openReturning("probe", "")
		e.send(toConnection("probe"), "n", 1)
		probe.send(call("1", "echo"), call("2", "echo"))
		e.settle()
		length := len(probe.socket.Wire())
		for cut := range length + 1 {
			for _, blocks := range []bool{false, true} {
				id := fmt.Sprint(cut, blocks)
				c := e.openReturning(id, "")
				greeting := len(c.socket.Wire())
				c.mustResume(func(s *linktest.Socket) { s.Room, s.BlocksOnly = cut, blocks })
				e.send(toConnection(id), "n", 1)
				c.send(sequenceOf(1), call("1", "echo"), call("2", "echo"))
				e.settle()
				c.mustResume()
				require.Equal(t, []string{sequenceOf(1), invocationRecord("n", 1), result("1", "[]"), result("2", "[]")}, c.records(), "%s %d", id, greeting)
			}
		}
	})
}
