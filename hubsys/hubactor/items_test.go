package hubactor_test

import (
	"fmt"
	"iter"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
	"github.com/troupe-go/troupe/hubsys/hubactor"
)

type (
	ints  struct{ In hubactor.Items[int] }
	mixed struct {
		First int
		In    hubactor.Items[int]
		Last  string
		Texts hubactor.Items[string]
	}
)

// summing is a hub that writes down what it gets of a stream and returns the sum of its items, or the client's error.
func summing(scope hubactor.Scope, j *journal) hubactor.Hub {
	return hubactor.Hub{
		Scope:   scope,
		Methods: []hubactor.Method{hubactor.Receive[ints]("sum")},
		Props: func(*hubsys.HubContext) *actor.Props {
			return actor.PropsFromProducer(func() actor.Actor {
				var call *hubactor.Call[ints]
				sum := 0
				return actor.ReceiveFunc(func(c actor.Context) {
					switch m := c.Message().(type) {
					case *hubactor.Call[ints]:
						j.write("call")
						call = m
					case *hubactor.Item[int]:
						j.write(fmt.Sprint(m.Value, m.End, m.Err, m.Of == call.Call))
						if sum += m.Value; m.End {
							call.Return(sum, m.Err)
						}
					}
				})
			})
		},
	}
}

func requireNoPumps(t *testing.T) {
	t.Helper()
	eventually(t, func() bool { return goroutines("hubactor.(*itemPump") == 0 }, "goroutines that pass on items")
}

func TestItemsArriveInOrderBehindTheirCallAndEnd(t *testing.T) {
	for _, scope := range allScopes {
		j := &journal{}
		c := dial(t, serveHub(t, summing(scope, j), hubsys.HubOptions{}))
		c.send(upload("u", "sum", "s"), item("s", "1"), item("s", "2"), item("s", "3"), endOfStream("s"))
		assert.Equal(t, "6", c.resultOf("u"))
		assert.Equal(t, []string{"call", "1 false <nil> true", "2 false <nil> true", "3 false <nil> true", "0 true <nil> true"}, j.read())
		requireNoPumps(t)
	}
}

func TestAnEmptyStreamIsItsEnd(t *testing.T) {
	j := &journal{}
	c := dial(t, serveHub(t, summing(hubactor.PerCall, j), hubsys.HubOptions{}))
	c.send(upload("u", "sum", "s"), endOfStream("s"))
	assert.Equal(t, "0", c.resultOf("u"))
	assert.Equal(t, []string{"call", "0 true <nil> true"}, j.read())
}

func TestTheErrorOfTheClientEndsAStream(t *testing.T) {
	j := &journal{}
	c := dial(t, serveHub(t, summing(hubactor.Shared, j), hubsys.HubOptions{}))
	c.send(upload("u", "sum", "s"), item("s", "1"), `{"type":3,"invocationId":"s","error":"I have lost count."}`)
	assert.Equal(t, unexpected("sum")+" HubException: I have lost count.", c.failureOf("u"))
	assert.Equal(t, []string{"call", "1 false <nil> true", "0 true I have lost count. true"}, j.read())
	requireNoPumps(t)
}

func TestAnItemThatDoesNotFitEndsAStream(t *testing.T) {
	j := &journal{}
	c := dial(t, serveHub(t, summing(hubactor.Shared, j), hubsys.HubOptions{}))
	c.send(upload("u", "sum", "s"), item("s", "1"), item("s", `"text"`), item("s", "2"))
	assert.Contains(t, c.failureOf("u"), "Failed to bind Stream message.")
	assert.Len(t, j.read(), 3)
	requireNoPumps(t)
}

func TestALongStreamArrivesInOrder(t *testing.T) {
	const items = 2000
	j := &journal{}
	c := dial(t, serveHub(t, summing(hubactor.PerConnection, j), hubsys.HubOptions{}))
	c.send(upload("u", "sum", "s"))
	for n := range items {
		c.send(item("s", fmt.Sprint(n)))
	}
	c.send(endOfStream("s"))
	assert.Equal(t, fmt.Sprint(items*(items-1)/2), c.resultOf("u"))
	list := j.read()
	require.Len(t, list, items+2)
	for n := range items {
		require.Equal(t, fmt.Sprint(n, " false <nil> true"), list[n+1])
	}
}

