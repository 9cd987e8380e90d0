package outbox

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/internal/link"
	"github.com/troupe-go/troupe/internal/linktest"
)

// request is a request that fetches, on a goroutine of its own.
type request struct {
	cancel context.CancelCauseFunc
	done   <-chan struct{}
	out    link.Output
	err    error
}

// fetching starts a request of a transport.
func fetching(b *testBox, f *linktest.Fetcher) *request {
	r := &request{}
	var ctx context.Context
	ctx, r.cancel = context.WithCancelCause(f.Context())
	r.done = background(func() { r.out, r.err = b.Take(ctx) })
	return r
}

// poll takes what there is, without waiting.
func poll(b *testBox) (link.Output, error) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return b.Take(ctx)
}

// messages returns the messages of an output, without their separators.
func messages(t require.TestingT, out link.Output) []string {
	all := string(slices.Concat(out.Messages()...))
	require.True(t, strings.HasSuffix(all, "\x1e"), "half a message: %.200q", all)
	return strings.Split(strings.TrimSuffix(all, "\x1e"), "\x1e")
}

// deliver takes what there is, and delivers it.
func deliver(t require.TestingT, b *testBox) []string {
	out, err := poll(b)
	require.NoError(t, err)
	defer out.Done(true)
	return messages(t, out)
}

// both runs a test for a transport that polls, and for an event stream.
func both(t *testing.T, f func(t *testing.T, e *env, b *testBox, fetcher *linktest.Fetcher, polls bool)) {
	for name, polls := range map[string]bool{"polls": true, "stream": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, e *env) {
				b, fetcher := e.boxFetched(1<<20, polls)
				f(t, e, b, fetcher, polls)
			})
		})
	}
}

func TestOutputIsFetchedInOrder(t *testing.T) {
	both(t, func(t *testing.T, e *env, b *testBox, f *linktest.Fetcher, _ bool) {
		b.Push(note(0, 0, 0), true, false)
		b.Reply(text(0, 1, 0), false)
		b.Reply(text(0, 2, 0), true)
		b.Push(note(0, 3, 0), false, false)
		assert.Equal(t, upTo(4), numbers(t, deliver(t, b))[0])
		requireNothingPending(t, b)
		r := fetching(b, f)
		settle()
		require.False(t, isClosed(r.done), "nothing is there")
		b.Push(note(0, 4, 0), true, false)
		<-r.done
		assert.Equal(t, []string{"0/4/"}, messages(t, r.out))
		b.Push(note(0, 5, 0), true, false) // while it is delivered
		r.out.Done(true)
		assert.Equal(t, []string{"0/5/"}, deliver(t, b))
		requireNothingPending(t, b)
	})
}

// A poll takes everything, and an event stream what a writer would take in one turn.
func TestHowMuchIsFetched(t *testing.T) {
	both(t, func(t *testing.T, e *env, b *testBox, _ *linktest.Fetcher, polls bool) {
		for i := range 2*maxMerged + 1 {
			b.Push(note(0, i, 0), true, false)
		}
		for i := range 3 {
			b.Push(note(1, i, 40<<10), true, false)
		}
		var turns [][]string
		for bytes, _ := b.Pending(); bytes > 0; bytes, _ = b.Pending() {
			turns = append(turns, deliver(t, b))
		}
		if polls {
			require.Len(t, turns, 1)
		} else {
			require.Len(t, turns, 5)
			assert.Len(t, turns[0], maxMerged)
			assert.Len(t, turns[2], 2)
		}
		all := numbers(t, slices.Concat(turns...))
		assert.Equal(t, upTo(2*maxMerged+1), all[0])
		assert.Equal(t, upTo(3), all[1])
	})
}

// Replies lie in the box until a worker schedules them, or writes them as it would for a socket.
func TestRepliesAreFetched(t *testing.T) {
	both(t, func(t *testing.T, _ *env, b *testBox, f *linktest.Fetcher, _ bool) {
		for i, schedule := range []func(){b.Schedule, func() { flush(b) }} {
			r := fetching(b, f)
			settle()
			b.Reply(text(0, 2*i, 0), false)
			b.Reply(text(0, 2*i+1, 0), false)
			settle()
			require.False(t, isClosed(r.done))
			require.True(t, b.HasUnscheduled())
			schedule()
			<-r.done
			assert.Equal(t, []int{2 * i, 2*i + 1}, numbers(t, messages(t, r.out))[0])
			r.out.Done(true)
		}
		requireNothingPending(t, b)
	})
}

func TestARequestThatEnds(t *testing.T) {
	both(t, func(t *testing.T, _ *env, b *testBox, f *linktest.Fetcher, _ bool) {
		cause := errors.New("the client has gone")
		r := fetching(b, f)
		settle()
		r.cancel(cause)
		<-r.done
		assert.Equal(t, cause, r.err)
		assert.Nil(t, r.out)
		_, err := poll(b)
		assert.Equal(t, context.Canceled, err)
		r = fetching(b, f)
		settle()
		b.Cut()
		<-r.done
		assert.True(t, f.IsCut())
		assert.Error(t, r.err)
		b.Push(note(0, 0, 0), false, false)
		assert.Equal(t, []string{"0/0/"}, deliver(t, b), "it is there for the next one")
	})
}

