package outbox

import (
	"io"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/internal/link"
	"github.com/troupe-go/troupe/internal/linktest"
)

// fetchModel drives one box whose links mostly fetch, and knows of each message where it is.
type fetchModel struct {
	e       *env
	b       *testBox
	kind    Kind
	fetcher *linktest.Fetcher
	socket  *linktest.Socket

	waiting  *request // that nothing has come for yet
	out      link.Output
	former   []link.Output // of links that were replaced
	replaced []*request    // of links that were replaced, which have not ended yet

	limited   []int // by number of a message: what it counts against the limit
	pending   []int // numbers of messages
	taken     []int // by out
	formerly  []int // by former
	delivered []int
	lost      map[int]bool // may have been

	visited   bool
	withheld  bool
	sealed    bool
	abandoned bool
	ended     bool // a request has seen the end
}

func TestFetchModel(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		property(t, func(t *rapid.T) {
			m := &fetchModel{e: e, b: e.box(1 << 20), lost: map[int]bool{}}
			defer m.end()
			m.attach(t)
			if rapid.Bool().Draw(t, "withheld") {
				m.b.Withhold(answer(0, 0, 0))
				m.pending, m.limited, m.withheld = []int{0}, []int{0}, true
			}
			t.Repeat(map[string]func(*rapid.T){
				"":           m.check,
				"push":       func(t *rapid.T) { m.push(t); m.settle(t) },
				"reply":      func(t *rapid.T) { m.reply(); m.settle(t) },
				"push, swap": func(t *rapid.T) { m.push(t); m.swap(t) },
				"release":    func(t *rapid.T) { m.b.Release(); m.withheld = false; m.settle(t) },
				"take":       m.take,
				"wait":       m.wait,
				"give up":    m.giveUp,
				"advance":    m.advance,
				"done":       m.done,
				"done late":  m.doneLate,
				"end late":   m.endLate,
				"visited":    m.checkVisited,
				"swap":       m.swap,
				"seal":       m.seal,
				"abandon":    m.abandon,
			})
			m.finish(t)
		})
	})
}

// attach puts another link under the box.
func (m *fetchModel) attach(t *rapid.T) {
	kind := rapid.SampledFrom([]Kind{Socket, Stream, Stream, Polls, Polls}).Draw(t, "kind")
	socket, fetcher, ok := (*linktest.Socket)(nil), (*linktest.Fetcher)(nil), false
	if kind == Socket {
		socket = linktest.NewSocket()
		ok = m.b.AttachSocket(socket)
	} else {
		fetcher = linktest.NewFetcher(kind == Polls)
		ok = m.b.AttachFetcher(fetcher)
	}
	require.Equal(t, !m.sealed, ok, "a sealed box refuses")
	if !ok {
		return
	}
	if m.out != nil {
		m.former = append(m.former, m.out)
		for _, n := range m.taken {
			m.lost[n] = true
		}
		m.formerly = append(m.formerly, m.taken...)
		m.out, m.taken = nil, nil
	}
	if m.waiting != nil {
		m.replaced = append(m.replaced, m.waiting)
		m.waiting = nil
	}
	if m.fetcher != nil && rapid.Bool().Draw(t, "cut") {
		m.fetcher.Cut()
	}
	m.kind, m.socket, m.fetcher, m.visited = kind, socket, fetcher, false
	m.settle(t)
}

// swap replaces the link, perhaps while a request that a push has woken has not come to take anything.
func (m *fetchModel) swap(t *rapid.T) {
	if m.waiting == nil {
		m.settle(t)
	}
	m.attach(t)
}

// push may be followed by something before anybody has seen it.
func (m *fetchModel) push(t *rapid.T) {
	p := note(0, len(m.limited), rapid.SampledFrom([]int{0, 10, 1000, 40 << 10}).Draw(t, "size"))
	got := m.b.Push(p, rapid.Bool().Draw(t, "fanout"), true)
	require.Equal(t, m.sealed, got == Dropped)
	if !m.sealed {
		m.pending = append(m.pending, len(m.limited))
		m.limited = append(m.limited, p.charge())
	}
}

