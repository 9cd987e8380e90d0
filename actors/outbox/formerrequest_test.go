package outbox

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/linktest"
)

// What a request of the former link has taken is lost, however its delivery ends. Nothing else is.
func TestSwapDuringADelivery(t *testing.T) {
	for _, delivered := range []bool{true, false} {
		swaps(t, func(t *testing.T, e *env, attach func(*testBox) func() []string) {
			b, old := e.boxFetched(1<<10, true)
			b.Push(note(0, 0, 0), true, false)
			out, err := poll(b)
			require.NoError(t, err)
			b.Push(note(0, 1, 0), true, false)
			got := attach(b)
			old.Cut()
			settle()
			out.Advance(3)
			b.Push(note(0, 2, 0), true, false)
			settle()
			turn, state := b.isPeerTurn(), b.stateNow()
			out.Done(delivered)
			assert.Equal(t, turn, b.isPeerTurn())
			assert.Equal(t, state, b.stateNow())
			settle()
			b.Push(note(0, 3, 0), true, false)
			settle()
			assert.Equal(t, []string{"0/1/", "0/2/", "0/3/"}, got())
			requireNothingPending(t, b)
		})
	}
}

func (b *Box) stateNow() (state boxState) {
	b.locked(func() { state = b.state })
	return state
}

// Visits are those of the present link.
func TestVisitedBehindASwap(t *testing.T) {
	e := newEnv(t)
	b, _ := e.boxFetched(1<<10, true)
	b.Push(note(0, 0, 0), true, false)
	out, err := poll(b)
	require.NoError(t, err)
	assert.True(t, b.Visited())
	b.AttachFetcher(e.fetcher(true))
	assert.False(t, b.Visited())
	out.Done(false)
	assert.False(t, b.Visited())
	_, err = poll(b)
	assert.Equal(t, context.Canceled, err, "nothing is there")
	assert.True(t, b.Visited())
}

// A request that waits when its link is replaced takes nothing, although a push has woken it.
func TestAFormerRequestTakesNothing(t *testing.T) {
	for name, attach := range map[string]func(e *env, b *testBox, s *linktest.Socket) bool{
		"to a socket": func(_ *env, b *testBox, s *linktest.Socket) bool { return b.AttachSocket(s) },
		"to polls":    func(e *env, b *testBox, _ *linktest.Socket) bool { return b.AttachFetcher(e.fetcher(true)) },
		"to a stream": func(e *env, b *testBox, _ *linktest.Socket) bool { return b.AttachFetcher(e.fetcher(false)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEnv(t) // whose flusher does not run yet
				b, old := e.boxFetched(1<<10, true)
				r := fetching(b, old)
				settle()
				_, claimed := b.add(note(0, 0, 0), false) // a push, during which the link changes
				s := e.socket()
				require.True(t, attach(e, b, s))
				b.wake(claimed, true)
				settle()
				old.Cut()
				<-r.done
				assert.Nil(t, r.out)
				assert.Equal(t, ErrReplaced, r.err)
				b.Push(note(0, 1, 0), true, false)
				runUntilIdle(e.flusher)
				if b.Kind() == Socket {
					assert.Equal(t, []string{"0/0/", "0/1/"}, received(t, s))
				} else {
					assert.Equal(t, []string{"0/0/", "0/1/"}, deliver(t, b))
				}
				requireNothingPending(t, b)
			})
		})
	}
}

// Nor does it give the box back, which a drainer owns.
func TestAFormerRequestWakesDuringAWrite(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, old := e.boxFetched(1<<10, true)
		r := fetching(b, old)
		settle()
		_, claimed := b.add(note(0, 0, 0), false) // a push, during which the link changes
		s := e.socket(linktest.Full)
		require.True(t, b.AttachSocket(s))
		settle()
		require.Equal(t, blocked, b.stateNow())
		b.wake(claimed, true)
		settle()
		assert.Equal(t, blocked, b.stateNow())
		assert.True(t, b.isPeerTurn())
		b.Push(note(0, 1, 0), true, false)
		settle()
		require.Empty(t, s.Faults())
		old.Cut()
		<-r.done
		s.Drain(-1)
		settle()
		assert.Equal(t, []string{"0/0/", "0/1/"}, received(t, s))
	})
}

// A request that waits does not find out about a new link when the next message comes, but at once.
func TestAFormerRequestEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, old := e.boxFetched(1<<10, false)
		for range 3 {
			r := fetching(b, old)
			settle()
			next := e.fetcher(true)
			require.True(t, b.AttachFetcher(next))
			<-r.done
			assert.Equal(t, ErrReplaced, r.err)
			assert.False(t, b.Visited())
			old = next
		}
		r := fetching(b, old)
		settle()
		b.Push(note(0, 0, 0), true, false)
		<-r.done
		assert.Equal(t, []string{"0/0/"}, messages(t, r.out))
		r.out.Done(true)
		requireNothingPending(t, b)
	})
}

// The end of a request that waited when its link was replaced says nothing about the present link.
func TestAFormerRequestThatEnds(t *testing.T) {
	for _, polls := range []bool{true, false} {
		inBubble(t, func(t *testing.T, e *env) {
			b, old := e.boxFetched(1000, polls)
			r := fetching(b, old)
			settle()
			s := e.socket()
			require.True(t, b.AttachSocket(s))
			settle()
			old.Cut()
			<-r.done
			assert.Equal(t, ErrReplaced, r.err)
			assert.False(t, b.isPeerTurn(), "the socket is not full")
			b.Push(note(0, 0, 0), true, false)
			settle()
			assert.Equal(t, []string{"0/0/"}, received(t, s))
			assert.False(t, b.isPeerTurn())
		})
	}
}

// The link may change between the moments at which a request comes and looks.
func TestALinkThatChangesWhileARequestComes(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, _ := e.boxFetched(1<<10, true)
		former := b.fetched()
		s := e.socket(linktest.Full)
		require.True(t, b.AttachSocket(s))
		b.Push(note(0, 0, 0), true, false)
		settle()
		b.Push(note(0, 1, 0), true, false)
		_, err := b.fetch(context.Background(), former)
		assert.Equal(t, ErrReplaced, err)
		assert.True(t, b.isPeerTurn(), "the socket is full")
		s.Drain(-1)
		settle()
		assert.Equal(t, []string{"0/0/", "0/1/"}, received(t, s))
	})
}

// A request of a former link that comes when a socket has taken its place gets an error.
func TestALateRequestOfAFormerLink(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		b, old := e.boxFetched(1<<10, true)
		s := e.socket(linktest.Full)
		require.True(t, b.AttachSocket(s))
		old.Cut()
		b.Push(note(0, 0, 0), true, false)
		require.NotPanics(t, func() {
			_, err := b.Take(old.Context())
			assert.Equal(t, ErrReplaced, err)
		})
		s.Drain(-1)
		settle()
		assert.Equal(t, []string{"0/0/"}, received(t, s))
	})
}
