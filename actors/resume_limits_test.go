package actors

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/troupe-go/troupe/internal/linktest"
)

// What the server acknowledges does not count as something that the client has taken: one that sends, but never acknowledges, is closed.
func TestAClientThatSendsAndNeverAcknowledges(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.KeptLimit = 1000
		c := e.openReturning("a", "")
		for range 3 {
			e.send(toConnection("a"), "n", string(make([]byte, 500)))
		}
		for range 30 {
			c.send(cancel("nothing"))
			e.sleep(second)
		}
		assert.Equal(t, []string{"connected a", "disconnected a: " + ErrSendTimeout.Error()}, e.handler.events())
	})
}

// A client's acknowledgement can lie behind calls that are not read because those before them wait for it.
func TestAnAcknowledgementBehindCallsThatWaitForIt(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.KeptLimit, e.settings.InboundLimit = 10_000, 64<<10
		e.handler.methods["large"] = func(*Call, string) (any, error) { return strings.Repeat("x", 1000), nil }
		const calls = 300
		c := e.openReturning("a", "")
		all := make([]string, calls)
		for i := range all {
			all[i] = call(strconv.Itoa(i), "large")
		}
		c.sendAsync(all...)
		answers := func() (n int) {
			for _, m := range c.messages() {
				if strings.HasPrefix(m, `{"type":3,`) {
					n++
				}
			}
			return n
		}
		for range calls / 9 {
			e.sleep(second)
			c.sendAsync(ackOf(int64(answers())))
		}
		assert.Equal(t, calls, answers())
		assert.Equal(t, []string{"connected a"}, e.handler.events())
	})
}

// A loss has its own time, even if the socket before it has lived for less than a second.
func TestEachLossHasItsTimeHoweverShortTheSocketsLive(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.openReturning("a", "")
		e.sleep(second / 10)
		for range 5 {
			c.lose()
			e.sleep(10*second + second/2)
			c.mustResume()
			e.sleep(second / 2 / 5) // there is no tick of the heartbeat meanwhile
		}
		assert.Equal(t, []string{"connected a"}, e.handler.events())
	})
}

// A Sequence below the first number is harmless before the first message.
func TestASequenceBelowTheFirstNumber(t *testing.T) {
	for _, number := range []int64{0, -1} {
		inBubble(t, func(t *testing.T, e *env) {
			c := e.openReturning("a", "")
			c.send(sequenceOf(number), call("1", "echo"), call("2", "echo"))
			e.settle()
			assert.Equal(t, []string{result("1", "[]"), result("2", "[]")}, c.messages(), number)
		})
	}
}

// A socket that can be read from, but not written to, is cut, so that the connection does not live on without one.
func TestASocketThatCannotBeWrittenTo(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.openReturning("a", "")
		c.send(ping)
		c.socket.Break(errors.New("broken"))
		e.send(&Audience{}, "n")
		for range 20 {
			e.sleep(2 * second)
			c.send(ping)
		}
		assert.True(t, c.socket.IsCut())
	})
}

// What is written again counts against the limit of the outbox as it did before.
func TestTheOutboxHasItsLimitAfterEachReturn(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.settings.KeptLimit = 1 << 20
		c := e.openReturning("a", "")
		for range 10 {
			e.send(&Audience{}, "n", string(make([]byte, 1000))) // 6 KB
		}
		e.settle()
		for range 3 {
			c.mustResume()
		}
		bytes, limited := c.conn.out.Pending()
		assert.Equal(t, [2]int{}, [2]int{bytes, limited})
		c.mustResume(linktest.Full)
		to := &Audience{NoWait: true}
		for range 20 { // 120 KB, of which 64 may wait
			_ = e.hub.Send(context.Background(), to, "n", []any{string(make([]byte, 1000))})
		}
		e.settle()
		bytes, limited = c.conn.out.Pending()
		assert.True(t, isClosed(c.conn.Done()), "%d bytes wait, of which %d count", bytes, limited)
	})
}
