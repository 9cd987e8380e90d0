package outbox

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/internal/linktest"
)

// model drives one box over sockets, of which one takes the place of the other. What was accepted must arrive whole, once and in order,
// except for what the writer of a socket that was replaced had taken.
type model struct {
	e       *env
	b       *testBox
	sockets []*linktest.Socket // in the order in which they were attached

	mu          sync.Mutex
	accepted    map[int]int    // by sender: so many messages were queued
	taken       map[noteID]int // what may have been lost with the socket of that index; it must not arrive on a later one
	unknown     int            // swaps beside other goroutines: what was lost with them is not known
	lossy       bool           // queued messages may have been dropped: the box has overflowed, was abandoned, or its socket is broken
	silent      bool           // the last frame need not be written: the same, without an end in order
	sealed      bool
	withheld    bool
	unscheduled bool // replies may lie in the box
	ends        bool // a box that has overflowed is abandoned, instead of sealed

	senders int // that have pushed beside others
	pongs   int
	ponged  int // the number of sockets when the last pong was pushed
	breaks  bool
}

// The senders of the model.
const (
	inOrder    = iota // everything that is pushed while nobody else pushes, so that the order of all is known
	concurrent        // and those that follow: goroutines that push at once
)

const modelLimit = 8 << 10

func TestBoxModel(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		property(t, func(t *rapid.T) {
			m := &model{e: e, b: e.box(modelLimit), accepted: map[int]int{}, taken: map[noteID]int{}, senders: concurrent}
			m.ends = rapid.Bool().Draw(t, "overflow ends all")
			m.attach(m.socket(t))
			defer m.end()
			if rapid.Bool().Draw(t, "withheld") {
				m.b.Withhold(answer(inOrder, 0, 10))
				m.accepted[inOrder]++
				m.withheld = true
			}
			t.Repeat(map[string]func(*rapid.T){
				"":         m.check,
				"push":     m.push,
				"crowd":    m.crowd,
				"reply":    m.reply,
				"flush":    func(*rapid.T) { m.flush() },
				"late":     func(*rapid.T) { m.b.WakeLate() },
				"time":     func(*rapid.T) { pass(lateTime) },
				"settle":   func(*rapid.T) { settle() },
				"pong":     m.pong,
				"release":  m.release,
				"room":     func(t *rapid.T) { m.socketOf(t).Drain(rapid.IntRange(-1, 3000).Draw(t, "room")) },
				"fill":     func(t *rapid.T) { fill(m.current()) },
				"swap":     m.swap,
				"cut":      m.cutFormer,
				"seal":     m.seal,
				"abandon":  m.abandon,
				"break":    m.breakSocket,
				"progress": func(*rapid.T) { m.b.Progress() },
			})
			m.finish(t)
		})
	})
}

// seldom is for what ends most of what a model can do.
func seldom(t *rapid.T) {
	if rapid.IntRange(0, 5).Draw(t, "seldom") > 0 {
		t.Skip("not now")
	}
}

func (m *model) socket(t *rapid.T) *linktest.Socket {
	s := linktest.NewSocket()
	s.BlocksOnly = rapid.Bool().Draw(t, "blocks")
	s.Room = rapid.SampledFrom([]int{-1, 0, 1, 5, 100, 2000}).Draw(t, "room")
	return s
}

// attach puts a socket under the box, and returns the former one.
func (m *model) attach(s *linktest.Socket) (former *linktest.Socket, ok bool) {
	if !m.b.AttachSocket(s) {
		return nil, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.sockets) > 0 {
		former = m.sockets[len(m.sockets)-1]
	}
	m.sockets = append(m.sockets, s)
	return former, true
}

func (m *model) current() *linktest.Socket {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sockets[len(m.sockets)-1]
}

// socketOf is the present socket, or a former one.
func (m *model) socketOf(t *rapid.T) *linktest.Socket {
	return m.sockets[max(0, len(m.sockets)-1-rapid.IntRange(0, 2).Draw(t, "former"))]
}

