package hubsys_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/hubsys"
)

// replayModel is what a client has to get that loses its transport, comes back with what it has seen, or with less.
type replayModel struct {
	t    *rapid.T
	srv  *classicServer
	c    *classicClient
	kept int // messages that the server keeps

	sent   int // messages so far, numbered from 0
	next   int // number of the next one that the client gets
	states []replayState
}

// replayState is what a client knows behind a frame.
type replayState struct {
	cursor string
	next   int
}

func (m *replayModel) send(n int) {
	for range n {
		require.NoError(m.t, m.srv.chat.Clients().Client(m.c.id).Send(m.t.Context(), "called", m.sent))
		m.sent++
	}
}

// settle returns when everything that was sent has reached the session: the answer to a call comes behind it.
func (m *replayModel) settle() {
	m.c.transport = "serverSentEvents" // the answer comes with the response
	m.c.invoke("Nothing")
}

// readFrame reads a frame, whose messages follow those before.
func (m *replayModel) readFrame() {
	frame, ok := m.c.tryFrame()
	require.True(m.t, ok, "the transport has ended")
	m.c.messages = nil
	for _, raw := range frame.M {
		require.Equal(m.t, classicCall("Chat", "called", m.next), string(raw))
		m.next++
	}
	m.states = append(m.states, replayState{m.c.cursor, m.next})
}

// readAll reads everything that was sent.
func (m *replayModel) readAll() {
	for m.next < m.sent {
		m.readFrame()
	}
}

// comeBack connects again, as a client that is in a state.
func (m *replayModel) comeBack(state replayState) {
	m.c.transport = rapid.SampledFrom(classicTransports).Draw(m.t, "transport")
	m.c.cursor, m.next = state.cursor, state.next
	if m.c.transport == "longPolling" && rapid.Bool().Draw(m.t, "by a poll") {
		m.c.poll()
	} else {
		m.c.reconnect()
	}
	if _, known := m.stateOf(state.cursor); known {
		m.next = max(m.next, m.sent-m.kept) // the oldest have gone
	} else {
		m.next = m.sent
	}
}

func (m *replayModel) stateOf(cursor string) (replayState, bool) {
	for _, state := range m.states {
		if state.cursor == cursor {
			return state, true
		}
	}
	return replayState{}, false
}

// Whenever a client loses its transport, it gets all that it has missed and the server still has, once, and in order.
func TestAClassicClientGetsWhatItHasMissed(t *testing.T) {
	const kept = 40
	srv := newClassicServer(t, classicConfig{ClassicOptions: hubsys.ClassicOptions{ReplayLimit: kept}})
	rapid.Check(t, func(t *rapid.T) {
		m := &replayModel{t: t, srv: srv, c: newClassicClient(t, srv.address, rapid.SampledFrom(classicTransports).Draw(t, "first transport")), kept: kept}
		m.c.negotiate()
		m.c.connect()
		m.states = append(m.states, replayState{m.c.cursor, 0})
		m.c.start()
		defer m.c.abort()
		for range rapid.IntRange(1, 6).Draw(t, "cuts") {
			m.readAll()
			m.send(rapid.IntRange(0, kept-1).Draw(t, "sent while it is there"))
			for range rapid.IntRange(0, 3).Draw(t, "frames that are read") {
				if m.next < m.sent {
					m.readFrame()
				}
			}
			m.c.drop()
			m.send(rapid.OneOf(rapid.IntRange(0, 10), rapid.IntRange(0, 2*kept)).Draw(t, "sent while it is away"))
			m.settle()
			state := m.states[len(m.states)-1]
			switch rapid.IntRange(0, 9).Draw(t, "how it comes back") {
			case 0, 1: // the answers to its last requests were lost
				state = rapid.SampledFrom(m.states).Draw(t, "state")
			case 2:
				state = replayState{cursor: rapid.SampledFrom([]string{"", "garbled", "d-00000000-0", "d-AB0B44B6-C,0|D,0|E,1"}).Draw(t, "cursor")}
			}
			m.comeBack(state)
		}
		m.readAll()
		m.send(1)
		m.readAll()
	})
}