func (m *fetchModel) reply() {
	m.b.Reply(text(0, len(m.limited), 10), true)
	if !m.sealed {
		m.pending = append(m.pending, len(m.limited))
		m.limited = append(m.limited, 0)
	}
}

// settle waits until nothing moves, and sees what has become of the requests that waited, and of the socket.
func (m *fetchModel) settle(t *rapid.T) {
	settle()
	if r := m.waiting; r != nil && isClosed(r.done) {
		m.waiting = nil
		m.took(t, r.out, r.err)
	}
	m.replaced = slices.DeleteFunc(m.replaced, func(r *request) bool {
		if !isClosed(r.done) {
			return false
		}
		if r.err == nil { // it was woken before its link was replaced
			m.former = append(m.former, r.out)
			taken := m.numbers(t, r.out)
			for _, n := range taken {
				m.lost[n] = true
				m.pending = slices.DeleteFunc(m.pending, func(i int) bool { return i == n })
			}
			m.formerly = append(m.formerly, taken...)
		}
		return true
	})
	if m.kind == Socket {
		m.arrive(t)
	} else if m.waiting != nil {
		require.True(t, len(m.pending) == 0 || m.withheld, "a request that waits is woken")
		require.False(t, m.sealed && !m.abandoned)
	}
}

// arrive sees what the socket, which is never full, has taken.
func (m *fetchModel) arrive(t *rapid.T) {
	all, _ := receivedInPart(t, m.socket)
	if n := len(all); n > 0 && all[n-1] == "close 1000" {
		require.True(t, m.sealed)
		m.ended, all = true, all[:n-1]
	}
	for _, n := range numbers(t, all)[0] {
		if len(m.delivered) > 0 && n <= m.delivered[len(m.delivered)-1] {
			continue // has been seen
		}
		require.NotEmpty(t, m.pending)
		require.Equal(t, m.pending[0], n)
		m.pending = m.pending[1:]
		m.delivered = append(m.delivered, n)
	}
	require.True(t, len(m.pending) == 0 || m.withheld, "everything is written")
}

func (m *fetchModel) numbers(t *rapid.T, out link.Output) []int {
	return numbers(t, messages(t, out))[0]
}

// took is what becomes of a request.
func (m *fetchModel) took(t *rapid.T, out link.Output, err error) {
	if err == io.EOF {
		require.True(t, m.sealed && len(m.pending) == 0)
		m.ended = true
		return
	}
	if err != nil {
		require.True(t, len(m.pending) == 0 || m.withheld, "it takes what there is, also at its end")
		return
	}
	taken := m.numbers(t, out)
	require.False(t, m.withheld)
	require.Equal(t, m.pending[:len(taken)], taken)
	if m.kind == Polls {
		require.Len(t, taken, len(m.pending), "a poll takes everything")
	}
	m.out, m.taken, m.pending = out, taken, m.pending[len(taken):]
}

// idleFetcher skips the action unless a request can come.
func (m *fetchModel) idleFetcher(t *rapid.T) {
	if m.kind == Socket || m.out != nil || m.waiting != nil {
		t.Skip("no request can come")
	}
}

func (m *fetchModel) take(t *rapid.T) {
	m.idleFetcher(t)
	m.visited = true
	out, err := poll(m.b)
	m.took(t, out, err)
}

func (m *fetchModel) wait(t *rapid.T) {
	m.idleFetcher(t)
	m.visited = true
	m.waiting = fetching(m.b, m.fetcher)
	m.settle(t)
}

func (m *fetchModel) giveUp(t *rapid.T) {
	if m.waiting == nil {
		t.Skip("nobody waits")
	}
	m.waiting.cancel(nil)
	m.settle(t)
	require.Nil(t, m.waiting)
}

func (m *fetchModel) advance(*rapid.T) {
	if m.out != nil {
		m.out.Advance(1)
	}
	for _, out := range m.former {
		out.Advance(1)
	}
}

func (m *fetchModel) done(t *rapid.T) {
	if m.out == nil {
		t.Skip("nothing is being delivered")
	}
	delivered := rapid.Bool().Draw(t, "delivered")
	m.out.Done(delivered)
	switch {
	case delivered:
		m.delivered = append(m.delivered, m.taken...)
	case m.abandoned:
		for _, n := range m.taken {
			m.lost[n] = true
		}
	default:
		m.pending = append(m.taken, m.pending...)
	}
	m.out, m.taken = nil, nil
	m.settle(t)
}

