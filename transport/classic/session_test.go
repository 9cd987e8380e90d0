package classic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/internal/link"
	"github.com/troupe-go/troupe/internal/wsframe"
	"github.com/troupe-go/troupe/proto/classic"
	"github.com/troupe-go/troupe/transport"
)

// fakeHub notes what its connections are told.
type fakeHub struct {
	Hub
	name   string
	refuse func(link.Socket) error // is asked for each connection, unless it is nil

	mu    sync.Mutex
	conns []*fakeConn
}

func (h *fakeHub) Name() string                                        { return h.name }
func (h *fakeHub) Authorize(context.Context, transport.Identity) error { return nil }

func (h *fakeHub) Connect(id string, _ any, socket link.Socket, _ link.Observer, opening actors.Opening) (Connection, error) {
	if h.refuse != nil {
		if err := h.refuse(socket); err != nil {
			return nil, err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &fakeConn{id: id, opening: opening}
	h.conns = append(h.conns, c)
	return c, nil
}

// fakeConn is a connection that reads everything, a few bytes at a time.
type fakeConn struct {
	link.SocketSession
	id       string
	opening  actors.Opening
	buffer   [7]byte
	read     bytes.Buffer
	rejoined []string

	mu   sync.Mutex
	ends []error
}

func (c *fakeConn) Buffer() []byte         { return c.buffer[:] }
func (c *fakeConn) Commit(n int) bool      { c.read.Write(c.buffer[:n]); return true }
func (c *fakeConn) Rejoin(groups []string) { c.rejoined = groups }
func (c *fakeConn) Reconnected()           {}
func (c *fakeConn) Close(error)            {}

func (c *fakeConn) End(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ends = append(c.ends, err)
}

func (c *fakeConn) ended() []error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.ends)
}

// fakeAcceptor has some hubs, and knows nobody.
type fakeAcceptor struct {
	Acceptor
	hubs     []Hub
	reserved int
}

func (*fakeAcceptor) Opened(string) <-chan struct{}    { return nil }
func (*fakeAcceptor) Closed(string)                    {}
func (a *fakeAcceptor) Snapshot(transport.Opening) any { return nil }
func (a *fakeAcceptor) Reserve(any) error              { a.reserved++; return nil }
func (a *fakeAcceptor) Release(any)                    { a.reserved-- }
func (a *fakeAcceptor) IsClosing() bool                { return false }

// newFakeEndpoint returns an endpoint with two hubs.
func newFakeEndpoint(t *testing.T) (e *Endpoint, one, two *fakeHub) {
	t.Helper()
	origins, err := transport.NewOrigins(nil, nil, false)
	require.NoError(t, err)
	one, two = &fakeHub{name: "One"}, &fakeHub{name: "Two"}
	e = NewEndpoint(&fakeAcceptor{hubs: []Hub{one, two}}, Options{
		Transports: AllTransports, Origins: origins, Keys: newKeys(t, secret(1)), DisconnectTimeout: 30 * time.Second, ReplayMessages: 100, ReplayBytes: 1 << 20,
	}, slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.janitor != nil {
			e.janitor.Stop()
		}
	})
	return e, one, two
}

func (e *Endpoint) openFake(t *testing.T, id string, opening actors.Opening, hubs ...Hub) *session {
	t.Helper()
	s, isNew, err := e.open(&request{Request: httptest.NewRequest(http.MethodGet, "/", nil), id: id, hubs: hubs, transport: ServerSentEvents}, opening)
	require.NoError(t, err)
	require.True(t, isNew)
	return s
}

// framed returns records as a connection writes them: in the frame of a WebSocket.
func framed(records string) []byte {
	return append(wsframe.Header(wsframe.Text, len(records)), records...)
}

// messages returns what a session has for its client.
func (s *session) messages() (texts []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, message := range s.ring.kept {
		texts = append(texts, string(message))
	}
	return texts
}

