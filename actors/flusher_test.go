package actors

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/wsframe"
	"github.com/troupe-go/troupe/proto/hubproto"
)

// order notes in which order sockets are written.
type order struct {
	mu    sync.Mutex
	names []string
}

func (o *order) note(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.names = append(o.names, name)
}

// bare is an outbox without a connection.
func (o *order) bare(name string, f *flusher) *outbox {
	s := &socket{room: -1, gone: make(chan struct{}), before: func() { o.note(name) }}
	return &outbox{owner: nobody{}, socket: s, flusher: f, limit: 1 << 20, opcode: wsframe.Text}
}

// nobody owns the outboxes of tests.
type nobody struct{}

func (nobody) boxOverflowed()      {}
func (nobody) boxBroken(error)     {}
func (nobody) boxOver()            {}
func (nobody) lateLook(bool, bool) {}

func testFlusher() *flusher {
	return newFlusher(func() time.Duration { return time.Second }, slog.New(slog.DiscardHandler), &counter{})
}

// runFor runs a flusher until it rests.
func runFor(f *flusher) {
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { f.run(done) })
	synctest.Wait()
	close(done)
	running.Wait()
}

func TestDirectGoesBeforeFanOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, o := testFlusher(), &order{}
		o.bare("fan-out", f).push(note(0, 0, 0), true, false)
		o.bare("direct", f).push(note(0, 0, 0), false, false)
		runFor(f)
		assert.Equal(t, []string{"direct", "fan-out"}, o.names)
	})
}

// What is sent to one client during a large fan-out waits for a stride of it at most.
func TestDirectDuringAFanOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, o := testFlusher(), &order{}
		first := o.bare("first", f)
		single := o.bare("single", f)
		first.socket.(*socket).before = func() { single.push(note(0, 0, 0), false, false) }
		first.push(note(0, 0, 0), true, false)
		for i := range 10 * stride {
			o.bare(fmt.Sprint(i), f).push(note(0, 0, 0), true, false)
		}
		runFor(f)
		assert.Len(t, o.names, 10*stride+1)
		assert.LessOrEqual(t, slices.Index(o.names, "single"), stride)
	})
}

// An entry of a connection that a worker has written for already is skipped.
func TestStaleEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, o := testFlusher(), &order{}
		c := o.bare("a", f)
		for i := range 3 {
			c.push(note(0, i, 0), false, false)
			w := borrowWriter()
			w.flush(c)
			returnWriter(w)
		}
		c.push(note(0, 3, 0), true, false)
		runFor(f)
		assert.Equal(t, []string{"a", "a", "a", "a"}, o.names)
		assert.Equal(t, boxIdle, c.state)
	})
}

// Many push at once, and the flushers come to rest in between: nothing is left lying.
func TestNoWakeUpIsLost(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		const rounds, senders = 50, 4
		var clients []*client
		for i := range 3 {
			clients = append(clients, w.open(fmt.Sprint(i), ""))
		}
		for n := range rounds {
			var all sync.WaitGroup
			for sender := range senders {
				all.Go(func() {
					for i, c := range clients {
						assert.Equal(t, pushQueued, c.conn.out.push(note(sender, n, 0), (i+sender+n)%2 == 0, false))
					}
				})
			}
			all.Wait()
			w.settle()
			for _, c := range clients {
				require.Len(t, c.got(), (n+1)*senders)
			}
		}
	})
}

// The same beside a clock that runs, where flushers rest behind a pass.
func TestNoWakeUpIsLostWhileFlushersRest(t *testing.T) {
	w := newWorld(t, nil, never, hubproto.JSON)
	slow := func(s *socket) { s.before = func() { <-time.After(500 * time.Microsecond) } }
	c := w.open("a", "", slow)
	require.Eventually(t, func() bool { return len(w.handler.noted()) == 1 }, 10*second, time.Millisecond)
	var all sync.WaitGroup
	for sender := range 4 {
		all.Go(func() {
			for i := range 50 {
				c.conn.out.push(note(sender, i, 0), i%2 == 0, false)
				if i%10 == 0 {
					<-time.After(time.Millisecond)
				}
			}
		})
	}
	all.Wait()
	require.Eventually(t, func() bool {
		_, rest := parseFrames(c.socket.wire())
		return len(rest) == 0 && len(c.everything()) == 201
	}, 10*second, time.Millisecond)
	for _, numbers := range noted(t, c.got()) {
		assert.True(t, slices.IsSorted(numbers))
	}
}