// A poll whose time is over at the moment at which something comes leaves it to the next one.
func TestNothingIsLostBetweenRequests(t *testing.T) {
	both(t, func(t *testing.T, _ *env, b *testBox, f *linktest.Fetcher, _ bool) {
		var got []string
		take := func(r *request) {
			<-r.done
			if r.err == nil {
				got = append(got, messages(t, r.out)...)
				r.out.Done(true)
			}
		}
		for i := range 1000 {
			r := fetching(b, f)
			var all sync.WaitGroup
			all.Go(func() { r.cancel(nil) })
			all.Go(func() { b.Push(note(0, i, 0), i%2 == 0, false) })
			all.Wait()
			take(r)
		}
		for bytes, _ := b.Pending(); bytes > 0; bytes, _ = b.Pending() {
			take(fetching(b, f))
		}
		assert.Equal(t, upTo(1000), numbers(t, got)[0])
	})
}

func TestWhatIsNotDeliveredIsPendingAgain(t *testing.T) {
	both(t, func(t *testing.T, _ *env, b *testBox, _ *linktest.Fetcher, polls bool) {
		b.Push(note(0, 0, 0), true, false)
		b.Reply(text(0, 1, 0), true)
		bytes, limited := b.Pending()
		for range 3 {
			out, err := poll(b)
			require.NoError(t, err)
			assert.Equal(t, []string{"0/0/", "0/1/"}, messages(t, out))
			out.Advance(3)
			out.Done(false)
			againBytes, againLimited := b.Pending()
			assert.Equal(t, bytes, againBytes)
			assert.Equal(t, limited, againLimited)
		}
		out, err := poll(b)
		require.NoError(t, err)
		b.Push(note(0, 2, 0), true, false) // meanwhile
		b.Reply(text(0, 3, 0), true)
		out.Done(false)
		b.Reply(text(0, 4, 0), true) // is appended to an own packet that is pending again
		assert.Equal(t, upTo(5), numbers(t, deliver(t, b))[0])
		b.Reply(text(0, 5, 0), true)
		out, err = poll(b)
		require.NoError(t, err)
		out.Done(false)
		b.Reply(text(0, 6, 0), true)
		assert.Equal(t, []string{"0/5/", "0/6/"}, deliver(t, b))
		requireNothingPending(t, b)
		assert.Equal(t, polls, b.Kind() == Polls)
	})
}

// An owner hears once that the last output has been delivered. Requests hear it as often as they ask.
func TestTheEndOfWhatIsFetched(t *testing.T) {
	both(t, func(t *testing.T, _ *env, b *testBox, f *linktest.Fetcher, _ bool) {
		b.Push(note(0, 0, 0), true, false)
		b.Seal(answer(0, 1, 0)) // with nobody there
		settle()
		assert.Equal(t, Dropped, b.Push(note(0, 2, 0), true, false))
		out, err := poll(b)
		require.NoError(t, err)
		assert.Equal(t, []string{"0/0/", "0/1/"}, messages(t, out))
		out.Done(false)
		assert.False(t, b.IsOver())
		assert.Equal(t, []string{"0/0/", "0/1/"}, deliver(t, b))
		assert.False(t, b.IsOver(), "nobody has seen yet that it was the last")
		for range 3 {
			_, err = poll(b)
			assert.Equal(t, io.EOF, err)
			assert.True(t, b.IsOver())
			_, _, over := b.told.counts()
			assert.Equal(t, 1, over)
			b.Seal(nil)
		}
		r := fetching(b, f)
		<-r.done
		assert.Equal(t, io.EOF, r.err)
		requireNothingPending(t, b)
	})
}

func TestSealWhileARequestWaits(t *testing.T) {
	both(t, func(t *testing.T, _ *env, b *testBox, f *linktest.Fetcher, _ bool) {
		r := fetching(b, f)
		settle()
		b.Seal(answer(0, 0, 0))
		<-r.done
		assert.Equal(t, []string{"0/0/"}, messages(t, r.out))
		r.out.Done(true)
		_, err := poll(b)
		assert.Equal(t, io.EOF, err)
	})
	both(t, func(t *testing.T, _ *env, b *testBox, f *linktest.Fetcher, _ bool) {
		r := fetching(b, f)
		settle()
		b.Seal(nil)
		<-r.done
		assert.Equal(t, io.EOF, r.err)
		_, _, over := b.told.counts()
		assert.Equal(t, 1, over)
	})
}

// What is being delivered when the box is abandoned is not pending again.
func TestAbandonDuringADelivery(t *testing.T) {
	for _, delivered := range []bool{true, false} {
		both(t, func(t *testing.T, _ *env, b *testBox, _ *linktest.Fetcher, _ bool) {
			b.Push(note(0, 0, 0), true, false)
			out, err := poll(b)
			require.NoError(t, err)
			b.Push(note(0, 1, 0), true, false)
			b.Abandon()
			out.Done(delivered)
			requireNothingPending(t, b)
			_, err = poll(b)
			assert.Equal(t, io.EOF, err)
			_, _, over := b.told.counts()
			assert.Zero(t, over, "who abandons knows it")
		})
	}
}