// A connection writes records in frames, of which a write may end anywhere.
func TestRecordsAreTakenAsTheyCome(t *testing.T) {
	e, one, _ := newFakeEndpoint(t)
	n := 0
	rapid.Check(t, func(r *rapid.T) {
		n++
		s := e.openFake(t, fmt.Sprint(n), actors.WithConnected, one)
		m := s.find(one)
		var written []byte
		var want []string
		for range rapid.IntRange(1, 20).Draw(r, "frames") {
			var records strings.Builder
			for range rapid.IntRange(1, 3).Draw(r, "records") {
				text := strings.Repeat("x", rapid.SampledFrom([]int{1, 10, 125, 126, 300, 70_000}).Draw(r, "bytes")) + fmt.Sprint(len(want))
				want = append(want, text)
				records.WriteString("M" + text + "\x1e")
			}
			written = append(written, framed(records.String())...)
		}
		for len(written) > 0 {
			part := rapid.IntRange(1, min(len(written), 1000)).Draw(r, "part")
			if rapid.Bool().Draw(r, "all of it") {
				part = len(written)
			}
			taken, err := m.TryWrite(written[:part])
			require.NoError(r, err)
			require.Equal(r, part, taken)
			written = written[part:]
		}
		if len(want) > 100 {
			want = want[len(want)-100:]
		}
		size := 0
		for i := len(want) - 1; i >= 0; i-- {
			if size += len(want[i]); size > 1<<20 {
				want = want[i+1:]
				break
			}
		}
		got := s.messages()
		require.Len(r, got, len(want))
		for i := range want {
			require.Equal(r, brief([]byte(want[i])), brief([]byte(got[i])))
		}
		require.Empty(r, m.partial)
		s.close(nil)
	})
}

// What a client has not listed must not be called, but what is about its own calls reaches it.
func TestAQuietMemberHasNoCallsForTheClient(t *testing.T) {
	e, one, two := newFakeEndpoint(t)
	s := e.openFake(t, "a", actors.WithConnected, one)
	quiet, err := s.member(t.Context(), s.who, two)
	require.NoError(t, err)
	again, err := s.member(t.Context(), s.who, two)
	require.NoError(t, err)
	require.Same(t, quiet, again)
	require.Equal(t, actors.WithConnected, one.conns[0].opening)
	require.Equal(t, actors.WithoutEvents, two.conns[0].opening)
	for _, m := range []*member{s.find(one), quiet} {
		_, err := m.Write(framed("M{\"H\":\"" + m.hub.Name() + "\"}\x1e" + "M{\"I\":\"P|1\"}\x1e" + " \x1e"))
		require.NoError(t, err)
	}
	require.Equal(t, []string{`{"H":"One"}`, `{"I":"P|1"}`, `{"I":"P|1"}`}, s.messages())
	s.close(nil)
	require.Equal(t, []error{nil}, two.conns[0].ended())
	_, err = s.member(t.Context(), s.who, &fakeHub{name: "Three"})
	require.ErrorIs(t, err, errOver)
}

// A connection is begun by its first call, or by a start, and once.
func TestAMemberBeginsOnce(t *testing.T) {
	e, one, _ := newFakeEndpoint(t)
	s := e.openFake(t, "a", actors.WithConnected, one)
	m := s.find(one)
	long := strings.Repeat("x", 100)
	require.NoError(t, m.feed([]byte("first"+long+"\x1e")))
	m.begin()
	require.NoError(t, m.feed([]byte("second\x1e")))
	require.Equal(t, "{}\x1efirst"+long+"\x1esecond\x1e", one.conns[0].read.String())
	m.end(nil)
	m.end(errOver)
	require.ErrorIs(t, m.feed([]byte("third\x1e")), errOver)
	require.Equal(t, []error{nil}, one.conns[0].ended())
	s.close(nil)
	require.Equal(t, []error{nil}, one.conns[0].ended())
}