func TestStreamsAndArgumentsCanBeMixed(t *testing.T) {
	j := &journal{}
	hub := hubactor.Hub{Scope: hubactor.Shared, Methods: []hubactor.Method{hubactor.Receive[mixed]("mix")}}
	var call *hubactor.Call[mixed]
	ends := 0
	hub.Props = receiver(func(c actor.Context) {
		ended := false
		switch m := c.Message().(type) {
		case *hubactor.Call[mixed]:
			call = m
			j.write(fmt.Sprint(m.Args.First, m.Args.Last))
		case *hubactor.Item[int]:
			j.write(fmt.Sprint("int ", m.Value, " ", m.End))
			ended = m.End
		case *hubactor.Item[string]:
			j.write(fmt.Sprint("text ", m.Value, " ", m.End))
			ended = m.End
		}
		if ended {
			if ends++; ends == 2 {
				call.Return("both", nil)
			}
		}
	})
	c := dial(t, serveHub(t, hub, hubsys.HubOptions{}))
	c.send(record(1, "u", "mix", []any{1, "z"}, []string{"a", "b"}), item("b", `"x"`), item("a", "5"), endOfStream("a"), endOfStream("b"))
	assert.Equal(t, `"both"`, c.resultOf("u"))
	list := j.read()
	assert.Equal(t, "1z", list[0])
	assert.ElementsMatch(t, []string{"int 5 false", "int 0 true", "text x false", "text  true"}, list[1:])
}

func TestACallWithAnotherNumberOfStreamsIsRefused(t *testing.T) {
	j := &journal{}
	c := dial(t, serveHub(t, summing(hubactor.Shared, j), hubsys.HubOptions{}))
	assert.Equal(t, unexpected("sum")+" HubException: Client sent 0 stream(s), Hub method expects 1.", c.failure("sum"))
	c.send(upload("u", "sum", "a", "b"))
	assert.Equal(t, unexpected("sum")+" HubException: Client sent 2 stream(s), Hub method expects 1.", c.failureOf("u"))
	assert.Empty(t, j.read())
}

func TestAClientWaitsWhileItsItemsAreNotHandled(t *testing.T) {
	const capacity = 3
	release := make(chan struct{})
	var handled atomic.Int32
	hub := hubactor.Hub{
		Scope:   hubactor.Shared,
		Methods: []hubactor.Method{hubactor.Receive[ints]("sum")},
		Props: receiver(func(c actor.Context) {
			if _, ok := c.Message().(*hubactor.Item[int]); ok {
				<-release
				handled.Add(1)
			}
		}),
	}
	c := dial(t, serveHub(t, hub, hubsys.HubOptions{StreamBufferCapacity: capacity}))
	c.send(upload("u", "sum", "s"))
	// One is being handled, and capacity wait. Behind the next one nothing is taken from the connection, but what the same read has brought: so
	// there is a ping that does not fit into one read.
	for n := range capacity + 2 {
		c.send(item("s", fmt.Sprint(n)))
	}
	c.send(`{"type":6` + strings.Repeat(" ", 16<<10) + `}`)
	c.send(invocation("no", "no such method"))
	read := make(chan serverMessage, 1)
	go func() {
		if m, err := c.tryNext(); err == nil {
			read <- m
		}
		close(read)
	}()
	requireNothing(t, read)
	assert.Zero(t, handled.Load())
	release <- struct{}{} // the first item is handled: there is room for one more
	assert.Equal(t, "no", receive(t, read).InvocationID)
	close(release)
	eventually(t, func() bool { return handled.Load() == capacity+2 }, "all items are handled")
	c.send(cancelInvocation("u"))
	assert.Equal(t, unexpected("sum"), c.failureOf("u"))
}

func TestTheAnswerEndsAStream(t *testing.T) {
	for _, scope := range allScopes {
		var items atomic.Int32
		hub := hubactor.Hub{Scope: scope, Methods: []hubactor.Method{hubactor.Receive[ints]("sum")}, Props: func(*hubsys.HubContext) *actor.Props {
			return actor.PropsFromProducer(func() actor.Actor {
				var call *hubactor.Call[ints]
				return actor.ReceiveFunc(func(c actor.Context) {
					switch m := c.Message().(type) {
					case *hubactor.Call[ints]:
						call = m
					case *hubactor.Item[int]:
						if !m.End {
							items.Add(1)
						}
						if m.Value == 2 {
							call.Return("enough", nil)
						}
					}
				})
			})
		}}
		c := dial(t, serveHub(t, hub, hubsys.HubOptions{}))
		c.send(upload("u", "sum", "s"), item("s", "1"), item("s", "2"))
		assert.Equal(t, `"enough"`, c.resultOf("u"))
		requireNoPumps(t)
		c.send(item("s", "3"), endOfStream("s"), invocation("x", "no such method"))
		assert.Equal(t, "x", c.next().InvocationID, "the connection goes on")
		assert.EqualValues(t, 2, items.Load())
	}
}