// rest waits until nothing moves, and sees whether the socket has broken.
func (m *model) rest(t *rapid.T) {
	settle()
	if _, broken, _ := m.b.told.counts(); broken > 0 {
		m.sealed, m.lossy, m.silent = true, true, true
		return
	}
	m.b.locked(func() {
		require.Equal(t, m.b.state >= writing, m.b.peerTurn, "what is being written waits for the peer")
		require.True(t, m.b.state != idle || len(m.b.queue.packets) == 0 || m.withheld || m.unscheduled, "somebody writes what is pending")
	})
}

func (m *model) push(t *rapid.T) {
	m.rest(t)
	size := rapid.IntRange(0, 6000).Draw(t, "size")
	p := note(inOrder, m.accepted[inOrder], size)
	if rapid.IntRange(0, 3).Draw(t, "limited") == 0 {
		p = answer(inOrder, m.accepted[inOrder], size)
	}
	waits := rapid.Bool().Draw(t, "waits")
	want := m.expect(p, waits)
	got := m.b.Push(p, rapid.Bool().Draw(t, "fanout"), waits)
	require.Equal(t, want, got)
	switch got {
	case Overflow:
		m.overflow()
	case Dropped:
	default:
		m.accepted[inOrder]++
		m.unscheduled = false
	}
}

// expect says what becomes of a push when nothing moves.
func (m *model) expect(p *Packet, waits bool) Result {
	bytes, limited := m.b.Pending()
	before, charge := bytes, p.charge()
	if p.limited {
		before = limited
	}
	switch {
	case m.sealed:
		return Dropped
	case p.limited && !waits && before > 0 && before+charge > modelLimit:
		return Overflow
	case before > modelLimit:
		return AboveLimit
	case before+charge > modelLimit/2:
		return AboveMark
	}
	return Queued
}

// overflow is what is done about a box that was full.
func (m *model) overflow() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sealed, m.lossy, m.withheld = true, true, false
	if !m.ends {
		m.b.Seal(nil)
		return
	}
	m.silent, m.breaks = true, true
	m.b.Abandon()
	m.b.Cut()
}

// crowd lets several senders push at once, beside a worker that replies and writes, and beside whoever swaps, or seals.
func (m *model) crowd(t *rapid.T) {
	m.rest(t)
	if m.sealed {
		t.Skip("sealed")
	}
	var all sync.WaitGroup
	for range rapid.IntRange(2, 4).Draw(t, "senders") {
		sender, n, limited := m.senders, rapid.IntRange(1, 30).Draw(t, "notes"), rapid.Bool().Draw(t, "limited")
		m.senders++
		all.Go(func() { m.pushMany(sender, n, limited) })
	}
	switch rapid.SampledFrom([]string{"", "swap", "seal", "swap and seal"}).Draw(t, "beside") {
	case "swap":
		m.swapBeside(t, &all)
		m.replyBeside(&all)
	case "swap and seal":
		m.swapBeside(t, &all)
		all.Go(func() { m.sealWith(nil) })
	case "seal":
		all.Go(func() { m.sealWith(nil) })
	default:
		m.replyBeside(&all)
	}
	all.Wait()
}

func (m *model) pushMany(sender, n int, limited bool) {
	for i := range n {
		p := note(sender, i, i)
		if !limited {
			p = answer(sender, i, i)
		}
		got := m.b.Push(p, i%2 == 0, false)
		switch got {
		case Overflow:
			m.overflow()
		case Dropped:
			return
		default:
			m.mu.Lock()
			m.accepted[sender]++
			m.mu.Unlock()
		}
	}
}

// replyBeside lets a worker reply and write. What it replies after an overflow is dropped.
func (m *model) replyBeside(all *sync.WaitGroup) {
	sender := m.senders
	m.senders++
	all.Go(func() {
		for i := range 10 {
			m.mu.Lock()
			if !m.sealed {
				m.accepted[sender]++
			}
			m.mu.Unlock()
			m.b.Reply(text(sender, i, 0), false)
			flush(m.b)
		}
	})
}