// A session is over when its client has been away for DisconnectTimeout and a grace, and not as long as it receives.
func TestClientsThatAreAwayForTooLong(t *testing.T) {
	e, one, two := newFakeEndpoint(t)
	away, back, lately := e.openFake(t, "away", actors.WithConnected, one, two), e.openFake(t, "back", actors.WithConnected, one), e.openFake(t, "lately", actors.WithConnected, one)
	r := newReceiver(false)
	require.True(t, back.attach(r, nil, "", true))
	for s, since := range map[*session]time.Duration{away: 36 * time.Second, back: 36 * time.Second, lately: 34 * time.Second} {
		s.mu.Lock()
		s.awaySince = time.Now().Add(-since)
		s.mu.Unlock()
	}
	e.sweep()
	for _, conn := range []*fakeConn{one.conns[0], two.conns[0]} {
		require.Equal(t, "away", conn.id)
		require.Equal(t, []error{actors.ErrClientTimeout}, conn.ended())
	}
	require.Nil(t, e.session("away"))
	require.Same(t, back, e.session("back"))
	require.Same(t, lately, e.session("lately"))
	require.False(t, away.attach(newReceiver(false), nil, "", true))

	back.detach(newReceiver(false)) // another one
	require.False(t, back.isAway(0))
	back.detach(r)
	require.False(t, back.isAway(time.Second), "its time begins anew")
	e.sweep()
	require.Same(t, back, e.session("back"))
	back.close(nil)
	lately.close(nil)
	e.sweep()
	e.mu.Lock()
	defer e.mu.Unlock()
	require.Nil(t, e.janitor, "there is nothing to look after")
}

// The token of the groups comes with the first envelope after they have changed.
func TestTheTokenOfChangedGroups(t *testing.T) {
	e, one, _ := newFakeEndpoint(t)
	s := e.openFake(t, "An-ID", actors.WithConnected, one)
	defer s.close(nil)
	r := newReceiver(true)
	require.True(t, s.attach(r, nil, "", true))
	m := s.find(one)
	next := func() *classic.Envelope {
		envelope, answer, ok := s.next(r)
		require.True(t, ok)
		require.Nil(t, answer)
		return envelope
	}
	groupsIn := func(token *string) (names []string) {
		require.NotNil(t, token)
		text, err := e.Keys.unprotect(groupsPurpose, *token)
		require.NoError(t, err)
		list, ok := strings.CutPrefix(text, "An-ID:")
		require.True(t, ok, text)
		require.NoError(t, json.Unmarshal([]byte(list), &names))
		require.NotNil(t, names)
		return names
	}
	first := next()
	require.True(t, first.Initialized)
	require.Nil(t, first.Groups)
	require.Nil(t, next())
	m.Joined("b")
	m.Joined("a,\"")
	m.Joined("b")
	require.Equal(t, []string{"One.a,\"", "One.b"}, groupsIn(next().Groups))
	m.Joined("b")
	m.Joined("c")
	m.Left("c")
	require.Nil(t, next())
	m.Left("b")
	m.Left("a,\"")
	require.Empty(t, groupsIn(next().Groups))
	require.Nil(t, next())

	m.Joined("d")
	for _, known := range [][]string{nil, {"One.a"}, {"One.d", "One.e"}} { // the last token was lost
		r = newReceiver(false)
		require.True(t, s.attach(r, known, "", true))
		require.Equal(t, []string{"One.d"}, groupsIn(next().Groups))
	}
	r = newReceiver(false)
	require.True(t, s.attach(r, []string{"One.d"}, "", true))
	require.Nil(t, next(), "the client knows it")
}

