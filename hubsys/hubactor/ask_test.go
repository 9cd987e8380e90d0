package hubactor_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys/hubactor"
)

type (
	question struct{ n int }
	answer   struct{ n int }
	ignored  struct{}
)

// respondent answers questions, and does with other messages what they say.
func respondent(c actor.Context) {
	switch m := c.Message().(type) {
	case question:
		c.Respond(answer{m.n + 1})
	case error:
		c.Respond(m)
	case func(actor.Context):
		m(c)
	}
}

// spawn spawns an actor that is stopped at the end of the test.
func spawn(t testing.TB, system *actor.ActorSystem, receive actor.ReceiveFunc, options ...actor.PropsOption) hubactor.Ref {
	pid := system.Root.Spawn(actor.PropsFromFunc(receive, options...))
	t.Cleanup(func() { _ = system.Root.StopFuture(pid).Wait() })
	return hubactor.RefTo(system, pid)
}

// ask asks with a deadline that no test that passes reaches.
func ask[T any](t testing.TB, to hubactor.Ref, message any) (T, error) {
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	return hubactor.Ask[T](ctx, to, message)
}

func TestAskReturnsTheResponse(t *testing.T) {
	to := spawn(t, newActorSystem(t), respondent)
	got, err := ask[answer](t, to, question{1})
	require.NoError(t, err)
	assert.Equal(t, answer{2}, got)

	asInterface, err := ask[any](t, to, question{2})
	require.NoError(t, err)
	assert.Equal(t, answer{3}, asInterface)
}

func TestAskFailsIfTheResponseIsOfAnotherType(t *testing.T) {
	to := spawn(t, newActorSystem(t), respondent)
	got, err := ask[string](t, to, question{1})
	require.EqualError(t, err, "hubactor: the response to a hubactor_test.question is a hubactor_test.answer, not a string")
	assert.Empty(t, got)
}

func TestAskFailsWithTheResponseIfItIsAnError(t *testing.T) {
	to := spawn(t, newActorSystem(t), respondent)
	_, err := ask[answer](t, to, errTest)
	require.ErrorIs(t, err, errTest)
}

func TestAskFailsIfTheResponseIsNil(t *testing.T) {
	to := spawn(t, newActorSystem(t), respondent)
	_, err := ask[answer](t, to, func(c actor.Context) { c.Respond(nil) })
	require.ErrorContains(t, err, "is a <nil>, not a hubactor_test.answer")
}

func TestAskTakesTheFirstResponse(t *testing.T) {
	to := spawn(t, newActorSystem(t), respondent)
	got, err := ask[answer](t, to, func(c actor.Context) {
		c.Respond(answer{1})
		c.Respond(answer{2})
		c.Stop(c.Self())
	})
	require.NoError(t, err)
	assert.Equal(t, answer{1}, got)
}

func TestAskEndsWithTheCauseOfItsContext(t *testing.T) {
	to := spawn(t, newActorSystem(t), respondent)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := hubactor.Ask[answer](ctx, to, ignored{})
	require.ErrorIs(t, err, context.DeadlineExceeded)

	ctx, stop := context.WithCancelCause(t.Context())
	time.AfterFunc(time.Millisecond, func() { stop(errTest) })
	_, err = hubactor.Ask[answer](ctx, to, ignored{})
	require.ErrorIs(t, err, errTest)
}

func TestAskFailsAtOnceIfThereIsNoActor(t *testing.T) {
	system := newActorSystem(t)
	stopped := spawn(t, system, respondent)
	require.NoError(t, system.Root.StopFuture(stopped.PID()).Wait())
	for what, to := range map[string]hubactor.Ref{
		"stopped": stopped,
		"missing": hubactor.RefTo(system, actor.NewPID("nonhost", "missing")),
	} {
		_, err := hubactor.Ask[answer](t.Context(), to, question{1})
		require.ErrorIs(t, err, hubactor.ErrNoActor, what)
	}
}

func TestAskFailsAtOnceIfTheActorStopsInsteadOfAnswering(t *testing.T) {
	system := newActorSystem(t)
	for what, end := range map[string]func(c actor.Context){
		"Stop":         func(c actor.Context) { c.Stop(c.Self()) },
		"Poison":       func(c actor.Context) { c.Poison(c.Self()) },
		"stopped late": func(c actor.Context) { time.AfterFunc(time.Millisecond, func() { system.Root.Stop(c.Self()) }) },
	} {
		_, err := hubactor.Ask[answer](t.Context(), spawn(t, system, respondent), end)
		require.ErrorIs(t, err, hubactor.ErrNoActor, what)
	}
}