func TestStreamsEndWithTheirCall(t *testing.T) {
	for name, end := range map[string]func(c *client, to hubactor.Ref){
		"canceled":      func(c *client, _ hubactor.Ref) { c.send(cancelInvocation("u")) },
		"disconnected":  func(c *client, _ hubactor.Ref) { c.close() },
		"actor stopped": func(_ *client, to hubactor.Ref) { to.Tell(&actor.PoisonPill{}) },
	} {
		system := newActorSystem(t)
		sys := newSystem(t, hubsys.Config{ActorSystem: system})
		got := make(chan *actor.PID, 10)
		var ended atomic.Bool
		hub := hubactor.Hub{Scope: hubactor.PerConnection, Methods: []hubactor.Method{hubactor.Receive[ints]("sum")}, Props: receiver(func(c actor.Context) {
			if m, ok := c.Message().(*hubactor.Item[int]); ok {
				ended.Store(m.End && m.Err == nil)
				got <- c.Self()
			}
		})}
		c := dial(t, serveIn(t, sys, hub, hubsys.HubOptions{}))
		c.send(upload("u", "sum", "s"), item("s", "1"))
		end(c, hubactor.RefTo(system, receive(t, got)))
		requireNoPumps(t)
		assert.False(t, ended.Load(), "%s: it is no end of the stream", name)
	}
}

func TestAnActorThatPanicsAtAnItemFailsTheCallAtOnce(t *testing.T) {
	for _, scope := range allScopes {
		hub := hubactor.Hub{Scope: scope, Timeout: hubsys.Unlimited, Methods: []hubactor.Method{hubactor.Receive[ints]("sum")}, Props: receiver(func(c actor.Context) {
			if _, ok := c.Message().(*hubactor.Item[int]); ok {
				panic("the test panics")
			}
		})}
		c := dial(t, serveHub(t, hub, hubsys.HubOptions{}))
		c.send(upload("u", "sum", "s"), item("s", "1"), item("s", "2"))
		assert.Equal(t, unexpected("sum"), c.failureOf("u"))
		requireNoPumps(t)
	}
}

func TestItemsCanBeAnsweredByAStream(t *testing.T) {
	hub := hubactor.Hub{Scope: hubactor.PerConnection, Methods: []hubactor.Method{hubactor.Receive[ints]("double")}, Props: func(*hubsys.HubContext) *actor.Props {
		return actor.PropsFromProducer(func() actor.Actor {
			out := make(chan int, 10)
			return actor.ReceiveFunc(func(c actor.Context) {
				switch m := c.Message().(type) {
				case *hubactor.Call[ints]:
					var stream iter.Seq2[int, error] = func(yield func(int, error) bool) {
						for n := range out {
							if !yield(n, nil) {
								return
							}
						}
					}
					c.Respond(stream)
				case *hubactor.Item[int]:
					if m.End {
						close(out)
					} else {
						out <- 2 * m.Value
					}
				}
			})
		})
	}}
	c := dial(t, serveHub(t, hub, hubsys.HubOptions{}))
	c.send(record(4, "d", "double", nil, []string{"s"}))
	for n := range 5 {
		c.send(item("s", fmt.Sprint(n)))
		assert.Equal(t, fmt.Sprint(2*n), string(c.next().Item))
	}
	c.send(endOfStream("s"))
	assert.Nil(t, c.completion("d").Error)
	requireNoPumps(t)
}

// rude panics when it is decoded, unless it is empty.
type rude struct{}

func (*rude) UnmarshalJSON(b []byte) error {
	if string(b) != "{}" {
		panic("the test panics")
	}
	return nil
}

func TestAPanicWhileAnItemIsDecodedFailsItsCallAlone(t *testing.T) {
	type rudes struct{ In hubactor.Items[rude] }
	for _, scope := range allScopes {
		hub := hubactor.Hub{Scope: scope, Timeout: hubsys.Unlimited, Methods: []hubactor.Method{hubactor.Receive[rudes]("take"), hubactor.Receive[none]("do")}}
		hub.Props = func(*hubsys.HubContext) *actor.Props {
			return actor.PropsFromProducer(func() actor.Actor {
				calls := map[*hubsys.Call]*hubactor.Call[rudes]{}
				return actor.ReceiveFunc(func(c actor.Context) {
					switch m := c.Message().(type) {
					case *hubactor.Call[none]:
						c.Respond("fine")
					case *hubactor.Call[rudes]:
						calls[m.Call] = m
					case *hubactor.Item[rude]:
						if m.End {
							calls[m.Of].Return("taken", m.Err)
						}
					}
				})
			})
		}
		url := serveHub(t, hub, hubsys.HubOptions{MaximumParallelInvocationsPerClient: 3})
		c, other := dial(t, url), dial(t, url)
		other.send(upload("u", "take", "s"), item("s", "{}"))
		c.send(upload("1", "take", "a"), upload("2", "take", "b"), item("b", "{}"), item("a", "{}"), item("a", "[]"))
		assert.Equal(t, unexpected("take"), c.failureOf("1"))
		c.send(item("b", "{}"), endOfStream("b"))
		assert.Equal(t, `"taken"`, c.resultOf("2"))
		assert.Equal(t, `"fine"`, c.result("do"))
		other.send(item("s", "{}"), endOfStream("s"))
		assert.Equal(t, `"taken"`, other.resultOf("u"))
		requireNoPumps(t)
	}
}