// A session that was lost is opened again in the groups of its hubs, whose names are those that they had.
func TestALostSessionIsOpenedAgain(t *testing.T) {
	e, one, two := newFakeEndpoint(t)
	s := e.openFake(t, "a", actors.WithReconnected, one)
	defer s.close(nil)
	s.rejoin([]Hub{one, two}, []string{"One.a", "One.", "one.b", "Two.c.d", "Three.e", "One.f", "", "."})
	require.Equal(t, []string{"a", "f"}, one.conns[0].rejoined)
	require.Equal(t, []string{"c.d"}, two.conns[0].rejoined)
	for _, hub := range []*fakeHub{one, two} {
		require.Len(t, hub.conns, 1)
		require.Equal(t, actors.WithReconnected, hub.conns[0].opening)
		require.Equal(t, "{}\x1e", hub.conns[0].read.String())
	}
	r := newReceiver(false)
	require.True(t, s.attach(r, []string{"One.a", "One.f", "Two.c.d"}, "", true))
	envelope, _, ok := s.next(r)
	require.True(t, ok)
	require.Nil(t, envelope, "the client's token says already what it is in, before the connections have joined")
}

// A hub that refuses a connection ends the session that it would be part of, and nothing else.
func TestAHubThatRefusesAConnection(t *testing.T) {
	e, one, two := newFakeEndpoint(t)
	for _, err := range []error{errors.New("no"), &transport.LimitError{Status: http.StatusTooManyRequests, Text: "too many"}} {
		two.refuse = func(link.Socket) error { return err }
		in := &request{Request: httptest.NewRequest(http.MethodGet, "/", nil), id: "a", hubs: []Hub{one, two}, transport: LongPolling}
		_, _, err := e.open(in, actors.WithConnected)
		var refused *failure
		require.ErrorAs(t, err, &refused)
		require.Contains(t, []int{http.StatusServiceUnavailable, http.StatusTooManyRequests}, refused.status)
		require.Nil(t, e.session("a"))
		require.Equal(t, []error{nil}, one.conns[len(one.conns)-1].ended())
	}
	require.Empty(t, two.conns)
	two.refuse = nil
	e.openFake(t, "a", actors.WithConnected, one, two).close(nil)
}

// A connection may have ended before it is known.
func TestAConnectionThatEndsAtOnce(t *testing.T) {
	e, one, _ := newFakeEndpoint(t)
	one.refuse = func(socket link.Socket) error {
		socket.Cut()
		time.Sleep(10 * time.Millisecond) // so that the session would be told
		return nil
	}
	s := e.openFake(t, "a", actors.WithConnected, one)
	require.False(t, s.start(nil))
	require.Eventually(t, func() bool { return e.session("a") == nil && len(one.conns[0].ended()) == 1 }, 20*time.Second, time.Millisecond)
}

// A session without hubs counts as a connection as long as it is there.
func TestASessionWithoutHubsCounts(t *testing.T) {
	e, one, _ := newFakeEndpoint(t)
	a := e.acceptor.(*fakeAcceptor)
	none, some := e.openFake(t, "a", actors.WithConnected), e.openFake(t, "b", actors.WithConnected, one)
	require.Equal(t, 1, a.reserved)
	none.close(nil)
	none.close(nil)
	some.close(nil)
	require.Zero(t, a.reserved)
}

