package outbox

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/internal/counter"
	"github.com/troupe-go/troupe/internal/linktest"
	"github.com/troupe-go/troupe/internal/wsframe"
)

func TestMain(m *testing.M) {
	flag.Set("rapid.nofailfile", "true") // what failed is printed
	goleak.VerifyTestMain(m)
}

// Most tests run in a bubble of testing/synctest: there the clock is the bubble's own, settle returns when everything is at rest, and a
// goroutine that is left over, or a deadlock, ends the test.

// env is a flusher, and what the boxes of a test have in common.
type env struct {
	t        *testing.T
	flusher  *Flusher
	drainers counter.Counter
	log      errorLog
	busy     atomic.Bool // other goroutines of the program are running
	sockets  []*linktest.Socket
	fetchers []*linktest.Fetcher
}

func newEnv(t *testing.T) *env {
	e := &env{t: t}
	start := time.Now()
	now := func() time.Duration { return time.Since(start) }
	e.flusher = NewFlusher(now, func() bool { return !e.busy.Load() }, slog.New(&e.log), &e.drainers)
	return e
}

// inBubble runs a test in a bubble, with a flusher that runs.
func inBubble(t *testing.T, f func(t *testing.T, e *env)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		e := newEnv(t)
		done := make(chan struct{})
		go e.flusher.Run(done)
		go e.flusher.RunLate(done)
		t.Cleanup(func() {
			for _, s := range e.sockets {
				s.Cut()
			}
			for _, f := range e.fetchers {
				f.Cut()
			}
			settle()
			close(done)
			for _, s := range e.sockets {
				assert.Empty(t, s.Faults())
			}
			assert.Zero(t, e.drainers.Get())
			assert.Empty(t, e.log.take())
		})
		f(t, e)
	})
}

// settle returns when nothing happens any more unless the clock moves.
func settle() { synctest.Wait() }

// pass lets time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// property checks a property in the bubble that the caller is in.
func property(t *testing.T, f func(t *rapid.T)) {
	rapid.Check(struct{ rapid.TB }{t}, f) // hidden, so that rapid does not ask for the test's deadline
}

// socket returns a socket that is cut at the end of the test.
func (e *env) socket(change ...func(*linktest.Socket)) *linktest.Socket {
	s := linktest.NewSocket()
	for _, f := range change {
		f(s)
	}
	e.sockets = append(e.sockets, s)
	return s
}

// fetcher returns a transport that fetches, which is cut at the end of the test.
func (e *env) fetcher(polls bool) *linktest.Fetcher {
	f := linktest.NewFetcher(polls)
	e.fetchers = append(e.fetchers, f)
	return f
}

// room makes a socket one that takes n bytes until it is full.
func room(n int) func(*linktest.Socket) { return func(s *linktest.Socket) { s.Room = n } }

// fill makes a socket full.
func fill(s *linktest.Socket) { s.Change(func() { s.Room = 0 }) }

// testBox is a box and its owner.
type testBox struct {
	Box
	told *owner
}

// box returns a box without a link.
func (e *env) box(limit int) *testBox {
	b := &testBox{told: &owner{}}
	b.Init(b.told, e.flusher, limit, wsframe.Text)
	return b
}

// boxOver returns a box over a socket.
func (e *env) boxOver(limit int, change ...func(*linktest.Socket)) (*testBox, *linktest.Socket) {
	b, s := e.box(limit), e.socket(change...)
	b.AttachSocket(s)
	return b, s
}

// boxFetched returns a box over a transport that fetches.
func (e *env) boxFetched(limit int, polls bool) (*testBox, *linktest.Fetcher) {
	b, f := e.box(limit), e.fetcher(polls)
	b.AttachFetcher(f)
	return b, f
}

