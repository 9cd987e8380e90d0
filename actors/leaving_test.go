package actors

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/actors/outbox"
)

// What the client has sent before it leaves is executed, unless OnDisconnected is told why not.
func TestCallsOfAClientThatLeavesAreDroppedForACause(t *testing.T) {
	overflow := func(f *fetchClient) {
		for i := 0; f.conn.out.Push(notePacket(0, i, 1000), true, false) != outbox.Overflow; i++ {
		}
	}
	for name, test := range map[string]struct {
		leave func(e *env, f *fetchClient)
		cause error
	}{
		"its outbox overflows behind its Close": {func(_ *env, f *fetchClient) {
			f.send(`{"type":7}`)
			overflow(f)
			f.conn.overflowed()
		}, ErrSlowClient},
		"its outbox has overflowed, which is not known yet": {func(_ *env, f *fetchClient) {
			overflow(f)
			f.conn.calls.abort(ErrDisconnected) // as Overflowed does first
			f.conn.Leave(nil)
		}, ErrSlowClient},
		"it takes nothing behind its Close": {func(e *env, f *fetchClient) {
			f.send(`{"type":7}`)
			f.conn.post(&closeRequest{cause: ErrSendTimeout, reason: closeReason{drop: true, cut: true}})
		}, ErrSendTimeout},
		"it has time": {func(_ *env, f *fetchClient) { f.send(`{"type":7}`) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				gate, open := e.gate()
				e.handler.methods["gate"] = gate
				e.handler.methods["mark"] = func(*Call, string) (any, error) { e.handler.record("executed"); return nil, nil }
				var cause error
				e.handler.disconnected = func(_ *Call, err error) { cause = err }
				f := e.openFetcher("a", true)
				f.send(call("1", "gate"), call("2", "mark"))
				e.settle()
				test.leave(e, f)
				e.settle()
				open()
				e.sleep(second)
				f.Cut()
				e.settle()
				assert.ErrorIs(t, cause, test.cause)
				assert.Equal(t, test.cause == nil, len(e.handler.events()) == 3, "%v", e.handler.events())
			})
		})
	}
}

// The client that was told a reason is gone before the actor of its connection knows the reason: OnDisconnected waits for it.
func TestOnDisconnectedWaitsForTheReasonThatTheClientWasTold(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		c := e.open("a", "")
		reason := closeReason{message: true, text: "enough", drop: true}
		require.True(t, c.conn.out.SealFor(c.conn.closePacket(reason))) // as disconnect does first
		e.hub.Reconnect(&Audience{})
		e.settle()
		require.Equal(t, []string{"connected a"}, e.handler.events())
		c.conn.post(&closeRequest{cause: &DisconnectError{"enough"}, reason: reason}) // and last
		e.settle()
		require.Equal(t, []string{"connected a", "disconnected a: enough"}, e.handler.events())
		require.Contains(t, c.messages(), `{"type":7,"error":"enough"}`)
	})
}

// What is committed behind a request to close is refused, also while the actor does not know of the request yet: a POST that is answered with 200
// has brought calls that are executed.
func TestWhatIsReceivedBehindARequestToCloseIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		e.handler.methods["mark"] = func(_ *Call, text string) (any, error) { e.handler.record("%s", text); return nil, nil }
		f := e.openFetcher("a", true)
		release := make(chan struct{})
		f.conn.post(&membershipChange{group: "g", done: func() { <-release }})
		e.settle()
		commit := func(id, text string) bool {
			return f.conn.CommitLast(copy(f.conn.Buffer(), call(id, "mark", text)+"\x1e"))
		}
		require.True(t, commit("1", "in front"))
		e.hub.Reconnect(&Audience{})
		require.False(t, commit("2", "behind"))
		close(release)
		f.Cut()
		e.sleep(second)
		require.Equal(t, []string{"connected a", `["in front"]`, "disconnected a: <nil>"}, e.handler.events())
	})
}
