package hubsys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/troupe-go/troupe/hubsys"
)

// endingHub notes the ends of its connections.
type endingHub struct {
	hubsys.Hub
	causes chan error
}

func (h *endingHub) OnDisconnected(_ context.Context, cause error) error {
	h.causes <- cause
	return nil
}

// newBubbleSystem is newSystem for a bubble of synctest.
func newBubbleSystem(t *testing.T, config hubsys.Config) *hubsys.System {
	t.Helper()
	t.Cleanup(func() { time.Sleep(5 * time.Second) }) // of the bubble's time: protoactor counts dead letters in a goroutine that runs for a second
	return newSystem(t, config)
}

// endingSubscriber is a subscriber in a bubble of synctest.
type endingSubscriber struct {
	*subscriber
	sys     *hubsys.System
	hub     *hubsys.HubContext
	log     *logRecorder
	causes  chan error // of OnDisconnected
	release chan struct{}
	cancel  context.CancelFunc
}

// newEndingSubscriber returns a subscriber that panics, exits and waits for release when it is told to. There is room for no further one.
func newEndingSubscriber(t *testing.T) *endingSubscriber {
	t.Helper()
	s := &endingSubscriber{
		subscriber: &subscriber{calls: make(chan string, 1000)}, log: &logRecorder{}, causes: make(chan error, 10), release: make(chan struct{}),
	}
	s.sys = newBubbleSystem(t, hubsys.Config{Logger: s.log.logger(), MaximumConnections: 1})
	s.hub = register(t, s.sys, func(context.Context) (*endingHub, error) { return &endingHub{causes: s.causes}, nil }, hubsys.HubOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	s.cancel = cancel
	var err error
	s.id, s.ended, err = s.hub.Subscribe(ctx, &hubsys.Principal{Expires: time.Now().Add(30 * time.Minute)}, func(method string, args []json.RawMessage) {
		s.calls <- received(method, args)
		switch method {
		case "panic":
			panic("because of the test")
		case "exit":
			runtime.Goexit()
		case "wait":
			<-s.release
		}
	})
	require.NoError(t, err)
	return s
}

func (s *endingSubscriber) send(t *testing.T, method string) {
	t.Helper()
	require.NoError(t, s.hub.Clients().All().Send(t.Context(), method))
}

// Whatever ends a subscription, OnDisconnected runs once, and nothing is left.
func TestTheEndOfASubscription(t *testing.T) {
	is := func(want error) func(*testing.T, error) {
		return func(t *testing.T, cause error) { require.ErrorIs(t, cause, want) }
	}
	nothing := func(t *testing.T, cause error) { require.NoError(t, cause) }
	for name, test := range map[string]struct {
		end   func(t *testing.T, s *endingSubscriber)
		cause func(t *testing.T, cause error)
		calls []string
	}{
		"the end of ctx": {func(_ *testing.T, s *endingSubscriber) { s.cancel() }, nothing, nil},
		"Disconnect": {func(t *testing.T, s *endingSubscriber) {
			s.send(t, "before")
			require.NoError(t, s.hub.Clients().All().Disconnect(t.Context(), ""))
			s.send(t, "behind")
		}, nothing, []string{"before()"}},
		"Disconnect with a reason": {func(t *testing.T, s *endingSubscriber) {
			require.NoError(t, s.hub.Clients().Client(s.id).Disconnect(t.Context(), "out"))
		}, func(t *testing.T, cause error) {
			var told *hubsys.HubError
			require.ErrorAs(t, cause, &told)
			require.Equal(t, "out", told.Message)
		}, nil},
		"Reconnect": {func(t *testing.T, s *endingSubscriber) {
			require.NoError(t, s.hub.Clients().All().Reconnect(t.Context()))
		}, nothing, nil},
		"a panic": {func(t *testing.T, s *endingSubscriber) {
			s.send(t, "panic")
			synctest.Wait()
			require.Contains(t, s.log.String(), "a subscriber panicked")
			s.send(t, "behind")
		}, func(t *testing.T, cause error) {
			var panicked *hubsys.PanicError
			require.ErrorAs(t, cause, &panicked)
			require.Equal(t, "because of the test", panicked.Value)
		}, []string{"panic()"}},
		"Goexit": {func(t *testing.T, s *endingSubscriber) { s.send(t, "exit") }, func(t *testing.T, cause error) {
			var panicked *hubsys.PanicError
			require.ErrorAs(t, cause, &panicked)
			require.Nil(t, panicked.Value)
		}, []string{"exit()"}},
		"expired credentials": {func(*testing.T, *endingSubscriber) { time.Sleep(time.Hour) }, is(hubsys.ErrExpired), nil},
		"Shutdown": {func(t *testing.T, s *endingSubscriber) {
			s.send(t, "before")
			require.NoError(t, shutdown(s.sys))
		}, nothing, []string{"before()"}},
		"Drain": {func(t *testing.T, s *endingSubscriber) { require.NoError(t, s.sys.Drain(t.Context(), time.Second)) }, nothing, nil},
		"Shutdown by the subscriber": {func(t *testing.T, s *endingSubscriber) {
			s.send(t, "wait")
			go func() {
				defer close(s.release)
				assert.NoError(t, shutdown(s.sys))
			}()
		}, nothing, []string{"wait()"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newEndingSubscriber(t)
				test.end(t, s)
				cause, open := <-s.ended
				require.True(t, open)
				test.cause(t, cause)
				_, open = <-s.ended
				require.False(t, open)
				require.Len(t, s.causes, 1, "OnDisconnected has run once")
				test.cause(t, <-s.causes)
				var calls []string
				for len(s.calls) > 0 {
					calls = append(calls, <-s.calls)
				}
				require.Equal(t, test.calls, calls)
				if strings.Contains(name, "Shutdown") || name == "Drain" {
					return
				}
				n, err := s.hub.Clients().All().Count(t.Context())
				require.NoError(t, err)
				require.Zero(t, n)
				subscribe(t, s.hub, nil) // there is room again
			})
		})
	}
}

