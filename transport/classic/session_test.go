package classic

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
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
	name string

	mu    sync.Mutex
	conns []*fakeConn
}

func (h *fakeHub) Name() string                                        { return h.name }
func (h *fakeHub) Authorize(context.Context, transport.Identity) error { return nil }

func (h *fakeHub) Connect(o transport.Opening, _ link.Socket, _ link.Observer, opening actors.Opening) (Connection, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &fakeConn{id: o.ID, opening: opening}
	h.conns = append(h.conns, c)
	return c, nil
}

// fakeConn is a connection that reads everything, a few bytes at a time.
type fakeConn struct {
	link.SocketSession
	id      string
	opening actors.Opening
	buffer  [7]byte
	read    bytes.Buffer
	joined  []string
	ends    []error
}

func (c *fakeConn) Buffer() []byte    { return c.buffer[:] }
func (c *fakeConn) Commit(n int) bool { c.read.Write(c.buffer[:n]); return true }
func (c *fakeConn) End(err error)     { c.ends = append(c.ends, err) }
func (c *fakeConn) Join(group string) { c.joined = append(c.joined, group) }
func (c *fakeConn) Reconnected()      {}

// fakeAcceptor has some hubs, and knows nobody.
type fakeAcceptor struct {
	hubs    []Hub
	closing bool
}

func (a *fakeAcceptor) Authenticate(*http.Request) (transport.Identity, error) {
	return transport.Identity{}, nil
}
func (a *fakeAcceptor) Hubs() []Hub     { return a.hubs }
func (a *fakeAcceptor) IsClosing() bool { return a.closing }

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
	for _, e := range s.ring.entries {
		texts = append(texts, string(e.data))
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
		m := s.members[one]
		var written []byte
		var want []string
		for range rapid.IntRange(1, 20).Draw(r, "frames") {
			var records strings.Builder
			for range rapid.IntRange(0, 3).Draw(r, "records") {
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
	in := &request{Request: httptest.NewRequest(http.MethodGet, "/", nil), id: "a", transport: ServerSentEvents}
	quiet, err := s.member(in, two)
	require.NoError(t, err)
	again, err := s.member(in, two)
	require.NoError(t, err)
	require.Same(t, quiet, again)
	require.Equal(t, actors.WithConnected, one.conns[0].opening)
	require.Equal(t, actors.WithoutEvents, two.conns[0].opening)
	for _, m := range []*member{s.members[one], quiet} {
		_, err := m.Write(framed("M{\"H\":\"" + m.hub.Name() + "\"}\x1e" + "M{\"I\":\"P|1\"}\x1e" + " \x1e"))
		require.NoError(t, err)
	}
	require.Equal(t, []string{`{"H":"One"}`, `{"I":"P|1"}`, `{"I":"P|1"}`}, s.messages())
	s.close(nil)
	require.Equal(t, []error{nil}, two.conns[0].ends)
	_, err = s.member(in, &fakeHub{name: "Three"})
	require.ErrorIs(t, err, errOver)
}

// A connection is begun by its first call, or by a start, and once.
func TestAMemberBeginsOnce(t *testing.T) {
	e, one, _ := newFakeEndpoint(t)
	s := e.openFake(t, "a", actors.WithConnected, one)
	m := s.members[one]
	long := strings.Repeat("x", 100)
	require.NoError(t, m.feed([]byte("first"+long+"\x1e")))
	m.begin()
	require.NoError(t, m.feed([]byte("second\x1e")))
	require.Equal(t, "{}\x1efirst"+long+"\x1esecond\x1e", one.conns[0].read.String())
	m.end(nil)
	m.end(errOver)
	require.ErrorIs(t, m.feed([]byte("third\x1e")), errOver)
	require.Equal(t, []error{nil}, one.conns[0].ends)
	s.close(nil)
	require.Equal(t, []error{nil}, one.conns[0].ends)
}

// A session is over when its client has been away for DisconnectTimeout and a grace, and not as long as it receives.
func TestClientsThatAreAwayForTooLong(t *testing.T) {
	e, one, two := newFakeEndpoint(t)
	away, back, lately := e.openFake(t, "away", actors.WithConnected, one, two), e.openFake(t, "back", actors.WithConnected, one), e.openFake(t, "lately", actors.WithConnected, one)
	r := newReceiver(false)
	require.True(t, back.attach(r, func(*session) uint64 { return 0 }))
	for s, since := range map[*session]time.Duration{away: 36 * time.Second, back: 36 * time.Second, lately: 34 * time.Second} {
		s.mu.Lock()
		s.awaySince = time.Now().Add(-since)
		s.mu.Unlock()
	}
	e.sweep()
	for _, conn := range []*fakeConn{one.conns[0], two.conns[0]} {
		require.Equal(t, "away", conn.id)
		require.Equal(t, []error{actors.ErrClientTimeout}, conn.ends)
	}
	require.Nil(t, e.session("away"))
	require.Same(t, back, e.session("back"))
	require.Same(t, lately, e.session("lately"))
	require.False(t, away.attach(newReceiver(false), func(*session) uint64 { return 0 }))

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
	require.True(t, s.attach(r, func(*session) uint64 { return 0 }))
	m := s.members[one]
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
}

// The answer to a call goes to whoever waits for it, or to nobody.
func TestAnswersGoToWhoeverWaits(t *testing.T) {
	e, one, _ := newFakeEndpoint(t)
	s := e.openFake(t, "a", actors.WithConnected, one)
	m := s.members[one]
	ws, post, gone := newReceiver(false), &waiter{answer: make(chan []byte, 1)}, &waiter{answer: make(chan []byte, 1)}
	var numbers []uint64
	for _, w := range []*waiter{{receiver: ws}, post, gone, {receiver: ws}} {
		n, err := s.await(w)
		require.NoError(t, err)
		numbers = append(numbers, n)
	}
	require.Equal(t, []uint64{1, 2, 3, 4}, numbers)
	s.forget(3)
	_, err := m.Write(framed("R1 {\"I\":\"a\"}\x1eR2 {\"I\":\"b c\"}\x1eR3 {}\x1eR1 {\"again\":1}\x1eR99 {}\x1eRx {}\x1eR\x1e"))
	require.NoError(t, err)
	require.Equal(t, `{"I":"b c"}`, string(<-post.answer))
	require.Empty(t, gone.answer)
	require.Equal(t, []string{`{"I":"a"}`}, s.messages())
	messages, answer, _ := s.ring.after(0, ws)
	require.Empty(t, messages)
	require.Equal(t, `{"I":"a"}`, string(answer))
	s.detach(ws)
	require.Empty(t, s.waiting, "answers for a WebSocket that has gone")
	late := &waiter{answer: make(chan []byte, 1)}
	_, err = s.await(late)
	require.NoError(t, err)
	s.close(nil)
	_, ok := <-late.answer
	require.False(t, ok)
	_, err = s.await(late)
	require.ErrorIs(t, err, errOver)
}
