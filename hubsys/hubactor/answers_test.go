package hubactor_test

import (
	"errors"
	"iter"
	"runtime"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/hubactor"
)

var allScopes = []hubactor.Scope{hubactor.PerCall, hubactor.PerConnection, hubactor.Shared}

// answering is a hub of one method, do, whose calls are answered by a function.
func answering(scope hubactor.Scope, answer func(c actor.Context, m *hubactor.Call[none])) hubactor.Hub {
	hub := plain(func(c actor.Context) {
		if m, ok := c.Message().(*hubactor.Call[none]); ok {
			answer(c, m)
		}
	})
	hub.Scope = scope
	return hub
}

func TestCallsAreAnsweredByRespondAndByReturn(t *testing.T) {
	type point struct{ X, Y int }
	for name, test := range map[string]struct {
		answer any
		result string
		fails  string
	}{
		"value":       {answer: point{1, 2}, result: `{"x":1,"y":2}`},
		"pointer":     {answer: &point{1, 2}, result: `{"x":1,"y":2}`},
		"nil":         {answer: nil, result: "null"},
		"nil pointer": {answer: (*point)(nil), result: "null"},
		"error":       {answer: errTest, fails: unexpected("do")},
		"HubError":    {answer: hubsys.Errorf("You may not."), fails: unexpected("do") + " HubException: You may not."},
		"wrapped HubError": {
			answer: errors.Join(errTest, hubsys.Errorf("You may not.")), fails: unexpected("do") + " HubException: You may not.",
		},
		"not encodable": {answer: make(chan<- int), fails: unexpected("do")},
		"ErrNoMethod": {
			answer: hubsys.ErrNoMethod, fails: "Failed to invoke 'do' due to an error on the server. HubException: Method does not exist.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, scope := range allScopes {
				for _, byReturn := range []bool{false, true} {
					c := dial(t, serveHub(t, answering(scope, func(c actor.Context, m *hubactor.Call[none]) {
						err, fails := test.answer.(error)
						switch {
						case !byReturn:
							c.Respond(test.answer)
						case fails:
							m.Return("no result", err)
						default:
							m.Return(test.answer, nil)
						}
					}), hubsys.HubOptions{}))
					if test.fails != "" {
						require.Equal(t, test.fails, c.failure("do"))
					} else {
						require.Equal(t, test.result, c.result("do"))
					}
				}
			}
		})
	}
}

func TestDetailedErrorsShowTheErrorsOfActors(t *testing.T) {
	hub := answering(hubactor.Shared, func(c actor.Context, _ *hubactor.Call[none]) { c.Respond(errTest) })
	c := dial(t, serveHub(t, hub, hubsys.HubOptions{EnableDetailedErrors: true}))
	assert.Equal(t, unexpected("do")+" Error: the test says so", c.failure("do"))
}

func TestOnlyTheFirstAnswerCounts(t *testing.T) {
	for name, answer := range map[string]func(c actor.Context, m *hubactor.Call[none]){
		"Respond, Respond": func(c actor.Context, _ *hubactor.Call[none]) { c.Respond(1); c.Respond(2) },
		"Respond, Return":  func(c actor.Context, m *hubactor.Call[none]) { c.Respond(1); m.Return(2, nil) },
		"Return, Respond":  func(c actor.Context, m *hubactor.Call[none]) { m.Return(1, nil); c.Respond(2) },
		"Return, error":    func(_ actor.Context, m *hubactor.Call[none]) { m.Return(1, nil); m.Return(nil, errTest) },
		"Respond, stop":    func(c actor.Context, _ *hubactor.Call[none]) { c.Respond(1); c.Stop(c.Self()) },
		"Return, panic":    func(_ actor.Context, m *hubactor.Call[none]) { m.Return(1, nil); panic("too late") },
	} {
		c := dial(t, serveHub(t, answering(hubactor.PerCall, answer), hubsys.HubOptions{}))
		assert.Equal(t, "1", c.result("do"), name)
	}
}

func TestReturnAnswersLaterAndFromAnyGoroutine(t *testing.T) {
	for _, scope := range allScopes {
		calls := make(chan *hubactor.Call[none], 1)
		c := dial(t, serveHub(t, answering(scope, func(_ actor.Context, m *hubactor.Call[none]) { calls <- m }), hubsys.HubOptions{}))
		id := c.call("do")
		call := receive(t, calls)
		require.NoError(t, call.Context().Err(), "somebody waits")
		go call.Return("later", nil)
		require.Equal(t, `"later"`, c.resultOf(id))
		<-call.Context().Done()
	}
}

func TestASharedActorCanKeepCallsAndAnswerThemInAnyOrder(t *testing.T) {
	calls := make(chan *hubactor.Call[none], 3)
	hub := answering(hubactor.Shared, func(_ actor.Context, m *hubactor.Call[none]) { calls <- m })
	c := dial(t, serveHub(t, hub, hubsys.HubOptions{MaximumParallelInvocationsPerClient: 3}))
	ids := []string{c.call("do"), c.call("do"), c.call("do")}
	kept := []*hubactor.Call[none]{receive(t, calls), receive(t, calls), receive(t, calls)}
	for i := 2; i >= 0; i-- {
		kept[i].Return(i, nil)
		require.Equal(t, string(rune('0'+i)), c.resultOf(ids[i]))
	}
}

