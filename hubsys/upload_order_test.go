package hubsys_test

import (
	"context"
	"iter"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// A method that takes a channel runs until it first waits before the client's next call begins, as any other one does.
func TestOrderOfCallsBehindAChannel(t *testing.T) {
	s, url := newStreamServer(t, hubsys.HubOptions{})
	s.readChannel = func(_ context.Context, items <-chan int) (any, error) {
		for began := time.Now(); time.Since(began) < 2*time.Millisecond; { // it has something to do, and does not wait
		}
		s.note("upload")
		return len(collectChannel(items)), nil
	}
	s.readSequence = func(context.Context, iter.Seq2[int, error]) (any, error) {
		s.note("next")
		return nil, nil
	}
	c := dial(t, url)
	for range 20 {
		c.send(uploadInvocation("1", "TakeChannel", []string{"s"}), uploadInvocation("2", "Take", []string{"t"}))
		c.requireMessages(resultCompletion("2", nil))
		c.send(streamItem("s", 1), completion("s"))
		c.requireMessages(resultCompletion("1", 1))
		s.mu.Lock()
		notes := s.notes
		s.notes = nil
		s.mu.Unlock()
		require.Equal(t, []string{"upload", "next"}, notes)
	}
}