// doneLate ends deliveries of links that were replaced.
func (m *fetchModel) doneLate(t *rapid.T) {
	for _, out := range m.former {
		out.Done(rapid.Bool().Draw(t, "delivered"))
	}
	m.former, m.formerly = nil, nil
}

// endLate ends requests that waited when their links were replaced.
func (m *fetchModel) endLate(t *rapid.T) {
	for _, r := range m.replaced {
		r.cancel(nil)
	}
	m.settle(t)
	require.Empty(t, m.replaced)
}

func (m *fetchModel) checkVisited(t *rapid.T) {
	require.Equal(t, m.visited || m.waiting != nil || m.out != nil, m.b.Visited())
	m.visited = false
}

func (m *fetchModel) seal(t *rapid.T) {
	seldom(t)
	var last *Packet
	if rapid.Bool().Draw(t, "last") {
		last = answer(0, len(m.limited), 0)
		if !m.sealed {
			m.pending, m.limited = append(m.pending, len(m.limited)), append(m.limited, 0)
		}
	}
	m.b.Seal(last)
	m.sealed, m.withheld = true, false
	m.settle(t)
}

func (m *fetchModel) abandon(t *rapid.T) {
	seldom(t)
	m.b.Abandon()
	for _, n := range m.pending {
		m.lost[n] = true
	}
	m.sealed, m.abandoned, m.pending = true, true, nil
	m.settle(t)
}

func (m *fetchModel) check(t *rapid.T) {
	require.Equal(t, m.kind, m.b.Kind())
	bytes, limited := m.b.Pending()
	want := 0
	for _, numbers := range [][]int{m.pending, m.taken, m.formerly} {
		for _, n := range numbers {
			want += m.limited[n]
		}
		bytes -= len(numbers)
	}
	require.Equal(t, want, limited)
	require.GreaterOrEqual(t, bytes, 0)
	require.Equal(t, m.out != nil, m.b.Progress().Stalled, "only a delivery can be stalled")
	require.Equal(t, m.sealed, m.b.Progress().Sealed)
	if m.kind == Socket || m.waiting != nil {
		require.False(t, m.b.isPeerTurn())
	}
	_, broken, over := m.b.told.counts()
	require.Zero(t, broken)
	require.LessOrEqual(t, over, 1)
	if !m.abandoned {
		require.Equal(t, m.ended, over == 1)
		require.Equal(t, m.ended, m.b.IsOver())
	}
	if m.socket != nil {
		require.Empty(t, m.socket.Faults())
	}
}

func (m *fetchModel) finish(t *rapid.T) {
	m.b.Release()
	m.withheld = false
	m.settle(t)
	if m.out != nil {
		m.out.Done(true)
		m.delivered, m.out, m.taken = append(m.delivered, m.taken...), nil, nil
	}
	if !m.sealed {
		m.b.Seal(nil)
		m.sealed = true
		m.settle(t)
	}
	if m.waiting != nil {
		m.giveUp(t)
	}
	for m.kind != Socket && (!m.ended || m.out != nil) {
		if m.out != nil {
			m.out.Done(true)
			m.delivered, m.out, m.taken = append(m.delivered, m.taken...), nil, nil
		}
		m.take(t)
	}
	m.endLate(t)
	m.doneLate(t)
	m.check(t)
	requireNothingPending(t, m.b)
	next := 0
	for _, n := range m.delivered {
		require.GreaterOrEqual(t, n, next, "again, or out of order: %v", m.delivered)
		for ; next < n; next++ {
			require.True(t, m.lost[next], "%d is lost: %v", next, m.delivered)
		}
		next++
	}
	for ; next < len(m.limited); next++ {
		require.True(t, m.lost[next], "%d is lost: %v", next, m.delivered)
	}
}

// end lets requests end, also when a property does not hold.
func (m *fetchModel) end() {
	for _, r := range append(m.replaced, m.waiting) {
		if r != nil {
			r.cancel(nil)
		}
	}
	settle()
}