// The connection of a receive that does not return ends without it, and it is not called again.
func TestASubscriptionWhoseReceiveDoesNotReturn(t *testing.T) {
	for name, test := range map[string]struct {
		end   func(t *testing.T, s *endingSubscriber)
		cause error
	}{
		"the end of ctx": {func(_ *testing.T, s *endingSubscriber) { s.cancel() }, nil},
		"Disconnect": {func(t *testing.T, s *endingSubscriber) {
			require.NoError(t, s.hub.Clients().All().Disconnect(t.Context(), ""))
			time.Sleep(time.Minute) // what was sent before is delivered for CloseTimeout
		}, nil},
		"TransportSendTimeout": {func(*testing.T, *endingSubscriber) {}, hubsys.ErrSendTimeout},
		"Shutdown":             {func(t *testing.T, s *endingSubscriber) { require.NoError(t, shutdown(s.sys)) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newEndingSubscriber(t)
				s.send(t, "wait")
				require.Equal(t, "wait()", <-s.calls)
				s.send(t, "behind")
				test.end(t, s)
				require.ErrorIs(t, <-s.causes, test.cause)
				select {
				case <-s.ended:
					require.Fail(t, "receive has not returned")
				default:
				}
				close(s.release)
				require.ErrorIs(t, <-s.ended, test.cause)
				require.Empty(t, s.calls)
			})
		})
	}
}

// A subscriber sends nothing, and need not: it stays for as long as nothing ends it.
func TestAnIdleSubscriberStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newBubbleSystem(t, hubsys.Config{})
		hub := register(t, sys, func(context.Context) (*base, error) { return &base{}, nil }, hubsys.HubOptions{MaximumConnectionLifetime: time.Minute})
		s := subscribe(t, hub, nil)
		before := valuesOf(sys, "troupe.messages.sent")
		time.Sleep(time.Hour)
		require.Equal(t, before, valuesOf(sys, "troupe.messages.sent"))
		require.NoError(t, hub.Clients().All().Send(t.Context(), "n"))
		require.Equal(t, "n()", <-s.calls)
	})
}