func (m *model) swapBeside(t *rapid.T, all *sync.WaitGroup) {
	var next []*linktest.Socket
	for range rapid.IntRange(1, 3).Draw(t, "swaps") {
		next = append(next, m.socket(t))
	}
	cut := rapid.Bool().Draw(t, "cut")
	all.Go(func() {
		for _, s := range next {
			if former, ok := m.attach(s); ok {
				m.unknown++
				if cut {
					former.Cut()
				}
			}
		}
	})
}

// reply does what a worker does behind calls.
func (m *model) reply(t *rapid.T) {
	m.rest(t)
	for range rapid.IntRange(1, 80).Draw(t, "replies") {
		enough := Enough & m.b.Reply(text(inOrder, m.accepted[inOrder], rapid.IntRange(0, 100).Draw(t, "size")), false)
		if !m.sealed {
			m.accepted[inOrder]++
		}
		if enough != 0 {
			break
		}
	}
	m.unscheduled = true
	switch rapid.SampledFrom([]string{"", "flush", "late", "schedule"}).Draw(t, "then") {
	case "flush":
		m.flush()
	case "late":
		m.b.WakeLate()
		pass(lateTime)
	case "schedule":
		m.b.Schedule()
		m.unscheduled = false
	}
}

func (m *model) flush() {
	flush(m.b)
	m.unscheduled = false
}

func (m *model) pong(*rapid.T) {
	m.pongs++
	m.ponged = len(m.sockets)
	m.b.PushPong(pong(fmt.Sprint(m.pongs)))
}

func (m *model) release(*rapid.T) {
	m.withheld = false
	m.b.Release()
}

// swap puts another socket under the box while nothing moves, so that it is known what the former one's writer has taken.
func (m *model) swap(t *rapid.T) {
	m.rest(t)
	m.noteTaken(t)
	former, ok := m.attach(m.socket(t))
	require.Equal(t, !m.sealed, ok, "a sealed box refuses")
	m.unscheduled = m.unscheduled && !ok
	if ok && rapid.Bool().Draw(t, "cut") {
		former.Cut()
	}
}

// noteTaken notes what has been accepted, has not arrived, and is not queued.
func (m *model) noteTaken(t *rapid.T) {
	if m.lossy {
		return // sealed, too
	}
	missing := map[noteID]bool{}
	for sender, n := range m.accepted {
		for i := range n {
			missing[noteID{sender, i}] = true
		}
	}
	for i := range m.sockets {
		for _, id := range m.arrived(t, i) {
			delete(missing, id)
		}
	}
	m.b.locked(func() {
		for _, p := range m.b.queue.packets {
			for _, message := range strings.Split(strings.TrimSuffix(string(p.b[len(p.b)-p.charge()+overhead:]), "\x1e"), "\x1e") {
				delete(missing, idOf(t, message))
			}
		}
	})
	for id := range missing {
		if _, known := m.taken[id]; !known {
			m.taken[id] = len(m.sockets) - 1
		}
	}
}

// arrived returns the messages that a socket has taken whole.
func (m *model) arrived(t *rapid.T, index int) (ids []noteID) {
	all, rest := receivedInPart(t, m.sockets[index])
	if index == len(m.sockets)-1 && !m.silent {
		require.True(t, len(rest) == 0 || m.b.stateNow() >= writing, "only a drainer may be in the middle of a frame")
	}
	for i, message := range all {
		switch {
		case strings.HasPrefix(message, "pong"):
		case strings.HasPrefix(message, "close"):
			require.Equal(t, len(all)-1, i, "the last frame ends all")
			require.Equal(t, len(m.sockets)-1, index, "a former link is not ended in order")
			require.True(t, m.sealed)
		default:
			ids = append(ids, idOf(t, message))
		}
	}
	return ids
}

// cutFormer ends the sockets that have been replaced.
func (m *model) cutFormer(*rapid.T) {
	for _, s := range m.sockets[:len(m.sockets)-1] {
		s.Cut()
	}
}

func (m *model) seal(t *rapid.T) {
	seldom(t)
	m.rest(t)
	var last *Packet
	if rapid.Bool().Draw(t, "last") {
		last = answer(inOrder, m.accepted[inOrder], 10)
		if !m.sealed {
			m.accepted[inOrder]++
		}
	}
	m.sealWith(last)
}