func TestACallWithoutAnIDIsNotAnswered(t *testing.T) {
	for _, scope := range allScopes {
		got := make(chan struct{}, 10)
		c := dial(t, serveHub(t, answering(scope, func(c actor.Context, _ *hubactor.Call[none]) {
			got <- struct{}{}
			c.Respond(errTest)
		}), hubsys.HubOptions{}))
		c.send(invocation("", "do"), invocation("", "do"), invocation("x", "do"))
		for range 3 {
			receive(t, got)
		}
		assert.Equal(t, "x", c.next().InvocationID, "nothing comes before the answer of the last one")
	}
}

// requireItems requires that a stream brings three items and ends, perhaps with an error.
func requireItems(t *testing.T, c *client, failure string) {
	t.Helper()
	c.send(streamInvocation("s", "do"))
	for _, want := range []string{"1", "2", "3"} {
		m := c.next()
		require.Equal(t, 2, m.Type, m.raw)
		require.Equal(t, want, string(m.Item))
	}
	m := c.next()
	require.Equal(t, 3, m.Type, m.raw)
	if failure == "" {
		require.Nil(t, m.Error, m.raw)
	} else {
		require.Equal(t, failure, *m.Error)
	}
}

func TestAStreamIsReadOutsideOfTheActor(t *testing.T) {
	for _, scope := range allScopes {
		inActor := make(chan uint64, 1)
		outside := make(chan uint64, 1)
		c := dial(t, serveHub(t, answering(scope, func(c actor.Context, _ *hubactor.Call[none]) {
			inActor <- goroutineID()
			var stream iter.Seq2[int, error] = func(yield func(int, error) bool) {
				outside <- goroutineID()
				for n := 1; n <= 3 && yield(n, nil); n++ {
				}
				yield(0, hubsys.Errorf("That is all."))
			}
			c.Respond(stream)
		}), hubsys.HubOptions{}))
		requireItems(t, c, "An error occurred on the server while streaming results. HubException: That is all.")
		assert.NotEqual(t, receive(t, inActor), receive(t, outside))
	}
}

func TestAChannelIsAStream(t *testing.T) {
	for _, scope := range allScopes {
		c := dial(t, serveHub(t, answering(scope, func(_ actor.Context, m *hubactor.Call[none]) {
			items := make(chan int)
			m.Return((<-chan int)(items), nil)
			go func() {
				defer close(items)
				for n := 1; n <= 3; n++ {
					select {
					case items <- n:
					case <-m.Context().Done():
					}
				}
			}()
		}), hubsys.HubOptions{}))
		requireItems(t, c, "")
	}
}

func TestTheContextOfACallEndsWithItsStream(t *testing.T) {
	calls := make(chan *hubactor.Call[none], 1)
	c := dial(t, serveHub(t, answering(hubactor.Shared, func(c actor.Context, m *hubactor.Call[none]) {
		calls <- m
		c.Respond((<-chan int)(make(chan int)))
	}), hubsys.HubOptions{}))
	c.send(streamInvocation("s", "do"))
	call := receive(t, calls)
	require.NoError(t, call.Context().Err())
	c.send(cancelInvocation("s"))
	require.Nil(t, c.completion("s").Error)
	receive(t, call.Context().Done())
}

func TestStreamsAndPlainResultsAreToldApart(t *testing.T) {
	c := dial(t, serveHub(t, answering(hubactor.Shared, func(c actor.Context, _ *hubactor.Call[none]) { c.Respond(1) }), hubsys.HubOptions{}))
	c.send(streamInvocation("s", "do"))
	assert.Equal(t, "The client attempted to invoke the non-streaming 'do' method with a streaming invocation.", c.failureOf("s"))

	c = dial(t, serveHub(t, answering(hubactor.Shared, func(c actor.Context, _ *hubactor.Call[none]) {
		c.Respond((<-chan int)(make(chan int)))
	}), hubsys.HubOptions{}))
	assert.Equal(t, "The client attempted to invoke the streaming 'do' method with a non-streaming invocation.", c.failure("do"))
}

func TestAnActorCanPassACallOnToAnotherOne(t *testing.T) {
	system := newActorSystem(t)
	sys := newSystem(t, hubsys.Config{ActorSystem: system})
	other := spawn(t, system, func(c actor.Context) {
		if m, ok := c.Message().(*hubactor.Call[none]); ok {
			c.Respond(m.Method() + " by another one")
		}
	})
	hub := answering(hubactor.Shared, func(c actor.Context, _ *hubactor.Call[none]) { c.Forward(other.PID()) })
	c := dial(t, serveIn(t, sys, hub, hubsys.HubOptions{}))
	assert.Equal(t, `"do by another one"`, c.result("do"))
}

func TestCleanupsOfACallRunWhenItIsOver(t *testing.T) {
	over := make(chan struct{})
	c := dial(t, serveHub(t, answering(hubactor.Shared, func(c actor.Context, m *hubactor.Call[none]) {
		m.Cleanup(func() { close(over) })
		time.AfterFunc(time.Millisecond, func() { m.Return(nil, nil) })
	}), hubsys.HubOptions{}))
	c.result("do")
	receive(t, over)
}

// goroutineID returns what tells goroutines apart.
func goroutineID() (id uint64) {
	b := make([]byte, 64)
	for _, digit := range b[len("goroutine "):runtime.Stack(b, false)] {
		if digit < '0' || digit > '9' {
			return id
		}
		id = id*10 + uint64(digit-'0')
	}
	return id
}