// A subscriber whose OnConnected does not return ends with ctx.
func TestSubscribingEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sys := newBubbleSystem(t, hubsys.Config{})
		hub, err := hubsys.RegisterHandler(sys, hubsys.Handler{
			Invoke:    func(context.Context, *hubsys.Invocation) (any, error) { return nil, nil },
			Connected: func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) },
		}, hubsys.HubOptions{Name: "h"})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, err = hub.Subscribe(ctx, nil, func(string, []json.RawMessage) {})
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// A subscriber that is slow meets the policy of the hub, and nobody else is hurt.
func TestASlowSubscriberHurtsOnlyItself(t *testing.T) {
	for _, policy := range []hubsys.SlowPolicy{hubsys.DisconnectSlow, hubsys.DropOldest, hubsys.DropNewest} {
		t.Run(policy.String(), func(t *testing.T) {
			requireNoLeaks(t)
			const size, sends = 10_000, 200
			lost := newDisconnectRecorder(3)
			srv := newTestServer(t, testConfig{
				Config:         hubsys.Config{EndpointDefaults: hubsys.EndpointOptions{TransportSendTimeout: time.Hour}}, // it is slow, and not dead
				HubOptions:     hubsys.HubOptions{OutboxLimit: 64 << 10, SlowClients: policy},
				onDisconnected: lost.disconnected,
			})
			fast := []*testClient{dial(t, srv.url), dial(t, srv.url)}
			release := make(chan struct{})
			var mu sync.Mutex
			var got []int
			last := make(chan struct{})
			id, ended, err := srv.hub.Subscribe(t.Context(), nil, func(_ string, args []json.RawMessage) {
				<-release
				var i int
				assert.NoError(t, json.Unmarshal(args[0], &i))
				mu.Lock()
				got = append(got, i)
				mu.Unlock()
				if i == sends {
					close(last)
				}
			})
			require.NoError(t, err)
			payload := strings.Repeat("x", size)
			for i := range sends {
				require.NoError(t, srv.hub.Clients().All().Send(t.Context(), "n", i, payload))
				for _, c := range fast {
					require.Equal(t, i, numberOf(t, c.next()))
				}
			}
			if policy == hubsys.DisconnectSlow {
				require.Empty(t, receive(t, lost.names), "OnDisconnected does not wait for receive")
				require.ErrorIs(t, lost.allCauses()[""], hubsys.ErrSlowClient)
				require.Equal(t, map[string]float64{"slow_client": 1}, valuesOf(srv.sys, "troupe.connections.closed"))
				close(release)
				require.ErrorIs(t, receive(t, ended), hubsys.ErrSlowClient)
				require.LessOrEqual(t, len(got), 1, "what waited is dropped")
			} else {
				close(release)
				require.NoError(t, srv.hub.Clients().Client(id).Send(t.Context(), "n", sends, payload))
				receive(t, last)
				require.True(t, slices.IsSorted(got), "%v", got)
				require.Less(t, len(got), sends)
				if policy == hubsys.DropOldest {
					require.Equal(t, sends-1, got[len(got)-2], "%v", got)
				} else {
					require.Equal(t, []int{0, 1, 2}, got[:3], "%v", got)
				}
				require.EqualValues(t, sends+1-len(got), droppedFor(srv, map[hubsys.SlowPolicy]string{hubsys.DropOldest: "oldest", hubsys.DropNewest: "newest"}[policy]))
				require.Empty(t, lost.allCauses())
			}
			for _, c := range fast {
				c.requireNoMessages()
			}
		})
	}
}

// Clients, subscribers and their ends at once.
func TestSubscribersComeAndGo(t *testing.T) {
	requireNoLeaks(t)
	srv := newTestServer(t, testConfig{})
	const subscribers, rounds = 8, 50
	stop := make(chan struct{})
	var sending, all sync.WaitGroup
	sending.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := srv.hub.Clients().All().Send(t.Context(), "n", i); err != nil {
				t.Error(err)
			}
		}
	})
	for range subscribers {
		all.Go(func() {
			for range rounds {
				ctx, cancel := context.WithCancel(t.Context())
				numbers := make(chan int)
				_, ended, err := srv.hub.Subscribe(ctx, nil, func(_ string, args []json.RawMessage) {
					var i int
					if err := json.Unmarshal(args[0], &i); err != nil {
						t.Error(err)
					}
					select {
					case numbers <- i:
					case <-ctx.Done():
					}
				})
				if err != nil {
					t.Error(err)
					cancel()
					return
				}
				first := <-numbers
				for next := range 3 {
					if i := <-numbers; i != first+next+1 {
						t.Errorf("%d follows %d", i, first+next)
					}
				}
				cancel()
				if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
					t.Error(fmt.Errorf("the end: %w", err))
				}
			}
		})
	}
	all.Wait()
	close(stop)
	sending.Wait()
	eventually(t, func() bool { n, err := srv.hub.Clients().All().Count(t.Context()); return err == nil && n == 0 }, "all are gone")
}