// locked calls f with the lock of the box.
func (b *Box) locked(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

func (b *Box) isPeerTurn() (peerTurn bool) {
	b.locked(func() { peerTurn = b.peerTurn })
	return peerTurn
}

func requireNothingPending(t require.TestingT, b *testBox) {
	bytes, limited := b.Pending()
	require.Zero(t, bytes, "bytes that are pending")
	require.Zero(t, limited, "of these, what counts against the limit")
}

// flush does what a worker does that writes itself.
func flush(b *testBox) {
	w := BorrowWriter()
	defer ReturnWriter(w)
	w.Flush(&b.Box)
}

// owner keeps what it is told.
type owner struct {
	mu         sync.Mutex
	overflowed int
	broken     []error
	over       int
	ticks      []lateTick
	onTick     func()
}

type lateTick struct{ onTime, quiet bool }

func (o *owner) note(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
}

func (o *owner) Overflowed()      { o.note(func() { o.overflowed++ }) }
func (o *owner) Broken(err error) { o.note(func() { o.broken = append(o.broken, err) }) }
func (o *owner) Over()            { o.note(func() { o.over++ }) }

func (o *owner) LateTick(onTime, quiet bool) {
	o.note(func() { o.ticks = append(o.ticks, lateTick{onTime, quiet}) })
	if o.onTick != nil {
		o.onTick()
	}
}

// lateTicks returns the ticks that there were.
func (o *owner) lateTicks() (all []lateTick) {
	o.note(func() { all = slices.Clone(o.ticks) })
	return all
}

// counts returns how often the owner was told of each end.
func (o *owner) counts() (overflowed, broken, over int) {
	o.note(func() { overflowed, broken, over = o.overflowed, len(o.broken), o.over })
	return overflowed, broken, over
}

// errorLog keeps what is logged as errors.
type errorLog struct {
	mu     sync.Mutex
	errors []string
}

func (l *errorLog) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelError }
func (l *errorLog) WithAttrs([]slog.Attr) slog.Handler               { return l }
func (l *errorLog) WithGroup(string) slog.Handler                    { return l }

func (l *errorLog) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errors = append(l.errors, r.Message)
	return nil
}

// take returns what has been logged since take was called last.
func (l *errorLog) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	errors := l.errors
	l.errors = nil
	return errors
}

// text is a hub message that names its sender, and says how many there were before it.
func text(sender, n, size int) []byte {
	return fmt.Appendf(nil, "%d/%d/%s\x1e", sender, n, strings.Repeat("x", size))
}

// note is a packet that counts against the limit, with such a message.
func note(sender, n, size int) *Packet {
	return NewPacket(append(Buffer(size), text(sender, n, size)...), wsframe.Text, true)
}

// answer is a packet that does not count against the limit, with such a message.
func answer(sender, n, size int) *Packet {
	return NewPacket(append(Buffer(size), text(sender, n, size)...), wsframe.Text, false)
}

// noteID is which message it is.
type noteID struct{ sender, n int }

// idOf reads a message.
func idOf(t require.TestingT, message string) (id noteID) {
	_, err := fmt.Sscanf(message, "%d/%d/", &id.sender, &id.n)
	require.NoError(t, err, "%.200q", message)
	return id
}

// numbers returns the numbers of the messages of each sender, in order of arrival.
func numbers(t require.TestingT, messages []string) map[int][]int {
	all := map[int][]int{}
	for _, message := range messages {
		id := idOf(t, message)
		all[id.sender] = append(all[id.sender], id.n)
	}
	return all
}

// upTo is the numbers below n.
func upTo(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// received is what a socket has taken: hub messages without their separators, and control frames as "close 1000" and "pong x".
func received(t require.TestingT, s *linktest.Socket) []string {
	all, rest := receivedInPart(t, s)
	require.Empty(t, rest, "a frame has been written in part")
	return all
}

// receivedInPart returns what a socket has taken of a last frame, too.
func receivedInPart(t require.TestingT, s *linktest.Socket) (all []string, rest []byte) {
	frames, rest := linktest.ParseFrames(s.Wire())
	for _, f := range frames {
		switch f.Opcode {
		case wsframe.Close:
			all = append(all, fmt.Sprintf("close %d", binary.BigEndian.Uint16(f.Payload)))
		case wsframe.Pong:
			all = append(all, "pong "+string(f.Payload))
		default:
			messages, err := f.Records()
			require.NoError(t, err)
			all = append(all, messages...)
		}
	}
	return all, rest
}

func pong(payload string) []byte { return wsframe.Control(wsframe.Pong, []byte(payload)) }

// HasUnscheduled reports whether replies lie in the box that nobody is going to write.
func (b *Box) HasUnscheduled() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state == idle && len(b.queue.packets) > 0
}