// A request that receives takes the place of another one: over whichever transport that is, it ends, and the new one goes on with the messages.
func TestATransportThatIsReplaced(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		for _, replacement := range classicTransports {
			t.Run(replacement, func(t *testing.T) {
				srv := newClassicServer(t, classicConfig{})
				c := dialClassic(t, srv, transport)
				if transport == "longPolling" {
					c.poll()
				}
				require.NoError(t, srv.chat.Clients().All().Send(t.Context(), "called", 0))
				c.requireCall("called", 0)
				if transport == "longPolling" {
					c.poll()
				}
				d := c.again(srv.address)
				d.transport = replacement
				d.open("/poll", d.position()) // which is a reconnect, except for one that polls
				require.NoError(t, srv.chat.Clients().All().Send(t.Context(), "called", 1))
				last := c.awaitEnd()
				switch transport {
				case "webSockets":
					require.Equal(t, websocket.StatusNormalClosure, receive(t, c.stream.code))
				case "longPolling":
					require.Equal(t, `{"C":"`+c.cursor+`","M":[]}`, last.raw)
				}
				d.requireCall("called", 1)
				require.Equal(t, `{"R":1,"I":"1"}`, d.invoke("Echo", 1).raw)
				want := []string{"Chat connected"}
				if replacement != "longPolling" {
					want = append(want, "Chat reconnected")
				}
				srv.awaitEvents(c.id, want...)
			})
		}
	})
}

// A new client gets nothing that was sent before it was there, and one that connects once more nothing twice.
func TestWhatAConnectBrings(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		srv := newClassicServer(t, classicConfig{})
		c := newClassicClient(t, srv.address, transport)
		c.negotiate()
		require.NoError(t, srv.chat.Clients().All().Send(t.Context(), "called", "before"))
		c.connect()
		c.start()
		for i := range 3 {
			require.NoError(t, srv.chat.Clients().All().Send(t.Context(), "called", i))
			c.requireCall("called", i)
			c.connect() // which has no cursor
		}
	})
}

// The answer to a call belongs to the WebSocket that the call came over. One that comes later gets the messages, and not the answer.
func TestAnswersOfALostWebSocket(t *testing.T) {
	srv := newClassicServer(t, classicConfig{})
	started, release := make(chan struct{}), make(chan struct{})
	srv.handle("wait", func(ctx context.Context, h *classicHub, _ []json.RawMessage) (any, error) {
		close(started)
		<-release
		return "lost", h.Clients().Caller().Send(ctx, "called", "for the next one")
	})
	c := dialClassic(t, srv, "webSockets")
	c.write(`{"H":"chat","M":"Do","A":["wait",[]],"I":"lost"}`)
	receive(t, started)
	c.drop()
	c.reconnect()
	close(release)
	c.requireCall("called", "for the next one")
	require.Equal(t, `{"R":1,"I":"1"}`, c.invoke("Echo", 1).raw)
	require.Empty(t, c.answers)
}

// Calls of one client run at the same time: one that waits holds up nobody.
func TestClassicCallsOverlap(t *testing.T) {
	overClassicTransports(t, func(t *testing.T, transport string) {
		srv := newClassicServer(t, classicConfig{})
		started, release := make(chan struct{}), make(chan struct{})
		srv.handle("wait", func(context.Context, *classicHub, []json.RawMessage) (any, error) {
			close(started)
			<-release
			return "waited", nil
		})
		c := dialClassic(t, srv, transport)
		const call = `{"H":"chat","M":"Do","A":["wait",[]],"I":"waits"}`
		answer := make(chan string, 1)
		if transport == "webSockets" {
			c.write(call)
		} else {
			go func() {
				_, body := c.send(call)
				answer <- body
			}()
		}
		receive(t, started)
		require.Equal(t, `{"R":1,"I":"1"}`, c.invoke("Echo", 1).raw)
		close(release)
		want := `{"R":"waited","I":"waits"}`
		if transport == "webSockets" {
			require.Equal(t, want, c.awaitAnswer("waits").raw)
		} else {
			require.Equal(t, want, receive(t, answer))
		}
	})
}
