package hubactor_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/hubactor"
)

// resultFilter tells with what error calls end.
func resultFilter(errs chan<- error) hubsys.Filter {
	return func(next hubsys.Handler) hubsys.Handler {
		h := next
		h.Invoke = func(ctx context.Context, in *hubsys.Invocation) (any, error) {
			result, err := next.Invoke(ctx, in)
			errs <- err
			return result, err
		}
		return h
	}
}

// waiting is a hub whose actors do not answer. It passes on what they get.
type waiting struct {
	hubactor.Hub
	calls    chan *hubactor.Call[none]
	canceled chan *hubactor.Canceled
}

func newWaiting(scope hubactor.Scope) *waiting {
	w := &waiting{calls: make(chan *hubactor.Call[none], 100), canceled: make(chan *hubactor.Canceled, 100)}
	w.Hub = plain(func(c actor.Context) {
		switch m := c.Message().(type) {
		case *hubactor.Call[none]:
			w.calls <- m
		case *hubactor.Canceled:
			w.canceled <- m
		}
	})
	w.Scope = scope
	return w
}

// requireCanceled requires that an actor that outlives its calls is told that a call is over.
func (w *waiting) requireCanceled(t *testing.T, call *hubactor.Call[none]) (cause error) {
	t.Helper()
	receive(t, call.Context().Done())
	if w.Scope == hubactor.PerCall {
		return nil
	}
	m := receive(t, w.canceled)
	assert.Same(t, call.Call, m.Call)
	return m.Cause
}

func TestACallThatIsNotAnsweredInTimeFails(t *testing.T) {
	for _, scope := range allScopes {
		w := newWaiting(scope)
		w.Timeout = 30 * time.Millisecond
		c := dial(t, serveHub(t, w.Hub, hubsys.HubOptions{}))
		id := c.call("do")
		call := receive(t, w.calls)
		assert.Equal(t, unexpected("do")+" HubException: The call was not answered within 30ms.", c.failureOf(id))
		if cause := w.requireCanceled(t, call); scope != hubactor.PerCall {
			assert.EqualError(t, cause, "The call was not answered within 30ms.")
		}
		call.Return("too late", nil)
	}
}

func TestACallWithoutATimeoutWaits(t *testing.T) {
	w := newWaiting(hubactor.Shared)
	w.Timeout = hubsys.Unlimited
	c := dial(t, serveHub(t, w.Hub, hubsys.HubOptions{}))
	id := c.call("do")
	call := receive(t, w.calls)
	call.Return(1, nil)
	assert.Equal(t, "1", c.resultOf(id))
	assert.Empty(t, w.canceled)
}

func TestAClientCanCancelACallThatWaits(t *testing.T) {
	for _, scope := range allScopes {
		for _, stream := range []bool{false, true} {
			w := newWaiting(scope)
			c := dial(t, serveHub(t, w.Hub, hubsys.HubOptions{}))
			if stream {
				c.send(streamInvocation("x", "do"))
			} else {
				c.send(invocation("x", "do"))
			}
			call := receive(t, w.calls)
			c.send(cancelInvocation("x"))
			m := c.completion("x")
			if stream {
				assert.Nil(t, m.Error)
			} else {
				assert.Equal(t, unexpected("do"), *m.Error)
			}
			assert.ErrorIs(t, context.Cause(call.Context()), hubsys.ErrCanceled)
			if cause := w.requireCanceled(t, call); scope != hubactor.PerCall {
				assert.ErrorIs(t, cause, hubsys.ErrCanceled)
			}
		}
	}
}

func TestAnActorIsToldThatTheClientOfACallHasGone(t *testing.T) {
	for _, scope := range allScopes {
		t.Run(fmt.Sprint("scope ", scope), func(t *testing.T) {
			t.Parallel()
			w := newWaiting(scope)
			w.Timeout = hubsys.Unlimited
			c := dial(t, serveHub(t, w.Hub, hubsys.HubOptions{DisconnectGrace: time.Millisecond}))
			c.call("do")
			call := receive(t, w.calls)
			c.close()
			receive(t, call.Aborted())
			if cause := w.requireCanceled(t, call); scope != hubactor.PerCall {
				assert.ErrorIs(t, cause, hubsys.ErrDisconnected)
			}
		})
	}
}