func (m *model) sealWith(last *Packet) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.b.Seal(last)
	m.sealed, m.withheld = true, false
}

func (m *model) abandon(t *rapid.T) {
	seldom(t)
	m.b.Abandon()
	m.sealed, m.lossy, m.silent = true, true, true
}

// breakSocket breaks the present socket, or a former one, which is nobody's concern.
func (m *model) breakSocket(t *rapid.T) {
	seldom(t)
	s := m.socketOf(t)
	m.breaks = m.breaks || s == m.current()
	s.Break(errors.New("broken"))
}

func (m *model) check(t *rapid.T) {
	for _, s := range m.sockets {
		require.Empty(t, s.Faults())
	}
	_, broken, over := m.b.told.counts()
	require.LessOrEqual(t, broken+over, 1, "there is one end")
	require.False(t, broken > 0 && !m.breaks, "a former socket is not the box's any more")
	if m.withheld {
		m.rest(t)
		for i := range m.sockets {
			require.Empty(t, m.arrived(t, i))
		}
	}
}

func (m *model) finish(t *rapid.T) {
	m.cutFormer(t)
	m.release(t)
	m.current().Drain(-1)
	m.b.Schedule()
	m.unscheduled = false
	m.rest(t)
	m.check(t)
	m.checkArrived(t)
	m.checkPongs(t)

	current := m.current()
	_, rest := receivedInPart(t, current)
	_, broken, over := m.b.told.counts()
	require.Equal(t, idle, m.b.stateNow())
	require.Empty(t, m.b.queue.packets)
	require.Zero(t, m.e.drainers.Get())
	require.Equal(t, m.sealed, m.b.Progress().Sealed)
	if broken == 0 {
		requireNothingPending(t, m.b)
		require.False(t, m.b.isPeerTurn())
	}
	if !m.silent {
		require.Empty(t, rest)
		require.Equal(t, m.sealed, current.IsFinished(), "who empties a sealed box ends its link")
		require.Equal(t, m.sealed, over == 1, "and says so")
	}
	current.Cut()
	settle()
	m.check(t)
}

// end lets drainers end, also when a property does not hold.
func (m *model) end() {
	for _, s := range m.sockets {
		s.Cut()
	}
	settle()
}

// checkArrived checks that everything has arrived, in order, except for what was lost with sockets that were replaced.
func (m *model) checkArrived(t *rapid.T) {
	next := map[int]int{} // by sender: the number that is expected
	lost := 0
	skip := func(sender, to int) {
		for ; next[sender] < to; next[sender]++ {
			if _, known := m.taken[noteID{sender, next[sender]}]; !known {
				lost++
			}
		}
	}
	for i := range m.sockets {
		before := map[int]bool{} // senders whose messages have arrived on this socket
		for _, id := range m.arrived(t, i) {
			require.GreaterOrEqual(t, id.n, next[id.sender], "sender %d: again, or out of order", id.sender)
			if before[id.sender] {
				require.Equal(t, next[id.sender], id.n, "sender %d: nothing is lost in the middle of a link", id.sender)
			}
			before[id.sender] = true
			if taken, known := m.taken[id]; known {
				require.LessOrEqual(t, i, taken, "what was taken for a link is not written to a later one")
			}
			skip(id.sender, id.n)
			next[id.sender]++
			require.LessOrEqual(t, next[id.sender], m.accepted[id.sender], "sender %d", id.sender)
		}
	}
	if !m.lossy {
		for sender, n := range m.accepted {
			skip(sender, n)
		}
	}
	require.LessOrEqual(t, lost, maxMerged*m.unknown, "no more than one turn is lost with a socket")
}

// checkPongs checks that pongs have been written in order, and the newest if nothing has come between.
func (m *model) checkPongs(t *rapid.T) {
	newest := 0
	for _, s := range m.sockets {
		all, _ := receivedInPart(t, s)
		for _, message := range all {
			var n int
			if _, err := fmt.Sscanf(message, "pong %d", &n); err == nil {
				require.Greater(t, n, newest)
				newest = n
			}
		}
	}
	if !m.sealed && m.ponged == len(m.sockets) {
		require.Equal(t, m.pongs, newest)
	}
}