func TestAskFailsAtOnceIfTheActorStopsBeforeItHandlesTheMessage(t *testing.T) {
	to := spawn(t, newActorSystem(t), respondent)
	to.Tell(func(c actor.Context) { c.Stop(c.Self()) })
	_, err := hubactor.Ask[answer](t.Context(), to, question{1})
	require.ErrorIs(t, err, hubactor.ErrNoActor)
}

func TestAskWaitsForItsContextIfTheActorPanicsAndIsRestarted(t *testing.T) {
	to := spawn(t, newActorSystem(t), respondent)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := hubactor.Ask[answer](ctx, to, func(actor.Context) { panic("the test panics") })
	require.ErrorIs(t, err, context.DeadlineExceeded)

	got, err := ask[answer](t, to, question{1})
	require.NoError(t, err, "the actor goes on")
	assert.Equal(t, answer{2}, got)
}

func TestAskFailsAtOnceIfTheActorPanicsAndIsStopped(t *testing.T) {
	system := newActorSystem(t)
	stop := actor.NewOneForOneStrategy(0, 0, func(any) actor.Directive { return actor.StopDirective })
	child := make(chan *actor.PID, 1)
	spawn(t, system, func(c actor.Context) {
		if _, ok := c.Message().(*actor.Started); ok {
			child <- c.Spawn(actor.PropsFromFunc(respondent))
		}
	}, actor.WithSupervisor(stop))
	_, err := hubactor.Ask[answer](t.Context(), hubactor.RefTo(system, receive(t, child)), func(actor.Context) { panic("the test panics") })
	require.ErrorIs(t, err, hubactor.ErrNoActor)
}

func TestAskLeavesNothingRegistered(t *testing.T) {
	system := newActorSystem(t)
	to := spawn(t, system, respondent)
	before := processes(system)
	_, err := ask[answer](t, to, question{1})
	require.NoError(t, err)
	_, err = ask[answer](t, to, errTest)
	require.Error(t, err)
	_, err = ask[answer](t, hubactor.RefTo(system, actor.NewPID("nonhost", "missing")), question{1})
	require.Error(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err = hubactor.Ask[answer](ctx, to, ignored{})
	require.Error(t, err)
	assert.Equal(t, before, processes(system))
	assert.Empty(t, names(system, "hubactor"))
}

func TestLateResponsesAreDropped(t *testing.T) {
	to := spawn(t, newActorSystem(t), respondent)
	ctx, cancel := context.WithCancel(t.Context())
	returned, responded := make(chan struct{}), make(chan struct{})
	_, err := hubactor.Ask[answer](ctx, to, func(c actor.Context) {
		cancel()
		<-returned
		c.Respond(answer{1})
		close(responded)
	})
	close(returned)
	require.ErrorIs(t, err, context.Canceled)
	receive(t, responded)
	got, err := ask[answer](t, to, question{1})
	require.NoError(t, err)
	assert.Equal(t, answer{2}, got)
}

func TestManyAskAtOnce(t *testing.T) {
	system := newActorSystem(t)
	to := spawn(t, system, respondent)
	results := make(chan error)
	const askers = 50
	for i := range askers {
		go func() {
			for n := range 20 {
				got, err := ask[answer](t, to, question{i*1000 + n})
				if err == nil && got.n != i*1000+n+1 {
					err = errors.New("the answer is somebody else's")
				}
				if err != nil {
					results <- err
					return
				}
			}
			results <- nil
		}()
	}
	for range askers {
		assert.NoError(t, receive(t, results))
	}
	assert.Empty(t, names(system, "hubactor"))
}

func TestTellDoesNotWait(t *testing.T) {
	system := newActorSystem(t)
	got, release := make(chan any, 10), make(chan struct{})
	to := spawn(t, system, func(c actor.Context) {
		if n, ok := c.Message().(int); ok {
			<-release
			got <- n
		}
	})
	for n := range 3 {
		to.Tell(n)
	}
	close(release)
	for n := range 3 {
		assert.Equal(t, n, receive(t, got))
	}
	hubactor.RefTo(system, actor.NewPID("nonhost", "missing")).Tell(1) // is a dead letter
}

func TestAskForAnythingFailsWithTheResponseIfItIsAnError(t *testing.T) {
	to := spawn(t, newActorSystem(t), respondent)
	got, err := ask[any](t, to, errTest)
	require.ErrorIs(t, err, errTest)
	assert.Nil(t, got)
	asError, err := ask[error](t, to, errTest)
	require.ErrorIs(t, err, errTest)
	assert.NoError(t, asError)
}