func TestShutdownEndsCallsThatWait(t *testing.T) {
	for _, scope := range allScopes {
		t.Run(fmt.Sprint("scope ", scope), func(t *testing.T) {
			t.Parallel()
			sys, err := hubsys.New(hubsys.Config{Logger: slog.New(slog.DiscardHandler)})
			require.NoError(t, err)
			w := newWaiting(scope)
			w.Timeout = hubsys.Unlimited
			c := dial(t, serveIn(t, sys, w.Hub, hubsys.HubOptions{}))
			id := c.call("do")
			call := receive(t, w.calls)
			ended := make(chan error, 1)
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
				defer cancel()
				ended <- sys.Shutdown(ctx)
			}()
			require.Equal(t, unexpected("do"), c.failureOf(id))
			c.close()
			assert.ErrorIs(t, context.Cause(call.Context()), hubsys.ErrShutdown)
			_ = receive(t, ended) // an error if the machine is so busy that the last tenth of the time was too short
			eventually(t, func() bool { return len(names(sys.ActorSystem(), "hubactor")) == 0 }, "nothing waits for answers")
		})
	}
}

func TestPendingLimitsTheCallsThatWaitForOneActor(t *testing.T) {
	const tooMany = " HubException: Too many calls are waiting."
	w := newWaiting(hubactor.Shared)
	w.Pending = 2
	url := serveHub(t, w.Hub, hubsys.HubOptions{})
	first, second, third := dial(t, url), dial(t, url), dial(t, url)
	ids := []string{first.call("do"), second.call("do")}
	kept := []*hubactor.Call[none]{receive(t, w.calls), receive(t, w.calls)}
	assert.Equal(t, unexpected("do")+tooMany, third.failure("do"))
	assert.Empty(t, w.calls)
	for _, call := range kept {
		call.Return(nil, nil)
	}
	first.resultOf(ids[0])
	second.resultOf(ids[1])
	id := third.call("do")
	receive(t, w.calls).Return("there is room again", nil)
	assert.Equal(t, `"there is room again"`, third.resultOf(id))

	w = newWaiting(hubactor.PerConnection)
	w.Pending = 1
	url = serveHub(t, w.Hub, hubsys.HubOptions{MaximumParallelInvocationsPerClient: 3})
	first, second = dial(t, url), dial(t, url)
	first.call("do")
	receive(t, w.calls)
	assert.Equal(t, unexpected("do")+tooMany, first.failure("do"))
	id = second.call("do")
	receive(t, w.calls).Return(nil, nil)
	second.resultOf(id)
}

func TestCallsThatAreOverDoNotCountAsPending(t *testing.T) {
	w := newWaiting(hubactor.Shared)
	w.Pending, w.Timeout = 1, 10*time.Millisecond
	c := dial(t, serveHub(t, w.Hub, hubsys.HubOptions{}))
	for range 3 {
		assert.Contains(t, c.failure("do"), "was not answered within 10ms.")
	}
}

func TestNothingStaysRegisteredForCalls(t *testing.T) {
	sys := newSystem(t, hubsys.Config{})
	hub := counting(hubactor.PerCall)
	url := serveIn(t, sys, hub, hubsys.HubOptions{})
	c := dial(t, url)
	before := processes(sys.ActorSystem())
	for range 20 {
		c.result("next")
		c.failure("fail", 1)
	}
	eventually(t, func() bool { return processes(sys.ActorSystem()) == before }, "actors of calls and answers are gone")
}

// Calls that were canceled before their actor got them take room in its mailbox, but the actor does not get them.
func TestCanceledCallsDoNotFillTheMailbox(t *testing.T) {
	const tooMany = " HubException: Too many calls are waiting."
	j, entered, release := &journal{}, make(chan struct{}), make(chan struct{})
	hub := plain(func(c actor.Context) {
		switch m := c.Message().(type) {
		case *hubactor.Call[oneInt]:
			close(entered)
			<-release
			c.Respond(m.Args.N)
		case *hubactor.Call[none]:
			j.write("call")
			c.Respond("done")
		case *hubactor.Canceled:
			j.write("canceled")
		}
	})
	hub.Scope, hub.Pending, hub.Timeout, hub.Methods = hubactor.Shared, 4, hubsys.Unlimited, append(hub.Methods, hubactor.Receive[oneInt]("block"))
	url := serveHub(t, hub, hubsys.HubOptions{})
	blocking, c := dial(t, url), dial(t, url)
	id := blocking.call("block", 1)
	receive(t, entered)
	for n := range 3 {
		c.send(invocation(fmt.Sprint("x", n), "do"), cancelInvocation(fmt.Sprint("x", n)))
		assert.Equal(t, unexpected("do"), c.failureOf(fmt.Sprint("x", n)))
	}
	for range 3 {
		assert.Equal(t, unexpected("do")+tooMany, c.failure("do"))
	}
	close(release)
	assert.Equal(t, "1", blocking.resultOf(id))
	eventually(t, func() bool { return c.invoke("do").Error == nil }, "there is room again")
	assert.Equal(t, []string{"call"}, j.read())
}