// A completion does not wait for a call that runs behind it.
func TestLateList(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		gate, open := w.gate()
		w.handler.methods["gate"] = gate
		c := w.open("a", "")
		c.say(call("1", "echo"), call("2", "echo"), call("3", "gate"), call("4", "echo"))
		w.settle()
		require.Empty(t, c.got(), "the worker has calls to run first")
		w.pass(lateTime)
		assert.Equal(t, []string{result("1", "[]"), result("2", "[]")}, c.got())
		open()
		w.settle()
		assert.Equal(t, []string{result("3", `"passed"`), result("4", "[]")}, c.got()[2:])
		w.pass(lateTime)
		assert.Zero(t, c.conn.out.listed.Load(), "nor is it left on the list")
	})
}

func TestAnOutboxIsOnEachListOnce(t *testing.T) {
	f, o := testFlusher(), &order{}
	c := o.bare("a", f)
	for range 3 {
		f.addLate(c)
	}
	assert.Len(t, f.late, 1)
	for range 1000 {
		c.push(note(0, 0, 0), false, false)
		c.push(note(0, 0, 0), true, false)
		w := borrowWriter()
		w.flush(c)
		returnWriter(w)
	}
	assert.Len(t, f.direct, 1)
	assert.Empty(t, f.fanout)
}

// Whoever pushes as fast as a socket takes keeps nobody else waiting for longer than a turn.
func TestATurnIsBounded(t *testing.T) {
	for _, fanout := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f, o := testFlusher(), &order{}
			a, b := o.bare("a", f), o.bare("b", f)
			left := 1000
			a.socket.(*socket).before = func() {
				o.note("a")
				if left--; left > 0 {
					a.push(note(0, 0, 0), fanout, false)
				}
			}
			a.push(note(0, 0, 0), fanout, false)
			b.push(note(0, 0, 0), fanout, false)
			runFor(f)
			assert.Equal(t, 1, slices.Index(o.names, "b"))
			assert.Len(t, o.names, 1001)
		})
	}
}

// Whoever is about to wait for room first sees to it that completions do not wait, too.
func TestASendThatWaitsSchedulesItsOwnCompletions(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		slow := w.open("slow", "", full)
		w.handler.methods["send"] = func(k *Call, _ string) (any, error) {
			return nil, w.hub.Send(k, &Audience{Kind: Connections, Names: []string{"slow"}}, "x", []any{strings.Repeat("x", w.settings.OutboxLimit*2/3)})
		}
		c := w.open("a", "")
		c.say(call("1", "echo"), call("2", "send"))
		w.settle()
		assert.Equal(t, []string{result("1", "[]")}, c.got())
		slow.socket.drain(-1)
		w.settle()
		assert.Len(t, c.got(), 2)
	})
}

func TestFlushersStop(t *testing.T) {
	synctest.Test(t, func(*testing.T) {
		f, o := testFlusher(), &order{}
		done := make(chan struct{})
		go f.run(done)
		go f.runLate(done)
		c := o.bare("a", f)
		c.push(note(0, 0, 0), true, false)
		c.reply([]byte("x"), false)
		f.addLate(c)
		close(done)
	}) // which waits for both
}

// An event that is encoded once is written to each from the same memory.
func TestAFanOutToMany(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var clients []*client
		for i := range 3 * smallGroup {
			clients = append(clients, w.open(fmt.Sprint(i), ""))
		}
		for i := range 100 {
			require.NoError(t, w.hub.Send(context.Background(), &Audience{}, "note", []any{0, i, ""}))
		}
		w.settle()
		for _, c := range clients {
			numbers := noted(t, c.got())[0]
			assert.Len(t, numbers, 100)
			assert.True(t, slices.IsSorted(numbers))
		}
	})
}
