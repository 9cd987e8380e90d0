package hubsys_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/hubsys"
)

// replayModel is what a client has to get that loses its transport, and comes back with what it has seen, or with less.
type replayModel struct {
	t    *rapid.T
	srv  *classicServer
	c    *classicClient
	kept int // messages that the server keeps, at least

	sent   int  // messages so far, numbered from 0
	next   int  // number of the next one that the client gets
	isBack bool // it has got nothing since it has come back: its next message may be a later one,
	latest int  // but not later than this
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
		if m.isBack {
			m.isBack = false
			var number int
			_, err := fmt.Sscanf(string(raw), `{"H":"Chat","M":"called","A":[%d]}`, &number)
			require.NoError(m.t, err, "%s", raw)
			require.GreaterOrEqual(m.t, number, m.next, "it has had that")
			require.LessOrEqual(m.t, number, m.latest, "the server keeps more")
			m.next = number
		}
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
	if !m.knows(state.cursor) { // it gets what is new
		m.next = m.sent
	}
	m.isBack, m.latest = true, max(m.next, m.sent-m.kept)
}

func (m *replayModel) knows(cursor string) bool {
	for _, state := range m.states {
		if state.cursor == cursor {
			return true
		}
	}
	return false
}

// Whenever a client loses its transport, it gets all that it has missed and the server still has, once, and in order.
func TestAClassicClientGetsWhatItHasMissed(t *testing.T) {
	t.Parallel()
	const kept = 40
	srv := newClassicServer(t, classicConfig{ClassicOptions: hubsys.ClassicOptions{ReplayLimit: kept}})
	rapid.Check(t, func(t *rapid.T) {
		m := &replayModel{t: t, srv: srv, c: newClassicClient(t, srv.address, rapid.SampledFrom(classicTransports).Draw(t, "first transport")), kept: kept}
		m.c.negotiate()
		m.c.connect()
		m.states = append(m.states, replayState{m.c.cursor, 0})
		m.c.start()
		defer m.c.abort()
		for range rapid.IntRange(1, 5).Draw(t, "cuts") {
			m.readAll()
			m.send(rapid.IntRange(0, kept-1).Draw(t, "sent while it is there"))
			for range rapid.IntRange(0, 3).Draw(t, "frames that are read") {
				if m.next < m.sent {
					m.readFrame()
				}
			}
			m.c.drop()
			most := kept / 4
			if rapid.IntRange(0, 31).Draw(t, "many") == 0 { // seldom, because then the server waits for the client for a while
				most = 2 * kept
			}
			m.send(rapid.IntRange(0, most).Draw(t, "sent while it is away"))
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