// What is withheld is not fetched, nor is what follows it.
func TestAMessageThatIsWithheldIsNotFetched(t *testing.T) {
	both(t, func(t *testing.T, _ *env, b *testBox, f *linktest.Fetcher, _ bool) {
		b.Withhold(answer(0, 0, 0))
		r := fetching(b, f)
		b.Push(note(0, 1, 0), true, false)
		b.Reply(text(0, 2, 0), true)
		settle()
		require.False(t, isClosed(r.done))
		b.Release()
		<-r.done
		assert.Equal(t, upTo(3), numbers(t, messages(t, r.out))[0])
		r.out.Done(true)
	})
}

func TestVisited(t *testing.T) {
	both(t, func(t *testing.T, e *env, b *testBox, f *linktest.Fetcher, _ bool) {
		assert.False(t, b.Visited())
		_, _ = poll(b)
		assert.True(t, b.Visited(), "there was a request")
		assert.False(t, b.Visited())
		r := fetching(b, f)
		settle()
		for range 3 {
			assert.True(t, b.Visited(), "one waits")
		}
		b.Push(note(0, 0, 0), true, false)
		<-r.done
		for range 3 {
			assert.True(t, b.Visited(), "it delivers")
		}
		r.out.Done(true)
		assert.False(t, b.Visited())
		over, _ := e.boxOver(1 << 10)
		assert.False(t, over.Visited())
		assert.False(t, e.box(1<<10).Visited())
	})
}

// The client has to take something while output is being delivered to it. While it is away, no link is stalled.
func TestProgressOfAFetcher(t *testing.T) {
	both(t, func(t *testing.T, _ *env, b *testBox, f *linktest.Fetcher, polls bool) {
		assert.Equal(t, Progress{}, b.Progress())
		b.Push(note(0, 0, 0), true, false)
		assert.Equal(t, Progress{}, b.Progress(), "nobody is there")
		out, err := poll(b)
		require.NoError(t, err)
		assert.Equal(t, Progress{Stalled: true}, b.Progress())
		b.Push(note(0, 1, 2<<20), true, true)
		assert.Equal(t, Progress{Stalled: true, Full: true}, b.Progress())
		bytes, _ := b.Pending()
		out.Advance(2)
		out.Advance(3)
		assert.Equal(t, Progress{Stalled: true, Full: true, Taken: 5}, b.Progress())
		again, _ := b.Pending()
		assert.Equal(t, bytes, again, "no room is made before all has been delivered")
		out.Done(true)
		assert.Equal(t, Progress{Taken: 5}, b.Progress())
		assert.Equal(t, polls, b.isPeerTurn(), "until the next poll the client is away; a stream goes on at once")
		deliver(t, b)
		r := fetching(b, f)
		settle()
		assert.Equal(t, Progress{Taken: 5}, b.Progress())
		assert.False(t, b.isPeerTurn())
		r.cancel(nil)
		<-r.done
		assert.True(t, b.isPeerTurn(), "the client is away")
		b.Seal(nil)
		assert.Equal(t, Progress{Sealed: true, Taken: 5}, b.Progress())
	})
}

// What is pending again behind a poll that has failed counts as before: a client that breaks off each poll at its end gets no second,
// third and fourth box.
func TestPollsThatBreakOffMakeNoRoom(t *testing.T) {
	inBubble(t, func(t *testing.T, e *env) {
		const limit = 64 << 10
		b, _ := e.boxFetched(limit, true)
		sent, most := 0, 0
		push := func() (full bool) { // in a loop, until the sender has to wait, or is in vain
			for {
				result := b.Push(note(0, sent, 1000), true, true)
				if sent++; result != Queued {
					return result != AboveMark
				}
			}
		}
		ended := push()
		for i := 0; i < 50 && !ended; i++ {
			out, err := poll(b)
			require.NoError(t, err)
			for _, message := range out.Messages() {
				out.Advance(len(message))
			}
			ended = push()
			out.Done(false)
			bytes, _ := b.Pending()
			most = max(most, bytes)
		}
		require.LessOrEqual(t, most, 2*limit, "after %d messages", sent)
	})
}

// The memory of replies is not used again before they have been delivered.
func TestMessagesStayDuringADelivery(t *testing.T) {
	both(t, func(t *testing.T, e *env, b *testBox, _ *linktest.Fetcher, _ bool) {
		other, _ := e.boxOver(1 << 10)
		b.Reply(text(0, 0, 10), true)
		out, err := poll(b)
		require.NoError(t, err)
		for i := range maxMerged {
			b.Reply(text(0, 1+i, 10), true)
			other.Reply(text(1, i, 10), true)
			settle()
		}
		assert.Equal(t, strings.TrimSuffix(string(text(0, 0, 10)), "\x1e"), messages(t, out)[0])
		out.Done(true)
		assert.Len(t, deliver(t, b), maxMerged)
	})
}