// The answer to a call goes to whoever waits for it, or to nobody.
func TestAnswersGoToWhoeverWaits(t *testing.T) {
	e, one, _ := newFakeEndpoint(t)
	s := e.openFake(t, "a", actors.WithConnected, one)
	m := s.find(one)
	ws, post, gone := newReceiver(false), &waiter{answer: make(chan answer, 1)}, &waiter{answer: make(chan answer, 1)}
	require.True(t, s.attach(ws, nil, "", true))
	var numbers []uint64
	for _, w := range []*waiter{{receiver: ws}, post, gone, {receiver: ws}, {receiver: newReceiver(false)}} {
		n, err := s.await(w)
		require.NoError(t, err)
		numbers = append(numbers, n)
	}
	require.Equal(t, []uint64{1, 2, 3, 4, 5}, numbers)
	s.forget(3)
	_, err := m.Write(framed("M1\x1eR1 {\"I\":\"a\"}\x1eM2\x1eR2 {\"I\":\"b c\"}\x1eR3 {}\x1eR1 {\"again\":1}\x1eR5 {}\x1eR99 {}\x1eRx {}\x1eR\x1e"))
	require.NoError(t, err)
	require.Equal(t, `{"I":"b c"}`, string((<-post.answer).object))
	require.Empty(t, gone.answer)
	require.Equal(t, []string{"1", "2"}, s.messages())
	next := func() (messages [][]byte, object string) {
		envelope, answer, ok := s.next(ws)
		require.True(t, ok)
		if envelope != nil {
			messages = envelope.Messages
		}
		return messages, string(answer)
	}
	messages, object := next()
	require.Equal(t, [][]byte{[]byte("1")}, messages, "what was sent before it comes before it")
	require.Empty(t, object)
	messages, object = next()
	require.Empty(t, messages)
	require.Equal(t, `{"I":"a"}`, object)
	messages, object = next()
	require.Equal(t, [][]byte{[]byte("2")}, messages)
	require.Empty(t, object)
	s.detach(ws)
	require.Empty(t, s.waiting, "answers for a WebSocket that has gone")
	late := &waiter{answer: make(chan answer, 1)}
	_, err = s.await(late)
	require.NoError(t, err)
	s.close(nil)
	_, ok := <-late.answer
	require.False(t, ok)
	_, err = s.await(late)
	require.ErrorIs(t, err, errOver)
}

// The session of a client was lost, and another one has taken its place. Until the client has been given something, its cursor is that of the former one:
// whatever number that has, it has seen nothing.
func TestACursorOfAFormerSession(t *testing.T) {
	for _, sent := range []int{1, 3, 5, 200} { // fewer than the former session has sent, as many, more, more than are kept
		for name, former := range map[string]string{"of this server": "", "of another server": "d-AB0B44B6-3"} {
			t.Run(fmt.Sprint(sent, " ", name), func(t *testing.T) {
				e, one, _ := newFakeEndpoint(t)
				read := func(s *session, r *receiver) (texts []string, cursor string) {
					for {
						envelope, _, ok := s.next(r)
						require.True(t, ok)
						if envelope == nil {
							return texts, s.final(r).Cursor.String()
						}
						for _, message := range envelope.Messages {
							texts = append(texts, string(message))
						}
					}
				}
				attach := func(s *session, cursor string, connects bool) *receiver {
					r := newReceiver(connects)
					require.True(t, s.attach(r, nil, cursor, connects))
					return r
				}
				send := func(s *session, n int) (want []string) {
					for i := range n {
						_, err := s.find(one).Write(framed(fmt.Sprintf("M%d\x1e", i)))
						require.NoError(t, err)
						want = append(want, fmt.Sprint(i))
					}
					return want[max(0, n-e.ReplayMessages):]
				}

				s := e.openFake(t, "a", actors.WithConnected, one)
				r := attach(s, "", true)
				want := send(s, 3)
				got, cursor := read(s, r)
				require.Equal(t, want, got)
				s.close(nil)
				if former != "" {
					cursor = former
				}

				s = e.openFake(t, "a", actors.WithReconnected, one)
				for range 2 { // it is given nothing, twice
					r = attach(s, cursor, false)
					got, _ = read(s, r)
					require.Empty(t, got)
					s.detach(r)
				}
				s.mu.Lock()
				s.awaySince = time.Now().Add(-presentTime) // nobody waits for it
				s.mu.Unlock()
				want = send(s, sent)
				made := attach(s, "d-00000000-0", false)
				got, _ = read(s, made)
				require.Empty(t, got, "a cursor that was made up is none")
				var own string
				for range 2 { // what it was given was lost, the first time
					got, own = read(s, attach(s, cursor, false))
					require.Equal(t, want, got)
				}
				require.NotEqual(t, cursor, own)
				got, _ = read(s, attach(s, own, false))
				require.Empty(t, got, "it has had that")
				s.close(nil)
			})
		}
	}
}
